//! Dialling: from a server's address to a connection that is logged in and has the client's subscriptions.
//!
//! A dial may take longer than the call that starts it. Each further call continues where the last one stopped.

use super::connection::Connection;
use super::deadline::deadline_after;
use super::error::Error;
use super::incoming::Incoming;
use super::message::Message;
use super::options::{Options, ServerCheck};
use super::subscriptions::Subscriptions;
use super::transport::{Transport, wait_for};
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

/// A dial in progress.
pub struct Dial {
    /// The deadline of the whole dial.
    until: Instant,
    route: Route,
    session: Option<ClientConnection>,
    hello: Vec<u8>,
    /// The connection, once the socket is connected.
    connection: Option<Connection>,
    is_logged_in: bool,
    /// The subscriptions that were sent on this connection.
    announced_subscriptions: Subscriptions,
    /// The number of FLUSHes sent.
    flushes: u32,
    /// The last FLUSH was answered.
    is_flushed: bool,
    /// Messages that arrived during the dial.
    early: Incoming,
}

/// The kind of socket, and for names the addresses still to be tried.
enum Route {
    Unix(PathBuf),
    Internet(Attempts),
}

/// The check of the server's certificate for a `tls://` address; `None` for other addresses.
///
/// # Errors
/// [`Error::Options`] if plain text would leave this machine, or the authorities can't be read.
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
    /// Starts a dial whose time limit is [`Options::connect_timeout`].
    pub fn new(options: &Options, trust: Option<&ServerTrust>) -> Result<Dial, Error> {
        let until = deadline_after(options.connect_timeout);
        let mut session = None;
        let route = match &options.address {
            Address::Unix(path) => Route::Unix(path.clone()),
            Address::Tcp(host) => Route::Internet(Attempts::new(host, until)?),
            Address::Tls(host) => {
                let config = trust.expect("whom to trust was found out when the client was made");
                let unusable = |error: String| Error::Options(format!("{}: {error}", host.host));
                let name = ServerName::try_from(host.certified_host().to_owned())
                    .map_err(|error| unusable(error.to_string()))?;
                let made = ClientConnection::new(config.clone(), name)
                    .map_err(|error| unusable(error.to_string()))?;
                session = Some(made);
                Route::Internet(Attempts::new(host, until)?)
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
            route,
            session,
            hello,
            connection: None,
            is_logged_in: false,
            announced_subscriptions: Subscriptions::default(),
            flushes: 0,
            is_flushed: true,
            early: Incoming::new(options.max_queued),
        })
    }

    /// Continues the dial until `until`. Returns the connection and the messages that arrived on it, or `None` if the dial
    /// is not finished.
    ///
    /// # Errors
    /// The dial has failed and can't be continued. [`Error::TimedOut`] means that the time limit of the dial is over.
    pub fn advance_until(
        &mut self,
        wanted: &Subscriptions,
        until: Instant,
    ) -> Result<Option<(Connection, Incoming)>, Error> {
        match self.advance(wanted, until.min(self.until)) {
            Err(Error::TimedOut) if Instant::now() < self.until => Ok(None),
            Err(error) => Err(tls_error_or(error)),
            Ok(()) => {
                let early = std::mem::replace(&mut self.early, Incoming::new(0));
                Ok(self.connection.take().map(|connection| (connection, early)))
            }
        }
    }

    fn open(&mut self, until: Instant) -> Result<Connection, Error> {
        let socket = match &mut self.route {
            Route::Unix(path) => connect_unix(path, until)?,
            Route::Internet(attempts) => attempts.advance_until(until)?,
        };
        Ok(Connection::new(Transport::new(socket, self.session.take())))
    }

    fn advance(&mut self, wanted: &Subscriptions, until: Instant) -> Result<(), Error> {
        if self.connection.is_none() {
            let mut connection = self.open(until)?;
            connection.push(std::mem::take(&mut self.hello));
            self.connection = Some(connection);
        }
        let connection = self.connection.as_mut().expect("it was just made");
        while !self.is_logged_in {
            self.is_logged_in = is_welcome(&connection.receive(until)?)?;
        }
        // The subscriptions are in force before the program learns of the connection, so that it misses no signal after
        // that.
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
            // The program may have changed its subscriptions between two calls.
            let mut lines = wanted.changes_since(&self.announced_subscriptions);
            if lines.is_empty() {
                return Ok(());
            }
            self.announced_subscriptions = wanted.clone();
            self.flushes += 1;
            self.is_flushed = false;
            encode::line(&mut lines, &[b"FLUSH ", mark(self.flushes).as_bytes()]);
            connection.push(lines);
        }
    }
}

/// Connects and logs in, for callers that speak the protocol themselves. Lines after the welcome are left to be read.
#[cfg(feature = "tool")]
pub fn connect(options: Options) -> Result<Connection, Error> {
    dialler(options)?()
}

/// Connects without a login and waits for the server's greeting.
///
/// # Errors
/// No server greets at that address, or it refuses the connection.
#[cfg(feature = "tool")]
pub fn find_server(options: Options) -> Result<(), Error> {
    let trust = trust(&options)?;
    let mut dial = Dial::new(&options, trust.as_ref())?;
    let until = dial.until;
    let greeting = dial
        .open(until)
        .and_then(|mut connection| connection.receive(until));
    greeting
        .and_then(|line| is_welcome(&line).map(drop))
        .map_err(tls_error_or)
}

/// Returns a function that connects and logs in anew each time it is called; see [`connect`].
#[cfg(feature = "tool")]
pub fn dialler(options: Options) -> Result<impl FnMut() -> Result<Connection, Error>, Error> {
    let trust = trust(&options)?;
    Ok(move || {
        let mut dial = Dial::new(&options, trust.as_ref())?;
        let until = dial.until;
        match dial.advance_until(&Subscriptions::default(), until)? {
            Some((connection, _)) => Ok(connection),
            None => Err(Error::TimedOut),
        }
    })
}

/// The reason for which a certificate is refused that none of the authorities has issued.
pub const UNKNOWN_AUTHORITY: &str = "no authority that is trusted here vouches for it";

/// Turns a failed TLS handshake into an error of its own: unlike after a lost connection, retrying would not help.
fn tls_error_or(error: Error) -> Error {
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
        CertificateError::UnknownIssuer => UNKNOWN_AUTHORITY.to_owned(),
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

/// The text of a FLUSH, different for each FLUSH of a connection.
fn mark(number: u32) -> String {
    format!("clacks-dial-{number}")
}

/// Returns true if the line is the server's welcome.
///
/// # Errors
/// The line refuses the login or the connection, or does not belong to the protocol.
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

/// Connects to a Unix socket. The call blocks until `until` if the server accepts no connections; the next call starts
/// from the beginning.
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

/// Attempts to connect to the addresses of a name, one after the other.
struct Attempts {
    /// The deadline of all attempts together.
    until: Instant,
    lookup: Option<Receiver<io::Result<Vec<SocketAddr>>>>,
    /// The addresses that are still to be tried. One that has not answered in time is tried again after the others.
    addresses: VecDeque<SocketAddr>,
    /// The longest time of one attempt.
    longest: Duration,
    current: Option<Attempt>,
    /// The error of the last failed attempt.
    failed: io::Error,
}

/// An attempt to connect.
struct Attempt {
    socket: Socket,
    address: SocketAddr,
    /// The deadline of this attempt.
    until: Instant,
}

/// The longest time of one attempt to connect. A host that answers does so within that time. The kernel repeats the first
/// packet of a silent attempt at growing intervals, up to eight seconds in the time of a dial, and would notice only then
/// that the host is there again; the first packet of a new attempt is sent at once.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(3);

impl Attempts {
    fn new(host: &HostPort, until: Instant) -> Result<Attempts, Error> {
        let mut attempts = Attempts {
            until,
            lookup: None,
            addresses: VecDeque::new(),
            longest: LONGEST_ATTEMPT,
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

    fn advance_until(&mut self, until: Instant) -> Result<Socket, Error> {
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
                        // The remaining time is divided equally, so that an address without an answer leaves time
                        // for the others.
                        let left = self.until.saturating_duration_since(Instant::now());
                        let others = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX - 1);
                        let share = (left / (others + 1)).min(self.longest);
                        self.current = Some(Attempt {
                            socket,
                            address,
                            until: Instant::now() + share,
                        });
                    }
                    Err(error) => self.failed = error,
                }
            }
            let Some(attempt) = self.current.take() else {
                continue;
            };
            match wait_for_connection(&attempt.socket, until.min(attempt.until)) {
                Ok(()) => return Ok(attempt.socket),
                Err(error) if error.kind() != ErrorKind::TimedOut => self.failed = error,
                Err(_) if Instant::now() < attempt.until || Instant::now() >= until => {
                    self.current = Some(attempt);
                    return Err(Error::TimedOut);
                }
                Err(_) => self.addresses.push_back(attempt.address),
            }
        }
    }
}

/// Starts to connect, without waiting for the outcome.
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
        // The kernel has given up. That must not pass for the deadline of the call.
        Some(error) if error.kind() == ErrorKind::TimedOut => {
            Err(io::Error::other(error.to_string()))
        }
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Resolves a name in another thread, since the system's resolver has no time limit.
fn look_up(host: HostPort) -> io::Result<Receiver<io::Result<Vec<SocketAddr>>>> {
    let (answering, answer) = mpsc::channel();
    thread::Builder::new()
        .name("resolver".to_owned())
        .spawn(move || {
            // The receiver may be gone by now.
            let _ = answering.send(host.resolve());
        })?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    /// A listener that answers no further attempt to connect, with the connections that wait there.
    fn full_listener() -> (TcpListener, Vec<TcpStream>) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("a free port");
        socket.listen(0).expect("a listener");
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().expect("it is bound");
        let wait = Duration::from_millis(100);
        let waiting = std::iter::from_fn(|| TcpStream::connect_timeout(&address, wait).ok());
        let waiting = waiting.collect();
        (listener, waiting)
    }

    #[test]
    fn a_host_that_does_not_answer_is_tried_again_by_new_attempts() {
        let (listener, waiting) = full_listener();
        let address = listener.local_addr().expect("it is bound");
        let host = HostPort {
            host: "127.0.0.1".to_owned(),
            port: address.port(),
        };
        let until = Instant::now() + Duration::from_secs(60);
        let mut attempts = Attempts::new(&host, until).expect("an address");
        attempts.longest = Duration::from_millis(20);
        let mut ports = std::collections::BTreeSet::new();
        while ports.len() < 3 {
            let tried = attempts.advance_until(Instant::now() + Duration::from_millis(5));
            assert!(matches!(tried, Err(Error::TimedOut)), "nobody accepts");
            let attempt = attempts.current.as_ref().expect("it goes on");
            let near = attempt.socket.local_addr().expect("it has one");
            ports.insert(near.as_socket().expect("of the Internet").port());
            assert!(Instant::now() < until, "{ports:?}");
        }
        for _ in &waiting {
            listener.accept().expect("one waits");
        }
        attempts.advance_until(until).expect("it is let in");
    }
}
