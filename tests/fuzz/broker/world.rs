//! The world around the broker, and what happens in it.

use super::lines::{Known, SOFTWARE, damage, line};
use super::log;
use super::oracle::{Oracle, Rights, holds_secret, is_flush, is_listen, token_of};
use super::others::{frame, login, long_end, long_start};
use super::steps::{
    BECOME_SLAVE, CONNECT, DEAFEN, DIALED, HTTP, LOG_IN, LONG_FRAME, MEMCACHED, NATS, PASS, SELDOM,
    SEND_MANY, SEND_RAW, SIGNAL_MUCH, STALL, STORE_LONG_NAMES, Steps,
};
use super::wires::{MAX_OUTPUT, Wire, Wires, has_room};
use clacks::broker::{
    Ageing, Broker, CloseReason, ConnectionId, Flow, HttpSettings, LongFrame, MemcachedSettings,
    NatsSettings, Now, Peer, Process, Rewritten, Saved, Settings, TcpAddress, Users,
};
use clacks::limits::{
    LISTING_SLICE, LOGIN_DELAY_MAX_US, MAX_LINE_BEFORE_LOGIN, PEER_LINE_EXTRA, SECOND_US,
};
use clacks::protocol::framing::{Next, Unfinished};
use clacks::protocol::token::Token;
use clacks::protocol::{Language, Request};
use std::net::{IpAddr, SocketAddr};

/// Some day in 2023.
pub const START_WALL_US: u64 = 1_700_000_000 * SECOND_US;
/// More connections than that show nothing new.
const MAX_WIRES: usize = 10;
/// Calls for one moment: each of them does a slice of whatever there is, and that is little here.
const MAX_CALLS_AT_ONCE: u32 = 4_000;

/// A user of the server: name, permissions, and whose rights they are.
pub const USERS: [(&str, &str, Rights); 6] = [
    ("admin", "", rights(true, true, true)),
    ("rw", "read,write", rights(true, false, false)),
    ("ro", "read", rights(true, false, false)),
    ("wo", "write", rights(false, false, false)),
    ("mg", "manage", rights(false, true, false)),
    ("rwm", "read,write,manage", rights(true, true, false)),
];

const fn rights(reads: bool, manages: bool, is_primary: bool) -> Rights {
    Rights {
        reads,
        manages,
        is_primary,
    }
}

/// The password of a user. After a change of the configuration it is another.
fn password(user: usize, edition: u8) -> String {
    let (name, _, _) = USERS[user];
    format!("secret-of-{name}-{edition}")
}

fn token(user: usize, edition: u8) -> String {
    Token::encode(USERS[user].0.as_bytes(), password(user, edition).as_bytes())
}

fn users(editions: &[u8; USERS.len()], lacks: Option<usize>) -> Users {
    let mut users = Users::new("admin", password(0, editions[0]).as_bytes());
    for (user, (name, permissions, _)) in USERS.iter().enumerate().skip(1) {
        if lacks != Some(user) {
            let line = format!("{name}:{permissions}:{}", password(user, editions[user]));
            users.add_file(&line).expect("a right line");
        }
    }
    users
}

/// The line that this server logs in with at others.
fn own_login(editions: &[u8; USERS.len()]) -> String {
    format!("OVERHEAD A {}", token(0, editions[0]))
}

fn settings(steps: &mut Steps<'_>) -> Settings {
    let (first, second, third) = (steps.byte(), steps.byte(), steps.byte());
    // Whoever gives no login is refused, or acts as the primary user.
    let user_of_all = |bit: u8| (third >> bit & 1 == 0).then(|| "admin".to_owned());
    Settings {
        software: "clacksd/0 interclacks/2".to_owned(),
        max_clients: [8, 2][usize::from(first >> 7)],
        max_line: [30_000, 5_000][usize::from(first >> 6 & 1)],
        masters: ["first", "second"][..usize::from(first & 3).min(2)]
            .iter()
            .map(|&name| name.to_owned())
            .collect(),
        max_held: [MAX_OUTPUT, 2_000][usize::from(first >> 5 & 1)],
        journal: first >> 4 & 1 == 1,
        cache_max: [
            None,
            Some(200_000),
            Some(20_000),
            Some(2_000),
            Some(300),
            Some(1),
        ][usize::from(second % 6)],
        ageing: [
            Settings::default().ageing,
            Ageing {
                stale_us: 5 * SECOND_US,
                deleted_us: 2 * SECOND_US,
            },
        ][usize::from(second >> 7)],
        clean_interval_us: [60 * SECOND_US, SECOND_US][usize::from(third & 1)],
        interclacks_reconnect_us: [30 * SECOND_US, 1_000][usize::from(third >> 1 & 1)],
        interclacks_ping_timeout_us: [60 * SECOND_US, SECOND_US][usize::from(third >> 2 & 1)],
        nats: NatsSettings {
            user: user_of_all(3),
            ..NatsSettings::default()
        },
        memcached: MemcachedSettings {
            user: user_of_all(4),
            ..MemcachedSettings::default()
        },
        http: HttpSettings {
            user: user_of_all(5),
            ..HttpSettings::default()
        },
        ..Settings::default()
    }
}

pub struct World {
    broker: Broker,
    wires: Wires,
    now: Now,
    known: Known,
    editions: [u8; USERS.len()],
    max_line: usize,
    cache_max: Option<usize>,
    is_over: bool,
    connections: u64,
}

/// The rewrite of that number is done.
fn rewritten(number: u64) -> Saved {
    Saved::Rewritten(Rewritten {
        number,
        length: 1_000,
    })
}

/// The requests in bytes that come, as far as they are whole.
fn requests(language: Language, bytes: &[u8]) -> Vec<Request<'_>> {
    if language == Language::Clacks {
        let lines = bytes.split(|byte| *byte == b'\n');
        return lines.map(|line| language.decode(line)).collect();
    }
    let (mut rest, mut requests) = (bytes, Vec::new());
    while let Next::Frame(frame, used) = language.next(rest, Unfinished::default()) {
        requests.push(language.decode(frame));
        rest = &rest[used..];
    }
    requests
}

impl World {
    pub fn new(steps: &mut Steps<'_>, data: &[u8]) -> World {
        let settings = settings(steps);
        let editions = [0; USERS.len()];
        let looks_for_secrets = !holds_secret(data);
        log::watch(looks_for_secrets);
        let mut wires = Wires::new(&settings, looks_for_secrets);
        wires.own_login = own_login(&editions);
        World {
            wires,
            max_line: settings.max_line,
            cache_max: settings.cache_max,
            broker: Broker::new(settings, users(&editions, None), [1, 2, 3, 4]),
            now: Now {
                monotonic_us: 0,
                wall_us: START_WALL_US,
            },
            known: Known {
                wall_us: START_WALL_US,
                cids: Vec::new(),
                node: 1,
                signals: 0,
            },
            editions,
            is_over: false,
            connections: 0,
        }
    }

    /// One thing happens, and then a turn of the loop.
    pub fn step(&mut self, steps: &mut Steps<'_>) {
        match steps.below(32) {
            0..10 => self.send_line(steps),
            SEND_MANY => self.send_many(steps),
            SEND_RAW => self.send_raw(steps),
            12 => self.send_rest(steps),
            CONNECT | 14 => self.connect(steps),
            LOG_IN | 16 | 17 => self.log_in(steps),
            BECOME_SLAVE | 19 => self.become_slave(steps),
            DIALED => self.dialed(steps),
            21 => self.play_master(steps),
            PASS | 23 => self.pass(steps),
            24 => self.set_clock(steps),
            STALL => self.stall(steps),
            26 => self.take_output(steps),
            27 => self.end_connection(steps),
            28 | 29 => self.save(steps),
            30 => self.reload(steps),
            SELDOM.. => self.seldom(steps),
        }
        self.turn();
    }

    /// One of the connections there are; a byte is taken in any case.
    fn pick(&mut self, steps: &mut Steps<'_>) -> Option<ConnectionId> {
        let place = usize::from(steps.byte());
        let count = self.wires.all.len();
        (count > 0).then(|| self.wires.all[place % count].id)
    }

    /// The language in which a connection came.
    fn language(&mut self, id: Option<ConnectionId>) -> Language {
        let wire = id.and_then(|id| self.wires.get(id));
        wire.map_or(Language::Clacks, |wire| wire.language)
    }

    fn send_line(&mut self, steps: &mut Steps<'_>) {
        let id = self.pick(steps);
        let how = steps.byte();
        let language = self.language(id);
        let mut bytes = match language {
            Language::Clacks => line(steps, &mut self.known),
            _ => frame(language, steps),
        };
        if language == Language::Clacks {
            bytes.extend_from_slice([&b"\r\n"[..], b"\n"][usize::from(how & 1)]);
        }
        if let Some(id) = id {
            // Some of it may come later.
            let later = match how >> 5 {
                7 => bytes.len() / 2,
                6 => 1,
                _ => 0,
            };
            self.send(id, &bytes, later);
        }
    }

    /// Many names are stored.
    fn send_many(&mut self, steps: &mut Steps<'_>) {
        let id = self.pick(steps);
        let (count, length) = (usize::from(steps.byte()), steps.pick(&[0, 5, 50, 300]));
        let verb = steps.pick(&["STORE", "STORE", "REMOVE", "INCREMENT", "LISTEN"]);
        let value = match verb {
            "STORE" => format!("={}", "v".repeat(length)),
            _ => String::new(),
        };
        let language = self.language(id);
        for number in 0..count {
            let line = match (language, verb) {
                (Language::Nats, "LISTEN") => format!("SUB more.{number} workers {number}\r\n"),
                (Language::Nats, "REMOVE") => format!("UNSUB {number}\r\n"),
                (Language::Nats, _) => {
                    format!("PUB more.{number} {length}\r\n{}\r\n", "v".repeat(length))
                }
                (Language::Memcached, _) => format!("mg more{number} v\r\n"),
                (Language::Http, _) => format!("HEAD /more{number} HTTP/1.1\nHost: a\n\n"),
                _ => format!("{verb} more{number}{value}\n"),
            };
            if let Some(id) = id {
                self.send(id, line.as_bytes(), 0);
            }
        }
    }

    fn send_raw(&mut self, steps: &mut Steps<'_>) {
        let id = self.pick(steps);
        let length = usize::from(steps.byte());
        let bytes = steps.take(length);
        if let Some(id) = id {
            self.send(id, bytes, 0);
        }
    }

    /// Delivers the bytes that are on their way to one connection.
    fn send_rest(&mut self, steps: &mut Steps<'_>) {
        if let Some(id) = self.pick(steps) {
            self.send(id, b"", 0);
        }
    }

    /// Bytes come to a connection, after those that were on the way. The last ones of them stay there.
    fn send(&mut self, id: ConnectionId, bytes: &[u8], later: usize) {
        let Some(wire) = self.wires.get(id).filter(|wire| wire.closing.is_none()) else {
            return;
        };
        let mut bytes = [&std::mem::take(&mut wire.on_the_way), bytes].concat();
        wire.is_within_line = match bytes.last() {
            Some(last) => *last != b'\n',
            None => wire.is_within_line,
        };
        wire.on_the_way = bytes.split_off(bytes.len() - later);
        let language = self.broker.language_of(id);
        let requests = requests(language, &bytes);
        self.broker.prefetch(requests.iter());
        let Some(wire) = self.wires.get(id) else {
            return;
        };
        wire.input.push(&bytes);
        self.work_off(id);
    }

    /// Hands over the finished frames of a connection, as the reactor does it.
    fn work_off(&mut self, id: ConnectionId) {
        self.wires.serving = Some(id);
        let language = self.broker.language_of(id);
        if let Some(wire) = self.wires.get(id).filter(|wire| wire.closing.is_none()) {
            wire.input.set_language(language);
        }
        loop {
            let now_us = self.now.monotonic_us;
            let Some(wire) = self.wires.get(id).filter(|wire| wire.closing.is_none()) else {
                break;
            };
            if !wire.may_go_on(now_us) || wire.input.is_skipping() {
                break;
            }
            let Some(frame) = wire.input.next_frame().map(<[u8]>::to_vec) else {
                self.check_unfinished(id);
                break;
            };
            if frame.len() > MAX_LINE_BEFORE_LOGIN {
                match self.check_length(id, None, frame.len()) {
                    LongFrame::Skipped | LongFrame::Refused => continue,
                    // All of it is there already.
                    LongFrame::Allowed | LongFrame::BlockSkipped | LongFrame::TailSkipped(_) => {}
                }
            }
            self.hand_over(id, &frame);
        }
        self.wires.serving = None;
        let is_through = |wire: &Wire| wire.is_deaf && wire.closing.is_none() && !wire.is_stopped();
        if self.wires.get(id).is_some_and(|wire| is_through(wire)) {
            self.close(id, CloseReason::ConnectionLost);
        }
    }

    /// Asks how to treat a long frame that is not complete, and does so.
    fn check_unfinished(&mut self, id: ConnectionId) {
        let Some(wire) = self.wires.get(id) else {
            return;
        };
        let length = wire.input.frame_length();
        if length <= wire.input.language().max_unasked() {
            return;
        }
        let start = wire.input.bytes().to_vec();
        let treatment = self.check_length(id, Some(&start), length);
        let Some(wire) = self.wires.get(id) else {
            return;
        };
        match treatment {
            LongFrame::Allowed => {}
            LongFrame::Skipped => wire.input.skip_frame(),
            LongFrame::BlockSkipped => wire.input.skip_block(),
            LongFrame::TailSkipped(kept) => wire.input.skip_tail(kept),
            LongFrame::Refused => assert!(wire.closing.is_some(), "it is being closed"),
        }
    }

    fn check_length(&mut self, id: ConnectionId, start: Option<&[u8]>, length: usize) -> LongFrame {
        self.broker
            .handle_long_frame(id, start, length, self.now, &mut self.wires)
    }

    fn hand_over(&mut self, id: ConnectionId, line: &[u8]) {
        let (now_us, recorded) = (self.now.monotonic_us, self.broker.recorded());
        let logs_in_as = token_of(line).and_then(|token| self.rights_of(token));
        let Some(wire) = self.wires.get(id) else {
            return;
        };
        let language = wire.input.language();
        if language == Language::Clacks {
            wire.oracle.logs_in_as = logs_in_as;
            if is_flush(line) {
                wire.oracle.flush_needs.get_or_insert(recorded);
            }
            wire.has_listened |= is_listen(line);
        }
        self.wires.answered = 0;
        let request = language.decode(line);
        let flow = self
            .broker
            .handle_request(id, &request, self.now, &mut self.wires);
        assert!(
            self.wires.answered <= self.most_at_once(),
            "no line has so long an answer"
        );
        let Some(wire) = self.wires.get(id) else {
            return;
        };
        match flow {
            Flow::Next => wire.oracle.flush_needs = None,
            Flow::Stop => wire.stop_by_broker(now_us),
            Flow::StopBefore => {
                wire.stop_by_broker(now_us);
                if wire.closing.is_none() {
                    wire.input.put_back(line.len());
                }
            }
        }
    }

    /// Longest answer: two slices of a listing or of a telling, each a little longer than it should be by its
    /// last entry, and what waited for it.
    fn most_at_once(&self) -> usize {
        2 * (LISTING_SLICE + 2 * self.max_line + PEER_LINE_EXTRA) + 2 * MAX_OUTPUT
    }

    fn rights_of(&self, token: &[u8]) -> Option<Rights> {
        let Token { user, .. } = Token::decode(token)?;
        let found = USERS.iter().find(|(name, _, _)| name.as_bytes() == user);
        found.map(|(_, _, rights)| *rights)
    }

    fn connect(&mut self, steps: &mut Steps<'_>) {
        let how = steps.byte();
        let peer = match how % 3 {
            0 => Peer::Unix(Process::default()),
            1 => Peer::Tcp(address([127, 0, 0, 1], 1234)),
            _ => Peer::Tcp(address([0, 0, 0, 0, 0, 0, 0, 1], 4321)),
        };
        let language = match how {
            0..NATS => Language::Clacks,
            NATS..MEMCACHED => Language::Nats,
            MEMCACHED..HTTP => Language::Memcached,
            HTTP.. => Language::Http,
        };
        if self.wires.all.len() < MAX_WIRES {
            self.welcome(peer, language);
            return;
        }
        let reason = CloseReason::ClientLimit;
        let refusal = self.broker.refusal(reason, peer, language.into(), self.now);
        let start: &[u8] = match language {
            Language::Clacks => b"CLACKS ",
            Language::Nats => b"INFO ",
            Language::Http => b"HTTP/1.1 503 ",
            _ => b"",
        };
        assert!(refusal.starts_with(start) && refusal.ends_with(b"\n"));
    }

    fn welcome(&mut self, peer: Peer, language: Language) -> ConnectionId {
        self.connections += 1;
        let serial = self.connections;
        let is_uplink = matches!(peer, Peer::Master(_));
        self.known.cids.push(match peer {
            Peer::Unix(_) => {
                let opened_s = (self.now.wall_us / SECOND_US) as u32;
                format!("unixdomainsocket:{opened_s}:{serial}")
            }
            Peer::Tcp(address) => format!("{}:{}:{serial}", address.ip(), address.port()),
            Peer::Master(Some(address)) => address.to_string(),
            Peer::Master(None) => "unixdomainsocket:interclacksmaster".to_owned(),
        });
        let id = self.wires.add(language, Oracle::new(is_uplink));
        self.broker
            .handle_connected(id, peer, language, self.now, &mut self.wires);
        id
    }

    fn log_in(&mut self, steps: &mut Steps<'_>) {
        let id = self.pick(steps);
        let (user, how) = (steps.below(USERS.len()), steps.byte());
        let mut token = match how % 16 {
            15 => token(user, self.editions[user].wrapping_sub(1)).into_bytes(),
            14 => Token::encode(USERS[user].0.as_bytes(), b"wrong").into_bytes(),
            _ => token(user, self.editions[user]).into_bytes(),
        };
        if how % 16 == 13 {
            damage(&mut token, steps);
        }
        match (id, self.language(id)) {
            (Some(id), Language::Clacks) => self.send_login(id, how, &token),
            (Some(id), _) if self.awaits_login(id) => {
                let edition = self.editions[user].wrapping_sub(u8::from(how % 16 == 15));
                let language = self.broker.language_of(id);
                let bytes = login(language, USERS[user].0, &password(user, edition));
                self.send(id, &bytes, usize::from(how >> 4 & 1) * bytes.len() / 2);
            }
            _ => {}
        }
    }

    /// Reports whether a client that speaks no Clacks can log in now: its login would not be taken for a part of a message,
    /// or for a value.
    fn awaits_login(&mut self, id: ConnectionId) -> bool {
        let language = self.broker.language_of(id);
        let wire = self.wires.get(id);
        let is_between_frames =
            wire.is_some_and(|wire| wire.on_the_way.is_empty() && wire.input.is_idle());
        is_between_frames && language != Language::Memcached
    }

    /// A whole line: half a login behind half of another line would be an answer's business.
    fn send_login(&mut self, id: ConnectionId, how: u8, token: &[u8]) {
        self.send(id, b"", 0);
        if self.wires.get(id).is_some_and(|wire| wire.is_within_line) {
            self.send(id, b"\n", 0);
        }
        let flags = ["A", "A", "A", "AN", "AG", "MA", "AI", "LA"][usize::from(how >> 5)];
        let line = [b"OVERHEAD ", flags.as_bytes(), b" ", token, b"\r\n"].concat();
        let later = usize::from(how >> 4 & 1) * line.len() / 2;
        self.send(id, &line, later);
        self.send(id, b"", 0);
    }

    fn log_in_as_primary(&mut self, id: ConnectionId, how: u8) {
        let token = token(0, self.editions[0]);
        self.send_login(id, how, token.as_bytes());
    }

    fn become_slave(&mut self, steps: &mut Steps<'_>) {
        let id = self.pick(steps);
        let software = steps.pick(&SOFTWARE);
        let is_clacks = self.language(id) == Language::Clacks;
        if let Some(id) = id.filter(|_| is_clacks) {
            self.send(id, format!("\nCLACKS {software}\n").as_bytes(), 0);
            self.log_in_as_primary(id, 0);
            self.send(id, b"OVERHEAD I 1\n", 0);
        }
    }

    /// Ends a dial of the broker: it fails, or the master is connected, by TCP or by a Unix socket.
    fn dialed(&mut self, steps: &mut Steps<'_>) {
        let how = steps.below(4);
        if self.wires.dialing.take().is_none() {
            return;
        }
        match how {
            0 => self.broker.handle_dial_failed("nobody is there", self.now),
            1 => {
                let peer = Peer::Master(Some(address([192, 0, 2, 1], 49888)));
                self.welcome(peer, Language::Clacks);
            }
            _ => {
                self.welcome(Peer::Master(None), Language::Clacks);
            }
        }
    }

    /// The master says what masters say.
    fn play_master(&mut self, steps: &mut Steps<'_>) {
        let how = steps.byte();
        let Some(id) = self.wires.uplink() else {
            return;
        };
        let software = SOFTWARE[usize::from(how & 3)];
        self.send(id, format!("\nCLACKS {software}\n").as_bytes(), 0);
        self.send(
            id,
            b"OVERHEAD M Authentication required\nOVERHEAD O Welcome!\n",
            0,
        );
        self.log_in_as_primary(id, how);
        let now_s = self.now.wall_us / SECOND_US;
        match how >> 2 & 3 {
            0 => {}
            1 => self.send(
                id,
                format!("OVERHEAD L 1\nOVERHEAD T {now_s}\n").as_bytes(),
                0,
            ),
            2 => self.send(
                id,
                format!("OVERHEAD L 1\nOVERHEAD T {now_s}\nOVERHEAD L 0\nPING\n").as_bytes(),
                0,
            ),
            _ => self.send(
                id,
                format!("PATH 7\nOVERHEAD T {now_s}\nSYNCED\n").as_bytes(),
                0,
            ),
        }
    }

    /// Time passes: a little, with everything at its moment, or much at once, as for a machine that slept.
    fn pass(&mut self, steps: &mut Steps<'_>) {
        const STEPS_US: [u64; 16] = [
            1,
            1_000,
            100_000,
            SECOND_US,
            2 * SECOND_US,
            3 * SECOND_US,
            5 * SECOND_US,
            15 * SECOND_US,
            20 * SECOND_US,
            61 * SECOND_US,
            185 * SECOND_US,
            600 * SECOND_US,
            3_700 * SECOND_US,
            90_000 * SECOND_US,
            2_600_000 * SECOND_US,
            400_000_000 * SECOND_US,
        ];
        let how = steps.byte();
        let step_us = STEPS_US[usize::from(how & 15)];
        let end_us = self.now.monotonic_us + step_us;
        if how & 0x10 == 0 && step_us <= 600 * SECOND_US {
            let mut calls = 0;
            while let Some(at_us) = self.broker.poll_deadline().filter(|at_us| *at_us <= end_us) {
                calls = if at_us > self.now.monotonic_us {
                    0
                } else {
                    calls + 1
                };
                assert!(calls < MAX_CALLS_AT_ONCE, "a deadline that doesn't go away");
                self.set_time(at_us.max(self.now.monotonic_us));
                self.turn();
            }
        }
        self.set_time(end_us);
    }

    fn set_time(&mut self, monotonic_us: u64) {
        self.now.wall_us += monotonic_us - self.now.monotonic_us;
        self.now.monotonic_us = monotonic_us;
        self.wires.now_us = monotonic_us;
        self.known.wall_us = self.now.wall_us;
    }

    /// Somebody sets the system's clock.
    fn set_clock(&mut self, steps: &mut Steps<'_>) {
        const ERRORS_US: [i64; 8] = [
            0,
            100_000,
            -100_000,
            60_000_000,
            -60_000_000,
            4_000_000_000,
            -4_000_000_000,
            -1_000_000_000_000_000_000,
        ];
        let error_us = steps.pick(&ERRORS_US);
        self.now.wall_us = (START_WALL_US + self.now.monotonic_us).saturating_add_signed(error_us);
        self.known.wall_us = self.now.wall_us;
    }

    fn stall(&mut self, steps: &mut Steps<'_>) {
        if let Some(id) = self.pick(steps)
            && let Some(wire) = self.wires.get(id)
        {
            wire.is_stalled = !wire.is_stalled;
        }
    }

    /// A peer that doesn't take what it gets takes a little.
    fn take_output(&mut self, steps: &mut Steps<'_>) {
        let (id, most) = (self.pick(steps), steps.pick(&[1, 100, 5_000, 70_000]));
        let now_us = self.now.monotonic_us;
        if let Some(wire) = id.and_then(|id| self.wires.get(id)) {
            wire.take_output(most, now_us);
        }
    }

    fn end_connection(&mut self, steps: &mut Steps<'_>) {
        let id = self.pick(steps);
        let reason = steps.pick(&[
            CloseReason::EndOfStream,
            CloseReason::ConnectionLost,
            CloseReason::OutputLimit,
            CloseReason::BuffersLimit,
            CloseReason::TlsFailed,
        ]);
        if let Some(id) = id {
            self.close(id, reason);
        }
    }

    fn close(&mut self, id: ConnectionId, reason: CloseReason) {
        self.broker
            .handle_closing(id, reason, self.now, &mut self.wires);
    }

    /// The journal's thread says what came of what it was given.
    fn save(&mut self, steps: &mut Steps<'_>) {
        let (how, part) = (steps.below(10), usize::from(steps.byte()));
        let disk = &mut self.wires.disk;
        if !disk.has_journal {
            return;
        }
        let why = || "no space left on device".to_owned();
        match how {
            0..4 if !disk.has_failed => {
                disk.saved = disk.recorded;
                disk.news.push(Saved::UpTo(disk.saved));
            }
            4 if !disk.has_failed => {
                disk.saved += (disk.recorded - disk.saved) * part as u64 / 256;
                disk.news.push(Saved::UpTo(disk.saved));
            }
            5 => {
                disk.has_failed = true;
                disk.news.push(Saved::Failed(why()));
            }
            6 => {
                (disk.is_rewriting, disk.is_rewritten) = (false, false);
                disk.news.push(Saved::NotRewritten(disk.rewrite, why()));
            }
            7 => disk.unsaved = 0,
            8 => disk.unsaved += part * 10_000,
            _ if std::mem::take(&mut disk.is_rewritten) => {
                disk.news.push(rewritten(disk.rewrite));
                disk.saved = disk.recorded;
                disk.news.push(Saved::UpTo(disk.saved));
                disk.has_failed = false;
            }
            _ => {}
        }
        let news = std::mem::take(&mut disk.news);
        self.broker.handle_saved(news, self.now, &mut self.wires);
    }

    /// The users were read again.
    fn reload(&mut self, steps: &mut Steps<'_>) {
        let how = steps.byte();
        let (user, lacks) = (usize::from(how & 7), usize::from(how >> 3 & 7));
        if let Some(edition) = self.editions.get_mut(user) {
            *edition = edition.wrapping_add(1);
        }
        let users = users(&self.editions, (lacks > 0).then_some(lacks));
        self.wires.own_login = own_login(&self.editions);
        self.broker.handle_users(users);
    }

    fn seldom(&mut self, steps: &mut Steps<'_>) {
        match steps.below(16) {
            0 => self.broker.handle_shutdown(self.now),
            LONG_FRAME..4 => {
                // A long line without an end, or a long frame of which the end comes later.
                let (id, how) = (self.pick(steps), steps.byte());
                let length = [4_000, 5_000, 31_000, 100_000][usize::from(how % 4)];
                let language = self.language(id);
                if let Some(id) = id {
                    self.send(id, &long_start(language, length, how >> 2), 0);
                    self.turn();
                    if how >> 4 & 1 == 0 {
                        self.send(id, &long_end(language, length), 0);
                    }
                }
            }
            4 => {
                let mut status = String::new();
                self.broker
                    .write_status(&mut status)
                    .expect("a String takes every write");
            }
            5 => {
                // The broker's number is the last one of the path that it tells.
                let of_path = |output: &[u8]| {
                    let text = String::from_utf8_lossy(output).into_owned();
                    let path = text
                        .lines()
                        .find(|line| line.starts_with("PATH "))?
                        .to_owned();
                    u64::from_str_radix(path.rsplit(' ').next()?, 16).ok()
                };
                let told = self.wires.all.iter().find_map(|wire| of_path(&wire.output));
                self.known.node = told.unwrap_or(self.known.node);
            }
            // More than a listing or a telling says at once, and more than may wait for a link.
            how @ (STORE_LONG_NAMES | SIGNAL_MUCH) => {
                let (id, count) = (self.pick(steps), steps.byte());
                let Some(id) = id else { return };
                let long = "l".repeat(900);
                let language = self.language(Some(id));
                for number in 0..count {
                    let line = match how {
                        _ if language == Language::Nats => format!("PUB a 900\r\n{long}\r\n"),
                        STORE_LONG_NAMES => format!("STORE {long}{number}=\n"),
                        _ => format!("SET a={long}\n"),
                    };
                    self.send(id, line.as_bytes(), 0);
                }
            }
            DEAFEN => {
                let now_us = self.now.monotonic_us;
                if let Some(id) = self.pick(steps)
                    && let Some(wire) = self.wires.get(id)
                    && wire.closing.is_none()
                    && !wire.is_deaf
                {
                    wire.deafen(now_us);
                    self.broker.handle_stalled(id, self.now, &mut self.wires);
                }
            }
            _ => {}
        }
    }

    /// The rest of a turn of the loop.
    fn turn(&mut self) {
        self.serve();
        if self
            .broker
            .poll_deadline()
            .is_some_and(|at_us| at_us <= self.now.monotonic_us)
        {
            self.broker.handle_deadline(self.now, &mut self.wires);
        }
        self.enforce_limits();
        self.flush();
        self.close_finished();
        self.is_over |= self.broker.is_over();
        assert_eq!(self.is_over, self.broker.is_over(), "what is over stays so");
    }

    /// Those who wait for room get it, and those who were stopped go on.
    fn serve(&mut self) {
        let ids: Vec<ConnectionId> = self.wires.all.iter().map(|wire| wire.id).collect();
        for id in ids {
            if self.wires.get(id).is_some_and(|wire| has_room(wire)) {
                if let Some(wire) = self.wires.get(id) {
                    wire.wants_writable = false;
                }
                self.wires.serving = Some(id);
                self.wires.answered = 0;
                self.broker.handle_writable(id, self.now, &mut self.wires);
                assert!(
                    self.wires.answered <= self.most_at_once(),
                    "room is not overfilled"
                );
                self.wires.serving = None;
            }
            self.work_off(id);
        }
    }

    fn enforce_limits(&mut self) {
        for (id, reason) in std::mem::take(&mut self.wires.ending) {
            self.close(id, reason);
        }
    }

    /// Peers take what they get, but those that take nothing.
    fn flush(&mut self) {
        let now_us = self.now.monotonic_us;
        let mut stalled = Vec::new();
        for wire in &mut self.wires.all {
            if !wire.is_stalled {
                wire.take_output(usize::MAX, now_us);
            } else if !wire.output.is_empty() && wire.stalled_since_us.is_none() {
                wire.stalled_since_us = Some(now_us);
                stalled.push(wire.id);
            }
        }
        for id in stalled {
            self.broker.handle_stalled(id, self.now, &mut self.wires);
        }
    }

    fn close_finished(&mut self) {
        let given_up = std::mem::take(&mut self.wires.given_up);
        let mut place = 0;
        while let Some(wire) = self.wires.all.get_mut(place) {
            let id = wire.id;
            let is_finished = |reason: &CloseReason| {
                !reason.drains() || wire.output.is_empty() || given_up.contains(&id)
            };
            let Some(reason) = wire.closing.filter(is_finished) else {
                place += 1;
                continue;
            };
            let discarded = wire.output.len();
            self.broker
                .handle_closed(id, reason, discarded, self.now, &mut self.wires);
            self.wires.all.remove(place);
        }
    }

    /// Looks at everything.
    pub fn check(&mut self) {
        self.broker.check();
        for wire in &self.wires.all {
            let most = MAX_OUTPUT + self.most_at_once();
            assert!(wire.output.len() <= most, "what waits for one is bounded");
            if let Some(held) = self.broker.counted_memory(wire.id) {
                assert_eq!(wire.held, held, "what is held is what was said");
            }
        }
        assert_eq!(self.broker.recorded(), self.wires.disk.recorded);
    }

    /// Does what is due until nothing is, which doesn't take for ever.
    fn settle(&mut self) {
        let mut calls = 0;
        while self
            .broker
            .poll_deadline()
            .is_some_and(|at_us| at_us <= self.now.monotonic_us)
        {
            calls += 1;
            assert!(calls < MAX_CALLS_AT_ONCE, "a deadline that doesn't go away");
            self.wires.disk.unsaved = 0;
            self.turn();
        }
        if let Some(max) = self.cache_max {
            assert!(
                self.figure("cache_bytes") <= max,
                "the cache keeps its limit"
            );
        }
    }

    fn figure(&self, name: &str) -> usize {
        let mut status = String::new();
        self.broker
            .write_status(&mut status)
            .expect("a String takes every write");
        let mut words = status.split(' ');
        let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value
            .expect("a figure of that name")
            .parse()
            .expect("a number")
    }

    /// All that was recorded is saved, unless the disk fails.
    fn save_all(&mut self) {
        let disk = &mut self.wires.disk;
        if !disk.has_journal {
            return;
        }
        disk.unsaved = 0;
        if !disk.has_failed {
            if std::mem::take(&mut disk.is_rewritten) {
                disk.news.push(rewritten(disk.rewrite));
            }
            disk.saved = disk.recorded;
            disk.news.push(Saved::UpTo(disk.saved));
        }
        let news = std::mem::take(&mut disk.news);
        self.broker.handle_saved(news, self.now, &mut self.wires);
    }

    /// Everybody takes what there is, the disk is done, and the master locks nothing: then nobody is left waiting.
    fn serve_all(&mut self) {
        if let Some(id) = self.wires.uplink() {
            self.close(id, CloseReason::ConnectionLost);
        }
        let mut before = None;
        for call in 0.. {
            assert!(call < MAX_CALLS_AT_ONCE, "somebody is never done");
            for wire in &mut self.wires.all {
                wire.is_stalled = false;
            }
            self.save_all();
            if self.wires.all.iter().any(Wire::waits_for_broker) {
                // A login after a wrong one is answered by then.
                self.set_time(self.now.monotonic_us + LOGIN_DELAY_MAX_US);
            }
            self.turn();
            self.settle();
            let is_to_go_on = |wire: &Wire| wire.wants_writable || !wire.output.is_empty();
            let done = (self.figure("lines"), self.wires.all.len());
            if before.replace(done) == Some(done) && !self.wires.all.iter().any(is_to_go_on) {
                break;
            }
        }
        for wire in &self.wires.all {
            assert!(wire.closing.is_none(), "who is to be closed is gone");
            assert!(!wire.waits_for_broker(), "nobody is stopped for ever");
            assert_eq!(wire.oracle.flush_needs, None, "each FLUSH is answered");
            assert!(
                !wire.is_link || wire.has_listened || wire.held == 0,
                "all is told"
            );
        }
    }

    /// Nobody is left waiting; then everybody goes, and nothing is left of them.
    pub fn end(&mut self) {
        self.settle();
        self.check();
        self.serve_all();
        self.check();
        let ids: Vec<ConnectionId> = self.wires.all.iter().map(|wire| wire.id).collect();
        for id in ids {
            self.close(id, CloseReason::ConnectionLost);
        }
        self.turn();
        self.settle();
        self.check();
        assert_eq!(self.wires.all.len(), 0, "who was closed is gone");
        for figure in [
            "clients",
            "monitors",
            "links",
            "names_listened_to",
            "subscriptions",
        ] {
            assert_eq!(self.figure(figure), 0, "{figure}");
        }
        self.wires.dialing = None;
        // After wrong logins there, the answer would be late.
        self.set_time(self.now.monotonic_us + LOGIN_DELAY_MAX_US);
        let id = self.welcome(Peer::Unix(Process::default()), Language::Clacks);
        self.log_in_as_primary(id, 0);
        self.send(id, b"CLEARCACHE\nQUIT\n", 0);
        self.turn();
        self.settle();
        if !self.is_over {
            for figure in ["entries", "tombstones", "cache_bytes"] {
                assert_eq!(self.figure(figure), 0, "{figure}");
            }
        }
        self.check();
    }
}

fn address(ip: impl Into<IpAddr>, port: u16) -> TcpAddress {
    SocketAddr::new(ip.into(), port).into()
}
