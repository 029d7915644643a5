//! A server that has as many clients as there may be can still be managed.

use crate::support::tls::{VERSIONS, session};
use crate::support::{Client, Crowd, Ends, Identity, Server, Setup, token, wait_until};
use clacks::protocol::token::Token;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A server with all its places taken.
fn full_server(places: usize, flags: &[&str]) -> (Server, Vec<Client>) {
    let server = Setup::new()
        .with_tls(&Identity::self_signed(&["localhost"]))
        .flags(&["--max-clients", &places.to_string()])
        .flags(flags)
        .start();
    let clients = (0..places).map(|_| server.client("rw")).collect();
    (server, clients)
}

/// One connection of every kind.
fn strangers(server: &Server) -> [Client; 4] {
    [
        server.stranger(),
        server.tcp_stranger(),
        Client::tls(server.tls_port(), VERSIONS[0]),
        Client::tls(server.tls_port(), VERSIONS[1]),
    ]
}

#[test]
fn who_can_manage_it_gets_into_a_full_server_and_others_are_told() {
    let (server, mut clients) = full_server(3, &[]);
    // More than one, and while others of the kind are there.
    let mut managers: Vec<Client> = strangers(&server)
        .into_iter()
        .zip(["mg", "admin", "mg", "admin"])
        .map(|(stranger, user)| stranger.logged_in(user))
        .collect();
    for (refused, stranger) in strangers(&server).into_iter().enumerate() {
        let mut stranger = stranger;
        // As clients do, before they have read anything.
        stranger.send(&format!(
            "CLACKS x\r\nOVERHEAD A {}\r\nSTORE a=1",
            token("rw")
        ));
        let said = stranger.until_closed();
        assert!(said[0].starts_with("CLACKS "), "{said:?}");
        assert_eq!(
            said[1..],
            [
                "OVERHEAD M Authentication required",
                "OVERHEAD E client_limit"
            ]
        );
        assert_eq!(server.status("client_limit"), refused as u64 + 1);
    }
    let log = server.process.wait_for_log(": client_limit (");
    assert!(log.contains("; --max-clients is "), "{log}");
    // A wrong login is one here too.
    let mut wrong = server.stranger();
    wrong.send("OVERHEAD A wrong:wrong");
    assert_eq!(
        wrong.until_closed().last().map(String::as_str),
        Some("OVERHEAD F Login failed!")
    );
    for manager in &mut managers {
        assert_eq!(manager.ask("CLIENTLIST").len(), 2 + 3 + 4);
    }
    for client in &mut clients {
        assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    }
    // They can do what they came for: make room.
    let list = managers[0].ask("CLIENTLIST");
    let cids: Vec<&str> = list
        .iter()
        .filter(|line| line.contains("test of rw"))
        .filter_map(|line| line.split_once("CID=")?.1.split(';').next())
        .collect();
    assert_eq!(cids.len(), 3);
    for cid in cids {
        managers[0].ask(&format!("CLIENTDISCONNECT {cid}"));
    }
    for client in &mut clients {
        assert_eq!(client.until_closed(), ["QUIT"]);
    }
    managers.truncate(1);
    wait_until("there are places", || server.status("clients") == 1);
    server.client("rw").ask("PING");
}

#[test]
fn a_place_that_became_free_before_the_login_is_taken() {
    let (server, mut clients) = full_server(3, &[]);
    let mut waiting = server.stranger();
    waiting.expect_after_others("OVERHEAD M Authentication required");
    clients.pop();
    wait_until("the place is free", || server.status("clients") == 3);
    let mut waiting = waiting.logged_in("rw");
    assert_eq!(waiting.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    // It has an ordinary place now, and the server is full again.
    let mut late = server.stranger();
    late.send(&format!("OVERHEAD A {}", token("rw")));
    assert_eq!(
        late.until_closed().last().map(String::as_str),
        Some("OVERHEAD E client_limit")
    );
}

/// Says over and over that somebody else is to be kept out.
fn flood(server: &Server, ended: &AtomicBool, attempts: &AtomicUsize, kind: usize) {
    let mut held: Vec<UnixStream> = Vec::new();
    let mut held_tls: Vec<TcpStream> = Vec::new();
    let mut hello = Vec::new();
    session(VERSIONS[1])
        .write_tls(&mut hello)
        .expect("room in memory");
    while !ended.load(Ordering::Relaxed) {
        attempts.fetch_add(1, Ordering::Relaxed);
        if kind == 2 {
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", server.tls_port())) {
                let _ = stream.write_all(&hello);
                held_tls.push(stream);
            }
        } else if let Ok(mut stream) = UnixStream::connect(&server.socket) {
            if kind == 1 {
                let _ = stream.write_all(b"OVERHEAD A d3Jvbmc=:d3Jvbmc=\r\n");
            }
            held.push(stream);
        }
        // As many as an attacker of some patience holds.
        if held.len() + held_tls.len() > 300 {
            held.clear();
            held_tls.clear();
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// They are silent, send wrong logins, or begin with TLS, a thousand and more a second of each kind.
#[test]
fn a_flood_of_strangers_keeps_no_manager_out() {
    let (server, mut clients) = full_server(3, &[]);
    let (ended, attempts) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _ends = Ends(&ended);
        for kind in 0..3 {
            let (server, ended, attempts) = (&server, &ended, &attempts);
            scope.spawn(move || flood(server, ended, attempts, kind));
        }
        wait_until("the flood has come", || {
            attempts.load(Ordering::Relaxed) > 2_000
        });
        let start = Instant::now();
        let mut tries = 0;
        for _ in 0..20 {
            for stranger in 0..4 {
                loop {
                    tries += 1;
                    assert!(start.elapsed() < Duration::from_secs(30), "{tries} tries");
                    let mut manager = strangers(&server)
                        .into_iter()
                        .nth(stranger)
                        .expect("four kinds");
                    let login = format!("OVERHEAD A {}\r\n", token("mg"));
                    if manager.try_send(login.as_bytes()).is_err() {
                        continue;
                    }
                    let mut said = None;
                    while said.as_deref() != Some("OVERHEAD O Welcome!") {
                        said = manager.next_line();
                        if said.is_none() {
                            break;
                        }
                    }
                    if said.is_some() {
                        assert!(manager.ask("CLIENTLIST").len() >= 6);
                        break;
                    }
                }
            }
        }
        println!(
            "measured: 80 managers got in with {tries} tries, {:?}, against {} strangers",
            start.elapsed(),
            attempts.load(Ordering::Relaxed)
        );
    });
    for client in &mut clients {
        assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    }
}

/// They were waiting in a row to be accepted, and all were in one turn of the loop.
#[test]
fn who_came_behind_pushed_a_manager_out_before_it_was_heard() {
    let (server, _clients) = full_server(3, &[]);
    let login = format!("OVERHEAD A {}\r\nFLUSH in\r\n", token("mg"));
    for over_tcp in [false, true] {
        server.process.signal(libc::SIGSTOP);
        let connect = || {
            if over_tcp {
                server.tcp_stranger()
            } else {
                server.stranger()
            }
        };
        let mut manager = connect();
        manager.send_bytes(login.as_bytes());
        let behind: Vec<Client> = (0..200).map(|_| connect()).collect();
        server.process.signal(libc::SIGCONT);
        manager.expect_after_others("OVERHEAD O Welcome!");
        manager.expect("FLUSHED in");
        drop(behind);
        manager.send("QUIT");
        manager.until_closed();
        wait_until("all are gone", || server.status("clients") == 3);
    }
}

/// Who was refused, and reads on, must not take the places of those who come after.
#[test]
fn wrong_logins_that_stay_connected_kept_everybody_out_of_a_full_server() {
    let (server, _clients) = full_server(3, &[]);
    let mut staying: Vec<UnixStream> = Vec::new();
    for number in 1..=100 {
        let mut stream = UnixStream::connect(&server.socket).expect("the server accepts");
        // The answer to the same user would be delayed.
        let wrong = Token::encode(format!("wrong {number}").as_bytes(), b"wrong");
        let _ = stream.write_all(format!("OVERHEAD A {wrong}\r\n").as_bytes());
        staying.push(stream);
        wait_until("it was answered", || {
            server.status("login_failed") == number
        });
    }
    server.client("mg").ask("CLIENTLIST");
}

#[test]
fn the_descriptors_for_managers_are_there() {
    let setup = Setup::new()
        .with_tls(&Identity::self_signed(&["localhost"]))
        .flags(&["--master", "tls://127.0.0.1:1", "--master-insecure"])
        .flags(&["--interclacks-reconnect", "0.05"]);
    let server = setup.start_changed(|command| {
        let limit = libc::rlimit {
            rlim_cur: 40,
            rlim_max: 96,
        };
        // SAFETY: between fork and exec, setrlimit is safe to call; the limit is copied in.
        unsafe {
            command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            })
        };
    });
    server.process.wait_for_log("--max-clients lowered to 32");
    let _clients: Vec<Client> = (0..32).map(|_| server.client("rw")).collect();
    let mut silent = Crowd::unix(&server.socket, 16);
    silent.wait_for_all("the greeting", |received| {
        received.ends_with(b"Authentication required\r\n")
    });
    let mut managers: Vec<Client> = Vec::new();
    for _ in 0..3 {
        for stranger in strangers(&server) {
            managers.push(stranger.logged_in("mg"));
        }
    }
    for manager in &mut managers {
        assert!(manager.ask("CLIENTLIST").len() >= 2 + 32 + 12);
    }
    // Files are opened then.
    server.process.signal(libc::SIGHUP);
    server.process.wait_for_log(" read again: ");
    let log = server.process.log();
    let failed = |line: &String| {
        line.contains("cannot accept") || line.contains("open files") || line.contains("not read")
    };
    assert!(!log.iter().any(failed), "{log:?}");
}
