//! clacks-pg, the bridge from PostgreSQL: turns notifications of triggers into signals and cache entries. See clacks-pg(8).

mod action;
mod backlog;
mod database;
mod dial;
mod encodings;
mod failure;
mod flags;
mod forwarding;
mod functions;
mod payload;
mod session;
mod target;
mod translated;

pub use backlog::MAX_BYTES as MAX_BACKLOG;
pub use flags::FLAGS;
pub use payload::DELIMITER;

use crate::client::Client;
use crate::program::signals;
use crate::program::start::{StartError, print};
use database::Database;
use flags::Login;
use forwarding::Bridge;
use getopts::Matches;
use log::LevelFilter;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Runs clacks-pg with these arguments (without the program's name) until a Unix signal asks it to end.
///
/// # Errors
/// [`StartError`] for wrong arguments, and for anything else that prevents the start.
pub fn run(arguments: &[OsString]) -> Result<(), StartError> {
    signals::prepare()
        .map_err(|error| StartError::Failed(format!("cannot install a signal handler: {error}")))?;
    let matches = flags::parse(arguments)?;
    if matches.opt_present("help") {
        return print(&flags::help());
    }
    if matches.opt_present("version") {
        return print(concat!("clacks-pg ", env!("CARGO_PKG_VERSION"), "\n"));
    }
    if matches.opt_present("print-sql") {
        return print(&functions::sql());
    }
    let database = Database::new(flags::database(&matches)?)
        .map_err(|error| StartError::Failed(error.to_string()))?;
    if matches.opt_present("init") {
        start_logging(level(&matches)?);
        let installed = database.run(&functions::sql());
        return installed.map_err(|error| StartError::Failed(format!("--init: {error}")));
    }
    let login = Login::from_flags(&matches);
    let server = flags::server(&matches, &login)?;
    start_logging(level(&matches)?);
    let client =
        Client::new(server).map_err(|error| StartError::Usage(format!("--server {error}")))?;
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, ended.clone())
            .map_err(|error| StartError::Failed(format!("signals: {error}")))?;
    }
    Bridge::new(database, client, login).run(&ended);
    Ok(())
}

fn level(matches: &Matches) -> Result<LevelFilter, StartError> {
    match (matches.opt_present("quiet"), matches.opt_present("verbose")) {
        (true, true) => Err(StartError::Usage(
            "--quiet contradicts --verbose".to_owned(),
        )),
        (true, false) => Ok(LevelFilter::Warn),
        (false, true) => Ok(LevelFilter::Debug),
        (false, false) => Ok(LevelFilter::Info),
    }
}

fn start_logging(level: LevelFilter) {
    let mut builder = env_logger::Builder::new();
    // The log messages of the database driver are left out.
    builder.filter_module("clacks", level).format_target(false);
    if let Ok(directives) = std::env::var("RUST_LOG") {
        builder.parse_filters(&directives);
    }
    builder.init();
}
