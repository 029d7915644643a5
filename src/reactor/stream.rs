//! A connected socket of whatever kind.

use crate::broker::ConnectionId;
use crate::reactor::handshakes::Step;
use crate::reactor::socket::Socket;
use crate::reactor::tls::TlsStream;
use crate::sys;
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;

pub enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    /// Boxed: it is many times as large as the others, which are most.
    Tls(Box<TlsStream>),
}

// A token holds slot and generation.
const _: () = assert!(usize::BITS >= 64, "clacksd needs a 64-bit machine");

/// Returns the token that the kernel's events of a connection carry: its slot and its generation. The slot alone would
/// let a late event reach the next connection in the slot.
fn token(id: ConnectionId) -> Token {
    Token((id.generation as usize) << 32 | id.slot as usize)
}

/// Returns the id of the connection whose socket has that token; the inverse of [`token`].
pub fn id_of(token: Token) -> ConnectionId {
    ConnectionId {
        slot: token.0 as u32,
        generation: (token.0 >> 32) as u32,
    }
}

impl Socket for Stream {
    type Poller = Registry;

    fn register(&mut self, registry: &Registry, id: ConnectionId) -> io::Result<()> {
        registry.register(self, token(id), Interest::READABLE)
    }

    fn watch_writable(
        &mut self,
        registry: &Registry,
        id: ConnectionId,
        is_wanted: bool,
    ) -> io::Result<()> {
        let interests = match is_wanted {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        registry.reregister(self, token(id), interests)
    }

    fn is_local(&self) -> bool {
        matches!(self, Stream::Unix(_))
    }

    fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    fn write_in_plain(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(_) | Stream::Tcp(_) => self.write(bytes),
            Stream::Tls(stream) => stream.socket().write(bytes),
        }
    }

    fn next_step(&self) -> Option<Step> {
        let Stream::Tls(stream) = self else {
            return None;
        };
        Some(match stream.is_to_sign() {
            true => Step::Sign,
            false => Step::Read,
        })
    }

    fn is_open(&self) -> bool {
        match self {
            Stream::Unix(_) | Stream::Tcp(_) => true,
            Stream::Tls(stream) => stream.is_open(),
        }
    }

    fn has_carried(&self) -> bool {
        match self {
            Stream::Unix(_) | Stream::Tcp(_) => true,
            Stream::Tls(stream) => stream.has_carried(),
        }
    }

    fn peer(&self) -> String {
        let address = match self {
            Stream::Unix(_) => return "a Unix socket".to_owned(),
            Stream::Tcp(stream) => stream.peer_addr(),
            Stream::Tls(stream) => stream.peer_addr(),
        };
        address.map_or_else(
            |_| "a peer that is gone".to_owned(),
            |address| address.to_string(),
        )
    }

    fn unsent(&self) -> usize {
        match self {
            Stream::Unix(_) | Stream::Tcp(_) => 0,
            Stream::Tls(stream) => stream.unsent(),
        }
    }

    fn moved(&self) -> u64 {
        match self {
            Stream::Unix(_) | Stream::Tcp(_) => 0,
            Stream::Tls(stream) => stream.moved(),
        }
    }

    fn has_untaken(&self) -> bool {
        sys::has_untaken(match self {
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Tls(stream) => stream.as_fd(),
        })
    }

    fn is_drained(&self, count: usize, asked: usize) -> bool {
        match self {
            Stream::Unix(_) | Stream::Tcp(_) => count < asked,
            // Records end anywhere.
            Stream::Tls(stream) => stream.is_drained(),
        }
    }

    fn memory(&self) -> usize {
        match self {
            Stream::Unix(_) | Stream::Tcp(_) => 0,
            Stream::Tls(stream) => stream.memory(),
        }
    }

    fn say_goodbye(&mut self) {
        if let Stream::Tls(stream) = self {
            stream.say_goodbye();
        }
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tls(stream) => stream.shutdown_write(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.write_vectored(slices),
            Stream::Tcp(stream) => stream.write_vectored(slices),
            Stream::Tls(stream) => stream.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Unix(_) | Stream::Tcp(_) => Ok(()),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

impl Source for Stream {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.register(registry, token, interests),
            Stream::Tcp(stream) => stream.register(registry, token, interests),
            Stream::Tls(stream) => stream.socket().register(registry, token, interests),
        }
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.reregister(registry, token, interests),
            Stream::Tcp(stream) => stream.reregister(registry, token, interests),
            Stream::Tls(stream) => stream.socket().reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.deregister(registry),
            Stream::Tcp(stream) => stream.deregister(registry),
            Stream::Tls(stream) => stream.socket().deregister(registry),
        }
    }
}
