//! Streams of commands for two servers that must answer alike: few keys, short values, numbers at the edges, and faults.
//!
//! Commands that memcached 1.6.18 is known to answer otherwise are not made here; those of `faults.rs` are.

use super::faults::{Fault, faults};
use crate::support::Random;

/// A key of the streams. Their values are texts or numbers, so that what is known to differ in counting is seen in
/// numbers alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// As text commands name it; `None` if they can't.
    pub text: Option<&'static str>,
    /// As meta commands with the flag b name it; `None` if they don't.
    pub base64: Option<&'static str>,
    pub is_number: bool,
}

impl Key {
    /// memcached keeps blanks behind numbers, and forgets by an append that a key came in base64.
    fn is_never_appended_to(&self) -> bool {
        self.is_number || self.base64.is_some()
    }
}

const fn plain(text: &'static str, is_number: bool) -> Key {
    Key {
        text: Some(text),
        base64: None,
        is_number,
    }
}

/// A key of 250 bytes.
const LONGEST: &str = concat!(
    "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
    "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
    "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
    "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
    "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
);

pub const KEYS: [Key; 7] = [
    plain("a", false),
    plain("b", false),
    plain(LONGEST, false),
    Key {
        text: Some("foo"),
        base64: Some("Zm9v"),
        is_number: false,
    },
    Key {
        text: None,
        base64: Some("YSBi"),
        is_number: false,
    },
    plain("n", true),
    plain("m", true),
];

/// A part of a request.
#[derive(Debug, Clone)]
pub enum Part {
    Bytes(Vec<u8>),
    /// A cas that the server has named for the command's key: so many before the latest one. If it has named none, a
    /// number that is no cas.
    Cas(usize),
}

#[derive(Debug, Clone)]
pub struct Command {
    pub parts: Vec<Part>,
    /// The first of its keys.
    pub key: usize,
    /// The connection that sends it.
    pub connection: usize,
    /// Set if the two servers are known to answer in different ways.
    pub fault: Option<&'static Fault>,
}

pub const CONNECTIONS: usize = 3;

pub struct Generator {
    random: Random,
    /// Commands name no cas that a server has given, so that the same bytes can be sent to several.
    pub is_blind: bool,
    parts: Vec<Part>,
}

const EXPTIMES: [&str; 6] = ["0", "0", "1000", "-1", "2678400", "2000000000"];
/// Tokens of exptimes that leave the entry.
const LIVING: [&str; 4] = ["0", "30", "1000", "2000000000"];
const FLAGS: [&str; 5] = ["0", "1", "16", "4294967295", "4294967297"];
const TEXTS: [&str; 6] = ["", "x", "hello", "y\r\nz", "-5", "1e3"];
const NUMBERS: [&str; 12] = [
    "0",
    "1",
    "9",
    "10",
    "99",
    "100",
    "18446744073709551614",
    "18446744073709551615",
    "9007199254740993",
    "+5",
    "007",
    "5 abc",
];
const DELTAS: [&str; 8] = [
    "0",
    "1",
    "2",
    "5",
    "10",
    "99",
    "9223372036854775808",
    "18446744073709551615",
];

impl Generator {
    pub fn new(seed: u64) -> Generator {
        let mut random = Random::new(seed);
        // The first numbers of neighbouring seeds are alike.
        for _ in 0..8 {
            random.next();
        }
        Generator {
            random,
            is_blind: false,
            parts: Vec::new(),
        }
    }

    pub fn command(&mut self) -> Command {
        let connection = self.random.below(CONNECTIONS);
        if self.one_in(12) {
            return self.fault(connection);
        }
        let key = self.random.below(KEYS.len());
        match self.random.below(100) {
            0..16 => self.storage(key),
            16..28 => self.retrieval(key),
            28..42 => self.change(key),
            42..60 => self.mg(key),
            60..78 => self.ms(key),
            78..86 => self.md(key),
            86..95 => self.ma(key),
            95..97 => self.say(&["me ", KEYS[key].text.unwrap_or("none")]),
            _ => self.administration(),
        }
        let line_end = self.random.pick(&["\r\n", "\r\n", "\r\n", " \r\n", "\n"]);
        if self.parts.last().is_none_or(|part| !part.ends_a_block()) {
            self.say(&[line_end]);
        }
        Command {
            parts: std::mem::take(&mut self.parts),
            key,
            connection,
            fault: None,
        }
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.random.below(count) == 0
    }

    fn say(&mut self, texts: &[&str]) {
        let bytes = texts.concat().into_bytes();
        self.parts.push(Part::Bytes(bytes));
    }

    fn fault(&mut self, connection: usize) -> Command {
        let faults = faults();
        let fault = &faults[self.random.below(faults.len())];
        Command {
            parts: vec![Part::Bytes(fault.request.clone())],
            key: 0,
            connection,
            fault: Some(fault),
        }
    }

    fn noreply(&mut self) {
        if self.one_in(6) {
            let noreply = self.random.pick(&[" noreply", " noreply", "  noreply"]);
            self.say(&[noreply]);
        }
    }

    fn value(&mut self, key: usize) -> &'static str {
        match KEYS[key].is_number {
            true => self.random.pick(&NUMBERS),
            false => self.random.pick(&TEXTS),
        }
    }

    /// The end of a storage line, and its block.
    fn block(&mut self, value: &str) {
        self.say(&["\r\n"]);
        self.say(&[value, "\r\n"]);
    }

    fn cas(&mut self) {
        match self.random.below(6) {
            0 => self.say(&["0"]),
            1 => self.say(&["18446744073709551615"]),
            _ if self.is_blind => self.say(&["18446744073709551615"]),
            2 => self.parts.push(Part::Cas(1)),
            _ => self.parts.push(Part::Cas(0)),
        }
    }

    fn storage(&mut self, key: usize) {
        let Some(name) = KEYS[key].text else {
            return self.say(&["get none"]);
        };
        let verbs = match KEYS[key].is_never_appended_to() {
            true => &["set", "set", "add", "replace", "cas"][..],
            false => &["set", "set", "add", "replace", "cas", "append", "prepend"],
        };
        let verb = self.random.pick(verbs);
        let flags = self.random.pick(&FLAGS);
        let mut exptime = self.random.pick(&EXPTIMES);
        if self.one_in(20) {
            exptime = "4294967295";
        }
        let value = self.value(key);
        let length = value.len().to_string();
        self.say(&[verb, " ", name, " ", flags, " ", exptime, " ", &length]);
        if verb == "cas" {
            self.say(&[" "]);
            self.cas();
        }
        self.noreply();
        if self.one_in(10) {
            self.say(&[" "]);
        }
        self.block(value);
    }

    fn retrieval(&mut self, key: usize) {
        let verb = self.random.pick(&["get", "get", "gets", "gat", "gats"]);
        self.say(&[verb]);
        if verb.starts_with("gat") {
            let exptime = self.random.pick(&EXPTIMES);
            self.say(&[" ", exptime]);
        }
        let more = self.random.below(3);
        let others: Vec<usize> = (0..more).map(|_| self.random.below(KEYS.len())).collect();
        for key in [key].into_iter().chain(others) {
            self.say(&[" ", KEYS[key].text.unwrap_or("none")]);
        }
    }

    /// delete, touch, incr, decr.
    fn change(&mut self, key: usize) {
        let name = KEYS[key].text.unwrap_or("none");
        match self.random.below(8) {
            0 => self.say(&["delete ", name]),
            1 => self.say(&["delete ", name, " 0"]),
            2 | 3 => {
                let exptime = self.random.pick(&EXPTIMES);
                self.say(&["touch ", name, " ", exptime]);
            }
            choice => {
                let verb = if choice % 2 == 0 { "incr " } else { "decr " };
                // Mostly of numbers.
                let name = match self.random.below(4) {
                    0 => name,
                    1 => "m",
                    _ => "n",
                };
                let delta = self.random.pick(&DELTAS);
                self.say(&[verb, name, " ", delta]);
            }
        }
        self.noreply();
    }

    /// A meta command's word, key and flag b.
    fn meta(&mut self, command: &str, key: usize) -> bool {
        let Key { text, base64, .. } = KEYS[key];
        let is_base64 = match (text, base64) {
            (Some(_), Some(_)) => self.one_in(2),
            (None, _) => true,
            (_, None) => false,
        };
        let name = if is_base64 { base64 } else { text };
        self.say(&[command, " ", name.expect("one of the two")]);
        is_base64
    }

    /// Says some of these flags in any order.
    fn some_flags(&mut self, flags: &[&str]) {
        let mut left: Vec<&str> = flags.to_vec();
        for _ in 0..self.random.below(6.min(flags.len() + 1)) {
            let flag = left.remove(self.random.below(left.len()));
            self.say(&[" ", flag]);
        }
    }

    fn mg(&mut self, key: usize) {
        let is_base64 = self.meta("mg", key);
        if is_base64 {
            self.say(&[" b"]);
        }
        let mut flags = vec!["v", "v", "k", "c", "f", "s", "h", "l", "O7", "q"];
        flags.remove(0);
        let n = format!("N{}", self.random.pick(&["0", "30", "1000"]));
        let r = format!("R{}", self.random.pick(&["100", "2000"]));
        let t = format!("T{}", self.random.pick(&LIVING));
        // An entry vivified by base64 is another case of 1.6.18.
        if !KEYS[key].is_number {
            flags.push(&r);
            if !is_base64 {
                flags.push(&n);
            }
        }
        match self.random.below(10) {
            0 => flags.push("T-1"),
            1..4 => flags.extend(["t", &t]),
            _ => flags.push("t"),
        }
        self.some_flags(&flags);
    }

    fn ms(&mut self, key: usize) {
        let value = self.value(key);
        let length = value.len().to_string();
        let is_base64 = self.meta("ms", key);
        self.say(&[" ", &length]);
        if is_base64 {
            self.say(&[" b"]);
        }
        let modes = match KEYS[key].is_never_appended_to() {
            true => &["MS", "ME", "MR"][..],
            false => &["MS", "ME", "MR", "MA", "MP"],
        };
        let mode = self.random.pick(modes);
        let f = format!("F{}", self.random.pick(&["0", "7", "4294967295"]));
        let t = format!("T{}", self.random.pick(&EXPTIMES));
        let mut flags = vec!["k", "c", "O8", "q", mode, &f, &t];
        if !KEYS[key].is_number {
            flags.push("I");
        }
        self.some_flags(&flags);
        if self.one_in(3) {
            self.say(&[" C"]);
            self.cas();
        }
        self.block(value);
    }

    fn md(&mut self, key: usize) {
        if self.meta("md", key) {
            self.say(&[" b"]);
        }
        if !KEYS[key].is_number && self.one_in(2) {
            let t = format!(" T{}", self.random.pick(&LIVING));
            let t = if self.one_in(2) { "" } else { &t };
            self.say(&[" I", t]);
        }
        self.some_flags(&["k", "O9", "q"]);
        if self.one_in(3) {
            self.say(&[" C"]);
            self.cas();
        }
    }

    fn ma(&mut self, key: usize) {
        let key = if self.one_in(5) {
            key
        } else {
            KEYS.len() - 1 - self.random.below(2)
        };
        if self.meta("ma", key) {
            self.say(&[" b"]);
        }
        let mode = self.random.pick(&["MI", "M+", "MD", "M-"]);
        let n = format!("N{}", self.random.pick(&["0", "30", "1000"]));
        let j = format!(
            "J{}",
            self.random.pick(&["0", "13", "18446744073709551615"])
        );
        let d = format!("D{}", self.random.pick(&DELTAS));
        let mut flags = vec!["v", "k", "c", "t", "O6", "q", mode, &d, &j];
        if self.one_in(4) {
            // No entry has that version.
            flags.push("C1");
        }
        if KEYS[key].is_number {
            flags.push(&n);
        }
        self.some_flags(&flags);
    }

    /// A delayed `flush_all` brings back what an earlier one has removed, in memcached 1.6.18, as long as its memory was
    /// not taken for something else.
    fn administration(&mut self) {
        let line = self.random.pick(&[
            "version",
            "verbosity 0",
            "verbosity 0 noreply",
            "flush_all",
            "flush_all 0",
            "flush_all noreply",
            "stats sizes",
            "stats detail dump",
            "stats reset",
        ]);
        self.say(&[line]);
    }
}

impl Part {
    fn ends_a_block(&self) -> bool {
        matches!(self, Part::Bytes(bytes) if bytes.ends_with(b"\r\n"))
    }
}
