//! The outcome of looking for a frame at the start of a stream of bytes.

/// The start of a stream of bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A frame, without its end, and how many bytes it takes with it.
    Frame(&'a [u8], usize),
    /// A frame of so many bytes. Some of those within don't belong to it; see [`Language::assemble`](super::Language::assemble).
    Scattered(usize),
    Unfinished(Unfinished),
}

/// The facts that are known of a frame that is not complete, so that its bytes are not searched again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unfinished {
    /// In so many bytes there is no end of a line.
    pub scanned: usize,
    /// How long the frame will be, its end included, if its first line says so.
    pub length: Option<usize>,
}
