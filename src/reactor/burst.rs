//! Signals to the same listeners, one straight after the other: put together once, for all of them.
//!
//! A receiver gets a burst as one piece when it has ended. Whatever else goes to one of them ends it first,
//! so everybody gets everything in the order in which it came.

use crate::broker::{Audience, AudienceId, ConnectionId};
use crate::limits::OUTPUT_CHUNK;

/// Who got the last signal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// A listener to however many names.
    Only(ConnectionId),
    /// All of them, but the one that had sent it.
    AllBut(Option<ConnectionId>, AudienceId),
}

pub struct Burst {
    /// Bytes that one has at most.
    max: usize,
    last: Option<Last>,
    /// None while it is not open.
    receivers: Vec<ConnectionId>,
    bytes: Vec<u8>,
}

impl Burst {
    /// With so little output allowed to wait for each connection, a burst is only a part of it.
    pub fn new(max_output: usize) -> Burst {
        Burst {
            max: OUTPUT_CHUNK.min(max_output / 8),
            last: None,
            receivers: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Takes a signal in if it is for the same receivers, and not too much; how many they are.
    /// `includes_sender`: its sender is one of them.
    pub fn add(
        &mut self,
        audience: &Audience<'_>,
        includes_sender: bool,
        payload: &[u8],
    ) -> Option<usize> {
        let is_same = match (self.last?, audience.listeners) {
            (Last::Only(listener), [only]) => {
                listener == *only && audience.sender != Some(listener)
            }
            (Last::Only(_), _) => false,
            (Last::AllBut(left_out, id), _) => {
                id == audience.id
                    && (left_out == audience.sender || left_out.is_none() && !includes_sender)
            }
        };
        if self.receivers.is_empty() || !is_same || self.bytes.len() + payload.len() > self.max {
            return None;
        }
        self.bytes.extend_from_slice(payload);
        Some(self.receivers.len())
    }

    /// To be told of every signal that could not be added. Whether the one before it had the same receivers:
    /// then it is worth a burst.
    pub fn is_repeated(&mut self, audience: &Audience<'_>) -> bool {
        let sender = audience.sender;
        let left_out = sender.filter(|sender| audience.listeners.contains(sender));
        let this = Some(match audience.listeners {
            [only] if left_out.is_none() => Last::Only(*only),
            _ => Last::AllBut(left_out, audience.id),
        });
        std::mem::replace(&mut self.last, this) == this
    }

    /// Begins one with the signal last told of.
    pub fn begin(&mut self, receivers: impl Iterator<Item = ConnectionId>, payload: &[u8]) {
        self.receivers.extend(receivers);
        // For nobody there is none.
        if !self.receivers.is_empty() {
            self.bytes.extend_from_slice(payload);
        }
    }

    pub fn receivers(&self) -> &[ConnectionId] {
        &self.receivers
    }

    /// Who gets what. Both are to be cleared.
    pub fn end(&mut self) -> (&mut Vec<ConnectionId>, &mut Vec<u8>) {
        (&mut self.receivers, &mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_only_listener_sends_is_for_nobody() {
        let [listener, other] = [1, 2].map(|slot| ConnectionId {
            slot,
            generation: 1,
        });
        let listeners = [listener];
        let from = |sender| Audience {
            id: AudienceId::default(),
            listeners: &listeners,
            sender: Some(sender),
        };
        let mut burst = Burst::new(usize::MAX);
        assert!(!burst.is_repeated(&from(other)));
        assert!(burst.is_repeated(&from(other)));
        burst.begin(from(other).receivers(), b"1");
        assert_eq!(burst.add(&from(other), false, b"2"), Some(1));
        assert_eq!(burst.add(&from(listener), true, b"3"), None);
        let (receivers, bytes) = burst.end();
        assert_eq!(bytes, b"12");
        receivers.clear();
        bytes.clear();
        assert!(!burst.is_repeated(&from(listener)));
        assert!(burst.is_repeated(&from(listener)));
        burst.begin(from(listener).receivers(), b"4");
        assert_eq!(burst.end().1, b"");
    }
}
