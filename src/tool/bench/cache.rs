//! Reads and writes of the cache, from many connections.
//!
//! Each connection sends a batch of commands with one write, waits for all answers to it, and sends the next batch. A
//! batch without any answer, such as a single STORE, is followed at once by the next one, in a write of its own, as
//! programs that use the protocol do it. A STORE is counted because a later answer on its connection shows that the
//! server has processed it; for the last ones a FLUSH shows it.

use super::connections::LoadConnections;
use super::error::BenchError;
use super::figures::{End, Figures, Stopwatch};
use super::names::{Names, Rng};
use super::process::Process;
use super::protocol::{BenchProtocol, Exchange};
use std::time::Instant;

/// The settings of a load on the cache.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The number of commands in a batch.
    pub pipeline: usize,
    /// The size of each value, in bytes.
    pub value_size: usize,
    /// The number of different names.
    pub names: usize,
    /// The percentage of reads among the commands.
    pub reads: usize,
    pub end: End,
}

/// Consecutive batches without an answer after which an answer is requested, so that they do not pile up at the server.
const MAX_UNANSWERED: u32 = 16;
/// Names stored or removed with one write.
const CHUNK: usize = 1000;

/// Stores all names.
pub fn fill(
    connections: &mut LoadConnections,
    protocol: &dyn BenchProtocol,
    plan: &Plan,
) -> Result<(), BenchError> {
    for_all_names(connections, protocol, plan, |name, value, to| {
        protocol.set(name, value, to);
    })
}

/// Removes all names.
pub fn clean_up(
    connections: &mut LoadConnections,
    protocol: &dyn BenchProtocol,
    plan: &Plan,
) -> Result<(), BenchError> {
    for_all_names(connections, protocol, plan, |name, _, to| {
        protocol.remove(name, to)
    })
}

fn for_all_names(
    connections: &mut LoadConnections,
    protocol: &dyn BenchProtocol,
    plan: &Plan,
    act: impl Fn(&[u8], &[u8], &mut Exchange),
) -> Result<(), BenchError> {
    let mut names = Names::new(plan.value_size);
    let mut exchange = Exchange::default();
    for start in (0..plan.names).step_by(CHUNK) {
        exchange.clear();
        for number in start..plan.names.min(start + CHUNK) {
            let (name, value) = names.at(number);
            act(name, value, &mut exchange);
        }
        protocol.barrier(&mut exchange);
        connections.exchange(protocol, 0, std::slice::from_ref(&exchange))?;
    }
    Ok(())
}

/// The state of one connection.
struct Worker {
    exchange: Exchange,
    sent_at: Instant,
    /// The number of batches with an answer that were answered.
    answered: u64,
    /// No answer shows yet that the server has processed the last command.
    is_unconfirmed: bool,
    is_done: bool,
}

/// The state of the whole load.
struct Load<'a> {
    protocol: &'a dyn BenchProtocol,
    plan: &'a Plan,
    names: Names,
    rng: Rng,
    watch: Stopwatch,
    /// The number of commands sent.
    issued: u64,
    is_over: bool,
}

impl Load<'_> {
    /// Appends a batch. Returns true if its last command has no answer.
    fn write_batch(&mut self, to: &mut Exchange) -> bool {
        let left = self.plan.end.count - self.issued;
        let commands = left.min(self.plan.pipeline as u64);
        let mut answers = 0;
        for _ in 0..commands {
            let (name, value) = self.names.at(self.rng.below(self.plan.names));
            answers = to.answer.len();
            match self.rng.below(100) < self.plan.reads {
                true => self.protocol.get(name, value, to),
                false => self.protocol.set(name, value, to),
            }
        }
        self.issued += commands;
        self.is_over |= self.issued == self.plan.end.count;
        to.answer.len() == answers
    }

    /// Sends batches until there is an answer to wait for, or nothing left to send.
    fn send_next(
        &mut self,
        connections: &mut LoadConnections,
        index: usize,
        worker: &mut Worker,
        now: Instant,
    ) -> Result<(), BenchError> {
        worker.sent_at = now;
        let mut is_unconfirmed = worker.is_unconfirmed;
        let mut batches = 0;
        worker.exchange.clear();
        while worker.exchange.answer.is_empty() {
            worker.exchange.clear();
            if self.is_over && !is_unconfirmed {
                worker.is_done = true;
                return Ok(());
            }
            if self.is_over || batches == MAX_UNANSWERED {
                self.protocol.barrier(&mut worker.exchange);
                is_unconfirmed = false;
            } else {
                is_unconfirmed = self.write_batch(&mut worker.exchange);
                batches += 1;
            }
            connections.send(index, &worker.exchange.request)?;
        }
        worker.is_unconfirmed = is_unconfirmed;
        Ok(())
    }
}

/// Runs the load on all connections.
pub fn run(
    connections: &mut LoadConnections,
    protocol: &dyn BenchProtocol,
    plan: &Plan,
    server: Option<Process>,
) -> Result<Figures, BenchError> {
    connections.reset_counts();
    let mut workers: Vec<Worker> = (0..connections.len()).map(|_| Worker::new()).collect();
    let mut load = Load {
        protocol,
        plan,
        names: Names::new(plan.value_size),
        rng: Rng::new(7),
        watch: Stopwatch::start(server),
        issued: 0,
        is_over: plan.end.count == 0,
    };
    for (index, worker) in workers.iter_mut().enumerate() {
        load.send_next(connections, index, worker, Instant::now())?;
    }
    let mut at_work = workers.iter().filter(|worker| !worker.is_done).count();
    while at_work > 0 {
        for event in 0..connections.wait()? {
            let index = connections.ready(event);
            let worker = &mut workers[index];
            connections.receive(index, protocol, |batch| match batch == worker.answered {
                true => &worker.exchange.answer,
                false => &[],
            })?;
            if connections.answered(index) == worker.answered {
                continue;
            }
            worker.answered += 1;
            let now = Instant::now();
            load.watch.record(now - worker.sent_at);
            load.send_next(connections, index, worker, now)?;
            at_work -= usize::from(worker.is_done);
        }
        load.is_over |= load.watch.elapsed() >= plan.end.time;
    }
    Ok(load.watch.stop(load.issued))
}

impl Worker {
    fn new() -> Worker {
        Worker {
            exchange: Exchange::default(),
            sent_at: Instant::now(),
            answered: 0,
            is_unconfirmed: false,
            is_done: false,
        }
    }
}
