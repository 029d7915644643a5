//! The languages of clients, each in a folder of its own: from a request to the operation that it asks for, and from
//! the outcome to the answer. Nothing is decided here about entries, signals or sessions.

pub mod clacks;
