//! A stream that translates notifications into UTF-8 for the driver, which accepts nothing else.
//!
//! A database in SQL_ASCII sends arbitrary bytes, at which the driver would end the connection. So each byte of a
//! notification that is not ASCII is replaced by the character with the same number before the driver reads it, and
//! restored afterwards by [`bytes_of`]. Nothing else is changed.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A byte stream to a database.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

/// The stream that the driver gets: a socket, or TLS over one, with translated notifications.
pub type Stream = Translated<Box<dyn Duplex>>;

/// The original bytes of a payload that passed through a [`Translated`] stream.
pub fn bytes_of(payload: &str) -> Vec<u8> {
    payload
        .chars()
        .map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?'))
        .collect()
}

/// The header of a message, in bytes: a letter, and the length of the message without the letter.
const HEADER: usize = 5;
const NOTIFICATION: u8 = b'A';
/// The longest translated notification, in bytes. Longer ones pass unchanged; PostgreSQL limits channel and payload to
/// about 8000 bytes together.
const MAX_TRANSLATED: usize = 64 << 10;

/// Finds the notifications among a database's messages and translates them. No I/O.
#[derive(Default)]
struct Translator {
    /// The beginning of a message, or an incomplete notification.
    buffered: Vec<u8>,
    /// The number of bytes of the present message that are still to pass unchanged.
    to_pass: usize,
}

impl Translator {
    /// Appends the bytes for the driver to `out`.
    fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        while !input.is_empty() {
            if self.to_pass > 0 {
                let count = self.to_pass.min(input.len());
                out.extend_from_slice(&input[..count]);
                self.to_pass -= count;
                input = &input[count..];
                continue;
            }
            let count = (self.wanted()? - self.buffered.len()).min(input.len());
            self.buffered.extend_from_slice(&input[..count]);
            input = &input[count..];
            if self.buffered.len() < HEADER || self.buffered.len() < self.wanted()? {
                continue;
            }
            if self.buffered[0] == NOTIFICATION && self.buffered.len() > HEADER {
                translate(&self.buffered, out);
            } else {
                out.extend_from_slice(&self.buffered);
                self.to_pass = self.length()? + 1 - HEADER;
            }
            self.buffered.clear();
        }
        Ok(())
    }

    /// The number of bytes of the present message that have to be buffered before any of them pass.
    fn wanted(&self) -> io::Result<usize> {
        if self.buffered.len() < HEADER || self.buffered[0] != NOTIFICATION {
            return Ok(HEADER);
        }
        match self.length()? + 1 {
            length if length <= MAX_TRANSLATED => Ok(length),
            _ => Ok(HEADER),
        }
    }

    /// The length in the header. It includes its own four bytes.
    fn length(&self) -> io::Result<usize> {
        let bytes = self
            .buffered
            .get(1..HEADER)
            .and_then(|bytes| bytes.try_into().ok());
        let length = bytes.map_or(0, u32::from_be_bytes);
        match usize::try_from(length) {
            Ok(length) if length >= 4 => Ok(length),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }
}

/// Translates a notification: a header, the number of a process, and two texts that end with a zero byte.
fn translate(message: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&message[..HEADER]);
    let (process, texts) = message[HEADER..].split_at((message.len() - HEADER).min(4));
    out.extend_from_slice(process);
    let mut utf8 = [0; 2];
    for byte in texts {
        out.extend_from_slice(char::from(*byte).encode_utf8(&mut utf8).as_bytes());
    }
    let length = u32::try_from(out.len() - start - 1).expect("at most twice the longest");
    out[start + 1..start + HEADER].copy_from_slice(&length.to_be_bytes());
}

/// The size of the read buffer, in bytes.
const READ_SIZE: usize = 16 * 1024;

/// The stream of a connection to a database after the negotiation of TLS.
pub struct Translated<S> {
    stream: S,
    translator: Translator,
    /// Bytes for the driver, of which it has read the first `read`.
    out: Vec<u8>,
    read: usize,
    buffer: Box<[u8]>,
}

impl<S> Translated<S> {
    pub fn new(stream: S) -> Translated<S> {
        Translated {
            stream,
            translator: Translator::default(),
            out: Vec::new(),
            read: 0,
            buffer: vec![0; READ_SIZE].into_boxed_slice(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Translated<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.read == this.out.len() {
            this.out.clear();
            this.read = 0;
            let mut buffer = ReadBuf::new(&mut this.buffer);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.translator.push(buffer.filled(), &mut this.out)?;
        }
        let count = to.remaining().min(this.out.len() - this.read);
        to.put_slice(&this.out[this.read..this.read + count]);
        this.read += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Translated<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(letter: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).expect("it is short");
        [&[letter][..], &length.to_be_bytes(), body].concat()
    }

    #[test]
    fn notifications_of_any_bytes_are_utf_8_however_they_are_cut() {
        let texts = [
            &b"\0\0\xff\x01clacksmessage\0a\xff\xc3"[..],
            "ü\0".as_bytes(),
        ]
        .concat();
        let translated = [&b"\0\0\xff\x01clacksmessage\0a"[..], "ÿÃÃ¼\0".as_bytes()].concat();
        let other = message(b'D', b"\xff\x80");
        let sent = [
            &*other,
            &message(b'A', &texts),
            &message(b'Z', b"I"),
            &other,
        ]
        .concat();
        let expected = [
            &*other,
            &message(b'A', &translated),
            &message(b'Z', b"I"),
            &other,
        ]
        .concat();
        for cut in 0..=sent.len() {
            let (mut translator, mut out) = (Translator::default(), Vec::new());
            for piece in [&sent[..cut], &sent[cut..]] {
                translator.push(piece, &mut out).expect("messages");
            }
            assert_eq!(out, expected, "{cut}");
        }
        let (mut translator, mut out) = (Translator::default(), Vec::new());
        for byte in &sent {
            translator.push(&[*byte], &mut out).expect("messages");
        }
        assert_eq!(out, expected);
        assert_eq!(
            bytes_of("aÿÃÃ¼"),
            [&b"a\xff\xc3"[..], "ü".as_bytes()].concat()
        );
    }

    #[test]
    fn what_is_no_notification_is_not_collected() {
        let (mut translator, mut out) = (Translator::default(), Vec::new());
        let huge = [b'A', 0x7f, 0xff, 0xff, 0xff, b'x'];
        translator.push(&huge, &mut out).expect("a header");
        assert_eq!(out, huge);
        for length in 0..4 {
            let (mut translator, mut out) = (Translator::default(), Vec::new());
            assert!(translator.push(&[b'A', 0, 0, 0, length], &mut out).is_err());
        }
        let (mut translator, mut out) = (Translator::default(), Vec::new());
        for length in 4..8 {
            let body = vec![0xff; length as usize - 4];
            let short = message(b'A', &body);
            translator.push(&short, &mut out).expect("a message");
        }
    }
}
