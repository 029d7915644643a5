//! Files that are read while others wait, and those of them that hold secrets.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Passwords, users, certificates: more is something else.
const MAX_SIZE: u64 = 1 << 20;
/// On Linux. What is no file, a pipe that nobody writes to, must not be waited for.
const O_NONBLOCK: i32 = 0o4000;

/// The whole text of a file that no other users have access to. The error says what is wrong, without the
/// file's name and what is in it.
pub fn read_secret(path: &Path) -> Result<String, String> {
    let file = open(path)?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let mode = metadata.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(format!(
            "other users have access (mode {:03o}); try chmod o= on it",
            mode & 0o777
        ));
    }
    String::from_utf8(read_all(file)?).map_err(|_| "it is no UTF-8".to_owned())
}

/// The first line, where a password stands.
pub fn read_password(path: &Path) -> Result<String, String> {
    match read_secret(path)?.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err("the first line is empty".to_owned()),
    }
}

/// The whole of a file that anybody may read.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_all(open(path)?)
}

fn open(path: &Path) -> Result<File, String> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path);
    let file = opened.map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if metadata.is_dir() {
        Err("it is a directory".to_owned())
    } else if !metadata.is_file() {
        Err("it is no file".to_owned())
    } else {
        Ok(file)
    }
}

fn read_all(file: File) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err("it has more than a mebibyte".to_owned());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_ordinary_file_is_refused_at_once() {
        for path in ["/dev/zero", "/"] {
            assert!(read(Path::new(path)).is_err(), "{path}");
        }
    }
}
