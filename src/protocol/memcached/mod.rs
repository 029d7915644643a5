//! The text and meta protocols of memcached: bytes to frames, frames to requests, and answers to bytes.
//!
//! A frame is a command line, with the block of bytes that it announces. Lines and blocks are found in [`framing`];
//! [`request`] decodes the commands, [`login`] the frames before the login, [`meta`] the flags of meta commands.

pub mod administration;
pub mod answer;
pub mod counting;
pub mod error;
pub mod expiry;
pub mod framing;
pub mod login;
pub mod meta;
pub mod number;
pub mod request;
pub mod words;

pub use error::Error;
pub use expiry::Expiry;
pub use request::{Block, Frame, Request, decode};

/// The longest key, in bytes as sent.
pub const MAX_KEY: usize = 250;
