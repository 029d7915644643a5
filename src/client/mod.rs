//! The client library, blocking, on the standard library: [`Client`] for signals and the cache, and
//! [`Cache`], which keeps any value, for programs that want nothing else.
//!
//! Behaviour: clacks-protocol(7). What a [`Client`] adds to the protocol is correlation (answers are
//! found among signals that stream in), time limits on everything, and reconnection.

mod cache;
mod connection;
pub(crate) mod encoding;
mod error;
mod message;
mod options;
mod reconnecting;
#[cfg(feature = "yaml")]
mod structure;
mod text;
mod transport;

pub use cache::Cache;
pub use error::Error;
pub use message::Message;
pub use options::{Options, local_server};
pub use text::Text;

use crate::certificates::ServerTrust;
use crate::protocol::encode;
use crate::protocol::reply::{self, Reply};
use crate::protocol::{Flags, Overhead};
#[cfg(not(feature = "tool"))]
use connection::Connection;
#[cfg(feature = "tool")]
pub(crate) use connection::Connection;
use reconnecting::Backoff;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};
#[cfg(feature = "tool")]
pub(crate) use transport::Transport;

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
/// [`Options::without_ping`].
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
pub struct Client {
    options: Options,
    trust: Option<ServerTrust>,
    connection: Option<Connection>,
    backoff: Backoff,
    listening: BTreeSet<Vec<u8>>,
    is_monitoring: bool,
    /// What came and was not fetched, with its size in bytes.
    incoming: VecDeque<Message>,
    queued: usize,
    lost: u64,
    /// Lines were sent that the server may not have worked off yet.
    has_unconfirmed: bool,
    /// Such lines were sent on a connection that broke.
    lost_lines: bool,
    /// Counts FLUSHes: each has a text of its own.
    flushes: u64,
    /// The values that [`Client::set_if_changed`] has sent on this connection.
    sent: HashMap<Vec<u8>, Vec<u8>>,
    connections: u64,
}

impl Client {
    /// Connects and logs in.
    ///
    /// # Errors
    /// As [`Client::new`]; and [`Error::LoginRefused`], [`Error::Disconnected`], or [`Error::TimedOut`]
    /// after the connect timeout.
    pub fn connect(options: Options) -> Result<Client, Error> {
        let mut client = Client::new(options)?;
        let until = Instant::now() + client.options.connect_timeout;
        client.dial(until)?;
        Ok(client)
    }

    /// A client that connects when it is first used, and is as patient then as after a lost connection.
    ///
    /// # Errors
    /// [`Error::Options`] if plain text would leave this machine or the authorities can't be read.
    pub fn new(options: Options) -> Result<Client, Error> {
        let trust = transport::trust(&options)?;
        Ok(Client {
            options,
            trust,
            connection: None,
            backoff: Backoff::default(),
            listening: BTreeSet::new(),
            is_monitoring: false,
            incoming: VecDeque::new(),
            queued: 0,
            lost: 0,
            has_unconfirmed: false,
            lost_lines: false,
            flushes: 0,
            sent: HashMap::new(),
            connections: 0,
        })
    }

    // Signals.

    /// From now on signals of that name come as messages, also after a reconnection.
    pub fn listen(&mut self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        let name = plain(name.as_ref())?;
        self.listening.insert(name.to_vec());
        self.send(&[b"LISTEN ", name])
    }

    /// The reverse. A signal on its way may still come.
    pub fn unlisten(&mut self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        let name = plain(name.as_ref())?;
        self.listening.remove(name);
        self.send(&[b"UNLISTEN ", name])
    }

    /// Sends a signal with a value to all who listen to the name, but never back to this client.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.sent.remove(name.as_ref());
        self.send_pair(b"SET ", name.as_ref(), value.as_ref())
    }

    /// The same, unless this is the value that this client set last. Whether it was sent.
    ///
    /// After a reconnection every value counts as changed.
    pub fn set_if_changed(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        let (name, value) = (name.as_ref(), value.as_ref());
        if self.connection.is_some() && self.sent.get(name).is_some_and(|sent| sent == value) {
            return Ok(false);
        }
        self.send_pair(b"SET ", name, value)?;
        self.sent.insert(name.to_vec(), value.to_vec());
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
        self.sent.remove(name.as_ref());
        self.send_pair(b"SETANDSTORE ", name.as_ref(), value.as_ref())
    }

    // The cache.

    /// Puts a value into the cache.
    pub fn store(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.send_pair(b"STORE ", name.as_ref(), value.as_ref())
    }

    /// The cached value of a name; `None` if there is none. Asks again if the connection breaks.
    pub fn retrieve(&mut self, name: impl AsRef<[u8]>) -> Result<Option<Text>, Error> {
        let name = filled(plain(name.as_ref())?)?;
        self.ask(&[b"RETRIEVE ", name], |reply| match reply {
            Reply::Retrieved(pair) if pair.name == name => Some(Some(pair.value.into())),
            Reply::NotRetrieved(missing) if *missing == name => Some(None),
            _ => None,
        })
    }

    /// Takes a name out of the cache.
    pub fn remove(&mut self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        let name = filled(plain(name.as_ref())?)?;
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
        let cid = filled(plain(cid.as_ref())?)?;
        self.send(&[b"CLIENTDISCONNECT ", cid])
    }

    /// From now on everything that passes the server comes as [`Message::Debug`].
    pub fn monitor(&mut self) -> Result<(), Error> {
        self.is_monitoring = true;
        self.send(&[b"MONITOR"])
    }

    pub fn unmonitor(&mut self) -> Result<(), Error> {
        self.is_monitoring = false;
        self.send(&[b"UNMONITOR"])
    }

    /// Lets the server end in so many seconds.
    pub fn shut_down(&mut self, seconds: f64) -> Result<(), Error> {
        let value = seconds.to_string();
        self.overhead("S", value)
    }

    /// Sends an OVERHEAD line (clacks-protocol(7), OVERHEAD): flags and a value.
    pub fn overhead(&mut self, flags: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        let value = filled(plain(value.as_ref())?)?;
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
        let until = Instant::now() + self.options.call_timeout;
        if std::mem::take(&mut self.lost_lines) {
            return Err(Error::Disconnected(io::ErrorKind::ConnectionReset.into()));
        }
        let exchanged = self.exchange(&[], until, |reply| {
            matches!(reply, Reply::Flushed(_)).then_some(())
        });
        if exchanged.is_err() {
            // A lost connection is told now, and not once more by the next call.
            self.lost_lines = false;
        }
        let (refusals, ()) = exchanged?;
        match refusals.into_iter().next() {
            Some(reason) => Err(Error::Refused(reason)),
            None => Ok(()),
        }
    }

    /// The next message; `None` if none comes within `timeout`. Zero fetches what is there already; only
    /// when it is time to dial again, that may take half a second.
    ///
    /// After [`Message::Disconnected`] it dials again, in growing intervals, for as long as it waits.
    ///
    /// # Errors
    /// [`Error::LoginRefused`] if the server, after a reconnection, doesn't take the login any more.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Message>, Error> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(message) = self.take_message() {
                return Ok(Some(message));
            }
            if let Err(error) = self.wait_for_message(until) {
                match error {
                    Error::TimedOut => return Ok(None),
                    Error::LoginRefused | Error::Options(_) => return Err(error),
                    // There is a message that says so.
                    _ => {}
                }
            }
        }
    }

    /// Whether there is a connection, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// How many connections this client has had, the first one included: more than at the last look
    /// means that what belongs to a connection is gone.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// The connection's descriptor, for a program that waits for many things: when it is readable, call
    /// [`next`](Client::next) with a timeout of zero until it returns `None`, and do so too before
    /// waiting. `None` while there is no connection: then call `next` now and then.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(AsFd::as_fd)
    }

    /// Says goodbye and waits until the server has taken everything that was sent.
    pub fn close(mut self) -> Result<(), Error> {
        let until = Instant::now() + self.options.call_timeout;
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        connection.send(b"QUIT\r\n", until)?;
        connection.shutdown_write().map_err(Error::Disconnected)?;
        loop {
            match connection.receive(until) {
                Ok(_) => {}
                Err(Error::Disconnected(_)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    // How it is done.

    fn send_pair(&mut self, verb: &[u8], name: &[u8], value: &[u8]) -> Result<(), Error> {
        let name = key(name)?;
        let value = plain(value)?;
        self.send(&[verb, name, b"=", value])
    }

    fn send_step(&mut self, verb: &[u8], name: &[u8], step: &str) -> Result<(), Error> {
        let name = key(name)?;
        let step = filled(plain(step.as_bytes())?)?;
        if step.contains(&b'=') {
            return Err(Error::Invalid("a step is a number"));
        }
        self.send(&[verb, name, b"=", step])
    }

    /// Sends a line that nobody answers.
    fn send(&mut self, line: &[&[u8]]) -> Result<(), Error> {
        let until = Instant::now() + self.options.call_timeout;
        let mut bytes = Vec::new();
        encode::line(&mut bytes, line);
        self.ensure_connected(until)?;
        self.has_unconfirmed = true;
        let ping_interval = self.options.ping_interval;
        let connection = self.connection.as_mut().expect("it was just ensured");
        let sent = ping_interval
            .map_or(Ok(()), |interval| connection.keep_alive(interval, until))
            .and_then(|()| connection.send(&bytes, until));
        sent.map_err(|error| {
            let error = self.lose(error);
            // Now the caller knows.
            self.lost_lines = false;
            match error {
                // A part of the line may have been sent, so the connection is lost for certain.
                Error::TimedOut => Error::Disconnected(io::ErrorKind::TimedOut.into()),
                error => error,
            }
        })
    }

    /// Asks something that may be asked again if the connection breaks before the answer has come.
    fn ask<T>(
        &mut self,
        line: &[&[u8]],
        mut answer: impl FnMut(&Reply<'_>) -> Option<T>,
    ) -> Result<T, Error> {
        let until = Instant::now() + self.options.call_timeout;
        let mut bytes = Vec::new();
        encode::line(&mut bytes, line);
        loop {
            match self.exchange(&bytes, until, &mut answer) {
                Ok((refusals, found)) => {
                    self.queue_refusals(refusals);
                    return Ok(found);
                }
                Err(Error::Disconnected(_)) if Instant::now() < until => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Refusals of what was sent before: nobody waits for them.
    fn queue_refusals(&mut self, refusals: Vec<String>) {
        for reason in refusals {
            self.queue(Message::Error(reason.as_str().into()));
        }
    }

    /// Sends lines and a FLUSH, and reads up to its answer: what is expected has come by then, or never
    /// comes. Returns what was expected, and the refusals among the lines before.
    fn exchange<T>(
        &mut self,
        lines: &[u8],
        until: Instant,
        mut answer: impl FnMut(&Reply<'_>) -> Option<T>,
    ) -> Result<(Vec<String>, T), Error> {
        self.ensure_connected(until)?;
        let mark = self.next_mark();
        let mut bytes = lines.to_vec();
        encode::line(&mut bytes, &[b"FLUSH ", mark.as_bytes()]);
        if let Some(interval) = self.options.ping_interval {
            let connection = self.connection.as_mut().expect("it was just ensured");
            let kept = connection.keep_alive(interval, until);
            kept.map_err(|error| self.lose(error))?;
        }
        let connection = self.connection.as_mut().expect("it was just ensured");
        let sent = connection.send(&bytes, until);
        sent.map_err(|error| self.lose(error))?;
        let (mut refusals, mut found) = (Vec::new(), None);
        let mut is_last_word = false;
        loop {
            let connection = self.connection.as_mut().ok_or_else(|| {
                let kind = io::ErrorKind::ConnectionReset;
                Error::Disconnected(io::Error::new(kind, "the server has ended it"))
            })?;
            let line = match connection.receive(until) {
                Ok(line) => line,
                // An answer that comes later comes before the answer to this FLUSH, and so it is known.
                Err(Error::TimedOut) => return Err(Error::TimedOut),
                Err(error) => {
                    let error = self.lose(error);
                    let reason = refusals.pop().filter(|_| is_last_word);
                    return Err(reason.map_or(error, Error::Refused));
                }
            };
            let reply = reply::decode(&line);
            is_last_word = reply.is_some_and(|reply| refusal(&reply).is_some());
            match reply {
                Some(Reply::Flushed(text)) if text == mark.as_bytes() => {
                    self.has_unconfirmed = false;
                    let found = found.or_else(|| answer(&Reply::Flushed(text)));
                    return match found {
                        Some(found) => Ok((refusals, found)),
                        // The last refusal is that of the question.
                        None => Err(Error::Refused(
                            refusals
                                .pop()
                                .unwrap_or_else(|| "there was no answer".to_owned()),
                        )),
                    };
                }
                // What came up to here belongs to a question that was given up.
                Some(Reply::Flushed(_)) => {
                    found = None;
                    self.queue_refusals(std::mem::take(&mut refusals));
                }
                Some(Reply::Overhead(Overhead { flags, value }))
                    if flags.intersects(Flags::ERROR) =>
                {
                    refusals.push(String::from_utf8_lossy(value).into_owned());
                }
                Some(reply) => match found.is_none().then(|| answer(&reply)).flatten() {
                    Some(answer) => found = Some(answer),
                    None => self.handle(reply),
                },
                None => {}
            }
            // Signals that stream in are no reason to wait for longer.
            if Instant::now() > until {
                return Err(Error::TimedOut);
            }
        }
    }

    /// The text of a FLUSH that no other has.
    fn next_mark(&mut self) -> String {
        self.flushes += 1;
        format!("clacks-{}", self.flushes)
    }

    /// Waits until a message is queued.
    fn wait_for_message(&mut self, until: Instant) -> Result<(), Error> {
        self.ensure_connected(until)?;
        if !self.incoming.is_empty() {
            return Ok(());
        }
        let ping_interval = self.options.ping_interval;
        let call_timeout = self.options.call_timeout;
        let connection = self.connection.as_mut().expect("it was just ensured");
        let mut wake = until;
        if let Some(interval) = ping_interval {
            let kept = connection.keep_alive(interval, Instant::now() + call_timeout);
            wake = until.min(connection.next_ping(interval));
            kept.map_err(|error| self.lose(error))?;
        }
        let connection = self.connection.as_mut().expect("it was just ensured");
        match connection.receive(wake) {
            Ok(line) => {
                if let Some(reply) = reply::decode(&line) {
                    self.handle(reply);
                }
                Ok(())
            }
            // Only a PING was due.
            Err(Error::TimedOut) if wake < until => Ok(()),
            Err(Error::TimedOut) => Err(Error::TimedOut),
            Err(error) => Err(self.lose(error)),
        }
    }

    /// Something that the server says unasked.
    fn handle(&mut self, reply: Reply<'_>) {
        match reply {
            Reply::Quit => self.lose_with("the server ends the connection"),
            Reply::Timeout => self.lose_with("the server says that this client was silent"),
            reply => self.queue_reply(reply),
        }
    }

    fn queue_reply(&mut self, reply: Reply<'_>) {
        if let Some(message) = Message::from_reply(reply) {
            self.queue(message);
        }
    }

    fn queue(&mut self, message: Message) {
        self.queued += message.size();
        self.incoming.push_back(message);
        while self.queued > self.options.max_queued
            && self.incoming.len() > 1
            && let Some(oldest) = self.incoming.pop_front()
        {
            self.queued -= oldest.size();
            self.lost += 1;
        }
    }

    fn take_message(&mut self) -> Option<Message> {
        if self.lost > 0 {
            return Some(Message::Lost(std::mem::take(&mut self.lost)));
        }
        let message = self.incoming.pop_front()?;
        self.queued -= message.size();
        Some(message)
    }

    /// After an error the connection is of no use any more, but for what the server has said before.
    fn lose(&mut self, error: Error) -> Error {
        let mut error = error;
        while let Error::Disconnected(_) | Error::Refused(_) = error
            && let Some(connection) = &mut self.connection
            && let Ok(line) = connection.receive(Instant::now())
            && let Some(reply) = reply::decode(&line)
        {
            match refusal(&reply) {
                Some(reason) => error = Error::Refused(reason),
                None => self.queue_reply(reply),
            }
        }
        self.lose_with(&error.to_string());
        error
    }

    fn lose_with(&mut self, why: &str) {
        if self.connection.take().is_some() {
            self.lost_lines |= std::mem::take(&mut self.has_unconfirmed);
            self.sent.clear();
            self.backoff.failed();
            self.queue(Message::Disconnected(why.into()));
        }
    }

    /// Dials, if there is no connection, until there is one or the time is over.
    fn ensure_connected(&mut self, until: Instant) -> Result<(), Error> {
        while self.connection.is_none() {
            let at = self.backoff.at();
            if at > until {
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
                return Err(Error::TimedOut);
            }
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            // Who never waits would never be connected.
            let dial_until = until.max(Instant::now() + SHORTEST_DIAL);
            let dial_until = dial_until.min(Instant::now() + self.options.connect_timeout);
            match self.dial(dial_until) {
                Ok(()) => {}
                Err(error @ (Error::LoginRefused | Error::Options(_))) => {
                    self.backoff.failed();
                    return Err(error);
                }
                Err(_) => self.backoff.failed(),
            }
        }
        Ok(())
    }

    /// Connects and asks for what this client was listening to. Whoever is told of the new connection can
    /// rely on hearing all that is sent from then on.
    fn dial(&mut self, until: Instant) -> Result<(), Error> {
        let mut connection = Connection::open(&self.options, self.trust.as_ref(), until)?;
        let mut lines = Vec::new();
        for name in &self.listening {
            encode::line(&mut lines, &[b"LISTEN ", name]);
        }
        if self.is_monitoring {
            encode::line(&mut lines, &[b"MONITOR"]);
        }
        let mut early = Vec::new();
        if !lines.is_empty() {
            let mark = self.next_mark();
            encode::line(&mut lines, &[b"FLUSH ", mark.as_bytes()]);
            connection.send(&lines, until)?;
            loop {
                let line = connection.receive(until)?;
                match reply::decode(&line) {
                    Some(Reply::Flushed(text)) if text == mark.as_bytes() => break,
                    Some(Reply::Quit | Reply::Timeout) => {
                        return Err(Error::Disconnected(io::ErrorKind::ConnectionReset.into()));
                    }
                    Some(reply) => early.extend(Message::from_reply(reply)),
                    None => {}
                }
            }
        }
        self.connection = Some(connection);
        self.connections += 1;
        self.backoff.succeeded();
        if self.connections > 1 {
            self.queue(Message::Reconnected);
        }
        early.into_iter().for_each(|message| self.queue(message));
        Ok(())
    }
}

/// Why the server refuses something, if it does.
fn refusal(reply: &Reply<'_>) -> Option<String> {
    match reply {
        Reply::Overhead(Overhead { flags, value }) if flags.intersects(Flags::ERROR) => {
            Some(String::from_utf8_lossy(value).into_owned())
        }
        _ => None,
    }
}

/// A dial that is due takes at least so long, whatever the timeout of the call that it happens in.
const SHORTEST_DIAL: Duration = Duration::from_millis(500);

/// A line can hold anything but its end.
fn plain(bytes: &[u8]) -> Result<&[u8], Error> {
    if memchr::memchr2(b'\r', b'\n', bytes).is_some() {
        return Err(Error::Invalid("names and values can't hold line breaks"));
    }
    Ok(bytes)
}

fn filled(bytes: &[u8]) -> Result<&[u8], Error> {
    if bytes.is_empty() {
        return Err(Error::Invalid("something is empty that can't be"));
    }
    Ok(bytes)
}

/// The name before an `=`.
fn key(name: &[u8]) -> Result<&[u8], Error> {
    if name.contains(&b'=') {
        return Err(Error::Invalid("a name can't hold an equals sign"));
    }
    filled(plain(name)?)
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
