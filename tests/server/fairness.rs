//! Nobody with little rights gets others closed: neither by what it sends to them nor by the memory that it takes.

use crate::support::{Client, Identity, Server, Setup, USERS, wait_until};
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// So little may wait for a client that a flood of some megabytes is one.
const LITTLE_OUTPUT: [&str; 4] = ["--max-line", "64K", "--max-output", "256K"];

/// Lines of a flood, numbered.
fn flood(verb: &str, lines: usize) -> Vec<String> {
    let padding = "x".repeat(200);
    let line = |number| format!("{verb}{number:06}{padding}");
    (0..lines).map(line).collect()
}

fn slave_of(server: &Server) -> Setup {
    let address = server.setup.unix("socket");
    Setup::new().flags(&["--master", &address, "--interclacks-reconnect", "0.2"])
}

/// Sends lines as fast as they are taken, and returns when the server has processed them.
fn send_all(sender: &mut Client, lines: &[String]) -> Vec<String> {
    for lines in lines.chunks(100) {
        sender.send_bytes((lines.join("\r\n") + "\r\n").as_bytes());
    }
    sender.flush()
}

/// Reads, a little at a time, so that the sender is faster, up to the last of the lines; those that it was sent.
fn read_slowly(mut client: Client, last: &str) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line| line != last) {
        lines.extend(client.read_once(Duration::from_millis(200)));
        assert!(!client.is_closed(), "closed after {} lines", lines.len());
        std::thread::sleep(Duration::from_millis(5));
    }
    lines
}

/// A flood goes to clients that read more slowly than it comes. They get all of it in order, and none is closed.
fn check_flood(sender: &mut Client, receivers: Vec<Client>, sent: &[String], got: &[String]) {
    std::thread::scope(|scope| {
        let last = got.last().expect("there are lines");
        let readers: Vec<_> = receivers
            .into_iter()
            .map(|client| scope.spawn(move || read_slowly(client, last)))
            .collect();
        assert_eq!(send_all(sender, sent), [""; 0]);
        for reader in readers {
            let lines = reader.join().expect("it was not closed");
            assert!(lines == got, "each line once, in order");
        }
    });
}

#[test]
fn long_forwarded_lines_reach_nobody_and_close_nobody() {
    let server = Server::start();
    let slave = slave_of(&server).start();
    wait_until("the link is up", || slave.is_slave());
    let mut others: Vec<Client> = (0..20).map(|_| server.client("ro")).collect();
    others.extend((0..5).map(|_| slave.client("ro")));
    let mut sender = server.client("wo");
    for _ in 0..5 {
        let line = format!("OVERHEAD G {}", "x".repeat(16_000_000));
        assert_eq!(sender.ask(&line), ["OVERHEAD E line_too_long"]);
    }
    // Nothing is ever answered to an E, and a line of the greatest length is forwarded.
    let line = |flags: &str, length: usize| {
        let start = format!("OVERHEAD {flags} ");
        let value = "x".repeat(length - start.len());
        start + &value
    };
    assert_eq!(sender.ask(&line("GE", 4097)), [""; 0]);
    assert_eq!(sender.ask(&line("GU", 4097)), ["OVERHEAD E line_too_long"]);
    let longest = line("G", 4096);
    assert_eq!(sender.ask(&longest), [""; 0]);
    for other in &mut others {
        other.expect(&longest);
        assert_eq!(other.flush(), [""; 0]);
    }
    assert_eq!(server.status("output_limit"), 0);
}

#[test]
fn a_net_clacks_slave_that_forwards_a_long_line_keeps_its_link() {
    let server = Server::start();
    let mut other = server.client("ro");
    let mut slave = server.client("admin");
    slave.send("CLACKS Net::Clacks 36");
    slave.send("OVERHEAD I 1");
    wait_until("it is a link", || server.status("links") == 1);
    slave.send(&format!("OVERHEAD G {}", "x".repeat(100_000)));
    slave.send("OVERHEAD G short");
    other.expect("OVERHEAD G short");
    server
        .process
        .wait_for_log("a line of 100011 bytes that was to be forwarded to everybody was skipped");
    assert_eq!(server.status("links"), 1);
}

#[test]
fn a_flood_of_forwarded_lines_closes_nobody_who_reads() {
    let server = Setup::new().flags(&LITTLE_OUTPUT).start();
    let receivers = (0..5).map(|_| server.client("ro")).collect();
    let lines = flood("OVERHEAD G ", 20_000);
    check_flood(&mut server.client("wo"), receivers, &lines, &lines);
    assert_eq!(server.status("output_limit"), 0);
}

#[test]
fn a_flood_at_a_master_closes_nobody_who_reads_at_its_slaves() {
    let server = Setup::new().flags(&LITTLE_OUTPUT).start();
    let slave = slave_of(&server).flags(&LITTLE_OUTPUT).start();
    wait_until("the link is up", || slave.is_slave());
    for (from, to) in [(&server, &slave), (&slave, &server)] {
        let mut receivers: Vec<Client> = (0..3).map(|_| to.client("ro")).collect();
        receivers.push(from.client("ro"));
        let lines = flood("OVERHEAD G ", 10_000);
        check_flood(&mut from.client("wo"), receivers, &lines, &lines);
        assert_eq!(from.status("output_limit") + to.status("output_limit"), 0);
    }
    assert!(slave.is_slave(), "the link is still up");
}

#[test]
fn a_flood_of_signals_closes_no_listener_who_reads() {
    let server = Setup::new().flags(&LITTLE_OUTPUT).start();
    for verb in ["SET signal=", "SETANDSTORE signal="] {
        let receivers = (0..5).map(|_| {
            let mut client = server.client("ro");
            client.ask("LISTEN signal");
            client
        });
        let lines = flood(verb, 20_000);
        let got: Vec<String> = lines
            .iter()
            .map(|line| line.replace("SETANDSTORE", "SET"))
            .collect();
        check_flood(&mut server.client("wo"), receivers.collect(), &lines, &got);
    }
    assert_eq!(server.status("output_limit"), 0);
}

#[test]
fn a_flood_of_lines_closes_no_monitor_who_reads() {
    let server = Setup::new().flags(&LITTLE_OUTPUT).start();
    let mut sender = server.client("wo");
    let mut monitor = server.client("mg");
    monitor.ask("MONITOR");
    let lines = flood("STORE name=", 20_000);
    std::thread::scope(|scope| {
        let count = lines.len();
        let reader = scope.spawn(move || {
            let mut shown = 0;
            while shown < count {
                let lines = monitor.read_once(Duration::from_millis(200));
                let is_of_flood = |line: &&String| line.contains("=STORE name=");
                shown += lines.iter().filter(is_of_flood).count();
                assert!(!monitor.is_closed(), "closed after {shown} lines");
                std::thread::sleep(Duration::from_millis(5));
            }
            shown
        });
        assert_eq!(send_all(&mut sender, &lines), [""; 0]);
        assert_eq!(reader.join().expect("it was not closed"), lines.len());
    });
    assert_eq!(server.status("output_limit"), 0);
}

/// Each of many senders has a line ready when the receiver is full.
#[test]
fn many_senders_at_once_close_no_listener_who_reads() {
    let server = Setup::new().flags(&LITTLE_OUTPUT).start();
    let mut listener = server.client("ro");
    listener.ask("LISTEN signal");
    let mut senders: Vec<Client> = (0..20).map(|_| server.client("wo")).collect();
    let signal = format!("SET signal={}\r\n", "x".repeat(60_000));
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut lines = 0;
            while lines < 200 {
                lines += listener.read_once(Duration::from_millis(200)).len();
                assert!(!listener.is_closed(), "closed after {lines} lines");
                std::thread::sleep(Duration::from_millis(1));
            }
            is_done.store(true, Ordering::Relaxed);
        });
        let writers = senders.iter_mut().map(|sender| {
            let signal = &signal;
            scope.spawn(move || {
                for _ in 0..10 {
                    sender.send_bytes(signal.as_bytes());
                }
                assert_eq!(sender.flush(), [""; 0]);
            })
        });
        let writers: Vec<_> = writers.collect();
        for writer in writers {
            writer.join().expect("every line was processed");
        }
        reader.join().expect("it was not closed");
    });
    assert!(is_done.load(Ordering::Relaxed));
    assert_eq!(server.status("output_limit"), 0);
}

#[test]
fn a_receiver_that_takes_nothing_holds_nobody_up_and_goes_for_its_own_limit() {
    let server = Setup::new().flags(&LITTLE_OUTPUT).start();
    let mut stuck: Vec<Client> = (0..3).map(|_| server.client("ro")).collect();
    for client in &mut stuck {
        client.ask("LISTEN signal");
    }
    let mut sender = server.client("wo");
    let lines = flood("SET signal=", 5_000);
    assert_eq!(send_all(&mut sender, &lines), [""; 0]);
    assert_eq!(server.status("output_limit"), 3);
    // What came before is whole.
    for mut client in stuck {
        let got = client.until_closed();
        assert!(lines.starts_with(&got) && got.len() < lines.len());
    }
}

/// Senders and clients that are not involved are served while a sender waits.
#[test]
fn a_sender_that_waits_delays_nobody_else() {
    let server = Setup::new().flags(&LITTLE_OUTPUT).start();
    let mut listener = server.client("ro");
    listener.ask("LISTEN signal");
    let mut sender = server.client("wo");
    let lines = flood("SET signal=", 5_000);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| send_all(&mut sender, &lines));
        let mut others = [server.client("rw"), server.client("rw")];
        let mut got = 0;
        while got < lines.len() {
            let [first, second] = &mut others;
            second.ask("LISTEN other");
            assert_eq!(first.ask("SET other=1"), [""; 0]);
            second.expect("SET other=1");
            got += listener.read_once(Duration::from_millis(200)).len();
            assert!(!listener.is_closed());
        }
        assert_eq!(flood.join().expect("it goes on"), [""; 0]);
    });
}

/// With a user without any permission beside the usual ones.
fn with_nobody(flags: &[&str]) -> Server {
    let setup = Setup::new();
    setup.write_secret("users", &format!("{USERS}nobody::nobodypw\n"));
    setup.flags(flags).start()
}

/// Makes connections and lets each hold an unfinished line, until enough of them were closed for that.
fn hold_unfinished_lines(
    server: &Server,
    connect: impl Fn() -> Client,
    length: usize,
    closed: u64,
) -> Vec<Client> {
    let mut connections = Vec::new();
    wait_until("the limit is reached", || {
        for _ in 0..20 {
            let mut client = connect();
            // One that was closed meanwhile takes nothing.
            let _ = client.try_send(&vec![b'x'; length]);
            connections.push(client);
        }
        server.status("buffers_limit") >= closed
    });
    connections
}

/// Finishes a line that was begun, which is no command.
fn assert_lives(client: &mut Client) {
    client.send("");
    let answers = client.flush();
    let start = "OVERHEAD E unknown_command xxx";
    assert!(answers.len() == 1 && answers[0].starts_with(start));
}

#[test]
fn unfinished_lines_of_a_user_close_that_user_s_connections() {
    let limits = [
        "--max-line",
        "4M",
        "--max-output",
        "8M",
        "--max-buffers",
        "32M",
    ];
    let server = with_nobody(&limits);
    // Another user has the largest connection of all, and so has a link; both are far from holding most.
    let mut other = server.client("rw");
    other.send_bytes(&vec![b'x'; 4_000_000]);
    let mut link = server.client("admin");
    link.send("CLACKS Net::Clacks 36");
    link.send("OVERHEAD I 1");
    wait_until("it is a link", || server.status("links") == 1);
    link.send_bytes(&vec![b'x'; 4_000_000]);
    let mut stranger = server.stranger();
    stranger.send_bytes(&vec![b'x'; 4_000]);

    let nobodies = hold_unfinished_lines(&server, || server.client("nobody"), 100_000, 50);
    assert_lives(&mut other);
    assert_eq!(server.status("links"), 1);
    stranger.send("");
    stranger.logged_in("ro");
    for line in server.process.log() {
        let is_other = line.contains(": buffers_limit (") && !line.contains(", user nobody;");
        assert!(!is_other, "{line}");
    }
    drop(nobodies);
}

#[test]
fn unfinished_lines_of_strangers_close_strangers_of_that_address() {
    let limits = [
        "--max-line",
        "256K",
        "--max-output",
        "1M",
        "--max-buffers",
        "2M",
    ];
    let server = with_nobody(&limits);
    let mut user = server.client("rw");
    user.send_bytes(&vec![b'x'; 200_000]);
    // By its address, which is another one than the uid of the others.
    let mut stranger = server.tcp_stranger();
    stranger.send_bytes(&vec![b'x'; 4_000]);
    let strangers = hold_unfinished_lines(&server, || server.stranger(), 4_000, 20);
    assert_lives(&mut user);
    stranger.send("");
    stranger.logged_in("ro");
    drop(strangers);
}

/// A payload that is sent to many connections counts once for each user, not once for each connection.
#[test]
fn listeners_with_a_payload_in_common_do_not_hold_it_many_times() {
    let limits = [
        "--max-line",
        "1M",
        "--max-output",
        "4M",
        "--max-buffers",
        "16M",
    ];
    let server = with_nobody(&limits);
    let listeners = || {
        let mut listener = server.client("ro");
        listener.ask("LISTEN signal");
        listener
    };
    let mut listeners: Vec<Client> = (0..40).map(|_| listeners()).collect();
    let mut sender = server.client("wo");
    let signal = format!("SET signal={}", "x".repeat(1_000_000));
    sender.ask(&signal);
    let nobodies = hold_unfinished_lines(&server, || server.client("nobody"), 100_000, 30);
    for listener in &mut listeners {
        listener.expect(&signal);
    }
    drop(nobodies);
}

/// The bytes of incomplete messages and records that TLS keeps count among the buffers, so that the memory is limited.
#[test]
fn unfinished_hellos_and_records_count_among_the_buffers() {
    const CONNECTIONS: u64 = 300;
    let server = Setup::new()
        .with_tls(&Identity::self_signed(&["localhost"]))
        .start();
    let port = server.tls_port();
    let unfinished = |kind: u8, length: u16| {
        let mut record = vec![kind, 3, 3];
        record.extend_from_slice(&length.to_be_bytes());
        record.resize(usize::from(length), 0);
        record
    };
    let memory = || server.proc_status("VmRSS") * 1024;
    let check = |sent: u64, before: (u64, u64)| {
        wait_until("it is counted", || {
            server.status("buffers") >= before.1 + CONNECTIONS * sent
        });
        let counted = server.status("buffers") - before.1;
        let taken = memory().saturating_sub(before.0);
        // What the allocator needs, and the connections beside their buffers.
        let allowed = counted + counted / 4 + CONNECTIONS * 4096;
        assert!(taken <= allowed, "{taken} bytes taken, {counted} counted");
    };

    // To have done before what is done once.
    drop(Client::tls(port, &rustls::version::TLS13).logged_in("ro"));
    // One record that is not complete, and a message of 15,000 bytes that is not, in records that are.
    let mut message = vec![1, 0, 0x3a, 0x98];
    message.resize(14_000, 0);
    let records = message.chunks(1_000);
    let records = records.flat_map(|part| [&[22, 3, 3, 0x03, 0xe8][..], part].concat());
    for hello in [unfinished(22, 15_000), records.collect()] {
        let before = (memory(), server.status("buffers"));
        let hellos: Vec<TcpStream> = (0..CONNECTIONS)
            .map(|_| {
                let mut stranger = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
                let sent = stranger.write_all(&hello);
                sent.expect("the server reads");
                stranger
            })
            .collect();
        check(hello.len() as u64, before);
        drop(hellos);
        wait_until("they are gone", || server.status("clients") == 0);
    }

    let mut clients: Vec<Client> = (0..CONNECTIONS)
        .map(|_| Client::tls(port, &rustls::version::TLS13).logged_in("ro"))
        .collect();
    let before = (memory(), server.status("buffers"));
    for client in &mut clients {
        client.send_raw(&unfinished(23, 16_000));
    }
    check(16_000, before);
}

/// Listens to so many names, a hundred lines at once, and returns when that is done.
fn listen(client: &mut Client, names: std::ops::Range<u32>) {
    for names in names.collect::<Vec<_>>().chunks(1000) {
        let lines = names.iter().map(|name| format!("LISTEN name{name:08}\r\n"));
        client.send_bytes(lines.collect::<String>().as_bytes());
    }
    assert_eq!(client.flush(), [""; 0]);
}

#[test]
fn the_memory_of_subscriptions_that_are_gone_is_given_back() {
    const NAMES: u32 = 300_000;
    let server = Server::start();
    let memory = || server.proc_status("VmRSS");
    drop(server.client("ro"));
    let before = memory();
    for _ in 0..2 {
        let mut listener = server.client("ro");
        listen(&mut listener, 0..NAMES);
        let most = memory() - before;
        let counted = u64::from(NAMES) * (128 + 12) / 1024;
        assert!(most < counted + 10_000, "{most} KiB, {counted} counted");
        drop(listener);
        // Small blocks, which are a third of it, may stay with the allocator.
        wait_until("it is given back", || memory() < before + most / 2);
        wait_until("none is left", || server.status("subscriptions") == 0);
    }
}

/// Few names are left, one in each block of memory.
#[test]
fn few_subscriptions_do_not_keep_the_memory_of_many() {
    const NAMES: u32 = 300_000;
    let server = Server::start();
    let memory = || server.proc_status("VmRSS");
    let mut stays = server.client("ro");
    stays.flush();
    let before = memory();
    let mut listener = server.client("ro");
    for start in (0..NAMES).step_by(3_000) {
        listen(&mut listener, start..start + 2_999);
        stays.ask(&format!("LISTEN name{:08}", start + 2_999));
    }
    let most = memory() - before;
    drop(listener);
    wait_until("it is given back", || memory() < before + most / 2);
    wait_until("only the others are left", || {
        server.status("subscriptions") == 100
    });
    let mut sender = server.client("wo");
    for name in (2_999..NAMES).step_by(3_000) {
        let signal = format!("NOTIFY name{name:08}");
        sender.ask(&signal);
        stays.expect(&signal);
    }
    assert!(server.status("buffers") < 100_000);
}

/// Values of all kinds of sizes, with something small behind each of them that stays.
#[test]
fn the_memory_of_values_that_are_gone_is_given_back() {
    const ALL: usize = 30_000_000;
    for length in [1_000, 60_000, 70_000, 200_000, 300_000] {
        let server = Server::start();
        let memory = || server.proc_status("VmRSS");
        let mut client = server.client("admin");
        client.flush();
        let before = memory();
        let value = "v".repeat(length);
        for number in 0..ALL / length {
            client.send(&format!("STORE value{number}={value}"));
            client.send(&format!("LISTEN name{number}"));
        }
        client.flush();
        let most = memory() - before;
        client.ask("CLEARCACHE");
        wait_until("it is given back", || memory() < before + most / 4);
    }
}

/// Whoever asks for a list on many connections, and reads nothing, takes what is sent at once on each, not the list.
#[test]
fn lists_that_nobody_reads_take_little_memory() {
    const ASKERS: u64 = 200;
    let server = Server::start();
    let mut client = server.client("rw");
    let padding = "x".repeat(40);
    let names: Vec<String> = (0..9_000).map(|n| format!("{n:05}{padding}")).collect();
    for names in names.chunks(100) {
        let lines = names.iter().map(|name| format!("STORE {name}=\r\n"));
        client.send_bytes(lines.collect::<String>().as_bytes());
    }
    client.flush();
    let described = || {
        let mut other = server.stranger();
        other.send(&format!("CLACKS {}", "x".repeat(256)));
        other
    };
    let others: Vec<Client> = (0..1_500).map(|_| described()).collect();
    for (user, verb) in [("ro", "KEYLIST"), ("mg", "CLIENTLIST")] {
        let mut askers: Vec<Client> = (0..ASKERS).map(|_| server.client(user)).collect();
        for asker in &mut askers {
            asker.send(verb);
        }
        // Each is answered as far as its socket takes it, and as is produced at once.
        let mut buffers = 0;
        wait_until("nothing more is produced", || {
            let before = buffers;
            std::thread::sleep(Duration::from_millis(200));
            buffers = server.status("buffers");
            buffers == before
        });
        assert!(buffers / ASKERS < 256 * 1024, "{} each", buffers / ASKERS);
        for asker in &mut askers {
            let lines = asker.flush();
            let list = &lines[1..lines.len() - 1];
            let name = |line: &String| line.split(';').next().map(str::to_owned);
            assert!(list.iter().map(name).is_sorted(), "sorted");
            if verb == "KEYLIST" {
                let found = list.iter().map(|line| &line["KEY ".len()..]);
                assert!(found.eq(&names), "complete");
            } else {
                assert_eq!(list.len() as u64, server.status("clients"));
            }
        }
    }
    drop(others);
}
