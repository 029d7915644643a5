//! The subscriptions of a client, which have to be sent on every new connection. No I/O.

use crate::protocol::encode;
use std::collections::BTreeSet;

/// The names that a client listens to, and its monitoring.
#[derive(Debug, Clone, Default)]
pub struct Subscriptions {
    pub names: BTreeSet<Vec<u8>>,
    pub is_monitoring: bool,
}

impl Subscriptions {
    /// The lines that change the subscriptions of a connection from `announced` to these.
    pub fn changes_since(&self, announced: &Subscriptions) -> Vec<u8> {
        let mut lines = Vec::new();
        for name in self.names.difference(&announced.names) {
            encode::line(&mut lines, &[b"LISTEN ", name]);
        }
        for name in announced.names.difference(&self.names) {
            encode::line(&mut lines, &[b"UNLISTEN ", name]);
        }
        match (announced.is_monitoring, self.is_monitoring) {
            (false, true) => encode::line(&mut lines, &[b"MONITOR"]),
            (true, false) => encode::line(&mut lines, &[b"UNMONITOR"]),
            _ => {}
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_told() {
        let wants = |names: &[&str], is_monitoring| Subscriptions {
            names: names.iter().map(|name| name.as_bytes().to_vec()).collect(),
            is_monitoring,
        };
        let (before, after) = (wants(&["a", "b"], false), wants(&["b", "c"], true));
        for (told, wanted, lines) in [
            (
                &Subscriptions::default(),
                &before,
                "LISTEN a\r\nLISTEN b\r\n",
            ),
            (&before, &after, "LISTEN c\r\nUNLISTEN a\r\nMONITOR\r\n"),
            (&after, &before, "LISTEN a\r\nUNLISTEN c\r\nUNMONITOR\r\n"),
            (&after, &after, ""),
        ] {
            assert_eq!(wanted.changes_since(told), lines.as_bytes());
        }
    }
}
