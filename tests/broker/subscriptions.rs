//! Subscriptions that end by the thousand.

use super::World;
use clacks::protocol::token::Token;

/// A login without the right to listen, and becoming a link, end all subscriptions: of very many, some at a
/// time.
#[test]
fn very_many_subscriptions_end_in_slices() {
    let token = Token::encode(b"wo", b"wopw");
    for (line, answer) in [
        (format!("OVERHEAD A {token}"), "OVERHEAD O Welcome!\r\n"),
        ("OVERHEAD I 1".to_owned(), "OVERHEAD A "),
    ] {
        let mut world = World::new();
        let (other, id) = (world.client("rw"), world.client("admin"));
        world.line(other, "LISTEN other");
        for number in 0..5_000 {
            world.line(id, &format!("LISTEN {number}"));
        }
        world.take(id);
        world.line(id, &line);
        // In the turn of the line there is time for a second slice.
        assert!(world.status("subscriptions") > 3_000);
        let mut slices = 2;
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
        assert_eq!(world.take(id).matches(answer).count(), 1, "{line}");
        world.broker().check();
    }
}
