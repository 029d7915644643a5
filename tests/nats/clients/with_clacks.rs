//! NATS clients and Clacks clients hear each other.

use super::Program;
use crate::nats::servers::{Clacksd, Entry};
use crate::support::{Client, Running};
use std::io::Write;

/// Names of signals from Clacks clients, the subjects that NATS clients see, and the names that a message to these subjects
/// has for Clacks clients.
const NAMES: [(&str, &str, &str); 23] = [
    ("weather::vienna", "weather.vienna", "weather::vienna"),
    ("a:b", "a:b", "a:b"),
    ("a:::b", "a.:b", "a:::b"),
    ("a::*", "a.*", "a::*"),
    ("a::>", "a.>", "a::>"),
    ("é", "é", "é"),
    ("50%", "50%", "50%"),
    ("a.b", "a%2Eb", "a.b"),
    ("my room", "my%20room", "my room"),
    ("room 1::lamp.2", "room%201.lamp%2E2", "room 1::lamp.2"),
    ("a\tb", "a%09b", "a\tb"),
    ("\u{1}", "%01", "\u{1}"),
    ("\u{7f}", "%7F", "\u{7f}"),
    ("::a", "%.a", "::a"),
    ("a::", "a.%", "a::"),
    ("a::::b", "a.%.b", "a::::b"),
    ("%", "%25", "%"),
    ("%20", "%2520", "%20"),
    ("100%2E", "100%252E", "100%2E"),
    ("a%41", "a%41", "a%41"),
    ("a%0Ab", "a%0Ab", "a%0Ab"),
    // These two can only be notified.
    ("", "%", "%"),
    ("a=b", "a=b", "a%3Db"),
];

/// Subjects, and the names for Clacks clients.
const SUBJECTS: [(&str, &str); 13] = [
    ("weather.vienna", "weather::vienna"),
    ("a.:b", "a:::b"),
    ("my%20room", "my room"),
    ("a%41", "a%41"),
    ("a%2e", "a%2e"),
    ("a%0Ab", "a%0Ab"),
    ("a::b", "a::b"),
    ("a:.b", "a:::b"),
    ("a=b", "a%3Db"),
    ("%", "%"),
    ("a%25", "a%25"),
    ("a\u{1}b", "a\u{1}b"),
    ("a.b", "a::b"),
];

/// Payloads, and the values for Clacks clients.
const PAYLOADS: [(&[u8], &str); 12] = [
    (b"21.5", "21.5"),
    (b"", ""),
    (b"=", "="),
    (b"a\0b", "a\0b"),
    (b"PAGECAMELCLACKSB64:eA==", "PAGECAMELCLACKSB64:eA=="),
    (b"PAGECAMELCLACKSB64:!", "PAGECAMELCLACKSB64:!"),
    (
        b"PAGECAMELCLACKSB64:aGVsbG8=",
        "PAGECAMELCLACKSB64:aGVsbG8=",
    ),
    (b"PAGECAMELCLACKSB64:YQpi ", "PAGECAMELCLACKSB64:YQpi "),
    (b"PAGECAMELCLACKSB64:YQpi=", "PAGECAMELCLACKSB64:YQpi="),
    (
        b"PAGECAMELCLACKSYAMLB64: LS0tIDEK",
        "PAGECAMELCLACKSYAMLB64: LS0tIDEK",
    ),
    (b"a\nb", "PAGECAMELCLACKSB64:YQpi"),
    (
        b"PAGECAMELCLACKSB64:YQpi",
        "PAGECAMELCLACKSB64:UEFHRUNBTUVMQ0xBQ0tTQjY0OllRcGk=",
    ),
];

/// Subject, payload, reply and the value of a header.
type Parts<'a> = (&'a str, &'a [u8], &'a str, &'a str);

/// A NATS client that hears everything, itself too, and says what it is told to.
struct Relay<'a> {
    running: Running,
    name: &'a str,
}

impl Relay<'_> {
    fn start(program: &Program, port: u16) -> Relay<'_> {
        let running = Running::start(&mut program.command(port, &["relay"]));
        assert_eq!(running.next_line().as_deref(), Some("relay: ready"));
        let name = program.name;
        Relay { running, name }
    }

    fn say(&mut self, parts: Parts<'_>) {
        let stdin = self.running.stdin.as_mut().expect("it is taken by nobody");
        writeln!(stdin, "{}", line(parts)).expect("it reads");
    }

    fn expect(&self, parts: Parts<'_>) {
        let expected = format!("relay: {}", line(parts));
        let came = self.running.next_line();
        assert_eq!(
            came.as_deref(),
            Some(&*expected),
            "{} for {parts:?}",
            self.name
        );
    }

    /// Says something, and gets it.
    fn say_and_hear(&mut self, parts: Parts<'_>) {
        self.say(parts);
        self.expect(parts);
    }
}

fn line((subject, payload, reply, header): Parts<'_>) -> String {
    let parts = [
        subject.as_bytes(),
        payload,
        reply.as_bytes(),
        header.as_bytes(),
    ];
    let words = parts.map(|part| match part {
        [] => "-".to_owned(),
        part => part.iter().map(|byte| format!("{byte:02x}")).collect(),
    });
    words.join(" ")
}

pub fn hear_each_other(program: &Program) {
    let clacksd = Clacksd::start(Entry::Free);
    let mut relay = Relay::start(program, clacksd.port);
    let (mut speaker, mut listener) = (clacksd.server.client("rw"), clacksd.server.client("ro"));
    names(&mut relay, &mut speaker, &mut listener);
    subjects(&mut relay, &mut listener);
    payloads(&mut relay, &mut speaker, &mut listener);
    forms(&mut relay, &mut speaker, &mut listener);
    drop(relay.running.stdin.take());
    assert_eq!(relay.running.next_line(), None);
    assert!(relay.running.wait().success());
}

/// Signals that a Clacks client sends, and messages to the subjects that they come with.
fn names(relay: &mut Relay<'_>, speaker: &mut Client, listener: &mut Client) {
    for (name, subject, answered) in NAMES {
        if name.is_empty() || name.contains('=') {
            speaker.send(&format!("NOTIFY {name}"));
            relay.expect((subject, b"", "", ""));
        } else {
            speaker.send(&format!("SET {name}=from Clacks"));
            relay.expect((subject, b"from Clacks", "", ""));
        }
        listener.ask(&format!("LISTEN {answered}"));
        relay.say_and_hear((subject, b"from NATS", "", ""));
        let expected = format!("SET {answered}=from NATS");
        assert_eq!(listener.ask(&format!("UNLISTEN {answered}")), [expected]);
    }
    // One byte less is shown.
    for (length, is_shown) in [(4097, false), (4096, true)] {
        let name = "x".repeat(length);
        speaker.send(&format!("NOTIFY {name}"));
        if is_shown {
            relay.expect((&name, b"", "", ""));
        }
    }
}

/// Messages that only a NATS client can send.
fn subjects(relay: &mut Relay<'_>, listener: &mut Client) {
    for (subject, name) in SUBJECTS {
        listener.ask(&format!("LISTEN {name}"));
        // It reaches nobody, as the next message shows.
        relay.say(("a..b", b"lost", "", ""));
        relay.say_and_hear((subject, b"said", "", ""));
        let expected = format!("SET {name}=said");
        assert_eq!(
            listener.ask(&format!("UNLISTEN {name}")),
            [expected],
            "{subject}"
        );
    }
}

fn payloads(relay: &mut Relay<'_>, speaker: &mut Client, listener: &mut Client) {
    listener.ask("LISTEN from::nats");
    for (payload, value) in PAYLOADS {
        relay.say_and_hear(("from.nats", payload, "", ""));
        assert_eq!(listener.flush(), [format!("SET from::nats={value}")]);
        speaker.send(&format!("SET from::clacks={value}"));
        relay.expect(("from.clacks", payload, "", ""));
    }
}

/// Replies, headers and the verbs of Clacks clients.
fn forms(relay: &mut Relay<'_>, speaker: &mut Client, listener: &mut Client) {
    listener.ask("LISTEN a");
    speaker.ask("LISTEN a");
    relay.say_and_hear(("a", b"hi", "r", "1"));
    relay.say_and_hear(("a", b"", "r", ""));
    relay.say_and_hear(("a", b"", "", "1"));
    let heard = ["SET a=hi", "SET a=", "SET a="];
    assert_eq!(listener.flush(), heard);
    assert_eq!(speaker.flush(), heard);
    // No signals.
    speaker.send("STORE a=1");
    speaker.send("INCREMENT a");
    speaker.send("REMOVE a");
    speaker.send("NOTIFY a");
    relay.expect(("a", b"", "", ""));
    speaker.send("SETANDSTORE a=x");
    relay.expect(("a", b"x", "", ""));
    assert_eq!(speaker.ask("RETRIEVE a"), ["RETRIEVED a=x"]);
    assert_eq!(listener.flush(), ["NOTIFY a", "SET a=x"]);
}

pub fn talk_with_the_tool(program: &Program) {
    let clacksd = Clacksd::start(Entry::Free);
    let server = &clacksd.server;
    let mut relay = Relay::start(program, clacksd.port);
    let listening = server.clacks_until("ro", &["listen", "weather::graz"], "LISTEN weather::graz");
    relay.say_and_hear(("weather.graz", b"19.5", "", ""));
    assert_eq!(listening.next_line().as_deref(), Some("weather::graz=19.5"));
    server.clacks_output("wo", &["set", "weather::vienna", "21.5"]);
    relay.expect(("weather.vienna", b"21.5", "", ""));
}
