//! The blocking client library. [`Client`] sends and receives signals and uses the cache; [`Cache`] is for programs that
//! need only the cache, and stores any bytes.
//!
//! The protocol is specified in clacks-protocol(7). [`Client`] adds three things to it: it finds answers among the
//! signals that arrive meanwhile, limits the time of every call, and reconnects.

mod cache;
mod connection;
#[cfg(feature = "tool")]
mod counting;
mod deadline;
mod dial;
pub(crate) mod encoding;
mod error;
mod exchange;
mod incoming;
mod key_info;
mod last_values;
mod message;
mod options;
mod reconnecting;
mod retrieval;
#[cfg(feature = "tool")]
mod status;
#[cfg(feature = "yaml")]
mod structure;
mod subscriptions;
mod text;
mod transport;
mod ttl;

pub use cache::Cache;
pub use error::Error;
pub use key_info::KeyInfo;
pub use message::Message;
pub use options::{Options, local_server};
pub use text::Text;
pub use ttl::Ttl;

use crate::certificates::ServerTrust;
use crate::protocol::pattern;
use crate::protocol::reply::{Reply, said_of};
#[cfg(not(feature = "tool"))]
use connection::Connection;
use deadline::deadline_after;
use dial::Dial;
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
    counting::Counted,
    dial::{UNKNOWN_AUTHORITY, connect, dialler, find_server},
    options::SERVICE_SOCKET,
    status::{Fields, Figure},
    transport::Transport,
};

/// A client of a server, which reconnects when its connection is lost.
///
/// Commands without an answer ([`set`](Client::set), [`store`](Client::store) and so on) return when the operating
/// system has taken them. [`sync`](Client::sync) waits until the server has processed them, and returns an error if the
/// server refused one of them or the connection was lost. Commands that the server had not processed when the connection
/// was lost are lost with it; so after [`Error::Disconnected`] any command since the last `sync` may be lost. After
/// [`Error::TimedOut`] a command without an answer was not sent. Signals that other clients send while there is no
/// connection are missed.
///
/// A long-running program calls any method at least every 180 seconds, the server's ping timeout
/// ([`next`](Client::next) with a timeout is well suited), or switches the timeout off with
/// [`Options::without_ping`]. A program that only sends need not call `next`: arriving messages are read now and then,
/// and queued for it.
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
/// Every call may return [`Error::Invalid`], with nothing sent, if a name or a value contains a line break, or a name is
/// empty or, before a value, contains an equals sign; [`Error::TimedOut`] after [`Options::call_timeout`];
/// [`Error::Disconnected`]; and the errors of [`connect`](Client::connect) if it has to reconnect. The refusal of a
/// command without an answer is returned by the next `sync` as [`Error::Refused`], or else queued as a
/// [`Message::Error`]. The refusal of a question ([`retrieve`](Client::retrieve), [`keys`](Client::keys),
/// [`clients`](Client::clients)) is returned by the question. If a command without an answer returns `Refused` itself,
/// the server has ended the connection for that reason, and the error means the same as [`Error::Disconnected`].
pub struct Client {
    options: Options,
    trust: Option<ServerTrust>,
    connection: Option<Connection>,
    /// The dial of the next connection, while it is in progress.
    dial: Option<Dial>,
    /// The error of the last failed dial.
    last_dial_error: Option<String>,
    backoff: Backoff,
    subscriptions: Subscriptions,
    incoming: Incoming,
    /// The reason of a refusal that arrived while no call was waiting for it.
    refusal: Option<String>,
    /// No line followed the refusal: if the connection ends now, the refusal is the reason.
    refusal_is_last: bool,
    /// Lines were sent that the server may not have processed yet.
    has_unconfirmed: bool,
    /// Such lines were sent on a connection that was lost.
    has_lost_lines: bool,
    /// The number of FLUSHes sent. Each has a text of its own.
    flushes: u64,
    /// The text of the FLUSH that probes a silent server, until it is answered.
    probe: Option<String>,
    /// The values that [`Client::set_if_changed`] has sent on this connection.
    last_values: LastValues,
    /// The number of connections so far.
    connections: u64,
    /// The deadline of the longer call that the present call is a part of, if any.
    call_end: Option<Instant>,
}

impl Client {
    /// Connects and logs in.
    ///
    /// # Errors
    /// The errors of [`Client::new`]; [`Error::LoginRefused`]; [`Error::Certificate`]; [`Error::Disconnected`]; and
    /// [`Error::TimedOut`] after the connect timeout.
    pub fn connect(options: Options) -> Result<Client, Error> {
        let mut client = Client::new(options)?;
        let until = deadline_after(client.options.connect_timeout);
        client.try_to_connect(until)?;
        Ok(client)
    }

    /// Creates a client that connects at its first use. It then retries as after a lost connection.
    ///
    /// # Errors
    /// [`Error::Options`] if plain text would leave this machine, or the file with the authorities can't be read.
    pub fn new(options: Options) -> Result<Client, Error> {
        let trust = dial::trust(&options)?;
        let incoming = Incoming::new(options.max_queued);
        Ok(Client {
            options,
            trust,
            connection: None,
            dial: None,
            last_dial_error: None,
            backoff: Backoff::default(),
            subscriptions: Subscriptions::default(),
            incoming,
            refusal: None,
            refusal_is_last: false,
            has_unconfirmed: false,
            has_lost_lines: false,
            flushes: 0,
            probe: None,
            last_values: LastValues::default(),
            connections: 0,
            call_end: None,
        })
    }

    // Signals.

    /// Subscribes to signals of that name. The subscription survives reconnections.
    pub fn listen(&mut self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        let name = without_line_breaks(name.as_ref())?;
        self.subscriptions.names.insert(name.to_vec());
        self.send(&[b"LISTEN ", name])
    }

    /// Ends the subscription to a name. A signal that the server has already sent may still arrive.
    pub fn unlisten(&mut self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        let name = without_line_breaks(name.as_ref())?;
        self.subscriptions.names.remove(name);
        self.send(&[b"UNLISTEN ", name])
    }

    /// Subscribes to signals of all names that match the pattern: in it a part `*` stands for one part of a name, and a last
    /// part `>` for one or more, as in `weather::*::>`. Each signal arrives once, however many names and patterns match. The
    /// subscription survives reconnections. A server of Net::Clacks refuses it.
    ///
    /// # Errors
    /// [`Error::Invalid`] also if the pattern has an empty part, a `*` or `>` at another place, or more than 4096 bytes.
    pub fn listen_to_pattern(&mut self, pattern: impl AsRef<[u8]>) -> Result<(), Error> {
        let pattern = valid_pattern(pattern.as_ref())?;
        self.subscriptions.patterns.insert(pattern.to_vec());
        self.send(&[b"PLISTEN ", pattern])
    }

    /// Ends the subscription to a pattern. A signal that the server has already sent may still arrive.
    ///
    /// # Errors
    /// [`Error::Invalid`] as from [`Client::listen_to_pattern`].
    pub fn unlisten_to_pattern(&mut self, pattern: impl AsRef<[u8]>) -> Result<(), Error> {
        let pattern = valid_pattern(pattern.as_ref())?;
        self.subscriptions.patterns.remove(pattern);
        self.send(&[b"PUNLISTEN ", pattern])
    }

    /// Sends a signal with a value to all other clients that listen to the name.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.last_values.forget(name.as_ref());
        self.send_pair(b"SET ", name.as_ref(), value.as_ref())
    }

    /// Sends a signal with a value, unless the value is the one that this client set last for the name. Returns true if
    /// the signal was sent.
    ///
    /// After a reconnection every value counts as changed. So does a forgotten one: names and values of 16 MiB together
    /// are remembered. A call that sends no signal still checks the connection and sends a PING if it is due.
    pub fn set_if_changed(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        let (name, value) = (name.as_ref(), value.as_ref());
        // Values of a lost connection are forgotten: they have to be sent again on the next one.
        self.check_connection(Duration::ZERO);
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
        let name = without_line_breaks(name.as_ref())?;
        self.send(&[b"NOTIFY ", name])
    }

    /// Sends a signal with a value, and stores the value in the cache.
    pub fn set_and_store(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        self.last_values.forget(name.as_ref());
        self.send_pair(b"SETANDSTORE ", name.as_ref(), value.as_ref())
    }

    // The cache.

    /// Stores a value in the cache.
    pub fn store(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.send_pair(b"STORE ", name.as_ref(), value.as_ref())
    }

    /// Stores a value in the cache that expires after that time. A connection that is lost between the two lines of
    /// which this consists can leave a value that does not expire.
    pub fn store_for(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        time: Duration,
    ) -> Result<(), Error> {
        let name = entry_name(name.as_ref())?;
        let value = without_line_breaks(value.as_ref())?;
        let seconds = ttl::encode(time);
        self.send(&[
            b"STORE ",
            name,
            b"=",
            value,
            b"\r\nEXPIRE ",
            name,
            b"=",
            seconds.as_bytes(),
        ])
    }

    /// Lets an entry expire after that time from now, or never. Nothing happens if there is no such entry.
    pub fn expire(&mut self, name: impl AsRef<[u8]>, time: Option<Duration>) -> Result<(), Error> {
        let name = non_empty(without_line_breaks(name.as_ref())?, NO_NAME)?;
        let seconds = time.map_or("0".to_owned(), ttl::encode);
        self.send(&[b"EXPIRE ", name, b"=", seconds.as_bytes()])
    }

    /// Returns the time until an entry expires; `None` if there is no such entry. Asks again if the connection is lost.
    pub fn ttl(&mut self, name: impl AsRef<[u8]>) -> Result<Option<Ttl>, Error> {
        let name = non_empty(without_line_breaks(name.as_ref())?, NO_NAME)?;
        self.ask(&[b"TTL ", name], |reply| match reply {
            Reply::Ttl(answer) => said_of(answer, name).and_then(Ttl::decode).map(Some),
            Reply::NotRetrieved(missing) if *missing == name => Some(None),
            _ => None,
        })
    }

    /// Returns the cached value of a name; `None` if there is none. Asks again if the connection is lost.
    pub fn retrieve(&mut self, name: impl AsRef<[u8]>) -> Result<Option<Text>, Error> {
        let name = non_empty(without_line_breaks(name.as_ref())?, NO_NAME)?;
        self.ask(&[b"RETRIEVE ", name], |reply| match reply {
            Reply::Retrieved(answer) => said_of(answer, name).map(|value| Some(value.into())),
            Reply::NotRetrieved(missing) if *missing == name => Some(None),
            _ => None,
        })
    }

    /// Removes a name from the cache.
    pub fn remove(&mut self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        let name = non_empty(without_line_breaks(name.as_ref())?, NO_NAME)?;
        self.send(&[b"REMOVE ", name])
    }

    /// Adds to a cached number; a missing value, or one that is not a number, counts as 0. `step` is a decimal number
    /// such as `1`, `-3` or `0.5`.
    pub fn increment(&mut self, name: impl AsRef<[u8]>, step: impl ToString) -> Result<(), Error> {
        self.send_step(b"INCREMENT ", name.as_ref(), &step.to_string())
    }

    /// Subtracts from a cached number, as [`increment`](Client::increment) adds.
    pub fn decrement(&mut self, name: impl AsRef<[u8]>, step: impl ToString) -> Result<(), Error> {
        self.send_step(b"DECREMENT ", name.as_ref(), &step.to_string())
    }

    /// Returns all names in the cache that have a value, in no particular order.
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

    /// Removes all entries from the cache. The user needs the permission `manage`.
    pub fn clear(&mut self) -> Result<(), Error> {
        self.send(&[b"CLEARCACHE"])
    }

    // Management.

    /// Returns the server's connections, each as a map of its fields: `CID`, `CLIENTINFO` and others (clacks-protocol(7),
    /// MANAGEMENT). The user needs the permission `manage`.
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

    /// Ends the connection with that CID, if there is one. The user needs the permission `manage`.
    pub fn disconnect_client(&mut self, cid: impl AsRef<[u8]>) -> Result<(), Error> {
        let cid = non_empty(without_line_breaks(cid.as_ref())?, "a CID can't be empty")?;
        self.send(&[b"CLIENTDISCONNECT ", cid])
    }

    /// Starts monitoring: all lines that the server processes arrive as [`Message::Debug`]. The user needs the permission
    /// `manage`.
    pub fn monitor(&mut self) -> Result<(), Error> {
        self.subscriptions.is_monitoring = true;
        self.send(&[b"MONITOR"])
    }

    /// Stops monitoring. A message that the server has already sent may still arrive.
    pub fn unmonitor(&mut self) -> Result<(), Error> {
        self.subscriptions.is_monitoring = false;
        self.send(&[b"UNMONITOR"])
    }

    /// Makes the server end after so many seconds. The user needs the permission `manage`.
    ///
    /// # Errors
    /// [`Error::Invalid`] also if `seconds` is not a number above 0, which the server would ignore.
    pub fn shut_down(&mut self, seconds: f64) -> Result<(), Error> {
        if !(seconds > 0.0 && seconds.is_finite()) {
            return Err(Error::Invalid("seconds have to be more than 0"));
        }
        let value = seconds.to_string();
        self.overhead("S", value)
    }

    /// Sends an OVERHEAD line (clacks-protocol(7), OVERHEAD). `flags` are upper-case letters.
    pub fn overhead(&mut self, flags: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        let value = non_empty(
            without_line_breaks(value.as_ref())?,
            "an OVERHEAD value can't be empty",
        )?;
        if flags.is_empty() || !flags.bytes().all(|flag| flag.is_ascii_uppercase()) {
            return Err(Error::Invalid("OVERHEAD flags are upper-case letters"));
        }
        self.send(&[b"OVERHEAD ", flags.as_bytes(), b" ", value])
    }

    // The connection.

    /// Waits until the server has processed all commands sent before.
    ///
    /// # Errors
    /// [`Error::Refused`] if the server refused any of them, or ended the connection because of one (`line_too_long` and
    /// the like); [`Error::Disconnected`] if the connection was lost, and with it, perhaps, some of the commands.
    pub fn sync(&mut self) -> Result<(), Error> {
        let until = self.end_of_call();
        if std::mem::take(&mut self.has_lost_lines) {
            return Err(Error::Disconnected(io::ErrorKind::ConnectionReset.into()));
        }
        let exchanged = self.exchange(&[], until, |reply| {
            matches!(reply, Reply::Flushed(_)).then_some(())
        });
        let (refusals, ()) = exchanged.map_err(|error| {
            // The loss is reported now, and not again by the next call.
            let has_lost = std::mem::take(&mut self.has_lost_lines);
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

    /// Waits for the next message; `None` if none arrives within `timeout`. With a timeout of zero it returns only
    /// messages that have arrived already.
    ///
    /// After [`Message::Disconnected`] it reconnects, at intervals that grow up to five seconds; a dial goes on over several calls. A server
    /// that is silent or unreachable is detected within two [probe intervals](Options::probe_interval), if the program
    /// calls this often enough.
    ///
    /// # Errors
    /// [`Error::LoginRefused`] or [`Error::Certificate`] if, at a reconnection, the server does not accept the login any
    /// more, or the client does not accept the server's certificate.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Message>, Error> {
        let until = deadline_after(timeout);
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
                Err(error) if error.is_final() => return Err(error),
                // Every other error has queued a message.
                _ => {}
            }
        }
    }

    /// Changes the login for the next connection, for a program that goes on after [`Error::LoginRefused`] because its
    /// password was changed. The present connection, if there is one, stays logged in as before.
    pub fn log_in_as(&mut self, user: &str, password: &str) {
        self.options.set_login(user, password);
        // A dial in progress uses the old login.
        self.dial = None;
    }

    /// Returns true if there is a connection. Its loss may not have been noticed yet.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Returns the error of the last failed dial while there is no connection; `None` if no dial has failed since the last
    /// connection. Calls that retry until their deadline return only [`Error::TimedOut`].
    pub fn last_dial_error(&self) -> Option<&str> {
        self.last_dial_error.as_deref()
    }

    /// Returns the number of connections that this client has had, the present one included. If it has grown, everything
    /// that belongs to one connection is lost.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// Returns the connection's descriptor, for a program that polls several descriptors; `None` while there is no
    /// connection. When it is readable, call [`next`](Client::next) with a timeout of zero until it returns `None`. Do so
    /// before polling, too, and poll no longer than until [`next_due`](Client::next_due). Without a connection, call
    /// `next` now and then: dialling goes on only in calls.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(AsFd::as_fd)
    }

    /// Returns the time at which [`next`](Client::next) has to be called at the latest, to send a PING or to detect a
    /// silent server; `None` while there is no connection.
    pub fn next_due(&self) -> Option<Instant> {
        let connection = self.connection.as_ref()?;
        let probe = connection.next_probe(self.options.probe_interval);
        let ping = self.options.ping_interval;
        Some(ping.map_or(probe, |interval| probe.min(connection.next_ping(interval))))
    }

    /// Sends QUIT and waits until the server has read everything that was sent.
    ///
    /// # Errors
    /// [`Error::Disconnected`] also if a connection was lost since the last [`sync`](Client::sync), and with it, perhaps,
    /// some of the commands.
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
        if self.has_lost_lines {
            return Err(Error::Disconnected(io::ErrorKind::ConnectionReset.into()));
        }
        Ok(())
    }

    fn send_pair(&mut self, verb: &[u8], name: &[u8], value: &[u8]) -> Result<(), Error> {
        let name = entry_name(name)?;
        let value = without_line_breaks(value)?;
        self.send(&[verb, name, b"=", value])
    }

    fn send_step(&mut self, verb: &[u8], name: &[u8], step: &str) -> Result<(), Error> {
        let (name, step) = (entry_name(name)?, valid_step(step)?);
        self.send(&[verb, name, b"=", step])
    }
}

/// Checks a step of INCREMENT and DECREMENT.
fn valid_step(step: &str) -> Result<&[u8], Error> {
    let step = non_empty(
        without_line_breaks(step.as_bytes())?,
        "a step can't be empty",
    )?;
    match step.contains(&b'=') {
        true => Err(Error::Invalid("a step is a number")),
        false => Ok(step),
    }
}

/// Checks that a text contains no line break, since it becomes part of a line.
fn without_line_breaks(bytes: &[u8]) -> Result<&[u8], Error> {
    if memchr::memchr2(b'\r', b'\n', bytes).is_some() {
        return Err(Error::Invalid("names and values can't hold line breaks"));
    }
    Ok(bytes)
}

fn valid_pattern(bytes: &[u8]) -> Result<&[u8], Error> {
    match pattern::is_valid(bytes) {
        true => without_line_breaks(bytes),
        false => Err(Error::Invalid(
            "a pattern has no empty part, and * and > only as whole parts, > only as the last",
        )),
    }
}

const NO_NAME: &str = "a name can't be empty";

/// Checks that a text is not empty; `wrong` is the message of the error.
fn non_empty<'a>(bytes: &'a [u8], wrong: &'static str) -> Result<&'a [u8], Error> {
    if bytes.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    Ok(bytes)
}

/// Checks a name that stands before an equals sign.
fn entry_name(name: &[u8]) -> Result<&[u8], Error> {
    if name.contains(&b'=') {
        return Err(Error::Invalid("a name can't hold an equals sign"));
    }
    non_empty(without_line_breaks(name)?, NO_NAME)
}

/// Parses the fields of a CLIENT line or of a row of STATUS, each `NAME=text;`.
fn fields_of(line: &[u8]) -> HashMap<String, Text> {
    line.split(|byte| *byte == b';')
        .filter_map(|field| {
            let equals = memchr::memchr(b'=', field)?;
            let name = String::from_utf8_lossy(&field[..equals]).into_owned();
            Some((name, field[equals + 1..].into()))
        })
        .collect()
}
