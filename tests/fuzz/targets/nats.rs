//! libFuzzer's way into `nats`.

#![no_main]

// It lends its pieces.
#[allow(dead_code)]
#[path = "../decoder.rs"]
mod decoder;
#[path = "../nats.rs"]
mod nats;

libfuzzer_sys::fuzz_target!(|data: &[u8]| nats::run(data));
