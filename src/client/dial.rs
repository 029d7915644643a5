//! Reaching a server: from its address to a connection that is logged in and has been told what the client
//! wants to hear.
//!
//! A dial may take longer than the call in which it begins: each call goes on where the last one stopped.

use super::connection::Connection;
use super::incoming::Incoming;
use super::options::ServerCheck;
use super::subscriptions::Subscriptions;
use super::transport::{Transport, wait_for};
use super::{Error, Message, Options, end_of};
use crate::address::{Address, HostPort};
use crate::certificates::{self, ServerTrust, Trust};
use crate::program::files;
use crate::protocol::reply::{self, Reply};
use crate::protocol::{Flags, encode};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConnection};
use socket2::{Domain, SockAddr, Socket, Type};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

pub struct Dial {
    /// When it is given up.
    until: Instant,
    way: Way,
    session: Option<ClientConnection>,
    hello: Vec<u8>,
    /// Once there is one.
    connection: Option<Connection>,
    is_logged_in: bool,
    told: Subscriptions,
    /// FLUSHes sent, and whether the last one was answered.
    flushes: u32,
    is_flushed: bool,
    early: Incoming,
}

enum Way {
    Unix(PathBuf),
    Internet(Attempts),
}

/// Whom to take for the server, where that has to be proved. An error if the options say nothing that may
/// be done.
pub fn trust(options: &Options) -> Result<Option<ServerTrust>, Error> {
    if options.address.is_plain_beyond_loopback() && !options.allow_plaintext {
        return Err(Error::Options(format!(
            "{}: plain text beyond loopback has to be allowed (Options::allow_plaintext)",
            options.address
        )));
    }
    if !matches!(options.address, Address::Tls(_)) {
        return Ok(None);
    }
    let trust = match &options.check {
        ServerCheck::System => certificates::of_server(Trust::System),
        ServerCheck::None => certificates::of_server(Trust::Anybody),
        ServerCheck::Authorities(file) => files::read(file)
            .and_then(|pem| certificates::parse_certificates(&pem))
            .and_then(|authorities| certificates::of_server(Trust::Authorities(authorities)))
            .map_err(|error| format!("{}: {error}", file.display())),
    };
    trust.map(Some).map_err(Error::Options)
}

impl Dial {
    /// For as long as the options allow, from now on.
    pub fn new(options: &Options, trust: Option<&ServerTrust>) -> Result<Dial, Error> {
        let until = end_of(options.connect_timeout);
        let mut session = None;
        let way = match &options.address {
            Address::Unix(path) => Way::Unix(path.clone()),
            Address::Tcp(host) => Way::Internet(Attempts::new(host, until)?),
            Address::Tls(host) => {
                let config = trust.expect("whom to trust was found out when the client was made");
                let unusable = |error: String| Error::Options(format!("{}: {error}", host.host));
                let name = ServerName::try_from(host.certified_host().to_owned())
                    .map_err(|error| unusable(error.to_string()))?;
                let made = ClientConnection::new(config.clone(), name)
                    .map_err(|error| unusable(error.to_string()))?;
                session = Some(made);
                Way::Internet(Attempts::new(host, until)?)
            }
        };
        let mut hello = Vec::new();
        encode::line(&mut hello, &[b"CLACKS ", options.software.as_bytes()]);
        encode::overhead(&mut hello, Flags::LOGIN, options.token.as_bytes());
        if options.ping_interval.is_none() {
            encode::line(&mut hello, &[b"NOPING"]);
        }
        Ok(Dial {
            until,
            way,
            session,
            hello,
            connection: None,
            is_logged_in: false,
            told: Subscriptions::default(),
            flushes: 0,
            is_flushed: true,
            early: Incoming::new(options.max_queued),
        })
    }

    /// Goes on up to then: the connection, and what has come on it already, or `None` if there is more to
    /// do. After an error this dial is over; [`Error::TimedOut`] says that all of its own time is.
    pub fn go_on(
        &mut self,
        wanted: &Subscriptions,
        until: Instant,
    ) -> Result<Option<(Connection, Incoming)>, Error> {
        match self.advance(wanted, until.min(self.until)) {
            Err(Error::TimedOut) if Instant::now() < self.until => Ok(None),
            Err(error) => Err(explain(error)),
            Ok(()) => {
                let early = std::mem::replace(&mut self.early, Incoming::new(0));
                Ok(self.connection.take().map(|connection| (connection, early)))
            }
        }
    }

    fn reach(&mut self, until: Instant) -> Result<Connection, Error> {
        let socket = match &mut self.way {
            Way::Unix(path) => connect_unix(path, until)?,
            Way::Internet(attempts) => attempts.go_on(until)?,
        };
        Ok(Connection::new(Transport::new(socket, self.session.take())))
    }

    fn advance(&mut self, wanted: &Subscriptions, until: Instant) -> Result<(), Error> {
        if self.connection.is_none() {
            let mut connection = self.reach(until)?;
            connection.push(std::mem::take(&mut self.hello));
            self.connection = Some(connection);
        }
        let connection = self.connection.as_mut().expect("it was just made");
        while !self.is_logged_in {
            self.is_logged_in = is_welcome(&connection.receive(until)?)?;
        }
        // Whoever is told of the new connection can rely on hearing all that is sent from then on.
        loop {
            while !self.is_flushed {
                let line = connection.receive(until)?;
                match reply::decode(&line) {
                    Some(Reply::Flushed(text)) if text == mark(self.flushes).as_bytes() => {
                        self.is_flushed = true;
                    }
                    Some(Reply::Quit | Reply::Timeout) => {
                        return Err(Error::Disconnected(ErrorKind::ConnectionReset.into()));
                    }
                    Some(reply) => {
                        if let Some(message) = Message::from_reply(reply) {
                            self.early.push(message);
                        }
                    }
                    None => {}
                }
            }
            // The program may have changed its mind between two calls.
            let mut lines = wanted.changes_since(&self.told);
            if lines.is_empty() {
                return Ok(());
            }
            self.told = wanted.clone();
            self.flushes += 1;
            self.is_flushed = false;
            encode::line(&mut lines, &[b"FLUSH ", mark(self.flushes).as_bytes()]);
            connection.push(lines);
        }
    }
}

/// A connection alone, for whoever speaks the protocol. What the server says after its welcome is left to be
/// read.
#[cfg(feature = "tool")]
pub fn connect(options: Options) -> Result<Connection, Error> {
    dialler(options)?()
}

/// An error unless a server greets at that address, which lets this client in as far as can be known without a login.
#[cfg(feature = "tool")]
pub fn find_server(options: Options) -> Result<(), Error> {
    let trust = trust(&options)?;
    let mut dial = Dial::new(&options, trust.as_ref())?;
    let until = dial.until;
    let greeting = dial
        .reach(until)
        .and_then(|mut connection| connection.receive(until));
    greeting
        .and_then(|line| is_welcome(&line).map(drop))
        .map_err(explain)
}

/// As many of them as are wanted.
#[cfg(feature = "tool")]
pub fn dialler(options: Options) -> Result<impl FnMut() -> Result<Connection, Error>, Error> {
    let trust = trust(&options)?;
    Ok(move || {
        let mut dial = Dial::new(&options, trust.as_ref())?;
        let until = dial.until;
        match dial.go_on(&Subscriptions::default(), until)? {
            Some((connection, _)) => Ok(connection),
            None => Err(Error::TimedOut),
        }
    })
}

/// What TLS can't agree on is no broken connection: the next one ends in the same way.
fn explain(error: Error) -> Error {
    let Error::Disconnected(cause) = &error else {
        return error;
    };
    let cause = cause.get_ref().and_then(|cause| cause.downcast_ref());
    let wrong = match cause {
        Some(rustls::Error::InvalidCertificate(wrong)) => wrong,
        Some(rustls::Error::InvalidMessage(_)) => {
            return Error::NotClacks("it doesn't speak TLS".to_owned());
        }
        _ => return error,
    };
    Error::Certificate(match wrong {
        CertificateError::UnknownIssuer => {
            "no authority that is trusted here vouches for it".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is not for the name in the address".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the kind of its key, or of its authority's, is not supported (such as ECDSA with P-521)"
                .to_owned()
        }
        other => other.to_string(),
    })
}

/// The text of a FLUSH, which no other has on that connection.
fn mark(number: u32) -> String {
    format!("clacks-dial-{number}")
}

/// Whether the server lets this client in with that line.
fn is_welcome(line: &[u8]) -> Result<bool, Error> {
    match reply::decode(line) {
        Some(Reply::Overhead(overhead)) => {
            if overhead.flags.intersects(Flags::LOGIN_RIGHT) {
                Ok(true)
            } else if overhead.flags.intersects(Flags::LOGIN_WRONG) {
                Err(Error::LoginRefused)
            } else if overhead.flags.intersects(Flags::ERROR) {
                let reason = String::from_utf8_lossy(overhead.value);
                Err(Error::Refused(reason.into_owned()))
            } else {
                Ok(false)
            }
        }
        Some(_) => Ok(false),
        None => {
            let start = line[..line.len().min(80)].escape_ascii().to_string();
            Err(Error::NotClacks(start))
        }
    }
}

/// A server that accepts nobody lets this wait, and there is nothing to go on with: the next call tries anew.
fn connect_unix(path: &Path, until: Instant) -> Result<Socket, Error> {
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // Zero would mean no limit.
        let left = until.saturating_duration_since(Instant::now());
        socket.set_write_timeout(Some(left.max(Duration::from_micros(1))))?;
        socket.connect(&SockAddr::unix(path)?)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    connect().map_err(|error: io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Error::TimedOut,
        _ => Error::Disconnected(error),
    })
}

/// Trying the addresses that a name stands for, one after the other.
struct Attempts {
    until: Instant,
    lookup: Option<Receiver<io::Result<Vec<SocketAddr>>>>,
    addresses: VecDeque<SocketAddr>,
    /// The one that is being tried, and when the next gets its turn.
    current: Option<(Socket, Instant)>,
    /// What was wrong with the last.
    failed: io::Error,
}

impl Attempts {
    fn new(host: &HostPort, until: Instant) -> Result<Attempts, Error> {
        let mut attempts = Attempts {
            until,
            lookup: None,
            addresses: VecDeque::new(),
            current: None,
            failed: io::Error::new(ErrorKind::NotFound, "the name has no address"),
        };
        match host.host.parse::<IpAddr>() {
            Ok(address) => attempts
                .addresses
                .push_back(SocketAddr::new(address, host.port)),
            Err(_) => attempts.lookup = Some(look_up(host.clone()).map_err(Error::Disconnected)?),
        }
        Ok(attempts)
    }

    fn go_on(&mut self, until: Instant) -> Result<Socket, Error> {
        if let Some(lookup) = &self.lookup {
            let left = until.saturating_duration_since(Instant::now());
            let found = lookup
                .recv_timeout(left)
                .unwrap_or_else(|error| match error {
                    RecvTimeoutError::Timeout => Err(ErrorKind::TimedOut.into()),
                    RecvTimeoutError::Disconnected => Err(ErrorKind::NotFound.into()),
                });
            match found {
                Ok(addresses) => self.addresses = addresses.into(),
                Err(error) if error.kind() == ErrorKind::TimedOut => return Err(Error::TimedOut),
                Err(error) => return Err(Error::Disconnected(error)),
            }
            self.lookup = None;
        }
        loop {
            if self.current.is_none() {
                let Some(address) = self.addresses.pop_front() else {
                    let failed = std::mem::replace(&mut self.failed, ErrorKind::NotFound.into());
                    return Err(Error::Disconnected(failed));
                };
                match begin(address) {
                    Ok(socket) => {
                        // One that doesn't answer leaves time for the others.
                        let left = self.until.saturating_duration_since(Instant::now());
                        let others = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX - 1);
                        self.current = Some((socket, Instant::now() + left / (others + 1)));
                    }
                    Err(error) => self.failed = error,
                }
            }
            let Some((socket, its_end)) = self.current.take() else {
                continue;
            };
            match wait_for_connection(&socket, until.min(its_end)) {
                Ok(()) => return Ok(socket),
                Err(error) if error.kind() != ErrorKind::TimedOut => self.failed = error,
                Err(_) if Instant::now() < its_end || self.addresses.is_empty() => {
                    self.current = Some((socket, its_end));
                    return Err(Error::TimedOut);
                }
                Err(error) => self.failed = error,
            }
        }
    }
}

/// Begins to connect.
fn begin(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket),
    }
}

fn wait_for_connection(socket: &Socket, until: Instant) -> io::Result<()> {
    use std::os::fd::AsFd;
    wait_for(socket.as_fd(), PollFlags::OUT, until)?;
    match socket.take_error()? {
        // The kernel has given up, which is not that the time of the call is over.
        Some(error) if error.kind() == ErrorKind::TimedOut => {
            Err(io::Error::other(error.to_string()))
        }
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The system looks names up without any limit in time, so another thread waits for it.
fn look_up(host: HostPort) -> io::Result<Receiver<io::Result<Vec<SocketAddr>>>> {
    let (answering, answer) = mpsc::channel();
    thread::Builder::new()
        .name("resolver".to_owned())
        .spawn(move || {
            // Nobody may be waiting any more.
            let _ = answering.send(host.resolve());
        })?;
    Ok(answer)
}
