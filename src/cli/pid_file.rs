//! The file with the process id, which is removed when the server ends.

use crate::cli::{StartError, given_files};
use crate::reactor::OwnFile;
use crate::sys::Account;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A pid file that is open, and removed with this.
pub struct PidFile {
    path: PathBuf,
    /// Once this start has made it or written it. Before that another server's process id may be in it.
    own: Option<OwnFile>,
    file: File,
}

impl PidFile {
    /// Opens the file, and leaves it as it is: the start may still fail, and the process that the id will be of
    /// comes later.
    pub fn open(path: PathBuf, is_given_away: bool) -> Result<PidFile, StartError> {
        let mut options = OpenOptions::new();
        options.write(true);
        let opened = match options.clone().create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                open_existing(&mut options, &path, is_given_away).map(|file| (file, None))
            }
            made => made.and_then(|file| Ok((file, Some(OwnFile::of(&path)?)))),
        };
        match opened {
            Ok((file, own)) => Ok(PidFile { path, own, file }),
            Err(error) => Err(PidFile::failed(&path, &error)),
        }
    }

    /// Lets the account that the server becomes change it. To remove it, that must be allowed to write
    /// to the folder as well.
    pub fn give_to(&self, account: Account) -> Result<(), StartError> {
        given_files::give(&self.file, account).map_err(|error| PidFile::failed(&self.path, &error))
    }

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

/// Opens an ordinary file. A device or a pipe would be removed when the server ends, which nobody can mean.
fn open_existing(options: &mut OpenOptions, path: &Path, is_given_away: bool) -> io::Result<File> {
    let file = given_files::open(options, path, is_given_away)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no ordinary file")),
    }
}
