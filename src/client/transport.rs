//! A connection to a server, with a time limit on everything.

use super::options::ServerCheck;
use super::{Error, Options};
use crate::address::{Address, HostPort};
use crate::certificates::{self, ServerTrust, Trust};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

pub enum Transport {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Whom to take for the server, where that has to be proved. An error if the options say nothing that may
/// be done.
pub fn trust(options: &Options) -> Result<Option<ServerTrust>, Error> {
    if let Address::Tcp(host) = &options.address
        && !options.allow_plaintext
        && !host.is_loopback()
    {
        return Err(Error::Options(format!(
            "{}: plain text beyond this machine has to be allowed",
            options.address
        )));
    }
    if !matches!(options.address, Address::Tls(_)) {
        return Ok(None);
    }
    let trust = match &options.check {
        ServerCheck::System => certificates::of_server(Trust::System),
        ServerCheck::None => certificates::of_server(Trust::Anybody),
        ServerCheck::Authorities(file) => std::fs::read(file)
            .map_err(|error| error.to_string())
            .and_then(|pem| certificates::of_server(Trust::Authorities(pem)))
            .map_err(|error| format!("{}: {error}", file.display())),
    };
    trust.map(Some).map_err(Error::Options)
}

/// What is left up to then; an error of kind `TimedOut` if that is nothing.
pub fn time_left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    // A timeout of zero would mean none at all.
    Ok(left.max(Duration::from_micros(1)))
}

impl Transport {
    pub fn connect(
        options: &Options,
        trust: Option<&ServerTrust>,
        until: Instant,
    ) -> io::Result<Transport> {
        match &options.address {
            Address::Unix(path) => {
                // A server that accepts nobody lets a connect wait; only a socket option limits that.
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                socket.set_write_timeout(Some(time_left(until)?))?;
                socket.connect(&SockAddr::unix(path)?)?;
                Ok(Transport::Unix(socket.into()))
            }
            Address::Tcp(host) => Ok(Transport::Tcp(connect(host, until)?)),
            Address::Tls(host) => {
                let config = trust
                    .expect("whom to trust was found out when the client was made")
                    .clone();
                let name = ServerName::try_from(host.host.clone())
                    .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
                let session = ClientConnection::new(config, name)
                    .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
                let stream = StreamOwned::new(session, connect(host, until)?);
                Ok(Transport::Tls(Box::new(stream)))
            }
        }
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Transport::Unix(_) => None,
            Transport::Tcp(stream) => Some(stream),
            Transport::Tls(stream) => Some(&stream.sock),
        }
    }

    /// Reads what comes up to then; an error of kind `TimedOut` if that is nothing. Where the time is
    /// over already, what has come is read.
    pub fn read(&mut self, buffer: &mut [u8], until: Instant) -> io::Result<usize> {
        let left = time_left(until).ok();
        self.set_nonblocking(left.is_none())?;
        if left.is_some() {
            self.set_timeouts(left)?;
        }
        let result = match self {
            Transport::Unix(stream) => stream.read(buffer),
            Transport::Tcp(stream) => stream.read(buffer),
            Transport::Tls(stream) => stream.read(buffer),
        };
        if left.is_none() {
            self.set_nonblocking(false)?;
        }
        match result {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ErrorKind::TimedOut.into()),
            // Servers may close without a word; lines have ends of their own.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
            result => result,
        }
    }

    /// Writes all of it. After an error a part of it may have been written.
    pub fn write(&mut self, mut bytes: &[u8], until: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            self.set_timeouts(Some(time_left(until)?))?;
            let written = match self {
                Transport::Unix(stream) => stream.write(bytes),
                Transport::Tcp(stream) => stream.write(bytes),
                Transport::Tls(stream) => stream.write(bytes),
            };
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
        match self {
            Transport::Tls(stream) => stream.flush(),
            _ => Ok(()),
        }
    }

    /// Both ways: TLS may have to write to be able to read, and the reverse.
    fn set_timeouts(&self, timeout: Option<Duration>) -> io::Result<()> {
        match (self, self.tcp()) {
            (Transport::Unix(stream), _) => {
                stream.set_read_timeout(timeout)?;
                stream.set_write_timeout(timeout)
            }
            (_, Some(stream)) => {
                stream.set_read_timeout(timeout)?;
                stream.set_write_timeout(timeout)
            }
            _ => Ok(()),
        }
    }

    fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        match (self, self.tcp()) {
            (Transport::Unix(stream), _) => stream.set_nonblocking(on),
            (_, Some(stream)) => stream.set_nonblocking(on),
            _ => Ok(()),
        }
    }

    /// Sends nothing more; what the server still says can be read.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Transport::Unix(stream) => stream.shutdown(Shutdown::Write),
            Transport::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Transport::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush()?;
                stream.sock.shutdown(Shutdown::Write)
            }
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Transport::Unix(stream) => stream.as_fd(),
            Transport::Tcp(stream) => stream.as_fd(),
            Transport::Tls(stream) => stream.sock.as_fd(),
        }
    }
}

fn connect(host: &HostPort, until: Instant) -> io::Result<TcpStream> {
    let addresses = look_up(host, until)?;
    let mut failed = io::Error::new(ErrorKind::NotFound, "the name has no address");
    let count = addresses.len();
    for (index, address) in addresses.into_iter().enumerate() {
        // One that doesn't answer leaves time for the others.
        let share = time_left(until)? / u32::try_from(count - index).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(&address, share.max(Duration::from_millis(1))) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The system looks names up without any limit in time, so another thread waits for it.
fn look_up(host: &HostPort, until: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, host.port)]);
    }
    let (answering, answer) = mpsc::channel();
    let question = host.clone();
    thread::Builder::new()
        .name("resolver".to_owned())
        .spawn(move || {
            // Nobody may be waiting any more.
            let _ = answering.send(question.resolve());
        })?;
    answer
        .recv_timeout(time_left(until)?)
        .map_err(|_| io::Error::from(ErrorKind::TimedOut))?
}
