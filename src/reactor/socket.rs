//! A connected socket, as the scheduling of the loop needs it. The kernel's sockets are [`Stream`](super::Stream)s; tests
//! have sockets in memory.

use super::handshakes::Step;
use crate::broker::ConnectionId;
use std::io::{self, Read, Write};

/// Reads and writes never wait: an error of kind `WouldBlock` says that nothing has come, or that nothing more is taken.
/// The defaults suit a socket without TLS.
pub trait Socket: Read + Write {
    /// Reports the events of sockets.
    type Poller;

    /// Asks for the events of a new socket. They carry `id`.
    fn register(&mut self, poller: &Self::Poller, id: ConnectionId) -> io::Result<()>;

    /// Asks for an event when the socket takes output again, or for no more such events.
    fn watch_writable(
        &mut self,
        poller: &Self::Poller,
        id: ConnectionId,
        is_wanted: bool,
    ) -> io::Result<()>;

    /// Returns true if the peer is on this machine, so that it takes output at once.
    fn is_local(&self) -> bool;

    /// The address of the peer, for the log.
    fn peer(&self) -> String;

    /// Returns true if the peer has not taken everything yet that was written.
    fn has_untaken(&self) -> bool;

    /// Tells the peer that nothing more will come.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Returns true if there is nothing more to read after a read of `count` bytes that asked for `asked`: an event
    /// will say when there is.
    fn is_drained(&self, count: usize, asked: usize) -> bool {
        count < asked
    }

    /// Returns true if the socket speaks TLS.
    fn is_tls(&self) -> bool {
        false
    }

    /// Writes bytes that come before the TLS handshake, as it takes them at once.
    fn write_in_plain(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }

    /// Returns true if it takes lines. A TLS handshake comes first, as far as the peer lets it.
    fn is_open(&self) -> bool {
        true
    }

    /// Returns true if it ever took lines, or would have: there is a peer that may miss some.
    fn has_carried(&self) -> bool {
        true
    }

    /// The next step of a TLS handshake; `None` without TLS.
    fn next_step(&self) -> Option<Step> {
        None
    }

    /// Bytes that it has taken but not passed to the kernel yet.
    fn unsent(&self) -> usize {
        0
    }

    /// Bytes that the kernel has taken of what TLS made; 0 without TLS.
    fn moved(&self) -> u64 {
        0
    }

    /// Memory that it takes beside what is counted otherwise, in bytes.
    fn memory(&self) -> usize {
        0
    }

    /// Before the socket is dropped: tells the peer, where TLS has a word for it, that what it got is complete.
    fn say_goodbye(&mut self) {}
}
