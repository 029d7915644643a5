//! The architecture's arrows, checked against the sources.

use regex::Regex;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module and which others of the crate it may name.
const MAY_USE: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("address", &["limits"]),
    ("protocol", &["limits"]),
    ("program", &[]),
    ("sys", &[]),
    ("certificates", &[]),
    ("bridge", &["client", "certificates", "program"]),
    // Of program only its small files: the certificates of authorities.
    (
        "client",
        &["limits", "address", "protocol", "certificates", "program"],
    ),
    ("tool", &["client", "program"]),
    // Of sys only a hint to the processor; the rest is IO.
    ("broker", &["limits", "protocol", "sys"]),
    ("storage", &["limits", "protocol", "broker", "sys"]),
    (
        "reactor",
        &[
            "limits",
            "address",
            "protocol",
            "broker",
            "certificates",
            "storage",
            "sys",
        ],
    ),
    (
        "cli",
        &[
            "limits",
            "address",
            "protocol",
            "broker",
            "reactor",
            "storage",
            "certificates",
            "program",
            "sys",
        ],
    ),
];

/// What a sans-IO module may not name.
const IO: &str = r"\b(mio|socket2|libc|sys|std::(fs|env|process|thread|os)|TcpStream|UnixStream|SystemTime|Instant|stderr|eprintln)\b";

/// All Rust files; the shell completions beside them are made from one.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// The text of a source file without comments and tests, and the module it belongs to.
fn modules() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = Vec::new();
    for path in sources(&root) {
        let inside = path.strip_prefix(&root).expect("below the root");
        let first = inside
            .iter()
            .next()
            .and_then(|part| part.to_str())
            .expect("text")
            .trim_end_matches(".rs");
        let text = fs::read_to_string(&path).expect("a source file");
        let code: Vec<&str> = text
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .collect();
        let code: Vec<&str> = code
            .into_iter()
            .map(|line| line.split("//").next().unwrap_or_default())
            .collect();
        modules.push((first.to_owned(), path.clone(), code.join("\n")));
    }
    modules
}

#[test]
fn every_module_uses_only_what_the_layers_allow() {
    let other = Regex::new(r"crate::(\w+)").expect("a pattern");
    let mut seen = 0;
    for (module, path, code) in modules() {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            assert!(
                ["lib", "bin"].contains(&module.as_str()),
                "{}: a new module needs its arrows",
                path.display()
            );
            continue;
        };
        seen += 1;
        for found in other.captures_iter(&code) {
            let used = &found[1];
            assert!(
                used == module || allowed.contains(&used),
                "{}: {module} may not use {used}",
                path.display()
            );
        }
    }
    assert!(seen > 20, "the sources were not found");
}

#[test]
fn protocol_and_broker_do_no_input_or_output() {
    let io = Regex::new(IO).expect("a pattern");
    for (module, path, code) in modules() {
        if module == "protocol" || module == "broker" {
            // A hint to the processor is none.
            let code = code.replace("use crate::sys::prefetch;", "");
            assert!(
                !io.is_match(&code),
                "{}: {:?}",
                path.display(),
                io.find(&code)
            );
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&path).expect("a source file");
        // README.md shows this one as it is.
        let is_shown = path.ends_with("examples/lamp.rs");
        assert!(is_shown || text.starts_with("//! "), "{}", path.display());
    }
}

#[test]
fn unsafe_code_is_in_one_place() {
    let word = Regex::new(r"\bunsafe\b|allow\(unsafe_code\)").expect("a pattern");
    for (module, path, code) in modules() {
        assert!(
            module == "sys" || !word.is_match(&code.replace("deny(unsafe_code)", "")),
            "{}",
            path.display()
        );
    }
}
