//! Numbers in command lines. Where a number is read decides which form it may have.

/// Characters in the longest 32-bit and 64-bit numbers that are read strictly.
const DIGITS_32: usize = 11;
const DIGITS_64: usize = 22;

/// The greatest length of a block.
const MAX_LENGTH: u64 = 2_147_483_645;

/// Client flags of a storage command: up to 64 bits, cut to the low 32.
pub fn client_flags(word: &[u8]) -> Option<u32> {
    let word = up_to_space(word);
    if is_minus_zero(word) {
        return Some(0);
    }
    let number = digits(word.strip_prefix(b"+").unwrap_or(word))?;
    Some(number as u32)
}

/// Exptime of a storage command: a signed 64-bit number, cut to the low 32 bits.
pub fn storage_exptime(word: &[u8]) -> Option<i32> {
    let word = up_to_space(word);
    let number = match word.strip_prefix(b"-") {
        Some(rest) => 0_i64.checked_sub_unsigned(digits(rest)?)?,
        None => i64::try_from(digits(word.strip_prefix(b"+").unwrap_or(word))?).ok()?,
    };
    Some(number as i32)
}

/// The length of a block.
pub fn length(word: &[u8]) -> Option<usize> {
    let number = limited_digits(word, DIGITS_32)?;
    (number <= MAX_LENGTH).then_some(number as usize)
}

/// A cas, a delta, or the start of a counter.
pub fn u64(word: &[u8]) -> Option<u64> {
    limited_digits(word, DIGITS_64)
}

/// Client flags of a meta command, and the arguments of administration.
pub fn u32(word: &[u8]) -> Option<u32> {
    limited_digits(word, DIGITS_32)?.try_into().ok()
}

/// Exptime of all commands but those of storage.
pub fn exptime(word: &[u8]) -> Option<i32> {
    if word.len() > DIGITS_32 {
        return None;
    }
    let number = match word.strip_prefix(b"-") {
        Some(rest) => 0_i64.checked_sub_unsigned(digits(rest)?)?,
        None => digits(word)?.try_into().ok()?,
    };
    number.try_into().ok()
}

fn limited_digits(word: &[u8], most: usize) -> Option<u64> {
    (word.len() <= most).then(|| digits(word)).flatten()
}

/// One digit or more, and nothing else.
pub(super) fn digits(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

/// A minus sign and zeros.
pub(super) fn is_minus_zero(word: &[u8]) -> bool {
    word.strip_prefix(b"-").and_then(digits) == Some(0)
}

/// The part of a word before the first byte that C takes for a space. (An LF is never in a word.)
fn up_to_space(word: &[u8]) -> &[u8] {
    let end = word.iter().position(|byte| matches!(byte, 9..=13));
    &word[..end.unwrap_or(word.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_flags_are_cut_to_32_bits() {
        for (word, flags) in [
            ("0", Some(0)),
            ("+7", Some(7)),
            ("-0", Some(0)),
            ("4294967295", Some(u32::MAX)),
            ("4294967297", Some(1)),
            ("18446744073709551615", Some(u32::MAX)),
            ("18446744073709551616", None),
            ("1\tx", Some(1)),
            ("1\x0b", Some(1)),
            ("1\x0c", Some(1)),
            ("1\r", Some(1)),
            ("-1", None),
            ("", None),
            ("+", None),
            ("-", None),
            ("a", None),
            ("1a", None),
        ] {
            assert_eq!(client_flags(word.as_bytes()), flags, "{word:?}");
        }
    }

    #[test]
    fn exptimes_of_storage_are_cut_and_read_as_signed() {
        for (word, exptime) in [
            ("0", Some(0)),
            ("+1", Some(1)),
            ("-1", Some(-1)),
            ("2147483648", Some(i32::MIN)),
            ("4294967295", Some(-1)),
            ("4294967296", Some(0)),
            ("9223372036854775807", Some(-1)),
            ("9223372036854775808", None),
            ("-9223372036854775808", Some(0)),
            ("-9223372036854775809", None),
            ("x", None),
            ("-", None),
            ("+-1", None),
        ] {
            assert_eq!(storage_exptime(word.as_bytes()), exptime, "{word:?}");
        }
    }

    #[test]
    fn lengths_fit_31_bits() {
        for (word, expected) in [
            ("0", Some(0)),
            ("00000000001", Some(1)),
            ("000000000001", None),
            ("2147483645", Some(2_147_483_645)),
            ("2147483646", None),
            ("-1", None),
            ("+1", None),
            ("x", None),
        ] {
            assert_eq!(length(word.as_bytes()), expected, "{word:?}");
        }
    }

    #[test]
    fn strict_numbers_are_digits_alone() {
        assert_eq!(u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(u64(b"18446744073709551616"), None);
        assert_eq!(u64(b"0000000000000000000001"), Some(1));
        assert_eq!(u64(b"00000000000000000000001"), None);
        assert_eq!((u64(b"+1"), u64(b"-1"), u64(b"")), (None, None, None));
        assert_eq!(u32(b"4294967295"), Some(u32::MAX));
        assert_eq!((u32(b"4294967296"), u32(b"000000000001")), (None, None));
    }

    #[test]
    fn exptimes_of_other_commands_fit_32_bits() {
        for (word, expected) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("2147483647", Some(i32::MAX)),
            ("2147483648", None),
            ("-2147483648", Some(i32::MIN)),
            ("-2147483649", None),
            ("4294967295", None),
            ("-00000000001", None),
            ("+1", None),
            ("-", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(exptime(word.as_bytes()), expected, "{word:?}");
        }
    }
}
