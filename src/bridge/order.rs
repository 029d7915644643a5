//! What a trigger asks for: the payload of a notification.

use crate::client::{Client, Error, encoding};
use std::fmt;

/// Stands between command, name and value. Net::Clacks' functions and bridge use the same, so that either
/// bridge works with either set of functions.
pub const DELIMITER: &str = "§§§CLACKSDELIMETER§§§";

/// A command for the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    verb: Verb,
    name: String,
    /// Empty for those that have none.
    value: String,
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
    fn parse(word: &str) -> Option<Verb> {
        Some(match word {
            "NOTIFY" => Verb::Notify,
            "SET" => Verb::Set,
            "STORE" => Verb::Store,
            "SETANDSTORE" => Verb::SetAndStore,
            "INCREMENT" => Verb::Increment,
            "DECREMENT" => Verb::Decrement,
            "REMOVE" => Verb::Remove,
            _ => return None,
        })
    }

    fn has_value(self) -> bool {
        !matches!(self, Verb::Notify | Verb::Remove)
    }
}

/// Why a payload is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// An argument of the function was NULL, as a rule.
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
            Malformed::Step => "its step holds a line break or an equals sign",
        })
    }
}

impl Order {
    pub fn parse(payload: &str) -> Result<Order, Malformed> {
        if payload.is_empty() {
            return Err(Malformed::Empty);
        }
        let mut parts = payload.splitn(3, DELIMITER);
        let (word, name, value) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let verb = Verb::parse(word).ok_or(Malformed::UnknownCommand)?;
        let (Some(name), true) = (name, value.is_some() == verb.has_value()) else {
            return Err(Malformed::WrongParts);
        };
        let value = value.unwrap_or_default();
        let breaks = |text: &str| text.contains(['\r', '\n']);
        // A signal without a value may have an equals sign in its name.
        if name.is_empty() || breaks(name) || (verb != Verb::Notify && name.contains('=')) {
            return Err(Malformed::Name);
        }
        let value = match verb {
            Verb::Set if breaks(value) => return Err(Malformed::LineBreak),
            Verb::Increment | Verb::Decrement if breaks(value) || value.contains('=') => {
                return Err(Malformed::Step);
            }
            // What follows a blank is there only to tell this step from others.
            Verb::Increment | Verb::Decrement => match value.split_whitespace().next() {
                Some(step) => step.to_owned(),
                None => "1".to_owned(),
            },
            Verb::Store | Verb::SetAndStore if breaks(value) => {
                let encoded = encoding::encode(value.as_bytes());
                String::from_utf8_lossy(&encoded).into_owned()
            }
            _ => value.to_owned(),
        };
        Ok(Order {
            verb,
            name: name.to_owned(),
            value,
        })
    }

    /// Sends it.
    pub fn send(&self, client: &mut Client) -> Result<(), Error> {
        let Order { verb, name, value } = self;
        match verb {
            Verb::Notify => client.notify(name),
            Verb::Set => client.set(name, value),
            Verb::Store => client.store(name, value),
            Verb::SetAndStore => client.set_and_store(name, value),
            Verb::Increment => client.increment(name, value),
            Verb::Decrement => client.decrement(name, value),
            Verb::Remove => client.remove(name),
        }
    }

    /// What it takes in memory, about, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Order>() + self.name.len() + self.value.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(parts: &[&str]) -> Result<Order, Malformed> {
        Order::parse(&parts.join(DELIMITER))
    }

    fn order(verb: Verb, name: &str, value: &str) -> Result<Order, Malformed> {
        Ok(Order {
            verb,
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }

    #[test]
    fn payloads_become_orders() {
        assert_eq!(parse(&["NOTIFY", "a=b"]), order(Verb::Notify, "a=b", ""));
        assert_eq!(parse(&["SET", "a", "x=y"]), order(Verb::Set, "a", "x=y"));
        assert_eq!(parse(&["STORE", "a", ""]), order(Verb::Store, "a", ""));
        let delimiter_in_value = format!("x{DELIMITER}y");
        assert_eq!(
            parse(&["STORE", "a", &delimiter_in_value]),
            order(Verb::Store, "a", &delimiter_in_value)
        );
        assert_eq!(
            parse(&["STORE", "a", "x\ny"]),
            order(Verb::Store, "a", "PAGECAMELCLACKSB64:eAp5")
        );
        assert_eq!(
            parse(&["SETANDSTORE", "a", "ü\r"]),
            order(Verb::SetAndStore, "a", "PAGECAMELCLACKSB64:w7wN")
        );
        assert_eq!(
            parse(&["INCREMENT", "a", ""]),
            order(Verb::Increment, "a", "1")
        );
        assert_eq!(
            parse(&["DECREMENT", "a", "2.5 0.123"]),
            order(Verb::Decrement, "a", "2.5")
        );
        assert_eq!(parse(&["REMOVE", "a"]), order(Verb::Remove, "a", ""));
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
