//! One connection of a load: writes requests, and compares the received bytes with the expected answers.

use super::error::BenchError;
use super::protocol::{BenchProtocol, Unsolicited};
use rustls::{ClientConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// A connected and logged-in stream that never blocks.
pub trait Socket: Read + Write {
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Returns true if received bytes may wait in a buffer above the descriptor, which poll can't see.
    fn buffers_input(&self) -> bool {
        false
    }
}

impl Socket for socket2::Socket {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Socket for StreamOwned<ClientConnection, socket2::Socket> {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.sock.as_fd()
    }

    fn buffers_input(&self) -> bool {
        true
    }
}

/// The longest unsolicited line, in bytes.
const MAX_UNSOLICITED: usize = 64 * 1024;

/// A connection that counts the exchanges that were answered as expected.
pub struct LoadConnection {
    socket: Box<dyn Socket>,
    /// Bytes that the socket has not accepted yet.
    pending_output: Vec<u8>,
    /// TLS has encrypted bytes left to write.
    is_flushing: bool,
    /// The number of exchanges whose answers were received completely.
    answered: u64,
    /// The number of received bytes of the present exchange's answer.
    matched: usize,
    /// The received beginning of a line that is not part of an answer.
    unsolicited: Vec<u8>,
}

impl LoadConnection {
    pub fn new(socket: Box<dyn Socket>) -> LoadConnection {
        LoadConnection {
            socket,
            pending_output: Vec::new(),
            is_flushing: false,
            answered: 0,
            matched: 0,
            unsolicited: Vec::new(),
        }
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.descriptor()
    }

    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Sets the count of exchanges to 0. No exchange may be in progress.
    pub fn reset_counts(&mut self) {
        self.answered = 0;
    }

    pub fn wants_writable(&self) -> bool {
        self.is_flushing || !self.pending_output.is_empty()
    }

    /// Writes as many bytes as the socket accepts and keeps the rest.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), BenchError> {
        let written = match self.wants_writable() {
            true => 0,
            false => self.write(bytes)?,
        };
        self.pending_output.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Writes kept bytes, when the socket is writable.
    pub fn send_pending(&mut self) -> Result<(), BenchError> {
        let pending_output = std::mem::take(&mut self.pending_output);
        let written = self.write(&pending_output)?;
        self.pending_output = pending_output;
        self.pending_output.drain(..written);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, BenchError> {
        let mut written = 0;
        while written < bytes.len() {
            match self.socket.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(BenchError::Lost(error)),
            }
        }
        // Only TLS buffers anything here.
        self.is_flushing = match self.socket.flush() {
            Ok(()) => false,
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            Err(error) => return Err(BenchError::Lost(error)),
        };
        Ok(written)
    }

    /// Reads received bytes and compares them. `expected` returns the answer of the exchange with that number, counted
    /// from 0, or nothing if no answer may arrive.
    ///
    /// # Errors
    /// The connection is lost, a command is refused, or other bytes arrive than expected.
    pub fn receive<'a>(
        &mut self,
        protocol: &dyn BenchProtocol,
        scratch: &mut [u8],
        expected: impl Fn(u64) -> &'a [u8],
    ) -> Result<(), BenchError> {
        loop {
            let count = match self.socket.read(scratch) {
                Ok(0) => return Err(BenchError::Lost(ErrorKind::UnexpectedEof.into())),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(BenchError::Lost(error)),
            };
            self.take(protocol, &scratch[..count], &expected)?;
            if !self.socket.buffers_input() {
                return Ok(());
            }
        }
    }

    fn take<'a>(
        &mut self,
        protocol: &dyn BenchProtocol,
        received: &[u8],
        expected: &impl Fn(u64) -> &'a [u8],
    ) -> Result<(), BenchError> {
        let mut different = if self.unsolicited.is_empty() {
            self.compare(received, expected)
        } else {
            let mut unsolicited = std::mem::take(&mut self.unsolicited);
            unsolicited.extend_from_slice(received);
            Some(unsolicited)
        };
        while let Some(unsolicited) = different {
            let end = memchr::memchr(b'\n', &unsolicited);
            let is_long = unsolicited.len() > MAX_UNSOLICITED;
            let Some(end) = end.or(is_long.then(|| unsolicited.len() - 1)) else {
                self.unsolicited = unsolicited;
                return Ok(());
            };
            let line = unsolicited[..=end].trim_ascii_end();
            match protocol.unsolicited(line) {
                Unsolicited::Ignored => {}
                Unsolicited::Answered(answer) => self.send(answer)?,
                Unsolicited::Refused(reason) => return Err(BenchError::Refused(reason)),
                Unsolicited::Wrong => {
                    let wanted = &expected(self.answered)[self.matched..];
                    return Err(BenchError::wrong(line, wanted));
                }
            }
            different = self.compare(&unsolicited[end + 1..], expected);
        }
        Ok(())
    }

    /// Compares received bytes with the expected answers. At the first difference it returns the line that differs, or
    /// its beginning, and all bytes after it.
    fn compare<'a>(
        &mut self,
        mut received: &[u8],
        expected: &impl Fn(u64) -> &'a [u8],
    ) -> Option<Vec<u8>> {
        while !received.is_empty() {
            let answer = expected(self.answered);
            let wanted = &answer[self.matched..];
            let count = wanted.len().min(received.len());
            if count == 0 || wanted[..count] != received[..count] {
                let pairs = wanted.iter().zip(received);
                let same = pairs.take_while(|(one, other)| one == other).count();
                let seen = &answer[..self.matched + same];
                // The whole lines before the difference belong to the answer.
                self.matched = memchr::memrchr(b'\n', seen).map_or(0, |end| end + 1);
                return Some([&seen[self.matched..], &received[same..]].concat());
            }
            received = &received[count..];
            self.matched += count;
            if self.matched == answer.len() {
                self.matched = 0;
                self.answered += 1;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::Clacks;
    use super::*;
    use std::os::unix::net::UnixStream;

    /// The number of answered exchanges, or the error, after the bytes arrive in these pieces. Two exchanges are in
    /// progress.
    fn received(pieces: &[&[u8]]) -> Result<u64, String> {
        let (ours, mut theirs) = UnixStream::pair().expect("two sockets");
        ours.set_nonblocking(true).expect("a fresh socket");
        let mut connection = LoadConnection::new(Box::new(socket2::Socket::from(ours)));
        let expected = |number| match number {
            0 => &b"RETRIEVED a=1\r\nRETRIEVED b=2\r\n"[..],
            1 => b"FLUSHED bench\r\n",
            _ => b"",
        };
        for piece in pieces {
            theirs.write_all(piece).expect("a socket with room");
            connection
                .receive(&Clacks, &mut [0; 1024], expected)
                .map_err(|error| error.to_string())?;
        }
        Ok(connection.answered())
    }

    const ALL: &[u8] = b"RETRIEVED a=1\r\nNOP\r\nRETRIEVED b=2\r\nOVERHEAD GN GNU\r\nNOP\r\nFLUSHED bench\r\nNOP\r\n";

    #[test]
    fn answers_count_however_they_are_cut() {
        assert_eq!(received(&[ALL]), Ok(2));
        for cut in 1..ALL.len() {
            assert_eq!(received(&[&ALL[..cut], &ALL[cut..]]), Ok(2), "{cut}");
        }
        let bytes: Vec<&[u8]> = ALL.chunks(1).collect();
        assert_eq!(received(&bytes), Ok(2));
        assert_eq!(received(&[&ALL[..ALL.len() - 7]]), Ok(1));
    }

    #[test]
    fn other_answers_are_wrong() {
        for (answer, part) in [
            (&b"RETRIEVED a=2\r\n"[..], "\"RETRIEVED a=2\""),
            (b"NOTRETRIEVED a\r\n", "\"NOTRETRIEVED a\""),
            (b"RETRIEVED a=1\r\nRETRIEVED a=1\r\n", "RETRIEVED b=2"),
            (b"OVERHEAD E permission_denied\r\n", "permission_denied"),
        ] {
            let error = received(&[answer]).expect_err("it is wrong");
            assert!(error.contains(part), "{error}");
        }
        assert!(
            received(&[ALL, b"FLUSHED bench\r\n"]).is_err(),
            "once too much"
        );
    }
}
