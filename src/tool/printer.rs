//! Standard output and standard error: lines of text or of JSON. Characters that could deceive the reader of a terminal
//! (control characters, invisible ones, and those that change the direction of text) are escaped.

use super::failure::Failure;
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Standard output, buffered.
pub struct Printer {
    to: BufWriter<Stdout>,
    pub is_json: bool,
    pub is_terminal: bool,
}

impl Printer {
    pub fn new(is_json: bool) -> Printer {
        Printer {
            to: BufWriter::new(io::stdout()),
            is_json,
            is_terminal: io::stdout().is_terminal(),
        }
    }

    /// Prints a line of text that comes from the server or another client. On a terminal it is escaped.
    pub fn line(&mut self, text: &[u8]) -> Result<(), Failure> {
        if self.is_terminal {
            self.to.write_all(printable(text).as_bytes())?;
        } else {
            self.to.write_all(text)?;
        }
        Ok(self.to.write_all(b"\n")?)
    }

    /// Prints a value of the cache. A value without line breaks gets a line end; one with line breaks is printed
    /// unchanged, so that a file can be restored from it.
    pub fn value(&mut self, value: &[u8]) -> Result<(), Failure> {
        let has_breaks = memchr::memchr2(b'\r', b'\n', value).is_some();
        if self.is_terminal && has_breaks {
            let lines = value.strip_suffix(b"\n").unwrap_or(value);
            return lines
                .split(|byte| *byte == b'\n')
                .try_for_each(|line| self.line(line));
        }
        if has_breaks {
            self.bytes(value)
        } else {
            self.line(value)
        }
    }

    /// Prints bytes unchanged.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.to.write_all(bytes)?)
    }

    /// Prints an object on a line of its own.
    pub fn json(&mut self, object: Object) -> Result<(), Failure> {
        let text = escape_json(&object.0);
        Ok(writeln!(self.to, "{{{text}}}")?)
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.to.flush()?)
    }
}

/// Prints a text on standard output.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut output = Printer::new(false);
    output.bytes(text.as_bytes())?;
    output.flush()
}

/// Prints one line on standard error, escaped. An error of standard error is ignored: nobody is left to read about it.
pub fn report_error(message: &str) {
    let _ = writeln!(io::stderr(), "clacks: {}", printable(message.as_bytes()));
}

/// Escapes the characters of a line of JSON that a terminal would obey or not show. JSON may escape any character, so
/// programs that parse the line get the same texts.
fn escape_json(json: &str) -> Cow<'_, str> {
    escaped(
        json.into(),
        |one| !is_control_or_invisible(one),
        |one| {
            let mut units = [0; 2];
            let units = one.encode_utf16(&mut units);
            units.iter().map(|unit| format!("\\u{unit:04x}")).collect()
        },
    )
}

/// Replaces each character that is not harmless by its escape.
fn escaped(
    text: Cow<'_, str>,
    is_harmless: impl Fn(char) -> bool,
    escape: impl Fn(char) -> String,
) -> Cow<'_, str> {
    if text.chars().all(&is_harmless) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_harmless(character) {
            escaped.push(character);
        } else {
            escaped += &escape(character);
        }
    }
    Cow::Owned(escaped)
}

/// Returns true for characters by which one text can pass for another on a terminal: control characters, the line and
/// paragraph separators, the characters that Unicode calls Default_Ignorable_Code_Point, and the format characters (Cf)
/// that have no shape of their own. Variation selectors 15 and 16 are harmless: they only choose between the two forms
/// of an emoji.
fn is_control_or_invisible(character: char) -> bool {
    match character {
        '\u{fe0e}' | '\u{fe0f}' => false,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' => {
            true
        }
        '\u{70f}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' => true,
        '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' => true,
        '\u{fe00}'..='\u{fe0d}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' => true,
        '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' => true,
        '\u{e0000}'..='\u{e0fff}' => true,
        character => character.is_control(),
    }
}

/// A JSON object whose fields keep the order in which they were added. A text that is not UTF-8 is written as base64, in
/// a field whose name ends in `_base64`.
pub struct Object(String);

impl Object {
    pub fn new() -> Object {
        Object(String::new())
    }

    /// An object whose first field, `type`, has this value.
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

/// Escapes text for a terminal: control characters other than tabs become `\x1b` and the like, invisible characters and
/// those that change the direction of text become `\u{202e}` and the like, and bytes that are not UTF-8 become `�`.
pub fn printable(text: &[u8]) -> Cow<'_, str> {
    let is_harmless = |one: char| one == '\t' || !is_control_or_invisible(one);
    escaped(
        String::from_utf8_lossy(text),
        is_harmless,
        |one| match u32::from(one) {
            number @ 0..=0xff => format!("\\x{number:02x}"),
            number => format!("\\u{{{number:x}}}"),
        },
    )
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

    /// By such characters one text passes for another, or a line for two.
    const DECEITFUL: &str = "\u{61c}\u{200b}\u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\
        \u{202d}\u{202e}\u{2060}\u{2066}\u{2067}\u{2068}\u{2069}\u{206a}\u{ad}\u{3164}\u{feff}\u{fff9}\u{e0001}\
        \u{e0041}\u{e0101}\u{85}\u{9b}";

    #[test]
    fn terminals_get_no_characters_that_turn_the_text_or_can_not_be_seen() {
        assert_eq!(
            printable("a\u{202e}b\u{e0041}\u{ad}".as_bytes()),
            "a\\u{202e}b\\u{e0041}\\xad"
        );
        for one in DECEITFUL.chars() {
            let text = format!("a{one}b");
            let shown = printable(text.as_bytes());
            assert!(shown.is_ascii(), "{}", shown.escape_unicode());
            let json = escape_json(&Object::new().text("a", text.as_bytes()).0).into_owned();
            assert!(json.is_ascii(), "{}", json.escape_unicode());
            let read: Value = serde_json::from_str(&format!("{{{json}}}")).expect("JSON");
            assert_eq!(read["a"], text);
        }
    }

    #[test]
    fn terminals_get_text_of_all_languages_as_it_is() {
        for text in [
            "\u{5e9}\u{5dc}",
            "\u{645}\u{631}",
            "漢字",
            "❤\u{fe0f}",
            "e\u{301}",
            "ไทย",
            "\u{fffd}",
        ] {
            assert_eq!(printable(text.as_bytes()), text);
        }
    }

    #[test]
    fn neither_do_they_get_any_in_json() {
        let json = Object::new()
            .text("a", "\u{1b}\u{9b}31m\u{7f}é".as_bytes())
            .0;
        let escaped = escape_json(&json);
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
