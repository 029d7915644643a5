//! Runs of the cases of tables: each request whole, cut at every byte, and byte by byte.

use super::Conversation;
use super::table::{Case, Names, Progress, Step, parse, show};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A server that answers by tables.
pub trait Answering {
    /// The name that failures print.
    fn name(&self) -> &str;

    /// Makes the server for a case as it was for the first one.
    fn clear(&self);

    /// Begins the connection of that name in a case.
    fn connect(&self, case: &Case, name: &str) -> Conversation;

    /// Removes what the server says unasked at any time from bytes that have come and begin where such a thing could.
    fn drop_unasked(&self, _came: &mut Vec<u8>) {}
}

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
struct Run<'a, T> {
    target: &'a T,
    case: &'a Case,
    sending: Sending,
    names: Names,
    connections: BTreeMap<&'a str, Conversation>,
    /// Bytes of the case that were sent.
    sent: usize,
}

impl<'a, T: Answering> Run<'a, T> {
    fn new(target: &'a T, case: &'a Case, sending: Sending) -> Run<'a, T> {
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
    fn go(mut self) -> Result<usize, String> {
        self.target.clear();
        for step in &self.case.steps {
            self.take(step)?;
        }
        for (name, connection) in std::mem::take(&mut self.connections) {
            let mut more = connection.end();
            self.target.drop_unasked(&mut more);
            if !more.is_empty() {
                let (place, more) = (self.place(), more.escape_ascii());
                return Err(format!("{place}: on \"{name}\" \"{more}\" came too"));
            }
        }
        Ok(self.sent)
    }

    fn place(&self) -> String {
        let Run { case, sending, .. } = self;
        format!("{}, \"{}\", {sending:?}", self.target.name(), case.title)
    }

    fn take(&mut self, step: &'a Step) -> Result<(), String> {
        let request = self.names.fill(&step.request);
        let place = format!("{}, \"{}\"", self.place(), request.escape_ascii());
        let connection = self
            .connections
            .entry(&step.connection)
            .or_insert_with(|| self.target.connect(self.case, &step.connection));
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
            self.target.drop_unasked(&mut connection.came);
            match self.names.compare(&step.answer, &connection.came) {
                Progress::Complete(length) => {
                    connection.came.drain(..length);
                    break;
                }
                Progress::Incomplete if !connection.is_closed && connection.wait() => {}
                Progress::Incomplete | Progress::Different => {
                    let (came, expected) = (connection.came.escape_ascii(), show(&step.answer));
                    return Err(format!(
                        "{place}:\nanswered \"{came}\"\ninstead of \"{expected}\""
                    ));
                }
            }
        }
        if step.closes {
            while !connection.is_closed && connection.came.is_empty() && connection.wait() {
                self.target.drop_unasked(&mut connection.came);
            }
            if !connection.is_closed {
                return Err(format!("{place}: not closed"));
            }
        }
        Ok(())
    }
}

/// Takes a case whole. An error tells the first answer that is not the expected one.
pub fn try_whole<T: Answering>(target: &T, case: &Case) -> Result<(), String> {
    Run::new(target, case, Sending::Whole).go().map(|_| ())
}

/// Takes a case whole, with each of its bytes as the first of a second write, and byte by byte. An error tells the first
/// answer that is not the expected one.
pub fn try_in_all_ways<T: Answering>(target: &T, case: &Case) -> Result<(), String> {
    let length = Run::new(target, case, Sending::Whole).go()?;
    if case.has("whole") {
        return Ok(());
    }
    for cut in 1..length {
        Run::new(target, case, Sending::CutAt(cut)).go()?;
    }
    Run::new(target, case, Sending::ByteByByte).go()?;
    Ok(())
}

/// Panics with all errors, if there are any.
pub fn assert_no_errors(tried: impl Iterator<Item = Result<(), String>>) {
    let errors: Vec<String> = tried.filter_map(Result::err).collect();
    assert!(
        errors.is_empty(),
        "{} cases:\n{}",
        errors.len(),
        errors.join("\n\n")
    );
}

fn folder(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(of)
        .join("tables")
}

/// The cases of a table of that folder of the tests.
pub fn cases(of: &str, table: &str) -> Vec<Case> {
    let text = fs::read_to_string(folder(of).join(format!("{table}.txt")));
    let cases = parse(&text.expect("a table"));
    assert!(!cases.is_empty(), "{table} has no cases");
    cases
}

/// The names of all tables of that folder of the tests.
pub fn tables(of: &str) -> Vec<String> {
    let entries = fs::read_dir(folder(of)).expect("the folder of the tables");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.into_string().expect("plain names"));
    let tables = names.filter_map(|name| Some(name.strip_suffix(".txt")?.to_owned()));
    tables.collect()
}
