//! All links, each with its connection.

use super::link::{Link, Role};
use crate::broker::events::ConnectionId;
use std::collections::BTreeMap;

/// The links, few as a rule, in the order of their connections' ids.
#[derive(Default)]
pub struct Links(BTreeMap<ConnectionId, Box<Link>>);

impl Links {
    pub fn insert(&mut self, id: ConnectionId, link: Link) {
        self.0.insert(id, Box::new(link));
    }

    pub fn remove(&mut self, id: ConnectionId) -> Option<Box<Link>> {
        self.0.remove(&id)
    }

    pub fn get(&self, id: ConnectionId) -> Option<&Link> {
        self.0.get(&id).map(|link| &**link)
    }

    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Link> {
        self.0.get_mut(&id).map(|link| &mut **link)
    }

    /// Reports whether there is no link, not even one that has not logged in yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reports whether there is no link but that of this connection.
    pub fn is_only(&self, id: ConnectionId) -> bool {
        self.0.len() == 1 && self.0.contains_key(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Link)> {
        self.0.iter().map(|(id, link)| (*id, &**link))
    }

    /// Those that are up.
    pub fn up(&self) -> impl Iterator<Item = (ConnectionId, &Link)> {
        self.iter().filter(|(_, link)| link.is_up)
    }

    /// The slaves that are up.
    pub fn slaves(&self) -> impl Iterator<Item = (ConnectionId, &Link)> {
        self.up().filter(|(_, link)| link.role == Role::Downlink)
    }

    /// Those that are up.
    pub fn up_mut(&mut self) -> impl Iterator<Item = (ConnectionId, &mut Link)> {
        let links = self.0.iter_mut().map(|(id, link)| (*id, &mut **link));
        links.filter(|(_, link)| link.is_up)
    }

    /// The connections of those that are up.
    pub fn ids_up(&self) -> Vec<ConnectionId> {
        self.up().map(|(id, _)| id).collect()
    }
}
