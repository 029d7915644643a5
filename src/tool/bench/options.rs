//! The load that the arguments and flags of `clacks bench` describe.

use super::super::arguments::Invocation;
use super::super::failure::Failure;
use super::super::printer::printable;
use super::figures::End;
use super::names::MAX_NAMES;
use super::process::Process;
use super::{cache, fan_out, idle};
use crate::program::flag::parse_size;
use std::time::Duration;

/// The kind of a load, with its settings.
pub enum Workload {
    Cache {
        plan: cache::Plan,
        connections: usize,
    },
    FanOut {
        plan: fan_out::Plan,
        listeners: usize,
    },
    PingPong {
        plan: cache::Plan,
        connections: usize,
    },
    Idle(idle::Plan),
}

/// A load and the process to measure.
pub struct Load {
    pub work: Workload,
    /// The process that `--pid` names; `None`: to be found out from a connection.
    pub server: Option<Process>,
}

/// The names of the loads, each with the flags that apply to it.
const LOADS: &[(&str, &[&str])] = &[
    (
        "cache",
        &[
            "connections",
            "pipeline",
            "value-size",
            "names",
            "reads",
            "seconds",
            "count",
        ],
    ),
    (
        "fan-out",
        &[
            "listeners",
            "pipeline",
            "value-size",
            "names",
            "seconds",
            "count",
        ],
    ),
    ("ping-pong", &["value-size", "names", "seconds", "count"]),
    ("idle", &["connections", "own-names"]),
];

/// The flags that do not apply to every load.
const FLAGS: &[&str] = &[
    "connections",
    "listeners",
    "pipeline",
    "value-size",
    "names",
    "reads",
    "own-names",
    "seconds",
    "count",
];

/// Bounds of the flags. Larger numbers are mistakes, and would only fill the memory.
const MAX_CONNECTIONS: u64 = 1_000_000;
const MAX_PIPELINE: u64 = 100_000;
const MAX_VALUE: u64 = 1 << 30;
const MAX_S: f64 = 1e9;

/// The load that the command line describes.
///
/// # Errors
/// [`Failure::Usage`] for an unknown load, a flag that does not apply to it, or a value out of bounds.
pub fn load(invocation: &Invocation) -> Result<Load, Failure> {
    let name = invocation.argument(0);
    let Some((_, flags)) = LOADS.iter().find(|(load, _)| load.as_bytes() == name) else {
        return Err(Failure::Usage(format!(
            "\"{}\" is no LOAD: cache, fan-out, ping-pong, idle",
            printable(name)
        )));
    };
    let is_useless = |flag: &&&str| invocation.is_set(flag) && !flags.contains(flag);
    if let Some(flag) = FLAGS.iter().find(is_useless) {
        return Err(Failure::Usage(format!(
            "--{flag} means nothing to bench {}",
            printable(name)
        )));
    }
    let number = |flag, default, min, max| number(invocation, flag, default, min, max);
    let cache = || -> Result<cache::Plan, Failure> {
        Ok(cache::Plan {
            pipeline: number("pipeline", 1, 1, MAX_PIPELINE)?,
            value_size: number("value-size", 64, 0, MAX_VALUE)?,
            names: number("names", 1000, 1, MAX_NAMES as u64)?,
            reads: number("reads", 90, 0, 100)?,
            end: end(invocation)?,
        })
    };
    let work = match name {
        b"cache" => Workload::Cache {
            plan: cache()?,
            connections: number("connections", 50, 1, MAX_CONNECTIONS)?,
        },
        b"ping-pong" => Workload::PingPong {
            plan: cache::Plan {
                reads: 100,
                ..cache()?
            },
            connections: 1,
        },
        b"fan-out" => Workload::FanOut {
            plan: fan_out::Plan {
                pipeline: number("pipeline", 64, 1, MAX_PIPELINE)?,
                value_size: number("value-size", 64, 0, MAX_VALUE)?,
                names: number("names", 1, 1, MAX_NAMES as u64)?,
                end: end(invocation)?,
            },
            listeners: number("listeners", 100, 1, MAX_CONNECTIONS)?,
        },
        _ => Workload::Idle(idle::Plan {
            connections: number("connections", 1000, 1, MAX_NAMES as u64)?,
            own_names: Some(invocation.is_set("own-names")),
        }),
    };
    let server = server(invocation)?;
    Ok(Load { work, server })
}

/// The end of the load, from `--seconds` and `--count`.
fn end(invocation: &Invocation) -> Result<End, Failure> {
    let count = number(invocation, "count", u64::MAX, 1, u64::MAX)?;
    let time = match text(invocation, "seconds")? {
        None if invocation.is_set("count") => Duration::MAX,
        None => Duration::from_secs(3),
        Some(text) => text
            .parse()
            .ok()
            .filter(|seconds| *seconds > 0.0 && *seconds < MAX_S)
            .map(Duration::from_secs_f64)
            .ok_or_else(|| Failure::Usage(format!("--seconds \"{text}\" wants seconds above 0")))?,
    };
    Ok(End {
        time,
        count: count as u64,
    })
}

/// The process that `--pid` names.
fn server(invocation: &Invocation) -> Result<Option<Process>, Failure> {
    let Some(text) = text(invocation, "pid")? else {
        return Ok(None);
    };
    let process = text.parse().ok().and_then(Process::new);
    let no_process = || Failure::Usage(format!("--pid {text}: no process that can be seen"));
    process.map(Some).ok_or_else(no_process)
}

fn text<'a>(invocation: &'a Invocation, flag: &str) -> Result<Option<&'a str>, Failure> {
    let no_text = || Failure::Usage(format!("--{flag} is no UTF-8"));
    let value = invocation.value(flag);
    value
        .map(|value| value.to_str().ok_or_else(no_text))
        .transpose()
}

/// The number that a flag gives. It may have the suffixes of a size, and has to be within the bounds.
fn number(
    invocation: &Invocation,
    flag: &str,
    default: u64,
    min: u64,
    max: u64,
) -> Result<usize, Failure> {
    let (text, parsed) = match text(invocation, flag)? {
        None => ("", Some(default)),
        Some(text) => {
            let number = parse_size(text);
            (text, number.filter(|number| (min..=max).contains(number)))
        }
    };
    let number = parsed.and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| {
        Failure::Usage(match max {
            u64::MAX => format!("--{flag} \"{text}\" wants a number of at least {min}"),
            _ => format!("--{flag} \"{text}\" wants a number from {min} to {max}"),
        })
    })
}
