//! Masters and slaves as real processes: what the simulation can't show, sockets and all.

mod attributes;
mod bad_peers;
mod counters;
mod groups;
mod memcached;
mod mixed_trees;
mod synchronising;

use crate::support::{Client, Proxy, Server, Setup, Way, token, wait_until};
use std::os::unix::net::UnixListener;
use std::time::Duration;

pub fn slave_of(address: &str) -> Setup {
    Setup::new().flags(&["--master", address, "--interclacks-reconnect", "0.2"])
}

/// A link is read whatever waits for it, but not without end.
#[test]
fn a_link_that_does_not_read_its_answers_is_closed_at_the_limit() {
    let flags = ["--max-line", "512K", "--max-output", "1M"];
    let server = Setup::new().flags(&flags).start();
    let mut client = server.client("admin");
    client.ask(&format!("STORE large={}", "v".repeat(300_000)));
    let mut slave = server.client("admin");
    slave.send("CLACKS Net::Clacks 36");
    slave.send("OVERHEAD I 1");
    wait_until("it is a link", || server.status("links") == 1);
    slave.send_bytes("RETRIEVE large\r\n".repeat(500).as_bytes());
    wait_until("it is closed", || server.status("links") == 0);
    assert_eq!(server.status("output_limit"), 1);
    // Of 150 MB.
    assert!(server.proc_status("VmHWM") < 40_000);
}

/// In a synchronisation, more output may wait for a link than for a client.
#[test]
fn a_slave_is_told_everything_however_little_may_wait_for_clients() {
    let limits = ["--max-line", "4K", "--max-output", "8K"];
    let root = Setup::new().flags(&limits).start();
    let mut client = root.client("admin");
    for number in 0..3_000 {
        client.send(&format!("STORE name{number}={}", "v".repeat(100)));
    }
    client.flush();
    let slave = slave_of(&root.setup.unix("socket")).flags(&limits).start();
    wait_until("it is told", || slave.status("entries") == 3_000);
    assert_eq!(root.status("output_limit"), 0);
}

#[test]
fn slaves_and_masters_hear_each_other_over_unix_sockets_and_tcp() {
    let root = Server::start();
    let middle = slave_of(&root.setup.unix("socket")).start();
    let leaf = slave_of(&format!("tcp://127.0.0.1:{}", middle.port)).start();
    wait_until("both links are up", || middle.is_slave() && leaf.is_slave());
    let mut listeners: Vec<Client> = [&root, &middle, &leaf]
        .map(|server| server.client("ro"))
        .into();
    for listener in &mut listeners {
        listener.ask("LISTEN signal");
    }
    for (number, sender) in [&root, &middle, &leaf].into_iter().enumerate() {
        let mut sender = sender.client("rw");
        sender.ask("LISTEN signal");
        sender.ask(&format!("STORE name={number}"));
        sender.ask(&format!("SET signal={number}"));
        for listener in &mut listeners {
            listener.expect(&format!("SET signal={number}"));
            assert_eq!(
                listener.ask("RETRIEVE name"),
                [format!("RETRIEVED name={number}")]
            );
        }
        assert_eq!(sender.flush(), [""; 0]);
    }
    let list = leaf.client("admin").ask("CLIENTLIST");
    let uplink = list
        .iter()
        .find(|line| line.contains("INTERCLACKS=1"))
        .expect("the master is listed");
    assert!(
        uplink.contains(&format!("PORT={};CLIENTINFO=clacksd/", middle.port)),
        "{uplink}"
    );
    let list = middle.client("admin").ask("CLIENTLIST");
    assert!(list.iter().any(|line| {
        line.starts_with("CLIENT CID=unixdomainsocket:interclacksmaster;HOST=;PORT=;")
    }));
    // A shutdown of the whole tree, from a leaf.
    leaf.client("admin").send("OVERHEAD GS 0.1");
    for mut server in [leaf, middle, root] {
        assert_eq!(server.process.wait().code(), Some(0));
    }
}

#[test]
fn two_servers_that_both_hold_much_agree() {
    // Dialled in vain until the link to the master's socket is there: both are full by then.
    // Far less output may wait than either holds.
    let limits = ["--max-line", "64K", "--max-output", "1M"];
    let (master, slave) = (
        Setup::new().flags(&limits).start(),
        Setup::new().flags(&limits),
    );
    let path = slave.path("master");
    let address = slave.unix("master");
    let late = slave
        .flags(&["--master", &address, "--interclacks-reconnect", "0.2"])
        .start();
    let value = "v".repeat(50_000);
    for (server, sign) in [(&master, "m"), (&late, "s")] {
        let mut client = server.client("admin");
        for number in 0..300 {
            client.send(&format!("STORE n{number}={sign}{value}"));
        }
        client.flush();
    }
    std::os::unix::fs::symlink(&master.socket, &path).expect("a name in a folder of our own");
    wait_until("the link is up", || late.is_slave());
    wait_until("both hold the same", || {
        let held = [&master, &late].map(Server::entries);
        held[0].len() == 300 && held[0] == held[1]
    });
    assert_eq!(
        late.status("stalled_write") + late.status("output_limit"),
        0
    );
}

/// Many times what may wait for a link, on both sides at once: only names are noted, the link lives, and
/// every signal comes.
#[test]
fn servers_that_stood_still_catch_up_on_the_same_link() {
    const LIMITS: [&str; 4] = ["--max-line", "4K", "--max-output", "1M"];
    let master = Setup::new().flags(&LIMITS).start();
    let slave = slave_of(&master.setup.unix("socket"))
        .flags(&LIMITS)
        .start();
    wait_until("the link is up", || slave.is_slave());
    let mut listeners = [&master, &slave].map(|server| server.client("ro"));
    for listener in &mut listeners {
        listener.ask("LISTEN master");
        listener.ask("LISTEN slave");
    }
    let write = |server: &Server, who: &str| {
        let mut writer = server.client("rw");
        for number in 0..100 {
            let padding = "x".repeat(100);
            let lines: Vec<String> = (0..500)
                .map(|name| format!("STORE {who}{name}={number} {padding}"))
                .collect();
            writer.send(&lines.join("\r\n"));
            assert_eq!(writer.ask(&format!("SET {who}={number}")), [""; 0]);
        }
    };
    slave.process.signal(libc::SIGSTOP);
    write(&master, "master");
    master.process.signal(libc::SIGSTOP);
    slave.process.signal(libc::SIGCONT);
    write(&slave, "slave");
    master.process.signal(libc::SIGCONT);
    for listener in &mut listeners {
        let mut came = [Vec::new(), Vec::new()];
        while came.iter().any(|numbers| numbers.len() < 100) {
            let line = listener.next_line().expect("a signal");
            for (who, numbers) in ["master", "slave"].into_iter().zip(&mut came) {
                numbers.extend(line.strip_prefix(&format!("SET {who}=")).map(str::to_owned));
            }
        }
        let all: Vec<String> = (0..100).map(|number: u32| number.to_string()).collect();
        assert_eq!(came, [all.clone(), all]);
    }
    assert_eq!(master.entries(), slave.entries());
    assert_eq!(slave.entries().len(), 1000);
    for server in [&master, &slave] {
        assert_eq!(server.process.log_line("output_limit"), None);
        assert_eq!(server.process.log_line("has ended"), None);
    }
}

/// A master with a small cache evicts entries before it can send them to a slave that stands still. The slave gets all
/// of them nevertheless.
#[test]
fn a_slave_that_stood_still_is_told_what_is_no_longer_cached() {
    let master = Setup::new().flags(&["--cache-max", "1M"]).start();
    let slave = slave_of(&master.setup.unix("socket")).start();
    wait_until("the link is up", || slave.is_slave());
    let mut client = master.client("rw");
    let mut at_slave = slave.client("ro");
    at_slave.ask("LISTEN end");
    let value = "v".repeat(10_000);
    // More than is cached, and than the socket and the link take.
    let mut numbers = 0..;
    let mut fill = |client: &mut Client| {
        for number in numbers.by_ref().take(500) {
            client.send(&format!("STORE other{number}={value}"));
        }
        client.flush();
    };
    fill(&mut client);
    client.ask("STORE name=old");
    fill(&mut client);
    wait_until("the slave has it", || slave.status("entries") == 1_001);
    slave.process.signal(libc::SIGSTOP);
    fill(&mut client);
    client.ask("STORE name=new");
    fill(&mut client);
    client.ask("NOTIFY end");
    assert_eq!(client.ask("RETRIEVE name"), ["NOTRETRIEVED name"]);
    slave.process.signal(libc::SIGCONT);
    at_slave.expect("NOTIFY end");
    assert_eq!(at_slave.ask("RETRIEVE name"), ["RETRIEVED name=new"]);
    assert_eq!(slave.entries().len(), 2_001);
    assert_eq!(master.process.log_line("has ended"), None);
    wait_until("nothing is kept for it", || {
        master.status("buffers") < 100_000
    });
}

#[test]
fn a_tree_of_seven_agrees_after_kills_and_cuts() {
    // Each one's master is the one at half its number; odd links go through a proxy.
    let mut servers: Vec<Server> = vec![Server::start()];
    let mut proxies = Vec::new();
    for number in 1..7_usize {
        let master = &servers[(number - 1) / 2];
        let address = if number % 2 == 1 {
            proxies.push(Proxy::to(Way::Unix(master.socket.clone())));
            proxies.last().expect("it was just made").address()
        } else {
            master.setup.unix("socket")
        };
        servers.push(slave_of(&address).start());
    }
    let mut random = 7_u64;
    let mut next = |bound: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    for round in 0..30 {
        for _ in 0..20 {
            let mut client = servers[next(7) as usize].client("admin");
            let name = next(40);
            match next(20) {
                0 => client.ask("CLEARCACHE"),
                1..5 => client.ask(&format!("REMOVE n{name}")),
                5..9 => client.ask(&format!("INCREMENT c{name}={}", next(10))),
                9..12 => client.ask(&format!("SETANDSTORE n{name}=signalled in {round}")),
                _ => client.ask(&format!("STORE n{name}={round} {}", next(1000))),
            };
        }
        if round % 3 == 0 {
            proxies[next(3) as usize].cut();
        }
        if round % 5 == 0 {
            let number = next(7) as usize;
            let killed = servers.remove(number);
            servers.insert(number, killed.kill_and_restart());
        }
    }
    wait_until("all links are up", || {
        servers[1..].iter().all(Server::is_slave)
    });
    wait_until("all hold the same", || {
        let held: Vec<_> = servers.iter().map(Server::entries).collect();
        held.iter().all(|entries| *entries == held[0])
    });
    assert!(!servers[0].entries().is_empty());
    for server in &servers {
        assert_eq!(server.process.log_line("ERROR"), None);
    }
}

/// A master that the test plays.
pub struct Master {
    listener: UnixListener,
}

impl Master {
    /// And a slave of it, not connected yet.
    pub fn with_slave(flags: &[&str]) -> (Master, Server) {
        Master::with_slave_as(Setup::new().flags(flags))
    }

    /// And a slave with these flags.
    fn with_slave_as(setup: Setup) -> (Master, Server) {
        let address = setup.unix("master");
        let listener = UnixListener::bind(setup.path("master")).expect("a socket of our own");
        let setup = setup.flags(&["--master", &address, "--interclacks-reconnect", "0.2"]);
        (Master { listener }, setup.start())
    }

    /// Accepts the slave, up to its request for interclacks mode.
    fn accept(&self) -> Client {
        self.accept_as("a master of the test")
    }

    /// Accepts the slave, up to its request for interclacks mode, as a master that runs that software.
    fn accept_as(&self, software: &str) -> Client {
        let (stream, _) = self.listener.accept().expect("the slave dials");
        let mut link = Client::accepted(stream);
        link.expect_after_others("OVERHEAD I 1");
        link.send(&format!("CLACKS {software}"));
        link.send("OVERHEAD M Authentication required");
        link.send("OVERHEAD O Welcome!");
        link
    }

    pub fn accept_and_log_in(&self) -> Client {
        let mut link = self.accept();
        link.send(&format!("OVERHEAD A {}", token("admin")));
        link.expect("OVERHEAD O Welcome!");
        link
    }

    /// Accepts the slave as a clacksd master, logs in, and waits until the link is up.
    pub fn accept_as_clacksd(&self, slave: &Server) -> Client {
        let mut link = self.accept_as("clacksd/9 interclacks/2");
        link.send(&format!("OVERHEAD A {}", token("admin")));
        wait_until("the link is up", || slave.is_slave());
        link
    }

    /// Accepts the slave, tells it nothing, and waits until it has told all.
    fn accept_and_hear(&self) -> Client {
        let mut link = self.accept_and_log_in();
        link.send("OVERHEAD L 1");
        link.send("OVERHEAD L 0");
        wait_until("the slave has told all", || {
            link.next_line()
                .is_some_and(|line| line.starts_with("OVERHEAD T "))
        });
        link
    }
}

/// Until the server doesn't work off what the client says.
fn wait_for_lock(client: &mut Client) {
    wait_until("the lock is there", || {
        client.send("PING");
        client.start_flush();
        client.whatever_came(Duration::from_millis(50)).is_empty()
    });
}

#[test]
fn clients_of_a_locked_slave_wait_and_nothing_of_them_is_lost_when_the_link_dies() {
    let (master, server) = Master::with_slave(&["--ping-timeout", "1"]);
    let mut link = master.accept_and_log_in();
    link.send("OVERHEAD L 1");
    let mut client = server.client("admin");
    wait_for_lock(&mut client);
    // One write: while nobody reads, a socket takes only so many.
    let lines: Vec<String> = (0..1_000)
        .map(|number| format!("INCREMENT n={number}"))
        .collect();
    client.send(&lines.join("\r\n"));
    client.send("RETRIEVE n");
    // Longer than the ping timeout: it stands still.
    assert_eq!(client.whatever_came(Duration::from_millis(1500)), [""; 0]);
    link.send("KEYSYNC 1 1 U half=a li");
    drop(link);
    let sum: u64 = (0..1_000).sum();
    client.expect_after_others(&format!("RETRIEVED n={sum}"));
}

#[test]
fn who_manages_a_locked_slave_sees_and_ends_the_master() {
    let (master, server) = Master::with_slave(&[]);
    let mut link = master.accept_and_log_in();
    link.send("OVERHEAD L 1");
    let mut client = server.client("rw");
    wait_for_lock(&mut client);
    let mut manager = server.client("admin");
    manager.send("CLIENTLIST");
    let of_master = loop {
        let line = manager.next_line().expect("the list goes on");
        if line.contains(";INTERCLACKS=1;") {
            break line;
        }
    };
    let cid = of_master.split(['=', ';']).nth(1).expect("it has a name");
    manager.send(&format!("CLIENTDISCONNECT {cid}"));
    assert!(link.until_closed().contains(&"QUIT".to_owned()));
    client.send("RETRIEVE a");
    client.expect_after_others("NOTRETRIEVED a");
}

#[test]
fn a_lock_without_a_word_from_the_master_is_broken() {
    let (master, server) = Master::with_slave(&["--interclacks-ping-timeout", "1.5"]);
    let mut link = master.accept_and_log_in();
    link.send("OVERHEAD L 1");
    link.send("PING");
    let mut client = server.client("admin");
    client.send("STORE a=1");
    client.send("RETRIEVE a");
    client.expect("RETRIEVED a=1");
    assert!(
        link.until_closed().contains(&"TIMEOUT".to_owned()),
        "and the link is given up"
    );
    drop(link);
    master.accept_and_log_in();
}

#[test]
fn a_master_with_a_wrong_token_is_not_obeyed() {
    let (master, server) = Master::with_slave(&[]);
    let mut link = master.accept();
    link.send("STORE a=before");
    link.send("OVERHEAD L 1");
    link.send(&format!("OVERHEAD A {}", token("rw")));
    link.send("STORE a=after");
    assert_eq!(link.until_closed(), ["OVERHEAD F Login failed!"]);
    server.process.wait_for_log("the master's login is wrong");
    assert_eq!(server.client("admin").ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    // It goes on trying.
    let _link = master.accept_and_log_in();
    wait_until("the link is up", || server.is_slave());
}

#[test]
fn a_peer_far_ahead_is_refused() {
    let (master, server) = Master::with_slave(&[]);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let mut link = master.accept_and_log_in();
    link.send(&format!("OVERHEAD T {now}"));
    link.send(&format!("KEYSYNC {} {now} U near=1", now + 3000));
    link.send(&format!("KEYSYNC {} {now} U far=1", now + 4000));
    link.until_closed();
    server.process.wait_for_log("more than an hour");
    let mut client = server.client("admin");
    assert_eq!(client.ask("RETRIEVE near"), ["RETRIEVED near=1"]);
    assert_eq!(client.ask("RETRIEVE far"), ["NOTRETRIEVED far"]);
}

#[test]
fn what_a_net_clacks_master_only_passes_on_may_have_any_time() {
    let (master, server) = Master::with_slave(&[]);
    let now = unix_time();
    let mut link = master.accept_and_log_in();
    link.send("OVERHEAD L 1");
    link.send(&format!("OVERHEAD T {now}"));
    link.send("OVERHEAD L 0");
    link.send(&format!("KEYSYNC {} {now} U far=1", now + 7200));
    let mut client = server.client("admin");
    wait_until("it is taken", || {
        client.ask("RETRIEVE far") == ["RETRIEVED far=1"]
    });
    assert!(server.is_slave());
    // It counts as written when it came: what is written here from now on is newer.
    client.ask("STORE far=2");
    link.send(&format!("KEYSYNC {} {now} U far=1", now - 10));
    link.send("STORE end=1");
    wait_until("the rest has come", || {
        client.ask("RETRIEVE end") == ["RETRIEVED end=1"]
    });
    assert_eq!(client.ask("RETRIEVE far"), ["RETRIEVED far=2"]);
}

/// Writes at a slave before its first link keep their place in time, however wrong the clock of either server is.
#[test]
fn older_entries_of_a_net_clacks_master_with_another_clock_do_not_win() {
    for skew in [-1800, 1800] {
        let (master, server) = Master::with_slave(&[]);
        let mut client = server.client("admin");
        for line in ["STORE kept=new", "STORE gone=1", "REMOVE gone"] {
            client.ask(line);
        }
        let mut link = master.accept_and_log_in();
        let theirs = unix_time().saturating_add_signed(skew);
        link.send("OVERHEAD L 1");
        link.send(&format!("OVERHEAD T {theirs}"));
        for name in ["gone", "kept"] {
            link.send(&format!("KEYSYNC {0} {0} U {name}=old", theirs - 600));
        }
        link.send(&format!("KEYSYNC {0} {0} U other=1", theirs - 600));
        link.send("OVERHEAD L 0");
        wait_until("all has come", || {
            client.ask("RETRIEVE other") == ["RETRIEVED other=1"]
        });
        assert_eq!(client.ask("RETRIEVE kept"), ["RETRIEVED kept=new"]);
        assert_eq!(client.ask("RETRIEVE gone"), ["NOTRETRIEVED gone"]);
        // It tells its own clock, and so the master can put the times right as well.
        let mut said = Vec::new();
        while said
            .last()
            .is_none_or(|line: &String| !line.contains(" kept=new"))
        {
            said.extend(link.next_line().filter(|line| line != "PING"));
        }
        let told = said
            .iter()
            .find_map(|line| line.strip_prefix("OVERHEAD T "))
            .and_then(|time| time.parse::<f64>().ok())
            .expect("a time");
        assert!((told - unix_time() as f64).abs() < 60.0, "{told}");
    }
}

#[test]
fn a_clacksd_master_whose_clock_is_far_off_is_refused() {
    for (skew, word) in [(7200, "differ by"), (-7200, "differ by")] {
        let (master, server) = Master::with_slave(&[]);
        let mut client = server.client("admin");
        client.ask("STORE a=1");
        let mut link = master.accept();
        link.send("CLACKS clacksd/9 interclacks/2");
        link.send(&format!("OVERHEAD A {}", token("admin")));
        let theirs = unix_time().saturating_add_signed(skew);
        link.send(&format!("OVERHEAD T {theirs}"));
        link.until_closed();
        server.process.wait_for_log(word);
        assert_eq!(client.ask("RETRIEVE a"), ["RETRIEVED a=1"]);
    }
}

/// Identifications of servers that speak the present extension, and of those that speak none.
const NEW: [&str; 3] = [
    "clacksd/9 interclacks/2",
    "clacksd/9 interclacks/1 interclacks/2",
    "clacksd/9 interclacks/3",
];
const OTHERS: [&str; 3] = ["Net::Clacks 36", "interclacks/", "x interclacks/1x"];

/// How many of several words with a version count, and what a word that is no version counts for.
#[test]
fn a_server_that_announces_a_version_that_is_too_old_is_refused() {
    const OLD: &str = "clacksd/0.1.0 interclacks/1";

    // As slaves.
    let server = Server::start();
    let link_as = |software: &str| {
        let mut slave = server.client("admin");
        slave.send(&format!("CLACKS {software}"));
        slave.send("OVERHEAD I 1");
        slave
    };
    let mut slave = link_as(OLD);
    assert_eq!(slave.until_closed(), ["OVERHEAD E peer_version"]);
    let line = server.process.wait_for_log("announces interclacks/1");
    assert!(line.contains("ERROR") && line.contains("the slave unixdomainsocket:"));
    assert!(line.contains("upgrade clacksd at the slave"), "{line}");
    wait_until("it is counted", || server.status("peer_version") == 1);
    for software in NEW {
        link_as(software).expect_after_others("SYNCED");
    }
    for software in OTHERS {
        link_as(software).expect_after_others("OVERHEAD L 0");
    }

    // As masters.
    let (master, server) = Master::with_slave(&[]);
    for _ in 0..2 {
        let mut link = master.accept_as(OLD);
        link.send(&format!("OVERHEAD A {}", token("admin")));
        assert_eq!(link.until_closed(), [""; 0], "it dials again");
    }
    let line = server.process.wait_for_log("upgrade clacksd at the master");
    assert!(line.contains("the master unix:"), "{line}");
    wait_until("both are counted", || server.status("peer_version") == 2);
    for (software, answer) in NEW
        .map(|software| (software, "SYNCED"))
        .into_iter()
        .chain(OTHERS.map(|software| (software, "PING")))
    {
        let mut link = master.accept_as(software);
        link.send(&format!("OVERHEAD A {}", token("admin")));
        link.send("SYNCED");
        link.expect_after_others(answer);
    }
}

/// A Net::Clacks peer would take the answer for a command that it does not know.
#[test]
fn only_clacksd_peers_get_answers_to_their_pings() {
    let (master, _server) = Master::with_slave(&[]);
    for (software, expects_answer) in NEW
        .map(|software| (software, true))
        .into_iter()
        .chain(OTHERS.map(|software| (software, false)))
    {
        let mut link = master.accept_as(software);
        link.send(&format!("OVERHEAD A {}", token("admin")));
        link.send("PING");
        link.send("PING");
        // The refusal comes behind all answers.
        link.send("OVERHEAD A wrong");
        let answers = link.until_closed();
        let count = answers.iter().filter(|line| *line == "PONG").count();
        assert_eq!(count, if expects_answer { 2 } else { 0 }, "{software}");
    }
}

/// A new entry may be the one that goes to make room.
#[test]
fn what_is_evicted_at_once_is_passed_on_all_the_same() {
    let root = Server::start();
    let flags = ["--cache-max", "1M"];
    let middle = slave_of(&root.setup.unix("socket")).flags(&flags).start();
    let leaf = slave_of(&middle.setup.unix("socket")).start();
    wait_until("both links are up", || middle.is_slave() && leaf.is_slave());
    let [mut at_root, mut at_middle, mut at_leaf] =
        [&root, &middle, &leaf].map(|server| server.client("admin"));
    at_root.ask("LISTEN x");
    at_leaf.ask("LISTEN x");
    let value = "v".repeat(850_000);
    // From the middle and from beyond it.
    for is_from_root in [false, true] {
        let speaker = if is_from_root {
            &mut at_root
        } else {
            &mut at_middle
        };
        speaker.ask("SETANDSTORE x=before");
        assert!(at_leaf.next_line().is_some(), "it is everywhere");
        assert!(is_from_root || at_root.next_line().is_some());
        // Used more often than that.
        for number in 0..60 {
            at_middle.ask(&format!("STORE hot{number}={}", "h".repeat(5_000)));
            for _ in 0..5 {
                at_middle.ask(&format!("RETRIEVE hot{number}"));
            }
        }
        let speaker = if is_from_root {
            &mut at_root
        } else {
            &mut at_middle
        };
        speaker.ask(&format!("SETANDSTORE x={value}"));
        speaker.ask("SET x=after");
        for value in [&value, "after"] {
            let line = format!("SET x={value}");
            assert!(at_leaf.next_line() == Some(line.clone()), "at the leaf");
            assert!(
                is_from_root || at_root.next_line() == Some(line),
                "at the root"
            );
        }
        let is_evicted = at_middle.ask("RETRIEVE x") == ["NOTRETRIEVED x"];
        assert!(is_evicted, "the middle has no room for it");
        for elsewhere in [&mut at_root, &mut at_leaf] {
            let is_there = elsewhere.ask("RETRIEVE x") == [format!("RETRIEVED x={value}")];
            assert!(is_there, "it is there elsewhere");
        }
        at_middle.ask("CLEARCACHE");
    }
}

#[test]
fn a_shutdown_that_overtakes_signals_takes_none_along() {
    let root = Server::start();
    let mut speaker = root.client("admin");
    // More than a slave that doesn't read is told.
    for number in 0..40 {
        speaker.ask(&format!("STORE large{number}={}", "v".repeat(100_000)));
    }
    let mut slave = root.client("admin");
    slave.send("CLACKS clacksd/9 interclacks/2");
    slave.send("OVERHEAD I 1");
    wait_until("it is a link", || root.status("links") == 1);
    let overtaken: Vec<String> = (0..10).map(|number| format!("SET x={number}")).collect();
    for line in &overtaken {
        speaker.ask(line);
    }
    speaker.ask("OVERHEAD GS 3600");
    let mut signals = Vec::new();
    while signals.len() < 11 {
        let line = slave.next_line().expect("a signal");
        signals.extend(line.strip_prefix("SIGNAL ").map(str::to_owned));
    }
    let texts = signals
        .iter()
        .map(|signal| signal.split_once(' ').expect("a number").1);
    assert_eq!(texts.clone().next(), Some("OVERHEAD GS 3600"));
    assert!(texts.skip(1).eq(&overtaken));

    // The same from a master.
    let (master, server) = Master::with_slave(&[]);
    let mut listener = server.client("admin");
    listener.ask("LISTEN x");
    let mut link = master.accept();
    link.send("CLACKS clacksd/9 interclacks/2");
    link.send(&format!("OVERHEAD A {}", token("admin")));
    link.send(&format!("OVERHEAD T {}", unix_time()));
    for signal in &signals {
        link.send(&format!("SIGNAL {signal}"));
    }
    listener.expect("OVERHEAD GS 3600");
    for line in &overtaken {
        listener.expect(line);
    }
}

#[test]
fn a_net_clacks_peer_gets_no_kind_of_signal_that_it_does_not_know() {
    let (master, server) = Master::with_slave(&[]);
    let mut link = master.accept_and_log_in();
    link.send("OVERHEAD L 1");
    link.send("OVERHEAD L 0");
    let mut slave = server.stranger();
    slave.send("CLACKS clacksd/9 interclacks/2");
    slave.send(&format!("OVERHEAD A {}", token("admin")));
    slave.send("OVERHEAD I 1");
    for (number, line) in [
        "STATE x",
        "OVERHEAD F no",
        "CLEARCACHE",
        "OVERHEAD L 1",
        "STORE a=1",
        "QUIT",
        "SET last=1",
    ]
    .iter()
    .enumerate()
    {
        slave.send(&format!("SIGNAL 5:{} {line}", number + 1));
    }
    let mut came = Vec::new();
    while came.last().is_none_or(|line: &String| line != "SET last=1") {
        came.extend(link.next_line());
    }
    let came: Vec<String> = came
        .into_iter()
        .filter(|line| line != "PING" && !line.starts_with("OVERHEAD T "))
        .collect();
    assert_eq!(came, ["SET last=1"]);
}

pub fn unix_time() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

#[test]
fn a_ring_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let addresses = [0, 1, 2].map(|number| format!("unix:{}/{number}", folder.path().display()));
    let flags = ["--interclacks-reconnect", "0.3"];
    let ring: Vec<Server> = (0..3)
        .map(|number| {
            let setup = Setup::new()
                .flags(&["--listen", &addresses[number]])
                .flags(&flags);
            setup
                .flags(&["--master", &addresses[(number + 1) % 3]])
                .start()
        })
        .collect();
    wait_until("somebody notices", || {
        ring.iter()
            .any(|server| server.process.log_line("form a ring").is_some())
    });
    // No storm: what is sent meanwhile comes once at most, and the servers are idle afterwards.
    let mut listener = ring[1].client("admin");
    listener.ask("LISTEN s");
    ring[0].client("admin").ask("SET s=1");
    let came = listener.whatever_came(Duration::from_millis(500));
    assert!(came.len() <= 1, "{came:?}");
}

#[test]
fn masters_are_tried_in_turn() {
    let good = Server::start();
    let setup = Setup::new();
    let nobody = setup.unix("nobody");
    let (_other, silent) = (Server::start(), setup.path("silent"));
    let listener = UnixListener::bind(&silent).expect("a socket of our own");
    let flags = ["--interclacks-reconnect", "0.1", "--auth-timeout", "0.3"];
    let setup = setup.flags(&[
        "--master",
        &nobody,
        "--master",
        &format!("unix:{}", silent.display()),
    ]);
    let server = setup
        .flags(&["--master", &good.setup.unix("socket")])
        .flags(&flags)
        .start();
    wait_until("the good one is found", || server.is_slave());
    assert!(
        server
            .process
            .log_line("no connection to the master")
            .is_some()
    );
    drop(listener);
}

/// A name that was refilled after a CLEARCACHE the master was not there for.
#[test]
fn what_was_stored_after_a_clear_is_not_removed_at_a_master_that_was_away() {
    let (master, server) = Master::with_slave(&[]);
    let mut client = server.client("admin");
    client.ask("CLEARCACHE");
    client.ask("STORE a=new");
    let mut link = master.accept_and_log_in();
    link.send("OVERHEAD L 1");
    link.send("KEYSYNC 1000 1000 U a=old");
    link.send("KEYSYNC 1000 1000 U gone=old");
    link.send("OVERHEAD L 0");
    link.expect("REMOVE gone");
    assert!(
        link.next_line()
            .is_some_and(|line| line.starts_with("OVERHEAD T "))
    );
    assert!(
        link.next_line()
            .is_some_and(|line| line.ends_with(" U a=new"))
    );
}

#[test]
fn a_line_too_long_for_a_link_is_skipped_and_the_link_lives() {
    let (master, server) = Master::with_slave(&["--max-line", "4K"]);
    let mut link = master.accept_and_log_in();
    link.send(&format!("STORE long={}", "x".repeat(200_000)));
    link.send("STORE short=1");
    let mut client = server.client("admin");
    wait_until("the next line is there", || {
        client.ask("RETRIEVE short") == ["RETRIEVED short=1"]
    });
    assert_eq!(client.ask("RETRIEVE long"), ["NOTRETRIEVED long"]);
    server.process.wait_for_log("was skipped");
    assert!(server.is_slave());
}

/// On its way between clacksd servers each of them is two bytes.
#[test]
fn backslashes_are_the_same_at_all_servers() {
    let (master, server) = Master::with_slave(&["--max-line", "512K"]);
    let mut link = master.accept_as_clacksd(&server);
    let mut client = server.client("rw");
    let (value, escaped) = (r"\".repeat(400_000), r"\".repeat(800_000));
    client.ask(&format!(r"STORE a\b={value}"));
    client.ask(r"INCREMENT c\d");
    let mut state = || loop {
        let line = link.next_line().expect("there is more to tell");
        if line.starts_with("STATE ") {
            return line;
        }
    };
    assert!(state().ends_with(&format!(r" - a\\b={escaped}")));
    assert!(state().ends_with(r" - c\\d="));
    let stamp = format!("{}000000:5", unix_time());
    link.send(&format!(r"STATE {stamp} 1 V - - - e\\f={escaped}"));
    wait_until("the state has come", || {
        client.ask(r"RETRIEVE e\f") == [format!(r"RETRIEVED e\f={value}")]
    });
    let plain = "x".repeat(700_000);
    link.send(&format!("STATE {stamp} 1 V - - - long={plain}"));
    server.process.wait_for_log("was skipped");
    assert_eq!(client.ask("RETRIEVE long"), ["NOTRETRIEVED long"]);
}

#[test]
fn a_net_clacks_master_hears_only_lines_of_the_reference() {
    let (master, server) = Master::with_slave(&[]);
    let other = slave_of(&server.setup.unix("socket")).start();
    wait_until("the clacksd slave is up", || other.is_slave());
    let mut link = master.accept_and_hear();
    let mut client = other.client("admin");
    for line in [
        "STORE a=1",
        "INCREMENT c=2",
        "DECREMENT c=0.5",
        "SETANDSTORE s=v",
        "SET x=1",
        "NOTIFY y",
        "REMOVE a",
        "CLEARCACHE",
    ] {
        client.ask(line);
    }
    let mut came = Vec::new();
    while came.last().is_none_or(|line: &String| line != "CLEARCACHE") {
        came.extend(link.next_line().filter(|line| line != "PING"));
    }
    assert_eq!(
        came,
        [
            "STORE a=1",
            "INCREMENT c=2",
            "INCREMENT c=-0.5",
            "SETANDSTORE s=v",
            "SET x=1",
            "NOTIFY y",
            "REMOVE a",
            "CLEARCACHE"
        ]
    );
}

/// A clear that others made earlier is news at a Net::Clacks master, which loses by it what it had told before.
#[test]
fn a_net_clacks_master_that_clears_too_much_is_told_its_own_entries_again() {
    let (master, server) = Master::with_slave(&[]);
    let mut client = server.client("admin");
    // More than the master's socket takes, so that the telling goes on.
    let value = "v".repeat(10_000);
    for number in 0..200 {
        client.send(&format!("STORE own{number}={value}"));
    }
    client.flush();
    let mut link = master.accept_and_log_in();
    let now = unix_time();
    link.send("OVERHEAD L 1");
    link.send(&format!("OVERHEAD T {now}"));
    link.send(&format!("KEYSYNC {now} {now} U told=by the master"));
    link.send("OVERHEAD L 0");
    wait_until("that has come", || {
        client.ask("RETRIEVE told") == ["RETRIEVED told=by the master"]
    });
    let mut slave = server.client("admin");
    slave.send("CLACKS clacksd/9 interclacks/2");
    slave.send("OVERHEAD I 1");
    slave.send(&format!("CLEAR {}:7", (now - 1_000) * 1_000_000));
    slave.flush();
    client.ask("NOTIFY end");
    let mut said = Vec::new();
    while said.last().map(String::as_str) != Some("NOTIFY end") {
        said.push(link.next_line().expect("the link lives"));
    }
    let cleared = said.iter().position(|line| line == "CLEARCACHE");
    let after = &said[cleared.expect("it was passed on")..];
    assert!(
        after
            .iter()
            .any(|line| line.ends_with(" U told=by the master"))
    );
}

/// A Net::Clacks server forwards to its peers what it forwards to its clients.
#[test]
fn what_a_net_clacks_master_forwards_is_not_taken_for_its_own() {
    let (master, server) = Master::with_slave(&[]);
    let mut link = master.accept();
    link.send("OVERHEAD FG from somebody");
    link.send(&format!("OVERHEAD A {}", token("admin")));
    link.expect("OVERHEAD O Welcome!");
    let mut client = server.client("ro");
    client.ask("LISTEN a");
    for line in ["OVERHEAD GL 1", "OVERHEAD FG from somebody", "NOTIFY a"] {
        link.send(line);
    }
    client.expect("NOTIFY a");
    assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    assert!(server.is_slave());
}

/// A Net::Clacks server can't tell a name with an equals sign from a name and a value.
#[test]
fn a_removal_of_what_can_not_be_stored_removes_nothing_else() {
    let (master, server) = Master::with_slave(&[]);
    let mut link = master.accept_and_hear();
    let mut client = server.client("rw");
    client.ask("STORE a=1");
    link.expect_after_others("STORE a=1");
    client.ask("REMOVE a=b");
    client.ask("NOTIFY end");
    link.expect("NOTIFY end");
    let later = unix_time() + 5;
    link.send(&format!("KEYSYNC {later} 0 D a=b=REMOVED"));
    link.send(&format!("KEYSYNC {later} 0 D other=REMOVED"));
    link.send("STORE end=1");
    wait_until("that has come", || {
        client.ask("RETRIEVE end") == ["RETRIEVED end=1"]
    });
    assert_eq!(client.ask("RETRIEVE a"), ["RETRIEVED a=1"]);
}

#[test]
fn monitors_do_not_see_what_is_not_for_them_from_other_servers_either() {
    let root = Server::start();
    let slave = slave_of(&root.setup.unix("socket")).start();
    wait_until("the link is up", || slave.is_slave());
    let mut monitor = slave.client("mg");
    monitor.ask("MONITOR");
    let mut client = root.client("rw");
    for line in ["OVERHEAD GN hidden", "OVERHEAD G seen", "NOTIFY end"] {
        client.ask(line);
    }
    let mut seen = Vec::new();
    while seen
        .last()
        .is_none_or(|line: &String| !line.ends_with("NOTIFY end"))
    {
        seen.push(monitor.next_line().expect("the server lives"));
    }
    assert!(seen.iter().any(|line| line.ends_with("OVERHEAD G seen")));
    let hidden = seen.iter().filter(|line| line.starts_with("DEBUG "));
    assert!(hidden.clone().count() > 0);
    assert_eq!(hidden.filter(|line| line.contains("hidden")).count(), 0);
}

/// A slave sends its changes to the master while the master's synchronisation still goes on.
#[test]
fn what_a_slave_is_behind_with_does_not_wait_for_its_turn() {
    let (master, server) = Master::with_slave(&[]);
    let mut link = master.accept_as_clacksd(&server);
    let mut client = server.client("rw");
    // More than the socket and the link take.
    let value = "v".repeat(1_000);
    for number in 0..3_000 {
        client.send(&format!("STORE name{number}={value}"));
    }
    client.flush();
    let mut told = 0;
    while told < 3_000 {
        let line = link.next_line().expect("there is more to tell");
        told += usize::from(line.starts_with("STATE "));
    }
}

/// A slave that has to answer at once doesn't answer with more than there is room for.
#[test]
fn a_slave_answers_older_states_as_there_is_room() {
    let limits = [
        "--cache-max",
        "64M",
        "--max-line",
        "512K",
        "--max-output",
        "2M",
    ];
    let (master, server) = Master::with_slave(&limits);
    let mut client = server.client("rw");
    for number in 0..40 {
        client.ask(&format!("STORE name{number}={}", "v".repeat(400_000)));
    }
    let mut link = master.accept_as_clacksd(&server);
    let older = |number| format!("STATE 1000000:9f3 1000000 V - - - name{number}=older\r\n");
    link.send_bytes((0..40).map(older).collect::<String>().as_bytes());
    let mut told = 0;
    while told < 40 {
        let line = link.next_line().expect("it knows all of them better");
        told += usize::from(line.starts_with("STATE ") && line.ends_with('v'));
    }
    assert_eq!(server.status("output_limit"), 0);
}

/// A state that was evicted before there was room for it goes before a newer one of its name.
#[test]
fn what_was_evicted_is_told_before_what_came_after_it() {
    let (master, server) = Master::with_slave(&["--cache-max", "1M"]);
    let mut link = master.accept_as_clacksd(&server);
    let mut client = server.client("rw");
    client.ask("STORE x=before");
    // What is used so often stays.
    for _ in 0..2 {
        for number in 0..60 {
            client.ask(&format!("STORE hot{number}={}", "h".repeat(5_000)));
            for _ in 0..5 {
                client.ask(&format!("RETRIEVE hot{number}"));
            }
        }
    }
    // After this one line more than may wait for the link does so: the next name is noted.
    client.ask(&format!("STORE last={}", "l".repeat(350_000)));
    client.ask(&format!("STORE x={}", "v".repeat(850_000)));
    assert_eq!(client.ask("RETRIEVE x"), ["NOTRETRIEVED x"]);
    // Up to where there is room for what is new, but not yet for what had to wait.
    let mut told = Vec::new();
    let mut next = || loop {
        let line = link.next_line().expect("there is more to tell");
        if line.starts_with("STATE ") {
            return line;
        }
    };
    assert!(next().ends_with(" x=before"));
    for _ in 0..80 {
        assert!(next().contains(" hot"));
    }
    client.ask("STORE x=after");
    while told.len() < 2 {
        let line = next();
        let value = line.split_once(" x=").map(|(_, value)| value.to_owned());
        told.extend(value);
    }
    assert!(told[0].starts_with("vvv"), "what was evicted comes first");
    assert_eq!(told[1], "after");
}
