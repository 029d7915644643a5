//! libFuzzer's way into `number`.

#![no_main]

#[path = "../number.rs"]
mod number;

libfuzzer_sys::fuzz_target!(|data: &[u8]| number::run(data));
