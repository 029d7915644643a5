//! `clacks bench`: loads for a server, and what they cost it. One thread drives all connections, as cheaply
//! as it can, so that the server is what is measured.
//!
//! The parts are public, for the project's own comparison with other servers (`make bench-peers`).

pub mod cache;
pub mod crowd;
pub mod fan_out;
pub mod figures;
pub mod idle;
pub mod names;
pub mod process;
pub mod speaker;
pub mod wire;

mod options;
mod report;

use super::table::Invocation;
use super::{Failure, login};
use crate::client::{self, Connection, Error, Transport};
use crowd::Crowd;
use options::Work;
use process::Process;
use speaker::Clacks;
use std::fmt;
use std::io;
use wire::Socket;

/// Why a load can't be finished.
#[derive(Debug)]
pub enum Trouble {
    Refused(String),
    /// An answer that is not the one that must come.
    Wrong(String),
    Late,
    Lost(io::Error),
    /// A connection that can't be made.
    Unreachable(Error),
}

impl Trouble {
    fn wrong(line: &[u8], wanted: &[u8]) -> Trouble {
        let shown = |bytes: &[u8]| bytes[..bytes.len().min(80)].escape_ascii().to_string();
        Trouble::Wrong(match wanted.is_empty() {
            true => format!("\"{}\" came, and nothing should", shown(line)),
            false => format!("\"{}\" came instead of \"{}\"", shown(line), shown(wanted)),
        })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Refused(reason) => write!(f, "the server refused it: {reason}"),
            Trouble::Wrong(what) => write!(f, "a wrong answer: {what}"),
            Trouble::Late => write!(f, "the server did not answer in time"),
            Trouble::Lost(error) => write!(f, "a connection was lost: {error}"),
            Trouble::Unreachable(error) => error.fmt(f),
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Refused(reason) => Failure::Refused(reason),
            // A server that is full is one that can't be reached, too.
            trouble => Failure::Connection(trouble.to_string()),
        }
    }
}

/// The descriptor limit is no limit to a load, as far as that may be changed.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Else a connection fails and says why.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// A logged-in connection as part of a load.
fn socket(connection: Connection) -> Box<dyn Socket> {
    match connection.into_transport() {
        Transport::Plain(socket) => Box::new(socket),
        Transport::Tls(stream) => stream,
    }
}

pub(super) fn bench(invocation: &Invocation) -> Result<(), Failure> {
    let load = options::load(invocation)?;
    raise_descriptor_limit();
    let (mut dial, first) = login::login(invocation)?.reach(|options| {
        let mut dial = client::dialler(options.without_ping())?;
        let first = dial()?;
        Ok((dial, first))
    })?;
    let server = load.server.or_else(|| Process::behind(&first));
    let mut dial = || dial().map(socket).map_err(Trouble::Unreachable);
    let mut crowd_of = |size: usize| -> Result<Crowd, Trouble> {
        let mut crowd = Crowd::new(Vec::new())?;
        (0..size).try_for_each(|_| crowd.add(dial()?))?;
        Ok(crowd)
    };
    match &load.work {
        Work::Cache { plan, connections } | Work::PingPong { plan, connections } => {
            let mut crowd = crowd_of(*connections)?;
            cache::fill(&mut crowd, &Clacks, plan)?;
            let figures = cache::run(&mut crowd, &Clacks, plan, server)?;
            cache::clean_up(&mut crowd, &Clacks, plan)?;
            report::figures(invocation, &load, server, &figures)
        }
        Work::FanOut { plan, listeners } => {
            let mut crowd = crowd_of(listeners + 1)?;
            fan_out::listen(&mut crowd, &Clacks, plan)?;
            let figures = fan_out::run(&mut crowd, &Clacks, plan, server)?;
            report::figures(invocation, &load, server, &figures)
        }
        Work::Idle(plan) => {
            // What only the first one brings about, such as a buffer that all share, is none of theirs.
            let (_crowd, memory) = idle::open(&mut dial, &Clacks, plan, server)?;
            drop(first);
            report::memory(invocation, &load, server, &memory)
        }
    }
}
