//! Prints the results of a load as text or JSON.

use super::super::arguments::Invocation;
use super::super::failure::Failure;
use super::super::printer::{Object, Printer};
use super::figures::{Figures, Latencies};
use super::idle::Memory;
use super::options::{Load, Workload};
use super::process::Process;

/// The reported percentiles, with their names in text and in JSON.
const PERCENTILES: [(f64, &str, &str); 5] = [
    (50.0, "50%", "latency_us_50"),
    (90.0, "90%", "latency_us_90"),
    (99.0, "99%", "latency_us_99"),
    (99.9, "99.9%", "latency_us_999"),
    (100.0, "longest", "latency_us_longest"),
];

/// A line of a report: its label and its text.
type Line = (&'static str, String);

/// Reports the results of a load of commands or signals.
pub fn figures(
    invocation: &Invocation,
    load: &Load,
    server: Option<Process>,
    figures: &Figures,
) -> Result<(), Failure> {
    let mut output = Printer::new(invocation.is_set("json"));
    if output.is_json {
        let mut object = settings(&load.work)
            .field("operations", figures.operations)
            .field("seconds", figures.elapsed.as_secs_f64())
            .field("operations_per_second", rounded(figures.per_second()));
        for (percentile, _, name) in PERCENTILES {
            object = object.field(name, rounded(latency_us(&figures.latencies, percentile)));
        }
        if let Some(server) = server {
            object = object.field("server_pid", server.id());
        }
        if let Some(cpu_ns) = figures.cpu_ns_each() {
            object = object.field("server_cpu_ns_per_operation", rounded(cpu_ns));
        }
        if let Some(memory) = figures.memory {
            object = object.field("server_memory_bytes", memory);
        }
        output.json(object)?;
        return output.flush();
    }
    let latencies = PERCENTILES.map(|(percentile, name, _)| {
        let us = latency_us(&figures.latencies, percentile);
        format!("{name} {:.3} ms", us / 1000.0)
    });
    let mut lines: Vec<Line> = vec![
        ("load", description(&load.work)),
        (
            "throughput",
            format!(
                "{:.0} {} per second: {} in {:.2} s",
                figures.per_second(),
                unit(&load.work),
                figures.operations,
                figures.elapsed.as_secs_f64()
            ),
        ),
        ("latency", latencies.join(", ")),
    ];
    if let Some((each, all)) = figures.cpu_ns_each().zip(figures.cpu_ns) {
        lines.push((
            "server's CPU",
            format!(
                "{:.3} µs each, {:.0}% of a core",
                each / 1000.0,
                all as f64 / figures.elapsed.as_nanos() as f64 * 100.0
            ),
        ));
    }
    if let Some(memory) = figures.memory {
        lines.push(("its memory", megabytes(memory)));
    }
    print(&mut output, lines, server)
}

/// Reports the results of a load of idle connections.
pub fn memory(
    invocation: &Invocation,
    load: &Load,
    server: Option<Process>,
    memory: &Memory,
) -> Result<(), Failure> {
    let mut output = Printer::new(invocation.is_set("json"));
    let seen = memory.before.zip(memory.after).zip(memory.each());
    if output.is_json {
        let mut object = settings(&load.work);
        if let Some(server) = server {
            object = object.field("server_pid", server.id());
        }
        if let Some(((before, after), each)) = seen {
            object = object
                .field("server_memory_bytes_before", before)
                .field("server_memory_bytes", after)
                .field("bytes_per_connection", rounded(each));
        }
        output.json(object)?;
        return output.flush();
    }
    let mut lines: Vec<Line> = vec![("load", description(&load.work))];
    if let Some(((before, after), each)) = seen {
        lines.push((
            "its memory",
            format!(
                "{each:.0} bytes per connection, {} before, {} with them",
                megabytes(before),
                megabytes(after)
            ),
        ));
    }
    print(&mut output, lines, server)
}

fn print(
    output: &mut Printer,
    mut lines: Vec<Line>,
    server: Option<Process>,
) -> Result<(), Failure> {
    lines.push((
        "server",
        match server {
            Some(server) => format!("process {}", server.id()),
            None => "its process can't be seen from here; --pid names it".to_owned(),
        },
    ));
    for (about, text) in lines {
        output.line(format!("{about:<14}{text}").as_bytes())?;
    }
    output.flush()
}

/// The settings of the load as the first fields of the JSON.
fn settings(work: &Workload) -> Object {
    match work {
        Workload::Cache { plan, connections } => Object::of_type("cache")
            .field("connections", *connections)
            .field("pipeline", plan.pipeline)
            .field("names", plan.names)
            .field("value_size", plan.value_size)
            .field("reads_percent", plan.reads),
        Workload::PingPong { plan, .. } => Object::of_type("ping-pong")
            .field("names", plan.names)
            .field("value_size", plan.value_size),
        Workload::FanOut { plan, listeners } => Object::of_type("fan-out")
            .field("listeners", *listeners)
            .field("pipeline", plan.pipeline)
            .field("names", plan.names)
            .field("value_size", plan.value_size),
        Workload::Idle(plan) => Object::of_type("idle")
            .field("connections", plan.connections)
            .field("own_names", plan.own_names == Some(true)),
    }
}

fn description(work: &Workload) -> String {
    match work {
        Workload::Cache { plan, connections } => format!(
            "cache: {connections} connections, pipeline {}, {} names, values of {} bytes, {}% reads",
            plan.pipeline, plan.names, plan.value_size, plan.reads
        ),
        Workload::PingPong { plan, .. } => format!(
            "ping-pong: 1 connection, {} names, values of {} bytes",
            plan.names, plan.value_size
        ),
        Workload::FanOut { plan, listeners } => format!(
            "fan-out: {listeners} listeners, pipeline {}, {} names, values of {} bytes",
            plan.pipeline, plan.names, plan.value_size
        ),
        Workload::Idle(plan) => format!(
            "idle: {} connections, {}",
            plan.connections,
            match plan.own_names {
                Some(true) => "each listens to a name of its own",
                _ => "all listen to one name",
            }
        ),
    }
}

fn unit(work: &Workload) -> &'static str {
    match work {
        Workload::Cache { .. } => "operations",
        Workload::PingPong { .. } => "round trips",
        Workload::FanOut { .. } => "deliveries",
        Workload::Idle(_) => "connections",
    }
}

fn latency_us(latencies: &Latencies, percentile: f64) -> f64 {
    latencies.value_at_percentile(percentile) as f64 / 1000.0
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / f64::from(1 << 20))
}

/// The number, rounded to three decimal places.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
