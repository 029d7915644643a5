//! Writes a tree as YAML that YAML::Syck can read: in block style, with texts in double quotes and only the escapes that
//! Syck knows.

use serde_json::Value;
use std::fmt::Write;

/// Writes a tree. The error is a message.
pub fn yaml(tree: &Value) -> Result<String, String> {
    let mut out = "---".to_owned();
    node(&mut out, tree, 0)?;
    Ok(out)
}

/// The deepest nesting of structures. Real ones are far less deep, and the recursion does not endanger the stack.
pub const MAX_DEPTH: usize = 128;

/// Writes a value after `---`, `-` or `key:`, including the line end. A block is indented to that depth.
fn node(out: &mut String, tree: &Value, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("nested more than {MAX_DEPTH} deep"));
    }
    out.push(' ');
    match tree {
        Value::Null => out.push('~'),
        Value::Bool(truth) => out.push(if *truth { '1' } else { '0' }),
        Value::Number(number) => write!(out, "{number}").expect("a String takes every write"),
        Value::String(text) => quoted(out, text),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Object(fields) if fields.is_empty() => out.push_str("{}"),
        Value::Array(items) => {
            out.push('\n');
            for item in items {
                indent(out, depth);
                out.push('-');
                node(out, item, depth + 1)?;
            }
            return Ok(());
        }
        Value::Object(fields) => {
            out.push('\n');
            for (key, field) in fields {
                indent(out, depth);
                quoted(out, key);
                out.push(':');
                node(out, field, depth + 1)?;
            }
            return Ok(());
        }
    }
    out.push('\n');
    Ok(())
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn quoted(out: &mut String, text: &str) {
    // Syck reads this text as "str" even in quotes; likewise if a NUL follows, which Syck can't read even when it wrote
    // the text itself.
    if text == "=" {
        out.push('=');
        return;
    }
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            '\x1b' => out.push_str("\\e"),
            // `\x` is a byte to Syck and a character to others. Below 128 both are the same.
            '\x01'..='\x1f' | '\x7f' => {
                write!(out, "\\x{:02X}", u32::from(character)).expect("a String takes every write")
            }
            other => out.push(other),
        }
    }
    out.push('"');
}
