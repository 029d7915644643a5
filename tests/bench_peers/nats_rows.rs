//! The rows of clacksd beside NATS, both spoken to as NATS is.

use super::contender::Kind;
use super::rows::{Bound, CPU, Goal, LATE, MEDIAN, MEMORY, Row, SIGNALS, TIME, Workload, variant};
use super::{patterns, requests};
use clacks::tool::bench::{fan_out, idle};

const KINDS: [Kind; 3] = [Kind::ClacksdForNats, Kind::Nats, Kind::NewerNats];
const OTHERS: &[&str] = &["nats", "newer nats"];

/// All of them.
pub fn all() -> Vec<Row> {
    let mut rows: Vec<Row> = [(1, 0.5), (10, 0.3), (100, 0.2), (1000, 0.2)]
        .map(|(listeners, bound)| fan_out(listeners, bound))
        .into();
    rows.extend([requests(), patterns(), idle_memory()]);
    rows
}

fn row(name: &str, work: Workload, goals: Vec<Goal>) -> Row {
    Row {
        name: format!("NATS protocol, {name}"),
        variants: KINDS.map(|kind| variant(kind.name(), kind, work)).into(),
        goals,
    }
}

fn goal(what: &'static str, metric: super::sample::Metric, bound: f64) -> Goal {
    Goal {
        what,
        metric,
        ours: "clacksd",
        others: OTHERS,
        bound: Bound::AtMost(bound),
    }
}

fn fan_out(listeners: usize, bound: f64) -> Row {
    let name = match listeners {
        1 => "fan-out, 1 listener".to_owned(),
        _ => format!("fan-out, {listeners} listeners"),
    };
    let plan = SIGNALS;
    let work = Workload::FanOut { plan, listeners };
    row(&name, work, vec![goal("CPU", CPU, bound)])
}

fn requests() -> Row {
    let plan = requests::Plan {
        size: 64,
        time: TIME,
    };
    let goals = vec![goal("median", MEDIAN, 0.8), goal("99%", LATE, 0.8)];
    row("request and reply", Workload::Requests(plan), goals)
}

/// Few and many patterns.
fn patterns() -> Row {
    const FEW: &str = "clacksd, 1 pattern";
    const MANY: &str = "clacksd, 100000 patterns";
    let of = |label, kind, others| {
        let messages = fan_out::Plan {
            names: 1000,
            ..SIGNALS
        };
        let plan = patterns::Plan { messages, others };
        variant(label, kind, Workload::Patterns(plan))
    };
    Row {
        name: "NATS protocol, size: patterns of which one matches".to_owned(),
        variants: vec![
            of(FEW, Kind::ClacksdForNats, 0),
            of(MANY, Kind::ClacksdForNats, 100_000),
            of("nats, 1 pattern", Kind::Nats, 0),
            of("nats, 100000 patterns", Kind::Nats, 100_000),
            of("newer nats, 1 pattern", Kind::NewerNats, 0),
            of("newer nats, 100000 patterns", Kind::NewerNats, 100_000),
        ],
        goals: vec![Goal {
            what: "CPU",
            metric: CPU,
            ours: MANY,
            others: &[FEW],
            bound: Bound::AtMost(1.5),
        }],
    }
}

fn idle_memory() -> Row {
    let work = Workload::Idle(idle::Plan {
        connections: 10_000,
        own_names: Some(true),
    });
    let goal = Goal {
        others: &[],
        ..goal("memory", MEMORY, 600.0)
    };
    row("10000 idle connections", work, vec![goal])
}
