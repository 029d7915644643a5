//! libFuzzer's way into `memcached`.

#![no_main]

// It lends its pieces.
#[allow(dead_code)]
#[path = "../decoder.rs"]
mod decoder;
#[path = "../memcached.rs"]
mod memcached;

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcached::run(data));
