//! All there is to know of a name, and its STATE line.

use super::ids::{ShareId, SignalId, Stamp, signal_id, stamp, text};
use super::{EscapedValue, PeerLine, attributes_word, escape};
use crate::limits::MAX_CONTRIBUTIONS;
use crate::protocol::attributes::Attributes;
use crate::protocol::encode;
use crate::protocol::number::Number;
use crate::protocol::shared::{Lines, SharedBytes};
use std::fmt;
use std::io::Write;

/// A share of a counter: what INCREMENTs and DECREMENTs under one id made of a register.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contribution {
    pub share: ShareId,
    /// The hybrid time of the share's last step; the greater is the newer. Of [`ShareId::FOLDED`] it is the
    /// weight of what has been folded.
    pub version: u64,
    pub sum: Number,
}

impl Contribution {
    /// The order in which one contribution of a share replaces another: by version, and at equal versions by an
    /// order of the sums that is the same on all nodes.
    pub fn supersedes(&self, other: &Contribution) -> bool {
        (self.version, self.sum.to_bytes()) > (other.version, other.sum.to_bytes())
    }
}

impl fmt::Display for Contribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contribution {
            share,
            version,
            sum,
        } = self;
        write!(f, "{share}:{version}:{}", sum.exact())
    }
}

/// The value or the removal that was last written to a name as a whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Register<'a> {
    /// Never written, or only before the newest CLEARCACHE: counters start from here.
    Absent,
    Removed,
    /// With contributions beside it, this is the number they are added to.
    Value(&'a [u8]),
}

impl<'a> Register<'a> {
    /// The value; empty if there is none.
    pub fn value(&self) -> &'a [u8] {
        match self {
            Register::Value(value) => value,
            Register::Absent | Register::Removed => b"",
        }
    }
}

/// All there is to know of a name.
#[derive(Debug, Clone, PartialEq)]
pub struct State<'a> {
    pub stamp: Stamp,
    pub accessed_us: u64,
    pub register: Register<'a>,
    pub attributes: Attributes,
    /// In the order of the share ids. They belong to this stamp and end with it.
    pub contributions: Vec<Contribution>,
}

impl State<'_> {
    /// Reports whether there is a value: it is no tombstone.
    pub fn holds_value(&self) -> bool {
        self.register != Register::Removed || !self.contributions.is_empty()
    }
}

/// A state without its value, which is still escaped.
#[derive(Debug, Clone, PartialEq)]
pub struct StateHead {
    pub stamp: Stamp,
    pub accessed_us: u64,
    kind: Kind,
    pub attributes: Attributes,
    pub contributions: Vec<Contribution>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Absent,
    Removed,
    Value,
}

impl StateHead {
    /// The state, with its value if it has one.
    pub fn into_state(self, value: &[u8]) -> State<'_> {
        State {
            stamp: self.stamp,
            accessed_us: self.accessed_us,
            register: match self.kind {
                Kind::Absent => Register::Absent,
                Kind::Removed => Register::Removed,
                Kind::Value => Register::Value(value),
            },
            attributes: self.attributes,
            contributions: self.contributions,
        }
    }
}

pub(super) fn decode(bytes: &[u8]) -> Option<PeerLine<'_>> {
    let mut parts = bytes.splitn(7, |byte| *byte == b' ');
    let mut word = || parts.next();
    let (stamp_text, accessed, kind) = (word()?, word()?, word()?);
    let (contributions, signal, attributes, entry) = (word()?, word()?, word()?, word()?);
    let equals = memchr::memchr(b'=', entry)?;
    let (kind, value): (_, &[u8]) = match kind {
        b"A" => (Kind::Absent, b""),
        b"R" => (Kind::Removed, b""),
        b"V" => (Kind::Value, &entry[equals + 1..]),
        _ => return None,
    };
    let contributions = match contributions {
        b"-" => Vec::new(),
        list => text(list)?
            .split(',')
            .take(MAX_CONTRIBUTIONS + 1)
            .map(contribution)
            .collect::<Option<Vec<_>>>()?,
    };
    let in_order = contributions.len() <= MAX_CONTRIBUTIONS
        && contributions.is_sorted_by(|a, b| a.share < b.share);
    let is_empty = kind == Kind::Absent && contributions.is_empty();
    if is_empty || !in_order {
        return None;
    }
    let signal = match signal {
        b"-" => None,
        id => Some(signal_id(id)?),
    };
    let head = StateHead {
        stamp: stamp(stamp_text)?,
        accessed_us: text(accessed)?.parse().ok()?,
        kind,
        attributes: attributes_word::decode(attributes)?,
        contributions,
    };
    Some(PeerLine::State {
        name: escape::name(&entry[..equals])?,
        head,
        value: EscapedValue::new(value)?,
        signal,
    })
}

pub(super) fn contribution(text: &str) -> Option<Contribution> {
    let mut parts = text.splitn(3, ':');
    let (id, version, sum) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Contribution {
        share: ShareId(u64::from_str_radix(id, 16).ok()?),
        version: version.parse().ok()?,
        sum: Number::from_exact(sum)?,
    })
}

/// Appends a STATE line.
pub fn encode_state(to: &mut Vec<u8>, name: &[u8], state: &State<'_>, signal: Option<SignalId>) {
    encode_head(to, state, signal);
    escape::append_name(to, name);
    to.push(b'=');
    escape::append_value(to, state.register.value());
    encode::line(to, &[]);
}

/// Appends a STATE line. If name and value lie in `source`, a long text that is shared, they are not copied, as far as
/// nothing in them has to be escaped.
pub fn append_state(
    to: &mut Lines,
    name: &[u8],
    state: &State<'_>,
    signal: Option<SignalId>,
    source: Option<&SharedBytes>,
) {
    let value = state.register.value();
    if source.is_some() && escape::is_plain(value) {
        encode_head(to.bytes(), state, signal);
        to.append(&[&escape::escape_name(name), b"=", value], source);
    } else {
        encode_state(to.bytes(), name, state, signal);
    }
}

/// Appends all of a STATE line before the name.
fn encode_head(to: &mut Vec<u8>, state: &State<'_>, signal: Option<SignalId>) {
    let kind = match state.register {
        Register::Absent => 'A',
        Register::Removed => 'R',
        Register::Value(_) => 'V',
    };
    let appended = (|| {
        write!(to, "STATE {} {} {kind} ", state.stamp, state.accessed_us)?;
        for (index, contribution) in state.contributions.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(to, "{comma}{contribution}")?;
        }
        to.write_all(if state.contributions.is_empty() {
            b"- "
        } else {
            b" "
        })?;
        match signal {
            Some(id) => write!(to, "{id} "),
            None => to.write_all(b"- "),
        }
    })();
    appended.expect("a Vec takes every write");
    attributes_word::append(to, &state.attributes);
    to.push(b' ');
}
