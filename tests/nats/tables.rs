//! The tables of `tables/`, each request whole, cut at every byte, and byte by byte.
//!
//! Connections speak NATS, those whose names begin with `clacks` Clacks. The line INFO is not in the tables. Besides
//! `ours` and `whole` there are these tags: `quiet` for cases whose NATS clients have connected as libraries do, `old`
//! for those that nats-server answers so before version 2.15 only, `new` for those that it answers so since then.

use super::servers::Version;
use super::target::{Login, Target};
use crate::support::table::Case;
use crate::support::table_run::{assert_no_errors, cases, tables, try_in_all_ways, try_whole};

/// Tables about clacksd alone.
const OURS: [&str; 3] = ["clacks", "names", "values"];

/// How the servers are started that answer by a table.
fn login_of(table: &str) -> Login {
    match table {
        "login" | "permissions" => Login::Needed,
        _ => Login::Optional,
    }
}

/// A server with the limits of the table of that name.
fn clacksd_of(table: &str) -> Target {
    let flags: &[&str] = match table {
        "limits" => &["--max-line", "4096"],
        _ => &[],
    };
    Target::clacksd_with(login_of(table), flags)
}

fn nats_server_of(table: &str, version: Version) -> Target {
    match table {
        "login" | "permissions" => Target::nats_server(version, Login::Needed),
        "optional_login" => Target::nats_server(version, Login::Optional),
        "limits" => Target::open_nats_server(version, "max_payload: 4096"),
        _ => Target::open_nats_server(version, ""),
    }
}

/// Answers of clacksd as the table of that name has them.
fn clacksd_answers_by(table: &str) {
    let target = clacksd_of(table);
    let cases = cases("nats", table);
    assert_no_errors(cases.iter().map(|case| try_in_all_ways(&target, case)));
}

#[test]
fn clacks() {
    clacksd_answers_by("clacks");
}

#[test]
fn connect() {
    clacksd_answers_by("connect");
}

#[test]
fn errors() {
    clacksd_answers_by("errors");
}

#[test]
fn groups() {
    clacksd_answers_by("groups");
}

#[test]
fn headers() {
    clacksd_answers_by("headers");
}

#[test]
fn limits() {
    clacksd_answers_by("limits");
}

#[test]
fn login() {
    clacksd_answers_by("login");
}

#[test]
fn messages() {
    clacksd_answers_by("messages");
}

#[test]
fn names() {
    clacksd_answers_by("names");
}

#[test]
fn optional_login() {
    clacksd_answers_by("optional_login");
}

#[test]
fn order() {
    clacksd_answers_by("order");
}

#[test]
fn parsing() {
    clacksd_answers_by("parsing");
}

#[test]
fn permissions() {
    clacksd_answers_by("permissions");
}

#[test]
fn responders() {
    clacksd_answers_by("responders");
}

#[test]
fn subjects() {
    clacksd_answers_by("subjects");
}

#[test]
fn subscriptions() {
    clacksd_answers_by("subscriptions");
}

#[test]
fn unsubscribing() {
    clacksd_answers_by("unsubscribing");
}

#[test]
fn values() {
    clacksd_answers_by("values");
}

#[test]
fn verbs() {
    clacksd_answers_by("verbs");
}

/// Reports whether nats-server has the answers of a case.
fn is_of(version: Version, case: &Case) -> bool {
    let other = match version {
        Version::Debian => "new",
        Version::Newer => "old",
    };
    !case.has("ours") && !case.has(other)
}

fn nats_server_answers(version: Version) {
    let mut tried = Vec::new();
    for table in tables("nats") {
        if OURS.contains(&&*table) {
            continue;
        }
        let target = nats_server_of(&table, version);
        let cases = cases("nats", &table);
        for case in cases.iter().filter(|case| is_of(version, case)) {
            tried.push(try_whole(&target, case));
        }
    }
    assert!(tried.len() > 100, "{} cases", tried.len());
    assert_no_errors(tried.into_iter());
}

#[test]
fn nats_server_itself_answers_by_all_cases_that_are_not_ours() {
    nats_server_answers(Version::Debian);
}

#[test]
fn the_newest_nats_server_answers_by_all_cases_that_are_not_ours() {
    nats_server_answers(Version::Newer);
}

#[test]
fn each_table_has_its_test() {
    let source = include_str!("tables.rs");
    for table in tables("nats") {
        let test = format!("clacksd_answers_by(\"{table}\")");
        assert!(source.contains(&test), "{table}");
    }
}
