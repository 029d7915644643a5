//! Workers of one group at all servers of a tree, who come and go while jobs come and links are cut: no job is done twice,
//! and while nothing changes each is done once.

use super::tree::{Client, Tree};
use crate::support::Random;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SERVERS: usize = 3;
/// Workers at each server.
const WORKERS: usize = 10;
/// Jobs that a sender publishes before it waits until they are taken over.
const BATCH: usize = 100;

/// The work that is to be tried.
pub struct Plan {
    /// Jobs while workers come and go, and links are cut.
    pub restless: usize,
    /// Jobs while nothing changes.
    pub quiet: usize,
    /// The links are cut so often.
    pub cuts: usize,
    /// The most jobs in a second; `None`: as many as the servers take.
    pub per_second: Option<usize>,
}

/// The jobs that were done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// More than once.
    pub twice: usize,
    /// Of those that came while nothing changed, never.
    pub lost_while_quiet: usize,
    /// Of the others, never.
    pub lost_while_restless: usize,
    /// How often workers left.
    pub departures: usize,
}

/// The signs that all threads see.
#[derive(Default)]
struct Signs {
    /// Workers come and go.
    is_restless: AtomicBool,
    departures: AtomicUsize,
    /// Jobs that were sent.
    sent: AtomicUsize,
}

/// Works until it is told to stop. Returns the jobs that it did.
fn work(mut client: Client, seed: u64, signs: &Signs) -> Vec<usize> {
    let (mut random, mut done) = (Random::new(seed), Vec::new());
    let mut until_departure = random.below(300);
    loop {
        for message in client.wait_for_some() {
            if message.subject == b"stop" {
                return done;
            }
            let job = std::str::from_utf8(&message.payload).expect("a number");
            done.push(job.parse().expect("a number"));
        }
        if done.len() >= until_departure && signs.is_restless.load(Ordering::Relaxed) {
            // What matched before it has left still comes.
            client.say("UNSUB 1\r\n");
            for message in client.sync() {
                let job = std::str::from_utf8(&message.payload).expect("a number");
                done.push(job.parse().expect("a number"));
            }
            client.say("SUB jobs workers 1\r\n");
            signs.departures.fetch_add(1, Ordering::Relaxed);
            until_departure = done.len() + 1 + random.below(300);
        }
    }
}

/// Sends jobs with these numbers.
fn send(
    client: &mut Client,
    jobs: impl Iterator<Item = usize>,
    per_second: Option<usize>,
    signs: &Signs,
) {
    let jobs: Vec<usize> = jobs.collect();
    let start = Instant::now();
    for (number, batch) in jobs.chunks(BATCH).enumerate() {
        if let Some(per_second) = per_second {
            let due = Duration::from_secs_f64((number * BATCH) as f64 / per_second as f64);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
        let lines = batch
            .iter()
            .map(|job| format!("PUB jobs 8\r\n{job:08}\r\n"));
        client.say(&lines.collect::<String>());
        assert_eq!(client.sync(), []);
        signs.sent.fetch_add(batch.len(), Ordering::Relaxed);
    }
}

/// Sends jobs at all servers, each a part of them.
fn send_at_all(
    tree: &Tree,
    jobs: std::ops::Range<usize>,
    per_second: Option<usize>,
    signs: &Arc<Signs>,
) -> Vec<JoinHandle<()>> {
    let senders = (0..SERVERS).map(|server| {
        let (mut client, signs) = (tree.client(server), signs.clone());
        let jobs = jobs.clone().skip(server).step_by(SERVERS);
        let per_second = per_second.map(|per_second| per_second / SERVERS);
        std::thread::spawn(move || send(&mut client, jobs, per_second, &signs))
    });
    senders.collect()
}

fn finish<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    let results = threads.into_iter().map(JoinHandle::join);
    results.map(|result| result.expect("no panic")).collect()
}

/// Tries a plan with a tree of real servers.
pub fn try_out(plan: &Plan) -> Outcome {
    let tree = Tree::new();
    let signs = Arc::new(Signs::default());
    let clients = (0..SERVERS * WORKERS).map(|number| {
        let mut client = tree.client(number % SERVERS);
        client.does("SUB stop 2\r\nSUB jobs workers 1\r\n");
        client
    });
    let clients: Vec<Client> = clients.collect();
    let workers = clients.into_iter().zip(1..).map(|(client, seed)| {
        let signs = signs.clone();
        std::thread::spawn(move || work(client, seed, &signs))
    });
    let workers: Vec<_> = workers.collect();
    let settle = || {
        tree.wait_for_links();
        // Its own workers, and the group behind each of its links.
        let own = 2 * WORKERS as u64;
        tree.wait_for_subscriptions([own + 1, own + 2, own + 1]);
    };
    settle();
    signs.is_restless.store(true, Ordering::Relaxed);
    let senders = send_at_all(&tree, 0..plan.restless, plan.per_second, &signs);
    for cut in 0..plan.cuts {
        let enough = plan.restless * (cut + 1) / (plan.cuts + 1);
        while signs.sent.load(Ordering::Relaxed) < enough {
            std::thread::sleep(Duration::from_millis(1));
        }
        tree.cut(cut % (SERVERS - 1));
    }
    finish(senders);
    signs.is_restless.store(false, Ordering::Relaxed);
    settle();
    let all = plan.restless..plan.restless + plan.quiet;
    finish(send_at_all(&tree, all, plan.per_second, &signs));
    tree.client(0).does("PUB stop 0\r\n\r\n");
    let mut done: HashMap<usize, usize> = HashMap::new();
    for job in finish(workers).concat() {
        *done.entry(job).or_default() += 1;
    }
    let lost = |jobs: std::ops::Range<usize>| jobs.filter(|job| !done.contains_key(job)).count();
    Outcome {
        twice: done.values().filter(|count| **count > 1).count(),
        lost_while_quiet: lost(plan.restless..plan.restless + plan.quiet),
        lost_while_restless: lost(0..plan.restless),
        departures: signs.departures.load(Ordering::Relaxed),
    }
}

#[test]
fn no_job_is_done_twice_and_each_is_done_once_while_nothing_changes() {
    let outcome = try_out(&Plan {
        restless: 12_000,
        quiet: 6_000,
        cuts: 4,
        per_second: None,
    });
    println!("{outcome:?}");
    assert_eq!((outcome.twice, outcome.lost_while_quiet), (0, 0));
    assert!(outcome.departures > 20, "workers come and go");
}
