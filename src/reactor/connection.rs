//! One connection: its socket, what it has sent and is still to be sent, and where it stands.

use crate::broker::{CloseReason, ConnectionId, Traffic};
use crate::limits::MAX_LINE_BEFORE_LOGIN;
use crate::protocol::line::Pending;
use crate::reactor::buffer::OutputQueue;
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

/// A connected socket.
pub enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    /// Tells the peer that nothing more will come.
    pub fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tcp(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.write_vectored(slices),
            Stream::Tcp(stream) => stream.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Stream {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.register(registry, token, interests),
            Stream::Tcp(stream) => stream.register(registry, token, interests),
        }
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.reregister(registry, token, interests),
            Stream::Tcp(stream) => stream.reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.deregister(registry),
            Stream::Tcp(stream) => stream.deregister(registry),
        }
    }
}

pub struct Connection {
    pub id: ConnectionId,
    pub stream: Stream,
    /// Input that is not worked off: `None` while there is none, so that an idle connection holds no
    /// buffer.
    pub pending: Option<Box<Pending>>,
    /// Output that is not written; `None` while there is none.
    pub output: Option<Box<OutputQueue>>,
    /// The kernel may have input that we have not read: it tells only once (edge-triggered).
    pub readable: bool,
    /// The kernel said that the peer sends nothing more: read up to the end.
    pub hung_up: bool,
    /// The socket takes no more output; the kernel will say when it does.
    pub blocked: bool,
    pub stops: Stops,
    /// What the broker keeps for it, in bytes.
    pub held_by_broker: usize,
    /// The broker wants to be told when little is queued.
    pub wants_room: bool,
    /// On a list of connections to be served.
    pub in_ready: bool,
    /// Its last share of a turn wasn't enough.
    pub used_up_share: bool,
    /// On the list of connections to be flushed when their turn comes.
    pub in_deliveries: bool,
    /// A limit was passed; nothing is appended any more, and the broker will be told.
    pub over_limit: bool,
    pub closing: Option<CloseReason>,
    /// The broker has forgotten it; only the peer has not read the parting words yet.
    pub lingering: bool,
    pub stalled_since_us: Option<u64>,
    pub last_output_us: u64,
}

/// Why lines of a connection are not worked off, and for how long that has been so.
#[derive(Debug, Default)]
pub struct Stops {
    /// The broker said so.
    by_broker: bool,
    /// Too much of its output waits.
    by_output: bool,
    since_us: u64,
    total_us: u64,
}

impl Stops {
    pub fn any(&self) -> bool {
        self.by_broker || self.by_output
    }

    pub fn stop_by_broker(&mut self, now_us: u64) {
        self.start(now_us);
        self.by_broker = true;
    }

    pub fn stop_by_output(&mut self, now_us: u64) {
        self.start(now_us);
        self.by_output = true;
    }

    /// Whether that ended the stop.
    pub fn resume_by_broker(&mut self, now_us: u64) -> bool {
        std::mem::take(&mut self.by_broker) && self.end(now_us)
    }

    /// Whether that ended the stop.
    pub fn resume_by_output(&mut self, now_us: u64) -> bool {
        std::mem::take(&mut self.by_output) && self.end(now_us)
    }

    fn start(&mut self, now_us: u64) {
        if !self.any() {
            self.since_us = now_us;
        }
    }

    fn end(&mut self, now_us: u64) -> bool {
        if !self.any() {
            self.total_us += now_us - self.since_us;
        }
        !self.any()
    }

    /// Time stopped in all.
    fn total_us(&self, now_us: u64) -> u64 {
        self.total_us
            + if self.any() {
                now_us - self.since_us
            } else {
                0
            }
    }
}

impl Connection {
    pub fn new(id: ConnectionId, stream: Stream, now_us: u64) -> Connection {
        Connection {
            id,
            stream,
            pending: None,
            output: None,
            readable: false,
            hung_up: false,
            blocked: false,
            stops: Stops::default(),
            held_by_broker: 0,
            wants_room: false,
            in_ready: false,
            used_up_share: false,
            in_deliveries: false,
            over_limit: false,
            closing: None,
            lingering: false,
            stalled_since_us: None,
            last_output_us: now_us,
        }
    }

    pub fn queued(&self) -> usize {
        self.output.as_ref().map_or(0, |output| output.queued())
    }

    /// Bytes held for it: memory of its own, and what it shares.
    pub fn held(&self) -> usize {
        let output = self
            .output
            .as_ref()
            .map_or(0, |output| output.capacity().max(output.queued()));
        output
            + self
                .pending
                .as_ref()
                .map_or(0, |pending| pending.capacity())
            + self.held_by_broker
    }

    /// Memory that is freed with it.
    pub fn own_memory(&self) -> usize {
        let output = self.output.as_ref().map_or(0, |output| output.capacity());
        output
            + self
                .pending
                .as_ref()
                .map_or(0, |pending| pending.capacity())
            + self.held_by_broker
    }

    /// Whether it sends so much that the others are served first.
    pub fn is_bulk(&self) -> bool {
        let is_in_long_line = self
            .pending
            .as_ref()
            .is_some_and(|pending| pending.waiting() > MAX_LINE_BEFORE_LOGIN);
        self.used_up_share || self.lingering || is_in_long_line
    }

    /// Whether the broker still gives it output.
    pub fn takes_output(&self) -> bool {
        self.closing.is_none() && !self.over_limit
    }

    pub fn traffic(&self, now_us: u64) -> Traffic {
        Traffic {
            queued: self.queued(),
            unread: self.pending.as_ref().map_or(0, |pending| pending.waiting()),
            stalled_since_us: self.stalled_since_us,
            last_output_us: self.last_output_us,
            stopped_us: self.stops.total_us(now_us),
        }
    }
}
