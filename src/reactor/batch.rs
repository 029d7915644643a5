//! Some frames of one connection, found and decoded before the first of them is handled: so the memory that they will
//! need can be fetched for all at once.

use crate::limits::{LONG_LINE, REQUESTS_PREFETCHED};
use crate::protocol::framing::{Next, Unfinished};
use crate::protocol::{Language, Request};
use smallvec::SmallVec;

/// Frames that follow each other.
#[derive(Default)]
pub struct Batch<'a>(SmallVec<[Frame<'a>; REQUESTS_PREFETCHED]>);

/// A frame of a batch.
pub struct Frame<'a> {
    pub request: Request<'a>,
    /// Bytes that it takes of the input.
    pub taken: usize,
}

/// The input behind the frames of a batch.
pub enum BatchEnd {
    /// Perhaps further frames.
    Full,
    Unfinished(Unfinished),
    /// A long frame, with its length without its end: it is handled alone.
    Long(usize),
}

impl<'a> Batch<'a> {
    /// Finds and decodes the frames at the start of `input`, of which the first may be known in part. One may be put
    /// together in `assembled`.
    #[inline(always)]
    pub fn fill(
        &mut self,
        language: Language,
        mut input: &'a [u8],
        mut known: Unfinished,
        assembled: &'a mut Vec<u8>,
    ) -> BatchEnd {
        while self.0.len() < REQUESTS_PREFETCHED {
            match language.next(input, known) {
                Next::Frame(frame, _) if frame.len() >= LONG_LINE => {
                    return BatchEnd::Long(frame.len());
                }
                Next::Frame(frame, taken) => {
                    self.push(language, frame, taken);
                    input = &input[taken..];
                }
                Next::Scattered(taken) => {
                    assembled.clear();
                    language.assemble(&input[..taken], assembled);
                    self.push(language, assembled, taken);
                    return BatchEnd::Full;
                }
                Next::Unfinished(known) => return BatchEnd::Unfinished(known),
            }
            known = Unfinished::default();
        }
        BatchEnd::Full
    }

    #[inline(always)]
    fn push(&mut self, language: Language, frame: &'a [u8], taken: usize) {
        self.0.push(Frame {
            request: language.decode(frame),
            taken,
        });
    }

    /// Reports whether there is more than one frame.
    pub fn is_several(&self) -> bool {
        self.0.len() > 1
    }

    pub fn iter(&self) -> impl Iterator<Item = &Frame<'a>> {
        self.0.iter()
    }

    pub fn requests(&self) -> impl Iterator<Item = &Request<'a>> {
        self.0.iter().map(|frame| &frame.request)
    }
}
