//! The texts that clients and Net::Clacks servers see of values (clacks-protocol(7), NAMES AND VALUES), and the names that
//! they can be told. A value may have any bytes, and a line can't contain CR and LF.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

/// Begins the text of a value that is encoded.
const PREFIX: &[u8] = b"PAGECAMELCLACKSB64:";

/// The text that clients see of a value.
#[inline]
pub fn shown(value: &[u8]) -> Cow<'_, [u8]> {
    match fits_in_line(value) && !value.starts_with(PREFIX) {
        true => Cow::Borrowed(value),
        false => shown_encoded(value),
    }
}

#[cold]
fn shown_encoded(value: &[u8]) -> Cow<'_, [u8]> {
    if !needs_encoding(value) {
        return Cow::Borrowed(value);
    }
    let mut text = Vec::with_capacity(encoded_length(value.len()));
    begin_encoded(&mut text);
    append_encoded(&mut text, value);
    Cow::Owned(text)
}

/// The length of the text of an encoded value of so many bytes.
pub const fn encoded_length(value: usize) -> usize {
    PREFIX.len() + value.div_ceil(3) * 4
}

/// Appends what the text of an encoded value begins with.
pub fn begin_encoded(to: &mut Vec<u8>) {
    to.extend_from_slice(PREFIX);
}

/// Appends a piece of a value, encoded. Every piece but the last one has a multiple of three bytes.
pub fn append_encoded(to: &mut Vec<u8>, piece: &[u8]) {
    let start = to.len();
    to.resize(start + piece.len().div_ceil(3) * 4, 0);
    let encoded = STANDARD.encode_slice(piece, &mut to[start..]);
    debug_assert_eq!(encoded, Ok(to.len() - start));
}

/// The value that a text of a client stands for.
#[inline]
pub fn taken(text: &[u8]) -> Cow<'_, [u8]> {
    match may_be_encoded(text) {
        false => Cow::Borrowed(text),
        true => taken_decoded(text),
    }
}

/// Reports whether a text begins as that of an encoded value does. Of most texts the first byte says that it does not.
#[inline]
pub fn may_be_encoded(text: &[u8]) -> bool {
    text.first() == PREFIX.first() && text.starts_with(PREFIX)
}

#[cold]
fn taken_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    match decoded(text) {
        Some(value) if needs_encoding(&value) => Cow::Owned(value),
        _ => Cow::Borrowed(text),
    }
}

/// Reports whether no line can contain the value, or it looks like the text of such a value.
pub fn needs_encoding(value: &[u8]) -> bool {
    let mut inner = Cow::Borrowed(value);
    while fits_in_line(&inner) {
        match decoded(&inner) {
            Some(value) => inner = Cow::Owned(value),
            None => return false,
        }
    }
    true
}

/// The bytes that a text with the prefix encodes in the one regular form of base64.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text.strip_prefix(PREFIX)?).ok()
}

/// Reports whether a name or a value contains no line end.
#[inline]
pub fn fits_in_line(text: &[u8]) -> bool {
    memchr::memchr2(b'\r', b'\n', text).is_none()
}

/// Reports whether a line with a value can be about that name, which ends at the first `=` there.
pub fn is_nameable(name: &[u8]) -> bool {
    memchr::memchr3(b'\r', b'\n', b'=', name).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: &[u8]) -> Vec<u8> {
        [PREFIX, STANDARD.encode(value).as_bytes()].concat()
    }

    /// Texts, their prefixes nested up to three times, some with something wrong at one level.
    fn texts() -> Vec<Vec<u8>> {
        let mut texts: Vec<Vec<u8>> = [
            "",
            "x",
            "two\r\nlines",
            "\n",
            "\r",
            "PAGECAMELCLACKSB64:",
            "PAGECAMELCLACKSB64:!",
            "PAGECAMELCLACKSB64:eA",
            "PAGECAMELCLACKSB64:Cg",
            "PAGECAMELCLACKSB64:Cg==",
            "PAGECAMELCLACKSB64:Ch==",
            "PAGECAMELCLACKSB64:Cg==\n",
            "PAGECAMELCLACKSYAMLB64:Cg==",
        ]
        .map(|text| text.as_bytes().to_vec())
        .into();
        for _ in 0..3 {
            let nested: Vec<Vec<u8>> = texts.iter().map(|text| encoded(text)).collect();
            let longer: Vec<Vec<u8>> = nested
                .iter()
                .map(|text| [text, &b"="[..]].concat())
                .collect();
            texts.extend(nested);
            texts.extend(longer);
        }
        texts
    }

    #[test]
    fn showing_and_taking_are_inverse_to_each_other() {
        for text in texts() {
            let what = text.escape_ascii().to_string();
            let view = shown(&text);
            assert!(fits_in_line(&view), "{what}");
            assert_eq!(taken(&view), text, "{what}");
            if fits_in_line(&text) {
                assert_eq!(shown(&taken(&text)), text, "{what}");
            }
        }
    }

    #[test]
    fn values_are_shown_as_the_manual_says() {
        let lines = encoded(b"two\r\nlines");
        assert_eq!(lines, b"PAGECAMELCLACKSB64:dHdvDQpsaW5lcw==");
        for (value, view) in [
            (&b"two\r\nlines"[..], &lines[..]),
            (&lines, &encoded(&lines)),
            (b"PAGECAMELCLACKSB64:eA==", b"PAGECAMELCLACKSB64:eA=="),
            (b"PAGECAMELCLACKSB64:!", b"PAGECAMELCLACKSB64:!"),
            (b"a=b", b"a=b"),
        ] {
            assert_eq!(shown(value), view);
        }
        // Not the one regular form: unused bits are set, or the padding is missing.
        for text in [&b"PAGECAMELCLACKSB64:Ch=="[..], b"PAGECAMELCLACKSB64:Cg"] {
            assert_eq!(taken(text), text);
        }
    }

    #[test]
    fn names_of_lines_have_no_line_ends_and_no_equals_sign() {
        assert!(is_nameable(b"a b\\n") && fits_in_line(b"a=b"));
        for name in ["a=b", "a\r", "\nb"] {
            assert!(!is_nameable(name.as_bytes()), "{name:?}");
        }
    }
}
