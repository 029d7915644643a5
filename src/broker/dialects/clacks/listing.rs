//! KEYLIST, KEYINFO, CLIENTLIST, and RETRIEVE of a long value: answers that may be long, produced a slice at a time as the client
//! takes them. The connection's next line waits until its answer is complete.

use super::encoded_answer::EncodedAnswer;
use super::status;
use crate::broker::Broker;
use crate::broker::cache::Found;
use crate::broker::carrier::Carrier;
use crate::broker::dialects::nats;
use crate::broker::dialects::report::client_row;
use crate::broker::events::{ConnectionId, Flow, Now};
use crate::broker::interclacks::Link;
use crate::broker::key_list::KeyList;
use crate::broker::session::{Session, Sessions};
use crate::limits::{LISTING_SLICE, SECOND_US, WORK_PER_BYTE_COPIED};
use crate::protocol::encode;
use crate::protocol::shown::{fits_in_line, shown};
use std::ops::ControlFlow;

/// An answer in the making.
pub struct Listing {
    /// The line that asked for it; monitors see it when the answer is complete. Empty if they have
    /// seen it before, because it was too long to be kept.
    line: Box<[u8]>,
    stage: Stage,
    /// The memory of the stage, in bytes, as it was last charged to the connection.
    held: usize,
}

impl Listing {
    /// Returns the memory that was last charged for the listing, in bytes. Panics if that is not the memory in use; for
    /// [`Broker::check`].
    pub fn checked_held(&self) -> usize {
        if let Stage::Keys(walk) | Stage::KeyInfo(walk, _) = &self.stage {
            assert_eq!(walk.memory(), walk.counted_memory());
        }
        assert_eq!(self.held, self.stage.memory());
        self.held
    }
}

/// Lines up to this length are kept: the command, with some text that means nothing.
const KEPT_LINE: usize = 256;

enum Stage {
    Keys(KeyList),
    /// The figures of the names that begin with that prefix.
    KeyInfo(KeyList, Box<[u8]>),
    /// The CID of the session that was shown last.
    Clients(Box<[u8]>, ClientForm),
    /// No list, but the long value of that name.
    Value(Box<[u8]>),
    /// No list, but the line with a long value that has to be encoded.
    Encoding(Box<EncodedAnswer>),
}

/// The form of a list of clients.
#[derive(Debug, Clone, Copy)]
pub enum ClientForm {
    /// That of CLIENTLIST.
    Client,
    /// That of STATUS.
    Status,
}

impl ClientForm {
    fn start(self) -> &'static [u8] {
        match self {
            ClientForm::Client => b"CLIENTLISTSTART",
            ClientForm::Status => status::START,
        }
    }

    fn end(self) -> &'static [u8] {
        match self {
            ClientForm::Client => b"CLIENTLISTEND",
            ClientForm::Status => status::END,
        }
    }
}

impl Stage {
    /// Returns the memory of the stage's contents, in bytes.
    fn memory(&self) -> usize {
        match self {
            Stage::Keys(walk) => walk.memory(),
            Stage::KeyInfo(walk, prefix) => walk.memory() + prefix.len(),
            Stage::Clients(last, _) => last.len(),
            Stage::Value(name) => name.len(),
            Stage::Encoding(answer) => answer.memory(),
        }
    }
}

impl Broker {
    /// Answers KEYLIST, or KEYINFO with that prefix.
    pub(in crate::broker) fn start_key_list<O: Carrier>(
        &mut self,
        id: ConnectionId,
        info_prefix: Option<&[u8]>,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) -> Flow {
        let walk = KeyList::new(&self.cache);
        let (start, stage): (&[u8], _) = match info_prefix {
            None => (b"KEYLISTSTART", Stage::Keys(walk)),
            Some(prefix) => (b"KEYINFOSTART", Stage::KeyInfo(walk, prefix.into())),
        };
        out.append(id, |to| encode::line(to, &[start]));
        self.start_listing(id, line, stage, now, out)
    }

    pub(in crate::broker) fn start_client_list<O: Carrier>(
        &mut self,
        id: ConnectionId,
        form: ClientForm,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) -> Flow {
        out.append(id, |to| encode::line(to, &[form.start()]));
        let stage = Stage::Clients(Box::default(), form);
        self.start_listing(id, line, stage, now, out)
    }

    /// Answers RETRIEVE with a long value when the connection's turn for a slice comes.
    pub(in crate::broker) fn start_long_answer<O: Carrier>(
        &mut self,
        id: ConnectionId,
        name: &[u8],
        line: &[u8],
        now: Now,
        out: &mut O,
    ) -> Flow {
        self.start_listing(id, line, Stage::Value(name.into()), now, out)
    }

    fn start_listing<O: Carrier>(
        &mut self,
        id: ConnectionId,
        line: &[u8],
        stage: Stage,
        now: Now,
        out: &mut O,
    ) -> Flow {
        let kept = if line.len() <= KEPT_LINE {
            line
        } else {
            self.mirror(id, line, out);
            b""
        };
        let held = stage.memory();
        let listing = Listing {
            line: kept.into(),
            stage,
            held,
        };
        out.charge_memory(id, held as isize);
        if out.begin_slice() {
            return self.advance_listing(id, listing, now, out);
        }
        // Many that are asked for at once delay nobody else: it begins when its turn comes.
        if let Some(session) = self.sessions.get_mut(id) {
            session.listing = Some(Box::new(listing));
        }
        out.request_writable(id);
        Flow::Stop
    }

    /// Goes on with the session's listing, if there is one.
    pub(in crate::broker) fn continue_listing<O: Carrier>(
        &mut self,
        id: ConnectionId,
        now: Now,
        out: &mut O,
    ) {
        let Some(listing) = self
            .sessions
            .get_mut(id)
            .and_then(|session| session.listing.take())
        else {
            return;
        };
        if self.advance_listing(id, *listing, now, out) == Flow::Next {
            out.resume(id);
        }
    }

    fn advance_listing<O: Carrier>(
        &mut self,
        id: ConnectionId,
        mut listing: Listing,
        now: Now,
        out: &mut O,
    ) -> Flow {
        // A short list is done in one go: its sorting and its output are a slice each.
        for _ in 0..2 {
            match self.listing_slice(id, listing.stage, now, out) {
                ControlFlow::Continue(stage) => listing.stage = stage,
                ControlFlow::Break(()) => {
                    out.charge_memory(id, -(listing.held as isize));
                    if !listing.line.is_empty() {
                        self.mirror(id, &listing.line, out);
                    }
                    return Flow::Next;
                }
            }
        }
        let held = listing.stage.memory();
        out.charge_memory(id, held as isize - listing.held as isize);
        listing.held = held;
        if let Some(session) = self.sessions.get_mut(id) {
            session.listing = Some(Box::new(listing));
        }
        out.request_writable(id);
        Flow::Stop
    }

    fn listing_slice<O: Carrier>(
        &mut self,
        id: ConnectionId,
        stage: Stage,
        now: Now,
        out: &mut O,
    ) -> ControlFlow<(), Stage> {
        let now_us = self.tree.now_us(now);
        let Broker {
            cache,
            sessions,
            tree,
            ..
        } = self;
        match stage {
            Stage::Keys(mut walk) => {
                walk.advance(cache, now_us, LISTING_SLICE, |found| {
                    if !fits_in_line(found.name()) {
                        return found.name().len();
                    }
                    out.append_line(id, &[b"KEY ", found.name()], found.long_text());
                    found.name().len()
                });
                if !walk.is_done() {
                    return ControlFlow::Continue(Stage::Keys(walk));
                }
                out.append(id, |to| encode::line(to, &[b"KEYLISTEND"]));
                ControlFlow::Break(())
            }
            Stage::KeyInfo(mut walk, prefix) => {
                walk.advance(cache, now_us, LISTING_SLICE, |found| {
                    append_key_info(id, &found, &prefix, now_us, out)
                });
                if !walk.is_done() {
                    return ControlFlow::Continue(Stage::KeyInfo(walk, prefix));
                }
                out.append(id, |to| encode::line(to, &[b"KEYINFOEND"]));
                ControlFlow::Break(())
            }
            Stage::Clients(last, form) => {
                let line_of = |session: &Session, out: &O| match form {
                    ClientForm::Client => {
                        client_line(session, tree.links.get(session.id), now, out)
                    }
                    ClientForm::Status => status::row_line(&client_row(session, now, out)),
                };
                if let Some(last) = clients_slice(id, sessions, &last, line_of, out) {
                    return ControlFlow::Continue(Stage::Clients(last, form));
                }
                out.append(id, |to| encode::line(to, &[form.end()]));
                ControlFlow::Break(())
            }
            Stage::Value(name) => value_slice(id, &name, cache.find(&name, now_us), out),
            Stage::Encoding(mut answer) => {
                out.add_work(LISTING_SLICE * WORK_PER_BYTE_COPIED);
                if answer.advance(LISTING_SLICE) {
                    return ControlFlow::Continue(Stage::Encoding(answer));
                }
                let line = answer.into_line();
                out.append_line(id, &[&line], Some(&line));
                ControlFlow::Break(())
            }
        }
    }
}

/// Answers with the value of a name, or begins to encode it.
fn value_slice<O: Carrier>(
    id: ConnectionId,
    name: &[u8],
    found: Option<Found<'_>>,
    out: &mut O,
) -> ControlFlow<(), Stage> {
    let Some((found, value)) = found.and_then(|found| Some((found, found.value()?))) else {
        out.append_line(id, &[b"NOTRETRIEVED ", name], None);
        return ControlFlow::Break(());
    };
    if let Some(text) = found.long_text()
        && let Some(answer) = EncodedAnswer::new(name, value, text)
    {
        return ControlFlow::Continue(Stage::Encoding(Box::new(answer)));
    }
    let parts = [b"RETRIEVED ", name, b"=", &shown(value)];
    out.append_line(id, &parts, found.long_text());
    ControlFlow::Break(())
}

/// Appends a line of KEYINFO if the name begins with the prefix. Returns the bytes of work. This is no use of the entry.
fn append_key_info<O: Carrier>(
    id: ConnectionId,
    found: &Found<'_>,
    prefix: &[u8],
    now_us: u64,
    out: &mut O,
) -> usize {
    let name = found.name();
    if name.starts_with(prefix)
        && fits_in_line(name)
        && let Some(value) = found.value()
    {
        let age_s = now_us.saturating_sub(found.changed_us()) / SECOND_US;
        let ttl = seconds_to_expiry(found.expires_us(), now_us);
        let figures = format!("{} {age_s} {ttl} ", value.len());
        let parts = [b"KEYINFO ", figures.as_bytes(), name];
        out.append_line(id, &parts, found.long_text());
    }
    name.len()
}

/// The whole seconds to an expiry, so that 0 never stands for a living entry, as TTL and KEYINFO show them: -1 for never.
pub(super) fn seconds_to_expiry(expires_us: Option<u64>, now_us: u64) -> String {
    expires_us.map_or("-1".to_owned(), |expires_us| {
        let left_us = expires_us.saturating_sub(now_us);
        left_us.div_ceil(SECOND_US).to_string()
    })
}

/// Appends a slice of a list of clients, those behind the CID `last`. Returns the CID of the last one of the slice, unless
/// it was the last of all.
fn clients_slice<O: Carrier>(
    id: ConnectionId,
    sessions: &Sessions,
    last: &[u8],
    line_of: impl Fn(&Session, &O) -> Vec<u8>,
    out: &mut O,
) -> Option<Box<[u8]>> {
    let mut written = 0;
    for session in sessions.after(last) {
        if session.closing.is_none() {
            let line = line_of(session, out);
            out.append(id, |to| encode::line(to, &[&line]));
            written += line.len();
        }
        if written >= LISTING_SLICE {
            return Some(session.cid.text()[..].into());
        }
    }
    None
}

/// A line of CLIENTLIST (clacks-protocol(7), MONITORING). Times are unix seconds, 0 where there is none.
fn client_line<O: Carrier>(session: &Session, link: Option<&Link>, now: Now, out: &O) -> Vec<u8> {
    let traffic = out.traffic(session.id);
    let unix_time = |at_us: Option<u64>| at_us.map_or(0, |at_us| now.wall_at(at_us) / SECOND_US);
    let last_ping = match nats::is_spoken(session) {
        true => Some(nats::heard_us(session, traffic)),
        false => session.last_ping.map(|ping| ping.at_us()),
    };
    let (host, port) = session.cid.host_and_port();
    let mut line = format!(
        "CLIENT CID={};HOST={host};PORT={port};CLIENTINFO=",
        session.cid
    )
    .into_bytes();
    line.extend_from_slice(session.client_info());
    line.extend_from_slice(
        format!(
            ";OUTBUFFER_LENGTH={};INBUFFER_LENGTH={};INTERCLACKS={};MONITOR={};LASTPING={};LASTINTERCLACKSPING={};\
             WRITEFAILTIME={};",
            traffic.queued,
            traffic.unread,
            u8::from(session.is_link),
            u8::from(session.is_monitor),
            unix_time(last_ping),
            unix_time(link.map(|link| link.last_ping.at_us())),
            unix_time(traffic.stalled_since_us),
        )
        .as_bytes(),
    );
    line
}
