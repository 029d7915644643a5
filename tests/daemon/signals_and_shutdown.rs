//! How the server ends, and what signals make it do.

use crate::runner::{is_root, needs_root};
use crate::support::{Client, DEADLINE, Process, Server, Setup, run, text, token, wait_until};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The longest time that an end may take: the 5 seconds of clacksd(8), and half a second for a busy machine.
const END: Duration = Duration::from_millis(5_500);

#[test]
fn sigterm_and_sigint_tell_everybody_and_end_with_status_0() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut server = Server::start();
        let mut clients: Vec<Client> = ["admin", "ro", "wo"]
            .into_iter()
            .map(|user| server.client(user))
            .collect();
        clients.push(server.tcp_stranger().logged_in("rw"));
        let mut stranger = server.stranger();
        stranger.next_line();
        stranger.next_line();
        clients.push(stranger);
        server.process.signal(signal);
        for client in &mut clients {
            assert_eq!(client.until_closed(), ["QUIT"]);
        }
        assert_eq!(server.process.wait().code(), Some(0));
        assert!(!server.socket.exists());
        server.process.wait_for_log("ended");
    }
}

#[test]
fn what_waits_for_a_client_reaches_it_before_the_end() {
    let mut server = Server::start();
    let mut client = server.client("admin");
    client.ask(&format!("STORE large={}", "x".repeat(4 << 20)));
    for _ in 0..5 {
        client.send("RETRIEVE large");
    }
    // A socket holds less than a megabyte of it.
    let mut manager = server.client("mg");
    wait_until("all answers are waiting", || {
        server.most_waiting(&mut manager) > 19 << 20
    });
    assert!(server.status("buffers") < 5 << 20, "they share the value");
    server.process.signal(libc::SIGTERM);
    server.process.wait_for_log("shutting down");
    let lines = client.until_closed();
    let values = lines
        .iter()
        .filter(|line| line.starts_with("RETRIEVED large=") && line.len() > 4 << 20)
        .count();
    assert_eq!(values, 5);
    assert_eq!(lines.last().map(String::as_str), Some("QUIT"));
    assert_eq!(server.process.wait().code(), Some(0));
}

#[test]
fn a_client_that_does_not_read_delays_the_end_by_5_seconds_at_most() {
    let mut server = Server::start();
    let mut stuck = server.client("admin");
    stuck.ask(&format!("STORE large={}", "x".repeat(4 << 20)));
    stuck.send("RETRIEVE large");
    let mut silent = server.stranger();
    wait_until("the answer is waiting", || {
        server.status("buffers") > 1 << 20
    });
    let start = Instant::now();
    server.process.signal(libc::SIGTERM);
    assert_eq!(server.process.wait().code(), Some(0));
    assert!(start.elapsed() < END, "{:?}", start.elapsed());
    assert_eq!(
        silent.until_closed().last().map(String::as_str),
        Some("QUIT")
    );
    assert!(!server.socket.exists());
}

#[test]
fn more_signals_while_the_server_ends_do_no_harm() {
    let mut server = Server::start();
    let mut stuck = server.client("admin");
    stuck.ask(&format!("STORE large={}", "x".repeat(4 << 20)));
    stuck.send("RETRIEVE large");
    wait_until("the answer is waiting", || {
        server.status("buffers") > 1 << 20
    });
    let start = Instant::now();
    for signal in [
        libc::SIGTERM,
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGINT,
        libc::SIGTERM,
    ] {
        server.process.signal(signal);
    }
    assert_eq!(server.process.wait().code(), Some(0));
    assert!(start.elapsed() < END, "{:?}", start.elapsed());
    assert!(!server.socket.exists());
}

#[test]
fn overhead_s_ends_the_server_with_status_0() {
    let mut server = Server::start();
    let mut other = server.client("ro");
    let mut admin = server.client("admin");
    admin.send("OVERHEAD S 0.3");
    assert_eq!(admin.until_closed(), ["QUIT"]);
    assert_eq!(other.until_closed(), ["QUIT"]);
    assert_eq!(server.process.wait().code(), Some(0));
    assert!(server.process.log_line("OVERHEAD S").is_some());
    assert!(!server.socket.exists());
}

#[test]
fn sighup_reads_the_users_again_and_sends_those_away_that_are_gone_or_changed() {
    let server = Server::start();
    let (mut rw, mut ro, mut wo, mut mg) = (
        server.client("rw"),
        server.client("ro"),
        server.client("wo"),
        server.client("mg"),
    );
    let mut admin = server.client("admin");
    let mut stranger = server.stranger();
    // rw stays, ro loses its permission, wo gets another password, mg goes, new comes.
    server.setup.write_secret(
        "users",
        "rw:read,write:rwpw\nro::ropw\nwo:write:otherpw\nnew:read:newpw\n",
    );
    server.process.signal(libc::SIGHUP);
    server.process.wait_for_log("read again: 5 users");
    for client in [&mut ro, &mut wo, &mut mg] {
        assert_eq!(client.until_closed(), ["QUIT"]);
    }
    wait_until("all three are counted", || {
        server.status("user_changed") == 3
    });
    assert_eq!(rw.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    assert_eq!(admin.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    assert_eq!(
        server.client("new").ask("STORE a=1"),
        ["OVERHEAD E permission_denied"]
    );
    assert_eq!(
        server.client("ro").ask("RETRIEVE a"),
        ["OVERHEAD E permission_denied"]
    );
    stranger.send(&format!("OVERHEAD A {}", token("mg")));
    assert_eq!(
        stranger.until_closed().last().map(String::as_str),
        Some("OVERHEAD F Login failed!")
    );

    // The primary user's password changes in its own file.
    server.setup.write_secret("password", "changed\n");
    server.process.signal(libc::SIGHUP);
    assert_eq!(admin.until_closed(), ["QUIT"]);
    assert_eq!(rw.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    let log = server.process.log();
    for secret in ["rwpw", "otherpw", "changed\n", &token("mg")] {
        assert!(!log.iter().any(|line| line.contains(secret)), "{log:?}");
    }
}

#[test]
fn after_sighup_with_a_broken_file_the_old_users_stay() {
    let server = Server::start();
    let mut rw = server.client("rw");
    let broken: [(&str, &str, &str); 4] = [
        (
            "users",
            "rw:read,write:rwpw\nbroken hidden-secret\n",
            "line 2",
        ),
        ("users", "rw:nothing:hidden-secret\n", "line 1"),
        ("users", "admin:read:hidden-secret\n", "line 1"),
        ("password", "\n", "empty"),
    ];
    for (name, content, part) in broken {
        let right = fs::read_to_string(server.setup.path(name)).expect("a file of our own");
        server.setup.write_secret(name, content);
        let before = server.process.log().len();
        server.process.signal(libc::SIGHUP);
        let mut said = None;
        wait_until("the log says so", || {
            said = server
                .process
                .log()
                .split_off(before)
                .into_iter()
                .find(|line| line.contains("not read again, everything stays as it was"));
            said.is_some()
        });
        let said = said.expect("it was found");
        assert!(
            said.contains(part) && said.contains(&text(&server.setup.path(name))),
            "{said}"
        );
        assert!(!said.contains("hidden-secret"));
        assert_eq!(rw.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
        assert_eq!(server.client("mg").ask("CLIENTLIST").len(), 4);
        server.setup.write_secret(name, &right);
    }
    // A file that others can read is broken too.
    fs::set_permissions(
        server.setup.path("users"),
        fs::Permissions::from_mode(0o644),
    )
    .expect("a file of our own");
    server.process.signal(libc::SIGHUP);
    server.process.wait_for_log("mode 644");
    assert_eq!(rw.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn sighup_reopens_the_log_file() {
    let setup = Setup::new();
    let (log, old, listen) = (setup.path("log"), setup.path("log.1"), setup.unix("socket"));
    fs::write(&log, "from before\n").expect("a folder of our own");
    let setup = setup.flags(&["--log-file", &text(&log), "--listen", &listen]);
    let mut process = Process::spawn(&mut setup.command());
    wait_until("the log says ready", || read(&log).contains("ready"));
    assert!(read(&log).starts_with("from before\n"), "it is appended to");

    fs::rename(&log, &old).expect("a folder of our own");
    process.signal(libc::SIGUSR1);
    wait_until("the old file is still written to", || {
        read(&old).contains("status: ")
    });
    assert!(!log.exists());
    process.signal(libc::SIGHUP);
    wait_until("the new file is there", || {
        read(&log).contains("read again")
    });
    process.signal(libc::SIGUSR1);
    wait_until("the new file is written to", || {
        read(&log).contains("status: ")
    });
    assert_eq!(read(&old).matches("status: ").count(), 1);
    assert_eq!(process.log(), [""; 0], "nothing goes to standard error");

    // Where the new one can't be opened, the old one stays in use. A pipe that nobody reads is not waited for.
    let last = setup.path("log.2");
    fs::rename(&log, &last).expect("a folder of our own");
    fs::create_dir(&log).expect("a folder of our own");
    process.signal(libc::SIGHUP);
    wait_until("a folder is refused", || {
        read(&last).contains("the old one stays in use")
    });
    fs::remove_dir(&log).expect("a folder of our own");
    let made = Command::new("mkfifo").arg(&log).status();
    assert!(made.expect("mkfifo").success());
    process.signal(libc::SIGHUP);
    wait_until("a pipe is refused", || {
        read(&last).contains("a pipe that nobody reads; the old one stays in use")
    });
    process.signal(libc::SIGTERM);
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn sigusr1_logs_the_figures() {
    let server = Server::start();
    let mut client = server.client("admin");
    let mut listener = server.client("ro");
    listener.ask("LISTEN a");
    listener.ask("LISTEN b");
    client.ask("MONITOR");
    for line in [
        "STORE one=12345",
        "STORE two=1",
        "REMOVE two",
        "SET a=1",
        "SET nobody=1",
        "NOTIFY b",
        "NONSENSE",
    ] {
        client.ask(line);
    }
    listener.ask("STORE x=1");
    let _ = server.client("ro").ask("QUIT");
    for (figure, value) in [
        ("clients", 2),
        ("monitors", 1),
        ("names_listened_to", 2),
        ("subscriptions", 2),
        ("entries", 1),
        ("tombstones", 1),
        // A block of 42 bytes, since the first entry from a server has the long header, one of 32, and 10 for each in the table.
        ("cache_bytes", 42 + 32 + 2 * 10),
        ("connections", 3),
        ("signals", 3),
        ("deliveries", 2),
        ("permission_denied", 1),
        ("unknown_commands", 1),
        ("expired", 0),
        ("quit", 1),
    ] {
        wait_until(figure, || server.status(figure) == value);
    }
    for figure in ["lines", "bytes_in", "bytes_out", "longest_turn_us"] {
        assert!(server.status(figure) > 0, "{figure}");
    }
    assert!(server.status_line().contains(" uptime_s="));
    // Nothing waits; what is listened to counts.
    assert!(server.status("buffers") < 1000);
}

/// A server in the background, which is no child of ours.
struct Daemon {
    id: i32,
    pid_file: PathBuf,
}

impl Daemon {
    fn start(setup: &Setup) -> Daemon {
        let pid_file = setup.path("pid");
        let ended = run(&mut setup.command());
        assert_eq!(
            (ended.status, &ended.stdout[..], &ended.stderr[..]),
            (Some(0), "", "")
        );
        let mut id = None;
        wait_until("the pid file has a number", || {
            id = read(&pid_file)
                .strip_suffix('\n')
                .and_then(|line| line.parse().ok());
            id.is_some()
        });
        Daemon {
            id: id.expect("it was found"),
            pid_file,
        }
    }

    fn status(&self, name: &str) -> String {
        let status = read(Path::new(&format!("/proc/{}/status", self.id)));
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Reports whether the daemon runs. A zombie, whose exit status nobody has collected yet, does not.
    fn is_running(&self) -> bool {
        let state = self.status("State");
        self.status("Name") == "clacksd" && !state.starts_with('Z')
    }

    fn end(&self) {
        assert!(self.is_running());
        // SAFETY: plain numbers; the process of that id is the one that wrote its pid file.
        assert_eq!(unsafe { libc::kill(self.id, libc::SIGTERM) }, 0);
        wait_until("the daemon ends", || !self.is_running());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_running() {
            // SAFETY: as above.
            unsafe { libc::kill(self.id, libc::SIGKILL) };
        }
    }
}

#[test]
fn a_daemon_writes_its_pid_file_and_goes_by_it() {
    let setup = Setup::new();
    let (listen, pid, log) = (
        setup.unix("socket"),
        text(&setup.path("pid")),
        text(&setup.path("log")),
    );
    let setup = setup.flags(&[
        "--daemonize",
        "--listen",
        &listen,
        "--pid-file",
        &pid,
        "--log-file",
        &log,
    ]);
    let start = Instant::now();
    let daemon = Daemon::start(&setup);
    wait_until("the log says ready", || {
        read(&setup.path("log")).contains("ready")
    });
    assert!(start.elapsed() < DEADLINE);
    let mut client = Client::unix(&setup.path("socket")).logged_in("admin");
    assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);

    // A session of its own, the root as working folder, no terminal.
    let link = |name: &str| {
        fs::read_link(format!("/proc/{}/{name}", daemon.id)).expect("a running process")
    };
    assert_eq!(link("cwd"), Path::new("/"));
    for descriptor in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(link(descriptor), Path::new("/dev/null"));
    }
    assert_ne!(daemon.status("PPid"), std::process::id().to_string());

    // SIGHUP finds the files although the working folder has changed.
    setup.write_secret("users", "rw:read,write:rwpw\n");
    // SAFETY: plain numbers; the daemon is running.
    assert_eq!(unsafe { libc::kill(daemon.id, libc::SIGHUP) }, 0);
    wait_until("the users are read again", || {
        read(&setup.path("log")).contains("read again: 2 users")
    });

    daemon.end();
    assert_eq!(client.until_closed(), ["QUIT"]);
    assert!(!daemon.pid_file.exists() && !setup.path("socket").exists());
    assert!(read(&setup.path("log")).trim_end().ends_with("ended"));
}

#[test]
fn run_as_gives_up_roots_rights_and_groups() {
    needs_root();
    let accounts = fs::read_to_string("/etc/passwd").expect("accounts");
    let nobody = accounts
        .lines()
        .find(|line| line.starts_with("nobody:"))
        .expect("an account");
    let fields: Vec<&str> = nobody.split(':').collect();
    let (user, group) = (fields[2], fields[3]);
    for daemonize in [false, true] {
        let setup = Setup::new();
        // Who is to remove the files in it must own the folder.
        std::os::unix::fs::chown(setup.folder.path(), user.parse().ok(), None)
            .expect("a folder of our own");
        let (listen, pid, log) = (
            setup.unix("socket"),
            text(&setup.path("pid")),
            text(&setup.path("log")),
        );
        let setup = setup.flags(&[
            "--run-as",
            "nobody",
            "--listen",
            &listen,
            "--pid-file",
            &pid,
            "--log-file",
            &log,
        ]);
        let (mut child, daemon);
        let setup = if daemonize {
            setup.flags(&["--daemonize"])
        } else {
            setup
        };
        if daemonize {
            child = None;
            daemon = Daemon::start(&setup);
        } else {
            let process = Process::spawn(&mut setup.command());
            daemon = Daemon {
                id: process.id() as i32,
                pid_file: setup.path("pid"),
            };
            child = Some(process);
        }
        wait_until("the log says ready", || {
            read(&setup.path("log")).contains("ready")
        });
        let four = |id: &str| [id; 4].join(" ");
        assert_eq!(daemon.status("Uid"), four(user));
        assert_eq!(daemon.status("Gid"), four(group));
        assert_eq!(daemon.status("Groups"), group);
        assert!(
            read(&setup.path("log")).contains("after --run-as this can't be read again"),
            "root's files"
        );
        Client::unix(&setup.path("socket"))
            .logged_in("admin")
            .ask("PING");
        // SAFETY: plain numbers; the process is running.
        assert_eq!(unsafe { libc::kill(daemon.id, libc::SIGTERM) }, 0);
        wait_until("its files are removed", || {
            !setup.path("socket").exists() && !daemon.pid_file.exists()
        });
        if let Some(child) = &mut child {
            assert_eq!(child.wait().code(), Some(0));
        }
    }
}

/// Who owns the folder could have root write to any file, and give it away.
#[test]
fn run_as_follows_no_links_to_files_of_roots() {
    needs_root();
    let link: fn(&Path, &Path) = |file, name| fs::hard_link(file, name).expect("one disk");
    let symbolic_link: fn(&Path, &Path) =
        |file, name| std::os::unix::fs::symlink(file, name).expect("a folder of our own");
    let pipe: fn(&Path, &Path) = |_, name| {
        let made = Command::new("mkfifo").arg(name).status();
        assert!(made.expect("mkfifo").success());
    };
    let roots = Setup::bare();
    let precious = roots.path("precious");
    for make in [link, symbolic_link, pipe] {
        for (flag, status) in [("--pid-file", 1), ("--log-file", 2)] {
            fs::write(&precious, "precious").expect("a folder of our own");
            let setup = Setup::new();
            std::os::unix::fs::chown(setup.folder.path(), Some(65534), None)
                .expect("a folder of our own");
            let (listen, name) = (setup.unix("socket"), setup.path("file"));
            make(&precious, &name);
            let setup = setup.flags(&[flag, &text(&name), "--listen", &listen]);
            let mut command = setup.command();
            let ended = run(command.args(["--run-as", "nobody"]));
            assert_eq!(ended.status, Some(status), "{ended:?}");
            let why = format!("{flag} {}: with --run-as", text(&name));
            assert!(ended.stderr.contains(&why), "{ended:?}");
            assert_eq!(read(&precious), "precious");
            let metadata = fs::metadata(&precious).expect("a file of our own");
            assert_eq!((metadata.uid(), metadata.gid()), (0, 0));
            assert!(!setup.path("socket").exists());
            fs::remove_file(&name).expect("it was left alone");
        }
    }
    // Whoever stays what they are may have links.
    let setup = Setup::new();
    symbolic_link(&precious, &setup.path("log"));
    let (listen, log) = (setup.unix("socket"), text(&setup.path("log")));
    let setup = setup.flags(&["--listen", &listen, "--log-file", &log]);
    let process = Process::spawn(&mut setup.command());
    wait_until("the log says ready", || read(&precious).contains("ready"));
    drop(process);
}

#[test]
fn run_as_takes_another_group_and_needs_root() {
    if is_root() {
        let setup = Setup::new();
        std::os::unix::fs::chown(setup.folder.path(), Some(65534), None)
            .expect("a folder of our own");
        let groups = fs::read_to_string("/etc/group").expect("groups");
        let (name, id) = groups
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields[0] == "daemon")
            .map(|fields| (fields[0].to_owned(), fields[2].to_owned()))
            .expect("a group daemon");
        let listen = setup.unix("socket");
        let setup = setup.flags(&["--run-as", &format!("nobody:{name}"), "--listen", &listen]);
        let process = setup.spawn();
        let daemon = Daemon {
            id: process.id() as i32,
            pid_file: setup.path("pid"),
        };
        assert_eq!(
            (daemon.status("Gid"), daemon.status("Groups")),
            ([&id[..]; 4].join(" "), id)
        );
        drop(daemon);
        return;
    }
    let setup = Setup::new();
    let listen = setup.unix("socket");
    let setup = setup.flags(&["--run-as", "nobody", "--listen", &listen]);
    let ended = run(&mut setup.command());
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("--run-as") && ended.stderr.lines().count() == 1,
        "{ended:?}"
    );
    assert!(!setup.path("socket").exists());
}
