//! A node without I/O: sessions and permissions, listeners, cache, timeouts, statistics.
//!
//! Sans-IO: the broker is handed the time and what happened ([`Broker`]'s `handle_*`), and acts only
//! through its two seams, [`Carrier`] and [`Recording`]. It names no socket, file, environment variable
//! or system clock, so that whole networks of brokers run inside a test with a clock and a network of
//! the test's own.

mod admission;
mod backlog;
mod backpressure;
mod cache;
mod carrier;
mod change;
mod check;
mod cid;
mod close_reason;
mod closing;
mod counting;
mod dialects;
mod dismissal;
mod entrance;
mod events;
mod expiry;
mod few;
mod health;
mod interclacks;
mod key_list;
mod labels;
mod listeners;
mod log_limit;
mod maintenance;
mod monitors;
mod operations;
mod origin;
mod output;
mod pages;
mod persistence;
mod random;
mod recording;
mod session;
mod sorted_slots;
mod statistics;
mod subjects;
mod table;
mod timeouts;
mod timers;
mod users;
mod walk;

pub use cache::Ageing;
pub use carrier::Carrier;
pub use close_reason::CloseReason;
pub use dialects::clacks::handle_run;
pub use dialects::describe;
pub use dialects::http::HttpSettings;
pub use dialects::memcached::MemcachedSettings;
pub use dialects::nats::NatsSettings;
pub use entrance::{Entrance, EntranceAddress};
pub use events::{
    Audience, AudienceId, ConnectionId, Flow, HostFigures, LabelledAudience, LongFrame, Now, Peer,
    Process, TcpAddress, Traffic,
};
pub use labels::Labels;
pub use log_limit::{LogLimit, Suppressed};
pub use origin::Origin;
pub use output::Output;
pub use persistence::Unsaved;
pub use recording::{Record, Recording, Rewrite, Rewritten, Saved};
pub use statistics::catalogue;
pub use statistics::{HeavyRequest, Turn, TurnPart, Turns};
use subjects::Subjects;
pub use users::{Permissions, User, Users};

use crate::limits::{
    self, MAX_LINE_BEFORE_LOGIN, MAX_SURPLUS_CLIENTS, PEER_LINE_EXTRA, REQUESTS_PREFETCHED,
    SECOND_US,
};
use crate::protocol::peer::{self, NodeId, ShareId};
use crate::protocol::shared::SharedBytes;
use crate::protocol::{Key, Language, Request};
use admission::Admission;
use ahash::RandomState;
use cache::Cache;
use dialects::clacks::Listing;
use dialects::http;
use dialects::memcached::{self, Memcached};
use dialects::nats;
use dialects::{Notice, observe_name};
use dismissal::Dismissal;
use expiry::ExpiryCycle;
use interclacks::{Lock, Tree, Uplink};
use listeners::Listeners;
use monitors::Monitors;
use persistence::Persistence;
use random::Random;
use session::{Ended, Session, Sessions};
use statistics::{Headline, Statistics, Verb};
use std::fmt;
use table::PrefetchBatch;
use timers::Appointments;

/// The operator's settings, in the broker's units.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name and version of the server's software, as clients and other servers see it.
    pub software: String,
    /// The largest number of clients at once, beside a few who can manage the server.
    pub max_clients: usize,
    /// Longest line of a logged-in client, in bytes.
    pub max_line: usize,
    pub auth_timeout_us: u64,
    pub ping_timeout_us: u64,
    pub stalled_write_timeout_us: u64,
    pub interclacks_ping_timeout_us: u64,
    pub interclacks_stalled_write_timeout_us: u64,
    /// The least time between two dials of masters; a random time of up to as much is added.
    pub interclacks_reconnect_us: u64,
    /// The names of the masters in the log. The masters are dialled in turn; if there are none, this node is nobody's
    /// slave.
    pub masters: Vec<String>,
    /// The largest amount of signals that may wait for a link's synchronisation, in bytes.
    pub max_held: usize,
    pub ageing: Ageing,
    pub clean_interval_us: u64,
    /// Memory that the cache may take, in bytes; `None`: no limit.
    pub cache_max: Option<usize>,
    /// The settings of listeners for memcached clients.
    pub memcached: MemcachedSettings,
    /// The settings of listeners for NATS clients.
    pub nats: NatsSettings,
    /// The settings of listeners for HTTP clients.
    pub http: HttpSettings,
    /// True if changes of the cache are recorded, and FLUSH waits until they are saved.
    pub journal: bool,
}

impl Default for Settings {
    /// Returns the defaults of the flags, for a node that is nobody's slave.
    fn default() -> Settings {
        let us = |seconds: f64| (seconds * SECOND_US as f64) as u64;
        Settings {
            software: format!(
                "clacksd/{} interclacks/{}",
                env!("CARGO_PKG_VERSION"),
                peer::VERSION
            ),
            max_clients: limits::MAX_CLIENTS,
            max_line: limits::MAX_LINE,
            auth_timeout_us: us(limits::AUTH_TIMEOUT_S),
            ping_timeout_us: us(limits::PING_TIMEOUT_S),
            stalled_write_timeout_us: us(limits::STALLED_WRITE_TIMEOUT_S),
            interclacks_ping_timeout_us: us(limits::INTERCLACKS_PING_TIMEOUT_S),
            interclacks_stalled_write_timeout_us: us(limits::INTERCLACKS_STALLED_WRITE_TIMEOUT_S),
            interclacks_reconnect_us: us(limits::INTERCLACKS_RECONNECT_S),
            masters: Vec::new(),
            max_held: limits::MAX_OUTPUT,
            ageing: Ageing {
                stale_us: us(limits::STALE_TIME_S),
                deleted_us: us(limits::DELETED_TIME_S),
            },
            clean_interval_us: us(limits::CLEAN_INTERVAL_S),
            cache_max: None,
            memcached: MemcachedSettings::default(),
            nats: NatsSettings::default(),
            http: HttpSettings::default(),
            journal: false,
        }
    }
}

/// A clacksd node without I/O.
///
/// Its methods are of three kinds. `handle_*` tells it of an event: a connection, a request, a deadline, records that
/// were saved. Each is given the time, which never goes back on its monotonic side, and acts at once through
/// [`Carrier`] and [`Recording`], and only through these. `poll_*` and the other queries have no effect on the outside. `restore` and its companions take in a journal, before anything else.
///
/// The order of calls: [`Broker::handle_connected`] is the first event of a connection, [`Broker::handle_closed`] the
/// last. In between its requests come one by one, in order; when one returns [`Flow::Stop`], no further one of that
/// connection may be handed over before [`Carrier::resume`]. After any event [`Broker::poll_deadline`] may have changed;
/// [`Broker::handle_deadline`] is called when that moment has come, and no earlier call of it does harm. Time alone
/// changes nothing: without a call a node stands still, and what has become due meanwhile is done with the next one.
pub struct Broker {
    settings: Settings,
    users: Users,
    sessions: Sessions,
    admission: Admission,
    dismissal: Dismissal,
    listeners: Listeners,
    subjects: Subjects,
    cache: Cache,
    persistence: Option<Persistence>,
    /// The share id and its last version, if the last record read says that the run before has ended in order.
    last_run: Option<(ShareId, u64)>,
    monitors: Monitors,
    appointments: Appointments,
    statistics: Statistics,
    expiry: ExpiryCycle,
    /// [`Statistics::stale`] when the log told of it last.
    stale_logged: u64,
    lifetime: Lifetime,
    tree: Tree,
    uplink: Option<Uplink>,
    lock: Option<Lock>,
    memcached: Memcached,
    nats_options: nats::LatestOptions,
    http_watchers: http::Watchers,
    discard_log: LogLimit,
    shutdown_log: LogLimit,
    /// Commands that were refused.
    refusal_log: LogLimit,
    random: Random,
    /// The buffer in which output for many connections is encoded; kept so that its memory is reused.
    payload: Vec<u8>,
    /// Listings of connections that have ended; their memory is freed in slices.
    ended_listings: Vec<Listing>,
    /// The long line that is being handled: parts of it are shared instead of copied.
    long_line: Option<SharedBytes>,
}

/// How long the server is to run.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lifetime {
    Endless,
    /// Until this moment (OVERHEAD S).
    Until(u64),
    Over,
}

impl Broker {
    /// `seed` makes everything that is drawn at random, the keys of the hash tables above all.
    pub fn new(settings: Settings, users: Users, seed: [u64; 4]) -> Broker {
        let hasher = RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]);
        let mut random = Random::new(seed);
        let node = NodeId(random.next());
        let mut cache = Cache::new(hasher.clone(), settings.ageing, settings.cache_max, node);
        if settings.journal {
            cache.record_uses();
        }
        Broker {
            cache,
            persistence: settings.journal.then(Persistence::default),
            last_run: None,
            tree: Tree::new(node, !settings.masters.is_empty()),
            uplink: (!settings.masters.is_empty()).then(Uplink::default),
            lock: None,
            memcached: Memcached::default(),
            nats_options: nats::LatestOptions::default(),
            http_watchers: http::Watchers::default(),
            discard_log: LogLimit::default(),
            shutdown_log: LogLimit::default(),
            refusal_log: LogLimit::default(),
            random,
            sessions: Sessions::with_capacity(settings.max_clients + MAX_SURPLUS_CLIENTS),
            admission: Admission::new(
                settings.max_clients,
                settings.auth_timeout_us,
                hasher.clone(),
            ),
            dismissal: Dismissal::default(),
            subjects: Subjects::new(hasher.clone()),
            listeners: Listeners::new(hasher),
            settings,
            users,
            monitors: Monitors::default(),
            appointments: Appointments::default(),
            statistics: Statistics::default(),
            expiry: ExpiryCycle::Idle,
            stale_logged: 0,
            lifetime: Lifetime::Endless,
            payload: Vec::new(),
            ended_listings: Vec::new(),
            long_line: None,
        }
    }

    /// A connection was made. It gets the greeting; the master gets this node's login.
    pub fn handle_connected<O: Carrier>(
        &mut self,
        id: ConnectionId,
        peer: Peer,
        entrance: impl Into<Entrance>,
        now: Now,
        out: &mut O,
    ) {
        let entrance = entrance.into();
        self.statistics.connections.add(entrance.language, 1);
        // The statistics of memcached clients number listeners before all connections.
        let listeners = self.settings.memcached.addresses.len() as u64;
        let serial = listeners + self.statistics.connections.sum();
        let session = Session::new(id, peer, entrance, serial, now);
        log::debug!("connected {}", session.cid);
        let cid = session.cid;
        self.sessions.insert(session);
        if matches!(peer, Peer::Master(_)) {
            self.start_uplink(id, now, out);
        } else {
            let greeting = Notice::Greeting(&self.settings.software);
            out.append(id, |to| greeting.encode(entrance.language, to));
            self.admit_stranger(id, now, out);
            match entrance.language {
                Language::Memcached => memcached::handle_connected(self, id, now, out),
                Language::Nats => nats::handle_connected(self, id, now, out),
                Language::Http => http::handle_connected(self, id),
                _ => {}
            }
        }
        self.monitors.report(format_args!("CONNECTED={cid}"), out);
        self.appoint(id, now, out);
        if self.lifetime == Lifetime::Over {
            self.dismiss(id, CloseReason::Shutdown, now, out);
        }
    }

    /// Returns the output for a connection that can't be accepted, to be sent before it is closed: the greeting and the
    /// reason. Counts the refusal, and logs it unless too many like it were logged in this second.
    pub fn refusal(
        &mut self,
        reason: CloseReason,
        peer: Peer,
        entrance: Entrance,
        now: Now,
    ) -> Vec<u8> {
        if let Some(suppressed) = self.statistics.count_closed(reason, now.monotonic_us) {
            let max_clients = self.settings.max_clients;
            log::warn!(
                "refused a connection: {reason} (--max-clients is {max_clients}){}",
                Suppressed(suppressed)
            );
        }
        let mut lines = Vec::new();
        let language = entrance.language;
        match language {
            Language::Nats => nats::encode_info(self, peer, entrance, &mut lines),
            _ => Notice::Greeting(&self.settings.software).encode(language, &mut lines),
        }
        Notice::Refused(reason).encode(language, &mut lines);
        lines
    }

    /// Reports whether tables are so large that [`Broker::prefetch`] saves time.
    pub fn prefetch_pays(&self) -> bool {
        self.cache.prefetch_pays() || self.listeners.prefetch_pays()
    }

    /// A hint, without effect on behaviour: these requests will be handled next, of whichever connection. Fetches the
    /// memory that they will need, of all at once.
    pub fn prefetch<'a, 'b: 'a>(&self, requests: impl Iterator<Item = &'a Request<'b>>) {
        let (of_entries, of_listeners) =
            (self.cache.prefetch_pays(), self.listeners.prefetch_pays());
        let (mut entries, mut listeners) = (PrefetchBatch::default(), PrefetchBatch::default());
        for request in requests.take(REQUESTS_PREFETCHED) {
            match request.key() {
                Some(Key::Entry(name)) if of_entries => entries.push(self.cache.hash(name)),
                Some(Key::Listeners(name)) if of_listeners => {
                    listeners.push(self.listeners.hash(name));
                }
                _ => {}
            }
        }
        self.cache.prefetch(&entries);
        self.listeners.prefetch(&listeners);
    }

    /// Handles a long request as [`Broker::handle_request`] does. What is kept or sent of it shares the memory of
    /// `source`, the frame that it was decoded from.
    #[inline(never)]
    pub fn handle_long_request<O: Output>(
        &mut self,
        id: ConnectionId,
        request: &Request<'_>,
        source: &SharedBytes,
        now: Now,
        out: &mut O,
    ) -> Flow {
        self.long_line = Some(source.clone());
        self.cache.share_parts_of(Some(source.clone()));
        let flow = self.handle_request(id, request, now, out);
        self.cache.share_parts_of(None);
        self.long_line = None;
        flow
    }

    /// A request came. Inlined with what it calls for usual ones: those are short work.
    #[inline(always)]
    pub fn handle_request<O: Output>(
        &mut self,
        id: ConnectionId,
        request: &Request<'_>,
        now: Now,
        out: &mut O,
    ) -> Flow {
        if (out.has_full_receivers() || self.tree.has_backlog)
            && self.waits_for_receivers(id, request, out)
        {
            return Flow::StopBefore;
        }
        if self.statistics.busiest.is_due() {
            self.statistics.busiest.age(now.monotonic_us);
            observe_name(self, id, request);
        }
        let (verb, flow) = match request {
            // A line may be one of another server, which is counted elsewhere.
            Request::Clacks(line) => return self.handle_clacks_line(id, line, now, out),
            Request::Memcached(frame) => {
                let verb = memcached::verb_of(&frame.request);
                (verb, memcached::handle_frame(self, id, frame, now, out))
            }
            Request::MemcachedLogin(frame) => {
                let flow = memcached::handle_login(self, id, frame, now, out);
                (Verb::Login, flow)
            }
            Request::Nats(frame) => {
                let verb = nats::verb_of(&frame.request);
                (verb, nats::handle_frame(self, id, frame, now, out))
            }
            Request::Http(frame) => {
                let verb = http::verb_of(frame);
                (verb, http::handle_frame(self, id, frame, now, out))
            }
            #[cfg(test)]
            Request::Toy(request) => {
                let flow = self.handle_toy_request(id, request, now, out);
                (Verb::Unknown, flow)
            }
        };
        self.statistics
            .count_request(verb, flow != Flow::StopBefore);
        flow
    }

    /// The language of a connection.
    pub fn language_of(&self, id: ConnectionId) -> Language {
        let session = self.sessions.get(id);
        session.map_or(Language::default(), |session| session.language)
    }

    /// A frame of the connection has `length` bytes so far, or will have, more than [`Language::max_unasked`]. If it is not
    /// complete, `start` has come of it.
    pub fn handle_long_frame<O: Output>(
        &mut self,
        id: ConnectionId,
        start: Option<&[u8]>,
        length: usize,
        now: Now,
        out: &mut O,
    ) -> LongFrame {
        let Some(session) = self.sessions.get(id) else {
            return LongFrame::Refused;
        };
        match session.language {
            Language::Memcached | Language::MemcachedLogin => {
                return memcached::handle_long_frame(self, id, start, length, now, out);
            }
            Language::Nats | Language::NatsLogin => {
                return nats::handle_long_frame(self, id, start, length, now, out);
            }
            // Its framer ends a head that is too long, and the answer follows.
            Language::Http => return LongFrame::Allowed,
            _ => {}
        }
        let is_link = session.is_link;
        let max = match (is_link, session.is_logged_in()) {
            (_, false) => MAX_LINE_BEFORE_LOGIN,
            (false, true) => self.settings.max_line,
            // Each byte may be escaped.
            (true, true) => 2 * self.settings.max_line + PEER_LINE_EXTRA,
        };
        if length <= max {
            return LongFrame::Allowed;
        }
        if is_link {
            self.tree.log(
                log::Level::Warn,
                format_args!("a line of more than {max} bytes was skipped"),
                now,
            );
            return LongFrame::Skipped;
        }
        self.refuse(id, CloseReason::LineTooLong, now, out);
        LongFrame::Refused
    }

    /// There is room in the connection's output, as [`Carrier::request_writable`] asked for.
    pub fn handle_writable<O: Output>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        self.continue_listing(id, now, out);
        memcached::handle_writable(self, id, now, out);
        self.advance_sync(id, now, out);
        self.tell_groups(id, now, out);
        let session = self.sessions.get_mut(id);
        if session.is_some_and(|session| std::mem::take(&mut session.resumes_with_room)) {
            out.resume(id);
        }
    }

    /// The peer has stopped taking its output.
    pub fn handle_stalled<O: Carrier>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        self.appoint(id, now, out);
    }

    /// The carrier closes the connection: the peer is gone or a limit was reached. Where the reason
    /// [drains](CloseReason::drains), what is queued goes out first.
    pub fn handle_closing<O: Carrier>(
        &mut self,
        id: ConnectionId,
        reason: CloseReason,
        now: Now,
        out: &mut O,
    ) {
        let is_link = self.tree.links.get(id).is_some();
        let traffic = out.traffic(id);
        if let Some(session) = self.sessions.get_mut(id) {
            let is_lost = reason == CloseReason::ConnectionLost;
            session.was_idle_at_its_end =
                is_lost && !is_link && traffic.queued == 0 && traffic.unread == 0;
        }
        match reason {
            CloseReason::BuffersLimit | CloseReason::TlsToPlain if !is_link => {
                self.refuse(id, reason, now, out)
            }
            CloseReason::BinaryProtocol => {
                if let Some(session) = self.sessions.get(id) {
                    self.memcached.binary_peers.advise(session);
                }
                self.close(id, reason, now, out);
            }
            _ => self.close(id, reason, now, out),
        }
    }

    /// The connection is closed; `discarded` bytes of its output never reached the peer.
    pub fn handle_closed<O: Carrier>(
        &mut self,
        id: ConnectionId,
        reason: CloseReason,
        discarded: usize,
        now: Now,
        out: &mut O,
    ) {
        self.leave(id, reason, now, out);
        let Some(session) = self.sessions.remove(id) else {
            return;
        };
        memcached::handle_closed(self, &session, reason, now, out);
        let suppressed = self.statistics.count_closed(reason, now.monotonic_us);
        // Health checks end with a reset, also some of those that log in.
        let is_probe = session.is_probe(reason)
            || (session.was_idle_at_its_end
                && reason == CloseReason::ConnectionLost
                && discarded == 0);
        let ended = Ended {
            session: &session,
            reason,
            settings: &self.settings,
        };
        if discarded > 0 && !is_probe {
            if let Some(suppressed) = self.discard_log.admit(now.monotonic_us) {
                let suppressed = Suppressed(suppressed);
                log::warn!("{ended}: {discarded} bytes of output discarded{suppressed}");
            }
        } else if reason.is_ordinary() || is_probe {
            log::debug!("{ended}");
        } else if let Some(suppressed) = suppressed {
            log::warn!("{ended}{}", Suppressed(suppressed));
        }
        self.monitors.report(
            format_args!(
                "DISCONNECTED={} ({discarded} bytes discarded from outbuffer)",
                session.cid
            ),
            out,
        );
    }

    /// The moment of [`Broker::poll_deadline`] has come.
    pub fn handle_deadline<O: Output>(&mut self, now: Now, out: &mut O) {
        self.dismiss_slice(now, out);
        self.keep_appointments(now, out);
        self.run_uplink(now, out);
        self.run_maintenance(now, out);
        self.tend_journal(now, out);
        self.tend_backlog(now, out);
        memcached::handle_deadline(self, now, out);
        http::handle_deadline(self, now, out);
        if let Lifetime::Until(at_us) = self.lifetime
            && at_us <= now.monotonic_us
        {
            log::info!("shutting down, as OVERHEAD S asked");
            self.handle_shutdown(now);
        }
    }

    /// The users were read again. Sessions of users that are gone or changed are closed; none of their requests is
    /// handled any more.
    pub fn handle_users(&mut self, users: Users) {
        self.users = users;
        let Broker {
            sessions,
            users,
            dismissal,
            ..
        } = self;
        dismissal.add(sessions, CloseReason::UserChanged, |session| {
            let user = session.user.as_ref();
            user.is_some_and(|user| users.get(&user.name).is_none_or(|found| **found != **user))
        });
    }

    /// The server is to end: all sessions are closed, each with a farewell. See [`Broker::is_over`].
    pub fn handle_shutdown(&mut self, now: Now) {
        self.lifetime = Lifetime::Over;
        self.save_at_last(now);
        self.dismissal
            .add(&mut self.sessions, CloseReason::Shutdown, |_| true);
    }

    /// Reports whether the server is to end.
    pub fn is_over(&self) -> bool {
        self.lifetime == Lifetime::Over
    }

    /// When [`Broker::handle_deadline`] is to be called next (monotonic); `None` if nothing is due
    /// ever.
    pub fn poll_deadline(&mut self) -> Option<u64> {
        let lifetime = match self.lifetime {
            Lifetime::Until(at_us) => Some(at_us),
            _ => None,
        };
        let deadlines = [
            (!self.dismissal.is_empty()).then_some(0),
            self.appointments.next(&self.sessions),
            self.maintenance_deadline(),
            lifetime,
            memcached::deadline(self),
            http::deadline(self),
            self.uplink_deadline(),
            self.persistence.as_ref().and_then(Persistence::deadline),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Memory that connections which are gone have left behind, and that is not given back yet, in bytes: it counts
    /// among the buffers of all.
    pub fn retained_memory(&self) -> usize {
        self.listeners.surplus() + self.subjects.surplus()
    }

    /// The broker's part of a status line.
    pub fn write_status(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let headline = Headline {
            clients: self.sessions.len(),
            memcached: self.sessions.by_language().of(Language::Memcached),
            nats: self.sessions.by_language().of(Language::Nats),
            http: self.sessions.by_language().of(Language::Http),
            monitors: self.monitors.len(),
            links: self.tree.links.up().count(),
            uplink: self.uplink_state(),
            faults: health::faults(self).collect(),
            names_listened_to: self.listeners.names(),
            subscriptions: self.listeners.subscriptions() + self.subjects.subscriptions(),
            entries: self.cache.live(),
            tombstones: self.cache.tombstones(),
            cache_bytes: self.cache.bytes(),
            journal: self.persistence.as_ref().map_or("none", Persistence::state),
        };
        headline.write(&self.statistics, f)
    }
}

/// Empties a buffer for its next use, and keeps no more memory than what is usual.
fn empty(buffer: &mut Vec<u8>) {
    const KEPT: usize = 64 * crate::limits::KIB;
    buffer.clear();
    buffer.shrink_to(KEPT);
}
