//! The functions of clacks-pg and their notifications: compatible with those of Net::Clacks in all encodings.

use crate::bridge::databases::{column, connect, install, listener, start_bridge};
use crate::bridge::{Postgres, next};
use crate::runner::needs;
use crate::support::{Server, run};
use std::fs;
use std::process::Command;

/// The delimiter as Perl's DBD::Pg writes and reads it in UTF-8 and in all other encodings.
const IN_UTF8: &[u8] = "§§§CLACKSDELIMETER§§§".as_bytes();
const IN_BYTES: &[u8] = b"\xa7\xa7\xa7CLACKSDELIMETER\xa7\xa7\xa7";

/// Creates a database of that encoding; its name.
fn create(postgres: &Postgres, encoding: &str) -> String {
    let name = format!("in_{}", encoding.to_lowercase());
    let sql = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'");
    let mut database = postgres.connect().expect("a database");
    database.batch_execute(&sql).expect("SQL");
    name
}

/// The payloads that some SQL notifies, as bytes of the database's encoding.
fn notified(postgres: &Postgres, database: &str, sql: &str) -> Vec<Vec<u8>> {
    let mut psql = postgres.command("psql");
    psql.args(["--no-psqlrc", "--tuples-only", "--command"]);
    psql.args(["LISTEN clacksmessage", "--command", sql]);
    psql.arg(postgres.address_of(database));
    let output = psql.env_remove("PGCLIENTENCODING").output().expect("psql");
    assert!(output.status.success(), "{output:?}");
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let payloads = lines.filter_map(|line| {
        let start = memchr::memmem::find(line, b" with payload \"")?;
        let end = memchr::memmem::rfind(line, b"\" received from")?;
        Some(line[start + b" with payload \"".len()..end].to_vec())
    });
    payloads.collect()
}

fn split<'a>(mut payload: &'a [u8], delimiter: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some(at) = memchr::memmem::find(payload, delimiter) {
        parts.push(&payload[..at]);
        payload = &payload[at + delimiter.len()..];
    }
    parts.push(payload);
    parts
}

/// Returns the number that Perl reads from a text. Panics if Perl warns about the text.
fn number_in_perl(text: &[u8]) -> String {
    let text = str::from_utf8(text).expect("a number");
    let script = "use warnings FATAL => 'all'; print 0 + $ARGV[0]";
    let ended = run(Command::new("perl").args(["-e", script, text]));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    ended.stdout
}

#[test]
fn the_perl_bridge_reads_the_functions_in_all_encodings() {
    needs("perl");
    let postgres = Postgres::start();
    for (encoding, delimiter) in [
        ("UTF8", IN_UTF8),
        ("SQL_ASCII", IN_BYTES),
        ("LATIN1", IN_BYTES),
        // It has no section sign.
        ("KOI8R", IN_BYTES),
    ] {
        let database = create(&postgres, encoding);
        install(&postgres.address_of(&database));
        let sql = "SELECT clacks_notify('a'), clacks_set('a', 'b'),
                          clacks_increment('n', '9223372036854775807'),
                          clacks_increment('n', '9223372036854775807'), clacks_decrement('n', '')";
        let payloads = notified(&postgres, &database, sql);
        let parts = payloads.iter().map(|payload| split(payload, delimiter));
        let parts: Vec<Vec<&[u8]>> = parts.collect();
        assert_eq!(parts.len(), 5, "{encoding}");
        assert_eq!(parts[0], [&b"NOTIFY"[..], b"a"], "{encoding}");
        assert_eq!(parts[1], [&b"SET"[..], b"a", b"b"], "{encoding}");
        for (parts, command, step) in [
            (&parts[2], &b"INCREMENT"[..], "9223372036854775807"),
            (&parts[3], b"INCREMENT", "9223372036854775807"),
            (&parts[4], b"DECREMENT", "1"),
        ] {
            assert_eq!((parts.len(), parts[0], parts[1]), (3, command, &b"n"[..]));
            assert_eq!(number_in_perl(parts[2]), step);
        }
    }
}

#[test]
fn the_bridge_takes_both_functions_in_all_encodings() {
    let postgres = Postgres::start();
    let server = Server::start();
    let mut signals = listener(&server, "a");
    signals.ask("LISTEN end");
    for (encoding, sign) in [
        ("UTF8", "chr(167)"),
        // From a program of Perl's, and from a file in UTF-8.
        ("SQL_ASCII", "chr(167)"),
        ("SQL_ASCII", "convert_from('\\xc2a7', 'SQL_ASCII')"),
        ("LATIN1", "chr(167)"),
        ("KOI8R", "chr(167)"),
        // Perl's functions can't be installed here.
        ("EUC_JP", "convert_from('\\xc2a7', 'UTF8')"),
    ] {
        let name = create(&postgres, encoding);
        let address = postgres.address_of(&name);
        install(&address);
        let bridge = start_bridge(&address, &server);
        let mut database = connect(&address);
        let delimiter = format!("repeat({sign}, 3) || 'CLACKSDELIMETER' || repeat({sign}, 3)");
        let sql = format!(
            "SELECT pg_notify('clacksmessage', 'SET' || d || 'a' || d || 'theirs' || d || 'x')
             FROM (SELECT {delimiter} AS d) AS d;
             SELECT clacks_set('a', 'ours'), clacks_increment('n', '9223372036854775807'),
                    clacks_notify('end')"
        );
        database.batch_execute(&sql).expect("SQL");
        // A delimiter in a value is text.
        let theirs = format!("SET a=theirs{}x", clacks::bridge::DELIMITER);
        for line in [&theirs[..], "SET a=ours", "NOTIFY end"] {
            assert_eq!(next(&mut signals), line, "{encoding} {sign}");
        }
        assert_eq!(
            signals.ask("RETRIEVE n"),
            ["RETRIEVED n=9223372036854775807"]
        );
        signals.ask("REMOVE n");
        drop((bridge, database));
        let mut other = postgres.connect().expect("a database");
        other
            .batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
            .expect("SQL");
    }
}

#[test]
fn functions_without_names_that_a_rule_and_a_function_use_get_the_names_of_the_original() {
    let postgres = Postgres::start();
    let mut database = postgres.connect().expect("a database");
    database
        .batch_execute(
            "CREATE FUNCTION clacks_set(text, text) RETURNS void LANGUAGE sql AS 'SELECT';
             CREATE TABLE rooms (name text, temperature text);
             CREATE RULE tell AS ON INSERT TO rooms
                 DO ALSO SELECT clacks_set(NEW.name, NEW.temperature);
             CREATE FUNCTION tell() RETURNS void LANGUAGE sql
                 BEGIN ATOMIC SELECT clacks_set('a', 'a function'); END",
        )
        .expect("SQL");
    let before = column(
        &mut database,
        "SELECT DISTINCT objid::text FROM pg_depend WHERE refobjid = 'clacks_set'::regproc",
    );
    assert_eq!(before.len(), 2);
    install(&postgres.address());
    let server = Server::start();
    let _bridge = start_bridge(&postgres.address(), &server);
    let mut signals = listener(&server, "a");
    for sql in [
        "INSERT INTO rooms VALUES ('a', 'a rule')",
        "SELECT tell()",
        "SELECT clacks_set(clacksvalue => 'by names', clacksname => 'a')",
    ] {
        database.batch_execute(sql).expect("SQL");
    }
    for line in ["SET a=a rule", "SET a=a function", "SET a=by names"] {
        assert_eq!(next(&mut signals), line);
    }
}

/// The example of the manual, as it stands there, for a column that is no text.
#[test]
fn the_example_of_the_manual_works_for_a_numeric_column() {
    let manual = fs::read_to_string("man/clacks-pg.8").expect("the manual");
    let (_, examples) = manual.split_once(".Sh EXAMPLES\n").expect("examples");
    let (_, example) = examples
        .split_once(".Bd -literal -offset indent\n")
        .expect("a display");
    let (example, _) = example.split_once(".Ed\n").expect("its end");
    assert!(!example.contains('\\'), "{example}");
    let postgres = Postgres::start();
    install(&postgres.address());
    let server = Server::start();
    let _bridge = start_bridge(&postgres.address(), &server);
    let mut signals = listener(&server, "rooms::kitchen");
    let mut database = postgres.connect().expect("a database");
    database
        .batch_execute(&format!(
            "CREATE TABLE rooms (name text PRIMARY KEY, temperature numeric(4, 1)); {example};
             INSERT INTO rooms VALUES ('kitchen', 20.5); UPDATE rooms SET temperature = -3"
        ))
        .expect("SQL");
    for line in ["SET rooms::kitchen=20.5", "SET rooms::kitchen=-3.0"] {
        assert_eq!(next(&mut signals), line);
    }
}
