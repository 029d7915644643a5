//! Restores the cache from the journal before the server serves, and reacts to Unix signals that arrive meanwhile.

use crate::broker::Broker;
use crate::program::start::StartError;
use crate::reactor::Signals;
use crate::storage::{self, LoadError, Loaded, SyncPolicy, SystemDisk, Writer};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

/// The outcome of reading a journal.
pub enum Restored {
    /// The journal was read completely, and is open for appending.
    Journal(Box<Writer<SystemDisk>>),
    /// A signal asked the server to end. The journal is unchanged.
    AskedToEnd,
}

/// Loads the journal into the broker. If a signal asks for a status meanwhile, the status is logged; if it asks for a
/// reload, the event loop does that later; if it asks for the end, the reading ends.
///
/// # Errors
/// Another server uses the journal, or the journal can't be read or written.
pub fn restore(
    path: &Path,
    sync: SyncPolicy,
    broker: &mut Broker,
    signals: &Signals,
) -> Result<Restored, StartError> {
    let file = path.display();
    // A disk that answers nothing holds the start up here.
    log::debug!("{file}: opening");
    let mut disk = SystemDisk::lock(path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => in_use(path),
        _ => StartError::Usage(format!("--persist {file}: {error}")),
    })?;
    let start = Instant::now();
    let mut records = 0_u64;
    let loaded = storage::load(&mut disk, |some| {
        if records == 0 {
            // Logged at the first records, so that a refused file leaves only the line with its error.
            log::info!("{file}: reading");
        }
        broker.restore(some);
        records += some.len() as u64;
        if signals.take_status() {
            log::info!(
                "status: reading {file}: {records} records and {} entries so far, in {:.1} s",
                broker.entries(),
                start.elapsed().as_secs_f64()
            );
        }
        match signals.asks_to_end() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    let loaded = match loaded {
        Err(LoadError::Stopped) => {
            log::info!("ended, as a signal asked, while {file} was being read; it is as it was");
            return Ok(Restored::AskedToEnd);
        }
        Err(LoadError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(in_use(path));
        }
        loaded => {
            loaded.map_err(|error| StartError::Usage(format!("--persist {file}: {error}")))?
        }
    };
    let failed = |error| StartError::Failed(format!("--persist {file}: {error}"));
    let Some((loaded, journal)) = loaded else {
        let writer = Writer::create(disk, sync).map_err(failed)?;
        broker.handle_restored(0, false);
        log::info!("{file} is new");
        return Ok(Restored::Journal(Box::new(writer)));
    };
    log_loaded(path, &loaded);
    broker.handle_restored(loaded.length, loaded.damage.is_some());
    log::info!(
        "{file}: {} records read in {:.1} s, {} entries",
        loaded.records,
        start.elapsed().as_secs_f64(),
        broker.entries()
    );
    let first = broker.start_of_run();
    let (writer, has_begun) =
        Writer::resume(disk, journal, sync, first.as_ref()).map_err(failed)?;
    if has_begun && loaded.is_whole() {
        broker.resume_run();
    }
    Ok(Restored::Journal(Box::new(writer)))
}

fn in_use(path: &Path) -> StartError {
    let file = path.display();
    StartError::Failed(format!("--persist {file}: another server uses it"))
}

/// Logs damage of the journal.
fn log_loaded(path: &Path, loaded: &Loaded) {
    let file = path.display();
    if let Some(damage) = loaded.damage {
        log::error!(
            "{file} is damaged: {} bytes in {} places could not be read, and what they held is lost; the \
             file is kept as {file}.bad",
            damage.bytes,
            damage.places
        );
    }
    if loaded.torn > 0 {
        log::warn!(
            "{file}: the last {} bytes are no whole record and were dropped",
            loaded.torn
        );
    }
}
