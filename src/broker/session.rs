//! Sessions: the broker's state of one connection, and the table of all of them by slot.

use super::Settings;
use super::cid::Cid;
use super::close_reason::CloseReason;
use super::dialects::clacks::Listing;
use super::dialects::{http, memcached, nats};
use super::entrance::Entrance;
use super::events::{ConnectionId, Now, Peer};
use super::listeners::Subscriptions;
use super::origin::Origin;
use super::sorted_slots::SortedSlots;
use super::statistics::ByLanguage;
use super::subjects::OwnSubscriptions;
use super::users::User;
use crate::limits::{
    MAX_CLIENT_INFO, MAX_HTTP_HEAD, MAX_HTTP_HEADERS, MAX_LINE_BEFORE_LOGIN, SECOND_US,
};
use crate::protocol::memcached::framing::MAX_UNFINISHED_LINE;
use crate::protocol::nats::framing::MAX_ARGUMENTS;
use crate::protocol::{Language, token};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::num::NonZeroU64;
use std::rc::Rc;

pub struct Session {
    pub id: ConnectionId,
    pub cid: Cid,
    pub language: Language,
    /// The number of the listening socket that it came in at; see [`Entrance`].
    pub entrance: u16,
    /// The client's description of itself; `None` until it has sent one. Sessions with equal ones may share it.
    client_info: Option<Rc<Vec<u8>>>,
    /// The session's user; `None` before the login.
    pub user: Option<Rc<User>>,
    pub subscriptions: Subscriptions,
    /// Subscriptions to patterns and subjects; of a link, for the groups behind it.
    pub subjects: OwnSubscriptions,
    /// It is in the list of monitors.
    pub is_monitor: bool,
    pub opened_us: u64,
    /// True if the connection is beyond the largest number of clients: only somebody who can manage may log in on it.
    pub is_surplus: bool,
    /// A line came from it.
    pub has_spoken: bool,
    /// Its user has shown the password, and is not only assumed by the listener's settings.
    pub has_shown_password: bool,
    /// `None` before the first login, and once one was right.
    pub login: Option<Box<LoginAttempt>>,
    /// `None` after NOPING.
    pub last_ping: Option<LastPing>,
    /// When the next look at its timeouts is due.
    pub wake_us: u64,
    /// It is an interclacks link: the connection to a master or to a slave.
    pub is_link: bool,
    /// The answer it is in the middle of getting.
    pub listing: Option<Box<Listing>>,
    /// All that only sessions of memcached clients have.
    pub memcached: Option<Box<memcached::Conversation>>,
    /// All that only sessions of NATS clients have.
    pub nats: Option<Box<nats::Conversation>>,
    /// Its next line waits only for room.
    pub resumes_with_room: bool,
    /// It is on its way out and takes part in nothing any more.
    pub closing: Option<Box<Closing>>,
    /// The connection was lost at a moment when nothing of it was unfinished.
    pub was_idle_at_its_end: bool,
    /// It is one of many that are closed soon; see [`Dismissal`](super::dismissal::Dismissal).
    pub is_dismissed: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Closing {
    pub since_us: u64,
    pub reason: CloseReason,
    /// True if the output that still waited for the peer was given up.
    pub is_given_up: bool,
}

#[derive(Debug)]
pub enum LoginAttempt {
    /// It came soon after a wrong one of the same user, and is checked and answered later.
    Waits {
        arrived_us: u64,
        /// When its line is to be handed over again; `u64::MAX` once that was asked for.
        answer_us: u64,
    },
    /// It was wrong: the name of its user, in a form for the log. `None` if the token was malformed.
    Refused(Option<String>),
}

#[derive(Debug, Clone, Copy)]
pub struct LastPing {
    /// No later than the clock's first microsecond, it is that one: so `None` takes no memory of its own.
    at_us: NonZeroU64,
    /// How long the connection had been stopped at that moment, in all.
    pub stopped_us: u64,
}

impl LastPing {
    pub fn new(at_us: u64, stopped_us: u64) -> LastPing {
        let at_us = NonZeroU64::new(at_us).unwrap_or(NonZeroU64::MIN);
        LastPing { at_us, stopped_us }
    }

    /// When it came (monotonic).
    pub fn at_us(self) -> u64 {
        self.at_us.get()
    }
}

impl Session {
    pub fn new(id: ConnectionId, peer: Peer, entrance: Entrance, serial: u64, now: Now) -> Session {
        Session {
            id,
            cid: Cid {
                peer,
                serial,
                opened_s: (now.wall_us / SECOND_US) as u32,
            },
            language: entrance.language,
            entrance: entrance.number,
            client_info: None,
            user: None,
            subscriptions: Subscriptions::default(),
            subjects: OwnSubscriptions::default(),
            is_monitor: false,
            opened_us: now.monotonic_us,
            is_surplus: false,
            has_spoken: false,
            has_shown_password: false,
            login: None,
            last_ping: Some(LastPing::new(now.monotonic_us, 0)),
            wake_us: u64::MAX,
            is_link: false,
            listing: None,
            memcached: None,
            nats: None,
            resumes_with_room: false,
            closing: None,
            was_idle_at_its_end: false,
            is_dismissed: false,
        }
    }

    /// Reports whether the connection only tested that the server answers, as the health checks of load balancers do:
    /// it did not log in, and left, with or without a reset, or sent nothing until its time for the login was over. By
    /// HTTP it may have been asked for a login, which somebody takes time to type.
    pub fn is_probe(&self, reason: CloseReason) -> bool {
        let has_left = reason.is_ordinary() || reason == CloseReason::ConnectionLost;
        let may_have_spoken = http::is_spoken(self);
        let was_silent =
            reason == CloseReason::AuthTimeout && (may_have_spoken || !self.has_spoken);
        let is_client = !matches!(self.cid.peer, Peer::Master(_));
        self.user.is_none() && is_client && (has_left || was_silent)
    }

    /// Its requests are handled.
    pub fn is_served(&self) -> bool {
        self.closing.is_none() && !self.is_dismissed
    }

    /// Messages are sent to it with their header blocks.
    pub fn takes_headers_of_messages(&self) -> bool {
        let conversation = self.nats.as_ref();
        conversation.is_some_and(|conversation| conversation.takes_headers())
    }

    pub fn is_logged_in(&self) -> bool {
        self.user.is_some() && self.closing.is_none()
    }

    /// Where it comes from; `None` for the master.
    pub fn origin(&self) -> Option<Origin> {
        Origin::of(self.cid.peer)
    }

    pub fn client_info(&self) -> &[u8] {
        match &self.client_info {
            Some(info) if !info.is_empty() => info,
            _ => b"UNKNOWN",
        }
    }
}

/// The sessions, each in its connection's slot.
#[derive(Default)]
pub struct Sessions {
    slots: Vec<Option<Session>>,
    /// The slots that are in use, in the order of the sessions' CIDs, in which CLIENTLIST shows them. A walk over all
    /// sessions costs nothing for those that are gone.
    by_cid: SortedSlots,
    /// The latest descriptions that clients gave of themselves, to be shared: most clients are the same few programs.
    infos: VecDeque<Rc<Vec<u8>>>,
    /// The number of sessions of each language.
    by_language: ByLanguage,
    /// The number of sessions of each user that has any.
    by_user: BTreeMap<String, usize>,
}

/// Texts of clients that are kept for the next ones.
const KEPT_INFOS: usize = 8;

impl Sessions {
    /// The memory of the sessions themselves, in bytes.
    pub fn memory(&self) -> usize {
        self.len() * size_of::<Option<Session>>()
    }

    /// The memory for `capacity` is reserved at once, so that growing never copies; the system gives
    /// it only as it is used.
    pub fn with_capacity(capacity: usize) -> Sessions {
        Sessions {
            slots: Vec::with_capacity(capacity),
            by_cid: SortedSlots::default(),
            infos: VecDeque::new(),
            by_language: ByLanguage::default(),
            by_user: BTreeMap::new(),
        }
    }

    /// The client says what it is. The `;` ends a field of CLIENTLIST, and control bytes, which the strings of a NATS client
    /// may contain, end its lines or confuse terminals: none of them is shown.
    pub fn identify(&mut self, id: ConnectionId, text: &[u8]) {
        let text = token::without_login(text);
        let kept = &text[..text.len().min(MAX_CLIENT_INFO)];
        let bytes = kept.iter().map(|&byte| match byte {
            b';' | 0..=0x1F | 0x7F => b'_',
            _ => byte,
        });
        let known = self
            .infos
            .iter()
            .find(|info| info.iter().copied().eq(bytes.clone()))
            .cloned();
        let info = known.unwrap_or_else(|| {
            let info = Rc::new(bytes.collect::<Vec<u8>>());
            self.infos.truncate(KEPT_INFOS - 1);
            self.infos.push_front(info.clone());
            info
        });
        if let Some(session) = self.get_mut(id) {
            session.client_info = Some(info);
        }
    }

    pub fn len(&self) -> usize {
        self.by_cid.len()
    }

    /// Panics if a session is not found by its CID, or the other way round; for
    /// [`Broker::check`](super::Broker::check).
    pub fn check(&self) {
        for slot in self.by_cid.iter() {
            let session = self.in_slot(slot as usize).expect("a slot in use");
            assert_eq!(session.id.slot, slot, "a session is in its slot");
        }
        let cids = || {
            self.iter()
                .map(|session| (session.cid.text(), session.id.slot))
        };
        let pairs = cids().zip(cids().skip(1));
        assert!(pairs.into_iter().all(|(one, next)| one < next), "in order");
        let in_use = self.slots.iter().flatten().count();
        assert_eq!(in_use, self.len(), "a walk meets every session");
    }

    pub fn insert(&mut self, session: Session) {
        let slot = session.id.slot as usize;
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        debug_assert!(
            self.slots[slot].is_none(),
            "a slot is reused only after its connection was closed"
        );
        self.by_language.add(session.language, 1);
        let (cid, slot) = (session.cid.text(), session.id.slot);
        let slots = &mut self.slots;
        self.by_cid
            .insert(slot, |other| is_before(slots, other, (&cid, slot)));
        slots[slot as usize] = Some(session);
    }

    pub fn remove(&mut self, id: ConnectionId) -> Option<Session> {
        let cid = self.get(id)?.cid.text();
        let slots = &mut self.slots;
        let is_before = |other| is_before(slots, other, (&cid, id.slot));
        let was_there = self.by_cid.remove(id.slot, is_before);
        debug_assert!(was_there, "a session is found by its CID");
        let session = slots[id.slot as usize].take()?;
        self.by_language.subtract_one(session.language);
        self.count_logout(session.user.as_deref());
        Some(session)
    }

    /// The session is that of a user from now on. Returns the user that it had before.
    pub fn set_user(&mut self, id: ConnectionId, user: Rc<User>) -> Option<Rc<User>> {
        *self.by_user.entry(user.name.clone()).or_default() += 1;
        let former = self
            .get_mut(id)
            .and_then(|session| session.user.replace(user));
        self.count_logout(former.as_deref());
        former
    }

    fn count_logout(&mut self, user: Option<&User>) {
        if let Some(user) = user
            && let Some(count) = self.by_user.get_mut(&user.name)
        {
            *count -= 1;
            if *count == 0 {
                self.by_user.remove(&user.name);
            }
        }
    }

    /// The number of sessions of each language.
    pub fn by_language(&self) -> &ByLanguage {
        &self.by_language
    }

    /// The users that have sessions, with the number of these.
    pub fn by_user(&self) -> impl Iterator<Item = (&str, usize)> {
        self.by_user.iter().map(|(name, count)| (&**name, *count))
    }

    pub fn get(&self, id: ConnectionId) -> Option<&Session> {
        self.in_slot(id.slot as usize)
            .filter(|session| session.id == id)
    }

    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Session> {
        self.slots
            .get_mut(id.slot as usize)?
            .as_mut()
            .filter(|session| session.id == id)
    }

    pub fn in_slot(&self, slot: usize) -> Option<&Session> {
        self.slots.get(slot)?.as_ref()
    }

    /// All sessions, in the order of their CIDs.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        let slots = self.by_cid.iter();
        slots.filter_map(|slot| self.in_slot(slot as usize))
    }

    /// All sessions, in the order of their slots.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.slots.iter_mut().flatten()
    }

    /// Clients of Clacks that have logged in, links between servers aside. Those of other languages are sent nothing that
    /// they did not ask for.
    pub fn clients(&self) -> impl Iterator<Item = ConnectionId> {
        let clients = self
            .iter()
            .filter(|session| session.is_logged_in() && !session.is_link)
            .filter(|session| session.language == Language::Clacks);
        clients.map(|session| session.id)
    }

    /// The session that goes by the name `cid`, unless it is being closed.
    pub fn find(&self, cid: &[u8]) -> Option<&Session> {
        let mut found = self
            .behind(cid, 0)
            .take_while(|session| *session.cid.text() == *cid);
        found.find(|session| session.closing.is_none())
    }

    /// The sessions whose CIDs come after `cid`, in their order.
    pub fn after(&self, cid: &[u8]) -> impl Iterator<Item = &Session> {
        self.behind(cid, u32::MAX)
    }

    /// The sessions from that CID and slot on.
    fn behind(&self, cid: &[u8], slot: u32) -> impl Iterator<Item = &Session> {
        let slots = &self.slots;
        let found = self
            .by_cid
            .behind(move |other| is_before(slots, other, (cid, slot)));
        found.filter_map(|slot| self.in_slot(slot as usize))
    }
}

/// Reports whether the session in a slot comes before a CID and slot.
fn is_before(slots: &[Option<Session>], slot: u32, (cid, other): (&[u8], u32)) -> bool {
    let session = slots[slot as usize].as_ref();
    session.is_some_and(|session| (&session.cid.text()[..], slot) < (cid, other))
}

/// For the log: what ended, how, and the limit that it ran into.
pub struct Ended<'a> {
    pub session: &'a Session,
    pub reason: CloseReason,
    pub settings: &'a Settings,
}

impl Ended<'_> {
    /// The flag of the limit that the reason is about, with its value.
    fn write_limit(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings {
            max_clients,
            max_line,
            max_held,
            ..
        } = self.settings;
        let is_link = self.session.is_link;
        let mut time =
            |flag: &str, us: u64| write!(f, "; --{flag} is {}", us as f64 / SECOND_US as f64);
        match self.reason {
            CloseReason::LineTooLong if memcached::is_spoken(self.session) => write!(
                f,
                "; a line that is not complete has at most {MAX_UNFINISHED_LINE} bytes; one that names many keys, \
                 --max-line, which is {max_line}"
            ),
            CloseReason::LineTooLong if nats::is_spoken(self.session) => write!(
                f,
                "; a control line has at most {MAX_ARGUMENTS} bytes of arguments"
            ),
            CloseReason::LineTooLong if http::is_spoken(self.session) => write!(
                f,
                "; the head of a request has at most {MAX_HTTP_HEAD} bytes and {MAX_HTTP_HEADERS} headers"
            ),
            CloseReason::PayloadTooLarge if http::is_spoken(self.session) => {
                f.write_str("; no request has a body")
            }
            CloseReason::PayloadTooLarge => write!(
                f,
                "; a message has at most {} bytes",
                nats::max_payload(self.settings)
            ),
            CloseReason::LineTooLong if self.session.user.is_none() => {
                write!(
                    f,
                    "; a line before the login has at most {MAX_LINE_BEFORE_LOGIN} bytes"
                )
            }
            CloseReason::LineTooLong => write!(f, "; --max-line is {max_line}"),
            CloseReason::OutputLimit => write!(f, "; --max-output is {max_held}"),
            CloseReason::BuffersLimit => f.write_str("; --max-buffers is reached"),
            CloseReason::ClientLimit => write!(f, "; --max-clients is {max_clients}"),
            CloseReason::AuthTimeout => time("auth-timeout", self.settings.auth_timeout_us),
            CloseReason::PingTimeout if is_link => time(
                "interclacks-ping-timeout",
                self.settings.interclacks_ping_timeout_us,
            ),
            CloseReason::PingTimeout => time("ping-timeout", self.settings.ping_timeout_us),
            CloseReason::StalledWrite if is_link => time(
                "interclacks-stalled-write-timeout",
                self.settings.interclacks_stalled_write_timeout_us,
            ),
            CloseReason::StalledWrite => time(
                "stalled-write-timeout",
                self.settings.stalled_write_timeout_us,
            ),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Ended<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended {
            session, reason, ..
        } = self;
        write!(f, "closed {}: {reason} (client \"", session.cid)?;
        write!(f, "{}\"", session.client_info().escape_ascii())?;
        match &session.user {
            Some(user) => write!(f, ", user {}", user.name.escape_debug())?,
            None => f.write_str(", not logged in")?,
        }
        let refused = match session.login.as_deref() {
            Some(LoginAttempt::Refused(user)) => Some(user),
            _ => None,
        };
        match refused {
            Some(Some(user)) => write!(f, ", tried user \"{user}\"")?,
            Some(None) if nats::is_spoken(session) || http::is_spoken(session) => {
                f.write_str(", gave no user and password")?
            }
            Some(None) => f.write_str(", tried a malformed token")?,
            None => {}
        }
        // The user of a client that is logged in says more than its process.
        if let Peer::Unix(process) = session.cid.peer
            && (session.user.is_none() || refused.is_some())
        {
            write!(f, ", {process}")?;
        }
        self.write_limit(f)?;
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line to everybody costs nothing for those who were there before.
    #[test]
    fn a_walk_over_all_sessions_looks_at_no_slot_of_one_that_is_gone() {
        const NOW: Now = Now {
            monotonic_us: 1,
            wall_us: 1,
        };
        let ids = (0..1000).map(|slot| ConnectionId {
            slot,
            generation: 1,
        });
        let peer = Peer::Unix(crate::broker::Process::default());
        let mut sessions = Sessions::with_capacity(1000);
        for (serial, id) in ids.clone().enumerate() {
            sessions.insert(Session::new(
                id,
                peer,
                Language::Clacks.into(),
                serial as u64,
                NOW,
            ));
        }
        for id in ids.clone().filter(|id| id.slot != 700) {
            assert!(sessions.remove(id).is_some());
            sessions.check();
        }
        assert!(sessions.by_cid.iter().eq([700]));
        assert_eq!(sessions.iter().count(), 1);
    }

    /// The master is dialled again while the last connection to it is being closed.
    #[test]
    fn a_master_is_found_by_its_name_whichever_connection_to_it_goes_first() {
        const NOW: Now = Now {
            monotonic_us: 1,
            wall_us: 1,
        };
        let name = b"unixdomainsocket:interclacksmaster";
        for slots in [[0, 1], [1, 0]] {
            let ids = slots.map(|slot| ConnectionId {
                slot,
                generation: 1,
            });
            let [old, new] = ids;
            let mut sessions = Sessions::with_capacity(2);
            for (serial, id) in ids.into_iter().enumerate() {
                sessions.insert(Session::new(
                    id,
                    Peer::Master(None),
                    Language::Clacks.into(),
                    serial as u64,
                    NOW,
                ));
            }
            sessions.get_mut(old).expect("it is there").closing = Some(Box::new(Closing {
                since_us: 1,
                reason: CloseReason::PingTimeout,
                is_given_up: false,
            }));
            let found = |sessions: &Sessions| sessions.find(name).map(|session| session.id);
            assert_eq!(found(&sessions), Some(new));
            assert_eq!(sessions.len(), 2);
            sessions.remove(old);
            sessions.check();
            assert_eq!(found(&sessions), Some(new));
            assert_eq!(sessions.after(b"").count(), 1);
            sessions.remove(new);
            assert_eq!(found(&sessions), None);
            assert_eq!(sessions.len(), 0);
        }
    }
}
