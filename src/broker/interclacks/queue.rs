//! Lines that wait to be sent to a peer.

use crate::limits::LISTING_SLICE;
use crate::protocol::shared::Lines;
use std::collections::VecDeque;

/// In pieces, each of about as much as is sent at once.
#[derive(Default)]
pub struct LineQueue {
    pieces: VecDeque<Lines>,
    length: usize,
}

impl LineQueue {
    /// In bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Appends a line; how many bytes that are.
    pub fn append(&mut self, encode: impl FnOnce(&mut Lines)) -> isize {
        let has_room = |last: &mut Lines| last.len() < LISTING_SLICE;
        if !self.pieces.back_mut().is_some_and(has_room) {
            self.pieces.push_back(Lines::default());
        }
        let last = self.pieces.back_mut().expect("there is one now");
        let before = last.len();
        encode(last);
        let more = last.len() - before;
        self.length += more;
        more as isize
    }

    /// Takes the piece that came first; nothing if there is none.
    pub fn take(&mut self) -> Lines {
        let first = self.pieces.pop_front().unwrap_or_default();
        self.length -= first.len();
        first
    }
}
