//! Signals of one name that stand one straight behind the other.

use super::{ClacksLine, Command, Request};
use crate::limits::MAX_LINE_BEFORE_LOGIN;
use memchr::memchr2;

/// Lines of SETs of one name. Each ends in CR LF and contains no other CR: it can be sent on as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run<'a> {
    /// The lines with their ends.
    pub lines: &'a [u8],
    /// The number of lines, at least one.
    pub count: usize,
}

/// Returns all of a SET's line before the value, and its name; `None` of another request.
#[inline(always)]
pub fn start_of_signal<'a>(request: &Request<'a>) -> Option<(&'a [u8], &'a [u8])> {
    match request {
        Request::Clacks(ClacksLine {
            text,
            command: Some(Command::Set(pair)),
        }) => Some((&text[..text.len() - pair.value.len()], pair.name)),
        _ => None,
    }
}

impl<'a> Run<'a> {
    /// Finds the lines at the start of `input` that begin with `start`, as [`start_of_signal`] returns it: `most` at most,
    /// and up to the first one that is long. `None` if there are none.
    pub fn find(start: &[u8], input: &'a [u8], most: usize) -> Option<Run<'a>> {
        let (mut length, mut count) = (0, 0);
        while count < most
            && let Some(value) = input[length..].strip_prefix(start)
            && let Some(end) = memchr2(
                b'\r',
                b'\n',
                &value[..value.len().min(MAX_LINE_BEFORE_LOGIN)],
            )
            && value[end..].starts_with(b"\r\n")
        {
            let line = start.len() + end + 2;
            if line > MAX_LINE_BEFORE_LOGIN {
                break;
            }
            length += line;
            count += 1;
        }
        let lines = &input[..length];
        (count > 0).then_some(Run { lines, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Language;

    fn start(line: &[u8]) -> Option<(&[u8], &[u8])> {
        start_of_signal(&Language::Clacks.decode(line))
    }

    #[test]
    fn only_a_signal_with_a_value_has_a_start() {
        let expected = Some((&b"SET a="[..], &b"a"[..]));
        assert_eq!(start(b"SET a=b=c"), expected);
        assert_eq!(start(b"SET a="), expected);
        for line in [
            &b"SET a"[..],
            b"STORE a=b",
            b"NOTIFY a",
            b"",
            b"SETANDSTORE a=b",
        ] {
            assert_eq!(start(line), None);
        }
    }

    #[test]
    fn a_run_ends_before_what_is_not_sent_on_as_it_stands() {
        let run: &[u8] = b"SET a=1\r\nSET a=\r\nSET a=b=c d\r\n";
        let long = format!("SET a={}\r\n", "x".repeat(MAX_LINE_BEFORE_LOGIN));
        for behind in [
            "",
            "SET",
            "SET a=4",
            "SET a=4\r",
            "SET a=4\n",
            "SET a=4\r5\r\n",
            "SET a=4\r\r\n",
            "SET aa=4\r\n",
            "SET b=4\r\n",
            "NOTIFY a\r\n",
            "\r\n",
            &long,
        ] {
            let input = [run, behind.as_bytes()].concat();
            let found = Run::find(b"SET a=", &input, usize::MAX);
            let expected = Run {
                lines: run,
                count: 3,
            };
            assert_eq!(found, Some(expected), "{behind:?}");
        }
    }

    #[test]
    fn a_run_is_bounded() {
        let line = format!("SET a={}\r\n", "x".repeat(100));
        let input = line.repeat(1000);
        let found = |most| Run::find(b"SET a=", input.as_bytes(), most);
        assert_eq!(found(0), None);
        let lines = |run: Option<Run<'_>>| run.map(|run| (run.lines.len(), run.count));
        assert_eq!(lines(found(7)), Some((7 * line.len(), 7)));
        assert_eq!(lines(found(usize::MAX)), Some((input.len(), 1000)));
    }
}
