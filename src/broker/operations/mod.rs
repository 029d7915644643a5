//! Everything that a client can do with a node, whatever its language: bytes of a language neither come in nor go out.
//!
//! An operation decides, acts and returns its outcome as a type. The permission that it needs was checked before.

mod entries;
mod login;
mod signals;

use super::interclacks::LegacyForm;
use super::output::ConnectionId;

pub use login::Login;

/// Who changes an entry, and how Net::Clacks servers are told of it.
#[derive(Clone, Copy)]
pub struct By<'a> {
    pub connection: ConnectionId,
    pub form: LegacyForm<'a>,
}
