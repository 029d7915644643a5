//! Messages of many subjects to one NATS client whose pattern matches all of them, beside clients that do nothing and whose
//! patterns match none.
//!
//! Each subject begins as some of those patterns do, and is too short for them.

use super::nats::{Nats, subscribe};
use super::rows::{Dial, crowd_of};
use clacks::tool::bench::connections::LoadConnections;
use clacks::tool::bench::error::BenchError;
use clacks::tool::bench::fan_out;
use clacks::tool::bench::figures::Figures;
use clacks::tool::bench::names::Names;
use clacks::tool::bench::process::Process;
use clacks::tool::bench::protocol::{BenchProtocol, Exchange};

/// The settings of the load.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub messages: fan_out::Plan,
    /// The number of patterns that match no message.
    pub others: usize,
}

/// The patterns of one idle connection.
const PATTERNS_EACH: usize = 1000;
const LISTENER: usize = 1;

pub fn run(dial: Dial<'_>, plan: &Plan, server: Option<Process>) -> Result<Figures, BenchError> {
    let mut idle = crowd_of(plan.others.div_ceil(PATTERNS_EACH), dial)?;
    subscribe_idle(&mut idle, plan.others)?;
    let mut crowd = crowd_of(LISTENER + 1, dial)?;
    let mut exchange = Exchange::default();
    subscribe(b"bench.*", 1, &mut exchange);
    Nats.barrier(&mut exchange);
    crowd.exchange(&Nats, LISTENER, &[exchange])?;
    let figures = fan_out::run(&mut crowd, &Nats, &plan.messages, server)?;
    drop(idle);
    Ok(figures)
}

/// Distributes the patterns that match nothing among the connections.
fn subscribe_idle(connections: &mut LoadConnections, patterns: usize) -> Result<(), BenchError> {
    let mut names = Names::new(0);
    let exchanges: Vec<Exchange> = (0..connections.len())
        .map(|connection| {
            let mut exchange = Exchange::default();
            let first = connection * PATTERNS_EACH;
            for number in first..patterns.min(first + PATTERNS_EACH) {
                let subject = super::nats::subject(names.at(number / 2).0);
                let (_, last) = subject.split_at(b"bench".len());
                let start: &[u8] = if number % 2 == 0 { b"bench" } else { b"*" };
                let pattern = [start, last, b".*"].concat();
                subscribe(&pattern, number - first + 1, &mut exchange);
            }
            Nats.barrier(&mut exchange);
            exchange
        })
        .collect();
    connections.exchange(&Nats, 0, &exchanges)
}
