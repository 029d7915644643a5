//! A list that mostly has no element or one.

use std::ops::{Deref, DerefMut};

/// Elements in an order that [`Few::swap_remove`] changes. Those of lists with several are kept elsewhere, so that a list
/// takes little memory where there are very many of them.
#[derive(Debug, Default)]
pub enum Few<T> {
    #[default]
    None,
    One(T),
    /// Not empty.
    // A vector has three words, and the list is to have two.
    #[allow(clippy::box_collection)]
    Many(Box<Vec<T>>),
}

impl<T: Copy> Few<T> {
    pub fn push(&mut self, element: T) {
        match self {
            Few::None => *self = Few::One(element),
            Few::One(first) => *self = Few::Many(Box::new(vec![*first, element])),
            Few::Many(elements) => elements.push(element),
        }
    }

    /// Removes an element; the last one takes its place. Memory that most of the others have left is freed.
    pub fn swap_remove(&mut self, place: usize) {
        if let Few::Many(elements) = self
            && elements.len() > 1
        {
            elements.swap_remove(place);
            if elements.len() < elements.capacity() / 4 {
                elements.shrink_to_fit();
            }
        } else {
            assert!(place < self.len(), "there is no such element");
            *self = Few::None;
        }
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Few::None => &[],
            Few::One(element) => std::slice::from_ref(element),
            Few::Many(elements) => elements,
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Few::None => &mut [],
            Few::One(element) => std::slice::from_mut(element),
            Few::Many(elements) => elements,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::random::Random;

    #[test]
    fn elements_are_those_of_a_vector() {
        let (mut few, mut model) = (Few::default(), Vec::new());
        let mut random = Random::new([1, 2, 3, 4]);
        for step in 0..10_000_u64 {
            let grows = (step / 100).is_multiple_of(2);
            if model.is_empty() || (random.below(8) < 5) == grows {
                few.push(step);
                model.push(step);
            } else {
                let place = random.below(model.len());
                few.swap_remove(place);
                model.swap_remove(place);
            }
            assert_eq!(*few, model[..]);
            if let Few::Many(elements) = &few {
                assert!(elements.capacity() <= 4 * elements.len() + 4);
            }
        }
        assert_eq!(size_of::<Few<u32>>(), 16);
    }
}
