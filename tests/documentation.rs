//! What the program says of itself and what its manual says are the same.

use clacks::broker::CloseReason;
use clacks::cli::FLAGS;
use clacks::tool;
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
fn the_clients_manual_lists_exactly_its_commands_and_flags() {
    let item =
        Regex::new(r"(?m)^\.It (?:Fl (\w) , )?Fl -([\w-]+)(?: Ar (.+))?$").expect("a pattern");
    let page = manual("clacks.1");
    let described: Vec<String> = item
        .captures_iter(&page)
        .map(|found| {
            let part = |index| found.get(index).map_or("", |part| part.as_str());
            format!("{} {} {}", part(1), part(2), part(3))
        })
        .collect();
    let flags: Vec<String> = tool::FLAGS
        .iter()
        .map(|flag| format!("{} {} {}", flag.short, flag.long, flag.value.to_lowercase()))
        .collect();
    assert_eq!(described, flags);

    let (_, commands) = page.split_once(".Sh COMMANDS").expect("that section");
    let (commands, _) = commands.split_once("\n.Sh ").expect("another one");
    let described: Vec<&str> = commands
        .lines()
        .filter_map(|line| line.strip_prefix(".It Ic "))
        .collect();
    let written = |argument: &tool::Argument| {
        let name = argument.name().to_lowercase();
        match argument {
            tool::Argument::One(_) | tool::Argument::Verbatim(_) => format!(" Ar {name}"),
            tool::Argument::Several(_) => format!(" Ar {name} ..."),
            tool::Argument::Optional(_) | tool::Argument::OptionalVerbatim(_) => {
                format!(" Op Ar {name}")
            }
        }
    };
    let commands: Vec<String> = tool::COMMANDS
        .iter()
        .map(|command| {
            let arguments: String = command.arguments.iter().map(written).collect();
            format!("{}{arguments}", command.name)
        })
        .collect();
    assert_eq!(described, commands);
}

#[test]
fn the_manual_explains_every_reason_a_connection_ends_for() {
    let page = manual("clacksd.8");
    for reason in CloseReason::ALL {
        assert!(page.contains(reason.word()), "{reason}");
    }
}
