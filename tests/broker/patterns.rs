//! Patterns that clients listen to.

use super::World;
use clacks::broker::{Carrier, ConnectionId, Peer, Process};
use clacks::limits::MAX_OUTPUT;
use clacks::protocol::Language;

#[test]
fn each_signal_arrives_once_and_never_at_its_sender() {
    let mut world = World::new();
    let (sender, listener, other) = (world.client("rw"), world.client("ro"), world.client("ro"));
    for line in [
        "PLISTEN weather::*",
        "PLISTEN weather::>",
        "PLISTEN >",
        "LISTEN weather::vienna",
    ] {
        world.line(listener, line);
        world.line(listener, line);
        world.line(sender, line);
    }
    world.line(other, "PLISTEN *::vienna");
    for id in [sender, listener, other] {
        world.take(id);
    }
    world.line(sender, "SET weather::vienna=21.5");
    world.line(sender, "NOTIFY weather");
    world.line(sender, "SETANDSTORE weather::a::b=1");
    let expected = "SET weather::vienna=21.5\r\nNOTIFY weather\r\nSET weather::a::b=1\r\n";
    assert_eq!(world.take(listener), expected);
    assert_eq!(world.take(other), "SET weather::vienna=21.5\r\n");
    assert_eq!(world.take(sender), "");
    world.broker().check();

    world.line(listener, "PUNLISTEN >");
    world.line(listener, "PUNLISTEN unknown");
    world.line(listener, "UNLISTEN weather::vienna");
    world.line(sender, "SET weather::vienna=20");
    world.line(sender, "SET weather=1");
    assert_eq!(world.take(listener), "SET weather::vienna=20\r\n");
    world.line(listener, "PUNLISTEN weather::>");
    world.line(listener, "PUNLISTEN weather::*");
    world.line(sender, "SET weather::vienna=20");
    assert_eq!(world.take(listener), "");
    world.broker().check();
}

#[test]
fn a_pattern_in_the_wrong_form_is_no_command() {
    let mut world = World::new();
    let id = world.client("ro");
    world.take(id);
    for line in ["PLISTEN a*", "PLISTEN >::a", "PUNLISTEN a::", "PLISTEN "] {
        world.line(id, line);
        assert_eq!(
            world.take(id),
            format!("OVERHEAD E unknown_command {line}\r\n")
        );
    }
    assert_eq!(world.status("subscriptions"), 0);
}

impl World {
    fn nats_client(&mut self) -> ConnectionId {
        let id = self.connect_as(Peer::Unix(Process::default()), Language::Nats);
        let options = r#"{"verbose":false,"pedantic":false,"user":"rw","pass":"rwpw"}"#;
        self.send(id, &format!("CONNECT {options}\r\n"));
        self.machine.work_off();
        self.take(id);
        id
    }

    /// A client is sent more than it takes, so that its senders have to wait.
    fn fill(&mut self, id: ConnectionId) {
        self.machine.peer(id).set_capacity(0);
        let much = vec![b' '; MAX_OUTPUT / 3];
        let connections = &mut self.machine.core.out.connections;
        connections.append(id, |output| output.extend_from_slice(&much));
        self.machine.turn();
        assert!(self.machine.core.out.has_full_receivers());
    }

    /// It takes all of it.
    fn drain(&mut self, id: ConnectionId) {
        self.machine.peer(id).set_capacity(usize::MAX);
        self.machine.tell_of_room(id);
        self.machine.work_off();
        assert!(!self.machine.core.out.has_full_receivers());
    }
}

/// Clacks clients listen to names, NATS clients to subjects; this subject is not that of its name.
#[test]
fn a_publish_waits_for_those_who_would_get_it_and_for_nobody_else() {
    let mut world = World::new();
    // No short one, which may use room that long ones leave.
    let publish = format!("PUB a=b.c 5000\r\n{}\r\n", "x".repeat(5_000));
    let publisher = world.nats_client();
    let [by_name, by_pattern] = [(); 2].map(|()| world.client("ro"));
    world.line(by_name, "LISTEN a%3Db::c");
    world.line(by_pattern, "PLISTEN a%3Db::*");
    let [subscriber, member, other] = [(); 3].map(|()| world.nats_client());
    for (id, frame) in [
        (subscriber, "SUB a=b.* 1\r\n"),
        (member, "SUB a=b.c g 1\r\n"),
        (other, "SUB a%3Db.c 1\r\n"),
    ] {
        world.send(id, frame);
    }
    for (full, is_waited_for) in [
        (by_name, true),
        (by_pattern, true),
        (subscriber, true),
        (member, true),
        (other, false),
        (publisher, false),
    ] {
        world.fill(full);
        world.send(publisher, &publish);
        let waits = world.machine.is_stopped(publisher);
        assert_eq!(waits, is_waited_for, "{full:?}");
        world.drain(full);
        assert!(!world.machine.is_stopped(publisher), "it goes on then");
    }
    for id in [by_name, by_pattern, subscriber, member, other] {
        let got = world.take(id);
        let expected = if id == other { 0 } else { 6 };
        assert_eq!(
            got.matches("a=b.c").count() + got.matches("a%3Db::c").count(),
            expected
        );
    }
}

/// A login without the right to listen ends all subscriptions: of very many, some at a time.
#[test]
fn very_many_patterns_end_in_slices() {
    let token = clacks::protocol::token::Token::encode(b"wo", b"wopw");
    let mut world = World::new();
    let (other, id) = (world.client("rw"), world.client("admin"));
    world.line(other, "PLISTEN other::*");
    for number in 0..5_000 {
        world.line(id, &format!("PLISTEN {number}::*"));
    }
    assert_eq!(world.status("subscriptions"), 5_001);
    world.take(id);
    world.line(id, &format!("OVERHEAD A {token}"));
    let mut slices = 1;
    loop {
        let before = world.status("subscriptions");
        if !world.give_room() {
            break;
        }
        assert!(before - world.status("subscriptions") <= 1_000);
        slices += 1;
    }
    assert!(slices >= 5, "{slices}");
    assert_eq!(world.status("subscriptions"), 1, "the other client's");
    let answer = world.take(id);
    assert_eq!(answer, "OVERHEAD O Welcome!\r\n");
    world.broker().check();
}
