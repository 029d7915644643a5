//! Everything that a client can do with a node, whatever its language. Names, values and numbers come in, and outcomes
//! go out as types, not as bytes of a language. A signal also has a form that is sent as it is: the line that Clacks
//! clients and other servers get.
//!
//! An operation decides, acts and returns its outcome as a type. The permission that it needs was checked before.

mod conditional;
mod delivery;
mod entries;
mod login;
mod messages;
mod signals;

use super::interclacks::LegacyForm;
use crate::broker::events::ConnectionId;

pub use conditional::{Compare, Done, Put, PutMode, Removed, Spoil, Step, Stored};
pub use delivery::{Extras, Groups, Signal};
pub use login::{Login, authenticate, enter, log_wrong_login};

/// The author of a change, and the form in which Net::Clacks servers are sent it.
#[derive(Clone, Copy)]
pub struct By<'a> {
    pub connection: ConnectionId,
    pub form: LegacyForm<'a>,
}
