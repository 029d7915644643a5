//! How the processes of nodes end and start again, with a journal and without.

use super::net_clacks::NetClacks;
use super::perl::Perl;
use super::server::Server;
use super::world::{EPOCH_US, End, MILLISECOND_US, SECOND_US, World};
use crate::support;
use crate::support::{Machine, SimulatedDisk, SimulatedJournal};
use clacks::broker::{Broker, MemcachedSettings, NatsSettings, Now, Settings, Users};
use clacks::limits::{AUTH_TIMEOUT_S, MAX_BUFFERS};
use clacks::protocol::Language;
use clacks::reactor::{self, OutputLimits};
use clacks::storage::SyncPolicy;

/// The longest that a node's disk takes to begin with what is to be written: as a rule, and when it is slow.
const DISKS_US: [u64; 4] = [
    30 * MILLISECOND_US,
    30 * MILLISECOND_US,
    30 * MILLISECOND_US,
    3 * SECOND_US,
];

/// The settings of a node's loop.
const LOOP_SETTINGS: reactor::Settings = reactor::Settings {
    max_clients: 16,
    max_connections: 64,
    auth_timeout_us: AUTH_TIMEOUT_S as u64 * SECOND_US,
    output: OutputLimits {
        // More than is on its way where it is clogged.
        max_output: 1 << 44,
        max_buffers: MAX_BUFFERS,
    },
};

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The process is asked to end, and saves everything first.
    Orderly,
    /// The process is killed: the next one finds all that was written to the journal's file.
    Kill,
    /// The power is cut: bytes that the disk has not synced may be lost.
    PowerCut,
}

impl World {
    /// A process for a node, with what is on the disk, if it has one.
    pub(super) fn new_server(
        &mut self,
        at: usize,
        master: Option<usize>,
        disk: Option<&SimulatedDisk>,
    ) -> Server {
        let now = Now {
            monotonic_us: self.now_us,
            wall_us: EPOCH_US + self.now_us,
        };
        if self.net_clacks == Some(at) {
            let perl = Perl::new(self.reconnect_us);
            return Server::NetClacks(Box::new(NetClacks::new(perl, now)));
        }
        // If nodes move, each can be given a master later; without one its dials fail.
        let has_master = self.moves || master.is_some();
        let settings = Settings {
            max_clients: LOOP_SETTINGS.max_clients,
            ping_timeout_us: u64::MAX >> 20,
            interclacks_reconnect_us: self.reconnect_us,
            masters: has_master
                .then(|| "the master".to_owned())
                .into_iter()
                .collect(),
            ageing: self.ageing,
            clean_interval_us: self.clean_interval_us,
            cache_max: self.rooms.get(at).copied().flatten(),
            journal: disk.is_some(),
            memcached: MemcachedSettings {
                user: Some("admin".to_owned()),
                ..MemcachedSettings::default()
            },
            nats: NatsSettings {
                user: Some("admin".to_owned()),
                ..NatsSettings::default()
            },
            ..Settings::default()
        };
        let seed = [0; 4].map(|_: u64| self.random.next());
        let users = Users::new("admin", b"secret");
        let mut broker = Broker::new(settings, users, seed);
        let journal = disk.map(|disk| {
            let started = SimulatedJournal::start(disk, SyncPolicy::Always, &mut broker);
            let (journal, _) = started.expect("the disk is right");
            journal
        });
        Server::Clacksd(Box::new(Machine::new(LOOP_SETTINGS, broker, journal, now)))
    }

    /// Ends a node's process.
    pub fn end_process(&mut self, at: usize, how: Ending) {
        // It does not dial again because its links end.
        self.nodes[at].is_down = true;
        self.nodes[at].ends.clear();
        self.cut_all(at);
        let now = self.time_of(at);
        let written = self.random.below(3) as usize;
        let node = &mut self.nodes[at];
        if let Server::Clacksd(machine) = &mut node.server {
            let core = &mut machine.core;
            if how != Ending::Orderly
                && let Some(journal) = &mut core.out.journal
            {
                drop(journal.write(written, self.now_us));
                journal.lose_waiting();
            }
            if core.out.journal.is_some() && (how == Ending::Orderly || self.keeps_shares) {
                core.broker.record_end(now, &mut core.out);
                let recorded = core.broker.recorded();
                if let Some(journal) = &mut core.out.journal {
                    journal.finish(recorded, self.now_us);
                }
            }
            core.out.journal = None;
        }
        node.write_at_us = None;
        node.clients.clear();
        if let Some(disk) = node.disk.as_mut().filter(|_| how == Ending::PowerCut) {
            let mut random = support::Random::new(self.random.next());
            *disk = disk.cut_power(&mut random);
        }
    }

    /// Starts a node's process, with what its journal has in its cache, and connects clients of these languages.
    pub fn start_process(&mut self, at: usize, clients: &[Language]) {
        let (master, disk) = (self.nodes[at].master, self.nodes[at].disk.clone());
        let server = self.new_server(at, master, disk.as_ref());
        let node = &mut self.nodes[at];
        node.server = server;
        node.is_down = false;
        node.run += 1;
        node.started_us = self.now_us;
        for language in clients {
            self.add_client(at, *language);
        }
    }

    /// A node's process ends and starts anew.
    pub fn restart(&mut self, at: usize) {
        let clients = self.nodes[at].clients.iter();
        let clients: Vec<Language> = clients.map(|client| client.language).collect();
        self.end_process(at, Ending::Kill);
        self.start_process(at, &clients);
    }

    /// Schedules the next write of the journal, which comes soon after records were handed over.
    pub(super) fn hand_over(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if let Server::Clacksd(machine) = &node.server
            && let Some(journal) = &machine.core.out.journal
            && journal.waiting() > 0
            && node.write_at_us.is_none()
        {
            let most_us = self.random.pick(&DISKS_US);
            node.write_at_us = Some(self.now_us + self.random.below(most_us));
        }
    }

    /// A node's disk gets to what waits for it.
    pub(super) fn write_journal(&mut self, at: usize) {
        self.serve(at, |node| {
            node.write_at_us = None;
            if let Server::Clacksd(machine) = &mut node.server {
                machine.write_journal(usize::MAX);
            }
        });
    }

    /// The lines that a node tells a new slave, which leaves after that.
    pub fn told_to_slave(&mut self, at: usize) -> Vec<String> {
        let slave = self.add_client(at, Language::Clacks);
        self.say(at, slave, "CLACKS clacksd/9.9 interclacks/2");
        self.say(at, slave, "OVERHEAD I 1");
        let is_over = |lines: &[String]| lines.iter().any(|line| line == "SYNCED");
        while !is_over(self.nodes[at].clients[slave].lines.make_contiguous()) {
            self.run_until(self.now_us + 5 * MILLISECOND_US, &mut |_, _| {});
        }
        let ends = &self.nodes[at].ends;
        let found = ends.iter().find(|(_, end)| **end == End::Client(slave));
        let id = *found.expect("it is connected").0;
        self.leave(at, id);
        let left = self.nodes[at].clients.pop();
        left.expect("the slave was the last").lines.into()
    }
}
