//! Counting whose result is retrieved with it.

use super::error::Error;
use super::exchange::NOT_SAVED;
use super::message::Message;
use super::text::Text;
use super::{Client, entry_name, valid_step};
use crate::protocol::encode;
use crate::protocol::reply::{Reply, said_of};

/// The outcome of counting, once the server has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// The value after it. If other clients count at the same time, the value may contain their steps.
    Value(Text),
    /// Another client has removed the entry at once, or it had no room.
    Gone,
    /// The server refuses to show the value; the text is its reason.
    Unreadable(String),
}

impl Client {
    /// Adds to a cached number, as [`Client::increment`] does, and retrieves it in the same write.
    ///
    /// # Errors
    /// [`Error::Refused`] if the number was not counted. It is not counted again after a lost connection: after
    /// [`Error::Disconnected`] and [`Error::TimedOut`] it is unknown if it was counted.
    pub fn increment_and_retrieve(&mut self, name: &[u8], step: &str) -> Result<Counted, Error> {
        self.count(b"INCREMENT ", name, step)
    }

    /// Subtracts, as [`Client::increment_and_retrieve`] adds.
    ///
    /// # Errors
    /// Those of [`Client::increment_and_retrieve`].
    pub fn decrement_and_retrieve(&mut self, name: &[u8], step: &str) -> Result<Counted, Error> {
        self.count(b"DECREMENT ", name, step)
    }

    fn count(&mut self, verb: &[u8], name: &[u8], step: &str) -> Result<Counted, Error> {
        let (name, step) = (entry_name(name)?, valid_step(step)?);
        let until = self.end_of_call();
        // A refusal of an earlier command must not pass for one of these.
        if let Some(earlier) = self.refusal.take() {
            self.incoming.push(Message::Error(earlier.as_str().into()));
        }
        let mut lines = Vec::new();
        encode::line(&mut lines, &[verb, name, b"=", step]);
        encode::line(&mut lines, &[b"RETRIEVE ", name]);
        let mut value = None;
        let (mut refusals, value) = self.exchange(&lines, until, |reply| {
            match reply {
                Reply::Retrieved(answer) => {
                    value = said_of(answer, name).map(|text| Counted::Value(text.into()));
                }
                Reply::NotRetrieved(missing) if *missing == name => value = Some(Counted::Gone),
                // The refusals decide if there was no answer.
                Reply::Flushed(_) => return Some(value.take()),
                _ => {}
            }
            None
        })?;
        // It belongs to the FLUSH, which is answered after the count and the question.
        let is_unsaved = refusals.pop_if(|last| last == NOT_SAVED).is_some();
        match (value, &mut refusals[..]) {
            (Some(counted), []) if !is_unsaved => Ok(counted),
            (Some(_), []) => Err(Error::Refused(NOT_SAVED.to_owned())),
            (None, [reason]) => Ok(Counted::Unreadable(std::mem::take(reason))),
            (_, [first, ..]) => Err(Error::Refused(std::mem::take(first))),
            (None, []) => Err(Error::Refused("there was no answer".to_owned())),
        }
    }
}
