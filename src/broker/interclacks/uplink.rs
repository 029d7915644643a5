//! Coming up and going down: dialling the master, logging in at each other, the end of a link.

use super::UplinkState;
use super::encode::{encode_clear, encode_marker, encode_path, seconds};
use super::link::{Link, OldVersion, Role, Software, SyncState, software};
use super::queue::LineQueue;
use crate::broker::carrier::Carrier;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Now};
use crate::broker::session::LastPing;
use crate::broker::table::Table;
use crate::broker::{Broker, Lifetime, User};
use crate::protocol::{ClacksLine, Command, Flags, Overhead, encode, peer};
use log::Level;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

impl Broker {
    /// Time for the uplink: dials when it is due, gives up what takes too long.
    pub(in crate::broker) fn run_uplink<O: Carrier>(&mut self, now: Now, out: &mut O) {
        let Some(uplink) = &mut self.uplink else {
            return;
        };
        match uplink.state {
            UplinkState::Waiting(at_us)
                if at_us <= now.monotonic_us && self.lifetime != Lifetime::Over =>
            {
                uplink.last_dial_us = now.monotonic_us;
                uplink.state =
                    UplinkState::Dialing(now.monotonic_us + self.settings.auth_timeout_us);
                out.dial(uplink.master);
            }
            UplinkState::Dialing(until_us) if until_us <= now.monotonic_us => {
                out.cancel_dial();
                self.handle_dial_failed("it took too long", now);
            }
            _ => {}
        }
    }

    /// In a word, for the status.
    pub(in crate::broker) fn uplink_state(&self) -> &'static str {
        match self.uplink.as_ref().map(|uplink| uplink.state) {
            None => "none",
            Some(UplinkState::Waiting(_)) => "waiting",
            Some(UplinkState::Dialing(_)) => "dialing",
            Some(UplinkState::Connected(id)) => match self.tree.links.get(id) {
                Some(link) if link.is_up => "up",
                _ => "logging_in",
            },
        }
    }

    /// The next moment for [`Broker::run_uplink`].
    pub(in crate::broker) fn uplink_deadline(&self) -> Option<u64> {
        match self.uplink.as_ref()?.state {
            UplinkState::Waiting(at_us) | UplinkState::Dialing(at_us)
                if self.lifetime != Lifetime::Over =>
            {
                Some(at_us)
            }
            _ => None,
        }
    }

    /// Dialling a master came to nothing.
    pub fn handle_dial_failed(&mut self, why: &str, now: Now) {
        if let Some(uplink) = &self.uplink {
            let master = &self.settings.masters[uplink.master];
            log::warn!("no connection to the master {master}: {why}");
        }
        self.schedule_dial(now);
    }

    /// The master was reached: this node logs in and asks for interclacks mode.
    pub(in crate::broker) fn start_uplink<O: Carrier>(
        &mut self,
        id: ConnectionId,
        now: Now,
        out: &mut O,
    ) {
        let Some(uplink) = &mut self.uplink else {
            return;
        };
        let deadline_us = match uplink.state {
            UplinkState::Dialing(until_us) => until_us,
            _ => now.monotonic_us + self.settings.auth_timeout_us,
        };
        uplink.state = UplinkState::Connected(id);
        let link = self.new_link(Role::Uplink, Software::NetClacks, deadline_us, now);
        if let Some(session) = self.sessions.get_mut(id) {
            session.is_link = true;
            self.tree.links.insert(id, link);
            self.note_linked();
        }
        out.set_link(id);
        let (software, token) = (&self.settings.software, self.users.primary_token());
        out.append(id, |to| {
            encode::line(to, &[b"CLACKS ", software.as_bytes()]);
            encode::overhead(to, Flags::LOGIN, token.as_bytes());
            encode::overhead(to, Flags::INTERCLACKS, b"1");
        });
    }

    pub(super) fn new_link(
        &mut self,
        role: Role,
        peer: Software,
        deadline_us: u64,
        now: Now,
    ) -> Link {
        Link {
            role,
            peer,
            is_up: false,
            deadline_us,
            last_ping: LastPing::new(now.monotonic_us, 0),
            ping_sent_us: now.monotonic_us,
            unanswered_ping_us: None,
            sync: SyncState::Pending,
            began_empty: false,
            walk_memory: 0,
            dirty: BTreeSet::new(),
            synced_us: None,
            began_tree_us: self.tree.now_us(now),
            evicted: LineQueue::default(),
            queued_signals: LineQueue::default(),
            peer_is_syncing: true,
            early_counters: BTreeMap::new(),
            known_to_peer: Table::default(),
            anchor_us: None,
            peer_knows_time: false,
            node: None,
            began_us: now.monotonic_us,
            round_trip_us: 0,
        }
    }

    /// OVERHEAD I: a client becomes a slave, and is synchronised.
    pub(in crate::broker) fn start_downlink<O: Carrier>(
        &mut self,
        id: ConnectionId,
        now: Now,
        out: &mut O,
    ) {
        let Some(session) = self.sessions.get(id).filter(|session| !session.is_link) else {
            return;
        };
        let peer = match software(session.client_info()) {
            Ok(peer) => peer,
            Err(version) => {
                out.append(id, |to| encode::error(to, CloseReason::PeerVersion.word()));
                self.refuse_version(id, Role::Downlink, version, now, out);
                return;
            }
        };
        out.set_link(id);
        self.monitors.remove(id, &mut self.sessions);
        let stopped_us = out.traffic(id).stopped_us;
        let mut link = self.new_link(Role::Downlink, peer, 0, now);
        link.is_up = true;
        link.last_ping.stopped_us = stopped_us;
        let now_us = self.tree.now_us(now);
        let knows_time = self.tree.knows_time();
        let (software, token) = (&self.settings.software, self.users.primary_token());
        out.append(id, |to| {
            encode::greeting(to, software);
            encode::overhead(to, Flags::LOGIN, token.as_bytes());
            if peer == Software::NetClacks {
                encode::overhead(to, Flags::LOCK, b"1");
            }
            if peer == Software::Clacksd {
                // First of all: nothing of a ring is to be obeyed.
                encode_path(to, &self.tree.path, knows_time);
            }
            encode::overhead(to, Flags::TIME, seconds(now_us).as_bytes());
            if peer == Software::Clacksd {
                encode_clear(to, self.cache.cleared());
                encode_marker(to, self.cache.folded());
            }
        });
        let walk = peer.new_walk(&self.cache);
        if let Some(session) = self.sessions.get_mut(id) {
            link.sync = SyncState::Running(walk);
            session.is_link = true;
            self.tree.links.insert(id, link);
            self.note_linked();
        }
        if peer == Software::Clacksd {
            self.subjects.pairs().add_link(id);
            self.tell_groups(id, now, out);
        }
        let name = self.name_of_peer(id, Role::Downlink);
        self.tree.log(
            Level::Info,
            format_args!("{name} is a slave ({peer:?})"),
            now,
        );
        self.sync_at_once(id, now, out);
        self.appoint(id, now, out);
    }

    /// A line of the master before it has logged in: only its login has an effect.
    pub(in crate::broker) fn handle_master_greeting<O: Carrier>(
        &mut self,
        id: ConnectionId,
        line: &ClacksLine<'_>,
        now: Now,
        out: &mut O,
    ) {
        match line.command {
            Some(Command::Clacks(text)) => {
                self.sessions.identify(id, text);
            }
            Some(Command::Overhead(Some(Overhead { flags, .. })))
                if flags.intersects(Flags::LOGIN_WRONG) && !flags.intersects(Flags::FORWARD) =>
            {
                self.tree.log(
                    Level::Error,
                    format_args!("the master refuses this server's user or password"),
                    now,
                );
                self.close(id, CloseReason::LoginFailed, now, out);
            }
            Some(Command::Overhead(Some(Overhead { flags, value })))
                if flags.intersects(Flags::LOGIN) =>
            {
                match self
                    .users
                    .login(value)
                    .filter(|user| user.is_primary())
                    .cloned()
                {
                    Some(user) => self.master_is_up(id, user, now, out),
                    None => {
                        self.tree.log(
                            Level::Error,
                            format_args!("the master's login is wrong; it is not obeyed"),
                            now,
                        );
                        self.refuse(id, CloseReason::LoginFailed, now, out);
                    }
                }
            }
            Some(Command::Quit) => self.close(id, CloseReason::Quit, now, out),
            _ => {}
        }
    }

    /// Ends the connection of a clacksd server that is too old, and says which of the two to upgrade.
    fn refuse_version<O: Carrier>(
        &mut self,
        id: ConnectionId,
        role: Role,
        OldVersion(version): OldVersion,
        now: Now,
        out: &mut O,
    ) {
        let (role_word, name) = (role.word(), self.name_of_peer(id, role));
        self.tree.log(
            Level::Error,
            format_args!(
                "the {role_word} {name} announces interclacks/{version}, and this server speaks interclacks/{}: \
                 upgrade clacksd at the {role_word}; the link is refused",
                peer::VERSION
            ),
            now,
        );
        self.close(id, CloseReason::PeerVersion, now, out);
    }

    fn master_is_up<O: Carrier>(
        &mut self,
        id: ConnectionId,
        user: Rc<User>,
        now: Now,
        out: &mut O,
    ) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let peer = match software(session.client_info()) {
            Ok(peer) => peer,
            Err(version) => {
                self.refuse_version(id, Role::Uplink, version, now, out);
                return;
            }
        };
        self.sessions.set_user(id, user);
        let Some(link) = self.tree.links.get_mut(id) else {
            return;
        };
        link.is_up = true;
        link.peer = peer;
        link.last_ping = LastPing::new(now.monotonic_us, link.last_ping.stopped_us);
        link.began_empty = peer == Software::Clacksd && self.cache.is_empty();
        let (cleared, folded) = (self.cache.cleared(), self.cache.folded());
        let own = [self.tree.node];
        out.append(id, |to| {
            encode::overhead(to, Flags::LOGIN_RIGHT, b"Welcome!");
            if peer == Software::Clacksd {
                encode_path(to, &own, true);
                encode_clear(to, cleared);
                encode_marker(to, folded);
            }
        });
        if peer == Software::Clacksd {
            self.subjects.pairs().add_link(id);
            self.tell_groups(id, now, out);
        }
        let name = self.name_of_peer(id, Role::Uplink);
        self.tree.log(
            Level::Info,
            format_args!("{name} is the master ({peer:?})"),
            now,
        );
        self.appoint(id, now, out);
    }
}
