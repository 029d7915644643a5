//! Clients whose connection ends come back by themselves, and miss nothing that comes after.

use super::Program;
use crate::nats::servers::{ActivatedClacksd, Clacksd, Entry, NatsServer, Raw, Version};
use crate::support::{Proxy, Running, Way, wait_until};

/// A client with two subscriptions, and one that ends after three messages.
struct Subscribed {
    running: Running,
    lines: Vec<String>,
}

impl Subscribed {
    /// Waits until the client has all that was published up to now: one message to each.
    fn start(program: &Program, port: u16, servers_port: u16) -> Subscribed {
        let mut subscribed = Subscribed {
            running: Running::start(&mut program.command(port, &["reconnect"])),
            lines: Vec::new(),
        };
        subscribed.read_up_to("ready");
        let mut raw = Raw::connect(servers_port);
        raw.publish("limited", b"");
        raw.publish("news.a", b"first");
        subscribed.read_up_to("got first");
        subscribed
    }

    fn read_up_to(&mut self, end: &str) {
        let end = format!("reconnect: {end}");
        while self.lines.last().is_none_or(|line| *line != end) {
            let line = self.running.next_line();
            let line = line.unwrap_or_else(|| panic!("no \"{end}\", only {:?}", self.lines));
            self.lines.push(line);
        }
    }

    /// Waits until it is back, and for messages after that; everything that it has printed.
    fn comes_back(mut self, servers_port: u16) -> Vec<String> {
        let is_back = |line: &str| {
            [
                "reconnect: reconnected",
                "reconnect: reconnect",
                "reconnect: connected",
            ]
            .contains(&line)
        };
        while !self.lines.last().is_some_and(|line| is_back(line)) {
            let line = self.running.next_line();
            let line = line.unwrap_or_else(|| panic!("it is not back: {:?}", self.lines));
            self.lines.push(line);
        }
        self.ends(servers_port)
    }

    fn ends(mut self, servers_port: u16) -> Vec<String> {
        let mut raw = Raw::connect(servers_port);
        raw.publish("news.b", b"after");
        // Together with the one before, one more than it wants.
        for _ in 0..3 {
            raw.publish("limited", b"");
        }
        raw.publish("news.b", b"end");
        self.lines.extend(self.running.rest());
        assert!(self.running.wait().success(), "{:?}", self.lines);
        self.lines
    }
}

/// The output of a client whose connection to nats-server is cut.
fn as_with_nats_server(program: &Program) -> Vec<String> {
    let server = NatsServer::start(Version::Debian, Entry::Free);
    let proxy = Proxy::to(Way::Tcp(server.port));
    let subscribed = Subscribed::start(program, proxy.port, server.port);
    proxy.cut();
    let lines = subscribed.comes_back(server.port);
    let limited = lines.last().expect("lines");
    assert!(limited.starts_with("reconnect: limited 3"), "{limited}");
    lines
}

pub fn after_a_disconnect(program: &Program) {
    let clacksd = Clacksd::start(Entry::Free);
    let subscribed = Subscribed::start(program, clacksd.port, clacksd.port);
    let mut manager = clacksd.server.client("admin");
    let list = manager.ask("CLIENTLIST");
    let [client] = &entries(&list)[..] else {
        panic!("not one client in {list:?}");
    };
    let cid = client.split(['=', ';']).nth(1).expect("it has a name");
    manager.send(&format!("CLIENTDISCONNECT {cid}"));
    assert_eq!(
        subscribed.comes_back(clacksd.port),
        as_with_nats_server(program)
    );
}

/// The entries of a CLIENTLIST for such clients.
fn entries(list: &[String]) -> Vec<&String> {
    let entries = list.iter();
    entries
        .filter(|line| line.contains(";CLIENTINFO=nats ") && line.contains(" reconnecting;"))
        .collect()
}

/// The service manager keeps the socket open meanwhile.
pub fn after_a_restart(program: &Program) {
    let mut clacksd = ActivatedClacksd::start();
    let subscribed = Subscribed::start(program, clacksd.port, clacksd.port);
    clacksd.restart();
    assert_eq!(
        subscribed.comes_back(clacksd.port),
        as_with_nats_server(program)
    );
}

/// The client's process is stopped while the server has far more for it than it lets wait.
pub fn after_having_been_slow(program: &Program) {
    let flags = ["--max-line", "1M", "--max-output", "2M"];
    let clacksd = Clacksd::start_with(Entry::Free, &flags);
    let subscribed = Subscribed::start(program, clacksd.port, clacksd.port);
    subscribed.running.signal(libc::SIGSTOP);
    let mut raw = Raw::connect(clacksd.port);
    // More than the kernel keeps for a connection.
    let flood = vec![b'x'; 1_000_000];
    for _ in 0..40 {
        raw.publish("news.flood", &flood);
    }
    let process = &clacksd.server.process;
    wait_until("the slow client is closed", || {
        process.log_line(": output_limit").is_some()
    });
    subscribed.running.signal(libc::SIGCONT);
    assert_eq!(
        subscribed.comes_back(clacksd.port),
        as_with_nats_server(program)
    );
}

/// A client that says nothing by itself for longer than the time without a sign of life answers the server's PINGs.
pub fn never_while_pings_are_answered(program: &Program) {
    const PING_TIMEOUT_S: u64 = 3;
    let flags = ["--ping-timeout", &PING_TIMEOUT_S.to_string()];
    let clacksd = Clacksd::start_with(Entry::Free, &flags);
    let subscribed = Subscribed::start(program, clacksd.port, clacksd.port);
    let mut manager = clacksd.server.client("admin");
    let mut last_sign = || {
        // A Clacks client has to ping by itself.
        manager.send("PING");
        let list = manager.ask("CLIENTLIST");
        let [client] = &entries(&list)[..] else {
            panic!("not one client in {list:?}");
        };
        let (_, time) = client.split_once(";LASTPING=").expect("that field");
        let (time, _) = time.split_once(';').expect("more fields");
        time.parse::<u64>().expect("a time")
    };
    let first = last_sign();
    wait_until("several PINGs are answered", || {
        last_sign() > first + PING_TIMEOUT_S
    });
    let lines = subscribed.ends(clacksd.port);
    let start = ["ready", "got first", "got after", "got end"];
    assert_eq!(lines[..4], start.map(|word| format!("reconnect: {word}")));
}
