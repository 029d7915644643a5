//! A connection's bytes: a socket that never lets a call wait, and TLS around it where the address says so.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustls::{ClientConnection, StreamOwned};
use socket2::Socket;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

pub enum Transport {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

impl Transport {
    /// Over a socket that is connected and does not block; with a session it is TLS, whose handshake comes
    /// with the first reads and writes.
    pub fn new(socket: Socket, session: Option<ClientConnection>) -> Transport {
        match session {
            Some(session) => Transport::Tls(Box::new(StreamOwned::new(session, socket))),
            None => Transport::Plain(socket),
        }
    }

    /// An error of kind `WouldBlock` if there is nothing; 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self {
            Transport::Plain(socket) => socket.read(buffer),
            Transport::Tls(stream) => stream.read(buffer),
        };
        match read {
            // Servers may close without a word; lines have ends of their own.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }

    /// Takes as much as there is room for; an error of kind `WouldBlock` if there is none.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.write(bytes),
            Transport::Tls(stream) => stream.write(bytes),
        }
    }

    /// Hands over what TLS keeps; an error of kind `WouldBlock` if that is not possible yet.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Transport::Plain(_) => Ok(()),
            Transport::Tls(stream) => stream.flush(),
        }
    }

    /// Whether something that was written, or belongs to a handshake, waits for room.
    pub fn keeps_something(&self) -> bool {
        match self {
            Transport::Plain(_) => false,
            Transport::Tls(stream) => stream.conn.wants_write(),
        }
    }

    /// Waits until a read, or a write of something new, may do more than it did last.
    pub fn wait(&self, has_more: bool, until: Instant) -> io::Result<()> {
        let wants_room = match self {
            Transport::Plain(_) => has_more,
            // What is new has to wait for the handshake, and then only for what is kept.
            Transport::Tls(_) => self.keeps_something(),
        };
        let room = if wants_room {
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

/// Waits for one of these events, or an error; an error of kind `TimedOut` if none has come by then.
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
