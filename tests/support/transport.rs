//! Connections of all kinds as clients with a loop of their own have them: they read what is there, and wait by poll(2).

use super::Server;
use super::tls::{VERSIONS, session};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{ClientConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A socket, with or without TLS. It blocks until [`Transport::stop_blocking`].
pub trait Transport: Read + Write + Send {
    fn socket(&self) -> BorrowedFd<'_>;

    fn stop_blocking(&self);

    /// Waits until there is something to read; false if nothing comes for so long.
    fn is_readable_within(&self, wait: Duration) -> bool {
        let mut descriptors = [PollFd::from_borrowed_fd(self.socket(), PollFlags::IN)];
        let wait = Timespec::try_from(wait).expect("a short time");
        poll(&mut descriptors, Some(&wait)).expect("a descriptor") > 0
    }

    /// Reads all there is now, and tells whether the end of the stream is among it.
    fn read_what_is_there(&mut self, input: &mut Vec<u8>) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return true,
                Ok(count) => input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => panic!("the connection is lost: {error}"),
            }
        }
    }
}

impl Transport for UnixStream {
    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn stop_blocking(&self) {
        self.set_nonblocking(true).expect("a socket");
    }
}

impl Transport for TcpStream {
    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn stop_blocking(&self) {
        self.set_nonblocking(true).expect("a socket");
    }
}

impl Transport for StreamOwned<ClientConnection, TcpStream> {
    fn socket(&self) -> BorrowedFd<'_> {
        self.sock.as_fd()
    }

    fn stop_blocking(&self) {
        self.sock.set_nonblocking(true).expect("a socket");
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server accepts");
    stream.set_nodelay(true).expect("a socket");
    stream
}

impl Server {
    /// A new connection over the Unix socket.
    pub fn unix_transport(&self) -> Box<dyn Transport> {
        Box::new(UnixStream::connect(&self.socket).expect("the server accepts"))
    }

    /// A new connection over plain TCP.
    pub fn tcp_transport(&self) -> Box<dyn Transport> {
        Box::new(connect(self.port))
    }

    /// A new connection over TLS 1.3.
    pub fn tls_transport(&self) -> Box<dyn Transport> {
        let stream = connect(self.tls_port());
        Box::new(StreamOwned::new(session(VERSIONS[1]), stream))
    }
}
