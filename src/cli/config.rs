//! The configuration of the daemon, built from the flags and checked as a whole.

use crate::address::{Address, HostPort};
use crate::broker::{self, Ageing, HttpSettings, MemcachedSettings, NatsSettings};
use crate::cli::certificate_files::CertificateFiles;
use crate::cli::flags::{
    absolute, count, path, refused, seconds, size, size_or_unlimited, text_of, wrong,
};
use crate::cli::logging;
use crate::cli::secrets::Secrets;
use crate::cli::served_files::AssumedUser;
use crate::limits::{self, MAX_LINE_BEFORE_LOGIN};
use crate::program::start::StartError;
use crate::protocol::Language;
use crate::reactor::{self, Listener, OutputLimits, SocketAccess};
use crate::storage::{self, SyncPolicy};
use crate::sys::{self, Account};
use getopts::Matches;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An address to listen at, and the language of the clients there.
pub struct Endpoint {
    pub address: Address,
    pub language: Language,
}

impl Endpoint {
    /// The flag that names it.
    pub fn flag(&self) -> &'static str {
        match self.language {
            Language::Clacks => "listen",
            other => other.word(),
        }
    }
}

/// The configuration that the flags describe.
pub struct Config {
    pub listen: Vec<Endpoint>,
    /// Listening sockets inherited from the service manager.
    pub inherited: Vec<Listener>,
    pub socket: SocketAccess,
    /// Users and passwords; `None` if no user is given, so that a password has to be generated.
    pub secrets: Option<Secrets>,
    /// Users that clients act as without a login.
    pub assumed_users: Vec<AssumedUser>,
    pub broker: broker::Settings,
    pub reactor: reactor::Settings,
    pub masters: Vec<Address>,
    pub certificates: CertificateFiles,
    /// The path of the journal, and the time at which its records have to be on the disk.
    pub persist: Option<(PathBuf, SyncPolicy)>,
    pub daemonize: bool,
    pub pid_file: Option<PathBuf>,
    pub run_as: Option<Account>,
    pub log: logging::Settings,
}

impl Config {
    /// Builds the configuration. `inherited` listeners are served in addition to those of the flags.
    ///
    /// # Errors
    /// [`StartError::Usage`] for wrong or contradicting flags.
    pub fn from_flags(matches: &Matches, inherited: Vec<Listener>) -> Result<Config, StartError> {
        let listen = listen(matches, &inherited)?;
        let masters = addresses(matches, "master", limits::DEFAULT_PORT)?;
        let bound = listen.iter().map(|endpoint| &endpoint.address);
        let all = inherited.iter().map(|listener| &listener.address);
        let certificates = CertificateFiles::from_flags(matches, all.chain(bound), &masters)?;
        let serves = |language| serves(language, &listen, &inherited);
        let assumed_users = assumed_users(matches, serves)?;
        let run_as = run_as(matches)?;
        let (max_line, max_output) = line_limits(matches)?;
        let max_clients = count(matches, "max-clients", limits::MAX_CLIENTS)?;
        let cache_max = size_or_unlimited(matches, "cache-max")?;
        let daemonize = matches.opt_present("daemonize");
        let persist = persist(matches)?;
        let stays = persist.is_some() || cache_max.is_some() || serves(Language::Memcached);
        let auth_timeout_us = seconds(matches, "auth-timeout", limits::AUTH_TIMEOUT_S)?;
        Ok(Config {
            listen,
            inherited,
            socket: socket_access(matches, run_as)?,
            secrets: Secrets::find(
                matches.opt_str("user"),
                path(matches, "password-file")?,
                path(matches, "users")?,
            )?,
            broker: broker::Settings {
                max_clients,
                max_line,
                max_held: max_output,
                auth_timeout_us,
                masters: masters.iter().map(Address::to_string).collect(),
                cache_max,
                memcached: memcached_settings(matches, &assumed_users)?,
                nats: NatsSettings {
                    user: AssumedUser::of(&assumed_users, Language::Nats),
                    addresses: Vec::new(),
                },
                http: http_settings(matches, &assumed_users)?,
                ageing: Ageing {
                    stale_us: stale_time(matches, stays)?,
                    deleted_us: seconds(matches, "deleted-time", limits::DELETED_TIME_S)?,
                },
                journal: persist.is_some(),
                ..timers(matches)?
            },
            reactor: reactor::Settings {
                max_clients,
                auth_timeout_us,
                max_connections: max_clients + 2 * limits::MAX_SURPLUS_CLIENTS,
                output: output_limits(matches, max_output)?,
            },
            assumed_users,
            masters,
            certificates,
            persist,
            daemonize,
            pid_file: path(matches, "pid-file")?,
            run_as,
            log: logging::Settings {
                file: path(matches, "log-file")?,
                changes_owner: run_as.is_some(),
                verbosity: verbosity(matches)?,
                discard_stderr: daemonize,
            },
        })
    }

    /// Checks that no file or socket that the server makes is named by two flags: each would destroy the content of the other.
    pub fn check_files(&self) -> Result<(), StartError> {
        let journal = self.persist.as_ref().map(|(file, _)| file);
        let files_of_journal = journal.into_iter().flat_map(|file| storage::files_of(file));
        let mut taken: Vec<(&str, PathBuf)> =
            files_of_journal.map(|file| ("persist", file)).collect();
        let sockets = self.listen.iter().filter_map(|endpoint| {
            let Address::Unix(path) = &endpoint.address else {
                return None;
            };
            Some((endpoint.flag(), path))
        });
        let written = [("log-file", &self.log.file), ("pid-file", &self.pid_file)];
        let written = written
            .into_iter()
            .filter_map(|(flag, file)| Some((flag, file.as_ref()?)));
        for (flag, file) in written.chain(sockets) {
            if let Some((other, _)) = taken.iter().find(|(_, other)| is_same_file(other, file)) {
                let what = format!("{}: a file of --{other}", file.display());
                return Err(wrong(flag, &what));
            }
            taken.push((flag, file.clone()));
        }
        Ok(())
    }

    /// Checks that the folders of the files exist that a start creates.
    pub fn check_folders(&self) -> Result<(), StartError> {
        let lacks_folder = |file: &&PathBuf| !file.parent().is_some_and(Path::is_dir);
        let why = |file: &Path| format!("{}: there is no such folder", file.display());
        if let Some(file) = self.log.file.as_ref().filter(lacks_folder) {
            return Err(wrong("log-file", &why(file)));
        }
        if let Some((file, _)) = self.persist.as_ref() {
            if lacks_folder(&file) {
                return Err(wrong("persist", &why(file)));
            }
            storage::check(file)
                .map_err(|error| wrong("persist", &format!("{}: {error}", file.display())))?;
        }
        match self.pid_file.as_ref().filter(lacks_folder) {
            Some(file) => Err(StartError::Failed(format!("--pid-file {}", why(file)))),
            None => Ok(()),
        }
    }

    /// Returns true if only this machine can reach the listeners.
    pub fn is_local(&self) -> bool {
        self.addresses().all(|(address, _)| is_local(address))
    }

    /// Warnings of addresses at which whoever reaches them needs no login.
    pub fn risks(&self) -> Vec<String> {
        let mut risks = Vec::new();
        for user in &self.assumed_users {
            for (address, language) in self.addresses() {
                if language == user.language && !is_local(address) {
                    let (flag, name) = (user.flag(), &user.name);
                    risks.push(format!(
                        "--{flag} {name}: everybody who reaches {address} acts as that user"
                    ));
                }
            }
        }
        risks
    }

    /// All addresses that are served, with their languages.
    fn addresses(&self) -> impl Iterator<Item = (&Address, Language)> {
        let inherited = self.inherited.iter();
        let inherited = inherited.map(|listener| (&listener.address, listener.entrance.language));
        let bound = self.listen.iter();
        inherited.chain(bound.map(|endpoint| (&endpoint.address, endpoint.language)))
    }
}

fn is_local(address: &Address) -> bool {
    match address {
        Address::Unix(_) => true,
        Address::Tcp(host) | Address::Tls(host) => host.is_loopback(),
    }
}

/// The longest line and the most output of a client, in bytes.
fn line_limits(matches: &Matches) -> Result<(usize, usize), StartError> {
    let max_line = size(matches, "max-line", limits::MAX_LINE)?;
    if max_line < MAX_LINE_BEFORE_LOGIN {
        let why = "is less than the 4K that there are before the login";
        return Err(refused(matches, "max-line", why));
    }
    if max_line > limits::LONGEST_LINE {
        return Err(refused(matches, "max-line", "is more than 1G"));
    }
    let max_output = size(matches, "max-output", limits::MAX_OUTPUT)?;
    if max_output / 2 < max_line {
        let max_line = text_of(matches, "max-line");
        let why = format!("is less than twice --max-line \"{max_line}\"");
        return Err(refused(matches, "max-output", &why));
    }
    Ok((max_line, max_output))
}

/// The settings of the broker that are timeouts and intervals, with the defaults of all others.
fn timers(matches: &Matches) -> Result<broker::Settings, StartError> {
    let time_us = |name, default| seconds(matches, name, default);
    Ok(broker::Settings {
        ping_timeout_us: time_us("ping-timeout", limits::PING_TIMEOUT_S)?,
        stalled_write_timeout_us: time_us(
            "stalled-write-timeout",
            limits::STALLED_WRITE_TIMEOUT_S,
        )?,
        interclacks_ping_timeout_us: time_us(
            "interclacks-ping-timeout",
            limits::INTERCLACKS_PING_TIMEOUT_S,
        )?,
        interclacks_stalled_write_timeout_us: time_us(
            "interclacks-stalled-write-timeout",
            limits::INTERCLACKS_STALLED_WRITE_TIMEOUT_S,
        )?,
        interclacks_reconnect_us: time_us(
            "interclacks-reconnect",
            limits::INTERCLACKS_RECONNECT_S,
        )?,
        clean_interval_us: time_us("clean-interval", limits::CLEAN_INTERVAL_S)?,
        ..broker::Settings::default()
    })
}

/// The addresses to listen at in addition to the inherited sockets.
fn listen(matches: &Matches, inherited: &[Listener]) -> Result<Vec<Endpoint>, StartError> {
    for listener in inherited {
        check_plaintext(matches, &listener.address).map_err(|error| {
            StartError::Usage(format!(
                "the service manager's socket {}: {error}",
                listener.address
            ))
        })?;
    }
    let mut listen = addresses(matches, "listen", limits::DEFAULT_PORT)?;
    let is_clacks = |listener: &Listener| listener.entrance.language == Language::Clacks;
    if listen.is_empty() && !inherited.iter().any(is_clacks) {
        let host = "127.0.0.1".to_owned();
        listen.push(Address::Tcp(HostPort {
            host,
            port: limits::DEFAULT_PORT,
        }));
    }
    let of_memcached = addresses(matches, "memcached", limits::MEMCACHED_PORT)?;
    let of_nats = addresses(matches, "nats", limits::NATS_PORT)?;
    let of_http = addresses(matches, "http", limits::HTTP_PORT)?;
    let endpoint = |language| {
        move |address| {
            let addresses = without_inherited(address, inherited).into_iter();
            addresses.map(move |address| Endpoint { address, language })
        }
    };
    let of_clacks = listen.into_iter().flat_map(endpoint(Language::Clacks));
    let of_memcached = of_memcached
        .into_iter()
        .flat_map(endpoint(Language::Memcached));
    let of_nats = of_nats.into_iter().flat_map(endpoint(Language::Nats));
    let of_http = of_http.into_iter().flat_map(endpoint(Language::Http));
    Ok(of_clacks
        .chain(of_memcached)
        .chain(of_nats)
        .chain(of_http)
        .collect())
}

/// The part of an address that no inherited socket is bound to: all of it as a rule, but a name can stand for several
/// addresses. So the same flags work with and without socket activation.
fn without_inherited(address: Address, inherited: &[Listener]) -> Vec<Address> {
    let (kind, host): (fn(HostPort) -> Address, &HostPort) = match &address {
        Address::Unix(path) => {
            let is_same = |listener: &Listener| matches!(&listener.address, Address::Unix(other) if is_same_file(other, path));
            return match inherited.iter().any(is_same) {
                true => Vec::new(),
                false => vec![address],
            };
        }
        Address::Tcp(host) => (Address::Tcp, host),
        Address::Tls(host) => (Address::Tls, host),
    };
    let is_of_kind = |listener: &&Listener| {
        std::mem::discriminant(&listener.address) == std::mem::discriminant(&address)
    };
    let inherited: Vec<&Listener> = inherited.iter().filter(is_of_kind).collect();
    // A name that can't be resolved is reported when it is to be bound.
    let resolved = match inherited.is_empty() {
        true => Vec::new(),
        false => host.resolve().unwrap_or_default(),
    };
    let is_inherited = |address: &SocketAddr| {
        inherited
            .iter()
            .any(|listener| listener.is_bound_to(*address))
    };
    if !resolved.iter().any(is_inherited) {
        return vec![address];
    }
    let others = resolved.iter().filter(|address| !is_inherited(address));
    let named = |address: &SocketAddr| HostPort {
        host: address.ip().to_string(),
        port: address.port(),
    };
    others.map(named).map(kind).collect()
}

/// Returns true if there is a listener for clients of that language.
fn serves(language: Language, listen: &[Endpoint], inherited: &[Listener]) -> bool {
    let bound = listen.iter().map(|endpoint| endpoint.language);
    let inherited = inherited.iter().map(|listener| listener.entrance.language);
    bound.chain(inherited).any(|served| served == language)
}

fn output_limits(matches: &Matches, max_output: usize) -> Result<OutputLimits, StartError> {
    Ok(OutputLimits {
        max_output,
        max_buffers: size(matches, "max-buffers", limits::MAX_BUFFERS)?,
    })
}

fn socket_access(matches: &Matches, run_as: Option<Account>) -> Result<SocketAccess, StartError> {
    Ok(SocketAccess {
        mode: socket_mode(matches)?,
        owner: run_as.map(|account| account.user),
        group: socket_group(matches)?.or(run_as.map(|account| account.group)),
    })
}

/// The settings of memcached's listeners, without their addresses.
fn memcached_settings(
    matches: &Matches,
    assumed_users: &[AssumedUser],
) -> Result<MemcachedSettings, StartError> {
    Ok(MemcachedSettings {
        user: AssumedUser::of(assumed_users, Language::Memcached),
        addresses: Vec::new(),
        socket_mode: socket_mode(matches)?,
        machine_memory: sys::machine_memory(),
    })
}

/// The settings of listeners for HTTP clients, without their addresses.
fn http_settings(
    matches: &Matches,
    assumed_users: &[AssumedUser],
) -> Result<HttpSettings, StartError> {
    let addresses = addresses(matches, "http", limits::HTTP_PORT)?;
    let hosts = addresses.into_iter().filter_map(|address| match address {
        Address::Unix(_) => None,
        Address::Tcp(HostPort { host, .. }) | Address::Tls(HostPort { host, .. }) => Some(host),
    });
    Ok(HttpSettings {
        user: AssumedUser::of(assumed_users, Language::Http),
        addresses: Vec::new(),
        hosts: hosts.collect(),
    })
}

/// The users whom clients act as without a login. A flag that names one is wrong if there is no listener for them.
fn assumed_users(
    matches: &Matches,
    serves: impl Fn(Language) -> bool,
) -> Result<Vec<AssumedUser>, StartError> {
    let mut users = Vec::new();
    for language in Language::OTHERS {
        let flag = AssumedUser::flag_of(language);
        let Some(name) = matches.opt_str(&flag) else {
            continue;
        };
        if !serves(language) {
            let why = format!("goes with --{} only", language.word());
            return Err(wrong(&flag, &why));
        }
        users.push(AssumedUser { language, name });
    }
    Ok(users)
}

/// Returns true if two paths are equal or lead to the same existing file, as relative ones may, and those through links such
/// as /var/run.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| {
        let metadata = path.metadata().ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    one == other || file(one).is_some_and(|one| file(other) == Some(one))
}

/// The addresses that a flag gives. Plain text beyond loopback is an error unless it is allowed.
fn addresses(matches: &Matches, flag: &str, default_port: u16) -> Result<Vec<Address>, StartError> {
    let mut addresses = Vec::new();
    for text in matches.opt_strs(flag) {
        let address = Address::parse_with_port(&text, default_port)
            .map_err(|error| wrong(flag, &format!("{text}: {error}")))?;
        check_plaintext(matches, &address)
            .map_err(|error| wrong(flag, &format!("{address}: {error}")))?;
        addresses.push(address);
    }
    Ok(addresses)
}

fn check_plaintext(matches: &Matches, address: &Address) -> Result<(), String> {
    if address.is_plain_beyond_loopback() && !matches.opt_present("allow-plaintext") {
        return Err("plain text beyond loopback needs --allow-plaintext".to_owned());
    }
    Ok(())
}

/// The path of the journal and its sync policy, if the cache is persistent.
fn persist(matches: &Matches) -> Result<Option<(PathBuf, SyncPolicy)>, StartError> {
    let Some(file) = matches.opt_str("persist") else {
        return match matches.opt_present("fsync") {
            true => Err(wrong("fsync", "goes with --persist only")),
            false => Ok(None),
        };
    };
    if file.is_empty() {
        return Err(wrong("persist", "wants a file"));
    }
    let sync = match matches.opt_str("fsync").as_deref() {
        Some("always") => SyncPolicy::Always,
        Some("never") => SyncPolicy::Never,
        _ => {
            let within = seconds(matches, "fsync", limits::FSYNC_S);
            SyncPolicy::Within(within.map_err(|_| {
                refused(
                    matches,
                    "fsync",
                    "wants always, never, or seconds from 0.001",
                )
            })?)
        }
    };
    Ok(Some((absolute(PathBuf::from(file))?, sync)))
}

/// The time without use after which an entry is dropped, in microseconds. If `stays`, because the cache is persistent, has
/// a limit of its own, or is memcached's clients', entries never go stale by default.
fn stale_time(matches: &Matches, stays: bool) -> Result<u64, StartError> {
    match matches.opt_str("stale-time").as_deref() {
        None if stays => Ok(Ageing::NEVER),
        Some("never") => Ok(Ageing::NEVER),
        _ => seconds(matches, "stale-time", limits::STALE_TIME_S).map_err(|_| {
            let why = "wants never, or seconds from 0.001 up to a century";
            refused(matches, "stale-time", why)
        }),
    }
}

fn socket_mode(matches: &Matches) -> Result<u32, StartError> {
    let mode = u32::from_str_radix(&text_of(matches, "socket-mode"), 8)
        .ok()
        .filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| refused(matches, "socket-mode", "wants an octal mode such as 660"))
}

fn socket_group(matches: &Matches) -> Result<Option<u32>, StartError> {
    let Some(name) = matches.opt_str("socket-group") else {
        return Ok(None);
    };
    match sys::find_group(&name) {
        Some(group) => Ok(Some(group)),
        None => Err(wrong(
            "socket-group",
            &format!("{name}: there is no such group"),
        )),
    }
}

fn run_as(matches: &Matches) -> Result<Option<Account>, StartError> {
    let Some(text) = matches.opt_str("run-as") else {
        return Ok(None);
    };
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text.as_str(), None),
    };
    let mut account = sys::find_user(user)
        .ok_or_else(|| wrong("run-as", &format!("{user}: there is no such user")))?;
    if let Some(group) = group {
        let found = sys::find_group(group);
        account.group =
            found.ok_or_else(|| wrong("run-as", &format!("{group}: there is no such group")))?;
    }
    Ok(Some(account))
}

fn verbosity(matches: &Matches) -> Result<log::LevelFilter, StartError> {
    match (matches.opt_present("quiet"), matches.opt_count("verbose")) {
        (true, 0) => Ok(log::LevelFilter::Warn),
        (true, _) => Err(wrong("quiet", "contradicts --verbose")),
        (false, 0) => Ok(log::LevelFilter::Info),
        (false, 1) => Ok(log::LevelFilter::Debug),
        (false, _) => Ok(log::LevelFilter::Trace),
    }
}
