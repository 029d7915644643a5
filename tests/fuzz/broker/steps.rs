//! The bytes of an input, taken one after the other. Behind their end there are zeros.

/// The steps that conversations are made of.
pub const SEND_MANY: usize = 10;
pub const SEND_RAW: usize = 11;
pub const CONNECT: usize = 13;
pub const LOG_IN: usize = 15;
pub const BECOME_SLAVE: usize = 18;
pub const DIALED: usize = 20;
pub const PASS: usize = 22;
pub const STALL: usize = 25;
pub const SELDOM: usize = 31;

/// The byte after [`CONNECT`] from which on the client speaks another language than Clacks.
pub const NATS: u8 = 160;
pub const MEMCACHED: u8 = 224;
pub const HTTP: u8 = 240;

/// Rare steps, as far as conversations are made of them: the byte after [`SELDOM`] chooses one.
pub const LONG_FRAME: usize = 1;
pub const STORE_LONG_NAMES: usize = 6;
pub const SIGNAL_MUCH: usize = 7;
pub const DEAFEN: usize = 8;

pub struct Steps<'a> {
    rest: &'a [u8],
}

impl<'a> Steps<'a> {
    pub fn new(data: &'a [u8]) -> Steps<'a> {
        Steps { rest: data }
    }

    pub fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        *first
    }

    /// Less than `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == chances - 1
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}
