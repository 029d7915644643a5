//! Clients that programs use, in several languages. Each script of `clients/` calls a client's functions and prints what
//! they return; with clacksd in memcached's place it must print the same. Clients of the binary protocol find their
//! connection closed, and the log says how to set them.

use super::servers::{Clacksd, Memcached};
use crate::runner::{needs, needs_made};
use crate::support::{Ended, run};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder in which `make memcached-clients` installs what Debian does not have.
fn folder() -> PathBuf {
    if let Some(folder) = env::var_os("MEMCACHED_CLIENTS") {
        return folder.into();
    }
    let home = env::var("HOME").unwrap_or_default();
    format!("{home}/.cache/clacksd/memcached-clients").into()
}

fn script(name: &str) -> PathBuf {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/memcached/clients");
    clients.join(name)
}

/// An interpreter with the clients of its registry.
struct Interpreter(PathBuf);

impl Interpreter {
    /// That of the folder, in which the clients must be installed.
    fn of_folder(program: &str, installed: &str) -> Interpreter {
        let is_there = folder().join(installed).exists();
        needs_made(is_there, "memcached-clients");
        Interpreter(folder().join(program))
    }

    fn python() -> Interpreter {
        Interpreter::of_folder("python/bin/python", "python/installed")
    }

    fn node() -> Interpreter {
        let Interpreter(_) = Interpreter::of_folder("node", "node_modules/.package-lock.json");
        Interpreter("node".into())
    }

    /// One of Debian, with that package for it.
    fn of_debian(program: &str, package: &'static str) -> Interpreter {
        needs(package);
        Interpreter(program.into())
    }

    fn run(&self, name: &str, port: u16) -> Ended {
        let mut command = Command::new(&self.0);
        command.arg(script(name)).arg("127.0.0.1");
        command.arg(port.to_string());
        // The tree stays as it is.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("NODE_PATH", folder().join("node_modules"));
        run(&mut command)
    }

    /// Runs a script against both servers.
    fn prints_the_same(&self, name: &str) {
        let (clacksd, memcached) = (Clacksd::start(), Memcached::start());
        let ours = self.run(name, clacksd.port);
        let theirs = self.run(name, memcached.port);
        let facts = |ended: &Ended| (ended.status, ended.stdout.clone());
        let complaints = format!("{name}:\n{}\n{}", ours.stderr, theirs.stderr);
        assert_eq!(theirs.status, Some(0), "{complaints}");
        assert!(theirs.stdout.lines().count() > 20, "{complaints}");
        let (ours, theirs) = (facts(&ours), facts(&theirs));
        for (one, other) in ours.1.lines().zip(theirs.1.lines()) {
            assert_eq!(one, other, "{complaints}");
        }
        assert_eq!(ours, theirs, "{complaints}");
    }

    /// Runs a script whose client speaks the binary protocol: it prints this, and the log says once which option it needs.
    fn is_told_to_speak_text(&self, name: &str, printed: &str, option: &str) {
        let clacksd = Clacksd::start();
        let ended = self.run(name, clacksd.port);
        assert_eq!(ended.stdout, printed, "{}", ended.stderr);
        assert!(clacksd.server().status("binary_protocol") > 0);
        let log = clacksd.server().process.log();
        let told = log.iter().filter(|line| line.contains("binary_protocol: "));
        let told: Vec<_> = told.collect();
        assert!(
            matches!(told[..], [line] if line.contains(option)),
            "{log:#?}"
        );
    }
}

#[test]
fn pymemcache() {
    Interpreter::python().prints_the_same("pymemcache_client.py");
}

#[test]
fn python_memcached() {
    Interpreter::python().prints_the_same("python_memcached_client.py");
}

#[test]
fn pylibmc() {
    Interpreter::python().prints_the_same("pylibmc_client.py");
}

#[test]
fn both_backends_of_django() {
    Interpreter::python().prints_the_same("django_client.py");
}

#[test]
fn aiomcache() {
    Interpreter::python().prints_the_same("aiomcache_client.py");
}

#[test]
fn emcache() {
    Interpreter::python().prints_the_same("emcache_client.py");
}

#[test]
fn memcachio() {
    Interpreter::python().prints_the_same("memcachio_client.py");
}

#[test]
fn libmc() {
    Interpreter::python().prints_the_same("libmc_client.py");
}

#[test]
fn meta_memcache() {
    Interpreter::python().prints_the_same("meta_memcache_client.py");
}

#[test]
fn memcached_of_npm() {
    Interpreter::node().prints_the_same("memcached_client.js");
}

#[test]
fn memcache_client_of_npm() {
    Interpreter::node().prints_the_same("memcache_client_client.js");
}

#[test]
fn memcache_of_npm() {
    Interpreter::node().prints_the_same("memcache_module_client.js");
}

#[test]
fn memcache_plus_of_npm() {
    Interpreter::node().prints_the_same("memcache_plus_client.js");
}

#[test]
fn cache_memcached_of_perl() {
    let perl = Interpreter::of_debian("perl", "libcache-memcached-perl");
    perl.prints_the_same("cache_memcached_client.pl");
}

#[test]
fn cache_memcached_fast_of_perl() {
    let perl = Interpreter::of_debian("perl", "libcache-memcached-fast-perl");
    perl.prints_the_same("cache_memcached_fast_client.pl");
}

#[test]
fn memcached_of_php() {
    let php = Interpreter::of_debian("php", "php-memcached");
    php.prints_the_same("php_memcached_client.php");
}

#[test]
fn pylibmc_by_its_binary_protocol() {
    let printed = "set: ConnectionError: error 3 from memcached_set: CONNECTION FAILURE\n\
                   get: ServerDown: error 47 from memcached_get(k): SERVER HAS FAILED AND IS DISABLED UNTIL TIMED RETRY\n";
    let script = "pylibmc_binary_client.py";
    Interpreter::python().is_told_to_speak_text(script, printed, "pylibmc: binary=False;");
}

#[test]
fn python_binary_memcached() {
    let printed = "set: False\nget: None\n";
    let script = "python_binary_memcached_client.py";
    let advice = "python-binary-memcached have no text protocol";
    Interpreter::python().is_told_to_speak_text(script, printed, advice);
}

#[test]
fn memjs_of_npm() {
    let printed = "set: Error: no answer\n";
    let advice = "memjs and python-binary-memcached have no text protocol";
    Interpreter::node().is_told_to_speak_text("memjs_client.js", printed, advice);
}

#[test]
fn memcached_of_php_by_its_binary_protocol() {
    let php = Interpreter::of_debian("php", "php-memcached");
    let printed = "set: false, CONNECTION FAILURE\nget: false, CONNECTION FAILURE\n";
    let option = "PHP: Memcached::OPT_BINARY_PROTOCOL => false;";
    php.is_told_to_speak_text("php_memcached_binary_client.php", printed, option);
}
