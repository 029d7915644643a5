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
mod core;
mod departures;
mod dialer;
mod fault;
mod handshakes;
mod listener;
mod notify;
mod outputs;
mod own_file;
mod pace;
mod read_path;
mod resolver;
mod signals;
mod socket;
mod stream;
#[cfg(test)]
mod third_language;
mod tls;

pub use self::core::Settings;
pub use connections::OutputLimits;
pub use listener::{Listener, SocketAccess};
pub use notify::Notifier;
pub use own_file::OwnFile;
pub use signals::Signals;

// For those who count what they cost (tests/hot_paths), and for servers without a kernel (tests/support/machine.rs).
#[doc(hidden)]
pub use {
    self::core::{Core, Readiness},
    connections::{Connections, DialRequest},
    outputs::Outputs,
    socket::Socket,
    stream::Stream,
};

use crate::address::Address;
use crate::broker::{
    Broker, CloseReason, ConnectionId, LogLimit, Now, Recording, Suppressed, Users,
};
use crate::certificates::{Certificates, OwnCertificate};
use crate::limits::{
    ACCEPT_PAUSE_US, ACCEPTS_PER_TURN, CERTIFICATE_CHECK_US, EVENTS_PER_TURN, HANDSHAKES_PER_TURN,
    OVERLOAD_LOG_US, SHUTDOWN_US,
};
use crate::protocol::Language;
use crate::storage::{Disk, Journal, Writer};
use crate::sys;
use dialer::{Dialed, Dialer};
use handshakes::Step;
use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};
use signals::Request;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use stream::id_of;

/// Generation 0 is no connection's, so these tokens are free; then comes one per listener.
const SIGNALS: Token = Token(0);
const DIALED: Token = Token(1);
/// A helper thread has something to say. There may be one waker per poll only.
const WOKEN: Token = Token(2);
const FIRST_LISTENER: usize = 3;

/// How the server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The journal, if there is one, has everything.
    Saved,
    /// Changes of the cache are lost, which was logged.
    Unsaved,
}

/// The parts of the process that the loop uses.
pub struct Host {
    /// Unix signals; their handlers are installed.
    pub signals: Signals,
    pub files: Box<dyn Files>,
    /// The way to tell a service manager, if there is one, the state of the server.
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
    core: Core<Stream, Option<Journal>>,
    dialer: Dialer,
    /// Who this server is to clients that speak TLS.
    tls: Option<OwnCertificate>,
    /// When it may be logged again that there are too many TLS handshakes.
    overload_log_us: u64,
    /// Accepting rests until then: descriptors or memory had run out.
    accept_pause_us: Option<u64>,
    accept_log: LogLimit,
    /// When the server ends at the latest, once it is to end.
    end_us: Option<u64>,
    /// When the dates of the certificates are looked at next.
    certificate_check_us: u64,
    /// The journal's thread has something to say.
    has_saved: bool,
    /// Kept here, too: a wake-up may be lost when the last `Waker` is dropped, and the threads that hold the others
    /// may end first.
    _waker: Arc<Waker>,
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
        let core = Core::new(settings, broker, journal, registry, clock.now());
        Ok(Server {
            poll,
            listeners,
            host,
            settings,
            clock,
            core,
            dialer,
            tls: own,
            overload_log_us: 0,
            accept_pause_us: None,
            accept_log: LogLimit::default(),
            end_us: None,
            certificate_check_us: CERTIFICATE_CHECK_US,
            has_saved: false,
            _waker: waker,
            largest_turn: 0,
        })
    }

    /// Serves until the server is to end; calls `ready` just before. An error is one of the poll itself.
    pub fn run(mut self, ready: impl FnOnce()) -> io::Result<Ended> {
        for listener in &self.listeners {
            let address = &listener.address;
            match listener.entrance.language {
                Language::Clacks => log::info!("listening on {address}"),
                other => log::info!("{} listening on {address}", other.word()),
            }
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

    /// Returns a description of the loss if the server ended now: the journal's file, the amount, and the reason.
    fn loss(&self) -> Option<String> {
        let journal = self.core.out.journal.as_ref()?;
        if !journal.is_over() {
            return Some(format!(
                "{}: {} bytes of changes are not saved: the disk takes too long",
                journal.name(),
                journal.unsaved(),
            ));
        }
        let unsaved = self.core.broker.unsaved()?;
        let entries = self.core.broker.entries();
        Some(format!(
            "{}: {unsaved}; {entries} entries were cached",
            journal.name()
        ))
    }

    fn turn(&mut self, events: &Events) {
        let start = Instant::now();
        self.core.begin_turn(self.clock.now());
        for event in events {
            self.note(event);
        }
        self.handle_saved();
        self.accept();
        self.core.serve();
        self.core.handle_deadlines();
        self.dial();
        if let Some(journal) = &mut self.core.out.journal {
            journal.submit(self.core.broker.recorded());
        }
        self.core.flush();
        // Nobody's answer waits for somebody else's signature.
        self.shake_hands();
        self.core.end_turn();
        let now = self.core.now();
        if self.core.broker.is_over() && self.end_us.is_none() {
            self.end_us = Some(now.monotonic_us + SHUTDOWN_US);
            // Nobody is to come any more; the files of Unix sockets go now.
            self.listeners.clear();
            self.host.notifier.stopping();
        }
        // Once the server ends and everything is recorded, no more lines are processed.
        if self.end_us.is_some() && self.core.broker.has_recorded_all() {
            self.core.broker.record_end(now, &mut self.core.out);
            if let Some(journal) = &mut self.core.out.journal {
                journal.finish(self.core.broker.recorded());
            }
        }
        self.tell_manager(now);
        if self.certificate_check_us <= now.monotonic_us {
            self.certificate_check_us = now.monotonic_us + CERTIFICATE_CHECK_US;
            self.host.files.check_certificates();
        }
        self.core.count_turn(start.elapsed().as_micros() as u64);
        self.largest_turn = self.largest_turn.max(self.core.work());
    }

    /// How long the poll may wait.
    fn timeout(&mut self) -> Option<Duration> {
        let accepting = self.accept_pause_us.is_none()
            && self.listeners.iter().any(|listener| listener.is_ready);
        if accepting || self.core.has_work() {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.core.poll_deadline(),
            self.dialer.deadline(),
            self.accept_pause_us,
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
            let is_saved = self.core.out.journal.as_ref().is_none_or(Journal::is_over);
            (self.core.out.connections.count() == 0 && is_saved)
                || self.core.now().monotonic_us >= end_us
        })
    }

    fn note(&mut self, event: &Event) {
        match event.token() {
            SIGNALS => self.handle_signals(),
            DIALED => {
                let result = self.dialer.handle_event(self.core.now().monotonic_us);
                self.handle_dialed(result);
            }
            WOKEN => {
                self.has_saved = true;
                let result = self.dialer.handle_resolved(self.core.now().monotonic_us);
                self.handle_dialed(result);
            }
            Token(index) if index < FIRST_LISTENER + self.listeners.len() => {
                self.listeners[index - FIRST_LISTENER].is_ready = true;
            }
            token => {
                let readiness = Readiness {
                    is_readable: event.is_readable() || event.is_error(),
                    is_read_closed: event.is_read_closed(),
                    is_writable: event.is_writable(),
                    is_write_closed: event.is_write_closed(),
                };
                self.core.handle_ready(id_of(token), readiness);
            }
        }
    }

    /// Does what the broker wants of the dialler.
    fn dial(&mut self) {
        let now_us = self.core.now().monotonic_us;
        let result = self.dialer.handle_deadline(now_us);
        self.handle_dialed(result);
        match self.core.out.connections.take_dial_request() {
            Some(DialRequest::Dial(master)) => {
                let result = self.dialer.dial(master, now_us);
                self.handle_dialed(result);
            }
            Some(DialRequest::Cancel) => self.dialer.cancel(),
            None => {}
        }
    }

    fn handle_dialed(&mut self, result: Dialed) {
        if let Some(dialed) = result {
            self.core.handle_dialed(dialed);
        }
    }

    fn handle_signals(&mut self) {
        for request in self.host.signals.take() {
            match request {
                Request::Terminate => {
                    log::info!("shutting down, as a signal asked");
                    self.core.broker.handle_shutdown(self.core.now());
                }
                Request::Reload => {
                    self.host.notifier.reloading();
                    if let Some((users, certificates)) = self.host.files.reload() {
                        self.tls = certificates.own;
                        self.dialer.tls = certificates.of_master;
                        self.core.broker.handle_users(users);
                    }
                    self.host.notifier.ready();
                }
                Request::Status => self.log_status(),
            }
        }
    }

    /// Tells the broker how it stands with what was recorded.
    fn handle_saved(&mut self) {
        let Some(journal) = &mut self.core.out.journal else {
            return;
        };
        if !std::mem::take(&mut self.has_saved) {
            return;
        }
        let saved = journal.take_events();
        self.core.handle_saved(saved);
    }

    /// Tells the service manager what it is to know by now.
    fn tell_manager(&mut self, now: Now) {
        let broker = &self.core.broker;
        self.host.notifier.handle_turn(now.monotonic_us, || {
            let mut status = String::new();
            broker
                .write_status(&mut status)
                .expect("a String takes every write");
            // In whole megabytes, so that it does not change all the time.
            format!("{status} memory={}M", sys::resident_memory() >> 20)
        });
    }

    fn log_status(&mut self) {
        let mut status = String::new();
        self.core
            .broker
            .write_status(&mut status)
            .expect("a String takes every write");
        log::info!(
            "status: {status} unsaved={} buffers={} bytes_in={} bytes_out={} uptime_s={} longest_turn_us={} largest_turn={}",
            self.core.out.unsaved(),
            self.core.out.connections.buffered(),
            self.core.out.connections.host.bytes_in,
            self.core.out.connections.host.bytes_out,
            self.clock.start.elapsed().as_secs(),
            self.core.out.connections.host.turns.longest.us,
            self.largest_turn,
        );
    }

    fn accept(&mut self) {
        let now_us = self.core.now().monotonic_us;
        if self
            .accept_pause_us
            .is_some_and(|until_us| now_us < until_us)
        {
            return;
        }
        self.accept_pause_us = None;
        self.core.out.connections.host.is_accepting = true;
        for index in 0..self.listeners.len() {
            for _ in 0..ACCEPTS_PER_TURN {
                if !self.listeners[index].is_ready {
                    break;
                }
                match self.listeners[index].accept() {
                    Ok((stream, peer)) => {
                        let entrance = self.listeners[index].entrance;
                        if let Err(error) = self.core.add(stream, peer, entrance) {
                            self.pause_accepting(&error);
                        }
                    }
                    Err(error) => self.accept_failed(index, &error),
                }
                if self.accept_pause_us.is_some() {
                    return;
                }
                if self.core.out.connections.count() > self.settings.max_clients {
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
        let now_us = self.core.now().monotonic_us;
        self.accept_pause_us = Some(now_us + ACCEPT_PAUSE_US);
        let host = &mut self.core.out.connections.host;
        host.is_accepting = false;
        host.accept_rests += 1;
        if let Some(suppressed) = self.accept_log.admit(now_us) {
            log::warn!(
                "cannot accept connections: {error}; trying again soon{}",
                Suppressed(suppressed)
            );
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
        self.core.out.connections.next_handshake(step, now_us)
    }

    /// Takes one step of a TLS handshake.
    fn shake_hands_with(&mut self, id: ConnectionId) {
        let Some(connection) = self.core.out.connections.get_mut(id) else {
            return;
        };
        let Stream::Tls(stream) = &mut connection.socket else {
            return;
        };
        let shaken = stream.shake_hands(self.tls.as_ref());
        // A client that does not like what it got may just leave, with or without a reset.
        let has_left = match &shaken {
            Ok(count) => *count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        match shaken {
            _ if has_left && stream.has_begun() => {
                self.core.out.connections.end(id, CloseReason::TlsFailed);
            }
            Ok(0) => self.core.out.connections.end(id, CloseReason::EndOfStream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => connection.readable = false,
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                self.core.end_failed(id, &error);
                return;
            }
            // Lines may have come with the end of the handshake, and more is to be read in any case.
            _ if stream.is_open() => self.core.out.connections.make_ready(id),
            _ => self.core.out.connections.await_handshake(id),
        }
        self.core.out.connections.flush_tls_later(id);
    }

    /// Says in the log, now and then, that handshakes come faster than they can be done, and from where.
    fn log_overload(&mut self) {
        let now_us = self.core.now().monotonic_us;
        if !self.core.out.connections.handshakes.is_overloaded() || now_us < self.overload_log_us {
            return;
        }
        self.overload_log_us = now_us + OVERLOAD_LOG_US;
        if let Some(overload) = self.core.out.connections.handshakes.overload() {
            log::warn!("TLS handshakes come faster than they can be done: {overload}");
        }
    }
}
