//! The lines that refuse a command.

/// A fault of a command. Each has one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    NoSuchCommand,
    Format,
    /// A word of `stats cachedump` is missing.
    Dump,
    Permission,
    DataChunk,
    TooLarge,
    Exptime,
    Delta,
    NotANumber,
    ShutdownMode,
    SleepTooLong,
    DetailUsage,
    BadClass,
    IllegalSlab,
    MetaTooManyWords,
    MetaDuplicate,
    MetaFlag,
    MetaKey,
    MetaToken,
    MetaDelta,
    MetaInitial,
    MetaStoreMode,
    MetaCountMode,
    MetaOpaque,
    MetaFlagOrDuplicate,
}

impl Error {
    /// The line that tells the client, without its end.
    pub fn text(self) -> &'static str {
        match self {
            Error::NoSuchCommand => "ERROR",
            Error::Format => "CLIENT_ERROR bad command line format",
            Error::Dump => "CLIENT_ERROR bad command line",
            Error::Permission => "CLIENT_ERROR permission denied",
            Error::DataChunk => "CLIENT_ERROR bad data chunk",
            Error::TooLarge => "SERVER_ERROR object too large for cache",
            Error::Exptime => "CLIENT_ERROR invalid exptime argument",
            Error::Delta => "CLIENT_ERROR invalid numeric delta argument",
            Error::NotANumber => "CLIENT_ERROR cannot increment or decrement non-numeric value",
            Error::ShutdownMode => "CLIENT_ERROR invalid shutdown mode",
            Error::SleepTooLong => "CLIENT_ERROR sleep must be one second or less",
            Error::DetailUsage => "CLIENT_ERROR usage: stats detail on|off|dump",
            Error::BadClass => "BADCLASS invalid class id",
            Error::IllegalSlab => "CLIENT_ERROR Illegal slab id",
            Error::MetaTooManyWords => "CLIENT_ERROR options flags are too long",
            Error::MetaDuplicate => "CLIENT_ERROR duplicate flag",
            Error::MetaFlag => "CLIENT_ERROR invalid flag",
            Error::MetaKey => "CLIENT_ERROR error decoding key",
            Error::MetaToken => "CLIENT_ERROR bad token in command line format",
            Error::MetaDelta => "CLIENT_ERROR invalid numeric delta value",
            Error::MetaInitial => "CLIENT_ERROR invalid numeric initial value",
            Error::MetaStoreMode => "CLIENT_ERROR invalid mode for ms M token",
            Error::MetaCountMode => "CLIENT_ERROR invalid mode for ma M token",
            Error::MetaOpaque => "CLIENT_ERROR opaque token too long",
            Error::MetaFlagOrDuplicate => "CLIENT_ERROR invalid or duplicate flag",
        }
    }
}
