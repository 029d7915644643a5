//! The files that `make install` installs, with their places and modes, and their removal by `make uninstall`.

use crate::runner::needs;
use crate::support::{Process, Setup, run, text, wait_until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Mode and path of every file below the folder.
fn files(folder: &Path, inside: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, inside));
        } else {
            let mode = fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
            let path = path.strip_prefix(inside).expect("below it");
            found.push(format!("{mode:o} {}", text(path)));
        }
    }
    found.sort();
    found
}

#[test]
fn everything_is_installed_where_it_belongs_and_taken_away_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("root");
    let target = folder.path().join("target");
    fs::create_dir_all(target.join("release")).expect("a folder of our own");
    for (program, name) in [
        (env!("CARGO_BIN_EXE_clacks"), "clacks"),
        (env!("CARGO_BIN_EXE_clacksd"), "clacksd"),
        (env!("CARGO_BIN_EXE_clacks-pg"), "clacks-pg"),
    ] {
        fs::copy(program, target.join("release").join(name)).expect("a folder of our own");
    }
    let make = |goal: &str| {
        let mut command = Command::new("make");
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("CARGO_TARGET_DIR", &target)
            .args(["-s", goal, "PREFIX=/usr"])
            .arg(format!("DESTDIR={}", text(&root)));
        let ended = run(&mut command);
        assert_eq!((ended.status, &ended.stderr[..]), (Some(0), ""), "{goal}");
    };
    make("install");
    assert_eq!(
        files(&root, &root),
        [
            "644 etc/default/clacks-pg",
            "644 etc/default/clacksd",
            "644 etc/logrotate.d/clacksd",
            "644 usr/lib/systemd/system/clacks-pg.service",
            "644 usr/lib/systemd/system/clacksd.service",
            "644 usr/lib/systemd/system/clacksd.socket",
            "644 usr/lib/sysusers.d/clacksd.conf",
            "644 usr/lib/tmpfiles.d/clacksd.conf",
            "644 usr/share/bash-completion/completions/clacks",
            "644 usr/share/bash-completion/completions/clacksd",
            "644 usr/share/doc/clacksd/CHANGELOG.md",
            "644 usr/share/doc/clacksd/LICENSE",
            "644 usr/share/doc/clacksd/README.md",
            "644 usr/share/doc/clacksd/monitoring/alerts.yml",
            "644 usr/share/doc/clacksd/monitoring/grafana.json",
            "644 usr/share/doc/clacksd/monitoring/prometheus.yml",
            "644 usr/share/fish/vendor_completions.d/clacks.fish",
            "644 usr/share/fish/vendor_completions.d/clacksd.fish",
            "644 usr/share/man/man1/clacks.1",
            "644 usr/share/man/man7/clacks-interclacks.7",
            "644 usr/share/man/man7/clacks-migration.7",
            "644 usr/share/man/man7/clacks-protocol.7",
            "644 usr/share/man/man7/clacksd-memcached.7",
            "644 usr/share/man/man7/clacksd-nats.7",
            "644 usr/share/man/man8/clacks-pg.8",
            "644 usr/share/man/man8/clacksd.8",
            "644 usr/share/zsh/site-functions/_clacks",
            "644 usr/share/zsh/site-functions/_clacksd",
            "755 usr/bin/clacks",
            "755 usr/sbin/clacks-pg",
            "755 usr/sbin/clacksd",
        ]
    );
    let unit = fs::read_to_string(root.join("usr/lib/systemd/system/clacksd.service"));
    assert!(
        unit.expect("text")
            .contains("\nExecStart=/usr/sbin/clacksd $")
    );

    // What the administrator has changed stays, both times.
    let default = root.join("etc/default/clacksd");
    let rotation = root.join("etc/logrotate.d/clacksd");
    fs::write(&default, "CLACKSD_FLAGS=--changed\n").expect("a file of our own");
    fs::write(&rotation, "# changed\n").expect("a file of our own");
    make("install");
    make("uninstall");
    assert_eq!(
        files(&root, &root),
        ["644 etc/default/clacksd", "644 etc/logrotate.d/clacksd"]
    );
    for (file, changed) in [
        (&default, "CLACKSD_FLAGS=--changed\n"),
        (&rotation, "# changed\n"),
    ] {
        assert_eq!(fs::read_to_string(file).expect("text"), changed);
        fs::remove_file(file).expect("a file of our own");
    }
    make("install");
    make("uninstall");
    assert_eq!(files(&root, &root), [""; 0]);
}

#[test]
fn no_package_is_built_whose_dependencies_nobody_finds() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (programs, built) = (folder.path().join("programs"), folder.path().join("built"));
    fs::create_dir(&programs).expect("a folder of our own");
    let fake = |name: &str| {
        let path = programs.join(name);
        let script = format!("#!/bin/sh\necho > '{}'\n", text(&built));
        fs::write(&path, script).expect("a folder of our own");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a file of our own");
    };
    let make = || {
        let mut make = Command::new("/usr/bin/make");
        make.current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("PATH", &programs)
            .args(["-s", "deb", "SHELL=/bin/sh", "CARGO=cargo"]);
        run(&mut make)
    };
    fake("cargo");
    let ended = make();
    assert_eq!(ended.status, Some(2));
    assert!(
        ended.stderr.contains("cargo install cargo-deb"),
        "{ended:?}"
    );
    fake("cargo-deb");
    let ended = make();
    assert_eq!(ended.status, Some(2));
    assert!(
        ended.stderr.contains("apt-get install dpkg-dev"),
        "{ended:?}"
    );
    assert!(!built.exists());
    fake("dpkg-shlibdeps");
    assert_eq!(make().status, Some(0));
    assert!(built.exists());
}

/// The script that the package runs when it is installed, with a folder of the test's own for /etc/clacksd, and nobody
/// at work who would change this machine.
fn install_package(folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = fs::read_to_string(root.join("systemd/debian/postinst")).expect("text");
    let script = script.replace("/etc/clacksd", &text(&folder.join("installed")));
    assert!(!script.contains("/etc/"), "it changes something else");
    let idle = folder.join("idle");
    fs::create_dir_all(&idle).expect("a folder of our own");
    for program in [
        "chown",
        "deb-systemd-helper",
        "deb-systemd-invoke",
        "systemctl",
        "systemd-sysusers",
        "systemd-tmpfiles",
    ] {
        let path = idle.join(program);
        fs::write(&path, "#!/bin/sh\n").expect("a folder of our own");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a file of our own");
    }
    let mut command = Command::new("sh");
    command.args(["-c", &script, "postinst", "configure", ""]);
    let path = format!("{}:/usr/bin:/bin", text(&idle));
    let ended = run(command.env("PATH", path));
    assert_eq!((ended.status, &*ended.stderr), (Some(0), ""));
}

/// The word behind a flag in a file of /etc/default.
fn default_of(program: &str, flag: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join(format!("systemd/{program}.default"));
    let flags = fs::read_to_string(file).expect("text");
    let mut words = flags.split_whitespace().skip_while(|word| *word != flag);
    words
        .nth(1)
        .expect("a word")
        .trim_end_matches('"')
        .to_owned()
}

#[test]
fn the_installed_bridge_logs_in_as_a_user_that_may_only_write() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    install_package(folder.path());
    let installed = |path: &str| {
        let name = path
            .strip_prefix("/etc/clacksd/")
            .expect("a file of the package");
        folder.path().join("installed").join(name)
    };
    let users = installed(&default_of("clacksd", "--users"));
    let password = installed(&default_of("clacks-pg", "--password-file"));
    let password_text = fs::read_to_string(&password).expect("text");
    assert_eq!(password_text.trim_end().len(), 24);
    assert!(
        !fs::read_to_string(&users)
            .expect("text")
            .contains(password_text.trim_end())
    );
    for file in [&users, &password, &installed("/etc/clacksd/password")] {
        let mode = fs::metadata(file).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{}", file.display());
    }
    // Another installation changes neither.
    install_package(folder.path());
    assert_eq!(fs::read_to_string(&password).expect("text"), password_text);

    let setup = Setup::bare();
    let server = setup.flags(&["--user", "clacks", "--password-file"]);
    let primary = text(&installed("/etc/clacksd/password"));
    let server = server.flags(&[&primary, "--users", &text(&users)]).start();
    let user = default_of("clacks-pg", "--user");
    let does = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clacks"));
        command.args(["-s", &server.address(), "-u", &user, "--password-file"]);
        run(command.arg(&password).args(arguments)).status
    };
    assert_eq!(does(&["store", "a", "1"]), Some(0));
    for refused in [
        &["retrieve", "a"][..],
        &["listen", "a"],
        &["clients"],
        &["clear"],
    ] {
        assert_eq!(does(refused), Some(4), "{refused:?}");
    }
}

/// By logrotate itself, with a folder of the test's own, and the server's process in the place of the service.
#[test]
fn the_installed_rotation_makes_the_server_go_on_in_a_new_file() {
    needs("logrotate");
    let setup = Setup::new();
    let logs = setup.path("logs");
    fs::create_dir(&logs).expect("a folder of our own");
    let log = logs.join("clacksd.log");
    let listen = setup.unix("socket");
    let server = setup.flags(&["--listen", &listen, "--log-file", &text(&log)]);
    let process = Process::spawn(&mut server.command());
    let says =
        |file: &Path, part: &str| fs::read_to_string(file).is_ok_and(|log| log.contains(part));
    wait_until("it is ready", || says(&log, "ready"));

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rotation = fs::read_to_string(root.join("systemd/clacksd.logrotate")).expect("text");
    let reload = format!("kill -HUP {}", process.id());
    let rotation = rotation
        .replace("/var/log/clacksd/", &format!("{}/", text(&logs)))
        .replace("    su clacksd clacksd\n", "")
        .replace("[ -d /run/systemd/system ]", "true")
        .replace("systemctl try-reload-or-restart clacksd.service", &reload);
    assert!(rotation.contains(&reload), "{rotation}");
    server.write_secret("rotation", &rotation);
    let mut rotate = Command::new("logrotate");
    rotate
        .arg("--force")
        .arg("--state")
        .arg(server.path("state"));
    let ended = run(rotate.arg(server.path("rotation")));
    assert_eq!((ended.status, &*ended.stderr), (Some(0), ""));
    wait_until("it goes on in a new file", || says(&log, " read again: "));
    assert!(says(&logs.join("clacksd.log.1"), "ready"));
    assert!(!says(&log, "ready"));
}

#[test]
fn the_package_has_the_version_of_the_daemon() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let changelog = fs::read_to_string(root.join("systemd/debian/changelog")).expect("text");
    let newest = format!("clacksd ({}-1) ", env!("CARGO_PKG_VERSION"));
    assert!(changelog.starts_with(&newest), "{changelog}");
}
