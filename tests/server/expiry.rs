//! EXPIRE and TTL: entries that expire, here, at other servers and after a start.

use crate::interclacks::slave_of;
use crate::support::{Server, Setup, text, wait_until};

#[test]
fn an_entry_has_an_expiry_until_it_is_stored_again() {
    let server = Server::start();
    let mut client = server.client("rw");
    assert_eq!(client.ask("TTL a"), ["NOTRETRIEVED a"]);
    client.ask("EXPIRE a=100");
    assert_eq!(client.ask("TTL a"), ["NOTRETRIEVED a"]);
    client.ask("STORE a=1");
    assert_eq!(client.ask("TTL a"), ["TTL a=-1"]);
    client.ask("EXPIRE a=100");
    let answer = client.ask("TTL a");
    let left: u64 = answer[0]["TTL a=".len()..].parse().expect("seconds");
    assert!((1..=100).contains(&left), "{left}");
    client.ask("INCREMENT a");
    assert_ne!(client.ask("TTL a"), ["TTL a=-1"]);
    assert_eq!(client.ask("RETRIEVE a"), ["RETRIEVED a=2"]);
    client.ask("EXPIRE a=0");
    assert_eq!(client.ask("TTL a"), ["TTL a=-1"]);
    client.ask("EXPIRE a=99999999999999");
    // A century at most.
    assert_eq!(client.ask("TTL a")[0].len(), "TTL a=3153600000".len());
    client.ask("STORE a=1");
    assert_eq!(client.ask("TTL a"), ["TTL a=-1"]);
    assert_eq!(
        client.ask("EXPIRE a=-1"),
        ["OVERHEAD E unknown_command EXPIRE a=-1"]
    );
}

#[test]
fn an_expired_entry_is_gone_at_once() {
    let server = Server::start();
    let mut client = server.client("rw");
    client.ask("STORE a=5");
    client.ask("STORE b=1");
    client.ask("EXPIRE a=0.000001");
    assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    assert_eq!(client.ask("TTL a"), ["NOTRETRIEVED a"]);
    assert_eq!(
        client.ask("KEYLIST"),
        ["KEYLISTSTART", "KEY b", "KEYLISTEND"]
    );
    client.ask("EXPIRE a=100");
    assert_eq!(client.ask("TTL a"), ["NOTRETRIEVED a"]);
    client.ask("INCREMENT a");
    assert_eq!(client.ask("RETRIEVE a"), ["RETRIEVED a=1"]);
    assert_eq!(client.ask("TTL a"), ["TTL a=-1"]);
}

#[test]
fn an_expiry_is_set_at_all_servers_and_kept() {
    let setup = Setup::new();
    let journal = text(&setup.path("journal"));
    let root = setup.flags(&["--persist", &journal]).start();
    let slave = slave_of(&root.setup.unix("socket")).start();
    wait_until("the link is up", || slave.is_slave());
    let (mut client, mut other) = (root.client("rw"), slave.client("rw"));
    client.ask("STORE a=1");
    client.ask("STORE b=1");
    client.ask("EXPIRE a=1000");
    let has_expiry =
        |answer: Vec<String>| answer[0].starts_with("TTL a=") && answer[0] != "TTL a=-1";
    wait_until("the expiry has come", || has_expiry(other.ask("TTL a")));
    client.flush();
    drop(client);
    let root = root.kill_and_restart();
    let mut client = root.client("rw");
    assert!(has_expiry(client.ask("TTL a")));
    assert_eq!(client.ask("TTL b"), ["TTL b=-1"]);
}

#[test]
fn texts_that_stand_for_values_with_line_ends_come_back_as_they_were_stored() {
    let server = Server::start();
    let mut client = server.client("rw");
    let texts = [
        "PAGECAMELCLACKSB64:dHdvDQpsaW5lcw==",
        "PAGECAMELCLACKSB64:UEFHRUNBTUVMQ0xBQ0tTQjY0OmRIZHZEUXBzYVc1bGN3PT0=",
        "PAGECAMELCLACKSB64:eA==",
        "PAGECAMELCLACKSB64:!",
    ];
    for verb in ["STORE", "SETANDSTORE"] {
        for text in texts {
            client.ask(&format!("{verb} a={text}"));
            assert_eq!(client.ask("RETRIEVE a"), [format!("RETRIEVED a={text}")]);
        }
    }
    // Long values are answered in another way.
    let long = format!("{}{}", "PAGECAMELCLACKSB64:", "Cg0K".repeat(200_000));
    client.ask(&format!("STORE a={long}"));
    assert!(client.ask("RETRIEVE a") == [format!("RETRIEVED a={long}")]);
}
