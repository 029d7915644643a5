//! The integration tests: one binary, one file per behaviour. They start the real server, on a
//! socket in a folder of their own or on port 0, and wait for what must come up to a deadline.

#[macro_use]
extern crate test_attribute;

mod abuse;
mod activation;
mod ageing;
mod bad_peers;
mod bench_peers;
mod bridge;
mod bridge_databases;
mod bridge_functions;
mod bridge_pooler;
mod bridge_silence;
mod bursts;
mod cache_client;
mod clacks;
mod clacks_bench;
mod clacks_examples;
mod clacks_send;
mod clacks_terminal;
mod clacks_tls;
mod clacks_watch;
mod client;
mod client_in_time;
mod completions;
mod connections;
mod counters;
mod documentation;
mod fairness;
mod faults_clock;
mod faults_network;
mod faults_process;
mod faults_resources;
mod full_server;
mod fuzzing;
mod half_close;
mod hardening;
mod installing;
mod interclacks;
mod journal;
mod journal_files;
mod last_lines;
mod layers;
mod measurements;
mod measurements_costs;
mod measurements_looking_once;
mod measurements_overload;
mod measurements_persist;
mod measurements_sync;
mod measurements_tls;
mod measurements_turns;
mod mixed_trees;
mod notifying;
mod numbers;
mod permissions;
mod persist;
mod persistence;
mod runner;
mod secrets;
mod signals_and_shutdown;
mod simulation;
mod soak;
mod sockets;
mod start_and_end;
mod starting;
mod strangers;
mod support;
mod timeouts;
mod tls;
mod tls_certificates;
mod tls_masters;
mod tls_reload;
mod transcripts;
mod turns;
mod virtual_time;

fn main() -> std::process::ExitCode {
    runner::main()
}
