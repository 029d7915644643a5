//! The seam between the broker and whatever carries its bytes: the only way the broker acts.

use super::origin::Process;
use crate::protocol::encode;
use crate::protocol::peer::{Contribution, ShareId, Stamp, State};
use crate::protocol::shared::{Lines, Piece, SharedBytes};
use std::fmt;
use std::net::SocketAddr;

/// One connection among all there ever were: a slot, which is reused, and a generation, which isn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ConnectionId {
    pub slot: u32,
    pub generation: u32,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Unix(Process),
    Tcp(SocketAddr),
    /// The master, dialled by this node; the address if it was by TCP.
    Master(Option<SocketAddr>),
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
    /// What the system's clock showed at a moment of the monotonic one.
    pub fn wall_at(&self, monotonic_us: u64) -> u64 {
        (self.wall_us + monotonic_us).saturating_sub(self.monotonic_us)
    }
}

/// What is to be done with the connection's next line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// Go on.
    Next,
    /// Hand over no further line of this connection before [`Output::resume`].
    Stop,
    /// As [`Flow::Stop`], and then hand over this same line again: nothing was done about it. After
    /// [`Output::wait_for`] the carrier does so by itself.
    StopBefore,
}

/// What becomes of a frame that is longer than its connection may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum LongFrame {
    /// This connection may send as much: read on.
    Allowed,
    /// Drop it, up to its end, and go on with the next one.
    Skipped,
    /// The connection is being closed.
    Refused,
}

/// What the carrier knows of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes waiting to be sent.
    pub queued: usize,
    /// Bytes received that don't make a finished line yet, or have to wait.
    pub unread: usize,
    /// Since when the peer has taken nothing of what is queued (monotonic).
    pub stalled_since_us: Option<u64>,
    /// When something was last sent to it (monotonic).
    pub last_output_us: u64,
    /// How long, in all, the connection was not read because the server didn't want to: such time
    /// counts for no timeout.
    pub stopped_us: u64,
}

/// What is to outlive the process.
#[derive(Debug, Clone, PartialEq)]
pub enum Record<'a> {
    /// All there is of a name now, in place of what there was; and when a counter last changed.
    State {
        name: &'a [u8],
        state: State<'a>,
        changed_us: u64,
    },
    /// When a name was used, coarsely.
    Used { name: &'a [u8], accessed_us: u64 },
    /// One contribution to the counter that has that stamp; its other contributions stay.
    Count {
        name: &'a [u8],
        stamp: Stamp,
        accessed_us: u64,
        changed_us: u64,
        contribution: Contribution,
    },
    /// A CLEARCACHE: what is older is not there any more.
    Clear(Stamp),
    /// The marker: shares of counters that began before it are folded.
    Fold(Stamp),
    /// The share id that a run counts under and the version of its last step. If the run has ended in order, this is
    /// its last record, and the next run may take the id over.
    Run {
        share: ShareId,
        newest_us: u64,
        has_ended: bool,
    },
}

/// A journal is written anew, to be without what no longer matters.
#[derive(Debug, Clone, PartialEq)]
pub enum Rewrite<'a> {
    /// From now on the new journal gets what the old one gets, too. Rewrites are numbered, for
    /// [`Saved`] to say which one it is about.
    Begin(u64),
    /// This was there before, in whatever order.
    Held(Record<'a>),
    /// That was all: the new journal takes the old one's place when it is on the disk.
    End,
}

/// How it stands with what was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// So many records, counted from the start, are where they were promised to be.
    UpTo(u64),
    /// Nothing is saved any more, until the journal is written anew.
    Failed(String),
    /// The journal was written anew.
    Rewritten(Rewritten),
    /// The rewrite of that number came to nothing.
    NotRewritten(u64, String),
}

/// A rewrite that is done. When it had been given up, the next one may have begun meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// As [`Rewrite::Begin`] said it.
    pub number: u64,
    /// Bytes of the new journal.
    pub length: u64,
}

/// Who gets a signal: everybody who listens to its name, but its sender.
#[derive(Debug, Clone, Copy)]
pub struct Audience<'a> {
    pub id: AudienceId,
    pub listeners: &'a [ConnectionId],
    pub sender: Option<ConnectionId>,
}

/// The same for the same listeners in the same order, and never for others.
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

/// What the broker can do. Static dispatch: a call is as cheap as the code behind it.
pub trait Output {
    /// Appends to the connection's output, in place. Does nothing once it is being closed.
    fn append(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>));

    /// Appends lines to the connection's output. Their long parts may be shared instead of copied.
    fn append_lines(&mut self, to: ConnectionId, lines: &Lines) {
        for piece in lines.pieces() {
            let bytes: &[u8] = match piece {
                Piece::Copied(bytes) => bytes,
                Piece::Shared(bytes) => bytes,
            };
            if !bytes.is_empty() {
                self.append(to, |output| output.extend_from_slice(bytes));
            }
        }
    }

    /// Appends a line of these parts to the connection's output. If it ends with what lies in `source`, a long line that
    /// is shared, that part is not copied. Inlined, for the answer to RETRIEVE goes through here, and encoding is cheap
    /// where the number of parts is known.
    #[inline(always)]
    fn append_line(&mut self, to: ConnectionId, parts: &[&[u8]], source: Option<&SharedBytes>) {
        if let Some(lines) = source.and_then(|source| Lines::sharing(parts, source)) {
            self.append_lines(to, &lines);
        } else {
            self.append(to, |output| encode::line(output, parts));
        }
    }

    /// Appends as [`Output::append`] does, unless the peer has not taken yet what came before. It counts as sent in any case.
    fn append_if_taken(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) {
        self.append(to, encode);
    }

    /// Tries once more to send what waits, for a socket whose peer takes little at a time: the kernel tells of room
    /// only when there is much.
    fn retry(&mut self, _connection: ConnectionId) {}

    /// Appends the same bytes to many connections' output.
    fn fan_out(&mut self, to: impl IntoIterator<Item = ConnectionId>, payload: &[u8]);

    /// Appends a signal to its receivers' output. How many they are.
    fn deliver(&mut self, audience: &Audience<'_>, payload: &[u8]) -> usize {
        let mut receivers = 0;
        self.fan_out(audience.receivers().inspect(|_| receivers += 1), payload);
        receivers
    }

    /// Ends a connection: no more lines come from it. If the reason [drains](CloseReason::drains),
    /// what is queued is sent before; a second call gives that up. The broker is told when it is
    /// done.
    fn close(&mut self, connection: ConnectionId, reason: CloseReason);

    /// The connection has logged in: the memory of its buffers counts for that user, with that of the user's other
    /// connections.
    fn set_user(&mut self, _connection: ConnectionId, _user: &str) {}

    /// From now on the connection carries the traffic of many, both ways: it gets a larger share, is read
    /// however much waits to be sent to it, since that is no answer to what it says, and its memory counts for itself.
    fn make_trunk(&mut self, connection: ConnectionId);

    /// Ends a [`Flow::Stop`].
    fn resume(&mut self, connection: ConnectionId);

    /// The broker keeps so many bytes more (or less) for the connection: they count among its
    /// buffers.
    fn hold(&mut self, connection: ConnectionId, bytes: isize);

    /// Asks for one call of `handle_room`, in a later turn, when little is queued on the connection.
    fn want_room(&mut self, connection: ConnectionId);

    /// Whether any connection has so much output waiting that its senders should wait: only then is
    /// [`Output::wait_for`] to be asked of each receiver of a line.
    fn has_full_receivers(&self) -> bool {
        false
    }

    /// Whether `sender` has to wait before its next line is processed, because `receiver`, to which the line would go,
    /// has much output waiting and takes bytes of it; `kept` bytes more wait for it at the broker. A short line may use
    /// room that long ones leave: who says little does not wait for those who send much. If so, the broker
    /// answers [`Flow::StopBefore`], and the carrier hands the line over again when there is room, or when the receiver
    /// takes nothing any more.
    fn wait_for(
        &mut self,
        _sender: ConnectionId,
        _receiver: ConnectionId,
        _kept: usize,
        _is_short: bool,
    ) -> bool {
        false
    }

    /// Asks to make a slice of a long answer at once. `false`: others have used this turn up, and [`Output::want_room`]
    /// asks for another one.
    fn begin_slice(&mut self) -> bool {
        true
    }

    /// Dials the master of that number. The broker is told what came of it: `handle_connected` or
    /// `handle_dial_failed`.
    fn dial(&mut self, master: usize);

    /// Gives up dialling; the broker is told nothing more of it.
    fn hang_up(&mut self);

    fn traffic(&self, connection: ConnectionId) -> Traffic;

    /// The line being handled costs more than its bytes; see [`limits`](crate::limits) for the unit.
    fn add_work(&mut self, _work: usize) {}

    // The rest is for brokers with a journal only; see `Settings::journal`.

    /// Appends to the journal. `handle_saved` says when that is done.
    fn record(&mut self, _record: &Record<'_>) {}

    /// Writes the journal anew.
    fn rewrite(&mut self, _step: &Rewrite<'_>) {}

    /// Bytes that are on their way to the journal.
    fn unsaved(&self) -> usize {
        0
    }
}

macro_rules! close_reasons {
    ($($(#[doc = $doc:literal])* $name:ident $word:literal,)*) => {
        /// Why a connection ended. Its word stands in the log and in the status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum CloseReason {
            $($(#[doc = $doc])* $name,)*
        }

        impl CloseReason {
            pub const ALL: &[CloseReason] = &[$(CloseReason::$name,)*];

            pub fn word(self) -> &'static str {
                match self { $(CloseReason::$name => $word,)* }
            }
        }
    };
}

close_reasons! {
    /// The client sent QUIT.
    Quit "quit",
    /// The peer closed its side.
    EndOfStream "end_of_stream",
    /// Reading or writing failed.
    ConnectionLost "connection_lost",
    /// A wrong token.
    LoginFailed "login_failed",
    /// Not logged in within the auth timeout.
    AuthTimeout "auth_timeout",
    /// No PING within the ping timeout.
    PingTimeout "ping_timeout",
    /// Took nothing of its output for the stalled write timeout.
    StalledWrite "stalled_write",
    /// A line longer than allowed.
    LineTooLong "line_too_long",
    /// More output waiting than one client may have.
    OutputLimit "output_limit",
    /// The largest holder of buffers when all together held too much.
    BuffersLimit "buffers_limit",
    /// One connection more than allowed.
    ClientLimit "client_limit",
    /// CLIENTDISCONNECT.
    Disconnected "disconnected",
    /// OVERHEAD C.
    ClosedAll "closed_all",
    /// The server ends.
    Shutdown "shutdown",
    /// Its user was removed or changed.
    UserChanged "user_changed",
    /// The TLS handshake failed, or the peer's TLS was wrong later on.
    TlsFailed "tls_failed",
    /// Plain text came to a port for TLS.
    PlainToTls "plain_text_to_tls_port",
    /// TLS came to a port for plain text.
    TlsToPlain "tls_to_plain_text_port",
    /// An interclacks peer said TIMEOUT.
    PeerTimeout "peer_timeout",
    /// The servers form a ring.
    Ring "ring",
    /// An interclacks peer's clock is more than an hour ahead.
    ClockAhead "clock_ahead",
    /// An interclacks peer says what no server of the tree can say.
    Implausible "implausible",
    /// An interclacks peer announces a version of the lines between clacksd servers that is no longer spoken.
    PeerVersion "peer_version",
}

impl CloseReason {
    /// Whether what is queued is still sent.
    pub fn drains(self) -> bool {
        use CloseReason::*;
        match self {
            Quit | EndOfStream | LoginFailed | PingTimeout | LineTooLong | Disconnected
            | ClosedAll | Shutdown | UserChanged | ClientLimit | PeerTimeout | Ring
            | ClockAhead | Implausible | PeerVersion => true,
            ConnectionLost | AuthTimeout | StalledWrite | OutputLimit | BuffersLimit
            | TlsFailed | PlainToTls | TlsToPlain => false,
        }
    }

    /// Reports whether the peer is to see a last line, which says why. It may be in the middle of sending much, and a plain
    /// close would answer with a reset that destroys the line; and the end of the stream is not to come with the line.
    pub fn lingers(self) -> bool {
        let is_peers_wish = matches!(self, CloseReason::Quit | CloseReason::EndOfStream);
        self == CloseReason::BuffersLimit || (self.drains() && !is_peers_wish)
    }

    /// Whether that is the ordinary end of a connection.
    pub fn is_ordinary(self) -> bool {
        use CloseReason::*;
        matches!(
            self,
            Quit | EndOfStream | Disconnected | ClosedAll | Shutdown
        )
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
