//! Arithmetic on any two texts, beside what C's `strtod` and `snprintf` make of them.
//!
//! The first byte chooses what is done; then come two texts, with a line end between them.

use clacks::protocol::number::Number;
use std::ffi::{CString, c_char, c_double};

/// The number that a text stands for by the rules, found with C's functions.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Worth {
    Integer(i128),
    Double(f64),
}

const INTEGERS: std::ops::RangeInclusive<i128> = i64::MIN as i128..=u64::MAX as i128;

pub fn run(data: &[u8]) {
    let Some((&what, texts)) = data.split_first() else {
        return;
    };
    let middle = texts.iter().position(|byte| *byte == b'\n');
    let (first, second) = texts.split_at(middle.unwrap_or(texts.len()));
    let second = second.strip_prefix(b"\n").unwrap_or(second);

    let value = Number::from_value(first);
    let step = Number::from_step(second);
    let (value_is, step_is) = (worth_of_value(first), worth_of_step(second));
    same(value, value_is, first);
    same(step, step_is, second);

    let subtracts = what & 1 == 1;
    let (sum, sum_is) = match subtracts {
        true => (value + -step, add(value_is, negative(step_is))),
        false => (value + step, add(value_is, step_is)),
    };
    let printed = sum.to_string();
    let expected = print(sum_is);
    assert_eq!(
        printed,
        expected,
        "{} {} {}",
        first.escape_ascii(),
        if subtracts { "-" } else { "+" },
        second.escape_ascii()
    );
    // What RETRIEVE shows is what the next step is added to.
    let shown = Number::from_value(printed.as_bytes());
    same(
        shown,
        worth_of_value(printed.as_bytes()),
        printed.as_bytes(),
    );

    for number in [value, step, sum, -step] {
        check_there_and_back(number);
    }
}

/// The two forms that say all of a number.
fn check_there_and_back(number: Number) {
    let bits = |number: Number| format!("{:?}", number);
    let exact = number.exact().to_string();
    let again = Number::from_exact(&exact).expect("an exact text is a number's");
    assert_eq!(bits(again), bits(number), "{exact}");
    let bytes = number.to_bytes();
    let again = Number::from_bytes(&bytes).expect("a number's bytes are");
    assert_eq!(bits(again), bits(number));
}

fn same(number: Number, worth: Worth, text: &[u8]) {
    let is_same = match (number, worth) {
        (Number::Integer(is), Worth::Integer(should)) => is == should,
        (Number::Double(is), Worth::Double(should)) => {
            // The sign of a NaN is nothing that anybody sees.
            is.to_bits() == should.to_bits() || (is.is_nan() && should.is_nan())
        }
        _ => false,
    };
    assert!(is_same, "{}: {number:?}, {worth:?}", text.escape_ascii());
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c)
}

/// The longest beginning that is a decimal number, and whether it is written as an integer.
fn decimal_beginning(text: &[u8]) -> (usize, bool) {
    let mut best = (0, false);
    let (mut digits, mut has_point, mut exponent) = (0, false, None);
    for (at, byte) in text.iter().copied().enumerate() {
        match byte {
            b'+' | b'-'
                if at == 0 || (exponent == Some(0) && matches!(text[at - 1], b'e' | b'E')) => {}
            b'0'..=b'9' => match &mut exponent {
                Some(count) => *count += 1,
                None => digits += 1,
            },
            b'.' if !has_point && exponent.is_none() => has_point = true,
            b'e' | b'E' if exponent.is_none() && digits > 0 => exponent = Some(0),
            _ => break,
        }
        if digits > 0 && exponent != Some(0) {
            best = (at + 1, !has_point && exponent.is_none());
        }
    }
    best
}

fn worth_of_decimal(text: &[u8], is_integer: bool) -> Worth {
    let written = std::str::from_utf8(text).expect("digits are ASCII");
    // Whatever overflows 128 bits doesn't fit 64 either.
    if is_integer
        && let Ok(value) = written.parse::<i128>()
        && INTEGERS.contains(&value)
    {
        return Worth::Integer(value);
    }
    let double = strtod(text);
    // Exact: both bounds are powers of two.
    if double.trunc() == double && (-(2f64.powi(63))..2f64.powi(64)).contains(&double) {
        return Worth::Integer(double as i128);
    }
    Worth::Double(double)
}

/// `inf`, `infinity` and `nan` as the whole text.
fn named(text: &[u8]) -> Option<Worth> {
    let end = text
        .iter()
        .rposition(|byte| !is_blank(*byte))
        .map_or(0, |end| end + 1);
    let text = text[..end].to_ascii_lowercase();
    let (sign, name) = match text.split_first() {
        Some((b'-', name)) => (-1.0, name),
        Some((b'+', name)) => (1.0, name),
        _ => (1.0, &text[..]),
    };
    match name {
        b"inf" | b"infinity" => Some(Worth::Double(sign * f64::INFINITY)),
        b"nan" => Some(Worth::Double(f64::NAN)),
        _ => None,
    }
}

fn without_blanks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_blank(*byte));
    &text[start.unwrap_or(text.len())..]
}

fn worth_of_value(text: &[u8]) -> Worth {
    let text = without_blanks(text);
    let (length, is_integer) = decimal_beginning(text);
    if length > 0 && text[length..].iter().all(|byte| is_blank(*byte)) {
        return worth_of_decimal(&text[..length], is_integer);
    }
    named(text).unwrap_or(Worth::Integer(0))
}

fn worth_of_step(text: &[u8]) -> Worth {
    let text = without_blanks(text);
    match decimal_beginning(text) {
        (0, _) => named(text).unwrap_or(Worth::Integer(0)),
        (length, is_integer) => worth_of_decimal(&text[..length], is_integer),
    }
}

fn negative(worth: Worth) -> Worth {
    match worth {
        Worth::Integer(value) => Worth::Integer(-value),
        Worth::Double(value) => Worth::Double(-value),
    }
}

fn add(a: Worth, b: Worth) -> Worth {
    if let (Worth::Integer(a), Worth::Integer(b)) = (a, b) {
        return match a + b {
            sum if INTEGERS.contains(&sum) => Worth::Integer(sum),
            sum => Worth::Double(sum as f64),
        };
    }
    let double = |worth| match worth {
        Worth::Integer(value) => value as f64,
        Worth::Double(value) => value,
    };
    Worth::Double(double(a) + double(b))
}

fn print(worth: Worth) -> String {
    match worth {
        Worth::Integer(value) => value.to_string(),
        Worth::Double(value) if value.is_nan() => "NaN".to_owned(),
        Worth::Double(value) if value.is_infinite() => {
            if value > 0.0 { "Inf" } else { "-Inf" }.to_owned()
        }
        Worth::Double(0.0) => "0".to_owned(),
        Worth::Double(value) => print_15g(value),
    }
}

fn strtod(text: &[u8]) -> f64 {
    let text = CString::new(text).expect("digits hold no NUL");
    // SAFETY: `text` ends in NUL and lives as long as the call; no end pointer is asked for.
    unsafe { libc::strtod(text.as_ptr(), std::ptr::null_mut()) }
}

fn print_15g(value: c_double) -> String {
    let mut buffer = [0_u8; 64];
    // SAFETY: the buffer is as long as is said, and the format takes exactly one double.
    let length = unsafe {
        libc::snprintf(
            buffer.as_mut_ptr().cast::<c_char>(),
            buffer.len(),
            c"%.15g".as_ptr(),
            value,
        )
    };
    let length = usize::try_from(length).expect("a double can be printed");
    String::from_utf8(buffer[..length].to_vec()).expect("digits are ASCII")
}
