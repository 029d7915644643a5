//! The status of a server: its figures, its lists, and the time that it takes to answer.

use super::error::Error;
use super::text::Text;
use super::{Client, fields_of};
use crate::protocol::reply::Reply;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The fields of a row by their names.
pub type Fields = HashMap<String, Text>;
/// A figure: its name and its value, as the server shows them.
pub type Figure = (String, Text);

impl Client {
    /// Returns all figures of the server (clacksd(8), STATISTICS), in the order in which it shows them. The user needs the
    /// permission `manage`. A server of Net::Clacks refuses it.
    pub(crate) fn status(&mut self) -> Result<Vec<Figure>, Error> {
        let mut figures = Vec::new();
        self.ask(&[b"STATUS"], |reply| {
            match reply {
                Reply::StatusStart => figures.clear(),
                Reply::Status(line) => figures.extend(figure(line)),
                Reply::StatusEnd => return Some(()),
                _ => {}
            }
            None
        })?;
        Ok(figures)
    }

    /// Returns the rows of a list of the status: `clients`, `links`, `names` or `slow`.
    pub(crate) fn status_list(&mut self, list: &str) -> Result<Vec<Fields>, Error> {
        let mut rows = Vec::new();
        self.ask(&[b"STATUS ", list.as_bytes()], |reply| {
            match reply {
                Reply::StatusStart => rows.clear(),
                Reply::Status(line) => rows.push(fields_of(line)),
                Reply::StatusEnd => return Some(()),
                _ => {}
            }
            None
        })?;
        Ok(rows)
    }

    /// Returns the time until a FLUSH is answered. A server whose journal has failed counts as one that answers.
    pub(crate) fn round_trip(&mut self) -> Result<Duration, Error> {
        let until = self.end_of_call();
        let begun = Instant::now();
        let (refusals, ()) = self.exchange(&[], until, |reply| {
            matches!(reply, Reply::Flushed(_)).then_some(())
        })?;
        let time = begun.elapsed();
        self.queue_refusals(refusals);
        Ok(time)
    }
}

/// Splits the line of a figure. Its name may contain equals signs, its value contains none.
fn figure(line: &[u8]) -> Option<Figure> {
    let equals = memchr::memrchr(b'=', line)?;
    let name = String::from_utf8_lossy(&line[..equals]).into_owned();
    Some((name, line[equals + 1..].into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_ends_at_the_last_equals_sign_of_its_line() {
        let known = Some(("user_clients.a=b".to_owned(), Text::from("2.5")));
        assert_eq!(figure(b"user_clients.a=b=2.5"), known);
        assert_eq!(figure(b"a"), None);
    }
}
