//! Limits of connections of memcached clients: of what waits for them, and of their time.

use super::servers::Target;
use crate::support::{Conversation, wait_until};

/// Stores a value of so many bytes as `k`; the answer to a `get` of it.
fn store(connection: &mut Conversation, length: usize) -> Vec<u8> {
    let value = vec![b'x'; length];
    let line = |start: &str| format!("{start} {length}\r\n").into_bytes();
    let request = [&line("set k 0 0")[..], &value, b"\r\n"].concat();
    connection.ask(&request, b"STORED\r\n");
    [&line("VALUE k 0")[..], &value, b"\r\nEND\r\n"].concat()
}

#[test]
fn who_does_not_read_its_answers_is_not_read_while_half_of_the_output_waits() {
    const GETS: usize = 1000;
    let target = Target::clacksd_with(&["--max-output", "1M", "--max-line", "64K"]);
    let mut connection = target.connect(None, "");
    let answer = store(&mut connection, 10_000);
    connection.say_alone(&b"get k\r\n".repeat(GETS));
    let mut manager = target.server().client("admin");
    let mut most_waiting = || target.server().most_waiting(&mut manager);
    wait_until("half waits", || most_waiting() > 500_000);
    // In further turns too, it is that and one slice of answers at most.
    for _ in 0..100 {
        let most = most_waiting();
        assert!(most < 700_000, "{most}");
    }
    // They are ten times as much as may wait.
    let mut answers = 0;
    while answers < GETS {
        assert!(!connection.is_closed && connection.wait());
        while connection.came.len() >= answer.len() {
            let rest = connection.came.split_off(answer.len());
            assert!(connection.came == answer);
            connection.came = rest;
            answers += 1;
        }
    }
    assert_eq!(connection.ask(b"mn\r\n", b"MN\r\n"), b"");
    assert_eq!(target.server().status("output_limit"), 0);
}

#[test]
fn of_too_many_unfinished_blocks_the_largest_goes_without_a_word() {
    let limits = [
        "--max-line",
        "1M",
        "--max-output",
        "2M",
        "--max-buffers",
        "4M",
    ];
    let target = Target::clacksd_with(&limits);
    let mut large = target.connect(None, "");
    large.say_alone(b"set large 0 0 1000001\r\n");
    large.say_alone(&[b'x'; 1_000_000]);
    // Less than half as much each: buffers may be up to twice as large as what is in them.
    let mut small = Vec::new();
    while target.server().status("buffers_limit") == 0 {
        let mut connection = target.connect(None, "");
        connection.say_alone(b"set small 0 0 450000\r\n");
        connection.say_alone(&[b'x'; 450_000]);
        small.push(connection);
        assert!(small.len() < 10, "there is a limit");
    }
    assert_eq!(large.until_closed(), b"");
    // The others can finish their blocks.
    for connection in &mut small {
        assert_eq!(connection.ask(b"\r\nmn\r\n", b"MN\r\n"), b"STORED\r\n");
    }
    assert_eq!(target.server().status("buffers_limit"), 1);
}

#[test]
fn who_takes_nothing_of_its_answers_is_closed_without_a_word() {
    let target = Target::clacksd_with(&["--stalled-write-timeout", "0.3"]);
    let mut other = target.connect(None, "");
    let answer = store(&mut other, 1_000_000);
    let mut stuck = target.connect(None, "");
    stuck.say(&b"get k\r\n".repeat(4));
    wait_until("it is closed", || {
        assert_eq!(other.ask(b"mn\r\n", b"MN\r\n"), b"");
        target.server().status("stalled_write") == 1
    });
    let came = stuck.until_closed();
    assert!(!came.is_empty() && answer.starts_with(&came));
}

#[test]
fn idle_clients_stay_whatever_the_ping_timeout() {
    let target = Target::clacksd_with_login_and(&["--ping-timeout", "0.5"]);
    let mut idle = target.connect(None, "admin");
    // Those of the other language show that the time has gone by, and more than once.
    for _ in 0..2 {
        let silent = target.server().client("rw").until_closed();
        assert_eq!(silent, ["TIMEOUT"]);
    }
    assert_eq!(idle.ask(b"mn\r\n", b"MN\r\n"), b"");
}
