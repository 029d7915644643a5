//! What is printed: lines of text, or of JSON. A terminal gets no control characters that others chose.

use super::Failure;
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub struct Output {
    to: BufWriter<Stdout>,
    pub is_json: bool,
    pub is_terminal: bool,
}

impl Output {
    pub fn new(is_json: bool) -> Output {
        Output {
            to: BufWriter::new(io::stdout()),
            is_json,
            is_terminal: io::stdout().is_terminal(),
        }
    }

    /// A line of text from others.
    pub fn line(&mut self, text: &[u8]) -> Result<(), Failure> {
        if self.is_terminal {
            self.to.write_all(printable(text).as_bytes())?;
        } else {
            self.to.write_all(text)?;
        }
        Ok(self.to.write_all(b"\n")?)
    }

    /// A value, so that a file can take it as it was: one without line breaks gets an end of line, and one
    /// with line breaks nothing.
    pub fn value(&mut self, value: &[u8]) -> Result<(), Failure> {
        let has_breaks = memchr::memchr2(b'\r', b'\n', value).is_some();
        if self.is_terminal && has_breaks {
            let lines = value.strip_suffix(b"\n").unwrap_or(value);
            return lines
                .split(|byte| *byte == b'\n')
                .try_for_each(|line| self.line(line));
        }
        if has_breaks {
            self.exactly(value)
        } else {
            self.line(value)
        }
    }

    pub fn exactly(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.to.write_all(bytes)?)
    }

    pub fn json(&mut self, object: Object) -> Result<(), Failure> {
        let text = escape_controls(&object.0);
        Ok(writeln!(self.to, "{{{text}}}")?)
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.to.flush()?)
    }
}

/// The same JSON without the control characters that JSON lets stand. A terminal may obey them, and nobody else
/// minds.
fn escape_controls(json: &str) -> Cow<'_, str> {
    escaped(
        json.into(),
        |one| !one.is_control(),
        |one| format!("\\u{one:04x}"),
    )
}

/// All characters that are not harmless become what `escape` makes of their numbers.
fn escaped(
    text: Cow<'_, str>,
    is_harmless: impl Fn(char) -> bool,
    escape: impl Fn(u32) -> String,
) -> Cow<'_, str> {
    if text.chars().all(&is_harmless) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_harmless(character) {
            escaped.push(character);
        } else {
            escaped += &escape(u32::from(character));
        }
    }
    Cow::Owned(escaped)
}

/// A line of JSON, its fields in the order in which they are added. Texts that are no UTF-8 stand as base64
/// in a field whose name ends in `_base64`.
pub struct Object(String);

impl Object {
    pub fn new() -> Object {
        Object(String::new())
    }

    pub fn of_type(name: &str) -> Object {
        Object::new().field("type", name)
    }

    pub fn text(self, name: &str, text: &[u8]) -> Object {
        match str::from_utf8(text) {
            Ok(text) => self.field(name, text),
            Err(_) => self.field(&format!("{name}_base64"), STANDARD.encode(text)),
        }
    }

    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Object {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        let (name, value) = (Value::from(name), value.into());
        write!(self.0, "{name}:{value}").expect("a String takes every write");
        self
    }
}

/// Text for a terminal: control characters but tabs become `\x1b` and the like, what is no UTF-8 `�`.
pub fn printable(text: &[u8]) -> Cow<'_, str> {
    let is_harmless = |character: char| !character.is_control() || character == '\t';
    escaped(String::from_utf8_lossy(text), is_harmless, |one| {
        format!("\\x{one:02x}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_get_no_control_characters() {
        assert_eq!(printable("é\t1".as_bytes()), "é\t1");
        assert_eq!(
            printable(b"\x1b[2J\r\x00\xff\xc2\x9b"),
            "\\x1b[2J\\x0d\\x00\u{fffd}\\x9b"
        );
    }

    #[test]
    fn neither_do_they_get_any_in_json() {
        let json = Object::new()
            .text("a", "\u{1b}\u{9b}31m\u{7f}é".as_bytes())
            .0;
        let escaped = escape_controls(&json);
        assert_eq!(escaped, r#""a":"\u001b\u009b31m\u007fé""#);
        let read: Value = serde_json::from_str(&format!("{{{escaped}}}")).expect("JSON");
        assert_eq!(read["a"], "\u{1b}\u{9b}31m\u{7f}é");
    }

    #[test]
    fn texts_that_are_no_utf_8_are_base64() {
        let object = Object::of_type("set")
            .text("a", "é\n".as_bytes())
            .text("b", b"\xff");
        assert_eq!(object.0, r#""type":"set","a":"é\n","b_base64":"/w==""#);
    }
}
