//! Clients that do what they shouldn't: each ends by its own limit, with a word of its own in the
//! log, and the others notice nothing. How fast the others are served is in `measurements`.

use crate::support::{Client, Crowd, Ending, Random, Server, Setup, token, wait_until};
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Memory that a server takes beyond its buffers, with some to spare.
const BASE_MEMORY_KB: u64 = 64 * 1024;

/// Sends until the server has had enough, and reads what it says.
fn send_without_end(client: &mut Client, piece: &[u8]) -> Vec<String> {
    let mut said = Vec::new();
    wait_until("the server closes", || {
        let _ = client.try_send(piece);
        said.extend(client.whatever_came(Duration::from_millis(1)));
        client.is_closed()
    });
    said
}

#[test]
fn a_line_without_end_is_ended_by_the_line_limit() {
    let server = Setup::new()
        .flags(&["--max-line", "64K", "--max-output", "128K"])
        .start();
    for (count, mut client) in [server.client("rw"), server.tcp_stranger().logged_in("rw")]
        .into_iter()
        .enumerate()
    {
        let said = send_without_end(&mut client, &[b'x'; 10_000]);
        assert_eq!(said, ["OVERHEAD E line_too_long"]);
        server.process.wait_for_log("user rw; --max-line is 65536)");
        wait_until("it is counted", || {
            server.status("line_too_long") == count as u64 + 1
        });
    }
    for mut stranger in [server.stranger(), server.tcp_stranger()] {
        let said = send_without_end(&mut stranger, &[b'x'; 1000]);
        assert_eq!(
            said[1..],
            [
                "OVERHEAD M Authentication required",
                "OVERHEAD E line_too_long"
            ]
        );
        let log = server
            .process
            .wait_for_log("; a line before the login has at most 4096 bytes");
        assert!(log.contains(": line_too_long ("), "{log}");
    }
    assert_eq!(server.client("rw").ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
}

#[test]
fn a_line_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() {
    let server = Setup::new()
        .flags(&["--max-line", "64K", "--max-output", "256K"])
        .start();
    let store = |length: usize| format!("STORE a={}", "v".repeat(length - "STORE a=".len()));
    for pieces in [1, 2, 1000] {
        let mut client = server.client("rw");
        let send = |client: &mut Client, line: &str| {
            let line = format!("{line}\r\n");
            for piece in line.as_bytes().chunks(line.len().div_ceil(pieces)) {
                let _ = client.try_send(piece);
            }
        };
        send(&mut client, &store(64 * 1024));
        assert_eq!(client.flush(), [""; 0]);
        assert_eq!(
            client.ask("RETRIEVE a")[0].len(),
            "RETRIEVED a=".len() + 64 * 1024 - "STORE a=".len()
        );
        send(&mut client, &store(64 * 1024 + 1));
        assert_eq!(client.until_closed(), ["OVERHEAD E line_too_long"]);

        // Before the login it is 4096 bytes, whatever the flag says.
        let mut stranger = server.stranger();
        send(&mut stranger, &"x".repeat(4096));
        send(&mut stranger, &format!("OVERHEAD A {}", token("rw")));
        stranger.expect_after_others("OVERHEAD O Welcome!");
        let mut stranger = server.stranger();
        send(&mut stranger, &"x".repeat(4097));
        assert_eq!(stranger.until_closed()[2..], ["OVERHEAD E line_too_long"]);
    }
    // Carriage returns don't count, for they are dropped.
    let mut stranger = server.stranger();
    stranger.send_bytes(&[b'\r'; 100_000]);
    stranger.send(&format!("OVERHEAD A {}", token("rw")));
    stranger.expect_after_others("OVERHEAD O Welcome!");
}

#[test]
fn a_listener_that_does_not_read_is_closed_by_its_output_limit() {
    let server = Setup::new()
        .flags(&["--max-line", "64K", "--max-output", "1M"])
        .start();
    let mut stuck = server.client("ro");
    stuck.ask("LISTEN signal");
    let mut listener = server.client("ro");
    listener.ask("LISTEN signal");
    let mut sender = server.client("rw");
    let signal = format!("SET signal={}", "x".repeat(32 * 1024));
    for _ in 0..100 {
        sender.ask(&signal);
        listener.expect(&signal);
    }
    let log = server.process.wait_for_log(": output_limit (");
    assert!(log.contains("; --max-output is 1048576)"), "{log}");
    assert_eq!(
        (server.status("output_limit"), server.status("clients")),
        (1, 2)
    );
    // What the other one listens to counts still.
    assert!(server.status("buffers") < 1000, "its output was given up");
    // What was sent before is there, in whole lines up to the last.
    let came = stuck.until_closed();
    assert!(
        came.len() < 40 && came.iter().all(|line| *line == signal),
        "{}",
        came.len()
    );
}

#[test]
fn a_monitor_that_does_not_read_is_closed_by_its_output_limit() {
    let server = Setup::new()
        .flags(&["--max-line", "64K", "--max-output", "1M"])
        .start();
    let mut monitor = server.client("admin");
    monitor.ask("MONITOR");
    let mut client = server.client("rw");
    let value = "x".repeat(1000);
    for number in 0..5_000 {
        client.send(&format!("STORE a={value}{number}"));
        assert_eq!(
            client.ask("RETRIEVE a"),
            [format!("RETRIEVED a={value}{number}")]
        );
    }
    server.process.wait_for_log(": output_limit (");
    wait_until("it is gone", || server.status("monitors") == 0);
    assert_eq!(
        (server.status("output_limit"), server.status("clients")),
        (1, 1)
    );
    drop(monitor);
}

#[test]
fn who_does_not_read_its_own_answers_is_not_closed_and_gets_them_all_in_order() {
    let server = Setup::new()
        .flags(&["--max-line", "1M", "--max-output", "4M"])
        .start();
    let mut client = server.client("rw");
    let value = "x".repeat(900_000);
    client.ask(&format!("STORE large={value}"));
    const ANSWERS: usize = 60;
    for number in 0..ANSWERS {
        client.send(&format!("FLUSH {number}"));
        client.send("RETRIEVE large");
    }
    client.send("KEYLIST");
    client.send("STORE last=1");
    let (mut other, mut manager) = (server.client("rw"), server.client("mg"));
    let mut most_waiting = || server.most_waiting(&mut manager);
    wait_until("half of the limit is waiting", || most_waiting() > 2 << 20);
    assert!(most_waiting() < 4 << 20);
    assert_eq!(
        other.ask("RETRIEVE last"),
        ["NOTRETRIEVED last"],
        "the rest waits"
    );
    // All answers share the value.
    assert!(server.status("buffers") < 2 * value.len() as u64);
    assert!(server.proc_status("VmHWM") < BASE_MEMORY_KB);

    for number in 0..ANSWERS {
        client.expect(&format!("FLUSHED {number}"));
        assert_eq!(
            client.next_line().map(|line| line.len()),
            Some("RETRIEVED large=".len() + value.len())
        );
    }
    assert_eq!(client.flush(), ["KEYLISTSTART", "KEY large", "KEYLISTEND"]);
    assert_eq!(other.ask("RETRIEVE last"), ["RETRIEVED last=1"]);
    // What the listeners listen to counts still.
    wait_until("nothing waits any more", || {
        server.status("buffers") < 10_000
    });
}

/// Half of the output limit may be waiting when the next line is handled, and its answer is longer than the line.
#[test]
fn the_longest_answers_closed_their_own_client() {
    let server = Setup::new()
        .flags(&["--max-line", "4K", "--max-output", "8K"])
        .start();
    let mut client = server.client("rw");
    let flushed = "f".repeat(4096 - "FLUSHED \r\n".len());
    let unknown = "X".repeat(4096);
    for _ in 0..20 {
        // In one piece, so that the first answer is still waiting when the second comes to it.
        client.send_bytes(format!("FLUSH {flushed}\r\n{unknown}\r\n").as_bytes());
        client.expect(&format!("FLUSHED {flushed}"));
        client.expect(&format!("OVERHEAD E unknown_command {unknown}"));
    }
}

#[test]
fn long_lists_closed_their_own_client() {
    let server = Setup::new()
        .flags(&["--max-line", "4K", "--max-output", "8K"])
        .start();
    let mut client = server.client("admin");
    for names in [2_000, 12_000] {
        for number in 0..names {
            client.send(&format!("STORE a name of some length, number {number}=1"));
        }
        client.flush();
        assert_eq!(client.ask("KEYLIST").len(), names + 2);
    }
    let _crowd = Crowd::unix(&server.socket, 200);
    wait_until("all are there", || server.status("clients") == 201);
    assert_eq!(client.ask("CLIENTLIST").len(), 201 + 2);
}

#[test]
fn who_never_logs_in_takes_a_place_only_for_the_auth_timeout() {
    let server = Setup::new()
        .flags(&["--auth-timeout", "0.5", "--max-clients", "20"])
        .start();
    let mut client = server.client("rw");
    let mut strangers = Crowd::unix(&server.socket, 19);
    strangers.wait_for_all("the greeting", |received| {
        received.ends_with(b"Authentication required\r\n")
    });
    // Of those who say nothing at all the log is silent, too.
    strangers.send(|_| b"CLACKS somebody\r\n".to_vec());
    wait_until("all have gone", || {
        strangers.receive(Duration::from_millis(10));
        strangers.closed() == 19
    });
    wait_until("they are counted", || {
        server.status("auth_timeout") == 19 && server.status("clients") == 1
    });
    assert!(server.process.log_line(": auth_timeout (").is_some());
    assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    server.client("rw").ask("PING");
}

#[test]
fn a_surplus_client_is_told_so_and_closed() {
    let server = Setup::new().flags(&["--max-clients", "3"]).start();
    let mut clients: Vec<Client> = (0..3).map(|_| server.client("rw")).collect();
    for mut surplus in [server.stranger(), server.tcp_stranger()] {
        // As clients do, before they have read anything.
        let _ = surplus.try_send(format!("CLACKS x\r\nOVERHEAD A {}\r\n", token("rw")).as_bytes());
        let said = surplus.until_closed();
        assert!(said[0].starts_with("CLACKS "), "{said:?}");
        assert_eq!(
            said[1..],
            [
                "OVERHEAD M Authentication required",
                "OVERHEAD E client_limit"
            ]
        );
    }
    server.process.wait_for_log("client_limit");
    assert_eq!(server.status("client_limit"), 2);
    for client in &mut clients {
        assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    }
    clients.pop();
    wait_until("the place is free", || server.status("clients") == 2);
    server.client("rw").ask("PING");
}

#[test]
fn of_too_many_unfinished_lines_the_largest_goes() {
    let flags = [
        "--max-line",
        "1M",
        "--max-output",
        "2M",
        "--max-buffers",
        "4M",
    ];
    let server = Setup::new().flags(&flags).start();
    let mut large = server.client("rw");
    large.send_bytes(&[b'l'; 1_000_000]);
    wait_until("it has arrived", || server.status("bytes_in") > 1_000_000);
    // Less than half as much each: buffers may be up to twice as large as what is in them.
    let mut small = Vec::new();
    while server.status("buffers_limit") == 0 {
        let mut client = server.client("rw");
        let before = server.status("bytes_in");
        client.send_bytes(&[b's'; 450_000]);
        wait_until("it has arrived", || {
            server.status("bytes_in") >= before + 450_000
        });
        small.push(client);
        assert!(small.len() < 10, "there is a limit");
    }
    assert_eq!(large.until_closed(), ["OVERHEAD E buffers_limit"]);
    server.process.wait_for_log(": buffers_limit (");
    // The others can finish their lines.
    for client in &mut small {
        client.send("");
        let answer = client.flush();
        assert!(
            answer
                == [format!(
                    "OVERHEAD E unknown_command {}",
                    "s".repeat(450_000)
                )],
            "{}",
            answer[0].len()
        );
    }
    assert_eq!(server.status("buffers_limit"), 1);
}

#[test]
fn who_goes_for_its_own_limit_takes_nobody_along_for_that_of_all() {
    let flags = [
        "--max-line",
        "1M",
        "--max-output",
        "16M",
        "--max-buffers",
        "16M",
    ];
    let server = Setup::new().flags(&flags).start();
    let mut stalled = server.client("ro");
    stalled.send("LISTEN large");
    stalled.flush();
    let mut others: Vec<Client> = (0..10).map(|_| server.client("rw")).collect();
    for (number, client) in others.iter_mut().enumerate() {
        client.send(&format!("LISTEN name{number}"));
        client.flush();
    }
    let mut sender = server.client("rw");
    let signal = format!("SET large={}\r\n", "x".repeat(60_000));
    while server.status("output_limit") + server.status("buffers_limit") == 0 {
        for _ in 0..8 {
            sender.send_bytes(signal.as_bytes());
        }
        sender.flush();
    }
    assert_eq!(server.status("clients"), 11);
    for client in others.iter_mut().chain([&mut sender]) {
        assert!(client.flush().is_empty());
    }
}

#[test]
fn what_a_client_listened_to_is_free_as_soon_as_it_has_to_go() {
    let flags = [
        "--max-line",
        "1M",
        "--max-output",
        "8M",
        "--max-buffers",
        "8M",
    ];
    let server = Setup::new().flags(&flags).start();
    let mut others: Vec<Client> = (0..10).map(|_| server.client("rw")).collect();
    for client in &mut others {
        for name in 0..1_000 {
            client.send(&format!("LISTEN name{name}"));
        }
        client.flush();
    }
    let mut greedy = server.client("rw");
    let name = "n".repeat(4_000);
    for number in 0.. {
        greedy.send(&format!("LISTEN {number}{name}"));
        if number % 100 == 0 && server.status("buffers_limit") > 0 {
            break;
        }
        assert!(number < 10_000, "there is a limit");
    }
    let said = greedy.until_closed();
    assert_eq!(said.last().expect("a reason"), "OVERHEAD E buffers_limit");
    // Turns enough to take others along.
    for _ in 0..100 {
        for client in &mut others {
            assert!(client.flush().is_empty());
        }
    }
    assert_eq!(server.status("buffers_limit"), 1);
}

#[test]
fn the_memory_of_unfinished_lines_is_bounded() {
    let flags = [
        "--max-line",
        "4M",
        "--max-output",
        "8M",
        "--max-buffers",
        "16M",
    ];
    let server = Setup::new().flags(&flags).start();
    let mut client = server.client("rw");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
            }
        });
        let senders: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut senders = Vec::new();
                    for _ in 0..10 {
                        let mut sender = server.client("rw");
                        let full = (0..3 * 16).all(|_| sender.try_send(&[b'x'; 1 << 16]).is_ok());
                        // The line stays unfinished for as long as others send theirs.
                        senders.extend(full.then_some(sender));
                    }
                    senders
                })
            })
            .collect();
        let senders: Vec<Vec<Client>> = senders
            .into_iter()
            .map(|sender| sender.join().expect("no panic"))
            .collect();
        assert!(senders.iter().flatten().count() > 0);
        wait_until("the limit was passed", || {
            server.status("buffers_limit") > 0
        });
        assert!(server.status("buffers") <= 16 << 20);
        ended.store(true, Ordering::Relaxed);
    });
    let peak_kb = server.proc_status("VmHWM");
    assert!(peak_kb < BASE_MEMORY_KB + 18 * 1024, "{peak_kb} kB");
}

#[test]
fn random_bytes_hurt_nobody() {
    let server = Setup::new()
        .flags(&["--max-line", "8K", "--max-output", "1M"])
        .start();
    let mut client = server.client("admin");
    client.ask("STORE untouched=1");
    let mut random = Random::new(20_261_122);
    for round in 0..60 {
        // Every other one has logged in, and may read only: nothing that comes about by chance
        // changes what is checked.
        let mut sender = if round % 2 == 0 {
            server.stranger()
        } else {
            server.client("ro")
        };
        for _ in 0..20 {
            let length = random.below(3000);
            let mut bytes = random.bytes(length);
            if round % 3 == 0 {
                // Lines of likely words with random bytes behind.
                let word = random.pick(&[
                    "RETRIEVE ",
                    "SET ",
                    "OVERHEAD ",
                    "KEYSYNC ",
                    "LISTEN ",
                    "CLACKS ",
                    "FLUSH ",
                ]);
                bytes.splice(0..0, word.bytes());
                bytes.push(b'\n');
            }
            if sender.try_send(&bytes).is_err() {
                break;
            }
            sender.receive(Duration::from_millis(1));
        }
        assert_eq!(
            client.ask("RETRIEVE untouched"),
            ["RETRIEVED untouched=1"],
            "round {round}"
        );
    }
    wait_until("all have gone", || server.status("clients") == 1);
    assert_eq!(
        (server.status("entries"), server.status("subscriptions")),
        (1, 0)
    );
}

#[test]
fn opening_and_closing_at_full_speed_leaves_nothing_behind() {
    let server = Server::start();
    let mut client = server.client("rw");
    client.ask("PING");
    let descriptors = server.open_descriptors();
    const EACH: usize = 2_000;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for number in 0..EACH {
                    let stream = UnixStream::connect(&server.socket).expect("the server accepts");
                    if number % 3 == 0 {
                        let _ = Client::from_unix(stream).try_send(b"OVERHEAD A x\r\nhalf a li");
                    }
                }
            });
        }
        for _ in 0..500 {
            assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
        }
    });
    let have_come = || server.status("connections") == 2 * EACH as u64 + 1;
    wait_until("all have come and gone", || {
        have_come() && server.status("clients") == 1
    });
    // Who sent a wrong login is read for a moment more.
    wait_until("all descriptors are closed", || {
        server.open_descriptors() == descriptors
    });
    assert_eq!(server.status("buffers"), 0);
}

#[test]
fn max_clients_is_lowered_to_what_the_descriptor_limit_allows() {
    let server = Setup::new().start_changed(|command| {
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
    let line = server
        .process
        .log_line("--max-clients lowered")
        .expect("a line of the log");
    assert!(
        line.contains("lowered to 32: the limit on descriptors is 96"),
        "{line}"
    );
    let _clients: Vec<Client> = (0..32).map(|_| server.client("rw")).collect();
    let mut surplus = server.stranger();
    assert_eq!(
        surplus.until_closed().last().map(String::as_str),
        Some("OVERHEAD E client_limit")
    );
}

#[test]
fn running_out_of_descriptors_does_not_spin_and_passes() {
    let server = Server::start();
    let mut client = server.client("rw");
    let before = server.leave_descriptors(5);
    let mut served: Vec<Client> = (0..5).map(|_| server.client("rw")).collect();
    let mut waiting = Crowd::unix(&server.socket, 20);
    server.process.wait_for_log("cannot accept connections");
    let (cpu_s, start) = (server.process.cpu_s(), Instant::now());
    // Two seconds of it.
    while start.elapsed() < Duration::from_secs(2) {
        assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
        waiting.receive(Duration::from_millis(100));
    }
    let used_s = server.process.cpu_s() - cpu_s;
    assert!(used_s < 0.5, "{used_s} s of processor time in 2 s");
    assert!(
        waiting.received().all(<[u8]>::is_empty),
        "nobody was accepted"
    );
    let lines = server
        .process
        .log()
        .iter()
        .filter(|line| line.contains("cannot accept"))
        .count();
    assert!(lines <= 5 * 4, "{lines} lines of the log");

    for client in &mut served {
        assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    }
    drop(served);
    let greeted = |crowd: &Crowd| {
        crowd
            .received()
            .filter(|received| !received.is_empty())
            .count()
    };
    wait_until("as many are accepted as have gone", || {
        waiting.receive(Duration::from_millis(10));
        greeted(&waiting) == 5
    });
    server.limit_descriptors(before);
    waiting.wait_for_all("the greeting", |received| {
        received.ends_with(b"Authentication required\r\n")
    });
}

#[test]
fn a_log_that_nobody_reads_stops_nobody() {
    let setup = Setup::new();
    let listen = setup.unix("socket");
    let setup = setup.flags(&["-v", "--listen", &listen]);
    let mut child = Ending(
        setup
            .command()
            .stderr(Stdio::piped())
            .spawn()
            .expect("a process"),
    );
    let path = setup.path("socket");
    wait_until("it listens", || UnixStream::connect(&path).is_ok());
    let mut client = Client::unix(&path).logged_in("rw");
    // Two lines each; a pipe takes 64 KiB.
    for _ in 0..2_000 {
        drop(UnixStream::connect(&path).expect("the server accepts"));
    }
    assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);

    let stderr = BufReader::new(child.0.stderr.take().expect("a pipe"));
    let mut lines = stderr.lines().map(|line| line.expect("text"));
    assert!(lines.by_ref().any(|line| line.contains("ready")));
    // As soon as there is room, the log says what is missing.
    let lost = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !lost.load(Ordering::Relaxed) {
                let _ = UnixStream::connect(&path);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let said = lines.find(|line| line.contains("log lines were lost"));
        lost.store(true, Ordering::Relaxed);
        assert!(said.is_some());
    });
}

#[test]
fn a_log_whose_reader_has_gone_stops_nobody() {
    let setup = Setup::new();
    let listen = setup.unix("socket");
    let setup = setup.flags(&["-v", "--listen", &listen]);
    let mut child = Ending(
        setup
            .command()
            .stderr(Stdio::piped())
            .spawn()
            .expect("a process"),
    );
    let path = setup.path("socket");
    wait_until("it listens", || UnixStream::connect(&path).is_ok());
    drop(child.0.stderr.take());
    let mut client = Client::unix(&path).logged_in("rw");
    for _ in 0..100 {
        drop(UnixStream::connect(&path).expect("the server accepts"));
    }
    assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
}

#[test]
fn values_of_10_megabytes_arrive_whole_everywhere() {
    let server = Server::start();
    let mut sender = server.client("rw");
    let mut listeners: Vec<Client> = (0..20)
        .map(|number| {
            if number % 2 == 0 {
                server.client("ro")
            } else {
                server.tcp_stranger().logged_in("ro")
            }
        })
        .collect();
    for listener in &mut listeners {
        listener.ask("LISTEN large");
    }
    // Nothing in it repeats, so that a piece in the wrong place shows.
    let mut value = String::new();
    for number in 0_u32.. {
        value += &number.to_string();
        value.push('=');
        if value.len() > 10 << 20 {
            break;
        }
    }
    sender.ask(&format!("STORE large={value}"));
    assert!(sender.ask("RETRIEVE large") == [format!("RETRIEVED large={value}")]);
    let check = |listeners: &mut Vec<Client>, line: &str| {
        // All at once, as programs of their own would.
        std::thread::scope(|scope| {
            for listener in listeners {
                scope.spawn(move || assert!(listener.next_line().as_deref() == Some(line)));
            }
        });
    };
    sender.send(&format!("SET large={value}"));
    check(&mut listeners, &format!("SET large={value}"));
    value.replace_range(5_000_000..5_000_009, "~~~~~~~~~");
    sender.send(&format!("SETANDSTORE large={value}"));
    check(&mut listeners, &format!("SET large={value}"));
    assert!(sender.ask("RETRIEVE large") == [format!("RETRIEVED large={value}")]);
    assert!(
        server.proc_status("VmHWM") < 300 * 1024,
        "{} kB",
        server.proc_status("VmHWM")
    );
    // What the listeners listen to counts still.
    wait_until("nothing waits any more", || {
        server.status("buffers") < 10_000
    });
}

/// A session with most of the protocol in it, sent in two pieces cut at every place.
#[test]
fn a_session_gives_the_same_answers_wherever_it_is_cut() {
    let server = Server::start();
    let script = format!(
        "CLACKS cut\r\nignored before the login\r\nOVERHEAD A {}\r\nCLEARCACHE\n\r\nSTORE a=1=2\r\nINCREMENT a=3\r\n\
         INCREMENT n\r\nRETR\rIEVE n\r\nRETRIEVE missing\r\nREMOVE n\r\nKEYLIST\r\nLISTEN s\r\nSET s=own\r\n\
         OVERHEAD GNU x\r\nNONSENSE\r\nSTORE\r\nMONITOR\r\nNOTIFY x\r\nUNMONITOR\r\nFLUSH end\r\nQUIT\r\n",
        token("admin")
    );
    let mut other = server.client("rw");
    let mut answers_to = |pieces: &[&[u8]]| {
        let mut client = server.stranger();
        for piece in pieces {
            client.send_bytes(piece);
            // When this is answered, the server has read the piece before.
            other.flush();
        }
        let lines = client.until_closed();
        // Connections have names of their own.
        let without_cid = |line: String| match line.split_once("DEBUG unixdomainsocket:") {
            Some((_, rest)) => format!(
                "DEBUG CID={}",
                rest.split_once('=').expect("a line behind the CID").1
            ),
            None => line,
        };
        lines
            .into_iter()
            .map(without_cid)
            .filter(|line| !line.contains("=FLUSH sync-"))
            .collect::<Vec<_>>()
    };
    let whole = answers_to(&[script.as_bytes()]);
    let expected = [
        "OVERHEAD M Authentication required",
        "OVERHEAD O Welcome!",
        "RETRIEVED n=1",
        "NOTRETRIEVED missing",
        "KEYLISTSTART",
        "KEY a",
        "KEYLISTEND",
        "OVERHEAD GN x",
        "OVERHEAD E unknown_command NONSENSE",
        "OVERHEAD E unknown_command STORE",
        "DEBUG CID=MONITOR",
        "DEBUG CID=NOTIFY x",
        "FLUSHED end",
    ];
    let shown: Vec<&str> = whole[1..]
        .iter()
        .map(String::as_str)
        .filter(|line| *line != "DEBUG CID=UNMONITOR")
        .collect();
    assert_eq!(shown, expected);
    for cut in 1..script.len() {
        let (first, second) = script.as_bytes().split_at(cut);
        assert_eq!(answers_to(&[first, second]), whole, "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = script.as_bytes().chunks(1).collect();
    assert_eq!(answers_to(&bytes), whole, "byte by byte");
}

/// Its answers wait in the socket when it closes, and it has sent more than was read.
#[test]
fn who_closes_in_the_midst_of_everything_leaves_nothing_behind() {
    let server = Server::start();
    server
        .client("rw")
        .ask(&format!("STORE large={}", "x".repeat(1 << 20)));
    let mut observer = server.client("admin");
    let descriptors = server.open_descriptors();
    for round in 0..50 {
        let mut client = server.client("admin");
        for line in [
            "LISTEN a",
            "LISTEN b",
            "MONITOR",
            "KEYLIST",
            "RETRIEVE large",
            "RETRIEVE large",
        ] {
            client.send(line);
        }
        let _ = client.try_send(&vec![b'x'; round * 1000]);
        if round % 2 == 0 {
            client.shutdown_write();
        }
    }
    wait_until("all have gone", || server.status("clients") == 1);
    observer.ask("SET a=1");
    wait_until("nothing is left", || {
        server.open_descriptors() == descriptors && server.status("buffers") == 0
    });
    assert_eq!(
        (server.status("monitors"), server.status("subscriptions")),
        (0, 0)
    );
}

#[test]
fn a_server_process_has_one_thread() {
    let server = Server::start();
    server.client("rw").ask("PING");
    assert_eq!(server.proc_status("Threads"), 1);
}
