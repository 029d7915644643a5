//! Whole lines, each of a few bytes: every command of the protocol, what a clacksd server says to another,
//! and some nonsense, about names of a small set.

use super::steps::Steps;
use clacks::protocol::peer::{self, PeerLine, StatesLine};

const NAMES: [&str; 12] = [
    "a",
    "b",
    "count",
    "n::x",
    "n::y",
    "x y",
    "with=sign",
    "",
    "\u{e4}\u{df}",
    "=",
    "Z",
    "zz",
];
const VALUES: [&str; 20] = [
    "",
    "1",
    "-1",
    "v",
    "0.1",
    "1e308",
    "inf",
    "nan",
    "18446744073709551615",
    "-9223372036854775808",
    "7up",
    " 5 ",
    "0",
    "a=b",
    "1e-400",
    "REMOVED",
    "\0\u{1}",
    "STORE a=1",
    "999999999999999999999999999999999999999",
    "3",
];
/// Numbers as hardly anybody writes them, and what is nearly one.
const ODD_NUMBERS: [&str; 16] = [
    "+inf",
    "-INFINITY\t",
    "Infinity ",
    "infinite",
    "-NaN",
    "nan(1)",
    "+7",
    "-.5E-2",
    "1.",
    "2.5e+3x",
    "1e",
    "0x1f",
    "00017.50",
    "\t 12",
    "0.00000000000000000000000000000000000000000000000001",
    "-",
];
/// Lengths of other values, and of long names up to 3,000, in bytes.
const LENGTHS: [usize; 6] = [20, 60, 200, 900, 3_000, 20_000];
/// Differences of times, in microseconds. An hour is what a peer may be ahead.
const TIMES_US: [i64; 12] = [
    0,
    1,
    -1,
    1_000_000,
    -1_000_000,
    60_000_000,
    -60_000_000,
    3_599_000_000,
    3_700_000_000,
    -3_700_000_000,
    -90_000_000_000,
    1_000_000_000_000_000,
];
/// Bytes that damage inserts into a line, or puts in place of another one.
const DAMAGE: &[u8] = b" =:,-.+019aAzZ\t\0\xff";
/// Nodes of a tree. The second may be the broker itself, where that is known.
const NODES: [u64; 5] = [1, 0, 7, 0xffff_ffff_ffff_ffff, 0xabcdef];
const FLAGS: &[u8] = b"CDEFGILMNOSTUXGGNU";

/// The state from which lines are made, besides the bytes of the input.
pub struct Known {
    /// The time by the system's clock.
    pub wall_us: u64,
    /// The ids of connections, as CLIENTDISCONNECT names them.
    pub cids: Vec<String>,
    /// The broker's own number in the tree, once it has told it.
    pub node: u64,
    /// Counts signals, so that each can be a new one.
    pub signals: u64,
}

fn name(steps: &mut Steps<'_>) -> Vec<u8> {
    match steps.below(16) {
        15 => vec![b'n'; steps.pick(&LENGTHS).min(3_000)],
        14 => format!("more{}", steps.byte()).into_bytes(),
        place => NAMES[place % NAMES.len()].as_bytes().to_vec(),
    }
}

fn value(steps: &mut Steps<'_>) -> Vec<u8> {
    let kind = steps.byte();
    if kind >= 252 {
        return steps.pick(&ODD_NUMBERS).as_bytes().to_vec();
    }
    match usize::from(kind) % (VALUES.len() + 8) {
        place if place < VALUES.len() => VALUES[place].as_bytes().to_vec(),
        place if place < VALUES.len() + LENGTHS.len() => {
            vec![b'v'; LENGTHS[place - VALUES.len()]]
        }
        _ => {
            let length = steps.below(12);
            let bytes = steps.take(length).iter();
            bytes
                .copied()
                .filter(|byte| !b"\r\n".contains(byte))
                .collect()
        }
    }
}

fn time_us(steps: &mut Steps<'_>, known: &Known) -> u64 {
    known.wall_us.saturating_add_signed(steps.pick(&TIMES_US))
}

fn seconds(steps: &mut Steps<'_>, known: &Known) -> String {
    match steps.below(20) {
        19 => "nan".to_owned(),
        18 => "1e300".to_owned(),
        17 => "-5".to_owned(),
        16 => "x".to_owned(),
        15 => "0".to_owned(),
        _ => {
            let time_us = time_us(steps, known);
            format!("{}.{:06}", time_us / 1_000_000, time_us % 1_000_000)
        }
    }
}

fn node(steps: &mut Steps<'_>, known: &Known) -> u64 {
    match steps.pick(&NODES) {
        0 => known.node,
        node => node,
    }
}

fn signal(steps: &mut Steps<'_>, known: &mut Known) -> String {
    known.signals += 1;
    let number = match steps.below(4) {
        3 => u64::from(steps.byte()),
        _ => known.signals,
    };
    format!("{:x}:{number}", node(steps, known))
}

fn signal_line(steps: &mut Steps<'_>, known: &mut Known) -> Vec<u8> {
    let head = format!("SIGNAL {} ", signal(steps, known));
    let (kind, options) = match steps.below(8) {
        kind @ 0..4 => (kind, String::new()),
        kind => (kind - 4, options(steps)),
    };
    let line = match kind {
        0 => overhead(steps),
        1 => pair("SET ", steps),
        2 => named("NOTIFY ", steps),
        _ => pair("UNHEARD-OF ", steps),
    };
    [head.as_bytes(), options.as_bytes(), &line].concat()
}

/// Options of a signal, each with the blank after it. Some are wrong, or are there twice.
fn options(steps: &mut Steps<'_>) -> String {
    let count = steps.below(4);
    let option = |_| {
        steps.pick(&[
            "s=a.b ",
            "r=_INBOX.1 ",
            "h=TkFUUy8xLjANCg0K ",
            "q=workers ",
            "q=w=x ",
            "z= ",
            "h=A ",
            "s= ",
        ])
    };
    (0..count).map(option).collect()
}

/// The first or the last member of a queue group, or a form of these lines that is kept free, or is wrong.
fn membership(steps: &mut Steps<'_>) -> Vec<u8> {
    let verb = steps.pick(&["JOIN ", "LEAVE "]);
    let words = steps.pick(&["n.* workers", "> workers", "a b", "a..b w", "n.*", "a b c"]);
    [verb, words].concat().into_bytes()
}

fn pair(verb: &str, steps: &mut Steps<'_>) -> Vec<u8> {
    [verb.as_bytes(), &name(steps), b"=", &value(steps)].concat()
}

fn named(verb: &str, steps: &mut Steps<'_>) -> Vec<u8> {
    [verb.as_bytes(), &name(steps)].concat()
}

fn counter(verb: &str, steps: &mut Steps<'_>) -> Vec<u8> {
    match steps.one_in(3) {
        true => named(verb, steps),
        false => pair(verb, steps),
    }
}

fn overhead(steps: &mut Steps<'_>) -> Vec<u8> {
    let count = 1 + steps.below(3);
    let flags: Vec<u8> = (0..count).map(|_| steps.pick(FLAGS)).collect();
    let value = match steps.below(6) {
        0 => "0",
        1 => "1",
        2 => "86400",
        3 => "0.5",
        4 => "Terry Pratchett",
        _ => "1e99",
    };
    [b"OVERHEAD ", &flags[..], b" ", value.as_bytes()].concat()
}

fn state(steps: &mut Steps<'_>, known: &mut Known) -> Vec<u8> {
    let stamp = format!("{}:{:x}", time_us(steps, known), node(steps, known));
    let accessed_us = time_us(steps, known);
    let kind = steps.pick(&["V", "V", "R", "A"]);
    let count = steps.below(4);
    let mut contributions: Vec<(u64, u64, &str)> = (0..count)
        .map(|_| {
            let sum = steps.pick(&[
                "1",
                "-1",
                "0.5",
                "170141183460469231731687303715884105727",
                "NaN",
                "inf",
                "-170141183460469231731687303715884105728",
                "1e308",
            ]);
            let version = steps.pick(&[1, 2, 3, u64::MAX]);
            (node(steps, known), version, sum)
        })
        .collect();
    contributions.sort_unstable();
    contributions.dedup_by_key(|contribution| contribution.0);
    let list = match contributions.is_empty() {
        true => "-".to_owned(),
        false => {
            let each = contributions.iter();
            let each: Vec<String> = each
                .map(|(node, version, sum)| format!("{node:x}:{version}:{sum}"))
                .collect();
            each.join(",")
        }
    };
    let signal = match steps.one_in(3) {
        true => signal(steps, known),
        false => "-".to_owned(),
    };
    let attributes = attributes(steps, known);
    let head = format!("STATE {stamp} {accessed_us} {kind} {list} {signal} {attributes} ");
    [
        head.as_bytes(),
        &escaped_name(steps),
        b"=",
        &escaped_value(steps),
    ]
    .concat()
}

/// Some states in one line.
fn states(steps: &mut Steps<'_>, known: &mut Known) -> Vec<u8> {
    let mut states = StatesLine::default();
    for _ in 0..=steps.below(4) {
        let line = state(steps, known);
        if let Some(PeerLine::State {
            name, head, value, ..
        }) = peer::decode(&line)
        {
            let value = value.unescape();
            let state = head.into_state(&value);
            if StatesLine::may_hold(&name, &state) {
                states.push(&name, &state);
            }
        }
    }
    let mut line = Vec::new();
    states.finish(&mut line);
    line.truncate(line.len().saturating_sub(b"\r\n".len()));
    line
}

/// A word of attributes, in their order unless one comes twice.
fn attributes(steps: &mut Steps<'_>, known: &Known) -> String {
    let count = steps.below(4);
    let mut parts: Vec<(usize, String)> = (0..count)
        .map(|_| {
            let time_us = time_us(steps, known);
            match steps.below(7) {
                0 => (0, format!("f{}", steps.pick(&[0, 1, u32::MAX]))),
                1 => (1, format!("x{time_us}")),
                2 => (2, format!("t{time_us}")),
                3 => (3, format!("c{}", steps.pick(&[1, u64::MAX]))),
                place => (place, ["b", "s", "w"][place - 4].to_owned()),
            }
        })
        .collect();
    if parts.is_empty() {
        return "-".to_owned();
    }
    parts.sort();
    let parts: Vec<String> = parts.into_iter().map(|(_, part)| part).collect();
    parts.join(",")
}

/// A name as lines between servers contain it, wrong escapes included.
fn escaped_name(steps: &mut Steps<'_>) -> Vec<u8> {
    match steps.below(4) {
        0 => steps
            .pick(&[r"a\\e", r"a\eb", r"\n\r", r"a\", r"a\x"])
            .into(),
        _ => name(steps),
    }
}

fn escaped_value(steps: &mut Steps<'_>) -> Vec<u8> {
    match steps.below(4) {
        0 => steps.pick(&[r"\\", r"two\r\nlines", r"a\e", r"\"]).into(),
        _ => value(steps),
    }
}

fn stamped(verb: &str, steps: &mut Steps<'_>, known: &Known) -> Vec<u8> {
    let (time_us, node) = (time_us(steps, known), node(steps, known));
    format!("{verb} {time_us}:{node:x}").into_bytes()
}

/// The touch of an entry, or its won mark.
fn touch(steps: &mut Steps<'_>, known: &Known) -> Vec<u8> {
    let stamp = format!("{}:{:x}", time_us(steps, known), node(steps, known));
    let attributes = attributes(steps, known);
    let head = format!("TOUCH {stamp} {attributes} ");
    [head.as_bytes(), &escaped_name(steps)].concat()
}

/// One share of a counter, with an id of the time of a node, or the question for the whole state.
fn count(steps: &mut Steps<'_>, known: &mut Known) -> Vec<u8> {
    let stamp = match steps.one_in(2) {
        // That of a counter that was never stored.
        true => "0:0".to_owned(),
        false => format!("{}:{:x}", time_us(steps, known), node(steps, known)),
    };
    if steps.one_in(4) {
        return named(&format!("COUNT {stamp} 0 - "), steps);
    }
    let (accessed_us, version) = (time_us(steps, known), time_us(steps, known));
    let begun_s = time_us(steps, known) / 1_000_000;
    let share = match steps.one_in(8) {
        true => 0,
        false => begun_s << 32 | (node(steps, known) & 0xffff_ffff),
    };
    let sum = steps.pick(&["1", "-1", "0.5", "NaN", "1e308"]);
    let head = format!("COUNT {stamp} {accessed_us} {share:x}:{version}:{sum} ");
    named(&head, steps)
}

fn key_sync(steps: &mut Steps<'_>, known: &Known) -> Vec<u8> {
    let (cached, accessed) = (seconds(steps, known), seconds(steps, known));
    match steps.one_in(3) {
        true => {
            let head = format!("KEYSYNC {cached} 0 D ");
            [&named(&head, steps)[..], b"=REMOVED"].concat()
        }
        false => pair(&format!("KEYSYNC {cached} {accessed} U "), steps),
    }
}

/// Who somebody says that it is: the last one speaks as clacksd servers do.
pub const SOFTWARE: [&str; 4] = ["Net::Clacks 36", "a;b\0c", "", "clacksd/9 interclacks/2"];

/// One byte of it is lost, another one, or too much, or the rest is missing.
pub fn damage(line: &mut Vec<u8>, steps: &mut Steps<'_>) {
    let (at, how, byte) = (steps.byte(), steps.below(4), steps.pick(DAMAGE));
    let Some(at) = usize::from(at).checked_rem(line.len()) else {
        return;
    };
    match how {
        0 => line.truncate(at),
        1 => line.insert(at, byte),
        2 => line[at] = byte,
        _ => {
            line.remove(at);
        }
    }
}

/// A line, without its end.
pub fn line(steps: &mut Steps<'_>, known: &mut Known) -> Vec<u8> {
    let what = steps.byte();
    if what < 250 {
        return sound_line(what, steps, known);
    }
    let mut line = sound_line(steps.byte(), steps, known);
    damage(&mut line, steps);
    line
}

fn sound_line(what: u8, steps: &mut Steps<'_>, known: &mut Known) -> Vec<u8> {
    match what % 44 {
        0 | 1 => pair("STORE ", steps),
        2 | 3 => pair("SETANDSTORE ", steps),
        4 | 5 => pair("SET ", steps),
        6 => named("NOTIFY ", steps),
        7 | 8 => named("LISTEN ", steps),
        9 => named("UNLISTEN ", steps),
        10 => named("RETRIEVE ", steps),
        11 => named("REMOVE ", steps),
        12 | 13 => counter("INCREMENT ", steps),
        14 => counter("DECREMENT ", steps),
        15 => b"KEYLIST".to_vec(),
        16 => b"CLIENTLIST".to_vec(),
        17 => b"CLEARCACHE".to_vec(),
        18 => b"MONITOR".to_vec(),
        19 => b"UNMONITOR".to_vec(),
        20 => b"PING".to_vec(),
        21 => b"NOPING".to_vec(),
        22 => b"NOP".to_vec(),
        23 | 24 => named("FLUSH ", steps),
        25 => b"QUIT".to_vec(),
        26 => format!("CLACKS {}", steps.pick(&SOFTWARE)).into_bytes(),
        27 | 28 => overhead(steps),
        29 => {
            let place = steps.below(known.cids.len() + 2);
            let cid = known.cids.get(place).map_or("127.0.0.1:5:3", |cid| cid);
            format!("CLIENTDISCONNECT {cid}").into_bytes()
        }
        30 | 31 => key_sync(steps, known),
        32 | 33 => state(steps, known),
        34 => states(steps, known),
        35 => signal_line(steps, known),
        36 => stamped("CLEAR", steps, known),
        37 => {
            let count = match steps.below(6) {
                5 => 70,
                count => count,
            };
            let nodes: Vec<String> = (0..count)
                .map(|_| format!("{:x}", node(steps, known)))
                .collect();
            format!("PATH {}", nodes.join(" ")).into_bytes()
        }
        38 => b"SYNCED".to_vec(),
        39 => format!("OVERHEAD T {}", seconds(steps, known)).into_bytes(),
        40 => format!("OVERHEAD L {}", steps.below(2)).into_bytes(),
        41 => b"OVERHEAD I 1".to_vec(),
        42 => b"TIMEOUT".to_vec(),
        _ => match steps.below(8) {
            0 => stamped("FOLD", steps, known),
            1..4 => count(steps, known),
            4 => {
                let verb = steps.pick(&["PLISTEN ", "PUNLISTEN "]);
                let pattern = steps.pick(&["n::*", "*", ">", "n::>", "*::x"]);
                [verb, pattern].concat().into_bytes()
            }
            5 => touch(steps, known),
            6 => membership(steps),
            _ => [b"NONSENSE ", &value(steps)[..]].concat(),
        },
    }
}
