//! Command lines, small files, Unix signals and process limits: everything that a program takes from outside its protocol and that
//! more than one of the programs needs. No program's own flags, and nothing of the network, belongs here.

pub mod files;
#[cfg(any(feature = "server", feature = "tool", feature = "postgres"))]
pub mod flag;
#[cfg(any(feature = "server", feature = "tool", feature = "postgres"))]
pub mod process_limits;
#[cfg(any(feature = "server", feature = "tool", feature = "postgres"))]
pub mod signals;
#[cfg(any(feature = "server", feature = "postgres"))]
pub mod start;
