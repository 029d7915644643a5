//! One segment of a table: elements in lines of some, each line with sixteen bits of every element's hash.
//! With ten elements of four bytes a line is what the processor fetches from memory at once, so that finding
//! one waits for memory once.
//!
//! The top ones of the sixteen bits say which line an element belongs to. If that is full, it goes to the
//! next one with room, and every line on the way counts that it was passed: so a search knows where to end.
//! Since the bits stand in the lines, lines can be added and taken away without asking for any hash.

use crate::sys::prefetch;

/// Of 20 places 17 are taken at most: with more, one search in four would look at a second line.
const fn most(places: usize) -> usize {
    places * 17 / 20
}

#[derive(Clone)]
#[repr(align(64))]
struct Line<T, const LANES: usize> {
    tags: [u16; LANES],
    /// A bit for each lane that is in use.
    used: u16,
    /// How many elements found no room here and are further on. At its end it stays there.
    passed: u16,
    elements: [T; LANES],
}

impl<T: Copy + Default, const LANES: usize> Line<T, LANES> {
    const ALL_LANES: u16 = (1 << LANES) - 1;

    fn new() -> Line<T, LANES> {
        Line {
            tags: [0; LANES],
            used: 0,
            passed: 0,
            elements: [T::default(); LANES],
        }
    }

    /// A bit for each lane in use with that tag.
    fn hits(&self, tag: u16) -> u16 {
        let mut hits = 0;
        for (lane, found) in self.tags.iter().enumerate() {
            hits |= u16::from(*found == tag) << lane;
        }
        hits & self.used
    }

    fn lane(&self, tag: u16, mut is_it: impl FnMut(&T) -> bool) -> Option<usize> {
        lanes(self.hits(tag)).find(|lane| is_it(&self.elements[*lane]))
    }
}

/// The places of the bits that are set.
fn lanes(mut bits: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = (bits != 0).then(|| bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        lane
    })
}

pub struct Lines<T, const LANES: usize> {
    lines: Box<[Line<T, LANES>]>,
    len: usize,
}

impl<T: Copy + Default, const LANES: usize> Default for Lines<T, LANES> {
    fn default() -> Lines<T, LANES> {
        Lines::with_room(0)
    }
}

impl<T: Copy + Default, const LANES: usize> Lines<T, LANES> {
    fn with_room(elements: usize) -> Lines<T, LANES> {
        let count = (elements * 2).div_ceil(most(2 * LANES));
        Lines {
            lines: vec![Line::new(); count.max(1)].into(),
            len: 0,
        }
    }

    fn of(elements: &[(u16, T)]) -> Lines<T, LANES> {
        let mut lines = Lines::with_room(elements.len());
        lines.len = elements.len();
        for (tag, element) in elements {
            lines.place(*tag, *element);
        }
        lines
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// How many elements could be here.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.lines.len() * LANES
    }

    /// With their tags.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &T)> {
        let of_line = |line: &Line<T, LANES>| line.used;
        self.lines.iter().flat_map(move |line| {
            lanes(of_line(line)).map(move |lane| (line.tags[lane], &line.elements[lane]))
        })
    }

    fn home(&self, tag: u16) -> usize {
        (usize::from(tag) * self.lines.len()) >> 16
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.lines.len() {
            0
        } else {
            at + 1
        }
    }

    /// The line that a search for that tag begins with is fetched, and nothing waits for it.
    pub fn fetch(&self, tag: u16) {
        prefetch(&self.lines[self.home(tag)].used);
    }

    /// An element with that tag in the line that a search begins with.
    pub fn candidate(&self, tag: u16) -> Option<&T> {
        let line = &self.lines[self.home(tag)];
        line.lane(tag, |_| true).map(|lane| &line.elements[lane])
    }

    fn locate(&self, tag: u16, mut is_it: impl FnMut(&T) -> bool) -> Option<(usize, usize)> {
        let home = self.home(tag);
        let mut at = home;
        loop {
            let line = &self.lines[at];
            if let Some(lane) = line.lane(tag, &mut is_it) {
                return Some((at, lane));
            }
            at = self.next(at);
            if line.passed == 0 || at == home {
                return None;
            }
        }
    }

    pub fn find(&self, tag: u16, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        let (at, lane) = self.locate(tag, is_it)?;
        Some(&self.lines[at].elements[lane])
    }

    pub fn find_mut(&mut self, tag: u16, is_it: impl FnMut(&T) -> bool) -> Option<&mut T> {
        let (at, lane) = self.locate(tag, is_it)?;
        Some(&mut self.lines[at].elements[lane])
    }

    /// Puts an element where there is room, and there is some.
    fn place(&mut self, tag: u16, element: T) {
        let mut at = self.home(tag);
        loop {
            let line = &mut self.lines[at];
            if line.used != Line::<T, LANES>::ALL_LANES {
                let lane = line.used.trailing_ones() as usize;
                line.tags[lane] = tag;
                line.elements[lane] = element;
                line.used |= 1 << lane;
                return;
            }
            line.passed = line.passed.saturating_add(1);
            at = self.next(at);
        }
    }

    pub fn insert(&mut self, tag: u16, element: T) {
        self.len += 1;
        if self.len * 2 > self.lines.len() * most(2 * LANES) {
            // A twelfth more: the less, the more of its memory is in use, and the more often it is rebuilt.
            self.rebuild(self.len + self.len / 12);
        }
        self.place(tag, element);
    }

    pub fn remove(&mut self, tag: u16, is_it: impl FnMut(&T) -> bool) -> Option<T> {
        let (found, lane) = self.locate(tag, is_it)?;
        let mut at = self.home(tag);
        while at != found {
            let passed = &mut self.lines[at].passed;
            if *passed != u16::MAX {
                *passed -= 1;
            }
            at = self.next(at);
        }
        let line = &mut self.lines[found];
        line.used &= !(1 << lane);
        let element = line.elements[lane];
        self.len -= 1;
        self.shrink();
        Some(element)
    }

    /// Drops what `keep` doesn't want; how many they were.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) -> usize {
        let before = self.len;
        for line in &mut self.lines {
            for lane in lanes(line.used) {
                if !keep(&line.elements[lane]) {
                    line.used &= !(1 << lane);
                    self.len -= 1;
                }
            }
        }
        let dropped = before - self.len;
        if dropped > 0 {
            // As many as before, or else a walk that drops a little would make every segment larger or smaller.
            self.rebuild(self.lines.len() * most(2 * LANES) / 2);
            self.shrink();
        }
        dropped
    }

    /// Gives memory back once most of it is unused.
    fn shrink(&mut self) {
        if self.len * 4 < self.lines.len() * LANES && self.lines.len() > 2 {
            self.rebuild(self.len * 2);
        }
    }

    /// All anew, with room for so many.
    fn rebuild(&mut self, room: usize) {
        let mut lines = Lines::with_room(room);
        for (tag, element) in self.iter() {
            lines.place(tag, *element);
        }
        // An element that is about to come counts already.
        lines.len = self.len;
        *self = lines;
    }

    /// Takes in the elements of another segment.
    pub fn join(&mut self, other: &Lines<T, LANES>) {
        let both = self.iter().chain(other.iter());
        let elements: Vec<(u16, T)> = both.map(|(tag, element)| (tag, *element)).collect();
        *self = Lines::of(&elements);
    }

    /// Memory in bytes.
    pub fn memory(&self) -> usize {
        self.lines.len() * size_of::<Line<T, LANES>>()
    }

    /// Takes out what `is_taken` says.
    pub fn split_off(&mut self, is_taken: impl Fn(&T) -> bool) -> Lines<T, LANES> {
        let (taken, kept): (Vec<_>, Vec<_>) = self
            .iter()
            .map(|(tag, element)| (tag, *element))
            .partition(|(_, element)| is_taken(element));
        *self = Lines::of(&kept);
        Lines::of(&taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tags that collide in every way: a few, many of them equal.
    fn tag(element: u32) -> u16 {
        (element % 7) as u16 * 9_000 + (element % 11) as u16
    }

    #[test]
    fn a_line_of_small_elements_is_fetched_at_once() {
        assert_eq!(std::mem::size_of::<Line<u32, 10>>(), 64);
        assert_eq!(std::mem::align_of::<Line<u32, 10>>(), 64);
    }

    /// Everything that is in it is found, nothing else, and what was passed is counted right, after every
    /// step of a long and arbitrary one.
    #[test]
    fn it_is_what_a_list_would_be() {
        let mut lines: Lines<_, 10> = Lines::default();
        let mut list: Vec<u32> = Vec::new();
        let mut random = 1_u32;
        for step in 0..30_000_u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let element = random >> 8;
            // Grows, shrinks, grows.
            let grows = (step / 3_000).is_multiple_of(2);
            if list.is_empty() || (element % 8 < 5) == grows {
                lines.insert(tag(element), element);
                list.push(element);
            } else if element.is_multiple_of(501) {
                let dropped = lines.retain(|found| found % 16 != 0);
                let before = list.len();
                list.retain(|found| found % 16 != 0);
                assert_eq!(dropped, before - list.len());
            } else {
                let gone = list.swap_remove(element as usize % list.len());
                assert_eq!(lines.remove(tag(gone), |found| *found == gone), Some(gone));
            }
            assert_eq!(lines.len(), list.len());
            if step % 1_000 == 0 {
                let mut all: Vec<u32> = lines.iter().map(|(_, element)| *element).collect();
                all.sort();
                list.sort();
                assert_eq!(all, list);
                check(&lines);
            }
        }
        let mut rest = lines.len();
        for element in list {
            assert_eq!(
                lines.remove(tag(element), |found| *found == element),
                Some(element)
            );
            rest -= 1;
            assert_eq!(lines.len(), rest);
        }
        assert!(lines.lines.iter().all(|line| line.passed == 0));
        assert_eq!(lines.lines.len(), 2, "memory is given back");
    }

    /// Each line says how many of those that are further on have passed it.
    fn check(lines: &Lines<u32, 10>) {
        let mut passed = vec![0; lines.lines.len()];
        for (at, line) in lines.lines.iter().enumerate() {
            for lane in lanes(line.used) {
                let mut home = lines.home(line.tags[lane]);
                while home != at {
                    passed[home] += 1;
                    home = lines.next(home);
                }
            }
        }
        let counted: Vec<u16> = lines.lines.iter().map(|line| line.passed).collect();
        assert_eq!(passed, counted);
    }

    #[test]
    fn more_than_can_be_counted_may_have_the_same_tag() {
        let mut lines: Lines<_, 10> = Lines::default();
        for element in 0..70_000_u32 {
            lines.insert(3, element);
        }
        for element in (0..70_000_u32).rev().step_by(7_000) {
            assert_eq!(lines.remove(3, |found| *found == element), Some(element));
        }
        assert_eq!(lines.find(3, |found| *found == 69_998), Some(&69_998));
        assert_eq!(lines.find(3, |found| *found == 69_999), None);
    }
}
