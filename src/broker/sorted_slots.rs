//! The slots of sessions in an order of theirs. A slot takes four bytes, and a change moves those of one block.

/// Slots in the order that the callers' comparisons say, which never changes for two slots of the list.
#[derive(Default)]
pub struct SortedSlots {
    /// None of them is empty or has more than [`BLOCK`] slots.
    blocks: Vec<Vec<u32>>,
    len: usize,
}

const BLOCK: usize = 256;

/// A block, and a place in it or at its end.
type Place = (usize, usize);

impl SortedSlots {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.blocks.iter().flatten().copied()
    }

    /// The slots that are not before the place searched for.
    pub fn behind(&self, is_before: impl Fn(u32) -> bool) -> impl Iterator<Item = u32> {
        let (block, place) = self.find(is_before);
        let blocks = self.blocks.iter().skip(block);
        blocks.flatten().skip(place).copied()
    }

    /// Adds a slot behind all that are before it.
    pub fn insert(&mut self, slot: u32, is_before: impl Fn(u32) -> bool) {
        self.len += 1;
        let (number, place) = self.find(is_before);
        let blocks = self.blocks.len();
        let Some(block) = self.blocks.get_mut(number) else {
            self.blocks.push(vec![slot]);
            return;
        };
        if block.len() < BLOCK {
            block.insert(place, slot);
        } else if place == BLOCK && number + 1 == blocks {
            self.blocks.push(vec![slot]);
        } else {
            let mut upper = block.split_off(BLOCK / 2);
            match place.checked_sub(BLOCK / 2) {
                Some(place) => upper.insert(place, slot),
                None => block.insert(place, slot),
            }
            self.blocks.insert(number + 1, upper);
        }
    }

    /// Removes a slot; false if it is not the first one that is not before the place searched for.
    pub fn remove(&mut self, slot: u32, is_before: impl Fn(u32) -> bool) -> bool {
        let (mut number, mut place) = self.find(is_before);
        if self
            .blocks
            .get(number)
            .is_some_and(|block| block.len() == place)
        {
            (number, place) = (number + 1, 0);
        }
        let Some(block) = self.blocks.get_mut(number) else {
            return false;
        };
        if block.get(place) != Some(&slot) {
            return false;
        }
        block.remove(place);
        self.len -= 1;
        if block.is_empty() {
            self.blocks.remove(number);
        } else {
            self.join(number.saturating_sub(1));
            self.join(number);
        }
        true
    }

    /// Joins a block with the next one, if half a block is enough for both.
    fn join(&mut self, number: usize) {
        if let Some([block, next]) = self.blocks.get_mut(number..number + 2)
            && block.len() + next.len() <= BLOCK / 2
        {
            block.append(next);
            self.blocks.remove(number + 1);
        }
    }

    /// The last block with a slot that is before the place searched for, or the first one, and the place in it.
    fn find(&self, is_before: impl Fn(u32) -> bool) -> Place {
        let begin_before = self.blocks.partition_point(|block| is_before(block[0]));
        let number = begin_before.saturating_sub(1);
        let block = self.blocks.get(number);
        let place = block.map_or(0, |block| block.partition_point(|slot| is_before(*slot)));
        (number, place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::random::Random;
    use std::collections::BTreeSet;

    fn check(sorted: &SortedSlots, model: &BTreeSet<u32>) {
        assert!(sorted.iter().eq(model.iter().copied()));
        assert_eq!(sorted.len(), model.len());
        let lengths = || sorted.blocks.iter().map(Vec::len);
        assert!(lengths().all(|len| (1..=BLOCK).contains(&len)));
        let pairs = lengths().zip(lengths().skip(1));
        assert!(pairs.into_iter().all(|(one, next)| one + next > BLOCK / 2));
    }

    #[test]
    fn slots_come_in_their_order_whatever_comes_and_goes() {
        let (mut sorted, mut model) = (SortedSlots::default(), BTreeSet::new());
        let mut random = Random::new([1, 2, 3, 4]);
        for step in 0..20_000_u64 {
            let slot = random.below(1 << 13) as u32;
            let is_before = |other: u32| other < slot;
            let grows = (step / 4_000).is_multiple_of(2);
            if (random.below(16) < 10) == grows {
                if model.insert(slot) {
                    sorted.insert(slot, is_before);
                }
            } else {
                assert_eq!(sorted.remove(slot, is_before), model.remove(&slot));
            }
            if step % 100 == 0 {
                check(&sorted, &model);
                assert!(sorted.behind(is_before).eq(model.range(slot..).copied()));
            }
        }
        while let Some(slot) = model.pop_last() {
            assert!(sorted.remove(slot, |other| other < slot));
            check(&sorted, &model);
        }
        assert!(sorted.blocks.is_empty());
    }

    #[test]
    fn slots_that_come_in_their_order_fill_the_blocks() {
        let mut sorted = SortedSlots::default();
        for slot in 0..10 * BLOCK as u32 {
            sorted.insert(slot, |other| other < slot);
        }
        assert!(sorted.blocks.iter().all(|block| block.len() == BLOCK));
    }
}
