//! The lines about groups and messages of NATS clients between servers (clacks-interclacks(7)), byte by byte.

use super::Master;
use super::counters::Slave;
use super::mixed_trees;
use crate::support::{Client, Conversation, Server, Setup, wait_until};
use clacks::limits::MAX_PAIRS_TOLD;

fn with_nats() -> Setup {
    let setup = Setup::new();
    let address = setup.unix("nats");
    setup.flags(&["--nats", &address, "--nats-user", "admin"])
}

/// A NATS client that has said something, which was handled.
fn nats(server: &Server, text: &str) -> Conversation {
    let mut client = Conversation::begin(&server.setup.path("nats"));
    client.line();
    client.say(b"CONNECT {\"verbose\":false,\"headers\":true}\r\n");
    client.say(text.as_bytes());
    client.ask(b"PING\r\n", b"PONG\r\n");
    client
}

/// The next line that is about groups or a signal. That of a signal comes without its id.
fn next(link: &mut Client) -> String {
    loop {
        let line = link.next_line().expect("the server goes on");
        if line.starts_with("JOIN ") || line.starts_with("LEAVE ") {
            return line;
        }
        if let Some(signal) = line.strip_prefix("SIGNAL ") {
            let (_, signal) = signal.split_once(' ').expect("an id");
            return format!("SIGNAL {signal}");
        }
        assert!(
            !line.starts_with("STATE ") || line.contains(" S "),
            "{line}"
        );
    }
}

fn unix_us() -> u64 {
    super::unix_time() * 1_000_000
}

#[test]
fn a_link_is_told_of_so_many_groups_and_no_more() {
    let server = with_nats().start();
    let groups = (0..=MAX_PAIRS_TOLD).map(|number| format!("SUB jobs group{number} {number}\r\n"));
    let mut member = nats(&server, &groups.collect::<String>());
    let mut slave = Slave::of(&server);
    let is_join = |line: &&String| line.starts_with("JOIN ");
    let mut told = slave.told.iter().filter(is_join).count();
    while told < MAX_PAIRS_TOLD {
        assert!(next(&mut slave.link).starts_with("JOIN jobs group"));
        told += 1;
    }
    let limit = format!("the limit of {MAX_PAIRS_TOLD} is reached");
    server.process.wait_for_log(&limit);
    // One that ends makes room for the one that was not announced.
    member.say(b"UNSUB 7\r\n");
    let mut news = [next(&mut slave.link), next(&mut slave.link)];
    news.sort();
    assert_eq!(news[1], "LEAVE jobs group7");
    assert!(news[0].starts_with("JOIN jobs group"), "{news:?}");
}

#[test]
fn a_link_is_told_of_groups_with_members_on_this_side_of_it() {
    let server = with_nats().start();
    let mut member = nats(&server, "SUB jobs.* workers 1\r\nSUB plain 2\r\n");
    let mut first = Slave::of(&server);
    assert_eq!(
        first
            .told
            .iter()
            .filter(|line| line.starts_with("JOIN "))
            .count(),
        1
    );
    assert!(first.told.contains(&"JOIN jobs.* workers".to_owned()));
    // The second member of the pair is no news; a member behind a link is news for others.
    member.say(b"SUB jobs.* workers 3\r\nSUB jobs.> workers 4\r\n");
    assert_eq!(next(&mut first.link), "JOIN jobs.> workers");
    let mut second = Slave::of(&server);
    first.link.send("JOIN chat.*.log audit");
    assert_eq!(next(&mut second.link), "JOIN chat.*.log audit");
    member.say(b"UNSUB 1\r\nUNSUB 4\r\n");
    assert_eq!(next(&mut first.link), "LEAVE jobs.> workers");
    assert_eq!(next(&mut second.link), "LEAVE jobs.> workers");
    first.link.send("LEAVE chat.*.log audit");
    first.link.send("LEAVE chat.*.log audit");
    assert_eq!(next(&mut second.link), "LEAVE chat.*.log audit");
    // Lines without a meaning end no link.
    first.link.send("JOIN a..b audit");
    first.link.send("JOIN alone");
    first.link.send("JOIN last audit");
    assert_eq!(next(&mut second.link), "JOIN last audit");
    first.link.send("QUIT");
    // The groups behind a link end with it.
    drop(first);
    assert_eq!(next(&mut second.link), "LEAVE last audit");
}

#[test]
fn a_message_is_sent_with_what_no_clacks_line_has_and_to_one_link_for_each_group() {
    let server = with_nats().start();
    let [mut first, mut second] = [Slave::of(&server), Slave::of(&server)];
    first.link.send("JOIN jobs.* workers");
    first.link.send("JOIN jobs.> audit");
    assert_eq!(next(&mut second.link), "JOIN jobs.* workers");
    assert_eq!(next(&mut second.link), "JOIN jobs.> audit");
    let mut sender = nats(&server, "");
    sender.say(b"PUB jobs.new _I.1 2\r\n42\r\n");
    assert_eq!(
        next(&mut first.link),
        "SIGNAL r=_I.1 q=workers q=audit SET jobs::new=42"
    );
    assert_eq!(next(&mut second.link), "SIGNAL r=_I.1 SET jobs::new=42");
    // A subject that is not that of its name, a header block, and bytes that no line contains.
    sender.say(b"HPUB a=b 18 21\r\nNATS/1.0\r\nA: 1\r\n\r\na\nb\r\n");
    let line = "SIGNAL s=a=b h=TkFUUy8xLjANCkE6IDENCg0K SET a%3Db=PAGECAMELCLACKSB64:YQpi";
    assert_eq!(next(&mut first.link), line);
    assert_eq!(next(&mut second.link), line);
    // A member here comes first.
    let mut member = nats(&server, "SUB jobs.new workers 7\r\n");
    assert_eq!(next(&mut first.link), "JOIN jobs.new workers");
    assert_eq!(next(&mut second.link), "JOIN jobs.new workers");
    server.client("rw").send("NOTIFY jobs::new");
    assert_eq!(member.line(), b"MSG jobs.new 7 0");
    assert_eq!(next(&mut first.link), "SIGNAL q=audit NOTIFY jobs::new");
    assert_eq!(next(&mut second.link), "SIGNAL NOTIFY jobs::new");
}

#[test]
fn a_signal_of_a_link_serves_the_groups_that_it_names_and_goes_on_with_the_rest() {
    let server = with_nats().start();
    let [mut first, mut second] = [Slave::of(&server), Slave::of(&server)];
    let mut member = nats(&server, "SUB jobs.* workers 1\r\nSUB jobs.> audit 2\r\n");
    for link in [&mut first.link, &mut second.link] {
        assert_eq!(next(link), "JOIN jobs.* workers");
        assert_eq!(next(link), "JOIN jobs.> audit");
    }
    second.link.send("JOIN jobs.new other");
    assert_eq!(next(&mut first.link), "JOIN jobs.new other");
    let now_us = unix_us();
    first.link.send(&format!(
        "SIGNAL 9:{now_us} x=? r=_I.1 h=TkFUUy8xLjANCg0K q=workers q=other q=nobody SET jobs::new=42"
    ));
    assert_eq!(
        next(&mut second.link),
        "SIGNAL x=? r=_I.1 h=TkFUUy8xLjANCg0K q=other SET jobs::new=42"
    );
    assert_eq!(member.line(), b"HMSG jobs.new 1 _I.1 12 14");
    for line in [&b"NATS/1.0"[..], b"", b"42"] {
        assert_eq!(member.line(), line);
    }
    // Without a group it serves none, and the exact subject is matched instead of that of the name.
    let after_us = now_us + 1;
    first
        .link
        .send(&format!("SIGNAL 9:{after_us} s=jobs::new SET jobs::new=43"));
    assert_eq!(
        next(&mut second.link),
        "SIGNAL s=jobs::new SET jobs::new=43"
    );
    assert_eq!(member.ask(b"PING\r\n", b"PONG\r\n"), b"");
}

#[test]
fn a_setandstore_for_a_group_behind_a_link_comes_there_as_a_state_and_a_signal() {
    let server = with_nats().start();
    let [mut first, mut second] = [Slave::of(&server), Slave::of(&server)];
    first.link.send("JOIN a g");
    assert_eq!(next(&mut second.link), "JOIN a g");
    server.client("rw").send("SETANDSTORE a=1");
    let state = first.next();
    assert!(
        state.starts_with("STATE ") && state.ends_with(" - - a=1"),
        "{state}"
    );
    assert_eq!(next(&mut first.link), "SIGNAL q=g SET a=1");
    let state = second.next();
    assert!(
        state.starts_with("STATE ") && state.ends_with(" - a=1"),
        "{state}"
    );
    assert!(
        !state.ends_with(" - - a=1"),
        "the signal is part of it: {state}"
    );
}

#[test]
fn a_slave_tells_its_node_and_a_master_ends_the_link_that_the_node_had_before() {
    let (master, slave) = Master::with_slave(&[]);
    let mut link = master.accept_as_clacksd(&slave);
    link.expect_after_others("OVERHEAD O Welcome!");
    let path = link.next_line().expect("the slave goes on");
    let node = path.strip_prefix("PATH ").expect("its node");
    assert!(!node.contains(' '));
    let server = Server::start();
    let mut links = [Slave::of(&server), Slave::of(&server), Slave::of(&server)];
    for (place, path) in [(0, "PATH 77"), (1, "PATH 88")] {
        links[place].link.send(path);
        links[place].link.flush();
    }
    links[2].link.send("PATH 77");
    server.process.wait_for_log("has ended: replaced");
    assert!(!links[0].link.until_closed().contains(&"QUIT".to_owned()));
    wait_until("two are left", || server.status("links") == 2);
}

/// The next signal that a server tells a Net::Clacks server, which knows no other lines of signals.
fn plain_signal(link: &mut Client) -> String {
    loop {
        let line = link.next_line().expect("the server goes on");
        let verb = line.split(' ').next().unwrap_or_default();
        assert!(
            !["JOIN", "LEAVE", "SIGNAL", "PATH", "STATE"].contains(&verb),
            "{line}"
        );
        if ["SET", "NOTIFY"].contains(&verb) {
            return line;
        }
    }
}

/// A Net::Clacks server in the middle of a tree, which the test plays, parts it in two: in each part one member of a
/// group gets a signal, and headers and replies stay in the part where they were sent.
#[test]
fn each_part_of_a_tree_around_a_net_clacks_server_serves_a_group_once() {
    let root = with_nats().start();
    let address = root.setup.unix("socket");
    let side = with_nats().flags(&["--master", &address]).start();
    let (master, below) = Master::with_slave_as(with_nats());
    let mut down = master.accept_and_hear();
    let mut up = mixed_trees::Slave::of(&root);
    up.hear("");
    up.tell(&[]);
    let mut at_root = nats(&root, "SUB jobs.new plain\r\n");
    let mut at_side = nats(&side, "SUB jobs.> workers side\r\n");
    let mut below_too = nats(&below, "SUB jobs.* workers below\r\n");
    wait_until("the root knows of the group at its slave", || {
        root.status("subscriptions") == 2
    });
    for (number, sender) in [&root, &side, &below].into_iter().enumerate() {
        let mut sender = nats(sender, "");
        sender.say(b"HPUB jobs.new _I.1 12 14\r\nNATS/1.0\r\n\r\n");
        sender.say(format!("4{number}\r\n").as_bytes());
        let plain = format!("SET jobs::new=4{number}");
        let is_below = number == 2;
        let (from, to) = if is_below {
            (&mut down, &mut up.link)
        } else {
            (&mut up.link, &mut down)
        };
        assert_eq!(plain_signal(from), plain);
        to.send(&plain);
        for (member, sid, is_in_part_of_sender) in [
            (&mut at_root, "plain", !is_below),
            (&mut at_side, "side", !is_below),
            (&mut below_too, "below", is_below),
        ] {
            let (first, rest) = if is_in_part_of_sender {
                (
                    format!("HMSG jobs.new {sid} _I.1 12 14"),
                    vec!["NATS/1.0".to_owned(), String::new()],
                )
            } else {
                (format!("MSG jobs.new {sid} 2"), Vec::new())
            };
            let expected = [first]
                .into_iter()
                .chain(rest)
                .chain([format!("4{number}")]);
            for line in expected {
                assert_eq!(member.line(), line.as_bytes());
            }
        }
    }
    for member in [&mut at_root, &mut at_side, &mut below_too] {
        assert_eq!(member.ask(b"PING\r\n", b"PONG\r\n"), b"");
    }
}
