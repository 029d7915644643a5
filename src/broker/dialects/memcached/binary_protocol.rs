//! Clients of the binary protocol, which is not spoken: the log says once for each address how to set them.

use crate::broker::origin::Origin;
use crate::broker::session::Session;
use std::collections::VecDeque;

/// Addresses that are remembered.
const REMEMBERED: usize = 1024;

/// The addresses whose clients the log has told of.
#[derive(Default)]
pub struct BinaryPeers(VecDeque<Origin>);

impl BinaryPeers {
    pub fn advise(&mut self, session: &Session) {
        if let Some(origin) = session.origin()
            && self.is_new(origin)
        {
            log::warn!(
                "binary_protocol: {} speaks memcached's binary protocol; set the client there to the text protocol \
                 (pylibmc: binary=False; libmemcached: without MEMCACHED_BEHAVIOR_BINARY_PROTOCOL; PHP: \
                 Memcached::OPT_BINARY_PROTOCOL => false; Enyim: protocol=\"Text\"; spymemcached: Protocol.TEXT; dalli: \
                 protocol: :meta); dalli before 3.2, memjs and python-binary-memcached have no text protocol",
                session.cid
            );
        }
    }

    /// Remembers an address, in place of the one remembered longest; false if it was known.
    fn is_new(&mut self, origin: Origin) -> bool {
        if self.0.contains(&origin) {
            return false;
        }
        self.0.truncate(REMEMBERED - 1);
        self.0.push_front(origin);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_of_once_while_it_is_remembered() {
        let mut peers = BinaryPeers::default();
        assert!(peers.is_new(Origin::Uid(0)));
        for uid in 1..REMEMBERED as u32 {
            assert!(peers.is_new(Origin::Uid(uid)));
        }
        assert!(!peers.is_new(Origin::Uid(0)));
        assert!(peers.is_new(Origin::Uid(u32::MAX)));
        assert!(peers.is_new(Origin::Uid(0)));
        assert_eq!(peers.0.len(), REMEMBERED);
    }
}
