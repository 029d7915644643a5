//! Long mixed traffic at a tree of three servers, with clients that misbehave and faults of all kinds, and
//! what must be true all the while and at the end. `make soak` runs it for an hour, or for `SOAK_SECONDS`;
//! `CLACKSD_SERVER=path` tries another build of the server.
//!
//! The traffic rests at several checks: then the servers must agree, the counters be what was counted, and
//! the signals of each node be heard at all of them.
//! The load is kept to a share of one core, so that the machine can do something else beside it.

mod burst;
mod faults;
mod figures;
mod ledger;
mod tree;
mod watcher;
mod worker;

use crate::runner::needs_localhost;
use crate::support::{Ends, Random, wait_until};
use burst::hear_each_other;
use faults::Fault;
use figures::Figures;
use ledger::Ledger;
use std::time::{Duration, Instant};
use tree::Tree;
use watcher::watch;
use worker::Worker;

/// Traffic of one core that the three servers take together.
const SHARE_OF_A_CORE: f64 = 0.4;

/// The length of a run, its load, and its checks.
struct Plan {
    time: Duration,
    workers_per_node: usize,
    /// Connections that each worker keeps open, beside those that come to misbehave.
    residents: usize,
    names: usize,
    /// How often the servers are checked, at equal distances; an even number.
    checks: u32,
    between_faults: Duration,
    /// The longest time for which a server is stopped.
    longest_stop: Duration,
    /// True if the run is long enough to judge whether memory grows.
    judges_memory: bool,
}

#[test]
fn for_some_seconds() {
    run(&Plan {
        time: Duration::from_secs(5),
        workers_per_node: 1,
        residents: 15,
        names: 500,
        checks: 4,
        between_faults: Duration::from_millis(250),
        longest_stop: Duration::from_millis(150),
        judges_memory: false,
    });
}

#[test]
#[ignore = "takes an hour: make soak"]
fn for_long() {
    let seconds = match std::env::var("SOAK_SECONDS") {
        Ok(text) => text.parse().expect("SOAK_SECONDS is a number"),
        Err(_) => 3600,
    };
    run(&Plan {
        time: Duration::from_secs(seconds),
        workers_per_node: 3,
        residents: 35,
        names: 20_000,
        checks: 12,
        between_faults: Duration::from_secs(8),
        longest_stop: Duration::from_secs(5),
        judges_memory: seconds >= 60,
    });
}

fn run(plan: &Plan) {
    // A slave dials its master by that name.
    needs_localhost();
    let mut tree = Tree::start();
    tree.wait_until_linked();
    let descriptors = tree.descriptors();
    let buffers = tree.buffers();
    tree.figures().print("at the start", None);
    let ledger = Ledger::new(plan.names);
    std::thread::scope(|scope| {
        let _ends = Ends(&ledger.is_over);
        let mut threads = Vec::new();
        for (node, entrance) in tree.entrances().into_iter().enumerate() {
            for number in 0..plan.workers_per_node {
                let number = node * plan.workers_per_node + number;
                let worker = Worker::new(node, number, entrance.clone(), plan.residents, &ledger);
                threads.push(scope.spawn(move || worker.work()));
            }
            let ledger = &ledger;
            threads.push(scope.spawn(move || watch(node, &entrance, ledger)));
        }
        torment(&mut tree, plan, &ledger);
        ledger.end();
        for thread in threads {
            thread.join().expect("no panic");
        }
    });
    leave_nothing_behind(&tree, &descriptors, &buffers);
    println!(
        "soak: {} steps, {} signals heard, in order and once; faults: {}; clients' doings: {}",
        ledger.steps(),
        ledger.heard(),
        ledger.faults(),
        ledger.doings()
    );
}

/// Everything between the start and the end of the traffic.
fn torment(tree: &mut Tree, plan: &Plan, ledger: &Ledger) {
    let start = Instant::now();
    let mut random = Random::new(20_261_126);
    let mut faults = Fault::IN_TURN.into_iter().cycle();
    let (mut check, mut next_fault) = (1, plan.between_faults);
    let (mut paced, mut cpu_s) = (Instant::now(), tree.cpu_s());
    let mut before: Option<Figures> = None;
    let mut middle: Option<Figures> = None;
    while check <= plan.checks {
        std::thread::sleep(Duration::from_millis(50));
        ledger.assert_clean();
        if paced.elapsed() > Duration::from_secs(1) {
            let now_s = tree.cpu_s();
            // A server that was killed meanwhile has begun anew.
            ledger.pace(
                (now_s - cpu_s).max(0.0) / paced.elapsed().as_secs_f64(),
                SHARE_OF_A_CORE,
            );
            (paced, cpu_s) = (Instant::now(), now_s);
        }
        if start.elapsed() > next_fault {
            // Early enough for all to be at their usual size in the middle, and to be the same at the end.
            let may_kill = check < plan.checks / 2;
            let fault = faults
                .find(|fault| may_kill || *fault != Fault::Kill)
                .expect("there is always another one");
            fault.inject(tree, &mut random, plan.longest_stop);
            ledger.count_fault(fault.name());
            next_fault = start.elapsed() + plan.between_faults;
        }
        if start.elapsed() > plan.time * check / plan.checks {
            ledger.at_rest(|| {
                tree.heal(check);
                tree.check_agreement(ledger);
                hear_each_other(tree, check);
                let figures = tree.figures();
                let passed_s = start.elapsed().as_secs_f64();
                let when = format!(
                    "check {check} after {passed_s:.0} s: the servers agree, and hear each other"
                );
                figures.print(&when, before.as_ref());
                before = Some(figures);
                // As far from the middle as from the end.
                if check % (plan.checks / 2) == 1 {
                    tree.clear(ledger);
                }
            });
            if check % (plan.checks / 2) == 0 {
                let figures = deserted(tree, ledger);
                if check < plan.checks {
                    middle = Some(figures);
                } else if plan.judges_memory {
                    figures.assert_not_grown(middle.as_ref().expect("the middle has passed"));
                }
            }
            check += 1;
        }
    }
}

/// Makes all clients go, and returns the figures that the servers then show.
fn deserted(tree: &Tree, ledger: &Ledger) -> Figures {
    let mut figures = None;
    ledger.closed(|| {
        wait_until("all sessions are gone", || tree.has_only_links());
        tree.assert_nothing_is_listened_to();
        figures = Some(tree.figures());
    });
    let figures = figures.expect("it was done");
    figures.print("all clients have gone", None);
    figures
}

/// All clients have gone.
fn leave_nothing_behind(tree: &Tree, descriptors: &[usize], buffers: &[u64]) {
    wait_until("all sessions are gone", || tree.has_only_links());
    wait_until("all descriptors are closed", || {
        tree.descriptors() == descriptors
    });
    tree.assert_nothing_is_listened_to();
    wait_until("all buffers are given back", || tree.buffers() == buffers);
    tree.assert_no_errors_logged();
}
