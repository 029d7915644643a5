//! The queue of actions that the server has not confirmed yet.

use super::action::Action;
use std::collections::VecDeque;

/// Unconfirmed actions in the order of their notifications. The first [`Backlog::sent`] of them are sent.
#[derive(Default)]
pub struct Backlog {
    actions: VecDeque<Action>,
    bytes: usize,
    /// The number of actions at the front that are sent.
    sent: usize,
    /// The number of next actions to be sent one by one, because one of them makes the server end the connection.
    singly: usize,
}

/// The memory limit, in bytes. Beyond it the oldest unsent actions are dropped. It is enough for hours of a busy database
/// while the server is unreachable.
pub const MAX_BYTES: usize = 64 << 20;
/// The number of actions sent before a confirmation is awaited.
const BATCH: usize = 1000;

impl Backlog {
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Adds an action. Returns the number of older actions that were dropped for it.
    pub fn push(&mut self, action: Action) -> usize {
        self.bytes += action.size();
        self.actions.push_back(action);
        let mut dropped = 0;
        while self.bytes > MAX_BYTES
            && let Some(oldest) = self.actions.remove(self.sent)
        {
            self.bytes -= oldest.size();
            dropped += 1;
        }
        dropped
    }

    /// The number of actions that are sent and not confirmed.
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// The next action to be sent; `None` when a batch is complete.
    pub fn next(&self) -> Option<&Action> {
        let batch = if self.singly > 0 { 1 } else { BATCH };
        self.actions.get(self.sent).filter(|_| self.sent < batch)
    }

    /// Records that the next action was sent.
    pub fn note_sent(&mut self) {
        self.sent += 1;
    }

    /// Drops the next action, which can't be sent at all.
    pub fn skip(&mut self) {
        if let Some(skipped) = self.actions.remove(self.sent) {
            self.bytes -= skipped.size();
        }
    }

    /// Removes all sent actions, because the server has processed them.
    pub fn confirm(&mut self) {
        for action in self.actions.drain(..self.sent) {
            self.bytes -= action.size();
        }
        self.singly = self.singly.saturating_sub(self.sent);
        self.sent = 0;
    }

    /// Makes all sent actions unsent, to be sent one by one.
    pub fn send_singly(&mut self) {
        self.singly = BATCH.min(self.actions.len());
        self.sent = 0;
    }

    /// Drops the action if it was sent singly. Returns false if several were sent, or none.
    pub fn skip_if_single(&mut self) -> bool {
        let is_single = self.singly > 0 && self.sent <= 1;
        if is_single {
            self.sent = 0;
            self.skip();
            self.singly -= 1;
        }
        is_single
    }

    /// Makes all sent actions unsent, because the connection was lost.
    pub fn send_again(&mut self) {
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(number: usize) -> Action {
        let value = format!("{number}{}", "x".repeat(1 << 20));
        Action::parse(&["STORE", "a", &value].map(|part| part.as_bytes().to_vec()))
            .expect("an action")
    }

    #[test]
    fn what_was_sent_stays_until_it_is_confirmed_and_in_order() {
        let mut backlog = Backlog::default();
        for number in 0..3 {
            assert_eq!(backlog.push(action(number)), 0);
        }
        assert_eq!(backlog.next(), Some(&action(0)));
        backlog.note_sent();
        backlog.note_sent();
        assert_eq!(backlog.next(), Some(&action(2)));
        backlog.send_again();
        assert_eq!(backlog.next(), Some(&action(0)));
        backlog.note_sent();
        backlog.confirm();
        assert_eq!(backlog.next(), Some(&action(1)));
        backlog.skip();
        assert_eq!(backlog.next(), Some(&action(2)));
        backlog.skip();
        assert!(backlog.is_empty() && backlog.bytes == 0);
    }

    #[test]
    fn the_oldest_unsent_orders_go_when_there_are_too_many() {
        let mut backlog = Backlog::default();
        backlog.push(action(0));
        backlog.note_sent();
        let dropped: usize = (1..100).map(|number| backlog.push(action(number))).sum();
        assert!(dropped > 30 && backlog.bytes <= MAX_BYTES, "{dropped}");
        backlog.send_again();
        assert_eq!(backlog.next(), Some(&action(0)));
        backlog.note_sent();
        assert_eq!(backlog.next(), Some(&action(dropped + 1)));
    }
}
