//! The listeners of the name that was looked up last. Signals often come many at once, of one name.

use super::trie::Walk;
use crate::broker::events::{AudienceId, ConnectionId};
use crate::protocol::pattern::MAX_PATTERN;

#[derive(Default)]
pub struct Matched {
    /// The name; `None` if it is too long to be kept.
    name: Option<Vec<u8>>,
    /// How often subscriptions to patterns and to names had changed.
    changes: (u64, u64),
    found: Vec<ConnectionId>,
    /// How many lists there were so far.
    lists: u64,
    walk: Walk,
}

impl Matched {
    /// Makes the list that of `name` with `find`, which appends connections to an empty list and returns the number of nodes
    /// that it visited. Returns that number; 0 if the list is that of the name already.
    pub fn update(
        &mut self,
        name: &[u8],
        changes: (u64, u64),
        find: impl FnOnce(&mut Walk, &mut Vec<ConnectionId>) -> usize,
    ) -> usize {
        if self.changes == changes && self.name.as_deref() == Some(name) {
            return 0;
        }
        self.found.clear();
        let visited = find(&mut self.walk, &mut self.found);
        self.lists += 1;
        self.changes = changes;
        if name.len() > MAX_PATTERN {
            self.name = None;
        } else {
            let kept = self.name.get_or_insert_default();
            kept.clear();
            kept.extend_from_slice(name);
        }
        visited
    }

    pub fn audience(&self) -> Option<(AudienceId, &[ConnectionId])> {
        let id = AudienceId {
            // No name that is listened to has this number.
            name: u32::MAX,
            changes: self.lists,
        };
        (!self.found.is_empty()).then_some((id, &self.found))
    }

    /// Memory in bytes.
    pub fn memory(&self) -> usize {
        self.walk.memory() + self.found.capacity() * size_of::<ConnectionId>()
    }
}
