//! A logger that checks that the broker logs no secret.

use super::oracle::holds_secret;
use log::{LevelFilter, Log, Metadata, Record};
use std::cell::Cell;

thread_local! {
    /// True if the records that this thread logs are checked. Other tests log at the same time.
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
}

struct Watcher;

impl Log for Watcher {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        IS_WATCHED.get()
    }

    fn log(&self, record: &Record<'_>) {
        if IS_WATCHED.get() {
            let text = record.args().to_string();
            assert!(!holds_secret(text.as_bytes()), "a secret is logged: {text}");
        }
    }

    fn flush(&self) {}
}

/// Looks at all that this thread logs from now on, or at none of it.
pub fn watch(is_watched: bool) {
    IS_WATCHED.set(is_watched);
    // It stays the one that it was set to first: this one.
    let _ = log::set_logger(&Watcher);
    log::set_max_level(LevelFilter::Trace);
}
