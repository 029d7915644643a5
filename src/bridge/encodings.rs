//! Conversion of payloads from databases in other encodings than UTF-8.
//!
//! PostgreSQL ends the connection of a listener when a notification can't be converted to the encoding that the listener
//! has asked for. So the listener asks for no conversion, and converts the payloads by queries, which may fail one by
//! one.

use super::dial::within;
use super::failure::Failure;
use super::payload::{Parts, split_in_utf8, split_payload};
use super::session::Session;
use std::fmt::Write;
use std::time::Duration;
use tokio_postgres::error::SqlState;

/// SQL that switches the conversion of notifications off.
pub const WITHOUT_CONVERSION: &str =
    "SET client_encoding TO 'SQL_ASCII'; SET client_min_messages TO error; ";

/// Returns true for encodings whose payloads are not converted: UTF-8, and SQL_ASCII, in which the meaning of bytes is
/// unknown.
pub fn is_passed_unconverted(encoding: &str) -> bool {
    matches!(encoding, "UTF8" | "SQL_ASCII")
}

/// The size of the texts that one query converts, in bytes: some tens of milliseconds of work, for the database as well.
const MAX_BATCH: usize = 1 << 20;

/// Converts payloads. Returns the parts of each in UTF-8, in the order of the payloads; `None` for a payload that can't be
/// converted. `timeout` is the time limit of each query.
pub async fn convert(
    session: &mut Session,
    payloads: &[Vec<u8>],
    timeout: Duration,
) -> Result<Vec<Option<Parts>>, Failure> {
    let encoding = session.encoding().to_owned();
    let apart = payloads
        .iter()
        .map(|payload| split_payload(payload, &encoding));
    let apart: Vec<Vec<&[u8]>> = apart.collect();
    let mut converted = convert_texts(session, &encoding, &apart.concat(), timeout)
        .await?
        .into_iter();
    let put_together = apart.iter().map(|parts| {
        let parts: Vec<Option<Vec<u8>>> = converted.by_ref().take(parts.len()).collect();
        parts
            .into_iter()
            .collect::<Option<Parts>>()
            .map(split_in_utf8)
    });
    Ok(put_together.collect())
}

/// Converts texts to UTF-8; `None` for a text that can't be converted.
async fn convert_texts(
    session: &mut Session,
    encoding: &str,
    texts: &[&[u8]],
    timeout: Duration,
) -> Result<Vec<Option<Vec<u8>>>, Failure> {
    let mut converted = Vec::with_capacity(texts.len());
    // The slices to be converted, the next one last.
    let mut slices = in_slices(texts);
    slices.reverse();
    while let Some(slice) = slices.pop() {
        match within(timeout, session.execute(query(slice, encoding))).await {
            Ok(rows) if rows.len() == slice.len() => {
                converted.extend(rows.iter().map(|row| from_hex(row)));
            }
            Err(failure) if !is_of_encoding(&failure) => return Err(failure),
            _ if slice.len() <= 1 => converted.extend(slice.iter().map(|_| None)),
            _ => {
                let (first, second) = slice.split_at(slice.len() / 2);
                slices.extend([second, first]);
            }
        }
    }
    Ok(converted)
}

/// Divides texts into slices of [`MAX_BATCH`] bytes at most. A longer text is a slice of its own.
fn in_slices<'a, 'b>(texts: &'a [&'b [u8]]) -> Vec<&'a [&'b [u8]]> {
    let mut slices = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, text) in texts.iter().enumerate() {
        bytes += text.len();
        if bytes > MAX_BATCH && index > start {
            slices.push(&texts[start..index]);
            (start, bytes) = (index, text.len());
        }
    }
    slices.push(&texts[start..]);
    slices
}

fn is_of_encoding(failure: &Failure) -> bool {
    let code = match failure {
        Failure::Postgres(error) => error.code(),
        _ => None,
    };
    code == Some(&SqlState::CHARACTER_NOT_IN_REPERTOIRE)
        || code == Some(&SqlState::UNTRANSLATABLE_CHARACTER)
}

/// The query that converts texts. Both directions use hexadecimal digits, which all encodings have.
fn query(texts: &[&[u8]], encoding: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let encoding: String = encoding
        .chars()
        .filter(|one| one.is_ascii() && is_plain(*one as u8))
        .collect();
    let size: usize = texts.iter().map(|text| 2 * text.len() + 16).sum();
    let mut sql = String::with_capacity(size + 256);
    sql += "SELECT pg_catalog.encode(pg_catalog.convert(pg_catalog.decode(p.hex, 'hex'), '";
    sql += &encoding;
    sql += "', 'UTF8'), 'hex') FROM pg_catalog.unnest(ARRAY[";
    for (number, text) in texts.iter().enumerate() {
        sql += if number > 0 { ",'" } else { "'" };
        for byte in *text {
            write!(sql, "{byte:02x}").expect("a String takes every write");
        }
        sql.push('\'');
    }
    sql += "]::pg_catalog.text[]) WITH ORDINALITY AS p (hex, number) ORDER BY p.number";
    sql
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    digits.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_texts_are_converted_in_slices() {
        let long = vec![b'x'; 2 * MAX_BATCH];
        let half = MAX_BATCH / 2;
        for (sizes, lengths) in [
            (&[][..], &[0][..]),
            (&[1, 2, 3], &[3]),
            (&[half, half, 1, half, half], &[2, 2, 1]),
            (&[2 * MAX_BATCH, 1, 2 * MAX_BATCH], &[1, 1, 1]),
        ] {
            let texts: Vec<&[u8]> = sizes.iter().map(|size| &long[..*size]).collect();
            let slices = in_slices(&texts);
            let found: Vec<usize> = slices.iter().map(|slice| slice.len()).collect();
            assert_eq!(found, lengths);
            assert!(slices.concat() == texts);
        }
    }

    #[test]
    fn payloads_travel_in_hexadecimal_digits() {
        let sql = query(&[b"a'", &[0xff]], "WIN1252");
        assert!(sql.contains("ARRAY['6127','ff']::"), "{sql}");
        assert!(sql.contains("'WIN1252', 'UTF8'"), "{sql}");
        assert_eq!(from_hex("6127ff"), Some(b"a'\xff".to_vec()));
        assert_eq!(from_hex(""), Some(Vec::new()));
        assert_eq!(from_hex("6x"), None);
    }
}
