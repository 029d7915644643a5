//! One connection of a load: requests out, and answers in, compared byte by byte with those that must come.

use super::Trouble;
use super::speaker::{Aside, Speaker};
use rustls::{ClientConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// A connected and logged-in stream that never blocks.
pub trait Socket: Read + Write {
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Whether bytes may wait that the descriptor doesn't show.
    fn holds_back(&self) -> bool {
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

    fn holds_back(&self) -> bool {
        true
    }
}

/// No server says something so long that nobody asked for.
const LONGEST_ASIDE: usize = 64 * 1024;

pub struct Wire {
    socket: Box<dyn Socket>,
    /// What the socket had no room for.
    unsent: Vec<u8>,
    /// TLS has bytes left to write.
    is_flushing: bool,
    /// How many exchanges were answered completely.
    answered: u64,
    /// How much of the present one's answer has come.
    matched: usize,
    /// The beginning of a line that is no such answer.
    aside: Vec<u8>,
}

impl Wire {
    pub fn new(socket: Box<dyn Socket>) -> Wire {
        Wire {
            socket,
            unsent: Vec::new(),
            is_flushing: false,
            answered: 0,
            matched: 0,
            aside: Vec::new(),
        }
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.descriptor()
    }

    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Counts exchanges anew; there is none under way.
    pub fn start_anew(&mut self) {
        self.answered = 0;
    }

    pub fn wants_room(&self) -> bool {
        self.is_flushing || !self.unsent.is_empty()
    }

    /// Writes what there is room for and keeps the rest.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let written = match self.wants_room() {
            true => 0,
            false => self.write(bytes)?,
        };
        self.unsent.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// The socket has room.
    pub fn send_rest(&mut self) -> Result<(), Trouble> {
        let unsent = std::mem::take(&mut self.unsent);
        let written = self.write(&unsent)?;
        self.unsent = unsent;
        self.unsent.drain(..written);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Trouble> {
        let mut written = 0;
        while written < bytes.len() {
            match self.socket.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Trouble::Lost(error)),
            }
        }
        // Only TLS has something to do here.
        self.is_flushing = match self.socket.flush() {
            Ok(()) => false,
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            Err(error) => return Err(Trouble::Lost(error)),
        };
        Ok(written)
    }

    /// Reads what has come. `expected` is the answer of the exchange of that number, counted from 0; empty
    /// if none may come.
    pub fn hear<'a>(
        &mut self,
        speaker: &dyn Speaker,
        scratch: &mut [u8],
        expected: impl Fn(u64) -> &'a [u8],
    ) -> Result<(), Trouble> {
        loop {
            let count = match self.socket.read(scratch) {
                Ok(0) => return Err(Trouble::Lost(ErrorKind::UnexpectedEof.into())),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Trouble::Lost(error)),
            };
            self.take(speaker, &scratch[..count], &expected)?;
            if !self.socket.holds_back() {
                return Ok(());
            }
        }
    }

    fn take<'a>(
        &mut self,
        speaker: &dyn Speaker,
        received: &[u8],
        expected: &impl Fn(u64) -> &'a [u8],
    ) -> Result<(), Trouble> {
        let mut different = if self.aside.is_empty() {
            self.compare(received, expected)
        } else {
            let mut aside = std::mem::take(&mut self.aside);
            aside.extend_from_slice(received);
            Some(aside)
        };
        while let Some(aside) = different {
            let end = memchr::memchr(b'\n', &aside);
            let is_long = aside.len() > LONGEST_ASIDE;
            let Some(end) = end.or(is_long.then(|| aside.len() - 1)) else {
                self.aside = aside;
                return Ok(());
            };
            let line = aside[..=end].trim_ascii_end();
            match speaker.aside(line) {
                Aside::Ignored => {}
                Aside::Answered(answer) => self.send(answer)?,
                Aside::Refused(reason) => return Err(Trouble::Refused(reason)),
                Aside::Wrong => {
                    let wanted = &expected(self.answered)[self.matched..];
                    return Err(Trouble::wrong(line, wanted));
                }
            }
            different = self.compare(&aside[end + 1..], expected);
        }
        Ok(())
    }

    /// Goes on through the answers that are expected. Where something else has come: the line that it is,
    /// or its beginning, and all behind it.
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
                // What has come before was the same as the answer.
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
    use super::super::speaker::Clacks;
    use super::*;
    use std::os::unix::net::UnixStream;

    /// What a wire makes of bytes that come in these pieces, where two exchanges are under way.
    fn heard(pieces: &[&[u8]]) -> Result<u64, String> {
        let (ours, mut theirs) = UnixStream::pair().expect("two sockets");
        ours.set_nonblocking(true).expect("a fresh socket");
        let mut wire = Wire::new(Box::new(socket2::Socket::from(ours)));
        let expected = |number| match number {
            0 => &b"RETRIEVED a=1\r\nRETRIEVED b=2\r\n"[..],
            1 => b"FLUSHED bench\r\n",
            _ => b"",
        };
        for piece in pieces {
            theirs.write_all(piece).expect("a socket with room");
            wire.hear(&Clacks, &mut [0; 1024], expected)
                .map_err(|trouble| trouble.to_string())?;
        }
        Ok(wire.answered())
    }

    const ALL: &[u8] = b"RETRIEVED a=1\r\nNOP\r\nRETRIEVED b=2\r\nOVERHEAD GN GNU\r\nNOP\r\nFLUSHED bench\r\nNOP\r\n";

    #[test]
    fn answers_count_however_they_are_cut() {
        assert_eq!(heard(&[ALL]), Ok(2));
        for cut in 1..ALL.len() {
            assert_eq!(heard(&[&ALL[..cut], &ALL[cut..]]), Ok(2), "{cut}");
        }
        let bytes: Vec<&[u8]> = ALL.chunks(1).collect();
        assert_eq!(heard(&bytes), Ok(2));
        assert_eq!(heard(&[&ALL[..ALL.len() - 7]]), Ok(1));
    }

    #[test]
    fn other_answers_are_wrong() {
        for (answer, part) in [
            (&b"RETRIEVED a=2\r\n"[..], "\"RETRIEVED a=2\""),
            (b"NOTRETRIEVED a\r\n", "\"NOTRETRIEVED a\""),
            (b"RETRIEVED a=1\r\nRETRIEVED a=1\r\n", "RETRIEVED b=2"),
            (b"OVERHEAD E permission_denied\r\n", "permission_denied"),
        ] {
            let error = heard(&[answer]).expect_err("it is wrong");
            assert!(error.contains(part), "{error}");
        }
        assert!(
            heard(&[ALL, b"FLUSHED bench\r\n"]).is_err(),
            "once too much"
        );
    }
}
