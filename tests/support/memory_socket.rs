//! A socket in memory, with which the real scheduling of the reactor runs in a test without a kernel.

use clacks::broker::ConnectionId;
use clacks::reactor::Socket;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

/// The side of the server; its peer is a [`MemoryPeer`].
pub struct MemorySocket(Rc<RefCell<Pipes>>);

/// The peer of a [`MemorySocket`]: writes what the server is to read, and reads what it has written.
pub struct MemoryPeer(Rc<RefCell<Pipes>>);

struct Pipes {
    to_server: VecDeque<u8>,
    from_server: Vec<u8>,
    /// Bytes that the server may write before the peer takes some. A peer with room for any number counts as one that
    /// reads them at once.
    capacity: usize,
    /// The server may write nothing, and much is on its way already.
    is_clogged: bool,
    /// Bytes that are said to be on their way: [`CLOGGED`], until the server gets on.
    unsent: usize,
    /// The connection that events of the socket carry, once it is registered.
    id: ConnectionId,
    /// The server wants to know when there is room again.
    is_watched: bool,
    /// The server has dropped its side, or sent the end of the stream.
    is_closed: bool,
    /// The peer has closed its side.
    has_hung_up: bool,
}

/// More than anybody waits for.
const CLOGGED: usize = 1 << 40;

/// A socket that takes so many bytes before its peer does, and that peer.
pub fn memory_pair(capacity: usize) -> (MemorySocket, MemoryPeer) {
    let pipes = Rc::new(RefCell::new(Pipes {
        to_server: VecDeque::new(),
        from_server: Vec::new(),
        capacity,
        is_clogged: false,
        unsent: 0,
        id: ConnectionId::default(),
        is_watched: false,
        is_closed: false,
        has_hung_up: false,
    }));
    (MemorySocket(Rc::clone(&pipes)), MemoryPeer(pipes))
}

impl MemoryPeer {
    pub fn write(&self, bytes: &[u8]) {
        self.0.borrow_mut().to_server.extend(bytes);
    }

    /// Closes its side: the server reads to the end.
    pub fn hang_up(&self) {
        self.0.borrow_mut().has_hung_up = true;
    }

    /// Takes all that the server has written.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().from_server)
    }

    /// Takes the first bytes of what the server has written.
    pub fn take_some(&self, count: usize) -> Vec<u8> {
        self.0.borrow_mut().from_server.drain(..count).collect()
    }

    /// From now on the server may write so many bytes before the peer takes some.
    pub fn set_capacity(&self, capacity: usize) {
        self.0.borrow_mut().capacity = capacity;
    }

    /// From now on the server may write nothing, as if very much were on its way that it had written before; or that is
    /// over.
    pub fn clog(&self, is_clogged: bool) {
        let mut pipes = self.0.borrow_mut();
        pipes.is_clogged = is_clogged;
        if is_clogged {
            pipes.unsent = CLOGGED;
        }
    }

    pub fn is_clogged(&self) -> bool {
        self.0.borrow().is_clogged
    }

    /// Bytes that the server has written and the peer has not taken.
    pub fn untaken(&self) -> usize {
        self.0.borrow().from_server.len()
    }

    /// The connection at the server.
    pub fn id(&self) -> ConnectionId {
        self.0.borrow().id
    }

    /// Bytes that the server has not read yet.
    pub fn unread(&self) -> usize {
        self.0.borrow().to_server.len()
    }

    /// Returns true if the server waits for an event because it could write no more.
    pub fn is_waited_for(&self) -> bool {
        self.0.borrow().is_watched
    }

    /// Returns true if the server writes nothing more.
    pub fn is_closed(&self) -> bool {
        self.0.borrow().is_closed
    }
}

impl Pipes {
    /// Passes on the bytes that are on their way, unless it is clogged.
    fn pass_on(&mut self) -> io::Result<()> {
        if self.is_clogged {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.unsent = 0;
        Ok(())
    }
}

impl Read for MemorySocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipes = self.0.borrow_mut();
        match pipes.to_server.read(buffer)? {
            0 if !pipes.has_hung_up => Err(ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for MemorySocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipes = self.0.borrow_mut();
        pipes.pass_on()?;
        let room = pipes.capacity.saturating_sub(pipes.from_server.len());
        let count = bytes.len().min(room);
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        pipes.from_server.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().pass_on()
    }
}

impl Socket for MemorySocket {
    type Poller = ();

    fn register(&mut self, (): &(), id: ConnectionId) -> io::Result<()> {
        self.0.borrow_mut().id = id;
        Ok(())
    }

    fn watch_writable(&mut self, (): &(), _: ConnectionId, is_wanted: bool) -> io::Result<()> {
        self.0.borrow_mut().is_watched = is_wanted;
        Ok(())
    }

    fn is_local(&self) -> bool {
        true
    }

    fn peer(&self) -> String {
        "a peer in memory".to_owned()
    }

    fn has_untaken(&self) -> bool {
        let pipes = self.0.borrow();
        pipes.capacity < usize::MAX && !pipes.from_server.is_empty()
    }

    fn unsent(&self) -> usize {
        self.0.borrow().unsent
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.0.borrow_mut().is_closed = true;
        Ok(())
    }
}

impl Drop for MemorySocket {
    fn drop(&mut self) {
        self.0.borrow_mut().is_closed = true;
    }
}
