//! The functions that triggers call.

use super::order::DELIMITER;
use std::fmt::Write;

/// The channel that carries the notifications.
pub const CHANNEL: &str = "clacksmessage";

/// A value as it is, beside the name.
const VALUE: Option<&str> = Some("$2");
/// A step. PostgreSQL drops what was notified before in the same transaction, word for word; so that each
/// step counts, something random follows. A step ends at a blank, and so one of nothing but blanks would be what
/// follows.
const STEP: Option<&str> =
    Some("CASE WHEN $2 ~ '^[[:space:]]*$' THEN '1' ELSE $2 END || ' ' || random()");

/// Functions, and what they take beside the name. The command is the function's name without `clacks_`, in
/// upper case.
const FUNCTIONS: [(&str, Option<&str>); 7] = [
    ("clacks_notify", None),
    ("clacks_set", VALUE),
    ("clacks_store", VALUE),
    ("clacks_setandstore", VALUE),
    ("clacks_increment", STEP),
    ("clacks_decrement", STEP),
    ("clacks_remove", None),
];

/// SQL that installs all of them, over former ones.
pub fn sql() -> String {
    let mut sql = String::from("BEGIN;\n");
    for (function, value) in FUNCTIONS {
        let command = function.trim_start_matches("clacks_").to_uppercase();
        let (types, value) = match value {
            Some(value) => ("text, text", format!(" || '{DELIMITER}' || {value}")),
            None => ("text", String::new()),
        };
        // Dropped first: a former one whose parameters have other names can't be replaced.
        write!(
            sql,
            "DROP FUNCTION IF EXISTS {function}({types});\n\
             CREATE FUNCTION {function}({types}) RETURNS void LANGUAGE sql AS\n\
             $$ SELECT pg_notify('{CHANNEL}', '{command}{DELIMITER}' || $1{value}) $$;\n"
        )
        .expect("a String takes every write");
    }
    sql += "COMMIT;\n";
    sql
}
