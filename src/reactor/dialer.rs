//! Dials the master: one attempt at a time, without ever waiting.

use crate::address::{Address, HostPort};
use crate::broker::Peer;
use crate::certificates::ServerTrust;
use crate::limits::CONNECT_SHARE_US;
use crate::reactor::DIALED;
use crate::reactor::resolver::{Question, Resolver};
use crate::reactor::stream::Stream;
use crate::reactor::tls::TlsStream;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Waker};
use rustls::pki_types::ServerName;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub struct Dialer {
    masters: Vec<Address>,
    /// The number of the one that is dialled.
    master: usize,
    /// How those that speak TLS have to prove who they are.
    pub tls: Option<ServerTrust>,
    registry: Registry,
    /// Wakes the loop when there is an answer.
    waker: Arc<Waker>,
    /// Made when the first name has to be looked up.
    resolver: Option<Resolver>,
    attempt: Attempt,
}

enum Attempt {
    None,
    Resolving(Question),
    Connecting {
        stream: TcpStream,
        to: SocketAddr,
        /// Further addresses of the same name.
        rest: Vec<SocketAddr>,
        /// When the next of them is tried instead.
        until_us: u64,
    },
}

/// A connection, or why there is none; `None` while that is open.
pub type Dialed = Option<io::Result<(Stream, Peer)>>;

impl Dialer {
    pub fn new(
        masters: Vec<Address>,
        tls: Option<ServerTrust>,
        registry: Registry,
        waker: Arc<Waker>,
    ) -> Dialer {
        Dialer {
            masters,
            master: 0,
            tls,
            registry,
            waker,
            resolver: None,
            attempt: Attempt::None,
        }
    }

    /// Begins to dial the master of that number.
    pub fn dial(&mut self, master: usize, now_us: u64) -> Dialed {
        self.cancel();
        self.master = master;
        let address = &self.masters[master];
        log::debug!("dialling {address}");
        match address {
            Address::Unix(path) => {
                let connected = UnixStream::connect(path);
                Some(connected.map(|stream| (Stream::Unix(stream), Peer::Master(None))))
            }
            Address::Tcp(host) | Address::Tls(host) => match host.host.parse::<IpAddr>() {
                Ok(ip) => self.connect(vec![SocketAddr::new(ip, host.port)], now_us),
                Err(_) => self.resolve(host.clone()),
            },
        }
    }

    /// Gives the attempt up.
    pub fn cancel(&mut self) {
        // Dropping a stream closes it.
        self.attempt = Attempt::None;
    }

    fn resolve(&mut self, host: HostPort) -> Dialed {
        let resolver = match &mut self.resolver {
            Some(resolver) => resolver,
            none => match Resolver::start(self.waker.clone()) {
                Ok(resolver) => none.insert(resolver),
                Err(error) => return Some(Err(error)),
            },
        };
        self.attempt = Attempt::Resolving(resolver.ask(host));
        None
    }

    /// The resolver has an answer.
    pub fn handle_resolved(&mut self, now_us: u64) -> Dialed {
        let Attempt::Resolving(question) = self.attempt else {
            return None;
        };
        let answer = self.resolver.as_ref()?.answer(question)?;
        self.attempt = Attempt::None;
        match answer {
            Ok(mut addresses) => {
                addresses.reverse();
                self.connect(addresses, now_us)
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Tries the addresses, the last one first.
    fn connect(&mut self, mut rest: Vec<SocketAddr>, now_us: u64) -> Dialed {
        let mut error = io::Error::new(ErrorKind::NotFound, "the name has no address");
        while let Some(to) = rest.pop() {
            let begun = TcpStream::connect(to).and_then(|mut stream| {
                self.registry
                    .register(&mut stream, DIALED, Interest::WRITABLE)?;
                Ok(stream)
            });
            match begun {
                Ok(stream) => {
                    self.attempt = Attempt::Connecting {
                        stream,
                        to,
                        rest,
                        until_us: now_us + CONNECT_SHARE_US,
                    };
                    return None;
                }
                Err(failed) => error = failed,
            }
        }
        Some(Err(error))
    }

    /// When [`Dialer::handle_deadline`] has something to do (monotonic).
    pub fn deadline(&self) -> Option<u64> {
        match &self.attempt {
            Attempt::Connecting { rest, until_us, .. } if !rest.is_empty() => Some(*until_us),
            _ => None,
        }
    }

    /// One address that doesn't answer leaves time for the others of its name.
    pub fn handle_deadline(&mut self, now_us: u64) -> Dialed {
        if self.deadline().is_none_or(|at_us| at_us > now_us) {
            return None;
        }
        match std::mem::replace(&mut self.attempt, Attempt::None) {
            Attempt::Connecting { rest, .. } => self.connect(rest, now_us),
            _ => None,
        }
    }

    /// The socket says something.
    pub fn handle_event(&mut self, now_us: u64) -> Dialed {
        let Attempt::Connecting {
            mut stream,
            to,
            rest,
            until_us,
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
                let connected = freed.and_then(|()| self.wrap(stream));
                Some(connected.map(|stream| (stream, Peer::Master(Some(to.into())))))
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => {
                self.attempt = Attempt::Connecting {
                    stream,
                    to,
                    rest,
                    until_us,
                };
                None
            }
            Err(error) if rest.is_empty() => Some(Err(error)),
            Err(_) => self.connect(rest, now_us),
        }
    }

    /// Returns the stream for a connection to the master: TLS if the address of the master asks for it, else plain TCP.
    fn wrap(&self, stream: TcpStream) -> io::Result<Stream> {
        let Address::Tls(host) = &self.masters[self.master] else {
            return Ok(Stream::Tcp(stream));
        };
        let name = ServerName::try_from(host.certified_host().to_owned())
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        let config = self
            .tls
            .clone()
            .expect("a master that speaks TLS is configured together with whom to trust");
        Ok(Stream::Tls(Box::new(TlsStream::connect(
            stream, name, config,
        )?)))
    }
}
