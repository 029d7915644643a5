//! The pid file: written at the start and removed at the end of the server.

use crate::cli::privileged_open;
use crate::program::start::StartError;
use crate::reactor::OwnFile;
use crate::sys::Account;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// An open pid file. It is removed when this is dropped.
pub struct PidFile {
    path: PathBuf,
    /// Removes the file. `None` until this server has created or written it: before that it may belong to another server.
    own: Option<OwnFile>,
    file: File,
}

impl PidFile {
    /// Opens the file without changing its content: the start may still fail, and the process id may still change.
    ///
    /// # Errors
    /// The file can't be opened, or is not a regular one.
    pub fn open(path: PathBuf, changes_owner: bool) -> Result<PidFile, StartError> {
        let mut options = OpenOptions::new();
        options.write(true);
        let opened = match options.clone().create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                open_existing(&mut options, &path, changes_owner).map(|file| (file, None))
            }
            made => made.and_then(|file| Ok((file, Some(OwnFile::of(&path)?)))),
        };
        match opened {
            Ok((file, own)) => Ok(PidFile { path, own, file }),
            Err(error) => Err(PidFile::failed(&path, &error)),
        }
    }

    /// Gives the file to the account that the server changes to. To remove the file, that account needs the right to write
    /// to its folder as well.
    pub fn give_to(&self, account: Account) -> Result<(), StartError> {
        privileged_open::give(&self.file, account)
            .map_err(|error| PidFile::failed(&self.path, &error))
    }

    /// Writes the process id.
    pub fn write(&mut self) -> Result<(), StartError> {
        self.try_to_write()
            .map_err(|error| PidFile::failed(&self.path, &error))
    }

    fn try_to_write(&mut self) -> io::Result<()> {
        if self.own.is_none() {
            self.own = Some(OwnFile::of(&self.path)?);
        }
        self.file.set_len(0)?;
        writeln!(self.file, "{}", std::process::id())
    }

    fn failed(path: &Path, error: &io::Error) -> StartError {
        StartError::Failed(format!("--pid-file {}: {error}", path.display()))
    }
}

/// Opens an existing regular file. Devices and pipes are refused, because the file is removed at the end.
fn open_existing(options: &mut OpenOptions, path: &Path, changes_owner: bool) -> io::Result<File> {
    let file = privileged_open::open(options, path, changes_owner)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no ordinary file")),
    }
}
