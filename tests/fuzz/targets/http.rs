//! libFuzzer's way into `http`.

#![no_main]

// It lends its pieces.
#[allow(dead_code)]
#[path = "../decoder.rs"]
mod decoder;
#[path = "../http.rs"]
mod http;

libfuzzer_sys::fuzz_target!(|data: &[u8]| http::run(data));
