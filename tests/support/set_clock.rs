//! A clock of its own for a server under test, which the test can set.

use super::{Setup, run};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// Returns the path of the library that is preloaded into servers, which is compiled once for all tests.
fn library() -> PathBuf {
    static COMPILED: OnceLock<TempDir> = OnceLock::new();
    let folder = COMPILED.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = folder.path().join("set_clock.c");
        fs::write(&source, include_str!("set_clock.c")).expect("a folder of our own");
        // Rust needs the same compiler as its linker.
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("set_clock.so"))
            .arg(&source);
        let ended = run(&mut compiler);
        assert_eq!(ended.status, Some(0), "{ended:?}");
        folder
    });
    folder.path().join("set_clock.so")
}

pub struct SetClock {
    path: PathBuf,
    ahead: File,
}

impl SetClock {
    /// In the folder of a setup, and right at first.
    pub fn new(setup: &Setup) -> SetClock {
        let path = setup.path("clock-ahead");
        let ahead = File::create(&path).expect("a folder of our own");
        let clock = SetClock { path, ahead };
        clock.set_ahead(0);
        clock.let_pass(0);
        clock
    }

    /// The command's process goes by this clock.
    pub fn apply_to(&self, command: &mut Command) {
        command.env("LD_PRELOAD", library());
        command.env("CLOCK_AHEAD", &self.path);
    }

    /// Sets it, against the machine's.
    pub fn set_ahead(&self, seconds: i64) {
        self.write(0, seconds);
    }

    /// So much time has passed since the start, for its monotonic clock too. A server that waits notices it when
    /// something wakes it.
    pub fn let_pass(&self, seconds: i64) {
        self.write(1, seconds);
    }

    fn write(&self, place: u64, seconds: i64) {
        let written = self.ahead.write_all_at(&seconds.to_ne_bytes(), 8 * place);
        written.expect("a file of our own");
    }
}
