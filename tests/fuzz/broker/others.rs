//! Clients of other languages than Clacks: frames of NATS, memcached and HTTP, each of a few bytes of the input, about the
//! names that the lines of Clacks clients have too; and the form of the answers.

use super::steps::Steps;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clacks::protocol::Language;

const SUBJECTS: [&str; 16] = [
    "a",
    "b",
    "n.x",
    "n.y",
    "x%20y",
    "with=sign",
    "%",
    "n::x",
    "n.*",
    "n.>",
    ">",
    "*",
    "a..b",
    "_INBOX.1",
    "$JS.x",
    "n.x.y.z",
];
const GROUPS: [&str; 4] = ["", "", "workers ", "w=x "];
const SIDS: [&str; 4] = ["1", "2", "0", "s-3"];
const REPLIES: [&str; 4] = ["", "", "_INBOX.1 ", "a..b "];
const HEADERS: [&str; 3] = ["NATS/1.0\r\n\r\n", "", "h\0\r\nPUB a 1\r\n"];
const PAYLOADS: [&[u8]; 8] = [
    b"",
    b"1",
    b"two\r\nlines",
    b"PAGECAMELCLACKSB64:YQpi",
    b"PAGECAMELCLACKSB64:!",
    b"\xff\0\r",
    b"STORE a=1",
    b"PING\r\n",
];
const LENGTHS: [usize; 4] = [60, 900, 4_000, 20_000];
const OPTIONS: [&str; 10] = [
    "{}",
    "{\"verbose\":false}",
    "{\"headers\":true,\"no_responders\":true}",
    "{\"echo\":false,\"pedantic\":false}",
    "{\"no_responders\":true}",
    "{\"protocol\":2}",
    "{\"auth_token\":\"x\"}",
    "{\"name\":\"a\\r\\nb\",\"lang\":\"go\",\"version\":\"1\"}",
    "host:1",
    "{\"user\":\"rw\"}",
];
const PATHS: [&str; 6] = [
    "/healthz",
    "/status.json",
    "/status.json?x",
    "/",
    "*",
    "http://localhost/status.json",
];
const HOSTS: [&str; 4] = [
    "Host: localhost\r\n",
    "Host: 127.0.0.1\r\n",
    "Host: x.example\r\n",
    "",
];
const HTTP_HEADERS: [&str; 8] = [
    "",
    "",
    "User-Agent: a;b\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Authorization: Basic eDp5\r\n",
    "Authorization: x\r\n",
    "Content-Length: 7\r\n",
];
const KEYS: [&str; 6] = ["a", "b", "count", "n::x", "with=sign", "more7"];

fn payload(steps: &mut Steps<'_>) -> Vec<u8> {
    match steps.below(PAYLOADS.len() + LENGTHS.len()) {
        place if place < PAYLOADS.len() => PAYLOADS[place].to_vec(),
        place => vec![b'p'; LENGTHS[place - PAYLOADS.len()]],
    }
}

/// A frame of a client of that language.
pub fn frame(language: Language, steps: &mut Steps<'_>) -> Vec<u8> {
    match language {
        Language::Nats | Language::NatsLogin => nats_frame(steps),
        Language::Http => http_frame(steps),
        _ => memcached_frame(steps),
    }
}

fn nats_frame(steps: &mut Steps<'_>) -> Vec<u8> {
    let what = steps.byte();
    let subject = steps.pick(&SUBJECTS);
    match what % 16 {
        0..4 => {
            let (reply, payload) = (steps.pick(&REPLIES), payload(steps));
            let line = format!("PUB {subject} {reply}{}\r\n", payload.len());
            [line.as_bytes(), &payload, b"\r\n"].concat()
        }
        4 => {
            let (reply, header) = (steps.pick(&REPLIES), steps.pick(&HEADERS));
            let payload = payload(steps);
            let (of_header, all) = (header.len(), header.len() + payload.len());
            let line = format!("HPUB {subject} {reply}{of_header} {all}\r\n{header}");
            [line.as_bytes(), &payload, b"\r\n"].concat()
        }
        5..10 => {
            let (group, sid) = (steps.pick(&GROUPS), steps.pick(&SIDS));
            format!("SUB {subject} {group}{sid}\r\n").into_bytes()
        }
        10 | 11 => {
            let (sid, max) = (steps.pick(&SIDS), steps.pick(&["", " 1", " 2", " 100"]));
            format!("UNSUB {sid}{max}\r\n").into_bytes()
        }
        12 => b"PING\r\n".to_vec(),
        13 => format!("CONNECT {}\r\n", steps.pick(&OPTIONS)).into_bytes(),
        14 => steps
            .pick(&["PONG\r\n", "+OK\r\n", "INFO {}\r\n", "PINGx\n"])
            .into(),
        _ => steps
            .pick(&["X", "PUB a b\r\n", "-ERR 'x'\r\n", "PUB a 1\r\nxx", "\r\n"])
            .into(),
    }
}

fn memcached_frame(steps: &mut Steps<'_>) -> Vec<u8> {
    let what = steps.byte();
    let key = steps.pick(&KEYS);
    match what % 12 {
        0..3 => {
            let verb = steps.pick(&["set", "add", "append", "replace"]);
            let payload = payload(steps);
            let line = format!("{verb} {key} 0 0 {}\r\n", payload.len());
            [line.as_bytes(), &payload, b"\r\n"].concat()
        }
        3 | 4 => format!("get {key} b n::x\r\n").into_bytes(),
        5 => format!("mg {key} v t f s\r\n").into_bytes(),
        6 => format!("delete {key}\r\n").into_bytes(),
        7 => format!("incr {key} 7\r\n").into_bytes(),
        8 => format!("touch {key} {}\r\n", steps.pick(&[0, 1, 100])).into_bytes(),
        9 => {
            let payload = payload(steps);
            let line = format!("ms {key} {} T30\r\n", payload.len());
            [line.as_bytes(), &payload, b"\r\n"].concat()
        }
        10 => steps
            .pick(&["mn\r\n", "version\r\n", "stats\r\n", "flush_all\r\n"])
            .into(),
        _ => steps
            .pick(&["nonsense\r\n", "set a 0 0 x\r\n", "\n", "get \r\n"])
            .into(),
    }
}

fn http_frame(steps: &mut Steps<'_>) -> Vec<u8> {
    let method = steps.pick(&["GET", "GET", "GET", "HEAD", "HEAD", "POST"]);
    let path = steps.pick(&PATHS);
    let version = steps.pick(&["1.1", "1.1", "1.1", "1.0", "2.0"]);
    let (host, header) = (steps.pick(&HOSTS), steps.pick(&HTTP_HEADERS));
    format!("{method} {path} HTTP/{version}\r\n{host}{header}\r\n").into_bytes()
}

/// The frame by which a client logs in.
pub fn login(language: Language, user: &str, password: &str) -> Vec<u8> {
    match language {
        Language::Nats | Language::NatsLogin => {
            let echo = "\"verbose\":false,\"headers\":true,\"no_responders\":true";
            format!("CONNECT {{\"user\":\"{user}\",\"pass\":\"{password}\",{echo}}}\r\n")
                .into_bytes()
        }
        Language::Http => {
            let login = STANDARD.encode(format!("{user}:{password}"));
            format!("GET /status.json HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {login}\r\n\r\n")
                .into_bytes()
        }
        _ => {
            let block = format!("{user} {password}");
            format!("set x 0 0 {}\r\n{block}\r\n", block.len()).into_bytes()
        }
    }
}

/// The start of a frame that is long, of which the rest does not come at once.
pub fn long_start(language: Language, length: usize, how: u8) -> Vec<u8> {
    let start = match (language, how % 4) {
        (Language::Nats | Language::NatsLogin, 0) => "PING ".to_owned(),
        (Language::Nats | Language::NatsLogin, 1) => "SUB ".to_owned(),
        (Language::Nats | Language::NatsLogin, _) => format!("PUB a {}\r\n", 2 * length),
        (Language::Clacks, _) => String::new(),
        (Language::Http, 0) => "GET /".to_owned(),
        (Language::Http, _) => "GET / HTTP/1.1\r\nHost: a\r\nX: ".to_owned(),
        (_, 0) => "get ".to_owned(),
        (_, _) => format!("set a 0 0 {}\r\n", 2 * length),
    };
    [start.as_bytes(), &vec![b'l'; length]].concat()
}

/// The end of such a frame.
pub fn long_end(language: Language, length: usize) -> Vec<u8> {
    match language {
        Language::Clacks => Vec::new(),
        _ => [&vec![b'l'; length][..], b"\r\n"].concat(),
    }
}

/// A NATS client gets whole lines and messages, and INFO first and only then.
pub fn check_nats(bytes: &[u8], is_first: bool) {
    let mut rest = bytes;
    let mut is_first = is_first;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n");
        let end = end.expect("a line has an end");
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[0] == "INFO", is_first, "{line}");
        is_first = false;
        let size = |word: &str| word.parse::<usize>().expect("a size");
        let block = match &words[..] {
            ["INFO" | "-ERR", ..] | ["+OK" | "PING" | "PONG"] => None,
            ["MSG", _, _, all] | ["MSG", _, _, _, all] => Some((0, size(all))),
            ["HMSG", _, _, header, all] | ["HMSG", _, _, _, header, all] => {
                Some((size(header), size(all)))
            }
            _ => panic!("no NATS client knows this line: {line}"),
        };
        rest = &rest[end + 2..];
        if let Some((header, all)) = block {
            assert!(header <= all);
            assert_eq!(rest.get(all..all + 2), Some(&b"\r\n"[..]), "{line}");
            rest = &rest[all + 2..];
        }
    }
}

/// An HTTP client gets whole answers, each with its length, of which those to HEAD have no body.
pub fn check_http(bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.expect("a head has an end");
        let head = String::from_utf8(rest[..end].to_vec()).expect("text");
        assert!(head.starts_with("HTTP/1.1 "), "{head}");
        let lengths = head.lines();
        let mut lengths = lengths.filter_map(|line| line.strip_prefix("Content-Length: "));
        let length = lengths.next().expect("a length");
        let length: usize = length.parse().expect("a number");
        assert_eq!(lengths.next(), None, "{head}");
        rest = &rest[end + 4..];
        if !rest.is_empty() && !rest.starts_with(b"HTTP/1.1 ") {
            rest = rest.get(length..).expect("the whole body");
        }
    }
}
