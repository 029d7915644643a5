//! Where YAML::Syck and YAML disagree about a text: it is rewritten so that a YAML parser finds the same scalars as
//! Syck, and each scalar is translated back.
//!
//! The parser sees ASCII and characters of a private plane, which are made only here. Each of them stands for one byte,
//! so a scalar keeps every byte that it had, whatever its encoding.

use saphyr_parser::ScalarStyle;
use std::borrow::Cow;

/// The first of 256 characters that stand for a byte as it stood in the text: a part of a character that is not ASCII,
/// or a character that would mean something to YAML but nothing to Syck.
const AS_IT_STOOD: u32 = 0x10_0000;
/// The first of 256 characters that stand for the four characters of a hexadecimal escape, such as `\xC3`. In double
/// quotes it is a byte; elsewhere Syck takes it literally.
const ESCAPED: u32 = 0x10_0100;

/// What may follow a backslash in double quotes, as far as Syck knows. Before anything else it is a backslash.
const KNOWN_ESCAPES: &[u8] = b"\"0\\abefnrtvx\r\n";
/// A key in the form `key: value` may not be longer in YAML, in characters.
const MAX_IMPLICIT_KEY: usize = 1024;

/// Text as Perl keeps it: UTF-8, or else Latin-1.
pub fn characters(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    }
}

fn stand_in(first: u32, byte: u8) -> char {
    char::from_u32(first + u32::from(byte)).expect("a plane has no gap there")
}

/// The byte that a character stands for, if it is one of the 256 that begin with `first`.
fn stands_for(first: u32, character: char) -> Option<u8> {
    let distance = u32::from(character).checked_sub(first)?;
    u8::try_from(distance).ok()
}

/// Rewrites YAML of Syck for a YAML parser.
///
/// Syck writes CRs, tabs and leading commas as they are, where they end a line, separate or are forbidden in YAML; and
/// some texts of several lines in single quotes, whose further lines are not indented. `\xC3` is a character to YAML,
/// but a byte to Syck, which writes UTF-8 like that where a text needs double quotes. A scalar may be UTF-8 beside one
/// in Latin-1, and a key may have any length.
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
                // A backslash that is escaped escapes nothing.
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

/// Folds the line breaks that `text` begins with, as YAML does it within quotes: one is a blank, and of several all but
/// the first are kept. Blanks around them are dropped. Returns how many bytes that were.
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

/// Whether a scalar in a block can begin behind that: behind a line's indentation, the mark of an item, or a key, and
/// an anchor and a tag, if any.
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

/// From upper-case hexadecimal digits, which Syck writes.
fn byte(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    Some(digit(high)? << 4 | digit(low)?)
}

/// The text of a scalar, from what the parser has made of [hidden](hide) YAML.
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

/// Appends what a character outside of double quotes is.
fn put_unescaped(bytes: &mut Vec<u8>, character: char) {
    if let Some(byte) = stands_for(AS_IT_STOOD, character) {
        bytes.push(byte);
    } else if let Some(byte) = stands_for(ESCAPED, character) {
        bytes.extend_from_slice(format!("\\x{byte:02X}").as_bytes());
    } else {
        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// A scalar in double quotes whose bytes together are no UTF-8: each escaped byte is a character of Latin-1, and so is
/// each other byte unless those between two escapes are UTF-8.
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

/// Rewrites `key: value` as `? key` and `: value` on two lines where the key is too long for YAML.
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

/// A scalar that goes on in the next line, in which nothing is a key.
enum OpenScalar {
    None,
    Quoted(char),
    /// A block scalar, in all lines that are indented by more spaces than that.
    Block(usize),
}

impl OpenScalar {
    /// The scalar that is open at the end of a line that ends with that value.
    fn begin(value: &str, indentation: usize) -> OpenScalar {
        match value.chars().next() {
            Some(quote @ ('"' | '\'')) if quoted_length(value).is_none() => {
                OpenScalar::Quoted(quote)
            }
            Some('|' | '>') => OpenScalar::Block(indentation),
            _ => OpenScalar::None,
        }
    }

    /// Whether the line belongs to the open scalar.
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

/// Where a line's content begins: behind its indentation, the marks of list items, and the mark of a document.
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

/// The length of the key that a line's content begins with; 0 if it begins with none.
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

/// The length of the quoted scalar that a text begins with, its quotes included.
fn quoted_length(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    Some(1 + end_of_quoted(&text[1..], quote)?)
}

/// Where a quoted scalar ends, its quote included.
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
