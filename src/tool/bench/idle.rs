//! Connections that do nothing but listen, and the memory that the server needs for them.

use super::connection::Socket;
use super::connections::LoadConnections;
use super::error::BenchError;
use super::names::Names;
use super::process::Process;
use super::protocol::{BenchProtocol, Exchange};

/// The settings of a load of idle connections.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub connections: usize,
    /// True: each connection listens to a name of its own; false: all listen to one name; `None`: to none.
    pub own_names: Option<bool>,
}

/// The memory of the server's process before and after the connections were opened.
#[derive(Debug)]
pub struct Memory {
    /// Resident memory before the first of the connections, in bytes; `None` if it can't be read.
    pub before: Option<u64>,
    /// Resident memory with all connections, in bytes; `None` if it can't be read.
    pub after: Option<u64>,
    pub connections: usize,
}

impl Memory {
    /// The growth per connection, in bytes.
    pub fn each(&self) -> Option<f64> {
        let grown = self.after?.saturating_sub(self.before?);
        Some(grown as f64 / self.connections as f64)
    }
}

/// Connections that are opened before the load waits for their subscriptions.
const CHUNK: usize = 100;

/// Opens the connections and measures the server's memory. They are closed when the returned value is dropped.
pub fn open(
    dial: &mut dyn FnMut() -> Result<Box<dyn Socket>, BenchError>,
    protocol: &dyn BenchProtocol,
    plan: &Plan,
    server: Option<Process>,
) -> Result<(LoadConnections, Memory), BenchError> {
    let memory = || server.and_then(|server| server.memory());
    let before = memory();
    let mut names = Names::new(0);
    let mut connections = LoadConnections::new(Vec::new())?;
    while connections.len() < plan.connections {
        let first = connections.len();
        for _ in first..plan.connections.min(first + CHUNK) {
            connections.add(dial()?)?;
        }
        let exchanges: Vec<Exchange> = (first..connections.len())
            .map(|number| {
                let mut exchange = Exchange::default();
                if let Some(own_names) = plan.own_names {
                    let (name, _) = names.at(if own_names { number } else { 0 });
                    protocol.listen(name, 0, &mut exchange);
                }
                protocol.barrier(&mut exchange);
                exchange
            })
            .collect();
        connections.exchange(protocol, first, &exchanges)?;
    }
    let memory = Memory {
        before,
        after: memory(),
        connections: plan.connections,
    };
    Ok((connections, memory))
}
