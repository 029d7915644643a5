//! Starting, and refusing to: one line that says what is wrong, an exit status, and nothing left
//! behind.

use crate::runner::{needs, needs_that};
use crate::support::{
    Authority, Client, Ended, Ending, Process, Setup, run, text, token, wait_until,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// Stands wherever a secret may; nothing that is printed may have it.
const SECRET: &str = "hidden-secret";

/// A key of a kind that is not supported, in both forms.
const P521: [&str; 2] = [
    include_str!("../support/p521.sec1.pem"),
    include_str!("../support/p521.pem"),
];

/// Checks that a start ended with `status` and one line that has all of `parts`, and left no file of
/// its own in the folder.
fn assert_refused(setup: &Setup, ended: &Ended, status: i32, parts: &[&str]) {
    assert_eq!(ended.status, Some(status), "{parts:?}: {ended:?}");
    assert_eq!(ended.stdout, "", "{parts:?}");
    assert!(
        ended.stderr.starts_with("clacksd: ") && ended.stderr.ends_with('\n'),
        "{ended:?}"
    );
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    for part in parts {
        assert!(
            ended.stderr.contains(part),
            "{part:?} is missing: {ended:?}"
        );
    }
    assert!(!ended.stderr.contains(SECRET), "{ended:?}");
    for name in ["socket", "pid", "log"] {
        assert!(!setup.path(name).exists(), "{name} is left: {ended:?}");
    }
}

/// Flags with which a server would start, and leave files.
fn complete() -> Setup {
    let setup = Setup::new();
    setup.write_secret("password", &format!("{SECRET}\n"));
    setup.write_secret("users", &format!("# users\nro:read:{SECRET}\n"));
    let (listen, pid, log) = (
        setup.unix("socket"),
        text(&setup.path("pid")),
        text(&setup.path("log")),
    );
    setup.flags(&["--listen", &listen, "--pid-file", &pid, "--log-file", &log])
}

#[test]
fn wrong_flags_are_named() {
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["--frobnicate=3"],
            &["there is no flag \"--frobnicate\"; try clacksd --help"],
        ),
        (&["-x"], &["there is no flag \"-x\"; try clacksd --help"]),
        (
            &["--persits", "x"],
            &["there is no flag \"--persits\"; did you mean \"--persist\"?"],
        ),
        (&["--cert", "x"], &["did you mean \"--tls-cert\"?"]),
        (&["surplus"], &["surplus"]),
        (&["--", "surplus"], &["surplus"]),
        (&["of two\nlines"], &["of two\\nlines"]),
        (&["--listen", "of two\nlines"], &["--listen of two\\nlines"]),
        (&["--listen"], &["--listen wants ADDRESS"]),
        (&["-l"], &["--listen wants ADDRESS"]),
        (&["--verbose=very"], &["--verbose takes no value"]),
        (&["--user", "twice"], &["--user is given twice"]),
        (&["--listen", "x"], &["--listen x"]),
        (&["--listen", "unix:"], &["--listen unix:"]),
        (
            &["--listen", "tls://127.0.0.1:0"],
            &["--tls-cert is missing"],
        ),
        (
            &["--listen", "tls://127.0.0.1:0", "--tls-cert", "x"],
            &["--tls-key is missing"],
        ),
        (
            &["--listen", "tls://127.0.0.1:0", "--tls-key", "x"],
            &["--tls-cert is missing"],
        ),
        (
            &["--tls-cert", "x", "--tls-key", "x"],
            &["--tls-cert", "tls://"],
        ),
        (&["--master-ca", "x"], &["--master-ca", "tls://"]),
        (
            &["--master", "tcp://127.0.0.1", "--master-ca", "x"],
            &["--master-ca", "tls://"],
        ),
        (&["--master-insecure"], &["--master-insecure", "tls://"]),
        (
            &[
                "--master",
                "tls://localhost",
                "--master-ca",
                "x",
                "--master-insecure",
            ],
            &["--master-ca", "--master-insecure"],
        ),
        (
            &["--listen", "tcp://127.0.0.1:65536"],
            &["--listen tcp://127.0.0.1:65536", "port"],
        ),
        (
            &["--listen", "tcp://0.0.0.0:0"],
            &["--listen tcp://0.0.0.0:0", "--allow-plaintext"],
        ),
        (
            &["--listen", "tcp://[::]:0"],
            &["--listen tcp://[::]:0", "--allow-plaintext"],
        ),
        (
            &["--listen", "tcp://192.0.2.1:0"],
            &["--listen tcp://192.0.2.1:0", "--allow-plaintext"],
        ),
        (&["--socket-mode", "888"], &["--socket-mode \"888\" wants"]),
        (
            &["--socket-mode", "1777"],
            &["--socket-mode \"1777\" wants"],
        ),
        (
            &["--socket-group", "no such group"],
            &["--socket-group", "no such group"],
        ),
        (&["--run-as", "no such user"], &["--run-as", "no such user"]),
        (
            &["--run-as", "root:no such group"],
            &["--run-as", "no such group"],
        ),
        (&["--max-clients", "0"], &["--max-clients \"0\" wants"]),
        (
            &["--max-clients", "many"],
            &["--max-clients \"many\" wants"],
        ),
        (
            &["--max-line", "1.5M"],
            &["--max-line \"1.5M\" wants a size such as 4096, 64K"],
        ),
        (&["--max-line", "4095"], &["--max-line \"4095\" is less"]),
        (
            &["--max-line", "2g"],
            &["--max-line \"2g\" is more than 1G"],
        ),
        (
            &["--max-output", "31MB"],
            &["--max-output \"31MB\" is less than twice --max-line \"16M\""],
        ),
        (
            &["--max-line", "64m"],
            &["--max-output \"64M\" is less than twice --max-line \"64m\""],
        ),
        (&["--max-buffers", "0"], &["--max-buffers \"0\" wants"]),
        (&["--auth-timeout", "0"], &["--auth-timeout \"0\" wants"]),
        (
            &["--clean-interval", "0.0000001"],
            &["--clean-interval \"0.0000001\" wants"],
        ),
        (&["--ping-timeout", "-1"], &["--ping-timeout \"-1\" wants"]),
        (
            &["--stalled-write-timeout", "1s"],
            &["--stalled-write-timeout \"1s\" wants"],
        ),
        (&["--stale-time", "nan"], &["--stale-time \"nan\" wants"]),
        (
            &["--deleted-time", "inf"],
            &["--deleted-time \"inf\" wants"],
        ),
        (&["--clean-interval", ""], &["--clean-interval \"\" wants"]),
        (
            &["--persist", "x", "--fsync", "soon"],
            &["--fsync \"soon\" wants"],
        ),
        (&["--quiet", "--verbose"], &["--quiet", "--verbose"]),
    ];
    for (flags, parts) in cases {
        let setup = complete().flags(flags);
        assert_refused(&setup, &run(&mut setup.command()), 2, parts);
        // What --check accepts, starts; so it refuses the same.
        let setup = setup.flags(&["--check"]);
        let checked = run(&mut setup.command());
        if flags != &["--listen"] && flags != &["-l"] {
            assert_refused(&setup, &checked, 2, parts);
        }
    }
}

/// The log would be written into the journal, for example.
#[test]
fn a_file_that_the_server_writes_is_named_by_one_flag() {
    let setup = Setup::new();
    let listen = setup.unix("socket");
    let setup = setup.flags(&["--listen", &listen]);
    let path = |name: &str| text(&setup.path(name));
    let (journal, link) = (path("journal"), path("link"));
    let socket_of_journal = setup.unix("journal.new");
    fs::write(&journal, "").expect("a folder of ours");
    std::os::unix::fs::symlink(&journal, &link).expect("a folder of ours");
    for flags in [
        ["--persist", &journal, "--log-file", &journal],
        ["--persist", &journal, "--log-file", &path("journal.lock")],
        ["--persist", &link, "--log-file", &journal],
        ["--persist", &journal, "--pid-file", &link],
        ["--persist", &journal, "--pid-file", &path("journal.new")],
        ["--persist", &journal, "--pid-file", &path("journal.bad")],
        ["--log-file", &path("log"), "--pid-file", &path("log")],
        ["--persist", &journal, "--listen", &socket_of_journal],
    ] {
        for check in [&["--check"][..], &[]] {
            let mut command = setup.command();
            let ended = run(command.args(flags).args(check));
            let file = flags[3].trim_start_matches("unix:");
            let parts = [flags[2], file, flags[0]];
            assert_refused(&setup, &ended, 2, &parts);
        }
    }
    assert_eq!(fs::read(&journal).expect("a file of ours"), b"");
}

/// The valid text that is closest to an argument that is no UTF-8 may be the name of another file.
#[test]
fn an_argument_that_is_no_text_is_refused() {
    let setup = complete();
    let journal = [text(&setup.path("cache")).as_bytes(), &[0xff]].concat();
    let mut command = setup.command();
    command
        .args(["--check", "--persist"])
        .arg(OsStr::from_bytes(&journal));
    let parts = ["/cache\\xFF\" is no UTF-8"];
    assert_refused(&setup, &run(&mut command), 2, &parts);
}

#[test]
fn wrong_files_are_named() {
    let password = |content: Option<&[u8]>, mode: u32, parts: &[&str]| {
        let setup = complete();
        let path = setup.path("password");
        match content {
            Some(content) => {
                fs::write(&path, content).expect("a file of our own");
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                    .expect("a file of our own");
            }
            None => fs::remove_file(&path).expect("a file of our own"),
        }
        let name = format!("--password-file {}", text(&path));
        let parts: Vec<&str> = [&name[..]].iter().chain(parts).copied().collect();
        assert_refused(&setup, &run(&mut setup.command()), 2, &parts);
    };
    let secret = SECRET.as_bytes();
    password(None, 0, &["No such file"]);
    password(Some(secret), 0o604, &["604"]);
    password(Some(secret), 0o602, &["602"]);
    password(Some(secret), 0o601, &["601"]);
    let path = "/password; in a container";
    password(Some(secret), 0o444, &["mode 444", "chmod 440 /", path]);
    password(Some(b""), 0o600, &["empty"]);
    password(Some(b"\nhidden-secret\n"), 0o600, &["empty"]);
    password(Some(b"hidden-secret\xff\n"), 0o600, &["UTF-8"]);

    let users = |content: &str, mode: u32, parts: &[&str]| {
        let setup = complete();
        let path = setup.path("users");
        setup.write_secret("users", content);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a file of our own");
        let name = format!("--users {}", text(&path));
        let parts: Vec<&str> = [&name[..]].iter().chain(parts).copied().collect();
        assert_refused(&setup, &run(&mut setup.command()), 2, &parts);
    };
    users("ro:read:hidden-secret\n", 0o644, &["644"]);
    users(
        "# fine\nro:read:hidden-secret\nbroken hidden-secret\n",
        0o600,
        &["line 3"],
    );
    users("ro:hidden-secret\n", 0o600, &["line 1"]);
    users("\nro:hidden-secret:read\n", 0o600, &["line 2"]);
    users(
        "ro:read:hidden-secret\nro:write:hidden-secret\n",
        0o600,
        &["line 2", "\"ro\""],
    );
    users(
        "admin:read:hidden-secret\n",
        0o600,
        &["line 1", "\"admin\""],
    );
    users("ro:read:\n", 0o600, &["line 1"]);
    users(
        "ro:read:sha256:hidden-secret\n",
        0o600,
        &["line 1", "sha256"],
    );

    let setup = complete();
    fs::remove_file(setup.path("users")).expect("a file of our own");
    fs::create_dir(setup.path("users")).expect("a folder of our own");
    fs::set_permissions(setup.path("users"), fs::Permissions::from_mode(0o700))
        .expect("a folder of our own");
    assert_refused(
        &setup,
        &run(&mut setup.command()),
        2,
        &["--users", "directory"],
    );
}

#[test]
fn wrong_certificates_and_keys_are_named() {
    let authority = Authority::new("authority");
    let (right, other) = (
        authority.certify(&["localhost"]),
        authority.certify(&["localhost"]),
    );
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    // File, its content (none: it is missing), its mode, the flag, and what is said.
    let cases: &[(&str, Option<&str>, u32, &str)] = &[
        ("cert.pem", None, 0, "No such file"),
        ("cert.pem", Some(SECRET), 0o644, "no certificate in it"),
        ("cert.pem", Some(&right.key), 0o600, "no certificate in it"),
        ("key.pem", None, 0, "No such file"),
        ("key.pem", Some(&right.key), 0o604, "mode 604"),
        ("key.pem", Some(&right.key), 0o644, "mode 644"),
        ("key.pem", Some(&right.key), 0o602, "mode 602"),
        ("key.pem", Some(SECRET), 0o600, "no private key in it"),
        ("key.pem", Some(encrypted), 0o600, "not encrypted"),
        ("key.pem", Some(P521[0]), 0o600, "keys of ECDSA with P-521"),
        ("key.pem", Some(P521[1]), 0o600, "keys of ECDSA with P-521"),
        (
            "key.pem",
            Some(&other.key),
            0o600,
            "keys may not be consistent",
        ),
        ("ca.pem", None, 0, "No such file"),
        ("ca.pem", Some(SECRET), 0o644, "no certificate in it"),
        (
            "ca.pem",
            Some("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
            0o644,
            "no certificate in it can be used",
        ),
    ];
    for (name, content, mode, said) in cases {
        let setup = complete().with_tls(&right);
        let file = text(&setup.path("ca.pem"));
        setup.write_secret("ca.pem", &authority.certificate);
        let setup = setup.flags(&["--master", "tls://localhost", "--master-ca", &file]);
        let path = setup.path(name);
        match content {
            Some(content) => {
                setup.write_secret(name, content);
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode))
                    .expect("a file of our own");
            }
            None => fs::remove_file(&path).expect("a file of our own"),
        }
        let flag = match *name {
            "cert.pem" => "--tls-cert",
            "key.pem" => "--tls-key",
            _ => "--master-ca",
        };
        let ended = run(&mut setup.command());
        assert_refused(&setup, &ended, 2, &[flag, &text(&path), said]);
        for line in right.key.lines().filter(|line| !line.starts_with('-')) {
            assert!(!ended.stderr.contains(line), "{ended:?}");
        }
        let checked = run(setup.command().arg("--check"));
        assert_refused(&setup, &checked, 2, &[flag, said]);
    }
}

#[test]
fn a_user_and_a_password_belong_together() {
    let setup = Setup::bare();
    let setup = setup.flags(&["--user", "admin"]);
    assert_refused(
        &setup,
        &run(&mut setup.command()),
        2,
        &["--user", "--password-file"],
    );

    let setup = Setup::bare();
    setup.write_secret("password", SECRET);
    let file = text(&setup.path("password"));
    let setup = setup.flags(&["--password-file", &file]);
    assert_refused(&setup, &run(&mut setup.command()), 2, &["--user"]);

    let setup = Setup::bare();
    assert_refused(
        &setup,
        &run(setup.command().env("CLACKSD_PASSWORD", SECRET)),
        2,
        &["--user"],
    );
    assert_refused(
        &setup,
        &run(setup.command().env("CLACKSD_USER", "admin")),
        2,
        &["CLACKSD_PASSWORD"],
    );

    let setup = Setup::bare();
    setup.write_secret("users", &format!("ro:read:{SECRET}\n"));
    let file = text(&setup.path("users"));
    let setup = setup.flags(&["--users", &file]);
    assert_refused(
        &setup,
        &run(&mut setup.command()),
        2,
        &["--users", "--user"],
    );
}

#[test]
fn a_port_in_use_ends_the_start_with_status_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("tcp://{}", taken.local_addr().expect("a bound socket"));
    let setup = complete().flags(&["--listen", &address]);
    assert_refused(
        &setup,
        &run(&mut setup.command()),
        1,
        &[&format!("--listen {address}")],
    );
}

/// At boot a network address may come, or a name resolve, later than the daemon: after status 2 the service manager
/// would never start it again.
#[test]
fn an_address_that_is_not_here_yet_ends_the_start_with_status_1() {
    for host in ["192.0.2.1:0", "[2001:db8::1]:0", "not-here-yet.invalid:0"] {
        let address = format!("tcp://{host}");
        let setup = complete().flags(&["--allow-plaintext", "--listen", &address]);
        let ended = run(&mut setup.command());
        assert_refused(&setup, &ended, 1, &[&format!("--listen {address}")]);
    }
}

#[test]
fn a_place_where_no_file_can_be_is_named() {
    for (flag, status) in [("--pid-file", 1), ("--log-file", 2), ("--listen", 1)] {
        let setup = Setup::new();
        let missing = text(&setup.path("missing/file"));
        let value = if flag == "--listen" {
            format!("unix:{missing}")
        } else {
            missing
        };
        let listen = setup.unix("socket");
        let setup = setup.flags(&["--listen", &listen, flag, &value]);
        assert_refused(&setup, &run(&mut setup.command()), status, &[flag, &value]);
    }
}

/// Root could remove a device such as /dev/full with it.
#[test]
fn what_is_no_file_is_refused_as_pid_file_and_stays() {
    let setup = Setup::new();
    let pipe = setup.path("pipe");
    let made = run(Command::new("mkfifo").arg(&pipe));
    assert_eq!(made.status, Some(0), "{made:?}");
    // With a reader, or else it can't be opened at all.
    let reader = fs::File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&pipe);
    let listen = setup.unix("socket");
    let setup = setup.flags(&["--listen", &listen, "--pid-file", &text(&pipe)]);
    let ended = run(&mut setup.command());
    assert_refused(
        &setup,
        &ended,
        1,
        &["--pid-file", &text(&pipe), "no ordinary file"],
    );
    assert!(pipe.exists());
    drop(reader.expect("a pipe of our own"));
}

#[test]
fn a_pipe_that_nobody_reads_is_refused_at_once() {
    for (flag, status) in [("--pid-file", 1), ("--log-file", 2)] {
        let setup = Setup::new();
        let pipe = setup.path("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo").success());
        let listen = setup.unix("socket");
        let setup = setup.flags(&["--listen", &listen, flag, &text(&pipe)]);
        let ended = run(&mut setup.command());
        let parts = [flag, &text(&pipe), "a pipe that nobody reads"];
        assert_refused(&setup, &ended, status, &parts);
    }
}

/// The parent has the terminal and the exit status: what goes wrong must not wait for the child.
#[test]
fn a_daemon_that_cannot_start_says_so_before_it_is_in_the_background() {
    let setup = Setup::new();
    let missing = text(&setup.path("missing/file"));
    let (listen, log) = (setup.unix("socket"), text(&setup.path("log")));
    let setup = setup.flags(&[
        "--daemonize",
        "--listen",
        &listen,
        "--log-file",
        &log,
        "--pid-file",
        &missing,
    ]);
    assert_refused(
        &setup,
        &run(&mut setup.command()),
        1,
        &["--pid-file", &missing],
    );
}

#[test]
fn help_version_and_check_say_what_they_are_asked_and_end() {
    let help = run(Setup::bare().flags(&["--help"]).command().arg("-v"));
    assert_eq!((help.status, &help.stderr[..]), (Some(0), ""));
    let words = help.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for flag in clacks::cli::FLAGS {
        assert!(
            words.contains(&format!("--{}", flag.long)),
            "--{}: {words}",
            flag.long
        );
        assert!(words.contains(flag.default), "--{}: {words}", flag.long);
    }
    let version = run(&mut Setup::bare().flags(&["-V"]).command());
    assert_eq!((version.status, &version.stderr[..]), (Some(0), ""));
    assert_eq!(
        version.stdout,
        concat!("clacksd ", env!("CARGO_PKG_VERSION"), "\n")
    );

    let setup = complete().flags(&[
        "--listen",
        "tcp://127.0.0.1",
        "--max-clients",
        "77",
        "--check",
    ]);
    let check = run(&mut setup.command());
    assert_eq!((check.status, &check.stderr[..]), (Some(0), ""));
    let listen = setup.unix("socket");
    let log = text(&setup.path("log"));
    for part in [
        &listen[..],
        "tcp://127.0.0.1:49888",
        "admin",
        "1 further",
        "77 clients",
        &log,
    ] {
        assert!(check.stdout.contains(part), "{part:?}: {check:?}");
    }
    assert!(!check.stdout.contains(SECRET));
    for name in ["socket", "pid", "log"] {
        assert!(!setup.path(name).exists(), "--check left {name}");
    }
}

#[test]
fn users_and_passwords_come_from_the_environment_too() {
    let login = |setup: &Setup, user: &str| {
        let mut client = Client::unix(&setup.path("socket"));
        client.send(&format!("OVERHEAD A {}", token(user)));
        client.next_line();
        client.next_line();
        client.next_line().expect("an answer")
    };
    const WELCOME: &str = "OVERHEAD O Welcome!";
    const FAILED: &str = "OVERHEAD F Login failed!";

    let setup = Setup::bare();
    let listen = setup.unix("socket");
    let setup = setup.flags(&["--listen", &listen]);
    let environment = [("CLACKSD_USER", "me"), ("CLACKSD_PASSWORD", "mepw")];
    {
        let server = Process::spawn(setup.command().envs(environment));
        server.wait_for_log("ready");
        assert_eq!(login(&setup, "me"), WELCOME);
        assert_eq!(login(&setup, "admin"), FAILED);
    }
    {
        // The credential's first line, and only where CLACKSD_PASSWORD gives nothing.
        fs::create_dir(setup.path("credentials")).expect("a folder of our own");
        let folder = setup.path("credentials");
        for credential in ["mepw\nanother line\n", "\u{feff}mepw\n"] {
            setup.write_secret("credentials/password", credential);
            let server = Process::spawn(
                setup
                    .command()
                    .env("CLACKSD_USER", "me")
                    .env("CREDENTIALS_DIRECTORY", &folder),
            );
            server.wait_for_log("ready");
            assert_eq!(login(&setup, "me"), WELCOME);
        }
        setup.write_secret("credentials/password", "otherpw\n");
        let server = Process::spawn(
            setup
                .command()
                .envs(environment)
                .env("CREDENTIALS_DIRECTORY", &folder),
        );
        server.wait_for_log("ready");
        assert_eq!(login(&setup, "me"), WELCOME);
    }
    {
        // Flags win.
        setup.write_secret("password", "adminpw\nanother line\n");
        let file = text(&setup.path("password"));
        let setup = setup.flags(&["--user", "admin", "--password-file", &file]);
        let server = Process::spawn(setup.command().envs(environment));
        server.wait_for_log("ready");
        assert_eq!(login(&setup, "admin"), WELCOME);
        assert_eq!(login(&setup, "me"), FAILED);
    }
}

#[test]
fn passwords_and_users_come_from_everything_that_writes_a_line() {
    const WELCOME: Option<&str> = Some("OVERHEAD O Welcome!");
    let login = |setup: &Setup, user: &str, password: &str| {
        let mut client = Client::unix(&setup.path("socket"));
        let parts = [user, password].map(|part| STANDARD.encode(part));
        client.send(&format!("OVERHEAD A {}", parts.join(":")));
        client.next_line();
        client.next_line();
        client.next_line()
    };
    let setup = Setup::bare();
    let listen = setup.unix("socket");
    let setup = setup.flags(&["--listen", &listen, "--user", "me"]);
    for written in ["mepw\n", "mepw\r\n", "mepw\nmore", "\u{feff}mepw\n"] {
        let server = Process::spawn(setup.command().env("CLACKSD_PASSWORD", written));
        server.wait_for_log("ready");
        assert_eq!(login(&setup, "me", "mepw").as_deref(), WELCOME);
    }
    // A pipe whose writer takes its time; and what Windows' editors put before a text.
    setup.write_secret("users", "\u{feff}first:read:firstpw\nlast:read:lastpw\n");
    let users = text(&setup.path("users"));
    let mut command = Command::new("bash");
    command
        .args([
            "-c",
            "exec \"$0\" \"$@\" --password-file <(sleep 0.2; echo mepw)",
        ])
        .arg(setup.command().get_program())
        .args(setup.command().get_args())
        .args(["--users", &users]);
    let server = Process::spawn(&mut command);
    server.wait_for_log("ready");
    for (user, password) in [("me", "mepw"), ("first", "firstpw"), ("last", "lastpw")] {
        assert_eq!(login(&setup, user, password).as_deref(), WELCOME, "{user}");
    }
    // A pipe is not read again.
    setup.write_secret("users", "last:read:lastpw\n");
    server.signal(libc::SIGHUP);
    wait_until("the users were read again", || {
        login(&setup, "first", "firstpw").as_deref() != WELCOME
    });
    assert_eq!(login(&setup, "me", "mepw").as_deref(), WELCOME);
}

#[test]
fn a_link_local_address_is_listened_to_and_named_with_its_zone() {
    needs("iproute2");
    let can_unshare = run(Command::new("unshare").args(["--net", "true"]));
    needs_that(can_unshare.status == Some(0), "the right to make a network");
    let authority = Authority::new("authority");
    let identity = authority.certify(&["fe80::77"]);
    let setup = Setup::new();
    setup.write_identity(&identity);
    let setup = setup.with_tls(&identity);
    let setup = setup.flags(&["--listen", "tls://[fe80::77%lo]:0"]);
    // A network of its own, with a link-local address at the loopback interface.
    let mut command = Command::new("unshare");
    command
        .args(["--net", "sh", "-c"])
        .arg("ip link set lo up && ip address add fe80::77/64 dev lo nodad && exec \"$0\" \"$@\"")
        .arg(setup.command().get_program())
        .args(setup.command().get_args());
    let server = Process::spawn(&mut command);
    let line = server.wait_for_log("listening on tls://[fe80::77%lo]:");
    server.wait_for_log("ready");
    let address = line
        .split_once("listening on ")
        .expect("it is in the line")
        .1;
    fs::write(setup.path("ca.pem"), &authority.certificate).expect("a folder of our own");
    let mut client = Command::new("nsenter");
    let clacks = Path::new(env!("CARGO_BIN_EXE_clacks"));
    client
        .args(["--net", "--target", &server.id().to_string()])
        .arg(clacks)
        .args(["-s", address, "-u", "admin", "--ca"])
        .arg(setup.path("ca.pem"))
        .args(["store", "a", "1"])
        .env("CLACKS_PASSWORD", "adminpw");
    let ended = run(&mut client);
    assert_eq!((ended.status, &*ended.stderr), (Some(0), ""));
}

/// A Net::Clacks client that is interrupted by the server between its write and its look for the answer loses half a
/// second.
#[cfg(target_os = "linux")]
#[test]
fn no_thread_interrupts_the_client_that_wakes_it() {
    const BATCH: &str = "3";
    let setup = Setup::new();
    let journal = text(&setup.path("journal"));
    let server = setup.flags(&["--persist", &journal]).start();
    let tasks = format!("/proc/{}/task", server.process.id());
    let tasks: Vec<_> = fs::read_dir(tasks).expect("the server runs").collect();
    assert!(tasks.len() > 1, "the journal has a thread");
    for task in tasks {
        let stat = task.expect("a thread").path().join("stat");
        let stat = fs::read_to_string(stat).expect("a thread");
        // Fields are counted behind the name, which may have blanks in it: the policy is the 41st of all.
        let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
        assert_eq!(fields.split(' ').nth(38), Some(BATCH), "{stat}");
    }
}

/// A pseudo-terminal for a process, and the text that the process has written to it.
struct Terminal {
    shown: Arc<Mutex<String>>,
    slave: OwnedFd,
}

impl Terminal {
    fn new() -> Terminal {
        let (mut master, mut slave) = (0, 0);
        let none = std::ptr::null_mut();
        // SAFETY: the two numbers are valid places to write to; name, settings and size may be null.
        let result = unsafe {
            libc::openpty(
                &mut master,
                &mut slave,
                none,
                none.cast_const().cast(),
                none.cast_const().cast(),
            )
        };
        assert_eq!(result, 0, "a terminal");
        // SAFETY: both descriptors were just opened and belong to nobody else.
        let (mut master, slave) =
            unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
        let shown = Arc::new(Mutex::new(String::new()));
        let to = shown.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = master.read(&mut buffer) {
                let text = std::str::from_utf8(&buffer[..count])
                    .expect("ASCII")
                    .replace("\r\n", "\n");
                to.lock()
                    .expect("no panic while it is held")
                    .push_str(&text);
            }
        });
        Terminal { shown, slave }
    }

    fn stdio(&self) -> Stdio {
        Stdio::from(self.slave.try_clone().expect("a descriptor"))
    }

    fn shown(&self) -> String {
        self.shown
            .lock()
            .expect("no panic while it is held")
            .clone()
    }
}

#[test]
fn at_a_terminal_a_password_is_made_up_and_the_printed_line_logs_in() {
    let terminal = Terminal::new();
    let setup = Setup::bare();
    let (listen, log) = (setup.unix("socket"), text(&setup.path("log")));
    let setup = setup.flags(&["--listen", &listen, "--log-file", &log, "-vv"]);
    let _first = Ending(
        setup
            .command()
            .stdout(terminal.stdio())
            .stderr(terminal.stdio())
            .spawn()
            .expect("a process"),
    );
    wait_until("the log says ready", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("ready"))
    });

    let is_complete = |shown: &str| {
        shown.lines().any(|line| line.starts_with("OVERHEAD A ")) && shown.ends_with('\n')
    };
    wait_until("the terminal shows a login line", || {
        is_complete(&terminal.shown())
    });
    let shown = terminal.shown();
    let login = shown
        .lines()
        .find(|line| line.starts_with("OVERHEAD A "))
        .expect("a login line")
        .to_owned();
    assert!(shown.contains("user clacks"), "{shown}");
    assert!(shown.contains(&listen), "{shown}");
    let mut client = Client::unix(&setup.path("socket"));
    client.send(&login);
    client.expect_after_others("OVERHEAD O Welcome!");
    assert!(
        client.ask("CLIENTLIST").len() == 3,
        "the primary user may do everything"
    );

    let password = shown
        .lines()
        .find_map(|line| line.split_once("password "))
        .expect("a password")
        .1;
    let token = login.strip_prefix("OVERHEAD A ").expect("a login line");
    assert_eq!(
        token,
        clacks::protocol::token::Token::encode(b"clacks", password.as_bytes())
    );
    let log = fs::read_to_string(&log).expect("a log");
    assert!(
        !log.contains(password) && !log.contains(token),
        "secrets are in the log"
    );

    // Two servers don't make up the same.
    let other = Terminal::new();
    let setup = Setup::bare();
    let listen = setup.unix("socket");
    let setup = setup.flags(&["--listen", &listen]);
    let _second = Ending(
        setup
            .command()
            .stderr(other.stdio())
            .spawn()
            .expect("a process"),
    );
    wait_until("a login line", || {
        other.shown().contains("OVERHEAD A ") && other.shown().contains("ready")
    });
    assert!(!other.shown().contains(token));
}

#[test]
fn nowhere_else_is_a_password_made_up() {
    let setup = Setup::bare();
    let listen = setup.unix("socket");
    let setup = setup.flags(&["--listen", &listen]);
    assert_refused(
        &setup,
        &run(&mut setup.command()),
        2,
        &["--user", "--password-file"],
    );

    let refused_at_a_terminal = |flags: &[&str]| {
        let terminal = Terminal::new();
        let setup = Setup::bare();
        let listen = setup.unix("socket");
        let setup = setup.flags(&["--listen", &listen]).flags(flags);
        let mut child = Ending(
            setup
                .command()
                .stderr(terminal.stdio())
                .spawn()
                .expect("a process"),
        );
        let status = child.0.wait().expect("a child of ours");
        assert_eq!(status.code(), Some(2), "{flags:?}");
        wait_until("a message", || terminal.shown().ends_with('\n'));
        assert!(terminal.shown().contains("--user"), "{}", terminal.shown());
        assert!(!setup.path("socket").exists());
    };
    refused_at_a_terminal(&["--listen", "tcp://0.0.0.0:0", "--allow-plaintext"]);
    refused_at_a_terminal(&["--daemonize"]);
}

/// Both are errors of a start, and neither may disturb who is there already.
#[test]
fn a_live_socket_ends_the_start_with_status_1() {
    let setup = Setup::new();
    let live = UnixListener::bind(setup.path("live")).expect("a folder of our own");
    let (first, second, log) = (
        setup.unix("socket"),
        setup.unix("live"),
        text(&setup.path("log")),
    );
    let setup = setup.flags(&["--listen", &first, "--listen", &second, "--log-file", &log]);
    assert_refused(
        &setup,
        &run(&mut setup.command()),
        1,
        &[&format!("--listen {second}")],
    );
    assert!(setup.path("live").exists());
    drop(live);
}
