//! Interclacks: what passes between this node and its master and slaves (clacks-protocol(7),
//! INTERCLACKS).
//!
//! Two languages are spoken. Between clacksd servers whole states of names travel
//! ([`protocol::peer`](crate::protocol::peer)), which merge to the same result everywhere; to a
//! Net::Clacks server, which may be master or slave as well, only the reference's lines go.
//!
//! Order is what users rely on: no signal may overtake a write that its sender made before it. Lines
//! of a link arrive in order, and a write goes out at once. But while a link is still being told what
//! this node held before, a signal could overtake that; so signals wait until all of it is sent.

use super::cache::{Effect, Found};
use super::output::{CloseReason, ConnectionId, Flow, Now, Output};
use super::session::LastPing;
use super::table::Table;
use super::walk::{Meets, Walk};
use super::{Broker, Lifetime, User};
use crate::limits::{LISTING_SLICE, MAX_CLOCK_LEAD_US, MAX_PATH, MAX_SIGNAL_ORIGINS, SECOND_US};
use crate::protocol::command::{KeySync, Pair};
use crate::protocol::peer::{self, NodeId, PeerLine, Register, SignalId, Stamp, State};
use crate::protocol::{Command, Flags, Overhead, decode, encode};
use std::collections::HashMap;
use std::rc::Rc;

/// A session's other life: the connection to a master or to a slave.
pub struct Link {
    role: Role,
    peer: Software,
    /// The uplink: whether the master has logged in here. Nothing of it is obeyed before.
    pub is_up: bool,
    /// The uplink: when it is given up if it isn't up by then.
    pub deadline_us: u64,
    pub last_ping: LastPing,
    pub ping_sent_us: u64,
    /// What this node held when the link came up: how much of it is still to be sent.
    telling: Telling,
    /// Whether the peer knows that it has been told everything once.
    is_synced: bool,
    /// Since when (tree's time).
    synced_since_us: u64,
    /// Encoded signals that wait until all is told.
    held: Vec<u8>,
    /// Names that the master has just told: it need not hear them from here. Hashes.
    heard: Table<u64>,
    /// What makes the peer's times this node's: added to both times of a KEYSYNC.
    offset_us: i64,
    /// Whose writes those are that come as KEYSYNC.
    foreign: NodeId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Uplink,
    Downlink,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Software {
    Clacksd,
    NetClacks,
}

enum Telling {
    /// The slave's turn comes when the master has told everything.
    NotYet,
    Now(Walk),
    Done,
}

/// The way to the master.
pub struct Uplink {
    /// How many masters there are to try in turn.
    masters: usize,
    next: usize,
    pub state: UplinkState,
    last_dial_us: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UplinkState {
    /// No connection; the next dial is due then.
    Waiting(u64),
    /// Being dialled, until then at the latest.
    Dialing(u64),
    Connected(ConnectionId),
}

/// A Net::Clacks master tells what it has: clients' lines wait.
pub struct Lock {
    /// Broken when the master says nothing up to here.
    pub until_us: u64,
    /// Connections that wait.
    waiting: Vec<ConnectionId>,
}

/// The tree, as this node knows it.
pub struct Tree {
    pub node: NodeId,
    /// The masters of this node, from the root, and itself.
    path: Vec<NodeId>,
    /// All links that are up.
    pub links: Vec<ConnectionId>,
    /// This node's clock minus the tree's, which is its root's.
    offset_us: i64,
    signals: u64,
    /// The newest signal of each origin that passed here, and when.
    seen: HashMap<NodeId, (u64, u64)>,
}

impl Tree {
    pub fn new(node: NodeId) -> Tree {
        Tree { node, path: vec![node], links: Vec::new(), offset_us: 0, signals: 0, seen: HashMap::new() }
    }

    pub fn offset_us(&self) -> i64 {
        self.offset_us
    }

    fn new_signal(&mut self) -> SignalId {
        self.signals += 1;
        SignalId { origin: self.node, number: self.signals }
    }

    /// Whether a signal comes for the first time. An earlier one of the same origin that comes after
    /// a later one took a way that was cut: it counts as lost.
    fn is_new(&mut self, id: SignalId, now_us: u64) -> bool {
        if id.origin == self.node {
            return false;
        }
        if self.seen.len() >= MAX_SIGNAL_ORIGINS && !self.seen.contains_key(&id.origin) {
            // Origins are runs of servers; those silent for an hour have ended.
            self.seen.retain(|_, (_, at_us)| now_us.saturating_sub(*at_us) < 3600 * SECOND_US);
        }
        let (newest, at_us) = self.seen.entry(id.origin).or_default();
        let is_new = id.number > *newest;
        *newest = id.number.max(*newest);
        *at_us = now_us;
        is_new
    }
}

impl Uplink {
    pub fn new(masters: usize) -> Uplink {
        Uplink { masters, next: 0, state: UplinkState::Waiting(0), last_dial_us: 0 }
    }
}

/// How a change is told to Net::Clacks peers.
#[derive(Clone, Copy)]
pub enum Plain<'a> {
    /// As the line came.
    Line(&'a [u8]),
    /// From what the change did.
    Effect(&'a Effect),
    /// With its times: it came so from another such peer.
    KeySync,
}

impl Broker {
    // Coming up and going down.

    /// Time for the uplink: dials when it is due, gives up what takes too long.
    pub(super) fn tend_uplink<O: Output>(&mut self, now: Now, out: &mut O) {
        let Some(uplink) = &mut self.uplink else { return };
        match uplink.state {
            UplinkState::Waiting(at_us) if at_us <= now.monotonic_us && self.lifetime != Lifetime::Over => {
                uplink.last_dial_us = now.monotonic_us;
                uplink.state = UplinkState::Dialing(now.monotonic_us + self.settings.auth_timeout_us);
                out.dial(uplink.next);
            }
            UplinkState::Dialing(until_us) if until_us <= now.monotonic_us => {
                out.hang_up();
                self.handle_dial_failed("it took too long", now);
            }
            _ => {}
        }
    }

    /// The next moment for [`Broker::tend_uplink`].
    pub(super) fn uplink_deadline(&self) -> Option<u64> {
        match self.uplink.as_ref()?.state {
            UplinkState::Waiting(at_us) | UplinkState::Dialing(at_us) if self.lifetime != Lifetime::Over => Some(at_us),
            _ => None,
        }
    }

    /// Dialling a master came to nothing.
    pub fn handle_dial_failed(&mut self, why: &str, now: Now) {
        log::warn!("no connection to the master: {why}");
        self.schedule_dial(now);
    }

    /// Sets the next dial: some time after the last one, at the next master.
    fn schedule_dial(&mut self, now: Now) {
        let interval_us = self.settings.interclacks_reconnect_us;
        let jitter_us = self.random() % interval_us.max(1);
        let Some(uplink) = &mut self.uplink else { return };
        uplink.next = (uplink.next + 1) % uplink.masters;
        let at_us = (uplink.last_dial_us + interval_us + jitter_us).max(now.monotonic_us);
        uplink.state = UplinkState::Waiting(at_us);
    }

    /// The master was reached: this node logs in and asks for interclacks mode.
    pub(super) fn start_uplink<O: Output>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        let Some(uplink) = &mut self.uplink else { return };
        let deadline_us = match uplink.state {
            UplinkState::Dialing(until_us) => until_us,
            _ => now.monotonic_us + self.settings.auth_timeout_us,
        };
        uplink.state = UplinkState::Connected(id);
        let link = self.new_link(Role::Uplink, Software::NetClacks, deadline_us, now);
        if let Some(session) = self.sessions.get_mut(id) {
            session.link = Some(Box::new(link));
        }
        let (software, token) = (&self.settings.software, self.users.primary_token());
        out.append(id, |to| {
            encode::line(to, &[b"CLACKS ", software.as_bytes()]);
            encode::overhead(to, Flags::LOGIN, token.as_bytes());
            encode::overhead(to, Flags::INTERCLACKS, b"1");
        });
    }

    fn new_link(&mut self, role: Role, peer: Software, deadline_us: u64, now: Now) -> Link {
        Link {
            role,
            peer,
            is_up: false,
            deadline_us,
            last_ping: LastPing { at_us: now.monotonic_us, stopped_us: 0 },
            ping_sent_us: now.monotonic_us,
            telling: Telling::NotYet,
            is_synced: false,
            synced_since_us: self.tree_now_us(now),
            held: Vec::new(),
            heard: Table::default(),
            offset_us: 0,
            foreign: NodeId(self.random()),
        }
    }

    /// OVERHEAD I: a slave wants to be one. It is told everything.
    pub(super) fn start_downlink<O: Output>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        let Some(session) = self.sessions.get(id).filter(|session| session.link.is_none()) else { return };
        let peer = software(session.client_info());
        let stopped_us = out.traffic(id).stopped_us;
        let mut link = self.new_link(Role::Downlink, peer, 0, now);
        link.is_up = true;
        link.last_ping.stopped_us = stopped_us;
        let now_us = self.tree_now_us(now);
        let (software, token) = (&self.settings.software, self.users.primary_token());
        out.append(id, |to| {
            encode::greeting(to, software);
            encode::overhead(to, Flags::LOGIN, token.as_bytes());
            if peer == Software::NetClacks {
                encode::overhead(to, Flags::LOCK, b"1");
            }
            encode::overhead(to, Flags::TIME, seconds(now_us).as_bytes());
            if peer == Software::Clacksd {
                encode_path(to, &self.tree.path);
                encode_clear(to, self.cache.cleared());
            }
        });
        let walk = self.new_walk(peer);
        if let Some(session) = self.sessions.get_mut(id) {
            log::info!("interclacks: {} is a slave ({peer:?})", session.cid);
            self.listeners.unlisten_all(id, &mut session.subscriptions);
            link.telling = Telling::Now(walk);
            session.link = Some(Box::new(link));
            self.tree.links.push(id);
        }
        self.tell_at_once(id, now, out);
        self.appoint(id, now, out);
    }

    /// A link is no more.
    pub(super) fn end_link<O: Output>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        let Some(link) = self.sessions.get_mut(id).and_then(|session| session.link.take()) else { return };
        self.tree.links.retain(|other| *other != id);
        if link.role == Role::Uplink {
            self.unlock(out);
            self.schedule_dial(now);
            self.set_path(Vec::new(), out);
        }
        if link.is_up {
            log::info!(
                "interclacks: the link to the {} has ended",
                if link.role == Role::Uplink { "master" } else { "slave" }
            );
        }
    }

    /// What comes from the master before it has logged in: only its login counts.
    pub(super) fn handle_master_greeting<O: Output>(&mut self, id: ConnectionId, line: &[u8], now: Now, out: &mut O) {
        match decode(line) {
            Some(Command::Clacks(text)) => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.identify(text);
                }
            }
            Some(Command::Overhead(Some(Overhead { flags, .. }))) if flags.intersects(Flags::LOGIN_WRONG) => {
                log::error!("interclacks: the master refuses this server's user or password");
                self.close(id, CloseReason::LoginFailed, now, out);
            }
            Some(Command::Overhead(Some(Overhead { flags, value }))) if flags.intersects(Flags::LOGIN) => {
                match self.users.login(value).filter(|user| user.is_primary()).cloned() {
                    Some(user) => self.master_is_up(id, user, now, out),
                    None => {
                        log::error!("interclacks: the master's login is wrong; it is not obeyed");
                        out.append(id, |to| encode::overhead(to, Flags::LOGIN_WRONG, b"Login failed!"));
                        self.close(id, CloseReason::LoginFailed, now, out);
                    }
                }
            }
            Some(Command::Quit) => self.close(id, CloseReason::Quit, now, out),
            _ => {}
        }
    }

    fn master_is_up<O: Output>(&mut self, id: ConnectionId, user: Rc<User>, now: Now, out: &mut O) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let peer = software(session.client_info());
        log::info!("interclacks: {} is the master ({peer:?})", session.cid);
        session.user = Some(user);
        let Some(link) = &mut session.link else { return };
        link.is_up = true;
        link.peer = peer;
        link.last_ping.at_us = now.monotonic_us;
        self.tree.links.push(id);
        let (path, cleared) = (&self.tree.path, self.cache.cleared());
        out.append(id, |to| {
            encode::overhead(to, Flags::LOGIN_RIGHT, b"Welcome!");
            if peer == Software::Clacksd {
                encode_path(to, path);
                encode_clear(to, cleared);
            }
        });
        self.appoint(id, now, out);
    }

    // Lines of a link.

    /// A line of a link that is up.
    pub(super) fn handle_link_line<O: Output>(&mut self, id: ConnectionId, line: &[u8], now: Now, out: &mut O) -> Flow {
        let Some(link) = self.sessions.get(id).and_then(|session| session.link.as_ref()) else { return Flow::Stop };
        let is_uplink = link.role == Role::Uplink;
        if is_uplink && let Some(lock) = &mut self.lock {
            lock.until_us = now.monotonic_us + self.settings.interclacks_ping_timeout_us;
        }
        let extended = if link.peer == Software::Clacksd { peer::decode(line) } else { None };
        if let Some(extended) = extended {
            self.handle_peer_line(id, extended, now, out);
            self.mirror(id, line, out);
            return Flow::Next;
        }
        let Some(command) = decode(line) else {
            if line == b"TIMEOUT" {
                self.close(id, CloseReason::PeerTimeout, now, out);
            } else {
                log::warn!("interclacks: a line that is no command was ignored: {}", start_of(line));
            }
            self.mirror(id, line, out);
            return Flow::Next;
        };
        let mut monitored = true;
        match command {
            Command::Clacks(_) => monitored = false,
            Command::Ping => self.renew_ping(id, now, out),
            Command::KeySync(key_sync) => {
                self.renew_ping(id, now, out);
                self.handle_key_sync(id, key_sync, now, out);
            }
            Command::Listen(_) | Command::Unlisten(_) | Command::NoPing | Command::Nop => {}
            Command::Overhead(Some(overhead)) => {
                monitored = !overhead.flags.intersects(Flags::LOGIN.with(Flags::NOT_MONITORED));
                self.handle_link_overhead(id, is_uplink, overhead, now, out);
            }
            _ => return self.execute_for_link(id, command, line, now, out),
        }
        if monitored {
            self.mirror(id, line, out);
        }
        Flow::Next
    }

    fn handle_link_overhead<O: Output>(
        &mut self,
        id: ConnectionId,
        is_uplink: bool,
        overhead: Overhead<'_>,
        now: Now,
        out: &mut O,
    ) {
        let Overhead { flags, value } = overhead;
        if flags.intersects(Flags::LOGIN_WRONG) {
            log::error!("interclacks: the peer refuses this server's user or password");
            self.close(id, CloseReason::LoginFailed, now, out);
        } else if flags.intersects(Flags::LOGIN) {
            // A peer that logs in again is asked to be the same again.
            if self.users.login(value).is_none_or(|user| !user.is_primary()) {
                out.append(id, |to| encode::overhead(to, Flags::LOGIN_WRONG, b"Login failed!"));
                self.close(id, CloseReason::LoginFailed, now, out);
            }
        } else if flags.intersects(Flags::TIME) {
            self.handle_time(id, is_uplink, value, now);
        } else if flags.intersects(Flags::LOCK) {
            if is_uplink && overhead.is_on() {
                let until_us = now.monotonic_us + self.settings.interclacks_ping_timeout_us;
                self.lock.get_or_insert_with(|| Lock { until_us, waiting: Vec::new() });
            } else if is_uplink {
                self.unlock(out);
                let time = seconds(self.tree_now_us(now));
                out.append(id, |to| encode::overhead(to, Flags::TIME, time.as_bytes()));
                self.start_telling(id, now, out);
            }
        } else if overhead.is_on() {
            self.overhead(id, overhead, now, out);
        }
    }

    /// The peer's clock. The master's is the tree's.
    fn handle_time(&mut self, id: ConnectionId, is_uplink: bool, value: &[u8], now: Now) {
        let Some(theirs_us) = microseconds(value) else {
            log::warn!("interclacks: a clock that is no number was ignored: {}", start_of(value));
            return;
        };
        if is_uplink {
            self.tree.offset_us = now.wall_us as i64 - theirs_us as i64;
        }
        let offset_us = self.tree_now_us(now) as i64 - theirs_us as i64;
        if let Some(link) = self.link_mut(id) {
            link.offset_us = offset_us;
        }
    }

    fn handle_peer_line<O: Output>(&mut self, id: ConnectionId, line: PeerLine<'_>, now: Now, out: &mut O) {
        let now_us = self.tree_now_us(now);
        match line {
            PeerLine::State { name, state, signal } => {
                self.renew_ping(id, now, out);
                if !self.is_plausible(id, state.stamp.time_us, now, out) {
                    return;
                }
                let merged = self.cache.merge(name, &state, now_us);
                self.schedule_cleaning(now);
                self.note_heard(id, name);
                let signal = signal.filter(|signal| self.tree.is_new(*signal, now.monotonic_us));
                let value = if let Register::Value(value) = state.register { value } else { b"" };
                if merged.effect != Effect::None {
                    self.pass_on(Some(id), name, Plain::Effect(&merged.effect), signal.map(|id| (id, value)), now, out);
                } else if let Some(signal) = signal {
                    self.pass_on_signal(Some(id), signal, &[b"SET ", name, b"=", value], now, out);
                }
                if merged.differs {
                    self.answer_state(id, name, state.stamp, now, out);
                }
                if signal.is_some() {
                    self.deliver(None, name, &[b"SET ", name, b"=", value], out);
                }
            }
            PeerLine::Signal { id: signal, line } => {
                if !self.tree.is_new(signal, now.monotonic_us) {
                    return;
                }
                self.pass_on_signal(Some(id), signal, &[line], now, out);
                match decode(line) {
                    Some(Command::Set(Pair { name, .. }) | Command::Notify(name)) => {
                        self.deliver(None, name, &[line], out);
                    }
                    Some(Command::Overhead(Some(overhead))) => self.handle_forwarded_overhead(overhead, now, out),
                    _ => log::warn!("interclacks: a signal of an unknown kind was passed on"),
                }
            }
            PeerLine::Clear(stamp) => {
                if self.is_plausible(id, stamp.time_us, now, out) && self.cache.merge_clear(stamp) {
                    self.sweep();
                    self.pass_on_clear(Some(id), None, now, out);
                }
            }
            PeerLine::Path(path) => self.handle_path(id, path, now, out),
            PeerLine::Synced => {
                if self.link_mut(id).is_some_and(|link| link.role == Role::Uplink) {
                    self.start_telling(id, now, out);
                }
            }
        }
    }

    /// Tells a peer what it doesn't know, though it just sent something older.
    fn answer_state<O: Output>(&mut self, id: ConnectionId, name: &[u8], received: Stamp, now: Now, out: &mut O) {
        let cleared = self.cache.cleared();
        if received < cleared {
            out.append(id, |to| encode_clear(to, cleared));
        }
        if let Some(found) = self.cache.find(name, self.tree_now_us(now)) {
            out.append(id, |to| peer::encode_state(to, name, &found.state(), None));
        }
    }

    /// Refuses a peer whose clock is far ahead: its writes would win over all others for as long.
    fn is_plausible<O: Output>(&mut self, id: ConnectionId, time_us: u64, now: Now, out: &mut O) -> bool {
        let now_us = self.tree_now_us(now);
        if time_us <= now_us + MAX_CLOCK_LEAD_US {
            return true;
        }
        let ahead_s = (time_us - now_us) / SECOND_US;
        log::error!("interclacks: the peer's clock is {ahead_s} s ahead, more than an hour: the link is refused");
        self.close(id, CloseReason::ClockAhead, now, out);
        false
    }

    fn handle_path<O: Output>(&mut self, id: ConnectionId, path: Vec<NodeId>, now: Now, out: &mut O) {
        if self.link_mut(id).is_none_or(|link| link.role != Role::Uplink) {
            // A slave's masters are this node and its masters; what it says is of its time before.
            return;
        }
        if path.contains(&self.tree.node) {
            log::error!(
                "interclacks: the servers form a ring: this server is its own master's master; the link is refused"
            );
            self.close(id, CloseReason::Ring, now, out);
        } else if path.len() >= MAX_PATH {
            log::error!("interclacks: more than {MAX_PATH} servers in a row: the link is refused");
            self.close(id, CloseReason::Ring, now, out);
        } else {
            self.set_path(path, out);
        }
    }

    /// Takes `masters` as the way to the root, and tells the slaves.
    fn set_path<O: Output>(&mut self, masters: Vec<NodeId>, out: &mut O) {
        self.tree.path = masters;
        self.tree.path.push(self.tree.node);
        for id in self.tree.links.clone() {
            let is_told =
                self.link_mut(id).is_some_and(|link| link.role == Role::Downlink && link.peer == Software::Clacksd);
            if is_told {
                let path = &self.tree.path;
                out.append(id, |to| encode_path(to, path));
            }
        }
    }

    /// A state in the reference's language, with the sender's times.
    fn handle_key_sync<O: Output>(&mut self, id: ConnectionId, line: KeySync<'_>, now: Now, out: &mut O) {
        let now_us = self.tree_now_us(now);
        let Some(link) = self.sessions.get(id).and_then(|session| session.link.as_ref()) else { return };
        let (Some(cached_us), Some(accessed_us)) = (microseconds(line.cache_time), microseconds(line.access_time))
        else {
            log::warn!("interclacks: a KEYSYNC whose times are no numbers was ignored");
            return;
        };
        let cached_us = cached_us.saturating_add_signed(link.offset_us);
        let accessed_us = if accessed_us == 0 { cached_us } else { accessed_us.saturating_add_signed(link.offset_us) };
        let (synced_since_us, foreign, is_downlink) = (link.synced_since_us, link.foreign, link.role == Role::Downlink);
        let name = line.entry.name;
        let value = (line.mode != b"D").then_some(line.entry.value);
        if !self.is_plausible(id, cached_us, now, out) {
            return;
        }
        if cached_us < self.cache.cleared().time_us {
            // It was away when the cache was cleared.
            if value.is_some() {
                out.append(id, |to| encode::line(to, &[b"REMOVE ", name]));
            }
            return;
        }
        if let Some(found) = self.cache.find(name, now_us) {
            if found.value() == value {
                self.note_heard(id, name);
                return;
            }
            if cached_us <= found.stamp().time_us {
                return;
            }
            // A Net::Clacks slave sends everything back that it was just told, a little newer. What
            // has changed here since then is newer all the same, and the slave has to hear it.
            let round_trip_us = now_us.saturating_sub(synced_since_us);
            let changed_since = is_downlink && found.stamp().time_us >= synced_since_us;
            if changed_since && cached_us <= found.stamp().time_us + round_trip_us {
                out.append(id, |to| encode_plain(to, found));
                return;
            }
        }
        let state = State {
            stamp: Stamp { time_us: cached_us, node: foreign },
            accessed_us,
            register: value.map_or(Register::Removed, Register::Value),
            contributions: Vec::new(),
        };
        self.note_heard(id, name);
        if self.cache.merge(name, &state, now_us).effect != Effect::None {
            self.schedule_cleaning(now);
            self.pass_on(Some(id), name, Plain::KeySync, None, now, out);
        }
    }

    fn renew_ping<O: Output>(&mut self, id: ConnectionId, now: Now, out: &O) {
        let stopped_us = out.traffic(id).stopped_us;
        if let Some(link) = self.link_mut(id) {
            link.last_ping = LastPing { at_us: now.monotonic_us, stopped_us };
        }
    }

    fn note_heard(&mut self, id: ConnectionId, name: &[u8]) {
        let hash = self.cache.hash(name);
        if let Some(link) = self.link_mut(id)
            && matches!(link.telling, Telling::NotYet)
            && link.heard.find(hash, |heard| *heard == hash).is_none()
        {
            link.heard.insert(hash, hash, |hash| *hash);
        }
    }

    fn link_mut(&mut self, id: ConnectionId) -> Option<&mut Link> {
        self.sessions.get_mut(id)?.link.as_deref_mut()
    }

    // The lock of a Net::Clacks master.

    /// Whether the line has to wait.
    pub(super) fn waits_for_lock(&mut self, id: ConnectionId) -> bool {
        let Some(lock) = &mut self.lock else { return false };
        lock.waiting.push(id);
        true
    }

    pub(super) fn unlock<O: Output>(&mut self, out: &mut O) {
        if let Some(lock) = self.lock.take() {
            for id in lock.waiting {
                out.resume(id);
            }
        }
    }

    pub(super) fn break_old_lock<O: Output>(&mut self, now: Now, out: &mut O) {
        if self.lock.as_ref().is_some_and(|lock| lock.until_us <= now.monotonic_us) {
            log::warn!("interclacks: the master locked this server and then said nothing: unlocked");
            self.unlock(out);
        }
    }

    // Telling a peer what this node holds.

    fn new_walk(&self, peer: Software) -> Walk {
        match peer {
            Software::Clacksd => Walk::unsorted(Meets::All),
            Software::NetClacks => Walk::sorted_if_few(&self.cache, Meets::All),
        }
    }

    /// It is the slave's turn.
    fn start_telling<O: Output>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        let Some(peer) = self.link_mut(id).map(|link| link.peer) else { return };
        let walk = self.new_walk(peer);
        if let Some(link) = self.link_mut(id)
            && matches!(link.telling, Telling::NotYet)
        {
            link.telling = Telling::Now(walk);
            self.tell_at_once(id, now, out);
        }
    }

    /// A short story is told in one go: its sorting and its telling are a slice each.
    fn tell_at_once<O: Output>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        self.tell(id, now, out);
        self.tell(id, now, out);
    }

    /// Goes on telling, one slice.
    pub(super) fn tell<O: Output>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        let now_us = self.tree_now_us(now);
        let Broker { sessions, cache, .. } = self;
        let Some(link) = sessions.get_mut(id).and_then(|session| session.link.as_mut()) else { return };
        let Telling::Now(walk) = &mut link.telling else { return };
        let (heard, peer) = (&link.heard, link.peer);
        let mut slice = Vec::with_capacity(LISTING_SLICE);
        walk.advance(cache, now_us, |found| {
            let before = slice.len();
            let hash = cache.hash(found.name());
            if heard.find(hash, |heard| *heard == hash).is_none() {
                match peer {
                    Software::Clacksd => peer::encode_state(&mut slice, found.name(), &found.state(), None),
                    Software::NetClacks => encode_key_sync(&mut slice, found),
                }
            }
            slice.len() - before
        });
        out.append(id, |to| to.extend_from_slice(&slice));
        if !walk.is_done() {
            out.want_room(id);
            return;
        }
        link.telling = Telling::Done;
        link.heard = Table::default();
        let is_first = !std::mem::replace(&mut link.is_synced, true);
        let (held, role) = (std::mem::take(&mut link.held), link.role);
        out.append(id, |to| {
            match (peer, role) {
                (Software::Clacksd, _) if is_first => encode::line(to, &[b"SYNCED"]),
                (Software::NetClacks, Role::Downlink) if is_first => {
                    encode::overhead(to, Flags::LOCK, b"0");
                    encode::line(to, &[b"PING"]);
                }
                _ => {}
            }
            to.extend_from_slice(&held);
        });
    }

    // Passing on.

    /// Tells all peers but the one it came from that a name has changed. A SETANDSTORE is a signal as
    /// well, with the value it brought.
    pub(super) fn pass_on<O: Output>(
        &mut self,
        from: Option<ConnectionId>,
        name: &[u8],
        plain: Plain<'_>,
        signal: Option<(SignalId, &[u8])>,
        now: Now,
        out: &mut O,
    ) {
        let now_us = self.tree_now_us(now);
        let Broker { sessions, cache, tree, .. } = self;
        for &id in tree.links.iter().filter(|id| Some(**id) != from) {
            let Some(link) = sessions.get_mut(id).and_then(|session| session.link.as_mut()) else { continue };
            let found = cache.find(name, now_us);
            let may_signal = matches!(link.telling, Telling::Done);
            if link.peer == Software::Clacksd {
                if let Some(found) = found {
                    let carried = signal.filter(|_| may_signal).map(|(id, _)| id);
                    out.append(id, |to| peer::encode_state(to, name, &found.state(), carried));
                }
            } else {
                let is_still_to_come = match &mut link.telling {
                    Telling::NotYet => true,
                    Telling::Now(walk) => walk.will_meet(cache, name),
                    Telling::Done => false,
                };
                if !is_still_to_come {
                    out.append(id, |to| match plain {
                        Plain::Line(line) if may_signal || signal.is_none() => encode::line(to, &[line]),
                        Plain::KeySync => found.into_iter().for_each(|found| encode_key_sync(to, found)),
                        Plain::Effect(Effect::Counter(steps)) => {
                            for step in steps {
                                encode::line(to, &[b"INCREMENT ", name, b"=", step.exact().to_string().as_bytes()]);
                            }
                        }
                        Plain::Effect(_) if may_signal && let Some((_, value)) = signal => {
                            encode::line(to, &[b"SETANDSTORE ", name, b"=", value]);
                        }
                        _ => found.into_iter().for_each(|found| encode_plain(to, found)),
                    });
                }
            }
            if !may_signal && let Some((signal, value)) = signal {
                hold(link, signal, &[b"SET ", name, b"=", value]);
            }
        }
        self.close_links_that_hold_too_much(now, out);
    }

    /// Sends a signal to all peers but the one it came from.
    pub(super) fn pass_on_signal<O: Output>(
        &mut self,
        from: Option<ConnectionId>,
        signal: SignalId,
        line: &[&[u8]],
        now: Now,
        out: &mut O,
    ) {
        let Broker { sessions, tree, .. } = self;
        for &id in tree.links.iter().filter(|id| Some(**id) != from) {
            let Some(link) = sessions.get_mut(id).and_then(|session| session.link.as_mut()) else { continue };
            if !matches!(link.telling, Telling::Done) {
                hold(link, signal, line);
            } else if link.peer == Software::Clacksd {
                out.append(id, |to| peer::encode_signal(to, signal, line));
            } else {
                out.append(id, |to| encode::line(to, line));
            }
        }
        self.close_links_that_hold_too_much(now, out);
    }

    /// Signals that wait are output that waits: the same limit applies.
    fn close_links_that_hold_too_much<O: Output>(&mut self, now: Now, out: &mut O) {
        let max = self.settings.max_held;
        let holds_too_much = |id: &&ConnectionId| {
            let link = self.sessions.get(**id).and_then(|session| session.link.as_ref());
            link.is_some_and(|link| link.held.len() > max)
        };
        if let Some(&id) = self.tree.links.iter().find(holds_too_much) {
            self.close(id, CloseReason::OutputLimit, now, out);
        }
    }

    /// A signal of a client here, or of a Net::Clacks peer: it gets its number.
    pub(super) fn pass_on_new_signal<O: Output>(&mut self, from: ConnectionId, line: &[&[u8]], now: Now, out: &mut O) {
        if !self.tree.links.is_empty() {
            let signal = self.tree.new_signal();
            self.pass_on_signal(Some(from), signal, line, now, out);
        }
    }

    /// A write of a client here, or of a Net::Clacks peer.
    pub(super) fn pass_on_line<O: Output>(
        &mut self,
        from: ConnectionId,
        name: &[u8],
        line: &[u8],
        signal_value: Option<&[u8]>,
        now: Now,
        out: &mut O,
    ) {
        if self.tree.links.is_empty() {
            return;
        }
        let signal = signal_value.map(|value| (self.tree.new_signal(), value));
        self.pass_on(Some(from), name, Plain::Line(line), signal, now, out);
    }

    /// Tells all peers but the one it came from that the cache was cleared; `line` is how a client
    /// here said it.
    pub(super) fn pass_on_clear<O: Output>(
        &mut self,
        from: Option<ConnectionId>,
        line: Option<&[u8]>,
        now: Now,
        out: &mut O,
    ) {
        let cleared = self.cache.cleared();
        for id in self.tree.links.clone() {
            let Some(peer) = self.link_mut(id).filter(|_| Some(id) != from).map(|link| link.peer) else { continue };
            match peer {
                Software::Clacksd => out.append(id, |to| encode_clear(to, cleared)),
                Software::NetClacks => {
                    out.append(id, |to| encode::line(to, &[line.unwrap_or(b"CLEARCACHE")]));
                    if line.is_none() {
                        // What is newer than a clear from elsewhere stays; there it was lost.
                        let walk = self.new_walk(peer);
                        if let Some(link) = self.link_mut(id)
                            && matches!(link.telling, Telling::Done)
                        {
                            link.telling = Telling::Now(walk);
                            self.tell_at_once(id, now, out);
                        }
                    }
                }
            }
        }
    }
}

fn software(client_info: &[u8]) -> Software {
    if peer::is_spoken_by(client_info) { Software::Clacksd } else { Software::NetClacks }
}

/// Keeps a signal for when everything is told.
fn hold(link: &mut Link, signal: SignalId, line: &[&[u8]]) {
    match link.peer {
        Software::Clacksd => peer::encode_signal(&mut link.held, signal, line),
        Software::NetClacks => encode::line(&mut link.held, line),
    }
}

fn encode_path(to: &mut Vec<u8>, path: &[NodeId]) {
    let nodes: Vec<String> = path.iter().map(NodeId::to_string).collect();
    encode::text(to, format_args!("PATH {}", nodes.join(" ")));
}

/// Nothing, if there never was a clear.
fn encode_clear(to: &mut Vec<u8>, cleared: Stamp) {
    if cleared != Stamp::default() {
        encode::text(to, format_args!("CLEAR {cleared}"));
    }
}

fn encode_key_sync(to: &mut Vec<u8>, found: Found<'_>) {
    let (cached, accessed) = (seconds(found.stamp().time_us), seconds(found.accessed_us()));
    match found.value() {
        Some(value) => encode::line(
            to,
            &[b"KEYSYNC ", cached.as_bytes(), b" ", accessed.as_bytes(), b" U ", found.name(), b"=", value],
        ),
        None => encode::line(to, &[b"KEYSYNC ", cached.as_bytes(), b" 0 D ", found.name(), b"=REMOVED"]),
    }
}

/// As a line that makes the receiver hold the same.
fn encode_plain(to: &mut Vec<u8>, found: Found<'_>) {
    match found.value() {
        Some(value) => encode::line(to, &[b"STORE ", found.name(), b"=", value]),
        None => encode::line(to, &[b"REMOVE ", found.name()]),
    }
}

/// Unix seconds with decimals.
fn seconds(time_us: u64) -> String {
    format!("{}.{:06}", time_us / SECOND_US, time_us % SECOND_US)
}

/// The reverse, of whatever number; `None` if it is none, or not finite. What is negative is 0.
fn microseconds(text: &[u8]) -> Option<u64> {
    let seconds: f64 = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    seconds.is_finite().then(|| (seconds * SECOND_US as f64) as u64)
}

/// Of a line, for the log.
fn start_of(line: &[u8]) -> String {
    line[..line.len().min(80)].escape_ascii().to_string()
}
