//! Reads and writes of the cache, from many connections.
//!
//! Each connection sends a batch of commands with one write, waits for all answers to it, and sends the
//! next one. A batch without any answer, such as a single STORE, is not waited for, as programs that use
//! the protocol don't wait either: the next batch follows at once, in a write of its own. A STORE counts
//! because a later answer on its connection shows that it was worked off; the last ones are shown to be so
//! by a FLUSH.

use super::Trouble;
use super::crowd::Crowd;
use super::figures::{End, Figures, Stopwatch};
use super::names::{Dice, Names};
use super::process::Process;
use super::speaker::{Exchange, Speaker};
use std::time::Instant;

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Commands in a batch.
    pub pipeline: usize,
    pub value_size: usize,
    pub names: usize,
    /// Of a hundred commands.
    pub reads: usize,
    pub end: End,
}

/// Batches without an answer in a row, before one is asked for: they must not pile up at the server.
const MANY_UNANSWERED: u32 = 16;
/// Names stored or removed at once.
const CHUNK: usize = 1000;

/// Stores all names.
pub fn fill(crowd: &mut Crowd, speaker: &dyn Speaker, plan: &Plan) -> Result<(), Trouble> {
    for_all_names(crowd, speaker, plan, |name, value, to| {
        speaker.set(name, value, to);
    })
}

/// Removes all names.
pub fn clean_up(crowd: &mut Crowd, speaker: &dyn Speaker, plan: &Plan) -> Result<(), Trouble> {
    for_all_names(crowd, speaker, plan, |name, _, to| speaker.remove(name, to))
}

fn for_all_names(
    crowd: &mut Crowd,
    speaker: &dyn Speaker,
    plan: &Plan,
    act: impl Fn(&[u8], &[u8], &mut Exchange),
) -> Result<(), Trouble> {
    let mut names = Names::new(plan.value_size);
    let mut exchange = Exchange::default();
    for start in (0..plan.names).step_by(CHUNK) {
        exchange.clear();
        for number in start..plan.names.min(start + CHUNK) {
            let (name, value) = names.at(number);
            act(name, value, &mut exchange);
        }
        speaker.barrier(&mut exchange);
        crowd.exchange(speaker, 0, std::slice::from_ref(&exchange))?;
    }
    Ok(())
}

/// One connection's part.
struct Worker {
    exchange: Exchange,
    sent_at: Instant,
    /// Batches that have an answer.
    answered: u64,
    /// Nothing has shown yet that the last command was worked off.
    is_unproved: bool,
    is_done: bool,
}

struct Load<'a> {
    speaker: &'a dyn Speaker,
    plan: &'a Plan,
    names: Names,
    dice: Dice,
    watch: Stopwatch,
    /// Commands sent.
    issued: u64,
    is_over: bool,
}

impl Load<'_> {
    /// Appends a batch; whether its last command has no answer.
    fn write_batch(&mut self, to: &mut Exchange) -> bool {
        let left = self.plan.end.count - self.issued;
        let commands = left.min(self.plan.pipeline as u64);
        let mut answers = 0;
        for _ in 0..commands {
            let (name, value) = self.names.at(self.dice.below(self.plan.names));
            answers = to.answer.len();
            match self.dice.below(100) < self.plan.reads {
                true => self.speaker.get(name, value, to),
                false => self.speaker.set(name, value, to),
            }
        }
        self.issued += commands;
        self.is_over |= self.issued == self.plan.end.count;
        to.answer.len() == answers
    }

    /// Sends until there is an answer to wait for, or nothing left to do.
    fn go_on(
        &mut self,
        crowd: &mut Crowd,
        index: usize,
        worker: &mut Worker,
        now: Instant,
    ) -> Result<(), Trouble> {
        worker.sent_at = now;
        let mut is_unproved = worker.is_unproved;
        let mut batches = 0;
        worker.exchange.clear();
        while worker.exchange.answer.is_empty() {
            worker.exchange.clear();
            if self.is_over && !is_unproved {
                worker.is_done = true;
                return Ok(());
            }
            if self.is_over || batches == MANY_UNANSWERED {
                self.speaker.barrier(&mut worker.exchange);
                is_unproved = false;
            } else {
                is_unproved = self.write_batch(&mut worker.exchange);
                batches += 1;
            }
            crowd.send(index, &worker.exchange.request)?;
        }
        worker.is_unproved = is_unproved;
        Ok(())
    }
}

/// Does the plan with all connections of the crowd.
pub fn run(
    crowd: &mut Crowd,
    speaker: &dyn Speaker,
    plan: &Plan,
    server: Option<Process>,
) -> Result<Figures, Trouble> {
    crowd.start_anew();
    let mut workers: Vec<Worker> = (0..crowd.len()).map(|_| Worker::new()).collect();
    let mut load = Load {
        speaker,
        plan,
        names: Names::new(plan.value_size),
        dice: Dice::new(7),
        watch: Stopwatch::start(server),
        issued: 0,
        is_over: plan.end.count == 0,
    };
    for (index, worker) in workers.iter_mut().enumerate() {
        load.go_on(crowd, index, worker, Instant::now())?;
    }
    let mut at_work = workers.iter().filter(|worker| !worker.is_done).count();
    while at_work > 0 {
        for event in 0..crowd.wait()? {
            let index = crowd.ready(event);
            let worker = &mut workers[index];
            crowd.hear(index, speaker, |batch| match batch == worker.answered {
                true => &worker.exchange.answer,
                false => &[],
            })?;
            if crowd.answered(index) == worker.answered {
                continue;
            }
            worker.answered += 1;
            let now = Instant::now();
            load.watch.record(now - worker.sent_at);
            load.go_on(crowd, index, worker, now)?;
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
            is_unproved: false,
            is_done: false,
        }
    }
}
