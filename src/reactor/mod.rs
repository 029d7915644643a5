//! The loop: sockets, buffers, signals, timers. It moves bytes between peers and the broker, and
//! knows no verb.
//!
//! One turn: wait for events or the next deadline; accept; serve the connections that have input,
//! each within its share; deadlines; write; close. Nothing in a turn takes long, whatever the sizes:
//! what is cut short goes on in the next turn, which then doesn't wait.

mod batch;
mod buffer;
mod burst;
mod connection;
mod connections;
mod departures;
mod dialer;
mod handshakes;
mod listener;
mod notify;
mod outputs;
mod own_file;
mod pace;
mod read_path;
mod resolver;
mod signals;
mod stream;
#[cfg(test)]
mod third_language;
mod tls;

pub use connections::OutputLimits;
pub use listener::{Listener, SocketAccess};
pub use notify::Notifier;
pub use own_file::OwnFile;
pub use signals::Signals;

// For those who count what they cost (tests/hot_paths).
#[doc(hidden)]
pub use {connections::Connections, outputs::Outputs, stream::Stream};

use self::connections::{DialRequest, id_of};
use crate::address::Address;
use crate::broker::{
    Broker, CloseReason, ConnectionId, LogLimit, Now, Origin, Peer, Recording, Suppressed, Users,
};
use crate::certificates::{Certificates, OwnCertificate};
use crate::limits::{
    ACCEPT_PAUSE_US, ACCEPTS_PER_TURN, CERTIFICATE_CHECK_US, EVENTS_PER_TURN, HANDSHAKES_PER_TURN,
    OVERLOAD_LOG_US, SCRATCH, SHUTDOWN_US, WORK_PER_SYSCALL,
};
use crate::protocol::Language;
use crate::storage::{Disk, Journal, Writer};
use departures::Departures;
use dialer::{Dialed, Dialer};
use handshakes::{Handshakes, Step};
use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};
use signals::Request;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tls::Fault;

/// Generation 0 is no connection's, so these tokens are free; then comes one per listener.
const SIGNALS: Token = Token(0);
const DIALED: Token = Token(1);
/// A helper thread has something to say. There may be one waker per poll only.
const WOKEN: Token = Token(2);
const FIRST_LISTENER: usize = 3;

/// What an operator sets, as far as it is the loop's business.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Beyond so many each stranger pushes another one out.
    pub max_clients: usize,
    /// Beyond so many nobody is even asked to log in.
    pub max_connections: usize,
    /// From connecting to the login, a TLS handshake included.
    pub auth_timeout_us: u64,
    pub output: OutputLimits,
}

/// How the server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The journal, if there is one, has everything.
    Saved,
    /// Changes of the cache are lost, which was logged.
    Unsaved,
}

/// What the loop asks of the process around it.
pub struct Host {
    /// Unix signals, whose handlers are there.
    pub signals: Signals,
    pub files: Box<dyn Files>,
    /// Whom to tell of the server's state, if anybody wants to know.
    pub notifier: Notifier,
}

/// The files that the process has read at its start.
pub trait Files {
    /// SIGHUP: reads users and certificates again, and opens the log file again. `None` if something is wrong with any
    /// user or certificate.
    fn reload(&mut self) -> Option<(Users, Certificates)>;

    /// Warns of certificates in use that have expired, or soon will. Called once a day.
    fn check_certificates(&mut self);
}

/// The running server.
pub struct Server {
    poll: Poll,
    listeners: Vec<Listener>,
    host: Host,
    settings: Settings,
    clock: Clock,
    broker: Broker,
    out: Outputs<Connections, Option<Journal>>,
    dialer: Dialer,
    /// Who this server is to clients that speak TLS.
    tls: Option<OwnCertificate>,
    tls_log: LogLimit,
    /// When it may be logged again that there are too many TLS handshakes.
    overload_log_us: u64,
    /// Input goes here first; only what can't be worked off at once is copied.
    scratch: Box<[u8]>,
    /// A frame with bytes in its midst that don't belong to it is put together here.
    assembled: Vec<u8>,
    /// Accepting rests until then: descriptors or memory had run out.
    accept_pause_us: Option<u64>,
    accept_log: LogLimit,
    /// Connections that have got their last line.
    departures: Departures,
    /// When the server ends at the latest, once it is to end.
    end_us: Option<u64>,
    /// When the dates of the certificates are looked at next.
    certificate_check_us: u64,
    /// The journal's thread has something to say.
    has_saved: bool,
    /// Kept here, too: a wake-up may be lost when the last `Waker` is dropped, and the threads that hold the others
    /// may end first.
    _waker: Arc<Waker>,
    bytes_in: u64,
    longest_turn: Duration,
    /// The most work that was done in one turn, in bytes moved or what counts as such.
    largest_turn: usize,
}

struct Clock {
    start: Instant,
}

impl Clock {
    fn now(&self) -> Now {
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            monotonic_us: self.start.elapsed().as_micros() as u64,
            wall_us: wall.as_micros() as u64,
        }
    }
}

impl Server {
    /// Readies everything; nothing is served before [`Server::run`].
    pub fn new<D>(
        mut listeners: Vec<Listener>,
        masters: Vec<Address>,
        certificates: Certificates,
        settings: Settings,
        broker: Broker,
        writer: Option<Writer<D>>,
        mut host: Host,
    ) -> io::Result<Server>
    where
        D: Disk<File: Send> + Send + 'static,
    {
        let poll = Poll::new()?;
        host.signals.register(poll.registry(), SIGNALS)?;
        for (index, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(
                listener.source(),
                Token(FIRST_LISTENER + index),
                Interest::READABLE,
            )?;
        }
        let clock = Clock {
            start: Instant::now(),
        };
        let registry = poll.registry().try_clone()?;
        let waker = Arc::new(Waker::new(&registry, WOKEN)?);
        let start_journal = |writer| {
            let waker = waker.clone();
            Journal::start(writer, move || waker.wake())
        };
        let journal = writer.map(start_journal).transpose()?;
        let Certificates { own, of_master } = certificates;
        let dialer = Dialer::new(
            masters,
            of_master,
            poll.registry().try_clone()?,
            waker.clone(),
        );
        let mut connections = Connections::new(
            registry,
            settings.max_connections,
            settings.output,
            clock.now(),
        );
        connections.handshakes = Handshakes::new(settings.auth_timeout_us / 2);
        Ok(Server {
            poll,
            listeners,
            host,
            settings,
            clock,
            broker,
            out: Outputs {
                connections,
                journal,
            },
            dialer,
            tls: own,
            tls_log: LogLimit::default(),
            overload_log_us: 0,
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            assembled: Vec::new(),
            accept_pause_us: None,
            accept_log: LogLimit::default(),
            departures: Departures::default(),
            end_us: None,
            certificate_check_us: CERTIFICATE_CHECK_US,
            has_saved: false,
            _waker: waker,
            bytes_in: 0,
            longest_turn: Duration::ZERO,
            largest_turn: 0,
        })
    }

    /// Serves until the server is to end; calls `ready` just before. An error is one of the poll itself.
    pub fn run(mut self, ready: impl FnOnce()) -> io::Result<Ended> {
        for listener in &self.listeners {
            log::info!("listening on {}", listener.address);
        }
        log::info!("ready");
        // The first turn, which waits for nothing, sends it.
        self.host.notifier.ready();
        ready();
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        while !self.is_over() {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => self.turn(&events),
            }
        }
        let Some(loss) = self.loss() else {
            log::info!("ended");
            return Ok(Ended::Saved);
        };
        log::error!("ended with a loss: {loss}");
        self.host.notifier.failed(&loss);
        Ok(Ended::Unsaved)
    }

    /// What an end now would lose, in words: the journal's file, how much, and why.
    fn loss(&self) -> Option<String> {
        let journal = self.out.journal.as_ref()?;
        if !journal.is_over() {
            return Some(format!(
                "{}: {} bytes of changes are not saved: the disk takes too long",
                journal.name(),
                journal.unsaved(),
            ));
        }
        let unsaved = self.broker.unsaved()?;
        let entries = self.broker.entries();
        Some(format!(
            "{}: {unsaved}; {entries} entries were cached",
            journal.name()
        ))
    }

    fn turn(&mut self, events: &Events) {
        let start = Instant::now();
        self.out.connections.now = self.clock.now();
        (self.out.connections.work, self.out.connections.writing) = (0, 0);
        for event in events {
            self.note(event);
        }
        self.handle_saved();
        self.accept();
        self.out.connections.send_held_answers();
        self.out.connections.resume_senders();
        self.serve_ready();
        let now = self.out.connections.now;
        if self
            .broker
            .poll_deadline()
            .is_some_and(|at_us| at_us <= now.monotonic_us)
        {
            self.broker.handle_deadline(now, &mut self.out);
        }
        self.dial();
        self.end_departures();
        if let Some(journal) = &mut self.out.journal {
            journal.submit(self.broker.recorded());
        }
        self.out.connections.check_receivers();
        self.out.connections.flush();
        // Nobody's answer waits for somebody else's signature.
        self.shake_hands();
        self.enforce_limits();
        self.close_finished();
        self.out.connections.free_slice();
        if self.broker.is_over() && self.end_us.is_none() {
            self.end_us = Some(now.monotonic_us + SHUTDOWN_US);
            // Nobody is to come any more; the files of Unix sockets go now.
            self.listeners.clear();
            self.host.notifier.stopping();
        }
        // Nobody's lines are worked off any more then.
        if self.end_us.is_some() && self.broker.has_recorded_all() {
            self.broker.record_end(now, &mut self.out);
            if let Some(journal) = &mut self.out.journal {
                journal.finish(self.broker.recorded());
            }
        }
        self.tell_manager(now);
        if self.certificate_check_us <= now.monotonic_us {
            self.certificate_check_us = now.monotonic_us + CERTIFICATE_CHECK_US;
            self.host.files.check_certificates();
        }
        self.longest_turn = self.longest_turn.max(start.elapsed());
        let work = self.out.connections.work + self.out.connections.writing;
        self.largest_turn = self.largest_turn.max(work);
    }

    /// How long the poll may wait.
    fn timeout(&mut self) -> Option<Duration> {
        let accepting = self.accept_pause_us.is_none()
            && self.listeners.iter().any(|listener| listener.is_ready);
        if accepting || self.out.connections.has_work() {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.broker.poll_deadline(),
            self.dialer.deadline(),
            self.out.connections.next_check(),
            self.out.connections.next_held_answer(),
            self.accept_pause_us,
            self.departures.deadline(),
            self.end_us,
            Some(self.certificate_check_us),
            self.host.notifier.poll_deadline(),
        ];
        let next_us = deadlines.into_iter().flatten().min()?;
        let now_us = self.clock.start.elapsed().as_micros() as u64;
        Some(Duration::from_micros(next_us.saturating_sub(now_us)))
    }

    fn is_over(&self) -> bool {
        self.end_us.is_some_and(|end_us| {
            let is_saved = self.out.journal.as_ref().is_none_or(Journal::is_over);
            (self.out.connections.count() == 0 && is_saved)
                || self.out.connections.now.monotonic_us >= end_us
        })
    }

    fn note(&mut self, event: &Event) {
        match event.token() {
            SIGNALS => self.handle_signals(),
            DIALED => {
                let result = self
                    .dialer
                    .handle_event(self.out.connections.now.monotonic_us);
                self.handle_dialed(result);
            }
            WOKEN => {
                self.has_saved = true;
                let result = self
                    .dialer
                    .handle_resolved(self.out.connections.now.monotonic_us);
                self.handle_dialed(result);
            }
            Token(index) if index < FIRST_LISTENER + self.listeners.len() => {
                self.listeners[index - FIRST_LISTENER].is_ready = true;
            }
            token => {
                let id = id_of(token);
                let Some(connection) = self.out.connections.get_mut(id) else {
                    return;
                };
                connection.hung_up |= event.is_read_closed();
                let is_deaf = event.is_write_closed() && connection.closing.is_none();
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    connection.readable = true;
                    self.out.connections.make_ready(id);
                }
                if is_deaf {
                    self.out.connections.deafen(id);
                }
                if event.is_writable() {
                    self.out.connections.unblock(id);
                }
            }
        }
    }

    /// Does what the broker wants of the dialler.
    fn dial(&mut self) {
        let now_us = self.out.connections.now.monotonic_us;
        let result = self.dialer.handle_deadline(now_us);
        self.handle_dialed(result);
        match self.out.connections.take_dial_request() {
            Some(DialRequest::Dial(master)) => {
                let result = self.dialer.dial(master, now_us);
                self.handle_dialed(result);
            }
            Some(DialRequest::Cancel) => self.dialer.cancel(),
            None => {}
        }
    }

    fn handle_dialed(&mut self, result: Dialed) {
        let now = self.out.connections.now;
        let added = match result {
            None => return,
            Some(dialed) => dialed
                .and_then(|(stream, peer)| Ok((self.out.connections.add(stream, None)?, peer))),
        };
        match added {
            Ok((id, peer)) => {
                self.broker
                    .handle_connected(id, peer, Language::Clacks, now, &mut self.out)
            }
            Err(error) => self.broker.handle_dial_failed(&error.to_string(), now),
        }
    }

    fn handle_signals(&mut self) {
        for request in self.host.signals.take() {
            match request {
                Request::Terminate => {
                    log::info!("shutting down, as a signal asked");
                    self.broker
                        .handle_shutdown(self.out.connections.now, &mut self.out);
                }
                Request::Reload => {
                    self.host.notifier.reloading();
                    if let Some((users, certificates)) = self.host.files.reload() {
                        self.tls = certificates.own;
                        self.dialer.tls = certificates.of_master;
                        self.broker
                            .handle_users(users, self.out.connections.now, &mut self.out);
                    }
                    self.host.notifier.ready();
                }
                Request::Status => self.log_status(),
            }
        }
    }

    /// Tells the broker how it stands with what was recorded.
    fn handle_saved(&mut self) {
        let Some(journal) = &mut self.out.journal else {
            return;
        };
        if !std::mem::take(&mut self.has_saved) {
            return;
        }
        let (news, now) = (journal.take_events(), self.out.connections.now);
        self.broker.handle_saved(news, now, &mut self.out);
    }

    /// Tells the service manager what it is to know by now.
    fn tell_manager(&mut self, now: Now) {
        let broker = &self.broker;
        self.host.notifier.handle_turn(now.monotonic_us, || {
            let mut status = String::new();
            broker
                .write_status(&mut status)
                .expect("a String takes every write");
            status
        });
    }

    fn log_status(&mut self) {
        let mut status = String::new();
        self.broker
            .write_status(&mut status)
            .expect("a String takes every write");
        log::info!(
            "status: {status} unsaved={} buffers={} bytes_in={} bytes_out={} uptime_s={} longest_turn_us={} largest_turn={}",
            self.out.unsaved(),
            self.out.connections.buffered(),
            self.bytes_in,
            self.out.connections.bytes_out,
            self.clock.start.elapsed().as_secs(),
            self.longest_turn.as_micros(),
            self.largest_turn,
        );
    }

    fn accept(&mut self) {
        let now_us = self.out.connections.now.monotonic_us;
        if self
            .accept_pause_us
            .is_some_and(|until_us| now_us < until_us)
        {
            return;
        }
        self.accept_pause_us = None;
        for index in 0..self.listeners.len() {
            for _ in 0..ACCEPTS_PER_TURN {
                if !self.listeners[index].is_ready {
                    break;
                }
                match self.listeners[index].accept() {
                    Ok((stream, peer)) => {
                        let language = self.listeners[index].language;
                        self.welcome(stream, peer, language);
                    }
                    Err(error) => self.accept_failed(index, &error),
                }
                if self.accept_pause_us.is_some() {
                    return;
                }
                if self.out.connections.count() > self.settings.max_clients {
                    // One at a time, so that each has some turns to show that it can manage the server.
                    break;
                }
            }
        }
    }

    fn accept_failed(&mut self, index: usize, error: &io::Error) {
        match error.kind() {
            ErrorKind::WouldBlock => self.listeners[index].is_ready = false,
            // These concern one connection that went before it was accepted.
            ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset => {}
            _ => self.pause_accepting(error),
        }
    }

    /// Descriptors or memory have run out: trying on would spin.
    fn pause_accepting(&mut self, error: &io::Error) {
        let now_us = self.out.connections.now.monotonic_us;
        self.accept_pause_us = Some(now_us + ACCEPT_PAUSE_US);
        if let Some(suppressed) = self.accept_log.admit(now_us) {
            log::warn!(
                "cannot accept connections: {error}; trying again soon{}",
                Suppressed(suppressed)
            );
        }
    }

    fn welcome(&mut self, mut stream: Stream, peer: Peer, language: Language) {
        let now = self.out.connections.now;
        self.out.connections.work += 2 * WORK_PER_SYSCALL;
        // Who is only to see why it was closed keeps nobody out.
        while self.out.connections.count() >= self.settings.max_connections
            && let Some(id) = self.departures.pop()
        {
            self.out.connections.remove(id);
        }
        if self.out.connections.count() >= self.settings.max_connections {
            // The socket's buffer is empty, so that this small write never blocks.
            let _ = stream.write(&self.broker.refusal(CloseReason::ClientLimit, language, now));
            return;
        }
        match self.out.connections.add(stream, Origin::of(peer)) {
            Ok(id) => self
                .broker
                .handle_connected(id, peer, language, now, &mut self.out),
            Err(error) => self.pause_accepting(&error),
        }
    }

    /// Takes TLS handshakes further, for as long as a turn may last for that. Messages are read first, for they cost
    /// little, and with them it is known how many signatures are to be made; one of these is made at least.
    fn shake_hands(&mut self) {
        let start = Instant::now();
        while start.elapsed() < HANDSHAKES_PER_TURN / 2
            && let Some(id) = self.next_handshake(Step::Read)
        {
            self.shake_hands_with(id);
        }
        while let Some(id) = self.next_handshake(Step::Sign) {
            self.shake_hands_with(id);
            if start.elapsed() >= HANDSHAKES_PER_TURN {
                break;
            }
        }
        self.log_overload();
    }

    fn next_handshake(&mut self, step: Step) -> Option<ConnectionId> {
        let now_us = self.clock.start.elapsed().as_micros() as u64;
        self.out.connections.next_handshake(step, now_us)
    }

    /// Takes one step of a TLS handshake.
    fn shake_hands_with(&mut self, id: ConnectionId) {
        let Some(connection) = self.out.connections.get_mut(id) else {
            return;
        };
        let Stream::Tls(stream) = &mut connection.stream else {
            return;
        };
        match stream.shake_hands(self.tls.as_ref()) {
            Ok(0) => self.out.connections.end(id, CloseReason::EndOfStream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => connection.readable = false,
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                self.end_tls(id, &error);
                return;
            }
            // Lines may have come with the end of the handshake, and more is to be read in any case.
            _ if stream.is_open() => self.out.connections.make_ready(id),
            _ => self.out.connections.await_handshake(id),
        }
        self.out.connections.flush_tls_later(id);
    }

    /// Says in the log, now and then, that handshakes come faster than they can be done, and from where.
    fn log_overload(&mut self) {
        let now_us = self.out.connections.now.monotonic_us;
        if !self.out.connections.handshakes.is_overloaded() || now_us < self.overload_log_us {
            return;
        }
        self.overload_log_us = now_us + OVERLOAD_LOG_US;
        if let Some(overload) = self.out.connections.handshakes.overload() {
            log::warn!("TLS handshakes come faster than they can be done: {overload}");
        }
    }

    /// Ends a connection that can't go on because of its TLS, or anything else that reading met.
    fn end_tls(&mut self, id: ConnectionId, error: &io::Error) {
        let fault = error.get_ref().and_then(|error| error.downcast_ref());
        let reason = match fault {
            None => CloseReason::ConnectionLost,
            Some(Fault::PlainText) => CloseReason::PlainToTls,
            Some(Fault::Protocol(error)) => {
                if let Some(suppressed) = self.tls_log.admit(self.out.connections.now.monotonic_us)
                    && let Some(connection) = self.out.connections.get(id)
                {
                    log::warn!(
                        "TLS with {}: {error}{}",
                        connection.stream.peer(),
                        Suppressed(suppressed)
                    );
                }
                CloseReason::TlsFailed
            }
        };
        self.out.connections.end(id, reason);
    }

    /// Tells the broker of connections that passed a limit, failed or ended.
    fn enforce_limits(&mut self) {
        let now = self.out.connections.now;
        for (id, reason) in self.out.connections.take_ending() {
            self.broker.handle_closing(id, reason, now, &mut self.out);
        }
        self.out.connections.retained = self.broker.retained_memory();
        for id in self.out.connections.largest_beyond_limit() {
            self.broker
                .handle_closing(id, CloseReason::BuffersLimit, now, &mut self.out);
        }
        for id in self.out.connections.take_stalled() {
            self.broker.handle_stalled(id, now, &mut self.out);
        }
    }
}
