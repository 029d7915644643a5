//! The wire language: bytes to commands and back. No I/O, no clock, no state.
//!
//! clacks-protocol(7) is the specification; the comments here name its sections.

pub mod attributes;
pub mod command;
pub mod encode;
pub mod frame;
pub mod framing;
#[cfg(feature = "server")]
pub mod http;
pub mod memcached;
#[cfg(feature = "server")]
pub mod nats;
pub mod number;
pub mod pattern;
pub mod peer;
pub mod pending;
pub mod reply;
pub mod run;
pub mod shared;
pub mod shown;
pub mod token;
#[cfg(test)]
pub mod toy;

pub use command::{Command, Flags, Overhead, decode};
pub use framing::{ClacksLine, Key, Language, Request};
pub use pending::Pending;
pub use run::Run;
