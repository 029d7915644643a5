//! Messages that come one straight after the other are put together for their receivers: nobody must be able to tell, but
//! by the speed.

use super::frames::{Frame, Message, take_all};
use super::matching::matches;
use super::target::{Login, Target};
use crate::support::{Client, Conversation, Random};

fn target() -> Target {
    Target::clacksd(Login::Optional)
}

fn listener(target: &Target, subscriptions: &str) -> Conversation {
    let mut listener = target.connect_quietly();
    assert_eq!(target.ask(&mut listener, subscriptions.as_bytes()), b"");
    listener
}

/// PUB with the number as its payload, of each.
fn publishes(subject: &str, numbers: std::ops::Range<u32>) -> String {
    let publish = |number: u32| {
        let payload = number.to_string();
        format!("PUB {subject} {}\r\n{payload}\r\n", payload.len())
    };
    numbers.map(publish).collect()
}

/// The messages that come of [`publishes`].
fn messages(subject: &str, sid: &str, numbers: std::ops::Range<u32>) -> String {
    publishes(&format!("{subject} {sid}"), numbers).replace("PUB ", "MSG ")
}

/// The messages among those published before that have come to a listener.
fn heard(target: &Target, listener: &mut Conversation) -> String {
    String::from_utf8(target.ask(listener, b"")).expect("text")
}

#[test]
fn every_listener_gets_each_message_once_and_in_order_whatever_its_sids_are() {
    for sids in [["1", "1", "1"], ["1", "22", "0333"]] {
        let target = target();
        let mut sender = target.connect_quietly();
        let mut listeners = sids.map(|sid| listener(&target, &format!("SUB a {sid}\r\n")));
        let mut of_both = listener(&target, "SUB a 1\r\nSUB b 2\r\n");
        // Bursts of all lengths, some longer than a chunk of output, and single messages between them.
        let (mut script, mut to_both) = (String::new(), String::new());
        let mut of_a = sids.map(|_| String::new());
        for (round, length) in [1, 2, 3, 9000, 1, 9, 700, 2].into_iter().enumerate() {
            for (subject, numbers) in [("a", 0..length), ("b", 0..round as u32), ("a", 7..8)] {
                script += &publishes(subject, numbers.clone());
                let sid = if subject == "a" { "1" } else { "2" };
                to_both += &messages(subject, sid, numbers.clone());
                for (text, sid) in of_a.iter_mut().zip(sids).filter(|_| subject == "a") {
                    *text += &messages("a", sid, numbers.clone());
                }
            }
        }
        assert_eq!(target.ask(&mut sender, script.as_bytes()), b"");
        for (listener, expected) in listeners.iter_mut().zip(of_a) {
            assert!(heard(&target, listener) == expected);
        }
        assert!(heard(&target, &mut of_both) == to_both);
    }
}

#[test]
fn who_wants_no_echo_gets_the_others_messages_only() {
    for sids in [["1", "1", "1"], ["1", "2", "33"]] {
        let target = target();
        let mut listeners = sids.map(|sid| {
            let mut listener = target.connect_with(r#"{"verbose":false,"echo":false}"#);
            target.ask(&mut listener, format!("SUB a {sid}\r\n").as_bytes());
            listener
        });
        let mut echoed = listener(&target, "SUB a 7\r\n");
        let numbers = |sender: u32| sender * 1000..sender * 1000 + 300;
        for (sender, number) in (0..).zip(0..listeners.len()) {
            let script = publishes("a", numbers(sender));
            listeners[number].say(script.as_bytes());
            // Each after the other, so that the order is known.
            let own = heard(&target, &mut listeners[number]);
            assert!(!own.contains(&messages("a", sids[number], numbers(sender))));
            let before = (0..sender).map(|other| messages("a", sids[number], numbers(other)));
            assert!(own == before.collect::<String>(), "{sender}");
        }
        target.ask(&mut echoed, publishes("a", 5000..5100).as_bytes());
        let of = |sid: &str, sender: u32| messages("a", sid, numbers(sender));
        let last = |sid: &str| messages("a", sid, 5000..5100);
        let expected = [
            of("1", 1) + &of("1", 2) + &last("1"),
            of(sids[1], 2) + &last(sids[1]),
            last(sids[2]),
        ];
        for (listener, expected) in listeners.iter_mut().zip(expected) {
            assert!(heard(&target, listener) == expected);
        }
    }
}

#[test]
fn a_subscription_ends_in_the_midst_of_a_burst_when_its_messages_have_come() {
    for sids in [["1", "1"], ["1", "22"]] {
        let target = target();
        let mut stays = listener(&target, &format!("SUB a {}\r\n", sids[1]));
        let mut sender = listener(&target, "SUB a 1\r\n");
        let script = publishes("a", 0..50) + "UNSUB 1 70\r\n" + &publishes("a", 50..100);
        let came = target.ask(&mut sender, script.as_bytes());
        assert!(came == messages("a", "1", 0..70).as_bytes());
        assert!(heard(&target, &mut stays) == messages("a", sids[1], 0..100));
        // So many have come already.
        let script = "SUB a 1\r\n".to_owned()
            + &publishes("a", 0..50)
            + "UNSUB 1 50\r\n"
            + &publishes("a", 50..100);
        let came = target.ask(&mut sender, script.as_bytes());
        assert!(came == messages("a", "1", 0..50).as_bytes());
        assert!(heard(&target, &mut stays) == messages("a", sids[1], 0..100));
    }
}

#[test]
fn a_header_block_goes_to_those_who_take_it() {
    let target = target();
    let mut sender = target.connect_quietly();
    let mut with = listener(&target, "SUB a 1\r\n");
    let mut without = target.connect_with(r#"{"verbose":false}"#);
    target.ask(&mut without, b"SUB a 1\r\n");
    let script = |verb: &str, middle: &str| -> String {
        let round = |number: u32| {
            let header = "NATS/1.0\r\n\r\n";
            let plain = messages("a", "1", number..number + 1);
            format!("{verb} a {middle}r 12 14\r\n{header}{number:02}\r\n") + &plain
        };
        (0..50).map(round).collect()
    };
    let sent = script("HPUB", "").replace("MSG a 1 ", "PUB a ");
    assert_eq!(target.ask(&mut sender, sent.as_bytes()), b"");
    assert!(heard(&target, &mut with) == script("HMSG", "1 "));
    let stripped = script("MSG", "1 ").replace("r 12 14\r\nNATS/1.0\r\n\r\n", "r 2\r\n");
    assert!(heard(&target, &mut without) == stripped);
    // All take them now.
    target.ask(&mut without, b"CONNECT {\"headers\":true}\r\n");
    assert_eq!(target.ask(&mut sender, sent.as_bytes()), b"");
    assert!(heard(&target, &mut with) == script("HMSG", "1 "));
    assert!(heard(&target, &mut without) == script("HMSG", "1 "));
}

#[test]
fn a_receiver_that_is_closed_in_a_burst_has_what_came_before() {
    for sids in [["1", "1"], ["1", "22"]] {
        let target = target();
        let mut stays = listener(&target, &format!("SUB a {}\r\n", sids[1]));
        let mut goes = listener(&target, "SUB a 1\r\n");
        goes.say((publishes("a", 0..50) + "wrong\r\n").as_bytes());
        let came = String::from_utf8(goes.until_closed()).expect("text");
        let expected = messages("a", "1", 0..50) + "-ERR 'Unknown Protocol Operation'\r\n";
        assert_eq!(came, expected);
        let after = publishes("a", 50..100);
        assert_eq!(
            target.ask(&mut target.connect_quietly(), after.as_bytes()),
            b""
        );
        assert!(heard(&target, &mut stays) == messages("a", sids[1], 0..100));
    }
}

#[test]
fn a_receiver_that_leaves_does_not_disturb_the_others() {
    let target = target();
    let mut sender = target.connect_quietly();
    let mut stays = ["1", "22"].map(|sid| listener(&target, &format!("SUB a {sid}\r\n")));
    for round in 0..20 {
        let leaves = listener(&target, "SUB a 1\r\n");
        let numbers = round * 1000..round * 1000 + 500;
        sender.say(publishes("a", numbers.clone()).as_bytes());
        drop(leaves);
        assert_eq!(target.ask(&mut sender, b""), b"");
        for (listener, sid) in stays.iter_mut().zip(["1", "22"]) {
            assert!(heard(&target, listener) == messages("a", sid, numbers.clone()));
        }
    }
}

#[test]
fn long_payloads_stand_in_their_places_between_short_ones() {
    for sids in [["1", "1", "1"], ["1", "2", "33"]] {
        let target = target();
        let mut sender = target.connect_quietly();
        let mut listeners = sids.map(|sid| listener(&target, &format!("SUB a {sid}\r\n")));
        let (mut script, mut expected) = (String::new(), sids.map(|_| String::new()));
        for length in [
            1, 5000, 2, 2, 100_000, 300_000, 2, 2, 2, 4000, 4100, 600_000,
        ] {
            let end = format!("{length}\r\n{}\r\n", "x".repeat(length));
            for _ in 0..3 {
                script += &format!("PUB a {end}");
                for (text, sid) in expected.iter_mut().zip(sids) {
                    *text += &format!("MSG a {sid} {end}");
                }
            }
        }
        let beside = sender.say_beside(script.into_bytes());
        for (listener, expected) in listeners.iter_mut().zip(&expected) {
            while listener.came.len() < expected.len() {
                assert!(listener.wait(), "only {} bytes came", listener.came.len());
            }
        }
        beside.join().expect("all was sent");
        for (listener, expected) in listeners.iter_mut().zip(expected) {
            assert!(heard(&target, listener) == expected);
        }
        assert_eq!(target.ask(&mut sender, b""), b"");
    }
}

#[test]
fn signals_of_clacks_clients_come_in_between() {
    let target = target();
    let mut clacks = Client::unix(&target.server().socket).logged_in("admin");
    let mut listeners = ["1", "22"].map(|sid| listener(&target, &format!("SUB a {sid}\r\n")));
    let mut of_clacks = Client::unix(&target.server().socket).logged_in("admin");
    of_clacks.send("LISTEN a");
    of_clacks.flush();
    let sets = |numbers: std::ops::Range<u32>| -> String {
        numbers
            .map(|number| format!("SET a={number}\r\n"))
            .collect()
    };
    clacks.send_bytes(sets(0..300).as_bytes());
    clacks.flush();
    let mut sender = target.connect_quietly();
    assert_eq!(
        target.ask(&mut sender, publishes("a", 300..600).as_bytes()),
        b""
    );
    clacks.send_bytes(sets(600..700).as_bytes());
    clacks.flush();
    for (listener, sid) in listeners.iter_mut().zip(["1", "22"]) {
        assert!(heard(&target, listener) == messages("a", sid, 0..700));
    }
    let came = of_clacks.flush().join("\r\n") + "\r\n";
    assert!(came == sets(0..700));
}

#[test]
fn a_listener_that_reads_nothing_is_closed_at_its_limit_and_the_others_get_everything() {
    for sids in [["1", "1"], ["1", "22"]] {
        let flags = ["--max-line", "64K", "--max-output", "1M"];
        let target = Target::clacksd_with(Login::Optional, &flags);
        let mut sender = target.connect_quietly();
        let mut reads = listener(&target, &format!("SUB a {}\r\n", sids[0]));
        let _deaf = listener(&target, &format!("SUB a {}\r\n", sids[1]));
        let payload = "v".repeat(500);
        let script = format!("PUB a 500\r\n{payload}\r\n").repeat(50);
        let expected = script.replace("PUB a", &format!("MSG a {}", sids[0]));
        for _ in 0..400 {
            assert_eq!(target.ask(&mut sender, script.as_bytes()), b"");
            assert!(heard(&target, &mut reads) == expected);
        }
        target.server().process.wait_for_log("output_limit");
    }
}

/// A subscription of the model.
struct Modelled {
    sid: u32,
    pattern: &'static str,
    received: u32,
    max: Option<u32>,
}

impl Modelled {
    fn is_spent(&self) -> bool {
        self.max.is_some_and(|max| self.received >= max)
    }
}

/// A client of the model.
struct ModelledClient {
    takes_headers: bool,
    wants_echo: bool,
    subscriptions: Vec<Modelled>,
    /// The messages that it is to get. Those of one publish are in the order of their sids.
    expected: Vec<Message>,
}

impl ModelledClient {
    fn receive(&mut self, subject: &str, header: Option<&str>, payload: &str) {
        let first = self.expected.len();
        for subscription in &mut self.subscriptions {
            if matches(subscription.pattern, subject) {
                subscription.received += 1;
                let header = header.filter(|_| self.takes_headers);
                self.expected.push(Message {
                    sid: subscription.sid.to_string().into_bytes(),
                    subject: subject.into(),
                    reply: None,
                    header: header.map(Into::into),
                    payload: payload.into(),
                });
            }
        }
        self.expected[first..].sort();
        self.subscriptions.retain(|it| !it.is_spent());
    }

    /// A line of its own about a subscription, and its effect.
    fn change(&mut self, random: &mut Random) -> String {
        const PATTERNS: [&str; 6] = ["a.a", "a.b", "a.*", "a.>", ">", "*.a"];
        let sid = 1 + random.below(3) as u32;
        let place = self.subscriptions.iter().position(|it| it.sid == sid);
        match (random.below(4), place) {
            (0, Some(place)) => {
                self.subscriptions.remove(place);
                format!("UNSUB {sid}\r\n")
            }
            (1, Some(place)) => {
                let subscription = &mut self.subscriptions[place];
                let max = (subscription.received + random.below(20) as u32).max(1);
                subscription.max = Some(max);
                self.subscriptions.retain(|it| !it.is_spent());
                format!("UNSUB {sid} {max}\r\n")
            }
            (_, place) => {
                let pattern = PATTERNS[random.below(PATTERNS.len())];
                if place.is_none() {
                    self.subscriptions.push(Modelled {
                        sid,
                        pattern,
                        received: 0,
                        max: None,
                    });
                }
                format!("SUB {pattern} {sid}\r\n")
            }
        }
    }
}

/// The messages that came to a client, in the form of the model.
fn messages_of(came: &[u8]) -> Vec<Message> {
    let mut came = came.to_vec();
    let frames = take_all(&mut came);
    assert_eq!(came, b"");
    let mut messages: Vec<Message> = frames
        .into_iter()
        .map(|frame| match frame {
            Frame::Message(message) => message,
            Frame::Line(line) => panic!("{}", line.escape_ascii()),
        })
        .collect();
    for of_one in messages.chunk_by_mut(|one, other| one.payload == other.payload) {
        of_one.sort();
    }
    messages
}

/// Whatever is subscribed to and published: one client after the other sends a batch, and all see what came.
#[test]
fn everybody_gets_what_a_model_of_the_subscriptions_says() {
    const HEADER: &str = "NATS/1.0\r\n\r\n";
    let target = target();
    let mut random = Random::new(1);
    let mut clients: Vec<(Conversation, ModelledClient)> = (0..6)
        .map(|number| {
            let (takes_headers, wants_echo) = (number != 4, number != 5);
            let options =
                format!(r#"{{"verbose":false,"headers":{takes_headers},"echo":{wants_echo}}}"#);
            let model = ModelledClient {
                takes_headers,
                wants_echo,
                subscriptions: Vec::new(),
                expected: Vec::new(),
            };
            (target.connect_with(&options), model)
        })
        .collect();
    for round in 0..400 {
        let sender = random.below(clients.len());
        let (mut batch, mut subject) = (String::new(), "a.a");
        for step in 0..random.below(80) {
            // Long runs of one subject, with little in between.
            match random.below(50) {
                0 => subject = random.pick(&["a.a", "a.b", "b"]),
                1 | 2 => {
                    batch += &clients[sender].1.change(&mut random);
                    continue;
                }
                _ => {}
            }
            let with_header = clients[sender].1.takes_headers && random.below(10) == 0;
            let (payload, header) = (format!("{round}.{step}"), with_header.then_some(HEADER));
            let size = payload.len();
            batch += &match header {
                Some(header) => {
                    let (length, all) = (header.len(), header.len() + size);
                    format!("HPUB {subject} {length} {all}\r\n{header}{payload}\r\n")
                }
                None => format!("PUB {subject} {size}\r\n{payload}\r\n"),
            };
            for (number, (_, model)) in clients.iter_mut().enumerate() {
                if number != sender || model.wants_echo {
                    model.receive(subject, header, &payload);
                }
            }
        }
        clients[sender].0.say(batch.as_bytes());
        // Its own PONG first: by then the others have theirs on the way.
        let others = (0..clients.len()).filter(|number| *number != sender);
        for number in [sender].into_iter().chain(others) {
            let (connection, model) = &mut clients[number];
            let came = messages_of(&target.ask(connection, b""));
            let expected = std::mem::take(&mut model.expected);
            assert_eq!(came, expected, "client {number} after {sender}: {batch}");
        }
    }
}
