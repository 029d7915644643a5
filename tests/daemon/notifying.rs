//! The server's messages to a service manager, and when they are sent.

use crate::support::{Client, Process, Server, ServiceManager, Setup, text, wait_until};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// A server that tells the manager.
fn started(change: impl FnOnce(&mut std::process::Command)) -> (ServiceManager, Server) {
    let setup = Setup::new();
    let manager = ServiceManager::new(&setup);
    let path = manager.path.clone();
    let server = setup.start_changed(|command| {
        command.env("NOTIFY_SOCKET", path);
        change(command);
    });
    (manager, server)
}

fn machine_time_us() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec that the call fills.
    assert_eq!(
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) },
        0
    );
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// Waits until the server has ended, and returns the messages that the manager had not received before.
fn rest(manager: &ServiceManager, server: &mut Server) -> Vec<String> {
    server.process.wait();
    std::iter::from_fn(|| manager.receive(Duration::from_millis(1))).collect()
}

#[test]
fn ready_is_told_once_as_soon_as_the_server_serves() {
    let setup = Setup::new();
    let manager = ServiceManager::new(&setup);
    let listen = setup.unix("socket");
    let setup = setup.flags(&["--listen", &listen]);
    let mut process = Process::spawn(setup.command().env("NOTIFY_SOCKET", &manager.path));
    let (_, before) = manager.wait_for("READY=1");
    assert_eq!(before, [""; 0]);
    let mut client = Client::unix(&setup.path("socket")).logged_in("admin");
    assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    process.signal(libc::SIGTERM);
    assert_eq!(process.wait().code(), Some(0));
    let (_, between) = manager.wait_for("STOPPING=1");
    assert!(
        between.iter().all(|message| message.starts_with("STATUS=")),
        "{between:?}"
    );
}

#[test]
fn the_manager_may_have_an_abstract_name() {
    let setup = Setup::new();
    let name = format!("clacksd-test-{}", text(&setup.path("notify")));
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let socket = UnixDatagram::bind_addr(&address).expect("a free name");
    let manager = ServiceManager {
        socket,
        path: setup.path("notify"),
    };
    let _server = setup.start_changed(|command| {
        command.env("NOTIFY_SOCKET", format!("@{name}"));
    });
    manager.wait_for("READY=1");
}

#[test]
fn a_reload_is_told_with_its_time_and_its_end() {
    let (manager, server) = started(|_| ());
    manager.wait_for("READY=1");
    for content in ["rw:read,write:rwpw\n", "broken\n"] {
        let logged = server.process.log().len();
        server.setup.write_secret("users", content);
        let before_us = machine_time_us();
        server.process.signal(libc::SIGHUP);
        let (reloading, _) = manager.wait_for("RELOADING=1\n");
        let time_us: u64 = reloading
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .and_then(|time| time.parse().ok())
            .expect("a time");
        assert!((before_us..=machine_time_us()).contains(&time_us));
        let (_, between) = manager.wait_for("READY=1");
        assert_eq!(between, [""; 0]);
        wait_until("the log tells of it", || {
            server.process.log().len() > logged
        });
    }
    server.process.wait_for_log("read again: ");
    server.process.wait_for_log("not read again");
}

#[test]
fn the_end_is_told_before_it_comes() {
    // However it comes.
    for by_signal in [true, false] {
        let (manager, mut server) = started(|_| ());
        manager.wait_for("READY=1");
        let mut admin = server.client("admin");
        if by_signal {
            server.process.signal(libc::SIGTERM);
        } else {
            admin.send("OVERHEAD S 0.1");
        }
        manager.wait_for("STOPPING=1");
        assert_eq!(server.process.wait().code(), Some(0));
    }
    // While somebody is still being waited for, too.
    let (manager, mut server) = started(|_| ());
    let mut stuck = server.client("admin");
    stuck.ask(&format!("STORE large={}", "x".repeat(4 << 20)));
    stuck.send("RETRIEVE large");
    wait_until("the answer is waiting", || {
        server.status("buffers") > 1 << 20
    });
    server.process.signal(libc::SIGTERM);
    manager.wait_for("STOPPING=1");
    // A reload is no return.
    server.process.signal(libc::SIGHUP);
    server.process.wait_for_log("read again");
    assert!(server.process.log_line("ended").is_none());
    drop(stuck);
    let after = rest(&manager, &mut server);
    assert!(
        !after.iter().any(|message| message.contains("READY")),
        "{after:?}"
    );
}

#[test]
fn clients_entries_and_the_uplink_are_shown() {
    let start = Instant::now();
    let at_most = || start.elapsed().as_secs() / 3 + 1;
    let (manager, server) = started(|_| ());
    let (first, _) = manager.wait_for("STATUS=clients: 0, entries: 0, uplink: none, health: ok, ");
    let memory = first.rsplit_once(", memory: ").expect("the memory").1;
    let memory: u64 = memory.trim_end_matches('M').parse().expect("megabytes");
    assert!((1..1_000).contains(&memory), "{first}");
    let mut client = server.client("admin");
    client.ask("STORE a=1");
    client.ask("STORE b=1");
    // Not each change, but the last one.
    let (_, before) = manager.wait_for("STATUS=clients: 1, entries: 2, uplink: none");
    let mut told = before.len() as u64 + 2;
    assert!(told <= at_most(), "{before:?}");
    for step in 0..10_000 {
        client.ask(&format!("STORE c{}=1", step % 2000));
        if step % 1000 == 0 {
            client.ask("CLEARCACHE");
        }
    }
    let more = std::iter::from_fn(|| manager.receive(Duration::from_millis(1)));
    told += more.count() as u64;
    assert!(told <= at_most(), "{told}");
}

#[test]
fn what_fails_is_shown() {
    let setup = Setup::new();
    let manager = ServiceManager::new(&setup);
    let (path, journal) = (manager.path.clone(), text(&setup.path("journal")));
    let setup = setup.flags(&["--persist", &journal]);
    let server = setup.start_changed(|command| {
        command.env("NOTIFY_SOCKET", path);
    });
    manager.wait_for("STATUS=clients: 0, entries: 0, uplink: none, health: ok, ");
    server.process.limit_files(20_000);
    let mut client = server.client("admin");
    client.ask(&format!("STORE a={}", "v".repeat(30_000)));
    manager.wait_for("STATUS=clients: 1, entries: 1, uplink: none, health: journal failed, ");
    server.process.limit_files(libc::RLIM64_INFINITY);
    manager.wait_for("STATUS=clients: 1, entries: 1, uplink: none, health: ok, ");
    client.send("OVERHEAD S 3600");
    client.flush();
    manager.wait_for("STATUS=clients: 1, entries: 1, uplink: none, health: shutting down, ");
}

#[test]
fn the_watchdog_hears_of_the_server_in_time_and_not_all_the_time() {
    let start = Instant::now();
    let (manager, server) = started(|command| {
        command.env("WATCHDOG_USEC", "200000");
    });
    let pings = 10;
    for _ in 0..pings {
        manager.wait_for("WATCHDOG=1");
    }
    // The first comes at once.
    assert!(start.elapsed() >= Duration::from_millis(100 * (pings - 1)));
    drop(server);

    // A child of the one that is watched isn't.
    let (manager, mut server) = started(|command| {
        command
            .env("WATCHDOG_USEC", "2000")
            .env("WATCHDOG_PID", "1");
    });
    manager.wait_for("READY=1");
    server.client("admin").ask("PING");
    server.process.signal(libc::SIGTERM);
    let all = rest(&manager, &mut server);
    assert!(all.iter().any(|message| message == "STOPPING=1"), "{all:?}");
    assert!(!all.iter().any(|message| message == "WATCHDOG=1"));
}

/// While the manager reads nothing, clients are served, and messages to the manager are kept.
#[test]
fn a_manager_that_reads_nothing_delays_nobody_and_misses_nothing() {
    let setup = Setup::new();
    let manager = ServiceManager::new(&setup);
    let filler = UnixDatagram::unbound().expect("a socket");
    filler.set_nonblocking(true).expect("a fresh socket");
    while filler.send_to(b"filler", &manager.path).is_ok() {}

    let path = manager.path.clone();
    let server = setup.start_changed(|command| {
        command.env("NOTIFY_SOCKET", path);
    });
    let mut client = server.client("admin");
    for _ in 0..100 {
        assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    }
    let (_, before) = manager.wait_for("READY=1");
    assert!(
        before.iter().all(|message| message == "filler"),
        "{before:?}"
    );
    // It was asleep meanwhile.
    assert!(server.process.cpu_s() < 1.0);
}

#[test]
fn a_manager_that_is_not_there_is_mentioned_once() {
    let setup = Setup::new();
    let missing = setup.path("missing");
    let server = setup.start_changed(|command| {
        command
            .env("NOTIFY_SOCKET", missing)
            .env("WATCHDOG_USEC", "2000");
    });
    server.process.wait_for_log("NOTIFY_SOCKET");
    for _ in 0..20 {
        server.client("admin").ask("PING");
    }
    let warnings = server
        .process
        .log()
        .into_iter()
        .filter(|line| line.contains("NOTIFY_SOCKET"));
    assert_eq!(warnings.count(), 1);

    let server = Setup::new().start_changed(|command| {
        command
            .env("NOTIFY_SOCKET", "vsock:2:1")
            .env("WATCHDOG_USEC", "often");
    });
    server
        .process
        .wait_for_log("NOTIFY_SOCKET=vsock:2:1: neither");
    server.process.wait_for_log("WATCHDOG_USEC=often");
    server.client("admin").ask("PING");
}

#[test]
fn a_server_without_connections_sleeps_although_it_has_a_manager() {
    let (manager, server) = started(|_| ());
    manager.wait_for("STATUS=");
    let stat = format!("/proc/{}/stat", server.process.id());
    wait_until("the server sleeps", || {
        std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") S "))
    });
    let awakenings = || server.proc_status("voluntary_ctxt_switches");
    let before = awakenings();
    // Nothing is awaited; so this can't be too short, only prove too little.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(awakenings(), before);
}
