//! Clients at one node: some that work, and some of every kind that misbehaves. Their permissions are
//! such that nothing comes about by chance that a check would not expect.

use super::ledger::{COUNTERS, Ledger};
use super::tree::{Entrance, MAX_LINE};
use crate::support::tls::VERSIONS;
use crate::support::{Client, Random, token};
use socket2::SockRef;
use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A client that is stuck for so long is a fault of the server.
const PATIENCE: Duration = Duration::from_secs(20);
/// Clients that read nothing, at one time.
const SLEEPERS: usize = 4;

/// A connection that hasn't said anything; `None` while the server is down.
fn dial(entrance: &Entrance) -> Option<Client> {
    let stream = UnixStream::connect(&entrance.unix).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    Some(Client::from_unix(stream))
}

fn log_in(mut client: Client, user: &str) -> Option<Client> {
    let login = format!("CLACKS soak\r\nOVERHEAD A {}\r\n", token(user));
    client.try_send(login.as_bytes()).ok()?;
    loop {
        if client.next_line()? == "OVERHEAD O Welcome!" {
            return Some(client);
        }
    }
}

/// A client that has logged in; `None` if the server is down, or ends meanwhile.
pub fn connect(entrance: &Entrance, user: &str) -> Option<Client> {
    log_in(dial(entrance)?, user)
}

/// Sends lines, and waits until the server has handled them. Returns false if the connection ended before.
fn do_all(client: &mut Client, lines: &str) -> bool {
    if client.try_send(lines.as_bytes()).is_err() {
        return false;
    }
    client.flush();
    !client.is_closed()
}

/// Names that each worker has for itself.
const OWNED: usize = 20;

/// Says signals, and counts them.
struct Speaker {
    client: Client,
    name: String,
    said: u64,
}

pub struct Worker<'a> {
    node: usize,
    number: usize,
    entrance: Entrance,
    residents: usize,
    ledger: &'a Ledger,
    random: Random,
    clients: Vec<Client>,
    sleepers: Vec<Client>,
    speaker: Option<Speaker>,
    speakers: u64,
    written: u64,
    /// The values that each of the worker's own names may hold since the last CLEARCACHE, `None` for no entry: the last
    /// one that was flushed, and all that were written after it on connections that were lost.
    owned: HashMap<String, Vec<Option<String>>>,
}

impl Worker<'_> {
    pub fn new(
        node: usize,
        number: usize,
        entrance: Entrance,
        residents: usize,
        ledger: &Ledger,
    ) -> Worker<'_> {
        Worker {
            node,
            number,
            entrance,
            residents,
            ledger,
            random: Random::new(number as u64),
            clients: Vec::new(),
            sleepers: Vec::new(),
            speaker: None,
            speakers: 0,
            written: 0,
            owned: HashMap::new(),
        }
    }

    pub fn work(mut self) {
        while self.ledger.goes_on() {
            let ledger = self.ledger;
            ledger.step(|| {
                if ledger.is_open() {
                    self.step();
                } else {
                    self.go();
                }
            });
        }
    }

    /// With all clients.
    fn go(&mut self) {
        self.clients.clear();
        self.sleepers.clear();
        self.speaker = None;
    }

    fn step(&mut self) {
        self.clients.retain(|client| !client.is_closed());
        if self.clients.len() < self.residents {
            self.come();
        }
        let doing = match self.random.below(100) {
            0..40 => self.work_a_bit(),
            40..50 => self.tend_own_names(),
            50..62 => self.speak(),
            62..72 => self.count(),
            72..76 => self.leave(),
            76..78 => self.list(),
            78..80 => self.listen_and_unlisten(),
            80..83 => self.send_garbage(),
            83..85 => self.send_half_a_line(),
            85..88 => self.sleep(),
            88..91 => self.reset(),
            91..94 => self.half_close(),
            94..96 => self.be_refused(),
            96 => self.store_the_longest(),
            97 => self.send_too_long_a_line(),
            98 => self.say_nothing(),
            _ => self.come_by_tls(),
        };
        self.ledger.count_doing(doing);
    }

    fn come(&mut self) {
        let user = self.random.pick(&["rw", "rw", "rw", "admin"]);
        if let Some(mut client) = connect(&self.entrance, user) {
            let room = self.random.below(50);
            if do_all(&mut client, &format!("LISTEN room{room}\r\n")) {
                self.clients.push(client);
            }
        }
    }

    fn name(&mut self) -> String {
        format!("name:{:05}", self.random.below(self.ledger.names))
    }

    fn value(&mut self) -> String {
        self.written += 1;
        let padding = "=".repeat(self.random.below(300));
        format!("{} {} {padding}", self.number, self.written)
    }

    /// Lets one of the residents do something; it is gone if its connection ended meanwhile.
    fn with_any(&mut self, work: impl FnOnce(&mut Self, &mut Client)) {
        if self.clients.is_empty() {
            return;
        }
        let any = self.random.below(self.clients.len());
        let mut client = self.clients.swap_remove(any);
        work(self, &mut client);
        if !client.is_closed() {
            self.clients.push(client);
        }
    }

    fn work_a_bit(&mut self) -> &'static str {
        let mut lines = "PING\r\n".to_owned();
        for _ in 0..1 + self.random.below(40) {
            let name = self.name();
            lines += &match self.random.below(20) {
                0..9 => format!("RETRIEVE {name}\r\n"),
                9..14 => format!("STORE {name}={}\r\n", self.value()),
                14 => format!("REMOVE {name}\r\n"),
                15 => format!("SETANDSTORE {name}={}\r\n", self.value()),
                16 => format!("LISTEN {name}\r\nUNLISTEN {name}\r\n"),
                17 => format!("DECREMENT lost:{}=0.5\r\n", self.random.below(100)),
                room => {
                    let verb = ["SET", "NOTIFY"][room - 18];
                    let value = ["=x", ""][room - 18];
                    format!("{verb} room{}{value}\r\n", self.random.below(50))
                }
            };
        }
        self.with_any(|_, client| {
            do_all(client, &lines);
        });
        "batches"
    }

    /// Nobody else writes to these, so that they hold what was flushed.
    fn tend_own_names(&mut self) -> &'static str {
        let start = self.ledger.own_name(self.number);
        self.owned.retain(|name, _| name.starts_with(&start));
        let name = format!("{start}{}", self.random.below(OWNED));
        self.with_any(|worker, client| {
            let _ = client.try_send(format!("RETRIEVE {name}\r\n").as_bytes());
            let answers = client.flush();
            let (found, none) = (format!("RETRIEVED {name}="), format!("NOTRETRIEVED {name}"));
            let held = answers.iter().find_map(|line| {
                let value = line
                    .strip_prefix(&found)
                    .map(|value| Some(value.to_owned()));
                value.or_else(|| (*line == none).then_some(None))
            });
            let may_hold = worker.owned.entry(name.clone());
            let may_hold = may_hold.or_insert_with(|| vec![None]);
            match held {
                Some(held) if !may_hold.contains(&held) => {
                    let what = format!("{name} holds {held:?}, and may hold {may_hold:?}");
                    worker.ledger.complain(what);
                }
                None if !client.is_closed() => worker.ledger.complain(format!("{answers:?}")),
                _ => {}
            }
            worker.written += 1;
            let (line, written) = match worker.random.below(5) {
                0 => (format!("REMOVE {name}\r\n"), None),
                _ => {
                    let value = worker.written.to_string();
                    (format!("STORE {name}={value}\r\n"), Some(value))
                }
            };
            let is_sure = do_all(client, &line);
            let may_hold = worker.owned.entry(name).or_default();
            if is_sure {
                may_hold.clear();
            }
            may_hold.push(written);
        });
        "own names"
    }

    fn speak(&mut self) -> &'static str {
        let speaker = match &mut self.speaker {
            Some(speaker) => speaker,
            none => {
                let Some(client) = connect(&self.entrance, "rw") else {
                    return "nobody there";
                };
                self.speakers += 1;
                let name = format!("{}.{}.{}", self.node, self.number, self.speakers);
                let said = 0;
                none.insert(Speaker { client, name, said })
            }
        };
        let mut lines = "PING\r\n".to_owned();
        for _ in 0..5 {
            speaker.said += 1;
            lines += &format!("SET signal={}:{}\r\n", speaker.name, speaker.said);
        }
        if !do_all(&mut speaker.client, &lines) {
            self.speaker = None;
        }
        "speeches"
    }

    fn count(&mut self) -> &'static str {
        let (number, step) = (self.random.below(COUNTERS), 1 + self.random.below(9) as u64);
        let name = self.ledger.counter(number);
        self.with_any(|worker, client| {
            let is_sure = do_all(client, &format!("INCREMENT {name}={step}\r\n"));
            worker.ledger.count(number, step, is_sure);
        });
        "counts"
    }

    fn leave(&mut self) -> &'static str {
        if !self.clients.is_empty() {
            let any = self.random.below(self.clients.len());
            let mut client = self.clients.swap_remove(any);
            // Or it just goes, with whatever there was still to read.
            if self.random.below(2) == 0 && client.try_send(b"QUIT\r\n").is_ok() {
                client.until_closed();
            }
        }
        "leaves"
    }

    fn list(&mut self) -> &'static str {
        let line = self
            .random
            .pick(&["KEYLIST", "CLIENTLIST", "MONITOR\r\nPING\r\nUNMONITOR"]);
        let Some(mut client) = connect(&self.entrance, "admin") else {
            return "nobody there";
        };
        do_all(&mut client, &format!("{line}\r\n"));
        "lists"
    }

    fn listen_and_unlisten(&mut self) -> &'static str {
        let lines: String = (0..1000)
            .map(|number| {
                let verb = ["LISTEN", "LISTEN", "UNLISTEN"][number % 3];
                format!("{verb} storm{}\r\n", number % 200)
            })
            .collect();
        if let Some(mut client) = connect(&self.entrance, "ro") {
            do_all(&mut client, &lines);
        }
        "storms"
    }

    fn send_garbage(&mut self) -> &'static str {
        // Who may only read changes nothing, whatever the bytes come to.
        let client = if self.random.below(2) == 0 {
            dial(&self.entrance)
        } else {
            connect(&self.entrance, "ro")
        };
        if let Some(mut client) = client {
            for _ in 0..5 {
                let length = self.random.below(3000);
                let mut bytes = self.random.bytes(length);
                let verb = self
                    .random
                    .pick(&["", "STORE ", "OVERHEAD ", "KEYSYNC ", "STATE "]);
                bytes.splice(0..0, verb.bytes());
                bytes.push(b'\n');
                let _ = client.try_send(&bytes);
                client.receive(Duration::from_millis(1));
            }
        }
        "garbage"
    }

    fn send_half_a_line(&mut self) -> &'static str {
        let name = self.name();
        if let Some(mut client) = connect(&self.entrance, "rw") {
            let _ = client.try_send(format!("STORE {name}=half of").as_bytes());
        }
        "half lines"
    }

    fn sleep(&mut self) -> &'static str {
        if let Some(mut client) = connect(&self.entrance, "admin") {
            let what = self
                .random
                .pick(&["MONITOR", "KEYLIST\r\nKEYLIST\r\nKEYLIST"]);
            let _ =
                client.try_send(format!("LISTEN signal\r\nLISTEN room1\r\n{what}\r\n").as_bytes());
            self.sleepers.push(client);
        }
        if self.sleepers.len() > SLEEPERS {
            self.sleepers.remove(0);
        }
        "sleepers"
    }

    fn reset(&mut self) -> &'static str {
        let Some(port) = self.entrance.tcp else {
            return "no port";
        };
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
            return "nobody there";
        };
        let lines = format!("OVERHEAD A {}\r\nLISTEN signal\r\nKEYLIST\r\n", token("ro"));
        let _ = stream.write_all(lines.as_bytes());
        std::thread::sleep(Duration::from_millis(1));
        // With answers unread, or on their way.
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        "resets"
    }

    fn half_close(&mut self) -> &'static str {
        let name = self.name();
        let value = self.value();
        let Some(mut client) = connect(&self.entrance, "rw") else {
            return "nobody there";
        };
        let lines = format!("STORE {name}={value}\r\nFLUSH last\r\nSTORE {name}=unfini");
        if client.try_send(lines.as_bytes()).is_err() {
            return "nobody there";
        }
        client.shutdown_write();
        let answers = client.until_closed();
        if self.entrance.tcp.is_some() && !answers.iter().any(|line| line == "FLUSHED last") {
            self.ledger
                .complain(format!("after a half close only {answers:?} came"));
        }
        "half closes"
    }

    fn be_refused(&mut self) -> &'static str {
        let Some(mut client) = dial(&self.entrance) else {
            return "nobody there";
        };
        let _ = client.try_send(b"OVERHEAD A d3Jvbmc=:d3Jvbmc=\r\n");
        let answers = client.until_closed();
        let last = answers.last().map(String::as_str);
        if self.entrance.tcp.is_some() && last != Some("OVERHEAD F Login failed!") {
            self.ledger
                .complain(format!("a wrong login was answered {answers:?}"));
        }
        "wrong logins"
    }

    fn store_the_longest(&mut self) -> &'static str {
        let start = format!("STORE long:{}={} ", self.random.below(10), self.value());
        let line = format!("{start}{}\r\n", "l".repeat(MAX_LINE - start.len()));
        self.with_any(|_, client| {
            do_all(client, &line);
        });
        "longest lines"
    }

    fn send_too_long_a_line(&mut self) -> &'static str {
        if let Some(mut client) = connect(&self.entrance, "rw") {
            let _ = client.try_send(&vec![b'x'; MAX_LINE + 1]);
            client.until_closed();
        }
        "too long lines"
    }

    fn say_nothing(&mut self) -> &'static str {
        // It ends by the auth timeout, or is dropped before.
        self.sleepers.extend(dial(&self.entrance));
        if self.sleepers.len() > SLEEPERS {
            self.sleepers.remove(0);
        }
        "silent ones"
    }

    fn come_by_tls(&mut self) -> &'static str {
        let Some(port) = self.entrance.tls else {
            return "no port";
        };
        let name = self.name();
        let version = VERSIONS[self.random.below(VERSIONS.len())];
        if let Some(mut client) = log_in(Client::tls(port, version), "ro")
            && do_all(&mut client, &format!("RETRIEVE {name}\r\n"))
            && self.random.below(2) == 0
        {
            client.vanish();
        }
        "TLS clients"
    }
}
