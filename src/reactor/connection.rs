//! One connection: its socket, what it has sent and is still to be sent, and where it stands.

use crate::broker::{CloseReason, ConnectionId, Origin, Traffic};
use crate::limits::{MAX_LINE_BEFORE_LOGIN, OUTPUT_CHUNK};
use crate::protocol::Pending;
use crate::reactor::buffer::OutputQueue;
use crate::reactor::connections::{Account, Backpressure};
use crate::reactor::handshakes::Waiting;
use crate::reactor::pace::Pace;
use crate::reactor::socket::Socket;
use std::rc::Rc;

pub struct Connection<S> {
    pub id: ConnectionId,
    pub socket: S,
    /// The account that its memory counts for.
    pub account: Rc<Account>,
    /// Input that is not processed yet; `None` while there is none, so that an idle connection holds no buffer.
    pub pending: Option<Box<Pending>>,
    /// Output that is not written; `None` while there is none.
    pub output: Option<Box<OutputQueue>>,
    /// The kernel may have input that we have not read: it tells only once (edge-triggered).
    pub readable: bool,
    /// Something was read from it.
    pub has_spoken: bool,
    pub pace: Pace,
    /// `None` without TLS.
    pub tls: Option<Box<TlsPart>>,
    /// The kernel said that the peer sends nothing more: read up to the end.
    pub hung_up: bool,
    pub writing: Writing,
    pub stops: Stops,
    /// It carries the traffic of many.
    pub is_link: bool,
    /// Memory that the broker holds for it, in bytes.
    pub broker_memory: usize,
    /// The broker wants to be told when little is queued.
    pub wants_writable: bool,
    /// On a list of connections to be served.
    pub in_ready: bool,
    /// Its last share of a turn wasn't enough.
    pub used_up_share: bool,
    /// Among the receivers of the burst.
    pub in_burst: bool,
    /// On one of the lists of connections to be flushed when their turn comes.
    pub in_deliveries: bool,
    /// A limit was passed; nothing is appended any more, and the broker will be told.
    pub over_limit: bool,
    pub closing: Option<CloseReason>,
    /// The broker has forgotten it; only the peer has not seen its last line, or the end of the stream.
    pub is_departing: bool,
    pub last_output_us: u64,
    /// When something was last read from it; at first, when it was made.
    pub last_input_us: u64,
    /// Its senders may have to wait; `None` as long as little has waited for it.
    pub backpressure: Option<Box<Backpressure>>,
}

/// The part of a connection that only those with TLS have.
pub struct TlsPart {
    /// Where it comes from; `None` for the master.
    pub origin: Option<Origin>,
    /// Its handshake can go on, and waits for its turn.
    pub waiting: Option<Waiting>,
    /// Memory that the socket takes, in bytes, as it was last counted.
    pub memory: usize,
}

/// The state of a connection's output.
#[derive(Debug, Default)]
pub enum Writing {
    /// The socket takes output, as far as is known.
    #[default]
    Open,
    /// The socket takes no more output; the kernel will say when it does. The peer has taken nothing since that time.
    Blocked { since_us: u64 },
    /// The socket is to be written to again; the peer has taken nothing since that time.
    Retried { since_us: u64 },
    /// The peer takes no more output. Input that it has sent before is still processed.
    Deaf(Box<Deaf>),
}

#[derive(Debug)]
pub struct Deaf {
    since_us: u64,
    /// Bytes of output that were queued, and discarded, when the peer stopped taking output.
    discarded: usize,
}

impl Writing {
    pub fn is_blocked(&self) -> bool {
        matches!(self, Writing::Blocked { .. })
    }

    pub fn is_deaf(&self) -> bool {
        matches!(self, Writing::Deaf(_))
    }

    /// Since when the peer has taken nothing of what is queued.
    pub fn stalled_since_us(&self) -> Option<u64> {
        match self {
            Writing::Open => None,
            Writing::Blocked { since_us } | Writing::Retried { since_us } => Some(*since_us),
            Writing::Deaf(deaf) => Some(deaf.since_us),
        }
    }

    /// Bytes of output that were discarded.
    pub fn discarded(&self) -> usize {
        match self {
            Writing::Deaf(deaf) => deaf.discarded,
            _ => 0,
        }
    }

    /// The socket takes no more output. `has_taken`: it has just taken some.
    pub fn block(&mut self, has_taken: bool, now_us: u64) {
        let since_us = self.stalled_since_us().filter(|_| !has_taken);
        *self = Writing::Blocked {
            since_us: since_us.unwrap_or(now_us),
        };
    }

    /// A blocked socket may take output again. Returns false if it was not blocked.
    pub fn retry(&mut self) -> bool {
        let Writing::Blocked { since_us } = *self else {
            return false;
        };
        *self = Writing::Retried { since_us };
        true
    }

    /// The peer takes no more output, of which so many bytes were queued.
    pub fn deafen(&mut self, discarded: usize, now_us: u64) {
        let since_us = self.stalled_since_us().unwrap_or(now_us);
        *self = Writing::Deaf(Box::new(Deaf {
            since_us,
            discarded,
        }));
    }
}

/// The reasons for which lines of a connection are not processed, and the time for which it has been stopped. A
/// connection that was never stopped has none of it.
#[derive(Debug, Default)]
pub struct Stops(Option<Box<Stopped>>);

#[derive(Debug, Default)]
struct Stopped {
    /// True if the broker has stopped it.
    by_broker: bool,
    /// True if too much of its output waits.
    by_output: bool,
    /// True if its next line would go to a receiver that is full.
    by_receiver: bool,
    since_us: u64,
    total_us: u64,
}

impl Stops {
    pub fn any(&self) -> bool {
        self.0.as_ref().is_some_and(|stopped| stopped.is_now())
    }

    pub fn stop_by_broker(&mut self, now_us: u64) {
        self.start(now_us).by_broker = true;
    }

    pub fn stop_by_output(&mut self, now_us: u64) {
        self.start(now_us).by_output = true;
    }

    pub fn stop_by_receiver(&mut self, now_us: u64) {
        self.start(now_us).by_receiver = true;
    }

    pub fn is_by_receiver(&self) -> bool {
        self.0.as_ref().is_some_and(|stopped| stopped.by_receiver)
    }

    /// Withdraws the stop by a full receiver. Reports whether that let the connection go on: no other reason to stop it
    /// is left.
    pub fn resume_by_receiver(&mut self, now_us: u64) -> bool {
        self.end(now_us, |stopped| &mut stopped.by_receiver)
    }

    /// Withdraws the stop by the broker. Reports whether that let the connection go on: no other reason to stop it is
    /// left.
    pub fn resume_by_broker(&mut self, now_us: u64) -> bool {
        self.end(now_us, |stopped| &mut stopped.by_broker)
    }

    /// Withdraws the stop by too much output. Reports whether that let the connection go on: no other reason to stop it
    /// is left.
    pub fn resume_by_output(&mut self, now_us: u64) -> bool {
        self.end(now_us, |stopped| &mut stopped.by_output)
    }

    fn start(&mut self, now_us: u64) -> &mut Stopped {
        let stopped = self.0.get_or_insert_default();
        if !stopped.is_now() {
            stopped.since_us = now_us;
        }
        stopped
    }

    fn end(&mut self, now_us: u64, reason: impl Fn(&mut Stopped) -> &mut bool) -> bool {
        let Some(stopped) = &mut self.0 else {
            return false;
        };
        let goes_on = std::mem::take(reason(stopped)) && !stopped.is_now();
        if goes_on {
            stopped.total_us += now_us - stopped.since_us;
        }
        goes_on
    }

    /// Time stopped in all.
    fn total_us(&self, now_us: u64) -> u64 {
        self.0.as_ref().map_or(0, |stopped| {
            let current_us = match stopped.is_now() {
                true => now_us - stopped.since_us,
                false => 0,
            };
            stopped.total_us + current_us
        })
    }
}

impl Stopped {
    fn is_now(&self) -> bool {
        self.by_broker || self.by_output || self.by_receiver
    }
}

impl<S: Socket> Connection<S> {
    pub fn new(
        id: ConnectionId,
        socket: S,
        origin: Option<Origin>,
        account: Rc<Account>,
        now_us: u64,
    ) -> Connection<S> {
        Connection {
            id,
            tls: socket.is_tls().then(|| {
                Box::new(TlsPart {
                    origin,
                    waiting: None,
                    memory: socket.memory(),
                })
            }),
            socket,
            account,
            pending: None,
            output: None,
            readable: false,
            has_spoken: false,
            pace: Pace::default(),
            hung_up: false,
            writing: Writing::default(),
            stops: Stops::default(),
            is_link: false,
            broker_memory: 0,
            wants_writable: false,
            in_ready: false,
            used_up_share: false,
            in_burst: false,
            in_deliveries: false,
            over_limit: false,
            closing: None,
            is_departing: false,
            last_output_us: now_us,
            last_input_us: now_us,
            backpressure: None,
        }
    }

    /// Bytes of output that the kernel is still to take. What TLS has left of it when the peer takes no more,
    /// nobody will.
    pub fn queued(&self) -> usize {
        if self.writing.is_deaf() {
            return 0;
        }
        self.output.as_ref().map_or(0, |output| output.queued()) + self.socket.unsent()
    }

    /// About how many of these bytes others have caused: its own questions slow nobody down. A link carries the lines of
    /// many in both directions.
    pub fn unasked(&self) -> usize {
        match &self.output {
            Some(output) if !self.is_link => self.queued().min(output.unasked()),
            _ => self.queued(),
        }
    }

    /// Reports whether its output is too long to be written to many connections in one turn: more than [`OUTPUT_CHUNK`]
    /// bytes wait.
    pub fn has_long_output(&self) -> bool {
        self.queued() > OUTPUT_CHUNK
    }

    /// Reports whether there is output that the socket could take.
    pub fn has_output(&self) -> bool {
        !self.writing.is_deaf()
            && (self.socket.unsent() > 0 || (self.output.is_some() && self.socket.is_open()))
    }

    /// Bytes held for it: memory of its own, and what it shares.
    pub fn held(&self) -> usize {
        let output = self.output.as_ref();
        self.memory_with(output.map_or(0, |output| output.capacity().max(output.queued())))
    }

    /// Memory that is freed with it.
    pub fn own_memory(&self) -> usize {
        self.memory_with(self.output.as_ref().map_or(0, |output| output.capacity()))
    }

    fn memory_with(&self, output: usize) -> usize {
        let pending = self.pending.as_ref();
        output
            + pending.map_or(0, |pending| pending.capacity())
            + self.broker_memory
            + self.tls.as_ref().map_or(0, |tls| tls.memory)
    }

    /// Counts again what a TLS socket takes. Returns the memory before and now, in bytes.
    pub fn recount_socket(&mut self) -> (usize, usize) {
        let now = self.socket.memory();
        let tls = self.tls.as_mut();
        let before = tls.map_or(now, |tls| std::mem::replace(&mut tls.memory, now));
        (before, now)
    }

    /// Reports whether so much of its output waits that senders who would add to it have to wait; see
    /// [`backpressure`](super::connections).
    pub fn is_full(&self) -> bool {
        self.backpressure.as_ref().is_some_and(|it| it.is_full)
    }

    /// Reports whether other connections are served before this one: it sends much, asks for more of a long answer, or
    /// is departing. False for a link.
    pub fn is_bulk(&self) -> bool {
        let is_in_long_line = self
            .pending
            .as_ref()
            .is_some_and(|pending| pending.waiting() > MAX_LINE_BEFORE_LOGIN);
        !self.is_link
            && (self.used_up_share || self.is_departing || self.wants_writable || is_in_long_line)
    }

    /// Reports whether the caller is to put it on a list of connections to be written to, and marks it as listed: its
    /// socket takes output, and it is on none of these lists yet.
    pub fn becomes_due(&mut self) -> bool {
        !self.writing.is_blocked() && !std::mem::replace(&mut self.in_deliveries, true)
    }

    /// Reports whether output from the broker is still appended for it.
    pub fn takes_output(&self) -> bool {
        self.closing.is_none() && !self.over_limit && !self.writing.is_deaf()
    }

    pub fn traffic(&self, now_us: u64) -> Traffic {
        Traffic {
            queued: self.queued(),
            unread: self.pending.as_ref().map_or(0, |pending| pending.waiting()),
            missing: self.pending.as_ref().map_or(0, |pending| pending.missing()),
            stalled_since_us: self.writing.stalled_since_us(),
            last_output_us: self.last_output_us,
            last_input_us: self.last_input_us,
            is_in_handshake: !self.socket.is_open(),
            stopped_us: self.stops.total_us(now_us),
        }
    }
}
