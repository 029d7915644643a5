//! The records of a journal.

use super::frame::FRAME;
use crate::broker::Record;
use crate::protocol::peer::packed::{
    self, Fields, NamedState, STATE, possible_name, put_attributes, put_contribution, put_stamp,
};
use crate::protocol::peer::{ShareId, Stamp};

const USED: u8 = 2;
const CLEAR: u8 = 3;
const COUNT: u8 = 4;
const FOLD: u8 = 5;
const RUN: u8 = 6;
const TOUCH: u8 = 7;
const LINKED: u8 = 8;

/// Appends a record.
pub(super) fn append(to: &mut Vec<u8>, record: &Record<'_>) {
    match record {
        Record::State {
            name,
            state,
            changed_us,
        } => packed::append_state(to, name, state, *changed_us),
        Record::Used { name, accessed_us } => {
            to.push(USED);
            to.extend_from_slice(&accessed_us.to_le_bytes());
            to.extend_from_slice(name);
        }
        Record::Clear(stamp) => {
            to.push(CLEAR);
            put_stamp(to, *stamp);
        }
        Record::Count {
            name,
            stamp,
            accessed_us,
            changed_us,
            contribution,
        } => {
            to.push(COUNT);
            put_stamp(to, *stamp);
            to.extend_from_slice(&accessed_us.to_le_bytes());
            to.extend_from_slice(&changed_us.to_le_bytes());
            put_contribution(to, contribution);
            to.extend_from_slice(name);
        }
        Record::Touch {
            name,
            stamp,
            accessed_us,
            attributes,
        } => {
            to.push(TOUCH);
            put_stamp(to, *stamp);
            to.extend_from_slice(&accessed_us.to_le_bytes());
            put_attributes(to, attributes);
            to.extend_from_slice(name);
        }
        Record::Fold(marker) => {
            to.push(FOLD);
            put_stamp(to, *marker);
        }
        Record::Linked => to.push(LINKED),
        Record::Run {
            share,
            newest_us,
            has_ended,
        } => {
            to.extend_from_slice(&[RUN, u8::from(*has_ended)]);
            to.extend_from_slice(&share.0.to_le_bytes());
            to.extend_from_slice(&newest_us.to_le_bytes());
        }
    }
}

/// The part of a name's state that a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The whole state: earlier records of the name have no effect any more.
    All,
    /// One share of the counter with that stamp.
    Share(Stamp, ShareId),
    /// The touch and the won mark of the entry with that stamp.
    Touch(Stamp),
    /// The time of the last use.
    Use,
}

/// The name that a frame's record is about, and the part of its state that the record replaces; `None` if the record is
/// about more than one name.
pub fn subject(frame: &[u8]) -> Option<(&[u8], Subject)> {
    let record = frame.get(FRAME..)?;
    let (kind, rest) = record.split_first()?;
    let mut rest = Fields(rest);
    match *kind {
        STATE.. => Some((packed::name_of_state(record)?, Subject::All)),
        USED => {
            rest.u64()?;
            Some((rest.0, Subject::Use))
        }
        COUNT => {
            let stamp = rest.stamp()?;
            rest.take(16)?;
            let share = rest.contribution()?.share;
            Some((rest.0, Subject::Share(stamp, share)))
        }
        TOUCH => {
            let stamp = rest.stamp()?;
            rest.u64()?;
            rest.attributes()?;
            Some((rest.0, Subject::Touch(stamp)))
        }
        _ => None,
    }
}

/// Decodes a record; `None` if no server can have written it.
pub fn decode(bytes: &[u8]) -> Option<Record<'_>> {
    let (kind, rest) = bytes.split_first()?;
    let mut rest = Fields(rest);
    match *kind {
        STATE.. => {
            let NamedState {
                name,
                state,
                changed_us,
            } = packed::decode_state(bytes)?;
            Some(Record::State {
                name,
                state,
                changed_us,
            })
        }
        USED => Some(Record::Used {
            accessed_us: rest.u64()?,
            name: possible_name(rest.0)?,
        }),
        CLEAR => {
            let stamp = rest.stamp()?;
            rest.0.is_empty().then_some(Record::Clear(stamp))
        }
        COUNT => {
            let (stamp, accessed_us, changed_us) = (rest.stamp()?, rest.u64()?, rest.u64()?);
            let contribution = rest.contribution()?;
            Some(Record::Count {
                name: possible_name(rest.0)?,
                stamp,
                accessed_us,
                changed_us,
                contribution,
            })
        }
        TOUCH => {
            let (stamp, accessed_us) = (rest.stamp()?, rest.u64()?);
            let attributes = rest.attributes()?;
            let is_touch = attributes == attributes.touch() && !attributes.is_empty();
            is_touch.then_some(Record::Touch {
                name: possible_name(rest.0)?,
                stamp,
                accessed_us,
                attributes,
            })
        }
        FOLD => {
            let marker = rest.stamp()?;
            rest.0.is_empty().then_some(Record::Fold(marker))
        }
        LINKED => rest.0.is_empty().then_some(Record::Linked),
        RUN => {
            let has_ended = match rest.take(1)? {
                [0] => false,
                [1] => true,
                _ => return None,
            };
            let (share, newest_us) = (ShareId(rest.u64()?), rest.u64()?);
            rest.0.is_empty().then_some(Record::Run {
                share,
                newest_us,
                has_ended,
            })
        }
        _ => None,
    }
}
