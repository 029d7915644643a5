//! Counting: the share id that steps are made under, and the marker up to which the shares of
//! runs that are over are folded (see `cache::share`).

use super::Broker;
use super::change::Change;
use super::events::Now;
use super::output::Output;
use super::recording::{Record, Recording};
use crate::limits::MAX_CLOCK_LEAD_US;

impl Broker {
    /// By how much the tree's time may be later than what this node takes for it. A share id must not begin
    /// earlier than it was drawn: its shares would be folded too early.
    pub(super) fn clock_doubt_us(&self) -> u64 {
        match self.tree.knows_time() {
            true => 0,
            false => MAX_CLOCK_LEAD_US,
        }
    }

    /// The ageing walk has come to its end. If it has met shares that are old enough, and this server is the one of
    /// its tree that decides it, the marker moves on.
    pub(super) fn advance_marker<O: Output>(&mut self, now: Now, out: &mut O) {
        let has_old_shares = self.cache.take_old_shares();
        if !has_old_shares || !self.is_fold_authority() {
            return;
        }
        let marker = self.cache.next_marker(self.tree.now_us(now));
        if self.cache.merge_fold(marker) {
            self.commit(Change::Fold { from: None }, now, out);
        }
    }

    /// Everything was recorded and nothing more will be: records that the run has ended in order, for the next one
    /// to count under the same share id. To be called before the last records are handed over.
    pub fn record_end<O: Recording>(&mut self, now: Now, out: &mut O) {
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
