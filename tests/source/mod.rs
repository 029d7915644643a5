//! The sources and the documents, read and compared.

mod circles;
mod documentation;
mod files;
mod layers;
mod monitoring;
mod ratchets;
