//! Bad networks between real processes: links and clients are cut at any byte, half closed, delayed and
//! doubled. What a tree guarantees then is tried with far more histories in `simulation`; here are the
//! sockets, the descriptors and the log.

use crate::support::{Client, DEADLINE, Proxy, Server, Setup, Trouble, Way, token, wait_until};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A server, a proxy before it, and a slave behind that.
struct Pair {
    master: Server,
    proxy: Proxy,
    slave: Server,
}

impl Pair {
    /// With trouble from the first link on.
    fn with(trouble: Trouble) -> Pair {
        let master = Server::start();
        let proxy = Proxy::to(Way::Unix(master.socket.clone()));
        proxy.set(trouble);
        let slave = Setup::new()
            .flags(&["--master", &proxy.address()])
            .flags(&["--interclacks-reconnect", "0.01"])
            .start();
        Pair {
            master,
            proxy,
            slave,
        }
    }

    fn servers(&self) -> [&Server; 2] {
        [&self.master, &self.slave]
    }

    /// Ends the trouble; the servers then agree about everything, and nobody is left over at either.
    fn heal_and_check(&self, clients_each: usize) {
        self.proxy.set(Trouble::default());
        self.proxy.cut();
        wait_until("one link is up", || {
            self.slave.is_slave() && self.master.status("links") == 1
        });
        wait_until("both hold the same", || {
            self.master.entries() == self.slave.entries()
        });
        for server in self.servers() {
            let mut client = server.client("mg");
            // One link, and who asks.
            wait_until("nobody else is there", || {
                client.ask("CLIENTLIST").len() == 2 + clients_each + 2
            });
            let log = server.process.log();
            assert!(!log.iter().any(|line| line.contains(" ERROR ")), "{log:?}");
        }
    }
}

/// The numbers of the signals that a listener has heard, from one sender.
fn numbers(heard: &[String], sender: &str) -> Vec<u64> {
    let start = format!("SET signal={sender}:");
    let numbers = heard.iter().filter_map(|line| line.strip_prefix(&start));
    numbers
        .map(|number| number.parse().expect("a whole line"))
        .collect()
}

fn assert_once_and_in_order(heard: &[String], sender: &str) {
    let numbers = numbers(heard, sender);
    assert!(
        numbers.windows(2).all(|two| two[0] < two[1]),
        "{sender}: {numbers:?}"
    );
}

/// A link is cut at each byte of what either side says when it comes up, by halves or altogether, while
/// both sides write and signal.
#[test]
fn a_link_cut_at_any_byte_loses_no_write_and_repeats_no_signal() {
    const BYTES: usize = 220;
    let pair = Pair::with(Trouble::default());
    let mut listeners = pair.servers().map(|server| server.client("ro"));
    for listener in &mut listeners {
        listener.ask("LISTEN signal");
    }
    let mut writers = pair.servers().map(|server| server.client("rw"));
    let mut heard: [Vec<String>; 2] = Default::default();
    let mut rounds = 0;
    let start = Instant::now();
    for cut in 0..2 * BYTES {
        let (after, of_answers) = (1 + cut / 2, cut % 2 == 1);
        pair.proxy.set(Trouble {
            cut_after_sent: (!of_answers).then_some(after),
            cut_after_answered: of_answers.then_some(after),
            is_half: after % 2 == 0,
            ..Trouble::default()
        });
        let dialled = pair.proxy.dialled();
        if cut == 0 {
            pair.proxy.cut();
        }
        rounds += 1;
        assert!(start.elapsed() < 4 * DEADLINE, "a cut is noticed late");
        for (writer, side) in writers.iter_mut().zip(["master", "slave"]) {
            let name = rounds % 17;
            writer.send(&format!("STORE name{name}={side} {rounds}"));
            writer.send("INCREMENT counter");
            writer.send(&format!("REMOVE name{}", (rounds + 5) % 17));
            writer.ask(&format!("SET signal={side}:{rounds}"));
        }
        wait_until("it is dialled again", || pair.proxy.dialled() > dialled);
        for (listener, heard) in listeners.iter_mut().zip(&mut heard) {
            heard.extend(listener.flush());
        }
    }
    pair.heal_and_check(2);
    // No process has ended, so each increment counts once.
    let counted = format!("RETRIEVED counter={}", 2 * rounds);
    for writer in &mut writers {
        assert_eq!(writer.ask("RETRIEVE counter"), [&*counted]);
    }
    writers[1].ask(&format!("SET signal=slave:{}", rounds + 1));
    listeners[0].expect_after_others(&format!("SET signal=slave:{}", rounds + 1));
    for ((listener, heard), side) in listeners
        .iter_mut()
        .zip(&mut heard)
        .zip(["master", "slave"])
    {
        heard.extend(listener.flush());
        // Those of the same server all come.
        assert_eq!(
            numbers(heard, side)[..rounds as usize],
            (1..=rounds).collect::<Vec<u64>>()
        );
        for sender in ["master", "slave"] {
            assert_once_and_in_order(heard, sender);
        }
    }
}

#[test]
fn a_slow_link_loses_no_signal_and_none_overtakes_a_write() {
    const SIGNALS: u64 = 300;
    let pair = Pair::with(Trouble {
        delay: Duration::from_millis(3),
        ..Trouble::default()
    });
    wait_until("the link is up", || pair.slave.is_slave());
    let mut listeners = pair.servers().map(|server| server.client("ro"));
    for listener in &mut listeners {
        listener.ask("LISTEN signal");
    }
    let mut writers = pair.servers().map(|server| server.client("rw"));
    for number in 1..=SIGNALS {
        for (writer, side) in writers.iter_mut().zip(["master", "slave"]) {
            let padding = "x".repeat(number as usize % 97);
            writer.send(&format!("STORE of {side}={number} {padding}"));
            writer.send(&format!("SET signal={side}:{number}"));
        }
    }
    for (listener, side) in listeners.iter_mut().zip(["slave", "master"]) {
        let mut expected = 1;
        while expected <= SIGNALS {
            let line = listener.next_line().expect("the server lives");
            let Some(number) = line.strip_prefix(&format!("SET signal={side}:")) else {
                continue;
            };
            assert_eq!(number, expected.to_string());
            expected += 1;
            if expected % 10 != 0 {
                continue;
            }
            // Its sender has stored that before. The other side's signals come in between.
            listener.send(&format!("RETRIEVE of {side}"));
            let mut later = 0;
            while later == 0 {
                let line = listener.next_line().expect("the server lives");
                if let Some(number) = line.strip_prefix(&format!("SET signal={side}:")) {
                    assert_eq!(number, expected.to_string());
                    expected += 1;
                } else if let Some(value) = line.strip_prefix(&format!("RETRIEVED of {side}=")) {
                    let number = value
                        .split(' ')
                        .next()
                        .and_then(|number| number.parse().ok());
                    later = number.expect("what was stored");
                    assert!(
                        later >= expected - 1,
                        "{later} after signal {}",
                        expected - 1
                    );
                }
            }
        }
    }
    for server in pair.servers() {
        assert_eq!(server.process.log_line("has ended"), None);
    }
    pair.heal_and_check(2);
}

/// The master has two links of one slave, which say the same: no signal comes twice, no increment counts
/// twice, and what the master says has gone both ways.
#[test]
fn a_slave_that_is_linked_twice_is_heard_once() {
    const SIGNALS: u64 = 200;
    let pair = Pair::with(Trouble {
        is_double: true,
        ..Trouble::default()
    });
    let other = Setup::new()
        .flags(&["--master", &pair.master.setup.unix("socket")])
        .start();
    wait_until("all are linked", || {
        pair.slave.is_slave() && other.is_slave() && pair.master.status("links") == 3
    });
    let servers = [&pair.master, &pair.slave, &other];
    let mut listeners = servers.map(|server| server.client("ro"));
    for listener in &mut listeners {
        listener.ask("LISTEN signal");
    }
    let mut writers = servers.map(|server| server.client("rw"));
    for number in 1..=SIGNALS {
        for (writer, side) in writers.iter_mut().zip(["master", "slave", "other"]) {
            let name = number % 7;
            writer.send(&format!("STORE name{name}={side} {number}"));
            writer.send(&format!("INCREMENT counter={number}"));
            writer.send(&format!("SET signal={side}:{number}"));
            writer.ask(&format!("REMOVE name{}", (number + 3) % 7));
        }
    }
    let all: Vec<u64> = (1..=SIGNALS).collect();
    for listener in &mut listeners {
        let mut heard = Vec::new();
        while heard.len() < 3 * SIGNALS as usize {
            heard.extend(listener.next_line());
        }
        for side in ["master", "slave", "other"] {
            assert_eq!(numbers(&heard, side), all, "{side}");
        }
    }
    let sum = 3 * SIGNALS * (SIGNALS + 1) / 2;
    for writer in &mut writers {
        wait_until("all is counted", || {
            writer.ask("RETRIEVE counter") == [format!("RETRIEVED counter={sum}")]
        });
    }
    // Nothing comes late either.
    for listener in &mut listeners {
        assert_eq!(listener.flush(), [""; 0]);
    }
    drop((other, writers, listeners));
    pair.heal_and_check(0);
}

/// Clients whose connections end at any byte, on one side or on both: what was a whole line counts, the
/// rest doesn't, and nothing of them stays.
#[test]
fn clients_cut_at_any_byte_leave_nothing_but_whole_lines() {
    let server = Server::start();
    let proxy = Proxy::to(Way::Unix(server.socket.clone()));
    let mut observer = server.client("admin");
    observer.ask("LISTEN signal");
    let descriptors = server.open_descriptors();
    let script = |number: usize| {
        format!(
            "OVERHEAD A {}\r\nLISTEN signal\r\nSTORE name=whole {number} value\r\n\
             SET signal=client:{number}\r\nRETRIEVE name\r\nFLUSH end\r\nQUIT\r\n",
            token("rw")
        )
    };
    let length = script(100).len();
    let mut heard = Vec::new();
    for cut in 0..2 * length {
        let (after, of_answers) = (1 + cut / 2, cut % 2 == 1);
        let number = 100 + cut;
        proxy.set(Trouble {
            cut_after_sent: (!of_answers).then_some(after),
            cut_after_answered: of_answers.then_some(after),
            is_half: after % 3 == 0,
            ..Trouble::default()
        });
        let mut client = Client::tcp(proxy.port);
        let _ = client.try_send(script(number).as_bytes());
        client.until_closed();
        drop(client);
        let came = observer.ask("RETRIEVE name");
        let is_answer = |line: &&String| line.contains("RETRIEVED name");
        let value = came.iter().find(is_answer).expect("an answer");
        let number = value
            .strip_prefix("RETRIEVED name=whole ")
            .and_then(|rest| rest.strip_suffix(" value"))
            .map(|number| number.parse::<usize>().expect("a number"));
        assert!(
            number.map_or(value == "NOTRETRIEVED name", |number| number <= 100 + cut),
            "{value}"
        );
        heard.extend(came);
    }
    wait_until("all sessions are gone", || {
        heard.extend(observer.flush());
        server.status("clients") == 1 && server.open_descriptors() == descriptors
    });
    // Each was a client of its own, and so their order is nobody's.
    let numbers = numbers(&heard, "client");
    assert!(numbers.len() > length / 2, "many of them got so far");
    let once: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!(once.len(), numbers.len(), "{numbers:?}");
    assert_eq!(server.status("subscriptions"), 1);

    // Replayed by somebody on the way, it is what two clients say.
    proxy.set(Trouble {
        is_double: true,
        ..Trouble::default()
    });
    let mut client = Client::tcp(proxy.port).logged_in("rw");
    wait_until("both are there", || server.status("clients") == 3);
    client.ask("INCREMENT counter");
    wait_until("both have counted", || {
        observer.ask("RETRIEVE counter") == ["RETRIEVED counter=2"]
    });
    drop(client);
    wait_until("both are gone", || server.status("clients") == 1);
    assert!(
        !server
            .process
            .log()
            .iter()
            .any(|line| line.contains(" ERROR "))
    );
}
