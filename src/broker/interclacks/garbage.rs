//! Names that links which have ended were still to be sent: their memory is given back in slices.

use super::Tree;
use super::link::Telling;
use crate::broker::walk::KeptName;
use crate::limits::{FREED_PER_TURN, NAMES_PER_SLICE};
use std::collections::BTreeSet;

impl Tree {
    pub(super) fn leave_walk_behind(&mut self, telling: Telling) {
        if let Telling::Now(walk) = telling {
            self.leave_behind(walk.into_names());
        }
    }

    /// These names are no longer to be told.
    pub fn leave_behind(&mut self, names: BTreeSet<KeptName>) {
        if !names.is_empty() {
            self.left_behind.push(names);
        }
    }

    /// Whether there are names left that [`Tree::forget_left_behind`] has to do with.
    pub fn has_left_behind(&self) -> bool {
        !self.left_behind.is_empty()
    }

    /// Frees names that are no longer to be told, one slice.
    pub fn forget_left_behind(&mut self) {
        let mut freed = 0;
        for _ in 0..NAMES_PER_SLICE {
            let Some(names) = self.left_behind.last_mut() else {
                return;
            };
            match names.pop_first() {
                Some(name) => freed += name.len(),
                None => drop(self.left_behind.pop()),
            }
            if freed >= FREED_PER_TURN {
                return;
            }
        }
    }
}
