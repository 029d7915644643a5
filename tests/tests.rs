//! The integration tests: one binary, one folder per topic, one file per behaviour. They start the real server, on a
//! socket in a folder of their own or on port 0, and wait for what must come up to a deadline.

#[macro_use]
extern crate test_attribute;

mod bench_peers;
mod bridge;
mod broker;
mod cli;
mod client;
mod daemon;
mod faults;
mod fuzz;
mod http;
mod interclacks;
mod journal;
mod measurements;
mod memcached;
mod nats;
mod runner;
mod server;
mod simulation;
mod soak;
mod source;
mod statistics;
mod support;
mod tls;

fn main() -> std::process::ExitCode {
    runner::main()
}
