//! The values that come with events and go with actions: the identity of a connection, its peer, the time, and the
//! treatment of its next frame.

use super::labels::Labels;
use super::statistics::Turns;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// One connection among all there ever were: a slot, which is reused, and a generation, which isn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ConnectionId {
    pub slot: u32,
    pub generation: u32,
}

/// The process at the other end of a Unix socket, as the kernel names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Process {
    /// The user that it ran as when it connected.
    pub uid: u32,
    /// 0 if the system does not say.
    pub pid: u32,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid > 0 {
            write!(f, "process {} of ", self.pid)?;
        }
        write!(f, "uid {}", self.uid)
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Unix(Process),
    Tcp(TcpAddress),
    /// The master, dialled by this node; the address if it was by TCP.
    Master(Option<TcpAddress>),
}

/// Where a TCP connection leads to. It takes less memory than a [`SocketAddr`], of which IPv6 has more parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpAddress {
    ip: IpAddr,
    port: u16,
}

impl TcpAddress {
    pub fn ip(self) -> IpAddr {
        self.ip
    }

    pub fn port(self) -> u16 {
        self.port
    }
}

impl From<SocketAddr> for TcpAddress {
    fn from(address: SocketAddr) -> TcpAddress {
        TcpAddress {
            ip: address.ip(),
            port: address.port(),
        }
    }
}

impl fmt::Display for TcpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.ip, self.port).fmt(f)
    }
}

/// The time, read once a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Microseconds since some fixed moment; never goes back. For timeouts.
    pub monotonic_us: u64,
    /// Microseconds since 1970 by the system's clock, which may be set. For stamps.
    pub wall_us: u64,
}

impl Now {
    /// Returns the time that the system's clock showed at a moment of the monotonic one.
    pub fn wall_at(&self, monotonic_us: u64) -> u64 {
        (self.wall_us + monotonic_us).saturating_sub(self.monotonic_us)
    }
}

/// The treatment of a connection's next line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// Go on.
    Next,
    /// Hand over no further line of this connection before [`Carrier::resume`](super::Carrier::resume).
    Stop,
    /// As [`Flow::Stop`], and then hand over this same line again: nothing was done about it. After
    /// [`Carrier::wait_for`](super::Carrier::wait_for) the carrier does so by itself.
    StopBefore,
}

/// The treatment of a frame that is longer than its connection may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum LongFrame {
    /// This connection may send as much: read on.
    Allowed,
    /// Drop it, up to its end, and go on with the next one.
    Skipped,
    /// Drop its block, and then go on with its line.
    BlockSkipped,
    /// Keep so many bytes of the line that is not complete, and drop the rest of it.
    TailSkipped(usize),
    /// The connection is being closed.
    Refused,
}

/// The carrier's figures of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes waiting to be sent.
    pub queued: usize,
    /// Bytes received that don't make a finished line yet, or have to wait.
    pub unread: usize,
    /// Bytes that are known to be still to come of a frame that has begun.
    pub missing: usize,
    /// Since when the peer has taken nothing of what is queued (monotonic).
    pub stalled_since_us: Option<u64>,
    /// When something was last sent to it (monotonic).
    pub last_output_us: u64,
    /// When something was last received from it (monotonic).
    pub last_input_us: u64,
    /// The TLS handshake is not done yet.
    pub is_in_handshake: bool,
    /// How long, in all, the connection was not read because the server didn't want to: such time
    /// counts for no timeout.
    pub stopped_us: u64,
}

/// The figures of the process that a node runs in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostFigures {
    pub process_id: u32,
    /// Processor time used so far, by the program and by the system for it.
    pub user_us: u64,
    pub system_us: u64,
    /// Connections are accepted at the moment.
    pub is_accepting: bool,
    /// How often accepting has rested because it failed.
    pub accept_rests: u64,
    /// Turns that ended with input left on a connection.
    pub yields: u64,
    /// Bytes read from connections, and written to them.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Memory of connections, their buffers, and of what the broker keeps for them but the sessions, in bytes.
    pub held: usize,
    /// Memory of the process, in bytes; 0 if that is not known.
    pub resident: usize,
    pub turns: Turns,
}

/// Who gets a signal: everybody who listens to its name, but its sender.
#[derive(Debug, Clone, Copy)]
pub struct Audience<'a> {
    pub id: AudienceId,
    pub listeners: &'a [ConnectionId],
    pub sender: Option<ConnectionId>,
}

/// Who gets a message in which a text of each receiver's own stands.
#[derive(Debug, Clone, Copy)]
pub struct LabelledAudience<'a> {
    pub audience: Audience<'a>,
    /// The texts, in the order of the listeners.
    pub labels: &'a Labels,
}

impl<'a> LabelledAudience<'a> {
    pub fn receivers(&self) -> impl Iterator<Item = (ConnectionId, &'a [u8])> + use<'a> {
        let sender = self.audience.sender;
        let listeners = self.audience.listeners.iter().copied();
        let pairs = listeners.zip(self.labels.iter());
        pairs.filter(move |(listener, _)| Some(*listener) != sender)
    }
}

/// Identifies a list of listeners in their order: equal ids have equal lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AudienceId {
    pub(super) name: u32,
    /// How often anybody had begun or ended to listen to anything.
    pub(super) changes: u64,
}

impl<'a> Audience<'a> {
    pub fn receivers(&self) -> impl Iterator<Item = ConnectionId> + use<'a> {
        let sender = self.sender;
        let listeners = self.listeners.iter().copied();
        listeners.filter(move |listener| Some(*listener) != sender)
    }
}
