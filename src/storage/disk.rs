//! The files of a journal, and what can be done to them. Every call may block.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileName {
    Journal,
    /// The journal being written anew.
    New,
    /// A journal that had been damaged.
    Bad,
}

/// A place for a journal's files.
pub trait Disk {
    type File: DiskFile;

    /// Opens a file that is there, for reading from its beginning and for appending.
    fn open(&mut self, name: FileName) -> io::Result<Self::File>;

    /// Makes an empty file, in place of one that is there.
    fn create(&mut self, name: FileName) -> io::Result<Self::File>;

    /// Gives a file another name, in place of a file that has it, at once or not at all.
    fn rename(&mut self, from: FileName, to: FileName) -> io::Result<()>;

    /// Gives a file a second name, in place of a file that has it.
    fn keep(&mut self, from: FileName, to: FileName) -> io::Result<()>;

    /// Returns when all names are on the disk.
    fn sync_names(&mut self) -> io::Result<()>;

    /// Draws bytes that nobody can guess.
    fn random(&mut self) -> io::Result<[u8; 16]>;

    /// The file's name, for messages.
    fn describe(&self, name: FileName) -> String;
}

/// A file. What is written goes to its end.
pub trait DiskFile: Read + Write {
    /// Returns when everything that was written is on the disk.
    fn sync(&mut self) -> io::Result<()>;

    fn length(&self) -> io::Result<u64>;

    /// Cuts it.
    fn set_length(&mut self, length: u64) -> io::Result<()>;
}

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// The operating system's.
pub struct SystemDisk {
    path: PathBuf,
    /// Held for as long as the journal is used.
    _lock: File,
    /// Open all the time, so that a rewrite needs no further descriptor for it.
    random: File,
}

impl SystemDisk {
    /// For the journal of that path, which nobody else is using.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if somebody is; others if the folder can't be written to.
    pub fn lock(path: &Path) -> io::Result<SystemDisk> {
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(with_suffix(path, ".lock"))?;
        lock.try_lock().map_err(io::Error::from)?;
        // One that was not finished is of no use, and may be large.
        remove_if_there(&with_suffix(path, ".new"))?;
        Ok(SystemDisk {
            path: path.to_owned(),
            _lock: lock,
            random: File::open("/dev/urandom")?,
        })
    }

    fn path(&self, name: FileName) -> PathBuf {
        match name {
            FileName::Journal => self.path.clone(),
            FileName::New => with_suffix(&self.path, ".new"),
            FileName::Bad => with_suffix(&self.path, ".bad"),
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

impl Disk for SystemDisk {
    type File = File;

    fn open(&mut self, name: FileName) -> io::Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(self.path(name))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        Ok(file)
    }

    fn create(&mut self, name: FileName) -> io::Result<File> {
        let path = self.path(name);
        // One that somebody else could read would stay so.
        remove_if_there(&path)?;
        OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
    }

    fn rename(&mut self, from: FileName, to: FileName) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn keep(&mut self, from: FileName, to: FileName) -> io::Result<()> {
        let to = self.path(to);
        remove_if_there(&to)?;
        // Not every file system has second names.
        fs::hard_link(self.path(from), &to).or_else(|_| fs::copy(self.path(from), &to).map(|_| ()))
    }

    fn sync_names(&mut self) -> io::Result<()> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder)?.sync_all()
    }

    fn random(&mut self) -> io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        self.random.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn describe(&self, name: FileName) -> String {
        self.path(name).display().to_string()
    }
}
