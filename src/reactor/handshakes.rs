//! TLS handshakes that can go on, and whose turn it is.
//!
//! Origins have their turns one after the other, so that a flood of hellos from one address delays no handshake of
//! another one. What waits at one origin is served in the order in which it came, unless there is more than can be
//! served in time: then the newest goes first. The oldest would have timed out before it could log in, and so would
//! everything behind it; of a flood that never ends, the newest is as likely to be an honest client as any other.

use crate::broker::{ConnectionId, Origin};
use std::collections::BTreeMap;
use std::fmt;

/// Where a connection waits for its handshake to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    step: Step,
    number: u64,
}

/// The kind of work that the next step of a handshake takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// To read a message: some ten microseconds, up to a hundred with a key exchange.
    Read,
    /// To sign the answer to a client's first message: three milliseconds with an RSA key of 4096 bits.
    Sign,
}

/// Handshakes that can go on, by their next steps.
pub struct Handshakes {
    to_read: Queue,
    to_sign: Queue,
}

/// More signatures wait than can be made in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overload {
    pub waiting: usize,
    /// The origin that has most of them, and how many; `None` is the master that this server dials.
    pub from: Option<Origin>,
    pub from_there: usize,
}

impl fmt::Display for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} wait, {} of them from ",
            self.waiting, self.from_there
        )?;
        match self.from {
            Some(origin) => write!(f, "{origin}")?,
            None => f.write_str("the master")?,
        }
        f.write_str("; the newest are served first, and the oldest may time out")
    }
}

impl Handshakes {
    /// `patience_us` is the time within which what waits is to be served.
    pub fn new(patience_us: u64) -> Handshakes {
        Handshakes {
            to_read: Queue::new(patience_us),
            to_sign: Queue::new(patience_us),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.to_read.len + self.to_sign.len == 0
    }

    pub fn push(&mut self, id: ConnectionId, origin: Option<Origin>, step: Step) -> Waiting {
        let number = self.queue(step).push(id, origin);
        Waiting { step, number }
    }

    /// The connection does not wait any more.
    pub fn remove(&mut self, origin: Option<Origin>, waiting: Waiting) {
        self.queue(waiting.step).remove(origin, waiting.number);
    }

    /// The next connection to take that step.
    pub fn pop(&mut self, step: Step, now_us: u64) -> Option<ConnectionId> {
        self.queue(step).pop(now_us)
    }

    /// Reports whether more signatures wait than can be made in time.
    pub fn is_overloaded(&self) -> bool {
        self.to_sign.is_too_much(self.to_sign.len)
    }

    /// How many signatures wait, and where most of them are from, if there are more than can be made in time. Looks at
    /// all origins.
    pub fn overload(&self) -> Option<Overload> {
        let queue = &self.to_sign;
        if !self.is_overloaded() {
            return None;
        }
        let sizes = queue.by_origin.iter();
        let largest = sizes.max_by_key(|(_, of_origin)| of_origin.connections.len());
        largest.map(|(from, of_origin)| Overload {
            waiting: queue.len,
            from: *from,
            from_there: of_origin.connections.len(),
        })
    }

    fn queue(&mut self, step: Step) -> &mut Queue {
        match step {
            Step::Read => &mut self.to_read,
            Step::Sign => &mut self.to_sign,
        }
    }
}

/// Connections that wait for one kind of step. Each call costs a few look-ups in trees.
struct Queue {
    by_origin: BTreeMap<Option<Origin>, OfOrigin>,
    /// The origins in the order of their turns.
    turns: BTreeMap<i64, Option<Origin>>,
    len: usize,
    next_number: u64,
    patience_us: u64,
    /// When the last connection was served, if others were waiting then.
    served_us: Option<u64>,
    /// Time from one to the next while others wait, smoothed: how long one takes, with all that the loop does beside.
    pace_us: u64,
}

struct OfOrigin {
    turn: i64,
    /// By number: the oldest first.
    connections: BTreeMap<u64, ConnectionId>,
}

impl Queue {
    fn new(patience_us: u64) -> Queue {
        Queue {
            by_origin: BTreeMap::new(),
            turns: BTreeMap::new(),
            len: 0,
            next_number: 0,
            patience_us,
            served_us: None,
            pace_us: 0,
        }
    }

    /// Reports whether the last of so many connections would be served too late.
    fn is_too_much(&self, connections: usize) -> bool {
        (connections as u64).saturating_mul(self.pace_us) > self.patience_us
    }

    fn push(&mut self, id: ConnectionId, origin: Option<Origin>) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.len += 1;
        if let Some(of_origin) = self.by_origin.get_mut(&origin) {
            of_origin.connections.insert(number, id);
            return number;
        }
        // With too many origins in a row, too, the newest goes first.
        let turn = match self.is_too_much(self.by_origin.len() + 1) {
            true => self.turns.first_key_value().map_or(0, |(turn, _)| turn - 1),
            false => self.last_turn(),
        };
        self.turns.insert(turn, origin);
        let connections = BTreeMap::from([(number, id)]);
        self.by_origin
            .insert(origin, OfOrigin { turn, connections });
        number
    }

    fn last_turn(&self) -> i64 {
        self.turns.last_key_value().map_or(0, |(turn, _)| turn + 1)
    }

    fn remove(&mut self, origin: Option<Origin>, number: u64) {
        let Some(of_origin) = self.by_origin.get_mut(&origin) else {
            return;
        };
        if of_origin.connections.remove(&number).is_some() {
            self.len -= 1;
        }
        if of_origin.connections.is_empty() {
            self.turns.remove(&of_origin.turn);
            self.by_origin.remove(&origin);
        }
    }

    fn pop(&mut self, now_us: u64) -> Option<ConnectionId> {
        let (_, origin) = self.turns.pop_first()?;
        let (origins, turn) = (self.by_origin.len(), self.last_turn());
        let waiting = self.by_origin.get(&origin)?.connections.len();
        let is_newest_first = self.is_too_much(waiting * origins);
        let of_origin = self.by_origin.get_mut(&origin)?;
        let (_, id) = match is_newest_first {
            true => of_origin.connections.pop_last()?,
            false => of_origin.connections.pop_first()?,
        };
        self.len -= 1;
        if of_origin.connections.is_empty() {
            self.by_origin.remove(&origin);
        } else {
            of_origin.turn = turn;
            self.turns.insert(turn, origin);
        }
        self.measure_pace(now_us);
        Some(id)
    }

    fn measure_pace(&mut self, now_us: u64) {
        if let Some(served_us) = self.served_us {
            let taken_us = now_us.saturating_sub(served_us);
            self.pace_us = match self.pace_us {
                0 => taken_us,
                pace_us => (7 * pace_us + taken_us) / 8,
            };
        }
        self.served_us = (self.len > 0).then_some(now_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE_US: u64 = 3_000;
    const PATIENCE_US: u64 = 7_500_000;

    fn id(slot: u32) -> ConnectionId {
        ConnectionId {
            slot,
            generation: 1,
        }
    }

    fn origin(uid: u32) -> Option<Origin> {
        Some(Origin::Uid(uid))
    }

    /// Handshakes and a clock on which each signature takes [`SIGNATURE_US`].
    struct World {
        handshakes: Handshakes,
        now_us: u64,
    }

    impl World {
        fn new() -> World {
            World {
                handshakes: Handshakes::new(PATIENCE_US),
                now_us: 0,
            }
        }

        fn push(&mut self, slot: u32, uid: u32) -> Waiting {
            self.handshakes.push(id(slot), origin(uid), Step::Sign)
        }

        fn serve(&mut self) -> Option<u32> {
            self.now_us += SIGNATURE_US;
            let served = self.handshakes.pop(Step::Sign, self.now_us)?;
            Some(served.slot)
        }

        /// How long the connection waits.
        fn wait_us(&mut self, slot: u32) -> u64 {
            let start_us = self.now_us;
            while self.serve().expect("it is served") != slot {}
            self.now_us - start_us
        }
    }

    #[test]
    fn few_are_served_in_the_order_in_which_they_came() {
        let mut world = World::new();
        for slot in 0..100 {
            world.push(slot, 1);
        }
        for slot in 0..100 {
            assert_eq!(world.serve(), Some(slot));
            assert_eq!(world.handshakes.overload(), None);
        }
        assert_eq!(world.serve(), None);
        assert!(world.handshakes.is_empty());
    }

    #[test]
    fn a_flood_from_one_address_delays_no_other_address() {
        let mut world = World::new();
        for slot in 0..10_000 {
            world.push(slot, 1);
        }
        world.serve();
        for slot in 20_000..20_100 {
            world.push(slot, 2);
            assert!(world.wait_us(slot) <= 2 * SIGNATURE_US);
            // Nor does coming back at once give an origin more than its turns.
            world.push(slot + 1_000, 1);
        }
    }

    #[test]
    fn when_too_many_wait_the_newest_of_the_same_address_goes_first() {
        let mut world = World::new();
        for slot in 0..4_200 {
            world.push(slot, 1);
        }
        for _ in 0..20 {
            world.serve();
        }
        let overload = world.handshakes.overload().expect("12 seconds of work");
        assert_eq!(
            overload,
            Overload {
                waiting: 4_180,
                from: origin(1),
                from_there: 4_180
            }
        );
        world.push(9_999, 1);
        assert_eq!(world.wait_us(9_999), SIGNATURE_US);
        // Once the rest can be served in time, the oldest goes first again.
        while world.handshakes.overload().is_some() {
            world.serve();
        }
        world.serve();
        world.push(10_000, 1);
        assert!(world.wait_us(10_000) > PATIENCE_US / 2);
        assert!(world.handshakes.is_empty());
    }

    #[test]
    fn a_flood_from_very_many_addresses_lets_the_newest_in() {
        let mut world = World::new();
        for slot in 0..10_000 {
            world.push(slot, slot);
            if slot % 100 == 0 {
                world.serve();
            }
        }
        world.push(20_000, 20_000);
        assert_eq!(world.wait_us(20_000), SIGNATURE_US);
    }

    #[test]
    fn who_goes_is_forgotten() {
        let mut world = World::new();
        let waiting: Vec<Waiting> = (0..10).map(|slot| world.push(slot, slot % 2)).collect();
        for slot in [0, 3, 9, 3, 4, 8] {
            world
                .handshakes
                .remove(origin(slot % 2), waiting[slot as usize]);
        }
        let served: Vec<u32> = std::iter::from_fn(|| world.serve()).collect();
        assert_eq!(served, [2, 1, 6, 5, 7]);
        assert!(world.handshakes.is_empty());
        assert!(world.handshakes.to_sign.by_origin.is_empty());
        assert!(world.handshakes.to_sign.turns.is_empty());
    }
}
