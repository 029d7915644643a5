//! The session of a NATS client, beside what every session has.

use crate::protocol::nats::connect::Options;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

#[derive(Default)]
pub struct Conversation {
    /// The options of the client's CONNECTs. Conversations with equal ones share them: most clients are the same few programs.
    pub options: Rc<Options>,
    /// The client was told that the message has an invalid subject whose payload is coming.
    pub is_told: bool,
    /// When the last command came (monotonic).
    pub heard_us: u64,
    /// PINGs that were sent and not answered. What comes later than the session's last ping answers all of them.
    pub unanswered: u8,
}

/// The options of the latest CONNECTs, as long as somebody has them.
#[derive(Default)]
pub struct LatestOptions(VecDeque<Weak<Options>>);

impl LatestOptions {
    /// Options that are kept for the next ones to share.
    const KEPT: usize = 8;

    /// Returns these options, shared with whoever has equal ones.
    pub fn share(&mut self, options: Options) -> Rc<Options> {
        self.0.retain(|latest| latest.strong_count() > 0);
        let mut latest = self.0.iter().filter_map(Weak::upgrade);
        if let Some(equal) = latest.find(|latest| **latest == options) {
            return equal;
        }
        let options = Rc::new(options);
        self.0.truncate(LatestOptions::KEPT - 1);
        self.0.push_front(Rc::downgrade(&options));
        options
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Options {
        let text = format!("{{\"name\":\"{name}\"}}");
        let options = Options::default().with(text.as_bytes());
        options.unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn equal_options_are_shared_as_long_as_somebody_has_them() {
        let mut latest = LatestOptions::default();
        let [one, other, third] = ["a", "b", "a"].map(|name| latest.share(named(name)));
        assert!(Rc::ptr_eq(&one, &third) && !Rc::ptr_eq(&one, &other));
        drop((one, other, third));
        let again = latest.share(named("a"));
        assert_eq!((Rc::strong_count(&again), latest.0.len()), (1, 1));
        let many: Vec<_> = (0..100)
            .map(|number| latest.share(named(&number.to_string())))
            .collect();
        assert_eq!((many.len(), latest.0.len()), (100, LatestOptions::KEPT));
    }
}
