//! Opening of the pid file and the log file, possibly as root, before they are given to the account that the server
//! changes to.

use crate::sys::Account;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

/// Opens a file with these options. A pipe is opened only if it has a reader; the call does not wait for one. If the owner
/// will be changed, the new owner may be able to write to the folder and put a link there. So that no file of root is
/// written to or given away, only a regular file with a single name is opened then.
///
/// # Errors
/// Those of the system, and messages about files that are refused.
pub fn open(options: &mut OpenOptions, path: &Path, changes_owner: bool) -> io::Result<File> {
    if !changes_owner {
        let opened = options.custom_flags(libc::O_NONBLOCK).open(path);
        return opened.map_err(|error| match error.raw_os_error() {
            Some(libc::ENXIO) => io::Error::other("it is a pipe that nobody reads"),
            _ => error,
        });
    }
    let opened = options
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP | libc::ENXIO) => not_ordinary(),
        _ => error,
    })?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.nlink() != 1 {
        return Err(not_ordinary());
    }
    Ok(file)
}

fn not_ordinary() -> io::Error {
    io::Error::other("with --run-as it has to be an ordinary file and no link")
}

/// Changes the owner of an open file, whatever its path leads to by now.
pub fn give(file: &File, account: Account) -> io::Result<()> {
    fchown(file, Some(account.user), Some(account.group))
}
