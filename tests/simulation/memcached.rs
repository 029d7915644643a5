//! The memcached clients of a world, and the answers that they get.

use super::world::{Random, World};
use clacks::protocol::Language;

/// The clients of a node: three of Clacks and one of memcached.
pub const CLIENTS: [Language; 4] = [
    Language::Clacks,
    Language::Clacks,
    Language::Clacks,
    Language::Memcached,
];
pub const MEMCACHED: usize = 3;
/// It leaves the seeds of faults as they were: nobody speaks memcached there.
const SALT: u64 = 0x159;

/// Reports whether some clients in the world of that seed speak memcached.
pub fn is_spoken(seed: u64) -> bool {
    Random(seed ^ SALT).one_in(2)
}

/// An entry as `gets` shows it.
pub struct Shown {
    pub value: String,
    pub cas: u64,
}

impl World {
    /// The line that answers a node's memcached client.
    pub fn answer(&mut self, at: usize, request: &str) -> String {
        let mut lines = self.ask(at, MEMCACHED, request);
        assert_eq!(lines.len(), 1, "node {at} answers {request:?}: {lines:?}");
        lines.remove(0)
    }

    /// Stores a value with a command and what stands behind the length in its line.
    pub fn put(&mut self, at: usize, command: &str, name: &str, value: &str, rest: &str) -> String {
        let length = value.len();
        let line = format!("{command} {name} 0 0 {length} {rest}\r\n{value}\r");
        self.answer(at, &line)
    }

    /// An entry of a node, as its memcached client gets it.
    pub fn gets(&mut self, at: usize, name: &str) -> Option<Shown> {
        let lines = self.ask(at, MEMCACHED, &format!("gets {name}"));
        let [line, value, end] = &lines[..] else {
            assert_eq!(lines, ["END"], "node {at} answers gets {name}");
            return None;
        };
        let words: Vec<&str> = line.split(' ').collect();
        let ["VALUE", shown, "0", length, cas] = words[..] else {
            panic!("node {at} answers gets {name} with {line:?}");
        };
        assert_eq!((shown, length), (name, &*value.len().to_string()));
        assert_eq!(end, "END");
        Some(Shown {
            value: value.clone(),
            cas: cas.parse().expect("a number"),
        })
    }
}
