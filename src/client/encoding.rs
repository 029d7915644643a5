//! The encoding of cache values that a line can't carry, or that look like encoded ones. It is the encoding of the Perl
//! cache client (clacks-protocol(7), CACHE). No I/O.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_PAD_INDIFFERENT};
use std::borrow::Cow;

/// The prefix of encoded text.
pub const TEXT_PREFIX: &[u8] = b"PAGECAMELCLACKSB64:";
/// The prefix of encoded structures. The Perl cache client writes a blank after it.
pub const STRUCTURE_PREFIX: &[u8] = b"PAGECAMELCLACKSYAMLB64:";

/// The meaning of a stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// The value itself; it is not encoded.
    Plain(&'a [u8]),
    /// Decoded text.
    Text(Vec<u8>),
    /// A decoded structure, as YAML.
    Structure(Vec<u8>),
}

impl Decoded<'_> {
    /// The decoded bytes of any kind.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Decoded::Plain(bytes) => bytes.to_vec(),
            Decoded::Text(bytes) | Decoded::Structure(bytes) => bytes,
        }
    }
}

/// Encodes a value, if necessary, so that [`decode`] returns it unchanged.
pub fn encode(value: &[u8]) -> Cow<'_, [u8]> {
    let is_taken = value.starts_with(TEXT_PREFIX) || value.starts_with(STRUCTURE_PREFIX);
    if is_taken || memchr::memchr2(b'\r', b'\n', value).is_some() {
        Cow::Owned([TEXT_PREFIX, STANDARD.encode(value).as_bytes()].concat())
    } else {
        Cow::Borrowed(value)
    }
}

/// Encodes a structure, given as YAML.
#[cfg(feature = "yaml")]
pub fn encode_structure(yaml: &str) -> Vec<u8> {
    [STRUCTURE_PREFIX, STANDARD.encode(yaml).as_bytes()].concat()
}

/// Decodes a stored value. A value with a prefix and no valid base64 after it counts as not encoded.
pub fn decode(stored: &[u8]) -> Decoded<'_> {
    if let Some(bytes) = decode_behind(STRUCTURE_PREFIX, stored) {
        Decoded::Structure(bytes)
    } else if let Some(bytes) = decode_behind(TEXT_PREFIX, stored) {
        Decoded::Text(bytes)
    } else {
        Decoded::Plain(stored)
    }
}

fn decode_behind(prefix: &[u8], stored: &[u8]) -> Option<Vec<u8>> {
    let text = stored.strip_prefix(prefix)?.trim_ascii();
    if text.is_empty() {
        return None;
    }
    // As in Perl, the padding may be missing.
    STANDARD_PAD_INDIFFERENT.decode(text).ok()
}

/// Replaces blanks and `=` in a name by `___`, as the Perl cache client does: in a line they would end the name or the
/// verb.
pub fn sanitise(name: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b' ', b'=', name).is_none() {
        return Cow::Borrowed(name);
    }
    let mut sanitised = Vec::with_capacity(name.len() + 8);
    for byte in name {
        match byte {
            b' ' | b'=' => sanitised.extend_from_slice(b"___"),
            byte => sanitised.push(*byte),
        }
    }
    Cow::Owned(sanitised)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were() {
        for (value, is_encoded) in [
            (&b""[..], false),
            (b"plain = text", false),
            (b"\xff\x00\t", false),
            (b"two\nlines", true),
            (b"\r", true),
            (b"\n", true),
            (b"PAGECAMELCLACKSB64:eA==", true),
            (b"PAGECAMELCLACKSB64:", true),
            (b"PAGECAMELCLACKSYAMLB64: LS0tIDEK", true),
            (b"PAGECAMELCLACKSB64", false),
            (b" PAGECAMELCLACKSB64:eA==", false),
        ] {
            let stored = encode(value);
            assert_eq!(&*stored != value, is_encoded, "{value:?}");
            assert!(memchr::memchr2(b'\r', b'\n', &stored).is_none());
            assert_eq!(decode(&stored).into_bytes(), value);
        }
        assert_eq!(&*encode(b"a\nb"), b"PAGECAMELCLACKSB64:YQpi");
    }

    #[test]
    fn structures_are_told_from_text_with_a_blank_and_without() {
        let yaml = Decoded::Structure(b"--- 1\n".to_vec());
        #[cfg(feature = "yaml")]
        assert_eq!(
            encode_structure("--- 1\n"),
            b"PAGECAMELCLACKSYAMLB64:LS0tIDEK"
        );
        assert_eq!(decode(b"PAGECAMELCLACKSYAMLB64:LS0tIDEK"), yaml);
        assert_eq!(decode(b"PAGECAMELCLACKSYAMLB64: LS0tIDEK"), yaml);
    }

    #[test]
    fn what_only_looks_encoded_stands_for_itself() {
        for stored in [
            &b"PAGECAMELCLACKSB64:"[..],
            b"PAGECAMELCLACKSB64:!",
            b"PAGECAMELCLACKSYAMLB64: ",
            b"pagecamelclacksb64:eA==",
        ] {
            assert_eq!(decode(stored), Decoded::Plain(stored));
        }
        assert_eq!(
            decode(b"PAGECAMELCLACKSB64:eA"),
            Decoded::Text(b"x".to_vec())
        );
    }

    #[test]
    fn names_lose_what_would_end_them() {
        assert_eq!(&*sanitise(b"a b=c"), b"a___b___c");
        assert_eq!(&*sanitise(b"a::b\tc"), b"a::b\tc");
    }
}
