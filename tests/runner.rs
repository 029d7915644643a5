//! The runner of the integration tests. It is the compiler's in all but one thing: a test can find out, while it
//! runs, that this machine lacks what it needs, and is then reported as ignored. At the end all of these are
//! listed, with the command that installs the packages they need.

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, ToSocketAddrs};
use std::panic::resume_unwind;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::{env, thread};

/// A function with `#[test]`; the attribute makes it (`tests/runner/attribute.rs`).
pub struct Test {
    pub name: &'static str,
    /// Why it runs only with `--ignored` or `--include-ignored`.
    pub ignored: Option<&'static str>,
    pub run: fn(),
}

inventory::collect!(Test);

/// A package or another condition that a test needs and this machine lacks. It unwinds the stack of the test as a panic
/// does.
enum Missing {
    /// By its name in Debian.
    Package(&'static str),
    /// By the name of the target of the Makefile that installs it.
    Made(&'static str),
    Other(&'static str),
}

/// The tests that could not run, by what they lack.
#[derive(Default)]
struct NotTried {
    packages: BTreeMap<&'static str, BTreeSet<&'static str>>,
    made: BTreeMap<&'static str, BTreeSet<&'static str>>,
    others: BTreeMap<&'static str, BTreeSet<&'static str>>,
}

static NOT_TRIED: Mutex<NotTried> = Mutex::new(NotTried {
    packages: BTreeMap::new(),
    made: BTreeMap::new(),
    others: BTreeMap::new(),
});

/// Ends the test as ignored if a Debian package is not installed; where the variable `CI` is set, as failed.
pub fn needs(package: &'static str) {
    if !is_installed(package) {
        resume_unwind(Box::new(Missing::Package(package)));
    }
}

/// Ends the test as ignored where what that target of the Makefile installs is not there; where the variable `CI` is set,
/// as failed.
pub fn needs_made(is_there: bool, target: &'static str) {
    if !is_there {
        resume_unwind(Box::new(Missing::Made(target)));
    }
}

/// Ends the test as ignored where it can't run for another reason than a missing package.
pub fn needs_that(is_so: bool, what: &'static str) {
    if !is_so {
        resume_unwind(Box::new(Missing::Other(what)));
    }
}

/// Ends the test as ignored unless it runs as root.
pub fn needs_root() {
    needs_that(is_root(), "root's rights");
}

/// Ends the test as ignored where it may not mount anything for itself alone: without root's rights, and where `/` is
/// the folder of a chroot and no mount.
pub fn needs_mounts() {
    let tried = Command::new("unshare").args(["--mount", "true"]).output();
    let is_allowed = tried.is_ok_and(|tried| tried.status.success());
    needs_that(is_allowed, "the right to mount");
}

/// Ends the test as ignored where the loopback interface has no IPv6.
pub fn needs_ipv6() {
    needs_that(TcpListener::bind("[::1]:0").is_ok(), "the address ::1");
}

/// Ends the test as ignored where nothing says what `localhost` is; in a bare root there is no `/etc/hosts`.
pub fn needs_localhost() {
    let found = ("localhost", 0).to_socket_addrs();
    let is_loopback = found.is_ok_and(|mut all| all.all(|address| address.ip().is_loopback()));
    needs_that(is_loopback, "the name localhost, in /etc/hosts");
}

pub fn is_root() -> bool {
    // SAFETY: takes nothing and changes nothing.
    unsafe { libc::geteuid() == 0 }
}

fn is_installed(package: &str) -> bool {
    let probe = match package {
        "libcache-memcached-fast-perl" => "perl -MCache::Memcached::Fast -e 1",
        "libcache-memcached-perl" => "perl -MCache::Memcached -e 1",
        "libmemcached-tools" => "command -v memccapable && command -v memcaslap",
        "php-memcached" => "php -r 'exit(extension_loaded(\"memcached\") ? 0 : 1);'",
        "iproute2" => "command -v ip",
        "libio-socket-ssl-perl" => "perl -MIO::Socket::SSL -e 1",
        "libyaml-syck-perl" => "perl -MYAML::Syck -e 1",
        // The traditional nc has neither -N nor -U.
        "netcat-openbsd" => "nc -h 2>&1 | grep OpenBSD",
        // Its folder is in root's path alone.
        "pgbouncer" => "test -x /usr/sbin/pgbouncer",
        "postgresql" => "ls /usr/lib/postgresql/*/bin/initdb",
        "systemd" => "command -v systemd-analyze",
        program => &format!("command -v {program}"),
    };
    let probed = Command::new("sh")
        .args(["-c", probe])
        .stdin(Stdio::null())
        .output();
    probed.expect("a shell").status.success()
}

pub fn main() -> ExitCode {
    let (names, options): (Vec<String>, Vec<String>) = names_and_options(env::args());
    let arguments = Arguments::from_iter(options);
    let is_chosen = |test: &&Test| {
        let name = name(test);
        let is_meant = |part: &String| match arguments.exact {
            true => name == part,
            false => name.contains(part),
        };
        names.is_empty() || names.iter().any(is_meant)
    };
    let mut tests: Vec<&Test> = inventory::iter::<Test>
        .into_iter()
        .filter(is_chosen)
        .collect();
    tests.sort_by_key(|test| test.name);
    let trials = tests.into_iter().map(|test| trial(test, &arguments));
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    NOT_TRIED.lock().expect("no panic while it is held").print();
    conclusion.exit_code()
}

/// Splits the arguments: libtest-mimic takes the name of one test at most, or a part of it, and the compiler's runner
/// any number.
fn names_and_options(arguments: impl Iterator<Item = String>) -> (Vec<String>, Vec<String>) {
    const WITH_VALUE: [&str; 5] = [
        "--color",
        "--format",
        "--logfile",
        "--skip",
        "--test-threads",
    ];
    let mut is_value = true;
    arguments.partition(|argument| {
        let is_name = !is_value && !argument.starts_with('-');
        is_value = WITH_VALUE.contains(&&argument[..]);
        is_name
    })
}

/// The name without that of the crate.
fn name(test: &Test) -> &'static str {
    let (_, name) = test
        .name
        .split_once("::")
        .expect("the name of the crate is before it");
    name
}

fn trial(test: &'static Test, arguments: &Arguments) -> Trial {
    let name = name(test);
    let ignored = test
        .ignored
        .filter(|_| !arguments.ignored && !arguments.include_ignored);
    let trial = Trial::ignorable_test(name, move || match ignored {
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => run(name, test.run),
    });
    // With the flag, --ignored finds it; without, its reason is printed.
    trial.with_ignored_flag(test.ignored.is_some() && ignored.is_none())
}

/// Runs a test in a thread of its own, which has its name in what a panic prints.
fn run(name: &'static str, test: fn()) -> Result<Completion, Failed> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(test);
    let Err(panic) = thread.expect("a thread").join() else {
        return Ok(Completion::Completed);
    };
    match panic.downcast::<Missing>() {
        Ok(missing) => not_tried(name, &missing),
        Err(panic) => Err(message(&*panic).into()),
    }
}

fn not_tried(name: &'static str, missing: &Missing) -> Result<Completion, Failed> {
    let mut not_tried = NOT_TRIED.lock().expect("no panic while it is held");
    let (tests, reason) = match missing {
        Missing::Package(package) => (
            not_tried.packages.entry(package),
            format!("needs the package {package}"),
        ),
        Missing::Made(target) => (
            not_tried.made.entry(target),
            format!("needs what \"make {target}\" installs"),
        ),
        Missing::Other(what) => (not_tried.others.entry(what), format!("needs {what}")),
    };
    tests.or_default().insert(name);
    let is_ci = env::var_os("CI").is_some_and(|value| !value.is_empty());
    if is_ci && !matches!(missing, Missing::Other(_)) {
        return Err(reason.into());
    }
    Ok(Completion::ignored_with(reason))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it panicked")
}

impl NotTried {
    fn print(&self) {
        let all = self.others.iter().chain(&self.made).chain(&self.packages);
        for (what, tests) in all {
            println!("Not tried here, for want of {what}:");
            for test in tests {
                println!("    {test}");
            }
        }
        for target in self.made.keys() {
            println!("To try those that want {target}: make {target}");
        }
        if !self.packages.is_empty() {
            let packages: Vec<&str> = self.packages.keys().copied().collect();
            println!("To try them: apt-get install {}", packages.join(" "));
        }
    }
}
