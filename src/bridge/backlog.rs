//! Orders that the server has not confirmed yet.

use super::order::Order;
use std::collections::VecDeque;

/// In the order of their notifications.
#[derive(Default)]
pub struct Backlog {
    orders: VecDeque<Order>,
    bytes: usize,
    /// So many of the first were sent, and are not confirmed.
    sent: usize,
    /// So many of the next are sent one by one: among them is one that the server closes for.
    alone: usize,
}

/// Beyond that the oldest unsent orders are dropped: hours of a busy database while the server is away.
pub const MAX_BYTES: usize = 64 << 20;
/// Orders sent before one confirmation is waited for.
const BATCH: usize = 1000;

impl Backlog {
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// How many orders had to be dropped for this one.
    pub fn push(&mut self, order: Order) -> usize {
        self.bytes += order.size();
        self.orders.push_back(order);
        let mut dropped = 0;
        while self.bytes > MAX_BYTES
            && let Some(oldest) = self.orders.remove(self.sent)
        {
            self.bytes -= oldest.size();
            dropped += 1;
        }
        dropped
    }

    /// Orders that were sent and are not confirmed.
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// The next order to be sent, up to a batch.
    pub fn next(&self) -> Option<&Order> {
        let batch = if self.alone > 0 { 1 } else { BATCH };
        self.orders.get(self.sent).filter(|_| self.sent < batch)
    }

    /// The next order was sent.
    pub fn note_sent(&mut self) {
        self.sent += 1;
    }

    /// The next order can't be sent at all.
    pub fn skip(&mut self) {
        if let Some(skipped) = self.orders.remove(self.sent) {
            self.bytes -= skipped.size();
        }
    }

    /// The server has worked off everything that was sent.
    pub fn confirm(&mut self) {
        for order in self.orders.drain(..self.sent) {
            self.bytes -= order.size();
        }
        self.alone = self.alone.saturating_sub(self.sent);
        self.sent = 0;
    }

    /// What was sent has to be sent again, each by itself.
    pub fn send_alone(&mut self) {
        self.alone = BATCH.min(self.orders.len());
        self.sent = 0;
    }

    /// Drops the order that was sent by itself; false if there were several, or none.
    pub fn skip_if_alone(&mut self) -> bool {
        let is_alone = self.alone > 0 && self.sent <= 1;
        if is_alone {
            self.sent = 0;
            self.skip();
            self.alone -= 1;
        }
        is_alone
    }

    /// The connection was lost: what was sent has to be sent again.
    pub fn send_again(&mut self) {
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(number: usize) -> Order {
        let value = format!("{number}{}", "x".repeat(1 << 20));
        Order::parse(&["STORE", "a", &value].map(|part| part.as_bytes().to_vec()))
            .expect("an order")
    }

    #[test]
    fn what_was_sent_stays_until_it_is_confirmed_and_in_order() {
        let mut backlog = Backlog::default();
        for number in 0..3 {
            assert_eq!(backlog.push(order(number)), 0);
        }
        assert_eq!(backlog.next(), Some(&order(0)));
        backlog.note_sent();
        backlog.note_sent();
        assert_eq!(backlog.next(), Some(&order(2)));
        backlog.send_again();
        assert_eq!(backlog.next(), Some(&order(0)));
        backlog.note_sent();
        backlog.confirm();
        assert_eq!(backlog.next(), Some(&order(1)));
        backlog.skip();
        assert_eq!(backlog.next(), Some(&order(2)));
        backlog.skip();
        assert!(backlog.is_empty() && backlog.bytes == 0);
    }

    #[test]
    fn the_oldest_unsent_orders_go_when_there_are_too_many() {
        let mut backlog = Backlog::default();
        backlog.push(order(0));
        backlog.note_sent();
        let dropped: usize = (1..100).map(|number| backlog.push(order(number))).sum();
        assert!(dropped > 30 && backlog.bytes <= MAX_BYTES, "{dropped}");
        backlog.send_again();
        assert_eq!(backlog.next(), Some(&order(0)));
        backlog.note_sent();
        assert_eq!(backlog.next(), Some(&order(dropped + 1)));
    }
}
