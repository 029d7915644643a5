//! The server's address, the user and the password: from flags, the environment, a file, or a prompt on the terminal.

use super::arguments::Invocation;
use super::failure::Failure;
use super::{refusal, terminal};
use crate::client::{Client, Error, Options, SERVICE_SOCKET, find_server, local_server};
use crate::program::files;
use std::env;
use std::io::{self, IsTerminal};
use std::path::Path;

/// The user of the installed service, and of a clacksd without flags.
const USER: &str = "clacks";
/// The file with the password of that user at the installed service. Members of the service's group may read it.
const SERVICE_PASSWORD: &str = "/etc/clacksd/password";

/// The options of a connection, and the address as the user wrote it.
pub struct Login {
    options: Options,
    address: String,
}

/// Determines the server, the user and the password.
///
/// # Errors
/// [`Failure::Usage`] for a wrong address or file, and if no password is found; [`Failure::Connection`] if the server
/// can't be reached before its password is asked for.
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
    /// Connects by calling `connect`. An error names the address.
    pub fn connect_with<T>(
        &self,
        connect: impl FnOnce(Options) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        connect(self.options.clone()).map_err(|error| match error {
            // The message names what is wrong with the options.
            Error::Options(_) => error.into(),
            // A full server counts as one that can't be reached.
            Error::Refused(reason) => {
                Failure::Connection(format!("{}: {}", self.address, refusal::message(&reason)))
            }
            error => Failure::Connection(format!("{}: {error}", self.address)),
        })
    }
}

/// A connected and logged-in client.
pub fn client(invocation: &Invocation) -> Result<Client, Failure> {
    login(invocation)?.connect_with(Client::connect)
}

/// The user name, from the flag, the environment, or the default.
pub fn user(invocation: &Invocation) -> Result<String, Failure> {
    Ok(text(invocation, "user", "CLACKS_USER")?.unwrap_or_else(|| USER.to_owned()))
}

/// The value of a flag, or else of an environment variable. An empty variable counts as one that is not set.
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
    // /dev/tty is used even if standard input is a pipe, but only if one of the two shows that a person is there.
    if io::stdin().is_terminal() || io::stderr().is_terminal() {
        // Connect before asking: nobody should type a password for a server that does not answer.
        login.connect_with(find_server)?;
        let question = format!("Password of {user} at {}: ", login.address);
        let asked = terminal::ask_password(&question, invocation.signals()?);
        return asked.map_err(|error| Failure::Usage(format!("no password: {error}")));
    }
    Err(Failure::Usage(missing))
}
