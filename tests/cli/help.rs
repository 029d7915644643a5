//! clacks help, and the help of each command.

use super::commands::assert_fails;
use crate::support::{bare_clacks, run};
use clacks::tool::{COMMANDS, FLAGS};

fn shown(arguments: &[&str]) -> String {
    let ended = run(&mut bare_clacks(arguments));
    assert_eq!(
        (ended.status, &*ended.stderr),
        (Some(0), ""),
        "{arguments:?}"
    );
    ended.stdout
}

#[test]
fn each_command_has_a_help_of_its_own() {
    for command in COMMANDS {
        let help = shown(&["help", command.name]);
        let usage = help.lines().next().expect("a line");
        assert!(
            usage.starts_with("Usage: clacks ") && usage.contains(command.name),
            "{usage}"
        );
        assert!(help.contains(command.details), "{help}");
        assert_eq!(shown(&[command.name, "--help"]), help);
        assert_eq!(shown(&["-h", command.name, "a"]), help);
        for flag in FLAGS {
            let is_own = flag.commands.contains(&command.name);
            let form = format!("{} ", flag.long_form());
            let is_listed = help
                .lines()
                .any(|line| line.starts_with("    ") && line.contains(&form));
            assert_eq!(is_listed, is_own, "{}: {form}", command.name);
        }
        let needs = format!("the permission to {}.", command.needs);
        assert_eq!(help.contains(&needs), !command.needs.is_empty(), "{help}");
    }
}

#[test]
fn a_flag_in_place_of_names_is_a_usage_of_its_own() {
    let help = shown(&["help", "remove"]);
    let usage = "Usage: clacks [FLAGS] remove NAME...\n       clacks remove --prefix PREFIX\n\n";
    assert!(help.starts_with(usage), "{help}");
}

#[test]
fn commands_of_other_programs_and_flags_of_other_commands_are_hinted_at() {
    for (arguments, part) in [
        (&["remove"][..], "remove NAME..., or remove --prefix ..."),
        (&["remove", "--prefix", "a", "b"], "or remove --prefix"),
        (
            &["remove", "--prefix", ""],
            "--prefix \"\" is the beginning of every name: clacks clear",
        ),
        (&["listen", "a", "--for", "0"], "--for \"0\" wants seconds"),
        (
            &["monitor", "--for", "soon"],
            "--for \"soon\" wants seconds",
        ),
        (
            &["monitor", "--with-values"],
            "--with-values means nothing to monitor",
        ),
        (
            &["help", "retreive"],
            "\"retreive\"; did you mean \"retrieve\"?",
        ),
        (&["help", "get"], "\"get\"; did you mean \"retrieve\"?"),
        (&["help", "--json"], "--json means nothing to help"),
        (&["get", "a"], "\"get\"; did you mean \"retrieve\"?"),
        (&["del", "a"], "\"del\"; did you mean \"remove\"?"),
        (&["sub", "a"], "\"sub\"; did you mean \"listen\"?"),
        (&["PUB", "a", "b"], "\"PUB\"; did you mean \"set\"?"),
    ] {
        assert_fails(run(&mut bare_clacks(arguments)), 2, part);
    }
}
