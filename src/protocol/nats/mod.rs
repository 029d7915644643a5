//! The protocol of NATS clients: bytes to frames, frames to requests, and answers to bytes.
//!
//! A frame is a control line, of PUB and HPUB with the payload that the line announces; or the bytes up to the first
//! that can't be part of a frame. Frames are found in [`framing`] and decoded in [`request`]; [`connect`] reads the options of
//! CONNECT. [`subject`] has the rules for subjects and patterns, [`names`] translates subjects to names and back.

pub mod answer;
pub mod connect;
pub mod error;
pub mod framing;
pub mod names;
pub mod request;
pub mod subject;

pub use error::Error;
pub use request::{Frame, Request};
