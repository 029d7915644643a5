//! Arithmetic against a table (tests/numbers.txt) that a script makes from the rules alone, with exact
//! fractions (tests/number_cases.py): what INCREMENT and DECREMENT make of which texts.

use crate::support::Server;
use clacks::protocol::number::Number;

/// A line of the table.
struct Case {
    value: Option<Vec<u8>>,
    subtracts: bool,
    step: Option<Vec<u8>>,
    result: &'static str,
}

fn cases() -> Vec<Case> {
    let table = include_str!("../numbers.txt");
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let parts: Vec<&str> = line.split('\t').collect();
            let [value, sign, step, result] = parts[..] else {
                panic!("no case: {line}");
            };
            Case {
                value: value.strip_prefix('=').map(unescape),
                subtracts: sign == "-",
                step: step.strip_prefix('=').map(unescape),
                result,
            }
        })
        .collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&byte, more)) = rest.split_first() {
        rest = more;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let used = match rest {
            [b't', ..] => (b'\t', 1),
            [b'v', ..] => (0x0b, 1),
            [b'f', ..] => (0x0c, 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', digits @ ..] => {
                let digits = std::str::from_utf8(&digits[..2]).expect("two digits");
                (u8::from_str_radix(digits, 16).expect("a byte"), 3)
            }
            _ => panic!("no escape: {text}"),
        };
        bytes.push(used.0);
        rest = &rest[used.1..];
    }
    bytes
}

#[test]
fn the_table_is_large_and_has_everything_in_it() {
    let cases = cases();
    assert!(cases.len() >= 2000, "{}", cases.len());
    for part in ["Inf", "-Inf", "NaN", "0", "18446744073709551615", "1e-05"] {
        let found = cases.iter().filter(|case| case.result == part);
        assert!(found.count() > 3, "{part}");
    }
    assert!(cases.iter().all(|case| case.result != "-0"));
}

#[test]
fn numbers_are_what_the_table_says() {
    for case in cases() {
        let Case {
            value,
            subtracts,
            step,
            result,
        } = case;
        let before = value.as_deref().map_or(Number::ZERO, Number::from_value);
        let by = step.as_deref().map_or(Number::ONE, Number::from_step);
        let after = before + if subtracts { -by } else { by };
        assert_eq!(
            after.to_string(),
            result,
            "{:?} {} {:?}",
            value.as_ref().map(|value| value.escape_ascii().to_string()),
            if subtracts { "-" } else { "+" },
            step.as_ref().map(|step| step.escape_ascii().to_string()),
        );
    }
}

#[test]
fn a_server_counts_as_the_table_says() {
    let server = Server::start();
    let mut client = server.client("admin");
    for some in cases().chunks(500) {
        let mut lines = Vec::new();
        let mut say = |parts: &[&[u8]]| {
            parts.iter().for_each(|part| lines.extend_from_slice(part));
            lines.extend_from_slice(b"\r\n");
        };
        for (number, case) in some.iter().enumerate() {
            let name = format!("n{number}");
            let name = name.as_bytes();
            match &case.value {
                Some(value) => say(&[b"STORE ", name, b"=", value]),
                None => say(&[b"REMOVE ", name]),
            }
            let verb: &[u8] = if case.subtracts {
                b"DECREMENT "
            } else {
                b"INCREMENT "
            };
            match &case.step {
                Some(step) => say(&[verb, name, b"=", step]),
                None => say(&[verb, name]),
            }
            say(&[b"RETRIEVE ", name]);
        }
        client.send_bytes(&lines);
        let answers = client.flush();
        let expected = some.iter().enumerate();
        let expected =
            expected.map(|(number, case)| format!("RETRIEVED n{number}={}", case.result));
        let expected: Vec<String> = expected.collect();
        let wrong = answers
            .iter()
            .zip(&expected)
            .find(|(is, should)| is != should);
        assert_eq!((wrong, answers.len()), (None, expected.len()));
    }
}
