//! Telling a peer what this node holds, a slice at a time.

use super::encode::encode_key_sync;
use super::{HEARD_NAME, Role, Software, Telling};
use crate::broker::Broker;
use crate::broker::output::{ConnectionId, Now, Output};
use crate::broker::walk::{Meets, Walk};
use crate::limits::LISTING_SLICE;
use crate::protocol::{Flags, encode, peer};

impl Broker {
    pub(super) fn new_walk(&self, peer: Software) -> Walk {
        match peer {
            Software::Clacksd => Walk::unsorted(Meets::All),
            Software::NetClacks => Walk::sorted_if_few(&self.cache, Meets::All),
        }
    }

    /// It is the slave's turn.
    pub(super) fn start_telling<O: Output>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        let Some(peer) = self.link_mut(id).map(|link| link.peer) else {
            return;
        };
        let walk = self.new_walk(peer);
        if let Some(link) = self.link_mut(id)
            && matches!(link.telling, Telling::NotYet)
        {
            link.telling = Telling::Now(walk);
            self.tell_at_once(id, now, out);
        }
    }

    /// A short story is told in one go: its sorting and its telling are a slice each.
    pub(super) fn tell_at_once<O: Output>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        self.tell(id, now, out);
        self.tell(id, now, out);
    }

    /// Goes on telling, one slice.
    pub(in crate::broker) fn tell<O: Output>(&mut self, id: ConnectionId, now: Now, out: &mut O) {
        let now_us = self.tree_now_us(now);
        let Broker {
            sessions, cache, ..
        } = self;
        let Some(link) = sessions
            .get_mut(id)
            .and_then(|session| session.link.as_mut())
        else {
            return;
        };
        let Telling::Now(walk) = &mut link.telling else {
            return;
        };
        let (heard, peer) = (&link.heard, link.peer);
        let mut slice = Vec::with_capacity(LISTING_SLICE);
        walk.advance(cache, now_us, |found| {
            let before = slice.len();
            let hash = cache.hash(found.name());
            if heard.find(hash, |heard| *heard == hash).is_none() {
                match peer {
                    Software::Clacksd => {
                        peer::encode_state(&mut slice, found.name(), &found.state(), None)
                    }
                    Software::NetClacks => encode_key_sync(&mut slice, found),
                }
            }
            slice.len() - before
        });
        out.append(id, |to| to.extend_from_slice(&slice));
        let held_before = std::mem::replace(&mut link.walk_held, walk.memory());
        out.hold(id, walk.memory() as isize - held_before as isize);
        if !walk.is_done() {
            out.want_room(id);
            return;
        }
        link.telling = Telling::Done;
        let heard = std::mem::take(&mut link.heard).len();
        let is_first = !std::mem::replace(&mut link.is_synced, true);
        let (held, role) = (std::mem::take(&mut link.held), link.role);
        out.hold(id, -(held.len() as isize + heard as isize * HEARD_NAME));
        out.append(id, |to| {
            match (peer, role) {
                (Software::Clacksd, _) if is_first => encode::line(to, &[b"SYNCED"]),
                (Software::NetClacks, Role::Downlink) if is_first => {
                    encode::overhead(to, Flags::LOCK, b"0");
                    encode::line(to, &[b"PING"]);
                }
                _ => {}
            }
            to.extend_from_slice(&held);
        });
    }
}
