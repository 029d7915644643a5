//! The integration tests: one binary, one file per behaviour. They start the real server, on a
//! socket in a folder of their own or on port 0, and wait for what must come up to a deadline.

mod abuse;
mod activation;
mod ageing;
mod completions;
mod connections;
mod documentation;
mod full_server;
mod half_close;
mod hardening;
mod installing;
mod interclacks;
mod journal;
mod layers;
mod measurements;
mod measurements_sync;
mod measurements_tls;
mod notifying;
mod permissions;
mod secrets;
mod signals_and_shutdown;
mod simulation;
mod sockets;
mod starting;
mod support;
mod timeouts;
mod tls;
mod tls_masters;
mod tls_reload;
mod transcripts;
mod virtual_time;
