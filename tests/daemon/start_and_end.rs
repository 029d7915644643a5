//! Starts that signals interrupt, starts in the background, limits on the size of files, and ends that lose data.

use crate::bridge::bridge;
use crate::support::{
    Client, Ended, Process, Server, ServiceManager, Setup, run, text, wait_until,
};
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};

fn with_journal(flags: &[&str]) -> Setup {
    let setup = Setup::new();
    let journal = text(&setup.path("journal"));
    setup.flags(&["--persist", &journal]).flags(flags)
}

/// A server that has ended, and whose journal takes a while to be read.
fn with_long_journal() -> Server {
    const ENTRIES: usize = 300_000;
    let mut server = with_journal(&[]).start();
    let mut client = server.client("admin");
    let lines = (0..ENTRIES).map(|number| format!("STORE name{number}={number}\r\n"));
    for part in lines.collect::<Vec<_>>().chunks(5000) {
        client.send_bytes(part.concat().as_bytes());
        client.flush();
    }
    server.process.signal(libc::SIGTERM);
    assert!(server.process.wait().success());
    server
}

/// Starts the server again, and returns while it reads its journal.
fn start_reading(server: &Server) -> Process {
    let pid_file = text(&server.setup.path("pid"));
    let process = Process::spawn(server.setup.command().args(["--pid-file", &pid_file]));
    process.wait_for_log("reading");
    process
}

#[test]
fn a_signal_that_comes_while_the_journal_is_read_ends_the_start_in_order() {
    let server = with_long_journal();
    let journal = server.setup.path("journal");
    let before = fs::read(&journal).expect("a journal");
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut process = start_reading(&server);
        assert!(server.socket.exists());
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(0), "{:?}", process.log());
        let log = process.log();
        let last = log.last().expect("a log");
        assert!(last.contains("ended, as a signal asked, while"), "{log:?}");
        assert!(last.contains(&text(&journal)), "{log:?}");
        assert_eq!(process.log_line("ready"), None);
        assert!(!server.socket.exists() && !server.setup.path("pid").exists());
        assert!(fs::read(&journal).expect("a journal") == before);
    }
}

#[test]
fn a_status_and_a_reload_can_be_asked_for_while_the_journal_is_read() {
    let server = with_long_journal();
    let mut process = start_reading(&server);
    process.signal(libc::SIGHUP);
    process.signal(libc::SIGUSR1);
    let status = process.wait_for_log("status: ");
    assert!(status.contains("status: reading "), "{status}");
    process.wait_for_log("read again: ");
    let log = process.log();
    let place = |part: &str| log.iter().position(|line| line.contains(part));
    assert!(
        place("status: reading") < place("records read in"),
        "{log:?}"
    );
    assert!(place("ready") < place("read again: "), "{log:?}");
    process.signal(libc::SIGTERM);
    assert!(process.wait().success());
}

/// The daemon's process, by its pid file.
fn daemon_id(setup: &Setup) -> i32 {
    let pid = fs::read_to_string(setup.path("pid")).expect("a pid file that is complete");
    let pid = pid.strip_suffix('\n').expect("a whole line");
    pid.parse().expect("a number")
}

#[test]
fn a_daemon_serves_when_the_process_that_started_it_returns() {
    let setup = Setup::new();
    let (pid, log) = (text(&setup.path("pid")), text(&setup.path("log")));
    // The caller's folder counts until everything is open.
    let flags = ["--daemonize", "--listen", "unix:socket", "--pid-file", &pid];
    let setup = setup.flags(&flags).flags(&["--log-file", &log]);
    for _ in 0..10 {
        let ended = run(setup.command().current_dir(setup.folder.path()));
        assert_eq!(
            (ended.status, &ended.stderr[..]),
            (Some(0), ""),
            "{ended:?}"
        );
        let id = daemon_id(&setup);
        assert!(fs::read_to_string(&log).is_ok_and(|log| log.contains("ready")));
        let mut client = Client::unix(&setup.path("socket")).logged_in("admin");
        client.ask("STORE a=1");
        // SAFETY: plain numbers; the process of that id is the one that wrote its pid file.
        assert_eq!(unsafe { libc::kill(id, libc::SIGTERM) }, 0);
        wait_until("the daemon ends", || !setup.path("pid").exists());
        fs::remove_file(&log).expect("a file of ours");
    }
}

/// Lets a command inherit what some programs leave behind: children that nobody waits for (`$SIG{CHLD} = 'IGNORE'` in
/// Perl), and signals that are blocked.
fn inherit_signals(command: &mut Command) {
    let inherit = || {
        // SAFETY: the set is filled by the second call before the third one reads it.
        unsafe {
            libc::signal(libc::SIGCHLD, libc::SIG_IGN);
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::sigprocmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
        }
        Ok(())
    };
    // SAFETY: only calls that are allowed between fork and exec.
    unsafe { command.pre_exec(inherit) };
}

#[test]
fn a_daemon_inherits_no_signals_from_the_process_that_started_it() {
    let setup = Setup::new();
    let (pid, listen) = (text(&setup.path("pid")), setup.unix("socket"));
    let setup = setup.flags(&["--daemonize", "--pid-file", &pid, "--listen", &listen]);
    let mut command = setup.command();
    inherit_signals(&mut command);
    let ended = run(&mut command);
    let id = daemon_id(&setup);
    // SAFETY: plain numbers; the process of that id is the one that wrote its pid file.
    assert_eq!(unsafe { libc::kill(id, libc::SIGTERM) }, 0);
    assert_eq!((ended.status, &*ended.stderr), (Some(0), ""), "{ended:?}");
    wait_until("the daemon ends", || !setup.path("pid").exists());
}

#[test]
fn a_signal_that_the_parent_blocks_ends_each_program() {
    let mut server = Setup::new().start_changed(inherit_signals);
    let mut listen = server.clacks_command("ro", &["listen", "a"]);
    inherit_signals(&mut listen);
    let mut listen = Process::spawn(&mut listen);
    wait_until("it listens", || server.status("subscriptions") == 1);
    listen.signal(libc::SIGTERM);
    assert_eq!(listen.wait().signal(), Some(libc::SIGTERM));

    let nowhere = format!("host={} user=x", text(server.setup.folder.path()));
    let mut bridge = bridge(&["--postgres", &nowhere, "-s", &server.address()]);
    bridge.args(["-u", "rw"]);
    inherit_signals(bridge.env("CLACKS_PASSWORD", "rwpw"));
    let mut bridge = Process::spawn(&mut bridge);
    bridge.wait_for_log("the database can't be reached");
    bridge.signal(libc::SIGTERM);
    assert_eq!(bridge.wait().code(), Some(0));

    server.process.signal(libc::SIGTERM);
    assert_eq!(server.process.wait().code(), Some(0));
}

/// Checks what the caller of `--daemonize` gets to see of a start that fails.
fn assert_failed(ended: &Ended, status: i32, part: &str) {
    assert_eq!(ended.status, Some(status), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(
        ended.stderr.starts_with("clacksd: ") && ended.stderr.contains(part),
        "{ended:?}"
    );
}

#[test]
fn who_starts_a_daemon_learns_why_it_does_not_start() {
    let other = with_journal(&[]).start();
    let journal = text(&other.setup.path("journal"));
    let taken = format!("tcp://127.0.0.1:{}", other.port);
    let setup = Setup::new();
    let (pid, listen) = (text(&setup.path("pid")), setup.unix("socket"));
    let strange = setup.path("strange");
    fs::write(&strange, "no journal at all").expect("a folder of ours");
    let setup = setup.flags(&["--daemonize", "--pid-file", &pid, "--listen", &listen]);
    for (flags, status, part) in [
        (["--listen", &taken], 1, "in use"),
        (["--persist", &journal], 1, "another server"),
        (["--persist", &text(&strange)], 2, "no journal"),
    ] {
        let ended = run(setup.command().args(flags));
        assert_failed(&ended, status, part);
        assert!(ended.stderr.contains(flags[0]), "{ended:?}");
        assert!(!setup.path("pid").exists() && !setup.path("socket").exists());
    }
}

#[test]
fn who_starts_a_daemon_learns_that_a_signal_ended_it_before_it_served() {
    let server = with_long_journal();
    let (pid, log) = (server.setup.path("pid"), server.setup.path("log"));
    let mut command = server.setup.command();
    command.args([
        "--daemonize",
        "--pid-file",
        &text(&pid),
        "--log-file",
        &text(&log),
    ]);
    let caller = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let caller = caller.expect("a process");
    wait_until("it reads its journal", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("reading"))
    });
    // Its id is in no file yet; nobody else has this command line.
    let id = processes_with(&text(&log))
        .into_iter()
        .find(|id| *id != caller.id() as i32);
    // SAFETY: plain numbers; the process is the one that this test has started.
    assert_eq!(
        unsafe { libc::kill(id.expect("it reads"), libc::SIGTERM) },
        0
    );
    let output = caller.wait_with_output().expect("a child of ours");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("a signal ended the server"), "{stderr}");
}

/// Processes with this word in their command line.
fn processes_with(word: &str) -> Vec<i32> {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id: &i32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|argument| argument == word.as_bytes())
    })
    .collect()
}

/// Each way to an end; in each, a change is lost that nobody could save.
#[test]
fn an_end_that_loses_changes_is_an_error() {
    for line in [None, Some("OVERHEAD S 0.05")] {
        let setup = with_journal(&[]);
        let manager = ServiceManager::new(&setup);
        let path = manager.path.clone();
        let mut server = setup.start_changed(|command| {
            command.env("NOTIFY_SOCKET", path);
        });
        let mut client = server.client("admin");
        client.ask("STORE kept=1");
        server.process.limit_files(20_000);
        client.ask(&format!("STORE lost={}", "v".repeat(30_000)));
        client.ask("STORE lost too=1");
        let journal = text(&server.setup.path("journal"));
        let failed = server.process.wait_for_log("nothing is being saved");
        assert!(
            failed.contains(&format!(": {journal}: File too large")),
            "{failed}"
        );
        match line {
            Some(line) => client.send(line),
            None => server.process.signal(libc::SIGTERM),
        }
        assert_eq!(
            server.process.wait().code(),
            Some(1),
            "{:?}",
            server.process.log()
        );
        let log = server.process.log();
        let last = log.last().expect("a log");
        assert!(
            last.contains("ERROR") && last.contains("ended with a loss: "),
            "{log:?}"
        );
        assert!(
            last.contains(&journal) && last.contains("2 changes are not saved"),
            "{log:?}"
        );
        assert!(last.contains("File too large"), "{log:?}");
        let (status, _) = manager.wait_for("STATUS=ended with a loss: ");
        assert!(status.contains(&journal), "{status}");
    }
}

#[test]
fn a_disk_that_takes_too_long_for_the_end_is_a_loss() {
    let mut server = with_journal(&["--fsync", "never"]).start();
    let mut client = server.client("admin");
    client.ask("STORE a=1");
    let tampering = crate::journal::process::Tampering::start(
        crate::journal::process::journal_thread(&server),
        &["fdatasync:delay_enter=8000000"],
    );
    client.ask("STORE a=2");
    server.process.signal(libc::SIGTERM);
    assert_eq!(
        server.process.wait().code(),
        Some(1),
        "{:?}",
        server.process.log()
    );
    server.process.wait_for_log("the disk takes too long");
    drop(tampering);
}

/// The log's file is as good as full; what is lost of it is counted.
#[test]
fn a_log_that_reaches_the_limit_of_its_size_ends_nothing() {
    let setup = Setup::new();
    let log = setup.path("log");
    let listen = setup.unix("socket");
    let setup = setup.flags(&["--log-file", &text(&log), "--listen", &listen]);
    let mut process = Process::spawn(&mut setup.command());
    let has = |part: &str| fs::read_to_string(&log).is_ok_and(|log| log.contains(part));
    wait_until("it is ready", || has("ready"));
    let length = fs::metadata(&log).expect("a log").len();
    process.limit_files(length);
    for _ in 0..3 {
        process.signal(libc::SIGHUP);
        let mut client = Client::unix(&setup.path("socket")).logged_in("admin");
        assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    }
    process.limit_files(libc::RLIM64_INFINITY);
    process.signal(libc::SIGUSR1);
    wait_until("the log says what it lacks", || has("log lines were lost"));
    process.signal(libc::SIGTERM);
    assert!(process.wait().success());
}

/// The start as well, with a journal and with a log that are as large as may be.
#[test]
fn a_limit_on_the_size_of_files_ends_no_start() {
    let mut server = with_journal(&[]).start();
    server.client("admin").ask("STORE a=1");
    server.process.signal(libc::SIGTERM);
    server.process.wait();
    let mut shell = Command::new("sh");
    // In units of 512 bytes.
    let mut process = Process::spawn(
        shell
            .args(["-c", "ulimit -f 0; exec \"$@\"", "sh"])
            .arg(server.setup.command().get_program())
            .args(server.setup.command().get_args())
            .stdin(Stdio::null()),
    );
    process.wait_for_log("ready");
    let mut client = Client::unix(&server.socket).logged_in("admin");
    assert_eq!(client.ask("RETRIEVE a"), ["RETRIEVED a=1"]);
    client.ask("STORE a=2");
    process.wait_for_log("nothing is being saved");
    assert_eq!(
        client.ask("RETRIEVE a"),
        ["RETRIEVED a=2", "OVERHEAD E not_saved"]
    );
    process.signal(libc::SIGTERM);
    assert_eq!(process.wait().code(), Some(1));
}

/// Runs a program with its output to a file that may not grow.
fn run_with_full_output(command: &Command, output: &Path) -> Option<i32> {
    fs::write(output, "full").expect("a folder of ours");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -f 0; exec \"$@\" >>\"$0\" 2>>\"$0\""])
        .arg(output)
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.status().expect("a shell").code()
}

#[test]
fn programs_whose_output_is_a_full_file_end_by_themselves() {
    let setup = Setup::bare();
    let output = setup.path("output");
    let clacks = crate::support::bare_clacks(&[]);
    for (program, arguments, status) in [
        (clacks.get_program(), &["--help"][..], 2),
        (clacks.get_program(), &["no such command"], 2),
        (env!("CARGO_BIN_EXE_clacksd").as_ref(), &["--help"], 1),
        (env!("CARGO_BIN_EXE_clacksd").as_ref(), &["--wrong"], 2),
    ] {
        let mut command = Command::new(program);
        command.args(arguments);
        let ended = run_with_full_output(&command, &output);
        assert_eq!(ended, Some(status), "{program:?} {arguments:?}");
        assert_eq!(fs::read(&output).expect("a file"), b"full");
    }
}
