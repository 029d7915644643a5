//! One logged-in connection: lines out, lines in.

#[cfg(feature = "tool")]
use super::transport;
use super::transport::Transport;
use super::{Error, Options};
use crate::certificates::ServerTrust;
use crate::protocol::line::Pending;
use crate::protocol::reply::{self, Reply};
use crate::protocol::{Flags, encode};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

pub struct Connection {
    transport: Transport,
    pending: Pending,
    /// When the last PING went out.
    pinged: Instant,
    buffer: Box<[u8]>,
}

/// Read from the socket at once.
const READ_SIZE: usize = 16 * 1024;
/// A server that sends longer lines is none: they are limited to a fraction of that by default.
const MAX_LINE: usize = 1 << 30;

impl Connection {
    /// A connection alone, for whoever speaks the protocol.
    #[cfg(feature = "tool")]
    pub fn dial(options: &Options) -> Result<Connection, Error> {
        Connection::dialler(options.clone())?()
    }

    /// As many of them as are wanted.
    #[cfg(feature = "tool")]
    pub fn dialler(options: Options) -> Result<impl FnMut() -> Result<Connection, Error>, Error> {
        let trust = transport::trust(&options)?;
        Ok(move || {
            let until = Instant::now() + options.connect_timeout;
            Connection::open(&options, trust.as_ref(), until)
        })
    }

    /// For whoever moves the bytes in a way of its own. Lines that have come and were not received are
    /// dropped: after the welcome there are none that matter.
    #[cfg(feature = "tool")]
    pub fn into_transport(self) -> Transport {
        self.transport
    }

    /// Connects and logs in. What the server says after its welcome is left to be read.
    pub fn open(
        options: &Options,
        trust: Option<&ServerTrust>,
        until: Instant,
    ) -> Result<Connection, Error> {
        let transport = Transport::connect(options, trust, until).map_err(Error::Disconnected)?;
        let mut connection = Connection {
            transport,
            pending: Pending::default(),
            pinged: Instant::now(),
            buffer: vec![0; READ_SIZE].into_boxed_slice(),
        };
        let mut hello = Vec::new();
        encode::line(&mut hello, &[b"CLACKS ", options.software.as_bytes()]);
        encode::overhead(&mut hello, Flags::LOGIN, options.token.as_bytes());
        if options.ping_interval.is_none() {
            encode::line(&mut hello, &[b"NOPING"]);
        }
        let sent = match connection.send(&hello, until) {
            Err(Error::TimedOut) => return Err(Error::TimedOut),
            sent => sent,
        };
        loop {
            let line = match (connection.receive(until), &sent) {
                (Ok(line), _) => line,
                // Who closes at once, since it is full for example, may have said why.
                (Err(Error::Disconnected(_)), Err(_)) => return sent.map(|()| connection),
                (Err(error), _) => return Err(error),
            };
            match reply::decode(&line) {
                Some(Reply::Overhead(overhead))
                    if overhead.flags.intersects(Flags::LOGIN_RIGHT) =>
                {
                    return Ok(connection);
                }
                Some(Reply::Overhead(overhead))
                    if overhead.flags.intersects(Flags::LOGIN_WRONG) =>
                {
                    return Err(Error::LoginRefused);
                }
                Some(Reply::Overhead(overhead)) if overhead.flags.intersects(Flags::ERROR) => {
                    return Err(Error::Refused(
                        String::from_utf8_lossy(overhead.value).into_owned(),
                    ));
                }
                Some(_) => {}
                None => {
                    let start = line[..line.len().min(80)].escape_ascii().to_string();
                    return Err(Error::NotClacks(start));
                }
            }
        }
    }

    /// Sends lines. After an error the connection is of no use any more: it may end in half a line.
    pub fn send(&mut self, lines: &[u8], until: Instant) -> Result<(), Error> {
        self.transport.write(lines, until).map_err(lost)
    }

    /// The next line; [`Error::TimedOut`] if none has come by then.
    pub fn receive(&mut self, until: Instant) -> Result<Vec<u8>, Error> {
        loop {
            while let Some(line) = self.pending.next_line() {
                if !line.is_empty() {
                    return Ok(line.to_vec());
                }
            }
            if self.pending.waiting() > MAX_LINE {
                return Err(Error::NotClacks("a line without end".to_owned()));
            }
            match self.transport.read(&mut self.buffer, until) {
                Ok(0) => return Err(Error::Disconnected(ErrorKind::UnexpectedEof.into())),
                Ok(count) => self.pending.push(&self.buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(lost(error)),
            }
        }
    }

    /// Sends a PING if the last one is older than that.
    pub fn keep_alive(&mut self, interval: Duration, until: Instant) -> Result<(), Error> {
        if self.pinged.elapsed() >= interval {
            self.pinged = Instant::now();
            self.send(b"PING\r\n", until)?;
        }
        Ok(())
    }

    /// When the next PING is due.
    pub fn next_ping(&self, interval: Duration) -> Instant {
        self.pinged + interval
    }

    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.transport.shutdown_write()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport.as_fd()
    }
}

fn lost(error: io::Error) -> Error {
    if error.kind() == ErrorKind::TimedOut {
        Error::TimedOut
    } else {
        Error::Disconnected(error)
    }
}
