//! Processes that stand still: clients that listen and don't read, slaves and masters. The others are
//! served meanwhile; who stood still catches up, or is cut off for the reason that clacksd(8) names. What
//! two servers that both stood still make of the same link is in `interclacks`.

use crate::support::{Client, Server, Setup, wait_until};

/// A listener and a sender at one server.
struct Talk {
    listener: Client,
    sender: Client,
    number: u64,
}

impl Talk {
    fn at(server: &Server) -> Talk {
        let mut listener = server.client("ro");
        listener.ask("LISTEN signal");
        Talk {
            listener,
            sender: server.client("rw"),
            number: 0,
        }
    }

    /// Stores something, signals it, and waits until that is heard; with so much more in it.
    fn go_on(&mut self, padding: &str) {
        self.number += 1;
        let number = self.number;
        self.sender
            .send(&format!("STORE said{}={number}", number % 50));
        self.sender.send(&format!("SET signal={number} {padding}"));
        self.listener
            .expect(&format!("SET signal={number} {padding}"));
        let said = format!("said{}", number % 50);
        assert_eq!(
            self.listener.ask(&format!("RETRIEVE {said}")),
            [format!("RETRIEVED {said}={number}")]
        );
    }
}

#[test]
fn a_listener_that_stood_still_for_a_while_has_missed_nothing() {
    let server = Server::start();
    let listen = server.clacks_until("ro", &["listen", "signal"], "LISTEN signal");
    let mut talk = Talk::at(&server);
    listen.signal(libc::SIGSTOP);
    for _ in 0..500 {
        talk.go_on("");
    }
    listen.signal(libc::SIGCONT);
    for number in 1..=500 {
        assert_eq!(listen.next_line(), Some(format!("signal={number} ")));
    }
}

#[test]
fn a_listener_that_stands_still_for_too_long_is_cut_off_and_the_log_says_why() {
    let flags = ["--max-line", "64K", "--max-output", "1M"];
    let server = Setup::new().flags(&flags).start();
    let listen = server.clacks_until("ro", &["listen", "signal"], "LISTEN signal");
    let mut talk = Talk::at(&server);
    let padding = "x".repeat(32 * 1024);
    // Its call has come to its end then: in the midst of it, it would give up.
    talk.go_on("first");
    assert_eq!(listen.next_line().as_deref(), Some("signal=1 first"));
    listen.signal(libc::SIGSTOP);
    for _ in 0..100 {
        talk.go_on(&padding);
    }
    server.process.wait_for_log(": output_limit (");
    assert_eq!(server.status("output_limit"), 1);
    listen.signal(libc::SIGCONT);
    assert_eq!(listen.complaint(), "clacks: listening");
    let complaint = listen.complaint();
    assert!(complaint.ends_with("; dialling again"), "{complaint}");
    // It comes back; what had been sent to it before the end comes in order, in whole lines.
    wait_until("it listens again", || server.status("subscriptions") == 2);
    talk.go_on("at last");
    let last = format!("signal={} at last", talk.number);
    let came: Vec<String> = std::iter::from_fn(|| listen.next_line())
        .take_while(|line| *line != last)
        .collect();
    let expected = (2..).map(|number| format!("signal={number} {padding}"));
    assert!(came.len() < 100, "{}", came.len());
    assert!(
        came.iter()
            .zip(expected)
            .all(|(came, expected)| *came == expected)
    );
}

const QUICK_LINK: [&str; 6] = [
    "--interclacks-reconnect",
    "0.2",
    "--interclacks-ping-timeout",
    "1.5",
    "--auth-timeout",
    "0.5",
];

/// A master and a slave that is linked to it.
fn pair() -> [Server; 2] {
    let master = Setup::new().flags(&QUICK_LINK).start();
    let address = master.setup.unix("socket");
    let slave = Setup::new()
        .flags(&QUICK_LINK)
        .flags(&["--master", &address])
        .start();
    wait_until("the link is up", || slave.is_slave());
    [master, slave]
}

/// One server stands still until the other one gives the link up. What they hold is the same afterwards,
/// though both were written to; and a signal comes once at most, in order.
fn stop_until_given_up(stopped: &Server, other: &Server, logged: &[&str]) {
    let mut listener = stopped.client("ro");
    listener.ask("LISTEN signal");
    // What it is told while it stands still.
    let mut waiting = stopped.client("rw");
    stopped.process.signal(libc::SIGSTOP);
    waiting.send("STORE waiting=1");
    waiting.start_flush();
    let mut talk = Talk::at(other);
    wait_until("the link is given up", || {
        talk.go_on("");
        logged
            .iter()
            .all(|part| other.process.log_line(part).is_some())
    });
    for _ in 0..50 {
        talk.go_on("");
    }
    other.client("rw").ask("REMOVE said7");
    stopped.process.signal(libc::SIGCONT);
    assert_eq!(waiting.finish_flush(), [""; 0]);
    let has_one_link = |server: &Server| server.status("links") == 1;
    wait_until("one link is up", || {
        has_one_link(stopped) && has_one_link(other)
    });
    wait_until("both hold the same", || {
        let entries = other.entries();
        entries == stopped.entries() && entries.contains_key("waiting")
    });
    assert!(!other.entries().contains_key("said7"));
    talk.go_on("");
    let last = format!("SET signal={} ", talk.number);
    let mut numbers = Vec::new();
    loop {
        let line = listener.next_line().expect("the server lives");
        let number = line
            .strip_prefix("SET signal=")
            .expect("a signal")
            .trim_end();
        numbers.push(number.parse::<u64>().expect("a number"));
        if line == last {
            break;
        }
    }
    assert!(numbers.windows(2).all(|two| two[0] < two[1]), "{numbers:?}");
    drop((listener, waiting, talk));
    for server in [stopped, other] {
        let mut client = server.client("mg");
        wait_until("nobody but the other server is there", || {
            client.ask("CLIENTLIST").len() == 2 + 2
        });
        assert_eq!(server.process.log_line(" ERROR "), None);
    }
}

#[test]
fn a_slave_that_stands_still_is_given_up_and_comes_back() {
    let [master, slave] = pair();
    stop_until_given_up(&slave, &master, &["has ended: ping_timeout"]);
}

/// The slave dials it meanwhile: the kernel accepts, but nobody logs in.
#[test]
fn a_master_that_stands_still_is_given_up_and_comes_back() {
    let [master, slave] = pair();
    let logged = ["has ended: ping_timeout", "interclacksmaster: auth_timeout"];
    stop_until_given_up(&master, &slave, &logged);
}
