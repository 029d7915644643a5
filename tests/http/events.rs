//! The stream of events: who gets it, how many, and when it ends.

use super::target::{HttpConnection, Target, login, request};
use crate::support::wait_until;
use serde_json::Value;

/// The most connections that may watch.
const MAX_WATCHERS: usize = 32;

/// The head of the stream, and the part before its first event.
fn begin(connection: &mut HttpConnection, user: &str) -> String {
    connection.say(&request("GET", "/events", &login(user)));
    let head = connection.answer_to_head();
    assert_eq!(head.status, 200, "{head:?}");
    assert_eq!(until_empty_line(connection), "retry: 2000");
    head.head
}

/// The lines up to the next empty one.
fn until_empty_line(connection: &mut HttpConnection) -> String {
    let conversation = &mut connection.conversation;
    loop {
        if let Some(length) = memchr::memmem::find(&conversation.came, b"\n\n") {
            let came: Vec<u8> = conversation.came.drain(..length + 2).collect();
            return String::from_utf8_lossy(&came[..length]).into_owned();
        }
        assert!(!conversation.is_closed && conversation.wait(), "no event");
    }
}

fn event(connection: &mut HttpConnection) -> Value {
    let text = until_empty_line(connection);
    let data = text.strip_prefix("data: ").expect("an event with data");
    serde_json::from_str(data).expect("JSON")
}

#[test]
fn an_event_a_second_has_the_status() {
    let target = Target::start(&[]);
    let mut connection = target.connect();
    let head = begin(&mut connection, "mg");
    for line in [
        "Content-Type: text/event-stream",
        "Cache-Control: no-store",
        "Connection: close",
    ] {
        assert!(head.contains(line), "{head}");
    }
    let status = target.ask(&super::target::status("mg")).body;
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let names = |status: &Value| -> Vec<String> {
        let fields = status.as_object().expect("an object");
        fields.keys().cloned().collect()
    };
    let mut times = Vec::new();
    for _ in 0..3 {
        let event = event(&mut connection);
        assert_eq!(names(&event), names(&status));
        assert_eq!(event["software"], status["software"]);
        times.push(event["time_seconds"].as_f64().expect("a number"));
    }
    let (first, last) = (times[0], times[2]);
    assert!(last - first > 1.9, "{times:?}");
}

#[test]
fn only_who_manages_watches() {
    let target = Target::start(&[]);
    for path in ["/", "/page.css", "/page.js", "/events"] {
        assert_eq!(target.ask(&request("GET", path, "")).status, 401, "{path}");
        let answer = target.ask(&request("GET", path, &login("rw")));
        assert_eq!(answer.status, 403, "{path}");
    }
}

#[test]
fn the_page_has_its_media_types_and_policy() {
    let target = Target::start(&[]);
    let mut connection = target.connect();
    for (path, media_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
    ] {
        let answer = connection.ask(&request("GET", path, &login("mg")));
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("Content-Type"), Some(media_type));
        assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
        let policy = answer
            .header("Content-Security-Policy")
            .expect("there is one");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; "));
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");
    }
}

#[test]
fn head_gets_the_head_of_the_stream() {
    let target = Target::start(&[]);
    let mut connection = target.connect();
    connection.say(&request("HEAD", "/events", &login("mg")));
    let head = connection.answer_to_head();
    assert_eq!(head.header("Content-Type"), Some("text/event-stream"));
    connection.expect_end();
}

#[test]
fn another_request_ends_the_stream() {
    let target = Target::start(&[]);
    let mut connection = target.connect();
    begin(&mut connection, "mg");
    event(&mut connection);
    connection.say(&request("GET", "/healthz", ""));
    let came = connection.conversation.until_closed();
    assert!(!came.escape_ascii().to_string().contains("HTTP/1.1"));
    wait_until("it is counted", || {
        target.server.status("protocol_error") == 1
    });
}

#[test]
fn only_so_many_watch_and_their_places_are_free_again() {
    let target = Target::start(&[]);
    let mut watchers: Vec<_> = (0..MAX_WATCHERS)
        .map(|_| {
            let mut connection = target.connect();
            begin(&mut connection, "mg");
            connection
        })
        .collect();
    for watcher in &mut watchers {
        event(watcher);
    }
    let watch = request("GET", "/events", &login("mg"));
    let answer = target.ask(&watch);
    assert_eq!((answer.status, answer.closes()), (503, false));
    watchers.pop();
    wait_until("a place is free", || {
        let mut connection = target.connect();
        connection.say(&watch);
        connection.answer_to_head().status == 200
    });
}

#[test]
fn a_watcher_that_takes_nothing_is_sent_little_and_ends() {
    let target = Target::start(&["--ping-timeout", "0.6"]);
    let mut stuck = target.connect();
    stuck.say(&request("GET", "/events", &login("mg")));
    let mut watcher = target.connect();
    begin(&mut watcher, "admin");
    let mut manager = target.server.client("admin");
    // Whoever takes the events stays, though they are all that it is sent.
    let mut most = 0;
    while target.server.status("ping_timeout") == 0 {
        event(&mut watcher);
        most = most.max(target.server.most_waiting(&mut manager));
        manager.ask("PING");
    }
    assert!(most < 200_000, "{most} bytes waited");
    for _ in 0..5 {
        event(&mut watcher);
    }
    let came = stuck.conversation.until_closed();
    let came = String::from_utf8_lossy(&came);
    assert!(
        came.ends_with("retry: 2000\n\n"),
        "not even the head was taken"
    );
}

#[test]
fn the_stream_ends_with_the_server() {
    let mut target = Target::start(&[]);
    let mut connection = target.connect();
    begin(&mut connection, "mg");
    event(&mut connection);
    target.server.process.signal(libc::SIGTERM);
    connection.conversation.until_closed();
    assert!(target.server.process.wait().success());
}
