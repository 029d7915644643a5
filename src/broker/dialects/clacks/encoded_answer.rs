//! The answer to RETRIEVE with a long value that no line can contain: the text that clients see is made a slice at a time,
//! since encoding 16 MB takes tens of milliseconds.

use crate::protocol::shared::SharedBytes;
use crate::protocol::shown::{append_encoded, begin_encoded, encoded_length, needs_encoding};

pub struct EncodedAnswer {
    /// The value, which stays what it was when the answer began.
    value: SharedBytes,
    /// The number of its bytes that are in the line.
    encoded: usize,
    /// The line without its end.
    line: Vec<u8>,
}

impl EncodedAnswer {
    /// Begins an answer with a value, which lies in `text`. `None` if the value is in a line as it is.
    pub fn new(name: &[u8], value: &[u8], text: &SharedBytes) -> Option<EncodedAnswer> {
        const VERB: &[u8] = b"RETRIEVED ";
        if !needs_encoding(value) {
            return None;
        }
        let value = text.part(value)?;
        let length = VERB.len() + name.len() + 1 + encoded_length(value.len());
        let mut line = Vec::with_capacity(length);
        for part in [VERB, name, b"="] {
            line.extend_from_slice(part);
        }
        begin_encoded(&mut line);
        Some(EncodedAnswer {
            value,
            encoded: 0,
            line,
        })
    }

    /// Memory in bytes: the line as it will be, and the value, which may be no entry's any more.
    pub fn memory(&self) -> usize {
        self.line.capacity() + self.value.buffer_size()
    }

    /// Encodes about so many bytes more. Returns false when all are.
    pub fn advance(&mut self, bytes: usize) -> bool {
        let rest = &self.value[self.encoded..];
        let piece = &rest[..rest.len().min(bytes.next_multiple_of(3))];
        append_encoded(&mut self.line, piece);
        self.encoded += piece.len();
        self.encoded < self.value.len()
    }

    pub fn into_line(self) -> SharedBytes {
        SharedBytes::new(self.line, None)
    }
}
