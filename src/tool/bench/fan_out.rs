//! Signals from one sender to many listeners.
//!
//! The sender sends a burst of signals with one write. It is at most some bursts ahead of the slowest
//! listener, so that nothing piles up at the server, and the server is hardly ever out of work: with few
//! listeners a burst is soon done, and it takes more of them to outlast the time until somebody who sleeps
//! has been woken.

use super::Trouble;
use super::crowd::Crowd;
use super::figures::{End, Figures, Stopwatch};
use super::names::{Dice, Names};
use super::process::Process;
use super::speaker::{Exchange, Speaker};
use std::time::Instant;

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Signals in a burst.
    pub pipeline: usize,
    pub value_size: usize,
    /// How many names each listener listens to.
    pub names: usize,
    /// `count` is of signals.
    pub end: End,
}

/// How far the sender may be ahead at most, in bursts.
const MAX_WINDOW: u64 = 32;
/// The first connection of the crowd; the others listen.
const SENDER: usize = 0;

struct Burst {
    signals: u64,
    /// The sender's side.
    exchange: Exchange,
    /// What each listener gets.
    delivery: Vec<u8>,
}

/// All bursts: enough different ones that every name has its turn, and then from the first one on again;
/// and the last one of all, which may be shorter.
struct Bursts {
    round: Vec<Burst>,
    last: Option<(u64, Burst)>,
}

impl Bursts {
    fn new(speaker: &dyn Speaker, plan: &Plan, listeners: usize) -> Bursts {
        let mut names = Names::new(plan.value_size);
        // Neighbours are in the same burst only by chance.
        let mut order: Vec<usize> = (0..plan.names).collect();
        let mut dice = Dice::new(7);
        (1..order.len()).for_each(|place| order.swap(place, dice.below(place + 1)));
        let mut order = order.into_iter().cycle();
        let mut burst = |signals: usize| {
            let mut burst = Burst {
                signals: signals as u64,
                exchange: Exchange::default(),
                delivery: Vec::new(),
            };
            for number in order.by_ref().take(signals) {
                let (name, value) = names.at(number);
                speaker.signal(name, value, listeners, &mut burst.exchange);
                speaker.delivery(name, value, &mut burst.delivery);
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

/// Lets all connections but the first listen to all names.
pub fn listen(crowd: &mut Crowd, speaker: &dyn Speaker, plan: &Plan) -> Result<(), Trouble> {
    let mut names = Names::new(plan.value_size);
    let mut exchange = Exchange::default();
    for number in 0..plan.names {
        speaker.listen(names.at(number).0, number, &mut exchange);
    }
    speaker.barrier(&mut exchange);
    crowd.exchange(speaker, SENDER + 1, &vec![exchange; crowd.len() - 1])
}

/// How far the sender may be ahead, in bursts.
fn window(listeners: usize) -> u64 {
    (320 / listeners.max(1) as u64).clamp(8, MAX_WINDOW)
}

/// A burst that is under way.
#[derive(Clone, Copy)]
struct UnderWay {
    sent_at: Instant,
    /// Listeners that have got all of it.
    have_it: usize,
}

/// Does the plan. The operations are deliveries, and a latency is that of a burst to one listener.
pub fn run(
    crowd: &mut Crowd,
    speaker: &dyn Speaker,
    plan: &Plan,
    server: Option<Process>,
) -> Result<Figures, Trouble> {
    crowd.start_anew();
    let listeners = crowd.len() - 1;
    let window = window(listeners);
    let bursts = Bursts::new(speaker, plan, listeners);
    let nothing: &[u8] = &[];
    let mut watch = Stopwatch::start(server);
    let mut ring = [UnderWay {
        sent_at: Instant::now(),
        have_it: 0,
    }; MAX_WINDOW as usize];
    let place = |burst: u64| (burst % MAX_WINDOW) as usize;
    let (mut sent, mut arrived, mut signals) = (0, 0, 0);
    loop {
        let is_over = watch.elapsed() >= plan.end.time;
        while !is_over && signals < plan.end.count && sent < arrived + window {
            ring[place(sent)] = UnderWay {
                sent_at: Instant::now(),
                have_it: 0,
            };
            crowd.send(SENDER, &bursts.at(sent).exchange.request)?;
            signals += bursts.at(sent).signals;
            sent += 1;
        }
        let has_answers = !bursts.at(0).exchange.answer.is_empty();
        if arrived == sent && (!has_answers || crowd.answered(SENDER) == sent) {
            return Ok(watch.stop(signals * listeners as u64));
        }
        for event in 0..crowd.wait()? {
            let index = crowd.ready(event);
            let before = crowd.answered(index);
            crowd.hear(index, speaker, |burst| match (burst < sent, index) {
                (false, _) => nothing,
                (true, SENDER) => &bursts.at(burst).exchange.answer,
                (true, _) => &bursts.at(burst).delivery,
            })?;
            if index == SENDER {
                continue;
            }
            for burst in before..crowd.answered(index) {
                let under_way = &mut ring[place(burst)];
                under_way.have_it += 1;
                watch.record(under_way.sent_at.elapsed());
            }
        }
        while arrived < sent && ring[place(arrived)].have_it == listeners {
            arrived += 1;
        }
    }
}
