//! The format of the tables in the folders `tables`: requests to a server and the answers that must come, byte by byte.
//!
//! A file is a list of cases with blank lines between them. The first line of a case is its title, with tags in
//! brackets at its end. Every further line is a connection's name (none for the first one), `>` or `<`, and a line that
//! the connection sends or receives. Lines that begin with `#` are comments.
//!
//! A line ends in CR LF unless its last character is `\`. `\r \n \t \0 \\ \xHH` are bytes, `\s` is a blank. `{x*251}` is
//! a text that is repeated; `{n}` any decimal number, `{n:20-30}` one in that range; `{now+30}` a unix time in so many
//! seconds, give or take a minute; `{line}` the rest of a line; `{cas:name}` a cas that is known by a name from then on,
//! and is greater than all that the case has met before; `{cas:name+1}` the one after it; `{run}` six digits that are
//! others whenever the case is tried. A brace before `"` or `}` is itself, so that objects of JSON can be read. The only
//! text of a line `!` is the end of the connection, made by the server.
//!
//! The tag `ours` is for cases in which clacksd differs on purpose from the server whose protocol it speaks, `whole` for
//! those whose answer depends on pieces; the users of a table know others.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{SystemTime, UNIX_EPOCH};

pub struct Case {
    pub title: String,
    pub tags: Vec<String>,
    pub steps: Vec<Step>,
}

/// A request of a connection, and its answer.
pub struct Step {
    pub connection: String,
    pub request: Vec<Piece>,
    pub answer: Vec<Piece>,
    /// The server closes the connection after the answer.
    pub closes: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Bytes(Vec<u8>),
    Number(RangeInclusive<u64>),
    RestOfLine,
    /// A named cas, and how much is added to it.
    Cas(String, u64),
    /// Seconds from now, or ago.
    Now(i64),
    /// Six digits that each run of a case has for itself.
    Run,
}

/// The names of a run of a case: cas numbers, and the number of the run.
#[derive(Default)]
pub struct Names {
    versions: BTreeMap<String, u64>,
    run: u32,
}

/// Result of comparing what has come with an expected answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes are the answer.
    Complete(usize),
    Incomplete,
    Different,
}

impl Case {
    pub fn has(&self, tag: &str) -> bool {
        self.tags.iter().any(|one| one == tag)
    }

    /// The user of the tag `as USER`.
    pub fn user(&self) -> Option<&str> {
        self.tags.iter().find_map(|tag| tag.strip_prefix("as "))
    }
}

impl Step {
    fn new(connection: &str) -> Step {
        Step {
            connection: connection.to_owned(),
            request: Vec::new(),
            answer: Vec::new(),
            closes: false,
        }
    }
}

/// Reads a file of the format.
pub fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut is_title = true;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.is_empty() {
            is_title = true;
        } else if std::mem::take(&mut is_title) {
            cases.push(parse_title(line));
        } else {
            let case = cases.last_mut().expect("a title before the first line");
            add_line(case, line);
        }
    }
    cases
}

fn parse_title(line: &str) -> Case {
    let mut parts = line.split(" [");
    let title = parts.next().expect("a title").to_owned();
    let tags = parts.map(|tag| tag.trim_end_matches(']').to_owned());
    Case {
        title,
        tags: tags.collect(),
        steps: Vec::new(),
    }
}

fn add_line(case: &mut Case, line: &str) {
    let sign = line.find(['<', '>']).expect("a line sent or received");
    let (connection, is_request) = (&line[..sign], line[sign..].starts_with('>'));
    let text = line[sign + 1..].strip_prefix(' ').unwrap_or_default();
    let is_new = case.steps.last().is_none_or(|step| {
        step.connection != connection || is_request && (!step.answer.is_empty() || step.closes)
    });
    if is_new {
        case.steps.push(Step::new(connection));
    }
    let step = case.steps.last_mut().expect("one was just added");
    match (is_request, text) {
        (true, _) => step.request.extend(pieces(text)),
        (false, "!") => step.closes = true,
        (false, _) => step.answer.extend(pieces(text)),
    }
}

/// The pieces of a line, with its end.
fn pieces(line: &str) -> Vec<Piece> {
    let (text, end) = match line.strip_suffix('\\') {
        Some(text) => (text, ""),
        None => (line, "\r\n"),
    };
    let mut pieces = Vec::new();
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (taken, piece) = match first {
            '\\' => escape(rest),
            '{' if !rest.starts_with("{\"") && !rest.starts_with("{}") => placeholder(rest),
            other => (
                other.len_utf8(),
                Piece::Bytes(rest[..other.len_utf8()].into()),
            ),
        };
        rest = &rest[taken..];
        if let Piece::Bytes(more) = piece {
            bytes.extend(more);
        } else {
            pieces.push(Piece::Bytes(std::mem::take(&mut bytes)));
            pieces.push(piece);
        }
    }
    bytes.extend(end.as_bytes());
    pieces.push(Piece::Bytes(bytes));
    pieces
}

/// The length of the escape at the beginning of a text, and its byte.
fn escape(text: &str) -> (usize, Piece) {
    let (length, byte) = match text.as_bytes()[1] {
        b'r' => (2, b'\r'),
        b'n' => (2, b'\n'),
        b't' => (2, b'\t'),
        b's' => (2, b' '),
        b'0' => (2, 0),
        b'\\' => (2, b'\\'),
        b'x' => (
            4,
            u8::from_str_radix(&text[2..4], 16).expect("two hexadecimal digits"),
        ),
        other => panic!("no escape: {}", char::from(other)),
    };
    (length, Piece::Bytes(vec![byte]))
}

fn placeholder(text: &str) -> (usize, Piece) {
    let end = text.find('}').expect("a placeholder ends");
    let inner = &text[1..end];
    let number = |digits: &str| digits.parse().expect("a number");
    let piece = if inner == "run" {
        Piece::Run
    } else if inner == "n" {
        Piece::Number(0..=u64::MAX)
    } else if inner == "line" {
        Piece::RestOfLine
    } else if let Some((from, to)) = inner.strip_prefix("n:").and_then(|n| n.split_once('-')) {
        Piece::Number(number(from)..=number(to))
    } else if let Some(name) = inner.strip_prefix("cas:") {
        let (name, plus) = name.split_once('+').unwrap_or((name, "0"));
        Piece::Cas(name.to_owned(), number(plus))
    } else if let Some(seconds) = inner.strip_prefix("now") {
        Piece::Now(seconds.parse().expect("seconds with a sign"))
    } else if let Some((repeated, times)) = inner.rsplit_once('*') {
        let times = times.parse().expect("a number");
        Piece::Bytes(repeated.repeat(times).into_bytes())
    } else {
        panic!("no placeholder: {inner}");
    };
    (end + 1, piece)
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.expect("a clock after 1970").as_secs();
    seconds.try_into().expect("a clock of our time")
}

impl Names {
    pub fn of_run(run: u32) -> Names {
        Names {
            run,
            ..Names::default()
        }
    }

    /// The bytes of a request.
    pub fn fill(&self, pieces: &[Piece]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Bytes(more) => bytes.extend(more),
                Piece::Cas(name, plus) => {
                    let cas = self.versions.get(name).expect("a cas that has come");
                    bytes.extend((cas + plus).to_string().into_bytes());
                }
                Piece::Now(seconds) => bytes.extend((now_s() + seconds).to_string().into_bytes()),
                Piece::Run => bytes.extend(format!("{:06}", self.run).into_bytes()),
                Piece::Number(_) | Piece::RestOfLine => panic!("no request says {piece:?}"),
            }
        }
        bytes
    }

    /// Compares what has come with an expected answer. The names of a complete one are kept.
    pub fn compare(&mut self, expected: &[Piece], came: &[u8]) -> Progress {
        let mut found = self.versions.clone();
        let run = Piece::Bytes(format!("{:06}", self.run).into_bytes());
        let mut rest = came;
        for piece in expected {
            let piece = if *piece == Piece::Run { &run } else { piece };
            let taken = match piece {
                Piece::Bytes(bytes) if rest.starts_with(bytes) => bytes.len(),
                Piece::Bytes(bytes) if bytes.starts_with(rest) => return Progress::Incomplete,
                Piece::Bytes(_) => return Progress::Different,
                Piece::RestOfLine => match rest.iter().position(|byte| b"\r\n".contains(byte)) {
                    Some(length) => length,
                    None => return Progress::Incomplete,
                },
                _ => {
                    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                    if digits == rest.len() {
                        return Progress::Incomplete;
                    }
                    let text = str::from_utf8(&rest[..digits]).expect("digits");
                    match text.parse() {
                        Ok(number) if is_meant(number, piece, &mut found) => digits,
                        _ => return Progress::Different,
                    }
                }
            };
            rest = &rest[taken..];
        }
        self.versions = found;
        Progress::Complete(came.len() - rest.len())
    }
}

/// Reports whether a number is one that the piece allows; a new name is given to it.
fn is_meant(number: u64, piece: &Piece, names: &mut BTreeMap<String, u64>) -> bool {
    match piece {
        Piece::Number(range) => range.contains(&number),
        Piece::Now(seconds) => {
            let number = i64::try_from(number).unwrap_or_default();
            (number - now_s() - seconds).abs() < 60
        }
        Piece::Cas(name, plus) => match names.get(name) {
            Some(known) => known + plus == number,
            None => {
                let is_newer = names.values().all(|known| *known < number) && number > 0;
                names.insert(name.clone(), number);
                is_newer
            }
        },
        Piece::Bytes(_) | Piece::RestOfLine | Piece::Run => unreachable!("no numbers"),
    }
}

/// An answer as a failure prints it.
pub fn show(pieces: &[Piece]) -> String {
    let texts = pieces.iter().map(|piece| match piece {
        Piece::Bytes(bytes) => bytes.escape_ascii().to_string(),
        Piece::Number(range) => format!("{{n:{}-{}}}", range.start(), range.end()),
        Piece::RestOfLine => "{line}".to_owned(),
        Piece::Cas(name, plus) => format!("{{cas:{name}+{plus}}}"),
        Piece::Now(seconds) => format!("{{now{seconds:+}}}"),
        Piece::Run => "{run}".to_owned(),
    });
    texts.collect()
}

#[test]
fn a_table_is_read_as_it_is_meant() {
    let text = "title [new] [as ro]\n> a\\s{b*3}\n> {\"c\":{}}\\\nx< {n:1-2}\n# comment\nx< !\n\nnext\n> d\n";
    let cases = parse(text);
    assert_eq!(cases.len(), 2);
    assert!(cases[0].has("new") && !cases[1].has("new"));
    assert_eq!((&*cases[0].title, cases[0].user()), ("title", Some("ro")));
    let [first, second] = &cases[0].steps[..] else {
        panic!("two steps");
    };
    assert_eq!(
        Names::default().fill(&first.request),
        b"a bbb\r\n{\"c\":{}}"
    );
    assert_eq!((&*second.connection, second.closes), ("x", true));
    let mut names = Names::default();
    for (came, progress) in [
        (&b"2\r\nmore"[..], Progress::Complete(3)),
        (b"2\r", Progress::Incomplete),
        (b"2", Progress::Incomplete),
        (b"3\r\n", Progress::Different),
        (b"2\n", Progress::Different),
    ] {
        assert_eq!(names.compare(&second.answer, came), progress);
    }
    let of_run = parse("title\n< a{run}b\n");
    let progress = Names::of_run(17).compare(&of_run[0].steps[0].answer, b"a000017b\r\n");
    assert_eq!(progress, Progress::Complete(10));
}

#[test]
fn a_named_cas_is_the_same_afterwards_and_a_new_name_is_a_greater_one() {
    let cases = parse("title\n< {cas:a}\n< {cas:a+1}\n< {cas:b}\n");
    let answer = &cases[0].steps[0].answer;
    let progress = |came: &[u8]| Names::default().compare(answer, came);
    assert_eq!(progress(b"7\r\n8\r\n9\r\n"), Progress::Complete(9));
    assert_eq!(progress(b"7\r\n9\r\n9\r\n"), Progress::Different);
    assert_eq!(progress(b"7\r\n8\r\n7\r\n"), Progress::Different);
    assert_eq!(progress(b"0\r\n1\r\n2\r\n"), Progress::Different);
}
