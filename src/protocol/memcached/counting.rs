//! The arithmetic of `incr`, `decr` and `ma`.

use super::number::{digits, is_minus_zero};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
}

/// The result of counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    pub number: u64,
    /// The number is the plain sum or difference: it neither wrapped nor stopped at 0.
    pub is_exact: bool,
}

/// Digits of the largest number.
const MAX_DIGITS: usize = 20;

/// The number that a value begins with. C's spaces may stand before it; the end, one of them, or NUL behind it.
pub fn number_in(value: &[u8]) -> Option<u64> {
    let is_space = |byte: &u8| matches!(byte, b' ' | 9..=13);
    let start = value.iter().position(|byte| !is_space(byte))?;
    let value = &value[start..];
    // What follows so many bytes behind the zeros is of no effect: it is no number, or has ended.
    let zeros = value.iter().position(|byte| !b"+-0".contains(byte));
    let value = &value[..value
        .len()
        .min(zeros.unwrap_or(value.len()) + MAX_DIGITS + 1)];
    let end = value.iter().position(|byte| is_space(byte) || *byte == 0);
    let text = &value[..end.unwrap_or(value.len())];
    if is_minus_zero(text) {
        return Some(0);
    }
    digits(text.strip_prefix(b"+").unwrap_or(text))
}

/// Adds modulo 2^64, or subtracts down to 0.
pub fn count(number: u64, delta: u64, direction: Direction) -> Counted {
    let (number, is_exact) = match direction {
        Direction::Up => {
            let (sum, wraps) = number.overflowing_add(delta);
            (sum, !wraps)
        }
        Direction::Down => (number.saturating_sub(delta), number >= delta),
    };
    Counted { number, is_exact }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_strtoull_reads() {
        for (value, number) in [
            ("5", Some(5)),
            ("+5", Some(5)),
            (" 5", Some(5)),
            ("5 ", Some(5)),
            (" \t\n\x0b\x0c\r5", Some(5)),
            ("007", Some(7)),
            ("-0", Some(0)),
            ("5 abc", Some(5)),
            ("5\n", Some(5)),
            ("5\t6", Some(5)),
            ("5\0x", Some(5)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            (
                "0000000000000000000000018446744073709551615",
                Some(u64::MAX),
            ),
            (
                "+0000000000000000000000018446744073709551615 6",
                Some(u64::MAX),
            ),
            ("184467440737095516150", None),
            ("12345678901234567890x", None),
            ("1234567890123456789 x", Some(1_234_567_890_123_456_789)),
            ("-0000000000000000000000000000000000000000000000", Some(0)),
            ("-00000000000000000000000000000000000000000000001", None),
            ("1e3", None),
            ("0x10", None),
            ("5abc", None),
            ("-5", None),
            ("5.0", None),
            ("+ 5", None),
            ("+-0", None),
            ("", None),
            ("  ", None),
            ("\0", None),
        ] {
            assert_eq!(number_in(value.as_bytes()), number, "{value:?}");
        }
    }

    #[test]
    fn sums_wrap_and_differences_stop_at_0() {
        use Direction::{Down, Up};
        for (number, delta, direction, result, is_exact) in [
            (5, 1, Up, 6, true),
            (10, 1, Down, 9, true),
            (5, 5, Down, 0, true),
            (5, 10, Down, 0, false),
            (u64::MAX - 1, 1, Up, u64::MAX, true),
            (u64::MAX, 1, Up, 0, false),
            (u64::MAX, 2, Up, 1, false),
            (0, u64::MAX, Down, 0, false),
        ] {
            let counted = count(number, delta, direction);
            assert_eq!((counted.number, counted.is_exact), (result, is_exact));
        }
    }
}
