//! Which server, and who logs in there: flags, the environment, a file, a person at a terminal.

use super::table::Invocation;
use super::{Failure, refusal, terminal};
use crate::client::{Client, Error, Options, SERVICE_SOCKET, find_server, local_server};
use crate::program::files;
use std::env;
use std::io::{self, IsTerminal};
use std::path::Path;

/// The user of the service as it is installed, and of a clacksd without flags.
const USER: &str = "clacks";
/// That user's password at the service, which members of the service's group may read.
const SERVICE_PASSWORD: &str = "/etc/clacksd/password";

/// How to reach the server that is meant.
pub struct Login {
    options: Options,
    address: String,
}

pub fn login(invocation: &Invocation) -> Result<Login, Failure> {
    let address = text(invocation, "server", "CLACKS_SERVER")?.unwrap_or_else(local_server);
    let user = user(invocation)?;
    let mut options =
        Options::new(&address)?.calls_itself(concat!("clacks/", env!("CARGO_PKG_VERSION")));
    if invocation.is_set("allow-plaintext") {
        options = options.allow_plaintext();
    } else if options.is_plain_beyond_loopback() {
        return Err(Failure::Usage(format!(
            "{address}: plain text beyond loopback needs --allow-plaintext"
        )));
    }
    if invocation.is_set("insecure") {
        options = options.insecure();
    }
    if let Some(file) = invocation.value("ca") {
        options = options.authorities(file);
    }
    let mut login = Login { options, address };
    let password = password(invocation, &user, &login)?;
    login.options = login.options.login(&user, &password);
    Ok(login)
}

impl Login {
    /// Connects in one way or another.
    pub fn reach<T>(
        &self,
        connect: impl FnOnce(Options) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        connect(self.options.clone()).map_err(|error| match error {
            // That names what is wrong.
            Error::Options(_) => error.into(),
            // A server that is full is one that can't be reached, too.
            Error::Refused(reason) => {
                Failure::Connection(format!("{}: {}", self.address, refusal::said(&reason)))
            }
            error => Failure::Connection(format!("{}: {error}", self.address)),
        })
    }
}

pub fn client(invocation: &Invocation) -> Result<Client, Failure> {
    login(invocation)?.reach(Client::connect)
}

pub fn user(invocation: &Invocation) -> Result<String, Failure> {
    Ok(text(invocation, "user", "CLACKS_USER")?.unwrap_or_else(|| USER.to_owned()))
}

/// From the flag, or else the environment, where nothing is the same as an empty text.
fn text(invocation: &Invocation, flag: &str, variable: &str) -> Result<Option<String>, Failure> {
    let no_text = |what: &str| Failure::Usage(format!("{what} is no UTF-8"));
    if let Some(value) = invocation.value(flag) {
        let value = value
            .to_str()
            .ok_or_else(|| no_text(&format!("--{flag}")))?;
        return Ok(Some(value.to_owned()));
    }
    match env::var(variable) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(no_text(variable)),
    }
}

fn password(invocation: &Invocation, user: &str, login: &Login) -> Result<String, Failure> {
    if let Some(file) = invocation.value("password-file") {
        let file = Path::new(file);
        return files::read_password(file)
            .map_err(|what| Failure::Usage(format!("--password-file {}: {what}", file.display())));
    }
    match env::var("CLACKS_PASSWORD") {
        Ok(text) if !files::first_line(&text).is_empty() => {
            return Ok(files::first_line(&text).to_owned());
        }
        Ok(_) | Err(env::VarError::NotPresent) => {}
        Err(env::VarError::NotUnicode(_)) => {
            return Err(Failure::Usage("CLACKS_PASSWORD is no UTF-8".to_owned()));
        }
    }
    let mut missing = "no password: give --password-file or CLACKS_PASSWORD".to_owned();
    if user == USER && login.address.strip_prefix("unix:") == Some(SERVICE_SOCKET) {
        match files::read_password(Path::new(SERVICE_PASSWORD)) {
            Ok(password) => return Ok(password),
            Err(why) => missing += &format!(" ({SERVICE_PASSWORD}: {why})"),
        }
    }
    // The terminal itself is asked, but only if somebody seems to sit there.
    if io::stdin().is_terminal() || io::stderr().is_terminal() {
        // Nobody types a password for a server that isn't there.
        login.reach(find_server)?;
        let question = format!("Password of {user} at {}: ", login.address);
        let asked = terminal::ask_hidden(&question, invocation.signals()?);
        return asked.map_err(|error| Failure::Usage(format!("no password: {error}")));
    }
    Err(Failure::Usage(missing))
}
