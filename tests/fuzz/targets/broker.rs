//! libFuzzer's way into `broker`.

#![no_main]

#[path = "../broker/mod.rs"]
mod broker;

libfuzzer_sys::fuzz_target!(|data: &[u8]| broker::run(data));
