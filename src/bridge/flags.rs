//! The flags: one table behind parsing, `--help`, and a test against the man page.

use super::StartError;
use crate::client::{Options as ClientOptions, local_server};
use crate::files;
use getopts::{Matches, Options};
use postgres::Config;
use std::env;
use std::path::Path;
use std::time::Duration;

/// A flag: short and long name, what its value is called (empty if it takes none), help.
pub type Flag = (&'static str, &'static str, &'static str, &'static str);

/// All flags, in the order of the man page.
pub const FLAGS: &[Flag] = &[
    (
        "",
        "postgres",
        "CONNECTION-STRING",
        "the database, as in \"host=/run/postgresql dbname=house\" [$CLACKS_POSTGRES]",
    ),
    (
        "s",
        "server",
        "ADDRESS",
        "the clacks server [$CLACKS_SERVER, the local socket, or tcp://127.0.0.1:49888]",
    ),
    (
        "u",
        "user",
        "USER",
        "who logs in there [$CLACKS_USER, or clacks]",
    ),
    (
        "",
        "password-file",
        "FILE",
        "the password, the first line of the file [$CLACKS_PASSWORD]",
    ),
    (
        "",
        "ca",
        "FILE",
        "authorities that a tls:// server's certificate must come from (PEM) [the system's]",
    ),
    (
        "",
        "insecure",
        "",
        "don't check a tls:// server's certificate: an impostor gets the password",
    ),
    (
        "",
        "allow-plaintext",
        "",
        "allow tcp:// to addresses that aren't loopback",
    ),
    (
        "",
        "init",
        "",
        "install the functions for triggers in the database, and exit",
    ),
    (
        "",
        "print-sql",
        "",
        "print the SQL that --init runs, and exit",
    ),
    ("v", "verbose", "", "log more"),
    ("q", "quiet", "", "log warnings and errors only"),
    ("h", "help", "", "show this help"),
    ("V", "version", "", "show the version"),
];

/// The user of the service as it is installed.
const USER: &str = "clacks";
/// The loop goes on to the database meanwhile, so that it is never far behind.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

fn table() -> Options {
    let mut options = Options::new();
    for (short, long, value, help) in FLAGS {
        match *value {
            "" => options.optflag(short, long, help),
            value => options.optopt(short, long, help, value),
        };
    }
    options
}

/// Parses arguments, without the program's name. Nothing but flags is taken.
pub fn parse(arguments: &[String]) -> Result<Matches, StartError> {
    let matches = table()
        .parse(arguments)
        .map_err(|error| StartError::Usage(error.to_string()))?;
    match matches.free.first() {
        Some(surplus) => Err(StartError::Usage(format!(
            "unexpected argument \"{surplus}\""
        ))),
        None => Ok(matches),
    }
}

pub fn help() -> String {
    table().usage(
        "Usage: clacks-pg [FLAGS]\n\nSends clacks signals from PostgreSQL triggers. See clacks-pg(8).",
    )
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The database. Its password may stand in the environment, as for PostgreSQL's own programs.
pub fn database(matches: &Matches) -> Result<Config, StartError> {
    let text = matches
        .opt_str("postgres")
        .or_else(|| variable("CLACKS_POSTGRES"))
        .ok_or_else(|| StartError::Usage("--postgres is missing".to_owned()))?;
    // The error doesn't quote the text, which may hold a password.
    let mut config: Config = text
        .parse()
        .map_err(|error| StartError::Usage(format!("--postgres {error}")))?;
    if config.get_password().is_none()
        && let Some(password) = variable("PGPASSWORD")
    {
        config.password(password);
    }
    if config.get_application_name().is_none() {
        config.application_name("clacks-pg");
    }
    // A database that is gone without a word is noticed within a minute or two.
    config
        .connect_timeout(Duration::from_secs(10))
        .keepalives_idle(Duration::from_secs(30));
    Ok(config)
}

/// The server, and the login there.
pub fn server(matches: &Matches) -> Result<ClientOptions, StartError> {
    let usage = |error: crate::client::Error| StartError::Usage(format!("--server {error}"));
    let address = matches
        .opt_str("server")
        .or_else(|| variable("CLACKS_SERVER"));
    let address = address.unwrap_or_else(local_server);
    let mut options = ClientOptions::new(&address)
        .map_err(usage)?
        .calls_itself(concat!("clacks-pg/", env!("CARGO_PKG_VERSION")))
        .call_timeout(CALL_TIMEOUT);
    let user = matches
        .opt_str("user")
        .or_else(|| variable("CLACKS_USER"))
        .unwrap_or_else(|| USER.to_owned());
    let password = match matches.opt_str("password-file") {
        Some(file) => files::read_password(Path::new(&file))
            .map_err(|what| StartError::Usage(format!("--password-file {file}: {what}")))?,
        None => variable("CLACKS_PASSWORD")
            .ok_or_else(|| StartError::Usage("--password-file is missing".to_owned()))?,
    };
    options = options.login(&user, &password);
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
    }
    Ok(options)
}
