//! The listener for NATS clients: its answers byte by byte, compared with those of nats-server, and the example programs of
//! its manual.

mod closing;
mod compare;
mod differential;
mod examples;
mod frames;
mod generator;
mod info;
mod matching;
mod tables;
mod target;
mod users;
