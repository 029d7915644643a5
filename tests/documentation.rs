//! What the program says of itself and what its manual says are the same.

use clacks::broker::CloseReason;
use clacks::cli::FLAGS;
use regex::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn manual(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(name))
        .expect("a manual page")
}

#[test]
fn the_manual_lists_exactly_the_flags() {
    let item =
        Regex::new(r"(?m)^\.It (?:Fl (\w) , )?Fl -([\w-]+)(?: Ar (.+))?$").expect("a pattern");
    let page = manual("clacksd.8");
    let described: BTreeSet<(String, String, bool)> = item
        .captures_iter(&page)
        .map(|found| {
            let short = found.get(1).map_or("", |short| short.as_str());
            (
                short.to_owned(),
                found[2].to_owned(),
                found.get(3).is_some(),
            )
        })
        .collect();
    let flags: BTreeSet<(String, String, bool)> = FLAGS
        .iter()
        .map(|flag| {
            (
                flag.short.to_owned(),
                flag.long.to_owned(),
                !flag.value.is_empty(),
            )
        })
        .collect();
    assert_eq!(described, flags);
}

#[test]
fn the_bridges_manual_lists_exactly_its_flags() {
    let item =
        Regex::new(r"(?m)^\.It (?:Fl (\w) , )?Fl -([\w-]+)(?: Ar (.+))?$").expect("a pattern");
    let page = manual("clacks-pg.8");
    let described: BTreeSet<(String, String, bool)> = item
        .captures_iter(&page)
        .map(|found| {
            let short = found.get(1).map_or("", |short| short.as_str());
            let (long, value) = (found[2].to_owned(), found.get(3).is_some());
            (short.to_owned(), long, value)
        })
        .collect();
    let flags = clacks::bridge::FLAGS.iter();
    let flags: BTreeSet<(String, String, bool)> = flags
        .map(|(short, long, value, _)| ((*short).to_owned(), (*long).to_owned(), !value.is_empty()))
        .collect();
    assert_eq!(described, flags);
}

#[test]
fn the_manual_explains_every_reason_a_connection_ends_for() {
    let page = manual("clacksd.8");
    for reason in CloseReason::ALL {
        assert!(page.contains(reason.word()), "{reason}");
    }
}
