//! Log lines to standard error or a file, without ever waiting for whoever reads them. The journal
//! of systemd gets them in its own form.

use crate::cli::{StartError, given_files, service_manager};
use crate::limits::MAX_LOG_LINE;
use crate::sys::{self, Account};
use env_logger::{Builder, Target};
use log::Level;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

#[derive(Debug, Clone)]
pub struct Settings {
    pub file: Option<PathBuf>,
    /// Whether another account gets the file.
    pub is_given_away: bool,
    pub verbosity: log::LevelFilter,
    /// Without a file: whether nobody will see standard error.
    pub discard_stderr: bool,
}

impl Settings {
    /// The same level for a process that only checks something, and tells whoever has called it.
    pub fn on_stderr(&self) -> Settings {
        Settings {
            file: None,
            is_given_away: false,
            verbosity: self.verbosity,
            discard_stderr: false,
        }
    }
}

/// The log file, if there is one, to be opened anew when it was moved away.
pub struct LogFile {
    path: PathBuf,
    is_given_away: bool,
    current: Arc<Mutex<File>>,
}

impl LogFile {
    /// SIGHUP. The old file stays in use if the new one can't be opened.
    pub fn reopen(&self) {
        match open(&self.path, self.is_given_away) {
            Ok(file) => *self.current() = file,
            Err(error) => log::error!(
                "--log-file {}: {error}; the old one stays in use",
                self.path.display()
            ),
        }
    }

    /// Lets that account open it again.
    pub fn give_to(&self, account: Account) -> Result<(), StartError> {
        given_files::give(&self.current(), account).map_err(|error| {
            StartError::Failed(format!("--log-file {}: {error}", self.path.display()))
        })
    }

    fn current(&self) -> MutexGuard<'_, File> {
        self.current
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

/// Starts logging.
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
        let opened = open(path, settings.is_given_away);
        let file = opened.map_err(|error| {
            StartError::Usage(format!("--log-file {}: {error}", path.display()))
        })?;
        let current = Arc::new(Mutex::new(file));
        builder.target(Target::Pipe(Box::new(Patient {
            to: Place::File(current.clone()),
            lost: 0,
            lost_prefix: "",
        })));
        log_file = Some(LogFile {
            path: path.clone(),
            is_given_away: settings.is_given_away,
            current,
        });
    } else {
        let to = if settings.discard_stderr {
            Place::Nowhere
        } else {
            Place::Stderr
        };
        let mut lost_prefix = "";
        if service_manager::stderr_is_journal() {
            // It adds time and level by itself.
            builder.format(|line, record| {
                writeln!(line, "{}{}", journal_prefix(record.level()), record.args())
            });
            lost_prefix = journal_prefix(Level::Warn);
        }
        builder.target(Target::Pipe(Box::new(Patient {
            to,
            lost: 0,
            lost_prefix,
        })));
    }
    builder.init();
    Ok(log_file)
}

/// The priority of a line, as sd-daemon(3) writes it.
pub fn journal_prefix(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

fn open(path: &Path, is_given_away: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    given_files::open(options.create(true).append(true), path, is_given_away)
}

enum Place {
    Stderr,
    File(Arc<Mutex<File>>),
    Nowhere,
}

/// Drops what can't be written at once, and says later how much that was.
struct Patient {
    to: Place,
    lost: u64,
    /// Stands before the line that says so.
    lost_prefix: &'static str,
}

impl Write for Patient {
    /// One call is one record.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        match &self.to {
            Place::Stderr => {
                let mut stderr = io::stderr().lock();
                write_at_once(&mut stderr, record, &mut self.lost, self.lost_prefix);
            }
            Place::File(file) => {
                let mut file = file.lock().expect("nothing panics while it holds the lock");
                write_at_once(&mut *file, record, &mut self.lost, self.lost_prefix);
            }
            Place::Nowhere => {}
        }
        // A log that can't be written is no reason to do anything else differently.
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe that poll calls writable takes a line without blocking, and so does the journal's stream
/// socket: Linux calls it writable while three quarters of its buffer or more are free.
fn write_at_once(to: &mut (impl Write + AsFd), record: &[u8], lost: &mut u64, lost_prefix: &str) {
    if !sys::is_writable(to.as_fd()) {
        *lost += 1;
        return;
    }
    let mut line = Vec::new();
    if *lost > 0 {
        line.extend_from_slice(format!("{lost_prefix}({lost} log lines were lost)\n").as_bytes());
    }
    // A writable pipe takes this many bytes without blocking, and no more.
    let room = MAX_LOG_LINE - line.len();
    if record.len() <= room {
        line.extend_from_slice(record);
    } else {
        line.extend_from_slice(&record[..room - 1]);
        line.push(b'\n');
    }
    // On a full disk, say.
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
            write_at_once(&mut full, b"line\n", &mut lost, "");
            assert_eq!(lost, so_far);
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        let mut file = File::create(&path).expect("a folder of our own");
        write_at_once(&mut file, b"line\n", &mut lost, "<4>");
        assert_eq!(lost, 0);
        let log = std::fs::read_to_string(&path).expect("a file of our own");
        assert_eq!(log, "<4>(3 log lines were lost)\nline\n");
    }
}
