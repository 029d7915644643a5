//! The limit that the system sets on the number of descriptors of the process.

use rustix::process::{Resource, getrlimit, setrlimit};
use std::io;

/// Raises the soft limit on descriptors to the hard limit. Returns the new limit.
///
/// # Errors
/// The system refuses it.
pub fn raise_descriptor_limit() -> io::Result<usize> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    // No limit is the largest number.
    let limit = limit.current.and_then(|limit| usize::try_from(limit).ok());
    Ok(limit.unwrap_or(usize::MAX))
}
