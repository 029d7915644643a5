//! Signals to the same listeners, one straight after the other: put together once, for all of them.
//!
//! A receiver gets a burst as one piece when it has ended. Whatever else goes to one of them ends it first,
//! so everybody gets everything in the order in which it came.
//!
//! Where messages differ by a label from receiver to receiver, their other bytes are put together, with the places of the
//! labels.

use crate::broker::{Audience, AudienceId, ConnectionId, Labels};
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
    /// The places in the bytes where each receiver's label stands; none if the bytes are the same for all receivers.
    places: Vec<usize>,
    /// One for each receiver, if there are places for them.
    labels: Labels,
}

impl Burst {
    /// With so little output allowed to wait for each connection, a burst is only a part of it.
    pub fn new(max_output: usize) -> Burst {
        Burst {
            max: OUTPUT_CHUNK.min(max_output / 8),
            last: None,
            receivers: Vec::new(),
            bytes: Vec::new(),
            places: Vec::new(),
            labels: Labels::default(),
        }
    }

    /// Bytes that it has at most.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Returns the buffer that a signal of `length` bytes is to be appended to, and the number of receivers, if it is for the
    /// same receivers, and not too much. `includes_sender`: its sender is one of them.
    #[inline(always)]
    pub fn buffer_for(
        &mut self,
        audience: &Audience<'_>,
        includes_sender: impl FnOnce() -> bool,
        length: usize,
    ) -> Option<(&mut Vec<u8>, usize)> {
        if self.receivers.is_empty()
            || self.bytes.len() + length > self.max
            || !self.is_for(audience, includes_sender)
        {
            return None;
        }
        debug_assert!(self.places.is_empty(), "equal lists have no labels");
        Some((&mut self.bytes, self.receivers.len()))
    }

    /// Takes a message in, whose label stands between these parts, if [`Burst::buffer_for`] would; how many receivers there
    /// are.
    pub fn add_labelled(
        &mut self,
        audience: &Audience<'_>,
        includes_sender: impl FnOnce() -> bool,
        before: &[u8],
        after: &[u8],
    ) -> Option<usize> {
        let labels = (self.places.len() + 1) * self.labels.longest();
        let piece = self.bytes.len() + before.len() + after.len() + labels;
        if self.receivers.is_empty() || piece > self.max || !self.is_for(audience, includes_sender)
        {
            return None;
        }
        self.push_labelled(before, after);
        Some(self.receivers.len())
    }

    /// Reports whether the last signal had the same receivers.
    #[inline(always)]
    fn is_for(&self, audience: &Audience<'_>, includes_sender: impl FnOnce() -> bool) -> bool {
        match (self.last, audience.listeners) {
            (Some(Last::Only(listener)), [only]) => {
                listener == *only && audience.sender != Some(listener)
            }
            (Some(Last::AllBut(left_out, id)), _) => {
                id == audience.id
                    && (left_out == audience.sender || left_out.is_none() && !includes_sender())
            }
            _ => false,
        }
    }

    fn push_labelled(&mut self, before: &[u8], after: &[u8]) {
        self.bytes.extend_from_slice(before);
        self.places.push(self.bytes.len());
        self.bytes.extend_from_slice(after);
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

    /// Takes out the buffer of a burst that is not open: a signal is encoded there, and begins the next burst or none.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Puts the buffer back. Of a long signal no more memory is kept than of what is usual.
    pub fn put_buffer(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        buffer.shrink_to(OUTPUT_CHUNK);
        self.bytes = buffer;
    }

    /// Begins one with the signal last told of, in the buffer that was taken out.
    pub fn begin(&mut self, receivers: impl Iterator<Item = ConnectionId>, payload: Vec<u8>) {
        self.receivers.extend(receivers);
        // For nobody there is none.
        match self.receivers.is_empty() {
            true => self.put_buffer(payload),
            false => self.bytes = payload,
        }
    }

    /// Begins one with the message last told of, whose label stands between these parts.
    pub fn begin_labelled<'a>(
        &mut self,
        receivers: impl Iterator<Item = (ConnectionId, &'a [u8])>,
        before: &[u8],
        after: &[u8],
    ) {
        for (receiver, label) in receivers {
            self.receivers.push(receiver);
            self.labels.push(label);
        }
        if !self.receivers.is_empty() {
            self.push_labelled(before, after);
        }
    }

    /// Reports whether each receiver gets a piece of its own.
    pub fn is_labelled(&self) -> bool {
        !self.places.is_empty()
    }

    /// The receivers, each with its label.
    pub fn labelled_receivers(&self) -> impl Iterator<Item = (ConnectionId, &[u8])> {
        self.receivers.iter().copied().zip(self.labels.iter())
    }

    /// Appends the piece of a receiver with that label.
    pub fn append_labelled(&self, label: &[u8], to: &mut Vec<u8>) {
        to.reserve(self.bytes.len() + self.places.len() * label.len());
        let mut start = 0;
        for &place in &self.places {
            to.extend_from_slice(&self.bytes[start..place]);
            to.extend_from_slice(label);
            start = place;
        }
        to.extend_from_slice(&self.bytes[start..]);
    }

    /// Ends the burst. Its memory is for the next one.
    pub fn clear(&mut self) {
        self.receivers.clear();
        self.bytes.clear();
        self.places.clear();
        self.labels.clear();
    }

    pub fn receivers(&self) -> &[ConnectionId] {
        &self.receivers
    }

    /// Who gets what, if all get the same.
    pub fn parts(&mut self) -> (&[ConnectionId], &mut Vec<u8>) {
        (&self.receivers, &mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(
        burst: &mut Burst,
        audience: &Audience<'_>,
        includes_sender: bool,
        payload: &[u8],
    ) -> Option<usize> {
        let (buffer, receivers) = burst.buffer_for(audience, || includes_sender, payload.len())?;
        buffer.extend_from_slice(payload);
        Some(receivers)
    }

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
        burst.begin(from(other).receivers(), b"1".to_vec());
        assert_eq!(add(&mut burst, &from(other), false, b"2"), Some(1));
        assert_eq!(add(&mut burst, &from(listener), true, b"3"), None);
        assert_eq!(burst.parts().1, b"12");
        burst.clear();
        assert!(!burst.is_repeated(&from(listener)));
        assert!(burst.is_repeated(&from(listener)));
        burst.begin(from(listener).receivers(), b"4".to_vec());
        assert_eq!(burst.parts().1, b"");
    }

    fn connection(slot: u32) -> ConnectionId {
        ConnectionId {
            slot,
            generation: 1,
        }
    }

    #[test]
    fn each_receiver_gets_its_label_at_every_place() {
        let listeners = [connection(1), connection(2)];
        let audience = Audience {
            id: AudienceId::default(),
            listeners: &listeners,
            sender: None,
        };
        let labels = [&b"7"[..], b"42"];
        // The longest label counts for the size of a burst.
        let mut burst = Burst::new(8 * 15);
        assert!(!burst.is_repeated(&audience) && burst.is_repeated(&audience));
        burst.begin_labelled(listeners.into_iter().zip(labels), b"a ", b" b,");
        let mut add =
            |before: &[u8], after: &[u8]| burst.add_labelled(&audience, || false, before, after);
        assert_eq!(add(b"c ", b" d"), Some(2));
        assert_eq!(add(b"", b"e"), None);
        assert!(burst.is_labelled());
        let pieces = burst.labelled_receivers().map(|(receiver, label)| {
            let mut piece = b"before,".to_vec();
            burst.append_labelled(label, &mut piece);
            (receiver, String::from_utf8(piece).expect("text"))
        });
        let expected = ["before,a 7 b,c 7 d", "before,a 42 b,c 42 d"];
        assert!(pieces.eq(listeners.into_iter().zip(expected.map(str::to_owned))));
        burst.clear();
        assert!(!burst.is_labelled() && burst.receivers().is_empty());
        burst.begin(listeners.into_iter(), b"f".to_vec());
        assert_eq!(burst.parts().1, b"f");
        assert_eq!(burst.labelled_receivers().count(), 0);
    }
}
