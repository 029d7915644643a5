//! Unusual paths to a journal's files, other objects in their place, and changes to them while a server uses them:
//! links, mounts, pipes, files that are moved away.

use crate::journal::process::{Tampering, journal_thread};
use crate::runner::needs_mounts;
use crate::support::{Client, Process, Server, Setup, run, text, wait_until};
use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn server_with(journal: &Path, flags: &[&str]) -> Server {
    let setup = Setup::new().flags(&["--persist", &text(journal)]);
    setup.flags(flags).start()
}

/// A folder of its own for a journal, and its path there.
fn place_for_journal() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let journal = folder.path().join("journal");
    (folder, journal)
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no NUL in it")
}

/// Mounts one path at another one, for the command alone.
fn bind_mount(command: &mut Command, what: &Path, at: &Path) {
    let (what, at) = (c_path(what), c_path(at));
    let mount = move || {
        let (none, flags) = (std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
        // SAFETY: plain numbers and NUL-terminated strings, which were allocated before the fork.
        let failed = unsafe {
            libc::unshare(libc::CLONE_NEWNS) != 0
                || libc::mount(c"none".as_ptr(), c"/".as_ptr(), none, flags, none.cast()) != 0
                || libc::mount(what.as_ptr(), at.as_ptr(), none, libc::MS_BIND, none.cast()) != 0
        };
        match failed {
            true => Err(io::Error::last_os_error()),
            false => Ok(()),
        }
    };
    // SAFETY: between fork and exec, the closure makes system calls only.
    unsafe { command.pre_exec(mount) };
}

/// Mounts a file system in memory of so many bytes, for the command alone.
fn mount_memory(command: &mut Command, at: &Path, bytes: usize) {
    let at = c_path(at);
    let options = CString::new(format!("size={bytes}")).expect("no NUL in it");
    let mount = move || {
        let (none, flags) = (std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
        let kind = c"tmpfs".as_ptr();
        // SAFETY: plain numbers and NUL-terminated strings, which were allocated before the fork.
        let failed = unsafe {
            libc::unshare(libc::CLONE_NEWNS) != 0
                || libc::mount(c"none".as_ptr(), c"/".as_ptr(), none, flags, none.cast()) != 0
                || libc::mount(kind, at.as_ptr(), kind, 0, options.as_ptr().cast()) != 0
        };
        match failed {
            true => Err(io::Error::last_os_error()),
            false => Ok(()),
        }
    };
    // SAFETY: between fork and exec, the closure makes system calls only.
    unsafe { command.pre_exec(mount) };
}

/// Starts a second server with a journal that the first one uses.
fn assert_in_use(path: &Path, change: impl FnOnce(&mut Command)) {
    assert_refused(path, change, 1, "another server uses it");
}

/// Starts a server, which ends at once with one line that says why.
fn assert_refused(path: &Path, change: impl FnOnce(&mut Command), status: i32, why: &str) {
    let setup = Setup::new();
    let listen = setup.unix("socket");
    let setup = setup.flags(&["--listen", &listen, "--persist", &text(path)]);
    let mut command = setup.command();
    change(&mut command);
    let ended = run(&mut command);
    assert_eq!(ended.status, Some(status), "{path:?}: {ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{path:?}: {ended:?}");
    assert!(ended.stderr.contains(why), "{path:?}: {ended:?}");
    assert!(ended.stderr.contains(&text(path)), "{path:?}: {ended:?}");
}

/// Lets the journal grow until it is rewritten.
fn grow(client: &mut Client) {
    for number in 0..6 {
        client.ask(&format!("STORE large={number}{}", "v".repeat(1_000_000)));
    }
}

#[test]
fn a_journal_has_one_server_whatever_path_leads_to_it() {
    let (folder, journal) = place_for_journal();
    let server = server_with(&journal, &[]);
    server.client("admin").ask("STORE a=1");
    let other = |name: &str| folder.path().join(name);
    symlink(&journal, other("link")).expect("a folder of ours");
    symlink("link", other("link of link")).expect("a folder of ours");
    symlink(folder.path(), other("folder")).expect("a folder of ours");
    fs::hard_link(&journal, other("second")).expect("a folder of ours");
    fs::create_dir(other("elsewhere")).expect("a folder of ours");
    for name in [
        "link",
        "link of link",
        "folder/journal",
        "elsewhere/../journal",
        "second",
    ] {
        assert_in_use(&other(name), |_| ());
    }
    assert_in_use(Path::new("journal"), |command| {
        command.current_dir(folder.path());
    });
    // Without its name, the lock of the journal itself is left; of a rewritten one as well.
    let mut client = server.client("admin");
    grow(&mut client);
    wait_until("the journal is rewritten", || {
        fs::metadata(&journal).is_ok_and(|journal| journal.len() < 4_000_000)
    });
    fs::remove_file(other("journal.lock")).expect("a file");
    assert_in_use(&journal, |_| ());
    fs::hard_link(&journal, other("third")).expect("a folder of ours");
    assert_in_use(&other("third"), |_| ());
    assert_eq!(client.ask("RETRIEVE a"), ["RETRIEVED a=1"]);
}

#[test]
fn a_journal_has_one_server_whatever_is_mounted_on_the_way_to_it() {
    needs_mounts();
    let (folder, journal) = place_for_journal();
    let _server = server_with(&journal, &[]);
    let mounted = folder.path().join("elsewhere");
    fs::create_dir(&mounted).expect("a folder of ours");
    assert_in_use(&mounted.join("journal"), |command| {
        bind_mount(command, folder.path(), &mounted);
    });
}

#[test]
fn a_journal_behind_a_link_is_replaced_and_the_link_stays() {
    let (folder, journal) = place_for_journal();
    let link = folder.path().join("link");
    symlink("journal", &link).expect("a folder of ours");
    let server = server_with(&link, &[]);
    let mut client = server.client("admin");
    grow(&mut client);
    wait_until("the journal is rewritten", || {
        fs::metadata(&journal).is_ok_and(|journal| journal.len() < 4_000_000)
    });
    assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
    let server = server.kill_and_restart();
    assert_eq!(server.status("entries"), 1);
}

#[test]
fn what_is_no_file_in_the_place_of_a_lock_or_a_journal_is_refused_at_once() {
    for name in ["journal.lock", "journal", "journal.new"] {
        for kind in ["pipe", "link", "device", "folder"] {
            // A link is removed, as a file is.
            if name == "journal.new" && matches!(kind, "link" | "device") {
                continue;
            }
            let (folder, journal) = place_for_journal();
            let (place, target) = (folder.path().join(name), folder.path().join("target"));
            let made = match kind {
                // SAFETY: a NUL-terminated path and a plain number.
                "pipe" => unsafe { libc::mkfifo(c_path(&place).as_ptr(), 0o600) == 0 },
                "link" if name == "journal" => continue,
                "link" => symlink(&target, &place).is_ok(),
                "device" => symlink("/dev/zero", &place).is_ok(),
                _ => fs::create_dir(&place).is_ok(),
            };
            assert!(made, "{kind}");
            let setup = Setup::new();
            let listen = setup.unix("socket");
            let setup = setup.flags(&["--listen", &listen, "--persist", &text(&journal)]);
            let ended = run(&mut setup.command());
            assert_eq!(ended.status, Some(2), "{name} {kind}: {ended:?}");
            let line = ended.stderr.lines().last().unwrap_or_default();
            assert!(line.contains("--persist"), "{name} {kind}: {ended:?}");
            assert!(!target.exists(), "{kind}");
        }
    }
}

#[test]
fn links_in_the_place_of_other_files_of_a_journal_are_not_followed() {
    let (folder, journal) = place_for_journal();
    let target = folder.path().join("target");
    fs::write(&target, "kept").expect("a folder of ours");
    let mut server = server_with(&journal, &[]);
    let mut client = server.client("admin");
    client.ask("STORE first=1");
    client.ask("STORE second=2");
    server.process.signal(libc::SIGKILL);
    server.process.wait();
    let mut bytes = fs::read(&journal).expect("a journal");
    let first = bytes.windows(5).position(|part| part == b"first");
    bytes[first.expect("it is there")] ^= 1;
    fs::write(&journal, &bytes).expect("a file of ours");
    for name in ["journal.bad", "journal.new"] {
        symlink(&target, folder.path().join(name)).expect("a folder of ours");
    }
    let server = server.kill_and_restart();
    server.process.wait_for_log("is damaged");
    assert_eq!(fs::read(&target).expect("a file"), b"kept");
    let bad = fs::symlink_metadata(folder.path().join("journal.bad")).expect("a file");
    assert!(bad.is_file());
}

#[test]
fn a_journal_that_can_not_be_replaced_is_refused() {
    needs_mounts();
    let (folder, journal) = place_for_journal();
    drop(server_with(&journal, &[]));
    let before = fs::read(&journal).expect("a journal");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a folder of ours");
    for place in [&journal, &file] {
        let mount = |command: &mut Command| bind_mount(command, &journal, place);
        assert_refused(place, mount, 2, "is a mount point");
    }
    assert_eq!(fs::read(&journal).expect("a journal"), before);
}

#[test]
fn a_journal_with_the_name_of_a_file_beside_another_one_is_refused() {
    let (folder, _) = place_for_journal();
    for name in ["journal.new", "journal.bad", "journal.lock"] {
        let path = folder.path().join(name);
        assert_refused(&path, |_| (), 2, "beside another journal");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("ours").count(), 0);
}

#[test]
fn a_rename_that_fails_leaves_the_old_journal_and_is_tried_again() {
    let (_folder, journal) = place_for_journal();
    let server = server_with(&journal, &[]);
    let mut client = server.client("admin");
    client.ask("STORE a=before");
    let tampering = Tampering::start(journal_thread(&server), &["rename:error=EBUSY:when=1"]);
    grow(&mut client);
    let why = server.process.wait_for_log("could not be written anew");
    assert!(
        why.contains("busy") && why.contains(&text(&journal)),
        "{why}"
    );
    client.ask("STORE a=after");
    assert_eq!(server.process.log_line("nothing is being saved"), None);
    wait_until("the next try succeeds", || {
        fs::metadata(&journal).is_ok_and(|journal| journal.len() < 4_000_000)
    });
    drop(tampering);
    let server = server.kill_and_restart();
    let mut client = server.client("admin");
    assert_eq!(client.ask("RETRIEVE a"), ["RETRIEVED a=after"]);
}

/// Waits until the server has reported that its journal is not in its place, and has mended that.
fn assert_reported(process: &Process, journal: &Path, part: &str) {
    let failed = process.wait_for_log("nothing is being saved");
    assert!(
        failed.contains(&text(journal)) && failed.contains(part),
        "{failed}"
    );
    process.wait_for_log("everything is being saved again");
}

#[test]
fn a_journal_that_is_moved_away_is_reported_and_made_again() {
    for is_idle in [true, false] {
        let (folder, journal) = place_for_journal();
        let server = server_with(&journal, &[]);
        let mut client = server.client("admin");
        client.ask("STORE a=1");
        match is_idle {
            true => fs::remove_file(&journal).expect("a file"),
            false => fs::rename(&journal, folder.path().join("moved")).expect("a file"),
        }
        if !is_idle {
            client.ask("STORE b=2");
        }
        assert_reported(&server.process, &journal, "removed or moved away");
        client.ask("STORE c=3");
        client.flush();
        let server = server.kill_and_restart();
        let mut client = server.client("admin");
        assert_eq!(client.ask("RETRIEVE a"), ["RETRIEVED a=1"]);
        assert_eq!(client.ask("RETRIEVE c"), ["RETRIEVED c=3"]);
    }
}

#[test]
fn a_file_that_takes_the_place_of_the_journal_is_kept() {
    let (folder, journal) = place_for_journal();
    let server = server_with(&journal, &[]);
    let mut client = server.client("admin");
    client.ask("STORE a=1");
    let other = folder.path().join("other");
    fs::write(&other, "somebody's").expect("a folder of ours");
    fs::rename(&other, &journal).expect("a folder of ours");
    client.ask("STORE b=2");
    assert_reported(&server.process, &journal, "another file");
    let bad = fs::read(folder.path().join("journal.bad")).expect("it is kept");
    assert_eq!(bad, b"somebody's");
    let server = server.kill_and_restart();
    assert_eq!(server.status("entries"), 2);
}

/// A record is good in its place only: behind a byte of somebody else's, or one that is gone, none can be read.
#[test]
fn a_journal_that_something_else_cuts_or_writes_to_is_reported_and_made_again() {
    for is_cut in [true, false] {
        let (_folder, journal) = place_for_journal();
        let server = server_with(&journal, &[]);
        let mut client = server.client("admin");
        client.ask("STORE a=1");
        let mut options = fs::OpenOptions::new();
        let mut file = options.append(true).open(&journal).expect("a file");
        let changed = match is_cut {
            true => file.set_len(0),
            false => file.write_all(b"a line that is no record\n"),
        };
        changed.expect("a file of ours");
        client.ask("STORE b=2");
        assert_reported(&server.process, &journal, "something else");
        client.ask("STORE c=3");
        client.flush();
        let server = server.kill_and_restart();
        assert_eq!(server.status("entries"), 3);
        assert_eq!(server.process.log_line("damaged"), None);
    }
}

/// Nothing is written any more, and nobody would look.
#[test]
fn a_journal_that_is_gone_at_the_end_is_a_loss() {
    let (_folder, journal) = place_for_journal();
    let mut server = server_with(&journal, &[]);
    let mut client = server.client("admin");
    client.ask("STORE a=1");
    client.flush();
    fs::remove_file(&journal).expect("a file");
    server.process.signal(libc::SIGTERM);
    let status = server.process.wait().code();
    let log = server.process.log();
    assert_eq!(status, Some(1), "{log:?}");
    let last = log.last().expect("a log");
    assert!(
        last.contains("ended with a loss: ") && last.contains("removed or moved away"),
        "{last}"
    );
}

#[test]
fn while_the_folder_of_the_journal_is_gone_nothing_counts_as_saved() {
    let (folder, _) = place_for_journal();
    let (there, away) = (folder.path().join("there"), folder.path().join("away"));
    fs::create_dir(&there).expect("a folder of ours");
    let journal = there.join("journal");
    let server = server_with(&journal, &["--fsync", "always"]);
    let mut client = server.client("admin");
    client.ask("STORE a=1");
    fs::rename(&there, &away).expect("a folder of ours");
    client.send("STORE b=2");
    client.send("FLUSH 1");
    client.expect("OVERHEAD E not_saved");
    client.expect("FLUSHED 1");
    let failed = server.process.wait_for_log("nothing is being saved");
    assert!(failed.contains(&text(&journal)), "{failed}");
    fs::rename(&away, &there).expect("a folder of ours");
    server
        .process
        .wait_for_log("everything is being saved again");
    let server = server.kill_and_restart();
    assert_eq!(server.status("entries"), 2);
}

#[test]
fn a_journal_that_fills_its_disk_recovers_when_entries_are_removed() {
    // Less than a journal that is rewritten: the room of a rewrite that fails is not what helps.
    const DISK: usize = 3 << 20;
    needs_mounts();
    for length in [100_000, 1_000] {
        let (folder, journal) = place_for_journal();
        let setup = Setup::new().flags(&["--persist", &text(&journal)]);
        let mut server = setup.start_changed(|command| {
            mount_memory(command, folder.path(), DISK);
        });
        let mut client = server.client("admin");
        // More than the disk has room for, reserve or not; and what is kept needs more than a record leaves that was
        // begun when there was no room.
        let entries = 2 * DISK / length;
        for number in 0..entries {
            client.send(&format!("STORE name{number}={}", "v".repeat(length)));
        }
        client.flush();
        let failed = server.process.wait_for_log("nothing is being saved");
        let journal = text(&journal);
        assert!(
            failed.contains(&journal) && failed.contains("No space left"),
            "{failed}"
        );
        for number in 3..entries {
            client.send(&format!("REMOVE name{number}"));
        }
        client.flush();
        server
            .process
            .wait_for_log("everything is being saved again");
        assert!(server.status_line().contains(" journal=saving "));
        server.process.signal(libc::SIGTERM);
        assert!(server.process.wait().success());
    }
}
