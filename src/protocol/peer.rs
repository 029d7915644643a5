//! The lines that clacksd servers send to each other in addition to those of the reference (clacks-interclacks(7)). A
//! Net::Clacks peer never gets any of them.
//!
//! | line | meaning |
//! |---|---|
//! | `PATH node…` | the sender's masters, from the root, and itself |
//! | `CLEAR stamp` | the newest CLEARCACHE the sender knows |
//! | `STATE stamp accessed kind contributions signal name=value` | all there is to know of a name |
//! | `COUNT stamp accessed share:version:sum name` | one share of a counter |
//! | `COUNT stamp 0 - name` | the answer of a server that does not know the counter |
//! | `FOLD stamp` | shares of runs that began before that are part of the folded share |
//! | `SIGNAL origin:number line` | a SET, NOTIFY or OVERHEAD line on its way through the tree |
//! | `SYNCED` | everything the sender held when the link came up has been sent |

use super::attributes::Attributes;
use super::command::Pair;
use super::number::Number;
use super::shared::{Lines, SharedBytes};
use crate::limits::{MAX_CONTRIBUTIONS, MAX_PATH, SECOND_US};
use std::fmt;
use std::io::Write;

/// The version of this extension that follows `interclacks/` in the CLACKS line. It is spoken to every server that
/// announces this version or a greater one.
pub const VERSION: u32 = 2;

/// One run of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(pub u64);

impl NodeId {
    /// Stands at the beginning of a path that doesn't begin at a root yet. No node draws it.
    pub const UNKNOWN: NodeId = NodeId(0);
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// When something was written, in an order that all nodes agree on: hybrid logical time, then who
/// wrote it. No two writes have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp {
    /// Microseconds since 1970 in the tree's time, or a little more where that was needed for the
    /// order.
    pub time_us: u64,
    pub node: NodeId,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.time_us, self.node)
    }
}

/// Identifies a share of counters: what one server has added under this id. The upper 32 bits are the tree
/// time in seconds when the id began, the lower ones are random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ShareId(pub u64);

impl ShareId {
    /// The share that all shares of ended runs are folded into.
    pub const FOLDED: ShareId = ShareId(0);

    /// An id that begins at that time; never [`ShareId::FOLDED`].
    pub fn new(begun_us: u64, random: u32) -> ShareId {
        let begun_s = u32::try_from(begun_us / SECOND_US).unwrap_or(u32::MAX);
        ShareId(u64::from(begun_s) << 32 | u64::from(random.max(1)))
    }

    /// When the id began, in microseconds.
    pub fn begun_us(self) -> u64 {
        (self.0 >> 32) * SECOND_US
    }
}

impl fmt::Display for ShareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

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

/// Which of all signals one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalId {
    pub origin: NodeId,
    /// The tree's time when the signal began, in microseconds, or one more than the number before.
    pub number: u64,
}

impl fmt::Display for SignalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.origin, self.number)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum PeerLine<'a> {
    Path(Vec<NodeId>),
    Clear(Stamp),
    /// With the signal that a SETANDSTORE is too.
    State {
        name: &'a [u8],
        state: State<'a>,
        signal: Option<SignalId>,
    },
    /// One share of the counter that has this stamp; `None`: the sender has no entry of that name.
    Count {
        name: &'a [u8],
        stamp: Stamp,
        accessed_us: u64,
        contribution: Option<Contribution>,
    },
    Fold(Stamp),
    Signal {
        id: SignalId,
        line: &'a [u8],
    },
    Synced,
}

/// The greatest version of this extension that the text of a CLACKS line announces; `None` if it announces none.
/// A word whose number is 0, or is not written in decimal digits without leading zeros, is part of the free text.
pub fn announced_version(software: &[u8]) -> Option<u32> {
    let words = software.split(|byte| *byte == b' ');
    let versions = words.filter_map(|word| word.strip_prefix(b"interclacks/"));
    versions.filter_map(version_number).max()
}

/// A number beyond 32 bits is the greatest one.
fn version_number(digits: &[u8]) -> Option<u32> {
    let is_number =
        matches!(digits.first(), Some(b'1'..=b'9')) && digits.iter().all(u8::is_ascii_digit);
    is_number
        .then(|| text(digits).and_then(|digits| digits.parse().ok()))?
        .or(Some(u32::MAX))
}

/// `None`: no line of this extension, or none in the right form.
pub fn decode(line: &[u8]) -> Option<PeerLine<'_>> {
    let (verb, rest) = split(line);
    Some(match verb {
        b"STATE" => state(rest?)?,
        b"SIGNAL" => {
            let (id, line) = split(rest?);
            PeerLine::Signal {
                id: signal_id(id)?,
                line: line?,
            }
        }
        b"COUNT" => count(rest?)?,
        b"CLEAR" => PeerLine::Clear(stamp(rest?)?),
        b"FOLD" => PeerLine::Fold(stamp(rest?)?),
        b"SYNCED" => PeerLine::Synced,
        b"PATH" => PeerLine::Path(path(rest?)?),
        _ => return None,
    })
}

/// Reports whether the line begins with a verb of this extension, whether or not the rest has the right form.
pub fn has_verb(line: &[u8]) -> bool {
    let (verb, _) = split(line);
    matches!(
        verb,
        b"STATE" | b"COUNT" | b"SIGNAL" | b"CLEAR" | b"FOLD" | b"SYNCED" | b"PATH"
    )
}

/// Of a path that is too long its beginning.
fn path(nodes: &[u8]) -> Option<Vec<NodeId>> {
    let nodes = text(nodes)?.split(' ').take(MAX_PATH + 1);
    nodes.map(node).collect()
}

/// Appends a STATE line.
pub fn encode_state(to: &mut Vec<u8>, name: &[u8], state: &State<'_>, signal: Option<SignalId>) {
    encode_state_head(to, state, signal);
    super::encode::line(to, &[name, b"=", state.register.value()]);
}

/// Appends a STATE line. If name and value lie in `source`, a long text that is shared, they are not copied.
pub fn append_state(
    to: &mut Lines,
    name: &[u8],
    state: &State<'_>,
    signal: Option<SignalId>,
    source: Option<&SharedBytes>,
) {
    encode_state_head(to.bytes(), state, signal);
    to.append(&[name, b"=", state.register.value()], source);
}

/// Appends all of a STATE line before the name.
fn encode_state_head(to: &mut Vec<u8>, state: &State<'_>, signal: Option<SignalId>) {
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
}

/// Appends a COUNT line about one share of a counter.
pub fn encode_count(
    to: &mut Vec<u8>,
    name: &[u8],
    stamp: Stamp,
    accessed_us: u64,
    contribution: &Contribution,
) {
    write!(to, "COUNT {stamp} {accessed_us} {contribution} ").expect("a Vec takes every write");
    super::encode::line(to, &[name]);
}

/// Appends the COUNT line that asks for the state of a name, which has no entry here.
pub fn encode_unknown_count(to: &mut Vec<u8>, name: &[u8], stamp: Stamp) {
    write!(to, "COUNT {stamp} 0 - ").expect("a Vec takes every write");
    super::encode::line(to, &[name]);
}

/// Appends a FOLD line.
pub fn encode_fold(to: &mut Vec<u8>, folded: Stamp) {
    super::encode::text(to, format_args!("FOLD {folded}"));
}

/// Appends a SIGNAL line.
pub fn encode_signal(to: &mut Vec<u8>, id: SignalId, line: &[&[u8]]) {
    write!(to, "SIGNAL {id} ").expect("a Vec takes every write");
    super::encode::line(to, line);
}

/// Appends a SIGNAL line. If its end lies in `source`, a long line that is shared, that is not copied.
pub fn append_signal(to: &mut Lines, id: SignalId, line: &[&[u8]], source: Option<&SharedBytes>) {
    write!(to.bytes(), "SIGNAL {id} ").expect("a Vec takes every write");
    to.append(line, source);
}

fn split(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b' ', bytes) {
        Some(blank) => (&bytes[..blank], Some(&bytes[blank + 1..])),
        None => (bytes, None),
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn node(text: &str) -> Option<NodeId> {
    u64::from_str_radix(text, 16).ok().map(NodeId)
}

fn stamp(bytes: &[u8]) -> Option<Stamp> {
    let (time, id) = text(bytes)?.split_once(':')?;
    Some(Stamp {
        time_us: time.parse().ok()?,
        node: node(id)?,
    })
}

fn signal_id(bytes: &[u8]) -> Option<SignalId> {
    let (origin, number) = text(bytes)?.split_once(':')?;
    Some(SignalId {
        origin: node(origin)?,
        number: number.parse().ok()?,
    })
}

fn state(bytes: &[u8]) -> Option<PeerLine<'_>> {
    let mut parts = bytes.splitn(6, |byte| *byte == b' ');
    let mut word = || parts.next();
    let (stamp_text, accessed, kind, contributions, signal, entry) =
        (word()?, word()?, word()?, word()?, word()?, word()?);
    let equals = memchr::memchr(b'=', entry)?;
    let Pair { name, value } = Pair {
        name: &entry[..equals],
        value: &entry[equals + 1..],
    };
    let register = match kind {
        b"A" => Register::Absent,
        b"R" => Register::Removed,
        b"V" => Register::Value(value),
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
    let is_empty = name.is_empty() || (register == Register::Absent && contributions.is_empty());
    if is_empty || !in_order {
        return None;
    }
    let signal = if signal == b"-" {
        None
    } else {
        Some(signal_id(signal)?)
    };
    let accessed_us = text(accessed)?.parse().ok()?;
    let state = State {
        stamp: stamp(stamp_text)?,
        accessed_us,
        register,
        attributes: Attributes::default(),
        contributions,
    };
    Some(PeerLine::State {
        name,
        state,
        signal,
    })
}

fn count(bytes: &[u8]) -> Option<PeerLine<'_>> {
    let mut parts = bytes.splitn(4, |byte| *byte == b' ');
    let mut word = || parts.next();
    let (stamp_text, accessed, share, name) = (word()?, word()?, word()?, word()?);
    if name.is_empty() || name.contains(&b'=') {
        return None;
    }
    let contribution = match share {
        b"-" if accessed == b"0" => None,
        share => Some(contribution(text(share)?)?),
    };
    Some(PeerLine::Count {
        name,
        stamp: stamp(stamp_text)?,
        accessed_us: text(accessed)?.parse().ok()?,
        contribution,
    })
}

fn contribution(text: &str) -> Option<Contribution> {
    let mut parts = text.splitn(3, ':');
    let (id, version, sum) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Contribution {
        share: ShareId(u64::from_str_radix(id, 16).ok()?),
        version: version.parse().ok()?,
        sum: Number::from_exact(sum)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_goes_there_and_back() {
        let contributions = vec![
            Contribution {
                share: ShareId(1),
                version: 7,
                sum: Number::from_value(b"-3"),
            },
            Contribution {
                share: ShareId(0xabc),
                version: 1,
                sum: Number::from_value(b"0.1"),
            },
        ];
        let stamp = Stamp {
            time_us: 1_700_000_000_123_456,
            node: NodeId(u64::MAX),
        };
        for (register, contributions) in [
            (Register::Value(b"v a=l"), Vec::new()),
            (Register::Value(b"5"), contributions.clone()),
            (Register::Removed, Vec::new()),
            (Register::Absent, contributions),
        ] {
            for signal in [
                None,
                Some(SignalId {
                    origin: NodeId(9),
                    number: 12,
                }),
            ] {
                let state = State {
                    stamp,
                    accessed_us: 5,
                    register,
                    attributes: Attributes::default(),
                    contributions: contributions.clone(),
                };
                let mut line = Vec::new();
                encode_state(&mut line, b"na me", &state, signal);
                let line = line.strip_suffix(b"\r\n").unwrap();
                assert_eq!(
                    decode(line),
                    Some(PeerLine::State {
                        name: b"na me",
                        state,
                        signal
                    })
                );
            }
        }
    }

    #[test]
    fn a_share_and_the_question_for_a_state_go_there_and_back() {
        let stamp = Stamp {
            time_us: 1_700_000_000_123_456,
            node: NodeId(9),
        };
        let contribution = Contribution {
            share: ShareId::new(1_700_000_000_000_000, 7),
            version: 1_700_000_000_123_457,
            sum: Number::from_value(b"-0.5"),
        };
        let decoded = |line: &[u8], contribution, accessed_us| {
            assert_eq!(
                decode(line.strip_suffix(b"\r\n").unwrap()),
                Some(PeerLine::Count {
                    name: b"na me",
                    stamp,
                    accessed_us,
                    contribution
                })
            );
        };
        let mut line = Vec::new();
        encode_count(&mut line, b"na me", stamp, 5, &contribution);
        decoded(&line, Some(contribution), 5);
        line.clear();
        encode_unknown_count(&mut line, b"na me", stamp);
        decoded(&line, None, 0);
        line.clear();
        encode_fold(&mut line, stamp);
        let fold = decode(line.strip_suffix(b"\r\n").unwrap());
        assert_eq!(fold, Some(PeerLine::Fold(stamp)));
    }

    #[test]
    fn a_share_id_says_when_it_began_and_is_never_that_of_the_folded_share() {
        assert_eq!(ShareId::new(12_999_999, 3), ShareId(12 << 32 | 3));
        assert_eq!(ShareId::new(12_999_999, 3).begun_us(), 12_000_000);
        assert_ne!(ShareId::new(0, 0), ShareId::FOLDED);
        assert_eq!(ShareId::new(u64::MAX, 0).0 >> 32, u64::from(u32::MAX));
    }

    #[test]
    fn what_is_out_of_form_is_none() {
        for line in [
            "COUNT 1:2 3 4:5:6",
            "COUNT 1:2 3 4:5:6 ",
            "COUNT 1:2 3 4:5:6 a=b",
            "COUNT 1:2 3 4:5 name",
            "COUNT 1:2 x - name",
            "COUNT 1:2 3 - name",
            "FOLD",
            "FOLD 5",
            "STATE",
            "STATE 1:2 3 V - - =x",
            "STATE 1:2 3 A - - n=",
            "STATE 1 3 V - - n=x",
            "STATE 1:2 3 V 2:1:0,1:1:0 - n=",
            "STATE 1:2 3 Q - - n=x",
            "SIGNAL 1 SET a=1",
            "SIGNAL 1:x SET a=1",
            "CLEAR",
            "CLEAR 5",
            "PATH",
            "PATH x!",
            "PING",
        ] {
            assert_eq!(decode(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_clacks_line_announces_the_greatest_version_that_it_names() {
        for (software, version) in [
            ("clacksd/0.1.0 interclacks/1", Some(1)),
            ("clacksd/0.1.0 interclacks/2", Some(2)),
            ("clacksd/9.9 interclacks/3 interclacks/2 x", Some(3)),
            ("interclacks/1 interclacks/x", Some(1)),
            ("interclacks/99999999999999999999", Some(u32::MAX)),
            ("clacksd/0.1.0", None),
            ("Net::Clacks 36", None),
            ("interclacks/", None),
            ("interclacks/0", None),
            ("interclacks/02", None),
            ("interclacks/+2", None),
            ("interclacks/-2", None),
            ("interclacks/2.1", None),
            ("interclacks/2x", None),
            ("Interclacks/2", None),
            ("x/interclacks/2", None),
            ("", None),
        ] {
            assert_eq!(
                announced_version(software.as_bytes()),
                version,
                "{software}"
            );
        }
        let bytes_around = b"\xff interclacks/2 \xff";
        assert_eq!(announced_version(bytes_around), Some(2));
    }
}
