//! Keep-alive: a client that is silent for long is asked whether it is there.

use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Now, Traffic};
use crate::broker::session::{LastPing, Session};
use crate::protocol::nats::answer;

/// A client that sends nothing for the ping timeout is asked so often meanwhile.
const PINGS: u8 = 2;

/// When something came from a client last (monotonic).
pub fn heard_us(session: &Session, traffic: Traffic) -> u64 {
    let conversation = session.nats.as_ref();
    let heard_us = conversation.map_or(0, |conversation| conversation.heard_us);
    let opened_us = session.last_ping.map_or(0, |last| last.at_us());
    heard_us.max(opened_us).max(traffic.last_input_us)
}

/// The moment (monotonic) at which [`handle_silence`] is due if nothing comes from the client before: some time after the
/// last sign of life, of which `timeout_us` is as long as there may be none. Time in which the server did not read, and in
/// which output is being taken, is not counted.
pub fn due(session: &Session, traffic: Traffic, timeout_us: u64, now_us: u64) -> u64 {
    let (Some(conversation), Some(last)) = (&session.nats, session.last_ping) else {
        return u64::MAX;
    };
    let part_us = timeout_us / u64::from(PINGS + 1);
    let is_taking_output = traffic.queued > 0 && traffic.stalled_since_us.is_none();
    if is_taking_output {
        return now_us + part_us;
    }
    let heard_us = heard_us(session, traffic);
    let stood_still_us = traffic.stopped_us - last.stopped_us;
    let unanswered = match heard_us > last.at_us() {
        true => 0,
        false => conversation.unanswered,
    };
    heard_us + stood_still_us + part_us * (u64::from(unanswered) + 1)
}

/// A client seems to have been silent. Unless something has come, it is asked whether it is there, or has been asked often
/// enough.
pub fn handle_silence<O: Carrier>(broker: &mut Broker, id: ConnectionId, now: Now, out: &mut O) {
    let traffic = out.traffic(id);
    let Some(session) = broker.sessions.get_mut(id) else {
        return;
    };
    let heard_us = heard_us(session, traffic);
    let (Some(last), Some(conversation)) = (&mut session.last_ping, &mut session.nats) else {
        return;
    };
    if heard_us > last.at_us() {
        // From then on the time is measured in which the server did not read.
        *last = LastPing::new(heard_us, traffic.stopped_us);
        conversation.unanswered = 0;
        let timeout_us = broker.settings.ping_timeout_us;
        if due(session, traffic, timeout_us, now.monotonic_us) > now.monotonic_us {
            return;
        }
    }
    let Some(conversation) = &mut session.nats else {
        return;
    };
    if conversation.unanswered >= PINGS {
        return broker.time_out(id, CloseReason::PingTimeout, now, out);
    }
    conversation.unanswered += 1;
    out.append(id, answer::ping);
}
