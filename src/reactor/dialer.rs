//! Dials the master: one attempt at a time, without ever waiting.

use crate::address::{Address, HostPort};
use crate::broker::Peer;
use crate::reactor::connection::Stream;
use crate::reactor::resolver::Resolver;
use crate::reactor::{DIALED, RESOLVED};
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Waker};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

pub struct Dialer {
    masters: Vec<Address>,
    registry: Registry,
    /// Made when the first name has to be looked up.
    resolver: Option<Resolver>,
    attempt: Attempt,
}

enum Attempt {
    None,
    Resolving,
    Connecting {
        stream: TcpStream,
        to: SocketAddr,
        /// Further addresses of the same name.
        rest: Vec<SocketAddr>,
    },
}

/// A connection, or why there is none; `None` while that is open.
pub type Dialed = Option<io::Result<(Stream, Peer)>>;

impl Dialer {
    pub fn new(masters: Vec<Address>, registry: Registry) -> Dialer {
        Dialer {
            masters,
            registry,
            resolver: None,
            attempt: Attempt::None,
        }
    }

    /// Begins to dial the master of that number.
    pub fn dial(&mut self, master: usize) -> Dialed {
        self.hang_up();
        let address = &self.masters[master];
        log::debug!("dialling {address}");
        match address {
            Address::Unix(path) => {
                let connected = UnixStream::connect(path);
                Some(connected.map(|stream| (Stream::Unix(stream), Peer::Master(None))))
            }
            Address::Tcp(HostPort { host, port }) => match host.parse::<IpAddr>() {
                Ok(ip) => self.connect(vec![SocketAddr::new(ip, *port)]),
                Err(_) => self.resolve(master),
            },
        }
    }

    /// Gives the attempt up.
    pub fn hang_up(&mut self) {
        // Dropping a stream closes it.
        self.attempt = Attempt::None;
    }

    fn resolve(&mut self, master: usize) -> Dialed {
        let Address::Tcp(host) = &self.masters[master] else {
            return None;
        };
        let resolver = match &mut self.resolver {
            Some(resolver) => resolver,
            none => match Waker::new(&self.registry, RESOLVED).and_then(Resolver::start) {
                Ok(resolver) => none.insert(resolver),
                Err(error) => return Some(Err(error)),
            },
        };
        resolver.ask(host.clone());
        self.attempt = Attempt::Resolving;
        None
    }

    /// The resolver has an answer.
    pub fn handle_resolved(&mut self) -> Dialed {
        let answer = self.resolver.as_ref().and_then(Resolver::answer)?;
        if !matches!(self.attempt, Attempt::Resolving) {
            return None;
        }
        self.attempt = Attempt::None;
        match answer {
            Ok(mut addresses) => {
                addresses.reverse();
                self.connect(addresses)
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Tries the addresses, the last one first.
    fn connect(&mut self, mut rest: Vec<SocketAddr>) -> Dialed {
        let mut error = io::Error::new(ErrorKind::NotFound, "the name has no address");
        while let Some(to) = rest.pop() {
            let begun = TcpStream::connect(to).and_then(|mut stream| {
                self.registry
                    .register(&mut stream, DIALED, Interest::WRITABLE)?;
                Ok(stream)
            });
            match begun {
                Ok(stream) => {
                    self.attempt = Attempt::Connecting { stream, to, rest };
                    return None;
                }
                Err(failed) => error = failed,
            }
        }
        Some(Err(error))
    }

    /// The socket says something.
    pub fn handle_event(&mut self) -> Dialed {
        let Attempt::Connecting {
            mut stream,
            to,
            rest,
        } = std::mem::replace(&mut self.attempt, Attempt::None)
        else {
            return None;
        };
        let outcome = match stream.take_error() {
            Ok(None) => stream.peer_addr().map(drop),
            Ok(Some(error)) | Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                let _ = stream.set_nodelay(true);
                let freed = self.registry.deregister(&mut stream);
                Some(freed.map(|()| (Stream::Tcp(stream), Peer::Master(Some(to)))))
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => {
                self.attempt = Attempt::Connecting { stream, to, rest };
                None
            }
            Err(error) if rest.is_empty() => Some(Err(error)),
            Err(_) => self.connect(rest),
        }
    }
}
