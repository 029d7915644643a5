//! `clacks`, the command-line client, and the completions of all programs.

mod bench;
mod commands;
mod completions;
mod entries;
mod examples;
mod help;
mod listening;
mod played;
mod send;
mod shown;
mod status;
mod terminal;
mod terminals;
mod tls;
mod top;
mod watch;
