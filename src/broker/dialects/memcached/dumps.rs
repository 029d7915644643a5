//! Dumps of all entries: `lru_crawler metadump` and `mgdump`, `stats cachedump`.

use super::exchange::Exchange;
use super::long_answers::{LongAnswer, Stage};
use crate::broker::cache::Found;
use crate::broker::events::Flow;
use crate::broker::output::Output;
use crate::broker::walk::{Meets, Walk};
use crate::limits::{LISTING_SLICE, MIB, SECOND_US};
use crate::protocol::memcached::MAX_KEY;
use crate::protocol::memcached::administration::DumpForm;
use crate::protocol::memcached::answer::{self, Dumped, needs_base64};
use crate::protocol::memcached::request::Reply;

/// The longest answer of a cachedump, as in memcached.
const MAX_CACHEDUMP: usize = 2 * MIB;

/// A dump, and how far it has come.
pub struct Dump {
    walk: Walk,
    kind: DumpKind,
}

enum DumpKind {
    Crawler(DumpForm),
    /// So many entries and bytes are left.
    Cache {
        entries: u32,
        bytes: usize,
    },
}

impl<O: Output> Exchange<'_, O> {
    /// `lru_crawler metadump` and `mgdump`.
    pub fn dump(&mut self, form: DumpForm, is_empty: bool, reply: Reply, line: &[u8]) -> Flow {
        if reply == Reply::Unwanted {
            return Flow::Next;
        }
        self.answer("OK");
        let kind = DumpKind::Crawler(form);
        if is_empty {
            self.end_dump(&kind);
            return Flow::Next;
        }
        self.start_dump(kind, line)
    }

    /// `stats cachedump`: at most so many entries; 0 is all.
    pub fn cache_dump(&mut self, most: u32, line: &[u8]) -> Flow {
        let kind = DumpKind::Cache {
            entries: if most == 0 { u32::MAX } else { most },
            bytes: MAX_CACHEDUMP,
        };
        self.start_dump(kind, line)
    }

    fn start_dump(&mut self, kind: DumpKind, line: &[u8]) -> Flow {
        let walk = Walk::unsorted(Meets::Live);
        self.start_long_answer(LongAnswer {
            line: line.into(),
            stage: Stage::Dump(Dump { walk, kind }),
        })
    }

    fn end_dump(&mut self, kind: &DumpKind) {
        self.answer(match kind {
            DumpKind::Crawler(DumpForm::MetaGet) => "EN",
            _ => "END",
        });
    }

    /// Makes one slice; true if the dump is complete.
    pub fn advance_dump(&mut self, dump: &mut Dump) -> bool {
        let now_us = self.now_us();
        let mut lines = Vec::new();
        let Dump { walk, kind } = dump;
        walk.advance(&self.broker.cache, now_us, LISTING_SLICE, |found| {
            let before = lines.len();
            kind.append(&found, &mut lines);
            // A name that makes no line takes a look, too.
            (lines.len() - before).max(1)
        });
        let is_done = dump.walk.is_done() || dump.kind.is_full();
        self.append(|to| to.extend_from_slice(&lines));
        if is_done {
            self.end_dump(&dump.kind);
        }
        is_done
    }
}

impl DumpKind {
    fn is_full(&self) -> bool {
        matches!(
            self,
            DumpKind::Cache { entries: 0, .. } | DumpKind::Cache { bytes: 0, .. }
        )
    }

    fn append(&mut self, found: &Found<'_>, to: &mut Vec<u8>) {
        let name = found.name();
        let in_base64 = found.marks().base64 || needs_base64(name);
        let expiry_s = found.expires_us().map(|at_us| at_us.div_ceil(SECOND_US));
        match self {
            DumpKind::Crawler(DumpForm::Metadata) => answer::metadump(
                to,
                &Dumped {
                    key: name,
                    expiry_s,
                    used_s: found.accessed_us() / SECOND_US,
                    cas: found.version(),
                    was_used: found.was_used(),
                    size: found.size(),
                    client_flags: found.client_flags(),
                },
            ),
            DumpKind::Crawler(DumpForm::MetaGet) => {
                let length = match in_base64 {
                    true => name.len().div_ceil(3) * 4,
                    false => name.len(),
                };
                if length <= MAX_KEY {
                    answer::mgdump(to, name, in_base64);
                }
            }
            DumpKind::Cache { entries, bytes } => {
                if *entries == 0 || *bytes == 0 || in_base64 || name.len() > MAX_KEY {
                    return;
                }
                let before = to.len();
                let length = found.value().unwrap_or_default().len();
                answer::cachedump(to, name, length, expiry_s.unwrap_or(0));
                if to.len() - before > *bytes {
                    to.truncate(before);
                    *bytes = 0;
                    return;
                }
                *bytes -= to.len() - before;
                *entries -= 1;
            }
        }
    }
}
