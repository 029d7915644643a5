//! The sources and the documents, read and compared.

mod documentation;
mod layers;
