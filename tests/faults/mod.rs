//! Faults around real processes: clocks, networks, processes that stand still, resources that run out.

mod clock;
mod network;
mod process;
mod resources;
