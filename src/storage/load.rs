//! Reads journals: intact ones, torn ones and damaged ones.

use super::disk::{Disk, DiskFile, FileName};
use super::format::{self, FRAME, HEADER, Head, Header, Key, VERSION};
use crate::broker::Record;
use crate::limits::{MIB, REQUESTS_PREFETCHED};
use std::fmt;
use std::io::{self, Read};
use std::ops::{ControlFlow, Range};
use std::path::Path;

/// The result of reading a journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub records: u64,
    /// The end of the last readable record, as an offset. The rest is cut off, unless something before it is damaged.
    pub length: u64,
    /// The number of bytes at the end that are no complete record, because their write was interrupted.
    pub torn: u64,
    /// The unreadable parts before the last readable record.
    pub damage: Option<Damage>,
}

impl Loaded {
    /// Returns true if everything that was ever appended was read.
    pub fn is_whole(&self) -> bool {
        self.torn == 0 && self.damage.is_none()
    }
}

/// Unreadable bytes between readable records, and the number of places with such bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Damage {
    pub bytes: u64,
    pub places: u64,
}

/// The reason for which a journal was not loaded. The file was not changed.
#[derive(Debug)]
pub enum LoadError {
    Io(io::Error),
    /// The journal has another version of the format.
    OtherVersion(u32),
    /// The file is not a journal, or both parts of its header are damaged.
    NoJournal,
    /// The caller stopped the reading.
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

/// A journal that was loaded, open for appending.
pub struct OpenJournal<F> {
    pub file: F,
    /// The key of its frames' checksums.
    pub key: Key,
}

/// A window that moves through a file from its beginning to its end.
struct Window<F> {
    file: F,
    bytes: Vec<u8>,
    /// The offset in the file of the first byte in `bytes`.
    place: u64,
    is_at_end: bool,
}

/// The number of bytes read at once.
const READ_SIZE: usize = MIB;
/// The number of records handed over at once, at most: as many as are prefetched.
const RECORDS_AT_ONCE: usize = REQUESTS_PREFETCHED;

impl<F: Read> Window<F> {
    fn new(file: F) -> Window<F> {
        Window {
            file,
            bytes: Vec::new(),
            place: 0,
            is_at_end: false,
        }
    }

    /// Returns `length` bytes from an offset on, or fewer if the file ends there. The offset must not be before the one of
    /// the last call.
    fn get(&mut self, place: u64, length: usize) -> io::Result<&[u8]> {
        let mut skip = usize::try_from(place - self.place).expect("it is within what is kept");
        if skip + length > self.bytes.len() {
            let gone = skip.min(self.bytes.len());
            self.bytes.drain(..gone);
            self.place += gone as u64;
            skip -= gone;
            while skip + length > self.bytes.len() && !self.is_at_end {
                let more = (skip + length - self.bytes.len()).max(READ_SIZE) as u64;
                let read = self.file.by_ref().take(more).read_to_end(&mut self.bytes)?;
                self.is_at_end = read == 0;
            }
        }
        let end = (skip + length).min(self.bytes.len());
        Ok(&self.bytes[skip.min(end)..end])
    }

    /// Reports whether `length` bytes from an offset on can be returned without reading.
    fn holds(&self, place: u64, length: usize) -> bool {
        place + length as u64 <= self.place + self.bytes.len() as u64
    }

    /// Returns the bytes between two offsets that were read last.
    fn held(&self, start: u64, end: u64) -> &[u8] {
        &self.bytes[(start - self.place) as usize..(end - self.place) as usize]
    }
}

/// Reads the header of a journal; `None` if only the beginning of a header was ever written.
fn read_header<F: Read>(window: &mut Window<F>) -> Result<Option<Header>, LoadError> {
    match Header::decode(window.get(0, HEADER)?) {
        header @ (Header::Good(_) | Header::Damaged(_)) => Ok(Some(header)),
        Header::Torn => Ok(None),
        Header::OtherVersion(version) => Err(LoadError::OtherVersion(version)),
        Header::Unknown => Err(LoadError::NoJournal),
    }
}

/// Checks that the file at `path`, if there is one, begins like a journal that could be loaded.
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

/// Reads the journal, if there is one, and calls `each` with its records in their order, some at once. An incomplete record
/// at the end is cut off. If the journal is damaged, a copy is kept as [`FileName::Bad`]. `each` can stop the reading, which leaves
/// the journal unchanged. Returns `None` if there is no journal, or only the beginning of a header.
pub fn load<D: Disk>(
    disk: &mut D,
    each: impl FnMut(&[Record<'_>]) -> ControlFlow<()>,
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

/// The result of reading a journal, and the open journal.
pub type Found<F> = (Loaded, OpenJournal<F>);

/// A reader that moves through a journal from frame to frame.
///
/// After damage, a frame may begin at any byte. Checking one offset takes constant time, unless the bytes there are a
/// valid head; then the record is read as well, which may be as long as the file. Bytes are a valid head by chance once in
/// 2^32 offsets, and nobody can forge one. The time of a start relies on neither: the bytes read in vain are bounded by a
/// multiple of the file's length.
struct Reading<F> {
    window: Window<F>,
    key: Key,
    file_length: u64,
    /// The offset of the next byte at which a frame may begin.
    place: u64,
    /// The number of bytes read in records with a valid head and a wrong checksum.
    wasted: u64,
}

/// The largest number of bytes read in vain, as a multiple of the file's length.
const MAX_WASTED: u64 = 2;

impl<F: Read> Reading<F> {
    fn new(window: Window<F>, key: Key, file_length: u64) -> Reading<F> {
        Reading {
            window,
            key,
            file_length,
            place: HEADER as u64,
            wasted: 0,
        }
    }

    /// Calls `each` with all readable records.
    fn records(
        &mut self,
        mut each: impl FnMut(&[Record<'_>]) -> ControlFlow<()>,
    ) -> Result<Loaded, LoadError> {
        let mut loaded = Loaded {
            length: self.place,
            ..Loaded::default()
        };
        loop {
            let frames = self.next_frames()?;
            if frames.is_empty() {
                return Ok(loaded);
            }
            let mut records = Vec::with_capacity(frames.len());
            for frame in frames {
                let bytes = self.window.held(frame.start + FRAME as u64, frame.end);
                // No server can have written an impossible record: it is damage, and nothing within its frame is read.
                let Some(record) = format::decode(bytes) else {
                    continue;
                };
                if frame.start > loaded.length {
                    let damage = loaded.damage.get_or_insert_default();
                    damage.bytes += frame.start - loaded.length;
                    damage.places += 1;
                }
                loaded.length = frame.end;
                records.push(record);
            }
            loaded.records += records.len() as u64;
            if each(&records).is_break() {
                return Err(LoadError::Stopped);
            }
        }
    }

    /// Finds the next intact frames, all of them within the window. Returns none at the end of the file.
    fn next_frames(&mut self) -> Result<Vec<Range<u64>>, LoadError> {
        let mut frames = Vec::with_capacity(RECORDS_AT_ONCE);
        while frames.len() < RECORDS_AT_ONCE {
            let at = self.place;
            // The window may only move when it has no frame yet that was found.
            if !frames.is_empty() && !self.window.holds(at, FRAME) {
                break;
            }
            let Some(head) = self.window.get(at, FRAME)?.first_chunk::<FRAME>() else {
                break;
            };
            let room = self.file_length.saturating_sub(at + FRAME as u64);
            if let Some(head) = Head::decode(head, self.key, at, room)
                && self.wasted + head.length as u64 <= MAX_WASTED * self.file_length
            {
                let length = FRAME + head.length;
                if !frames.is_empty() && !self.window.holds(at, length) {
                    break;
                }
                let frame = self.window.get(at, length)?;
                let record = frame.get(FRAME..length);
                if record.is_some_and(|record| head.matches(record)) {
                    self.place += length as u64;
                    frames.push(at..self.place);
                    continue;
                }
                self.wasted += head.length as u64;
            }
            self.place += 1;
        }
        Ok(frames)
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

    /// Valid heads, as if by chance, with long records after them that are not valid.
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
        let loaded = reading.records(|records| {
            names.extend(records.iter().map(|record| format!("{record:?}")));
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
        const BEFORE_VALUE: usize = FRAME + 17;
        let inner = frame(&used(b"inner"), key, bytes.len() + BEFORE_VALUE);
        let impossible = Record::State {
            name: b"",
            state: crate::protocol::peer::State {
                stamp: Default::default(),
                accessed_us: 0,
                register: crate::protocol::peer::Register::Value(&inner),
                attributes: Default::default(),
                contributions: Vec::new(),
            },
            changed_us: 0,
        };
        let outer = frame(&impossible, key, bytes.len());
        assert!(outer.ends_with(&inner) && outer.len() - inner.len() == BEFORE_VALUE);
        bytes.extend_from_slice(&outer);
        let last = frame(&used(b"last"), key, bytes.len());
        bytes.extend_from_slice(&last);
        let mut names = Vec::new();
        let loaded = reading(&bytes, key).records(|records| {
            names.extend(records.iter().map(|record| format!("{record:?}")));
            ControlFlow::Continue(())
        });
        let loaded = loaded.expect("bytes can be read");
        assert_eq!(names, [format!("{:?}", used(b"last"))]);
        let damage = loaded.damage.expect("it is counted");
        assert_eq!((damage.bytes, damage.places), (outer.len() as u64, 1));
    }
}
