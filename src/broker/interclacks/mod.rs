//! Interclacks: what passes between this node and its master and slaves (clacks-interclacks(7)).
//!
//! Two languages are spoken. Between clacksd servers whole states of names travel
//! ([`protocol::peer`](crate::protocol::peer)), which merge to the same result everywhere; to a
//! Net::Clacks server, which may be master or slave as well, only the reference's lines go.
//!
//! Order is what users rely on: no signal may overtake a write that its sender made before it. Lines
//! of a link arrive in order, and a write goes out at once. But while a link is still being told what
//! this node held before, a signal could overtake that; so signals wait until all of it is sent.

mod check;
mod counting;
mod early_steps;
mod encode;
mod lines;
mod lock;
mod passing;
mod plausible;
mod signals;
mod telling;
mod tree_clock;
mod uplink;
mod waiting;

use super::cache::{Effect, Found};
use super::output::{ConnectionId, Now};
use super::session::LastPing;
use super::table::Table;
use super::walk::{KeptName, Walk};
use crate::limits::MAX_FORWARDED_LINE;
use crate::protocol::peer::{self, NodeId, SignalId};
use crate::protocol::shared::SharedBytes;
use crate::protocol::{Command, Flags, Overhead};
use signals::Signals;
use std::collections::{BTreeMap, BTreeSet};
use tree_clock::TreeClock;
use waiting::Waiting;

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
    /// What the walk of the telling was last said to take, in bytes.
    walk_held: usize,
    /// Names that changed while much was waiting for the link, and are told when there is room.
    behind: BTreeSet<KeptName>,
    /// States of such names whose entries had to go meanwhile: they can't be looked up any more.
    evicted: Waiting,
    /// Whether the peer knows that it has been told everything once.
    is_synced: bool,
    /// Encoded signals that wait until all is told.
    held: Waiting,
    /// Whether the peer, Net::Clacks, is telling what it held when the link came up.
    peer_is_telling: bool,
    /// Counters that the peer, a Net::Clacks slave, has counted before it told what it holds, and when the last of
    /// these steps was counted here.
    early_counters: BTreeMap<KeptName, u64>,
    /// Names that the master has just told: it need not hear them from here. Hashes.
    heard: Table<u64>,
    /// The peer's clock minus this node's monotonic one, once it has told its time.
    anchor_us: Option<i64>,
    /// When the link was made, by this node's clock (monotonic) and by the tree's.
    began_us: u64,
    began_tree_us: u64,
    /// How long the peer then took to tell its time: so much newer may be what a Net::Clacks slave sends back of
    /// what it was told.
    round_trip_us: u64,
}

/// What a name that was heard takes, about, in bytes.
const HEARD_NAME: isize = 16;
/// What a name that is to be told takes beside its text.
const NAME_BEHIND: isize = 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Uplink,
    Downlink,
}

impl Role {
    /// The peer's word in the log.
    fn word(self) -> &'static str {
        match self {
            Role::Uplink => "master",
            Role::Downlink => "slave",
        }
    }
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
    /// The number of the master that is dialled, or will be.
    master: usize,
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

/// A Net::Clacks master tells what it has: clients' lines wait. One that then says nothing is closed
/// by its ping timeout, and the lock ends with the link.
#[derive(Default)]
pub struct Lock {
    /// Connections that wait.
    waiting: BTreeSet<ConnectionId>,
}

/// The tree, as this node knows it.
pub struct Tree {
    pub node: NodeId,
    /// The masters of this node, from the root, and itself.
    path: Vec<NodeId>,
    /// All links that are up.
    pub links: Vec<ConnectionId>,
    /// Names that links which have ended were behind with; their memory is given back in slices.
    left_behind: Vec<BTreeSet<KeptName>>,
    clock: TreeClock,
    signals: Signals,
    /// A link has much waiting at this end: signals, or states of evicted entries.
    pub has_backlog: bool,
}

impl Tree {
    pub fn new(node: NodeId) -> Tree {
        Tree {
            node,
            path: vec![node],
            links: Vec::new(),
            left_behind: Vec::new(),
            clock: TreeClock::default(),
            signals: Signals::new(node),
            has_backlog: false,
        }
    }

    /// The masters of this node, from the root.
    fn masters(&self) -> &[NodeId] {
        self.path.split_last().map_or(&[], |(_, masters)| masters)
    }

    /// The tree's time.
    pub fn now_us(&self, now: Now) -> u64 {
        self.clock.now_us(now)
    }

    /// Whether a master has told the tree's time.
    pub fn has_learnt_time(&self) -> bool {
        self.clock.has_learnt()
    }
}

impl Default for Uplink {
    /// Dials at once.
    fn default() -> Uplink {
        Uplink {
            master: 0,
            state: UplinkState::Waiting(0),
            last_dial_us: 0,
        }
    }
}

impl Link {
    /// How many bytes more the walk keeps than when this was asked last.
    fn walk_growth(&mut self) -> isize {
        let now = match &self.telling {
            Telling::Now(walk) => walk.memory(),
            Telling::NotYet | Telling::Done => 0,
        };
        let before = std::mem::replace(&mut self.walk_held, now);
        now as isize - before as isize
    }

    /// It no longer matters what the master has told: what there is of it is to be told as well, or has been. How
    /// many bytes more are held.
    fn forget_heard(&mut self) -> isize {
        let heard = std::mem::take(&mut self.heard);
        -(heard.len() as isize * HEARD_NAME)
    }

    /// The entry has to go. If the peer was still to be told of it, its state is kept, and so many bytes more are
    /// held.
    pub fn keep_evicted(&mut self, entry: Found<'_>) -> Option<isize> {
        let name = entry.name();
        if !self.behind.remove(name) {
            return None;
        }
        let state = entry.state();
        let more = self
            .evicted
            .append(|to| peer::append_state(to, name, &state, None, entry.long_text()));
        Some(more - (name.len() as isize + NAME_BEHIND))
    }

    pub fn is_clacksd(&self) -> bool {
        self.peer == Software::Clacksd
    }

    /// Bytes that wait at this end to be sent, beside names whose states can be looked up.
    pub fn backlog(&self) -> usize {
        self.held.len() + self.evicted.len()
    }

    /// Whether changes wait to be told.
    fn is_behind(&self) -> bool {
        !self.behind.is_empty() || !self.evicted.is_empty()
    }

    /// Whether everything was told that the cache has held.
    fn has_told_all(&self) -> bool {
        matches!(self.telling, Telling::Done) && !self.is_behind()
    }

    /// Whether a signal may go at once: it overtakes nothing, no other signal either.
    fn is_up_to_date(&self) -> bool {
        self.has_told_all() && self.held.is_empty()
    }
}

/// How a change is told to Net::Clacks peers.
#[derive(Clone, Copy)]
pub enum Wording<'a> {
    /// As the line came.
    Line(&'a [u8]),
    /// From what the change did.
    Effect(&'a Effect),
    /// With its times: it came so from another such peer.
    KeySync,
}

/// OVERHEAD flags whose lines are never passed on: they mean something between two ends only, and
/// every Perl client would end its connection for an F.
pub(super) const NEVER_FORWARDED: Flags = Flags::LOGIN
    .with(Flags::TIME)
    .with(Flags::INTERCLACKS)
    .with(Flags::LOCK)
    .with(Flags::LOGIN_WRONG)
    .with(Flags::LOGIN_RIGHT);

/// Whether the line asks to be forwarded to everybody, and is longer than such a line may be.
pub(super) fn is_too_long_to_forward(overhead: &Overhead<'_>, line: &[u8]) -> bool {
    let is_forwarded = overhead.is_on()
        && overhead.flags.intersects(Flags::FORWARD)
        && !overhead
            .flags
            .intersects(NEVER_FORWARDED.with(Flags::DISCARD));
    is_forwarded && line.len() > MAX_FORWARDED_LINE
}

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Everybody, after the writes before it.
    All,
    /// Everybody, at once, before signals that wait: it is to end the links.
    AtOnce,
    /// clacksd servers: of a kind that this version doesn't know.
    Clacksd,
}

impl Reach {
    /// Of an OVERHEAD line that is forwarded.
    pub fn of_overhead(flags: Flags) -> Reach {
        if flags.intersects(NEVER_FORWARDED) || !flags.intersects(Flags::FORWARD) {
            Reach::Clacksd
        } else if flags.intersects(Flags::CLOSE_ALL.with(Flags::SHUTDOWN)) {
            Reach::AtOnce
        } else {
            Reach::All
        }
    }

    fn of(command: Option<&Command<'_>>) -> Reach {
        match command {
            Some(Command::Set(_) | Command::Notify(_)) => Reach::All,
            Some(Command::Overhead(Some(overhead))) => Reach::of_overhead(overhead.flags),
            _ => Reach::Clacksd,
        }
    }
}

/// The version that a clacksd server announces is too old to be spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OldVersion(u32);

/// The language of the peer that identifies itself so.
fn software(client_info: &[u8]) -> Result<Software, OldVersion> {
    match peer::announced_version(client_info) {
        None => Ok(Software::NetClacks),
        Some(version) if version < peer::VERSION => Err(OldVersion(version)),
        Some(_) => Ok(Software::Clacksd),
    }
}

/// Keeps a signal for when everything is told; how many bytes that takes. `source` is the long line that it comes from, if
/// it comes from one.
fn hold(link: &mut Link, signal: SignalId, parts: &[&[u8]], source: Option<&SharedBytes>) -> isize {
    let peer = link.peer;
    link.held.append(|to| match peer {
        Software::Clacksd => peer::append_signal(to, signal, parts, source),
        Software::NetClacks => to.append(parts, source),
    })
}
