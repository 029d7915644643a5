//! A disk in memory. At a power cut everything goes that was not synced: each page by itself, in any
//! order, and the names of files from the last ones on. Every call can be made to fail, or a write to be
//! cut short.

use crate::support::Random;
use clacks::storage::{Disk, DiskFile, FileName, Place};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::rc::Rc;

const PAGE: usize = 4096;

/// A file, whatever it is called.
#[derive(Default, Clone)]
struct Content {
    bytes: Vec<u8>,
    /// The bytes that were synced. A power cut leaves them, and possibly some of the dirty pages.
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

/// Which file has a name: journal, new, bad.
type Names = [Option<usize>; 3];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing is done.
    Fails,
    /// Of a write some is done; of everything else, nothing.
    CutShort,
    /// All is done, but it is said to have failed.
    DoneAndFails,
}

#[derive(Default)]
struct State {
    files: Vec<Content>,
    names: Names,
    /// The file that was opened as the journal, or was the last to get its name.
    journal: Option<usize>,
    /// Names as they were after each change since the last one that is on the disk, and that one first.
    past_names: Vec<Names>,
    calls: u64,
    keys_drawn: u64,
    /// From that call on, so many calls.
    fault: Option<(u64, u64, Fault)>,
}

/// All clones are the same disk.
#[derive(Clone, Default)]
pub struct SimulatedDisk(Rc<RefCell<State>>);

fn place(name: FileName) -> usize {
    match name {
        FileName::Journal => 0,
        FileName::New => 1,
        FileName::Bad => 2,
    }
}

impl State {
    /// Counts a call; the fault that it is to have, if any.
    fn call(&mut self) -> Option<Fault> {
        self.calls += 1;
        let (from, count, fault) = self.fault?;
        (from..from + count).contains(&self.calls).then_some(fault)
    }

    fn set_name(&mut self, name: FileName, file: Option<usize>) {
        if self.past_names.is_empty() {
            self.past_names.push(Names::default());
        }
        self.names[place(name)] = file;
        self.past_names.push(self.names);
    }
}

fn failure() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

impl SimulatedDisk {
    pub fn with_journal(bytes: Vec<u8>) -> SimulatedDisk {
        let disk = SimulatedDisk::default();
        let mut state = disk.0.borrow_mut();
        state.files.push(Content {
            durable: bytes.clone(),
            bytes,
            dirty: BTreeSet::new(),
        });
        state.names = [Some(0), None, None];
        state.past_names = vec![state.names];
        drop(state);
        disk
    }

    pub fn bytes(&self, name: FileName) -> Option<Vec<u8>> {
        let state = self.0.borrow();
        state.names[place(name)].map(|file| state.files[file].bytes.clone())
    }

    pub fn calls(&self) -> u64 {
        self.0.borrow().calls
    }

    /// Lets `count` calls after the first `after` of all have that fault.
    pub fn set_fault(&self, after: u64, count: u64, fault: Fault) {
        self.0.borrow_mut().fault = Some((after + 1, count, fault));
    }

    pub fn clear_fault(&self) {
        self.0.borrow_mut().fault = None;
    }

    /// Returns a disk with the files that a power cut leaves on this one.
    pub fn cut_power(&self, random: &mut Random) -> SimulatedDisk {
        let state = self.0.borrow();
        let mut left = State::default();
        for file in &state.files {
            let mut bytes = file.durable.clone();
            for &page in &file.dirty {
                if random.below(2) == 0 {
                    continue;
                }
                let start = page * PAGE;
                let end = (start + PAGE).min(file.bytes.len());
                if end > bytes.len() {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(&file.bytes[start..end]);
            }
            left.files.push(Content {
                durable: bytes.clone(),
                bytes,
                dirty: BTreeSet::new(),
            });
        }
        left.names = match state.past_names.len() {
            0 => state.names,
            count => state.past_names[random.below(count)],
        };
        left.past_names = vec![left.names];
        left.keys_drawn = state.keys_drawn;
        SimulatedDisk(Rc::new(RefCell::new(left)))
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn open(&mut self, name: FileName) -> io::Result<SimulatedFile> {
        let mut state = self.0.borrow_mut();
        if state.call().is_some() {
            return Err(failure());
        }
        let file = state.names[place(name)].ok_or(io::ErrorKind::NotFound)?;
        if name == FileName::Journal {
            state.journal = Some(file);
        }
        Ok(SimulatedFile {
            disk: self.clone(),
            file,
            read: 0,
        })
    }

    fn create(&mut self, name: FileName) -> io::Result<SimulatedFile> {
        let mut state = self.0.borrow_mut();
        let fault = state.call();
        if matches!(fault, Some(Fault::Fails | Fault::CutShort)) {
            return Err(failure());
        }
        let file = state.files.len();
        state.files.push(Content::default());
        state.set_name(name, Some(file));
        match fault {
            Some(_) => Err(failure()),
            None => Ok(SimulatedFile {
                disk: self.clone(),
                file,
                read: 0,
            }),
        }
    }

    fn rename(&mut self, from: FileName, to: FileName) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let fault = state.call();
        if matches!(fault, Some(Fault::Fails | Fault::CutShort)) {
            return Err(failure());
        }
        let file = state.names[place(from)].ok_or(io::ErrorKind::NotFound)?;
        if state.past_names.is_empty() {
            state.past_names.push(Names::default());
        }
        // Both at once.
        state.names[place(from)] = None;
        state.names[place(to)] = Some(file);
        let names = state.names;
        state.past_names.push(names);
        if fault.is_none() && to == FileName::Journal {
            state.journal = Some(file);
        }
        fault.map_or(Ok(()), |_| Err(failure()))
    }

    fn keep(&mut self, from: FileName, to: FileName) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        if state.call().is_some() {
            return Err(failure());
        }
        let file = state.names[place(from)];
        state.set_name(to, file);
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        if state.call().is_some() {
            return Err(failure());
        }
        state.past_names = vec![state.names];
        Ok(())
    }

    fn random(&mut self) -> io::Result<[u8; 16]> {
        let mut state = self.0.borrow_mut();
        state.keys_drawn += 1;
        let mut random = Random::new(state.keys_drawn);
        let mut bytes = [0; 16];
        bytes.fill_with(|| random.below(256) as u8);
        Ok(bytes)
    }

    fn path_leads_to(&self) -> io::Result<Place> {
        let state = self.0.borrow();
        Ok(match state.names[place(FileName::Journal)] {
            None => Place::Nothing,
            own if own == state.journal => Place::Own,
            Some(_) => Place::Other,
        })
    }

    fn describe(&self, name: FileName) -> String {
        format!("{name:?}")
    }
}

pub struct SimulatedFile {
    disk: SimulatedDisk,
    file: usize,
    read: usize,
}

impl Read for SimulatedFile {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.0.borrow();
        let bytes = &state.files[self.file].bytes[self.read..];
        let count = bytes.len().min(to.len());
        to[..count].copy_from_slice(&bytes[..count]);
        self.read += count;
        Ok(count)
    }
}

impl Write for SimulatedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.0.borrow_mut();
        let fault = state.call();
        let count = match fault {
            None | Some(Fault::DoneAndFails) => bytes.len(),
            Some(Fault::Fails) => return Err(failure()),
            Some(Fault::CutShort) if bytes.len() > 1 => bytes.len() / 2,
            Some(Fault::CutShort) => return Err(failure()),
        };
        let content = &mut state.files[self.file];
        let start = content.bytes.len();
        content.bytes.extend_from_slice(&bytes[..count]);
        content
            .dirty
            .extend(start / PAGE..=(start + count.max(1) - 1) / PAGE);
        if fault == Some(Fault::DoneAndFails) {
            return Err(failure());
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for SimulatedFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.0.borrow_mut();
        let fault = state.call();
        let content = &mut state.files[self.file];
        if matches!(fault, Some(Fault::Fails | Fault::CutShort)) {
            // As Linux does it: the pages count as clean, and the next sync succeeds without them.
            content.dirty.clear();
            return Err(failure());
        }
        content.durable = content.bytes.clone();
        content.dirty.clear();
        fault.map_or(Ok(()), |_| Err(failure()))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.0.borrow().files[self.file].bytes.len() as u64)
    }

    fn reserve(&mut self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.disk.0.borrow_mut();
        let content = &mut state.files[self.file];
        content.bytes.truncate(length as usize);
        content.durable.truncate(length as usize);
        content.dirty.retain(|page| page * PAGE < length as usize);
        Ok(())
    }
}
