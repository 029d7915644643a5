//! Short texts, one for each receiver of a message, which stand in the message at the same place for all of them.

/// Texts in their order. They lie in one piece of memory.
#[derive(Debug, Default)]
pub struct Labels {
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    longest: usize,
}

impl Labels {
    pub fn push(&mut self, label: &[u8]) {
        self.bytes.extend_from_slice(label);
        self.ends.push(self.bytes.len());
        self.longest = self.longest.max(label.len());
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.longest = 0;
    }

    pub fn first(&self) -> Option<&[u8]> {
        self.bytes.get(..*self.ends.first()?)
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let label = &self.bytes[start..end];
            start = end;
            label
        })
    }

    /// The length of the longest one.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Memory in bytes.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_in_their_order() {
        let mut labels = Labels::default();
        assert_eq!(labels.first(), None);
        for label in [&b"7"[..], b"", b"123"] {
            labels.push(label);
        }
        assert_eq!(labels.iter().collect::<Vec<_>>(), [&b"7"[..], b"", b"123"]);
        assert_eq!((labels.first(), labels.longest()), (Some(&b"7"[..]), 3));
        labels.clear();
        assert_eq!((labels.iter().count(), labels.longest()), (0, 0));
    }
}
