//! The life of the daemon: from its arguments to a running server, and from its end to the exit status.

use crate::address::{Address, HostPort};
use crate::broker::{Broker, EntranceAddress, Users};
use crate::certificates::Certificates;
use crate::cli::background::{self, Process, StartReport};
use crate::cli::certificate_files::{CertificateFiles, Dates};
use crate::cli::config::Config;
use crate::cli::logging::LogFile;
use crate::cli::pid_file::PidFile;
use crate::cli::restore::{Restored, restore};
use crate::cli::secrets::{Secrets, random};
use crate::cli::served_files::{ServedFiles, check_users};
use crate::cli::{flags, logging, service_manager};
use crate::limits::{MAPPED_FROM, MAX_SURPLUS_CLIENTS, RESERVED_DESCRIPTORS};
use crate::program::start::{StartError, print};
use crate::program::{process_limits, signals};
use crate::protocol::Language;
use crate::protocol::token::Token;
use crate::reactor::{Ended, Host, Listener, Server, Signals};
use crate::sys::{self, Account};
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};

/// The user for whom a password is generated at a terminal.
const TRIAL_USER: &str = "clacks";

/// The end of a server that has served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Orderly,
    /// Changes of the cache are lost. The log says how many, and why.
    WithLoss,
}

impl End {
    pub fn exit_status(self) -> u8 {
        match self {
            End::Orderly => 0,
            End::WithLoss => 1,
        }
    }
}

/// Runs clacksd with these arguments (without the program's name) until a Unix signal or a client asks it to end.
///
/// # Errors
/// [`StartError`] if it could not start, or if the event loop failed.
pub fn run(arguments: &[OsString]) -> Result<End, StartError> {
    signals::prepare().map_err(|error| no_signals(&error))?;
    let matches = flags::parse(arguments)?;
    if matches.opt_present("help") {
        return print(&flags::help()).map(|()| End::Orderly);
    }
    if matches.opt_present("version") {
        let version = concat!("clacksd ", env!("CARGO_PKG_VERSION"), "\n");
        return print(version).map(|()| End::Orderly);
    }
    // The inherited descriptors are taken before any other descriptor is opened.
    let inherited = service_manager::inherited_listeners()?;
    let mut config = Config::from_flags(&matches, inherited)?;
    config.check_files()?;
    let mut trial_password = None;
    let secrets = match config.secrets.take() {
        Some(secrets) => secrets,
        None => {
            let (secrets, password) = generate_secrets(&config)?;
            trial_password = Some(password);
            secrets
        }
    };
    let users = secrets.read()?;
    check_users(&config.assumed_users, &users)?;
    let (certificates, dates) = config.certificates.read()?;
    if matches.opt_present("check") {
        config.check_folders()?;
        logging::start(&config.log.on_stderr())?;
        dates.warn();
        return print(&summary(&config, &secrets, users.len())).map(|()| End::Orderly);
    }
    let is_daemon = config.daemonize;
    let start = Start {
        config,
        secrets,
        users,
        certificates,
        dates,
        trial_password,
    };
    if !is_daemon {
        return start.serve(|| ());
    }
    match background::fork()? {
        Process::Foreground(outcome) => outcome.map(|()| End::Orderly),
        Process::Background(report) => serve_in_background(start, report),
    }
}

/// Serves in the background process, and reports the outcome of the start to the foreground process.
fn serve_in_background(start: Start, report: StartReport) -> Result<End, StartError> {
    let mut report = Some(report);
    let ended = start.serve(|| {
        if let Some(report) = report.take() {
            report.succeed();
        }
    });
    if let Some(report) = report {
        let ended_early = StartError::Failed("a signal ended the server during its start".into());
        report.fail(ended.as_ref().err().unwrap_or(&ended_early));
    }
    ended
}

/// The input of a start. Nothing is open or changed yet.
struct Start {
    config: Config,
    secrets: Secrets,
    users: Users,
    certificates: Certificates,
    dates: Dates,
    trial_password: Option<String>,
}

impl Start {
    /// Starts the server, calls `ready` when it is about to serve, and serves until it ends.
    fn serve(self, ready: impl FnOnce()) -> Result<End, StartError> {
        let mut config = self.config;
        // The handlers come before everything that has to be removed at the end.
        let signals = Signals::install().map_err(|error| no_signals(&error))?;
        // Steps that may fail come first, and steps that can't be undone come last, so that a failed start leaves
        // nothing behind.
        let seed = seed().map_err(|error| StartError::Failed(format!("/dev/urandom: {error}")))?;
        let risks = config.risks();
        let listeners = bind(&mut config)?;
        let changes_owner = config.run_as.is_some();
        let pid_file = config.pid_file.take();
        let mut pid_file = pid_file
            .map(|path| PidFile::open(path, changes_owner))
            .transpose()?;
        let log_file = logging::start(&config.log)?;
        fit_descriptor_limit(&mut config);
        sys::tune_allocator(MAPPED_FROM);
        set_batch_scheduling();
        if let Some(password) = self.trial_password {
            show_trial_login(&password, &listeners);
        }
        if let Some(account) = config.run_as {
            let files = (pid_file.as_ref(), log_file.as_ref());
            give_up_root(account, &config, &self.secrets, files)?;
        }
        let mut broker = Broker::new(config.broker, self.users, seed);
        let writer = match &config.persist {
            Some((path, sync)) => match restore(path, *sync, &mut broker, &signals)? {
                Restored::Journal(writer) => Some(*writer),
                Restored::AskedToEnd => return Ok(End::Orderly),
            },
            None => None,
        };
        if config.daemonize {
            background::leave_caller_environment()?;
        }
        if let Some(pid_file) = &mut pid_file {
            pid_file.write()?;
        }
        warn_of_risks(&config.certificates, &risks);
        self.dates.warn();
        let files = ServedFiles {
            secrets: self.secrets,
            assumed_users: config.assumed_users,
            certificates: config.certificates,
            dates: self.dates,
            log: log_file,
        };
        let host = Host {
            signals,
            files: Box::new(files),
            notifier: service_manager::notifier(),
        };
        let server = Server::new(
            listeners,
            config.masters,
            self.certificates,
            config.reactor,
            broker,
            writer,
            host,
        );
        let ended = server.and_then(|server| server.run(ready));
        ended.map(End::from).map_err(|error| {
            // Standard error may lead nowhere in the background, so the error is logged as well.
            log::error!("the event loop: {error}");
            StartError::Failed(format!("the event loop: {error}"))
        })
    }
}

impl From<Ended> for End {
    fn from(ended: Ended) -> End {
        match ended {
            Ended::Saved => End::Orderly,
            Ended::Unsaved => End::WithLoss,
        }
    }
}

fn no_signals(error: &io::Error) -> StartError {
    StartError::Failed(format!("cannot install a signal handler: {error}"))
}

fn warn_of_risks(certificates: &CertificateFiles, risks: &[String]) {
    for risk in risks {
        log::warn!("{risk}");
    }
    if certificates.trusts_anybody() {
        log::warn!(
            "--master-insecure: whoever answers at the master's address gets this server's login"
        );
    }
}

/// The inherited listeners, and those bound for the flags.
fn bind(config: &mut Config) -> Result<Vec<Listener>, StartError> {
    let mut listeners = std::mem::take(&mut config.inherited);
    for endpoint in &config.listen {
        let (flag, address) = (endpoint.flag(), &endpoint.address);
        let bound = Listener::bind(address, endpoint.language, config.socket);
        listeners.extend(
            bound.map_err(|error| StartError::Failed(format!("--{flag} {address}: {error}")))?,
        );
    }
    for (language, addresses) in [
        (Language::Memcached, &mut config.broker.memcached.addresses),
        (Language::Nats, &mut config.broker.nats.addresses),
        (Language::Http, &mut config.broker.http.addresses),
    ] {
        let of_it = listeners.iter_mut();
        let of_it = of_it.filter(|listener| listener.entrance.language == language);
        for (listener, number) in of_it.zip(0..) {
            listener.entrance.number = number;
            addresses.push(entrance_address(&listener.address));
        }
    }
    Ok(listeners)
}

/// The address of a listener, as a language may show it to its clients.
fn entrance_address(address: &Address) -> EntranceAddress {
    let (HostPort { host, port }, is_tls) = match address {
        Address::Unix(path) => return EntranceAddress::Unix(path.display().to_string()),
        Address::Tcp(host) => (host.clone(), false),
        Address::Tls(host) => (host.clone(), true),
    };
    EntranceAddress::Tcp { host, port, is_tls }
}

/// Changes the user of the process. The pid file and the log file are given to that user, since the process may have to
/// remove or reopen them.
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

/// Generates a login for trying the server out at a terminal.
///
/// # Errors
/// Standard error is not a terminal, a listener can be reached from other machines, or the server goes into the
/// background.
fn generate_secrets(config: &Config) -> Result<(Secrets, String), StartError> {
    if !config.is_local() || !io::stderr().is_terminal() || config.daemonize {
        let what = "--user and --password-file are missing (a password is made up only at a terminal, for local listeners)";
        return Err(StartError::Usage(what.to_owned()));
    }
    Secrets::generated(TRIAL_USER)
        .map_err(|error| StartError::Failed(format!("/dev/urandom: {error}")))
}

/// Writes the generated login to the terminal. It is never logged.
fn show_trial_login(password: &str, listeners: &[Listener]) {
    let token = Token::encode(TRIAL_USER.as_bytes(), password.as_bytes());
    let mut text = format!(
        "No user was given, so this one was made up, until the server ends:\n  \
         user {TRIAL_USER}, password {password}\n"
    );
    // The line below is one of Clacks.
    let is_clacks = |listener: &&Listener| listener.entrance.language == Language::Clacks;
    for listener in listeners.iter().filter(is_clacks) {
        text += &format!("  at {}\n", listener.address);
    }
    text += &format!("To log in by hand, connect and paste this line:\nOVERHEAD A {token}\n");
    // The server runs even if the terminal can't be written to.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Keeps the daemon from preempting a client that has just written to it. After writing, a Net::Clacks client polls once,
/// without waiting, for an answer. If the answer is already there, the client sleeps for half a second before it processes
/// the answer.
fn set_batch_scheduling() {
    if let Err(error) = sys::set_batch_scheduling() {
        log::debug!("the scheduling policy stays as it is: {error}");
    }
}

/// Raises the limit on descriptors. If that is not enough, lowers `--max-clients` and logs it.
fn fit_descriptor_limit(config: &mut Config) {
    match process_limits::raise_descriptor_limit() {
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

/// A random seed for the broker's generator.
fn seed() -> io::Result<[u64; 4]> {
    let bytes = random::<32>()?;
    let mut seed = [0; 4];
    for (part, bytes) in seed.iter_mut().zip(bytes.chunks_exact(8)) {
        *part = u64::from_le_bytes(bytes.try_into().expect("chunks of 8 bytes"));
    }
    Ok(seed)
}

/// The output of `--check`.
fn summary(config: &Config, secrets: &Secrets, users: usize) -> String {
    let mut text = String::new();
    let whom = |language| match language {
        Language::Memcached => " for memcached clients",
        Language::Nats => " for NATS clients",
        Language::Http => " for HTTP clients",
        _ => "",
    };
    for listener in &config.inherited {
        let whom = whom(listener.entrance.language);
        text += &format!("would serve {}{whom}\n", listener.address);
    }
    for endpoint in &config.listen {
        let whom = whom(endpoint.language);
        text += &format!("would listen on {}{whom}\n", endpoint.address);
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
