//! The files of a journal and the operations on them. Every call may block.

use crate::sys;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// One of the files of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileName {
    Journal,
    /// The rewritten journal, until it replaces the journal.
    New,
    /// A copy of a damaged journal.
    Bad,
}

/// The file that the path of the journal leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The file that was opened as the journal, or that has replaced it.
    Own,
    /// Another file.
    Other,
    /// No file: it was removed or moved away, or its folder was.
    Nothing,
}

/// The file system operations that a journal needs. Errors are those of the operating system.
pub trait Disk {
    type File: DiskFile;

    /// Opens an existing file, for reading from its beginning and for appending.
    fn open(&mut self, name: FileName) -> io::Result<Self::File>;

    /// Creates an empty file, which replaces an existing one.
    fn create(&mut self, name: FileName) -> io::Result<Self::File>;

    /// Renames a file, atomically. A file with the new name is replaced.
    fn rename(&mut self, from: FileName, to: FileName) -> io::Result<()>;

    /// Gives a file a second name, or copies it. A file with the new name is replaced.
    fn keep(&mut self, from: FileName, to: FileName) -> io::Result<()>;

    /// Syncs the folder, so that all names are on the disk.
    fn sync_names(&mut self) -> io::Result<()>;

    /// Returns unpredictable random bytes.
    fn random(&mut self) -> io::Result<[u8; 16]>;

    /// Finds out which file the path of the journal leads to.
    fn path_leads_to(&self) -> io::Result<Place>;

    /// The path of a file, for messages.
    fn describe(&self, name: FileName) -> String;
}

/// A file to which bytes are appended.
pub trait DiskFile: Read + Write {
    /// Waits until all written bytes are on the disk.
    fn sync(&mut self) -> io::Result<()>;

    fn length(&self) -> io::Result<u64>;

    /// Truncates the file, and releases all disk space reserved after its end.
    fn set_length(&mut self, length: u64) -> io::Result<()>;

    /// Reserves disk space for `length` bytes from the offset `from` on.
    fn reserve(&mut self, from: u64, length: u64) -> io::Result<()>;
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

    fn reserve(&mut self, from: u64, length: u64) -> io::Result<()> {
        sys::reserve(self, from, length)
    }
}

/// The identity of a file, independent of its name: device and inode.
type Identity = (u64, u64);

/// The files of a journal in the file system.
///
/// Only one server can use a journal at a time, whatever paths lead to it. The server locks `FILE.lock`, next to the file
/// that symbolic links lead to, and the journal itself, which can have other names (hard links, mounts). The file that
/// replaces the journal after a rewrite is locked before it gets the name.
pub struct SystemDisk {
    /// The path of the journal, without symbolic links.
    path: PathBuf,
    /// The locked file `FILE.lock`. It stays open as long as the journal is in use.
    _lock: File,
    /// /dev/urandom. It stays open, so that a rewrite needs no further descriptor.
    random: File,
    journal: Option<Identity>,
    new: Option<Identity>,
}

impl SystemDisk {
    /// Locks the journal with that path, whether or not it exists.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process uses the journal; others if the folder can't be written to, or if
    /// something other than a file has one of the names.
    pub fn lock(path: &Path) -> io::Result<SystemDisk> {
        let path = without_links(path)?;
        // Checked before a file is created next to it.
        if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(io::Error::other("it is no file"));
        }
        // Without rewrites, it would grow for ever, and nothing would be saved any more after a full disk.
        if sys::is_mount_point(&path) {
            return Err(io::Error::other(
                "it is a mount point, and can't be replaced: mount its folder instead",
            ));
        }
        // The rewrite of one journal would remove another one.
        let extension = path.extension().and_then(OsStr::to_str);
        if let Some(extension @ ("lock" | "new" | "bad")) = extension {
            return Err(io::Error::other(format!(
                "a name that ends in .{extension} is that of a file beside another journal"
            )));
        }
        let lock_path = with_suffix(&path, ".lock");
        let mut options = OpenOptions::new();
        let lock = open_ordinary(options.create(true).append(true).mode(0o600), &lock_path)
            .map_err(|error| of_file(&lock_path, &error))?;
        lock.try_lock().map_err(io::Error::from)?;
        // An unfinished rewrite is useless, and may be large.
        let new = with_suffix(&path, ".new");
        remove_if_there(&new).map_err(|error| of_file(&new, &error))?;
        Ok(SystemDisk {
            path,
            _lock: lock,
            random: File::open("/dev/urandom")?,
            journal: None,
            new: None,
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

/// The paths of all files that a journal may have.
pub fn files_of(path: &Path) -> [PathBuf; 4] {
    ["", ".lock", ".new", ".bad"].map(|suffix| with_suffix(path, suffix))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Resolves symbolic links. The file at their end need not exist.
fn without_links(path: &Path) -> io::Result<PathBuf> {
    /// The number of links that Linux follows.
    const MAX_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..=MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = folder_of(&path).join(target),
            Err(_) => {
                let Some(name) = path.file_name() else {
                    return Err(io::Error::other("it is no file"));
                };
                return Ok(fs::canonicalize(folder_of(&path))?.join(name));
            }
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// Opens a regular file. Links are refused, and so are pipes and devices, without waiting for them.
fn open_ordinary(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let opened = options
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP | libc::ENXIO) => no_file(),
        _ => error,
    })?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(no_file()),
    }
}

/// Creates a file that other users can't read. Fails if the file exists.
fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create_new(true);
    options.mode(0o600).open(path)
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// Adds the path to an error.
fn of_file(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes a file or a link. Anything else there is somebody's mistake, and stays.
fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if found.is_file() || found.is_symlink() => fs::remove_file(path),
        Ok(_) => Err(no_file()),
    }
}

fn no_file() -> io::Error {
    io::Error::other("it is no file: a link, a pipe or something else")
}

impl Disk for SystemDisk {
    type File = File;

    fn open(&mut self, name: FileName) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let file = open_ordinary(options.read(true).append(true), &self.path(name))?;
        file.try_lock().map_err(io::Error::from)?;
        if name == FileName::Journal {
            self.journal = Some(identity(&file.metadata()?));
        }
        Ok(file)
    }

    fn create(&mut self, name: FileName) -> io::Result<File> {
        let path = self.path(name);
        // An existing file would keep its mode, which may let others read it.
        remove_if_there(&path)?;
        let file = create_new(&path)?;
        file.try_lock().map_err(io::Error::from)?;
        if name == FileName::New {
            self.new = Some(identity(&file.metadata()?));
        }
        Ok(file)
    }

    fn rename(&mut self, from: FileName, to: FileName) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))?;
        if (from, to) == (FileName::New, FileName::Journal) {
            self.journal = self.new.take();
        }
        Ok(())
    }

    fn keep(&mut self, from: FileName, to: FileName) -> io::Result<()> {
        let (from, to) = (self.path(from), self.path(to));
        let kept = remove_if_there(&to).and_then(|()| {
            // Not every file system has hard links.
            fs::hard_link(&from, &to).or_else(|_| {
                let mut options = OpenOptions::new();
                let mut from = open_ordinary(options.read(true), &from)?;
                io::copy(&mut from, &mut create_new(&to)?).map(|_| ())
            })
        });
        kept.map_err(|error| of_file(&to, &error))
    }

    fn sync_names(&mut self) -> io::Result<()> {
        File::open(folder_of(&self.path))?.sync_all()
    }

    fn random(&mut self) -> io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        self.random.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn path_leads_to(&self) -> io::Result<Place> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if Some(identity(&found)) == self.journal => Ok(Place::Own),
            Ok(_) => Ok(Place::Other),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(Place::Nothing),
                _ => Err(error),
            },
        }
    }

    fn describe(&self, name: FileName) -> String {
        self.path(name).display().to_string()
    }
}
