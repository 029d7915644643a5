//! When which session has to be looked at next.
//!
//! Every session has one appointment, at the earliest moment at which anything of it can be due. Most
//! of what happens to a session puts its timeouts off, and costs nothing here: at the appointment the
//! broker looks again and makes a new one.

use super::carrier::Carrier;
use super::close_reason::CloseReason;
use super::dialects::nats;
use super::events::{ConnectionId, Now, Traffic};
use super::interclacks::Link;
use super::session::{LoginAttempt, Session, Sessions};
use super::{Broker, Settings};
use crate::limits::{
    CLOSE_DRAIN_US, COARSE_DEADLINE_US, MAX_LINK_PING_US, NOP_AFTER_US, SECOND_US, SURPLUS_LOGIN_US,
};
use crate::protocol::Language;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

/// The appointments. One that a session has replaced by an earlier one stays until its time comes.
#[derive(Default)]
pub struct Appointments(pub(super) BinaryHeap<Reverse<(u64, ConnectionId)>>);

/// The action that is due for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// No action before this moment (monotonic).
    Later(u64),
    Nop,
    /// A NATS client was silent.
    Silence,
    /// A login that had to wait.
    Login,
    /// An interclacks link's PING.
    Ping,
    Close(CloseReason),
    /// A close as by [`Due::Close`], unless another attempt to write finds that the peer takes output after all: the
    /// connection counts as stalled, or is on its way out.
    CloseStalled(CloseReason),
}

impl Broker {
    /// Makes sure that the session is looked at in time. To be called whenever something of it may
    /// have become due earlier than before.
    pub(super) fn appoint<O: Carrier>(&mut self, id: ConnectionId, now: Now, out: &O) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let link = self.tree.links.get(id).filter(|_| session.is_link);
        let at_us = match due(
            session,
            link,
            &self.settings,
            out.traffic(id),
            now.monotonic_us,
        ) {
            Due::Later(at_us) => at_us,
            Due::Nop
            | Due::Silence
            | Due::Login
            | Due::Ping
            | Due::Close(_)
            | Due::CloseStalled(_) => now.monotonic_us,
        };
        if at_us < session.wake_us {
            session.wake_us = at_us;
            self.appointments.0.push(Reverse((at_us, id)));
        }
    }
}

impl Appointments {
    /// The time of the next appointment that still holds.
    pub(super) fn next(&mut self, sessions: &Sessions) -> Option<u64> {
        let holds = |&Reverse((at_us, id)): &Reverse<(u64, ConnectionId)>| {
            sessions
                .get(id)
                .is_some_and(|session| session.wake_us == at_us)
        };
        // Connections that come and go leave theirs behind: swept before they outnumber the others.
        if self.0.len() > sessions.len() + sessions.len() / 4 + 1024 {
            self.0.retain(holds);
        }
        while self.0.peek().is_some_and(|next| !holds(next)) {
            self.0.pop();
        }
        self.0.peek().map(|&Reverse((at_us, _))| at_us)
    }

    /// Panics if a session would never be looked at; for [`Broker::check`].
    pub(super) fn check(&self, sessions: &Sessions) {
        let appointments: HashSet<(u64, ConnectionId)> =
            self.0.iter().map(|Reverse(next)| *next).collect();
        for session in sessions.iter() {
            let is_given_up = session
                .closing
                .as_ref()
                .is_some_and(|closing| closing.is_given_up);
            let is_looked_at = appointments.contains(&(session.wake_us, session.id));
            // Nothing of a memcached client that has logged in and takes its output is ever due.
            let needs_no_look =
                session.wake_us == u64::MAX && session.language == Language::Memcached;
            assert!(
                is_looked_at || is_given_up || needs_no_look,
                "{} is looked at some time",
                session.cid
            );
        }
    }
}

pub(super) fn due(
    session: &Session,
    link: Option<&Link>,
    settings: &Settings,
    traffic: Traffic,
    now_us: u64,
) -> Due {
    // The delay of a login is part of the time that there is to log in.
    let (login_us, stopped_us) = match session.login.as_deref() {
        Some(LoginAttempt::Waits {
            arrived_us,
            answer_us,
        }) if session.closing.is_none() => {
            let delayed_us = now_us - arrived_us;
            (*answer_us, traffic.stopped_us.saturating_sub(delayed_us))
        }
        _ => (u64::MAX, traffic.stopped_us),
    };
    if login_us <= now_us {
        return Due::Login;
    }
    let mut next_us = u64::MAX;
    // Whether a moment is past; if not, it is one to wait for.
    let mut past = |at_us: u64| {
        next_us = next_us.min(at_us);
        at_us <= now_us
    };
    if let Some(closing) = &session.closing {
        // Who asked for answers and then closed its side gets them however slowly it takes them.
        use CloseReason::{Answered, EndOfStream, Quit};
        let at_us = match (closing.reason, traffic.stalled_since_us) {
            _ if closing.is_given_up => return Due::Later(u64::MAX),
            (Quit | Answered | EndOfStream, Some(since_us)) => {
                since_us + settings.stalled_write_timeout_us
            }
            (Quit | Answered | EndOfStream, None) => now_us + CLOSE_DRAIN_US,
            _ => closing.since_us + CLOSE_DRAIN_US,
        };
        if past(at_us) {
            return Due::CloseStalled(closing.reason);
        }
    } else if let Some(link) = link {
        if !link.is_up {
            if past(link.deadline_us) {
                return Due::Close(CloseReason::AuthTimeout);
            }
            return Due::Later(link.deadline_us);
        }
        if let Some(since_us) = traffic.stalled_since_us
            && past(since_us + settings.interclacks_stalled_write_timeout_us)
        {
            return Due::CloseStalled(CloseReason::StalledWrite);
        }
        let stood_still_us = traffic.stopped_us - link.last_ping.stopped_us;
        if past(link.last_ping.at_us() + settings.interclacks_ping_timeout_us + stood_still_us) {
            return Due::Close(CloseReason::PingTimeout);
        }
        let interval_us = (settings.interclacks_ping_timeout_us / 3).min(MAX_LINK_PING_US);
        let ping_us = link.ping_sent_us + interval_us;
        if past(ping_us) {
            return Due::Ping;
        }
        // The peer waits for it, whether it is read or not.
        return Due::Later(round(next_us, traffic, now_us).min(ping_us));
    } else if session.user.is_none() || traffic.is_in_handshake {
        if session.is_surplus && past(session.opened_us + SURPLUS_LOGIN_US) {
            return Due::Close(CloseReason::ClientLimit);
        }
        if past(session.opened_us + settings.auth_timeout_us + stopped_us) {
            return Due::Close(CloseReason::AuthTimeout);
        }
    } else {
        if let Some(since_us) = traffic.stalled_since_us
            && past(since_us + settings.stalled_write_timeout_us)
        {
            return Due::CloseStalled(CloseReason::StalledWrite);
        }
        if nats::is_spoken(session) {
            if past(nats::due(
                session,
                traffic,
                settings.ping_timeout_us,
                now_us,
            )) {
                return Due::Silence;
            }
        } else if let Some(last) = session.last_ping {
            let stood_still_us = traffic.stopped_us - last.stopped_us;
            if past(last.at_us() + settings.ping_timeout_us + stood_still_us) {
                return Due::Close(CloseReason::PingTimeout);
            }
        }
        // Who takes nothing would get none of it, or one more each time.
        if session.language == Language::Clacks
            && traffic.stalled_since_us.is_none()
            && past(traffic.last_output_us.max(session.opened_us) + NOP_AFTER_US)
        {
            return Due::Nop;
        }
    }
    Due::Later(round(next_us, traffic, now_us).min(login_us))
}

/// Puts a deadline that is far off, or that moves because the connection is stopped, on the next
/// whole second.
fn round(at_us: u64, traffic: Traffic, now_us: u64) -> u64 {
    if at_us - now_us >= COARSE_DEADLINE_US || traffic.stopped_us > 0 {
        return (at_us / SECOND_US)
            .saturating_add(1)
            .saturating_mul(SECOND_US);
    }
    at_us
}
