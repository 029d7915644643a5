//! Inputs to begin with: the recorded conversations (tests/transcripts), each as what it is to a target; some
//! of more bytes than anybody wants to record; and lines of every kind.

use super::broker::lines::{Known, line};
use super::broker::steps::{
    BECOME_SLAVE, CONNECT, DEAFEN, DIALED, HTTP, LOG_IN, LONG_FRAME, MEMCACHED, NATS, PASS, SELDOM,
    SEND_RAW, SIGNAL_MUCH, STALL, STORE_LONG_NAMES, Steps,
};
use super::broker::world::{START_WALL_US, USERS};
use crate::support::Random;
use clacks::limits::SECOND_US;
use regex::{Captures, Regex};
use std::fs;
use std::path::Path;

/// So many inputs are lines that are made.
const LINES_SEEDS: u64 = 40;

/// So many inputs have clients of all languages.
const OTHERS_SEEDS: u64 = 40;

/// Lines of a link about queue groups, and signals with options. The first byte chooses how the lines are cut.
const GROUPS: &[u8] = b"\x07JOIN jobs.* workers\r\nJOIN jobs.>\r\nLEAVE jobs.* workers\r\n\
    SIGNAL 9f3:12 s=a=b r=_INBOX.x.1 h=TkFUUy8xLjANCkE6IDENCg0K q=workers q=audit SET a%3Db=42\r\n\
    SIGNAL 9f3:13 q=workers z=1 r=a NOTIFY s=a\r\nSIGNAL 9f3:14 q=workers OVERHEAD G 1\r\n";

/// Inputs of that target, each with a name.
pub fn of(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut seeds = Vec::new();
    for entry in fs::read_dir(folder).expect("the transcripts") {
        let path = entry.expect("a file").path();
        let text = fs::read_to_string(&path).expect("text");
        let name = path.file_stem().expect("a name").to_string_lossy();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let mut add = |number: usize, seed: Vec<u8>| {
            seeds.push((format!("transcript-{name}-{number}"), seed));
        };
        match target {
            "decoder" => add(0, all_lines(&text)),
            "broker" => add(0, conversation(&text)),
            "number" => sums(&text)
                .into_iter()
                .enumerate()
                .for_each(|(number, sum)| add(number, sum)),
            "users" => add(0, text.into_bytes()),
            _ => {}
        }
    }
    if target == "broker" {
        seeds.push(("long-listing".to_owned(), long_listing()));
        seeds.push(("long-telling".to_owned(), long_telling()));
        seeds.push(("gone-before-an-answer".to_owned(), gone_before_an_answer()));
        seeds.push(("group-behind-a-link".to_owned(), group_behind_a_link()));
        seeds.push(("long-frames".to_owned(), long_frames()));
        seeds.extend(
            (0..OTHERS_SEEDS).map(|number| (format!("others-{number}"), other_clients(number))),
        );
    }
    if target == "decoder" {
        seeds.push(("groups".to_owned(), GROUPS.to_vec()));
        seeds
            .extend((0..LINES_SEEDS).map(|number| (format!("lines-{number}"), made_lines(number))));
    }
    seeds.sort();
    seeds
}

/// Lines as the broker's fuzzer makes them: also those that clacksd servers say to each other, which nobody
/// has recorded.
fn made_lines(number: u64) -> Vec<u8> {
    let bytes = Random::new(number).bytes(1_000);
    let mut steps = Steps::new(&bytes);
    let mut known = Known {
        wall_us: START_WALL_US,
        cids: Vec::new(),
        node: 1,
        signals: 0,
    };
    // The first byte chooses how it is cut.
    let mut seed = vec![number as u8];
    while !steps.is_over() && seed.len() < 2_000 {
        let line = line(&mut steps, &mut known);
        if line.len() < 300 {
            seed.extend_from_slice(&line);
            seed.extend_from_slice(b"\r\n");
        }
    }
    seed
}

/// The primary user comes, as the next one, and stores more than is listed or told at once.
fn much_stored(settings: [u8; 3]) -> Vec<u8> {
    let mut seed = settings.to_vec();
    seed.extend([CONNECT as u8, 0, LOG_IN as u8, 0, 0, 0]);
    seed.extend([SELDOM as u8, STORE_LONG_NAMES as u8, 0, 255]);
    seed
}

/// A list comes in several pieces, and a line waits for its end.
fn long_listing() -> Vec<u8> {
    let lines = b"KEYLIST\nFLUSH end\n";
    let mut seed = much_stored([0; 3]);
    seed.extend([SEND_RAW as u8, 0, lines.len() as u8]);
    seed.extend_from_slice(lines);
    seed
}

/// A slave takes nothing of what it is told, while there are more signals for it than may wait.
fn long_telling() -> Vec<u8> {
    // Of two limits for what may wait the lower one; the last software is clacksd.
    let mut seed = much_stored([1 << 5, 0, 0]);
    seed.extend([CONNECT as u8, 0, STALL as u8, 1, BECOME_SLAVE as u8, 1, 3]);
    seed.extend([SELDOM as u8, SIGNAL_MUCH as u8, 0, 255]);
    seed
}

/// Who waits for the disk is gone, and still waits when it is owed a NOP.
fn gone_before_an_answer() -> Vec<u8> {
    let line = b"STORE a=1\nFLUSH 1\n";
    // With a journal; time passes by 20 seconds, and then by 61.
    let mut seed = vec![2 << 3, 0, 0, CONNECT as u8, 0, LOG_IN as u8, 0, 0, 0];
    seed.extend([PASS as u8, 8, SEND_RAW as u8, 0, line.len() as u8]);
    seed.extend_from_slice(line);
    seed.extend([SELDOM as u8, DEAFEN as u8, 0, PASS as u8, 9]);
    seed
}

/// A message goes to a group of which a slave has said that there are members behind it.
fn group_behind_a_link() -> Vec<u8> {
    let mut seed = vec![0, 0, 0, CONNECT as u8, NATS, CONNECT as u8, 0];
    seed.extend([BECOME_SLAVE as u8, 1, 3]);
    let (join, message) = (b"JOIN n.* workers\n", b"PUB n.x r 1\r\nx\r\n");
    for (place, bytes) in [(1, &join[..]), (0, message)] {
        seed.extend([SEND_RAW as u8, place, bytes.len() as u8]);
        seed.extend_from_slice(bytes);
    }
    seed
}

/// Frames that are long, each of a client of its own, come in two parts.
fn long_frames() -> Vec<u8> {
    let mut seed = vec![0, 0, 0];
    for place in 0..12 {
        let language = [NATS, MEMCACHED, HTTP][usize::from(place / 4)];
        // The last two bits choose the length, and those before them the frame.
        seed.extend([CONNECT as u8, language]);
        seed.extend([SELDOM as u8, LONG_FRAME as u8, place, place << 2 | 2]);
        seed.extend([SELDOM as u8, LONG_FRAME as u8, place, place << 2]);
    }
    seed
}

/// Clients of NATS, of memcached and of HTTP beside one of Clacks and a slave, and anything that happens.
fn other_clients(number: u64) -> Vec<u8> {
    let mut random = Random::new(number);
    // Of some numbers they have to log in.
    let mut seed = vec![0, 0, 3 << 3 & (number as u8) << 3];
    for who in [NATS, NATS, MEMCACHED, 0, 0, HTTP, HTTP + 1] {
        seed.extend([CONNECT as u8, who]);
    }
    for place in [0, 1, 2, 3, 5, 6] {
        seed.extend([LOG_IN as u8, place, 0, 0]);
    }
    // It speaks as clacksd servers do.
    seed.extend([BECOME_SLAVE as u8, 4, 3]);
    seed.extend(random.bytes(900));
    seed
}

/// The words of a step behind who takes it: who, whether it sends, and what.
fn said(line: &str) -> Option<(&str, bool, &str)> {
    let (first, rest) = line.split_once(' ')?;
    let sender = first.strip_suffix(">>").or(first.strip_suffix('>'));
    match (sender, first.strip_suffix('<')) {
        (Some(name), _) => Some((name, true, rest)),
        (_, Some(name)) => Some((name, false, rest)),
        _ => None,
    }
}

fn fill_in(text: &str) -> String {
    let pattern = Regex::new(r"\{(now|repeat|time|n)(?:([+-]\d+)|:(\w+):(\d+))?\}").expect("right");
    let filled = pattern.replace_all(text, |found: &Captures<'_>| {
        let part = |index| found.get(index).map_or("", |part| part.as_str());
        match &found[1] {
            "repeat" => part(3).repeat(part(4).parse().expect("a number")),
            _ => {
                let offset: i64 = part(2).parse().unwrap_or(0);
                ((START_WALL_US / SECOND_US) as i64 + offset).to_string()
            }
        }
    });
    let escaped = filled.replace("\\r", "\r").replace("\\n", "\n");
    escaped.replace("\\t", "\t")
}

/// Everything that anybody says, in one stream.
fn all_lines(text: &str) -> Vec<u8> {
    let lines = text.lines().filter_map(said);
    let lines = lines.map(|(_, _, what)| format!("{}\r\n", fill_in(what)));
    // The first byte chooses how it is cut.
    [&b"\x05"[..], lines.collect::<String>().as_bytes()].concat()
}

/// Returns an input whose steps are those of the clients and the other servers of a conversation.
fn conversation(text: &str) -> Vec<u8> {
    let has_master = text.contains("\nuplink ");
    let mut seed = vec![u8::from(has_master), 0, 0];
    let mut names: Vec<&str> = Vec::new();
    let user_of = |name: &str| USERS.iter().position(|(user, _, _)| *user == name);
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["open", name, user] => {
                let user = user_of(user).unwrap_or(0);
                let place = names.len() as u8;
                seed.extend([CONNECT as u8, 0, LOG_IN as u8, place, user as u8, 0]);
                names.push(name);
            }
            ["raw", name] => {
                seed.extend([CONNECT as u8, 0]);
                names.push(name);
            }
            ["uplink", name] => {
                seed.extend([PASS as u8, 0, DIALED as u8, 2]);
                names.push(name);
            }
            ["wait", _] => seed.extend([PASS as u8, 3]),
            [name, "closed"] => names.retain(|other| *other != name),
            _ => {}
        }
        let Some((name, true, what)) = said(line) else {
            continue;
        };
        let place = names.iter().position(|other| *other == name).unwrap_or(0) as u8;
        if let Some((_, user)) = what.split_once("{token:") {
            let user = user_of(user.trim_end_matches('}')).unwrap_or(0);
            seed.extend([LOG_IN as u8, place, user as u8, 0]);
            continue;
        }
        let mut bytes = fill_in(what).into_bytes();
        if !line.contains(">>") {
            bytes.extend_from_slice(b"\r\n");
        }
        for piece in bytes.chunks(255) {
            seed.extend([SEND_RAW as u8, place, piece.len() as u8]);
            seed.extend_from_slice(piece);
        }
    }
    seed
}

/// Values and steps of counters, as one text and another one.
fn sums(text: &str) -> Vec<Vec<u8>> {
    let lines = text.lines().filter_map(said);
    let texts = lines.filter_map(|(_, _, what)| {
        let (verb, rest) = what.split_once(' ')?;
        let (_, value) = rest.split_once('=')?;
        ["STORE", "INCREMENT", "DECREMENT", "RETRIEVED"]
            .contains(&verb)
            .then_some(value)
    });
    let texts: Vec<&str> = texts.collect();
    let pairs = texts.windows(2);
    pairs
        .map(|pair| format!("\0{}\n{}", pair[0], pair[1]).into_bytes())
        .collect()
}
