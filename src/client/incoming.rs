//! Messages that have come and were not fetched yet. Pure.

use super::Message;
use std::collections::VecDeque;

pub struct Incoming {
    messages: VecDeque<Message>,
    /// What they take, and may take, in bytes.
    size: usize,
    max_size: usize,
    /// Messages dropped since that was told last.
    lost: u64,
}

impl Incoming {
    pub fn new(max_size: usize) -> Incoming {
        Incoming {
            messages: VecDeque::new(),
            size: 0,
            max_size,
            lost: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.lost == 0
    }

    /// Adds a message. If there are too many the oldest go, but never the last.
    pub fn push(&mut self, message: Message) {
        self.size += message.size();
        self.messages.push_back(message);
        while self.size > self.max_size
            && self.messages.len() > 1
            && let Some(oldest) = self.messages.pop_front()
        {
            self.size -= oldest.size();
            self.lost += 1;
        }
    }

    pub fn append(&mut self, later: Incoming) {
        self.lost += later.lost;
        later.messages.into_iter().for_each(|one| self.push(one));
    }

    /// The oldest; before it, how many older ones were dropped.
    pub fn take(&mut self) -> Option<Message> {
        if self.lost > 0 {
            return Some(Message::Lost(std::mem::take(&mut self.lost)));
        }
        let message = self.messages.pop_front()?;
        self.size -= message.size();
        Some(message)
    }
}
