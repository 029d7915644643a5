//! The listener for NATS clients: its answers byte by byte, compared with those of nats-server, real clients, trees, and the
//! example programs of its manual.

mod bursts;
mod clients;
mod closing;
mod compare;
mod cuts;
mod differential;
mod examples;
mod frames;
mod generator;
mod info;
mod matching;
mod servers;
mod tables;
pub mod target;
mod tree;
mod users;
pub mod workers;
