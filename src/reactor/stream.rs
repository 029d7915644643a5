//! A connected socket of whatever kind.

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

impl Stream {
    /// Whether it takes lines. A TLS handshake comes first, as far as the peer lets it.
    pub fn is_open(&self) -> bool {
        match self {
            Stream::Unix(_) | Stream::Tcp(_) => true,
            Stream::Tls(stream) => stream.is_open(),
        }
    }

    /// Whether it ever took lines, or would have: there is a peer that may miss some.
    pub fn has_carried(&self) -> bool {
        match self {
            Stream::Unix(_) | Stream::Tcp(_) => true,
            Stream::Tls(stream) => stream.has_carried(),
        }
    }

    /// Who is at the other end, for the log.
    pub fn peer(&self) -> String {
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

    /// Bytes that it has taken but not passed to the kernel yet.
    pub fn unsent(&self) -> usize {
        match self {
            Stream::Unix(_) | Stream::Tcp(_) => 0,
            Stream::Tls(stream) => stream.unsent(),
        }
    }

    /// Bytes that the kernel has taken of what TLS made; 0 of other streams.
    pub fn moved(&self) -> u64 {
        match self {
            Stream::Unix(_) | Stream::Tcp(_) => 0,
            Stream::Tls(stream) => stream.moved(),
        }
    }

    /// Whether the peer has not taken everything yet that was written.
    pub fn has_untaken(&self) -> bool {
        sys::has_untaken(match self {
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Tls(stream) => stream.as_fd(),
        })
    }

    /// Whether there is nothing more to read after a read of `count` bytes that asked for `asked`: then
    /// the kernel will tell when there is.
    pub fn is_drained(&self, count: usize, asked: usize) -> bool {
        match self {
            Stream::Unix(_) | Stream::Tcp(_) => count < asked,
            // Records end anywhere.
            Stream::Tls(_) => false,
        }
    }

    /// What it holds beside what is counted otherwise, in bytes.
    pub fn memory(&self) -> usize {
        match self {
            Stream::Unix(_) | Stream::Tcp(_) => 0,
            Stream::Tls(stream) => stream.memory(),
        }
    }

    /// Before it is dropped: tells the peer, where the language has a word for it, that what it got is
    /// complete.
    pub fn say_goodbye(&mut self) {
        if let Stream::Tls(stream) = self {
            stream.say_goodbye();
        }
    }

    /// Tells the peer that nothing more will come.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
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
