//! The byte stream of a connection: a non-blocking socket, with TLS around it for `tls://` addresses.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustls::{ClientConnection, StreamOwned};
use socket2::Socket;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

/// A non-blocking byte stream.
pub enum Transport {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

impl Transport {
    /// Creates a transport over a connected, non-blocking socket. With a session it speaks TLS; the handshake takes place
    /// during the first reads and writes.
    pub fn new(socket: Socket, session: Option<ClientConnection>) -> Transport {
        match session {
            Some(session) => Transport::Tls(Box::new(StreamOwned::new(session, socket))),
            None => Transport::Plain(socket),
        }
    }

    /// Reads bytes; 0 at the end of the stream. The error kind is `WouldBlock` if nothing has arrived.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self {
            Transport::Plain(socket) => socket.read(buffer),
            Transport::Tls(stream) => stream.read(buffer),
        };
        match read {
            // Some servers close without TLS's close_notify. Truncation shows anyway, since lines have ends.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }

    /// Writes as many bytes as the socket accepts. The error kind is `WouldBlock` if it accepts none.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.write(bytes),
            Transport::Tls(stream) => stream.write(bytes),
        }
    }

    /// Writes bytes that TLS has buffered. The error kind is `WouldBlock` if the socket does not accept all.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Transport::Plain(_) => Ok(()),
            Transport::Tls(stream) => stream.flush(),
        }
    }

    /// Returns true if TLS has buffered output, of a write or of the handshake.
    pub fn has_pending_output(&self) -> bool {
        match self {
            Transport::Plain(_) => false,
            Transport::Tls(stream) => stream.conn.wants_write(),
        }
    }

    /// Waits until the stream is readable, or writable if there is something to write.
    pub fn wait(&self, has_more: bool, until: Instant) -> io::Result<()> {
        let wants_writable = match self {
            Transport::Plain(_) => has_more,
            // New data is not written before the buffered output.
            Transport::Tls(_) => self.has_pending_output(),
        };
        let room = if wants_writable {
            PollFlags::OUT
        } else {
            PollFlags::empty()
        };
        wait_for(self.as_fd(), PollFlags::IN | room, until)
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Transport::Plain(socket) => socket.as_fd(),
            Transport::Tls(stream) => stream.sock.as_fd(),
        }
    }
}

/// Waits for one of these events, or an error of the socket.
///
/// # Errors
/// The kind is `TimedOut` if no event arrives until then.
pub fn wait_for(socket: BorrowedFd<'_>, events: PollFlags, until: Instant) -> io::Result<()> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::from_borrowed_fd(socket, events)], Some(&left)) {
            Ok(0) => return Err(ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
