//! `clacks`, the command-line client, and the completions of all programs.

mod bench;
mod commands;
mod completions;
mod examples;
mod send;
mod terminal;
mod tls;
mod watch;
