//! The flags of clacks-pg. Parsing, `--help` and a test against the man page follow from one table.

use super::target::Target;
use crate::client::{Options, local_server};
use crate::program::files;
use crate::program::flag::{ALLOW_PLAINTEXT, CA, Flag, INSECURE, flag};
use crate::program::start::{self, StartError};
use getopts::Matches;
use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// All flags, in the order of the man page.
pub const FLAGS: &[Flag] = &[
    flag(
        "",
        "postgres",
        "CONNECTION-STRING",
        "the database, as in \"host=/run/postgresql dbname=house\"",
    )
    .default("$CLACKS_POSTGRES"),
    flag(
        "s",
        "server",
        "ADDRESS",
        "the clacks server: unix:PATH, tcp://HOST:PORT or tls://HOST:PORT",
    )
    .default("$CLACKS_SERVER, or unix:/run/clacksd/clacksd.sock if it is there, or tcp://127.0.0.1:49888"),
    flag("u", "user", "USER", "who logs in there").default("$CLACKS_USER or clacks"),
    flag(
        "",
        "password-file",
        "FILE",
        "the password, the first line of the file",
    )
    .default("$CLACKS_PASSWORD"),
    CA,
    INSECURE,
    ALLOW_PLAINTEXT,
    flag(
        "",
        "init",
        "",
        "install the functions for triggers in the database, and exit",
    ),
    flag(
        "",
        "print-sql",
        "",
        "print the SQL that --init runs, and exit",
    ),
    flag("v", "verbose", "", "log more"),
    flag("q", "quiet", "", "log warnings and errors only"),
    flag("h", "help", "", "show this help"),
    flag("V", "version", "", "show the version"),
];

/// The user of the installed service.
const USER: &str = "clacks";
/// The time limit of a call to the server. It is short, since the loop fetches no notifications meanwhile.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Parses the arguments, without the program's name.
pub fn parse(arguments: &[OsString]) -> Result<Matches, StartError> {
    start::parse("clacks-pg", FLAGS, arguments)
}

/// The text of `--help`.
pub fn help() -> String {
    let purpose = "Usage: clacks-pg [FLAGS]\n\nSends clacks signals from PostgreSQL triggers. See clacks-pg(8).";
    start::help(purpose, FLAGS)
}

/// The value of an environment variable, if it is set and not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The database to connect to. Its password may be in the variable PGPASSWORD, as for PostgreSQL's programs.
pub fn database(matches: &Matches) -> Result<Target, StartError> {
    let text = matches
        .opt_str("postgres")
        .or_else(|| variable("CLACKS_POSTGRES"))
        .ok_or_else(|| StartError::Usage("--postgres is missing".to_owned()))?;
    let mut target =
        Target::parse(&text).map_err(|what| StartError::Usage(format!("--postgres: {what}")))?;
    let config = &mut target.config;
    if config.get_password().is_none()
        && let Some(password) = variable("PGPASSWORD")
    {
        config.password(password);
    }
    if config.get_application_name().is_none() {
        config.application_name("clacks-pg");
    }
    Ok(target)
}

/// The user at the server, and the place of the password.
pub struct Login {
    pub user: String,
    /// The password file; `None` if the password is in the environment.
    file: Option<String>,
}

impl Login {
    pub fn from_flags(matches: &Matches) -> Login {
        let user = matches.opt_str("user").or_else(|| variable("CLACKS_USER"));
        Login {
            user: user.unwrap_or_else(|| USER.to_owned()),
            file: matches.opt_str("password-file"),
        }
    }

    /// Reads the password anew.
    pub fn password(&self) -> Result<String, StartError> {
        match &self.file {
            Some(file) => files::read_password(Path::new(file))
                .map_err(|what| StartError::Usage(format!("--password-file {file}: {what}"))),
            None => variable("CLACKS_PASSWORD")
                .map(|text| files::first_line(&text).to_owned())
                .ok_or_else(|| StartError::Usage("--password-file is missing".to_owned())),
        }
    }
}

/// The options of the connection to the server.
pub fn server(matches: &Matches, login: &Login) -> Result<Options, StartError> {
    let address = matches
        .opt_str("server")
        .or_else(|| variable("CLACKS_SERVER"));
    let address = address.unwrap_or_else(local_server);
    let mut options = Options::new(&address)
        .map_err(|error| StartError::Usage(format!("--server {error}")))?
        .calls_itself(concat!("clacks-pg/", env!("CARGO_PKG_VERSION")))
        .call_timeout(CALL_TIMEOUT);
    options = options.login(&login.user, &login.password()?);
    match (matches.opt_str("ca"), matches.opt_present("insecure")) {
        (Some(_), true) => {
            return Err(StartError::Usage("--ca contradicts --insecure".to_owned()));
        }
        (Some(file), false) => options = options.authorities(file),
        (None, true) => options = options.insecure(),
        (None, false) => {}
    }
    if matches.opt_present("allow-plaintext") {
        options = options.allow_plaintext();
    } else if options.is_plain_beyond_loopback() {
        return Err(StartError::Usage(format!(
            "--server {address}: plain text beyond loopback needs --allow-plaintext"
        )));
    }
    Ok(options)
}
