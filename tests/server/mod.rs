//! Services of the server to its clients, and the limits that keep clients apart.

mod abuse;
mod ageing;
mod bursts;
pub mod connections;
mod expiry;
mod fairness;
mod full_server;
mod half_close;
mod in_memory;
mod key_info;
mod last_lines;
mod looking_once;
mod numbers;
mod permissions;
mod secrets;
mod strangers;
mod timeouts;
mod tombstones;
mod transcripts;
mod turns;
