//! Bad networks between real processes: links and clients are cut at any byte, half closed, delayed and
//! doubled. What a tree guarantees then is tried with far more histories in `simulation`; here are the
//! sockets, the descriptors and the log.

use crate::support::{Client, DEADLINE, Proxy, Server, Setup, Trouble, Way, token, wait_until};
use regex::Regex;
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

/// Writers and listeners at both servers of a pair. Both write the same number of times.
struct Conversation {
    writers: [Client; 2],
    listeners: [Client; 2],
    said: u64,
    heard: [Vec<String>; 2],
}

impl Conversation {
    const SIDES: [&str; 2] = ["master", "slave"];

    fn at(pair: &Pair) -> Conversation {
        let mut listeners = pair.servers().map(|server| server.client("ro"));
        for listener in &mut listeners {
            listener.ask("LISTEN signal");
        }
        Conversation {
            writers: pair.servers().map(|server| server.client("rw")),
            listeners,
            said: 0,
            heard: Default::default(),
        }
    }

    /// Each side writes, and then says the next signal.
    fn say(&mut self) {
        self.said += 1;
        let said = self.said;
        for (writer, side) in self.writers.iter_mut().zip(Conversation::SIDES) {
            writer.send(&format!("STORE name{}={side} {said}", said % 17));
            writer.send("INCREMENT counter");
            writer.send(&format!("REMOVE name{}", (said + 5) % 17));
            writer.ask(&format!("SET signal={side}:{said}"));
        }
        for (listener, heard) in self.listeners.iter_mut().zip(&mut self.heard) {
            heard.extend(listener.flush());
        }
    }

    /// How many signals of the other side each listener has heard.
    fn crossed(&self) -> [usize; 2] {
        [
            numbers(&self.heard[0], Conversation::SIDES[1]).len(),
            numbers(&self.heard[1], Conversation::SIDES[0]).len(),
        ]
    }

    /// Goes on until a signal that is said now has crossed each way.
    fn say_until_heard(&mut self) {
        let before = self.crossed();
        wait_until("signals cross", || {
            self.say();
            let now = self.crossed();
            now[0] > before[0] && now[1] > before[1]
        });
    }
}

/// A link is cut at bytes of all that either side says until it has told what it holds and passed on a signal,
/// by halves or altogether, while both sides write and signal. Between two cuts a link stays whole until
/// signals have crossed it, sometimes with a second one beside it that says the same.
#[test]
fn a_link_cut_at_any_byte_loses_no_write_and_repeats_no_signal() {
    /// In either direction.
    const CUTS: usize = 80;
    let pair = Pair::with(Trouble::default());
    let mut conversation = Conversation::at(&pair);
    // All the names that there will be, so that as much is told each time.
    for _ in 0..17 {
        conversation.say_until_heard();
    }
    pair.proxy.cut();
    conversation.say_until_heard();
    let lengths = pair.proxy.passed();
    let start = Instant::now();
    for cut in 0..2 * CUTS {
        let (place, direction) = (cut / 2, cut % 2);
        // The last one falls just behind.
        let after = (place + 1) * lengths[direction] / CUTS;
        let dialled = pair.proxy.dialled();
        pair.proxy.set(Trouble {
            cut_after_sent: (direction == 0).then_some(after),
            cut_after_answered: (direction == 1).then_some(after),
            is_half: place % 2 == 0,
            ..Trouble::default()
        });
        pair.proxy.cut();
        wait_until("it is cut, and dialled again", || {
            conversation.say();
            pair.proxy.dialled() > dialled + 1
        });
        pair.proxy.set(Trouble {
            is_double: place % 3 == 0,
            ..Trouble::default()
        });
        pair.proxy.cut();
        conversation.say_until_heard();
        assert!(start.elapsed() < 4 * DEADLINE, "a cut is noticed late");
    }
    pair.heal_and_check(2);
    conversation.say_until_heard();
    let crossed = conversation.crossed();
    assert!(
        crossed.iter().all(|crossed| *crossed > 2 * CUTS),
        "{crossed:?}"
    );
    // No process has ended, so each increment counts once.
    let counted = format!("RETRIEVED counter={}", 2 * conversation.said);
    for writer in &mut conversation.writers {
        wait_until("all is counted", || {
            writer.ask("RETRIEVE counter") == [&*counted]
        });
    }
    let all: Vec<u64> = (1..=conversation.said).collect();
    for (heard, side) in conversation.heard.iter().zip(Conversation::SIDES) {
        // Those of the same server all come.
        assert_eq!(numbers(heard, side), all);
        for sender in Conversation::SIDES {
            assert_once_and_in_order(heard, sender);
        }
    }
}

/// Both sides have much to tell when the link comes up, and signal from the beginning.
#[test]
fn a_slow_link_loses_no_signal_and_none_overtakes_a_write() {
    const SIGNALS: u64 = 300;
    const NAMES: usize = 8000;
    let sides = ["master", "slave"];
    // None at first.
    let pair = Pair::with(Trouble {
        cut_after_sent: Some(0),
        ..Trouble::default()
    });
    let mut listeners = pair.servers().map(|server| server.client("ro"));
    for listener in &mut listeners {
        listener.ask("LISTEN signal");
    }
    let mut writers = pair.servers().map(|server| server.client("rw"));
    for (writer, side) in writers.iter_mut().zip(sides) {
        let lines = (0..NAMES).map(|number| format!("STORE early {side} {number}=1\r\n"));
        writer.send_bytes(lines.collect::<String>().as_bytes());
        writer.flush();
    }
    pair.proxy.set(Trouble {
        delay: Duration::from_millis(3),
        ..Trouble::default()
    });
    wait_until("the link is up", || {
        pair.slave.is_slave() && pair.master.status("links") == 1
    });
    let logged = pair.servers().map(|server| server.process.log().len());
    for number in 1..=SIGNALS {
        for (writer, side) in writers.iter_mut().zip(sides) {
            let padding = "x".repeat(number as usize % 97);
            writer.send(&format!("STORE of {side}={number} {padding}"));
            writer.send(&format!("SET signal={side}:{number}"));
        }
    }
    for (writer, server) in writers.iter_mut().zip(pair.servers()) {
        assert_eq!(writer.flush(), [""; 0]);
        let told = server.status("entries") as usize;
        assert!(told < 2 * NAMES, "it goes on while much is being told");
    }
    for (listener, side) in listeners.iter_mut().zip(["slave", "master"]) {
        let mut heard = Vec::new();
        while heard.len() < SIGNALS as usize {
            let line = listener.next_line().expect("the server lives");
            heard.extend(numbers(&[line], side));
            if heard.len() != 1 && heard.len() % 10 != 9 {
                continue;
            }
            // Its sender has stored that before, and all that it had to tell. The other side's signals come in
            // between.
            let newest = *heard.last().expect("some");
            if heard.len() == 1 {
                let early = (0..NAMES).map(|number| format!("RETRIEVE early {side} {number}\r\n"));
                listener.send_bytes(early.collect::<String>().as_bytes());
            }
            let came = listener.ask(&format!("RETRIEVE of {side}"));
            assert!(!came.iter().any(|line| line.starts_with("NOTRETRIEVED")));
            let stored = format!("RETRIEVED of {side}=");
            let stored = came.iter().find_map(|line| line.strip_prefix(&stored));
            let stored = stored.and_then(|value| value.split(' ').next()?.parse().ok());
            let stored: u64 = stored.expect("what was stored");
            assert!(stored >= newest, "{stored} after signal {newest}");
            heard.extend(numbers(&came, side));
        }
        assert_eq!(heard, (1..=SIGNALS).collect::<Vec<u64>>(), "{side}");
    }
    for (server, logged) in pair.servers().into_iter().zip(logged) {
        let log = server.process.log_from(logged);
        assert!(
            !log.iter().any(|line| line.contains("has ended")),
            "{log:?}"
        );
    }
    pair.heal_and_check(2);
}

/// The master has two links of one slave, which say the same: no signal comes twice, no increment counts
/// twice, and what the master says has gone both ways.
#[test]
fn a_slave_that_is_linked_twice_keeps_one_link_and_is_heard_once() {
    const SIGNALS: u64 = 200;
    let pair = Pair::with(Trouble {
        is_double: true,
        ..Trouble::default()
    });
    let other = Setup::new()
        .flags(&["--master", &pair.master.setup.unix("socket")])
        .start();
    let mut prober = pair.master.client("rw");
    let mut at_slave = pair.slave.client("rw");
    for probe in 0.. {
        wait_until("the master has ended one link of the slave", || {
            let has_ended = pair.master.process.log_line("has ended: replaced");
            let are_slaves = pair.slave.is_slave() && other.is_slave();
            has_ended.is_some() && are_slaves && pair.master.status("links") == 2
        });
        // The slave may not have noticed yet that it was the link on which it hears its master.
        prober.ask(&format!("STORE probe={probe}"));
        wait_until("the slave hears its master", || {
            at_slave.ask("RETRIEVE probe") == [format!("RETRIEVED probe={probe}")]
        });
        if pair.master.status("links") == 2 {
            break;
        }
    }
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
    drop((other, writers, listeners, prober, at_slave));
    pair.heal_and_check(0);
}

/// Waits until the connection of a client of the script below has ended, and checks the lines that it has received:
/// answers in their order, and signals of earlier clients, whose lines the server may handle only now. Each line is
/// whole, except for the last one.
fn assert_whole_answers(client: &mut Client) {
    let number = "[0-9]+";
    let answers = [
        "CLACKS clacksd/[^ ]+ interclacks/2",
        "OVERHEAD M Authentication required",
        "OVERHEAD O Welcome!",
        &format!("RETRIEVED name=whole {number} value"),
        "FLUSHED end",
    ]
    .map(|answer| Regex::new(&format!("^{answer}$")).expect("a pattern"));
    let signal = Regex::new(&format!("^SET signal=client:{number}$")).expect("a pattern");
    let came = client.until_closed();
    let mut due = answers.iter();
    for line in &came {
        let is_due = signal.is_match(line) || due.next().is_some_and(|due| due.is_match(line));
        assert!(is_due, "{line:?} in {came:?}");
    }
    // The shortest beginnings are those of any line.
    let rest = String::from_utf8_lossy(client.unfinished_line()).into_owned();
    let wholes = [
        "CLACKS clacksd/",
        "OVERHEAD M Authentication required\r",
        "OVERHEAD O Welcome!\r",
        "RETRIEVED name=whole ",
        "FLUSHED end\r",
        "SET signal=client:",
    ];
    let begins = |whole: &&str| whole.starts_with(&rest) || rest.starts_with(*whole);
    assert!(wholes.iter().any(begins), "{rest:?}");
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
        assert_whole_answers(&mut client);
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
