//! Pid file and log file: opened as root, perhaps, and then given to the account that the server becomes.

use crate::sys::Account;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

/// Opens one with these options; a pipe only if somebody reads it, which is not waited for. If it is to be given away, the
/// account may have the right to write to its folder, and to put a link there: so that no file of root's is written to or
/// given away, only an ordinary one with one name is opened.
pub fn open(options: &mut OpenOptions, path: &Path, is_to_be_given: bool) -> io::Result<File> {
    if !is_to_be_given {
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

/// Gives away what was opened, whatever its name stands for by now.
pub fn give(file: &File, account: Account) -> io::Result<()> {
    fchown(file, Some(account.user), Some(account.group))
}
