//! Exptimes: the moments at which entries expire.

/// The longest time that is counted from now, in seconds. A greater exptime is a date.
const MAX_RELATIVE_S: u32 = 60 * 60 * 24 * 30;

/// The meaning of an exptime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    Never,
    AtOnce,
    /// So many seconds from now.
    AfterS(u32),
    /// At this unix time in seconds; at once if it has gone by.
    AtS(u32),
}

impl Expiry {
    pub fn of(exptime: i32) -> Expiry {
        match u32::try_from(exptime) {
            Err(_) => Expiry::AtOnce,
            Ok(0) => Expiry::Never,
            Ok(seconds) if seconds <= MAX_RELATIVE_S => Expiry::AfterS(seconds),
            Ok(seconds) => Expiry::AtS(seconds),
        }
    }

    /// The moment of the expiry, in microseconds of unix time; `None` is never.
    pub fn moment_us(self, now_us: u64) -> Option<u64> {
        match self {
            Expiry::Never => None,
            Expiry::AtOnce => Some(now_us),
            Expiry::AfterS(seconds) => Some(now_us.saturating_add(u64::from(seconds) * 1_000_000)),
            Expiry::AtS(seconds) => Some(now_us.max(u64::from(seconds) * 1_000_000)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exptime_is_relative_up_to_30_days() {
        for (exptime, expiry, moment_us) in [
            (0, Expiry::Never, None),
            (-1, Expiry::AtOnce, Some(3_000_000_000_000)),
            (i32::MIN, Expiry::AtOnce, Some(3_000_000_000_000)),
            (1, Expiry::AfterS(1), Some(3_000_001_000_000)),
            (
                2_592_000,
                Expiry::AfterS(2_592_000),
                Some(5_592_000_000_000),
            ),
            (2_592_001, Expiry::AtS(2_592_001), Some(3_000_000_000_000)),
            (
                i32::MAX,
                Expiry::AtS(2_147_483_647),
                Some(2_147_483_647_000_000),
            ),
        ] {
            assert_eq!(Expiry::of(exptime), expiry);
            assert_eq!(expiry.moment_us(3_000_000_000_000), moment_us, "{exptime}");
        }
    }
}
