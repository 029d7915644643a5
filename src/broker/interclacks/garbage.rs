//! Names that links which have ended were still to be sent: their memory is given back in slices.

use super::Tree;
use super::link::SyncState;
use crate::broker::walk::KeptName;
use crate::limits::{FREED_PER_TURN, NAMES_PER_SLICE};
use std::collections::BTreeSet;

impl Tree {
    pub(super) fn free_walk_later(&mut self, sync: SyncState) {
        if let SyncState::Running(walk) = sync {
            self.free_later(walk.into_names());
        }
    }

    /// Takes names that no longer have to be sent.
    pub fn free_later(&mut self, names: BTreeSet<KeptName>) {
        if !names.is_empty() {
            self.garbage_names.push(names);
        }
    }

    /// Reports whether [`Tree::free_garbage_slice`] has anything to free.
    pub fn has_garbage(&self) -> bool {
        !self.garbage_names.is_empty()
    }

    /// Frees one slice of the names that no longer have to be sent.
    pub fn free_garbage_slice(&mut self) {
        let mut freed = 0;
        for _ in 0..NAMES_PER_SLICE {
            let Some(names) = self.garbage_names.last_mut() else {
                return;
            };
            match names.pop_first() {
                Some(name) => freed += name.len(),
                None => drop(self.garbage_names.pop()),
            }
            if freed >= FREED_PER_TURN {
                return;
            }
        }
    }
}
