//! Arithmetic on texts, as INCREMENT and DECREMENT do it (clacks-protocol(7), NUMBERS).

use crate::limits::{WORK_PER_DIGIT, WORK_PER_SLOW_LITERAL};
use std::fmt;
use std::io::{self, Write};
use std::ops::{Add, Neg};

/// The number that a text counts as.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// As an operand or a result, it fits a signed or an unsigned 64-bit integer; a sum of steps may
    /// be larger.
    Integer(i128),
    Double(f64),
}

/// Length of [`Number::to_bytes`].
pub const NUMBER_BYTES: usize = 17;

const INTEGERS: std::ops::RangeInclusive<i128> = i64::MIN as i128..=u64::MAX as i128;

/// Length of the longest text of [`Number::exact`]: a sign and the digits of an integer of 128 bits.
const MAX_EXACT_LENGTH: usize = 40;
/// Significant digits of the text of a double in [`Number::exact`]; no two doubles have the same.
const MAX_DOUBLE_DIGITS: usize = 17;

/// How many digits the mantissa of a decimal text has, without leading zeros.
fn significant_digits(text: &str) -> usize {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit);
    digits.skip_while(|digit| *digit == b'0').count()
}

impl Number {
    pub const ONE: Number = Number::Integer(1);
    pub const ZERO: Number = Number::Integer(0);

    /// The value of a variable: its whole text is a number, or it counts as 0.
    pub fn from_value(text: &[u8]) -> Number {
        let text = trim_start(text);
        match literal(text) {
            Some(literal) if trim_start(&text[literal.length..]).is_empty() => literal.number(text),
            _ => named(text).unwrap_or(Number::ZERO),
        }
    }

    /// A step: the longest numeric prefix of the text, or 0.
    pub fn from_step(text: &[u8]) -> Number {
        let text = trim_start(text);
        match literal(text) {
            Some(literal) => literal.number(text),
            None => named(text).unwrap_or(Number::ZERO),
        }
    }

    /// A text that says all of the number, for [`Number::from_exact`].
    pub fn exact(self) -> impl fmt::Display {
        struct Exact(Number);
        impl fmt::Display for Exact {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    Number::Integer(value) => write!(f, "{value}"),
                    // The shortest text that only this double has; it is never that of an integer.
                    Number::Double(value) => f.write_str(zmij::Buffer::new().format(value)),
                }
            }
        }
        Exact(self)
    }

    /// The reverse of [`Number::exact`]; `None` if the text can't come from there. So it is read in a fraction of a
    /// microsecond, whatever somebody sends: what takes long are digits beyond those that a double has.
    pub fn from_exact(text: &str) -> Option<Number> {
        if text.len() > MAX_EXACT_LENGTH {
            return None;
        }
        if text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-')
        {
            return text.parse().ok().map(Number::Integer);
        }
        let is_short = significant_digits(text) <= MAX_DOUBLE_DIGITS;
        is_short.then(|| text.parse().ok().map(Number::Double))?
    }

    /// All of the number, in a form for memory and files: what kind it is, and its bits. All NaNs are one: their signs
    /// depend on the processor, and no text tells them apart.
    pub fn to_bytes(self) -> [u8; NUMBER_BYTES] {
        let (kind, bits) = match self {
            Number::Integer(value) => (0, value as u128),
            Number::Double(value) if value.is_nan() => (1, u128::from(f64::NAN.to_bits())),
            Number::Double(value) => (1, u128::from(value.to_bits())),
        };
        let mut bytes = [kind; NUMBER_BYTES];
        bytes[1..].copy_from_slice(&bits.to_le_bytes());
        bytes
    }

    /// The reverse of [`Number::to_bytes`]; `None` if the bytes can't come from there.
    pub fn from_bytes(bytes: &[u8; NUMBER_BYTES]) -> Option<Number> {
        let (kind, bits) = bytes.split_first()?;
        let bits = u128::from_le_bytes(*bits.first_chunk()?);
        match kind {
            0 => Some(Number::Integer(bits as i128)),
            1 => Some(Number::Double(f64::from_bits(u64::try_from(bits).ok()?))),
            _ => None,
        }
    }

    fn from_double(value: f64) -> Number {
        // Both bounds are powers of two, so the comparison is exact.
        if value.trunc() == value
            && (-9_223_372_036_854_775_808.0..18_446_744_073_709_551_616.0).contains(&value)
        {
            Number::Integer(value as i128)
        } else {
            Number::Double(value)
        }
    }

    fn to_double(self) -> f64 {
        match self {
            Number::Integer(value) => value as f64,
            Number::Double(value) => value,
        }
    }
}

impl Add for Number {
    type Output = Number;

    /// Exact for two integers whose sum is one, IEEE double otherwise.
    fn add(self, other: Number) -> Number {
        self.accumulate(other).result()
    }
}

impl Number {
    /// As a sum, but not bound to 64 bits: only the [`Number::result`] of all steps is.
    pub fn accumulate(self, other: Number) -> Number {
        if let (Number::Integer(a), Number::Integer(b)) = (self, other)
            && let Some(sum) = a.checked_add(b)
        {
            return Number::Integer(sum);
        }
        Number::Double(self.to_double() + other.to_double())
    }

    /// An integer beyond 64 bits becomes a double.
    pub fn result(self) -> Number {
        match self {
            Number::Integer(value) if !INTEGERS.contains(&value) => Number::Double(value as f64),
            number => number,
        }
    }
}

impl Neg for Number {
    type Output = Number;

    /// The operand of a subtraction. Its integers reach beyond 64 bits; a result doesn't.
    fn neg(self) -> Number {
        match self {
            Number::Integer(value) => value
                .checked_neg()
                .map_or(Number::Double(-(value as f64)), Number::Integer),
            Number::Double(value) => Number::Double(-value),
        }
    }
}

impl fmt::Display for Number {
    /// Integers in full, doubles with 15 significant digits as C's `%.15g` prints them, no `-0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Number::Integer(value) => write!(f, "{value}"),
            Number::Double(value) => write_double(f, value),
        }
    }
}

/// Decimal digits that fit a 64-bit integer: a literal with no more of them is parsed in some tens of nanoseconds.
const CHEAP_DIGITS: usize = 19;

/// Returns the work that parsing a text as a number may take in addition to the work that its length counts for, in the
/// bytes in which [`limits`](crate::limits) counts work. A literal with more than `CHEAP_DIGITS` significant digits
/// that lies near the midpoint of two doubles is compared with the midpoint digit by digit, in up to 30 microseconds.
pub fn work_of(text: &[u8]) -> usize {
    if text.len() <= CHEAP_DIGITS {
        return 0;
    }
    if text.len() > PARSED_AS_IT_IS {
        return WORK_PER_SLOW_LITERAL + WORK_PER_DIGIT * DIGITS_THAT_MATTER;
    }
    let mantissa = text
        .iter()
        .take_while(|byte| !matches!(byte, b'e' | b'E'))
        .filter(|byte| byte.is_ascii_digit())
        .skip_while(|digit| **digit == b'0');
    match mantissa.count() {
        0..=CHEAP_DIGITS => 0,
        digits => WORK_PER_SLOW_LITERAL + WORK_PER_DIGIT * digits,
    }
}

const SIGNIFICANT_DIGITS: i32 = 15;

fn write_double(f: &mut fmt::Formatter<'_>, value: f64) -> fmt::Result {
    if value.is_nan() {
        return f.write_str("NaN");
    }
    if value.is_infinite() {
        return f.write_str(if value > 0.0 { "Inf" } else { "-Inf" });
    }
    if value == 0.0 {
        return f.write_str("0");
    }
    let digits = Digits::rounded(value.abs());
    let (exponent, text) = (digits.exponent, digits.text());
    let (first, rest) = text.split_at(1);

    if value < 0.0 {
        f.write_str("-")?;
    }
    if !(-4..SIGNIFICANT_DIGITS).contains(&exponent) {
        let point = if rest.is_empty() { "" } else { "." };
        let sign = if exponent < 0 { '-' } else { '+' };
        return write!(f, "{first}{point}{rest}e{sign}{:02}", exponent.abs());
    }
    if exponent < 0 {
        let zeros = -1 - exponent as isize;
        return write!(f, "0.{:0<width$}{first}{rest}", "", width = zeros as usize);
    }
    let whole = exponent as usize;
    if rest.len() <= whole {
        write!(f, "{first}{rest:0<whole$}")
    } else {
        write!(f, "{first}{}.{}", &rest[..whole], &rest[whole..])
    }
}

/// The decimal digits of a positive double, without zeros at the end.
struct Digits {
    digits: [u8; MAX_DOUBLE_DIGITS],
    length: usize,
    /// The power of ten of the first digit.
    exponent: i32,
}

impl Digits {
    /// Rounds a finite double to [`SIGNIFICANT_DIGITS`] digits.
    fn rounded(value: f64) -> Digits {
        Digits::short(value).unwrap_or_else(|| Digits::exactly_rounded(value))
    }

    /// Rounds the shortest digits that only this double has. That gives the same as rounding the double, and takes a
    /// tenth of a microsecond whatever the double: a midpoint between two roundings that lies between the double and
    /// its shortest digits would be shorter or nearer than these. `None` if they are such a midpoint, or if so few
    /// digits tell doubles apart that they are further from the double than its rounding.
    fn short(value: f64) -> Option<Digits> {
        if !value.is_normal() {
            return None;
        }
        let mut digits = Digits::of(zmij::Buffer::new().format_finite(value));
        let kept = SIGNIFICANT_DIGITS as usize;
        let rounds_up = match digits.digits.get(kept..digits.length) {
            None | Some([]) => return Some(digits),
            Some([b'5']) => return None,
            Some([digit, ..]) => *digit >= b'5',
        };
        digits.length = kept;
        if rounds_up {
            digits.round_up();
        }
        digits.trim();
        Some(digits)
    }

    fn exactly_rounded(value: f64) -> Digits {
        // `d.dddddddddddddde-ddd`: 24 bytes at most.
        let mut buffer = io::Cursor::new([0; 32]);
        write!(buffer, "{:.*e}", SIGNIFICANT_DIGITS as usize - 1, value)
            .expect("24 bytes fit into 32");
        let written = &buffer.get_ref()[..buffer.position() as usize];
        Digits::of(std::str::from_utf8(written).expect("digits are ASCII"))
    }

    /// Reads a decimal text of no more digits than a double has, without those of zeros before and behind them.
    fn of(text: &str) -> Digits {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let exponent: i32 = exponent.parse().expect("an exponent is a number");
        let point = mantissa.find('.').unwrap_or(mantissa.len());
        let is_digit = |byte: &u8| *byte != b'.';
        let all = mantissa.bytes().filter(is_digit);
        let zeros = all.clone().take_while(is_zero).count();
        let mut digits = Digits {
            digits: [b'0'; MAX_DOUBLE_DIGITS],
            length: 0,
            exponent: exponent + point as i32 - 1 - zeros as i32,
        };
        for (to, digit) in digits.digits.iter_mut().zip(all.skip(zeros)) {
            *to = digit;
            digits.length += 1;
        }
        digits.trim();
        digits
    }

    /// Adds one to the last digit.
    fn round_up(&mut self) {
        let digits = &mut self.digits[..self.length];
        match digits.iter().rposition(|digit| *digit != b'9') {
            Some(last) => {
                digits[last] += 1;
                self.length = last + 1;
            }
            None => {
                digits[0] = b'1';
                (self.length, self.exponent) = (1, self.exponent + 1);
            }
        }
    }

    /// Leaves out zeros at the end.
    fn trim(&mut self) {
        let last = self.digits[..self.length]
            .iter()
            .rposition(|digit| *digit != b'0');
        self.length = last.map_or(1, |last| last + 1);
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.digits[..self.length]).expect("digits are ASCII")
    }
}

fn trim_start(text: &[u8]) -> &[u8] {
    let blanks = text
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t' | 0x0b | 0x0c))
        .count();
    &text[blanks..]
}

/// A decimal number at the start of a text.
struct Literal {
    length: usize,
    is_integer: bool,
}

impl Literal {
    fn number(&self, text: &[u8]) -> Number {
        let text = std::str::from_utf8(&text[..self.length]).expect("a literal is ASCII");
        if self.is_integer
            && let Some(value) = integer(text)
        {
            return Number::Integer(value);
        }
        Number::from_double(if text.len() <= PARSED_AS_IT_IS {
            text.parse().expect("a literal is a number to Rust too")
        } else {
            parse_long(text)
        })
    }
}

/// Digits of the greatest integer.
const INTEGER_DIGITS: usize = 20;

/// The value of a literal without point and exponent, if it is one of [`INTEGERS`].
fn integer(text: &str) -> Option<i128> {
    let digits = text.trim_start_matches(['+', '-']);
    let digits = &digits[count_while(digits.as_bytes(), is_zero)..];
    if digits.len() > INTEGER_DIGITS {
        return None;
    }
    let value = digits.bytes().fold(0, |value: i128, digit| {
        10 * value + i128::from(digit - b'0')
    });
    let value = if text.starts_with('-') { -value } else { value };
    INTEGERS.contains(&value).then_some(value)
}

fn is_zero(digit: &u8) -> bool {
    *digit == b'0'
}

/// In literals up to this length, an exponent so large that `f64::from_str` would cut it (at 65536)
/// can't be made up for by the number of digits.
const PARSED_AS_IT_IS: usize = 1000;
/// No double, and no midpoint of two, has more significant digits; of what follows it only matters
/// whether it is 0.
const DIGITS_THAT_MATTER: usize = 770;

/// The value of a literal of any length.
fn parse_long(text: &str) -> f64 {
    let (mantissa, exponent) = match memchr::memchr2(b'e', b'E', text.as_bytes()) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let whole = whole.trim_start_matches(['+', '-']);
    let (whole, fraction) = (whole.as_bytes(), fraction.as_bytes());
    let mut leading_zeros = count_while(whole, is_zero);
    if leading_zeros == whole.len() {
        leading_zeros += count_while(fraction, is_zero);
    }
    let significant_whole = whole.get(leading_zeros..).unwrap_or_default();
    let zeros_of_fraction = leading_zeros.saturating_sub(whole.len());
    let significant_fraction = &fraction[zeros_of_fraction..];
    let mut short = String::from(if text.starts_with('-') { "-0." } else { "0." });
    let significant = significant_whole.iter().chain(significant_fraction);
    short.extend(
        significant
            .take(DIGITS_THAT_MATTER)
            .copied()
            .map(char::from),
    );
    let kept_of_whole = significant_whole.len().min(DIGITS_THAT_MATTER);
    let kept_of_fraction = significant_fraction
        .len()
        .min(DIGITS_THAT_MATTER - kept_of_whole);
    let cut = [
        &significant_whole[kept_of_whole..],
        &significant_fraction[kept_of_fraction..],
    ];
    if cut
        .iter()
        .any(|digits| count_while(digits, is_zero) < digits.len())
    {
        short.push('1');
    }
    let point = whole.len() as i64 - leading_zeros as i64 + power_of_ten(exponent);
    short += &format!("e{}", point.clamp(-10_000, 10_000));
    short
        .parse()
        .expect("digits, a point and an exponent are a number")
}

/// The value of an exponent; further from 0 than this, any other value does the same.
fn power_of_ten(exponent: &str) -> i64 {
    // No line is so long that its digits could move the point that far.
    const FAR: i64 = 1 << 40;
    let digits = exponent.trim_start_matches(['+', '-']);
    let digits = &digits[count_while(digits.as_bytes(), is_zero)..];
    let power = match digits.len() {
        0 => 0,
        1..=12 => digits.parse().map_or(FAR, |power: i64| power.min(FAR)),
        _ => FAR,
    };
    if exponent.starts_with('-') {
        -power
    } else {
        power
    }
}

/// How many bytes at the start of a text are as `is_so` says. Most of a long text is looked at many bytes at a time.
fn count_while(text: &[u8], is_so: impl Fn(&u8) -> bool) -> usize {
    let chunks = text.chunks_exact(64);
    let whole = chunks.take_while(|chunk| chunk.iter().fold(true, |all, byte| all & is_so(byte)));
    let start = 64 * whole.count();
    start + text[start..].iter().take_while(|byte| is_so(byte)).count()
}

/// Sign, digits, fraction, exponent; at least one digit before the exponent.
fn literal(text: &[u8]) -> Option<Literal> {
    let digits = |from: usize| count_while(&text[from..], u8::is_ascii_digit);
    let sign = |at: usize| usize::from(matches!(text.get(at), Some(b'+' | b'-')));

    let whole_start = sign(0);
    let whole = digits(whole_start);
    let mut length = whole_start + whole;
    let mut is_integer = true;
    let mut fraction = 0;
    if text.get(length) == Some(&b'.') {
        fraction = digits(length + 1);
        if whole + fraction > 0 {
            length += 1 + fraction;
            is_integer = false;
        }
    }
    if whole + fraction == 0 {
        return None;
    }
    if matches!(text.get(length), Some(b'e' | b'E')) {
        let start = length + 1 + sign(length + 1);
        let exponent = if start <= text.len() {
            digits(start)
        } else {
            0
        };
        if exponent > 0 {
            length = start + exponent;
            is_integer = false;
        }
    }
    Some(Literal { length, is_integer })
}

/// `inf`, `infinity` and `nan`, only as the whole text.
fn named(text: &[u8]) -> Option<Number> {
    let (negative, name) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let end = name
        .iter()
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count();
    if !trim_start(&name[end..]).is_empty() {
        return None;
    }
    let name = &name[..end];
    if name.eq_ignore_ascii_case(b"inf") || name.eq_ignore_ascii_case(b"infinity") {
        Some(Number::Double(if negative {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        }))
    } else {
        name.eq_ignore_ascii_case(b"nan")
            .then_some(Number::Double(f64::NAN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(value: &str, step: &str) -> String {
        (Number::from_value(value.as_bytes()) + Number::from_step(step.as_bytes())).to_string()
    }

    fn difference(value: &str, step: &str) -> String {
        (Number::from_value(value.as_bytes()) + -Number::from_step(step.as_bytes())).to_string()
    }

    #[test]
    fn integers_are_exact_up_to_64_bits() {
        assert_eq!(sum("9223372036854775807", "1"), "9223372036854775808");
        assert_eq!(sum("18446744073709551614", "1"), "18446744073709551615");
        assert_eq!(sum("18446744073709551615", "1"), "1.84467440737096e+19");
        assert_eq!(
            difference("-9223372036854775807", "1"),
            "-9223372036854775808"
        );
        assert_eq!(
            difference("-9223372036854775808", "1"),
            "-9.22337203685478e+18"
        );
        assert_eq!(
            difference("0", "18446744073709551615"),
            "-1.84467440737096e+19"
        );
        assert_eq!(
            difference("18446744073709551615", "18446744073709551615"),
            "0"
        );
        assert_eq!(sum("1e3", "0"), "1000");
        assert_eq!(sum("1e19", "1"), "10000000000000000001");
        assert_eq!(sum("1e20", "1"), "1e+20");
    }

    /// Those that are rounded fast, and those that need more.
    #[test]
    fn digits_are_rounded_as_by_the_standard_library() {
        let mut bits: u64 = 88_172_645_463_325_252;
        let mut random = || {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            bits
        };
        let special = [
            0.5,
            2.5,
            0.1,
            1e22,
            1e23,
            5e-324,
            1e-310,
            9.5e15,
            1e308,
            999_999_999_999_999.5,
            99_999_999_999_999.95,
            9_007_199_254_740_992.0,
            f64::MAX,
            f64::MIN_POSITIVE,
        ];
        let of_any_size = (0..100_000).map(|_| f64::from_bits(random() >> 1));
        let any: Vec<f64> = special.into_iter().chain(of_any_size).collect();
        // Whole numbers of 16 digits and quarters are often midpoints.
        let midpoints = (0..100_000).map(|_| (random() >> 11) as f64 / 4.0);
        for value in any.into_iter().chain(midpoints.collect::<Vec<_>>()) {
            if !value.is_finite() || value == 0.0 {
                continue;
            }
            let (rounded, exactly) = (Digits::rounded(value), Digits::exactly_rounded(value));
            assert_eq!(rounded.text(), exactly.text(), "{value:e}");
            assert_eq!(rounded.exponent, exactly.exponent, "{value:e}");
            let exact = Number::Double(value).exact().to_string();
            assert_eq!(exact.parse(), Ok(value));
            assert_eq!(Number::from_exact(&exact), Some(Number::Double(value)));
        }
    }

    /// Its sign differs from processor to processor, and between what was computed and what was read.
    #[test]
    fn there_is_one_nan() {
        let read = Number::from_exact("NaN").expect("a number").to_bytes();
        let infinite = Number::from_step(b"inf");
        assert_eq!(infinite.accumulate(-infinite).to_bytes(), read);
        assert_eq!((-Number::from_step(b"nan")).to_bytes(), read);
    }

    #[test]
    fn doubles_are_printed_with_15_significant_digits() {
        for (value, step, printed) in [
            ("0.1", "0.2", "0.3"),
            ("1.50", "0.5", "2"),
            ("0", "1e21", "1e+21"),
            ("0", "0.00001", "1e-05"),
            ("0", "0.0001", "0.0001"),
            ("0", "123456.789e-2", "1234.56789"),
            ("0.5", "999999999999999.4", "1e+15"),
            ("0.5", "99999999999999.25", "99999999999999.8"),
            ("0", "1e400", "Inf"),
            ("0", "-1e400", "-Inf"),
            ("inf", "-inf", "NaN"),
            ("-0.0", "-0", "0"),
            ("1e-400", "0", "0"),
            ("0", "5e-324", "4.94065645841247e-324"),
            ("0", "-1.7976931348623157e308", "-1.79769313486232e+308"),
        ] {
            assert_eq!(sum(value, step), printed, "{value} + {step}");
        }
        assert_eq!(difference("1", "0.6666666666666666"), "0.333333333333333");
        assert_eq!(difference("0.1", "0.1"), "0");
    }

    /// Its integers and exponents included, a literal is scanned many bytes at a time.
    #[test]
    fn literals_of_any_length_have_the_value_of_short_ones() {
        let zeros = "0".repeat(100_000);
        for (long, short) in [
            (format!("{zeros}7"), "7"),
            (format!("-{zeros}7"), "-7"),
            (zeros.clone(), "0"),
            (format!("0.{zeros}7e100001"), "7"),
            (format!("7{zeros}e-100000"), "7"),
            (format!("1e{zeros}3"), "1000"),
            (format!("1e-{zeros}3"), "0.001"),
            (format!("1e1{zeros}"), "Inf"),
            (format!("7e-1{zeros}"), "0"),
            (format!("-7{zeros}"), "-Inf"),
            (format!("0.5{zeros}"), "0.5"),
            (format!("{zeros}.{zeros}"), "0"),
        ] {
            assert_eq!(sum(&long, "0"), short, "{}…", &long[..10]);
        }
        // Halfway between two doubles but for a digit far behind.
        let halfway = "9007199254740993";
        let difference = |value: &str| {
            (Number::from_value(value.as_bytes()) + -Number::from_value(b"9007199254740992"))
                .to_string()
        };
        assert_eq!(difference(&format!("{halfway}.{zeros}")), "0");
        assert_eq!(difference(&format!("{halfway}.{zeros}1")), "2");
    }

    #[test]
    fn only_literals_of_many_digits_are_work() {
        for cheap in [
            "",
            "1",
            "-0.1",
            "1e308",
            "18446744073709551",
            "0.0000000000000000000000001",
            "text that is no number",
        ] {
            assert_eq!(work_of(cheap.as_bytes()), 0, "{cheap}");
        }
        let slow = "2.47032822920623272088e-324";
        assert!(work_of(slow.as_bytes()) >= WORK_PER_SLOW_LITERAL);
        assert!(work_of("7".repeat(705).as_bytes()) > work_of(slow.as_bytes()));
        assert_eq!(
            work_of("7".repeat(1 << 20).as_bytes()),
            work_of("7".repeat(1 << 21).as_bytes())
        );
    }

    #[test]
    fn sums_of_other_servers_have_as_many_digits_as_a_double_needs() {
        for double in [
            f64::MIN_POSITIVE,
            -2.2250738585072014e-308,
            5e-324,
            f64::MAX,
            0.1,
            1e16,
            123_456_789_012_345.67,
        ] {
            let text = Number::Double(double).exact().to_string();
            assert_eq!(
                Number::from_exact(&text),
                Some(Number::Double(double)),
                "{text}"
            );
        }
        assert_eq!(Number::from_exact("2.47032822920623272088e-324"), None);
        assert_eq!(Number::from_exact(&format!("0.{}", "7".repeat(705))), None);
    }

    #[test]
    fn a_value_is_a_number_as_a_whole_or_counts_as_0() {
        for (value, counts_as) in [
            (" 7 ", "7"),
            ("\t\x0b\x0c7", "7"),
            ("+5", "5"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1e2", "100"),
            ("12abc", "0"),
            ("0x10", "0"),
            ("1_000", "0"),
            ("", "0"),
            (".", "0"),
            ("-", "0"),
            ("1e", "0"),
            ("1e+", "0"),
            ("--1", "0"),
            ("1 2", "0"),
            ("٣", "0"),
            ("Inf", "Inf"),
            ("-INFINITY", "-Inf"),
            (" nan ", "NaN"),
            ("infinit", "0"),
            ("+ 5", "0"),
            ("\u{a0}7", "0"),
        ] {
            assert_eq!(sum(value, "0"), counts_as, "{value:?}");
        }
    }

    #[test]
    fn a_step_is_the_longest_numeric_prefix() {
        for (step, counts_as) in [
            ("7up", "7"),
            ("word", "0"),
            ("1e", "1"),
            ("1e+", "1"),
            ("1e5x", "100000"),
            ("-3 apples", "-3"),
            ("0x10", "0"),
            (".5.5", "0.5"),
            ("inf", "Inf"),
            ("infinite", "0"),
            ("  2", "2"),
            ("1.e2", "100"),
        ] {
            assert_eq!(sum("0", step), counts_as, "{step:?}");
        }
    }

    #[test]
    fn exact_texts_go_there_and_back() {
        for value in [
            "0",
            "-7",
            "18446744073709551615",
            "-9223372036854775808",
            "0.1",
            "1e300",
            "-5e-324",
            "inf",
            "1e15",
        ] {
            let number = Number::from_value(value.as_bytes()) + Number::from_value(b"0.0");
            assert_eq!(
                Number::from_exact(&number.exact().to_string()),
                Some(number),
                "{value}"
            );
        }
        let whole = Number::Double(1e15);
        assert_eq!(
            Number::from_exact(&whole.exact().to_string()),
            Some(whole),
            "a double stays one"
        );
        assert!(matches!(Number::from_exact("NaN"), Some(Number::Double(value)) if value.is_nan()));
        for text in [
            "",
            "-",
            "x",
            "9999999999999999999999999999999999999999",
            "1 ",
        ] {
            assert_eq!(Number::from_exact(text), None, "{text}");
        }
    }

    /// So they can't be slow ones: these take microseconds, and longer ones more.
    #[test]
    fn exact_texts_have_no_more_digits_than_a_double() {
        for double in [
            f64::MAX,
            -f64::MIN_POSITIVE,
            -2.225_073_858_507_201_4e-308,
            5e-324,
            1_234_567_890_123_456.8,
            -0.000_123_456_789_012_345_67,
            1e15,
            1e16,
        ] {
            let text = Number::Double(double).exact().to_string();
            assert_eq!(Number::from_exact(&text), Some(Number::Double(double)));
        }
        for text in [
            "2.47032822920623272088e-324",
            "0.123456789012345678",
            "1000000000000000000.5",
            &format!("{}.5", "0".repeat(50)),
            &format!("1{}", "0".repeat(50)),
        ] {
            assert_eq!(Number::from_exact(text), None, "{text}");
        }
        for integer in [i128::MIN, i128::MAX] {
            let number = Number::Integer(integer);
            assert_eq!(
                Number::from_exact(&number.exact().to_string()),
                Some(number)
            );
        }
    }

    #[test]
    fn megabytes_of_digits_are_a_number_too() {
        let digits = "9".repeat(2_000_000);
        assert_eq!(sum("0", &digits), "Inf");
        assert_eq!(sum("0", &format!("{digits}e-2000000")), "1");
        assert_eq!(sum("0", &format!("0.{}1", "0".repeat(2_000_000))), "0");
        assert_eq!(
            sum("0", &format!("-0.{}125e2000001", "0".repeat(2_000_000))),
            "-1.25"
        );
        assert_eq!(
            sum("0", &format!("{}e{}", "0".repeat(2_000), "9".repeat(2_000))),
            "0"
        );
        // Halfway between two doubles, and by one far digit more.
        let half = "9007199254740993";
        assert_eq!(
            sum("0.5", &format!("{half}.{}e0", "0".repeat(2_000))),
            sum("0.5", "9007199254740992")
        );
        let above = Number::from_value(format!("{half}.{}1e0", "0".repeat(2_000)).as_bytes());
        assert_eq!(above, Number::Integer(9_007_199_254_740_994));
    }
}
