//! clacks ping, clacks status and clacks clients.

use super::commands::{assert_fails, json_lines};
use super::played::PlayedServer;
use crate::support::{Server, Setup, bare_clacks, run};
use regex::Regex;
use std::io::Read;
use std::os::unix::net::UnixListener;

#[test]
fn ping_prints_the_round_trip_of_every_user_and_server() {
    let setup = Setup::bare();
    let (server, played) = (Server::start(), PlayedServer::start(&setup));
    let answered = Regex::new(r"^answered in \d+\.\d{3} ms\n$").expect("a pattern");
    for user in ["ro", "wo", "mg"] {
        let printed = server.clacks_output(user, &["ping"]);
        assert!(answered.is_match(&printed), "{printed}");
    }
    let ended = played.clacks(&["ping"]);
    assert!(
        ended.status == Some(0) && answered.is_match(&ended.stdout),
        "{ended:?}"
    );
    let printed = json_lines(&server.clacks_output("ro", &["--json", "ping"]));
    let ms = printed[0]["round_trip_ms"].as_f64().expect("a number");
    assert!(ms > 0.0 && ms < 30_000.0, "{ms}");
}

/// No server, one that ends the connection instead of answering, and a wrong login.
#[test]
fn ping_has_one_status_for_all_that_does_not_answer() {
    let setup = Setup::bare();
    let listener = UnixListener::bind(setup.path("short")).expect("a socket of our own");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let welcome = b"CLACKS played\r\nOVERHEAD O Welcome!\r\n";
            std::io::Write::write_all(&mut stream, welcome).expect("it reads");
            while !matches!(stream.read(&mut [0; 1000]), Ok(0) | Err(_)) {
                let full = b"OVERHEAD E buffers_limit\r\n";
                if std::io::Write::write_all(&mut stream, full).is_err() {
                    break;
                }
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
        }
    });
    for (address, part) in [
        (setup.unix("nobody"), "no connection"),
        (setup.unix("short"), "buffers_limit"),
    ] {
        let mut command = bare_clacks(&["-s", &address, "ping"]);
        assert_fails(run(command.env("CLACKS_PASSWORD", "x")), 3, part);
    }
    let server = Server::start();
    let mut command = server.clacks_command("ro", &["ping"]);
    assert_fails(run(command.env("CLACKS_PASSWORD", "x")), 3, "user \"ro\"");
}

#[test]
fn status_prints_figures_without_the_many_that_are_zero() {
    let server = Server::start();
    server.clacks_output("rw", &["store", "a", "1"]);
    let printed = server.clacks_output("mg", &["status"]);
    let value = |name: &str| {
        let mut lines = printed.lines().map(str::split_whitespace);
        let line = lines.find_map(|mut words| (words.next()? == name).then(|| words.next()));
        line.flatten().map(str::to_owned)
    };
    assert_eq!(value("entries").as_deref(), Some("1"));
    assert_eq!(value("requests.clacks.STORE").as_deref(), Some("1"));
    assert_eq!(value("evictions").as_deref(), Some("0"));
    assert_eq!(value("requests.clacks.TTL"), None);
    assert!(value("uptime_seconds").is_some());
    // The values end in one column.
    let widths: Vec<usize> = printed.lines().map(str::len).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{printed}");
    let objects = json_lines(&server.clacks_output("mg", &["--json", "status"]));
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0]["requests.clacks.TTL"], 0);
    assert_eq!(objects[0]["entries"], 1);
    assert!(objects[0]["uptime_seconds"].is_f64());
}

#[test]
fn status_prints_its_lists_as_tables() {
    let master = Server::start();
    let address = master.setup.unix("socket");
    let slave = Setup::new().flags(&["--master", &address]).start();
    slave.client("rw").ask("STORE a\u{1b}=1");
    let prints = |arguments: &[&str]| slave.clacks_output("mg", arguments);
    crate::support::wait_until("the link is up to date", || {
        prints(&["status", "links"]).contains("up_to_date")
    });
    let links = prints(&["status", "links"]);
    let lines: Vec<Vec<&str>> = links
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0][..4], ["LINK", "ROLE", "STATE", "ADDRESS"]);
    assert_eq!(lines[1][1..3], ["master", "up_to_date"]);
    let link = &json_lines(&prints(&["--json", "status", "links"]))[0];
    assert_eq!(link["role"], "master");
    assert!(
        link["round_trip"].is_f64() && link["queued"].is_u64(),
        "{link}"
    );
    let names = prints(&["status", "names"]);
    assert!(
        names
            .lines()
            .any(|line| line.starts_with("large ") && line.ends_with(" a\\x1b")),
        "{names}"
    );
    let names = json_lines(&prints(&["--json", "status", "names"]));
    let large = names.iter().find(|row| row["kind"] == "large");
    assert_eq!(large.expect("the entry")["name"], "a\\x1b");
    let slow = prints(&["status", "slow"]);
    let words = |line: Option<&str>| -> Vec<String> {
        let words = line.unwrap_or_default().split_whitespace();
        words.map(str::to_owned).collect()
    };
    let heading = "KIND TIME TURN LANGUAGE VERB SIZE WORK NAME";
    assert_eq!(words(slow.lines().next()).join(" "), heading);
    assert_eq!(words(slow.lines().nth(1))[0], "longest");
    let wrong = slave.clacks("mg", &["status", "clientz"]);
    assert_fails(wrong, 2, "LIST \"clientz\" wants links, names or slow");
    let clients = slave.clacks("mg", &["status", "clients"]);
    assert_fails(clients, 2, "the command clacks clients");
}

#[test]
fn clients_are_shown_with_users_times_and_subscriptions() {
    let server = Server::start();
    let mut other = server.client("rw");
    other.ask("LISTEN a");
    other.ask("PLISTEN b::>");
    let table = server.clacks_output("mg", &["clients"]);
    let heading = "CID USER LANGUAGE ADDRESS AGE IDLE SUBS OUT IN NOTES CLIENT";
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(table.lines().next().expect("a line")), heading);
    let row = Regex::new(r"^\S+ rw clacks unix [\d.]+s [\d.]+s 2 0 0 - test of rw$");
    let row = row.expect("a pattern");
    assert!(
        table.lines().any(|line| row.is_match(&words(line))),
        "{table}"
    );
    let clients = json_lines(&server.clacks_output("mg", &["--json", "clients"]));
    let found = clients.iter().find(|client| client["user"] == "rw");
    let found = found.expect("it is connected");
    assert_eq!(
        (&found["language"], &found["subscriptions"]),
        (&"clacks".into(), &2.into())
    );
    // The fields of CLIENTLIST, too.
    assert!(
        found["lastping"].is_u64() && found["idle"].is_f64(),
        "{found}"
    );
}

#[test]
fn a_server_of_net_clacks_shows_the_clients_that_it_knows() {
    let setup = Setup::bare();
    let played = PlayedServer::start(&setup);
    let ended = played.clacks(&["clients"]);
    let row = ended.stdout.lines().nth(1).expect("a row");
    let words: Vec<&str> = row.split_whitespace().collect();
    let expected = "10.0.0.1:5:1 - - 10.0.0.1:5 - - - 7 0 monitor perl";
    assert_eq!(
        (ended.status, words.join(" ").as_str()),
        (Some(0), expected)
    );
    let ended = played.clacks(&["--json", "clients"]);
    assert_eq!(json_lines(&ended.stdout)[0]["monitor"], true);
    let refused = "the server refused it: unknown_command STATUS: a server of Net::Clacks";
    assert_fails(played.clacks(&["status"]), 4, refused);
}
