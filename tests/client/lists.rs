//! Calls of the client library that ask for many things at once.

use crate::support::{Server, Setup, wait_until};
use clacks::{Client, Error, Options, Ttl};
use std::time::Duration;

fn options(server: &Server, user: &str) -> Options {
    let options = Options::new(&server.address()).expect("an address");
    options.login(user, &format!("{user}pw"))
}

/// A text for each value; `-` for none.
fn values(client: &mut Client, names: &[&str]) -> Result<String, Error> {
    let values = client.retrieve_all(names)?;
    let texts = values.iter().map(|value| match value {
        Some(value) => value.to_str().into_owned(),
        None => "-".to_owned(),
    });
    Ok(texts.collect::<Vec<_>>().join(" "))
}

#[test]
fn values_come_in_the_order_of_their_names() {
    let server = Server::start();
    let mut client = Client::connect(options(&server, "rw")).expect("a server");
    for name in ["a", "b", "c=d"] {
        server.client("rw").ask(&format!("STORE {name}={name}"));
    }
    // The name of the last entry is c.
    let found = values(&mut client, &["c", "none", "a", "a", "b"]);
    assert_eq!(found.expect("answers"), "d=c=d - a a b");
    assert_eq!(values(&mut client, &[]).expect("nothing to ask"), "");
    for wrong in [&["a", ""][..], &["a\nb"]] {
        let refused = client.retrieve_all(wrong);
        assert!(matches!(refused, Err(Error::Invalid(_))));
    }
    let mut writer = Client::connect(options(&server, "wo")).expect("a server");
    let refused = writer.retrieve_all(&["a", "b"]);
    assert!(matches!(refused, Err(Error::Refused(reason)) if reason == "permission_denied"));
}

#[test]
fn late_answers_are_not_taken_for_those_of_the_next_call() {
    let server = Server::start();
    let brief = options(&server, "rw").call_timeout(Duration::from_millis(100));
    let mut client = Client::connect(brief).expect("a server");
    let mut writer = server.client("rw");
    writer.ask("STORE a=1");
    server.process.signal(libc::SIGSTOP);
    for _ in 0..3 {
        let late = values(&mut client, &["a", "a"]);
        assert!(matches!(late, Err(Error::TimedOut)));
    }
    server.process.signal(libc::SIGCONT);
    writer.ask("STORE a=2");
    let mut found = String::new();
    wait_until("the server answers", || {
        match values(&mut client, &["a", "a"]) {
            Err(Error::TimedOut) => return false,
            answer => found = answer.expect("the only other error is a lost connection"),
        }
        true
    });
    assert_eq!(found, "2 2");
    writer.ask("STORE b=3");
    assert_eq!(values(&mut client, &["b", "a"]).expect("answers"), "3 2");
}

#[test]
fn values_are_asked_for_again_after_a_lost_connection() {
    let setup = Setup::new();
    let journal = crate::support::text(&setup.path("journal"));
    let server = setup.flags(&["--persist", &journal]).start();
    let mut client = Client::connect(options(&server, "rw")).expect("a server");
    server.client("rw").ask("STORE a=1");
    let server = server.end_and_restart();
    assert_eq!(values(&mut client, &["a", "b"]).expect("answers"), "1 -");
    drop(server);
}

#[test]
fn entries_are_described_without_their_values() {
    let server = Server::start();
    let mut client = Client::connect(options(&server, "rw")).expect("a server");
    client.store("shop::a", "12345").expect("it is sent");
    let hour = Duration::from_secs(3600);
    client.store_for("shop::b c", "", hour).expect("it is sent");
    client.store("other", "1").expect("it is sent");
    let mut found = client.key_info("shop::").expect("answers");
    found.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(found.len(), 2);
    assert_eq!(
        (&found[0].name, found[0].size, found[0].ttl),
        (&"shop::a".into(), 5, Ttl::Never)
    );
    assert_eq!((&found[1].name, found[1].size), (&"shop::b c".into(), 0));
    assert!(matches!(found[1].ttl, Ttl::Seconds(1..=3600)));
    assert_eq!(client.key_info("").expect("answers").len(), 3);
    assert!(matches!(client.key_info("a\n"), Err(Error::Invalid(_))));
}
