//! The listener for memcached clients: its answers byte by byte, compared with memcached's, and real clients.

mod clients;
mod closing;
mod compare;
mod differential;
mod faults;
mod generator;
mod limits;
mod monitors;
mod servers;
mod statistics;
mod tables;
mod tools;
mod watching;
