//! clacks-pg and databases of all kinds: other encodings, standbys, TLS, functions of somebody else's making.

use crate::bridge::{Postgres, bridge, next};
use crate::support::{Authority, Client, Identity, Process, Server, run, text};
use std::process::Command;

fn bridge_command(address: &str, server: &Server) -> Command {
    let mut command = bridge(&["--postgres", address, "-s", &server.address()]);
    command.args(["-u", "rw"]).env("CLACKS_PASSWORD", "rwpw");
    command
}

/// A bridge that listens to the database at that address.
pub fn start_bridge(address: &str, server: &Server) -> Process {
    let bridge = Process::spawn(&mut bridge_command(address, server));
    bridge.wait_for_log("listening to the database");
    bridge
}

pub fn install(address: &str) {
    let installed = run(&mut bridge(&["--postgres", address, "--init"]));
    assert_eq!(installed.status, Some(0), "{installed:?}");
}

pub fn connect(address: &str) -> postgres::Client {
    postgres::Client::connect(address, postgres::NoTls).expect("a database")
}

pub fn listener(server: &Server, name: &str) -> Client {
    let mut listener = server.client("rw");
    assert_eq!(listener.ask(&format!("LISTEN {name}")), [""; 0]);
    listener
}

pub fn column(database: &mut postgres::Client, sql: &str) -> Vec<String> {
    let rows = database.query(sql, &[]).expect("SQL");
    rows.iter().map(|row| row.get(0)).collect()
}

/// The bridge has never lost the database, and was never kept away.
fn assert_undisturbed(bridge: &Process) {
    let log = bridge.log();
    let listens = |line: &&String| line.contains("listening to the database");
    assert_eq!(log.iter().filter(listens).count(), 1, "{log:?}");
    assert!(
        !log.iter().any(|line| line.contains("the database is lost")),
        "{log:?}"
    );
}

#[test]
fn notifications_that_are_no_utf_8_end_no_connection() {
    let postgres = Postgres::start();
    let server = Server::start();
    let mut database = postgres.connect().expect("a database");
    for encoding in ["SQL_ASCII", "WIN1252", "LATIN1"] {
        let create = format!(
            "CREATE DATABASE in_{encoding} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"
        );
        database.batch_execute(&create).expect("SQL");
    }
    // Bytes that mean nothing are passed on as they are.
    let address = postgres.address_of("in_sql_ascii");
    install(&address);
    let bridge = start_bridge(&address, &server);
    let mut signals = listener(&server, "a");
    let mut database = connect(&address);
    let bytes = |hex: &str| format!("pg_catalog.convert_from('\\x{hex}'::bytea, 'SQL_ASCII')");
    let sql = format!(
        "SELECT clacks_set('a', 'ü'), clacks_set('a', {}), pg_notify('clacksmessage', {}), clacks_set('a', 'end')",
        bytes("fcff"),
        bytes("c3"),
    );
    database.batch_execute(&sql).expect("SQL");
    for line in ["SET a=ü", "SET a=\u{fffd}\u{fffd}", "SET a=end"] {
        assert_eq!(next(&mut signals), line);
    }
    bridge.wait_for_log("was skipped");
    assert_undisturbed(&bridge);
    drop(bridge);
    // Where the database knows what the bytes mean they arrive in UTF-8, and 0x81 means nothing there.
    let address = postgres.address_of("in_win1252");
    install(&address);
    let bridge = start_bridge(&address, &server);
    let mut database = connect(&address);
    let sql = "SELECT clacks_set('a', 'ü€' || i || CASE WHEN i % 10 = 7 THEN chr(129) ELSE '' END)
               FROM generate_series(1, 200) i";
    database.batch_execute(sql).expect("SQL");
    for number in (1..=200).filter(|number| number % 10 != 7) {
        assert_eq!(next(&mut signals), format!("SET a=ü€{number}"));
    }
    bridge.wait_for_log("it has no form in UTF-8");
    assert_undisturbed(&bridge);
    drop(bridge);
    let address = postgres.address_of("in_latin1");
    install(&address);
    let bridge = start_bridge(&address, &server);
    let mut database = connect(&address);
    database
        .batch_execute("SELECT clacks_set('a', 'é' || chr(129))")
        .expect("SQL");
    assert_eq!(next(&mut signals), "SET a=é\u{81}");
    assert_undisturbed(&bridge);
}

#[test]
fn a_delimiter_in_a_name_passes_for_no_value() {
    let postgres = Postgres::start();
    let server = Server::start();
    install(&postgres.address());
    let bridge = start_bridge(&postgres.address(), &server);
    let mut database = postgres.connect().expect("a database");
    const DELIMITER: &str = clacks::bridge::DELIMITER;
    // The second one makes a delimiter with the one behind the name.
    for name in [
        format!("n{DELIMITER}-1000"),
        format!("n{}", &DELIMITER[..DELIMITER.len() - 6]),
    ] {
        for call in [
            "notify($1)",
            "remove($1)",
            "set($1, '1')",
            "store($1, '1')",
            "setandstore($1, '1')",
            "increment($1, '1')",
            "decrement($1, '1')",
        ] {
            let refused = database.query(&format!("SELECT clacks_{call}::text"), &[&name]);
            let refused = refused.expect_err("a refusal");
            let refused = refused
                .as_db_error()
                .expect("the database's")
                .message()
                .to_owned();
            assert!(
                refused.contains("can not hold the delimiter"),
                "{call}: {refused}"
            );
        }
    }
    let mut signals = listener(&server, "end");
    // As other functions and roles notify it.
    for verb in ["INCREMENT", "DECREMENT"] {
        let payload = [verb, "n", "-1000", "1 0.5"].join(DELIMITER);
        database
            .query("SELECT pg_notify('clacksmessage', $1)::text", &[&payload])
            .expect("SQL");
    }
    let value = format!("1{DELIMITER}2");
    database
        .query("SELECT clacks_store('v', $1)::text", &[&value])
        .expect("SQL");
    database
        .batch_execute("SELECT clacks_increment('n', '1'), clacks_notify('end')")
        .expect("SQL");
    assert_eq!(next(&mut signals), "NOTIFY end");
    assert_eq!(signals.ask("RETRIEVE n"), ["RETRIEVED n=1"]);
    assert_eq!(signals.ask("RETRIEVE v"), [format!("RETRIEVED v={value}")]);
    bridge.wait_for_log("too few or too many parts");
}

#[test]
fn the_functions_heed_no_search_path_of_their_callers() {
    let postgres = Postgres::start();
    let server = Server::start();
    install(&postgres.address());
    let _bridge = start_bridge(&postgres.address(), &server);
    let mut signals = listener(&server, "a");
    let mut database = postgres.connect().expect("a database");
    database
        .batch_execute(
            "CREATE SCHEMA evil;
             CREATE FUNCTION evil.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT 1 / 0';
             CREATE FUNCTION evil.no_join(text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'evil'::text $$;
             CREATE OPERATOR evil.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.no_join);
             SET search_path = evil, pg_catalog, public;
             SELECT clacks_set('a', '1')",
        )
        .expect("SQL");
    assert_eq!(next(&mut signals), "SET a=1");
    let settings = column(
        &mut database,
        "SELECT DISTINCT proconfig::text FROM pg_catalog.pg_proc WHERE proname LIKE 'clacks\\_%'",
    );
    assert_eq!(settings, [r#"{"search_path=pg_catalog, pg_temp"}"#]);
}

/// Grants, a view and parameters of somebody else's making stay; so does the schema, which is in nobody's path.
#[test]
fn installing_again_keeps_grants_dependents_and_schema() {
    let postgres = Postgres::start();
    let mut database = postgres.connect().expect("a database");
    database
        .batch_execute(
            "CREATE SCHEMA app; CREATE ROLE writer;
             CREATE FUNCTION app.clacks_set(clname text, clvalue text DEFAULT 'x') RETURNS void LANGUAGE plpgsql AS
             $$ BEGIN NULL; END $$;
             REVOKE ALL ON FUNCTION app.clacks_set(text, text) FROM PUBLIC;
             GRANT EXECUTE ON FUNCTION app.clacks_set(text, text) TO writer;
             CREATE VIEW app.dependent AS SELECT app.clacks_set('a', 'b')::text AS done",
        )
        .expect("SQL");
    let grants = "SELECT proacl::text FROM pg_proc WHERE proname = 'clacks_set'";
    let before = column(&mut database, grants);
    assert!(before[0].contains("writer=X"), "{before:?}");
    for _ in 0..2 {
        install(&postgres.address());
        assert_eq!(column(&mut database, grants), before);
        let schemas = column(
            &mut database,
            "SELECT n.nspname::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
             WHERE p.proname LIKE 'clacks\\_%'",
        );
        assert_eq!(schemas, ["app"; 7]);
    }
    let server = Server::start();
    let _bridge = start_bridge(&postgres.address(), &server);
    let mut signals = listener(&server, "a");
    database
        .query("SELECT * FROM app.dependent", &[])
        .expect("SQL");
    database
        .batch_execute("SELECT app.clacks_set(clname => 'a')")
        .expect("SQL");
    for line in ["SET a=b", "SET a=x"] {
        assert_eq!(next(&mut signals), line);
    }
    // One that can't be replaced stays, and is named.
    database
        .batch_execute(
            "CREATE FUNCTION clacks_set(text, text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        )
        .expect("SQL");
    let refused = run(&mut bridge(&["--postgres", &postgres.address(), "--init"]));
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("public.clacks_set(text, text) is there"),
        "{refused:?}"
    );
}

/// The bridge fetches notifications that queries have to convert no faster than these queries are done.
#[test]
fn a_flood_of_notifications_to_convert_waits_in_the_database() {
    const NOTIFICATIONS: usize = 8_000;
    let postgres = Postgres::start();
    let server = Server::start();
    let mut database = postgres.connect().expect("a database");
    database
        .batch_execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
        .expect("SQL");
    let address = postgres.address_of("latin");
    install(&address);
    let bridge = start_bridge(&address, &server);
    let mut signals = listener(&server, "end");
    let sql = format!(
        "SELECT clacks_increment('count', '1'), clacks_store('ü', repeat('ü', 7000) || i)
             FROM generate_series(1, {NOTIFICATIONS}) i;
         SELECT clacks_notify('end')"
    );
    connect(&address).batch_execute(&sql).expect("SQL");
    assert_eq!(next(&mut signals), "NOTIFY end");
    let mut client = server.client("rw");
    let count = format!("RETRIEVED count={NOTIFICATIONS}");
    assert_eq!(client.ask("RETRIEVE count"), [count]);
    assert_undisturbed(&bridge);
    // Converted all at once, it would take some times what was notified.
    let status = std::fs::read_to_string(format!("/proc/{}/status", bridge.id()));
    let status = status.expect("a process");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
    let peak_kb: usize = peak.and_then(|peak| peak.parse().ok()).expect("a size");
    assert!(peak_kb < 200_000, "{peak_kb} kB");
}

/// Who may create functions can make one before it is installed, and would own it.
#[test]
fn installing_over_functions_of_others_names_their_owners() {
    let postgres = Postgres::start();
    let mut database = postgres.connect().expect("a database");
    database
        .batch_execute(
            "CREATE ROLE \"Mallory\"; GRANT CREATE ON SCHEMA public TO \"Mallory\"; SET ROLE \"Mallory\";
             CREATE FUNCTION public.clacks_set(text, text) RETURNS void LANGUAGE plpgsql AS
             $$ BEGIN NULL; END $$;
             RESET ROLE;
             CREATE FUNCTION public.clacks_store(text, text) RETURNS void LANGUAGE plpgsql AS
             $$ BEGIN NULL; END $$",
        )
        .expect("SQL");
    let init = || run(&mut bridge(&["--postgres", &postgres.address(), "--init"]));
    let installed = init();
    assert_eq!(installed.status, Some(0), "{installed:?}");
    let warning =
        "public.clacks_set(text, text) belongs to the role Mallory, which can change what it does";
    assert!(installed.stderr.contains(warning), "{installed:?}");
    assert_eq!(installed.stderr.lines().count(), 1, "{installed:?}");
    database
        .batch_execute("ALTER FUNCTION public.clacks_set(text, text) OWNER TO CURRENT_USER")
        .expect("SQL");
    let installed = init();
    assert_eq!((installed.status, &*installed.stderr), (Some(0), ""));
}

#[test]
fn of_several_hosts_a_standby_is_passed_over() {
    let (standby, primary) = (Postgres::start_standby(), Postgres::start());
    let server = Server::start();
    let folders = [standby.folder.path(), primary.folder.path()].map(text);
    let address = format!(
        "host=/is/not/there,{} user=tester dbname=postgres",
        folders.join(",")
    );
    install(&address);
    let bridge = start_bridge(&address, &server);
    let mut signals = listener(&server, "a");
    let mut database = primary.connect().expect("a database");
    database
        .batch_execute("SELECT clacks_notify('a')")
        .expect("SQL");
    assert_eq!(next(&mut signals), "NOTIFY a");
    assert_undisturbed(&bridge);
    // Without a primary, why each of them is none.
    let address = format!(
        "host=/is/not/there,{} user=tester dbname=postgres",
        folders[0]
    );
    let refused = run(&mut bridge_flags(&address));
    assert_eq!(refused.status, Some(1), "{refused:?}");
    for what in ["/is/not/there/.s.PGSQL.5432: ", "read-only transaction"] {
        assert!(refused.stderr.contains(what), "{refused:?}");
    }
}

fn bridge_flags(address: &str) -> Command {
    bridge(&["--postgres", address, "--init"])
}

#[test]
fn a_database_is_reached_over_tls_as_sslmode_says() {
    let authority = Authority::new("the right one");
    let identity: Identity = authority.certify(&["localhost"]);
    let postgres = Postgres::start_tls(&identity);
    let server = Server::start();
    server.setup.write_secret("ca.pem", &authority.certificate);
    server
        .setup
        .write_secret("other.pem", &Authority::new("another").certificate);
    let file = |name: &str| text(&server.setup.path(name));
    let mut database = postgres.connect().expect("a database");
    for words in [
        String::new(),
        "sslmode=prefer".to_owned(),
        "sslmode=require".to_owned(),
        format!("sslmode=verify-full sslrootcert={}", file("ca.pem")),
    ] {
        let bridge = start_bridge(&format!("{} {words}", postgres.tcp_address()), &server);
        let encrypted = column(
            &mut database,
            "SELECT ssl::text FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
             WHERE application_name = 'clacks-pg' AND query LIKE 'UNLISTEN%'",
        );
        assert!(
            encrypted.contains(&"true".to_owned()),
            "{words}: {encrypted:?}"
        );
        drop(bridge);
    }
    for (words, told) in [
        (
            format!("sslmode=verify-full sslrootcert={}", file("other.pem")),
            "TLS: invalid peer certificate",
        ),
        (
            format!("sslmode=require sslrootcert={}", file("other.pem")),
            "TLS: invalid peer certificate",
        ),
        ("sslmode=disable".to_owned(), "no encryption"),
    ] {
        let refused = run(&mut bridge_flags(&format!(
            "{} {words}",
            postgres.tcp_address()
        )));
        assert_eq!(refused.status, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(told), "{words}: {refused:?}");
    }
}

#[test]
fn a_role_that_may_connect_only_once_is_listened_for_all_the_same() {
    let postgres = Postgres::start();
    let server = Server::start();
    install(&postgres.address());
    let mut database = postgres.connect().expect("a database");
    database
        .batch_execute("CREATE ROLE once LOGIN CONNECTION LIMIT 1")
        .expect("SQL");
    let address = postgres.address().replace("user=tester", "user=once");
    let bridge = start_bridge(&address, &server);
    bridge.wait_for_log("it is not known whether the database's notifications arrive");
    let mut signals = listener(&server, "a");
    database
        .batch_execute("SELECT clacks_notify('a')")
        .expect("SQL");
    assert_eq!(next(&mut signals), "NOTIFY a");
}
