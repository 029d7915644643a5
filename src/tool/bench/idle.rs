//! Connections that do nothing but listen, and the memory that they take.

use super::Trouble;
use super::crowd::Crowd;
use super::names::Names;
use super::process::Process;
use super::speaker::{Exchange, Speaker};
use super::wire::Socket;

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub connections: usize,
    /// Each listens to a name of its own, instead of one that all share; `None`: to none at all.
    pub own_names: Option<bool>,
}

#[derive(Debug)]
pub struct Memory {
    /// Before any of the connections, in bytes.
    pub before: Option<u64>,
    pub after: Option<u64>,
    pub connections: usize,
}

impl Memory {
    /// Bytes for each connection.
    pub fn each(&self) -> Option<f64> {
        let grown = self.after?.saturating_sub(self.before?);
        Some(grown as f64 / self.connections as f64)
    }
}

/// Connected, and listening, at the same time.
const CHUNK: usize = 100;

/// Opens the connections. They stay open as long as the crowd is kept.
pub fn open(
    dial: &mut dyn FnMut() -> Result<Box<dyn Socket>, Trouble>,
    speaker: &dyn Speaker,
    plan: &Plan,
    server: Option<Process>,
) -> Result<(Crowd, Memory), Trouble> {
    let memory = || server.and_then(|server| server.memory());
    let before = memory();
    let mut names = Names::new(0);
    let mut crowd = Crowd::new(Vec::new())?;
    while crowd.len() < plan.connections {
        let first = crowd.len();
        for _ in first..plan.connections.min(first + CHUNK) {
            crowd.add(dial()?)?;
        }
        let exchanges: Vec<Exchange> = (first..crowd.len())
            .map(|number| {
                let mut exchange = Exchange::default();
                if let Some(own_names) = plan.own_names {
                    let (name, _) = names.at(if own_names { number } else { 0 });
                    speaker.listen(name, 0, &mut exchange);
                }
                speaker.barrier(&mut exchange);
                exchange
            })
            .collect();
        crowd.exchange(speaker, first, &exchanges)?;
    }
    let memory = Memory {
        before,
        after: memory(),
        connections: plan.connections,
    };
    Ok((crowd, memory))
}
