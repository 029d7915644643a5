//! The names of groups, each with a number, so that members of one group are found by comparing numbers.

use ahash::RandomState;
use slab::Slab;
use std::collections::HashMap;
use std::rc::Rc;

/// A group for as long as it is named by any subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(u32);

/// The names of groups that subscriptions have.
pub struct Groups {
    by_name: HashMap<Rc<[u8]>, GroupId, RandomState>,
    names: Slab<Group>,
}

struct Group {
    name: Rc<[u8]>,
    /// Subscriptions with this name.
    uses: usize,
}

impl Groups {
    pub fn new(hasher: RandomState) -> Groups {
        Groups {
            by_name: HashMap::with_hasher(hasher),
            names: Slab::new(),
        }
    }

    /// The group of that name for one more subscription.
    pub fn enter(&mut self, name: &[u8]) -> GroupId {
        if let Some(&id) = self.by_name.get(name) {
            self.names[id.0 as usize].uses += 1;
            return id;
        }
        let name: Rc<[u8]> = name.into();
        let place = self.names.insert(Group {
            name: name.clone(),
            uses: 1,
        });
        let id = GroupId(u32::try_from(place).expect("memory ends before 2^32 of these do"));
        self.by_name.insert(name, id);
        id
    }

    /// One subscription less has the group's name.
    pub fn leave(&mut self, id: GroupId) {
        let group = &mut self.names[id.0 as usize];
        group.uses -= 1;
        if group.uses == 0 {
            let group = self.names.remove(id.0 as usize);
            self.by_name.remove(&group.name);
        }
    }

    pub fn find(&self, name: &[u8]) -> Option<GroupId> {
        self.by_name.get(name).copied()
    }

    pub fn name(&self, id: GroupId) -> &[u8] {
        &self.names[id.0 as usize].name
    }

    /// How many subscriptions name a group; for tests.
    pub fn uses(&self) -> usize {
        self.names.iter().map(|(_, group)| group.uses).sum()
    }
}
