//! All connections of a load, driven by one thread that waits with epoll.

use super::Trouble;
use super::speaker::{Exchange, Speaker};
use super::wire::{Socket, Wire};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A server that says nothing for so long has forgotten an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Read at once, from whichever connection.
const SCRATCH: usize = 64 * 1024;
const EVENTS: usize = 1024;

pub struct Crowd {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    wires: Vec<Wire>,
    scratch: Box<[u8]>,
}

impl Crowd {
    pub fn new(sockets: Vec<Box<dyn Socket>>) -> Result<Crowd, Trouble> {
        let mut crowd = Crowd {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(lost)?,
            events: Vec::with_capacity(EVENTS),
            wires: Vec::with_capacity(sockets.len()),
            scratch: vec![0; SCRATCH].into_boxed_slice(),
        };
        for socket in sockets {
            crowd.add(socket)?;
        }
        Ok(crowd)
    }

    pub fn add(&mut self, socket: Box<dyn Socket>) -> Result<(), Trouble> {
        let wire = Wire::new(socket);
        let index = epoll::EventData::new_u64(self.wires.len() as u64);
        epoll::add(&self.epoll, wire.descriptor(), index, epoll::EventFlags::IN).map_err(lost)?;
        self.wires.push(wire);
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.wires.len()
    }

    pub fn is_empty(&self) -> bool {
        self.wires.is_empty()
    }

    pub fn answered(&self, index: usize) -> u64 {
        self.wires[index].answered()
    }

    /// Counts exchanges anew, where none is under way.
    pub fn start_anew(&mut self) {
        self.wires.iter_mut().for_each(Wire::start_anew);
    }

    pub fn send(&mut self, index: usize, bytes: &[u8]) -> Result<(), Trouble> {
        self.change(index, |wire| wire.send(bytes))
    }

    /// Does something, and waits for room afterwards if there was too little.
    fn change(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Wire) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let wire = &mut self.wires[index];
        let before = wire.wants_room();
        act(wire)?;
        let wants_room = wire.wants_room();
        if wants_room == before {
            return Ok(());
        }
        let flags = match wants_room {
            true => epoll::EventFlags::IN | epoll::EventFlags::OUT,
            false => epoll::EventFlags::IN,
        };
        let data = epoll::EventData::new_u64(index as u64);
        epoll::modify(&self.epoll, wire.descriptor(), data, flags).map_err(lost)
    }

    /// Waits until something happens, and goes on with what waits for room. How many connections there
    /// are at which something did.
    pub fn wait(&mut self) -> Result<usize, Trouble> {
        let patience = Timespec::try_from(PATIENCE).expect("some seconds");
        loop {
            self.events.clear();
            let room = rustix::buffer::spare_capacity(&mut self.events);
            match epoll::wait(&self.epoll, room, Some(&patience)) {
                Ok(0) => return Err(Trouble::Late),
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(lost(error)),
            }
        }
        for number in 0..self.events.len() {
            // A copy, for the kernel packs it.
            let flags = self.events[number].flags;
            if flags.contains(epoll::EventFlags::OUT) {
                self.change(self.ready(number), Wire::send_rest)?;
            }
        }
        Ok(self.events.len())
    }

    /// Which one of those is the one of that number.
    pub fn ready(&self, number: usize) -> usize {
        let data = self.events[number].data;
        usize::try_from(data.u64()).expect("it was an index")
    }

    /// Reads there; see [`Wire::hear`].
    pub fn hear<'a>(
        &mut self,
        index: usize,
        speaker: &dyn Speaker,
        expected: impl Fn(u64) -> &'a [u8],
    ) -> Result<(), Trouble> {
        let mut scratch = std::mem::take(&mut self.scratch);
        // It may have something to answer by itself.
        let heard = self.change(index, |wire| wire.hear(speaker, &mut scratch, expected));
        self.scratch = scratch;
        heard
    }

    /// Has connections from `first` on do one exchange each, and waits until all are done.
    pub fn exchange(
        &mut self,
        speaker: &dyn Speaker,
        first: usize,
        exchanges: &[Exchange],
    ) -> Result<(), Trouble> {
        self.start_anew();
        for (number, exchange) in exchanges.iter().enumerate() {
            self.send(first + number, &exchange.request)?;
        }
        let mut waiting = exchanges.len();
        while waiting > 0 {
            for event in 0..self.wait()? {
                let index = self.ready(event);
                let own = index.checked_sub(first).and_then(|own| exchanges.get(own));
                let before = self.answered(index);
                self.hear(index, speaker, |number| match own {
                    Some(exchange) if number == 0 => &exchange.answer,
                    _ => &[],
                })?;
                waiting -= usize::from(self.answered(index) > before);
            }
        }
        Ok(())
    }
}

fn lost(error: Errno) -> Trouble {
    Trouble::Lost(error.into())
}
