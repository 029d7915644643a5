//! The wire language: bytes to commands and back. No I/O, no clock, no state.
//!
//! clacks-protocol(7) is the specification; the comments here name its sections.

pub mod command;
pub mod encode;
pub mod line;
pub mod number;
pub mod peer;
pub mod reply;
pub mod shared;
pub mod token;

pub use command::{Command, Flags, LookUp, Overhead, decode, look_up_of};
