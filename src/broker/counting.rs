//! Counting: the steps of clients, the share id that they are made under, and the marker up to which the shares of
//! runs that are over are folded (see `cache::share`).

use super::Broker;
use super::cache::Added;
use super::change::Change;
use super::output::{ConnectionId, Now, Output, Record};
use crate::limits::MAX_CLOCK_LEAD_US;
use crate::protocol::command::Counter;
use crate::protocol::number::{Number, work_of};

impl Broker {
    /// INCREMENT or DECREMENT of a client or a Net::Clacks peer, which adds `step`.
    pub(super) fn count<O: Output>(
        &mut self,
        from: ConnectionId,
        counter: &Counter<'_>,
        step: Number,
        line: &[u8],
        now: Now,
        out: &mut O,
    ) {
        let name = counter.name;
        let now_us = self.tree_now_us(now);
        let begun_us = now_us + self.clock_doubt_us();
        let written =
            self.cache
                .add(name, step, now_us, begun_us)
                .map(|Added { written, work }| {
                    out.add_work(work + counter.step.map_or(0, work_of));
                    written
                });
        self.changed(from, written, name, line, now, out);
    }

    /// By how much the tree's time may be later than what this node takes for it. A share id must not begin
    /// earlier than it was drawn: its shares would be folded too early.
    fn clock_doubt_us(&self) -> u64 {
        match self.uplink.is_some() && !self.tree.has_learnt_time() {
            true => MAX_CLOCK_LEAD_US,
            false => 0,
        }
    }

    /// The ageing walk has come to its end. If it has met shares that are old enough, and this server is the one of
    /// its tree that decides it, the marker moves on.
    pub(super) fn advance_marker<O: Output>(&mut self, now: Now, out: &mut O) {
        let has_old_shares = self.cache.take_old_shares();
        if !has_old_shares || !self.is_fold_authority() {
            return;
        }
        let marker = self.cache.next_marker(self.tree_now_us(now));
        if self.cache.merge_fold(marker) {
            self.commit(Change::Fold { from: None }, now, out);
        }
    }

    /// Logs it when another server counts under this server's share id.
    pub(super) fn report_share_contest(&mut self, now: Now) {
        if self.cache.take_share_contest() {
            self.log_of_link(
                log::Level::Warn,
                format_args!(
                    "another server counts under this server's share id, as with a copy of its journal: this server goes on with a new one"
                ),
                now,
            );
        }
    }

    /// Everything was recorded and nothing more will be: records that the run has ended in order, for the next one
    /// to count under the same share id. To be called before the last records are handed over.
    pub fn record_end<O: Output>(&mut self, now: Now, out: &mut O) {
        if let Some((share, newest_us)) = self.cache.own_share() {
            let record = Record::Run {
                share,
                newest_us,
                has_ended: true,
            };
            self.record_last(&record, now, out);
        }
    }
}
