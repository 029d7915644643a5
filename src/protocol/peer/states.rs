//! The STATES line: some states at once, in the [binary form](super::packed) of the journal. A server sends what
//! it has in such lines, since a text for each state would take both sides several times as long.
//!
//! Each state stands behind its length, a little-endian u16. Backslashes and line ends among all these bytes are escaped
//! as in values.

use super::packed::{self, Fields, NamedState};
use super::state::{State, encode_state};
use super::{EscapedValue, PeerLine, escape};
use crate::limits::{MAX_PACKED_STATE, STATES_PER_LINE};
use crate::protocol::encode;
use crate::protocol::number::NUMBER_BYTES;
use std::borrow::Cow;

/// The states of a line that is being put together.
#[derive(Debug, Default)]
pub struct StatesLine {
    packed: Vec<u8>,
    count: usize,
}

/// The longest part of a packed state beside its name, its value and its contributions.
const MAX_REST: usize = 72;

impl StatesLine {
    /// Reports whether a state may stand in such a line. Others have a STATE line of their own: to copy long ones once more
    /// would cost more than it saves.
    pub fn may_hold(name: &[u8], state: &State<'_>) -> bool {
        let contributions = state.contributions.len() * (16 + NUMBER_BYTES);
        name.len() + state.register.value().len() + contributions <= MAX_PACKED_STATE - MAX_REST
    }

    /// Adds a state that [may stand](StatesLine::may_hold) in such a line, which is not full.
    pub fn push(&mut self, name: &[u8], state: &State<'_>) {
        let start = self.packed.len();
        self.packed.extend_from_slice(&[0; 2]);
        packed::append_state(&mut self.packed, name, state, state.stamp.time_us);
        let length = self.packed.len() - start - 2;
        debug_assert!(length <= MAX_PACKED_STATE && !self.is_full());
        self.packed[start..start + 2].copy_from_slice(&(length as u16).to_le_bytes());
        self.count += 1;
    }

    pub fn is_full(&self) -> bool {
        self.count >= STATES_PER_LINE
    }

    /// The length of its states, in bytes.
    pub fn len(&self) -> usize {
        self.packed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// Appends the line, unless it has no states, and begins a new one.
    pub fn finish(&mut self, to: &mut Vec<u8>) {
        if self.is_empty() {
            return;
        }
        to.extend_from_slice(b"STATES ");
        escape::append_value(to, &self.packed);
        encode::line(to, &[]);
        self.packed.clear();
        self.count = 0;
    }
}

/// The states of a line, as they came.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedStates<'a>(Cow<'a, [u8]>);

impl PackedStates<'_> {
    /// The states, in the order of the line. `None`: no server sends them so.
    pub fn unpack(&self) -> Option<Vec<NamedState<'_>>> {
        let mut rest = Fields(&self.0);
        let mut states = Vec::with_capacity(STATES_PER_LINE);
        while !rest.0.is_empty() {
            let length = usize::from(rest.u16()?);
            let is_allowed = length <= MAX_PACKED_STATE && states.len() < STATES_PER_LINE;
            let state = packed::decode_state(rest.take(length).filter(|_| is_allowed)?)?;
            // At another server it has changed at another time.
            let has_no_change = state.changed_us == state.state.stamp.time_us;
            states.push(has_no_change.then_some(state)?);
        }
        (!states.is_empty()).then_some(states)
    }

    /// The STATE lines that say as much; none if the line has not the right form.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        let states = self.unpack().unwrap_or_default();
        let line_of = |NamedState { name, state, .. }: &NamedState<'_>| {
            let mut line = Vec::new();
            encode_state(&mut line, name, state, None);
            line.truncate(line.len() - b"\r\n".len());
            line
        };
        states.iter().map(line_of).collect()
    }
}

pub(super) fn decode(bytes: &[u8]) -> Option<PeerLine<'_>> {
    let escaped = EscapedValue::new(bytes)?;
    Some(PeerLine::States(PackedStates(escaped.unescape())))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{every_attribute, line_of, stored};
    use super::super::{Contribution, NodeId, Register, ShareId, Stamp, decode};
    use super::*;
    use crate::protocol::attributes::Attributes;
    use crate::protocol::number::Number;

    fn line(states: &[(&[u8], State<'_>)]) -> Vec<u8> {
        let mut line = StatesLine::default();
        for (name, state) in states {
            line.push(name, state);
        }
        line_of(|to| line.finish(to))
    }

    fn states_of(line: &[u8]) -> PackedStates<'_> {
        match decode(line) {
            Some(PeerLine::States(packed)) => packed,
            other => panic!("{other:?}"),
        }
    }

    fn is_right(line: &[u8]) -> bool {
        states_of(line).unpack().is_some()
    }

    /// A line of these bytes, which stand for packed states.
    fn line_of_bytes(bytes: &[u8]) -> Vec<u8> {
        let mut line = b"STATES ".to_vec();
        escape::append_value(&mut line, bytes);
        line
    }

    fn counter() -> State<'static> {
        let share = |id, sum: &[u8]| Contribution {
            share: ShareId(id),
            version: 7,
            sum: Number::from_value(sum),
        };
        State {
            register: Register::Absent,
            contributions: vec![share(0, b"3"), share(0xabc, b"-0.5")],
            ..stored(b"")
        }
    }

    #[test]
    fn states_of_all_kinds_go_there_and_back_in_their_order() {
        let every_byte: Vec<u8> = (0..=u8::MAX).collect();
        let stamp = Stamp {
            time_us: u64::MAX,
            node: NodeId(0x0a0d_5c0a),
        };
        let late = State {
            stamp,
            accessed_us: u64::MAX,
            ..stored(b"v")
        };
        let removed = State {
            register: Register::Removed,
            ..stored(b"")
        };
        let attributed = State {
            attributes: every_attribute(),
            ..stored(&every_byte)
        };
        let long_name = [b'n'; 300];
        let states: [(&[u8], State<'_>); 7] = [
            (b"b", stored(b"v")),
            (b"a=\\\r\n", attributed),
            (&every_byte[..100], stored(&every_byte)),
            (b"b", late),
            (&long_name, removed),
            (b"counter", counter()),
            (b"empty", stored(b"")),
        ];
        let line = line(&states);
        let packed = states_of(&line);
        let unpacked = packed.unpack().expect("it has the right form");
        let unpacked = unpacked.iter().map(|named| (named.name, &named.state));
        assert!(unpacked.eq(states.iter().map(|(name, state)| (*name, state))));
    }

    #[test]
    fn what_has_no_escape_is_not_copied() {
        let line = line(&[(b"name", stored(b"value"))]);
        assert!(matches!(states_of(&line).0, Cow::Borrowed(_)));
    }

    #[test]
    fn a_line_without_states_is_none() {
        let mut to = Vec::new();
        let mut line = StatesLine::default();
        line.finish(&mut to);
        assert!(to.is_empty());
        line.push(b"a", &stored(b"1"));
        line.finish(&mut to);
        assert!(line.is_empty() && !to.is_empty());
        assert!(!is_right(b"STATES "));
        assert_eq!(decode(b"STATES"), None);
    }

    #[test]
    fn a_line_has_so_many_states_and_no_more() {
        let mut full = StatesLine::default();
        let mut bytes = Vec::new();
        for _ in 0..STATES_PER_LINE {
            assert!(!full.is_full());
            full.push(b"a", &stored(b"1"));
            bytes.extend_from_slice(&full.packed[..full.len() / full.count]);
        }
        assert!(full.is_full());
        assert!(is_right(&line_of_bytes(&bytes)));
        bytes.extend_from_slice(&full.packed[..full.len() / full.count]);
        assert!(!is_right(&line_of_bytes(&bytes)), "one too many");
    }

    #[test]
    fn a_state_may_be_so_long_and_no_longer() {
        let fits = |length: usize, contributions| {
            let value = vec![b'v'; length];
            let mut state = stored(&value);
            state.attributes = every_attribute();
            state.contributions = contributions;
            StatesLine::may_hold(b"n", &state)
        };
        let most = MAX_PACKED_STATE - MAX_REST - 1;
        assert!(fits(most, Vec::new()) && !fits(most + 1, Vec::new()));
        let of_two = 2 * (16 + NUMBER_BYTES);
        let two = || counter().contributions;
        assert!(fits(most - of_two, two()) && !fits(most - of_two + 1, two()));
        // Everything that may take room beside the value does.
        let long = State {
            stamp: Stamp {
                time_us: u64::MAX - 1,
                node: NodeId(1),
            },
            accessed_us: u64::MAX,
            attributes: every_attribute(),
            ..counter()
        };
        let name = vec![b'n'; most + 1 - of_two];
        let line = line(&[(&name, long)]);
        assert!(is_right(&line));
        let mut bytes = Vec::new();
        for (length, is_allowed) in [(MAX_PACKED_STATE, true), (MAX_PACKED_STATE + 1, false)] {
            let beside = 1 + 7 + 8 + 1 + 1;
            let value = vec![b'v'; length - beside];
            let state = State {
                accessed_us: 7,
                ..stored(&value)
            };
            bytes.clear();
            bytes.extend_from_slice(&(length as u16).to_le_bytes());
            packed::append_state(&mut bytes, b"n", &state, state.stamp.time_us);
            assert_eq!(bytes.len(), length + 2);
            assert_eq!(is_right(&line_of_bytes(&bytes)), is_allowed, "{length}");
        }
    }

    #[test]
    fn wrong_bytes_make_the_whole_line_wrong() {
        let mut states = StatesLine::default();
        states.push(b"a", &stored(b"1"));
        states.push(b"b", &counter());
        let bytes = states.packed.clone();
        assert!(is_right(&line_of_bytes(&bytes)));
        let first = 2 + usize::from(bytes[0]);
        for end in 1..bytes.len() {
            let is_whole = end == first;
            assert_eq!(is_right(&line_of_bytes(&bytes[..end])), is_whole, "{end}");
        }
        let mut changed = Vec::new();
        changed.extend_from_slice(&[0; 2]);
        packed::append_state(&mut changed, b"a", &stored(b"1"), 99);
        changed[0] = changed.len() as u8 - 2;
        assert!(!is_right(&line_of_bytes(&changed)), "a time of change");
        let mut no_name = bytes[..first].to_vec();
        no_name[first - 3] = 0;
        assert!(!is_right(&line_of_bytes(&no_name)), "no name");
        assert_eq!(decode(br"STATES a\x"), None);
        assert_eq!(decode(b"STATES a\\"), None);
    }

    #[test]
    fn a_line_stands_for_state_lines() {
        let marked = State {
            attributes: Attributes {
                client_flags: 5,
                ..Attributes::default()
            },
            ..stored(b"2")
        };
        let line = line(&[(b"a=b", stored(b"1\n")), (b"c", marked)]);
        let lines = states_of(&line).lines();
        let texts: Vec<_> = lines
            .iter()
            .map(|line| String::from_utf8_lossy(line))
            .collect();
        assert_eq!(
            texts,
            [r"STATE 7:9 8 V - - - a\eb=1\n", "STATE 7:9 8 V - - f5 c=2"]
        );
    }
}
