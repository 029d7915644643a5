//! From arguments to a running server and back to an exit status.

use crate::broker::{Broker, Users};
use crate::certificates::Certificates;
use crate::cli::certificates::CertificateFiles;
use crate::cli::config::Config;
use crate::cli::logging::LogFile;
use crate::cli::secrets::{Secrets, random};
use crate::cli::{StartError, flags, given_files, logging, service_manager};
use crate::limits::{MAPPED_BLOCK, MAX_SURPLUS_CLIENTS, RESERVED_DESCRIPTORS};
use crate::protocol::token::Token;
use crate::reactor::{Host, Listener, OwnFile, Server};
use crate::start::print;
use crate::storage::{self, SyncPolicy, SystemDisk, Writer};
use crate::sys::{self, Account};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The user whose password is made up at a terminal.
const TRIAL_USER: &str = "clacks";

/// What `clacksd` does with its arguments (without the program's name): serves until it is asked to
/// end.
pub fn run(arguments: &[OsString]) -> Result<(), StartError> {
    let matches = flags::parse(arguments)?;
    if matches.opt_present("help") {
        return print(&flags::help());
    }
    if matches.opt_present("version") {
        return print(concat!("clacksd ", env!("CARGO_PKG_VERSION"), "\n"));
    }
    // First of all, while no other descriptor is open.
    let inherited = service_manager::inherited_listeners()?;
    let mut config = Config::from_flags(&matches, inherited)?;
    let mut trial_password = None;
    let secrets = match config.secrets.take() {
        Some(secrets) => secrets,
        None => {
            let (secrets, password) = make_up_secrets(&config)?;
            trial_password = Some(password);
            secrets
        }
    };
    let users = secrets.read()?;
    let certificates = config.certificates.read()?;
    if matches.opt_present("check") {
        config.check_folders()?;
        return print(&summary(&config, &secrets, users.len()));
    }

    // What can fail comes first, and what wouldn't be removed again last: a failed start leaves
    // nothing behind.
    let seed = seed().map_err(|error| StartError::Failed(format!("/dev/urandom: {error}")))?;
    let listeners = bind(&mut config)?;
    let is_given_away = config.run_as.is_some();
    let pid_file = config.pid_file.take();
    let mut pid_file = pid_file
        .map(|path| PidFile::open(path, is_given_away))
        .transpose()?;
    let log_file = logging::start(&config.log)?;
    fit_descriptor_limit(&mut config);
    sys::tame_allocator(MAPPED_BLOCK);
    if let Some(password) = trial_password {
        show_trial_login(&password, &listeners);
    }
    if let Some(account) = config.run_as {
        let files = (pid_file.as_ref(), log_file.as_ref());
        give_up_root(account, &config, &secrets, files)?;
    }
    let mut broker = Broker::new(config.broker, users, seed);
    let writer = match &config.persist {
        Some((path, sync)) => Some(restore(path, *sync, &mut broker)?),
        None => None,
    };
    if config.daemonize {
        // After everything that may fail: nobody sees the messages of a process in the background.
        go_into_background()?;
    }
    if let Some(pid_file) = &mut pid_file {
        pid_file.write()?;
    }

    if config.certificates.trusts_anybody() {
        log::warn!(
            "--master-insecure: whoever answers at the master's address gets this server's login"
        );
    }
    let host = Host {
        reload: Box::new(move || reload(&secrets, &config.certificates, log_file.as_ref())),
        notifier: service_manager::notifier(),
    };
    let server = Server::new(
        listeners,
        config.masters,
        certificates,
        config.reactor,
        broker,
        writer,
        host,
    );
    server.and_then(Server::run).map_err(|error| {
        // Nobody may be looking at standard error any more.
        log::error!("the event loop: {error}");
        StartError::Failed(format!("the event loop: {error}"))
    })
}

/// The listeners there are from the start, and those of the flags.
fn bind(config: &mut Config) -> Result<Vec<Listener>, StartError> {
    let mut listeners = std::mem::take(&mut config.inherited);
    for address in &config.listen {
        let bound = Listener::bind(address, config.socket);
        listeners.extend(
            bound.map_err(|error| StartError::Failed(format!("--listen {address}: {error}")))?,
        );
    }
    Ok(listeners)
}

/// Becomes that account, which gets the files that the process may have to remove or to open again.
fn give_up_root(
    account: Account,
    config: &Config,
    secrets: &Secrets,
    (pid_file, log_file): (Option<&PidFile>, Option<&LogFile>),
) -> Result<(), StartError> {
    if let Some(pid_file) = pid_file {
        pid_file.give_to(account)?;
    }
    if let Some(log_file) = log_file {
        log_file.give_to(account)?;
    }
    sys::become_account(account)
        .map_err(|error| StartError::Failed(format!("--run-as: {error}")))?;
    let unreadable = [secrets.read().err(), config.certificates.read().err()];
    for error in unreadable.into_iter().flatten() {
        log::warn!("after --run-as this can't be read again on SIGHUP: {error}");
    }
    Ok(())
}

/// Only this thread exists; listeners, pid file and log file stay open.
fn go_into_background() -> Result<(), StartError> {
    daemonize::Daemonize::new()
        .working_directory("/")
        .umask(0o027)
        .start()
        .map_err(|error| StartError::Failed(format!("--daemonize: {error}")))
}

/// Takes in what is in the journal, and readies it to be gone on with.
fn restore(
    path: &Path,
    sync: SyncPolicy,
    broker: &mut Broker,
) -> Result<Writer<SystemDisk>, StartError> {
    let file = path.display();
    let mut disk = SystemDisk::lock(path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            StartError::Failed(format!("--persist {file}: another server uses it"))
        }
        _ => StartError::Usage(format!("--persist {file}: {error}")),
    })?;
    let start = Instant::now();
    let loaded = storage::load(&mut disk, |record| broker.restore(&record));
    let loaded = loaded.map_err(|error| StartError::Usage(format!("--persist {file}: {error}")))?;
    let failed = |error| StartError::Failed(format!("--persist {file}: {error}"));
    let Some((loaded, journal)) = loaded else {
        let writer = Writer::create(disk, sync).map_err(failed)?;
        broker.handle_restored(0, false);
        log::info!("{file} is new");
        return Ok(writer);
    };
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
    broker.handle_restored(loaded.length, loaded.damage.is_some());
    log::info!(
        "{file}: {} records read in {:.1} s, {} entries",
        loaded.records,
        start.elapsed().as_secs_f64(),
        broker.entries()
    );
    Writer::new(disk, journal, sync).map_err(failed)
}

/// For whoever tries the server at a terminal, and nobody else.
fn make_up_secrets(config: &Config) -> Result<(Secrets, String), StartError> {
    if !config.is_local() || !io::stderr().is_terminal() || config.daemonize {
        let what = "--user and --password-file are missing (a password is made up only at a terminal, for local listeners)";
        return Err(StartError::Usage(what.to_owned()));
    }
    Secrets::made_up(TRIAL_USER)
        .map_err(|error| StartError::Failed(format!("/dev/urandom: {error}")))
}

/// Goes to the terminal only; it is never logged.
fn show_trial_login(password: &str, listeners: &[Listener]) {
    let token = Token::encode(TRIAL_USER.as_bytes(), password.as_bytes());
    eprintln!("No user was given, so this one was made up, until the server ends:");
    eprintln!("  user {TRIAL_USER}, password {password}");
    for listener in listeners {
        eprintln!("  at {}", listener.address);
    }
    eprintln!("To log in by hand, connect and paste this line:");
    eprintln!("OVERHEAD A {token}");
}

/// Keeps the promise of `--max-clients`, or says that it can't be kept.
fn fit_descriptor_limit(config: &mut Config) {
    match sys::raise_descriptor_limit() {
        Ok(limit) => {
            let possible = limit.saturating_sub(RESERVED_DESCRIPTORS).max(1);
            if possible < config.broker.max_clients {
                log::warn!(
                    "--max-clients lowered to {possible}: the limit on descriptors is {limit}"
                );
                config.broker.max_clients = possible;
                config.reactor.max_clients = possible;
                config.reactor.max_connections = possible + 2 * MAX_SURPLUS_CLIENTS;
            }
        }
        Err(error) => log::warn!("cannot raise the limit on descriptors: {error}"),
    }
}

fn seed() -> io::Result<[u64; 4]> {
    let bytes = random::<32>()?;
    let mut seed = [0; 4];
    for (part, bytes) in seed.iter_mut().zip(bytes.chunks_exact(8)) {
        *part = u64::from_le_bytes(bytes.try_into().expect("chunks of 8 bytes"));
    }
    Ok(seed)
}

/// SIGHUP: all or nothing.
fn reload(
    secrets: &Secrets,
    certificates: &CertificateFiles,
    log_file: Option<&LogFile>,
) -> Option<(Users, Certificates)> {
    if let Some(log_file) = log_file {
        log_file.reopen();
    }
    let read = secrets
        .read()
        .and_then(|users| Ok((users, certificates.read()?)));
    match read {
        Ok((users, certificates)) => {
            log::info!("read again: {} users", users.len());
            Some((users, certificates))
        }
        Err(error) => {
            log::error!("not read again, everything stays as it was: {error}");
            None
        }
    }
}

fn summary(config: &Config, secrets: &Secrets, users: usize) -> String {
    let mut text = String::new();
    for listener in &config.inherited {
        text += &format!("would serve {}\n", listener.address);
    }
    for address in &config.listen {
        text += &format!("would listen on {address}\n");
    }
    for address in &config.masters {
        text += &format!("would be a slave of {address}\n");
    }
    text += &format!(
        "primary user {}, {} further users\n",
        secrets.primary,
        users - 1
    );
    text += &format!("up to {} clients\n", config.broker.max_clients);
    if let Some((file, _)) = &config.persist {
        text += &format!("would keep the cache in {}\n", file.display());
    }
    if let Some(file) = &config.log.file {
        text += &format!("would log to {}\n", file.display());
    }
    text
}

/// The file with the process id; it goes when the server ends.
struct PidFile {
    path: PathBuf,
    /// Once this start has made it or written it. Before that another server's process id may be in it.
    own: Option<OwnFile>,
    file: File,
}

impl PidFile {
    /// Opens the file, and leaves it as it is: the start may still fail, and the process that the id will be of
    /// comes later.
    fn open(path: PathBuf, is_given_away: bool) -> Result<PidFile, StartError> {
        let mut options = OpenOptions::new();
        options.write(true);
        let opened = match options.clone().create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                given_files::open(&mut options, &path, is_given_away).map(|file| (file, None))
            }
            made => made.and_then(|file| Ok((file, Some(OwnFile::of(&path)?)))),
        };
        match opened {
            Ok((file, own)) => Ok(PidFile { path, own, file }),
            Err(error) => Err(PidFile::failed(&path, &error)),
        }
    }

    /// Lets the account that the server becomes change it. To remove it, that must be allowed to write
    /// to the folder as well.
    fn give_to(&self, account: Account) -> Result<(), StartError> {
        given_files::give(&self.file, account).map_err(|error| PidFile::failed(&self.path, &error))
    }

    fn write(&mut self) -> Result<(), StartError> {
        self.try_to_write()
            .map_err(|error| PidFile::failed(&self.path, &error))
    }

    fn try_to_write(&mut self) -> io::Result<()> {
        if self.own.is_none() {
            self.own = Some(OwnFile::of(&self.path)?);
        }
        self.file.set_len(0)?;
        writeln!(self.file, "{}", std::process::id())
    }

    fn failed(path: &Path, error: &io::Error) -> StartError {
        StartError::Failed(format!("--pid-file {}: {error}", path.display()))
    }
}
