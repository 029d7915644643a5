//! Signals from one sender to many listeners.
//!
//! The sender sends a burst of signals with one write. It is at most a few bursts ahead of the slowest listener, so that
//! nothing piles up at the server and the server is hardly ever idle. With few listeners a burst is soon delivered, so
//! the sender has to be more bursts ahead to keep the server busy while a sleeping listener is woken.

use super::connections::LoadConnections;
use super::error::BenchError;
use super::figures::{End, Figures, Stopwatch};
use super::names::{Names, Rng};
use super::process::Process;
use super::protocol::{BenchProtocol, Exchange};
use std::time::Instant;

/// The settings of a load of signals.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The number of signals in a burst.
    pub pipeline: usize,
    /// The size of each value, in bytes.
    pub value_size: usize,
    /// The number of names that each listener listens to.
    pub names: usize,
    /// The end of the load; its count is one of signals.
    pub end: End,
}

/// The largest [`window`], in bursts.
const MAX_WINDOW: u64 = 32;
/// The index of the sending connection; all others listen.
const SENDER: usize = 0;

struct Burst {
    signals: u64,
    /// The requests of the sender, and their answers if they have any.
    exchange: Exchange,
    /// The bytes that each listener receives.
    delivery: Vec<u8>,
}

/// All bursts of a load: a round of different bursts with all names, repeated to the end, and the very last burst, which
/// may be shorter.
struct Bursts {
    round: Vec<Burst>,
    last: Option<(u64, Burst)>,
}

impl Bursts {
    fn new(protocol: &dyn BenchProtocol, plan: &Plan, listeners: usize) -> Bursts {
        let mut names = Names::new(plan.value_size);
        // Shuffled, so that neighbouring names are in the same burst only by chance.
        let mut order: Vec<usize> = (0..plan.names).collect();
        let mut rng = Rng::new(7);
        (1..order.len()).for_each(|place| order.swap(place, rng.below(place + 1)));
        let mut order = order.into_iter().cycle();
        let mut burst = |signals: usize| {
            let mut burst = Burst {
                signals: signals as u64,
                exchange: Exchange::default(),
                delivery: Vec::new(),
            };
            for number in order.by_ref().take(signals) {
                let (name, value) = names.at(number);
                protocol.signal(name, value, listeners, &mut burst.exchange);
                protocol.delivery(name, value, &mut burst.delivery);
            }
            burst
        };
        let different = plan.names.div_ceil(plan.pipeline);
        let round = (0..different).map(|_| burst(plan.pipeline)).collect();
        let (whole, rest) = (
            plan.end.count / plan.pipeline as u64,
            plan.end.count % plan.pipeline as u64,
        );
        Bursts {
            round,
            last: (rest > 0).then(|| (whole, burst(rest as usize))),
        }
    }

    fn at(&self, number: u64) -> &Burst {
        match &self.last {
            Some((last, burst)) if *last == number => burst,
            _ => &self.round[(number % self.round.len() as u64) as usize],
        }
    }
}

/// Subscribes all connections but the first to all names.
pub fn listen(
    connections: &mut LoadConnections,
    protocol: &dyn BenchProtocol,
    plan: &Plan,
) -> Result<(), BenchError> {
    let mut names = Names::new(plan.value_size);
    let mut exchange = Exchange::default();
    for number in 0..plan.names {
        protocol.listen(names.at(number).0, number, &mut exchange);
    }
    protocol.barrier(&mut exchange);
    connections.exchange(protocol, SENDER + 1, &vec![exchange; connections.len() - 1])
}

/// The number of bursts that the sender may be ahead of the slowest listener.
fn window(listeners: usize) -> u64 {
    (320 / listeners.max(1) as u64).clamp(8, MAX_WINDOW)
}

/// A burst that was sent and not delivered to all listeners.
#[derive(Clone, Copy)]
struct InFlight {
    sent_at: Instant,
    /// The number of listeners that have received all of it.
    receivers: usize,
}

/// Runs the load. An operation is one delivery; a latency is the time from sending a burst to its complete receipt by one
/// listener.
pub fn run(
    connections: &mut LoadConnections,
    protocol: &dyn BenchProtocol,
    plan: &Plan,
    server: Option<Process>,
) -> Result<Figures, BenchError> {
    connections.reset_counts();
    let listeners = connections.len() - 1;
    let window = window(listeners);
    let bursts = Bursts::new(protocol, plan, listeners);
    let nothing: &[u8] = &[];
    let mut watch = Stopwatch::start(server);
    let mut ring = [InFlight {
        sent_at: Instant::now(),
        receivers: 0,
    }; MAX_WINDOW as usize];
    let place = |burst: u64| (burst % MAX_WINDOW) as usize;
    let (mut sent, mut arrived, mut signals) = (0, 0, 0);
    loop {
        let is_over = watch.elapsed() >= plan.end.time;
        while !is_over && signals < plan.end.count && sent < arrived + window {
            ring[place(sent)] = InFlight {
                sent_at: Instant::now(),
                receivers: 0,
            };
            connections.send(SENDER, &bursts.at(sent).exchange.request)?;
            signals += bursts.at(sent).signals;
            sent += 1;
        }
        let has_answers = !bursts.at(0).exchange.answer.is_empty();
        if arrived == sent && (!has_answers || connections.answered(SENDER) == sent) {
            return Ok(watch.stop(signals * listeners as u64));
        }
        for event in 0..connections.wait()? {
            let index = connections.ready(event);
            let before = connections.answered(index);
            connections.receive(index, protocol, |burst| match (burst < sent, index) {
                (false, _) => nothing,
                (true, SENDER) => &bursts.at(burst).exchange.answer,
                (true, _) => &bursts.at(burst).delivery,
            })?;
            if index == SENDER {
                continue;
            }
            for burst in before..connections.answered(index) {
                let in_flight = &mut ring[place(burst)];
                in_flight.receivers += 1;
                watch.record(in_flight.sent_at.elapsed());
            }
        }
        while arrived < sent && ring[place(arrived)].receivers == listeners {
            arrived += 1;
        }
    }
}
