//! The subscriptions of a client, which have to be sent on every new connection. No I/O.

use crate::protocol::encode;
use std::collections::BTreeSet;

/// The names and patterns that a client listens to, and its monitoring.
#[derive(Debug, Clone, Default)]
pub struct Subscriptions {
    pub names: BTreeSet<Vec<u8>>,
    pub patterns: BTreeSet<Vec<u8>>,
    pub is_monitoring: bool,
}

impl Subscriptions {
    /// The lines that change the subscriptions of a connection from `announced` to these.
    pub fn changes_since(&self, announced: &Subscriptions) -> Vec<u8> {
        let mut lines = Vec::new();
        let changed: [(&[u8], _, _); 4] = [
            (b"LISTEN ", &self.names, &announced.names),
            (b"UNLISTEN ", &announced.names, &self.names),
            (b"PLISTEN ", &self.patterns, &announced.patterns),
            (b"PUNLISTEN ", &announced.patterns, &self.patterns),
        ];
        for (verb, more, fewer) in changed {
            for text in more.difference(fewer) {
                encode::line(&mut lines, &[verb, text]);
            }
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
        let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        let wants = |names: &[&str], is_monitoring| Subscriptions {
            names: texts(names),
            patterns: BTreeSet::new(),
            is_monitoring,
        };
        let patterns = |patterns: &[&str]| Subscriptions {
            patterns: texts(patterns),
            ..Subscriptions::default()
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
            (
                &patterns(&["a::*", "b::>"]),
                &patterns(&["b::>", "c"]),
                "PLISTEN c\r\nPUNLISTEN a::*\r\n",
            ),
        ] {
            assert_eq!(wanted.changes_since(told), lines.as_bytes());
        }
    }
}
