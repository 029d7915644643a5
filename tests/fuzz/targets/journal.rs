//! libFuzzer's way into `journal`, and the disk that it shares with the tests.

#![no_main]

// Faults and power cuts are the tests' own.
#[allow(dead_code)]
#[path = "../../support/simulated_disk.rs"]
mod disk;
#[path = "../journal.rs"]
mod journal;
#[allow(dead_code)]
#[path = "../../support/random.rs"]
mod random;

mod support {
    pub(crate) use super::disk::SimulatedDisk;
    pub(crate) use super::random::Random;
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| journal::run(data));
