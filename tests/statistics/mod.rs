//! The figures of a server and its lists, as STATUS shows them: each figure moves when it is to.

mod connections;
mod figures;
mod lists;
mod node;
mod verbs;

use crate::support::Client;
use std::collections::BTreeMap;

/// All figures by their names, with the values of their labels.
pub struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Asks for them.
    pub fn of(manager: &mut Client) -> Figures {
        let mut lines = manager.ask("STATUS");
        // The answer to the FLUSH behind it, where the journal fails.
        lines.retain(|line| line != "OVERHEAD E not_saved");
        assert_eq!(lines.first().map(String::as_str), Some("STATUSSTART"));
        assert_eq!(lines.last().map(String::as_str), Some("STATUSEND"));
        let figures = lines[1..lines.len() - 1].iter().map(|line| {
            let figure = line.strip_prefix("STATUS ").expect("a figure");
            let (name, value) = figure.rsplit_once('=').expect("a value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        Figures(figures.collect())
    }

    /// The value of a figure.
    pub fn get(&self, name: &str) -> f64 {
        let found = self.0.get(name);
        *found.unwrap_or_else(|| panic!("no figure is called {name}: {:?}", self.0.keys()))
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|name| &**name)
    }

    /// Asserts that figures have grown by so much since `before`. Figures of STATUS itself count, too.
    pub fn assert_growth(&self, before: &Figures, growth: &[(&str, f64)]) {
        for (name, expected) in growth {
            let grown = self.get(name) - before.0.get(*name).copied().unwrap_or(0.0);
            assert_eq!(grown, *expected, "{name}");
        }
    }
}
