//! Reading of small files, and of the passwords in them, within bounds of size and time: others may wait meanwhile.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// The largest file, in bytes. Passwords, users and certificates are far smaller.
const MAX_SIZE: u64 = 1 << 20;
/// The flag O_NONBLOCK of Linux. Opening a pipe without a writer must not block.
const O_NONBLOCK: i32 = 0o4000;
const TOO_LARGE: &str = "it has more than a mebibyte";
/// The mark that some editors write before UTF-8 text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The time limit for the writer of a pipe.
const PIPE_TIMEOUT: Duration = Duration::from_secs(5);
/// The interval at which an empty pipe is read again.
const PIPE_INTERVAL: Duration = Duration::from_millis(5);

/// Reads a whole file to which other users have no access.
///
/// # Errors
/// A message without the content and, unless the remedy needs it, without the name of the file.
pub fn read_secret(path: &Path) -> Result<Vec<u8>, String> {
    let file = open(path)?;
    read_all(check_secret(path, file)?)
}

/// Reads the password on the first line of a file or of a pipe. Other users must have no access to it.
///
/// # Errors
/// A message as from [`read_secret`].
pub fn read_password(path: &Path) -> Result<String, String> {
    let file = open_any(path)?;
    let kind = file.metadata().map_err(|error| error.to_string())?;
    let file = check_secret(path, file)?;
    let bytes = if kind.file_type().is_fifo() {
        read_pipe(file, Instant::now() + PIPE_TIMEOUT)?
    } else {
        read_all(check_kind(file)?)?
    };
    match first_line(&secret_text(bytes)?) {
        "" => Err("the first line is empty".to_owned()),
        line => Ok(line.to_owned()),
    }
}

/// Returns true if the path leads to a pipe, which can be read only once.
pub fn is_pipe(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// The first line of a text, without its line end and a byte order mark.
pub fn first_line(text: &str) -> &str {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    text.lines().next().unwrap_or_default()
}

/// Refuses a file to which other users have access.
fn check_secret(path: &Path, file: File) -> Result<File, String> {
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o007 == 0 {
        return Ok(file);
    }
    let path = path.display();
    Err(format!(
        "other users have access (mode {mode:03o}): try chmod {:03o} {path}; in a container, give the secret \
         that mode and the daemon's group",
        mode & 0o770
    ))
}

/// Converts a secret to text, without a byte order mark.
///
/// # Errors
/// A message without the text.
pub fn secret_text(bytes: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())?;
    match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(text) => Ok(text.to_owned()),
        None => Ok(text),
    }
}

/// Reads a whole file that need not be secret.
///
/// # Errors
/// A message without the name of the file.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_all(open(path)?)
}

fn open(path: &Path) -> Result<File, String> {
    check_kind(open_any(path)?)
}

fn open_any(path: &Path) -> Result<File, String> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path);
    opened.map_err(|error| error.to_string())
}

fn check_kind(file: File) -> Result<File, String> {
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if metadata.is_dir() {
        Err("it is a directory".to_owned())
    } else if !metadata.is_file() {
        Err("it is no file".to_owned())
    } else {
        Ok(file)
    }
}

/// Reads from a pipe until its writer closes it.
fn read_pipe(mut pipe: File, until: Instant) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    loop {
        let room = (MAX_SIZE + 1).saturating_sub(bytes.len() as u64);
        match pipe.by_ref().take(room).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() as u64 > MAX_SIZE => return Err(TOO_LARGE.to_owned()),
            Ok(_) => return Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.to_string()),
        }
        if Instant::now() >= until {
            return Err("nothing more came through the pipe, and it was not closed".to_owned());
        }
        thread::sleep(PIPE_INTERVAL);
    }
}

fn read_all(file: File) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(TOO_LARGE.to_owned());
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
