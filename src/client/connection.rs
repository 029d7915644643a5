//! One connection to a server: sends lines, receives lines, and keeps the times of PINGs and probes.

use super::error::Error;
use super::transport::Transport;
use crate::protocol::Pending;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// A non-blocking connection with its buffers. Callers give the time until which a call may wait.
pub struct Connection {
    transport: Transport,
    pending: Pending,
    /// Lines to be sent, of which the first `sent` bytes are sent.
    unsent: Vec<u8>,
    sent: usize,
    /// The time of the last PING.
    pinged: Instant,
    /// The time of the last read.
    polled: Instant,
    /// The time at which bytes last arrived.
    received: Instant,
    /// The time of the last probe, if nothing has arrived since.
    probed: Option<Instant>,
    buffer: Box<[u8]>,
}

/// The size of the read buffer, in bytes.
const READ_SIZE: usize = 16 * 1024;
/// Consecutive reads of [`Connection::poll_input`]: as many as empty a socket's buffer and find its end.
const READS: u32 = 32;
/// The longest accepted line, in bytes. Servers limit lines to a fraction of it by default.
const MAX_LINE: usize = 1 << 30;
/// The time after a call's deadline during which bytes that have arrived already are still read. Reading them takes much
/// less, unless the server sends without end.
pub const GRACE: Duration = Duration::from_millis(100);

impl Connection {
    pub fn new(transport: Transport) -> Connection {
        Connection {
            transport,
            pending: Pending::default(),
            unsent: Vec::new(),
            sent: 0,
            pinged: Instant::now(),
            polled: Instant::now(),
            received: Instant::now(),
            probed: None,
            buffer: vec![0; READ_SIZE].into_boxed_slice(),
        }
    }

    /// Returns the transport, for callers with I/O of their own. Received lines are dropped; after the welcome there are
    /// none that matter.
    #[cfg(feature = "tool")]
    pub fn into_transport(self) -> Transport {
        self.transport
    }

    /// Queues lines. [`Connection::send`] and [`Connection::receive`] send them.
    pub fn push(&mut self, lines: Vec<u8>) {
        if self.unsent.is_empty() {
            self.unsent = lines;
        } else {
            self.unsent.extend_from_slice(&lines);
        }
    }

    /// Returns true if the operating system has taken all queued lines.
    pub fn is_sent(&self) -> bool {
        self.unsent.is_empty() && !self.transport.has_pending_output()
    }

    /// Waits until all queued lines are sent. A server may read nothing until its output is read, so lines are received
    /// meanwhile. If one arrives it is returned, and this has to be called again.
    ///
    /// # Errors
    /// [`Error::TimedOut`] after `until`, and [`Error::Disconnected`]. Part of a line may have been sent then, so that the
    /// connection can only be read any more.
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

    /// Waits for the next line, and sends queued lines meanwhile.
    ///
    /// # Errors
    /// [`Error::TimedOut`] if no line arrives until then, and [`Error::Disconnected`].
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
        // A TLS handshake can fail in a write, too. That error says why; a later one, perhaps a reset, doesn't.
        if matches!(&written, Err(error) if error.kind() == ErrorKind::InvalidData) {
            return written.map_err(Error::Disconnected);
        }
        if !self.read()? {
            // A server that takes no more bytes may have sent the reason before, which was read first.
            written.map_err(Error::Disconnected)?;
            return self.wait(until);
        }
        if Instant::now() > until + GRACE {
            return Err(Error::TimedOut);
        }
        Ok(())
    }

    /// Reads bytes that have arrived, unless that was done within `interval`. Returns true if it has read. The number of
    /// reads is limited, since a server may send without end.
    pub fn poll_input(&mut self, interval: Duration) -> Result<bool, Error> {
        if self.polled.elapsed() < interval {
            return Ok(false);
        }
        for _ in 0..READS {
            if !self.read()? {
                break;
            }
        }
        Ok(true)
    }

    /// Returns the next line among the bytes read so far.
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

    /// Writes queued lines as far as the socket accepts them.
    fn write(&mut self) -> io::Result<()> {
        while self.sent < self.unsent.len() {
            match self.transport.write(&self.unsent[self.sent..]) {
                Ok(0) => return Ok(()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        (self.unsent, self.sent) = (Vec::new(), 0);
        if !self.transport.has_pending_output() {
            return Ok(());
        }
        match self.transport.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            flushed => flushed,
        }
    }

    /// Reads once. Returns false if nothing has arrived.
    fn read(&mut self) -> Result<bool, Error> {
        self.polled = Instant::now();
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

    /// Queues a PING if the last one is older than `interval`.
    pub fn keep_alive(&mut self, interval: Duration) {
        if self.pinged.elapsed() >= interval {
            self.pinged = Instant::now();
            self.push(b"PING\r\n".to_vec());
        }
    }

    /// Returns true if nothing has arrived for `interval` and no probe was sent since.
    pub fn wants_probe(&self, interval: Duration) -> bool {
        self.probed.is_none() && self.received.elapsed() >= interval
    }

    /// Queues a line that the server has to answer.
    pub fn probe(&mut self, line: Vec<u8>) {
        self.probed = Some(Instant::now());
        self.push(line);
    }

    /// Returns true if nothing has arrived for `interval` after a probe. It has to be called after a read: bytes may wait in
    /// the socket.
    pub fn is_silent(&self, interval: Duration) -> bool {
        self.probed.is_some_and(|at| at.elapsed() >= interval)
    }

    /// The time at which a probe, or the check after it, is due.
    pub fn next_probe(&self, interval: Duration) -> Instant {
        self.probed.unwrap_or(self.received) + interval
    }

    /// Moves the time of the last read back, for tests.
    #[cfg(test)]
    pub fn age(&mut self, by: Duration) {
        self.polled = self
            .polled
            .checked_sub(by)
            .expect("the clock began earlier");
    }

    /// The time at which the next PING is due.
    pub fn next_ping(&self, interval: Duration) -> Instant {
        self.pinged + interval
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport.as_fd()
    }
}
