//! States of names in binary form: in the journal, and many in a line between clacksd servers. All numbers are
//! little-endian.
//!
//! ```text
//! state  kind u8   time u56 or u64   node u64   accessed u64   changed u64   name's length u8, or 255 and u32
//!        contributions u32   name   attributes   (share u64   version u64   sum 17) …   value
//! attributes: a bit for each that is there u8   client flags u32   expiry u64   touch u64   version u64
//! ```
//! Of the attributes only those are there whose bits are set. The kind has bits, too: the register, and which of accessed,
//! changed, contributions and attributes are there. A short time is that of every server whose clock is right. The time of
//! use is there if it is later than that of the stamp: who writes an entry uses it, too. The time of the change is there if
//! it is another one than that of the stamp.

use super::ids::{NodeId, ShareId, Stamp};
use super::state::{Contribution, Register, State};
use crate::limits::{MAX_CONTRIBUTIONS, MAX_RECORD_NAME};
use crate::protocol::attributes::{Attributes, Marks};
use crate::protocol::number::{NUMBER_BYTES, Number};

/// The bits of attributes.
const CLIENT_FLAGS: u8 = 1;
const EXPIRES: u8 = 1 << 1;
const TOUCHED: u8 = 1 << 2;
const VERSIONED: u8 = 1 << 3;
const BASE64: u8 = 1 << 4;
const STALE: u8 = 1 << 5;
const WON: u8 = 1 << 6;
const ALL_ATTRIBUTES: u8 = WON | (WON - 1);

/// The kinds from this one on are states. The other bits say which register it is and what is there.
pub const STATE: u8 = 1 << 7;
const REGISTER: u8 = 0b11;
const ABSENT: u8 = 0;
const REMOVED: u8 = 1;
const VALUE: u8 = 2;
const USED_LATER: u8 = 1 << 2;
const CHANGED: u8 = 1 << 3;
const COUNTED: u8 = 1 << 4;
const ATTRIBUTES: u8 = 1 << 5;
/// The time of the stamp has all its bytes.
const LONG_TIME: u8 = 1 << 6;
/// The bytes of a short time. They last until the year 4253.
const SHORT_TIME: usize = 7;
/// Stands for the length of a name that is this long or longer.
const LONG_NAME: u8 = u8::MAX;

/// The length of a part, which fits into 32 bits.
pub fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a line is shorter than 4 GiB")
}

/// Appends a state that has last changed at that time.
pub fn append_state(to: &mut Vec<u8>, name: &[u8], state: &State<'_>, changed_us: u64) {
    let (register, value): (u8, &[u8]) = match state.register {
        Register::Absent => (ABSENT, b""),
        Register::Removed => (REMOVED, b""),
        Register::Value(value) => (VALUE, value),
    };
    let time_us = state.stamp.time_us;
    let parts = [
        (USED_LATER, state.accessed_us > time_us),
        (CHANGED, changed_us != time_us),
        (COUNTED, !state.contributions.is_empty()),
        (ATTRIBUTES, !state.attributes.is_empty()),
        (LONG_TIME, is_long_time(time_us)),
    ];
    let kind = STATE | register | bits(&parts);
    to.push(kind);
    match kind & LONG_TIME {
        0 => to.extend_from_slice(&time_us.to_le_bytes()[..SHORT_TIME]),
        _ => to.extend_from_slice(&time_us.to_le_bytes()),
    }
    to.extend_from_slice(&state.stamp.node.0.to_le_bytes());
    for (bit, us) in [(USED_LATER, state.accessed_us), (CHANGED, changed_us)] {
        if kind & bit != 0 {
            to.extend_from_slice(&us.to_le_bytes());
        }
    }
    match u8::try_from(name.len()) {
        Ok(length) if length < LONG_NAME => to.push(length),
        _ => {
            to.push(LONG_NAME);
            to.extend_from_slice(&length(name.len()).to_le_bytes());
        }
    }
    if kind & COUNTED != 0 {
        to.extend_from_slice(&length(state.contributions.len()).to_le_bytes());
    }
    to.extend_from_slice(name);
    if kind & ATTRIBUTES != 0 {
        put_attributes(to, &state.attributes);
    }
    for contribution in &state.contributions {
        put_contribution(to, contribution);
    }
    to.extend_from_slice(value);
}

fn is_long_time(time_us: u64) -> bool {
    time_us >= 1 << (8 * SHORT_TIME)
}

/// The bits of those parts that are there.
fn bits(parts: &[(u8, bool)]) -> u8 {
    let there = parts.iter().filter(|(_, is_there)| *is_there);
    there.fold(0, |bits, (bit, _)| bits | bit)
}

/// Appends attributes.
pub fn put_attributes(to: &mut Vec<u8>, attributes: &Attributes) {
    let Attributes {
        client_flags,
        expires_us,
        touched_us,
        version,
        marks: Marks { base64, stale, won },
    } = *attributes;
    let parts = [
        (CLIENT_FLAGS, client_flags != 0),
        (EXPIRES, expires_us.is_some()),
        (TOUCHED, touched_us.is_some()),
        (VERSIONED, version.is_some()),
        (BASE64, base64),
        (STALE, stale),
        (WON, won),
    ];
    to.push(bits(&parts));
    if client_flags != 0 {
        to.extend_from_slice(&client_flags.to_le_bytes());
    }
    for number in [expires_us, touched_us, version].into_iter().flatten() {
        to.extend_from_slice(&number.to_le_bytes());
    }
}

/// Appends a contribution to a counter.
pub fn put_contribution(to: &mut Vec<u8>, contribution: &Contribution) {
    to.extend_from_slice(&contribution.share.0.to_le_bytes());
    to.extend_from_slice(&contribution.version.to_le_bytes());
    to.extend_from_slice(&contribution.sum.to_bytes());
}

/// Appends a stamp.
pub fn put_stamp(to: &mut Vec<u8>, stamp: Stamp) {
    to.extend_from_slice(&stamp.time_us.to_le_bytes());
    to.extend_from_slice(&stamp.node.0.to_le_bytes());
}

/// The part of a state's record up to its name.
struct StateHead<'a> {
    stamp: Stamp,
    accessed_us: u64,
    changed_us: u64,
    /// The number of contributions.
    count: usize,
    name: &'a [u8],
}

/// A name with all there is to know of it.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedState<'a> {
    pub name: &'a [u8],
    pub state: State<'a>,
    /// When it has last changed at the server that has packed it.
    pub changed_us: u64,
}

/// The name of a packed state.
pub fn name_of_state(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = Fields(bytes);
    let kind = rest.kind_of_state()?;
    Some(rest.state_head(kind)?.name)
}

/// Decodes a state, which takes all bytes; `None` if no server can have packed it.
pub fn decode_state(bytes: &[u8]) -> Option<NamedState<'_>> {
    let mut rest = Fields(bytes);
    let kind = rest.kind_of_state()?;
    let StateHead {
        stamp,
        accessed_us,
        changed_us,
        count,
        name,
    } = rest.state_head(kind)?;
    let name = possible_name(name)?;
    let attributes = match kind & ATTRIBUTES {
        0 => Attributes::default(),
        _ => rest
            .attributes()
            .filter(|attributes| !attributes.is_empty())?,
    };
    let each = 16 + NUMBER_BYTES;
    let contributions = rest.take(count.checked_mul(each)?)?.chunks_exact(each);
    let contributions = contributions.map(|bytes| Fields(bytes).contribution());
    let contributions = contributions.collect::<Option<Vec<_>>>()?;
    let is_in_order = contributions.is_sorted_by(|a, b| a.share < b.share);
    let register = match kind & REGISTER {
        ABSENT => Register::Absent,
        REMOVED => Register::Removed,
        VALUE => Register::Value(rest.0),
        _ => return None,
    };
    let is_whole = match register {
        Register::Value(_) => true,
        Register::Removed => rest.0.is_empty(),
        Register::Absent => rest.0.is_empty() && !contributions.is_empty(),
    };
    let state = State {
        stamp,
        accessed_us,
        register,
        attributes,
        contributions,
    };
    (is_whole && is_in_order).then_some(NamedState {
        name,
        state,
        changed_us,
    })
}

/// Returns the name if its length is allowed by some value of the flags. The name may contain any bytes.
pub fn possible_name(name: &[u8]) -> Option<&[u8]> {
    (1..=MAX_RECORD_NAME).contains(&name.len()).then_some(name)
}

/// The bytes of a record or state that are not decoded yet.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// The next bytes.
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(*self.take(2)?.first_chunk()?))
    }

    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }

    fn kind_of_state(&mut self) -> Option<u8> {
        let kind = self.take(1)?[0];
        (kind >= STATE).then_some(kind)
    }

    /// Decodes a state of that kind up to its name. `None` if no server writes it so.
    fn state_head(&mut self, kind: u8) -> Option<StateHead<'a>> {
        let time_us = match kind & LONG_TIME {
            0 => {
                let mut time = [0; 8];
                time[..SHORT_TIME].copy_from_slice(self.take(SHORT_TIME)?);
                u64::from_le_bytes(time)
            }
            _ => self.u64().filter(|time_us| is_long_time(*time_us))?,
        };
        let node = NodeId(self.u64()?);
        let accessed_us = match kind & USED_LATER {
            0 => time_us,
            _ => self.u64().filter(|accessed_us| *accessed_us > time_us)?,
        };
        let changed_us = match kind & CHANGED {
            0 => time_us,
            _ => self.u64().filter(|changed_us| *changed_us != time_us)?,
        };
        let name_length = match self.take(1)?[0] {
            LONG_NAME => {
                self.u32()
                    .filter(|length| *length >= u32::from(LONG_NAME))? as usize
            }
            length => usize::from(length),
        };
        let count = match kind & COUNTED {
            0 => 0,
            _ => self.u32().filter(|count| *count > 0)? as usize,
        };
        if count > MAX_CONTRIBUTIONS {
            return None;
        }
        Some(StateHead {
            stamp: Stamp { time_us, node },
            accessed_us,
            changed_us,
            count,
            name: self.take(name_length)?,
        })
    }

    pub fn attributes(&mut self) -> Option<Attributes> {
        let bits = self.take(1)?[0];
        let has = |bit| bits & bit != 0;
        let client_flags = match has(CLIENT_FLAGS) {
            true => self.u32().filter(|flags| *flags != 0)?,
            false => 0,
        };
        let mut number = |bit| match has(bit) {
            true => self.u64().map(Some),
            false => Some(None),
        };
        let attributes = Attributes {
            client_flags,
            expires_us: number(EXPIRES)?,
            touched_us: number(TOUCHED)?,
            version: number(VERSIONED)?,
            marks: Marks {
                base64: has(BASE64),
                stale: has(STALE),
                won: has(WON),
            },
        };
        (bits & !ALL_ATTRIBUTES == 0).then_some(attributes)
    }

    pub fn contribution(&mut self) -> Option<Contribution> {
        Some(Contribution {
            share: ShareId(self.u64()?),
            version: self.u64()?,
            sum: Number::from_bytes(self.take(NUMBER_BYTES)?.first_chunk()?)?,
        })
    }

    pub fn stamp(&mut self) -> Option<Stamp> {
        Some(Stamp {
            time_us: self.u64()?,
            node: NodeId(self.u64()?),
        })
    }
}
