//! The daemon does all it has to do under the restrictions of systemd/clacksd.service, applied here
//! without systemd. A forbidden system call ends the process, where systemd would return an error, so
//! that none goes unnoticed. (tests/package.sh runs the unit itself, where systemd can be booted.)

use crate::runner::{needs, needs_localhost, needs_that};
use crate::support::{
    Client, Ended, Process, ServiceManager, Setup, hand_over, run, text, token, wait_until,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who the restricted process is.
const NOBODY: u32 = 65_534;

const UNIT: &str = include_str!("../../systemd/clacksd.service");

/// The values of a setting, in the unit's order.
fn settings(name: &str) -> impl Iterator<Item = &'static str> {
    UNIT.lines()
        .filter_map(move |line| line.strip_prefix(name)?.strip_prefix('='))
}

fn assert_set(name: &str, value: &str) {
    assert_eq!(settings(name).last(), Some(value), "{name}");
}

#[test]
fn the_services_start_again_until_nothing_can_help() {
    const BRIDGE: &str = include_str!("../../systemd/clacks-pg.service");
    for unit in [UNIT, BRIDGE] {
        let sections: Vec<&str> = unit.split("\n[").collect();
        for (section, settings) in [
            ("Unit]", &["StartLimitIntervalSec=0"][..]),
            (
                "Service]",
                &[
                    "Restart=on-failure",
                    "RestartSec=2",
                    "RestartPreventExitStatus=2",
                ],
            ),
        ] {
            let lines = sections.iter().find(|lines| lines.starts_with(section));
            let lines: Vec<&str> = lines.expect("a section").lines().collect();
            for setting in settings {
                let name = setting.split_inclusive('=').next().expect("a name");
                let set: Vec<&&str> = lines.iter().filter(|it| it.starts_with(name)).collect();
                assert_eq!(set, [setting], "{unit}");
            }
        }
    }
}

// The system call filter.

/// Adds a system call to `calls`, or all calls of a group of systemd's, whose name begins with `@`.
fn calls_of(name: &str, calls: &mut BTreeSet<String>) {
    if !name.starts_with('@') {
        calls.insert(name.to_owned());
        return;
    }
    let listed = run(Command::new("systemd-analyze").args(["syscall-filter", name]));
    assert_eq!(listed.status, Some(0), "{listed:?}");
    for line in listed.stdout.lines().skip(1) {
        let member = line.trim();
        if line.starts_with(' ') && !member.starts_with('#') && !member.is_empty() {
            calls_of(member, calls);
        }
    }
}

/// The names of the calls that the unit allows.
fn allowed_calls() -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for filter in settings("SystemCallFilter") {
        let (forbidding, names) = match filter.strip_prefix('~') {
            Some(names) => (true, names),
            None => (false, filter),
        };
        let mut calls = BTreeSet::new();
        names
            .split_whitespace()
            .for_each(|name| calls_of(name, &mut calls));
        if forbidding {
            allowed.retain(|name| !calls.contains(name));
        } else {
            allowed.extend(calls);
        }
    }
    allowed
}

/// The numbers of all calls, from the C compiler's headers.
fn numbers() -> BTreeMap<String, u32> {
    let defined =
        run(Command::new("sh").args(["-c", "echo '#include <sys/syscall.h>' | cc -E -dM -"]));
    assert_eq!(defined.status, Some(0), "{defined:?}");
    let words = defined.stdout.lines().filter_map(|line| {
        let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
        Some((name.to_owned(), number.trim().parse().ok()?))
    });
    words.collect()
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: u32 = 0;

/// A filter for seccomp(2).
struct Filter {
    program: Vec<libc::sock_filter>,
    numbers: BTreeMap<String, u32>,
}

impl Filter {
    /// Builds a filter as systemd does from the settings of the unit.
    fn of_the_unit() -> Filter {
        let mut filter = Filter {
            program: Vec::new(),
            numbers: numbers(),
        };
        assert_set("SystemCallArchitectures", "native");
        const ARCHITECTURE_AT: u32 = 4;
        filter.load(ARCHITECTURE_AT);
        filter.unless(libc::BPF_JEQ, ARCHITECTURE, libc::SECCOMP_RET_KILL_PROCESS);

        let families = settings("RestrictAddressFamilies").flat_map(str::split_whitespace);
        let families: Vec<u32> = families
            .map(|family| match family {
                "AF_UNIX" => libc::AF_UNIX as u32,
                "AF_INET" => libc::AF_INET as u32,
                "AF_INET6" => libc::AF_INET6 as u32,
                other => panic!("an unknown family {other}"),
            })
            .collect();
        // Name look-ups ask for another family, and do without it.
        filter.on("socket", |filter| {
            filter.load(argument(0));
            for family in &families {
                filter.when(libc::BPF_JEQ, *family, libc::SECCOMP_RET_ALLOW);
            }
            filter.end(libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32);
        });

        // systemd sets the policy, and the daemon does without what it may not do itself.
        assert_set("CPUSchedulingPolicy", "batch");
        assert_set("SystemCallErrorNumber", "EPERM");
        filter.on("sched_setscheduler", |filter| {
            filter.end(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
        });

        assert_set("RestrictNamespaces", "yes");
        let namespaces = libc::CLONE_NEWNS
            | libc::CLONE_NEWCGROUP
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUSER
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWNET;
        filter.forbid("clone", 0, namespaces as u32);
        // What it is to do can't be seen, so that it seems not to exist; clone takes its place.
        filter.on("clone3", |filter| {
            filter.end(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32)
        });

        assert_set("MemoryDenyWriteExecute", "yes");
        filter.on("mmap", |filter| {
            const BOTH: u32 = (libc::PROT_WRITE | libc::PROT_EXEC) as u32;
            filter.load(argument(2));
            filter.push(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, BOTH);
            filter.when(libc::BPF_JEQ, BOTH, libc::SECCOMP_RET_KILL_PROCESS);
            filter.end(libc::SECCOMP_RET_ALLOW);
        });
        filter.forbid("mprotect", 2, libc::PROT_EXEC as u32);
        filter.forbid("pkey_mprotect", 2, libc::PROT_EXEC as u32);
        filter.forbid("shmat", 2, libc::SHM_EXEC as u32);

        assert_set("RestrictSUIDSGID", "yes");
        let special = libc::S_ISUID | libc::S_ISGID;
        filter.forbid("chmod", 1, special);
        filter.forbid("fchmod", 1, special);
        filter.forbid("fchmodat", 2, special);
        assert_set("LockPersonality", "yes");
        filter.on("personality", |filter| {
            filter.end(libc::SECCOMP_RET_KILL_PROCESS)
        });

        const NUMBER_AT: u32 = 0;
        filter.load(NUMBER_AT);
        let allowed = allowed_calls();
        assert!(allowed.len() > 100, "systemd-analyze lists them");
        for name in allowed {
            if let Some(number) = filter.numbers.get(&name).copied() {
                filter.when(libc::BPF_JEQ, number, libc::SECCOMP_RET_ALLOW);
            }
        }
        filter.end(libc::SECCOMP_RET_KILL_PROCESS);
        filter
    }

    fn push(&mut self, code: u32, jump_true: u8, jump_false: u8, value: u32) {
        self.program.push(libc::sock_filter {
            code: code as u16,
            jt: jump_true,
            jf: jump_false,
            k: value,
        });
    }

    fn load(&mut self, at: u32) {
        self.push(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    }

    fn when(&mut self, comparison: u32, value: u32, action: u32) {
        self.push(libc::BPF_JMP | comparison | libc::BPF_K, 0, 1, value);
        self.end(action);
    }

    fn unless(&mut self, comparison: u32, value: u32, action: u32) {
        self.push(libc::BPF_JMP | comparison | libc::BPF_K, 1, 0, value);
        self.end(action);
    }

    fn end(&mut self, action: u32) {
        self.push(libc::BPF_RET | libc::BPF_K, 0, 0, action);
    }

    /// Appends the instructions for one system call. Those that `build` appends have to end with an action in any case.
    fn on(&mut self, name: &str, build: impl FnOnce(&mut Filter)) {
        // Some calls are there on some machines only.
        let Some(number) = self.numbers.get(name).copied() else {
            return;
        };
        self.load(0);
        let at = self.program.len();
        self.push(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 0, number);
        build(self);
        let length = self.program.len() - at - 1;
        self.program[at].jf = u8::try_from(length).expect("a short block");
    }

    /// Forbids the call with any of these bits in an argument.
    fn forbid(&mut self, name: &str, number: u32, bits: u32) {
        self.on(name, |filter| {
            filter.load(argument(number));
            filter.when(libc::BPF_JSET, bits, libc::SECCOMP_RET_KILL_PROCESS);
            filter.end(libc::SECCOMP_RET_ALLOW);
        });
    }
}

/// Where the low half of an argument is, on a machine that has it first.
const fn argument(number: u32) -> u32 {
    16 + 8 * number
}

// Everything else.

/// Which of the restrictions this machine permits a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parts {
    /// No capabilities, another user; a file system of its own that is read-only.
    mounts: bool,
    /// A user namespace.
    users: bool,
}

struct Restrictions {
    program: Vec<libc::sock_filter>,
    /// The only folder that may be written to.
    writable: CString,
    /// Where devices are made before they are moved to /dev.
    devices: CString,
    nodes: Vec<(CString, libc::dev_t)>,
    parts: Parts,
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no NUL in it")
}

impl Restrictions {
    fn new(folder: &Path, program: Vec<libc::sock_filter>, parts: Parts) -> Restrictions {
        assert_set("ProtectSystem", "strict");
        assert_set("PrivateDevices", "yes");
        assert_set("ProtectProc", "invisible");
        assert_set("ProcSubset", "pid");
        assert_set("PrivateUsers", "yes");
        assert_set("NoNewPrivileges", "yes");
        assert_set("CapabilityBoundingSet", "");
        let devices = folder.join("devices");
        let _ = fs::create_dir(&devices);
        let nodes = [
            ("null", 3),
            ("zero", 5),
            ("full", 7),
            ("random", 8),
            ("urandom", 9),
        ];
        Restrictions {
            program,
            writable: c_path(folder),
            nodes: nodes
                .iter()
                .map(|(name, minor)| (c_path(&devices.join(name)), libc::makedev(1, *minor)))
                .collect(),
            devices: c_path(&devices),
            parts,
        }
    }

    fn apply_to(self, command: &mut Command) {
        // SAFETY: between fork and exec, `restrict` makes system calls only; what it hands to them was
        // allocated before.
        unsafe { command.pre_exec(move || self.restrict()) };
    }

    fn restrict(&self) -> io::Result<()> {
        if self.parts.mounts {
            self.mount()?;
            drop_capabilities();
            // SAFETY: an empty list, and plain numbers.
            unsafe {
                check(libc::setgroups(0, std::ptr::null()))?;
                check(libc::setgid(NOBODY))?;
                check(libc::setuid(NOBODY))?;
            }
        }
        if self.parts.users {
            // SAFETY: plain numbers. Who has become somebody else may not write to /proc otherwise.
            unsafe {
                check(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0))?;
                check(libc::unshare(libc::CLONE_NEWUSER))?;
            }
            write(c"/proc/self/setgroups", b"deny")?;
            write(c"/proc/self/uid_map", b"65534 65534 1")?;
            write(c"/proc/self/gid_map", b"65534 65534 1")?;
            // Who makes a namespace may do anything in it.
            drop_capabilities();
        }
        let program = libc::sock_fprog {
            len: self.program.len() as u16,
            filter: self.program.as_ptr().cast_mut(),
        };
        // SAFETY: plain numbers, and a program that is valid for the call and not written to.
        unsafe {
            check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
            let mode = libc::SECCOMP_MODE_FILTER;
            check(libc::prctl(libc::PR_SET_SECCOMP, mode, &program))
        }
    }

    /// All is read-only but one folder; few devices; of processes, only one's own.
    fn mount(&self) -> io::Result<()> {
        const READ_ONLY: u64 = 1;
        let set = |path: &CString, set: u64, clear: u64, flags: libc::c_int| {
            let attributes = [set, clear, 0, 0];
            // SAFETY: a NUL-terminated path, and the four numbers that the call expects.
            check(unsafe {
                libc::syscall(
                    libc::SYS_mount_setattr,
                    libc::AT_FDCWD,
                    path.as_ptr(),
                    flags,
                    attributes.as_ptr(),
                    size_of_val(&attributes),
                )
            } as libc::c_int)
        };
        let mount = |source: &std::ffi::CStr,
                     at: &std::ffi::CStr,
                     kind: &std::ffi::CStr,
                     flags,
                     data: &std::ffi::CStr| {
            // SAFETY: NUL-terminated strings.
            check(unsafe {
                libc::mount(
                    source.as_ptr(),
                    at.as_ptr(),
                    kind.as_ptr(),
                    flags,
                    data.as_ptr().cast(),
                )
            })
        };
        // SAFETY: plain numbers.
        check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
        mount(c"none", c"/", c"", libc::MS_REC | libc::MS_PRIVATE, c"")?;
        mount(
            c"devices",
            &self.devices,
            c"tmpfs",
            libc::MS_NOSUID,
            c"mode=755",
        )?;
        for (path, device) in &self.nodes {
            // SAFETY: a NUL-terminated path, and plain numbers.
            check(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, *device) })?;
            // SAFETY: the same; whatever the umask is.
            check(unsafe { libc::chmod(path.as_ptr(), 0o666) })?;
        }
        mount(&self.devices, c"/dev", c"", libc::MS_MOVE, c"")?;
        const AT_RECURSIVE: libc::c_int = 0x8000;
        let root = c"/".to_owned();
        set(&root, READ_ONLY, 0, AT_RECURSIVE)?;
        // Afterwards, since /proc stays writable, as far as the rights to its files go.
        mount(
            c"proc",
            c"/proc",
            c"proc",
            libc::MS_NOSUID,
            c"hidepid=invisible,subset=pid",
        )?;
        mount(&self.writable, &self.writable, c"", libc::MS_BIND, c"")?;
        set(&self.writable, 0, READ_ONLY, 0)
    }
}

/// Nothing that is executed later has any.
fn drop_capabilities() {
    for capability in 0..=40 {
        // SAFETY: plain numbers. The newest ones are not known to every kernel.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn write(path: &std::ffi::CStr, text: &[u8]) -> io::Result<()> {
    // SAFETY: a NUL-terminated path, and a buffer of that length; the descriptor is this function's.
    unsafe {
        let descriptor = libc::open(path.as_ptr(), libc::O_WRONLY);
        check(descriptor)?;
        let written = libc::write(descriptor, text.as_ptr().cast(), text.len());
        libc::close(descriptor);
        check(written as libc::c_int)
    }
}

/// A setup in a folder of nobody's, and what restricts a process to it.
struct Cage {
    setup: Setup,
    filter: Vec<libc::sock_filter>,
    parts: Parts,
}

impl Cage {
    fn new() -> Cage {
        needs_that(
            ARCHITECTURE != 0,
            "a name for this architecture in seccomp's filters",
        );
        needs("systemd");
        let mut cage = Cage {
            setup: Setup::new(),
            filter: Filter::of_the_unit().program,
            parts: Parts {
                mounts: true,
                users: true,
            },
        };
        let less = [
            Parts {
                mounts: true,
                users: false,
            },
            Parts {
                mounts: false,
                users: false,
            },
        ];
        for next in less {
            match cage.spawn_error() {
                None => break,
                Some(error) => eprintln!(
                    "not tried here, with {:?}: {error}; trying less",
                    cage.parts
                ),
            }
            cage.parts = next;
        }
        needs_that(cage.spawn_error().is_none(), "seccomp");
        cage
    }

    fn restrict(&self, command: &mut Command) {
        let folder = self.setup.folder.path();
        Restrictions::new(folder, self.filter.clone(), self.parts).apply_to(command);
    }

    fn spawn_error(&self) -> Option<io::Error> {
        let mut command = Command::new("true");
        self.restrict(&mut command);
        command.status().err()
    }

    /// Runs a command of the shell twice, under the restrictions. Returns the signal that ended the first run, if one
    /// did, and the result of the second run.
    fn shell(&self, code: &str) -> (Option<i32>, Ended) {
        let mut command = Command::new("sh");
        command.args(["-c", code]);
        self.restrict(&mut command);
        let signal = command.output().expect("a process").status.signal();
        (signal, run(&mut command))
    }

    /// Gives everything in the folder to nobody.
    fn give_away(&self) {
        if self.parts.mounts {
            let folder = self.setup.folder.path();
            let entries = fs::read_dir(folder).expect("a folder of our own");
            let paths: Vec<PathBuf> = entries
                .map(|entry| entry.expect("an entry").path())
                .chain([folder.to_owned()])
                .collect();
            for path in paths {
                chown(path, Some(NOBODY), Some(NOBODY)).expect("root may do that");
            }
        }
    }
}

#[test]
fn the_restrictions_restrict() {
    let cage = Cage::new();
    cage.give_away();
    for forbidden in [
        "chroot / true",
        "chown 0 /",
        "taskset 1 true",
        "chmod u+s /dev/null",
    ] {
        let (signal, _) = cage.shell(&format!("exec {forbidden}"));
        assert_eq!(signal, Some(libc::SIGSYS), "{forbidden}");
    }
    let (_, ended) =
        cage.shell("grep -E '^(NoNewPrivs|Seccomp|Cap(Prm|Eff|Bnd)):' /proc/self/status");
    assert!(
        ended.stdout.contains("NoNewPrivs:\t1\nSeccomp:\t2\n"),
        "{ended:?}"
    );
    if cage.parts.mounts {
        assert_eq!(ended.stdout.matches("\t0000000000000000\n").count(), 3);
        let folder = text(cage.setup.folder.path());
        let (_, ended) = cage.shell(&format!(
            "touch {folder}/here && touch /var/tmp/clacksd-test"
        ));
        assert!(ended.stderr.contains("Read-only file system"), "{ended:?}");
        assert!(cage.setup.path("here").exists());
        let (_, ended) = cage.shell("ls /dev | tr '\\n' ' '; ls /proc/sys /proc/1");
        assert!(
            ended.stdout.starts_with("full null random urandom zero "),
            "{ended:?}"
        );
        assert_eq!(ended.stderr.matches("No such file").count(), 2, "{ended:?}");
    }
}

#[test]
fn all_works_under_the_restrictions_of_the_unit() {
    needs_localhost();
    let cage = Cage::new();
    let master = Setup::new().start();
    // A copy, since not everybody may look into the folder of the sources. Not made by this process,
    // whose other threads' children could still have it open for writing when it is to be run.
    let binary = cage.setup.path("clacksd");
    let copied = run(Command::new("cp").args([env!("CARGO_BIN_EXE_clacksd"), &text(&binary)]));
    assert_eq!(copied.status, Some(0), "{copied:?}");
    let activated = UnixListener::bind(cage.setup.path("activated")).expect("a folder of our own");
    let manager = ServiceManager::new(&cage.setup);
    let (own, pid) = (cage.setup.unix("socket"), text(&cage.setup.path("pid")));
    let journal = text(&cage.setup.path("journal"));
    let Cage {
        setup,
        filter,
        parts,
    } = cage;
    let cage = Cage {
        setup: setup.flags(&[
            "--listen",
            &own,
            "--listen",
            "tcp://127.0.0.1:0",
            "--pid-file",
            &pid,
            // The values below are so large that the journal is rewritten as well.
            "--persist",
            &journal,
            // By its name, for a thread looks that up.
            "--master",
            &format!("tcp://localhost:{}", master.port),
            "-vv",
        ]),
        filter,
        parts,
    };
    cage.give_away();
    let mut plain = Command::new(&binary);
    plain.args(cage.setup.command().get_args());
    let mut command = hand_over(&plain, &[activated.as_fd()], "unix");
    command
        .env("NOTIFY_SOCKET", &manager.path)
        .env("WATCHDOG_USEC", "100000");
    cage.restrict(&mut command);
    let mut process = Process::spawn(&mut command);
    manager.wait_for("READY=1");
    process.wait_for_log("ready");
    process.wait_for_log("the scheduling policy stays as it is: Operation not permitted");
    assert_eq!(
        fs::read_to_string(&pid).expect("the folder may be written to"),
        format!("{}\n", process.id())
    );

    // Clients of every kind, and the master.
    process.wait_for_log(" is the master (Clacksd)");
    let port = process.wait_for_log("listening on tcp://127.0.0.1:");
    let port = port.rsplit(':').next().and_then(|port| port.parse().ok());
    let mut clients = [
        Client::unix(&cage.setup.path("activated")).logged_in("admin"),
        Client::unix(&cage.setup.path("socket")).logged_in("admin"),
        Client::tcp(port.expect("a port")).logged_in("admin"),
    ];
    for (number, client) in clients.iter_mut().enumerate() {
        client.ask(&format!("STORE name{number}={number}"));
        // Enough for memory from the system, and for a socket that is full.
        client.ask(&format!("STORE large{number}={}", "x".repeat(4 << 20)));
        assert_eq!(
            client.ask(&format!("RETRIEVE large{number}"))[0].len(),
            17 + (4 << 20)
        );
    }
    let mut other = master.client("admin");
    for number in 0..3 {
        let (asked, answer) = (
            format!("RETRIEVE name{number}"),
            format!("RETRIEVED name{number}={number}"),
        );
        wait_until("the master is told", || {
            other.ask(&asked) == [answer.clone()]
        });
    }

    // Signals and the manager.
    cage.setup.write_secret("users", "new:read:newpw\n");
    cage.give_away();
    process.signal(libc::SIGHUP);
    manager.wait_for("RELOADING=1");
    manager.wait_for("READY=1");
    process.wait_for_log("read again: 2 users");
    let mut new = Client::unix(&cage.setup.path("activated"));
    new.send(&format!("OVERHEAD A {}", token("new")));
    new.expect_after_others("OVERHEAD O Welcome!");
    process.signal(libc::SIGUSR1);
    process.wait_for_log("uplink=up");
    manager.wait_for("WATCHDOG=1");
    process.signal(libc::SIGTERM);
    manager.wait_for("STOPPING=1");
    for client in &mut clients {
        assert_eq!(
            client.until_closed().last().map(String::as_str),
            Some("QUIT")
        );
    }
    let status = process.wait();
    assert_eq!(status.code(), Some(0), "{status:?} {:?}", process.log());
    assert!(!cage.setup.path("socket").exists() && !cage.setup.path("pid").exists());
    assert!(cage.setup.path("activated").exists());
    let mut log = process.log();
    // The one thing that the filter refuses without harm.
    log.retain(|line| !line.contains("the scheduling policy stays as it is"));
    let kept = fs::metadata(&journal).expect("the journal is there").len();
    assert!(kept > 12 << 20, "{kept}");
    for complaint in [
        "cannot",
        "Permission denied",
        "not permitted",
        "being saved",
        "written anew",
    ] {
        assert!(!log.iter().any(|line| line.contains(complaint)), "{log:?}");
    }
}
