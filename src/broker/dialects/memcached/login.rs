//! The beginning of a session: who logs in, and who need not (memcached's ASCII authentication).

use super::watch::watch_connected;
use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Flow, Now};
use crate::broker::operations::{Login as Outcome, log_wrong_login};
use crate::broker::users::Users;
use crate::protocol::memcached::login::{self, Login};
use crate::protocol::{Language, encode};

/// The text in CLIENTLIST by which people know these connections.
const CLIENT_INFO: &[u8] = b"memcached";

/// A memcached client has connected.
pub fn handle_connected<O: Carrier>(broker: &mut Broker, id: ConnectionId, now: Now, out: &mut O) {
    broker.sessions.identify(id, CLIENT_INFO);
    end_ping_timeout(broker, id);
    watch_connected(broker, id, now, out);
    let Some(session) = broker.sessions.get_mut(id) else {
        return;
    };
    session.memcached = Some(Box::default());
    if session.is_surplus {
        return broker.refuse(id, CloseReason::ClientLimit, now, out);
    }
    let Some(name) = broker.settings.memcached.user.clone() else {
        session.language = Language::MemcachedLogin;
        return;
    };
    let user = |users: &Users| users.get(&name).cloned();
    match broker.log_in(id, None, user, now, out) {
        Outcome::Done => end_ping_timeout(broker, id),
        _ => broker.refuse(id, CloseReason::ClientLimit, now, out),
    }
}

/// These clients never send a PING.
fn end_ping_timeout(broker: &mut Broker, id: ConnectionId) {
    if let Some(session) = broker.sessions.get_mut(id) {
        session.last_ping = None;
    }
}

/// A frame before the login came.
pub fn handle_login<O: Carrier>(
    broker: &mut Broker,
    id: ConnectionId,
    frame: &[u8],
    now: Now,
    out: &mut O,
) -> Flow {
    let session = broker.sessions.get_mut(id);
    let Some(session) = session.filter(|session| session.is_served()) else {
        return Flow::Stop;
    };
    session.has_spoken = true;
    broker.memcached.counters.bytes_read += frame.len() as u64;
    match login::decode(frame) {
        Login::Quit => broker.close(id, CloseReason::Quit, now, out),
        Login::TooShort => broker.close(id, CloseReason::LoginFailed, now, out),
        Login::Wrong(fault) => answer(broker, id, fault.text(), out),
        Login::Token { user, password } => return log_in(broker, id, (user, password), now, out),
    }
    Flow::Next
}

fn log_in<O: Carrier>(
    broker: &mut Broker,
    id: ConnectionId,
    (user, password): (&[u8], &[u8]),
    now: Now,
    out: &mut O,
) -> Flow {
    let verify = |users: &Users| users.verify(user, password).cloned();
    match broker.log_in(id, Some(user), verify, now, out) {
        Outcome::Done => {
            broker.memcached.counters.auth_cmds += 1;
            answer(broker, id, "STORED", out);
            end_ping_timeout(broker, id);
            broker.appoint(id, now, out);
            if let Some(session) = broker.sessions.get_mut(id) {
                session.language = Language::Memcached;
                session.resumes_with_room = true;
            }
            // Bytes that have come are read as commands from then on.
            out.request_writable(id);
            return Flow::Stop;
        }
        Outcome::Later => return Flow::StopBefore,
        Outcome::Wrong => {
            broker.memcached.counters.auth_cmds += 1;
            broker.memcached.counters.auth_errors += 1;
            log_wrong_login(broker, id, user, now);
            answer(broker, id, login::FAILURE, out);
        }
        Outcome::NoPlace => broker.refuse(id, CloseReason::ClientLimit, now, out),
    }
    Flow::Next
}

fn answer<O: Carrier>(broker: &mut Broker, id: ConnectionId, line: &str, out: &mut O) {
    out.append(id, |to| {
        let start = to.len();
        encode::line(to, &[line.as_bytes()]);
        broker.memcached.counters.bytes_written += (to.len() - start) as u64;
    });
}
