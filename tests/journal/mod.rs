//! The cache in a file: the real process, and the journal alone on a simulated disk.

mod expiring;
mod files;
mod node;
pub mod process;
mod simulated;
