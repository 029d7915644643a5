//! The things that are sent: names with their subjects, and values with their payloads (clacksd-nats(7)). Nothing here asks the code
//! under test.

use crate::simulation::world::Random;

/// A name and its subjects.
#[derive(Debug, Clone)]
pub struct Topic {
    pub name: String,
    /// The subject as it was published, or that of the name.
    pub subject: String,
    /// The subject of the name: what is left behind a Net::Clacks server.
    pub of_name: String,
}

/// Subjects of NATS clients that are not simply names with dots, their names, and the subjects of these.
const ODD_SUBJECTS: [[&str; 3]; 7] = [
    ["a::b", "a::b", "a.b"],
    ["a=b", "a%3Db", "a%3Db"],
    ["%", "%", "%25"],
    ["a.x%20y", "a::x y", "a.x%20y"],
    ["b.*", "b::*", "b.*"],
    ["c.>", "c::>", "c.>"],
    ["c.%", "c::", "c.%"],
];

/// Names that are not simply subjects with other separators, and their subjects.
const ODD_NAMES: [[&str; 2]; 6] = [
    ["x y", "x%20y"],
    ["a.b", "a%2Eb"],
    ["a::", "a.%"],
    ["b::*", "b.*"],
    ["100%2E", "100%252E"],
    ["a:::b", "a.:b"],
];

/// Names that a Clacks client listens to, beside those of its patterns.
pub const NAMES: [&str; 6] = ["a", "a::b", "b::c", "a%3Db", "%", "c::"];

impl Topic {
    /// The topic with a subject of the usual form.
    pub fn of_subject(subject: String) -> Topic {
        Topic {
            name: subject.replace('.', "::"),
            of_name: subject.clone(),
            subject,
        }
    }

    pub fn any(random: &mut Random, is_by_nats: bool) -> Topic {
        if !random.one_in(4) {
            let tokens = 1 + random.below(3);
            let tokens: Vec<&str> = (0..tokens).map(|_| random.pick(&["a", "b", "c"])).collect();
            return Topic::of_subject(tokens.join("."));
        }
        let [subject, name, of_name] = match is_by_nats {
            true => random.pick(&ODD_SUBJECTS),
            false => {
                let [name, subject] = random.pick(&ODD_NAMES);
                [subject, name, subject]
            }
        };
        Topic {
            name: name.to_owned(),
            subject: subject.to_owned(),
            of_name: of_name.to_owned(),
        }
    }
}

/// A payload, and the same as a value of Clacks.
#[derive(Debug, Clone)]
pub struct Content {
    pub payload: Vec<u8>,
    pub value: String,
}

impl Content {
    /// Content that is like no other.
    pub fn any(random: &mut Random, number: usize) -> Content {
        let text = format!("m{number}");
        let encoded = |payload: &[u8]| format!("PAGECAMELCLACKSB64:{}", base64(payload));
        let as_it_is = |text: String| Content {
            payload: text.clone().into_bytes(),
            value: text,
        };
        let to_encode = |payload: Vec<u8>| Content {
            value: encoded(&payload),
            payload,
        };
        match random.below(12) {
            0..4 => as_it_is(text),
            4 => to_encode(format!("{text}\r\nPUB a 1\r\nx").into_bytes()),
            5 => to_encode([text.as_bytes(), b"\n\xff\0\r"].concat()),
            6 => to_encode(encoded(format!("{text}\n").as_bytes()).into_bytes()),
            7 => as_it_is(encoded(text.as_bytes())),
            8 => as_it_is(format!("PAGECAMELCLACKSB64:!{text}")),
            9 => as_it_is(format!("{text}={}", "l".repeat(5_000))),
            10 => to_encode(format!("{text}{}", "\r\n".repeat(2_000)).into_bytes()),
            _ => as_it_is(format!(" {text}::\t;")),
        }
    }

    /// That of a NOTIFY.
    pub fn none() -> Content {
        Content {
            payload: Vec::new(),
            value: String::new(),
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |chunk: &[u8]| {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[(bits >> shift & 63) as usize]))
    };
    let chunks = bytes.chunks(3).flat_map(|chunk| {
        let used = chunk.len() + 1;
        let digits = digits(chunk).into_iter().enumerate();
        digits.map(move |(at, digit)| if at < used { digit } else { '=' })
    });
    chunks.collect()
}

/// Patterns of NATS clients, and those of Clacks clients.
pub const PATTERNS: [&str; 12] = [
    "a.*", "*.b", "a.>", ">", "a.b", "*", "*.*.c", "n.*", "c.%", "b.*", "a.:b", "a.x%20y",
];
pub const CLACKS_PATTERNS: [&str; 6] = ["a::*", "*::b", "c::>", "n::*", "*", ">"];

/// Reports whether a subject matches a pattern, each given by its tokens.
pub fn matches<'a>(
    mut pattern: impl Iterator<Item = &'a str>,
    mut subject: impl Iterator<Item = &'a str>,
) -> bool {
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(wanted), Some(token)) if wanted == "*" || wanted == token => {}
            _ => return false,
        }
    }
}
