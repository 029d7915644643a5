//! Answers that are held for clients that look once, and then not for half a second: with the real connections, on a
//! clock of the test's own.

use super::in_memory::World;
use clacks::broker::{ConnectionId, Peer, Process};
use clacks::limits::{ANSWER_HOLD_US, MOST_HASTE, SECOND_US};
use clacks::protocol::Language;
use clacks::protocol::token::Token;

const QUESTION: &[u8] = b"RETRIEVE a\r\n";
const ANSWER: &[u8] = b"NOTRETRIEVED a\r\n";
const HALF_SECOND_US: u64 = SECOND_US / 2;

fn world() -> World {
    let mut world = World::new();
    world.machine.holds_answers = true;
    world
}

/// A client that has logged in and got the answers to that, some of them later.
fn client(world: &mut World, uid: u32, program: &str) -> ConnectionId {
    let peer = Peer::Unix(Process { uid, pid: 1 });
    let id = world.machine.connect(peer, Language::Clacks, 64 * 1024);
    let token = Token::encode(b"admin", b"pw");
    let login = format!("CLACKS {program}\r\nOVERHEAD A {token}\r\n");
    world.say(id, login.as_bytes());
    pass(world, ANSWER_HOLD_US);
    let answers = world.machine.take(id);
    assert!(answers.ends_with(b"OVERHEAD O Welcome!\r\n"));
    id
}

fn pass(world: &mut World, us: u64) {
    let now_us = world.machine.now.monotonic_us;
    world.machine.pass_until(now_us + us);
}

/// Asks, looks, and waits for half a second if the answer was there. Returns whether it was held.
fn ask(world: &mut World, id: ConnectionId) -> bool {
    world.say(id, QUESTION);
    let early = world.machine.take(id);
    match early.is_empty() {
        false => pass(world, HALF_SECOND_US),
        true => pass(world, ANSWER_HOLD_US),
    }
    let late = world.machine.take(id);
    assert_eq!([early.as_slice(), &late].concat(), ANSWER);
    early.is_empty()
}

/// A client that has lost half a second, the first of its program.
fn recognised(world: &mut World, program: &str) -> ConnectionId {
    let id = client(world, 1, program);
    assert!(!ask(world, id), "nothing is known of it yet");
    assert!(ask(world, id));
    id
}

#[test]
fn a_lone_answer_is_held_to_the_end_of_its_time() {
    let mut world = world();
    let id = recognised(&mut world, "program");
    world.say(id, QUESTION);
    let until_us = world.machine.now.monotonic_us + ANSWER_HOLD_US;
    assert_eq!(world.machine.core.poll_deadline(), Some(until_us));
    pass(&mut world, ANSWER_HOLD_US - 1);
    assert!(world.machine.take(id).is_empty());
    pass(&mut world, 1);
    assert_eq!(world.machine.take(id), ANSWER);
    // Each time.
    for _ in 0..200 {
        assert!(ask(&mut world, id));
    }
}

#[test]
fn whatever_else_a_client_says_ends_the_hold() {
    let mut world = world();
    let id = recognised(&mut world, "program");
    world.say(id, QUESTION);
    assert!(world.machine.take(id).is_empty());
    world.say(id, &QUESTION[..5]);
    assert_eq!(world.machine.take(id), ANSWER);
    world.say(id, &QUESTION[5..]);
    assert_eq!(world.machine.take(id), ANSWER);
    let id = recognised(&mut world, "another");
    world.say(id, &QUESTION.repeat(5));
    assert_eq!(world.machine.take(id), ANSWER.repeat(5));
}

#[test]
fn the_answers_of_a_connection_that_ends_are_not_held() {
    let mut world = world();
    let id = recognised(&mut world, "program");
    world.say(id, &[QUESTION, b"QUIT\r\n"].concat());
    assert_eq!(world.machine.take(id), ANSWER);
    let id = recognised(&mut world, "another");
    world.say(id, QUESTION);
    assert!(world.machine.take(id).is_empty());
    world.machine.hang_up(id);
    world.machine.work_off();
    assert_eq!(world.machine.take(id), ANSWER);
}

#[test]
fn links_and_memcached_clients_get_their_answers_at_once() {
    let mut world = world();
    let id = recognised(&mut world, "program");
    world.say(id, b"OVERHEAD I 1\r\n");
    let answer = String::from_utf8(world.machine.take(id)).expect("text");
    assert!(answer.contains("OVERHEAD A "), "{answer}");
    let id = world.memcached_client();
    for _ in 0..10 {
        world.say(id, b"get a\r\n");
        assert_eq!(world.machine.take(id), b"END\r\n");
        pass(&mut world, HALF_SECOND_US);
    }
}

#[test]
fn who_waits_for_answers_gets_them_at_once() {
    let mut world = world();
    let id = client(&mut world, 1, "program");
    for question in 0..2000 {
        let pause_us = [50, 1500, 20_000, 300_000][question / 500];
        world.say(id, QUESTION);
        assert_eq!(world.machine.take(id), ANSWER, "{pause_us}");
        pass(&mut world, pause_us);
    }
}

#[test]
fn a_program_that_looked_once_is_known_when_it_comes_again() {
    let mut world = world();
    let id = client(&mut world, 1, "program");
    assert!(!ask(&mut world, id));
    world.machine.hang_up(id);
    world.machine.work_off();
    for _ in 0..200 {
        let id = client(&mut world, 1, "program");
        // Its first question comes soon after an answer, that to the login, too.
        for _ in 1..MOST_HASTE {
            assert!(ask(&mut world, id));
        }
        world.machine.hang_up(id);
        world.machine.work_off();
    }
    for (uid, program) in [(2, "program"), (1, "another")] {
        let id = client(&mut world, uid, program);
        world.say(id, QUESTION);
        assert_eq!(world.machine.take(id), ANSWER, "{uid} {program}");
    }
}
