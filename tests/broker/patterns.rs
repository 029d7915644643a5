//! Patterns that clients listen to.

use super::World;

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
    world.broker.check();

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
    world.broker.check();
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
    world.broker.check();
}
