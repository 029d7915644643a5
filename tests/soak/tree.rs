//! A master with a journal-keeping slave, which is the master of another one; proxies between them.

use super::figures::{Figures, NodeFigures};
use super::ledger::{Ledger, counter_name};
use crate::support::{Client, Identity, Proxy, Server, Setup, Trouble, Way, text, wait_until};
use std::path::PathBuf;

/// The flags with which all three servers are started.
const FLAGS: [&str; 16] = [
    "--max-line",
    "256K",
    "--max-output",
    "4M",
    "--max-buffers",
    "128M",
    "--auth-timeout",
    "4",
    "--stalled-write-timeout",
    "6",
    "--interclacks-reconnect",
    "0.3",
    "--interclacks-ping-timeout",
    "3",
    "--interclacks-stalled-write-timeout",
    "4",
];
/// Longest line that they take.
pub const MAX_LINE: usize = 256 * 1024;

pub const ROOT: usize = 0;
/// The one that keeps a journal, and so may be killed.
pub const MIDDLE: usize = 1;
pub const LEAF: usize = 2;

/// How clients get in.
#[derive(Clone)]
pub struct Entrance {
    pub unix: PathBuf,
    /// The ports of one that is killed change.
    pub tcp: Option<u16>,
    pub tls: Option<u16>,
}

pub struct Tree {
    servers: Vec<Server>,
    /// The slaves' ways to their masters.
    pub proxies: Vec<Proxy>,
    /// Log lines at error level of processes that were killed.
    errors: Vec<String>,
}

impl Tree {
    pub fn start() -> Tree {
        let identity = Identity::self_signed(&["localhost"]);
        let new = || Setup::new().with_server_of_environment().flags(&FLAGS);
        let root = new().with_tls(&identity).start();
        let over_tls = Proxy::to(Way::Tcp(root.tls_port()));
        let middle = new();
        middle.write_secret("master.pem", &identity.certificates);
        let (journal, authority) = (middle.path("journal"), middle.path("master.pem"));
        let middle = middle
            .flags(&[
                "--persist",
                &text(&journal),
                "--master-ca",
                &text(&authority),
            ])
            .flags(&["--master", &format!("tls://localhost:{}", over_tls.port)])
            .start();
        let over_unix = Proxy::to(Way::Unix(middle.socket.clone()));
        let leaf = new().flags(&["--master", &over_unix.address()]).start();
        Tree {
            servers: vec![root, middle, leaf],
            proxies: vec![over_tls, over_unix],
            errors: Vec::new(),
        }
    }

    pub fn entrances(&self) -> Vec<Entrance> {
        let entrance = |(number, server): (usize, &Server)| Entrance {
            unix: server.socket.clone(),
            tcp: (number != MIDDLE).then_some(server.port),
            tls: (number == ROOT).then(|| server.tls_port()),
        };
        self.servers.iter().enumerate().map(entrance).collect()
    }

    pub fn signal(&self, node: usize, signal: i32) {
        self.servers[node].process.signal(signal);
    }

    pub fn kill_middle(&mut self) {
        self.note_errors(MIDDLE);
        let killed = self.servers.remove(MIDDLE);
        self.servers.insert(MIDDLE, killed.kill_and_restart());
    }

    fn errors_of(server: &Server) -> Vec<String> {
        let log = server.process.log();
        let is_error = |line: &String| line.contains(" ERROR ") || line.contains("panic");
        log.into_iter().filter(is_error).collect()
    }

    fn note_errors(&mut self, node: usize) {
        let errors = Tree::errors_of(&self.servers[node]);
        self.errors.extend(errors);
    }

    /// None of the faults explains one.
    pub fn assert_no_errors_logged(&self) {
        let mut errors = self.errors.clone();
        errors.extend(self.servers.iter().flat_map(Tree::errors_of));
        assert!(errors.is_empty(), "{errors:?}");
    }

    /// Ends all trouble on the ways between the servers, and waits until all links are up that were cut for
    /// that. `time` says how often this was done.
    pub fn heal(&self, time: u32) {
        for proxy in &self.proxies {
            proxy.set(Trouble::default());
            proxy.cut();
        }
        // A server may not have noticed yet, and take its old link for one that is up; but over that nothing
        // comes any more.
        let mut managers: Vec<Client> = self.clients("admin").collect();
        managers[LEAF].ask(&format!("STORE healed={time}"));
        for manager in &mut managers {
            wait_until("the new links carry something", || {
                manager.ask("RETRIEVE healed") == [format!("RETRIEVED healed={time}")]
            });
        }
        self.wait_until_linked();
    }

    pub fn wait_until_linked(&self) {
        wait_until("all links are up", || {
            let links = [1, 2, 1];
            let mut servers = self.servers.iter().zip(links);
            servers.all(|(server, links)| server.status("links") == links)
                && self.servers[1..].iter().all(Server::is_slave)
        });
    }

    /// One at each server.
    pub fn clients(&self, user: &str) -> impl Iterator<Item = Client> {
        self.servers.iter().map(move |server| server.client(user))
    }

    /// All hold the same, and the counters what was counted. To be called when all rests.
    pub fn check_agreement(&self, ledger: &Ledger) {
        let mut held = Vec::new();
        wait_until("all hold the same", || {
            held = self.servers.iter().map(Server::entries).collect();
            held.iter().all(|entries| *entries == held[ROOT])
        });
        let counters = ledger.counters();
        for (number, counted) in counters.counted.iter().enumerate() {
            let name = counter_name(counters.age, number);
            let value = held[ROOT].get(&name).map_or("0", String::as_str);
            let value: u64 = value.parse().expect("a number");
            let right = counted.surely..=counted.surely + counted.perhaps;
            assert!(right.contains(&value), "{name} is {value}, not {right:?}");
        }
        self.assert_no_errors_logged();
    }

    /// Clears the cache, and waits until that has come everywhere and is kept. To be called when all rests.
    pub fn clear(&self, ledger: &Ledger) {
        let mut managers: Vec<Client> = self.clients("admin").collect();
        managers[LEAF].ask("STORE mark=1");
        for manager in &mut managers {
            wait_until("the mark has come", || {
                manager.ask("RETRIEVE mark") == ["RETRIEVED mark=1"]
            });
        }
        managers[LEAF].ask("CLEARCACHE");
        for manager in &mut managers {
            wait_until("the clear has come", || {
                manager.ask("RETRIEVE mark") == ["NOTRETRIEVED mark"]
            });
            manager.flush();
        }
        ledger.begin_counters();
    }

    pub fn cpu_s(&self) -> f64 {
        let processes = self.servers.iter().map(|server| &server.process);
        processes.map(|process| process.cpu_s()).sum()
    }

    pub fn figures(&self) -> Figures {
        Figures::new(self.servers.iter().map(NodeFigures::of).collect())
    }

    pub fn descriptors(&self) -> Vec<usize> {
        let servers = self.servers.iter();
        servers.map(Server::open_descriptors).collect()
    }

    /// Returns the size of each server's buffers, in bytes.
    pub fn buffers(&self) -> Vec<u64> {
        let servers = self.servers.iter();
        servers.map(|server| server.status("buffers")).collect()
    }

    /// To be called when all clients have gone.
    pub fn assert_nothing_is_listened_to(&self) {
        for figure in ["subscriptions", "names_listened_to", "monitors"] {
            wait_until(&format!("{figure} is 0"), || {
                self.servers.iter().all(|server| server.status(figure) == 0)
            });
        }
    }

    /// Reports whether no connections are left but the links between the servers and the manager's own.
    pub fn has_only_links(&self) -> bool {
        self.clients("admin").all(|mut manager| {
            let list = manager.ask("CLIENTLIST");
            let mut clients = list.iter().filter(|line| line.starts_with("CLIENT "));
            let own = |line: &&String| line.contains("CLIENTINFO=test of admin;");
            let links = list.iter().filter(|line| line.contains(";INTERCLACKS=1;"));
            clients.by_ref().filter(own).count() == 1 && list.len() - 3 == links.count()
        })
    }
}
