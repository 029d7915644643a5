//! The wire language: bytes to commands and back. No I/O, no clock, no state.
//!
//! clacks-protocol(7) is the specification; the comments here name its sections.

pub mod command;
pub mod encode;
pub mod line;
pub mod number;
pub mod peer;
pub mod reply;
pub mod token;

pub use command::{Command, Flags, Overhead, decode, name_looked_up};
