//! The verb that a request of NATS counts under in the statistics.

use crate::broker::statistics::Verb;
use crate::protocol::nats::request::Request;

/// Returns the verb of a request.
pub fn verb_of(request: &Request<'_>) -> Verb {
    match request {
        Request::Publish(publish) => match publish.has_header_size {
            true => Verb::PublishWithHeader,
            false => Verb::Publish,
        },
        Request::Subscribe(_) => Verb::Subscribe,
        Request::Unsubscribe(_) => Verb::Unsubscribe,
        Request::Connect(_) => Verb::Connect,
        Request::Ping => Verb::NatsPing,
        Request::Pong => Verb::Pong,
        Request::Cut(_) | Request::Ignored | Request::PeerError(_) | Request::Wrong(_) => {
            Verb::OtherNats
        }
    }
}
