//! The binary format of a journal. All numbers are little-endian.
//!
//! ```text
//! header: part   zeros up to offset 4096   the same part again
//! part:   "clacksd journal\n"   version u32   0 u32   checksum of these 24 bytes u64
//!         key 16 bytes   checksum of the key u64   0 u64
//! frame:  length u32   checksum of the length u32   checksum of the record u64   record
//! record: a state as in `protocol::peer::packed`, or another kind u8 and then
//!   used   accessed u64   name
//!   clear  time u64   node u64
//!   count  time u64   node u64   accessed u64   changed u64   share u64   version u64   sum 17   name
//!   fold   time u64   node u64
//!   run    has ended u8   share u64   newest version u64
//!   touch  time u64   node u64   accessed u64   attributes   name
//! ```
//! Attributes are those of a state.
//!
//! In every version a part begins with the same 32 bytes, so that each version recognises all others. The header has two
//! copies of the part, in two sectors of a disk, because nothing can be read without the key.
//!
//! Checksums are XXH3 with 64 bits. Those of the header detect faults of the disk. Those of frames are seeded with the key
//! and with the frame's offset in the file, for two reasons. A frame at any other offset, inside a value for example, is
//! invalid, so the frames after damage can be found again. And clients can't forge a frame: they choose the bytes of
//! values and may know their offsets, but the key is random for each file, and neither the key nor any checksum is ever
//! shown. XXH3 is not a cryptographic hash. A secret seed suffices here, because a forger has nothing to learn the seed
//! from and only one attempt per offset.

mod frame;
mod header;
mod record;
#[cfg(test)]
mod tests;

pub use frame::{FRAME, Head, encode, frames, seal};
pub use header::{HEADER, Header, Key, MAGIC, PART, SECOND_PART, VERSION, header};
pub use record::{Subject, decode, subject};
