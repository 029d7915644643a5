//! Entries of memcached clients in a file, with the real process, killed in the midst of their work: none comes back
//! whose expiry was flushed, and none is lost that was flushed and lives.

use super::process::with_journal;
use crate::support::{Client, Random, Server, wait_until};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

const WORKERS: usize = 3;
/// Names of each worker.
const NAMES: usize = 60;
const SECOND_US: u64 = 1_000_000;
/// Times to live, in seconds: at once, soon, late, never.
const TTLS_S: [i64; 6] = [-1, 1, 1, 1_000, 1_000, 0];
/// An entry that lives for longer is there whenever it is touched.
const LATE_US: u64 = 500 * SECOND_US;
/// How much earlier than it is a server may take the time to be, which asks for it once in a turn.
const TURN_US: u64 = SECOND_US / 2;

/// Some worker has said of a name which value it has, and for how long, between these two moments.
#[derive(Debug, Clone, Copy)]
struct Said {
    serial: u64,
    ttl_s: i64,
    from_us: u64,
    to_us: u64,
}

impl Said {
    /// When the entry expires, if it was said then.
    fn expires_us(&self, said_us: u64) -> u64 {
        match u64::try_from(self.ttl_s) {
            Ok(0) => u64::MAX,
            Ok(ttl_s) => said_us + ttl_s * SECOND_US,
            Err(_) => said_us,
        }
    }

    fn may_be_over(&self, now_us: u64) -> bool {
        self.expires_us(self.from_us.saturating_sub(TURN_US)) <= now_us
    }

    fn may_live(&self, now_us: u64) -> bool {
        self.expires_us(self.to_us) > now_us.saturating_sub(TURN_US)
    }
}

/// All that may be true of each name of a worker: what was flushed last, and what was said after that.
type Known = BTreeMap<String, Vec<Said>>;

/// An entry that is not there.
const GONE: Said = Said {
    serial: 0,
    ttl_s: -1,
    from_us: 0,
    to_us: 0,
};

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("it is later than 1970").as_micros() as u64
}

struct Worker {
    memcached: Client,
    clacks: Client,
    known: Known,
    random: Random,
    serial: u64,
}

impl Worker {
    /// Stores and touches until the server is gone.
    fn work(mut self, number: usize) -> (Known, u64) {
        while self.say_some(number).is_some() {}
        (self.known, self.serial)
    }

    /// Says some things at once, and waits until they are flushed.
    fn say_some(&mut self, number: usize) -> Option<()> {
        let mut lines = String::new();
        let mut names = Vec::new();
        let from_us = now_us();
        for _ in 0..1 + self.random.below(10) {
            let name = format!("w{number}:{}", self.random.below(NAMES));
            let ttl_s = TTLS_S[self.random.below(TTLS_S.len())];
            let said = self.known.entry(name.clone()).or_insert_with(|| vec![GONE]);
            let is_touch = self.random.below(3) == 0 && is_there_for_long(said, from_us);
            let serial = match said.last().filter(|_| is_touch) {
                Some(last) => {
                    lines += &format!("touch {name} {ttl_s} noreply\r\n");
                    last.serial
                }
                None => {
                    self.serial += 1;
                    let value = format!("{}:{}", self.serial, "v".repeat(self.random.below(2000)));
                    let length = value.len();
                    lines += &format!("set {name} 0 {ttl_s} {length} noreply\r\n{value}\r\n");
                    self.serial
                }
            };
            said.push(Said {
                serial,
                ttl_s,
                from_us,
                to_us: u64::MAX / 2,
            });
            names.push(name);
        }
        self.memcached
            .try_send(format!("{lines}mn\r\n").as_bytes())
            .ok()?;
        let answer = self.memcached.next_line()?;
        assert_eq!(answer, "MN");
        let to_us = now_us();
        let flush = format!("FLUSH {}", self.serial);
        let sent = self.clacks.try_send(format!("{flush}\r\n").as_bytes());
        let flushed = sent.ok().and_then(|()| self.clacks.next_line());
        for name in names {
            let said = self.known.get_mut(&name)?;
            said.iter_mut()
                .for_each(|said| said.to_us = said.to_us.min(to_us));
            if flushed.is_some() {
                said.drain(..said.len() - 1);
            }
        }
        assert_eq!(flushed?, flush.replace("FLUSH", "FLUSHED"));
        Some(())
    }
}

fn is_there_for_long(said: &[Said], now_us: u64) -> bool {
    let is_so = |said: &Said| !said.may_be_over(now_us + LATE_US);
    said.iter()
        .all(|one| is_so(one) && one.serial == said[0].serial)
}

/// The serial number in a name's value.
fn get(client: &mut Client, name: &str) -> Option<u64> {
    client.send(&format!("get {name}"));
    let line = client.next_line().expect("an answer");
    if line == "END" {
        return None;
    }
    let value = client.next_line().expect("a value");
    client.expect("END");
    let (serial, _) = value.split_once(':').expect("a serial number");
    Some(serial.parse().expect("a number"))
}

/// Each name has a value that it may have, or none if that may be.
fn check(client: &mut Client, known: &mut Known) {
    for (name, said) in known {
        let before_us = now_us();
        let found = get(client, name);
        let after_us = now_us();
        let listed = format!("{name} is {found:?} at {after_us}: {said:?}");
        match found {
            Some(serial) => {
                said.retain(|said| said.serial == serial && said.may_live(before_us));
                assert!(!said.is_empty(), "{listed}");
            }
            None => {
                assert!(
                    said.iter().any(|said| said.may_be_over(after_us)),
                    "{listed}"
                );
                *said = vec![GONE];
            }
        }
    }
}

/// Lets the workers do what they do, and kills the server.
fn round(
    mut server: Server,
    socket: &Path,
    known: &mut [Known],
    random: &mut Random,
    serial: &mut u64,
) -> Server {
    let after = Duration::from_micros(random.below(60_000) as u64);
    let workers: Vec<_> = known
        .iter()
        .enumerate()
        .map(|(number, known)| {
            let worker = Worker {
                memcached: Client::unix(socket),
                clacks: server.client("admin"),
                known: known.clone(),
                random: Random::new(*serial * WORKERS as u64 + number as u64),
                serial: *serial,
            };
            std::thread::spawn(move || worker.work(number))
        })
        .collect();
    std::thread::sleep(after);
    server.process.signal(libc::SIGKILL);
    server.process.wait();
    let end_us = now_us();
    for (known, worker) in known.iter_mut().zip(workers) {
        let (theirs, last) = worker.join().expect("no panic");
        *known = theirs;
        *serial = last.max(*serial);
        for said in known.values_mut().flatten() {
            said.to_us = said.to_us.min(end_us);
        }
    }
    server.kill_and_restart()
}

fn kill(rounds: usize, fsync: &str) {
    let setup = with_journal(&["--fsync", fsync, "--clean-interval", "1"]);
    let (socket, address) = (setup.path("memcached"), setup.unix("memcached"));
    let flags = ["--memcached", &address, "--memcached-user", "admin"];
    let mut server = setup.flags(&flags).start();
    let mut known = vec![Known::default(); WORKERS];
    let (mut random, mut serial) = (Random::new(rounds as u64), 0);
    for _ in 0..rounds {
        server = round(server, &socket, &mut known, &mut random, &mut serial);
        let mut client = Client::unix(&socket);
        known.iter_mut().for_each(|known| check(&mut client, known));
    }
    let is_soon = |said: &&Vec<Said>| said.iter().all(|said| said.ttl_s.abs() == 1);
    let mut client = Client::unix(&socket);
    for (name, said) in known.iter().flatten() {
        if is_soon(&said) {
            wait_until("it expires", || get(&mut client, name).is_none());
        }
    }
    known.iter_mut().for_each(|known| check(&mut client, known));
    let server = server.kill_and_restart();
    let mut client = Client::unix(&socket);
    known.iter_mut().for_each(|known| check(&mut client, known));
    let there = known
        .iter()
        .flatten()
        .filter(|(_, said)| said[0].serial > 0);
    let there = there.count();
    assert!(there > NAMES / 4, "{there}");
    assert!(
        known.iter().flatten().count() - there > NAMES / 4,
        "{there}"
    );
    drop(server);
}

#[test]
fn a_killed_process_brings_nothing_back_that_has_expired_and_loses_nothing_that_lives() {
    for fsync in ["always", "never"] {
        kill(6, fsync);
    }
}
