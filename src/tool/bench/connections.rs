//! All connections of a load, driven by one thread with epoll.

use super::connection::{LoadConnection, Socket};
use super::error::BenchError;
use super::protocol::{BenchProtocol, Exchange};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The time limit for an answer of the server.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The size of the read buffer that all connections share, in bytes.
const SCRATCH: usize = 64 * 1024;
/// The number of events fetched by one call of epoll.
const EVENTS: usize = 1024;

/// The connections of a load, each known by its index.
pub struct LoadConnections {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    connections: Vec<LoadConnection>,
    scratch: Box<[u8]>,
}

impl LoadConnections {
    pub fn new(sockets: Vec<Box<dyn Socket>>) -> Result<LoadConnections, BenchError> {
        let mut connections = LoadConnections {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(lost)?,
            events: Vec::with_capacity(EVENTS),
            connections: Vec::with_capacity(sockets.len()),
            scratch: vec![0; SCRATCH].into_boxed_slice(),
        };
        for socket in sockets {
            connections.add(socket)?;
        }
        Ok(connections)
    }

    pub fn add(&mut self, socket: Box<dyn Socket>) -> Result<(), BenchError> {
        let connection = LoadConnection::new(socket);
        let index = epoll::EventData::new_u64(self.connections.len() as u64);
        epoll::add(
            &self.epoll,
            connection.descriptor(),
            index,
            epoll::EventFlags::IN,
        )
        .map_err(lost)?;
        self.connections.push(connection);
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.connections.len()
    }

    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// The number of exchanges of a connection that were answered.
    pub fn answered(&self, index: usize) -> u64 {
        self.connections[index].answered()
    }

    /// Sets the counts of exchanges to 0. No exchange may be in progress.
    pub fn reset_counts(&mut self) {
        self.connections
            .iter_mut()
            .for_each(LoadConnection::reset_counts);
    }

    /// Writes bytes to a connection, or keeps what it does not accept.
    pub fn send(&mut self, index: usize, bytes: &[u8]) -> Result<(), BenchError> {
        self.change(index, |connection| connection.send(bytes))
    }

    /// Calls `act` with a connection, and updates the events that epoll waits for there.
    fn change(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut LoadConnection) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        let connection = &mut self.connections[index];
        let before = connection.wants_writable();
        act(connection)?;
        let wants_writable = connection.wants_writable();
        if wants_writable == before {
            return Ok(());
        }
        let flags = match wants_writable {
            true => epoll::EventFlags::IN | epoll::EventFlags::OUT,
            false => epoll::EventFlags::IN,
        };
        let data = epoll::EventData::new_u64(index as u64);
        epoll::modify(&self.epoll, connection.descriptor(), data, flags).map_err(lost)
    }

    /// Waits for events, and writes to the connections that have become writable. Returns the number of connections with
    /// an event; [`LoadConnections::ready`] gives their indices.
    ///
    /// # Errors
    /// [`BenchError::Late`] if nothing happens within the time limit.
    pub fn wait(&mut self) -> Result<usize, BenchError> {
        let timeout = Timespec::try_from(TIMEOUT).expect("some seconds");
        loop {
            self.events.clear();
            let room = rustix::buffer::spare_capacity(&mut self.events);
            match epoll::wait(&self.epoll, room, Some(&timeout)) {
                Ok(0) => return Err(BenchError::Late),
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(lost(error)),
            }
        }
        for number in 0..self.events.len() {
            // A copy, because the fields of the kernel's struct are not aligned.
            let flags = self.events[number].flags;
            if flags.contains(epoll::EventFlags::OUT) {
                self.change(self.ready(number), LoadConnection::send_pending)?;
            }
        }
        Ok(self.events.len())
    }

    /// The index of the connection that the event with that number belongs to.
    pub fn ready(&self, number: usize) -> usize {
        let data = self.events[number].data;
        usize::try_from(data.u64()).expect("it was an index")
    }

    /// Reads from a connection; see [`LoadConnection::receive`].
    pub fn receive<'a>(
        &mut self,
        index: usize,
        protocol: &dyn BenchProtocol,
        expected: impl Fn(u64) -> &'a [u8],
    ) -> Result<(), BenchError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        // Reading may write as well: some unsolicited lines have to be answered.
        let received = self.change(index, |connection| {
            connection.receive(protocol, &mut scratch, expected)
        });
        self.scratch = scratch;
        received
    }

    /// Performs one exchange on each connection from `first` on, and waits for all answers.
    pub fn exchange(
        &mut self,
        protocol: &dyn BenchProtocol,
        first: usize,
        exchanges: &[Exchange],
    ) -> Result<(), BenchError> {
        self.reset_counts();
        for (number, exchange) in exchanges.iter().enumerate() {
            self.send(first + number, &exchange.request)?;
        }
        let mut waiting = exchanges.len();
        while waiting > 0 {
            for event in 0..self.wait()? {
                let index = self.ready(event);
                let own = index.checked_sub(first).and_then(|own| exchanges.get(own));
                let before = self.answered(index);
                self.receive(index, protocol, |number| match own {
                    Some(exchange) if number == 0 => &exchange.answer,
                    _ => &[],
                })?;
                waiting -= usize::from(self.answered(index) > before);
            }
        }
        Ok(())
    }
}

fn lost(error: Errno) -> BenchError {
    BenchError::Lost(error.into())
}
