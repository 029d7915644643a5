//! Files that the server makes for others to find, and takes away when it ends.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file that is removed with this. What keeps it open is to outlive this: else its inode number may be used
/// again.
pub struct OwnFile {
    path: PathBuf,
    /// Device and inode: the file itself, whatever its name stands for later.
    identity: (u64, u64),
}

impl OwnFile {
    pub fn of(path: &Path) -> io::Result<OwnFile> {
        // The working directory may change.
        Ok(OwnFile {
            path: std::path::absolute(path)?,
            identity: identity(path)?,
        })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        // Another server may have put its own there.
        let is_ours = identity(&self.path).is_ok_and(|identity| identity == self.identity);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}
