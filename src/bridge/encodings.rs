//! Payloads of databases in other encodings than UTF-8.
//!
//! PostgreSQL ends the connection of a listener when a notification can't be converted to the encoding that the listener
//! asks for. So such a database is asked to convert nothing, and is then asked to convert the payloads by queries, which
//! may fail one by one.

use super::database::Failure;
use super::session::Session;
use std::fmt::Write;
use tokio_postgres::error::SqlState;

/// Lets the database send the bytes that it has.
pub const AS_THEY_ARE: &str =
    "SET client_encoding TO 'SQL_ASCII'; SET client_min_messages TO error; ";

/// True for databases whose payloads are passed on as they are. In SQL_ASCII nobody knows what the bytes mean.
pub fn needs_no_conversion(encoding: &str) -> bool {
    matches!(encoding, "UTF8" | "SQL_ASCII")
}

/// The payloads in UTF-8, in their order; `None` for each that can't be converted.
pub async fn convert(
    session: &mut Session,
    payloads: &[Vec<u8>],
) -> Result<Vec<Option<Vec<u8>>>, Failure> {
    let mut converted = Vec::with_capacity(payloads.len());
    // Parts that are still to be converted, the next one last.
    let mut parts = vec![payloads];
    while let Some(part) = parts.pop() {
        match session.execute(query(part, session.encoding())).await {
            Ok(rows) if rows.len() == part.len() => {
                converted.extend(rows.iter().map(|row| from_hex(row)));
            }
            Err(failure) if !is_of_encoding(&failure) => return Err(failure),
            _ if part.len() <= 1 => converted.extend(part.iter().map(|_| None)),
            _ => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
        }
    }
    Ok(converted)
}

fn is_of_encoding(failure: &Failure) -> bool {
    let code = match failure {
        Failure::Postgres(error) => error.code(),
        _ => None,
    };
    code == Some(&SqlState::CHARACTER_NOT_IN_REPERTOIRE)
        || code == Some(&SqlState::UNTRANSLATABLE_CHARACTER)
}

/// In hexadecimal digits both ways, which all encodings have.
fn query(payloads: &[Vec<u8>], encoding: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let encoding: String = encoding
        .chars()
        .filter(|one| one.is_ascii() && is_plain(*one as u8))
        .collect();
    let size: usize = payloads.iter().map(|payload| 2 * payload.len() + 16).sum();
    let mut sql = String::with_capacity(size + 256);
    sql += "SELECT pg_catalog.encode(pg_catalog.convert(pg_catalog.decode(p.hex, 'hex'), '";
    sql += &encoding;
    sql += "', 'UTF8'), 'hex') FROM pg_catalog.unnest(ARRAY[";
    for (number, payload) in payloads.iter().enumerate() {
        sql += if number > 0 { ",'" } else { "'" };
        for byte in payload {
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
    fn payloads_travel_in_hexadecimal_digits() {
        let sql = query(&[b"a'".to_vec(), vec![0xff]], "WIN1252");
        assert!(sql.contains("ARRAY['6127','ff']::"), "{sql}");
        assert!(sql.contains("'WIN1252', 'UTF8'"), "{sql}");
        assert_eq!(from_hex("6127ff"), Some(b"a'\xff".to_vec()));
        assert_eq!(from_hex(""), Some(Vec::new()));
        assert_eq!(from_hex("6x"), None);
    }
}
