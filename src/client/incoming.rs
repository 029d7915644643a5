//! The queue of received messages. No I/O.

use super::message::Message;
use std::collections::VecDeque;

/// Received messages that the program has not fetched yet, limited in size.
pub struct Incoming {
    messages: VecDeque<Message>,
    /// The memory of the messages, in bytes.
    size: usize,
    max_size: usize,
    /// Messages dropped since the last [`Message::Lost`].
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

    /// Adds a message. The oldest ones are dropped if the size is exceeded, but never the last one.
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

    /// Adds all messages of another queue.
    pub fn append(&mut self, later: Incoming) {
        self.lost += later.lost;
        later.messages.into_iter().for_each(|one| self.push(one));
    }

    /// Takes the oldest message, or a [`Message::Lost`] if older ones were dropped.
    pub fn take(&mut self) -> Option<Message> {
        if self.lost > 0 {
            return Some(Message::Lost(std::mem::take(&mut self.lost)));
        }
        let message = self.messages.pop_front()?;
        self.size -= message.size();
        Some(message)
    }
}
