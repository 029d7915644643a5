//! The tables of `tables/`, each request whole, cut at every byte, and byte by byte. The tag `new` is for cases that
//! memcached 1.6.18 answers otherwise than newer versions.

use super::servers::Target;
use crate::support::table::Case;
use crate::support::table_run::{assert_no_errors, cases, tables, try_in_all_ways, try_whole};

fn try_table(target: &Target, table: &str) {
    let cases = cases("memcached", table);
    assert_no_errors(cases.iter().map(|case| try_in_all_ways(target, case)));
}

/// Answers of clacksd as the table of that name has them.
fn clacksd_answers_by(table: &str) {
    try_table(&Target::clacksd(), table);
}

fn clacksd_with_login_answers_by(table: &str) {
    try_table(&Target::clacksd_with_login(), table);
}

#[test]
fn administration() {
    clacksd_answers_by("administration");
}

#[test]
fn blocks() {
    clacksd_answers_by("blocks");
}

#[test]
fn changing() {
    clacksd_answers_by("changing");
}

#[test]
fn clacks() {
    clacksd_answers_by("clacks");
}

#[test]
fn closing() {
    clacksd_answers_by("closing");
}

#[test]
fn counting() {
    clacksd_answers_by("counting");
}

#[test]
fn expiry() {
    clacksd_answers_by("expiry");
}

#[test]
fn flushing() {
    clacksd_answers_by("flushing");
}

#[test]
fn lines() {
    clacksd_answers_by("lines");
}

#[test]
fn login() {
    clacksd_with_login_answers_by("login");
}

#[test]
fn meta() {
    clacksd_answers_by("meta");
}

#[test]
fn meta_errors() {
    clacksd_answers_by("meta_errors");
}

#[test]
fn noreply() {
    clacksd_answers_by("noreply");
}

#[test]
fn numbers() {
    clacksd_answers_by("numbers");
}

#[test]
fn permissions() {
    clacksd_with_login_answers_by("permissions");
}

#[test]
fn recache() {
    clacksd_answers_by("recache");
}

#[test]
fn retrieval() {
    clacksd_answers_by("retrieval");
}

#[test]
fn sizes() {
    let target = Target::clacksd_with(&["--max-line", "4096"]);
    try_table(&target, "sizes");
}

#[test]
fn statistics() {
    clacksd_answers_by("statistics");
}

#[test]
fn storage() {
    clacksd_answers_by("storage");
}

/// Tables about clacksd alone.
const OURS: [&str; 3] = ["clacks", "permissions", "sizes"];

#[test]
fn memcached_itself_answers_by_all_rows_that_are_not_of_newer_versions_or_ours() {
    let (plain, with_login) = (Target::memcached(), Target::memcached_with_login());
    let mut tried = Vec::new();
    for table in tables("memcached")
        .iter()
        .filter(|table| !OURS.contains(&&***table))
    {
        let target = if table == "login" {
            &with_login
        } else {
            &plain
        };
        let is_theirs = |case: &&Case| !case.has("new") && !case.has("ours");
        for case in cases("memcached", table).iter().filter(is_theirs) {
            tried.push(try_whole(target, case));
        }
    }
    assert!(tried.len() > 100, "{} cases", tried.len());
    assert_no_errors(tried.into_iter());
}
