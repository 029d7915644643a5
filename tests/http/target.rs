//! A server with a listener for HTTP clients, and connections to it that are driven request by request.

use crate::support::{Conversation, Server, Setup};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A server with a Unix socket for HTTP clients.
pub struct Target {
    pub server: Server,
    socket: PathBuf,
}

impl Target {
    pub fn start(flags: &[&str]) -> Target {
        Target::start_in(Setup::new(), flags)
    }

    pub fn start_in(setup: Setup, flags: &[&str]) -> Target {
        let (socket, address) = (setup.path("http"), setup.unix("http"));
        let server = setup.flags(&["--http", &address]).flags(flags).start();
        Target { server, socket }
    }

    pub fn connect(&self) -> HttpConnection {
        HttpConnection {
            conversation: Conversation::begin(&self.socket),
        }
    }

    /// The port of its listener of that kind, `tcp` or `tls`.
    pub fn port(&self, kind: &str) -> u16 {
        port(&self.server, kind)
    }

    /// The answer to a request on a connection of its own.
    pub fn ask(&self, request: &str) -> HttpAnswer {
        self.connect().ask(request)
    }
}

/// The port of a server's listener for HTTP clients of that kind, `tcp` or `tls`.
pub fn port(server: &Server, kind: &str) -> u16 {
    let line = server
        .process
        .log_line(&format!("http listening on {kind}://127.0.0.1:"));
    let port = line.expect("a listener");
    let port = port.rsplit(':').next().expect("a port");
    port.parse().expect("a number")
}

/// A request by that method, with these headers, a line each.
pub fn request(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

/// The header of a login.
pub fn basic(user: &str, password: &str) -> String {
    let login = STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {login}\r\n")
}

/// The header of the login of a user of [`Setup::new`].
pub fn login(user: &str) -> String {
    basic(user, &format!("{user}pw"))
}

/// A request for the status, with the login of a user of [`Setup::new`].
pub fn status(user: &str) -> String {
    request("GET", "/status.json", &login(user))
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    pub status: u16,
    /// The status line and the headers.
    pub head: String,
    pub body: String,
}

impl HttpAnswer {
    /// The value of a header that is there once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.head.lines().filter_map(|line| {
            let (header, value) = line.split_once(": ")?;
            header.eq_ignore_ascii_case(name).then_some(value)
        });
        let value = found.next();
        assert_eq!(found.next(), None, "{name} twice in {}", self.head);
        value
    }

    pub fn closes(&self) -> bool {
        self.header("Connection") == Some("close")
    }
}

/// A connection of an HTTP client.
pub struct HttpConnection {
    pub conversation: Conversation,
}

impl HttpConnection {
    pub fn at(port: u16) -> HttpConnection {
        HttpConnection {
            conversation: Conversation::begin_at(port),
        }
    }

    pub fn at_address(address: SocketAddr) -> HttpConnection {
        HttpConnection {
            conversation: Conversation::begin_to(address),
        }
    }

    pub fn say(&mut self, bytes: &str) {
        self.conversation.say(bytes.as_bytes());
    }

    pub fn ask(&mut self, request: &str) -> HttpAnswer {
        self.say(request);
        match request.trim_start().starts_with("HEAD ") {
            true => self.answer_to_head(),
            false => self.answer(),
        }
    }

    /// The next answer.
    pub fn answer(&mut self) -> HttpAnswer {
        let mut answer = self.answer_to_head();
        let length = answer.header("Content-Length").expect("a length");
        let body = self.take(length.parse().expect("a number"));
        answer.body = String::from_utf8(body).expect("text");
        answer
    }

    /// The next answer, which has no body.
    pub fn answer_to_head(&mut self) -> HttpAnswer {
        let mut head = String::new();
        loop {
            let line = String::from_utf8(self.conversation.line()).expect("text");
            if line.is_empty() {
                break;
            }
            head += &line;
            head += "\n";
        }
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        let status = status.unwrap_or_else(|| panic!("no status line: {head}"));
        HttpAnswer {
            status: status.parse().expect("a number"),
            head,
            body: String::new(),
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        while self.conversation.came.len() < length {
            assert!(!self.conversation.is_closed && self.conversation.wait());
        }
        self.conversation.came.drain(..length).collect()
    }

    /// Waits for the end of the connection, before which nothing comes.
    pub fn expect_end(self) {
        let came = self.conversation.until_closed();
        assert_eq!(came.escape_ascii().to_string(), "");
    }
}
