//! Tables of the lists of a server: which columns each list has, and the texts of their cells.

use super::printer::printable;
use crate::client::Fields;
use jiff::Timestamp;
use std::borrow::Cow;
use unicode_width::UnicodeWidthStr;

/// The text of a cell that has no value.
const NOTHING: &str = "-";

/// A column of a table.
#[derive(Clone, Copy)]
pub struct Column {
    pub heading: &'static str,
    /// The cells are aligned to the right.
    pub is_number: bool,
    cell: fn(&Fields) -> String,
}

impl Column {
    /// The text of a cell, without control characters and line breaks.
    pub fn cell(&self, row: &Fields) -> String {
        match (self.cell)(row) {
            empty if empty.is_empty() => NOTHING.to_owned(),
            text => text,
        }
    }
}

const fn text(heading: &'static str, cell: fn(&Fields) -> String) -> Column {
    Column {
        heading,
        is_number: false,
        cell,
    }
}

const fn number(heading: &'static str, cell: fn(&Fields) -> String) -> Column {
    Column {
        heading,
        is_number: true,
        cell,
    }
}

const CID: Column = text("CID", |row| shown(row, "CID"));
const USER: Column = text("USER", |row| shown(row, "USER"));
const LANGUAGE: Column = text("LANGUAGE", |row| shown(row, "LANGUAGE"));
const ADDRESS: Column = text("ADDRESS", address);
const AGE: Column = number("AGE", |row| time(row, "AGE"));
const IDLE: Column = number("IDLE", |row| time(row, "IDLE"));
const SUBSCRIPTIONS: Column = number("SUBS", |row| shown(row, "SUBSCRIPTIONS"));
const OUT: Column = number("OUT", |row| shown(row, "OUTBUFFER_LENGTH"));
const IN: Column = number("IN", |row| shown(row, "INBUFFER_LENGTH"));
const CLIENT: Column = text("CLIENT", |row| shown(row, "CLIENTINFO"));
const KIND: Column = text("KIND", |row| shown(row, "KIND"));
const SHARE: Column = number("SHARE", share);
const SIZE: Column = number("SIZE", |row| shown(row, "SIZE"));
const NAME: Column = text("NAME", |row| shown(row, "NAME"));

pub const CLIENTS: &[Column] = &[
    CID,
    USER,
    LANGUAGE,
    ADDRESS,
    AGE,
    IDLE,
    SUBSCRIPTIONS,
    OUT,
    IN,
    text("NOTES", notes),
    CLIENT,
];

/// Columns of clients for a screen: what is cut off at its edge matters least.
pub const NARROW_CLIENTS: &[Column] = &[
    USER,
    LANGUAGE,
    ADDRESS,
    AGE,
    IDLE,
    SUBSCRIPTIONS,
    OUT,
    IN,
    CLIENT,
    CID,
];

pub const LINKS: &[Column] = &[
    text("LINK", |row| shown(row, "LINK")),
    text("ROLE", |row| shown(row, "ROLE")),
    text("STATE", |row| shown(row, "STATE")),
    ADDRESS,
    text("NODE", |row| shown(row, "NODE")),
    AGE,
    number("ROUND TRIP", |row| milliseconds(row, "ROUND_TRIP")),
    number("QUEUED", |row| shown(row, "QUEUED")),
    text("SYNCED", |row| moment(row, "SYNCED")),
    text("VERSION", |row| shown(row, "VERSION")),
];

pub const NAMES: &[Column] = &[KIND, SHARE, SIZE, NAME];

/// The two halves of the names.
pub const BUSY_NAMES: &[Column] = &[SHARE, text("BUSY NAME", |row| shown(row, "NAME"))];
pub const LARGE_NAMES: &[Column] = &[SIZE, text("LARGE ENTRY", |row| shown(row, "NAME"))];

pub const SLOW: &[Column] = &[
    KIND,
    text("TIME", |row| moment(row, "TIME")),
    number("TURN", |row| milliseconds(row, "TURN")),
    LANGUAGE,
    text("VERB", |row| shown(row, "VERB")),
    SIZE,
    number("WORK", |row| shown(row, "WORK")),
    NAME,
];

/// A field as text; empty if the row does not have it.
pub fn field<'a>(row: &'a Fields, name: &str) -> Cow<'a, str> {
    row.get(name)
        .map_or(Cow::Borrowed(""), |text| text.to_str())
}

/// A field as a number; `None` if the row does not have it.
pub fn amount(row: &Fields, name: &str) -> Option<f64> {
    field(row, name).parse().ok()
}

fn shown(row: &Fields, name: &str) -> String {
    let text = row.get(name).map_or(&b""[..], |text| text);
    // A tab would take the cell out of its column.
    printable(text).replace('\t', " ")
}

fn time(row: &Fields, name: &str) -> String {
    amount(row, name).map_or(String::new(), short_time)
}

fn milliseconds(row: &Fields, name: &str) -> String {
    let seconds = amount(row, name);
    seconds.map_or(String::new(), |seconds| format!("{:.3} ms", seconds * 1e3))
}

/// A moment in UTC, or the word that the server has instead.
fn moment(row: &Fields, name: &str) -> String {
    let seconds = amount(row, name);
    let at = seconds.and_then(|seconds| Timestamp::from_millisecond((seconds * 1e3) as i64).ok());
    at.map_or_else(|| shown(row, name), |at| format!("{at:.0}"))
}

fn share(row: &Fields) -> String {
    match shown(row, "SHARE") {
        empty if empty.is_empty() => empty,
        share => format!("{share}%"),
    }
}

fn address(row: &Fields) -> String {
    let (host, port) = (shown(row, "HOST"), shown(row, "PORT"));
    match &*host {
        "" => host,
        "unixdomainsocket" => "unix".to_owned(),
        _ if host.contains(':') => format!("[{host}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

fn notes(row: &Fields) -> String {
    let notes = [("INTERCLACKS", "interclacks"), ("MONITOR", "monitor")];
    let notes = notes.iter().filter(|(name, _)| field(row, name) == "1");
    let notes: Vec<&str> = notes.map(|(_, note)| *note).collect();
    notes.join(",")
}

/// A length of time with two digits or so, and its unit.
pub fn short_time(seconds: f64) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 60.0 * MINUTE;
    const DAY: f64 = 24.0 * HOUR;
    match seconds {
        seconds if seconds < 9.95 => format!("{seconds:.1}s"),
        seconds if seconds < 2.0 * MINUTE => format!("{}s", seconds as u64),
        seconds if seconds < 2.0 * HOUR => format!("{}m", (seconds / MINUTE) as u64),
        seconds if seconds < 2.0 * DAY => format!("{}h", (seconds / HOUR) as u64),
        seconds => format!("{}d", (seconds / DAY) as u64),
    }
}

/// The lines of a table, the heading first. Each column is as wide as its widest cell. Cells are cut at `widest`
/// characters, but for the last one of a row.
pub fn table(columns: &[Column], rows: &[Fields], widest: usize) -> Vec<String> {
    let heading = columns.iter().map(|column| column.heading.to_owned());
    let cells = |row: &Fields| {
        let mut cells: Vec<String> = columns.iter().map(|column| column.cell(row)).collect();
        for cell in cells.iter_mut().rev().skip(1) {
            if let Some((end, _)) = cell.char_indices().nth(widest) {
                cell.truncate(end);
            }
        }
        cells
    };
    let mut lines: Vec<Vec<String>> = vec![heading.collect()];
    lines.extend(rows.iter().map(cells));
    let is_number: Vec<bool> = columns.iter().map(|column| column.is_number).collect();
    aligned(&lines, &is_number)
}

/// Lines of cells in columns, two blanks apart.
pub fn aligned(lines: &[Vec<String>], is_number: &[bool]) -> Vec<String> {
    let cells = |column: usize| lines.iter().filter_map(move |line| line.get(column));
    let width = |column| cells(column).map(|cell| cell.width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..is_number.len()).map(width).collect();
    let line = |cells: &Vec<String>| {
        let mut line = String::new();
        for ((cell, width), is_number) in cells.iter().zip(&widths).zip(is_number) {
            let blanks = " ".repeat(width - cell.width());
            line += &match is_number {
                true => format!("{blanks}{cell}  "),
                false => format!("{cell}{blanks}  "),
            };
        }
        line.trim_end().to_owned()
    };
    lines.iter().map(line).collect()
}

/// A row with these fields; for tests.
#[cfg(test)]
pub fn row(fields: &[(&str, &str)]) -> Fields {
    let fields = fields.iter();
    fields
        .map(|(name, text)| ((*name).to_owned(), (*text).into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_below_their_headings_whatever_is_in_them() {
        let rows = [
            row(&[("KIND", "busy"), ("SHARE", "12.50"), ("NAME", "a\u{1b}\tb")]),
            row(&[("KIND", "large"), ("SIZE", "1024"), ("NAME", "漢字")]),
        ];
        assert_eq!(
            table(NAMES, &rows, usize::MAX),
            [
                "KIND    SHARE  SIZE  NAME",
                "busy   12.50%     -  a\\x1b b",
                "large       -  1024  漢字",
            ]
        );
    }

    #[test]
    fn clients_of_servers_that_say_less_have_empty_cells() {
        let known = row(&[("CID", "1.2.3.4:5:6"), ("HOST", "1.2.3.4"), ("PORT", "5")]);
        let cells: Vec<String> = CLIENTS.iter().map(|column| column.cell(&known)).collect();
        assert_eq!(cells[..4], ["1.2.3.4:5:6", "-", "-", "1.2.3.4:5"]);
        assert_eq!(address(&row(&[("HOST", "::1"), ("PORT", "5")])), "[::1]:5");
        assert_eq!(address(&row(&[("HOST", "unixdomainsocket")])), "unix");
    }

    #[test]
    fn times_are_short() {
        for (seconds, shown) in [
            (0.0, "0.0s"),
            (9.94, "9.9s"),
            (9.96, "9s"),
            (119.0, "119s"),
            (121.0, "2m"),
            (7200.0, "2h"),
            (200_000.0, "2d"),
        ] {
            assert_eq!(short_time(seconds), shown);
        }
        let at = row(&[("TIME", "1700000000.250000"), ("SYNCED", "no")]);
        assert_eq!(moment(&at, "TIME"), "2023-11-14T22:13:20Z");
        assert_eq!(moment(&at, "SYNCED"), "no");
    }
}
