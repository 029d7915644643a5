//! The session of a NATS client, beside what every session has.

use crate::protocol::nats::connect::Options;

#[derive(Default)]
pub struct Conversation {
    /// The options of the client's CONNECTs.
    pub options: Options,
    /// The client was told that the message has an invalid subject whose payload is coming.
    pub is_told: bool,
    /// When the last command came (monotonic).
    pub heard_us: u64,
    /// PINGs that were sent since something came from the client.
    pub unanswered: u8,
    /// When the last of them was sent (monotonic).
    pub ping_sent_us: u64,
}

impl Conversation {
    pub fn is_verbose(&self) -> bool {
        self.options.is_verbose
    }

    pub fn is_pedantic(&self) -> bool {
        self.options.is_pedantic
    }

    pub fn wants_echo(&self) -> bool {
        self.options.wants_echo
    }

    pub fn takes_headers(&self) -> bool {
        self.options.takes_headers
    }
}
