//! The carrier: connections as the reactor has them, but for sockets. What it is told and asked for it checks
//! at once.

use super::oracle::{Oracle, holds_secret};
use super::others::{check_http, check_nats};
use clacks::broker::{
    Carrier, CloseReason, ConnectionId, Record, Recording, Rewrite, Saved, Settings, Traffic,
};
use clacks::limits::{LISTING_SLICE, LOW_WATER_MARK, PEER_LINE_EXTRA};
use clacks::protocol::{Language, Pending};

/// Output that may wait for one connection.
pub const MAX_OUTPUT: usize = 512 * 1024;

/// A connection.
pub struct Wire {
    pub id: ConnectionId,
    /// As the connection came.
    pub language: Language,
    pub input: Pending,
    /// Sent by the peer, and not come yet.
    pub on_the_way: Vec<u8>,
    /// True if the bytes that the peer has sent so far end within a line.
    pub is_within_line: bool,
    /// Waits to be taken by the peer.
    pub output: Vec<u8>,
    /// The peer takes nothing.
    pub is_stalled: bool,
    pub stalled_since_us: Option<u64>,
    /// The peer is gone: the lines that it has sent are handled, and nothing more is written to it.
    pub is_deaf: bool,
    stopped_by_broker: bool,
    stopped_by_output: bool,
    stopped_since_us: u64,
    stopped_us: u64,
    pub wants_writable: bool,
    pub held: isize,
    /// Something is kept for what it listens to, or was.
    pub has_listened: bool,
    pub is_link: bool,
    is_over_limit: bool,
    pub closing: Option<CloseReason>,
    last_output_us: u64,
    /// Something was sent to it.
    was_greeted: bool,
    pub oracle: Oracle,
}

impl Wire {
    pub fn is_stopped(&self) -> bool {
        self.stopped_by_broker || self.stopped_by_output
    }

    fn stop(&mut self, now_us: u64) {
        if !self.is_stopped() {
            self.stopped_since_us = now_us;
        }
    }

    pub fn stop_by_broker(&mut self, now_us: u64) {
        self.stop(now_us);
        self.stopped_by_broker = true;
    }

    fn note_resumed(&mut self, now_us: u64) {
        if !self.is_stopped() {
            self.stopped_us += now_us - self.stopped_since_us;
        }
    }

    fn takes_output(&self) -> bool {
        self.closing.is_none() && !self.is_over_limit
    }

    /// Reports whether the broker has stopped the connection, and is to resume it.
    pub fn waits_for_broker(&self) -> bool {
        self.stopped_by_broker
    }

    /// Reports whether the connection's next line may be handed to the broker. Stops a connection, unless it is a
    /// link, if more than half of [`MAX_OUTPUT`] waits for it.
    pub fn may_go_on(&mut self, now_us: u64) -> bool {
        if self.output.len() > MAX_OUTPUT / 2 && !self.is_link {
            self.stop(now_us);
            self.stopped_by_output = true;
        }
        self.takes_output() && !self.is_stopped()
    }

    /// The peer goes.
    pub fn deafen(&mut self, now_us: u64) {
        self.is_deaf = true;
        self.output.clear();
        self.stalled_since_us.get_or_insert(now_us);
        self.resume_by_output(now_us);
    }

    fn resume_by_output(&mut self, now_us: u64) {
        if std::mem::take(&mut self.stopped_by_output) {
            self.note_resumed(now_us);
        }
    }

    /// The peer takes up to so many bytes of what waits for it.
    pub fn take_output(&mut self, most: usize, now_us: u64) {
        let taken = most.min(self.output.len());
        self.output.drain(..taken);
        self.stalled_since_us = match self.output.is_empty() {
            true if !self.is_deaf => None,
            false if taken > 0 => Some(now_us),
            _ => self.stalled_since_us,
        };
        if self.output.len() < MAX_OUTPUT / 4 {
            self.resume_by_output(now_us);
        }
    }
}

/// The journal, as far as the broker knows it.
pub struct Disk {
    pub has_journal: bool,
    /// Records that were made and, as was told, saved.
    pub recorded: u64,
    pub saved: u64,
    pub has_failed: bool,
    /// A rewrite was begun; it has been ended.
    pub is_rewriting: bool,
    pub is_rewritten: bool,
    /// The number of the last rewrite.
    pub rewrite: u64,
    /// Results of writing that are not handed to the broker yet.
    pub news: Vec<Saved>,
    /// Bytes on their way.
    pub unsaved: usize,
}

pub struct Wires {
    pub all: Vec<Wire>,
    pub now_us: u64,
    generation: u32,
    /// The connection whose line is being handled, or which is being offered room for output.
    pub serving: Option<ConnectionId>,
    /// Output that the connection being served has got since its line was handed over, or room offered, in bytes.
    pub answered: usize,
    /// Passed a limit.
    pub ending: Vec<(ConnectionId, CloseReason)>,
    /// Closed a second time: what they are owed is given up.
    pub given_up: Vec<ConnectionId>,
    /// The number of the master that is dialled.
    pub dialing: Option<usize>,
    pub disk: Disk,
    /// The line that the broker logs in with at other servers.
    pub own_login: String,
    /// True if output is searched for secrets; false if the input itself contains secrets.
    pub looks_for_secrets: bool,
    /// A link is told no more at once.
    most_for_link: usize,
}

impl Wires {
    pub fn new(settings: &Settings, looks_for_secrets: bool) -> Wires {
        // A slice of what there is to tell, a little longer than it should be by its last entry, and the signals
        // that were held meanwhile.
        let slice = LISTING_SLICE + 2 * settings.max_line + PEER_LINE_EXTRA;
        Wires {
            all: Vec::new(),
            now_us: 0,
            generation: 0,
            serving: None,
            answered: 0,
            ending: Vec::new(),
            given_up: Vec::new(),
            dialing: None,
            disk: Disk {
                has_journal: settings.journal,
                recorded: 0,
                saved: 0,
                has_failed: false,
                is_rewriting: false,
                is_rewritten: false,
                rewrite: 0,
                news: Vec::new(),
                unsaved: 0,
            },
            own_login: String::new(),
            looks_for_secrets,
            most_for_link: slice + settings.max_held,
        }
    }

    #[inline(never)]
    pub fn get(&mut self, id: ConnectionId) -> Option<&mut Wire> {
        self.all.iter_mut().find(|wire| wire.id == id)
    }

    /// Who takes what is written to that connection.
    #[inline(never)]
    fn taker(&mut self, to: ConnectionId) -> Option<&mut Wire> {
        self.get(to).filter(|wire| wire.takes_output())
    }

    #[inline(never)]
    fn append_by(&mut self, to: ConnectionId, encode: &mut dyn FnMut(&mut Vec<u8>)) {
        let Some(wire) = self.taker(to) else {
            return;
        };
        let before = wire.output.len();
        encode(&mut wire.output);
        self.check_written(to, before);
    }

    /// Looks at what was written to a connection behind what already waited for it.
    #[inline(never)]
    fn check_written(&mut self, to: ConnectionId, before: usize) {
        let (now_us, is_serving) = (self.now_us, self.serving == Some(to));
        let most_for_link = self.most_for_link;
        let saved = self.disk.has_failed.then_some(u64::MAX);
        let saved = saved.unwrap_or(self.disk.saved);
        let own_login = self.looks_for_secrets.then_some(&*self.own_login);
        let Some(wire) = self.all.iter_mut().find(|wire| wire.id == to) else {
            return;
        };
        let (output, more) = (&wire.output, wire.output.len() - before);
        match wire.language {
            Language::Clacks => wire
                .oracle
                .check_output(&output[before..], saved, own_login),
            Language::Nats => check_nats(&output[before..], !wire.was_greeted),
            Language::Http => check_http(&output[before..]),
            _ => {}
        }
        let is_other = wire.language != Language::Clacks && own_login.is_some();
        assert!(!is_other || !holds_secret(&output[before..]), "a secret");
        wire.was_greeted |= more > 0;
        assert!(
            !wire.is_link || more <= most_for_link,
            "no more signals are held for a link than may be"
        );
        if wire.is_deaf {
            // The reactor doesn't even ask what it would be.
            wire.output.clear();
            return;
        }
        wire.last_output_us = now_us;
        if is_serving {
            self.answered += more;
        } else if wire.output.len() > MAX_OUTPUT {
            wire.is_over_limit = true;
            self.ending.push((to, CloseReason::OutputLimit));
        }
    }

    /// The connection to the master, unless it is on its way out.
    pub fn uplink(&self) -> Option<ConnectionId> {
        let is_it = |wire: &&Wire| wire.oracle.is_uplink && wire.closing.is_none();
        self.all.iter().find(is_it).map(|wire| wire.id)
    }

    pub fn add(&mut self, language: Language, oracle: Oracle) -> ConnectionId {
        let is_free = |slot: &u32| self.all.iter().all(|wire| wire.id.slot != *slot);
        let slot = (0..).find(is_free).expect("a free slot");
        self.generation += 1;
        let generation = self.generation;
        let id = ConnectionId { slot, generation };
        self.all.push(Wire {
            id,
            language,
            input: Pending::new(language),
            on_the_way: Vec::new(),
            is_within_line: false,
            output: Vec::new(),
            is_stalled: false,
            stalled_since_us: None,
            is_deaf: false,
            stopped_by_broker: false,
            stopped_by_output: false,
            stopped_since_us: 0,
            stopped_us: 0,
            wants_writable: false,
            held: 0,
            has_listened: false,
            is_link: false,
            is_over_limit: false,
            closing: None,
            last_output_us: self.now_us,
            was_greeted: false,
            oracle,
        });
        id
    }
}

/// A copy of it in each of its callers would be new ground to a fuzzer: so none is inlined.
impl Carrier for Wires {
    fn append(&mut self, to: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut encode = Some(encode);
        self.append_by(to, &mut |bytes| {
            let encode = encode.take().expect("it is called once");
            encode(bytes);
        });
    }

    fn fan_out(&mut self, to: impl IntoIterator<Item = ConnectionId>, payload: &[u8]) {
        for id in to {
            self.append(id, |bytes| bytes.extend_from_slice(payload));
        }
    }

    #[inline(never)]
    fn close(&mut self, id: ConnectionId, reason: CloseReason) {
        let Some(wire) = self.get(id) else { return };
        if wire.closing.is_some() {
            self.given_up.push(id);
            return;
        }
        wire.closing = Some(reason);
        wire.input = Pending::default();
    }

    #[inline(never)]
    fn set_link(&mut self, id: ConnectionId) {
        let wire = self.get(id).expect("only who is there becomes a link");
        wire.is_link = true;
        wire.oracle.become_link();
    }

    #[inline(never)]
    fn resume(&mut self, id: ConnectionId) {
        let now_us = self.now_us;
        if let Some(wire) = self.get(id)
            && std::mem::take(&mut wire.stopped_by_broker)
        {
            wire.note_resumed(now_us);
        }
    }

    #[inline(never)]
    fn charge_memory(&mut self, id: ConnectionId, bytes: isize) {
        if let Some(wire) = self.get(id) {
            wire.held += bytes;
            assert!(wire.held >= 0, "nobody holds less than nothing");
        }
    }

    #[inline(never)]
    fn request_writable(&mut self, id: ConnectionId) {
        if let Some(wire) = self.get(id) {
            wire.wants_writable = true;
        }
    }

    #[inline(never)]
    fn dial(&mut self, master: usize) {
        assert!(self.dialing.is_none(), "one is dialled at a time");
        let is_connected = self.uplink().is_some();
        assert!(!is_connected, "there is one uplink at a time");
        self.dialing = Some(master);
    }

    #[inline(never)]
    fn cancel_dial(&mut self) {
        self.dialing = None;
    }

    #[inline(never)]
    fn traffic(&self, id: ConnectionId) -> Traffic {
        let Some(wire) = self.all.iter().find(|wire| wire.id == id) else {
            return Traffic::default();
        };
        let now_stopped_us = match wire.is_stopped() {
            true => self.now_us - wire.stopped_since_us,
            false => 0,
        };
        Traffic {
            queued: wire.output.len(),
            unread: wire.input.waiting(),
            missing: wire.input.missing(),
            stalled_since_us: wire.stalled_since_us,
            last_output_us: wire.last_output_us,
            last_input_us: 0,
            is_in_handshake: false,
            stopped_us: wire.stopped_us + now_stopped_us,
        }
    }
}

impl Recording for Wires {
    #[inline(never)]
    fn record(&mut self, record: &Record<'_>) {
        assert!(self.disk.has_journal, "there is a journal");
        self.disk.recorded += 1;
        self.disk.unsaved += match record {
            Record::State { name, .. }
            | Record::Used { name, .. }
            | Record::Count { name, .. }
            | Record::Touch { name, .. } => 48 + name.len(),
            Record::Clear(_) | Record::Fold(_) | Record::Linked | Record::Run { .. } => 48,
        };
    }

    #[inline(never)]
    fn rewrite(&mut self, step: &Rewrite<'_>) {
        match step {
            // One that came to nothing is begun anew without an end.
            Rewrite::Begin(number) => {
                (self.disk.is_rewriting, self.disk.is_rewritten) = (true, false);
                self.disk.rewrite = *number;
            }
            Rewrite::Held(_) => assert!(self.disk.is_rewriting, "it was begun"),
            Rewrite::End => {
                assert!(std::mem::take(&mut self.disk.is_rewriting), "it was begun");
                self.disk.is_rewritten = true;
            }
        }
    }

    fn unsaved(&self) -> usize {
        self.disk.unsaved
    }
}

/// Reports whether a connection waits for room for output and has it.
pub fn has_room(wire: &Wire) -> bool {
    wire.wants_writable && wire.output.len() < LOW_WATER_MARK && wire.closing.is_none()
}
