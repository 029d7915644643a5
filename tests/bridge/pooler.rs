//! clacks-pg behind PgBouncer.

use crate::bridge::databases::{install, listener, start_bridge};
use crate::bridge::{Postgres, bridge, next};
use crate::runner::needs;
use crate::support::{Ending, Process, Server, text, wait_until};
use std::path::Path;
use std::process::Stdio;

/// A pooler with a Unix socket beside the database's, until its end.
struct Pooler {
    _process: Ending,
    address: String,
}

impl Pooler {
    fn start(postgres: &Postgres, mode: &str) -> Pooler {
        const PORT: u16 = 6432;
        let folder = text(postgres.folder.path());
        let users = text(&postgres.folder.path().join("users"));
        postgres.write("users", "\"tester\" \"\"\n");
        let settings = format!(
            "[databases]\n* = host={folder} port=5432\n[pgbouncer]\nlisten_addr =\nlisten_port = {PORT}\n\
             unix_socket_dir = {folder}\nauth_type = trust\nauth_file = {users}\npool_mode = {mode}\n"
        );
        postgres.write("pgbouncer.ini", &settings);
        let process = postgres
            .command_at(Path::new("/usr/sbin/pgbouncer"))
            .args([
                "--quiet",
                &text(&postgres.folder.path().join("pgbouncer.ini")),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let pooler = Pooler {
            _process: Ending(process.expect("a process")),
            address: format!("host={folder} port={PORT} user=tester dbname=postgres"),
        };
        wait_until("the pooler answers", || {
            let client = postgres::Client::connect(&pooler.address, postgres::NoTls);
            client.is_ok_and(|mut client| client.simple_query("SELECT 1").is_ok())
        });
        pooler
    }
}

#[test]
fn behind_a_pooler_in_transaction_mode_it_says_that_notifications_do_not_arrive() {
    needs("pgbouncer");
    let postgres = Postgres::start();
    let server = Server::start();
    let pooler = Pooler::start(&postgres, "transaction");
    // That needs no session.
    install(&pooler.address);
    let address = format!("{} connect_timeout=1", pooler.address);
    let mut command = bridge(&["--postgres", &address, "-s", &server.address()]);
    command.args(["-u", "rw"]).env("CLACKS_PASSWORD", "rwpw");
    let bridge = Process::spawn(&mut command);
    bridge.wait_for_log(
        "the database can't be reached: its notifications don't arrive, as behind a pooler in \
         transaction mode",
    );
    assert_eq!(bridge.log_line("listening to the database"), None);
}

#[test]
fn behind_a_pooler_in_session_mode_it_listens() {
    needs("pgbouncer");
    let postgres = Postgres::start();
    let server = Server::start();
    let pooler = Pooler::start(&postgres, "session");
    install(&pooler.address);
    let _bridge = start_bridge(&pooler.address, &server);
    let mut signals = listener(&server, "a");
    let mut database = postgres.connect().expect("a database");
    database
        .batch_execute("SELECT clacks_notify('a')")
        .expect("SQL");
    assert_eq!(next(&mut signals), "NOTIFY a");
}
