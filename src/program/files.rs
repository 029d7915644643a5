//! Files that are read while others wait, and those of them that hold secrets.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Passwords, users, certificates: more is something else.
const MAX_SIZE: u64 = 1 << 20;
/// On Linux. What is no file, a pipe that nobody writes to, must not be waited for.
const O_NONBLOCK: i32 = 0o4000;
const TOO_LARGE: &str = "it has more than a mebibyte";
/// Some editors put it before a text in UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// How long the writer of a pipe may take.
const PIPE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks at a pipe that is empty.
const PIPE_INTERVAL: Duration = Duration::from_millis(5);

/// The whole of a file that no other users have access to. The error says what is wrong, without the content and, where
/// the remedy does not need it, without the file's name.
pub fn read_secret(path: &Path) -> Result<Vec<u8>, String> {
    let file = open(path)?;
    read_all(check_secret(path, file)?)
}

/// The password on the first line of a file or of a pipe.
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

/// Whether a path is that of a pipe, which can be read only once.
pub fn is_pipe(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// A text's first line, which is where a password stands.
pub fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Refuses a file that other users have access to.
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

/// The text of a secret, without a byte order mark. The error says what is wrong, without the text.
pub fn secret_text(bytes: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())?;
    match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(text) => Ok(text.to_owned()),
        None => Ok(text),
    }
}

/// The whole of a file that anybody may read.
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

/// Everything that comes through a pipe until its writer closes it.
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
