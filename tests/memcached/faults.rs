//! Faults of clients that memcached 1.6.18 answers in another way than newer versions and clacksd, with both answers.

use crate::support::table::{Piece, parse};
use std::sync::LazyLock;

/// A request with the answers of the two servers. It changes nothing at either.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub title: String,
    pub request: Vec<u8>,
    pub ours: Vec<u8>,
    pub theirs: Vec<u8>,
}

/// The faults of `faults.txt`, which has the format of the tables: the connection `18` has the answer of memcached
/// 1.6.18, where it is another one.
pub fn faults() -> &'static [Fault] {
    static FAULTS: LazyLock<Vec<Fault>> = LazyLock::new(|| {
        let cases = parse(include_str!("faults.txt")).into_iter();
        let faults = cases.map(|case| {
            let ours = bytes(&case.steps[0].answer);
            let theirs = match case.steps.get(1) {
                Some(step) => bytes(&step.answer),
                None => ours.clone(),
            };
            Fault {
                request: bytes(&case.steps[0].request),
                title: case.title,
                ours,
                theirs,
            }
        });
        faults.collect()
    });
    &FAULTS
}

fn bytes(pieces: &[Piece]) -> Vec<u8> {
    let bytes = pieces.iter().map(|piece| match piece {
        Piece::Bytes(bytes) => &bytes[..],
        other => panic!("{other:?} in a fault"),
    });
    bytes.collect::<Vec<_>>().concat()
}
