//! Logging to standard error or a file. A write never blocks, even if nobody reads the other end of a pipe. Lines for the
//! journal of systemd get its priority prefixes.

use crate::cli::{privileged_open, service_manager};
use crate::limits::MAX_LOG_LINE;
use crate::program::start::StartError;
use crate::sys::{self, Account};
use env_logger::{Builder, Target};
use log::Level;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// The settings of the log.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The log file; `None` for standard error.
    pub file: Option<PathBuf>,
    /// The file will be given to another account.
    pub changes_owner: bool,
    pub verbosity: log::LevelFilter,
    /// Without a file: standard error leads nowhere, so lines are discarded.
    pub discard_stderr: bool,
}

impl Settings {
    /// Settings with the same level and standard error, for `--check`.
    pub fn on_stderr(&self) -> Settings {
        Settings {
            file: None,
            changes_owner: false,
            verbosity: self.verbosity,
            discard_stderr: false,
        }
    }
}

/// The open log file, which can be reopened after it was moved away.
pub struct LogFile {
    path: PathBuf,
    changes_owner: bool,
    current: Arc<Mutex<File>>,
}

impl LogFile {
    /// Reopens the file, on SIGHUP. If that fails, the old file stays in use and the error is logged.
    pub fn reopen(&self) {
        match open(&self.path, self.changes_owner) {
            Ok(file) => *self.current() = file,
            Err(error) => log::error!(
                "--log-file {}: {error}; the old one stays in use",
                self.path.display()
            ),
        }
    }

    /// Gives the file to the account, which can then reopen it.
    pub fn give_to(&self, account: Account) -> Result<(), StartError> {
        privileged_open::give(&self.current(), account).map_err(|error| {
            StartError::Failed(format!("--log-file {}: {error}", self.path.display()))
        })
    }

    fn current(&self) -> MutexGuard<'_, File> {
        self.current
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

/// Starts logging. `RUST_LOG` overrides the level.
///
/// # Errors
/// The log file can't be opened.
pub fn start(settings: &Settings) -> Result<Option<LogFile>, StartError> {
    let mut builder = Builder::new();
    builder
        .filter_level(settings.verbosity)
        .format_target(false);
    if let Ok(directives) = std::env::var("RUST_LOG") {
        builder.parse_filters(&directives);
    }
    let mut log_file = None;
    if let Some(path) = &settings.file {
        let opened = open(path, settings.changes_owner);
        let file = opened.map_err(|error| {
            StartError::Usage(format!("--log-file {}: {error}", path.display()))
        })?;
        let current = Arc::new(Mutex::new(file));
        builder.target(Target::Pipe(Box::new(NonBlockingWriter {
            to: Sink::File(current.clone()),
            lost: 0,
            lost_prefix: "",
        })));
        log_file = Some(LogFile {
            path: path.clone(),
            changes_owner: settings.changes_owner,
            current,
        });
    } else {
        let to = if settings.discard_stderr {
            Sink::Nowhere
        } else {
            Sink::Stderr
        };
        let mut lost_prefix = "";
        if service_manager::stderr_is_journal() {
            // The journal adds the time, and shows the level by the prefix.
            builder.format(|line, record| {
                writeln!(line, "{}{}", journal_prefix(record.level()), record.args())
            });
            lost_prefix = journal_prefix(Level::Warn);
        }
        builder.target(Target::Pipe(Box::new(NonBlockingWriter {
            to,
            lost: 0,
            lost_prefix,
        })));
    }
    builder.init();
    Ok(log_file)
}

/// The priority prefix of a line, as specified in sd-daemon(3).
pub fn journal_prefix(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

fn open(path: &Path, changes_owner: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    privileged_open::open(options.create(true).append(true), path, changes_owner)
}

/// The destination of log lines.
enum Sink {
    Stderr,
    File(Arc<Mutex<File>>),
    Nowhere,
}

/// A writer that drops lines which can't be written without blocking, and later reports their number.
struct NonBlockingWriter {
    to: Sink,
    /// The number of dropped lines that were not reported yet.
    lost: u64,
    /// The prefix of the line that reports them.
    lost_prefix: &'static str,
}

impl Write for NonBlockingWriter {
    /// Writes one record of the log, or drops it.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        match &self.to {
            Sink::Stderr => {
                let mut stderr = io::stderr().lock();
                write_or_count(&mut stderr, record, &mut self.lost, self.lost_prefix);
            }
            Sink::File(file) => {
                let mut file = file.lock().expect("nothing panics while it holds the lock");
                write_or_count(&mut *file, record, &mut self.lost, self.lost_prefix);
            }
            Sink::Nowhere => {}
        }
        // A log that can't be written must not affect anything else.
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a record, or counts it as lost, without blocking. A pipe that poll reports as writable takes a line at once, and
/// so does the journal's stream socket: Linux reports it as writable while at least three quarters of its buffer are free.
fn write_or_count(to: &mut (impl Write + AsFd), record: &[u8], lost: &mut u64, lost_prefix: &str) {
    if !sys::is_writable(to.as_fd()) {
        *lost += 1;
        return;
    }
    let mut line = Vec::new();
    if *lost > 0 {
        line.extend_from_slice(format!("{lost_prefix}({lost} log lines were lost)\n").as_bytes());
    }
    // A writable pipe takes this many bytes without blocking; more could block.
    let room = MAX_LOG_LINE - line.len();
    if record.len() <= room {
        line.extend_from_slice(record);
    } else {
        line.extend_from_slice(&record[..room - 1]);
        line.push(b'\n');
    }
    // The write fails on a full disk, for example.
    match to.write_all(&line) {
        Ok(()) => *lost = 0,
        Err(_) => *lost += 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_full_disk_does_not_take_is_counted() {
        let mut lost = 0;
        let full = OpenOptions::new().write(true).open("/dev/full");
        let mut full = full.expect("Linux has it");
        for so_far in 1..=3 {
            write_or_count(&mut full, b"line\n", &mut lost, "");
            assert_eq!(lost, so_far);
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        let mut file = File::create(&path).expect("a folder of our own");
        write_or_count(&mut file, b"line\n", &mut lost, "<4>");
        assert_eq!(lost, 0);
        let log = std::fs::read_to_string(&path).expect("a file of our own");
        assert_eq!(log, "<4>(3 log lines were lost)\nline\n");
    }
}
