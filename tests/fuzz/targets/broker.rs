//! libFuzzer's way into `broker`.

#![no_main]

#[path = "../broker/mod.rs"]
mod broker;

/// Looking at everything takes longer than most steps do, and what was found late is looked for in the tests.
const CHECK_EVERY: usize = 6;

libfuzzer_sys::fuzz_target!(|data: &[u8]| broker::run(data, CHECK_EVERY));
