//! clacks-pg between a real PostgreSQL and a real server.

mod databases;
mod functions;
mod pooler;
mod silence;

use crate::runner::{is_root, needs};
use crate::support::{
    Client, DEADLINE, Ending, Identity, Process, Server, Setup, USERS, run, text, wait_until,
};
use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A database cluster of the test's own, in a temporary folder.
pub struct Postgres {
    programs: PathBuf,
    pub folder: TempDir,
    /// Further arguments of the server.
    arguments: Vec<String>,
    port: u16,
    process: Option<Ending>,
}

/// PostgreSQL refuses to run as root; this account comes with its package.
const ACCOUNT: &str = "postgres";

impl Postgres {
    pub fn start() -> Postgres {
        let mut postgres = Postgres::new();
        postgres.run();
        postgres
    }

    /// One that is ready for reads alone, as if it followed a primary.
    pub fn start_standby() -> Postgres {
        let mut postgres = Postgres::new();
        // It ends in the order that lets a standby begin at once.
        postgres.run();
        drop(postgres.process.take());
        postgres.write("data/standby.signal", "");
        postgres.run();
        postgres
    }

    /// One that has TLS, at a port of 127.0.0.1, and nothing else there.
    pub fn start_tls(identity: &Identity) -> Postgres {
        let mut postgres = Postgres::new();
        postgres.write("data/cert.pem", &identity.certificates);
        postgres.write("data/key.pem", &identity.key);
        postgres.write(
            "data/pg_hba.conf",
            "local all all trust\nhostssl all all 127.0.0.1/32 trust\n",
        );
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        postgres.port = free.local_addr().expect("an address").port();
        drop(free);
        let port = format!("port={}", postgres.port);
        postgres.arguments = [
            "listen_addresses=127.0.0.1",
            &port,
            "ssl=on",
            "ssl_cert_file=cert.pem",
            "ssl_key_file=key.pem",
        ]
        .iter()
        .flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()])
        .collect();
        postgres.run();
        postgres
    }

    /// Writes a file of the database's account.
    pub fn write(&self, name: &str, content: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("a folder of our own");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a file of our own");
        self.give_away(&path);
    }

    fn give_away(&self, path: &Path) {
        if is_root() {
            let owner = format!("{ACCOUNT}:");
            let status = Command::new("chown").args([&owner, &text(path)]).status();
            assert!(status.expect("chown").success());
        }
    }

    fn new() -> Postgres {
        needs("postgresql");
        let folder = tempfile::Builder::new()
            .prefix("clacks-pg-test-")
            .tempdir()
            .expect("a temporary folder");
        let postgres = Postgres {
            programs: programs(),
            folder,
            arguments: Vec::new(),
            port: 5432,
            process: None,
        };
        if is_root() {
            postgres.give_away(postgres.folder.path());
            fs::set_permissions(postgres.folder.path(), fs::Permissions::from_mode(0o755))
                .expect("a folder of our own");
        }
        let made = run(postgres.command("initdb").args([
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--username=tester",
            "--pgdata",
            &text(&postgres.data()),
        ]));
        assert_eq!(made.status, Some(0), "{made:?}");
        postgres
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// One of PostgreSQL's programs, as an account that it accepts.
    pub fn command(&self, program: &str) -> Command {
        self.command_at(&self.programs.join(program))
    }

    /// Some other program as that account.
    pub fn command_at(&self, program: &Path) -> Command {
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args([
                &format!("--reuid={ACCOUNT}"),
                &format!("--regid={ACCOUNT}"),
                "--clear-groups",
                "--",
            ]);
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        command.stdin(Stdio::null()).current_dir("/");
        command
    }

    /// On a Unix socket in the folder, and nowhere else.
    fn spawn(&self) -> Ending {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file());
        let process = self
            .command("postgres")
            .args([
                "-D",
                &text(&self.data()),
                "-k",
                &text(self.folder.path()),
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
            ])
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(log.expect("a folder of our own"))
            .spawn();
        Ending(process.expect("a process"))
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Starts it. After a crash it refuses that for as long as processes of the crashed one live.
    fn run(&mut self) {
        let mut process = self.spawn();
        let end = Instant::now() + DEADLINE;
        while !self
            .connect()
            .is_ok_and(|mut database| database.simple_query("SELECT 1").is_ok())
        {
            let log = || fs::read_to_string(self.log_file()).unwrap_or_default();
            assert!(
                Instant::now() < end,
                "the database doesn't answer: {}",
                log()
            );
            std::thread::sleep(Duration::from_millis(20));
            if process.0.try_wait().expect("a child of ours").is_some() {
                process = self.spawn();
            }
        }
        self.process = Some(process);
    }

    /// Ends as by a crash, and starts anew.
    fn restart(&mut self) {
        self.process = None;
        self.run();
    }

    pub fn address(&self) -> String {
        self.address_of("postgres")
    }

    /// One of its databases.
    pub fn address_of(&self, database: &str) -> String {
        let (folder, port) = (text(self.folder.path()), self.port);
        format!("host={folder} port={port} user=tester dbname={database}")
    }

    /// Returns the address of the database `postgres` over TCP.
    pub fn tcp_address(&self) -> String {
        format!(
            "host=localhost hostaddr=127.0.0.1 port={} user=tester dbname=postgres",
            self.port
        )
    }

    /// Returns the address of the database `postgres` over the Unix socket as a URL, as in the flags of a service.
    fn url(&self) -> String {
        format!(
            "postgresql://tester@/postgres?host={}",
            text(self.folder.path())
        )
    }

    pub fn connect(&self) -> Result<postgres::Client, postgres::Error> {
        postgres::Client::connect(&self.address(), postgres::NoTls)
    }
}

/// The folder of the server's programs; Debian has one for each version.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("it is installed");
    let mut programs = versions.map(|version| version.expect("a folder").path().join("bin"));
    let found = programs.find(|programs| programs.join("initdb").exists());
    found.expect("it is installed")
}

pub fn bridge(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clacks-pg"));
    for name in [
        "CLACKS_SERVER",
        "CLACKS_USER",
        "CLACKS_PASSWORD",
        "CLACKS_POSTGRES",
        "RUST_LOG",
    ] {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Database, server and bridge, all at work, and a connection to each end.
struct World {
    postgres: Postgres,
    server: Server,
    bridge: Process,
    database: postgres::Client,
}

impl World {
    fn start() -> World {
        World::start_with(&[])
    }

    fn start_with(flags: &[&str]) -> World {
        let postgres = Postgres::start();
        let server = Setup::new().flags(flags).start();
        let installed = run(&mut bridge(&["--postgres", &postgres.address(), "--init"]));
        assert_eq!(installed.status, Some(0), "{installed:?}");
        let mut database = postgres.connect().expect("a database");
        database
            .batch_execute(
                "CREATE TABLE rooms (name text PRIMARY KEY, temperature text);
                 CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     PERFORM clacks_set('rooms::' || NEW.name, NEW.temperature);
                     PERFORM clacks_store('cached::' || NEW.name, NEW.temperature);
                     PERFORM clacks_increment('changes', '');
                     RETURN NEW;
                 END $$;
                 CREATE TRIGGER tell AFTER INSERT OR UPDATE ON rooms
                     FOR EACH ROW EXECUTE FUNCTION tell();",
            )
            .expect("SQL");
        let password = server.setup.path("bridge-password");
        server.setup.write_secret("bridge-password", "rwpw\n");
        let bridge = Process::spawn(&mut bridge(&[
            "--postgres",
            &postgres.address(),
            "-s",
            &format!("unix:{}", text(&server.socket)),
            "-u",
            "rw",
            "--password-file",
            &text(&password),
        ]));
        bridge.wait_for_log("listening to the database");
        World {
            postgres,
            server,
            bridge,
            database,
        }
    }

    fn sql(&mut self, sql: &str) {
        self.database.batch_execute(sql).expect("SQL");
    }

    fn listener(&self, name: &str) -> Client {
        let mut listener = self.server.client("rw");
        assert_eq!(listener.ask(&format!("LISTEN {name}")), [""; 0]);
        listener
    }
}

/// The next line but NOPs.
pub fn next(client: &mut Client) -> String {
    loop {
        match client.next_line() {
            Some(line) if line == "NOP" => {}
            Some(line) => return line,
            None => panic!("the server has closed the connection"),
        }
    }
}

#[test]
fn triggers_send_signals_and_fill_the_cache() {
    let mut world = World::start();
    let mut listener = world.listener("rooms::kitchen");
    listener.ask("LISTEN end");
    world.sql("INSERT INTO rooms VALUES ('kitchen', '20.5')");
    assert_eq!(next(&mut listener), "SET rooms::kitchen=20.5");
    // What is rolled back was never said.
    world.sql(
        "BEGIN; UPDATE rooms SET temperature = '99'; ROLLBACK;
         BEGIN; UPDATE rooms SET temperature = '21'; UPDATE rooms SET temperature = '22'; COMMIT;
         SELECT clacks_notify('end')",
    );
    for line in [
        "SET rooms::kitchen=21",
        "SET rooms::kitchen=22",
        "NOTIFY end",
    ] {
        assert_eq!(next(&mut listener), line);
    }
    assert_eq!(
        listener.ask("RETRIEVE cached::kitchen"),
        ["RETRIEVED cached::kitchen=22"]
    );
    assert_eq!(listener.ask("RETRIEVE changes"), ["RETRIEVED changes=3"]);
    world.sql(
        "SELECT clacks_setandstore('both', 'x=y'), clacks_decrement('changes', '0.5'),
                clacks_remove('cached::kitchen'), clacks_notify('end')",
    );
    assert_eq!(next(&mut listener), "NOTIFY end");
    assert_eq!(listener.ask("RETRIEVE both"), ["RETRIEVED both=x=y"]);
    assert_eq!(listener.ask("RETRIEVE changes"), ["RETRIEVED changes=2.5"]);
    assert_eq!(
        listener.ask("RETRIEVE cached::kitchen"),
        ["NOTRETRIEVED cached::kitchen"]
    );
}

/// Blanks after a number distinguish the steps of a transaction from each other, and are no number themselves.
#[test]
fn a_step_of_blanks_is_1_as_an_empty_one_is() {
    let mut world = World::start();
    let mut listener = world.listener("end");
    world.sql(
        "SELECT clacks_increment('n', ''), clacks_increment('n', '  '),
                clacks_increment('n', E'\t'), clacks_decrement('m', ' '),
                clacks_increment('o', ' 5 '), clacks_notify('end')",
    );
    assert_eq!(next(&mut listener), "NOTIFY end");
    for (name, value) in [("n", "3"), ("m", "-1"), ("o", "5")] {
        assert_eq!(
            listener.ask(&format!("RETRIEVE {name}")),
            [format!("RETRIEVED {name}={value}")]
        );
    }
}

#[test]
fn what_no_line_can_say_is_skipped_and_logged() {
    let mut world = World::start();
    let mut listener = world.listener("end");
    world.sql(
        "SELECT clacks_set(NULL, 'x'), clacks_set('a', NULL), clacks_notify(''),
                clacks_notify(E'a\\nQUIT'), clacks_set('a', E'x\\r\\nCLEARCACHE'),
                clacks_store('a=b', 'x'), clacks_increment('n', E'1\\n2'),
                pg_notify('clacksmessage', ''), pg_notify('clacksmessage', 'hello'),
                pg_notify('clacksmessage', 'QUIT§§§CLACKSDELIMETER§§§x'),
                clacks_store('lines', E'one\\r\\ntwo'), clacks_store('stays', '1'),
                clacks_notify('end')",
    );
    assert_eq!(next(&mut listener), "NOTIFY end");
    let mut keys = listener.ask("KEYLIST");
    keys.sort();
    assert_eq!(
        keys,
        ["KEY lines", "KEY stays", "KEYLISTEND", "KEYLISTSTART"]
    );
    assert_eq!(
        listener.ask("RETRIEVE lines"),
        ["RETRIEVED lines=PAGECAMELCLACKSB64:b25lDQp0d28="]
    );
    // Two empty payloads of NULLs are one to PostgreSQL, which drops repetitions within a transaction.
    let skipped = || {
        let log = world.bridge.log();
        log.iter()
            .filter(|line| line.contains("was skipped"))
            .count()
    };
    wait_until("eight were skipped", || skipped() >= 8);
    assert_eq!(skipped(), 8, "{:?}", world.bridge.log());
}

#[test]
fn ten_thousand_notifications_arrive_in_order() {
    let mut world = World::start();
    let mut listener = world.listener("n");
    world.sql("SELECT clacks_set('n', i::text) FROM generate_series(1, 10000) i");
    for number in 1..=10_000 {
        assert_eq!(next(&mut listener), format!("SET n={number}"));
    }
}

#[test]
fn nothing_is_lost_while_the_server_is_away() {
    let mut world = World::start();
    world.sql("SELECT clacks_store('a', '1')");
    let World {
        postgres,
        server,
        bridge,
        mut database,
    } = world;
    // The server goes in the middle of a stream, and stays away for some of it.
    let Server {
        process,
        socket,
        setup,
        ..
    } = server;
    let mut process = Some(process);
    for number in 0..3000 {
        if number == 1000 {
            process = None;
        }
        database
            .batch_execute(&format!("SELECT clacks_store('n{number}', '{number}')"))
            .expect("SQL");
    }
    assert!(process.is_none());
    let process = setup.spawn();
    bridge.wait_for_log("the server is there again");
    let mut client = Client::unix(&socket).logged_in("rw");
    wait_until("the last one has come", || {
        client.ask("RETRIEVE n2999") == ["RETRIEVED n2999=2999"]
    });
    // What was stored before went with the server; all that was notified while it was away is there.
    for number in 1000..3000 {
        assert_eq!(
            client.ask(&format!("RETRIEVE n{number}")),
            [format!("RETRIEVED n{number}={number}")]
        );
    }
    drop((process, postgres));
}

#[test]
fn a_new_password_is_read_and_nothing_is_lost_meanwhile() {
    let mut world = World::start();
    let mut listener = world.server.client("admin");
    listener.ask("LISTEN n");
    world.sql("SELECT clacks_set('n', '1')");
    assert_eq!(next(&mut listener), "SET n=1");
    let setup = &world.server.setup;
    setup.write_secret("users", &USERS.replace("rwpw", "new"));
    world.server.process.signal(libc::SIGHUP);
    world
        .bridge
        .wait_for_log("the server refuses this user or password");
    world.sql("SELECT clacks_set('n', '2'), clacks_set('n', '3')");
    let setup = &world.server.setup;
    // In the midst of a change there may be none.
    fs::remove_file(setup.path("bridge-password")).expect("it was there");
    world.bridge.wait_for_log("--password-file");
    setup.write_secret("bridge-password", "new\n");
    world.bridge.wait_for_log("the server is there again");
    let mut line = next(&mut listener);
    if line == "SET n=1" {
        // It was not confirmed yet when the server closed.
        line = next(&mut listener);
    }
    assert_eq!(line, "SET n=2");
    assert_eq!(next(&mut listener), "SET n=3");
}

/// One order that the server closes the connection for costs only itself.
#[test]
fn a_notification_that_the_server_does_not_take_is_skipped_alone() {
    let mut world = World::start_with(&["--max-line", "4K"]);
    let mut listener = world.listener("end");
    world.sql(
        "SELECT clacks_store('c' || i, CASE i WHEN 50 THEN repeat('x', 6000) ELSE i::text END)
         FROM generate_series(1, 200) i",
    );
    world.sql("SELECT clacks_notify('end')");
    assert_eq!(next(&mut listener), "NOTIFY end");
    let stored = listener.ask("KEYLIST");
    assert_eq!(stored.len(), 199 + 2, "{stored:?}");
    world.bridge.wait_for_log("which is skipped: line_too_long");
}

/// Notifications wait in the bridge while the server is away, and not in the database, which may crash.
#[test]
fn nothing_is_lost_when_the_database_goes_while_the_server_is_away() {
    let world = World::start();
    let World {
        mut postgres,
        server,
        bridge,
        mut database,
    } = world;
    let Server {
        process,
        socket,
        setup,
        ..
    } = server;
    drop(process);
    database
        .batch_execute("SELECT clacks_store('n' || i, i::text) FROM generate_series(1, 5000) i")
        .expect("SQL");
    // The bridge reads on while it can't pass anything on, up to this one.
    database
        .batch_execute("SELECT pg_notify('clacksmessage', 'the last one')")
        .expect("SQL");
    bridge.wait_for_log("the last one");
    postgres.restart();
    let process = setup.spawn();
    let mut client = Client::unix(&socket).logged_in("rw");
    wait_until("all has come", || client.ask("KEYLIST").len() == 5000 + 2);
    drop((process, bridge));
}

#[test]
fn the_database_may_crash_and_come_back() {
    let mut world = World::start();
    let mut listener = world.listener("end");
    world.sql("SELECT clacks_notify('end')");
    assert_eq!(next(&mut listener), "NOTIFY end");
    world.postgres.restart();
    wait_until("the bridge listens again", || {
        let log = world.bridge.log();
        let times = log
            .iter()
            .filter(|line| line.contains("listening to the database"));
        times.count() == 2
    });
    world.bridge.wait_for_log("the database is lost");
    world.database = world.postgres.connect().expect("a database");
    world.sql("SELECT clacks_notify('end')");
    assert_eq!(next(&mut listener), "NOTIFY end");
    world.bridge.signal(libc::SIGTERM);
    assert_eq!(world.bridge.wait().code(), Some(0));
}

#[test]
fn the_functions_can_be_installed_over_others() {
    let postgres = Postgres::start();
    let mut database = postgres.connect().expect("a database");
    database
        .batch_execute(
            "CREATE FUNCTION clacks_set(clname text, clvalue text) RETURNS void LANGUAGE plpgsql AS
             $$ BEGIN NULL; END $$;
             CREATE FUNCTION clacks_store(text, text) RETURNS void LANGUAGE sql AS 'SELECT'",
        )
        .expect("SQL");
    for address in [postgres.address(), postgres.url()] {
        let installed = run(&mut bridge(&["--postgres", &address, "--init"]));
        assert_eq!(installed.status, Some(0), "{installed:?}");
    }
    let printed = run(&mut bridge(&["--print-sql"]));
    database.batch_execute(&printed.stdout).expect("SQL");
    let found = database
        .query(
            "SELECT proname::text, pg_get_function_identity_arguments(oid)::text FROM pg_proc
             WHERE proname LIKE 'clacks\\_%' ORDER BY 1",
            &[],
        )
        .expect("SQL");
    let found: Vec<(String, String)> = found.iter().map(|row| (row.get(0), row.get(1))).collect();
    let (one, two) = ("clacksname text", "clacksname text, clacksvalue text");
    let expected = [
        ("clacks_decrement", two),
        ("clacks_increment", two),
        ("clacks_notify", one),
        ("clacks_remove", one),
        // Nobody can rename parameters without taking away the function.
        ("clacks_set", "clname text, clvalue text"),
        ("clacks_setandstore", two),
        ("clacks_store", two),
    ];
    let expected = expected.map(|(name, types)| (name.to_owned(), types.to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn wrong_flags_of_the_bridge_are_named() {
    let setup = Setup::new();
    setup.write_secret("open", "x");
    fs::set_permissions(setup.path("open"), fs::Permissions::from_mode(0o604))
        .expect("a file of our own");
    let open = text(&setup.path("open"));
    setup.write_secret("secret", "secret\n");
    let secret = text(&setup.path("secret"));
    let base = ["--postgres", "host=/nowhere", "-s", "unix:/nowhere"];
    let with = |more: &[&'static str]| [&base[..], more].concat();
    for (arguments, what) in [
        (vec![], "--postgres"),
        (vec!["--postgres", "nonsense"], "--postgres"),
        (vec!["--postgres", "host=a sllmode=disable"], "`sllmode`"),
        (
            vec!["--postgres", "host=a sslmode=sometimes"],
            "sslmode=sometimes",
        ),
        (with(&["-u", "x"]), "--password-file"),
        (vec!["-x"], "there is no flag \"-x\"; try clacks-pg --help"),
        (
            vec!["--postgers", "x"],
            "there is no flag \"--postgers\"; did you mean \"--postgres\"?",
        ),
        (
            vec![
                "--postgres",
                "host=a",
                "-s",
                "tcp://192.0.2.1",
                "--password-file",
                &secret,
            ],
            "--server tcp://192.0.2.1: plain text beyond loopback needs --allow-plaintext",
        ),
        (vec!["--print-sql", "more"], "unexpected argument"),
        (with(&["-q", "-v", "-u", "x"]), "--password-file"),
    ] {
        let ended = run(&mut bridge(&arguments));
        assert_eq!(ended.status, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(what), "{arguments:?}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
    let mut command = bridge(&with(&["-u", "x", "--password-file"]));
    let ended = run(command.arg(&open));
    assert_eq!(ended.status, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("try chmod 600"), "{ended:?}");
    let mut command = bridge(&with(&["-u", "x", "--password-file"]));
    let ended = run(command.arg(OsStr::from_bytes(b"/is/not/there\xff")));
    assert_eq!(ended.status, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("is no UTF-8"), "{ended:?}");
}
