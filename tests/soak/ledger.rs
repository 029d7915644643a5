//! A record of the clients' actions and of their observations, and the control of when they rest.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, RwLock};
use std::time::Duration;

/// How many counters there are at a time.
pub const COUNTERS: usize = 50;

/// The sums of the steps by which clients have incremented a counter.
#[derive(Clone, Copy, Default)]
pub struct Counted {
    /// The steps for which a FLUSHED was received afterwards.
    pub surely: u64,
    /// The steps whose connection was lost before the FLUSHED. The counter may have them or not.
    pub perhaps: u64,
}

/// The counters since the last CLEARCACHE, which have names of their own.
#[derive(Clone)]
pub struct Counters {
    pub age: u32,
    pub counted: [Counted; COUNTERS],
}

pub struct Ledger {
    /// How many names the clients write to.
    pub names: usize,
    pub is_over: AtomicBool,
    /// All clients are to go, and none to come.
    is_closed: AtomicBool,
    counters: Mutex<Counters>,
    /// Every step of a worker holds it; a check takes it for itself.
    rest: RwLock<()>,
    /// Between two steps of a worker.
    pause_us: AtomicU64,
    steps: AtomicU64,
    heard: AtomicU64,
    violations: Mutex<Vec<String>>,
    faults: Mutex<BTreeMap<&'static str, u64>>,
    doings: Mutex<BTreeMap<&'static str, u64>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while it is held")
}

fn list(counts: &Mutex<BTreeMap<&'static str, u64>>) -> String {
    let counts = held(counts);
    let words = counts.iter().map(|(what, count)| format!("{what} {count}"));
    words.collect::<Vec<_>>().join(", ")
}

impl Ledger {
    pub fn new(names: usize) -> Ledger {
        Ledger {
            names,
            is_over: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            counters: Mutex::new(Counters {
                age: 0,
                counted: [Counted::default(); COUNTERS],
            }),
            rest: RwLock::new(()),
            pause_us: AtomicU64::new(2_000),
            steps: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            violations: Mutex::default(),
            faults: Mutex::default(),
            doings: Mutex::default(),
        }
    }

    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    pub fn is_open(&self) -> bool {
        !self.is_closed.load(Ordering::Relaxed)
    }

    /// Does something while no client is there, or is about to go.
    pub fn closed(&self, what: impl FnOnce()) {
        self.is_closed.store(true, Ordering::Relaxed);
        what();
        self.is_closed.store(false, Ordering::Relaxed);
    }

    /// One step of a worker, and the pause behind it.
    pub fn step(&self, step: impl FnOnce()) {
        {
            let _working = self.rest.read().expect("no panic while it is held");
            step();
        }
        self.steps.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_micros(self.pause_us.load(Ordering::Relaxed)));
    }

    /// Does something while no worker is in a step.
    pub fn at_rest(&self, what: impl FnOnce()) {
        let _resting = self.rest.write().expect("no panic while it is held");
        what();
    }

    /// Lengthens or shortens the pauses, so that `share` becomes `goal`.
    pub fn pace(&self, share: f64, goal: f64) {
        let pause_us = self.pause_us.load(Ordering::Relaxed) as f64;
        // Not all at once: a server may have stood still, or done what was left over.
        let change = (share / goal).clamp(0.8, 1.25);
        let pause_us = (pause_us * change).clamp(200.0, 50_000.0);
        self.pause_us.store(pause_us as u64, Ordering::Relaxed);
    }

    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    pub fn count_fault(&self, fault: &'static str) {
        *held(&self.faults).entry(fault).or_default() += 1;
    }

    pub fn faults(&self) -> String {
        list(&self.faults)
    }

    pub fn count_doing(&self, doing: &'static str) {
        *held(&self.doings).entry(doing).or_default() += 1;
    }

    pub fn doings(&self) -> String {
        list(&self.doings)
    }

    pub fn count_heard(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Something that must not be.
    pub fn complain(&self, what: String) {
        held(&self.violations).push(what);
    }

    pub fn assert_clean(&self) {
        let violations = held(&self.violations);
        assert!(violations.is_empty(), "{violations:?}");
    }

    /// The name of a counter, until the next CLEARCACHE.
    pub fn counter(&self, number: usize) -> String {
        counter_name(held(&self.counters).age, number)
    }

    /// How the names begin that are a worker's own, until the next CLEARCACHE.
    pub fn own_name(&self, worker: usize) -> String {
        format!("own:{}:{worker}:", held(&self.counters).age)
    }

    pub fn count(&self, number: usize, step: u64, is_sure: bool) {
        let counted = &mut held(&self.counters).counted[number];
        if is_sure {
            counted.surely += step;
        } else {
            counted.perhaps += step;
        }
    }

    pub fn counters(&self) -> Counters {
        held(&self.counters).clone()
    }

    /// From now on others are counted, with other names.
    pub fn begin_counters(&self) {
        let mut counters = held(&self.counters);
        counters.age += 1;
        counters.counted = [Counted::default(); COUNTERS];
    }
}

pub fn counter_name(age: u32, number: usize) -> String {
    format!("counter:{age}:{number}")
}
