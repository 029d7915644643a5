//! Finds the end of a client's first message, so that it is known what comes next before any of that work is done:
//! the answer takes a signature.

use crate::limits::TLS_RECORD;
use crate::reactor::fault::HANDSHAKE;

/// A record may have so many bytes beside its content (RFC 5246, 6.2.3).
const MAX_EXTRA: usize = 2048;
/// Longer messages are accepted nowhere.
const MAX_MESSAGE: usize = 0xffff;

/// How much of a client's first message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hello {
    Partial,
    /// With all of the record in which it ends.
    Complete,
    /// It can't become right any more.
    Wrong,
}

/// Looks at the first bytes of a stream. A message may begin and end anywhere in a record, and take several.
pub fn look_for_hello(stream: &[u8]) -> Hello {
    let (mut rest, mut length, mut head) = (stream, 0, [0; 4]);
    while let Some((header, after)) = rest.split_first_chunk::<5>() {
        let [kind, version, _, high, low] = *header;
        let in_record = usize::from(u16::from_be_bytes([high, low]));
        if kind != HANDSHAKE || version != 3 || !(1..=TLS_RECORD + MAX_EXTRA).contains(&in_record) {
            return Hello::Wrong;
        }
        let Some((content, behind)) = after.split_at_checked(in_record) else {
            return Hello::Partial;
        };
        // The message begins with a byte for its kind, and three for its length without these four.
        for (to, from) in head.iter_mut().skip(length).zip(content) {
            *to = *from;
        }
        length += in_record;
        let [_, message @ ..] = head;
        let needed = u32::from_be_bytes([0, message[0], message[1], message[2]]) as usize;
        if length >= head.len() && needed > MAX_MESSAGE {
            return Hello::Wrong;
        }
        if length >= head.len() + needed {
            return Hello::Complete;
        }
        rest = behind;
    }
    Hello::Partial
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u16).to_be_bytes();
        [&[HANDSHAKE, 3, 1], &length[..], content].concat()
    }

    /// A message of so many bytes beside its head.
    fn message(length: usize) -> Vec<u8> {
        let [.., high, low] = length.to_be_bytes();
        let mut message = vec![1, 0, high, low];
        message.resize(4 + length, 7);
        message
    }

    #[test]
    fn a_message_is_complete_with_the_record_in_which_it_ends() {
        for length in [0, 1, 300] {
            let message = message(length);
            for in_record in 1..=message.len() {
                let records: Vec<u8> = message.chunks(in_record).flat_map(record).collect();
                for cut in 0..records.len() {
                    assert_eq!(look_for_hello(&records[..cut]), Hello::Partial, "{cut}");
                }
                assert_eq!(look_for_hello(&records), Hello::Complete);
                // More may follow, even in its own record.
                assert_eq!(
                    look_for_hello(&[&records[..], b"x"].concat()),
                    Hello::Complete
                );
                let longer = record(&[&message[..], b"more"].concat());
                assert_eq!(look_for_hello(&longer[..longer.len() - 1]), Hello::Partial);
                assert_eq!(look_for_hello(&longer), Hello::Complete);
            }
        }
    }

    #[test]
    fn a_wrong_record_or_length_is_noticed_at_once() {
        let first = record(&message(300)[..200]);
        for wrong in [
            // An alert, lines, another version, nothing in it, too much.
            &[0x15, 3, 1, 0, 2][..],
            &[0x17, 3, 3, 0, 40],
            &[HANDSHAKE, 2, 1, 0, 40],
            &[HANDSHAKE, 3, 1, 0, 0],
            &[HANDSHAKE, 3, 1, 0x48, 1],
        ] {
            assert_eq!(look_for_hello(wrong), Hello::Wrong);
            assert_eq!(look_for_hello(&wrong[..4]), Hello::Partial);
            assert_eq!(look_for_hello(&[&first, wrong].concat()), Hello::Wrong);
        }
        assert_eq!(look_for_hello(&record(&[1, 1, 0, 0])), Hello::Wrong);
        assert_eq!(look_for_hello(&record(&[1, 0, 0xff, 0xff])), Hello::Partial);
        assert_eq!(look_for_hello(&record(&[1, 1])), Hello::Partial);
    }
}
