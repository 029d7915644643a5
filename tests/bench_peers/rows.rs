//! The measurements, each of one or more servers with their loads, and the goals for their figures.

use super::contender::Kind;
use super::memcached::Memcached;
use super::sample::{Metric, Sample};
use super::{nats_rows, patterns, requests};
use clacks::tool::bench::connection::Socket;
use clacks::tool::bench::connections::LoadConnections;
use clacks::tool::bench::error::BenchError;
use clacks::tool::bench::figures::End;
use clacks::tool::bench::protocol::BenchProtocol;
use clacks::tool::bench::{cache, fan_out, idle};
use std::time::Duration;

pub struct Row {
    pub name: String,
    pub variants: Vec<Variant>,
    pub goals: Vec<Goal>,
}

/// A server and its load.
pub struct Variant {
    pub label: String,
    pub kind: Kind,
    /// The way in which it is spoken to, if that is not the usual one.
    speaker: Option<Memcached>,
    work: Workload,
}

#[derive(Clone, Copy)]
pub enum Workload {
    Cache {
        plan: cache::Plan,
        connections: usize,
        /// Others that do nothing.
        idle: usize,
    },
    FanOut {
        plan: fan_out::Plan,
        listeners: usize,
    },
    Idle(idle::Plan),
    /// The memory of entries.
    Entries(cache::Plan),
    /// In the protocol of NATS.
    Requests(requests::Plan),
    /// In the protocol of NATS.
    Patterns(patterns::Plan),
}

#[derive(Clone, Copy)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// A figure of one variant, measured by the best of others, or by itself if there are none.
pub struct Goal {
    pub what: &'static str,
    pub metric: Metric,
    pub ours: &'static str,
    pub others: &'static [&'static str],
    pub bound: Bound,
}

impl Goal {
    pub fn is_absolute(&self) -> bool {
        self.others.is_empty()
    }
}

pub const TIME: Duration = Duration::from_secs(2);
const CONNECTIONS: usize = 50;
const END: End = End {
    time: TIME,
    count: u64::MAX,
};
const CACHE: cache::Plan = cache::Plan {
    pipeline: 1,
    value_size: 64,
    names: 1000,
    reads: 90,
    end: END,
};
pub const SIGNALS: fan_out::Plan = fan_out::Plan {
    pipeline: 64,
    value_size: 64,
    names: 1,
    end: END,
};

const CACHES: [Kind; 4] = [Kind::Clacksd, Kind::Redis, Kind::Memcached, Kind::Bare];
const BROKERS: [Kind; 4] = [Kind::Clacksd, Kind::Redis, Kind::Nats, Kind::Bare];

pub const CPU: Metric = |sample| sample.cpu_ns;
const PER_SECOND: Metric = |sample| sample.per_second;
pub const MEDIAN: Metric = |sample| sample.latency_50_us;
pub const LATE: Metric = |sample| sample.latency_99_us;
pub const MEMORY: Metric = |sample| sample.bytes_each;

fn row(name: impl Into<String>, kinds: &[Kind], work: Workload, goals: Vec<Goal>) -> Row {
    let variants = kinds.iter().map(|&kind| variant(kind.name(), kind, work));
    Row {
        name: name.into(),
        variants: variants.collect(),
        goals,
    }
}

pub fn variant(label: &str, kind: Kind, work: Workload) -> Variant {
    Variant {
        label: label.to_owned(),
        kind,
        speaker: None,
        work,
    }
}

fn goal(what: &'static str, metric: Metric, others: &'static [&'static str], bound: Bound) -> Goal {
    let ours = "clacksd";
    Goal {
        what,
        metric,
        ours,
        others,
        bound,
    }
}

/// The processor time, measured by a server that only reads and writes as many bytes.
fn bare_goal(most: f64) -> Goal {
    goal("CPU", CPU, &["system calls alone"], Bound::AtMost(most))
}

fn busy(plan: cache::Plan) -> Workload {
    Workload::Cache {
        plan,
        connections: CONNECTIONS,
        idle: 0,
    }
}

/// All rows.
pub fn all() -> Vec<Row> {
    let mut rows = caches();
    rows.push(stores_with_and_without_journal());
    rows.extend(as_memcached());
    rows.extend(nats_rows::all());
    rows.extend(fan_outs());
    rows.push(ping_pong());
    rows.push(idle_memory());
    rows.extend(sizes());
    rows
}

fn caches() -> Vec<Row> {
    let million = cache::Plan {
        pipeline: 64,
        names: 1_000_000,
        ..CACHE
    };
    let deep = cache::Plan {
        pipeline: 16,
        ..CACHE
    };
    vec![
        row(
            "cache, pipeline 1",
            &CACHES,
            busy(CACHE),
            vec![
                goal("CPU", CPU, &["redis"], Bound::AtMost(0.95)),
                goal("CPU", CPU, &["memcached"], Bound::AtMost(0.95)),
                bare_goal(1.05),
            ],
        ),
        row(
            "cache, pipeline 16",
            &CACHES,
            busy(deep),
            vec![
                goal("CPU", CPU, &["redis"], Bound::AtMost(0.5)),
                goal("operations/s", PER_SECOND, &["redis"], Bound::AtLeast(2.0)),
                bare_goal(1.15),
            ],
        ),
        row(
            "cache, pipeline 64, 1000000 names",
            &CACHES,
            busy(million),
            vec![
                goal("CPU", CPU, &["redis"], Bound::AtMost(0.3)),
                bare_goal(2.0),
            ],
        ),
    ]
}

/// Nothing but STOREs, of many names, so that records don't replace each other while they wait for the disk.
fn stores_with_and_without_journal() -> Row {
    let plan = cache::Plan {
        pipeline: 16,
        names: 100_000,
        reads: 0,
        ..CACHE
    };
    let [with, without] = [Kind::ClacksdWithJournal, Kind::Clacksd];
    Row {
        goals: vec![Goal {
            what: "CPU",
            metric: CPU,
            ours: with.name(),
            others: &["clacksd"],
            bound: Bound::AtMost(1.25),
        }],
        ..row(
            "stores, with and without a journal",
            &[with, without],
            busy(plan),
            Vec::new(),
        )
    }
}

/// clacksd and memcached, both spoken to as memcached is, with a million names.
fn as_memcached() -> Vec<Row> {
    let plan = |pipeline, reads| {
        busy(cache::Plan {
            pipeline,
            reads,
            names: 1_000_000,
            ..CACHE
        })
    };
    let entries = Workload::Entries(cache::Plan {
        names: 1_000_000,
        ..CACHE
    });
    use Memcached::{ManyNames, Meta, Text, WithExpiry};
    let row = |name: &str, speaker, work, what, metric, bound| Row {
        name: format!("memcached protocol, {name}"),
        variants: [Kind::ClacksdForMemcached, Kind::Memcached]
            .map(|kind| Variant {
                speaker: Some(speaker),
                ..variant(kind.name(), kind, work)
            })
            .into(),
        goals: vec![goal(what, metric, &["memcached"], Bound::AtMost(bound))],
    };
    vec![
        row("pipeline 1", Text, plan(1, 90), "CPU", CPU, 0.9),
        row("16 gets at once", Text, plan(16, 100), "CPU", CPU, 0.2),
        row(
            "a get of 100 names",
            ManyNames,
            plan(100, 100),
            "CPU",
            CPU,
            0.5,
        ),
        row(
            "16 meta commands at once",
            Meta,
            plan(16, 90),
            "CPU",
            CPU,
            0.25,
        ),
        row("memory of an entry", Text, entries, "memory", MEMORY, 0.78),
        row(
            "memory of an entry with flags and expiry",
            WithExpiry,
            entries,
            "memory",
            MEMORY,
            0.86,
        ),
    ]
}

fn fan_outs() -> Vec<Row> {
    let goals = [
        (1, 0.25, 1.3),
        (10, 0.3, 1.2),
        (100, 0.25, 0.7),
        (1000, 0.4, 0.7),
    ];
    let rows = goals.map(|(listeners, bound, bare)| {
        let plan = SIGNALS;
        let others = &["redis", "nats"];
        let mut goals = vec![
            goal("CPU", CPU, others, Bound::AtMost(bound)),
            bare_goal(bare),
        ];
        if listeners == 100 {
            let bound = Bound::AtLeast(4.0);
            goals.push(goal("deliveries/s", PER_SECOND, others, bound));
        }
        let name = match listeners {
            1 => "fan-out, 1 listener".to_owned(),
            _ => format!("fan-out, {listeners} listeners"),
        };
        row(name, &BROKERS, Workload::FanOut { plan, listeners }, goals)
    });
    rows.into()
}

fn ping_pong() -> Row {
    let work = Workload::Cache {
        plan: cache::Plan {
            reads: 100,
            ..CACHE
        },
        connections: 1,
        idle: 0,
    };
    let kinds = [
        Kind::Clacksd,
        Kind::ClacksdOverUnix,
        Kind::Redis,
        Kind::Memcached,
        Kind::Bare,
    ];
    let goals = vec![
        goal("median", MEDIAN, &["redis"], Bound::AtMost(1.05)),
        goal("99%", LATE, &["redis"], Bound::AtMost(1.05)),
    ];
    row("ping-pong", &kinds, work, goals)
}

fn idle_memory() -> Row {
    let work = |own_names| {
        Workload::Idle(idle::Plan {
            connections: 10_000,
            own_names,
        })
    };
    let goal = |ours, bound| Goal {
        what: ours,
        metric: MEMORY,
        ours,
        others: &[],
        bound: Bound::AtMost(bound),
    };
    let (shared, own) = ("clacksd, one name for all", "clacksd, a name each");
    Row {
        name: "10000 idle connections".to_owned(),
        variants: vec![
            variant(shared, Kind::Clacksd, work(Some(false))),
            variant(own, Kind::Clacksd, work(Some(true))),
            variant("memcached, no listeners", Kind::Memcached, work(None)),
            variant("redis, no listeners", Kind::Redis, work(None)),
        ],
        goals: vec![goal(shared, 300.0), goal(own, 360.0)],
    }
}

/// A small and a large one of the same.
fn sizes() -> Vec<Row> {
    let grown = |name: &str, labels: &'static [&'static str; 2], works: [Workload; 2], bound| Row {
        name: name.to_owned(),
        variants: labels
            .iter()
            .zip(works)
            .map(|(label, work)| variant(label, Kind::Clacksd, work))
            .collect(),
        goals: vec![Goal {
            what: "CPU",
            metric: CPU,
            ours: labels[1],
            others: &labels[..1],
            bound: Bound::AtMost(bound),
        }],
    };
    let names = |names| {
        busy(cache::Plan {
            names,
            pipeline: 64,
            ..CACHE
        })
    };
    let beside = |idle| Workload::Cache {
        plan: CACHE,
        connections: CONNECTIONS,
        idle,
    };
    let listened = |names| Workload::FanOut {
        plan: fan_out::Plan { names, ..SIGNALS },
        listeners: 1,
    };
    vec![
        grown(
            "size: cache, pipeline 64",
            &["1000 names", "1000000 names"],
            [names(1000), names(1_000_000)],
            2.5,
        ),
        grown(
            "size: cache, pipeline 1, beside idle connections",
            &["10 idle", "10000 idle"],
            [beside(10), beside(10_000)],
            1.3,
        ),
        grown(
            "size: fan-out to 1 listener",
            &["listens to 1 name", "listens to 100000 names"],
            [listened(1), listened(100_000)],
            1.3,
        ),
    ]
}

impl Variant {
    /// Measures it once, with a server that is started for that.
    pub fn measure(&self) -> Sample {
        self.try_to_measure()
            .unwrap_or_else(|trouble| panic!("{}: {trouble}", self.label))
    }

    fn try_to_measure(&self) -> Result<Sample, BenchError> {
        let contender = self.kind.start();
        let speaker: &dyn BenchProtocol = match &self.speaker {
            Some(speaker) => speaker,
            None => &*contender.speaker,
        };
        let server = Some(contender.process());
        let mut dial = || contender.connect();
        match self.work {
            Workload::Cache {
                plan,
                connections,
                idle,
            } => {
                let plan_of_others = idle::Plan {
                    connections: idle,
                    own_names: Some(false),
                };
                let others = idle::open(&mut dial, speaker, &plan_of_others, None)?;
                let mut crowd = crowd_of(connections, &mut dial)?;
                cache::fill(&mut crowd, speaker, &plan)?;
                let figures = cache::run(&mut crowd, speaker, &plan, server)?;
                drop(others);
                Ok(figures.into())
            }
            Workload::FanOut { plan, listeners } => {
                let mut crowd = crowd_of(listeners + 1, &mut dial)?;
                fan_out::listen(&mut crowd, speaker, &plan)?;
                Ok(fan_out::run(&mut crowd, speaker, &plan, server)?.into())
            }
            Workload::Entries(plan) => {
                let mut crowd = crowd_of(1, &mut dial)?;
                let memory = || contender.process().memory();
                let before = memory();
                cache::fill(&mut crowd, speaker, &plan)?;
                let after = memory();
                let grown = before
                    .zip(after)
                    .map(|(before, after)| after.saturating_sub(before));
                Ok(Sample {
                    bytes_each: grown.map(|grown| grown as f64 / plan.names as f64),
                    ..Sample::default()
                })
            }
            Workload::Idle(plan) => {
                let first = dial()?;
                let (crowd, memory) = idle::open(&mut dial, speaker, &plan, server)?;
                drop((first, crowd));
                Ok(memory.into())
            }
            Workload::Requests(plan) => {
                let mut crowd = crowd_of(requests::CONNECTIONS, &mut dial)?;
                requests::subscribe_both(&mut crowd)?;
                Ok(requests::run(&mut crowd, &plan, server)?.into())
            }
            Workload::Patterns(plan) => Ok(patterns::run(&mut dial, &plan, server)?.into()),
        }
    }
}

/// Opens a connection that is logged in.
pub type Dial<'a> = &'a mut dyn FnMut() -> Result<Box<dyn Socket>, BenchError>;

pub fn crowd_of(size: usize, dial: Dial<'_>) -> Result<LoadConnections, BenchError> {
    let sockets: Result<Vec<_>, BenchError> = (0..size).map(|_| dial()).collect();
    LoadConnections::new(sockets?)
}
