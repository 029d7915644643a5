//! The fuzzers' targets (tests/fuzz) without a fuzzer: every input of the corpus that is kept, the recorded
//! conversations, and some changes of each, which are the same in every run.
//!
//! `make fuzz` looks for more. What it finds belongs into the corpus when it is mended.

mod broker;
mod decoder;
mod http;
mod journal;
mod memcached;
mod nats;
mod number;
mod seeds;
mod users;

use crate::support::Random;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

fn corpus(target: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/fuzz/corpus").join(target)
}

/// The inputs of a target, each with a name.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(corpus(target)).expect("a corpus");
    let mut inputs: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.expect("a file").path();
            let bytes = fs::read(&path).expect("an input");
            (path.display().to_string(), bytes)
        })
        .collect();
    // In an order that is the same everywhere.
    inputs.sort();
    assert!(inputs.len() > 10, "{target}: the corpus is there");
    inputs.extend(seeds::of(target));
    inputs
}

/// As libFuzzer changes them: some bytes are others, more or less; or two inputs become one.
fn change(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut changed = input.to_vec();
    for _ in 0..=random.below(4) {
        let place = random.below(changed.len() + 1);
        let end = changed.len().min(place + 1 + random.below(8));
        match random.below(5) {
            0 => drop(changed.splice(place..place, random.bytes(4))),
            1 => drop(changed.drain(place..end)),
            2 => drop(changed.splice(place.., other[other.len() / 2..].iter().copied())),
            3 => {
                let repeated = changed[place..end].to_vec();
                drop(changed.splice(place..place, repeated));
            }
            _ => {
                if let Some(byte) = changed.get_mut(place) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    changed
}

/// Runs a target with all of its inputs, and with so many changes of each.
fn replay(target: &str, changes: usize, run: fn(&[u8])) {
    let inputs = inputs(target);
    let mut random = Random::new(1);
    for (place, (name, input)) in inputs.iter().enumerate() {
        try_one(name, input, run);
        let (_, other) = &inputs[(place + 1) % inputs.len()];
        for number in 0..changes {
            let changed = change(input, other, &mut random);
            try_one(&format!("{name}, change {number}"), &changed, run);
        }
    }
}

fn try_one(name: &str, input: &[u8], run: fn(&[u8])) {
    if catch_unwind(AssertUnwindSafe(|| run(input))).is_err() {
        panic!("{name} fails: b\"{}\"", input.escape_ascii());
    }
}

#[test]
fn the_decoders_take_whatever_comes() {
    replay("decoder", 10, decoder::run);
}

#[test]
fn the_broker_keeps_its_order_whatever_happens() {
    replay("broker", 2, |data| broker::run(data, 1));
}

#[test]
fn the_journal_is_read_whatever_is_in_it() {
    replay("journal", 5, journal::run);
}

#[test]
fn memcached_clients_are_read_whatever_they_say() {
    replay("memcached", 60, memcached::run);
}

#[test]
fn nats_clients_are_read_whatever_they_say() {
    replay("nats", 60, nats::run);
}

#[test]
fn http_clients_are_read_whatever_they_say() {
    replay("http", 60, http::run);
}

#[test]
fn users_are_read_whatever_is_in_their_file() {
    replay("users", 10, users::run);
}

#[test]
fn numbers_are_those_of_c_whatever_they_look_like() {
    replay("number", 20, number::run);
}

/// `CLACKSD_WRITE_SEEDS=folder` writes the recorded conversations there, for a fuzzer to begin with; a folder
/// for each target in it.
#[test]
fn the_seeds_of_the_transcripts_are_inputs() {
    let folder = std::env::var_os("CLACKSD_WRITE_SEEDS").map(PathBuf::from);
    for target in ["decoder", "broker", "number", "users"] {
        let seeds = seeds::of(target);
        assert!(seeds.len() >= 20, "{target}: {}", seeds.len());
        let Some(folder) = folder.as_ref().map(|folder| folder.join(target)) else {
            continue;
        };
        fs::create_dir_all(&folder).expect("a folder");
        for (name, seed) in seeds {
            fs::write(folder.join(name), seed).expect("a seed is written");
        }
    }
}
