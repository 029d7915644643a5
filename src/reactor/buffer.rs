//! Output that waits to be written to a socket. Small payloads are copied in, large ones shared with
//! the other receivers.

use crate::limits::OUTPUT_CHUNK;
use crate::protocol::shared::{Lines, Piece, SharedBytes};
use crate::reactor::connections::Share;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::rc::Rc;

/// Chunks handed to one write.
const MAX_SLICES: usize = 32;

/// A payload with several receivers. While any has not got it, its bytes count once in the gauge.
pub struct SharedPayload {
    bytes: PayloadBytes,
    gauge: Rc<Cell<usize>>,
}

enum PayloadBytes {
    Own(Box<[u8]>),
    /// A part of a long line or value. Its whole buffer counts.
    Long(SharedBytes),
}

impl SharedPayload {
    pub fn new(bytes: &[u8], gauge: &Rc<Cell<usize>>) -> Rc<SharedPayload> {
        gauge.set(gauge.get() + bytes.len());
        Rc::new(SharedPayload {
            bytes: PayloadBytes::Own(bytes.into()),
            gauge: gauge.clone(),
        })
    }

    /// Shares a part of a long line or value without copying it. The buffer counts once, whoever waits for parts of it.
    pub fn of_long(bytes: &SharedBytes, gauge: &Rc<Cell<usize>>) -> Rc<SharedPayload> {
        if bytes.enter_queue() {
            gauge.set(gauge.get() + bytes.buffer_size());
        }
        Rc::new(SharedPayload {
            bytes: PayloadBytes::Long(bytes.clone()),
            gauge: gauge.clone(),
        })
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            PayloadBytes::Own(bytes) => bytes,
            PayloadBytes::Long(bytes) => bytes,
        }
    }

    /// Reports whether the payload is exactly this part of a long line or value.
    pub fn is(&self, part: &SharedBytes) -> bool {
        std::ptr::eq(self.bytes(), &**part)
    }

    /// The long line or value that it is a part of.
    pub fn long(&self) -> Option<&SharedBytes> {
        match &self.bytes {
            PayloadBytes::Own(_) => None,
            PayloadBytes::Long(bytes) => Some(bytes),
        }
    }

    pub fn len(&self) -> usize {
        self.bytes().len()
    }
}

impl Drop for SharedPayload {
    fn drop(&mut self) {
        let freed = match &self.bytes {
            PayloadBytes::Own(bytes) => bytes.len(),
            PayloadBytes::Long(bytes) if bytes.leave_queue() => bytes.buffer_size(),
            PayloadBytes::Long(_) => 0,
        };
        self.gauge.set(self.gauge.get() - freed);
    }
}

enum Chunk {
    Own(Vec<u8>),
    Shared(Rc<Share>),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Own(bytes) => bytes,
            Chunk::Shared(share) => share.payload.bytes(),
        }
    }

    /// Memory that only this queue holds.
    fn capacity(&self) -> usize {
        match self {
            Chunk::Own(bytes) => bytes.capacity(),
            Chunk::Shared(_) => 0,
        }
    }
}

/// The effect of appending to an output queue, in bytes.
pub struct Appended {
    pub copied: usize,
    /// The change of the memory that the queue holds.
    pub grown: isize,
}

/// The output that one connection is still to be sent, in order.
#[derive(Default)]
pub struct OutputQueue {
    /// Complete chunks, none empty.
    sealed: VecDeque<Chunk>,
    /// The buffer that is appended to. Its bytes come after all sealed chunks.
    open: Vec<u8>,
    /// Bytes of the first chunk (of `open`, if none is sealed) that have been written already.
    written: usize,
    queued: usize,
    /// The approximate number of queued bytes that answer lines of the connection itself.
    answers: usize,
    sealed_capacity: usize,
}

impl OutputQueue {
    /// Bytes still to be written.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// About how many of these bytes answer nothing that the connection itself has sent.
    pub fn unasked(&self) -> usize {
        self.queued.saturating_sub(self.answers)
    }

    /// So many of the bytes that were appended last are an answer.
    #[cold]
    pub fn count_answer(&mut self, bytes: usize) {
        self.answers += bytes;
    }

    /// Memory held by this queue alone, in bytes.
    pub fn capacity(&self) -> usize {
        self.sealed_capacity + self.open.capacity() + self.sealed.capacity() * size_of::<Chunk>()
    }

    /// Lets `encode` append in place.
    pub fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Appended {
        let mut grown = 0;
        if self.open.len() >= OUTPUT_CHUNK {
            let capacity = self.capacity();
            self.seal();
            grown = self.grown_from(capacity);
        }
        let (length, capacity) = (self.open.len(), self.open.capacity());
        encode(&mut self.open);
        let copied = self.open.len() - length;
        self.queued += copied;
        grown += self.open.capacity().cast_signed() - capacity.cast_signed();
        Appended { copied, grown }
    }

    /// Appends a buffer's bytes. If nothing is being appended to, swaps the two buffers instead of copying.
    pub fn append_buffer(&mut self, bytes: &mut Vec<u8>) -> Appended {
        if !self.open.is_empty() {
            return self.append(|to| to.extend_from_slice(bytes));
        }
        let capacity = self.capacity();
        std::mem::swap(&mut self.open, bytes);
        self.queued += self.open.len();
        Appended {
            copied: 0,
            grown: self.grown_from(capacity),
        }
    }

    pub fn append_shared(&mut self, share: Rc<Share>) -> Appended {
        let capacity = self.capacity();
        self.seal();
        self.queued += share.payload.len();
        self.sealed.push_back(Chunk::Shared(share));
        Appended {
            copied: 0,
            grown: self.grown_from(capacity),
        }
    }

    /// Appends lines. `shares` are their long parts, in order.
    pub fn append_lines(
        &mut self,
        lines: &Lines,
        shares: impl IntoIterator<Item = Rc<Share>>,
    ) -> Appended {
        let mut shares = shares.into_iter();
        let capacity = self.capacity();
        let mut copied = 0;
        for piece in lines.pieces() {
            match piece {
                Piece::Copied(bytes) => {
                    self.open.extend_from_slice(bytes);
                    copied += bytes.len();
                }
                Piece::Shared(_) => {
                    self.seal();
                    self.sealed.extend(shares.next().map(Chunk::Shared));
                }
            }
        }
        self.queued += lines.len();
        Appended {
            copied,
            grown: self.grown_from(capacity),
        }
    }

    fn grown_from(&self, capacity: usize) -> isize {
        self.capacity().cast_signed() - capacity.cast_signed()
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            let chunk = Chunk::Own(std::mem::take(&mut self.open));
            self.sealed_capacity += chunk.capacity();
            self.sealed.push_back(chunk);
        }
    }

    /// One write of as much as the socket takes, up to `most` bytes; returns how much it was. The kernel goes on for as
    /// long as the peer reads, so a long chunk alone is no bound.
    pub fn write_to(&mut self, socket: &mut impl Write, most: usize) -> io::Result<usize> {
        let only = match self.sealed.front() {
            None => Some(&self.open[..]),
            Some(first) if self.sealed.len() == 1 && self.open.is_empty() => Some(first.bytes()),
            Some(_) => None,
        };
        let count = if let Some(bytes) = only {
            let bytes = &bytes[self.written..];
            socket.write(&bytes[..bytes.len().min(most)])?
        } else {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let chunks = self.sealed.iter().map(Chunk::bytes).chain([&self.open[..]]);
            let mut used = 0;
            let (mut skip, mut left) = (self.written, most);
            for (slice, bytes) in slices.iter_mut().zip(chunks) {
                let bytes = &bytes[skip..];
                let bytes = &bytes[..bytes.len().min(left)];
                *slice = IoSlice::new(bytes);
                left -= bytes.len();
                skip = 0;
                used += 1;
                if left == 0 {
                    break;
                }
            }
            socket.write_vectored(&slices[..used])?
        };
        self.consume(count);
        Ok(count)
    }

    /// Frees a chunk of a queue that isn't needed any more; how much that was, `None` if there is none.
    pub fn free_chunk(&mut self) -> Option<usize> {
        self.sealed
            .pop_back()
            .map(|chunk| chunk.capacity().max(size_of::<Chunk>()))
    }

    /// Which of the bytes are answers is not kept: as large a part of those that are consumed as of all.
    #[cold]
    fn consume_answers(&mut self, count: usize) {
        let left = (self.queued - count) as u128;
        self.answers = (self.answers as u128 * left / self.queued.max(1) as u128) as usize;
    }

    fn consume(&mut self, count: usize) {
        if self.answers > 0 {
            self.consume_answers(count);
        }
        self.queued -= count;
        self.written += count;
        while let Some(first) = self.sealed.front() {
            let length = first.bytes().len();
            if self.written < length {
                return;
            }
            self.written -= length;
            self.sealed_capacity -= first.capacity();
            self.sealed.pop_front();
        }
        if self.written == self.open.len() {
            self.open.clear();
            self.written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{LONG_LINE, SHARED_PAYLOAD};

    /// Takes as many bytes per write as it is told.
    struct Narrow {
        taken: Vec<u8>,
        per_write: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let before = self.taken.len();
            for slice in slices {
                let room = self.per_write - (self.taken.len() - before);
                self.taken
                    .extend_from_slice(&slice[..slice.len().min(room)]);
            }
            Ok(self.taken.len() - before)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn everything_arrives_in_order_however_little_the_socket_takes() {
        let gauge = Rc::new(Cell::new(0));
        let large = vec![b'L'; SHARED_PAYLOAD];
        for per_write in [1, 2, 3, 1000, SHARED_PAYLOAD, 100_000, usize::MAX] {
            let mut queue = OutputQueue::default();
            let mut socket = Narrow {
                taken: Vec::new(),
                per_write,
            };
            let mut expected = Vec::new();
            for round in 0..40_u8 {
                let small = vec![round; 1 + usize::from(round) * 100];
                queue.append(|to| to.extend_from_slice(&small));
                expected.extend_from_slice(&small);
                if round % 7 == 0 {
                    let mut buffer = vec![b'B'; usize::from(round) * 10];
                    expected.extend_from_slice(&buffer);
                    let before = queue.capacity();
                    let grown = queue.append_buffer(&mut buffer).grown;
                    assert_eq!(queue.capacity().cast_signed(), before.cast_signed() + grown);
                }
                if round % 5 == 0 {
                    let payload = SharedPayload::new(&large, &gauge);
                    queue.append_shared(Share::of(&Rc::default(), &payload));
                    expected.extend_from_slice(&large);
                }
                queue.write_to(&mut socket, usize::MAX).unwrap();
                assert_eq!(queue.queued(), expected.len() - socket.taken.len());
            }
            while queue.queued() > 0 {
                queue.write_to(&mut socket, usize::MAX).unwrap();
            }
            assert!(socket.taken == expected, "{per_write} bytes per write");
            assert_eq!(
                (gauge.get(), queue.sealed_capacity, queue.written),
                (0, 0, 0)
            );
        }
    }

    #[test]
    fn one_write_is_bounded_however_much_the_socket_takes() {
        let mut queue = OutputQueue::default();
        let mut expected = Vec::new();
        for length in [10, 3 * OUTPUT_CHUNK, 1, OUTPUT_CHUNK, 500] {
            let bytes = vec![length as u8; length];
            queue.append(|to| to.extend_from_slice(&bytes));
            expected.extend_from_slice(&bytes);
        }
        for most in [1, 7, 1000, OUTPUT_CHUNK] {
            let mut socket = Narrow {
                taken: Vec::new(),
                per_write: usize::MAX,
            };
            let count = queue.write_to(&mut socket, most).unwrap();
            assert_eq!(count, most);
            assert!(socket.taken == expected.drain(..most).as_slice());
        }
    }

    #[test]
    fn a_long_part_counts_once_until_its_last_receiver_has_it() {
        let gauge = Rc::new(Cell::new(0));
        let line = SharedBytes::new(vec![b'x'; LONG_LINE], None);
        let mut lines = Lines::default();
        lines.append(&[b"DEBUG cid=", &line], Some(&line));
        let mut expected = [b"DEBUG cid=", &line[..], b"\r\n"].concat();
        expected.extend_from_slice(&expected.clone());
        let mut queues: Vec<OutputQueue> = (0..3).map(|_| OutputQueue::default()).collect();
        for queue in &mut queues {
            for _ in 0..2 {
                let payload = SharedPayload::of_long(&line, &gauge);
                let share = Share::of(&Rc::default(), &payload);
                assert!(queue.append_lines(&lines, [share]).copied < 100);
            }
            assert!(queue.capacity() < 2000, "nothing is copied");
        }
        for mut queue in queues {
            assert_eq!(gauge.get(), LONG_LINE);
            let mut socket = Narrow {
                taken: Vec::new(),
                per_write: 100_000,
            };
            while queue.queued() > 0 {
                queue.write_to(&mut socket, usize::MAX).unwrap();
            }
            assert!(socket.taken == expected);
        }
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_shared_payload_counts_once_until_its_last_receiver_has_it() {
        let gauge = Rc::new(Cell::new(0));
        let mut queues: Vec<OutputQueue> = (0..10).map(|_| OutputQueue::default()).collect();
        let payload = SharedPayload::new(&[b'x'; SHARED_PAYLOAD], &gauge);
        for queue in &mut queues {
            queue.append_shared(Share::of(&Rc::default(), &payload));
        }
        drop(payload);
        assert_eq!(gauge.get(), SHARED_PAYLOAD);
        queues.truncate(1);
        assert_eq!(gauge.get(), SHARED_PAYLOAD);
        queues.clear();
        assert_eq!(gauge.get(), 0);
    }
}
