//! One connection: lines out, lines in.

use super::Error;
use super::transport::Transport;
use crate::protocol::Pending;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

pub struct Connection {
    transport: Transport,
    pending: Pending,
    /// Lines on their way out, of which so many bytes are gone.
    unsent: Vec<u8>,
    gone: usize,
    /// When the last PING went out.
    pinged: Instant,
    /// When it was last seen whether something has come.
    looked: Instant,
    /// When bytes last came from the server.
    received: Instant,
    /// When the server was asked whether it is there, if nothing has come since.
    probed: Option<Instant>,
    buffer: Box<[u8]>,
}

/// Read from the socket at once.
const READ_SIZE: usize = 16 * 1024;
/// Reads at once without being asked for a line: what a socket's buffer holds, and then its end.
const READS: u32 = 32;
/// A server that sends longer lines is none: they are limited to a fraction of that by default.
const MAX_LINE: usize = 1 << 30;
/// What is there already is read, even if the time of a call is over. That takes no time, or else there is no
/// end of it.
pub const DRAIN: Duration = Duration::from_millis(100);

impl Connection {
    pub fn new(transport: Transport) -> Connection {
        Connection {
            transport,
            pending: Pending::default(),
            unsent: Vec::new(),
            gone: 0,
            pinged: Instant::now(),
            looked: Instant::now(),
            received: Instant::now(),
            probed: None,
            buffer: vec![0; READ_SIZE].into_boxed_slice(),
        }
    }

    /// For whoever moves the bytes in a way of its own. Lines that have come and were not received are dropped:
    /// after the welcome there are none that matter.
    #[cfg(feature = "tool")]
    pub fn into_transport(self) -> Transport {
        self.transport
    }

    /// Adds lines to what is to be sent; [`Connection::send`] and [`Connection::receive`] do it.
    pub fn push(&mut self, lines: Vec<u8>) {
        if self.unsent.is_empty() {
            self.unsent = lines;
        } else {
            self.unsent.extend_from_slice(&lines);
        }
    }

    /// Whether the operating system has taken everything.
    pub fn is_sent(&self) -> bool {
        self.unsent.is_empty() && !self.transport.keeps_something()
    }

    /// Waits until everything is sent. A server that is busy with sending takes nothing, so lines are read
    /// meanwhile: with the next of them this has to be called again.
    ///
    /// After an error the connection is of no use any more, but for what was received: half a line may have
    /// been sent.
    pub fn send(&mut self, until: Instant) -> Result<Option<Vec<u8>>, Error> {
        loop {
            self.write().map_err(Error::Disconnected)?;
            if self.is_sent() {
                return Ok(None);
            }
            if let Some(line) = self.next_line()? {
                return Ok(Some(line));
            }
            self.read_or_wait(Ok(()), until)?;
        }
    }

    /// The next line; [`Error::TimedOut`] if none has come by then. Sends meanwhile.
    pub fn receive(&mut self, until: Instant) -> Result<Vec<u8>, Error> {
        loop {
            if let Some(line) = self.next_line()? {
                return Ok(line);
            }
            let written = self.write();
            self.read_or_wait(written, until)?;
        }
    }

    fn read_or_wait(&mut self, written: io::Result<()>, until: Instant) -> Result<(), Error> {
        // A handshake that fails does so in the midst of a write too. What follows, perhaps a reset, doesn't say
        // why.
        if matches!(&written, Err(error) if error.kind() == ErrorKind::InvalidData) {
            return written.map_err(Error::Disconnected);
        }
        if !self.read()? {
            // Whoever takes nothing more may have said why: only now all of that was read.
            written.map_err(Error::Disconnected)?;
            return self.wait(until);
        }
        if Instant::now() > until + DRAIN {
            return Err(Error::TimedOut);
        }
        Ok(())
    }

    /// Reads what has come, if that was not done for so long; whether it was done. A server that is never silent
    /// is not read to the end.
    pub fn look(&mut self, interval: Duration) -> Result<bool, Error> {
        if self.looked.elapsed() < interval {
            return Ok(false);
        }
        for _ in 0..READS {
            if !self.read()? {
                break;
            }
        }
        Ok(true)
    }

    /// The next line that was read; [`Connection::look`] and the others read.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, Error> {
        while let Some(line) = self.pending.next_frame() {
            if !line.is_empty() {
                return Ok(Some(line.to_vec()));
            }
        }
        if self.pending.waiting() > MAX_LINE {
            return Err(Error::NotClacks("a line without end".to_owned()));
        }
        Ok(None)
    }

    /// Sends what there is room for.
    fn write(&mut self) -> io::Result<()> {
        while self.gone < self.unsent.len() {
            match self.transport.write(&self.unsent[self.gone..]) {
                Ok(0) => return Ok(()),
                Ok(count) => self.gone += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        (self.unsent, self.gone) = (Vec::new(), 0);
        if !self.transport.keeps_something() {
            return Ok(());
        }
        match self.transport.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            flushed => flushed,
        }
    }

    /// Reads what has come; false if that is nothing.
    fn read(&mut self) -> Result<bool, Error> {
        self.looked = Instant::now();
        loop {
            return match self.transport.read(&mut self.buffer) {
                Ok(0) => {
                    let what = "the server has closed the connection";
                    let end = io::Error::new(ErrorKind::UnexpectedEof, what);
                    Err(Error::Disconnected(end))
                }
                Ok(count) => {
                    (self.received, self.probed) = (Instant::now(), None);
                    self.pending.push(&self.buffer[..count]);
                    Ok(true)
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(Error::Disconnected(error)),
            };
        }
    }

    fn wait(&self, until: Instant) -> Result<(), Error> {
        if Instant::now() >= until {
            return Err(Error::TimedOut);
        }
        let has_more = !self.unsent.is_empty();
        let waited = self.transport.wait(has_more, until);
        waited.map_err(|error| match error.kind() {
            ErrorKind::TimedOut => Error::TimedOut,
            _ => Error::Disconnected(error),
        })
    }

    /// Adds a PING if the last one is older than that.
    pub fn keep_alive(&mut self, interval: Duration) {
        if self.pinged.elapsed() >= interval {
            self.pinged = Instant::now();
            self.push(b"PING\r\n".to_vec());
        }
    }

    /// True if the server was silent for that long, and was not yet asked whether it is there.
    pub fn wants_probe(&self, interval: Duration) -> bool {
        self.probed.is_none() && self.received.elapsed() >= interval
    }

    /// Adds a line that asks the server whether it is there.
    pub fn probe(&mut self, line: Vec<u8>) {
        self.probed = Some(Instant::now());
        self.push(line);
    }

    /// True if nothing has come for that long since the server was asked. Says so only after a read: what came meanwhile
    /// may wait in the socket.
    pub fn is_silent(&self, interval: Duration) -> bool {
        self.probed.is_some_and(|at| at.elapsed() >= interval)
    }

    /// When the silence of the server has to be looked at next.
    pub fn next_probe(&self, interval: Duration) -> Instant {
        self.probed.unwrap_or(self.received) + interval
    }

    /// As if it had been read last so much longer ago.
    #[cfg(test)]
    pub fn age(&mut self, by: Duration) {
        self.looked = self
            .looked
            .checked_sub(by)
            .expect("the clock began earlier");
    }

    /// When the next PING is due.
    pub fn next_ping(&self, interval: Duration) -> Instant {
        self.pinged + interval
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport.as_fd()
    }
}
