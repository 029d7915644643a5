//! The integration tests: one binary, one file per behaviour. They start the real server, on a
//! socket in a folder of their own or on port 0, and wait for what must come up to a deadline.

mod abuse;
mod ageing;
mod cache_client;
mod clacks;
mod clacks_completions;
mod clacks_examples;
mod clacks_send;
mod clacks_terminal;
mod clacks_watch;
mod client;
mod connections;
mod documentation;
mod half_close;
mod interclacks;
mod layers;
mod measurements;
mod measurements_sync;
mod permissions;
mod signals_and_shutdown;
mod simulation;
mod sockets;
mod starting;
mod support;
mod timeouts;
mod transcripts;
mod virtual_time;
