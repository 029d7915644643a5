//! A logger for tests of the broker and the reactor without a process of their own.

use log::{LevelFilter, Log, Metadata, Record};
use std::cell::{Cell, RefCell};

thread_local! {
    /// The function that is given all lines that this thread logs. Other tests log at the same time.
    static READER: Cell<Option<fn(&str)>> = const { Cell::new(None) };
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Reader;

impl Log for Reader {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        READER.get().is_some()
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(read) = READER.get() {
            read(&record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Has all that this thread logs from now on read, or none of it.
pub fn read_log(reader: Option<fn(&str)>) {
    READER.set(reader);
    // It stays the one that it was set to first: this one.
    let _ = log::set_logger(&Reader);
    log::set_max_level(LevelFilter::Trace);
}

/// Takes what this thread has logged since the last call.
pub fn take_log() -> Vec<String> {
    read_log(Some(|line| {
        LINES.with_borrow_mut(|lines| lines.push(line.to_owned()))
    }));
    LINES.take()
}
