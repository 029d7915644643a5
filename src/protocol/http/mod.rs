//! HTTP/1.0 and HTTP/1.1 for browsers and monitoring: bytes to heads of requests, and answers to bytes.
//!
//! A frame is the head of a request, up to its empty line; or a first line that begins none; or the bytes up to the first
//! one that is too many. No request has a body. Frames are found in [`framing`] and decoded in [`request`]; [`answer`]
//! encodes answers, and [`login`] reads the login that a request carries.

pub mod answer;
pub mod framing;
pub mod login;
pub mod request;

pub use answer::{Answer, Policy, Status};
pub use request::{Fault, Frame, Method, Request};
