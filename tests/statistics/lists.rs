//! The lists of STATUS.

use crate::support::{Client, Conversation, Server, Setup, wait_until};

/// The rows of a list, without their start.
fn rows(manager: &mut Client, list: &str) -> Vec<String> {
    let lines = manager.ask(&format!("STATUS {list}"));
    assert_eq!(lines.first().map(String::as_str), Some("STATUSSTART"));
    assert_eq!(lines.last().map(String::as_str), Some("STATUSEND"));
    let rows = lines[1..lines.len() - 1].iter();
    rows.map(|row| row.strip_prefix("STATUS ").expect("a row").to_owned())
        .collect()
}

fn field<'a>(row: &'a str, name: &str) -> &'a str {
    let mut fields = row.split(';').filter_map(|field| field.split_once('='));
    fields.find(|field| field.0 == name).expect(name).1
}

#[test]
fn clients_are_listed_with_their_users_and_ages() {
    let setup = Setup::new();
    let nats = setup.unix("nats");
    let server = setup.flags(&["--nats", &nats, "--nats-user", "ro"]).start();
    let mut manager = server.client("mg");
    let mut client = server.client("rw");
    client.ask("LISTEN a");
    client.ask("PLISTEN b::*");
    let mut nats = Conversation::begin(&server.setup.path("nats"));
    nats.line();
    nats.say(b"CONNECT {\"name\":\"sub;scriber\"}\r\nSUB a.* 1\r\n");
    nats.ask(b"PING\r\n", b"PONG\r\n");
    let all = rows(&mut manager, "clients");
    assert_eq!(all.len(), 3);
    let of = |user: &str| {
        let mut rows = all.iter();
        rows.find(|row| field(row, "USER") == user).expect(user)
    };
    assert_eq!(field(of("rw"), "LANGUAGE"), "clacks");
    assert_eq!(field(of("rw"), "SUBSCRIPTIONS"), "2");
    assert_eq!(field(of("ro"), "LANGUAGE"), "nats");
    assert_eq!(field(of("ro"), "SUBSCRIPTIONS"), "1");
    assert!(field(of("ro"), "CLIENTINFO").contains("sub_scriber"));
    for row in &all {
        let (age, idle) = (field(row, "AGE"), field(row, "IDLE"));
        let [age, idle]: [f64; 2] = [age, idle].map(|text| text.parse().expect("seconds"));
        assert!(age >= idle, "{row}");
        assert_eq!(field(row, "HOST"), "unixdomainsocket");
        assert_eq!(field(row, "INTERCLACKS"), "0");
    }
}

/// More than one slice of the answer.
#[test]
fn a_long_list_of_clients_is_whole() {
    let server = Server::start();
    let mut manager = server.client("mg");
    let strangers: Vec<_> = (0..500).map(|_| server.stranger()).collect();
    wait_until("they are there", || {
        rows(&mut manager, "clients").len() == 501
    });
    drop(strangers);
}

#[test]
fn links_are_listed_with_their_state() {
    let master = Server::start();
    let address = master.setup.unix("socket");
    let slave = Setup::new().flags(&["--master", &address]).start();
    let (mut at_master, mut at_slave) = (master.client("admin"), slave.client("admin"));
    wait_until("both are up to date", || {
        let [of_master, of_slave] =
            [&mut at_master, &mut at_slave].map(|client| rows(client, "links"));
        let is_up = |rows: &[String]| rows.len() == 1 && field(&rows[0], "STATE") == "up_to_date";
        is_up(&of_master) && is_up(&of_slave)
    });
    let at_master = &rows(&mut at_master, "links")[0];
    assert_eq!(field(at_master, "ROLE"), "slave");
    assert_ne!(field(at_master, "NODE"), "");
    assert!(
        field(at_master, "VERSION").starts_with("clacksd/"),
        "{at_master}"
    );
    assert_ne!(field(at_master, "SYNCED"), "no");
    assert_eq!(field(&rows(&mut at_slave, "links")[0], "ROLE"), "master");
}

#[test]
fn busy_names_and_large_entries_are_found() {
    let server = Server::start();
    let (mut manager, mut client) = (server.client("mg"), server.client("rw"));
    client.ask(&format!("STORE large={}", "v".repeat(50_000)));
    client.ask("STORE small=1");
    client.send_bytes("RETRIEVE busy\r\n".repeat(20_000).as_bytes());
    client.flush();
    let rows = rows(&mut manager, "names");
    let busy = rows
        .iter()
        .find(|row| field(row, "KIND") == "busy")
        .expect("one");
    assert_eq!(field(busy, "NAME"), "busy");
    assert!(field(busy, "SHARE").parse::<f64>().expect("a share") > 50.0);
    let large: Vec<_> = rows
        .iter()
        .filter(|row| field(row, "KIND") == "large")
        .map(|row| field(row, "NAME"))
        .collect();
    assert_eq!(large, ["large", "small"]);
}

#[test]
fn only_those_who_manage_see_the_status() {
    let server = Server::start();
    let mut client = server.client("rw");
    assert_eq!(client.ask("STATUS"), ["OVERHEAD E permission_denied"]);
    assert_eq!(client.ask("STATUS links"), ["OVERHEAD E permission_denied"]);
    let mut manager = server.client("mg");
    let unknown = ["OVERHEAD E unknown_command STATUS everything"];
    assert_eq!(manager.ask("STATUS everything"), unknown);
}

/// Names may be as long as lines, and a list of them is not.
#[test]
fn long_names_are_cut_in_lists() {
    let server = Server::start();
    let (mut manager, mut client) = (server.client("mg"), server.client("rw"));
    for number in 0..40 {
        client.send(&format!("STORE {number}{}=1", "n".repeat(100_000)));
    }
    client.flush();
    let rows = rows(&mut manager, "names");
    let large = rows.iter().filter(|row| field(row, "KIND") == "large");
    let names: Vec<_> = large.map(|row| field(row, "NAME")).collect();
    assert_eq!(names.len(), 32);
    assert!(names.iter().all(|name| name.len() == 128), "{names:?}");
}
