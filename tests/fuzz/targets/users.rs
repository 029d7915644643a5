//! libFuzzer's way into `users`.

#![no_main]

#[path = "../users.rs"]
mod users;

libfuzzer_sys::fuzz_target!(|data: &[u8]| users::run(data));
