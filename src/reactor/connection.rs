//! One connection: its socket, what it has sent and is still to be sent, and where it stands.

use crate::broker::{CloseReason, ConnectionId, Origin, Traffic};
use crate::limits::{MAX_LINE_BEFORE_LOGIN, OUTPUT_CHUNK};
use crate::protocol::Pending;
use crate::reactor::buffer::OutputQueue;
use crate::reactor::connections::{Account, Waiters};
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
    /// Where it comes from; `None` for the master.
    pub origin: Option<Origin>,
    /// Its TLS handshake can go on, and waits for its turn.
    pub handshake: Option<Waiting>,
    /// The kernel said that the peer sends nothing more: read up to the end.
    pub hung_up: bool,
    /// The socket takes no more output; the kernel will say when it does.
    pub blocked: bool,
    pub stops: Stops,
    /// It carries the traffic of many.
    pub is_link: bool,
    /// Memory that the socket takes, in bytes, as it was last counted.
    pub socket_memory: usize,
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
    /// True if the peer takes no more output. Input that it has sent before is still processed.
    pub is_deaf: bool,
    /// Bytes of output that were queued, and discarded, when the peer stopped taking output.
    pub discarded: usize,
    /// A limit was passed; nothing is appended any more, and the broker will be told.
    pub over_limit: bool,
    pub closing: Option<CloseReason>,
    /// The broker has forgotten it; only the peer has not seen its last line, or the end of the stream.
    pub is_departing: bool,
    pub stalled_since_us: Option<u64>,
    pub last_output_us: u64,
    /// When something was last read from it; at first, when it was made.
    pub last_input_us: u64,
    /// True if so much of its output waits that senders who would add to it have to wait; see
    /// [`backpressure`](super::connections).
    pub is_full: bool,
    /// Links wait for it no more until it has room.
    pub is_too_slow_for_links: bool,
    /// On the list of receivers to be looked at, and when it was looked at last.
    pub in_checks: bool,
    pub checked_us: u64,
    /// On the list of receivers whose senders may go on.
    pub in_released: bool,
    /// Connections whose lines wait for it.
    pub waiters: Option<Box<Waiters>>,
}

/// The reasons for which lines of a connection are not processed, and the time for which it has been stopped.
#[derive(Debug, Default)]
pub struct Stops {
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
        self.by_broker || self.by_output || self.by_receiver
    }

    pub fn stop_by_broker(&mut self, now_us: u64) {
        self.start(now_us);
        self.by_broker = true;
    }

    pub fn stop_by_output(&mut self, now_us: u64) {
        self.start(now_us);
        self.by_output = true;
    }

    pub fn stop_by_receiver(&mut self, now_us: u64) {
        self.start(now_us);
        self.by_receiver = true;
    }

    pub fn is_by_receiver(&self) -> bool {
        self.by_receiver
    }

    /// Withdraws the stop by a full receiver. Reports whether that let the connection go on: no other reason to stop it
    /// is left.
    pub fn resume_by_receiver(&mut self, now_us: u64) -> bool {
        std::mem::take(&mut self.by_receiver) && self.end(now_us)
    }

    /// Withdraws the stop by the broker. Reports whether that let the connection go on: no other reason to stop it is
    /// left.
    pub fn resume_by_broker(&mut self, now_us: u64) -> bool {
        std::mem::take(&mut self.by_broker) && self.end(now_us)
    }

    /// Withdraws the stop by too much output. Reports whether that let the connection go on: no other reason to stop it
    /// is left.
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
            socket_memory: socket.memory(),
            socket,
            account,
            pending: None,
            output: None,
            readable: false,
            has_spoken: false,
            pace: Pace::default(),
            origin,
            handshake: None,
            hung_up: false,
            blocked: false,
            stops: Stops::default(),
            is_link: false,
            broker_memory: 0,
            wants_writable: false,
            in_ready: false,
            used_up_share: false,
            in_burst: false,
            in_deliveries: false,
            is_deaf: false,
            discarded: 0,
            over_limit: false,
            closing: None,
            is_departing: false,
            stalled_since_us: None,
            last_output_us: now_us,
            last_input_us: now_us,
            is_full: false,
            is_too_slow_for_links: false,
            in_checks: false,
            checked_us: 0,
            in_released: false,
            waiters: None,
        }
    }

    /// Bytes of output that the kernel is still to take. What TLS has left of it when the peer takes no more,
    /// nobody will.
    pub fn queued(&self) -> usize {
        if self.is_deaf {
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
        !self.is_deaf
            && (self.socket.unsent() > 0 || (self.output.is_some() && self.socket.is_open()))
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
            + self.broker_memory
            + self.socket_memory
    }

    /// Memory that is freed with it.
    pub fn own_memory(&self) -> usize {
        let output = self.output.as_ref().map_or(0, |output| output.capacity());
        output
            + self
                .pending
                .as_ref()
                .map_or(0, |pending| pending.capacity())
            + self.broker_memory
            + self.socket_memory
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
        !self.blocked && !std::mem::replace(&mut self.in_deliveries, true)
    }

    /// Reports whether output from the broker is still appended for it.
    pub fn takes_output(&self) -> bool {
        self.closing.is_none() && !self.over_limit && !self.is_deaf
    }

    pub fn traffic(&self, now_us: u64) -> Traffic {
        Traffic {
            queued: self.queued(),
            unread: self.pending.as_ref().map_or(0, |pending| pending.waiting()),
            stalled_since_us: self.stalled_since_us,
            last_output_us: self.last_output_us,
            last_input_us: self.last_input_us,
            is_in_handshake: !self.socket.is_open(),
            stopped_us: self.stops.total_us(now_us),
        }
    }
}
