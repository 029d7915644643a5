//! Files that hold secrets: read only if no other users have access to them.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The whole text. The error says what is wrong, without the file's name and what is in it.
pub fn read(path: &Path) -> Result<String, String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let mode = metadata.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(format!(
            "other users have access (mode {:03o}); try chmod o= on it",
            mode & 0o777
        ));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    Ok(text)
}

/// The first line, where a password stands.
pub fn read_first_line(path: &Path) -> Result<String, String> {
    match read(path)?.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err("the first line is empty".to_owned()),
    }
}
