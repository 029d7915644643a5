//! Servers that get no more descriptors or memory from the system. What becomes of accepting without
//! descriptors is in `server::abuse`, and a full or slow disk in `journal::process`.

use crate::runner::needs_localhost;
use crate::support::{Client, Proxy, Random, Server, Setup, Way, text, wait_until};
use std::fs;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

/// No descriptor beyond those of standard input, output and error: whatever else is closed, no new one can
/// be opened.
const NONE: u64 = 3;

/// A server has no descriptors for a while, and its link is cut. It does little, it serves those who are
/// there, and when there are descriptors again the link comes up.
fn lose_the_link_without_descriptors(limited: &Server, other: &Server, proxy: &Proxy) {
    let mut client = limited.client("rw");
    let mut others = other.client("rw");
    let before = limited.limit_descriptors(NONE);
    proxy.cut();
    let mut waiting = limited.stranger();
    wait_until("the link is down", || {
        limited.status("links") == 0 && other.status("links") == 0
    });
    let (cpu_s, start) = (limited.process.cpu_s(), Instant::now());
    let mut number = 0;
    while start.elapsed() < Duration::from_secs(1) {
        number += 1;
        client.send(&format!("STORE here{}={number}", number % 10));
        assert_eq!(
            client.ask(&format!("RETRIEVE here{}", number % 10)),
            [format!("RETRIEVED here{}={number}", number % 10)]
        );
        others.ask(&format!("STORE there{}={number}", number % 10));
        std::thread::sleep(Duration::from_millis(20));
    }
    let used_s = limited.process.cpu_s() - cpu_s;
    assert!(used_s < 0.3, "{used_s} s of processor time in 1 s");
    assert_eq!(limited.status("links"), 0);
    assert!(
        !waiting.receive(Duration::from_millis(1)),
        "nobody is accepted"
    );

    limited.limit_descriptors(before);
    wait_until("the link is up", || {
        limited.status("links") == 1 && other.status("links") == 1
    });
    let mut waiting = waiting.logged_in("rw");
    assert_eq!(waiting.ask("RETRIEVE here0").len(), 1);
    wait_until("both hold the same", || {
        let entries = limited.entries();
        entries.len() == 20 && entries == other.entries()
    });
}

#[test]
fn links_come_up_again_when_there_are_descriptors_again() {
    needs_localhost();
    let flags = ["--interclacks-reconnect", "0.1", "--auth-timeout", "0.5"];
    let master = Setup::new().flags(&flags).start();
    let proxy = Proxy::to(Way::Unix(master.socket.clone()));
    // By name: looking it up takes descriptors, too.
    let address = format!("tcp://localhost:{}", proxy.port);
    let slave = Setup::new()
        .flags(&flags)
        .flags(&["--master", &address])
        .start();
    wait_until("the link is up", || slave.is_slave());
    lose_the_link_without_descriptors(&slave, &master, &proxy);
    let why = slave.process.wait_for_log("no connection to the master");
    assert!(!why.contains("refused"), "{why}");
    lose_the_link_without_descriptors(&master, &slave, &proxy);
    for server in [&master, &slave] {
        assert_eq!(server.process.log_line(" ERROR "), None);
    }
}

/// Stores values until the journal has to be rewritten. Returns the last value.
fn grow_journal(client: &mut Client) -> String {
    let mut value = String::new();
    for number in 0..60 {
        value = format!("{number} {}", "v".repeat(100_000));
        let answers = client.ask(&format!("STORE name={value}"));
        assert!(
            answers.iter().all(|line| line.contains("not_saved")),
            "{answers:?}"
        );
    }
    value
}

fn assert_kept(server: Server, value: &str) {
    let server = server.kill_and_restart();
    let answer = server.client("admin").ask("RETRIEVE name");
    assert!(answer == [format!("RETRIEVED name={value}")]);
    assert_eq!(server.process.log_line("damaged"), None);
}

fn with_journal() -> Server {
    let setup = Setup::new();
    let journal = text(&setup.path("journal"));
    setup
        .flags(&["--persist", &journal, "--fsync", "always"])
        .start()
}

#[test]
fn a_journal_that_can_not_be_written_anew_without_descriptors_still_keeps_everything() {
    for is_killed in [false, true] {
        let server = with_journal();
        let length = || fs::metadata(server.setup.path("journal")).map_or(0, |data| data.len());
        let mut client = server.client("admin");
        let before = server.limit_descriptors(NONE);
        let value = grow_journal(&mut client);
        let why = server
            .process
            .wait_for_log("the journal could not be written anew");
        assert!(why.contains("open files"), "{why}");
        assert!(server.status_line().contains(" journal=saving "));
        assert_eq!(server.process.log_line("nothing is being saved"), None);
        assert!(length() > 6_000_000, "{}", length());
        if !is_killed {
            server.limit_descriptors(before);
            wait_until("it is tried again", || length() < 1_000_000);
        }
        assert_kept(server, &value);
    }
}

/// One descriptor is enough to write it anew, but not to bring its name to the disk.
#[test]
fn a_journal_whose_name_can_not_be_synced_for_want_of_descriptors_is_written_once_more() {
    let server = with_journal();
    let mut client = server.client("admin");
    let before = server.leave_descriptors(1);
    grow_journal(&mut client);
    let why = server.process.wait_for_log("nothing is being saved");
    assert!(why.contains("open files"), "{why}");
    // The two files that it had given up have left room enough.
    server
        .process
        .wait_for_log("everything is being saved again");
    server.limit_descriptors(before);
    let value = "the last one";
    assert_eq!(client.ask(&format!("STORE name={value}")), [""; 0]);
    assert_kept(server, value);
}

/// The parts of the memory that a server takes at most according to clacksd(8), with these limits, in bytes: the cache
/// and an eighth of it, 256K for each size of block, the buffers, and some megabytes of its own.
const CACHE_MAX: u64 = 16 << 20;
const BUFFERS_MAX: u64 = 16 << 20;
const BLOCK_SIZES: u64 = 98;
const OWN: u64 = 16 << 20;
const MEMORY: u64 = CACHE_MAX + CACHE_MAX / 8 + BLOCK_SIZES * (256 << 10) + BUFFERS_MAX + OWN;

/// Clients come in crowds, listen to thousands of names that nobody has heard of, and leave. What they leave must
/// not become more than there was at once.
fn listen_and_leave(server: &Server) {
    const CROWDS: usize = 12;
    const CLIENTS: usize = 20;
    const NAMES: usize = 2000;
    const AT_ONCE: usize = 200;
    std::thread::scope(|scope| {
        for thread in 0..3 {
            scope.spawn(move || {
                for crowd in 0..CROWDS {
                    let mut clients: Vec<Client> =
                        (0..CLIENTS).map(|_| server.client("ro")).collect();
                    for first in (0..NAMES).step_by(AT_ONCE) {
                        for (place, client) in clients.iter_mut().enumerate() {
                            let names = first..first + AT_ONCE;
                            let lines = names
                                .map(|name| format!("LISTEN {thread}:{crowd}:{place}:{name}\n"));
                            // Some are closed: all of them listen to more than may be kept.
                            let _ = client.try_send(lines.collect::<String>().as_bytes());
                        }
                    }
                    for client in &mut clients {
                        let _ = client.try_send(b"QUIT\n");
                    }
                }
            });
        }
    });
}

/// The system gives it no more than that. It would end at once if it asked for more.
#[test]
fn a_server_lives_within_the_memory_that_its_limits_come_to() {
    let setup = Setup::new().flags(&[
        "--cache-max",
        "16M",
        "--max-buffers",
        "16M",
        "--max-line",
        "1M",
        "--max-output",
        "4M",
    ]);
    let mut server = setup.start_changed(|command| {
        let limit = libc::rlimit {
            rlim_cur: MEMORY,
            rlim_max: MEMORY,
        };
        // SAFETY: between fork and exec, setrlimit is safe to call; the limit is copied in.
        unsafe {
            command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_DATA, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            })
        };
    });
    let mut random = Random::new(16);
    let mut client = server.client("admin");
    let mut stuck: Vec<Client> = Vec::new();
    for round in 0..30 {
        // Values of all sizes, three times as much as there is room for.
        for number in 0..200 {
            let length = 1 << random.below(17);
            let value = "v".repeat(length + random.below(length));
            client.send(&format!("STORE {round}:{number}={value}"));
        }
        // Somebody who never reads what comes, and somebody who never ends a line.
        let mut listener = server.client("ro");
        listener.ask("LISTEN signal");
        let mut sender = server.client("rw");
        let _ = sender.try_send(&[b'x'; 900_000]);
        stuck.extend([listener, sender]);
        for _ in 0..8 {
            client.send(&format!("SET signal={}", "s".repeat(500_000)));
        }
        let answers = client.ask("RETRIEVE none");
        assert!(
            answers.contains(&"NOTRETRIEVED none".to_owned()),
            "{answers:?}"
        );
    }
    assert!(server.status("evicted") > 1000);
    assert!(server.status("buffers_limit") > 10);
    assert!(server.status("cache_bytes") <= CACHE_MAX);
    drop(stuck);
    listen_and_leave(&server);
    let peak = server.proc_status("VmHWM") * 1024;
    assert!(peak < MEMORY, "{peak} of {MEMORY} bytes");
    for figure in ["subscriptions", "names_listened_to"] {
        wait_until("all is forgotten", || server.status(figure) == 0);
    }
    assert_eq!(client.ask("RETRIEVE none"), ["NOTRETRIEVED none"]);
    server.process.signal(libc::SIGTERM);
    assert!(server.process.wait().success());
}
