//! The connections of a Net::Clacks server.

use super::perl::Perl;
use clacks::broker::{ConnectionId, Flow, Now, Peer};
use clacks::protocol::Pending;
use std::collections::BTreeMap;

pub struct NetClacks {
    pub perl: Perl,
    sockets: Sockets,
    pub now: Now,
}

/// Takes what the server says to its connections.
#[derive(Default)]
pub struct Sockets {
    all: BTreeMap<ConnectionId, Socket>,
    made: u32,
    /// Whose lines need not wait any more.
    resumed: Vec<ConnectionId>,
    is_dialing: bool,
}

#[derive(Default)]
struct Socket {
    input: Pending,
    output: Vec<u8>,
    is_stopped: bool,
    is_closed: bool,
}

impl Sockets {
    pub fn say(&mut self, to: ConnectionId, line: &str) {
        if let Some(socket) = self.all.get_mut(&to).filter(|socket| !socket.is_closed) {
            socket.output.extend_from_slice(line.as_bytes());
            socket.output.extend_from_slice(b"\r\n");
        }
    }

    pub fn close(&mut self, id: ConnectionId) {
        if let Some(socket) = self.all.get_mut(&id) {
            socket.is_closed = true;
        }
    }

    pub fn resume(&mut self, id: ConnectionId) {
        if let Some(socket) = self.all.get_mut(&id) {
            socket.is_stopped = false;
            self.resumed.push(id);
        }
    }

    pub fn dial(&mut self) {
        self.is_dialing = true;
    }
}

impl NetClacks {
    pub fn new(perl: Perl, now: Now) -> NetClacks {
        NetClacks {
            perl,
            sockets: Sockets::default(),
            now,
        }
    }

    pub fn connect(&mut self, peer: Peer) -> ConnectionId {
        self.sockets.made += 1;
        let id = ConnectionId {
            slot: self.sockets.made,
            generation: 1,
        };
        self.sockets.all.insert(id, Socket::default());
        self.perl
            .handle_connected(id, peer, self.now, &mut self.sockets);
        id
    }

    pub fn fail_dial(&mut self) {
        self.perl.handle_dial_failed(self.now);
    }

    pub fn take_dial(&mut self) -> bool {
        std::mem::take(&mut self.sockets.is_dialing)
    }

    pub fn send(&mut self, id: ConnectionId, bytes: &[u8]) {
        if let Some(socket) = self.sockets.all.get_mut(&id) {
            socket.input.push(bytes);
        }
        self.serve(id);
    }

    pub fn hang_up(&mut self, id: ConnectionId) {
        self.sockets.close(id);
    }

    pub fn take(&mut self, id: ConnectionId) -> Vec<u8> {
        let socket = self.sockets.all.get_mut(&id);
        socket.map_or_else(Vec::new, |socket| std::mem::take(&mut socket.output))
    }

    pub fn has_closed(&self, id: ConnectionId) -> bool {
        let socket = self.sockets.all.get(&id);
        socket.is_none_or(|socket| socket.is_closed)
    }

    pub fn is_stopped(&self, id: ConnectionId) -> bool {
        let socket = self.sockets.all.get(&id);
        socket.is_some_and(|socket| socket.is_stopped)
    }

    /// The connection is closed on both sides.
    pub fn forget(&mut self, id: ConnectionId) {
        if self.sockets.all.remove(&id).is_some() {
            self.perl.handle_closed(id, self.now, &mut self.sockets);
        }
    }

    pub fn poll_deadline(&self) -> Option<u64> {
        self.perl.poll_deadline()
    }

    /// Does all that is to be done at this time.
    pub fn work_off(&mut self) {
        let is_due = |at_us: u64| at_us <= self.now.monotonic_us;
        if self.perl.poll_deadline().is_some_and(is_due) {
            self.perl.handle_deadline(self.now, &mut self.sockets);
        }
        while let Some(id) = self.sockets.resumed.pop() {
            self.serve(id);
        }
    }

    /// Hands a connection's finished lines to the server, up to one that has to wait.
    fn serve(&mut self, id: ConnectionId) {
        loop {
            let socket = self.sockets.all.get_mut(&id);
            let Some(socket) = socket.filter(|it| !it.is_stopped && !it.is_closed) else {
                return;
            };
            let Some(line) = socket.input.next_frame().map(<[u8]>::to_vec) else {
                return;
            };
            let flow = self
                .perl
                .handle_line(id, &line, self.now, &mut self.sockets);
            if let Some(socket) = self.sockets.all.get_mut(&id)
                && flow == Flow::StopBefore
            {
                socket.is_stopped = true;
                socket.input.put_back(line.len());
            }
        }
    }
}
