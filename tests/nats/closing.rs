//! Ends of connections that NATS clients have, and what the server counts them as.

use super::frames::{Frame, take_all};
use super::target::{Login, Target};
use crate::support::{Client, Conversation, wait_until};

/// Says something on a new connection, which the server then closes for that reason. Returns its answers.
fn closes(target: &Target, said: &[u8], reason: &str) -> String {
    let before = target.server().status(reason);
    let mut connection = target.connect_bare();
    connection.say(said);
    let answers = connection.until_closed();
    wait_until(reason, || target.server().status(reason) > before);
    String::from_utf8(answers).expect("text")
}

#[test]
fn each_end_has_its_reason() {
    const UNKNOWN: &str = "-ERR 'Unknown Protocol Operation'\r\n";
    const TOO_LONG: &str = "-ERR 'maximum control line exceeded'\r\n";
    let target = Target::clacksd(Login::Optional);
    let endless = [&b"SUB "[..], &[b'x'; 4097]].concat();
    for (said, answers, reason) in [
        (&b"X"[..], UNKNOWN, "protocol_error"),
        (b"SUB a\r\n", "", "protocol_error"),
        (b"PUB a x\r\n", "", "protocol_error"),
        (b"PUB a 1\r\nxy\r\n", UNKNOWN, "protocol_error"),
        (b"CONNECT {\r\n", "", "protocol_error"),
        (b"HPUB a 1 1\r\nx\r\n", "", "protocol_error"),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            UNKNOWN,
            "protocol_error",
        ),
        (
            b"\x16\x03\x01\x02\0\x01\0",
            UNKNOWN,
            "tls_to_plain_text_port",
        ),
        (&endless, TOO_LONG, "line_too_long"),
        (
            b"PUB a 1048577\r\n",
            "-ERR 'Maximum Payload Violation'\r\n",
            "payload_too_large",
        ),
        (b"-ERR 'x'\r\n", "", "peer_error"),
        (
            b"CONNECT {\"user\":\"nobody\",\"pass\":\"x\"}\r\n",
            "-ERR 'Authorization Violation'\r\n",
            "login_failed",
        ),
    ] {
        assert_eq!(closes(&target, said, reason), answers, "{reason}");
    }
}

#[test]
fn a_client_that_sends_no_more_gets_its_answers_and_is_let_go() {
    let target = Target::clacksd(Login::Optional);
    let mut connection = target.connect_bare();
    connection.say(b"SUB a 1\r\nPUB a 1\r\nx\r\nPING\r\nPUB a 10\r\nabc");
    assert_eq!(
        connection.end(),
        b"+OK\r\n+OK\r\nMSG a 1 1\r\nx\r\nPONG\r\n"
    );
    wait_until("it has ended", || {
        target.server().status("end_of_stream") > 0
    });
}

#[test]
fn who_does_not_log_in_is_told_and_closed() {
    let target = Target::clacksd_with(Login::Needed, &["--auth-timeout", "0.3"]);
    let answer = "-ERR 'Authentication Timeout'\r\n";
    assert_eq!(closes(&target, b"", "auth_timeout"), answer);
    assert_eq!(
        closes(&target, b"CONNECT {\"user\":", "auth_timeout"),
        answer
    );
}

#[test]
fn who_need_not_log_in_may_stay_silent_for_longer_than_the_time_to_log_in() {
    let flags = ["--auth-timeout", "0.2", "--ping-timeout", "1.5"];
    let target = Target::clacksd_with(Login::Optional, &flags);
    let mut connection = target.connect_bare();
    // Its first PING comes after half a second.
    assert_eq!(connection.until(b"PING\r\n"), b"");
    assert_eq!(connection.ask(b"PING\r\n", b"PONG\r\n"), b"");
    assert_eq!(target.server().status("auth_timeout"), 0);
}

#[test]
fn a_silent_client_is_asked_twice_and_then_closed() {
    for login in [Login::Optional, Login::Needed] {
        let target = Target::clacksd_with(login, &["--ping-timeout", "0.9"]);
        let mut connection = target.connect_with(r#"{"verbose":false,"user":"rw","pass":"rwpw"}"#);
        let came = std::mem::take(&mut connection.came);
        assert_eq!(came, b"");
        assert_eq!(
            connection.until_closed(),
            b"PING\r\nPING\r\n-ERR 'Stale Connection'\r\n"
        );
        wait_until("it is counted", || {
            target.server().status("ping_timeout") == 1
        });
    }
}

#[test]
fn any_received_byte_is_a_sign_of_life() {
    let target = Target::clacksd_with(Login::Optional, &["--ping-timeout", "0.9"]);
    let mut connection = target.connect_bare();
    // Part of a payload, so that there is nothing to answer. Twice the timeout passes, since the server asks after a
    // third of it.
    connection.say(b"PUB a 100\r\n");
    for _ in 0..6 {
        assert_eq!(connection.until(b"PING\r\n"), b"");
        connection.say(b"x");
    }
    connection.say(&[b'x'; 94]);
    assert_eq!(connection.ask(b"\r\nPING\r\n", b"PONG\r\n"), b"+OK\r\n");
}

#[test]
fn answered_pings_keep_a_connection() {
    let target = Target::clacksd_with(Login::Optional, &["--ping-timeout", "0.6"]);
    let mut connection = target.connect_quietly();
    for _ in 0..6 {
        assert_eq!(connection.until(b"PING\r\n"), b"");
        connection.say(b"PONG\r\n");
    }
    target.ask(&mut connection, b"");
}

/// Publishes so many messages of 4096 bytes to `a`, all of which that listener gets.
fn publish_to(target: &Target, listener: &mut Conversation, count: usize) {
    let mut publisher = target.connect_quietly();
    let one = [&b"PUB a 4096\r\n"[..], &[b'x'; 4096], b"\r\n"].concat();
    for _ in 0..count {
        assert_eq!(target.ask(&mut publisher, &one), b"");
        let mut came = target.ask(listener, b"");
        let frames = take_all(&mut came);
        assert!(matches!(&frames[..], [Frame::Message(_)]), "{frames:?}");
    }
}

/// Panics unless these bytes are messages of which the last may be cut off.
fn assert_only_messages(mut came: Vec<u8>) {
    let frames = take_all(&mut came);
    assert!(
        frames
            .iter()
            .all(|frame| matches!(frame, Frame::Message(_)))
    );
    assert!(
        came.is_empty() || came.starts_with(b"M"),
        "{}",
        came.escape_ascii()
    );
}

#[test]
fn a_slow_consumer_is_closed_without_a_word_and_others_are_served() {
    for (flags, reason) in [
        (
            &["--max-output", "100K", "--max-line", "4096"][..],
            "output_limit",
        ),
        (&["--stalled-write-timeout", "0.3"], "stalled_write"),
        (
            &["--max-buffers", "200K", "--max-line", "4096"],
            "buffers_limit",
        ),
    ] {
        let target = Target::clacksd_with(Login::Optional, flags);
        let mut slow = target.connect_quietly();
        target.ask(&mut slow, b"SUB a 1\r\n");
        let mut listener = target.connect_quietly();
        target.ask(&mut listener, b"SUB a 1\r\n");
        publish_to(&target, &mut listener, 400);
        wait_until(reason, || {
            publish_to(&target, &mut listener, 1);
            target.server().status(reason) == 1
        });
        assert_only_messages(slow.until_closed());
        publish_to(&target, &mut listener, 1);
    }
}

#[test]
fn ping_is_answered_behind_what_waits() {
    let target = Target::clacksd(Login::Optional);
    let mut slow = target.connect_quietly();
    target.ask(&mut slow, b"SUB a 1\r\n");
    let mut listener = target.connect_quietly();
    target.ask(&mut listener, b"SUB a 1\r\n");
    publish_to(&target, &mut listener, 400);
    slow.say(b"PING\r\n");
    let mut came = target.until_pong(&mut slow);
    assert_eq!(take_all(&mut came).len(), 400);
    assert!(came.is_empty());
}

#[test]
fn who_does_not_read_its_own_messages_is_not_read_while_they_wait() {
    const MESSAGES: usize = 1000;
    let flags = ["--max-output", "100K", "--max-line", "4096"];
    let target = Target::clacksd_with(Login::Optional, &flags);
    let mut connection = target.connect_quietly();
    target.ask(&mut connection, b"SUB a 1\r\n");
    let one = [&b"PUB a 4096\r\n"[..], &[b'x'; 4096], b"\r\n"].concat();
    let writer = connection.say_beside(one.repeat(MESSAGES));
    let mut manager = target.server().client("admin");
    wait_until("half of what may wait does", || {
        target.server().most_waiting(&mut manager) > 50_000
    });
    // They are forty times as much as may wait.
    let mut messages = 0;
    while messages < MESSAGES {
        assert!(!connection.is_closed && connection.wait());
        messages += take_all(&mut connection.came).len();
    }
    writer.join().expect("all was sent");
    assert_eq!(target.ask(&mut connection, b""), b"");
    assert_eq!(target.server().status("output_limit"), 0);
}

#[test]
fn a_payload_of_a_mebibyte_comes_in_hundreds_of_pieces() {
    const SIZE: usize = 1 << 20;
    let target = Target::clacksd(Login::Optional);
    let mut listener = target.connect_quietly();
    target.ask(&mut listener, b"SUB a 1\r\n");
    let mut publisher = target.connect_quietly();
    publisher.say_alone(format!("PUB a {SIZE}\r\n").as_bytes());
    for piece in vec![b'x'; SIZE].chunks(3000) {
        publisher.say_alone(piece);
    }
    publisher.say_alone(b"\r");
    assert_eq!(target.ask(&mut publisher, b"\n"), b"");
    let mut came = target.ask(&mut listener, b"");
    let frames = take_all(&mut came);
    let [Frame::Message(message)] = &frames[..] else {
        panic!("{} frames", frames.len());
    };
    assert!(message.payload == vec![b'x'; SIZE]);
}

#[test]
fn a_control_line_of_4097_bytes_is_too_long_however_it_is_cut() {
    let target = Target::clacksd(Login::Optional);
    let line = |length: usize| [&b"PUB "[..], &vec![b'x'; length - 2], b" 0"].concat();
    for cut in [1, 3, 4, 5, 100, 4000, 4098, 4099, 4100] {
        let (fits, too_long) = (line(4096), line(4097));
        let mut connection = target.connect_quietly();
        connection.say_alone(&fits[..cut]);
        connection.say(&fits[cut..]);
        connection.say(b"\r\n\r\n");
        assert_eq!(target.ask(&mut connection, b""), b"");
        let mut connection = target.connect_quietly();
        connection.say_alone(&too_long[..cut]);
        connection.say(&too_long[cut..]);
        let answer = connection.until_closed();
        assert_eq!(
            answer, b"-ERR 'maximum control line exceeded'\r\n",
            "cut at {cut}"
        );
    }
}

#[test]
fn a_line_that_never_ends_is_closed_early() {
    let target = Target::clacksd(Login::Optional);
    let mut connection = target.connect_quietly();
    connection.say(b"SUB ");
    // More than any buffer takes, if the server read it.
    for _ in 0..10_000 {
        connection.say(&[b'x'; 1000]);
    }
    let answer = connection.until_closed();
    assert_eq!(answer, b"-ERR 'maximum control line exceeded'\r\n");
    assert!(target.server().status("buffers") < 1 << 20);
}

#[test]
fn lines_that_are_ignored_may_have_any_length_and_are_not_kept() {
    let target = Target::clacksd(Login::Optional);
    for verb in [&b"PONG "[..], b"+OK "] {
        let mut connection = target.connect_quietly();
        connection.say(verb);
        for _ in 0..1000 {
            connection.say_alone(&[b'x'; 10_000]);
        }
        assert!(target.server().status("buffers") < 1 << 20);
        assert_eq!(target.ask(&mut connection, b"\r\n"), b"");
    }
}

#[test]
fn a_payload_that_never_comes_is_published_to_nobody() {
    let target = Target::clacksd_with(Login::Optional, &["--ping-timeout", "0.6"]);
    let mut listener = target.connect_quietly();
    target.ask(&mut listener, b"SUB > 1\r\n");
    let mut silent = target.connect_quietly();
    silent.say(b"PUB a 1000000\r\nabc");
    let mut vanishing = target.connect_quietly();
    vanishing.say_alone(b"PUB a 1000000\r\nabc");
    assert_eq!(vanishing.end(), b"");
    // The other one is asked twice. The listener answers.
    let mut others = 0;
    wait_until("it is closed", || {
        assert_eq!(target.ask(&mut listener, b"").len() % 6, 0);
        others += 1;
        target.server().status("ping_timeout") == 1
    });
    assert!(others > 0);
    assert_eq!(
        silent.until_closed(),
        b"PING\r\nPING\r\n-ERR 'Stale Connection'\r\n"
    );
}

/// As many subscriptions as one client has at most in practice.
const MANY: usize = 100_000;
/// A bound of the work that the server counts in one turn, in bytes.
const MOST_WORK: u64 = 4 << 20;

#[test]
fn many_subscriptions_end_at_once_without_a_long_turn() {
    let target = Target::clacksd(Login::Optional);
    let mut listener = target.connect_quietly();
    target.ask(&mut listener, b"SUB a.*.1 1\r\n");
    let mut many = target.connect_quietly();
    for start in (0..MANY).step_by(1000) {
        let lines = (start..start + 1000).map(|n| format!("SUB a.{n}.* group{} {n}\r\n", n % 7));
        let lines: String = lines.collect();
        assert_eq!(target.ask(&mut many, lines.as_bytes()), b"");
    }
    let mut publisher = target.connect_quietly();
    assert_eq!(target.ask(&mut publisher, b"PUB a.77.1 1\r\nx\r\n"), b"");
    assert_eq!(target.ask(&mut many, b""), b"MSG a.77.1 77 1\r\nx\r\n");
    assert_eq!(many.end(), b"");
    // Its subscriptions get nothing, and others do, while they are removed and afterwards.
    for _ in 0..100 {
        assert_eq!(target.ask(&mut publisher, b"PUB a.77.1 1\r\nx\r\n"), b"");
        let came = target.ask(&mut listener, b"");
        assert!(
            came.ends_with(b"MSG a.77.1 1 1\r\nx\r\n"),
            "{}",
            came.escape_ascii()
        );
    }
    wait_until("its memory is free again", || {
        target.server().status("buffers") < 1 << 20
    });
    let largest = target.server().status("largest_turn");
    assert!(
        largest > 0 && largest < MOST_WORK,
        "a turn of {largest} bytes"
    );
}

#[test]
fn one_connection_too_many_is_refused() {
    let target = Target::clacksd_with(Login::Optional, &["--max-clients", "3"]);
    let connections: Vec<Conversation> = (0..3).map(|_| target.connect_quietly()).collect();
    let refused = closes(&target, b"", "client_limit");
    assert_eq!(refused, "-ERR 'maximum connections exceeded'\r\n");
    drop(connections);
}

#[test]
fn a_shutdown_closes_without_a_word_after_what_waits() {
    let mut target = Target::clacksd(Login::Optional);
    let mut slow = target.connect_quietly();
    target.ask(&mut slow, b"SUB a 1\r\n");
    let mut listener = target.connect_quietly();
    target.ask(&mut listener, b"SUB a 1\r\n");
    publish_to(&target, &mut listener, 400);
    target.server().process.signal(libc::SIGTERM);
    let mut came = slow.until_closed();
    assert_eq!(take_all(&mut came).len(), 400);
    assert!(came.is_empty());
    assert_eq!(listener.until_closed(), b"");
    assert!(target.server_mut().process.wait().success());
}

/// The line of CLIENTLIST whose identification is that.
fn client_line(manager: &mut Client, identification: &str) -> String {
    let part = format!(";CLIENTINFO={identification};");
    let list = manager.ask("CLIENTLIST");
    let found = list.iter().find(|line| line.contains(&part));
    found
        .unwrap_or_else(|| panic!("{identification} in {list:?}"))
        .clone()
}

fn cid(line: &str) -> &str {
    let cid = line
        .strip_prefix("CLIENT CID=")
        .and_then(|rest| rest.split(';').next());
    cid.expect("a CID")
}

#[test]
fn managers_see_nats_clients_and_end_them_without_a_word() {
    let target = Target::clacksd(Login::Optional);
    let mut manager = target.server().client("admin");
    let silent = target.connect_bare();
    client_line(&mut manager, "UNKNOWN");
    let named =
        target.connect_with(r#"{"verbose":false,"lang":"go","version":"1.2","name":"a;b"}"#);
    let line = client_line(&mut manager, "nats go 1.2 a_b");
    assert!(line.contains(";INTERCLACKS=0;MONITOR=0;"), "{line}");
    manager.ask(&format!("CLIENTDISCONNECT {}", cid(&line)));
    assert_eq!(named.until_closed(), b"");
    wait_until("it is counted", || {
        target.server().status("disconnected") == 1
    });
    manager.send("OVERHEAD C now");
    assert_eq!(silent.until_closed(), b"");
    wait_until("it is counted", || {
        target.server().status("closed_all") >= 1
    });
}

#[test]
fn clients_of_changed_users_are_closed_without_a_word() {
    let target = Target::clacksd(Login::Needed);
    let connect = |user: &str| {
        target.connect_with(&format!(
            r#"{{"verbose":false,"user":"{user}","pass":"{user}pw"}}"#
        ))
    };
    let (mut rw, ro, wo, mg) = (connect("rw"), connect("ro"), connect("wo"), connect("mg"));
    let mut admin = connect("admin");
    // rw stays, ro loses its permission, wo gets another password, mg goes.
    let users = "rw:read,write:rwpw\nro::ropw\nwo:write:otherpw\n";
    target.server().setup.write_secret("users", users);
    target.server().process.signal(libc::SIGHUP);
    for connection in [ro, wo, mg] {
        assert_eq!(connection.until_closed(), b"");
    }
    wait_until("all three are counted", || {
        target.server().status("user_changed") == 3
    });
    assert_eq!(
        target.ask(&mut rw, b"SUB a 1\r\nPUB a 1\r\nx\r\n"),
        b"MSG a 1 1\r\nx\r\n"
    );
    assert_eq!(target.ask(&mut admin, b""), b"");
    let mut ro = connect("ro");
    let answer = b"-ERR 'Permissions Violation for Subscription to \"a\"'\r\n";
    assert_eq!(target.ask(&mut ro, b"SUB a 1\r\n"), answer);
}

#[test]
fn clients_without_login_are_closed_when_their_user_changes() {
    let target = Target::clacksd_with(Login::Needed, &["--nats-user", "ro"]);
    let (connected, silent) = (target.connect_quietly(), target.connect_bare());
    target.server().setup.write_secret("users", "ro::ropw\n");
    target.server().process.signal(libc::SIGHUP);
    assert_eq!(connected.until_closed(), b"");
    assert_eq!(silent.until_closed(), b"");
    let mut anew = target.connect_quietly();
    let answer = b"-ERR 'Permissions Violation for Subscription to \"a\"'\r\n";
    assert_eq!(target.ask(&mut anew, b"SUB a 1\r\n"), answer);
}

#[test]
fn users_without_that_of_clients_without_login_are_not_taken() {
    let target = Target::clacksd_with(Login::Needed, &["--nats-user", "ro"]);
    let mut connection = target.connect_quietly();
    let log = target.server().process.log().len();
    target
        .server()
        .setup
        .write_secret("users", "rw:read,write:changed\n");
    target.server().process.signal(libc::SIGHUP);
    wait_until("the log says why", || {
        let lines = target.server().process.log_from(log);
        lines.iter().any(|line| line.contains("--nats-user"))
    });
    assert_eq!(target.ask(&mut connection, b"SUB a 1\r\n"), b"");
    // The old password is still the right one.
    target.connect_with(r#"{"verbose":false,"user":"rw","pass":"rwpw"}"#);
}
