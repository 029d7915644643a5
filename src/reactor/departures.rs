//! The ends of connections: the last write, and how long a socket stays when the broker has forgotten its connection.
//!
//! A peer that reads as much as there is may drop all of it when the end of the stream is among it: Net::Clacks clients
//! do. So the end comes once the peer has taken the last line, or has had the time to; clients of other languages get
//! it at once. Until the peer closes its side, its socket is read: a close with input unread is a reset, which destroys
//! output on its way.

use super::connections::Connections;
use super::socket::Socket;
use crate::broker::ConnectionId;
use crate::limits::{CLOSES_PER_TURN, END_CHECK_US, LINGER_US, TCP_END_US, WORK_PER_SYSCALL};
use std::collections::BTreeMap;

/// Connections that have got their last line, by the time when the next step is due.
#[derive(Default)]
pub struct Departures {
    steps: BTreeMap<(u64, ConnectionId), Departure>,
}

#[derive(Debug, Clone, Copy)]
struct Departure {
    since_us: u64,
    /// The end of the stream was sent.
    has_ended: bool,
}

impl Departures {
    /// When something is to be done next (monotonic).
    pub fn deadline(&self) -> Option<u64> {
        self.steps.keys().next().map(|(at_us, _)| *at_us)
    }

    /// Takes out the connection that goes next; it need not be there any more.
    pub fn pop(&mut self) -> Option<ConnectionId> {
        self.steps.pop_first().map(|((_, id), _)| id)
    }

    pub fn begin<S: Socket>(&mut self, id: ConnectionId, connections: &mut Connections<S>) {
        let now_us = connections.now.monotonic_us;
        let Some(connection) = connections.get(id) else {
            return;
        };
        // A peer that has not even been sent everything takes nothing, or too little.
        let is_all_sent = connection.queued() == 0 && !connection.writing.is_deaf();
        let drops_at_end = !connection.pace.is_off();
        let patience_us = match connection.socket.is_local() {
            true => END_CHECK_US,
            false => TCP_END_US,
        };
        connections.depart(id);
        let departure = Departure {
            since_us: now_us,
            has_ended: false,
        };
        if is_all_sent && drops_at_end {
            self.steps.insert((now_us + patience_us, id), departure);
        } else {
            self.end(id, departure, connections);
        }
    }

    /// Takes the next step of the connections for which it is due.
    pub fn handle_deadline<S: Socket>(&mut self, connections: &mut Connections<S>) {
        let now_us = connections.now.monotonic_us;
        for _ in 0..CLOSES_PER_TURN {
            let Some(step) = self.steps.first_entry() else {
                return;
            };
            let &(at_us, id) = step.key();
            if at_us > now_us {
                return;
            }
            let departure = step.remove();
            connections.work += WORK_PER_SYSCALL;
            if departure.has_ended || now_us >= departure.since_us + LINGER_US {
                connections.say_goodbye(id);
                connections.remove(id);
            } else if connections.has_untaken(id) {
                // Each time it takes twice as long as until now.
                let next_us = now_us + (now_us - departure.since_us);
                let next_us = next_us.min(departure.since_us + LINGER_US);
                self.steps.insert((next_us, id), departure);
            } else {
                self.end(id, departure, connections);
            }
        }
    }

    /// Sends the end of the stream.
    fn end<S: Socket>(
        &mut self,
        id: ConnectionId,
        departure: Departure,
        connections: &mut Connections<S>,
    ) {
        if connections.shutdown_write(id) {
            let ended = Departure {
                has_ended: true,
                ..departure
            };
            self.steps
                .insert((departure.since_us + LINGER_US, id), ended);
        } else {
            connections.remove(id);
        }
    }
}
