//! The architecture's arrows, checked against the sources.

use super::files::sources;
use regex::Regex;

/// Each module and which others of the crate it may name.
const MAY_USE: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("address", &["limits"]),
    ("protocol", &["limits"]),
    ("sys", &[]),
    ("program", &["sys"]),
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

/// A pattern for the names that a sans-IO module may not use.
const IO: &str = r"\b(mio|socket2|libc|sys|std::(fs|env|process|thread|os)|TcpStream|UnixStream|SystemTime|Instant|stderr|eprintln)\b";

#[test]
fn every_module_uses_only_what_the_layers_allow() {
    let other = Regex::new(r"crate::(\w+)").expect("a pattern");
    let mut seen = 0;
    for source in sources("src") {
        let (layer, path) = (source.layer(), &source.path);
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == layer) else {
            let is_outside = ["lib", "bin"].contains(&layer);
            assert!(is_outside, "{path}: a new module needs its arrows");
            continue;
        };
        seen += 1;
        for found in other.captures_iter(&source.code()) {
            let used = &found[1];
            let is_allowed = used == layer || allowed.contains(&used);
            assert!(is_allowed, "{path}: {layer} may not use {used}");
        }
    }
    assert!(seen > 20, "the sources were not found");
}

#[test]
fn protocol_and_broker_do_no_input_or_output() {
    let io = Regex::new(IO).expect("a pattern");
    for source in sources("src") {
        if ["protocol", "broker"].contains(&source.layer()) {
            // A hint to the processor is none, and memory is none.
            let mut code = source.code().to_owned();
            for call in ["prefetch", "memory::{Chunks, Extent}"] {
                code = code.replace(&format!("use crate::sys::{call};"), "");
            }
            assert!(!io.is_match(&code), "{}: {:?}", source.path, io.find(&code));
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for source in sources("src") {
        // README.md shows this one as it is.
        let is_shown = source.path.ends_with("examples/lamp.rs");
        assert!(
            is_shown || source.text.starts_with("//! "),
            "{}",
            source.path
        );
    }
}

#[test]
fn unsafe_code_is_in_one_place() {
    let word = Regex::new(r"\bunsafe\b|allow\(unsafe_code\)").expect("a pattern");
    for source in sources("src") {
        let code = source.code().replace("deny(unsafe_code)", "");
        assert!(
            source.layer() == "sys" || !word.is_match(&code),
            "{}",
            source.path
        );
    }
}

/// The files of the reactor that only schedule. The others move bytes, and name the kernel.
const SCHEDULING: &str = r"^src/reactor/(batch|buffer|burst|connection|connections|core|departures|fault|handshakes|outputs|pace|read_path|socket)(\.rs|/)";

#[test]
fn the_scheduling_of_the_reactor_names_no_kernel() {
    let scheduling = Regex::new(SCHEDULING).expect("a pattern");
    let kernel =
        Regex::new(r"\bmio\b|\bInstant\b|std::(os|net)|Stream::|\bServer::").expect("a pattern");
    let mut seen = 0;
    for source in sources("src") {
        if scheduling.is_match(&source.path) {
            seen += 1;
            let code = source.code();
            assert!(
                !kernel.is_match(&code),
                "{}: {:?}",
                source.path,
                kernel.find(&code)
            );
        }
    }
    assert!(seen > 12, "the sources were not found");
}
