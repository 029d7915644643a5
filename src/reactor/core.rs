//! The scheduling of the loop: which connection is served when and how much, what is written in which order, which
//! limits hold, and how connections end. It names no kind of socket, and a test can be its kernel.

use super::OutputLimits;
use super::connections::Connections;
use super::departures::Departures;
use super::fault::Fault;
use super::handshakes::Handshakes;
use super::outputs::Outputs;
use super::socket::Socket;
use crate::broker::{
    Broker, CloseReason, ConnectionId, Entrance, HeavyRequest, LogLimit, Now, Origin, Peer,
    Recording, Saved, Suppressed, Turn, TurnPart,
};
use crate::limits::{CLOSES_PER_TURN, SCRATCH, SLOW_TURN_US, WORK_PER_SYSCALL, WORK_PER_TURN};
use crate::protocol::Language;
use crate::reactor::pace::Pace;
use std::io;

/// The operator's settings that concern the loop.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The number of clients beyond which each stranger pushes another one out.
    pub max_clients: usize,
    /// The number of connections beyond which nobody is even asked to log in.
    pub max_connections: usize,
    /// The time from connecting to the login, a TLS handshake included.
    pub auth_timeout_us: u64,
    pub output: OutputLimits,
}

/// An event of a socket.
#[derive(Debug, Clone, Copy, Default)]
pub struct Readiness {
    /// There is something to be read, or an error.
    pub is_readable: bool,
    /// The peer sends nothing more.
    pub is_read_closed: bool,
    /// The socket takes output again.
    pub is_writable: bool,
    /// The peer takes nothing more.
    pub is_write_closed: bool,
}

/// A node and its connections, without whatever moves their bytes.
///
/// One turn: [`Core::begin_turn`]; [`Core::add`] and [`Core::handle_ready`] for what has happened; [`Core::serve`];
/// [`Core::handle_deadlines`]; the records are handed over; [`Core::flush`]; [`Core::end_turn`]. The next turn is due at
/// once if [`Core::has_work`], and else at [`Core::poll_deadline`] or at the next event.
pub struct Core<S: Socket, R> {
    pub broker: Broker,
    pub out: Outputs<Connections<S>, R>,
    settings: Settings,
    tls_log: LogLimit,
    /// The buffer that input is read into; only input that cannot be processed at once is copied from it.
    pub(super) scratch: Box<[u8]>,
    /// A frame with bytes in its midst that don't belong to it is put together here.
    pub(super) assembled: Vec<u8>,
    /// Connections that have got their last line.
    departures: Departures,
    /// The request that did most work in this turn beyond its share, if one did much.
    pub(super) heaviest: Option<HeavyRequest>,
    /// The work of this turn, without that of writing, when it began to serve connections, and when it had served them.
    work_before_serving: usize,
    work_after_serving: usize,
}

impl<S: Socket, R: Recording> Core<S, R> {
    pub fn new(
        settings: Settings,
        broker: Broker,
        journal: R,
        poller: S::Poller,
        now: Now,
    ) -> Core<S, R> {
        let mut connections =
            Connections::new(poller, settings.max_connections, settings.output, now);
        connections.handshakes = Handshakes::new(settings.auth_timeout_us / 2);
        Core {
            broker,
            out: Outputs {
                connections,
                journal,
            },
            settings,
            tls_log: LogLimit::default(),
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            assembled: Vec::new(),
            departures: Departures::default(),
            heaviest: None,
            work_before_serving: 0,
            work_after_serving: 0,
        }
    }

    /// The time of the turn.
    pub fn now(&self) -> Now {
        self.out.connections.now
    }

    pub fn begin_turn(&mut self, now: Now) {
        let connections = &mut self.out.connections;
        connections.now = now;
        (connections.work, connections.writing) = (0, 0);
        (self.work_before_serving, self.work_after_serving) = (0, 0);
        self.heaviest = None;
    }

    /// Takes in a connection that a peer has made. An error is one of the registration of the socket, which is closed.
    pub fn add(
        &mut self,
        mut socket: S,
        peer: Peer,
        entrance: impl Into<Entrance>,
    ) -> io::Result<()> {
        let (entrance, now) = (entrance.into(), self.now());
        self.out.connections.work += 2 * WORK_PER_SYSCALL;
        // Who is only to see why it was closed keeps nobody out.
        while self.out.connections.count() >= self.settings.max_connections
            && let Some(id) = self.departures.pop()
        {
            self.out.connections.remove(id);
        }
        if self.out.connections.count() >= self.settings.max_connections {
            // The socket's buffer is empty, so that this small write never blocks.
            let refusal = self
                .broker
                .refusal(CloseReason::ClientLimit, peer, entrance, now);
            let _ = match entrance.language.greets_in_plain() {
                true => socket.write_in_plain(&refusal),
                false => socket.write(&refusal),
            };
            return Ok(());
        }
        let id = self.out.connections.add(socket, Origin::of(peer))?;
        if entrance.language != Language::Clacks
            && let Some(connection) = self.out.connections.get_mut(id)
        {
            connection.pace = Pace::off();
        }
        self.broker
            .handle_connected(id, peer, entrance, now, &mut self.out);
        Ok(())
    }

    /// Takes in the connection to a master that was dialled, or the error of dialling it.
    pub fn handle_dialed(&mut self, dialed: io::Result<(S, Peer)>) {
        let now = self.now();
        let added =
            dialed.and_then(|(socket, peer)| Ok((self.out.connections.add(socket, None)?, peer)));
        match added {
            Ok((id, peer)) => {
                self.broker
                    .handle_connected(id, peer, Language::Clacks, now, &mut self.out)
            }
            Err(error) => self.broker.handle_dial_failed(&error.to_string(), now),
        }
    }

    /// An event of a socket has come; it may be that of a connection that is gone.
    pub fn handle_ready(&mut self, id: ConnectionId, readiness: Readiness) {
        let Some(connection) = self.out.connections.get_mut(id) else {
            return;
        };
        connection.hung_up |= readiness.is_read_closed;
        let is_deaf = readiness.is_write_closed && connection.closing.is_none();
        if readiness.is_readable || readiness.is_read_closed {
            connection.readable = true;
            self.out.connections.make_ready(id);
        }
        if is_deaf {
            self.out.connections.deafen(id);
        }
        if readiness.is_writable {
            self.out.connections.unblock(id);
        }
    }

    /// The journal reports what it has saved.
    pub fn handle_saved(&mut self, saved: Vec<Saved>) {
        self.broker.handle_saved(saved, self.now(), &mut self.out);
    }

    /// Sends what was held for long enough, and gives each ready connection its share of the turn.
    pub fn serve(&mut self) {
        self.work_before_serving = self.out.connections.work;
        self.out.connections.send_held_answers();
        self.out.connections.resume_senders();
        self.serve_ready();
        self.work_after_serving = self.out.connections.work;
    }

    /// Does what is due by the time of the turn.
    pub fn handle_deadlines(&mut self) {
        let now = self.now();
        if self
            .broker
            .poll_deadline()
            .is_some_and(|at_us| at_us <= now.monotonic_us)
        {
            self.broker.handle_deadline(now, &mut self.out);
        }
        self.end_departures();
    }

    /// Writes to every connection that got output, as far as the turn allows.
    pub fn flush(&mut self) {
        self.out.connections.check_receivers();
        self.out.connections.flush();
    }

    /// Enforces the limits, closes connections that have nothing more to do, and frees memory.
    pub fn end_turn(&mut self) {
        self.enforce_limits();
        self.close_finished();
        self.out.connections.free_slice();
    }

    /// Returns true if there is something to do that no event will remind of.
    pub fn has_work(&self) -> bool {
        self.out.connections.has_work()
    }

    /// The time when [`Core::handle_deadlines`] or another phase has something to do next (monotonic).
    pub fn poll_deadline(&mut self) -> Option<u64> {
        let deadlines = [
            self.broker.poll_deadline(),
            self.out.connections.next_check(),
            self.out.connections.next_held_answer(),
            self.departures.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The turn has taken so long. To be called last, for the statistics.
    pub fn count_turn(&mut self, us: u64) {
        let turn = Turn {
            us,
            work: self.work(),
            part: self.heaviest_part(),
        };
        let is_longest = self.out.connections.host.turns.add(turn);
        if is_longest || us >= SLOW_TURN_US {
            let (heavy, now) = (self.heaviest.take(), self.now());
            self.broker.handle_long_turn(turn, is_longest, heavy, now);
        }
    }

    /// The part of the turn that did most work.
    fn heaviest_part(&self) -> TurnPart {
        let (before, served) = (self.work_before_serving, self.work_after_serving);
        let connections = &self.out.connections;
        let parts = [
            (before, TurnPart::Accepts),
            (served - before, TurnPart::Requests),
            (connections.writing, TurnPart::Writes),
            (connections.work - served, TurnPart::Maintenance),
        ];
        // Of several with the same work, the last one: without any work it is maintenance.
        let most = parts.into_iter().max_by_key(|(work, _)| *work);
        most.map_or(TurnPart::Maintenance, |(_, part)| part)
    }

    /// Work of the turn, in bytes moved or what counts as such.
    pub fn work(&self) -> usize {
        self.out.connections.work + self.out.connections.writing
    }

    /// Ends a connection that can't go on because of its TLS, or anything else that reading met.
    pub(super) fn end_failed(&mut self, id: ConnectionId, error: &io::Error) {
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
                        connection.socket.peer(),
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

    /// Closes connections that have nothing more to do.
    fn close_finished(&mut self) {
        let now = self.out.connections.now;
        for _ in 0..CLOSES_PER_TURN {
            // The last try to write to each may be a long write.
            if self.out.connections.writing >= 2 * WORK_PER_TURN {
                return;
            }
            let Some(id) = self.out.connections.next_finished() else {
                return;
            };
            let Some(connection) = self
                .out
                .connections
                .get(id)
                .filter(|connection| !connection.is_departing)
            else {
                continue;
            };
            let Some(reason) = connection.closing else {
                continue;
            };
            let discarded = self.out.connections.flush_last(id);
            self.broker
                .handle_closed(id, reason, discarded, now, &mut self.out);
            if reason.lingers() {
                self.departures.begin(id, &mut self.out.connections);
            } else {
                self.out.connections.say_goodbye(id);
                self.out.connections.remove(id);
            }
        }
    }

    /// Ends streams, and closes sockets, of connections that have got their last line.
    fn end_departures(&mut self) {
        self.departures.handle_deadline(&mut self.out.connections);
    }
}
