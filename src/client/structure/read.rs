//! From YAML to a tree in which every scalar is a text or null. Structures come from other programs: what
//! would take too much memory or stack is refused.

use super::MAX_DEPTH;
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;

/// How many scalars, lists and maps one may have. Aliases can make a small text very large.
const MAX_NODES: usize = 1 << 20;
/// These characters stand for others while YAML is parsed, from here on for 0, 1 and so on: below 128 for a
/// character, from there on for an escaped byte, such as `\xC3`. They are for private use: no text has them.
const HIDDEN: u32 = 0xF0000;
const FIRST_HIDDEN: char = '\u{F0000}';
const LAST_HIDDEN: char = '\u{F00FF}';

/// The end of a scalar in single quotes that has no indentation.
const LAST_QUOTE: &str = "\n\n'\n";

/// Text as Perl keeps it: UTF-8, or else Latin-1.
pub fn characters(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    }
}

/// The tree of the one document in `yaml`. Errors say what is wrong, and in which line.
pub fn tree(yaml: &[u8]) -> Result<Value, String> {
    let text = hidden(characters(yaml));
    let mut builder = Builder::default();
    for event in Parser::new_from_str(&text) {
        let (event, span) = event.map_err(|error| format!("no YAML: {error}"))?;
        builder
            .take(event)
            .map_err(|error| format!("line {}: {error}", span.start.line()))?;
    }
    builder
        .root
        .ok_or_else(|| "no YAML: it is empty".to_owned())
}

/// Hides from the parser what Syck means in another way than YAML.
///
/// Syck writes CRs, tabs and commas at the beginning as they are, where they end a line, separate or are
/// forbidden in YAML; and `5` with a line break as two of them in single quotes, without indentation. And `\xC3` is a character to YAML, but a byte to Syck, which writes
/// UTF-8 like that where a text needs double quotes. Whether it stands in such quotes, only the parser knows;
/// see [`shown`].
fn hidden(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_ours = |character: char| (FIRST_HIDDEN..=LAST_HIDDEN).contains(&character);
    if text.contains(is_ours) {
        return text;
    }
    let has_dos_lines = text
        .split_inclusive('\n')
        .all(|line| line.ends_with("\r\n"));
    let text = text.replace(LAST_QUOTE, &format!("\n\n{:1$}'\n", "", 3 * MAX_DEPTH));
    let mut hidden = String::with_capacity(text.len() + 16);
    let mut rest = &*text;
    while let Some(at) = rest.find(['\r', '\t', ',', '\\']) {
        hidden.push_str(&rest[..at]);
        rest = &rest[at..];
        let (hides, length) = match rest.as_bytes() {
            // What follows is not escaped.
            [b'\\', b'\\', ..] => (None, 2),
            [b'\r', b'\n', ..] if has_dos_lines => (None, 2),
            [b'\\', b'x', high @ b'8'..=b'F', low, ..] => match byte(*high, *low) {
                Some(byte) => (Some(byte), 4),
                None => (None, 1),
            },
            [b',', ..] if !begins_scalar(&hidden) => (None, 1),
            [b'\\', ..] => (None, 1),
            [other, ..] => (Some(*other), 1),
            [] => unreachable!("something was found there"),
        };
        match hides {
            Some(byte) => hidden.extend(char::from_u32(HIDDEN + u32::from(byte))),
            None => hidden.push_str(&rest[..length]),
        }
        rest = &rest[length..];
    }
    hidden.push_str(rest);
    Cow::Owned(hidden)
}

/// Whether a scalar in a block can begin behind that.
fn begins_scalar(before: &str) -> bool {
    let line = before.trim_end_matches(' ');
    line.ends_with('\n') || line.len() < before.len() && line.ends_with(['-', ':'])
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

/// The reverse of [`hidden`] for a scalar.
fn shown(text: &str, style: ScalarStyle) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut characters = String::with_capacity(text.len());
    for character in text.chars() {
        let hides = u32::from(character).checked_sub(HIDDEN);
        let character = match hides.and_then(|byte| u8::try_from(byte).ok()) {
            None => character,
            Some(byte) if byte.is_ascii() => char::from(byte),
            Some(byte) if style == ScalarStyle::DoubleQuoted => {
                bytes.push(byte);
                characters.push(char::from(byte));
                continue;
            }
            Some(byte) => {
                // There it was nothing but these four characters.
                let literal = format!("\\x{byte:02X}");
                bytes.extend_from_slice(literal.as_bytes());
                characters.push_str(&literal);
                continue;
            }
        };
        characters.push(character);
        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    // Bytes that are no UTF-8 were characters after all.
    String::from_utf8(bytes).unwrap_or(characters)
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Value>,
    /// By the parser's number: what aliases stand for, and how many nodes it has.
    anchored: HashMap<usize, (Value, usize)>,
    nodes: usize,
    /// How many nodes all that is kept for aliases has.
    kept: usize,
}

/// A list or map whose end has not come.
struct Open {
    anchor: usize,
    /// How many nodes there were before it.
    nodes_before: usize,
    content: Content,
}

enum Content {
    List(Vec<Value>),
    /// With the key whose value has not come.
    Map(Map<String, Value>, Option<String>),
}

impl Builder {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let is_null = style == ScalarStyle::Plain && matches!(&*text, "" | "~");
                let is_key = matches!(
                    self.open.last(),
                    Some(Open {
                        content: Content::Map(_, None),
                        ..
                    })
                );
                let value = if is_null && !is_key {
                    Value::Null
                } else {
                    Value::String(shown(&text, style))
                };
                self.add(value, anchor, 1)
            }
            Event::SequenceStart(anchor, _) => self.start(anchor, Content::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.start(anchor, Content::Map(Map::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else {
                    return Err("something ends that has not begun".to_owned());
                };
                let value = match open.content {
                    Content::List(items) => Value::Array(items),
                    Content::Map(fields, _) => Value::Object(fields),
                };
                let nodes = self.nodes - open.nodes_before;
                self.nodes = open.nodes_before;
                self.add(value, open.anchor, nodes + 1)
            }
            Event::Alias(anchor) => match self.anchored.get(&anchor) {
                // Counted before it is copied.
                Some((_, nodes)) if self.nodes + nodes > MAX_NODES => Err(too_large()),
                Some((value, nodes)) => {
                    let (value, nodes) = (value.clone(), *nodes);
                    self.add(value, 0, nodes)
                }
                None => Err("an alias to what is not complete".to_owned()),
            },
            Event::DocumentStart(_) if self.root.is_some() => {
                Err("there is more than one document".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, anchor: usize, content: Content) -> Result<(), String> {
        if self.open.len() >= MAX_DEPTH {
            return Err(format!("nested more than {MAX_DEPTH} deep"));
        }
        self.open.push(Open {
            anchor,
            nodes_before: self.nodes,
            content,
        });
        Ok(())
    }

    /// Puts a complete value where it belongs.
    fn add(&mut self, value: Value, anchor: usize, nodes: usize) -> Result<(), String> {
        self.nodes += nodes;
        if anchor != 0 {
            self.kept += nodes;
            self.anchored.insert(anchor, (value.clone(), nodes));
        }
        if self.nodes + self.kept > MAX_NODES {
            return Err(too_large());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(value),
            Some(Content::List(items)) => items.push(value),
            Some(Content::Map(fields, key)) => match (key.take(), value) {
                (Some(key), value) => {
                    fields.insert(key, value);
                }
                (None, Value::String(name)) => *key = Some(name),
                (None, _) => return Err("a key that is no text".to_owned()),
            },
        }
        Ok(())
    }
}

fn too_large() -> String {
    format!("too large: more than {MAX_NODES} nodes")
}
