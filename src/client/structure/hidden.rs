//! Rewrites text in which YAML::Syck differs from YAML, so that a YAML parser finds the same scalars as Syck, and
//! translates each scalar back.
//!
//! The parser gets ASCII and characters of a private plane, which only this module creates. Each of them represents one
//! byte, so a scalar keeps all its bytes in any encoding.

use saphyr_parser::ScalarStyle;
use std::borrow::Cow;

/// The first of 256 characters that represent a byte of the text: part of a character that is not ASCII, or a character
/// with a meaning in YAML but none for Syck.
const AS_IT_STOOD: u32 = 0x10_0000;
/// The first of 256 characters that represent the four characters of a hexadecimal escape such as `\xC3`. In double quotes
/// the escape is a byte; elsewhere Syck reads it literally.
const ESCAPED: u32 = 0x10_0100;

/// The characters that form an escape with a backslash in double quotes, for Syck. Before others a backslash is literal.
const KNOWN_ESCAPES: &[u8] = b"\"0\\abefnrtvx\r\n";
/// The longest key in the form `key: value` in YAML, in characters.
const MAX_IMPLICIT_KEY: usize = 1024;

/// Decodes text as Perl does: UTF-8, or else Latin-1.
pub fn characters(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    }
}

fn stand_in(first: u32, byte: u8) -> char {
    char::from_u32(first + u32::from(byte)).expect("a plane has no gap there")
}

/// The byte that a character represents, if it is one of the 256 characters from `first` on.
fn stands_for(first: u32, character: char) -> Option<u8> {
    let distance = u32::from(character).checked_sub(first)?;
    u8::try_from(distance).ok()
}

/// Rewrites Syck's YAML for a YAML parser.
///
/// Syck writes CRs, tabs and leading commas unescaped, although in YAML they end a line, separate tokens or are forbidden.
/// It writes some texts of several lines in single quotes without indenting the further lines. `\xC3` is a character in
/// YAML and a byte for Syck, which writes UTF-8 in this form in double quotes. A scalar in UTF-8 may stand beside one in
/// Latin-1, and a key may have any length.
pub fn hide(yaml: &[u8]) -> String {
    let has_dos_lines = yaml
        .split_inclusive(|byte| *byte == b'\n')
        .all(|line| line.ends_with(b"\r\n"));
    let mut hidden = String::with_capacity(yaml.len() + yaml.len() / 4);
    let mut is_in_single_quotes = false;
    let mut rest = yaml;
    while let Some((first, behind)) = rest.split_first() {
        let mut length = 1;
        match rest {
            [b'\'', b'\'', ..] if is_in_single_quotes => {
                length = 2;
                hidden.push_str("''");
            }
            [b'\'', ..] => {
                is_in_single_quotes = !is_in_single_quotes && begins_scalar(&hidden);
                hidden.push('\'');
            }
            [b'\n', ..] if is_in_single_quotes => length = fold(&mut hidden, rest),
            [b'\r', b'\n', ..] if has_dos_lines => hidden.push('\r'),
            [b',', ..] if !begins_scalar(&hidden) => hidden.push(','),
            [b'\\', b'x', high @ b'8'..=b'F', low, ..] if byte(*high, *low).is_some() => {
                length = 4;
                hidden.extend(byte(*high, *low).map(|byte| stand_in(ESCAPED, byte)));
            }
            [b'\\', escape, ..] if KNOWN_ESCAPES.contains(escape) => {
                // An escaped backslash does not start an escape.
                length = if *escape == b'\\' { 2 } else { 1 };
                hidden.push_str(if length == 2 { r"\\" } else { r"\" });
            }
            [b'\r' | b'\t' | b',' | b'\\' | 0x80.., ..] => {
                hidden.push(stand_in(AS_IT_STOOD, *first));
            }
            _ => {
                let special = |byte: &u8| {
                    matches!(byte, b'\r' | b'\n' | b'\t' | b',' | b'\'' | b'\\' | 0x80..)
                };
                length += behind.iter().position(special).unwrap_or(behind.len());
                hidden.extend(rest[..length].iter().copied().map(char::from));
            }
        }
        rest = &rest[length..];
    }
    with_explicit_long_keys(hidden)
}

/// Folds the line breaks at the beginning of `text` as YAML does in quotes: one becomes a blank, and of several all but the
/// first stay. Blanks around them are dropped. Returns the number of bytes consumed.
fn fold(hidden: &mut String, text: &[u8]) -> usize {
    hidden.truncate(hidden.trim_end_matches([' ', '\r']).len());
    let is_blank = |byte: &u8| matches!(byte, b'\n' | b'\r' | b' ');
    let length = text.iter().take_while(|byte| is_blank(byte)).count();
    let breaks = text[..length].iter().filter(|byte| **byte == b'\n').count();
    match breaks {
        1 => hidden.push(' '),
        _ => hidden.extend((1..breaks).map(|_| stand_in(AS_IT_STOOD, b'\n'))),
    }
    length
}

/// Returns true if a scalar in a block can begin after this text: after a line's indentation, the mark of a list item, or
/// a key, and after an anchor and a tag if there are any.
fn begins_scalar(before: &str) -> bool {
    let mut line = before.trim_end_matches(' ');
    while line.len() < before.len()
        && let Some(gap) = line.rfind([' ', '\n'])
        && line[gap + 1..].starts_with(['&', '!'])
    {
        line = line[..=gap].trim_end_matches(' ');
    }
    line.is_empty()
        || line.ends_with('\n')
        || line.len() < before.len() && line.ends_with(['-', ':'])
}

/// Parses two upper-case hexadecimal digits, as Syck writes them.
fn byte(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    Some(digit(high)? << 4 | digit(low)?)
}

/// The original text of a scalar that the parser found in [rewritten](hide) YAML.
pub fn show(scalar: &str, style: ScalarStyle) -> String {
    let mut bytes = Vec::with_capacity(scalar.len());
    let mut has_escaped_bytes = false;
    for character in scalar.chars() {
        match stands_for(ESCAPED, character) {
            Some(byte) if style == ScalarStyle::DoubleQuoted => {
                bytes.push(byte);
                has_escaped_bytes = true;
            }
            _ => put_unescaped(&mut bytes, character),
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) if has_escaped_bytes => show_escapes_as_characters(scalar),
        Err(error) => characters(error.as_bytes()).into_owned(),
    }
}

/// Appends the bytes of a character outside of double quotes.
fn put_unescaped(bytes: &mut Vec<u8>, character: char) {
    if let Some(byte) = stands_for(AS_IT_STOOD, character) {
        bytes.push(byte);
    } else if let Some(byte) = stands_for(ESCAPED, character) {
        bytes.extend_from_slice(format!("\\x{byte:02X}").as_bytes());
    } else {
        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// Decodes a scalar in double quotes whose bytes together are not UTF-8. Each escaped byte is a character of Latin-1, and
/// so is each other byte, unless the bytes between two escapes are UTF-8.
fn show_escapes_as_characters(scalar: &str) -> String {
    let mut shown = String::with_capacity(scalar.len());
    let mut between = Vec::new();
    for character in scalar.chars() {
        if let Some(byte) = stands_for(ESCAPED, character) {
            shown.push_str(&characters(&between));
            between.clear();
            shown.push(char::from(byte));
        } else {
            put_unescaped(&mut between, character);
        }
    }
    shown.push_str(&characters(&between));
    shown
}

/// Rewrites `key: value` as `? key` and `: value` on two lines if the key is too long for YAML.
fn with_explicit_long_keys(yaml: String) -> String {
    if yaml.lines().all(|line| line.len() <= MAX_IMPLICIT_KEY) {
        return yaml;
    }
    let mut explicit = String::with_capacity(yaml.len() + 1024);
    let mut scalar = OpenScalar::None;
    for line in yaml.split_inclusive('\n') {
        let start = match scalar.continue_on(line) {
            true => line.len(),
            false => content_start(line),
        };
        let content = &line[start..];
        let key = key_length(content);
        explicit.push_str(&line[..start]);
        if key > MAX_IMPLICIT_KEY {
            explicit.push_str("? ");
            explicit.push_str(&content[..key]);
            explicit.push('\n');
            explicit.extend(std::iter::repeat_n(' ', start));
            explicit.push_str(&content[key..]);
        } else {
            explicit.push_str(content);
        }
        if !content.is_empty() {
            let indentation = line.len() - line.trim_start_matches(' ').len();
            let value = content[key..].strip_prefix(':').unwrap_or(&content[key..]);
            scalar = OpenScalar::begin(value.trim_start_matches(' '), indentation);
        }
    }
    explicit
}

/// A scalar that continues on the next line, so that the line contains no key.
enum OpenScalar {
    None,
    Quoted(char),
    /// A block scalar; it contains all lines with a larger indentation than this.
    Block(usize),
}

impl OpenScalar {
    /// The scalar that is still open at the end of a line with this value, if any.
    fn begin(value: &str, indentation: usize) -> OpenScalar {
        match value.chars().next() {
            Some(quote @ ('"' | '\'')) if quoted_length(value).is_none() => {
                OpenScalar::Quoted(quote)
            }
            Some('|' | '>') => OpenScalar::Block(indentation),
            _ => OpenScalar::None,
        }
    }

    /// Returns true if the line belongs to the open scalar.
    fn continue_on(&mut self, line: &str) -> bool {
        let (goes_on, is_part) = match self {
            OpenScalar::None => return false,
            OpenScalar::Quoted(quote) => (end_of_quoted(line, *quote).is_none(), true),
            OpenScalar::Block(indentation) => {
                let text = line.trim_start_matches(' ');
                let is_part = text.trim().is_empty() || line.len() - text.len() > *indentation;
                (is_part, is_part)
            }
        };
        if !goes_on {
            *self = OpenScalar::None;
        }
        is_part
    }
}

/// The offset of a line's content, after its indentation, the marks of list items and the mark of a document.
fn content_start(line: &str) -> usize {
    let mut rest = line.strip_prefix("--- ").unwrap_or(line);
    loop {
        rest = rest.trim_start_matches(' ');
        match rest.strip_prefix("- ") {
            Some(item) => rest = item,
            None => return line.len() - rest.len(),
        }
    }
}

/// The length of the key at the beginning of a line's content; 0 if there is none.
fn key_length(content: &str) -> usize {
    let length = match content.chars().next() {
        Some('"' | '\'') => quoted_length(content).unwrap_or(0),
        _ => content
            .match_indices(':')
            .map(|(at, _)| at)
            .find(|at| is_value_mark(&content[*at..]))
            .unwrap_or(0),
    };
    if is_value_mark(&content[length..]) {
        length
    } else {
        0
    }
}

fn is_value_mark(text: &str) -> bool {
    matches!(text.as_bytes(), [b':'] | [b':', b' ' | b'\n' | b'\r', ..])
}

/// The length of the quoted scalar at the beginning of a text, including the quotes.
fn quoted_length(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    Some(1 + end_of_quoted(&text[1..], quote)?)
}

/// The offset after the closing quote of a quoted scalar.
fn end_of_quoted(text: &str, quote: char) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        match (*bytes.get(at)?, quote) {
            (b'\\', '"') => at += 2,
            (b'\'', '\'') if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            (byte, quote) if char::from(byte) == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}
