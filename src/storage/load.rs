//! Reading a journal: whole ones, torn ones and damaged ones.

use super::disk::{Disk, DiskFile, FileName};
use super::format::{self, FRAME, HEADER, Head, Header, Key, VERSION};
use crate::broker::Record;
use crate::limits::MIB;
use std::fmt;
use std::io::{self, Read};
use std::ops::ControlFlow;
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

impl Loaded {
    /// Whether everything that was ever appended was read.
    pub fn is_whole(&self) -> bool {
        self.torn == 0 && self.damage.is_none()
    }
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
    /// A clacksd with another version of journals wrote it.
    OtherVersion(u32),
    /// It is something else, or both parts of its header are damaged.
    NoJournal,
    /// Whoever took the records wanted no more.
    Stopped,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Io(error) => error.fmt(f),
            LoadError::OtherVersion(version) => write!(
                f,
                "a journal of version {version}; this clacksd reads and writes version {VERSION} only"
            ),
            LoadError::NoJournal => {
                f.write_str("it is no journal of clacksd, or its header is destroyed")
            }
            LoadError::Stopped => f.write_str("reading it was stopped"),
        }
    }
}

impl From<io::Error> for LoadError {
    fn from(error: io::Error) -> LoadError {
        LoadError::Io(error)
    }
}

/// A journal that was read and can be appended to.
pub struct OpenJournal<F> {
    pub file: F,
    /// For the checksums of its frames.
    pub key: Key,
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

/// Reads the header of a journal. `None` if only the beginning of one was ever written.
fn read_header<F: Read>(window: &mut Window<F>) -> Result<Option<Header>, LoadError> {
    match Header::decode(window.get(0, HEADER)?) {
        header @ (Header::Good(_) | Header::Damaged(_)) => Ok(Some(header)),
        Header::Torn => Ok(None),
        Header::OtherVersion(version) => Err(LoadError::OtherVersion(version)),
        Header::Unknown => Err(LoadError::NoJournal),
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
    read_header(&mut Window::new(file)).map(|_| ())
}

/// Reads the journal, if there is one, and hands its records over in their order. What is torn off at its
/// end is cut; of what was damaged, a copy is kept. `each` may break the reading off, which leaves the journal as it
/// is.
pub fn load<D: Disk>(
    disk: &mut D,
    each: impl FnMut(Record<'_>) -> ControlFlow<()>,
) -> Result<Option<Found<D::File>>, LoadError> {
    let file = match disk.open(FileName::Journal) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let file_length = file.length()?;
    let mut window = Window::new(file);
    let Some(header) = read_header(&mut window)? else {
        return Ok(None);
    };
    let (Header::Good(key) | Header::Damaged(key)) = header else {
        unreachable!("other headers are errors");
    };
    let mut reading = Reading::new(window, key, file_length);
    let mut loaded = reading.records(each)?;
    if matches!(header, Header::Damaged(_)) {
        let damage = loaded.damage.get_or_insert_default();
        damage.bytes += format::PART as u64;
        damage.places += 1;
    }
    let mut file = reading.window.file;
    loaded.torn = file_length.saturating_sub(loaded.length);
    if loaded.damage.is_some() {
        disk.keep(FileName::Journal, FileName::Bad)?;
        disk.sync_names()?;
    } else if loaded.torn > 0 {
        file.set_length(loaded.length)?;
    }
    Ok(Some((loaded, OpenJournal { file, key })))
}

/// A journal that is there, and what was read of it.
pub type Found<F> = (Loaded, OpenJournal<F>);

/// The way through a journal, from frame to frame.
///
/// Behind a damaged place every byte may be the beginning of a frame. To look at one takes constant time, unless its
/// head is right; then the record is read as well, which may be as long as the file. A head is right by chance once in
/// 2^32 places, and nobody can forge one; but the time that a start takes rests on neither: what is read in vain is
/// bounded by a multiple of the file's length.
struct Reading<F> {
    window: Window<F>,
    key: Key,
    file_length: u64,
    /// Bytes of records whose checksums were wrong though their heads were right.
    wasted: u64,
}

/// So many times its length may be read of a file in vain.
const MAX_WASTED: u64 = 2;

/// A frame of a journal, and where the next one begins.
enum Step {
    Record {
        at: u64,
        end: u64,
    },
    /// The frame is whole, but no server can have written what is in it.
    Impossible {
        end: u64,
    },
    End,
}

impl<F: Read> Reading<F> {
    fn new(window: Window<F>, key: Key, file_length: u64) -> Reading<F> {
        Reading {
            window,
            key,
            file_length,
            wasted: 0,
        }
    }

    /// Hands all records over that can be read.
    fn records(
        &mut self,
        mut each: impl FnMut(Record<'_>) -> ControlFlow<()>,
    ) -> Result<Loaded, LoadError> {
        let mut place = HEADER as u64;
        let mut loaded = Loaded {
            length: place,
            ..Loaded::default()
        };
        loop {
            match self.step(place, &mut each)? {
                Step::End => return Ok(loaded),
                Step::Impossible { end } => place = end,
                Step::Record { at, end } => {
                    if at > loaded.length {
                        let damage = loaded.damage.get_or_insert_default();
                        damage.bytes += at - loaded.length;
                        damage.places += 1;
                    }
                    loaded.records += 1;
                    (loaded.length, place) = (end, end);
                }
            }
        }
    }

    /// Looks for the first frame from a place on.
    fn step(
        &mut self,
        from: u64,
        each: &mut impl FnMut(Record<'_>) -> ControlFlow<()>,
    ) -> Result<Step, LoadError> {
        let mut at = from;
        loop {
            let Some(head) = self.window.get(at, FRAME)?.first_chunk::<FRAME>() else {
                return Ok(Step::End);
            };
            let room = self.file_length.saturating_sub(at + FRAME as u64);
            if let Some(head) = Head::decode(head, self.key, at, room)
                && self.wasted + head.length as u64 <= MAX_WASTED * self.file_length
            {
                let frame = self.window.get(at, FRAME + head.length)?;
                let end = at + (FRAME + head.length) as u64;
                match frame.get(FRAME..FRAME + head.length) {
                    Some(record) if head.matches(record) => {
                        return Ok(match format::decode(record) {
                            Some(record) => {
                                if each(record).is_break() {
                                    return Err(LoadError::Stopped);
                                }
                                Step::Record { at, end }
                            }
                            None => Step::Impossible { end },
                        });
                    }
                    _ => self.wasted += head.length as u64,
                }
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(bytes: &[u8], key: Key) -> Reading<&[u8]> {
        Reading::new(Window::new(bytes), key, bytes.len() as u64)
    }

    fn frame(record: &Record<'_>, key: Key, place: usize) -> Vec<u8> {
        let mut frame = Vec::new();
        format::encode(&mut frame, record);
        format::seal(&mut frame, key, place as u64);
        frame
    }

    fn used(name: &[u8]) -> Record<'_> {
        Record::Used {
            name,
            accessed_us: 1,
        }
    }

    /// Heads that are right, by whatever chance, and long records behind them that are not.
    #[test]
    fn what_is_read_in_vain_behind_damage_is_bounded_by_the_length_of_the_file() {
        const HEADS: usize = 4_000;
        let key = Key::from_bytes([1; 16]);
        let mut bytes = format::header(key).to_vec();
        let name = vec![b'n'; HEADS * FRAME];
        for _ in 0..HEADS {
            let frame = frame(&used(&name), key, bytes.len());
            bytes.extend_from_slice(&frame[..FRAME]);
        }
        // Each record ends within the file.
        bytes.extend_from_slice(&name);
        bytes.extend_from_slice(&name);
        let last = frame(&used(b"last"), key, bytes.len());
        bytes.extend_from_slice(&last);
        let mut reading = reading(&bytes, key);
        let mut names = Vec::new();
        let loaded = reading.records(|record| {
            names.push(format!("{record:?}"));
            ControlFlow::Continue(())
        });
        let loaded = loaded.expect("bytes can be read");
        assert_eq!(loaded.records, 1, "what takes little is still read");
        assert!(
            reading.wasted <= MAX_WASTED * bytes.len() as u64,
            "{} of {}",
            reading.wasted,
            bytes.len()
        );
        assert!(reading.wasted > bytes.len() as u64, "some heads are right");
    }

    #[test]
    fn nothing_within_a_frame_is_read_whose_record_is_impossible() {
        let key = Key::from_bytes([1; 16]);
        let mut bytes = format::header(key).to_vec();
        // The name is empty; a value would be a frame.
        let inner = frame(&used(b"inner"), key, bytes.len() + FRAME + 42);
        let impossible = Record::State {
            name: b"",
            state: crate::protocol::peer::State {
                stamp: Default::default(),
                accessed_us: 0,
                register: crate::protocol::peer::Register::Value(&inner),
                contributions: Vec::new(),
            },
            changed_us: 0,
        };
        let outer = frame(&impossible, key, bytes.len());
        assert!(outer.ends_with(&inner) && outer.len() - inner.len() == FRAME + 42);
        bytes.extend_from_slice(&outer);
        let last = frame(&used(b"last"), key, bytes.len());
        bytes.extend_from_slice(&last);
        let mut names = Vec::new();
        let loaded = reading(&bytes, key).records(|record| {
            names.push(format!("{record:?}"));
            ControlFlow::Continue(())
        });
        let loaded = loaded.expect("bytes can be read");
        assert_eq!(names, [format!("{:?}", used(b"last"))]);
        let damage = loaded.damage.expect("it is counted");
        assert_eq!((damage.bytes, damage.places), (outer.len() as u64, 1));
    }
}
