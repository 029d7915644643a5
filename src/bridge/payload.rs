//! Splits the payload of a notification into the parts between its delimiters. No I/O.
//!
//! Payloads are split in the encoding of their database, since not all encodings have the section sign of the delimiter.
//! In single-byte encodings the delimiter is the bytes that Perl writes, whatever characters they are there.

/// The delimiter between verb, name and value. Net::Clacks uses the same one, so that either bridge works with either set
/// of functions.
pub const DELIMITER: &str = "§§§CLACKSDELIMETER§§§";
/// The delimiter in databases with single-byte encodings or SQL_ASCII.
const BYTE_DELIMITER: &[u8] = b"\xa7\xa7\xa7CLACKSDELIMETER\xa7\xa7\xa7";

/// The parts of a payload, in UTF-8 or, from SQL_ASCII, as bytes in an unknown encoding.
pub type Parts = Vec<Vec<u8>>;

/// Splits a payload at the delimiters of its database's encoding, before any conversion. A payload whose delimiters can
/// only be found in UTF-8 stays whole, for [`split_in_utf8`].
pub fn split_payload<'a>(payload: &'a [u8], encoding: &str) -> Vec<&'a [u8]> {
    if has_wide_characters(encoding) {
        return vec![payload];
    }
    let parts = split(payload, BYTE_DELIMITER);
    // Functions installed into SQL_ASCII from a file in UTF-8 use the UTF-8 delimiter. The kind that comes first counts,
    // so that the other kind is ordinary text in the name or value after it.
    match memchr::memmem::find(parts[0], DELIMITER.as_bytes()) {
        Some(_) => vec![payload],
        None => parts,
    }
}

/// Splits a payload that [`split_payload`] has left whole, after its conversion to UTF-8.
pub fn split_in_utf8(parts: Parts) -> Parts {
    match &parts[..] {
        [whole] => split(whole, DELIMITER.as_bytes())
            .into_iter()
            .map(<[u8]>::to_vec)
            .collect(),
        _ => parts,
    }
}

/// Returns true for encodings in which three bytes 0xA7 can be parts of other characters.
fn has_wide_characters(encoding: &str) -> bool {
    matches!(encoding, "UTF8" | "MULE_INTERNAL") || encoding.starts_with("EUC_")
}

/// Splits a text at each delimiter, into at least one part.
fn split<'a>(mut text: &'a [u8], delimiter: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some(at) = memchr::memmem::find(text, delimiter) {
        parts.push(&text[..at]);
        text = &text[at + delimiter.len()..];
    }
    parts.push(text);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a payload that was put together with these delimiters.
    fn apart(parts: &[&[u8]], delimiter: &[u8], encoding: &str) -> Parts {
        let payload = parts.join(delimiter);
        let parts = split_payload(&payload, encoding);
        split_in_utf8(parts.into_iter().map(<[u8]>::to_vec).collect())
    }

    #[test]
    fn each_encoding_has_its_delimiters() {
        let parts: [&[u8]; 3] = [b"SET", b"a\xfc", b""];
        for (encoding, delimiter, is_split) in [
            ("UTF8", DELIMITER.as_bytes(), true),
            ("UTF8", BYTE_DELIMITER, false),
            ("EUC_JP", BYTE_DELIMITER, false),
            ("KOI8R", BYTE_DELIMITER, true),
            ("LATIN1", BYTE_DELIMITER, true),
            ("SQL_ASCII", BYTE_DELIMITER, true),
            ("SQL_ASCII", DELIMITER.as_bytes(), true),
        ] {
            let whole = [&parts.join(delimiter)[..]];
            let expected = if is_split { &parts[..] } else { &whole };
            assert_eq!(apart(&parts, delimiter, encoding), expected, "{encoding}");
        }
        assert_eq!(apart(&[b""], b"", "LATIN1"), [b""]);
    }

    #[test]
    fn a_delimiter_of_another_kind_is_text() {
        let (utf8, bytes) = (DELIMITER.as_bytes(), BYTE_DELIMITER);
        for (delimiter, other) in [(utf8, bytes), (bytes, utf8)] {
            let name = [b"n", other, b"-1000"].concat();
            let parts: [&[u8]; 3] = [b"INCREMENT", &name, b"1"];
            assert_eq!(apart(&parts, delimiter, "SQL_ASCII"), parts);
        }
    }
}
