//! The client library, blocking, on the standard library: [`Client`] for signals and the cache, and
//! [`Cache`], which keeps any value, for programs that want nothing else.
//!
//! Behaviour: clacks-protocol(7). What a [`Client`] adds to the protocol is correlation (answers are
//! found among signals that stream in), time limits on everything, and reconnection.

mod cache;
mod connection;
mod dial;
pub(crate) mod encoding;
mod error;
mod exchange;
mod incoming;
mod last_values;
mod message;
mod options;
mod reconnecting;
#[cfg(feature = "yaml")]
mod structure;
mod subscriptions;
mod text;
mod transport;

pub use cache::Cache;
pub use error::Error;
pub use message::Message;
pub use options::{Options, local_server};
pub use text::Text;

use crate::certificates::ServerTrust;
use crate::limits::CENTURY_S;
use crate::protocol::reply::Reply;
#[cfg(not(feature = "tool"))]
use connection::Connection;
use dial::Dial;
use exchange::is_final;
use incoming::Incoming;
use last_values::LastValues;
use reconnecting::Backoff;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};
use subscriptions::Subscriptions;
#[cfg(feature = "tool")]
pub(crate) use {
    connection::Connection,
    dial::{connect, dialler, find_server},
    options::SERVICE_SOCKET,
    transport::Transport,
};

/// A connection to a server, renewed by itself when it is lost.
///
/// Commands that nobody answers ([`set`](Client::set), [`store`](Client::store) and so on) return when
/// they are handed to the operating system. [`sync`](Client::sync) waits until the server has worked them
/// off, and says whether it refused one, or whether the connection broke meanwhile. What was sent and not
/// worked off when a connection broke is lost; so after [`Error::Disconnected`] everything since the last
/// `sync` may be. After [`Error::TimedOut`] such a command was not sent. Signals that pass while there is
/// no connection are missed.
///
/// A program that is meant to run for long calls something at least every 180 seconds, the server's ping
/// timeout ([`next`](Client::next) with a timeout does well), or switches that off with
/// [`Options::without_ping`]. It may do nothing but send: what comes meanwhile is read now and then, and kept for
/// `next`.
///
/// ```no_run
/// use clacks::{Client, Message, Options};
/// use std::time::Duration;
///
/// let options = Options::new("unix:/run/clacksd/clacksd.sock")?.login("lamp", "its password");
/// let mut client = Client::connect(options)?;
/// client.listen("kitchen::light")?;
/// loop {
///     match client.next(Duration::from_secs(60))? {
///         Some(Message::Set { value, .. }) => println!("the light is {value}"),
///         Some(Message::Disconnected(why)) => eprintln!("{why}"),
///         _ => {}
///     }
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), clacks::Error>(())
/// ```
///
/// # Errors
/// Any call: [`Error::Invalid`], and nothing was sent, if a name or a value holds a line break, a name is empty
/// or, before a value, holds an equals sign; [`Error::TimedOut`] after [`Options::call_timeout`];
/// [`Error::Disconnected`]; and those of [`connect`](Client::connect) if it dials. A refusal of a command that
/// nobody answers is [`Error::Refused`] of the next `sync`, or else a [`Message::Error`]; that of a question
/// ([`retrieve`](Client::retrieve), [`keys`](Client::keys), [`clients`](Client::clients)) is its own. If a command
/// that nobody answers returns `Refused` itself, the server has ended the connection for that reason: then it means
/// what [`Error::Disconnected`] does.
pub struct Client {
    options: Options,
    trust: Option<ServerTrust>,
    connection: Option<Connection>,
    /// The next connection, on its way.
    dial: Option<Dial>,
    /// Why the last dial came to nothing.
    trouble: Option<String>,
    backoff: Backoff,
    subscriptions: Subscriptions,
    incoming: Incoming,
    /// Why something that was sent was refused, if that came while something else was being sent.
    refusal: Option<String>,
    /// It is the last that the server has said.
    refusal_is_last: bool,
    /// Lines were sent that the server may not have worked off yet.
    has_unconfirmed: bool,
    /// Such lines were sent on a connection that broke.
    lost_lines: bool,
    /// Counts FLUSHes: each has a text of its own.
    flushes: u64,
    /// The text of the FLUSH that asks a silent server whether it is there, until it is answered.
    probe: Option<String>,
    /// What [`Client::set_if_changed`] has sent on this connection.
    last_values: LastValues,
    connections: u64,
    /// When the present call has to be over, if it is a part of a longer one.
    call_end: Option<Instant>,
}

impl Client {
    /// Connects and logs in.
    ///
    /// # Errors
    /// As [`Client::new`]; and [`Error::LoginRefused`], [`Error::Disconnected`], or [`Error::TimedOut`]
    /// after the connect timeout.
    pub fn connect(options: Options) -> Result<Client, Error> {
        let mut client = Client::new(options)?;
        let until = end_of(client.options.connect_timeout);
        client.try_to_connect(until)?;
        Ok(client)
    }

    /// A client that connects when it is first used, and is as patient then as after a lost connection.
    ///
    /// # Errors
    /// [`Error::Options`] if plain text would leave this machine or the authorities can't be read.
    pub fn new(options: Options) -> Result<Client, Error> {
        let trust = dial::trust(&options)?;
        let incoming = Incoming::new(options.max_queued);
        Ok(Client {
            options,
            trust,
            connection: None,
            dial: None,
            trouble: None,
            backoff: Backoff::default(),
            subscriptions: Subscriptions::default(),
            incoming,
            refusal: None,
            refusal_is_last: false,
            has_unconfirmed: false,
            lost_lines: false,
            flushes: 0,
            probe: None,
            last_values: LastValues::default(),
            connections: 0,
            call_end: None,
        })
    }

    // Signals.

    /// From now on signals of that name come as messages, also after a reconnection.
    pub fn listen(&mut self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        let name = plain(name.as_ref())?;
        self.subscriptions.names.insert(name.to_vec());
        self.send(&[b"LISTEN ", name])
    }

    /// The reverse. A signal on its way may still come.
    pub fn unlisten(&mut self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        let name = plain(name.as_ref())?;
        self.subscriptions.names.remove(name);
        self.send(&[b"UNLISTEN ", name])
    }

    /// Sends a signal with a value to all who listen to the name, but never back to this client.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.last_values.forget(name.as_ref());
        self.send_pair(b"SET ", name.as_ref(), value.as_ref())
    }

    /// The same, unless this is the value that this client set last. Whether it was sent.
    ///
    /// After a reconnection every value counts as changed, and so does one that is forgotten: names and
    /// values of 16 MiB are remembered. A call that sends no value still sees whether there is a connection, and
    /// pings.
    pub fn set_if_changed(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        let (name, value) = (name.as_ref(), value.as_ref());
        // A value that the last connection knew is no reason not to set it on the next.
        self.look_after(Duration::ZERO);
        if self.connection.is_some() && self.last_values.is(name, value) {
            self.keep_alive()?;
            return Ok(false);
        }
        self.send_pair(b"SET ", name, value)?;
        self.last_values.remember(name, value);
        Ok(true)
    }

    /// Sends a signal without a value.
    pub fn notify(&mut self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        let name = plain(name.as_ref())?;
        self.send(&[b"NOTIFY ", name])
    }

    /// Sends a signal, and stores its value in the cache.
    pub fn set_and_store(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        self.last_values.forget(name.as_ref());
        self.send_pair(b"SETANDSTORE ", name.as_ref(), value.as_ref())
    }

    // The cache.

    /// Puts a value into the cache.
    pub fn store(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.send_pair(b"STORE ", name.as_ref(), value.as_ref())
    }

    /// The cached value of a name; `None` if there is none. Asks again if the connection breaks.
    pub fn retrieve(&mut self, name: impl AsRef<[u8]>) -> Result<Option<Text>, Error> {
        let name = filled(plain(name.as_ref())?, NO_NAME)?;
        self.ask(&[b"RETRIEVE ", name], |reply| match reply {
            Reply::Retrieved(pair) if pair.name == name => Some(Some(pair.value.into())),
            Reply::NotRetrieved(missing) if *missing == name => Some(None),
            _ => None,
        })
    }

    /// Takes a name out of the cache.
    pub fn remove(&mut self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        let name = filled(plain(name.as_ref())?, NO_NAME)?;
        self.send(&[b"REMOVE ", name])
    }

    /// Adds to a cached number; what is none counts as 0. `step` is written as a number, such as `1`,
    /// `-3` or `0.5`.
    pub fn increment(&mut self, name: impl AsRef<[u8]>, step: impl ToString) -> Result<(), Error> {
        self.send_step(b"INCREMENT ", name.as_ref(), &step.to_string())
    }

    /// Subtracts from a cached number.
    pub fn decrement(&mut self, name: impl AsRef<[u8]>, step: impl ToString) -> Result<(), Error> {
        self.send_step(b"DECREMENT ", name.as_ref(), &step.to_string())
    }

    /// All names in the cache that have a value.
    pub fn keys(&mut self) -> Result<Vec<Text>, Error> {
        let mut keys = Vec::new();
        self.ask(&[b"KEYLIST"], |reply| match reply {
            Reply::KeyListStart => {
                keys.clear();
                None
            }
            Reply::Key(name) => {
                keys.push((*name).into());
                None
            }
            Reply::KeyListEnd => Some(()),
            _ => None,
        })?;
        Ok(keys)
    }

    /// Removes everything from the cache.
    pub fn clear(&mut self) -> Result<(), Error> {
        self.send(&[b"CLEARCACHE"])
    }

    // Management.

    /// The server's connections, as their fields: `CID`, `CLIENTINFO` and others.
    pub fn clients(&mut self) -> Result<Vec<HashMap<String, Text>>, Error> {
        let mut clients = Vec::new();
        self.ask(&[b"CLIENTLIST"], |reply| match reply {
            Reply::ClientListStart => {
                clients.clear();
                None
            }
            Reply::Client(fields) => {
                clients.push(fields_of(fields));
                None
            }
            Reply::ClientListEnd => Some(()),
            _ => None,
        })?;
        Ok(clients)
    }

    /// Ends the connection of that CID, if there is one.
    pub fn disconnect_client(&mut self, cid: impl AsRef<[u8]>) -> Result<(), Error> {
        let cid = filled(plain(cid.as_ref())?, "a CID can't be empty")?;
        self.send(&[b"CLIENTDISCONNECT ", cid])
    }

    /// From now on everything that passes the server comes as [`Message::Debug`].
    pub fn monitor(&mut self) -> Result<(), Error> {
        self.subscriptions.is_monitoring = true;
        self.send(&[b"MONITOR"])
    }

    /// The reverse. A message on its way may still come.
    pub fn unmonitor(&mut self) -> Result<(), Error> {
        self.subscriptions.is_monitoring = false;
        self.send(&[b"UNMONITOR"])
    }

    /// Lets the server end in so many seconds, which takes the permission `manage`.
    ///
    /// # Errors
    /// [`Error::Invalid`] also unless that is a number above 0: the server would not heed it.
    pub fn shut_down(&mut self, seconds: f64) -> Result<(), Error> {
        if !(seconds > 0.0 && seconds.is_finite()) {
            return Err(Error::Invalid("seconds have to be more than 0"));
        }
        let value = seconds.to_string();
        self.overhead("S", value)
    }

    /// Sends an OVERHEAD line (clacks-protocol(7), OVERHEAD): flags and a value.
    pub fn overhead(&mut self, flags: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        let value = filled(plain(value.as_ref())?, "an OVERHEAD value can't be empty")?;
        if flags.is_empty() || !flags.bytes().all(|flag| flag.is_ascii_uppercase()) {
            return Err(Error::Invalid("OVERHEAD flags are upper-case letters"));
        }
        self.send(&[b"OVERHEAD ", flags.as_bytes(), b" ", value])
    }

    // All of it.

    /// Waits until the server has worked off everything that was sent before.
    ///
    /// # Errors
    /// [`Error::Refused`] if it refused any of it, or has closed the connection for it (`line_too_long` and
    /// the like); [`Error::Disconnected`] if the connection was lost, and
    /// with it, perhaps, what was sent.
    pub fn sync(&mut self) -> Result<(), Error> {
        let until = self.end_of_call();
        if std::mem::take(&mut self.lost_lines) {
            return Err(Error::Disconnected(io::ErrorKind::ConnectionReset.into()));
        }
        let exchanged = self.exchange(&[], until, |reply| {
            matches!(reply, Reply::Flushed(_)).then_some(())
        });
        let (refusals, ()) = exchanged.map_err(|error| {
            // A lost connection is told now, and not once more by the next call.
            let has_lost = std::mem::take(&mut self.lost_lines);
            match error {
                Error::TimedOut if has_lost => Error::Disconnected(io::ErrorKind::TimedOut.into()),
                Error::NotClacks(what) if has_lost => {
                    Error::Disconnected(io::Error::new(io::ErrorKind::InvalidData, what))
                }
                error => error,
            }
        })?;
        match refusals.into_iter().next() {
            Some(reason) => Err(Error::Refused(reason)),
            None => Ok(()),
        }
    }

    /// The next message; `None` if none comes within `timeout`. Zero fetches what is there already.
    ///
    /// After [`Message::Disconnected`] it dials again, in growing intervals. What one call has begun the
    /// next goes on with. A server that is silent, or out of reach, is noticed within two
    /// [probe intervals](Options::probe_interval), if the program calls this often enough.
    ///
    /// # Errors
    /// [`Error::LoginRefused`] or [`Error::Certificate`] if, after a reconnection, the server doesn't take
    /// the login any more, or this client the server.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Message>, Error> {
        let until = end_of(timeout);
        loop {
            if let Some(reason) = self.refusal.take() {
                self.refusal_is_last = false;
                return Ok(Some(Message::Error(reason.as_str().into())));
            }
            if let Some(message) = self.incoming.take() {
                return Ok(Some(message));
            }
            match self.wait_for_message(until) {
                Err(Error::TimedOut) => return Ok(None),
                Err(error) if is_final(&error) => return Err(error),
                // Of all others there is a message that says so.
                _ => {}
            }
        }
    }

    /// From the next connection on it logs in so: for a program that goes on after [`Error::LoginRefused`], when
    /// its password was changed. A connection that there is stays as it is.
    pub fn log_in_as(&mut self, user: &str, password: &str) {
        self.options.set_login(user, password);
        // It has begun with the old one.
        self.dial = None;
    }

    /// Whether there is a connection, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Why the last dial came to nothing, while there is no connection; `None` if none has failed yet.
    /// Calls that dial again and again tell it only by [`Error::TimedOut`].
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// How many connections this client has had, the first one included: more than at the last look
    /// means that what belongs to a connection is gone.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// The connection's descriptor, for a program that waits for many things: when it is readable, call
    /// [`next`](Client::next) with a timeout of zero until it returns `None`, and do so too before
    /// waiting, which should not take longer than up to [`next_due`](Client::next_due). `None` while there is no connection: then call `next` now and then, since a dial goes on in
    /// calls only.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(AsFd::as_fd)
    }

    /// When [`next`](Client::next) has to be called again at the latest, for a PING or for a server that may have become
    /// silent; `None` while there is no connection.
    pub fn next_due(&self) -> Option<Instant> {
        let connection = self.connection.as_ref()?;
        let probe = connection.next_probe(self.options.probe_interval);
        let ping = self.options.ping_interval;
        Some(ping.map_or(probe, |interval| probe.min(connection.next_ping(interval))))
    }

    /// Says goodbye and waits until the server has taken everything that was sent.
    ///
    /// # Errors
    /// [`Error::Disconnected`] also if a connection was lost since the last [`sync`](Client::sync), and with it,
    /// perhaps, what was sent.
    pub fn close(mut self) -> Result<(), Error> {
        let until = self.end_of_call();
        if let Some(connection) = &mut self.connection {
            connection.push(b"QUIT\r\n".to_vec());
            loop {
                match connection.receive(until) {
                    Ok(_) if Instant::now() < until => {}
                    Ok(_) => return Err(Error::TimedOut),
                    Err(Error::Disconnected(_)) if connection.is_sent() => break,
                    Err(error) => return Err(error),
                }
            }
        }
        if self.lost_lines {
            return Err(Error::Disconnected(io::ErrorKind::ConnectionReset.into()));
        }
        Ok(())
    }

    fn send_pair(&mut self, verb: &[u8], name: &[u8], value: &[u8]) -> Result<(), Error> {
        let name = key(name)?;
        let value = plain(value)?;
        self.send(&[verb, name, b"=", value])
    }

    fn send_step(&mut self, verb: &[u8], name: &[u8], step: &str) -> Result<(), Error> {
        let name = key(name)?;
        let step = filled(plain(step.as_bytes())?, "a step can't be empty")?;
        if step.contains(&b'=') {
            return Err(Error::Invalid("a step is a number"));
        }
        self.send(&[verb, name, b"=", step])
    }
}

/// So much time from now on.
fn end_of(timeout: Duration) -> Instant {
    /// For whoever wants to wait for ever.
    const LONGEST: Duration = Duration::from_secs(CENTURY_S);
    Instant::now() + timeout.min(LONGEST)
}

/// A line can hold anything but its end.
fn plain(bytes: &[u8]) -> Result<&[u8], Error> {
    if memchr::memchr2(b'\r', b'\n', bytes).is_some() {
        return Err(Error::Invalid("names and values can't hold line breaks"));
    }
    Ok(bytes)
}

const NO_NAME: &str = "a name can't be empty";

/// Something that there has to be; otherwise that is what is wrong.
fn filled<'a>(bytes: &'a [u8], wrong: &'static str) -> Result<&'a [u8], Error> {
    if bytes.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    Ok(bytes)
}

/// The name before an `=`.
fn key(name: &[u8]) -> Result<&[u8], Error> {
    if name.contains(&b'=') {
        return Err(Error::Invalid("a name can't hold an equals sign"));
    }
    filled(plain(name)?, NO_NAME)
}

/// The fields of a CLIENT line, each `NAME=text;`.
fn fields_of(line: &[u8]) -> HashMap<String, Text> {
    line.split(|byte| *byte == b';')
        .filter_map(|field| {
            let equals = memchr::memchr(b'=', field)?;
            let name = String::from_utf8_lossy(&field[..equals]).into_owned();
            Some((name, field[equals + 1..].into()))
        })
        .collect()
}
