//! Servers of the tree that have gone bad, played by the test: they are logged in, and say what no server says that
//! works. Each such line ends the link with a word of its own, and changes nothing for the others.

use crate::interclacks::counters::Slave;
use crate::interclacks::{Master, slave_of, unix_time};
use crate::support::{Client, Server, wait_until};
use clacks::protocol::attributes::Attributes;
use clacks::protocol::peer::{NodeId, Register, Stamp, State, StatesLine};
use std::time::Duration;

const HOUR_US: u64 = 3_600_000_000;

/// The time in microseconds, as numbers and stamps have it.
fn now_us() -> u64 {
    unix_time() * 1_000_000
}

/// A clacksd slave that is up and has been told everything.
fn bad_slave(server: &Server) -> Client {
    let mut link = server.client("admin");
    link.send("CLACKS clacksd/9 interclacks/2");
    link.send("OVERHEAD I 1");
    link.expect_after_others("SYNCED");
    link
}

/// Says something as a slave; the link ends with that word.
fn assert_refused(server: &Server, line: &str, word: &str) {
    assert_bytes_refused(server, line.as_bytes(), word);
}

/// Says something as a slave, as [`assert_refused`] does, that may be no text.
fn assert_bytes_refused(server: &Server, line: &[u8], word: &str) {
    let before = server.status(word);
    let mut link = bad_slave(server);
    link.send_bytes(&[line, b"\r\n"].concat());
    link.until_closed();
    wait_until("it is counted", || server.status(word) > before);
    let line = server.process.wait_for_log("is not believed");
    assert!(
        line.contains("ERROR") && line.contains("the slave"),
        "{line}"
    );
}

/// The id of the next signal that comes by a link, and the line in it.
fn next_signal(link: &mut Client) -> (String, u64, String) {
    loop {
        let line = link.next_line().expect("a signal");
        let Some(signal) = line.strip_prefix("SIGNAL ") else {
            continue;
        };
        let (id, text) = signal.split_once(' ').expect("a line");
        let (origin, number) = id.split_once(':').expect("an id");
        let number = number.parse().expect("a number");
        return (origin.to_owned(), number, text.to_owned());
    }
}

fn pair() -> (Server, Server) {
    let root = Server::start();
    let slave = slave_of(&root.setup.unix("socket")).start();
    wait_until("the link is up", || slave.is_slave());
    (root, slave)
}

#[test]
fn a_number_of_a_signal_that_can_not_be_mutes_nobody() {
    let (root, honest) = pair();
    let mut listener = root.client("ro");
    listener.ask("LISTEN a");
    let mut speaker = honest.client("rw");
    let mut watcher = bad_slave(&root);
    speaker.ask("NOTIFY a");
    listener.expect("NOTIFY a");
    let (origin, number, _) = next_signal(&mut watcher);
    assert!(
        number.abs_diff(now_us()) < HOUR_US,
        "it is a time: {number}"
    );
    for number in [
        u64::MAX,
        u64::MAX - 1,
        1 << 63,
        now_us() + 2 * HOUR_US,
        now_us() + HOUR_US + HOUR_US / 10,
    ] {
        for line in [
            format!("SIGNAL {origin}:{number} NOTIFY b"),
            format!("SIGNAL {origin}:{number} OVERHEAD GS 1000000"),
            format!("STATE 1:1 1 V - {origin}:{number} - b=1"),
        ] {
            assert_refused(&root, &line, "clock_ahead");
            speaker.ask("NOTIFY a");
            listener.expect("NOTIFY a");
        }
    }
    let mut client = root.client("ro");
    assert_eq!(client.ask("RETRIEVE b"), ["NOTRETRIEVED b"]);
    assert!(honest.is_slave(), "its own link lives");
    // By less than an hour a clock may be wrong.
    let number = now_us() + HOUR_US / 2;
    let mut link = bad_slave(&root);
    listener.ask("LISTEN b");
    link.send(&format!("SIGNAL 5:{number} NOTIFY b"));
    listener.expect("NOTIFY b");
    // Signals may also come from long ago.
    link.send("SIGNAL 6:1 NOTIFY b");
    listener.expect("NOTIFY b");
}

#[test]
fn nobody_makes_signals_and_stamps_for_this_server() {
    let root = Server::start();
    let mut client = root.client("rw");
    let mut watcher = bad_slave(&root);
    client.ask("NOTIFY a");
    let (own, number, _) = next_signal(&mut watcher);
    assert_refused(
        &root,
        &format!("SIGNAL {own}:{} NOTIFY a", number + 1),
        "implausible",
    );
    // Its own, that comes back, is none.
    watcher.send(&format!("SIGNAL {own}:{number} NOTIFY a"));
    client.ask("STORE x=1");
    let later = now_us() + HOUR_US / 2;
    for line in [
        format!("STATE {later}:{own} {later} V - - - x=2"),
        format!("STATE {later}:{own} {later} R - - - x="),
        format!("CLEAR {later}:{own}"),
    ] {
        assert_refused(&root, &line, "implausible");
        assert_eq!(client.ask("RETRIEVE x"), ["RETRIEVED x=1"]);
    }
    watcher.flush();
}

#[test]
fn a_version_of_a_contribution_that_can_not_be_freezes_no_counter() {
    let (root, honest) = pair();
    let [mut at_root, mut at_honest] = [&root, &honest].map(|server| server.client("rw"));
    let mut watcher = bad_slave(&root);
    at_honest.ask("INCREMENT c=5");
    // STATE stamp accessed kind contributions signal attributes name=value
    let words: Vec<String> = loop {
        let line = watcher.next_line().expect("the counter");
        if line.starts_with("STATE ") && line.contains(" c=") {
            break line.split(' ').map(str::to_owned).collect();
        }
    };
    let (counted_by, _) = words[4].split_once(':').expect("a contribution");
    for version in [u64::MAX, 1 << 63, now_us() + 2 * HOUR_US] {
        for contributions in [
            format!("{counted_by}:{version}:1000"),
            format!("0:1:1,{counted_by}:{version}:1000"),
            format!("{counted_by}:1:1,ffffffffffffffff:{version}:1000"),
        ] {
            let stamp = &words[1];
            let line = format!("STATE {stamp} 1 A {contributions} - - c=");
            assert_refused(&root, &line, "clock_ahead");
        }
    }
    // What was folded has a weight, which is no time.
    for weight in [u64::MAX, (1 << 60) + 1] {
        let line = format!("STATE {} 1 A 0:{weight}:1000 - - c=", words[1]);
        assert_refused(&root, &line, "implausible");
    }
    at_honest.ask("INCREMENT c=2");
    for client in [&mut at_root, &mut at_honest] {
        wait_until("it counts on", || {
            client.ask("RETRIEVE c") == ["RETRIEVED c=7"]
        });
    }
}

/// Steps that are allowed each, but not all of them.
#[test]
fn many_small_steps_of_a_masters_clock_empty_no_cache() {
    for step in [58 * 60, -58 * 60, 600] {
        let (master, server) = Master::with_slave(&[]);
        let mut client = server.client("rw");
        client.ask("STORE kept=1");
        client.ask("REMOVE gone");
        let mut time = unix_time();
        let mut links = 0;
        for _ in 0..10 {
            let mut link = master.accept_as_clacksd(&server);
            links += 1;
            for _ in 0..100 {
                time = time.saturating_add_signed(step);
                if link
                    .try_send(format!("OVERHEAD T {time}\r\n").as_bytes())
                    .is_err()
                {
                    break;
                }
            }
            link.until_closed();
        }
        assert_eq!(links, 10, "it dials again");
        wait_until("all are refused", || server.status("clock_ahead") == 10);
        server.process.wait_for_log("differ by");
        assert_eq!(client.ask("RETRIEVE kept"), ["RETRIEVED kept=1"]);
        // The right time is still taken.
        let mut link = master.accept_as_clacksd(&server);
        link.send(&format!("OVERHEAD T {}", unix_time()));
        link.send(&format!("STATE {}:7 1 V - - - new=1", now_us()));
        wait_until("that has come", || {
            client.ask("RETRIEVE new") == ["RETRIEVED new=1"]
        });
    }
}

/// Lines with a verb of clacksd servers that none of them sends. Numbers that take long to read are among them.
#[test]
fn lines_that_are_out_of_form_end_the_link() {
    let server = Server::start();
    let slow = (1..=2_000).map(|node| format!("{node:x}:1:2.47032822920623272088e-324"));
    let slow: Vec<String> = slow.collect();
    let digits = "9".repeat(10_000);
    let too_many = (1..=5_000).map(|node| format!("{node:x}:1:1"));
    let too_many: Vec<String> = too_many.collect();
    for line in [
        "STATE",
        "STATE x",
        "STATE 1:1 1 V - - - =1",
        "STATE 1:1 1 A - - - a=",
        "STATE 1:1 1 V 2:1:1,1:1:1 - - a=1",
        "STATE 18446744073709551616:1 1 V - - - a=1",
        "STATE 1:1 1 V 1:1:1e5000x - - a=1",
        "SIGNAL 1 NOTIFY a",
        "SIGNAL 1:-1 NOTIFY a",
        "SIGNAL 1:x NOTIFY a",
        "SIGNAL 1:1 s=a",
        "SIGNAL 1:1 h=QQ NOTIFY a",
        "JOIN",
        "JOIN a b c",
        "LEAVE a ",
        "CLEAR",
        "CLEAR 5",
        "COUNT 1:1 1 1:1 a",
        "COUNT 1:1 1 1:1:0.123456789012345678 a",
        "COUNT 1:1 1 1:1:1 ",
        "FOLD",
        "FOLD 5",
        "PATH",
        "PATH 1 x",
        "STATE 1:1 1 V - - a=1",
        "STATE 1:1 1 V - - w,b a=1",
        r"STATE 1:1 1 V - - - a=\x",
        "TOUCH 1:1 f1 a",
        &format!("STATE 1:1 1 A {} - - a=", slow.join(",")),
        &format!("STATE 1:1 1 A {} - - a=", too_many.join(",")),
        &format!("STATE 1:1 1 A 1:1:0.{digits} - - a="),
        &format!("STATE 1:1 1 A 1:1:{digits} - - a="),
    ] {
        assert_refused(&server, line, "implausible");
    }
    let mut client = server.client("ro");
    assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
}

/// A STATES line of values under these names, with that stamp, and without its end.
fn states_line(stamp: Stamp, names: &[&str]) -> Vec<u8> {
    let mut states = StatesLine::default();
    for name in names {
        let state = State {
            stamp,
            accessed_us: stamp.time_us,
            register: Register::Value(b"1"),
            attributes: Attributes::default(),
            contributions: Vec::new(),
        };
        states.push(name.as_bytes(), &state);
    }
    let mut line = Vec::new();
    states.finish(&mut line);
    line.truncate(line.len() - b"\r\n".len());
    line
}

/// One that is wrong is the last of many, and none of the others has an effect.
#[test]
fn states_that_come_together_are_refused_together() {
    let server = Server::start();
    let mut client = server.client("ro");
    let [newer, older] = [now_us(), now_us() - 1].map(|time_us| Stamp {
        time_us,
        node: NodeId(7),
    });
    let right = |names: &[&str]| states_line(newer, names);
    let joined = |other: Vec<u8>| [right(&["a", "b"]), other[b"STATES ".len()..].to_vec()].concat();
    let ahead = Stamp {
        time_us: now_us() + 2 * HOUR_US,
        ..newer
    };
    let mut cut = right(&["a", "b"]);
    cut.pop();
    let mut longer = right(&["a", "b"]);
    longer.push(b'1');
    let many = right(&["a"; 32]);
    let too_many = [&many[..], &right(&["b"])[b"STATES ".len()..]].concat();
    for (line, reason) in [
        (joined(states_line(ahead, &["c"])), "clock_ahead"),
        (cut, "implausible"),
        (longer, "implausible"),
        (too_many, "implausible"),
        ([&right(&["a"])[..], br"\x"].concat(), "implausible"),
        (b"STATES ".to_vec(), "implausible"),
        (b"STATES".to_vec(), "implausible"),
        (b"STATES x".to_vec(), "implausible"),
    ] {
        assert_bytes_refused(&server, &line, reason);
        assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    }
    let mut link = bad_slave(&server);
    link.send_bytes(&[joined(states_line(older, &["c"])), b"\r\n".to_vec()].concat());
    for name in ["a", "b", "c"] {
        wait_until("it has come", || {
            client.ask(&format!("RETRIEVE {name}")) == [format!("RETRIEVED {name}=1")]
        });
    }
}

/// Members of groups with a pattern that is none, a form that is kept free, and options that nobody knows.
#[test]
fn lines_without_a_meaning_here_do_not_end_the_link() {
    let server = Server::start();
    let mut listener = server.client("ro");
    listener.send("LISTEN a");
    listener.flush();
    let mut link = bad_slave(&server);
    for line in [
        "JOIN a..b w",
        "LEAVE >.a w",
        "JOIN a.*",
        "LEAVE a.*",
        "LEAVE x y",
    ] {
        link.send(line);
    }
    let number = now_us();
    link.send(&format!("SIGNAL 5:{number} z=1 s=a r=b q=w h=QQ== SET a=1"));
    listener.expect("SET a=1");
    link.send(&format!("SIGNAL 5:{} NOTIFY a", number + 1));
    listener.expect("NOTIFY a");
}

/// They are verbs of clients alone: none is answered, and none has an effect.
#[test]
fn verbs_of_clients_mean_nothing_on_a_link() {
    let server = Server::start();
    let mut client = server.client("rw");
    client.ask("STORE a=1");
    let mut slave = Slave::of(&server);
    for line in ["STATUS", "TTL a", "KEYINFO", "EXPIRE a=100", "PLISTEN a"] {
        slave.link.send(line);
    }
    client.ask("STORE b=1");
    let line = slave.link.next_line().expect("the server goes on");
    assert!(
        line.starts_with("STATE ") && line.ends_with(" b=1"),
        "{line}"
    );
    assert_eq!(client.ask("TTL a"), ["TTL a=-1"]);
}

/// Lines of a Net::Clacks server whose times are too long are ignored, and its link stays up: it may not know better.
#[test]
fn times_that_take_long_to_read_are_ignored() {
    let (master, server) = Master::with_slave(&[]);
    let mut link = master.accept_and_log_in();
    let time = format!("{}.{}", unix_time(), "1".repeat(100_000));
    link.send(&format!("OVERHEAD T {time}"));
    link.send(&format!("KEYSYNC {time} 1 U a=1"));
    link.send(&format!("KEYSYNC 1 {time} U a=1"));
    link.send(&format!("OVERHEAD GS {time}"));
    link.send("STORE end=1");
    let mut client = server.client("ro");
    wait_until("the rest has come", || {
        client.ask("RETRIEVE end") == ["RETRIEVED end=1"]
    });
    assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    assert!(server.is_slave());
    server.process.wait_for_log("shows no time");
    server.process.wait_for_log("whose times are no numbers");
}

#[test]
fn a_slave_that_invents_senders_of_signals_is_refused_and_none_is_forgotten() {
    let (root, honest) = pair();
    let mut listener = root.client("ro");
    listener.ask("LISTEN a");
    let mut watcher = bad_slave(&root);
    honest.client("rw").ask("NOTIFY a");
    listener.expect("NOTIFY a");
    let (origin, number, _) = next_signal(&mut watcher);
    // Many times as many as are remembered, by one link after the other.
    let mut heard = 0;
    for round in 0..10_u64 {
        let before = root.status("implausible");
        let mut link = bad_slave(&root);
        let lines = (0..5_000)
            .map(|sender| format!("SIGNAL {:x}:1 NOTIFY a\r\n", (round + 1) << 32 | sender));
        // It may be closed before all is written.
        let _ = link.try_send(lines.collect::<String>().as_bytes());
        link.until_closed();
        wait_until("it is refused", || root.status("implausible") > before);
        heard += listener.flush().len();
    }
    assert!(heard < 10_000, "{heard} signals of invented senders");
    watcher.send(&format!("SIGNAL {origin}:{number} NOTIFY a"));
    watcher.flush();
    assert_eq!(listener.flush(), [""; 0], "it is not heard again");
}

/// Lines that one server believes are passed on to other servers, whose clocks may show a little less. These have to
/// believe them, too, or a slave could make the links of others end.
#[test]
fn a_slave_at_the_bounds_of_what_is_believed_ends_no_other_link() {
    const LITTLE_US: u64 = 5_000_000;
    // A master hears an hour less a little from a slave, its own master a little more.
    let (root, honest) = pair();
    let less_us = || now_us() + HOUR_US - LITTLE_US;
    let lines = |time_us: u64| {
        [
            format!("STATE {time_us}:7 1 V - - - a=1"),
            format!("STATE 1:7 1 A {:x}00000001:{time_us}:1 - - c=", unix_time()),
            format!("STATE 1:7 1 V - - t{time_us} t=1"),
            format!("TOUCH 1:7 x{time_us},t{time_us} t"),
            format!("SIGNAL 77:{time_us} SET a=1"),
            format!("CLEAR {time_us}:7"),
            format!("FOLD {time_us}:7"),
        ]
    };
    for line in lines(less_us()) {
        assert_refused(&honest, &line, "clock_ahead");
    }
    for line in lines(less_us()) {
        bad_slave(&root).ask(&line);
    }
    assert_eq!(root.process.log_line("not believed"), None);
    root.client("rw").ask("STORE b=1");
    wait_until("it has come", || {
        honest.client("rw").ask("RETRIEVE b") == ["RETRIEVED b=1"]
    });
    let refused = honest
        .process
        .log_line("the master")
        .filter(|line| line.contains("not believed"));
    assert_eq!(refused, None);
    // A slave hears an hour and a little from its master, and more new senders than one slave may bring.
    let (master, slave) = Master::with_slave(&[]);
    let mut link = master.accept_as_clacksd(&slave);
    link.send(&format!("OVERHEAD T {}", unix_time()));
    let mut client = slave.client("admin");
    for line in lines(now_us() + HOUR_US + LITTLE_US) {
        link.send(&line);
    }
    for sender in 0..5_000 {
        link.send(&format!("SIGNAL {sender:x}00:1 SET a=1"));
    }
    // And what somebody else has made in its name.
    link.send("SYNCED");
    client.ask("NOTIFY a");
    let (own, number, _) = next_signal(&mut link);
    link.send(&format!("SIGNAL {own}:{} SET a=1", number + 1));
    for line in lines(now_us() + HOUR_US + LITTLE_US + 500) {
        link.send(&line.replace(":7", &format!(":{own}")));
    }
    let newer_us = now_us() + HOUR_US + LITTLE_US + 1_000;
    link.send(&format!("STATE {newer_us}:7 1 V - - - last=1"));
    wait_until("it has heard all of it", || {
        client.ask("RETRIEVE last") == ["RETRIEVED last=1"]
    });
    assert_eq!(slave.process.log_line("not believed"), None);
}

/// A client would take it for an answer of its own server, or be closed.
#[test]
fn an_overhead_line_that_nobody_has_forwarded_reaches_no_client() {
    let root = Server::start();
    let mut client = root.client("ro");
    client.flush();
    let mut link = bad_slave(&root);
    let start = now_us();
    for (number, line) in ["M x", "E permission_denied", "N x", "S 1", "C 1"]
        .iter()
        .enumerate()
    {
        link.ask(&format!(
            "SIGNAL 77:{} OVERHEAD {line}",
            start + number as u64
        ));
    }
    assert_eq!(client.ask("RETRIEVE x"), ["NOTRETRIEVED x"]);
    link.ask(&format!("SIGNAL 77:{} OVERHEAD GN x", start + 10));
    client.expect("OVERHEAD GN x");
    assert_eq!(root.process.log_line("shutting down"), None);
}

#[test]
fn a_clacksd_master_locks_nobody() {
    let (master, server) = Master::with_slave(&[]);
    for line in ["OVERHEAD L 1", "OVERHEAD L 0", "OVERHEAD LN 1"] {
        let mut link = master.accept_as_clacksd(&server);
        link.send(line);
        link.until_closed();
        assert_eq!(server.client("ro").ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    }
    assert_eq!(server.status("implausible"), 3);
}

/// A state counts as used when it was written, whatever is said of its use.
#[test]
fn nobody_makes_entries_stale_by_writing_them() {
    let server = Server::start();
    let mut link = bad_slave(&server);
    link.send(&format!("STATE {}:7 0 V - - - a=1", now_us()));
    link.send(&format!("STATE {}:7 {} V - - - b=1", now_us(), u64::MAX));
    link.flush();
    let mut client = server.client("ro");
    for name in ["a", "b"] {
        let answer = client.ask(&format!("RETRIEVE {name}"));
        assert_eq!(answer, [format!("RETRIEVED {name}=1")]);
    }
}

/// Each of many clears is passed on, but what a Net::Clacks server lost by it is told again only as there is room.
#[test]
fn a_flood_of_clears_makes_no_flood_of_entries() {
    const CLEARS: usize = 2_000;
    const ENTRIES: usize = 100;
    let server = Server::start();
    let mut client = server.client("rw");
    for number in 0..ENTRIES {
        client.send(&format!("STORE name{number}=1"));
    }
    client.flush();
    let mut perl = server.client("admin");
    perl.send("CLACKS Net::Clacks 36");
    perl.send("OVERHEAD I 1");
    perl.expect_after_others("OVERHEAD L 0");
    let mut link = bad_slave(&server);
    let earlier = now_us() - HOUR_US;
    let clears = (0..CLEARS as u64).map(|number| format!("CLEAR {}:7\r\n", earlier + number));
    link.send_bytes(clears.collect::<String>().as_bytes());
    link.flush();
    client.ask("NOTIFY end");
    let mut said = Vec::new();
    while said.last().map(String::as_str) != Some("NOTIFY end") {
        said.push(perl.next_line().expect("the link lives"));
    }
    let count = |verb: &str| said.iter().filter(|line| line.starts_with(verb)).count();
    assert_eq!(count("CLEARCACHE"), CLEARS);
    let told = count("KEYSYNC");
    assert!((ENTRIES..CLEARS * ENTRIES / 10).contains(&told), "{told}");
    assert_eq!(server.entries().len(), ENTRIES);
}

#[test]
fn a_path_is_passed_on_when_it_changes_and_has_each_server_once() {
    let (master, server) = Master::with_slave(&[]);
    let mut link = master.accept_as_clacksd(&server);
    let mut below = bad_slave(&server);
    for _ in 0..1_000 {
        link.send("PATH a b");
    }
    link.send("PATH a c");
    link.send(&format!("SIGNAL 5:{} NOTIFY end", now_us()));
    let mut paths = Vec::new();
    loop {
        let line = below.next_line().expect("the link lives");
        if line.ends_with(" NOTIFY end") {
            break;
        }
        paths.extend(line.strip_prefix("PATH ").map(str::to_owned));
    }
    assert_eq!(paths.len(), 2, "{paths:?}");
    // The master has not sent the tree's time.
    assert!(paths[0].starts_with("0 a b ") && paths[1].starts_with("0 a c "));
    link.send("PATH a b a");
    link.until_closed();
    server.process.wait_for_log("form a ring");
    let long = (0..5_000).map(|node| format!("{node:x}"));
    let long: Vec<String> = long.collect();
    let mut link = master.accept_as_clacksd(&server);
    link.send(&format!("PATH {}", long.join(" ")));
    link.until_closed();
    server.process.wait_for_log("servers in a row");
    assert_eq!(server.status("ring"), 2);
}

/// The whole tree ends by it, but not sooner than it says, and at any number it lives.
#[test]
fn a_shutdown_in_absurd_seconds_is_far_away() {
    let server = Server::start();
    let mut link = bad_slave(&server);
    for (number, seconds) in [
        "1e300",
        "inf",
        "NaN",
        "-1",
        "1e-400",
        "18446744073709551616",
    ]
    .iter()
    .enumerate()
    {
        link.send(&format!("SIGNAL 5:{} OVERHEAD GS {seconds}", number + 1));
    }
    link.flush();
    assert_eq!(link.whatever_came(Duration::from_millis(100)), [""; 0]);
    assert_eq!(server.client("ro").ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
}
