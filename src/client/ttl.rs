//! The times to the expiry of entries.

use crate::limits::CENTURY_S;
use std::time::Duration;

/// The time until an entry of the cache expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// The entry has no expiry.
    Never,
    /// Whole seconds, rounded up: a living entry has one at least.
    Seconds(u64),
}

impl Ttl {
    /// The longest time to an expiry. Servers take a longer one for this.
    pub const LONGEST: Duration = Duration::from_secs(CENTURY_S);

    /// Reads the seconds in an answer of a server; `None` if they are none.
    pub(super) fn decode(seconds: &[u8]) -> Option<Ttl> {
        match seconds {
            b"-1" => Some(Ttl::Never),
            digits => str::from_utf8(digits).ok()?.parse().ok().map(Ttl::Seconds),
        }
    }
}

/// The time as EXPIRE takes it. No time is so short that it becomes 0, which stands for never.
pub(super) fn encode(time: Duration) -> String {
    let microseconds = time.as_micros().max(1);
    format!(
        "{}.{:06}",
        microseconds / 1_000_000,
        microseconds % 1_000_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        for (time, text) in [
            (Duration::from_secs(60), "60.000000"),
            (Duration::from_millis(1_250), "1.250000"),
            (Duration::ZERO, "0.000001"),
        ] {
            assert_eq!(encode(time), text);
        }
        assert_eq!(Ttl::decode(b"-1"), Some(Ttl::Never));
        assert_eq!(Ttl::decode(b"12"), Some(Ttl::Seconds(12)));
        for text in ["", "-2", "1.5", "x"] {
            assert_eq!(Ttl::decode(text.as_bytes()), None, "{text}");
        }
    }
}
