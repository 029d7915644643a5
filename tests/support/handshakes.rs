//! Very many TLS handshakes at once, driven from one thread.

use super::tls::session;
use mio::{Events, Interest, Poll, Token};
use rustls::{ClientConnection, SupportedProtocolVersion};
use socket2::{Domain, Socket, Type};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Clients that shake hands, close and come again, as fast as they can.
pub struct Handshakes {
    poll: Poll,
    events: Events,
    members: Vec<Member>,
    to: SocketAddr,
    version: &'static SupportedProtocolVersion,
    /// Handshakes done.
    pub done: usize,
    /// Connections that ended before theirs was done.
    pub failed: usize,
}

struct Member {
    socket: mio::net::TcpStream,
    session: ClientConnection,
}

enum Progress {
    Waits,
    Done,
    Failed,
}

impl Member {
    fn advance(&mut self) -> Progress {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(_) => {}
                // Nothing fills a socket here; it is not connected yet.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Waits,
                Err(error) if error.kind() == ErrorKind::NotConnected => return Progress::Waits,
                Err(_) => return Progress::Failed,
            }
        }
        loop {
            if !self.session.is_handshaking() {
                return Progress::Done;
            }
            match self.session.read_tls(&mut self.socket) {
                Ok(0) => return Progress::Failed,
                Ok(_) if self.session.process_new_packets().is_err() => return Progress::Failed,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Waits,
                Err(_) => return Progress::Failed,
            }
            while self.session.wants_write() {
                if self.session.write_tls(&mut self.socket).is_err() {
                    return Progress::Failed;
                }
            }
        }
    }
}

impl Handshakes {
    pub fn new(port: u16, size: usize, version: &'static SupportedProtocolVersion) -> Handshakes {
        clacks::program::process_limits::raise_descriptor_limit().expect("a limit of our own");
        let poll = Poll::new().expect("a poll");
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let members = (0..size)
            .map(|index| connect(&poll, index, to, version))
            .collect();
        Handshakes {
            poll,
            events: Events::with_capacity(1024),
            members,
            to,
            version,
            done: 0,
            failed: 0,
        }
    }

    /// Goes on for about `wait`.
    pub fn go_on(&mut self, wait: Duration) {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => panic!("{error}"),
            _ => {}
        }
        for event in &self.events {
            let index = event.token().0;
            match self.members[index].advance() {
                Progress::Waits => continue,
                Progress::Done => self.done += 1,
                Progress::Failed => self.failed += 1,
            }
            self.members[index] = connect(&self.poll, index, self.to, self.version);
        }
    }
}

/// From an address of its own: the ports of one would soon all be waiting to be used again.
fn connect(
    poll: &Poll,
    index: usize,
    to: SocketAddr,
    version: &'static SupportedProtocolVersion,
) -> Member {
    let from = Ipv4Addr::new(127, 0, 1 + (index / 250) as u8, 1 + (index % 250) as u8);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_nonblocking(true).expect("a fresh socket");
    socket.set_reuse_address(true).expect("a fresh socket");
    let bound = socket.bind(&SocketAddr::from((from, 0)).into());
    bound.expect("all of 127.0.0.0/8 is ours");
    // It goes on by itself.
    let _ = socket.connect(&to.into());
    let mut socket = mio::net::TcpStream::from_std(socket.into());
    poll.registry()
        .register(
            &mut socket,
            Token(index),
            Interest::READABLE | Interest::WRITABLE,
        )
        .expect("a fresh socket");
    Member {
        socket,
        session: session(version),
    }
}
