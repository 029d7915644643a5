//! The cache in a file, with the real process: killed, with a full disk, with a slow one, with damaged
//! files. What the journal promises is tried more thoroughly in `simulated`.

use crate::runner::needs;
use crate::support::{Client, Random, Server, Setup, run, text, wait_until};
use clacks::storage::format;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub fn with_journal(flags: &[&str]) -> Setup {
    let setup = Setup::new();
    let journal = text(&setup.path("journal"));
    setup.flags(&["--persist", &journal]).flags(flags)
}

fn value(client: &mut Client, name: &str) -> Option<String> {
    let answer = client.ask(&format!("RETRIEVE {name}"));
    let answer = answer.first().expect("an answer");
    answer
        .strip_prefix(&format!("RETRIEVED {name}="))
        .map(str::to_owned)
}

/// Kills a server so often in the midst of the work of four clients; each of them then finds what it has
/// flushed, or something later.
pub fn kill(rounds: usize, flags: &[&str]) {
    const NAMES: usize = 20;
    let mut server = with_journal(flags).start();
    let mut random = Random::new(rounds as u64);
    // What each client has said of each name: what was flushed, and what came after it.
    let mut said: BTreeMap<(usize, usize), (u64, u64)> = BTreeMap::new();
    let mut serial = 0;
    for round in 0..rounds {
        let after = Duration::from_micros(random.below(30_000) as u64);
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let mut client = server.client("admin");
                let (from, mut random) = (serial, Random::new((round * 4 + worker) as u64));
                let mut said = said.clone();
                std::thread::spawn(move || {
                    let mut serial = from;
                    'working: loop {
                        let mut lines = String::new();
                        let mut batch = Vec::new();
                        for _ in 0..1 + random.below(10) {
                            serial += 1;
                            let name = random.below(NAMES);
                            batch.push((name, serial));
                            lines += &format!(
                                "STORE w{worker}:{name}={serial}:{}\r\n",
                                "v".repeat(random.below(2000))
                            );
                        }
                        for (name, serial) in &batch {
                            said.entry((worker, *name)).or_default().1 = *serial;
                        }
                        lines += &format!("FLUSH {serial}\r\n");
                        if client.try_send(lines.as_bytes()).is_err() {
                            break;
                        }
                        loop {
                            match client.next_line() {
                                Some(line) if line == format!("FLUSHED {serial}") => break,
                                Some(_) => {}
                                None => break 'working,
                            }
                        }
                        for (name, serial) in batch {
                            said.entry((worker, name)).or_default().0 = serial;
                        }
                    }
                    (said, serial)
                })
            })
            .collect();
        std::thread::sleep(after);
        server.process.signal(libc::SIGKILL);
        server.process.wait();
        for (worker, working) in workers.into_iter().enumerate() {
            let (theirs, last) = working.join().expect("no panic");
            serial = serial.max(last);
            let theirs = theirs.into_iter().filter(|((of, _), _)| *of == worker);
            said.extend(theirs);
        }
        server = server.kill_and_restart();
        let mut client = server.client("admin");
        for (&(worker, name), &(flushed, last)) in &said {
            let name = format!("w{worker}:{name}");
            let found = value(&mut client, &name);
            let found: u64 = found.map_or(0, |value| {
                let serial = value.split(':').next().expect("a serial number");
                serial.parse().expect("a number")
            });
            assert!(
                (flushed..=last).contains(&found),
                "round {round}: {name} is {found}, flushed was {flushed}, {last} came last"
            );
        }
        // What is there now is what counts from now on.
        for (&(worker, name), (flushed, _)) in &mut said {
            if let Some(value) = value(&mut client, &format!("w{worker}:{name}")) {
                let serial = value.split(':').next().expect("a serial number");
                *flushed = serial.parse().expect("a number");
            }
        }
    }
    assert!(serial > rounds as u64, "they got to work: {serial}");
}

#[test]
fn a_killed_process_loses_nothing_that_was_flushed() {
    for sync in ["always", "1", "never"] {
        kill(8, &["--fsync", sync]);
    }
}

#[test]
fn all_kinds_of_state_outlive_a_killed_process_and_an_orderly_end() {
    let mut server = with_journal(&[]).start();
    let mut client = server.client("admin");
    for line in [
        "STORE gone=1",
        "CLEARCACHE",
        "STORE text=with = and blanks ",
        "STORE empty=",
        "STORE removed=1",
        "REMOVE removed",
        "INCREMENT counter=5",
        "DECREMENT counter=0.5",
        "SETANDSTORE signal=7",
        "INCREMENT signal",
    ] {
        client.ask(line);
    }
    for round in 0..4 {
        if round == 2 {
            server.process.signal(libc::SIGTERM);
            assert!(server.process.wait().success());
        }
        server = server.kill_and_restart();
        let mut client = server.client("admin");
        assert_eq!(
            client.ask("KEYLIST"),
            [
                "KEYLISTSTART",
                "KEY counter",
                "KEY empty",
                "KEY signal",
                "KEY text",
                "KEYLISTEND"
            ]
        );
        assert_eq!(
            value(&mut client, "text").as_deref(),
            Some("with = and blanks ")
        );
        assert_eq!(value(&mut client, "empty").as_deref(), Some(""));
        assert_eq!(
            value(&mut client, "signal"),
            Some((8 + round).to_string()),
            "it goes on counting from what was kept"
        );
        client.ask("INCREMENT signal");
        assert_eq!(server.status("tombstones"), 1);
        assert!(server.status_line().contains(" journal=saving "));
    }
}

#[test]
fn what_was_replaced_by_something_too_large_for_a_smaller_cache_does_not_come_back() {
    let mut server = with_journal(&[]).start();
    let mut client = server.client("admin");
    client.ask("STORE small=kept");
    client.ask("STORE name=old");
    client.ask(&format!("STORE name={}", "v".repeat(20_000)));
    server.setup = server.setup.flags(&["--cache-max", "16K"]);
    let server = server.kill_and_restart();
    let mut client = server.client("admin");
    assert_eq!(value(&mut client, "small").as_deref(), Some("kept"));
    assert_eq!(value(&mut client, "name"), None);
}

#[test]
fn a_cache_keeps_its_limit_while_it_is_loaded() {
    let mut server = with_journal(&[]).start();
    let mut client = server.client("admin");
    for number in 0..60 {
        client.send(&format!("STORE name{number}={}", "v".repeat(1_000_000)));
    }
    client.flush();
    server.setup = server.setup.flags(&["--cache-max", "8M"]);
    let server = server.kill_and_restart();
    assert!(server.status("entries") > 0);
    // Of 60 MB.
    let peak_kb = server.proc_status("VmHWM");
    assert!(peak_kb < 30_000, "{peak_kb} kB");
}

#[test]
fn a_journal_is_for_one_server() {
    let first = with_journal(&[]).start();
    first.client("admin").ask("STORE a=1");
    let journal = text(&first.setup.path("journal"));
    let before = fs::read(&journal).expect("a journal");
    let second = Setup::new();
    let listen = second.unix("socket");
    let second = second.flags(&["--listen", &listen, "--persist", &journal]);
    let pid_file = first.setup.path("pid");
    fs::write(&pid_file, "1\n").expect("a file");
    let second = second.flags(&["--pid-file", &text(&pid_file)]);
    let ended = run(&mut second.command());
    let kept = fs::read_to_string(&pid_file).expect("it is still there");
    assert_eq!(kept, "1\n", "it is not the second one's");
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("--persist") && ended.stderr.contains("another server"),
        "{ended:?}"
    );
    assert_eq!(fs::read(&journal).expect("a journal"), before);
}

#[test]
fn files_that_are_no_journals_are_refused_and_not_touched() {
    let setup = Setup::new();
    let file = setup.path("other");
    fs::write(&file, "something else").expect("a file");
    let missing = setup.path("no such folder/journal");
    let folder = setup.folder.path().to_owned();
    let listen = setup.unix("socket");
    let setup = setup.flags(&["--listen", &listen]);
    for (path, check_too) in [(&file, true), (&missing, true), (&folder, false)] {
        for check in [false, true] {
            if check && !check_too {
                continue;
            }
            let mut command = setup.command();
            command.args(["--persist", &text(path)]);
            if check {
                command.arg("--check");
            }
            let ended = run(&mut command);
            assert_eq!(ended.status, Some(2), "{ended:?}");
            assert!(ended.stderr.contains("--persist"), "{ended:?}");
            assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        }
    }
    assert_eq!(fs::read(&file).expect("a file"), b"something else");
    for (flags, part) in [
        (&["--fsync", "always"][..], "--persist"),
        (&["--persist", "x", "--fsync", "sometimes"], "--fsync"),
        (&["--persist", "x", "--fsync", "0"], "--fsync"),
        (&["--persist", ""], "--persist"),
        (&["--cache-max", "x"], "--cache-max"),
    ] {
        let ended = run(setup.command().args(flags));
        assert_eq!(ended.status, Some(2), "{flags:?}: {ended:?}");
        assert!(ended.stderr.contains(part), "{flags:?}: {ended:?}");
    }
}

#[test]
fn a_journal_of_version_1_is_refused_and_not_touched() {
    let setup = Setup::new();
    let file = setup.path("journal");
    // The header of version 1, and something behind it.
    let mut journal = [&format::MAGIC[..], &[1, 0, 0, 0, 0, 0, 0, 0]].concat();
    let sum = twox_hash::XxHash3_64::oneshot_with_seed(0, &journal);
    journal.extend_from_slice(&sum.to_le_bytes());
    journal.extend_from_slice(&[7; 10_000]);
    fs::write(&file, &journal).expect("a file of ours");
    let listen = setup.unix("socket");
    let setup = setup.flags(&["--listen", &listen, "--persist", &text(&file)]);
    for flags in [&[][..], &["--check"]] {
        let ended = run(setup.command().args(flags));
        assert_eq!(ended.status, Some(2), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        for part in ["--persist", &text(&file), "a journal of version 1;"] {
            assert!(ended.stderr.contains(part), "{ended:?}");
        }
        assert_eq!(fs::read(&file).expect("it is there"), journal);
        assert!(!setup.path("journal.bad").exists() && !setup.path("journal.new").exists());
    }
}

#[test]
fn a_line_may_not_be_longer_than_a_journal_can_have_it() {
    for (size, is_taken) in [("1G", true), ("1073741825", false), ("8G", false)] {
        let setup = Setup::new();
        let listen = setup.unix("socket");
        let setup = setup.flags(&[
            "--listen",
            &listen,
            "--max-line",
            size,
            "--max-output",
            "16G",
        ]);
        let ended = run(setup.command().arg("--check"));
        assert_eq!(
            ended.status,
            Some(if is_taken { 0 } else { 2 }),
            "{ended:?}"
        );
        assert!(is_taken || ended.stderr.contains("--max-line"), "{ended:?}");
    }
}

#[test]
fn others_can_not_read_the_journal() {
    let server = with_journal(&[]).start();
    server.client("admin").ask("STORE secret=1");
    for name in ["journal", "journal.lock"] {
        let metadata = fs::metadata(server.setup.path(name)).expect("a file");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn the_log_says_what_was_torn_off_or_damaged() {
    let mut server = with_journal(&[]).start();
    server.client("admin").ask("STORE first=1");
    server.client("admin").ask("STORE second=2");
    let journal = server.setup.path("journal");
    server.process.signal(libc::SIGKILL);
    server.process.wait();
    let mut bytes = fs::read(&journal).expect("a journal");
    bytes.extend_from_slice(b"half a record");
    fs::write(&journal, &bytes).expect("a file of ours");
    let mut server = server.kill_and_restart();
    server
        .process
        .wait_for_log("the last 13 bytes are no whole record");
    assert_eq!(server.status("entries"), 2);
    server.process.signal(libc::SIGKILL);
    server.process.wait();
    let mut bytes = fs::read(&journal).expect("a journal");
    // Within the first record.
    bytes[format::HEADER + format::FRAME + 12] ^= 1;
    fs::write(&journal, &bytes).expect("a file of ours");
    let mut server = server.kill_and_restart();
    let line = server.process.wait_for_log("is damaged");
    assert!(
        line.contains(" in 1 places ") && line.contains("journal.bad"),
        "{line}"
    );
    assert_eq!(server.status("entries"), 1);
    assert_eq!(
        fs::read(server.setup.path("journal.bad")).expect("it is kept")[..bytes.len()],
        bytes
    );
    wait_until("the journal is good again", || {
        fs::read(&journal).is_ok_and(|now| now.len() < bytes.len())
    });
    server.process.signal(libc::SIGKILL);
    server.process.wait();
    let server = server.kill_and_restart();
    assert_eq!(server.status("entries"), 1);
    assert_eq!(server.process.log_line("damaged"), None);
}

/// A limit on the size of files is as good as a full disk.
#[test]
fn a_full_disk_is_told_and_saving_resumes_by_itself() {
    for fsync in ["always", "1", "never"] {
        fill_the_disk_and_make_room(fsync);
    }
}

fn fill_the_disk_and_make_room(fsync: &str) {
    let setup = with_journal(&["--fsync", fsync]);
    let server = setup.start();
    let mut client = server.client("admin");
    client.ask("NOPING");
    client.ask("STORE before=1");
    server.process.limit_files(20_000);
    let large = "v".repeat(30_000);
    client.send(&format!("STORE large={large}"));
    client.send("FLUSH 1");
    client.expect("OVERHEAD E not_saved");
    client.expect("FLUSHED 1");
    // Nothing was written since, and each FLUSH says it.
    assert!(server.status_line().contains(" journal=failed "));
    client.send("FLUSH again");
    client.expect("OVERHEAD E not_saved");
    client.expect("FLUSHED again");
    assert_eq!(
        value_or_error(&mut client, "RETRIEVE before"),
        "RETRIEVED before=1"
    );
    server.process.wait_for_log("nothing is being saved");
    assert!(server.status_line().contains(" journal=failed "));
    server.process.limit_files(libc::RLIM64_INFINITY);
    server
        .process
        .wait_for_log("everything is being saved again");
    client.send("FLUSH 2");
    client.expect_after_others("FLUSHED 2");
    let server = server.kill_and_restart();
    let mut client = server.client("admin");
    assert_eq!(value(&mut client, "before").as_deref(), Some("1"));
    assert_eq!(value(&mut client, "large"), Some(large));
}

/// The first line that is an answer to a line.
fn value_or_error(client: &mut Client, line: &str) -> String {
    let answers = client.ask(line);
    let mut answers = answers.into_iter();
    answers
        .find(|answer| !answer.contains("not_saved"))
        .expect("an answer")
}

/// The number of the server's thread that writes the journal.
pub fn journal_thread(server: &Server) -> u32 {
    let tasks = format!("/proc/{}/task", server.process.id());
    let mut found = None;
    // It takes its name when it begins to run.
    wait_until("the thread has a name", || {
        let tasks = fs::read_dir(&tasks).expect("a running process");
        let mut numbers = tasks.flatten().map(|task| task.path());
        found = numbers.find(|task| {
            fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "journal")
        });
        found.is_some()
    });
    let found = found.expect("it was found");
    let number = found.file_name().and_then(|name| name.to_str());
    number
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

/// strace lets the system calls of one thread take their time, or fail.
pub struct Tampering(std::process::Child);

impl Tampering {
    pub fn start(thread: u32, with: &[&str]) -> Tampering {
        needs("strace");
        let mut command = Command::new("strace");
        command.args(["-qq", "-o", "/dev/null", "-p", &thread.to_string()]);
        for what in with {
            command.args(["-e", &format!("inject={what}")]);
        }
        let child = command.stderr(Stdio::inherit()).spawn().expect("strace");
        wait_until("strace has the thread", || {
            fs::read_to_string(format!("/proc/{thread}/status"))
                .is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
        });
        Tampering(child)
    }
}

impl Drop for Tampering {
    fn drop(&mut self) {
        // On an interrupt it lets the thread go; killed, it would leave it stopped.
        let id = i32::try_from(self.0.id()).expect("process ids fit");
        // SAFETY: plain numbers; the child was not waited for, so its id is still its own.
        unsafe { libc::kill(id, libc::SIGINT) };
        let _ = self.0.wait();
    }
}

#[test]
fn a_slow_disk_delays_only_who_waits_for_it() {
    let server = with_journal(&["--fsync", "always"]).start();
    let (mut writer, mut reader) = (server.client("admin"), server.client("admin"));
    writer.ask("STORE a=1");
    let tampering = Tampering::start(
        journal_thread(&server),
        &["fdatasync:delay_exit=700000", "write:delay_exit=300000"],
    );
    writer.send("STORE a=2");
    writer.send("FLUSH slow");
    writer.send("RETRIEVE a");
    let start = Instant::now();
    let mut asked = 0;
    while !writer.receive(Duration::from_millis(1)) {
        // RETRIEVE is answered meanwhile; only a FLUSH, with all after it, waits.
        reader.send("RETRIEVE a");
        reader.expect("RETRIEVED a=2");
        asked += 1;
    }
    assert!(
        start.elapsed() > Duration::from_millis(900),
        "the disk was slow"
    );
    assert!(asked > 10, "{asked}");
    writer.expect("FLUSHED slow");
    writer.expect("RETRIEVED a=2");
    drop(tampering);
}

/// Has a thread write lines until all are sent.
fn send_all(
    mut client: Client,
    lines: usize,
    line: impl Fn(usize) -> String + Send + 'static,
) -> std::thread::JoinHandle<Client> {
    std::thread::spawn(move || {
        const AT_ONCE: usize = 100;
        for first in (0..lines).step_by(AT_ONCE) {
            let part: String = (first..first + AT_ONCE).map(&line).collect();
            client
                .try_send(part.as_bytes())
                .expect("the connection stays");
        }
        client
    })
}

#[test]
fn a_name_that_is_written_at_full_speed_ends_nobodys_promise() {
    const LINES: usize = 300_000;
    let server = with_journal(&["--fsync", "always"]).start();
    let writer = server.client("rw");
    let mut other = server.client("admin");
    other.ask("NOPING");
    let tampering = Tampering::start(
        journal_thread(&server),
        &["fdatasync:delay_exit=300000", "write:delay_exit=100000"],
    );
    let large = "v".repeat(500);
    let writing = send_all(writer, LINES, move |number| {
        format!("STORE big={number}:{large}\r\n")
    });
    let mut round = 0;
    while !writing.is_finished() || round < 3 {
        round += 1;
        other.send(&format!("STORE other={round}"));
        other.send("FLUSH x");
        // Nothing else is said, "not_saved" for example.
        other.expect("FLUSHED x");
        let status = server.status_line();
        assert!(!status.contains(" journal=failed "), "{status}");
        let unsaved = server.status("unsaved");
        assert!(unsaved < 64 << 20, "{unsaved}");
    }
    let mut writer = writing.join().expect("no panic");
    writer.flush();
    drop(tampering);
    assert_eq!(server.process.log_line("nothing is being saved"), None);
    let server = server.kill_and_restart();
    let found = value(&mut server.client("admin"), "big").expect("it was flushed");
    assert!(found.starts_with(&format!("{}:", LINES - 1)), "{found}");
    let found = value(&mut server.client("admin"), "other");
    assert_eq!(found, Some(round.to_string()));
}

#[test]
fn a_disk_that_is_slower_than_the_writers_slows_them_and_nobody_else() {
    const LINES: usize = 40_000;
    let server = with_journal(&["--ping-timeout", "2"]).start();
    let (writer, mut reader) = (server.client("rw"), server.client("admin"));
    let mut little = server.client("rw");
    reader.ask("NOPING");
    little.ask("NOPING");
    // Whatever the size of a write.
    let tampering = Tampering::start(journal_thread(&server), &["write:delay_exit=200000"]);
    let large = "v".repeat(1_000);
    let writing = send_all(writer, LINES, move |number| {
        format!("PING\r\nSTORE name{number}={large}\r\n")
    });
    let mut most = 0;
    let mut asked = 0;
    while !writing.is_finished() {
        // Who reads, and who writes little, goes on.
        reader.send("RETRIEVE none");
        reader.expect("NOTRETRIEVED none");
        little.send(&format!("STORE little={asked}"));
        little.send("RETRIEVE little");
        little.expect(&format!("RETRIEVED little={asked}"));
        most = most.max(server.status("unsaved"));
        asked += 1;
    }
    assert!(asked > 10, "the writer had to wait");
    assert!((8 << 20..24 << 20).contains(&most), "{most}");
    drop(tampering);
    // It has not timed out, though nobody read its PINGs for long.
    let mut writer = writing.join().expect("no panic");
    writer.flush();
    assert_eq!(server.process.log_line("nothing is being saved"), None);
    let server = server.kill_and_restart();
    assert_eq!(server.status("entries"), LINES as u64 + 1);
}

#[test]
fn a_link_is_slowed_by_the_disk_and_does_not_end() {
    const LINES: usize = 60_000;
    let timeout = &[
        "--interclacks-ping-timeout",
        "1",
        "--interclacks-reconnect",
        "0.1",
    ];
    let master = with_journal(&["--fsync", "always"]).flags(timeout).start();
    let address = master.setup.unix("socket");
    let slave = Setup::new()
        .flags(&["--master", &address])
        .flags(timeout)
        .start();
    wait_until("the link is up", || slave.is_slave());
    let writer = slave.client("admin");
    let tampering = Tampering::start(journal_thread(&master), &["fdatasync:delay_exit=3000000"]);
    let large = "v".repeat(1_000);
    let writing = send_all(writer, LINES, move |number| {
        format!("STORE name{number}={large}\r\n")
    });
    let mut writer = writing.join().expect("the slave goes on");
    writer.flush();
    wait_until("some of it waits at the master", || {
        master.status("unsaved") > 8 << 20
    });
    // Some times the time after which either side ends a silent link.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        assert!(
            slave.is_slave(),
            "{:?}\n{:?}",
            slave.process.log(),
            master.process.log()
        );
    }
    drop(tampering);
    wait_until("all of it is at the master", || {
        master.status("entries") == LINES as u64
    });
    assert_eq!(master.process.log_line("ping_timeout"), None);
    assert_eq!(slave.process.log_line("ping_timeout"), None);
    assert!(!master.status_line().contains(" journal=failed "));
}

#[test]
fn who_vanishes_while_it_waits_for_the_disk_frees_its_place() {
    let flags = [
        "--fsync",
        "always",
        "--max-clients",
        "6",
        "--stalled-write-timeout",
        "0.5",
    ];
    let server = with_journal(&flags).start();
    let mut stays = server.client("admin");
    stays.ask("NOPING");
    let mut others: Vec<_> = (0..4).map(|_| server.client("rw")).collect();
    let tampering = Tampering::start(journal_thread(&server), &["fdatasync:delay_exit=6000000"]);
    let before = server.status("lines");
    for other in &mut others {
        other.send("NOPING");
        other.send("STORE a=1");
        other.send("FLUSH slow");
        other.send("STORE b=1");
    }
    // A FLUSH that waits is not counted before it is answered.
    wait_until("all wait", || server.status("lines") >= before + 4 * 2);
    assert_eq!(server.status("entries"), 1);
    let start = Instant::now();
    drop(others);
    wait_until("their places are free", || server.status("clients") == 1);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "the disk was still slow"
    );
    drop(tampering);
}

#[test]
fn what_is_evicted_is_told_and_what_can_not_fit_is_refused() {
    let server = Setup::new().flags(&["--cache-max", "64K"]).start();
    let mut monitor = server.client("admin");
    monitor.ask("MONITOR");
    let mut client = server.client("rw");
    for number in 0..1000 {
        client.send(&format!("STORE name{number}={}", "v".repeat(100)));
    }
    client.flush();
    let live = server.status("entries");
    assert!((450..530).contains(&live), "{live}");
    assert!(server.status("cache_bytes") <= 64 << 10);
    assert_eq!(server.status("evicted"), 1000 - live);
    let seen = monitor.whatever_came(Duration::from_millis(200));
    let told = seen
        .iter()
        .filter(|line| line.starts_with("DEBUG SERVERCACHE=CLEANEVICTED=name"));
    assert_eq!(told.count() as u64, 1000 - live);
    let large = "v".repeat(70_000);
    for line in [
        format!("STORE large={large}"),
        format!("SETANDSTORE large={large}"),
    ] {
        assert_eq!(client.ask(&line), ["OVERHEAD E entry_too_large"]);
    }
    assert_eq!(client.ask("RETRIEVE large"), ["NOTRETRIEVED large"]);
    assert_eq!(server.status("too_large"), 2);
}
