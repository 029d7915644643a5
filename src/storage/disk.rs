//! The files of a journal, and what can be done to them. Every call may block.

use crate::sys;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
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

/// Where the name of the journal leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// To the file that was opened, or was the last to get the name.
    Own,
    /// To another file.
    Other,
    /// To no file: it was removed or moved away, or its folder was.
    Nothing,
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

    /// Finds out where the name of the journal leads.
    fn place_of_journal(&self) -> io::Result<Place>;

    /// The file's name, for messages.
    fn describe(&self, name: FileName) -> String;
}

/// A file. What is written goes to its end.
pub trait DiskFile: Read + Write {
    /// Returns when everything that was written is on the disk.
    fn sync(&mut self) -> io::Result<()>;

    fn length(&self) -> io::Result<u64>;

    /// Cuts it, and gives up all room that was reserved behind.
    fn set_length(&mut self, length: u64) -> io::Result<()>;

    /// Reserves room for so many bytes from a place on.
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

/// Device and inode: a file itself, whatever its name.
type Identity = (u64, u64);

/// The operating system's.
///
/// A journal has one server at a time, whatever paths lead to it: the server holds a lock on `FILE.lock`, beside the
/// file that symbolic links lead to, and one on the journal itself, which another name of it (a second link, a mount)
/// leads to as well. A rewrite gives the name to another file, which is locked before.
pub struct SystemDisk {
    /// Without symbolic links.
    path: PathBuf,
    /// Held for as long as the journal is used.
    _lock: File,
    /// Open all the time, so that a rewrite needs no further descriptor for it.
    random: File,
    journal: Option<Identity>,
    new: Option<Identity>,
}

impl SystemDisk {
    /// For the journal of that path, which nobody else is using.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if somebody is; others if the folder can't be written to, or something stands in
    /// the place of a file that is needed.
    pub fn lock(path: &Path) -> io::Result<SystemDisk> {
        let path = without_links(path)?;
        // Before anything is made beside it.
        if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(io::Error::other("it is no file"));
        }
        let lock_path = with_suffix(&path, ".lock");
        let mut options = OpenOptions::new();
        let lock = open_ordinary(options.create(true).append(true).mode(0o600), &lock_path)
            .map_err(|error| of_file(&lock_path, &error))?;
        lock.try_lock().map_err(io::Error::from)?;
        // One that was not finished is of no use, and may be large.
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

/// All files that the journal of that path may have.
pub fn files_of(path: &Path) -> [PathBuf; 4] {
    ["", ".lock", ".new", ".bad"].map(|suffix| with_suffix(path, suffix))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The path of the file that symbolic links lead to, whether or not it is there.
fn without_links(path: &Path) -> io::Result<PathBuf> {
    /// As many as the system follows.
    const MOST_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..=MOST_LINKS {
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

/// Opens an ordinary file. A link is not followed, and a pipe or a device is not waited for.
fn open_ordinary(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let refused = || io::Error::other("it is no file: a link, a pipe or something else");
    let opened = options
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP | libc::ENXIO) => refused(),
        _ => error,
    })?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(refused()),
    }
}

/// Makes a file in no other's place, which others can't read.
fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create_new(true);
    options.mode(0o600).open(path)
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// The error, with the file that it is about.
fn of_file(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
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
        let mut options = OpenOptions::new();
        let file = open_ordinary(options.read(true).append(true), &self.path(name))?;
        file.try_lock().map_err(io::Error::from)?;
        if name == FileName::Journal {
            self.journal = Some(identity(&file.metadata()?));
        }
        Ok(file)
    }

    fn create(&mut self, name: FileName) -> io::Result<File> {
        if sys::is_mount_point(&self.path) {
            return Err(io::Error::other(
                "the journal is a mount point, and can't be replaced: mount its folder instead",
            ));
        }
        let path = self.path(name);
        // One that somebody else could read would stay so.
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
            // Not every file system has second names.
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

    fn place_of_journal(&self) -> io::Result<Place> {
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
