//! Counters between clacksd servers: single shares, and the marker up to which shares are folded.

use super::link::{Role, Software};
use super::{LegacyForm, UplinkState};
use crate::broker::Broker;
use crate::broker::cache::{Counted, Effect, TooLarge};
use crate::broker::change::{Change, Write};
use crate::broker::events::{ConnectionId, Now};
use crate::broker::operations::By;
use crate::broker::output::Output;
use crate::limits::WORK_PER_CONTRIBUTION;
use crate::protocol::peer::{self, Contribution, Stamp};

/// One share of a counter in a peer's COUNT line.
pub(super) struct Count<'a> {
    pub name: &'a [u8],
    pub stamp: Stamp,
    pub accessed_us: u64,
    pub contribution: Contribution,
}

impl Broker {
    /// A share of a counter. Where that can't be merged, the peer gets to know why, and sends the whole state.
    pub(super) fn handle_count<O: Output>(
        &mut self,
        id: ConnectionId,
        count: &Count<'_>,
        now: Now,
        out: &mut O,
    ) {
        let Count {
            name,
            stamp,
            accessed_us,
            contribution,
        } = *count;
        self.renew_ping(id, now, out);
        let now_us = self.tree.now_us(now);
        let counted =
            self.cache
                .merge_contribution(name, stamp, accessed_us, &contribution, now_us);
        self.report_share_contest(now);
        match counted {
            Ok(Counted::Grown(step, written)) => {
                let contributions = self.cache.entry_of(written.entry).contributions();
                out.add_work(contributions * WORK_PER_CONTRIBUTION);
                let write = Write {
                    by: By {
                        connection: id,
                        form: LegacyForm::Effect(&Effect::Counter(vec![step])),
                    },
                    name,
                    written,
                    signal: None,
                };
                self.commit(Change::Write(write), now, out);
            }
            Ok(Counted::Nothing) => {}
            Ok(Counted::Unknown) => {
                out.append(id, |to| peer::encode_unknown_count(to, name, stamp))
            }
            Ok(Counted::Differs) => self.answer_older_state(id, name, now, out),
            Err(TooLarge) => {
                self.log_too_large(name, now);
                self.cache.forget(name);
            }
        }
    }

    /// A later marker: it goes on to all others.
    pub(super) fn handle_fold<O: Output>(
        &mut self,
        id: ConnectionId,
        marker: Stamp,
        now: Now,
        out: &mut O,
    ) {
        if self.cache.merge_fold(marker) {
            self.commit(Change::Fold { from: Some(id) }, now, out);
        }
    }

    /// Reports whether this server decides for its tree which shares are folded: it has no master that could.
    pub(in crate::broker) fn is_fold_authority(&self) -> bool {
        let Some(uplink) = &self.uplink else {
            return true;
        };
        let UplinkState::Connected(id) = uplink.state else {
            return false;
        };
        self.tree.links.get(id).is_some_and(|link| {
            link.is_up && link.role == Role::Uplink && link.peer == Software::NetClacks
        })
    }
}
