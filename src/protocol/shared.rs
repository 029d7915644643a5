//! Long texts that are shared instead of copied. A line of 16 MB takes milliseconds to copy into fresh memory, so the
//! buffer that it was read into goes, uncopied, to the cache and to everybody who gets the line or a part of it.

use crate::limits::LONG_LINE;
use crate::protocol::encode;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

/// Bytes that never change, or a part of them. A clone shares the memory.
#[derive(Clone)]
pub struct SharedBytes {
    buffer: Arc<Buffer>,
    start: usize,
    end: usize,
}

struct Buffer {
    bytes: Vec<u8>,
    /// In how many output queues it waits.
    queues: AtomicUsize,
    /// Where its memory goes in the end. `None` frees it at once.
    reclaim: Option<Sender<Vec<u8>>>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(reclaim) = &self.reclaim {
            // Without a receiver it is freed here.
            let _ = reclaim.send(std::mem::take(&mut self.bytes));
        }
    }
}

impl SharedBytes {
    /// Shares a buffer. Its memory goes to `reclaim` when nobody needs it any more, since freeing much at once takes
    /// long.
    pub fn new(bytes: Vec<u8>, reclaim: Option<Sender<Vec<u8>>>) -> SharedBytes {
        let end = bytes.len();
        SharedBytes {
            buffer: Arc::new(Buffer {
                bytes,
                queues: AtomicUsize::new(0),
                reclaim,
            }),
            start: 0,
            end,
        }
    }

    /// Copies a text that is given in parts.
    pub fn copy_of(parts: &[&[u8]]) -> SharedBytes {
        SharedBytes::new(parts.concat(), None)
    }

    /// The bytes of this text between two places in it.
    pub fn slice(&self, start: usize, end: usize) -> SharedBytes {
        assert!(start <= end && self.start + end <= self.end, "within");
        self.of_buffer(self.start + start, self.start + end)
    }

    /// The bytes of the whole buffer between two places in it.
    fn of_buffer(&self, start: usize, end: usize) -> SharedBytes {
        SharedBytes {
            buffer: self.buffer.clone(),
            start,
            end,
        }
    }

    /// The part of this text that lies at the given bytes. `None` if they are not in its buffer.
    pub fn part(&self, bytes: &[u8]) -> Option<SharedBytes> {
        let start = self.position_of(bytes)?;
        Some(self.of_buffer(start, start + bytes.len()))
    }

    /// The buffer itself, if nobody else has a part of it.
    pub fn into_buffer(self) -> Option<Vec<u8>> {
        let mut buffer = Arc::into_inner(self.buffer)?;
        // Its memory goes on being used.
        buffer.reclaim = None;
        Some(std::mem::take(&mut buffer.bytes))
    }

    /// Memory of the whole buffer, in bytes.
    pub fn buffer_size(&self) -> usize {
        self.buffer.bytes.len()
    }

    /// Tells the buffer from all others that are there.
    pub fn buffer_id(&self) -> usize {
        Arc::as_ptr(&self.buffer).addr()
    }

    /// The buffer waits in one output queue more; true if it is the first one.
    pub fn enter_queue(&self) -> bool {
        self.buffer.queues.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// The buffer waits in one output queue less; true if it was the last one.
    pub fn leave_queue(&self) -> bool {
        self.buffer.queues.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Finds the end of a text in this buffer, as far as it lies there in one piece, and the number of parts before it.
    /// `None` if that is so little that sharing would keep too much memory, or be dearer than copying.
    pub fn find_tail(&self, parts: &[&[u8]]) -> Option<(usize, SharedBytes)> {
        let (last, before) = parts.split_last()?;
        let mut start = self.position_of(last)?;
        let end = start + last.len();
        let mut rest = before.len();
        for part in before.iter().rev() {
            let Some(place) = start.checked_sub(part.len()) else {
                break;
            };
            let here = &self.buffer.bytes[place..start];
            if !(std::ptr::eq(here, *part) || part.len() <= SHORT_PART && here == *part) {
                break;
            }
            start = place;
            rest -= 1;
        }
        let length = end - start;
        let is_worth_it = length >= LONG_LINE && length >= self.buffer_size() / 4 * 3;
        is_worth_it.then(|| (rest, self.of_buffer(start, end)))
    }

    /// Where in the buffer a part of it begins.
    fn position_of(&self, part: &[u8]) -> Option<usize> {
        let place = part.as_ptr().addr();
        let start = place.checked_sub(self.buffer.bytes.as_ptr().addr())?;
        (start + part.len() <= self.buffer.bytes.len()).then_some(start)
    }
}

/// Parts up to this length may be equal to the bytes in a buffer without lying there: signs and verbs.
const SHORT_PART: usize = 16;

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer.bytes[self.start..self.end]
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedBytes({} bytes)", self.len())
    }
}

/// Encoded lines: short parts are copied, long ones shared.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Long parts, each with the number of `bytes` that come before it.
    shared: Vec<(usize, SharedBytes)>,
    /// Length of all long parts.
    shared_length: usize,
}

/// A piece of [`Lines`].
pub enum Piece<'a> {
    Copied(&'a [u8]),
    Shared(&'a SharedBytes),
}

impl Lines {
    /// Length of all lines, in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.shared_length
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer that short parts are appended to.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends a line of these parts. If it is long and ends with what lies in `source`, that is shared.
    pub fn append(&mut self, parts: &[&[u8]], source: Option<&SharedBytes>) {
        match source.and_then(|source| source.find_tail(parts)) {
            None => encode::line(&mut self.bytes, parts),
            Some((copied, tail)) => {
                for part in &parts[..copied] {
                    self.bytes.extend_from_slice(part);
                }
                self.shared_length += tail.len();
                self.shared.push((self.bytes.len(), tail));
                encode::line(&mut self.bytes, &[]);
            }
        }
    }

    /// A line of these parts, if its end lies in `source` and is so long that it can be shared.
    #[cold]
    pub fn sharing(parts: &[&[u8]], source: &SharedBytes) -> Option<Lines> {
        let mut lines = Lines::default();
        // Nothing is copied in vain.
        source.find_tail(parts)?;
        lines.append(parts, Some(source));
        Some(lines)
    }

    /// All pieces, in order.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let mut from = 0;
        let shared = self.shared.iter().flat_map(move |(place, text)| {
            let copied = &self.bytes[from..*place];
            from = *place;
            [Piece::Copied(copied), Piece::Shared(text)]
        });
        let last = self.shared.last().map_or(0, |(place, _)| *place);
        shared.chain([Piece::Copied(&self.bytes[last..])])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(lines: &Lines) -> Vec<u8> {
        let mut text = Vec::new();
        for piece in lines.pieces() {
            text.extend_from_slice(match piece {
                Piece::Copied(bytes) => bytes,
                Piece::Shared(shared) => shared,
            });
        }
        assert_eq!(text.len(), lines.len());
        text
    }

    fn long_line() -> (SharedBytes, usize) {
        let mut line = b"SETANDSTORE name=".to_vec();
        let value = line.len();
        line.resize(value + LONG_LINE, b'v');
        (SharedBytes::new(line, None), value)
    }

    #[test]
    fn long_ends_of_lines_are_shared_and_the_rest_is_copied() {
        let (line, value) = long_line();
        let (name, value) = (&line[12..16], &line[value..]);
        let mut lines = Lines::default();
        lines.append(&[b"NOTIFY before"], Some(&line));
        lines.append(&[b"SET ", name, b"=", value], Some(&line));
        lines.append(&[b"DEBUG cid=", &line], Some(&line));
        lines.append(&[b"NOTIFY after"], Some(&line));
        let shared: usize = lines.shared.iter().map(|(_, text)| text.len()).sum();
        assert_eq!(shared, 5 + LONG_LINE + line.len());
        let set = [b"SET name=", value].concat();
        let debug = [b"DEBUG cid=", &line[..]].concat();
        let expected =
            [b"NOTIFY before", &set[..], &debug, b"NOTIFY after", b""].join(&b"\r\n"[..]);
        assert!(text_of(&lines) == expected);
    }

    #[test]
    fn what_lies_elsewhere_or_is_a_small_part_is_copied() {
        let (line, value) = long_line();
        let elsewhere = line.to_vec();
        for (last, source) in [
            (&elsewhere[value..], Some(&line)),
            (&line[value + LONG_LINE / 2..], Some(&line)),
            (&line[value..], None),
        ] {
            let mut lines = Lines::default();
            lines.append(&[b"SET name=", last], source);
            assert!(lines.shared.is_empty());
            assert!(text_of(&lines) == [b"SET name=", last, b"\r\n"].concat());
        }
    }

    #[test]
    fn memory_is_reclaimed_when_the_last_part_is_dropped() {
        let (reclaim, reclaimed) = std::sync::mpsc::channel();
        let whole = SharedBytes::new(vec![1; 100], Some(reclaim));
        let part = whole.slice(10, 20);
        assert_eq!(part.len(), 10);
        drop(whole);
        assert!(reclaimed.try_recv().is_err());
        drop(part);
        assert_eq!(reclaimed.try_recv().map(|bytes| bytes.len()), Ok(100));
    }
}
