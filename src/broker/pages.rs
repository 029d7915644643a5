//! Numbered places for elements, in pages: a page without elements is given back to the system.

use crate::limits::MAPPED_BLOCK;
use slab::Slab;
use std::collections::BTreeSet;
use std::ops::{Index, IndexMut};

/// Each page is a block of memory that the system gives and takes back by itself. The places that were not used yet
/// take no memory.
pub struct Pages<T> {
    pages: Vec<Slab<T>>,
    /// Pages with a free place. The first of them is filled first, so that the last ones become empty.
    with_room: BTreeSet<u32>,
    /// Pages that have memory.
    allocated: usize,
    /// One of these that has no elements.
    empty: Option<u32>,
    len: usize,
}

impl<T> Default for Pages<T> {
    fn default() -> Pages<T> {
        Pages {
            pages: Vec::new(),
            with_room: BTreeSet::new(),
            allocated: 0,
            empty: None,
            len: 0,
        }
    }
}

impl<T> Pages<T> {
    /// An element takes a word more than it needs; a power of two makes its page and place quick to find.
    const PER_PAGE: usize =
        (MAPPED_BLOCK / (size_of::<T>() + size_of::<usize>())).next_power_of_two();

    fn place(index: u32) -> (usize, usize) {
        (
            index as usize / Self::PER_PAGE,
            index as usize % Self::PER_PAGE,
        )
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get(&self, index: u32) -> Option<&T> {
        let (page, place) = Self::place(index);
        self.pages.get(page)?.get(place)
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (page, place) = Self::place(index);
        self.pages.get_mut(page)?.get_mut(place)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        let pages = self.pages.iter();
        pages.flat_map(|page| page.iter().map(|(_, element)| element))
    }

    /// Puts an element into the first page with a free place; its index.
    pub fn insert(&mut self, element: T) -> u32 {
        let number = match self.with_room.first() {
            Some(&number) => number as usize,
            None => self.pages.len(),
        };
        if number == self.pages.len() {
            self.pages.push(Slab::new());
            self.with_room.insert(number as u32);
        }
        let page = &mut self.pages[number];
        if page.capacity() == 0 {
            *page = Slab::with_capacity(Self::PER_PAGE);
            self.allocated += 1;
        }
        let place = page.insert(element);
        self.empty = self.empty.filter(|empty| *empty != number as u32);
        if page.len() == Self::PER_PAGE {
            self.with_room.remove(&(number as u32));
        }
        self.len += 1;
        u32::try_from(number * Self::PER_PAGE + place).expect("memory ends before 2^32 of these do")
    }

    pub fn remove(&mut self, index: u32) -> Option<T> {
        let (number, place) = Self::place(index);
        let page = self.pages.get_mut(number)?;
        let element = page.try_remove(place)?;
        self.len -= 1;
        let is_empty = page.is_empty();
        self.with_room.insert(number as u32);
        if is_empty {
            self.keep_or_free(number as u32);
        }
        Some(element)
    }

    /// A page has become empty. The first one of those is kept for what comes next.
    fn keep_or_free(&mut self, number: u32) {
        let kept = self.empty.map_or(number, |empty| empty.min(number));
        if let Some(empty) = self.empty.replace(kept) {
            self.pages[empty.max(number) as usize] = Slab::new();
            self.allocated -= 1;
            self.forget_last_pages();
        }
    }

    fn forget_last_pages(&mut self) {
        while self.pages.last().is_some_and(|page| page.capacity() == 0) {
            self.pages.pop();
            self.with_room.remove(&(self.pages.len() as u32));
        }
    }

    /// Free places in pages that have memory.
    fn unused(&self) -> usize {
        self.allocated * Self::PER_PAGE - self.len
    }

    /// Memory of the pages, in bytes.
    pub fn memory(&self) -> usize {
        self.allocated * Self::PER_PAGE * (size_of::<T>() + size_of::<usize>())
    }

    /// Reports whether it pays to move elements to the first pages, so that a page is given back: two thirds of the
    /// places in pages that have memory are free, and at least as many as two pages have.
    pub fn is_sparse(&self) -> bool {
        self.allocated > 1 && self.unused() / 2 >= Self::PER_PAGE.max(self.len)
    }

    /// Indices from the end, below `end`: of some elements of the last page that has any there.
    pub fn last_below(&self, end: u32, most: usize) -> Vec<u32> {
        let (last, place) = Self::place(end);
        for number in (0..self.pages.len().min(last + 1)).rev() {
            let below = match number == last {
                true => place,
                false => Self::PER_PAGE,
            };
            let page = &self.pages[number];
            let places = (0..below.min(page.capacity())).rev();
            let used = places.filter(|place| page.contains(*place)).take(most);
            let indices: Vec<u32> = used
                .map(|place| (number * Self::PER_PAGE + place) as u32)
                .collect();
            if !indices.is_empty() {
                return indices;
            }
        }
        Vec::new()
    }

    /// Reports whether a new element would come into an earlier page than that of the element at `index`.
    pub fn has_room_before(&self, index: u32) -> bool {
        let (page, _) = Self::place(index);
        self.with_room
            .first()
            .is_some_and(|first| (*first as usize) < page)
    }
}

impl<T> Index<u32> for Pages<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        self.get(index).expect("an element is where it was put")
    }
}

impl<T> IndexMut<u32> for Pages<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        self.get_mut(index).expect("an element is where it was put")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::random::Random;
    use std::collections::BTreeMap;

    /// So large that a page has few.
    type Large = [u64; 512];

    #[test]
    fn elements_keep_their_places_and_empty_pages_are_given_back() {
        let mut pages: Pages<Large> = Pages::default();
        let mut model: BTreeMap<u32, u64> = BTreeMap::new();
        let mut random = Random::new([1, 2, 3, 4]);
        for step in 0..20_000_u64 {
            let grows = (step / 2_000).is_multiple_of(2);
            if model.is_empty() || (random.below(16) < 10) == grows {
                let index = pages.insert([step; 512]);
                assert_eq!(model.insert(index, step), None);
            } else {
                let nth = random.below(model.len());
                let (&index, &value) = model.iter().nth(nth).expect("there are so many");
                model.remove(&index);
                assert_eq!(pages.remove(index).map(|found| found[0]), Some(value));
                assert!(pages.remove(index).is_none());
            }
            assert_eq!(pages.len(), model.len());
            let in_use = pages.pages.iter().filter(|page| page.capacity() > 0);
            assert_eq!(in_use.count(), pages.allocated);
            if step % 100 == 0 {
                for (&index, &value) in &model {
                    assert_eq!(pages.get(index).map(|found| found[0]), Some(value));
                }
                let all: u64 = pages.iter().map(|found| found[0]).sum();
                assert_eq!(all, model.values().sum::<u64>());
            }
        }
        while let Some(&index) = pages.last_below(u32::MAX, 1).first() {
            pages.remove(index);
        }
        assert!(pages.is_empty() && pages.allocated <= 1);
    }

    #[test]
    fn the_last_elements_are_found_from_the_end() {
        let mut pages: Pages<Large> = Pages::default();
        let per_page = Pages::<Large>::PER_PAGE as u32;
        for number in 0..3 * per_page {
            assert_eq!(pages.insert([number.into(); 512]), number);
        }
        for index in per_page + 2..3 * per_page - 1 {
            pages.remove(index);
        }
        let last = 3 * per_page - 1;
        assert_eq!(pages.last_below(u32::MAX, 5), [last]);
        assert_eq!(pages.last_below(last, 5), [per_page + 1, per_page]);
        assert_eq!(pages.last_below(per_page + 1, 5), [per_page]);
        assert_eq!(pages.last_below(per_page, 2), [per_page - 1, per_page - 2]);
        assert!(pages.has_room_before(last) && !pages.has_room_before(per_page));
    }
}
