//! A list of functions that are too long, which may only shrink, and words that no comment has.

use super::files::{Source, sources};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};

/// Lines of a function, with its signature and its closing brace.
const MOST_LINES: usize = 70;

/// Longer functions, as file and name. The list may only shrink.
const LONG_FUNCTIONS: &[(&str, &str)] = &[
    ("src/broker/interclacks/inbound.rs", "handle_link_line"),
    ("src/broker/key_list.rs", "advance"),
    (
        "src/broker/listeners.rs",
        "agrees_with_a_set_of_pairs_whatever_comes_and_goes",
    ),
    ("src/broker/timers.rs", "due"),
    ("src/broker/walk.rs", "advance"),
    ("src/client/exchange.rs", "exchange"),
    (
        "tests/cli/terminal.rs",
        "two_people_chat_without_disturbing_what_the_other_types",
    ),
    (
        "tests/client/calls.rs",
        "fifty_restarts_under_traffic_lose_no_listen",
    ),
    (
        "tests/daemon/hardening.rs",
        "all_works_under_the_restrictions_of_the_unit",
    ),
    ("tests/daemon/hardening.rs", "of_the_unit"),
    (
        "tests/daemon/installing.rs",
        "everything_is_installed_where_it_belongs_and_taken_away_again",
    ),
    (
        "tests/daemon/starting.rs",
        "at_a_terminal_a_password_is_made_up_and_the_printed_line_logs_in",
    ),
    ("tests/daemon/starting.rs", "wrong_files_are_named"),
    ("tests/daemon/starting.rs", "wrong_flags_are_named"),
    (
        "tests/faults/network.rs",
        "a_slow_link_loses_no_signal_and_none_overtakes_a_write",
    ),
    (
        "tests/faults/network.rs",
        "clients_cut_at_any_byte_leave_nothing_but_whole_lines",
    ),
    ("tests/fuzz/journal.rs", "make"),
    ("tests/journal/process.rs", "kill"),
    ("tests/measurements/overload.rs", "overload_for_a_minute"),
    (
        "tests/server/permissions.rs",
        "listening_monitoring_and_managing_with_every_combination_of_permissions",
    ),
    (
        "tests/tls/masters.rs",
        "a_master_with_a_right_certificate_is_obeyed",
    ),
    ("tests/server/secrets.rs", "no_secret_is_shown_anywhere"),
    (
        "tests/tls/reload.rs",
        "whatever_is_wrong_with_one_file_all_stay_as_they_were",
    ),
    (
        "tests/tls/masters.rs",
        "who_cannot_show_that_it_is_the_master_gets_no_login",
    ),
];

/// Beginnings of doc comments without a noun, and private verbs in comments.
const BANNED_BEGINNINGS: [&str; 3] = ["The same", "What", "Whether"];
const BANNED_WORDS: [&str; 2] = ["worked off", "written anew"];

/// Name and lines of each function of a file. Its format is that of rustfmt.
fn functions(source: &Source) -> Vec<(&str, usize)> {
    let signature = Regex::new(
        r#"^( *)(?:pub(?:\([^)]*\))? )?(?:const )?(?:async )?(?:unsafe )?(?:extern "C" )?fn (\w+)"#,
    )
    .expect("a pattern");
    let mut functions = Vec::new();
    let mut begun: Option<(&str, &str, usize)> = None;
    for (number, line) in source.text.lines().enumerate() {
        if let Some((indentation, name, first)) = begun {
            let end = line.strip_prefix(indentation).unwrap_or_default();
            if end == "}" {
                functions.push((name, number - first + 1));
            }
            // The second is the end of a signature without a body.
            if end == "}" || (end.starts_with(')') && end.ends_with(';')) {
                begun = None;
            }
        } else if let Some(found) = signature.captures(line)
            && !line.ends_with([';', '}'])
        {
            let part = |index| found.get(index).expect("a part").as_str();
            begun = Some((part(1), part(2), number));
        }
    }
    functions
}

#[test]
fn no_new_function_is_longer_than_70_lines() {
    let mut long = BTreeMap::new();
    let mut seen = 0;
    for source in sources("src").iter().chain(&sources("tests")) {
        for (name, lines) in functions(source) {
            seen += 1;
            if lines > MOST_LINES {
                long.insert((source.path.clone(), name.to_owned()), lines);
            }
        }
    }
    assert!(seen > 1000, "the sources were not found");
    for ((path, name), lines) in &long {
        println!("{lines} lines: {path}: {name}");
    }
    let listed = |(path, name): &(String, String)| LONG_FUNCTIONS.contains(&(path, name));
    let new: Vec<_> = long.keys().filter(|function| !listed(function)).collect();
    assert!(new.is_empty(), "split them: {new:?}");
    let found: BTreeSet<_> = long
        .keys()
        .map(|(path, name)| (&path[..], &name[..]))
        .collect();
    let gone: Vec<_> = LONG_FUNCTIONS
        .iter()
        .filter(|one| !found.contains(one))
        .collect();
    assert!(
        gone.is_empty(),
        "no longer long, so take them out of the list: {gone:?}"
    );
}

/// The comments of a file with a banned beginning or word, as line numbers and texts.
fn banned(source: &Source) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut was_documentation = false;
    for (number, line) in source.text.lines().enumerate() {
        let line = line.trim_start();
        let is_documentation = line.starts_with("///") || line.starts_with("//!");
        let is_beginning = is_documentation && !was_documentation;
        was_documentation = is_documentation;
        let Some((_, comment)) = line.split_once("//") else {
            continue;
        };
        let text = comment.trim_start_matches(['/', '!', ' ']);
        let begins = |words: &&str| {
            let rest = text.strip_prefix(*words);
            rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        let is_banned = is_beginning && BANNED_BEGINNINGS.iter().any(begins)
            || BANNED_WORDS.iter().any(|words| comment.contains(words));
        if is_banned {
            found.push((number + 1, line));
        }
    }
    found
}

#[test]
fn no_comment_has_banned_words() {
    let mut found = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        let lines = banned(source).into_iter();
        found.extend(lines.map(|(number, line)| format!("{}:{number}: {line}", source.path)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
