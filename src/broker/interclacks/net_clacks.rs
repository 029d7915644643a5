//! KEYSYNC lines of Net::Clacks peers: values with the times of clocks that nobody has set right.

use super::LegacyForm;
use super::encode::{append_as_write, microseconds};
use super::link::{Link, Role};
use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::change::{Change, Write};
use crate::broker::events::{ConnectionId, Now};
use crate::broker::operations::By;
use crate::broker::output::Output;
use crate::protocol::attributes::Attributes;
use crate::protocol::command::KeySync;
use crate::protocol::encode;
use crate::protocol::peer::{NodeId, Register, Stamp, State};
use crate::protocol::shared::Lines;
use crate::protocol::shown::taken;
use log::Level;
use sha2::{Digest, Sha256};

impl Broker {
    /// A state in the reference's language, with the sender's times.
    pub(super) fn handle_key_sync<O: Output>(
        &mut self,
        id: ConnectionId,
        line: KeySync<'_>,
        now: Now,
        out: &mut O,
    ) {
        let now_us = self.tree.now_us(now);
        let Some(link) = self.tree.links.get(id) else {
            return;
        };
        let Some((cached_us, accessed_us)) = tree_times(link, &line, now, now_us) else {
            self.tree.log(
                Level::Warn,
                format_args!("a KEYSYNC whose times are no numbers was ignored"),
                now,
            );
            return;
        };
        let peer_is_syncing = link.peer_is_syncing;
        let name = line.entry().name;
        let value = (line.mode() != b"D").then(|| taken(line.entry().value));
        let value = value.as_deref();
        if value.is_none() && line.entry().value.contains(&b'=') {
            // Net::Clacks removes what can't be stored: the name has a sign in it, and is not that before the first.
            return;
        }
        // A KEYSYNC that a Net::Clacks server only forwards has the times of another server.
        if peer_is_syncing && !self.is_time_believed(id, cached_us, now, out) {
            return;
        }
        // Net::Clacks passes times on as the first sender's clock has them. What seems to be of the future
        // must not pull this node's stamps along: they would come back the same way, and gain each time.
        let cached_us = cached_us.min(now_us);
        if cached_us < self.cache.cleared().time_us {
            // It was away when the cache was cleared. What it only passes on it may have got since.
            if peer_is_syncing && value.is_some() && self.cache.find(name, now_us).is_none() {
                out.append(id, |to| encode::line(to, &[b"REMOVE ", name]));
            }
            return;
        }
        if !self.is_news(id, name, value, cached_us, now, out) {
            return;
        }
        let node = synthetic_node_id(value);
        let time_us = cached_us;
        let state = State {
            stamp: Stamp { time_us, node },
            accessed_us,
            register: value.map_or(Register::Removed, Register::Value),
            attributes: Attributes::default(),
            contributions: Vec::new(),
        };
        self.note_known_to_peer(id, name, out);
        let Ok(merged) = self.cache.merge(name, &state, now_us) else {
            return self.log_too_large(name, now);
        };
        if let Some(written) = merged.written {
            let write = Write {
                by: By {
                    connection: id,
                    form: LegacyForm::KeySync,
                },
                name,
                written,
                signal: None,
            };
            self.commit(Change::Write(write), now, out);
        }
    }

    /// Reports whether a KEYSYNC brings something else than what is here, and something newer. A slave that does not know yet
    /// what is here is told.
    fn is_news<O: Carrier>(
        &mut self,
        id: ConnectionId,
        name: &[u8],
        value: Option<&[u8]>,
        cached_us: u64,
        now: Now,
        out: &mut O,
    ) -> bool {
        let early_us = self.take_early_counter(id, name);
        let now_us = self.tree.now_us(now);
        let (Some(link), Some(found)) = (self.tree.links.get(id), self.cache.find(name, now_us))
        else {
            return true;
        };
        if found.value() == value {
            self.note_known_to_peer(id, name, out);
            return false;
        }
        // Nothing has changed here but by steps that the line contains.
        if early_us == Some(found.changed_us()) {
            return true;
        }
        if cached_us <= found.changed_us() {
            return false;
        }
        // A Net::Clacks slave sends everything back that it has just received, a little newer. An entry
        // that has changed here since then is newer all the same, and is sent to the slave.
        let changed_since = link.role == Role::Downlink
            && link.peer_is_syncing
            && found.changed_us() >= link.began_tree_us;
        if changed_since && cached_us <= found.changed_us() + link.round_trip_us {
            let mut lines = Lines::default();
            append_as_write(&mut lines, found);
            out.append_lines(id, &lines);
            return false;
        }
        true
    }
}

/// When the entry of a KEYSYNC was written and used, by the tree's clock; `None` if that are no numbers. Before the
/// peer has sent its time, that is taken to be this node's.
fn tree_times(link: &Link, line: &KeySync<'_>, now: Now, now_us: u64) -> Option<(u64, u64)> {
    let cached_us = microseconds(line.cache_time())?;
    let accessed_us = match microseconds(line.access_time())? {
        0 => cached_us,
        accessed_us => accessed_us,
    };
    let theirs_us = |anchor_us: i64| now.monotonic_us as i64 + anchor_us;
    let offset_us = link
        .anchor_us
        .map_or(0, |anchor_us| now_us as i64 - theirs_us(anchor_us));
    let to_tree = |time_us: u64| time_us.saturating_add_signed(offset_us);
    Some((to_tree(cached_us), to_tree(accessed_us)))
}

/// Whose write a KEYSYNC is taken for, which doesn't say it: somebody who only ever writes this value. So
/// it is the same write wherever and however often it comes, and of two values with the same time the same
/// one wins everywhere.
fn synthetic_node_id(value: Option<&[u8]>) -> NodeId {
    let mut digest = Sha256::new();
    digest.update([u8::from(value.is_some())]);
    digest.update(value.unwrap_or_default());
    let digest: [u8; 32] = digest.finalize().into();
    let (first, _) = digest
        .split_first_chunk()
        .expect("a SHA-256 has more than 8 bytes");
    NodeId(u64::from_be_bytes(*first))
}
