//! Reading a journal: whole ones, torn ones and damaged ones.

use super::disk::{Disk, DiskFile, FileName};
use super::format::{FRAME, HEADER, Head, MAGIC, VERSION, header, version};
use crate::broker::Record;
use crate::limits::MIB;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub records: u64,
    /// Up to where the journal is good. What comes behind it is cut, if nothing before it is damaged.
    pub length: u64,
    /// Bytes at the end that are no whole record: the write of them came to no end.
    pub torn: u64,
    /// What could not be read in the midst of it.
    pub damage: Option<Damage>,
}

/// Bytes between readable records, and in how many places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Damage {
    pub bytes: u64,
    pub places: u64,
}

/// Why a journal is not used. It was not touched.
#[derive(Debug)]
pub enum LoadError {
    Io(io::Error),
    /// It was written by a newer clacksd.
    Newer(u32),
    /// It is something else.
    NoJournal,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Io(error) => error.fmt(f),
            LoadError::Newer(version) => write!(
                f,
                "a journal of version {version}; this clacksd knows versions up to {VERSION}"
            ),
            LoadError::NoJournal => f.write_str("it is no journal of clacksd"),
        }
    }
}

impl From<io::Error> for LoadError {
    fn from(error: io::Error) -> LoadError {
        LoadError::Io(error)
    }
}

/// What a journal's first bytes say.
enum Start {
    Good,
    /// No more was written than a part of a header.
    Torn,
    /// It is no header, as far as can be seen: not even one that a few bytes are wrong of.
    Strange,
    Damaged,
}

/// A file, read from its beginning to its end, of which a part is kept.
struct Window<F> {
    file: F,
    bytes: Vec<u8>,
    /// Where in the file the kept bytes begin.
    place: u64,
    is_at_end: bool,
}

/// How much is read at once.
const READ: usize = MIB;

impl<F: Read> Window<F> {
    fn new(file: F) -> Window<F> {
        Window {
            file,
            bytes: Vec::new(),
            place: 0,
            is_at_end: false,
        }
    }

    /// Bytes from a place that is not before the last one asked for: `length` of them, or fewer if the
    /// file ends there.
    fn get(&mut self, place: u64, length: usize) -> io::Result<&[u8]> {
        let mut skip = usize::try_from(place - self.place).expect("it is within what is kept");
        if skip + length > self.bytes.len() {
            let gone = skip.min(self.bytes.len());
            self.bytes.drain(..gone);
            self.place += gone as u64;
            skip -= gone;
            while skip + length > self.bytes.len() && !self.is_at_end {
                let more = (skip + length - self.bytes.len()).max(READ) as u64;
                let read = self.file.by_ref().take(more).read_to_end(&mut self.bytes)?;
                self.is_at_end = read == 0;
            }
        }
        let end = (skip + length).min(self.bytes.len());
        Ok(&self.bytes[skip.min(end)..end])
    }
}

fn start<F: Read>(window: &mut Window<F>) -> Result<Start, LoadError> {
    let bytes = window.get(0, HEADER)?;
    match bytes.first_chunk::<HEADER>() {
        None if header().starts_with(bytes) => Ok(Start::Torn),
        None => Err(LoadError::NoJournal),
        Some(header) => match version(header) {
            Some(version) if version <= VERSION => Ok(Start::Good),
            Some(version) => Err(LoadError::Newer(version)),
            None => {
                let right = header.iter().zip(MAGIC).filter(|(is, should)| is == should);
                Ok(if right.count() > MAGIC.len() / 2 {
                    Start::Damaged
                } else {
                    Start::Strange
                })
            }
        },
    }
}

/// Whether the file at `path`, if there is one, could be loaded, as far as its beginning says.
pub fn check(path: &Path) -> Result<(), LoadError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(metadata) if !metadata.is_file() => {
            return Err(io::Error::other("it is no file").into());
        }
        _ => {}
    }
    let file = std::fs::OpenOptions::new()
        .read(true)
        .append(true)
        .open(path)?;
    match start(&mut Window::new(file))? {
        Start::Strange => Err(LoadError::NoJournal),
        Start::Good | Start::Torn | Start::Damaged => Ok(()),
    }
}

/// Reads the journal, if there is one, and hands its records over in their order. What is torn off at its
/// end is cut; of what was damaged, a copy is kept.
pub fn load<D: Disk>(
    disk: &mut D,
    mut each: impl FnMut(Record<'_>),
) -> Result<Option<(Loaded, D::File)>, LoadError> {
    let file = match disk.open(FileName::Journal) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut window = Window::new(file);
    let mut loaded = Loaded::default();
    let start = start(&mut window)?;
    match start {
        Start::Torn => return Ok(None),
        Start::Good => {}
        // Records stand behind it all the same.
        Start::Damaged | Start::Strange => {
            loaded.damage = Some(Damage {
                bytes: HEADER as u64,
                places: 1,
            });
        }
    }
    let mut place = HEADER as u64;
    loaded.length = place;
    while let Some((at, end)) = next_record(&mut window, place, &mut each)? {
        if at > loaded.length {
            let damage = loaded.damage.get_or_insert_default();
            damage.bytes += at - loaded.length;
            damage.places += 1;
        }
        loaded.records += 1;
        loaded.length = end;
        place = end;
    }
    if matches!(start, Start::Strange) && loaded.records == 0 {
        return Err(LoadError::NoJournal);
    }
    let mut file = window.file;
    loaded.torn = file.length()?.saturating_sub(loaded.length);
    if loaded.damage.is_some() {
        disk.keep(FileName::Journal, FileName::Bad)?;
        disk.sync_names()?;
    } else if loaded.torn > 0 {
        file.set_length(loaded.length)?;
    }
    Ok(Some((loaded, file)))
}

/// Finds the first readable record from a place on; where it begins and ends.
fn next_record<F: Read>(
    window: &mut Window<F>,
    from: u64,
    each: &mut impl FnMut(Record<'_>),
) -> io::Result<Option<(u64, u64)>> {
    let mut place = from;
    loop {
        let Some(head) = window.get(place, FRAME)?.first_chunk::<FRAME>() else {
            return Ok(None);
        };
        if let Some(head) = Head::decode(head, place) {
            let bytes = window.get(place, FRAME + head.length)?;
            if let Some(bytes) = bytes.get(FRAME..FRAME + head.length)
                && let Some(record) = head.record(bytes, place)
            {
                each(record);
                return Ok(Some((place, place + (FRAME + head.length) as u64)));
            }
        }
        place += 1;
    }
}
