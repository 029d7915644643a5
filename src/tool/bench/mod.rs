//! The command `bench`: puts a load on a server and measures its throughput, latencies, processor time and memory. One
//! thread drives all connections, as cheaply as it can, so that the server and not the client is measured.
//!
//! The modules are public for the project's comparison with other servers (`make bench-peers`).

pub mod cache;
pub mod connection;
pub mod connections;
pub mod error;
pub mod fan_out;
pub mod figures;
pub mod idle;
pub mod names;
pub mod process;
pub mod protocol;

mod options;
mod report;

use super::arguments::Invocation;
use super::failure::Failure;
use super::login;
use crate::client::{self, Connection, Transport};
use crate::program::process_limits;
use connection::Socket;
use connections::LoadConnections;
use error::BenchError;
use options::Workload;
use process::Process;
use protocol::Clacks;

/// The socket of a logged-in connection, with TLS around it if there is any.
fn socket(connection: Connection) -> Box<dyn Socket> {
    match connection.into_transport() {
        Transport::Plain(socket) => Box::new(socket),
        Transport::Tls(stream) => stream,
    }
}

/// Runs `clacks bench`.
pub(super) fn bench(invocation: &Invocation) -> Result<(), Failure> {
    let load = options::load(invocation)?;
    // If the limit can't be raised, a connection fails and its error says why.
    let _ = process_limits::raise_descriptor_limit();
    let (mut dial, first) = login::login(invocation)?.connect_with(|options| {
        let mut dial = client::dialler(options.without_ping())?;
        let first = dial()?;
        Ok((dial, first))
    })?;
    let server = load.server.or_else(|| Process::behind(&first));
    let mut dial = || dial().map(socket).map_err(BenchError::Unreachable);
    let mut connect = |size: usize| -> Result<LoadConnections, BenchError> {
        let mut connections = LoadConnections::new(Vec::new())?;
        (0..size).try_for_each(|_| connections.add(dial()?))?;
        Ok(connections)
    };
    match &load.work {
        Workload::Cache { plan, connections } | Workload::PingPong { plan, connections } => {
            let mut connections = connect(*connections)?;
            cache::fill(&mut connections, &Clacks, plan)?;
            let figures = cache::run(&mut connections, &Clacks, plan, server)?;
            cache::clean_up(&mut connections, &Clacks, plan)?;
            report::figures(invocation, &load, server, &figures)
        }
        Workload::FanOut { plan, listeners } => {
            let mut connections = connect(listeners + 1)?;
            fan_out::listen(&mut connections, &Clacks, plan)?;
            let figures = fan_out::run(&mut connections, &Clacks, plan, server)?;
            report::figures(invocation, &load, server, &figures)
        }
        Workload::Idle(plan) => {
            // `first` is connected before the measurement begins, so that memory which only the first connection causes,
            // such as a buffer that all share, is not counted.
            let (_crowd, memory) = idle::open(&mut dial, &Clacks, plan, server)?;
            drop(first);
            report::memory(invocation, &load, server, &memory)
        }
    }
}
