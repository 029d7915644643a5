//! Counters of servers that end and start again, with a journal and without: how many shares they have, what a
//! step costs, and that each step counts once.

use crate::interclacks::{Master, slave_of, unix_time};
use crate::support::{Client, Server, Setup, text, wait_until};
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;

pub fn with_journal(flags: &[&str]) -> Setup {
    let setup = Setup::new();
    let journal = text(&setup.path("journal"));
    setup.flags(&["--persist", &journal]).flags(flags)
}

/// Flags with which shares are old after three seconds.
const SHORT_TIMES: [&str; 4] = ["--deleted-time", "1", "--clean-interval", "0.2"];

/// A slave of the test, told everything that the server has.
pub struct Slave {
    pub link: Client,
    /// The lines it has been told.
    pub told: Vec<String>,
}

impl Slave {
    pub fn of(server: &Server) -> Slave {
        let mut link = server.client("admin");
        link.send("CLACKS clacksd/9.9 interclacks/2");
        link.send("OVERHEAD I 1");
        let mut told = Vec::new();
        loop {
            let line = link.next_line().expect("the master goes on");
            if line == "SYNCED" {
                break;
            }
            told.push(line);
        }
        link.send("OVERHEAD O Welcome!");
        link.send("SYNCED");
        Slave { link, told }
    }

    /// The next line about an entry.
    pub fn next(&mut self) -> String {
        loop {
            let line = self.link.next_line().expect("the master goes on");
            if ["STATE ", "TOUCH ", "COUNT "]
                .iter()
                .any(|verb| line.starts_with(verb))
            {
                return line;
            }
        }
    }

    /// The next line about a counter.
    fn next_of(&mut self, name: &str) -> String {
        loop {
            let line = self.link.next_line().expect("the master goes on");
            let is_of_name =
                line.contains(&format!(" {name}=")) || line.ends_with(&format!(" {name}"));
            if is_of_name && (line.starts_with("STATE ") || line.starts_with("COUNT ")) {
                return line;
            }
        }
    }
}

/// The STATE line of a name, as a new slave gets it.
fn state(server: &Server, name: &str) -> String {
    let told = Slave::of(server).told;
    let states = told.into_iter().filter(|line| line.starts_with("STATE "));
    let mut of_name = states.filter(|line| line.contains(&format!(" {name}=")));
    of_name.next().expect("the name is there")
}

/// The shares of a counter: id, version and sum.
fn shares_of(state: &str) -> Vec<[String; 3]> {
    let list = state.split(' ').nth(4).expect("a STATE line");
    let shares = list.split(',').filter(|list| *list != "-");
    shares
        .map(|share| {
            let parts: Vec<String> = share.splitn(3, ':').map(str::to_owned).collect();
            parts.try_into().expect("three parts")
        })
        .collect()
}

fn count(server: &Server, name: &str) -> u64 {
    let answer = server.client("admin").ask(&format!("RETRIEVE {name}"));
    let value = answer[0].strip_prefix(&format!("RETRIEVED {name}="));
    value.map_or(0, |value| value.parse().expect("a number"))
}

/// How many bytes the journal and a link get for each INCREMENT of a counter.
fn cost_of_a_step(server: &Server, name: &str) -> (u64, u64) {
    const STEPS: u64 = 100;
    let mut client = server.client("admin");
    let mut slave = Slave::of(server);
    client.ask(&format!("INCREMENT {name}"));
    slave.next_of(name);
    let journal = server.setup.path("journal");
    let length = || fs::metadata(&journal).map_or(0, |metadata| metadata.len());
    let before = length();
    for _ in 0..STEPS {
        client.send(&format!("INCREMENT {name}"));
    }
    client.flush();
    let told: u64 = (0..STEPS)
        .map(|_| slave.next_of(name).len() as u64 + 2)
        .sum();
    ((length() - before) / STEPS, told / STEPS)
}

#[test]
fn a_server_with_a_journal_keeps_one_share_however_often_it_restarts() {
    let mut server = with_journal(&[]).start();
    for _ in 0..250 {
        server.client("admin").ask("INCREMENT n");
        server = server.end_and_restart();
    }
    assert_eq!(count(&server, "n"), 250);
    let state = state(&server, "n");
    assert_eq!(shares_of(&state).len(), 1, "{state}");
    let (in_journal, on_link) = cost_of_a_step(&server, "n");
    println!(
        "measured: an INCREMENT after 250 restarts takes {in_journal} bytes in the journal and {on_link} on a link"
    );
    assert!(in_journal < 150 && on_link < 150, "{in_journal}, {on_link}");
}

/// The burst would be 800 MB if each step wrote all shares.
#[test]
fn a_burst_of_steps_on_a_counter_of_many_shares_is_saved() {
    const STEPS: usize = 100_000;
    let server = with_journal(&[]).start();
    let now_s = unix_time();
    let shares =
        (1..=250).map(|number| format!("{:x}:{}:1", (now_s << 32) + number, now_s * 1_000_000));
    let shares: Vec<String> = shares.collect();
    let mut slave = Slave::of(&server);
    let stamp = format!("{}:5", now_s * 1_000_000);
    let line = format!("STATE {stamp} {now_s}000000 V {} - - n=1", shares.join(","));
    slave.link.send(&line);
    wait_until("the counter is there", || count(&server, "n") == 251);
    let (in_journal, on_link) = cost_of_a_step(&server, "n");
    println!(
        "measured: an INCREMENT of a counter with 251 shares takes {in_journal} bytes in the journal and {on_link} on a link"
    );
    assert!(in_journal < 150 && on_link < 150, "{in_journal}, {on_link}");
    let before = count(&server, "n");
    let mut client = server.client("admin");
    client.send_bytes("INCREMENT n\r\n".repeat(STEPS).as_bytes());
    client.flush();
    let server = server.kill_and_restart();
    assert_eq!(count(&server, "n"), before + STEPS as u64);
    assert_eq!(server.entries().len(), 1);
}

/// Waits until a counter has so few shares.
fn wait_for_folding(server: &Server, name: &str, most: usize) -> Vec<[String; 3]> {
    let mut shares = Vec::new();
    wait_until("old shares are folded", || {
        shares = shares_of(&state(server, name));
        shares.len() <= most
    });
    shares
}

#[test]
fn shares_of_killed_runs_are_folded_when_they_are_old() {
    let mut server = with_journal(&SHORT_TIMES).start();
    for _ in 0..12 {
        server.client("admin").ask("INCREMENT n");
        server = server.kill_and_restart();
    }
    assert!(shares_of(&state(&server, "n")).len() > 1, "it was killed");
    let shares = wait_for_folding(&server, "n", 1);
    assert_eq!(shares[0][0], "0");
    assert_eq!(shares[0][2], "12");
    // The marker and what was folded outlive the process.
    let server = server.kill_and_restart();
    assert_eq!(count(&server, "n"), 12);
    server.client("admin").ask("INCREMENT n");
    let server = server.kill_and_restart();
    assert_eq!(count(&server, "n"), 13);
    let shares = shares_of(&state(&server, "n"));
    assert!(shares.len() <= 2 && shares[0][0] == "0", "{shares:?}");
}

#[test]
fn shares_of_slaves_without_a_journal_are_folded_by_all_of_the_tree() {
    let root = with_journal(&SHORT_TIMES).start();
    let slave = |master: &Server| {
        let address = master.setup.unix("socket");
        Setup::new()
            .flags(&["--master", &address, "--interclacks-reconnect", "0.1"])
            .flags(&SHORT_TIMES)
            .start()
    };
    let middle = slave(&root);
    wait_until("the middle is a slave", || middle.is_slave());
    let mut leaf = slave(&middle);
    for round in 1..=10 {
        wait_until("the leaf is a slave", || leaf.is_slave());
        leaf.client("admin").ask("INCREMENT n");
        middle.client("admin").ask("INCREMENT n");
        wait_until("the root hears of it", || count(&root, "n") == 2 * round);
        leaf = leaf.kill_and_restart();
    }
    for server in [&root, &middle, &leaf] {
        let shares = wait_for_folding(server, "n", 1);
        assert_eq!((&shares[0][0][..], &shares[0][2][..]), ("0", "20"));
    }
    leaf.client("admin").ask("INCREMENT n=5");
    for server in [&root, &middle, &leaf] {
        wait_until("all count on", || count(server, "n") == 25);
    }
}

/// The next line that the master sends with its path or its time.
fn next_about_time(below: &mut Client) -> String {
    loop {
        let line = below.next_line().expect("the link lives");
        if line.starts_with("PATH ") || line.starts_with("OVERHEAD T ") {
            return line;
        }
    }
}

/// The seconds at which the only share of `n` began, by what a server sends its slaves.
fn beginning_s(server: &Server) -> u64 {
    let shares = shares_of(&state(server, "n"));
    u64::from_str_radix(&shares[0][0], 16).expect("a share id") >> 32
}

/// A share that begins too early is folded too early, on each side with the steps that have come there.
#[test]
fn who_does_not_know_the_trees_time_begins_its_shares_an_hour_later_and_says_so_below() {
    let (master, server) = Master::with_slave(&[]);
    let (slow_s, right_s) = (unix_time() - 1_200, unix_time() + 600);
    let mut below = Slave::of(&server).link;
    let mut link = master.accept_as_clacksd(&server);
    link.send("PATH 0 a");
    link.send(&format!("OVERHEAD T {slow_s}"));
    let path = next_about_time(&mut below);
    assert!(path.starts_with("PATH 0 a "), "{path}");
    assert!(next_about_time(&mut below).starts_with(&format!("OVERHEAD T {slow_s}")));
    server.client("admin").ask("INCREMENT n");
    let begun_s = beginning_s(&server);
    assert!(
        (slow_s + 3_600..slow_s + 3_660).contains(&begun_s),
        "{begun_s}"
    );

    // The master has reached the root.
    link.send("PATH b a");
    link.send(&format!("OVERHEAD T {right_s}"));
    let path = next_about_time(&mut below);
    assert!(
        path.starts_with("PATH 0 b a "),
        "the time of that path is behind it: {path}"
    );
    assert!(next_about_time(&mut below).starts_with(&format!("OVERHEAD T {right_s}")));
    let path = next_about_time(&mut below);
    assert!(path.starts_with("PATH b a "), "{path}");
    assert!(next_about_time(&mut below).starts_with(&format!("OVERHEAD T {right_s}")));

    // The master has started again, and knows less of the time than this server.
    drop(link);
    let mut link = master.accept_as_clacksd(&server);
    link.send("PATH 0 a");
    link.send(&format!("OVERHEAD T {slow_s}"));
    link.send(&format!("SIGNAL 5:{} NOTIFY end", right_s * 1_000_000));
    below.expect_after_others(&format!("SIGNAL 5:{} NOTIFY end", right_s * 1_000_000));
    let told = Slave::of(&server).told;
    let time = told
        .iter()
        .find_map(|line| line.strip_prefix("OVERHEAD T "));
    let time_s: f64 = time.expect("a time").parse().expect("a number");
    assert!(time_s >= right_s as f64, "{time_s}");
    assert!(
        told.iter().any(|line| line.starts_with("PATH a ")),
        "{told:?}"
    );
}

#[test]
fn of_two_servers_with_a_copy_of_one_journal_one_takes_a_new_share_id() {
    let mut first = with_journal(&[]).start();
    first.client("admin").ask("INCREMENT n=10");
    let journal = text(&first.setup.path("journal"));
    first = first.end_and_restart();
    first.process.signal(libc::SIGTERM);
    assert!(first.process.wait().success());
    let second = Setup::new();
    let copy = second.path("journal");
    fs::copy(&journal, &copy).expect("the journal is there");
    let first = first.kill_and_restart();
    let address = first.setup.unix("socket");
    let second = second
        .flags(&["--persist", &text(&copy), "--master", &address])
        .start();
    wait_until("the link is up", || second.is_slave());
    first.client("admin").ask("INCREMENT n");
    second
        .process
        .wait_for_log("counts under this server's share id");
    wait_until("the step has come", || count(&second, "n") == 11);
    // From now on both count for themselves.
    second.client("admin").ask("INCREMENT n=100");
    first.client("admin").ask("INCREMENT n");
    for server in [&first, &second] {
        wait_until("both count everything", || count(server, "n") == 112);
    }
    assert_eq!(shares_of(&state(&first, "n")).len(), 2);
}

/// A processor makes NaNs with a sign, and a text has none: what comes back is what was sent.
#[test]
fn a_counter_that_is_no_number_is_nobody_elses() {
    let root = Setup::new().start();
    let slave = slave_of(&root.setup.unix("socket")).start();
    wait_until("the link is up", || slave.is_slave());
    let mut client = slave.client("admin");
    client.ask("DECREMENT none=nan");
    client.ask("INCREMENT lost=inf");
    client.ask("DECREMENT lost=inf");
    for name in ["none", "lost"] {
        wait_until("the root has it", || {
            root.client("admin").ask(&format!("RETRIEVE {name}"))
                == [format!("RETRIEVED {name}=NaN")]
        });
    }
    // The root tells it all when the link comes up again.
    let ups = || {
        let log = slave.process.log();
        log.iter()
            .filter(|line| line.contains("is the master"))
            .count()
    };
    let before = ups();
    root.client("admin").send("OVERHEAD C 1");
    wait_until("the link is up again", || ups() > before);
    root.client("admin").ask("STORE last=1");
    wait_until("the slave has been told all", || count(&slave, "last") == 1);
    assert_eq!(slave.process.log_line("share id"), None);
}

/// The version of another counter's last step says nothing about this one.
#[test]
fn a_step_under_this_servers_share_id_that_it_has_not_made_is_noticed() {
    let server = Setup::new().start();
    let mut slave = Slave::of(&server);
    let mut client = server.client("admin");
    client.ask("INCREMENT first=5");
    let first = slave.next_of("first");
    let words: Vec<&str> = first.split(' ').collect();
    let [share, version, _] = &shares_of(&first)[0];
    client.ask("INCREMENT second");
    slave.next_of("second");
    let forged = version.parse::<u64>().expect("a version") + 1;
    slave
        .link
        .send(&format!("COUNT {} 1 {share}:{forged}:9 first", words[1]));
    server
        .process
        .wait_for_log("counts under this server's share id");
    client.ask("INCREMENT first");
    assert_eq!(count(&server, "first"), 10);
    assert_eq!(shares_of(&state(&server, "first")).len(), 2);
}

/// A journal that was not read as a whole may lack the last steps: the next run counts under another id.
#[test]
fn the_share_id_is_not_taken_over_from_a_damaged_journal() {
    let mut server = with_journal(&[]).start();
    let mut client = server.client("admin");
    client.ask("STORE first=value");
    client.ask("INCREMENT n");
    server.process.signal(libc::SIGTERM);
    assert!(server.process.wait().success());
    let journal = server.setup.path("journal");
    let mut bytes = fs::read(&journal).expect("a journal");
    let at = bytes.windows(5).position(|part| part == b"value");
    bytes[at.expect("the first entry")] = b'x';
    fs::write(&journal, bytes).expect("room on the disk");
    let server = server.kill_and_restart();
    server.client("admin").ask("INCREMENT n");
    assert_eq!(count(&server, "n"), 2);
    assert_eq!(shares_of(&state(&server, "n")).len(), 2);
}

#[test]
fn a_peer_moves_the_marker_and_nothing_counts_twice() {
    let server = with_journal(&[]).start();
    let mut slave = Slave::of(&server);
    let mut other = Slave::of(&server);
    let now_s = unix_time();
    let (old_s, stamp) = (now_s - 100, "0:0");
    let share = |number: u64, version: u64, sum: u64| {
        format!(
            "{:x}:{}:{sum}",
            (old_s << 32) + number,
            old_s * 1_000_000 + version
        )
    };
    let both = [share(1, 5, 10), share(2, 7, 20)].join(",");
    slave
        .link
        .send(&format!("STATE {stamp} {now_s}000000 A {both} - - n="));
    assert!(other.next_of("n").starts_with("STATE 0:0 "));
    slave
        .link
        .send(&format!("FOLD {}:9", (now_s - 50) * 1_000_000));
    assert_eq!(
        other.link.next_line(),
        Some(format!("FOLD {}:9", (now_s - 50) * 1_000_000))
    );
    // An older marker changes nothing.
    slave
        .link
        .send(&format!("FOLD {}:9", (now_s - 60) * 1_000_000));
    // The same again, and with less known of it: everything is in the base already.
    slave
        .link
        .send(&format!("STATE {stamp} {now_s}000000 A {both} - - n="));
    slave.link.send(&format!(
        "STATE {stamp} {now_s}000000 A {} - - n=",
        share(1, 5, 10)
    ));
    let answer = slave.next_of("n");
    assert!(
        answer.starts_with("STATE "),
        "it is told what it does not know"
    );
    let count_line = format!("COUNT {stamp} {now_s}000000 {} n", share(2, 9, 25));
    slave.link.send(&count_line);
    let answer = slave.next_of("n");
    assert!(answer.starts_with("STATE "), "the whole state is compared");
    assert_eq!(count(&server, "n"), 30);
    // With more known of it, it replaces what is there.
    let more = [share(1, 5, 10), share(2, 9, 25)].join(",");
    slave
        .link
        .send(&format!("STATE {stamp} {now_s}000000 A {more} - - n="));
    wait_until("the greater weight counts", || count(&server, "n") == 35);
    server.client("admin").ask("INCREMENT n");
    assert_eq!(count(&server, "n"), 36);
    let server = server.kill_and_restart();
    assert_eq!(count(&server, "n"), 36);
    let mut slave = Slave::of(&server);
    assert!(
        slave
            .told
            .contains(&format!("FOLD {}:9", (now_s - 50) * 1_000_000))
    );
    let far_s = now_s + 4_000;
    slave.link.send(&format!("FOLD {far_s}000000:9"));
    slave.link.until_closed();
}

#[test]
fn a_peer_is_told_the_state_when_a_single_share_is_of_no_use_to_it() {
    let (master, server) = Master::with_slave(&[]);
    let mut link = master.accept_as_clacksd(&server);
    let mut client = server.client("admin");
    client.ask("STORE n=5");
    link.send("SYNCED");
    client.ask("INCREMENT n");
    let mut slave = Slave {
        link,
        told: Vec::new(),
    };
    let mut line = slave.next_of("n");
    while !line.starts_with("COUNT ") {
        client.ask("INCREMENT n");
        line = slave.next_of("n");
    }
    let words: Vec<&str> = line.split(' ').collect();
    let (stamp, accessed) = (words[1], words[2]);
    slave.link.send(&format!("COUNT {stamp} 0 - n"));
    let whole = loop {
        let line = slave.next_of("n");
        if line.starts_with("STATE ") {
            break line;
        }
    };
    assert!(whole.ends_with(" n=5"), "{whole}");
    // A share of a register that is not here is answered with the one that is.
    let now_s = unix_time();
    let share = format!("{:x}:{now_s}000000:7", (now_s << 32) + 5);
    slave.link.send(&format!("COUNT 1:1 {accessed} {share} n"));
    assert!(slave.next_of("n").starts_with(&format!("STATE {stamp} ")));
    let before = count(&server, "n");
    slave
        .link
        .send(&format!("COUNT {stamp} {accessed} {share} n"));
    wait_until("it is counted", || count(&server, "n") == before + 7);
    // It comes again, and it is of a name that is not known.
    slave
        .link
        .send(&format!("COUNT {stamp} {accessed} {share} n"));
    slave
        .link
        .send(&format!("COUNT {stamp} {accessed} {share} unknown"));
    assert_eq!(
        slave.next_of("unknown"),
        format!("COUNT {stamp} 0 - unknown")
    );
    assert_eq!(count(&server, "n"), before + 7);
}

#[test]
fn peers_whose_shares_are_of_a_time_to_come_are_refused() {
    let now_s = unix_time();
    let (far_us, far_s) = ((now_s + 4_000) * 1_000_000, now_s + 8_000);
    let id = (now_s << 32) + 5;
    for share in [
        format!("{id:x}:{}:1", u64::MAX),
        format!("{id:x}:{far_us}:1"),
        format!("{:x}:1:1", far_s << 32),
        format!("0:{}:1", u64::MAX),
    ] {
        for line in [
            format!("COUNT 0:0 {now_s}000000 {share} n"),
            format!("STATE 0:0 {now_s}000000 A {share} - - n="),
        ] {
            let server = Server::start();
            let mut slave = Slave::of(&server);
            slave.link.send(&line);
            slave.link.until_closed();
            server.client("admin").ask("INCREMENT n");
            assert_eq!(count(&server, "n"), 1, "{line}");
        }
    }
}

#[test]
fn a_net_clacks_slave_adds_what_memcached_clients_add() {
    let setup = Setup::new();
    let (address, socket) = (setup.unix("memcached"), setup.path("memcached"));
    let setup = setup.flags(&["--memcached", &address, "--memcached-user", "admin"]);
    let server = setup.start();
    let mut slave = server.client("admin");
    slave.send("CLACKS Net::Clacks 36");
    slave.send("OVERHEAD I 1");
    wait_until("it is a link", || server.status("links") == 1);
    let mut client = UnixStream::connect(socket).expect("it listens");
    client
        .write_all(b"set k 0 0 2\r\n10\r\nincr k 5\r\ndecr k 3\r\ndecr k 50\r\ntouch k 100\r\ndelete k\r\n")
        .expect("a connection");
    for line in [
        "STORE k=10",
        "INCREMENT k=5",
        "INCREMENT k=-3",
        "STORE k=0",
        "REMOVE k",
    ] {
        slave.expect_after_others(line);
    }
}
