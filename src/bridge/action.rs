//! The action that a trigger asks for, parsed from the payload of a notification.

use super::payload::DELIMITER;
use crate::client::{Client, Error, encoding};
use std::borrow::Cow;
use std::fmt;

/// A command for the clacks server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    verb: Verb,
    name: Vec<u8>,
    /// The value or step; empty for verbs without one.
    value: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Notify,
    Set,
    Store,
    SetAndStore,
    Increment,
    Decrement,
    Remove,
}

impl Verb {
    fn parse(word: &[u8]) -> Option<Verb> {
        Some(match word {
            b"NOTIFY" => Verb::Notify,
            b"SET" => Verb::Set,
            b"STORE" => Verb::Store,
            b"SETANDSTORE" => Verb::SetAndStore,
            b"INCREMENT" => Verb::Increment,
            b"DECREMENT" => Verb::Decrement,
            b"REMOVE" => Verb::Remove,
            _ => return None,
        })
    }

    /// The number of parts of the payload, including the verb.
    fn parts(self) -> usize {
        match self {
            Verb::Notify | Verb::Remove => 2,
            _ => 3,
        }
    }

    /// Returns true for verbs whose last part may contain the delimiter, since nothing follows it.
    fn takes_delimiter(self) -> bool {
        matches!(self, Verb::Set | Verb::Store | Verb::SetAndStore)
    }
}

/// The reason for which a payload is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Usually an argument of the function was NULL.
    Empty,
    UnknownCommand,
    WrongParts,
    Name,
    LineBreak,
    Step,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Empty => "it is empty: an argument was NULL",
            Malformed::UnknownCommand => "its command is unknown",
            Malformed::WrongParts => "it has too few or too many parts for its command",
            Malformed::Name => "its name is empty, or holds a line break or an equals sign",
            Malformed::LineBreak => "the value of its signal holds a line break",
            Malformed::Step => "its step holds a line break or an equals sign, or is no UTF-8",
        })
    }
}

impl Action {
    /// Parses the parts of a payload.
    pub fn parse(parts: &[Vec<u8>]) -> Result<Action, Malformed> {
        let (word, rest) = parts.split_first().ok_or(Malformed::Empty)?;
        if word.is_empty() && rest.is_empty() {
            return Err(Malformed::Empty);
        }
        let verb = Verb::parse(word).ok_or(Malformed::UnknownCommand)?;
        let (name, value) = name_and_value(verb, rest)?;
        let breaks = |text: &[u8]| memchr::memchr2(b'\r', b'\n', text).is_some();
        // The name of a signal without a value may contain an equals sign.
        if name.is_empty() || breaks(name) || (verb != Verb::Notify && name.contains(&b'=')) {
            return Err(Malformed::Name);
        }
        let value = match verb {
            Verb::Set if breaks(&value) => return Err(Malformed::LineBreak),
            Verb::Increment | Verb::Decrement => step(&value)?.as_bytes().to_vec(),
            Verb::Store | Verb::SetAndStore if breaks(&value) => {
                encoding::encode(&value).into_owned()
            }
            _ => value.into_owned(),
        };
        Ok(Action {
            verb,
            name: name.to_vec(),
            value,
        })
    }

    /// Sends the command, without waiting for the server to process it.
    pub fn send(&self, client: &mut Client) -> Result<(), Error> {
        let Action { verb, name, value } = self;
        match verb {
            Verb::Notify => client.notify(name),
            Verb::Set => client.set(name, value),
            Verb::Store => client.store(name, value),
            Verb::SetAndStore => client.set_and_store(name, value),
            Verb::Increment => client.increment(name, String::from_utf8_lossy(value)),
            Verb::Decrement => client.decrement(name, String::from_utf8_lossy(value)),
            Verb::Remove => client.remove(name),
        }
    }

    /// The approximate memory of the action, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Action>() + self.name.len() + self.value.len()
    }
}

/// The name and the value of a payload, from the parts after the verb. The value is empty for verbs without one. The
/// number of parts has to fit the verb; only a value may contain the delimiter.
fn name_and_value(verb: Verb, parts: &[Vec<u8>]) -> Result<(&[u8], Cow<'_, [u8]>), Malformed> {
    match (verb.parts(), parts) {
        (2, [name]) => Ok((name, Cow::Borrowed(b""))),
        (3, [name, value]) => Ok((name, Cow::Borrowed(value))),
        (3, [name, value @ ..]) if verb.takes_delimiter() && !value.is_empty() => {
            Ok((name, Cow::Owned(value.join(DELIMITER.as_bytes()))))
        }
        _ => Err(Malformed::WrongParts),
    }
}

/// The number in a step, without the blanks after it, which distinguish the step from others of its transaction. A step
/// of blanks only is 1.
fn step(text: &[u8]) -> Result<&str, Malformed> {
    let text = str::from_utf8(text).map_err(|_| Malformed::Step)?;
    if text.contains(['\r', '\n', '=']) {
        return Err(Malformed::Step);
    }
    Ok(text.split_whitespace().next().unwrap_or("1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(parts: &[&str]) -> Result<Action, Malformed> {
        let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.as_bytes().to_vec()).collect();
        Action::parse(&parts)
    }

    fn action(verb: Verb, name: &str, value: &str) -> Result<Action, Malformed> {
        Ok(Action {
            verb,
            name: name.as_bytes().to_vec(),
            value: value.as_bytes().to_vec(),
        })
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_passed_on() {
        let parts = [b"SET".to_vec(), b"a\xfc".to_vec(), b"\xff".to_vec()];
        let parsed = Action::parse(&parts).expect("an action");
        assert_eq!(
            (&*parsed.name, &*parsed.value),
            (&b"a\xfc"[..], &b"\xff"[..])
        );
        let parts = [b"INCREMENT".to_vec(), b"a".to_vec(), b"\xff".to_vec()];
        assert_eq!(Action::parse(&parts), Err(Malformed::Step));
        assert_eq!(
            Action::parse(&[b"\xff\xfe".to_vec()]),
            Err(Malformed::UnknownCommand)
        );
    }

    #[test]
    fn payloads_become_orders() {
        assert_eq!(parse(&["NOTIFY", "a=b"]), action(Verb::Notify, "a=b", ""));
        assert_eq!(parse(&["SET", "a", "x=y"]), action(Verb::Set, "a", "x=y"));
        assert_eq!(parse(&["STORE", "a", ""]), action(Verb::Store, "a", ""));
        let delimiter_in_value = format!("x{DELIMITER}y");
        assert_eq!(
            parse(&["STORE", "a", "x", "y"]),
            action(Verb::Store, "a", &delimiter_in_value)
        );
        assert_eq!(
            parse(&["STORE", "a", "x\ny"]),
            action(Verb::Store, "a", "PAGECAMELCLACKSB64:eAp5")
        );
        assert_eq!(
            parse(&["SETANDSTORE", "a", "ü\r"]),
            action(Verb::SetAndStore, "a", "PAGECAMELCLACKSB64:w7wN")
        );
        assert_eq!(
            parse(&["INCREMENT", "a", ""]),
            action(Verb::Increment, "a", "1")
        );
        assert_eq!(
            parse(&["DECREMENT", "a", "2.5 \t \t"]),
            action(Verb::Decrement, "a", "2.5")
        );
        assert_eq!(parse(&["REMOVE", "a"]), action(Verb::Remove, "a", ""));
    }

    #[test]
    fn nothing_becomes_a_second_line() {
        for (parts, why) in [
            (&[""][..], Malformed::Empty),
            (&["QUIT", "a"], Malformed::UnknownCommand),
            (&["set", "a", "b"], Malformed::UnknownCommand),
            (&["SET"], Malformed::WrongParts),
            (&["SET", "a"], Malformed::WrongParts),
            (&["NOTIFY", "a", "b"], Malformed::WrongParts),
            (&["REMOVE", "a", "b"], Malformed::WrongParts),
            // The delimiter in a name would make a step of a part of the name.
            (&["INCREMENT", "a", "-1000", "1"], Malformed::WrongParts),
            (&["DECREMENT", "a", "-1000", "1 \t"], Malformed::WrongParts),
            (&["NOTIFY", ""], Malformed::Name),
            (&["NOTIFY", "a\nQUIT"], Malformed::Name),
            (&["SET", "", "b"], Malformed::Name),
            (&["STORE", "a=b", "c"], Malformed::Name),
            (&["STORE", "a\r", "c"], Malformed::Name),
            (&["SET", "a", "b\nQUIT"], Malformed::LineBreak),
            (&["INCREMENT", "a", "1\n2"], Malformed::Step),
            (&["INCREMENT", "a", "b=1"], Malformed::Step),
        ] {
            assert_eq!(parse(parts), Err(why), "{parts:?}");
        }
    }
}
