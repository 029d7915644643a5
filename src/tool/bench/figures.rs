//! The results of a load, and the stopwatch that measures them.

use super::process::Process;
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// The longest latency that the histogram distinguishes, in nanoseconds. It is longer than the time limit for an answer.
const MAX_NS: u64 = 60_000_000_000;

/// A histogram of latencies in nanoseconds.
pub type Latencies = Histogram<u64>;

/// The end of a load: after this time or this number of commands, whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct End {
    pub time: Duration,
    pub count: u64,
}

/// The results of a load.
#[derive(Debug)]
pub struct Figures {
    /// The number of operations. An answer of the server has confirmed each of them.
    pub operations: u64,
    pub elapsed: Duration,
    pub latencies: Latencies,
    /// The server's processor time during the load, in nanoseconds; `None` if it can't be read.
    pub cpu_ns: Option<u64>,
    /// The server's resident memory at the end, in bytes; `None` if it can't be read.
    pub memory: Option<u64>,
}

impl Figures {
    pub fn per_second(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// The server's processor time per operation, in nanoseconds.
    pub fn cpu_ns_each(&self) -> Option<f64> {
        Some(self.cpu_ns? as f64 / self.operations.max(1) as f64)
    }
}

/// Measures time, processor time and latencies from [`Stopwatch::start`] to [`Stopwatch::stop`].
pub struct Stopwatch {
    server: Option<Process>,
    started: Instant,
    cpu_ns: Option<u64>,
    pub latencies: Latencies,
}

impl Stopwatch {
    pub fn start(server: Option<Process>) -> Stopwatch {
        let latencies = Histogram::new_with_bounds(1, MAX_NS, 3);
        Stopwatch {
            server,
            latencies: latencies.expect("the bounds are right"),
            cpu_ns: server.and_then(|server| server.cpu_ns()),
            started: Instant::now(),
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn record(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(ns);
    }

    pub fn stop(self, operations: u64) -> Figures {
        let elapsed = self.started.elapsed();
        let cpu_ns = self.server.and_then(|server| server.cpu_ns());
        Figures {
            operations,
            elapsed,
            latencies: self.latencies,
            cpu_ns: cpu_ns
                .zip(self.cpu_ns)
                .map(|(after, before)| after.saturating_sub(before)),
            memory: self.server.and_then(|server| server.memory()),
        }
    }
}
