//! The tables of `tables/`, each request whole, cut at every byte, and byte by byte.

use super::conversation::Conversation;
use super::servers::Target;
use super::table::{Case, Names, Progress, Step, parse, show};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// How the bytes of a case's requests reach the server.
#[derive(Debug, Clone, Copy)]
enum Sending {
    /// One write for each request.
    Whole,
    /// Two for the request with that byte of the case, which is the first of the second one.
    CutAt(usize),
    ByteByByte,
}

/// One run of a case.
struct Run<'a> {
    target: &'a Target,
    case: &'a Case,
    sending: Sending,
    names: Names,
    connections: BTreeMap<&'a str, Conversation>,
    /// Bytes of the case that were sent.
    sent: usize,
}

impl<'a> Run<'a> {
    fn new(target: &'a Target, case: &'a Case, sending: Sending) -> Run<'a> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        Run {
            target,
            case,
            sending,
            names: Names::of_run(RUNS.fetch_add(1, Ordering::Relaxed)),
            connections: BTreeMap::new(),
            sent: 0,
        }
    }

    /// Goes through the case, and returns the number of bytes that it sent. Nothing may come that is not expected.
    fn go(mut self) -> usize {
        self.target.clear();
        for step in &self.case.steps {
            self.take(step);
        }
        for (name, connection) in std::mem::take(&mut self.connections) {
            let more = connection.end();
            assert!(
                more.is_empty(),
                "{}: on connection \"{name}\" \"{}\" came too",
                self.place(),
                more.escape_ascii()
            );
        }
        self.sent
    }

    fn place(&self) -> String {
        let Run { case, sending, .. } = self;
        format!("{}, \"{}\", {sending:?}", self.target.name, case.title)
    }

    fn take(&mut self, step: &'a Step) {
        let request = self.names.fill(&step.request);
        let place = format!("{}, \"{}\"", self.place(), request.escape_ascii());
        let connection = self
            .connections
            .entry(&step.connection)
            .or_insert_with(|| self.target.connect(self.case.user(), &step.connection));
        let cut = match self.sending {
            Sending::CutAt(cut) => cut.checked_sub(self.sent),
            _ => None,
        };
        match (self.sending, cut) {
            (Sending::ByteByByte, _) => {
                request
                    .chunks(1)
                    .for_each(|byte| connection.say_alone(byte));
            }
            (_, Some(cut @ 1..)) if cut < request.len() => {
                connection.say_alone(&request[..cut]);
                connection.say(&request[cut..]);
            }
            _ => connection.say(&request),
        }
        self.sent += request.len();
        loop {
            match self.names.compare(&step.answer, &connection.came) {
                Progress::Complete(length) => {
                    connection.came.drain(..length);
                    break;
                }
                Progress::Incomplete if !connection.is_closed && connection.wait() => {}
                Progress::Incomplete | Progress::Different => panic!(
                    "{place}:\nanswered \"{}\"\ninstead of \"{}\"",
                    connection.came.escape_ascii(),
                    show(&step.answer)
                ),
            }
        }
        if step.closes {
            while !connection.is_closed && connection.came.is_empty() && connection.wait() {}
            assert!(connection.is_closed, "{place}: not closed");
        }
    }
}

/// Takes a case in all ways.
fn try_case(target: &Target, case: &Case) {
    let length = Run::new(target, case, Sending::Whole).go();
    if case.has("whole") {
        return;
    }
    for cut in 1..length {
        Run::new(target, case, Sending::CutAt(cut)).go();
    }
    Run::new(target, case, Sending::ByteByByte).go();
}

fn cases(file: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/memcached/tables")
        .join(format!("{file}.txt"));
    let cases = parse(&fs::read_to_string(path).expect("a table"));
    assert!(!cases.is_empty(), "{file} has no cases");
    cases
}

fn try_table(target: &Target, file: &str) {
    for case in &cases(file) {
        try_case(target, case);
    }
}

/// Answers of clacksd as the table of that name has them.
fn clacksd_answers_by(table: &str) {
    try_table(&Target::clacksd(), table);
}

fn clacksd_with_login_answers_by(table: &str) {
    try_table(&Target::clacksd_with_login(), table);
}

#[test]
fn administration() {
    clacksd_answers_by("administration");
}

#[test]
fn blocks() {
    clacksd_answers_by("blocks");
}

#[test]
fn changing() {
    clacksd_answers_by("changing");
}

#[test]
fn clacks() {
    clacksd_answers_by("clacks");
}

#[test]
fn closing() {
    clacksd_answers_by("closing");
}

#[test]
fn counting() {
    clacksd_answers_by("counting");
}

#[test]
fn expiry() {
    clacksd_answers_by("expiry");
}

#[test]
fn flushing() {
    clacksd_answers_by("flushing");
}

#[test]
fn lines() {
    clacksd_answers_by("lines");
}

#[test]
fn login() {
    clacksd_with_login_answers_by("login");
}

#[test]
fn meta() {
    clacksd_answers_by("meta");
}

#[test]
fn meta_errors() {
    clacksd_answers_by("meta_errors");
}

#[test]
fn noreply() {
    clacksd_answers_by("noreply");
}

#[test]
fn numbers() {
    clacksd_answers_by("numbers");
}

#[test]
fn permissions() {
    clacksd_with_login_answers_by("permissions");
}

#[test]
fn recache() {
    clacksd_answers_by("recache");
}

#[test]
fn retrieval() {
    clacksd_answers_by("retrieval");
}

#[test]
fn sizes() {
    let target = Target::clacksd_with(&["--max-line", "4096"]);
    try_table(&target, "sizes");
}

#[test]
fn statistics() {
    clacksd_answers_by("statistics");
}

#[test]
fn storage() {
    clacksd_answers_by("storage");
}

/// Tables about clacksd alone.
const OURS: [&str; 3] = ["clacks", "permissions", "sizes"];

/// The names of all tables.
fn tables() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/memcached/tables");
    let entries = fs::read_dir(folder).expect("the folder of the tables");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.into_string().expect("plain names"));
    let tables = names.filter_map(|name| Some(name.strip_suffix(".txt")?.to_owned()));
    tables.collect()
}

#[test]
fn memcached_itself_answers_by_all_rows_that_are_not_of_newer_versions_or_ours() {
    let (plain, with_login) = (Target::memcached(), Target::memcached_with_login());
    let mut tried = 0;
    for table in tables().iter().filter(|table| !OURS.contains(&&***table)) {
        let target = if table == "login" {
            &with_login
        } else {
            &plain
        };
        for case in cases(table).iter().filter(|case| !case.is_new_or_ours()) {
            Run::new(target, case, Sending::Whole).go();
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried} cases");
}
