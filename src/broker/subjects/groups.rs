//! The names of groups, each with a number, so that members of one group are found by comparing numbers.

use crate::broker::pages::Pages;
use crate::broker::table::Table;
use ahash::RandomState;

/// A group for as long as it is named by any subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GroupId(u32);

/// The names of groups that subscriptions have.
pub struct Groups {
    hasher: RandomState,
    by_name: Table<GroupId>,
    names: Pages<Group>,
}

struct Group {
    name: Box<[u8]>,
    /// Subscriptions with this name.
    uses: usize,
}

impl Groups {
    pub fn new(hasher: RandomState) -> Groups {
        Groups {
            hasher,
            by_name: Table::default(),
            names: Pages::default(),
        }
    }

    /// The group of that name for one more subscription.
    pub fn enter(&mut self, name: &[u8]) -> GroupId {
        if let Some(id) = self.find(name) {
            self.names[id.0].uses += 1;
            return id;
        }
        let id = GroupId(self.names.insert(Group {
            name: name.into(),
            uses: 1,
        }));
        let Groups {
            hasher,
            by_name,
            names,
        } = self;
        let hash_of = |id: &GroupId| hasher.hash_one(&*names[id.0].name);
        by_name.insert(hash_of(&id), id, hash_of);
        id
    }

    /// One subscription less has the group's name.
    pub fn leave(&mut self, id: GroupId) {
        let group = &mut self.names[id.0];
        group.uses -= 1;
        if group.uses > 0 {
            return;
        }
        if let Some(group) = self.names.remove(id.0) {
            let hash = self.hasher.hash_one(&*group.name);
            self.by_name.remove(hash, |other| *other == id);
            self.by_name.join(hash);
        }
    }

    pub fn find(&self, name: &[u8]) -> Option<GroupId> {
        let hash = self.hasher.hash_one(name);
        let is_it = |id: &GroupId| *self.names[id.0].name == *name;
        self.by_name.find(hash, is_it).copied()
    }

    pub fn name(&self, id: GroupId) -> &[u8] {
        &self.names[id.0].name
    }

    /// Memory of the tables, in bytes.
    pub fn memory(&self) -> usize {
        self.by_name.memory() + self.names.memory()
    }

    /// How many subscriptions name a group; for tests.
    pub fn uses(&self) -> usize {
        self.names.iter().map(|group| group.uses).sum()
    }
}
