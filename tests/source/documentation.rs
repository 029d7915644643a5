//! The agreement of the program, its manual pages and its README.

use crate::runner::{is_root, needs};
use crate::support::{Server, Setup, run, text};
use clacks::broker::{CloseReason, catalogue};
use clacks::program::flag::Flag;
use clacks::{bridge, cli, tool};
use regex::Regex;
use std::fs;
use std::path::Path;
use std::process::Command;

fn manual(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(name))
        .expect("a manual page")
}

/// Short and long form of each flag, and what its value is called.
fn described_flags(page: &str) -> Vec<String> {
    let item =
        Regex::new(r"(?m)^\.It (?:Fl (\w) , )?Fl -([\w-]+)(?: Ar (.+))?$").expect("a pattern");
    let page = manual(page);
    let items = item.captures_iter(&page).map(|found| {
        let part = |index| found.get(index).map_or("", |part| part.as_str());
        let value = match part(3) {
            "seconds" => "s",
            "seconds | Cm always | never" => "always|never|s",
            "user Ns Op : Ns Ar group" => "user[:group]",
            value => value,
        };
        format!("{} {} {value}", part(1), part(2))
    });
    items.collect()
}

fn flags_of(table: &[Flag]) -> Vec<String> {
    let flags = table.iter();
    flags
        .map(|flag| format!("{} {} {}", flag.short, flag.long, flag.value.to_lowercase()))
        .collect()
}

#[test]
fn the_manuals_list_exactly_the_flags() {
    assert_eq!(described_flags("clacks.1"), flags_of(tool::FLAGS));
    assert_eq!(described_flags("clacks-pg.8"), flags_of(bridge::FLAGS));
    // Grouped in another way there.
    let (mut described, mut flags) = (described_flags("clacksd.8"), flags_of(cli::FLAGS));
    described.sort();
    flags.sort();
    assert_eq!(described, flags);
}

#[test]
fn the_readme_asks_for_the_rust_that_is_needed() {
    let read = |name: &str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        fs::read_to_string(file).expect("a file")
    };
    let manifest = read("Cargo.toml");
    let needed = Regex::new(r#"rust-version = "(.+)""#).expect("a pattern");
    let needed = &needed.captures(&manifest).expect("a version")[1];
    assert!(read("README.md").contains(&format!("You need Rust {needed} or later")));
}

#[test]
fn readme_and_front_page_show_a_program_that_compiles() {
    let read = |name: &str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        fs::read_to_string(file).expect("a file")
    };
    let program = include_str!("../../src/client/examples/lamp.rs");
    for (file, indentation) in [("README.md", ""), ("src/lib.rs", "//! ")] {
        let lines = program.lines().map(|line| format!("{indentation}{line}"));
        let shown: Vec<String> = lines.map(|line| line.trim_end().to_owned()).collect();
        assert!(read(file).contains(&shown.join("\n")), "{file}");
    }
}

#[test]
fn the_clients_manual_lists_exactly_its_commands() {
    let page = manual("clacks.1");
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
        .flat_map(|command| {
            let arguments: String = command.arguments.iter().map(written).collect();
            let flag = tool::FLAGS.iter().find(|flag| flag.long == command.instead);
            let or = flag.map(|flag| {
                let (name, flag, value) = (command.name, flag.long, flag.value.to_lowercase());
                format!("{name} Fl -{flag} Ar {value}")
            });
            [format!("{}{arguments}", command.name)]
                .into_iter()
                .chain(or)
        })
        .collect();
    assert_eq!(described, commands);
}

/// Runs each example of clacksd(8) in a folder of its own: the daemon's with `--check`, which binds and dials nothing.
#[test]
fn the_daemon_accepts_the_examples_of_its_manual() {
    needs("openssl");
    let page = manual("clacksd.8");
    let (_, section) = page.split_once(".Sh EXAMPLES\n").expect("that section");
    let (section, _) = section.split_once("\n.Sh ").expect("another one");
    let setup = Setup::bare();
    for folder in ["etc", "run", "lib", "log"] {
        fs::create_dir(setup.path(folder)).expect("a folder of our own");
    }
    setup.write_secret("etc/password", "secret\n");
    let own = |option| {
        let id = run(Command::new("id").arg(option));
        id.stdout.trim().to_owned()
    };
    let (user, group) = (own("-un"), own("-gn"));
    let replaced = [
        ("\\e", "\\"),
        ("clacksd --check", "clacksd"),
        ("clacksd:clacksd", &format!("{user}:{group}")),
        ("group clacksd", &format!("group {group}")),
        ("chgrp clacksd", &format!("chgrp {group}")),
        ("/etc/clacksd", &text(&setup.path("etc"))),
        ("/run/clacksd", &text(&setup.path("run"))),
        ("/var/lib/clacksd", &text(&setup.path("lib"))),
        ("/var/log/clacksd", &text(&setup.path("log"))),
    ];
    let program = env!("CARGO_BIN_EXE_clacksd");
    let display = Regex::new(r"(?s)\.Bd -literal -offset indent\n(.*?)\n\.Ed").expect("a pattern");
    let mut checked = 0;
    for found in display.captures_iter(section) {
        let mut example = found[1].to_owned();
        for (old, new) in replaced {
            example = example.replace(old, new);
        }
        if example.starts_with("# name:") {
            setup.write_secret("etc/users", &example);
        }
        let is_allowed = is_root() || !example.contains("--run-as");
        if example.starts_with("clacksd ") && is_allowed {
            example = format!("clacksd() {{ {program} \"$@\" --check; }}\n{example}");
            checked += 1;
        } else if example.starts_with("openssl ") {
            for copy in ["master", "authority"] {
                example += "\ncp etc/cert.pem etc/COPY.pem"
                    .replace("COPY", copy)
                    .as_str();
            }
        } else {
            continue;
        }
        let mut shell = Command::new("sh");
        shell.args(["-ec", &example]);
        let ended = run(shell.current_dir(setup.folder.path()));
        assert_eq!(ended.status, Some(0), "{example}:\n{}", ended.stderr);
    }
    assert!(checked > 6, "{checked}");
}

#[test]
fn the_manual_explains_every_field_of_the_status_line() {
    let page = manual("clacksd.8");
    let (_, section) = page
        .split_once(".Sh THE STATUS LINE")
        .expect("that section");
    let (section, _) = section.split_once("\n.Sh ").expect("another one");
    let explained = section
        .lines()
        .filter_map(|line| line.strip_prefix(".It Li "));
    let line = Server::start().status_line();
    let (_, fields) = line.split_once("status: ").expect("a status");
    let fields = fields
        .split(' ')
        .map(|field| field.split_once('=').expect("a field").0);
    let is_reason = |name: &&str| CloseReason::ALL.iter().any(|reason| reason.word() == *name);
    let fields: Vec<&str> = fields.filter(|name| !is_reason(name)).collect();
    assert_eq!(explained.collect::<Vec<_>>(), fields);
}

/// With the words of the catalogue, which monitoring shows as well.
#[test]
fn the_manual_explains_every_figure_of_the_statistics() {
    let page = manual("clacksd.8");
    let (_, section) = page.split_once(".Sh STATISTICS").expect("that section");
    let (section, _) = section.split_once("\n.Sh ").expect("another one");
    let (_, list) = section.split_once(".Bl -tag").expect("a list");
    let items: Vec<(&str, String)> = list
        .split(".It Li ")
        .skip(1)
        .map(|item| {
            let (name, text) = item.split_once('\n').expect("a text");
            let text = text.replace(".Fl -", "--").replace("\n.El", "");
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            (name, text.replace(" .", "."))
        })
        .collect();
    let expected: Vec<(String, String)> = catalogue::ALL
        .iter()
        .map(|metric| {
            let kind = format!("{:?}", metric.kind).to_lowercase();
            let labels = match metric.labels {
                [] => String::new(),
                labels => format!(" by {}", labels.join(" and ")),
            };
            let name = format!("{} ({kind}{labels})", metric.name);
            (name, metric.help.to_owned())
        })
        .collect();
    let items: Vec<_> = items
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text))
        .collect();
    assert_eq!(items, expected);
}

#[test]
fn the_manual_explains_every_reason_a_connection_ends_for() {
    let page = manual("clacksd.8");
    for reason in CloseReason::ALL {
        assert!(page.contains(reason.word()), "{reason}");
    }
}

/// All files below a folder of the sources that are text.
fn texts(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("fuzz") {
            found.extend(texts(&path));
        } else if let Ok(content) = fs::read_to_string(&path) {
            found.push((text(&path), content));
        }
    }
    found
}

#[test]
fn the_sections_of_manuals_that_the_sources_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named =
        Regex::new(r"\b(clack[a-z-]+)\((\d)\), ([A-Z]{3,}(?: [A-Z]{2,})*)").expect("a pattern");
    let mut sections = 0;
    for (file, content) in ["src", "tests", "systemd"]
        .iter()
        .flat_map(|folder| texts(&root.join(folder)))
    {
        for found in named.captures_iter(&content) {
            let page = manual(&format!("{}.{}", &found[1], &found[2])).to_uppercase();
            let heading = |macro_name| page.contains(&format!("\n.{macro_name} {}", &found[3]));
            assert!(heading("SH") || heading("SS"), "{file}: {}", &found[0]);
            sections += 1;
        }
    }
    assert!(sections > 10, "{sections}");
}

/// Panics if the tests don't have that one (`module::function`, or `module::module::function`).
fn assert_is_test(name: &str) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let (modules, function) = name.rsplit_once("::").expect("a path");
    let mut includer = fs::read_to_string(tests.join("tests.rs")).expect("the root of the tests");
    let mut path = tests;
    for module in modules.split("::") {
        let is_included = includer
            .lines()
            .any(|line| line.trim_start_matches("pub ") == format!("mod {module};"));
        assert!(is_included, "{name}: the tests don't include {module}");
        path.push(module);
        includer = [path.with_extension("rs"), path.join("mod.rs")]
            .into_iter()
            .find_map(|file| fs::read_to_string(file).ok())
            .unwrap_or_else(|| panic!("{name}: no file of {module}"));
    }
    let test = format!("#[test]\nfn {function}()");
    assert!(includer.contains(&test), "{name}: no such test");
}

#[test]
fn the_tests_that_check_what_is_promised_are_there() {
    let page = manual("clacks-protocol.7");
    let (_, promises) = page
        .split_once(".Sh WHAT IS PROMISED")
        .expect("that section");
    let (promises, _) = promises
        .split_once("\nNot promised:")
        .expect("the second part");
    let promises: Vec<String> = promises
        .split("\n.It\n")
        .skip(1)
        .map(|promise| words(&without_macros(promise)))
        .collect();
    assert!(promises.len() > 10, "{promises:?}");
    let table = faults();
    let (table, _) = table
        .split_once("\nReal processes:")
        .expect("its first part");
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let checked: Vec<String> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').collect();
            assert!(cells[2].contains("::"), "nothing checks this: {row}");
            words(cells[1])
        })
        .collect();
    assert_eq!(checked, promises);
}

fn faults() -> String {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/FAULTS.md");
    fs::read_to_string(table).expect("the table")
}

/// The text of a part of a manual.
fn without_macros(part: &str) -> String {
    let lines = part.lines().filter(|line| ![".El", ".Pp"].contains(line));
    let text = lines.map(|line| match line.strip_prefix('.') {
        Some(text) => text
            .split(' ')
            .filter(|word| !["Li", "Xr", "Fl", "Cm", "8"].contains(word))
            .collect::<Vec<_>>()
            .join(" "),
        None => line.to_owned(),
    });
    text.collect::<Vec<_>>().join(" ")
}

/// The words of a text, without punctuation.
fn words(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    let words = words.filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_tests_of_the_faults_that_were_tried_are_there() {
    let table = faults();
    let mut tests = 0;
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let named = row.split('`').skip(1).step_by(2);
        for name in named.filter(|name| name.contains("::")) {
            assert_is_test(name);
            tests += 1;
        }
    }
    assert!(tests > 40, "{tests}");
}

/// The block of code of the README that begins with such a line.
fn block_of_readme(start: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("a README");
    let (_, rest) = readme.split_once(start).expect("a block");
    let (block, _) = rest.split_once("\n```").expect("its end");
    block.to_owned()
}

/// Checks the program of the README in a package of its own, which calls the library what the README calls it.
#[test]
fn the_program_of_the_readme_compiles_in_another_package() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (folder, target) = (
        tempfile::tempdir().expect("a folder"),
        env!("CARGO_TARGET_TMPDIR"),
    );
    let dependency = block_of_readme("```toml\n");
    let dependency = dependency.replace("../clacksd", &text(root));
    let manifest = format!(
        "[package]\nname = \"lamp\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\n{dependency}\n"
    );
    let file = |name: &str, content: &str| {
        fs::write(folder.path().join(name), content).expect("a folder of our own");
    };
    fs::create_dir(folder.path().join("src")).expect("a folder of our own");
    file("src/main.rs", &block_of_readme("```rust\n"));
    file("Cargo.toml", &manifest);
    fs::copy(root.join("Cargo.lock"), folder.path().join("Cargo.lock")).expect("a lock file");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["check", "--offline", "--quiet", "--target-dir"])
        .arg(Path::new(target).join("lamp"))
        .current_dir(folder.path());
    // Beside other tests it takes longer than what `run` waits for.
    let ended = cargo.output().expect("cargo runs this test");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!((ended.status.code(), &*said), (Some(0), ""));
}

#[test]
fn the_first_page_of_the_crate_begins_with_the_client() {
    let page = include_str!("../../src/lib.rs").lines();
    let page = page.map_while(|line| line.strip_prefix("//!"));
    let page: Vec<&str> = page.map(str::trim).collect();
    let paragraphs: Vec<String> = page
        .split(|line| line.is_empty())
        .map(|it| it.join(" "))
        .collect();
    assert!(
        paragraphs[1].starts_with("Programs use [`Client`]"),
        "{paragraphs:?}"
    );
    assert!(
        paragraphs[2].starts_with("```no_run use clacks::{Client"),
        "{paragraphs:?}"
    );
}
