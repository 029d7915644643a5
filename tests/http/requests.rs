//! Single requests: their answers, faults and limits.

use super::target::{HttpConnection, Target, login, request, status};
use crate::support::wait_until;

/// Headers that every answer has.
const SECURITY: [(&str, &str); 6] = [
    ("Content-Security-Policy", "default-src 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
];

#[test]
fn each_request_has_its_status_and_all_have_the_security_headers() {
    let target = Target::start(&[]);
    let admin = login("admin");
    let post = format!("{admin}Content-Length: 5\r\n");
    let long = format!("X: {}\r\n", "x".repeat(8192));
    let many = "x: y\r\n".repeat(64);
    for (request, status, closes) in [
        (request("GET", "/healthz", ""), 200, true),
        (request("GET", "/healthz?x=y", ""), 200, true),
        (request("GET", "/status.json", &admin), 200, false),
        (request("GET", "/status.json?a", &admin), 200, false),
        (request("GET", "http://x/status.json", &admin), 200, false),
        (request("HEAD", "/status.json", &admin), 200, false),
        (request("GET", "/status.json", ""), 401, false),
        (request("GET", "/status.json", &login("rw")), 403, false),
        (request("GET", "/nothing", ""), 404, false),
        (request("GET", "/nothing", &admin), 404, false),
        (request("GET", "/status.json/", &admin), 404, false),
        (request("GET", "*", &admin), 404, false),
        (request("POST", "/status.json", &admin), 405, false),
        (request("OPTIONS", "*", ""), 405, false),
        (request("get", "/nothing", ""), 405, false),
        (request("POST", "/status.json", &post), 405, true),
        (request("GET", "/status.json", &post), 413, true),
        (
            request("GET", "/healthz", "Transfer-Encoding: chunked\r\n"),
            413,
            true,
        ),
        (
            request("GET", "/healthz", "Content-Length: x\r\n"),
            400,
            true,
        ),
        (request("GET", "/healthz", "Host: x\r\n"), 400, true),
        ("GET /healthz HTTP/1.1\r\n\r\n".to_owned(), 400, true),
        ("CLACKS test\r\n".to_owned(), 400, true),
        ("GET /healthz\r\n".to_owned(), 400, true),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505, true),
        (request("GET", "/healthz", &long), 431, true),
        (request("GET", "/healthz", &many), 431, true),
        ("\u{16}\u{3}\u{1}".to_owned(), 400, true),
    ] {
        let mut connection = target.connect();
        let answer = connection.ask(&request);
        assert_eq!(answer.status, status, "{request}: {answer:?}");
        for (name, value) in SECURITY {
            assert_eq!(answer.header(name), Some(value), "{request}");
        }
        let allowed = (status == 405).then_some("GET, HEAD");
        assert_eq!(answer.header("Allow"), allowed);
        let login = (status == 401).then_some("Basic realm=\"clacksd\", charset=\"UTF-8\"");
        assert_eq!(answer.header("WWW-Authenticate"), login);
        assert_eq!(answer.closes(), closes, "{request}: {answer:?}");
        if closes {
            connection.expect_end();
        } else {
            let answer = connection.ask(&super::target::status("admin"));
            assert_eq!(answer.status, 200, "the connection goes on after {request}");
        }
    }
}

#[test]
fn the_status_is_json() {
    let target = Target::start(&[]);
    let answer = target.ask(&status("admin"));
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    let status: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(status["healthy"], true);
    let software = status["software"].as_str().expect("a text");
    assert!(software.starts_with("clacksd/"), "{software}");
}

#[test]
fn the_answer_to_head_is_that_to_get_without_the_body() {
    let target = Target::start(&[]);
    for (path, headers) in [
        ("/healthz", String::new()),
        ("/page.js", login("admin")),
        ("/status.json", String::new()),
        ("/nothing", String::new()),
    ] {
        let by_get = target.ask(&request("GET", path, &headers));
        let by_head = target.ask(&request("HEAD", path, &headers));
        assert!(!by_get.body.is_empty());
        assert_eq!((by_head.head, by_head.body), (by_get.head, String::new()));
    }
}

#[test]
fn a_request_is_answered_wherever_it_is_cut() {
    let target = Target::start(&[]);
    let requests = format!(
        "{}\r\n{}{}",
        request("GET", "/nothing", "Accept: */*\r\n"),
        status("admin"),
        request("HEAD", "/nothing", ""),
    );
    let answers = |connection: &mut HttpConnection| {
        [
            connection.answer(),
            connection.answer(),
            connection.answer_to_head(),
        ]
        .map(|answer| answer.status)
    };
    let mut connection = target.connect();
    for cut in 0..requests.len() {
        let (first, second) = requests.split_at(cut);
        connection.conversation.say_alone(first.as_bytes());
        connection.say(second);
        assert_eq!(answers(&mut connection), [404, 200, 404], "cut at {cut}");
    }
    for byte in requests.bytes() {
        connection.conversation.say_alone(&[byte]);
    }
    assert_eq!(answers(&mut connection), [404, 200, 404]);
}

#[test]
fn each_end_has_its_reason() {
    let target = Target::start(&[]);
    let body = format!("{}Content-Length: 5\r\n", login("admin"));
    let old = "GET /nothing HTTP/1.0\r\n\r\n".to_owned();
    for (request, reason) in [
        (request("GET", "/healthz", ""), "answered"),
        (request("GET", "/healthz", "Connection: close\r\n"), "quit"),
        (old, "quit"),
        (request("GET", "/status.json", &body), "payload_too_large"),
        ("x\r\n".to_owned(), "protocol_error"),
        ("x".repeat(8193), "line_too_long"),
        ("\u{16}".to_owned(), "tls_to_plain_text_port"),
    ] {
        let before = target.server.status(reason);
        let mut connection = target.connect();
        assert!(connection.ask(&request).closes(), "{request}");
        wait_until(reason, || target.server.status(reason) == before + 1);
    }
    let log = target.server.process.log();
    for (reason, limit) in [
        ("payload_too_large", "no request has a body"),
        (
            "line_too_long",
            "the head of a request has at most 8192 bytes and 64 headers",
        ),
    ] {
        let is_meant = |line: &String| {
            line.contains(&format!(": {reason} (client \"http\", not logged in"))
                && line.ends_with(&format!("; {limit})"))
        };
        assert!(log.iter().any(is_meant), "{reason}: {log:?}");
    }
    for ordinary in ["answered", "quit"] {
        let is_warned_of = |line: &String| line.contains(&format!(": {ordinary} (client"));
        assert!(!log.iter().any(is_warned_of), "{log:?}");
    }
}
