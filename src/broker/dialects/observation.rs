//! Single requests in the statistics: the names that are busy, and the requests that take long.

use super::verb_of;
use crate::broker::Broker;
use crate::broker::events::{ConnectionId, Now};
use crate::broker::statistics::{HeavyRequest, LongestTurn, MAX_NAME, SlowRequest, Turn};
use crate::limits::SLOW_TURN_US;
use crate::protocol::{Command, Request};

/// Looks at a request by which busy names are found.
#[cold]
#[inline(never)]
pub fn observe_name(broker: &mut Broker, id: ConnectionId, request: &Request<'_>) {
    let session = broker.sessions.get(id);
    let is_client = session.is_some_and(|session| session.is_logged_in() && !session.is_link);
    // Strangers and other servers are passed over.
    let name = name_of(request).filter(|_| is_client);
    broker.statistics.busiest.look_at(name, &mut broker.random);
}

/// Describes a request that has done much work.
#[cold]
#[inline(never)]
pub fn describe(request: &Request<'_>, work: usize) -> HeavyRequest {
    let name = name_of(request).unwrap_or_default();
    HeavyRequest {
        verb: verb_of(request),
        name: name[..name.len().min(MAX_NAME)].into(),
        size: request.length(),
        work,
    }
}

impl Broker {
    /// A turn has ended that was long, or the longest one so far. `heavy` is the request that did most work beyond its
    /// share, if one did much.
    pub fn handle_long_turn(
        &mut self,
        turn: Turn,
        is_longest: bool,
        heavy: Option<HeavyRequest>,
        now: Now,
    ) {
        let (slow, at_us) = (&mut self.statistics.slow, now.wall_us);
        if is_longest {
            slow.longest = Some(LongestTurn {
                turn,
                heavy: heavy.clone(),
                at_us,
            });
        }
        if turn.us >= SLOW_TURN_US
            && let Some(heavy) = heavy
            && !heavy.verb.is_monitoring()
        {
            slow.add(SlowRequest {
                heavy,
                turn_us: turn.us,
                at_us,
            });
        }
    }
}

/// The name of the entry, signal or subject that a request is about. Nothing else of a request is ever shown: it may be a
/// secret.
fn name_of<'a>(request: &Request<'a>) -> Option<&'a [u8]> {
    match request {
        Request::Clacks(line) => name_in_command(line.command.as_ref()?),
        Request::Memcached(frame) => frame.request.key(),
        Request::MemcachedLogin(_) | Request::Http(_) => None,
        Request::Nats(frame) => frame.request.subject(),
        #[cfg(test)]
        Request::Toy(request) => request.key(),
    }
}

fn name_in_command<'a>(command: &Command<'a>) -> Option<&'a [u8]> {
    match command {
        Command::Retrieve(name)
        | Command::Remove(name)
        | Command::Notify(name)
        | Command::Ttl(name)
        | Command::Listen(name)
        | Command::Unlisten(name)
        | Command::ListenToPattern(name)
        | Command::UnlistenToPattern(name) => Some(name),
        Command::Store(pair) | Command::Set(pair) | Command::SetAndStore(pair) => Some(pair.name),
        Command::Increment(counter) | Command::Decrement(counter) => Some(counter.name),
        Command::Expire(expire) => Some(expire.name),
        _ => None,
    }
}
