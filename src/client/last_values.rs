//! The values that a client has set last, limited in size. No I/O.

use std::collections::HashMap;

/// The last value of each remembered name.
#[derive(Default)]
pub struct LastValues {
    values: HashMap<Vec<u8>, Vec<u8>>,
    /// The memory of names and values, in bytes.
    size: usize,
}

/// The limit of the memory, in bytes. A forgotten value is sent once more than necessary.
pub const MAX_SIZE: usize = 16 << 20;

/// The approximate memory of an entry beside its name and value, in bytes.
const ENTRY: usize = 64;

impl LastValues {
    /// Returns true if this is the remembered value of the name.
    pub fn is(&self, name: &[u8], value: &[u8]) -> bool {
        self.values.get(name).is_some_and(|last| last == value)
    }

    /// Remembers a value. If there is no room for it, all others are forgotten, since it is unknown which of them will be
    /// needed again.
    pub fn remember(&mut self, name: &[u8], value: &[u8]) {
        self.forget(name);
        let size = size_of_entry(name, value);
        if size > MAX_SIZE {
            return;
        }
        if self.size + size > MAX_SIZE {
            self.forget_all();
        }
        self.size += size;
        self.values.insert(name.to_vec(), value.to_vec());
    }

    pub fn forget(&mut self, name: &[u8]) {
        if let Some(value) = self.values.remove(name) {
            self.size -= size_of_entry(name, &value);
        }
    }

    pub fn forget_all(&mut self) {
        *self = LastValues::default();
    }
}

fn size_of_entry(name: &[u8], value: &[u8]) -> usize {
    ENTRY + name.len() + value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_much_is_remembered() {
        let mut last = LastValues::default();
        for number in 0..1_000_000_u32 {
            last.remember(&number.to_be_bytes(), b"value");
            assert!(last.is(&number.to_be_bytes(), b"value"));
        }
        assert!(last.size <= MAX_SIZE);
        assert!(last.values.len() * (ENTRY + 9) == last.size);
        let kept = last.values.len();
        last.remember(b"huge", &vec![0; MAX_SIZE]);
        assert!(!last.is(b"huge", &vec![0; MAX_SIZE]));
        assert_eq!(last.values.len(), kept, "nothing was forgotten for it");
        last.remember(b"big", &vec![0; MAX_SIZE - 100]);
        last.remember(b"big", b"small");
        assert!(last.is(b"big", b"small") && !last.is(b"big", b""));
        last.forget(b"big");
        assert_eq!((last.values.len(), last.size), (0, 0));
    }
}
