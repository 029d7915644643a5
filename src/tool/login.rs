//! The server's address, the user and the password: from flags, the environment, a file, or a prompt on the terminal.

use super::arguments::Invocation;
use super::failure::{CALL_TIMEOUT, Failure};
use super::printer::printable;
use super::{refusal, terminal};
use crate::client::{
    Client, Error, Options, SERVICE_SOCKET, UNKNOWN_AUTHORITY, find_server, local_server,
};
use crate::program::files;
use std::env;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

/// The user of the installed service, and of a clacksd without flags.
const USER: &str = "clacks";
/// The time limit for connecting and the login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The file with the password of that user at the installed service. Members of the service's group may read it.
const SERVICE_PASSWORD: &str = "/etc/clacksd/password";

/// The options of a connection, and the texts for messages about it.
pub struct Login {
    options: Options,
    /// The address as the user wrote it.
    address: String,
    user: String,
    /// The place that the password comes from.
    source: String,
}

/// A password, and the place that it comes from.
struct Password {
    text: String,
    source: String,
}

/// Determines the server, the user and the password.
///
/// # Errors
/// [`Failure::Usage`] for a wrong address or file, and if no password is found; [`Failure::Connection`] if the server
/// can't be reached before its password is asked for.
pub fn login(invocation: &Invocation) -> Result<Login, Failure> {
    let address = text(invocation, "server", "CLACKS_SERVER")?.unwrap_or_else(local_server);
    let user = user(invocation)?;
    let mut options = Options::new(&address)?
        .calls_itself(concat!("clacks/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .call_timeout(CALL_TIMEOUT);
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
    let mut login = Login {
        options,
        address,
        user,
        source: String::new(),
    };
    let password = password(invocation, &login)?;
    login.options = login.options.login(&login.user, &password.text);
    login.source = password.source;
    Ok(login)
}

impl Login {
    /// The address as the user wrote it.
    pub fn address(&self) -> &str {
        &self.address
    }

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
            error => Failure::Connection(format!("{}: {}", self.address, self.explained(&error))),
        })
    }

    /// The message of an error, with the details that only this program knows.
    fn explained(&self, error: &Error) -> String {
        match error {
            Error::LoginRefused => {
                let (user, source) = (printable(self.user.as_bytes()), &self.source);
                format!("{error}: user \"{user}\", password from {source}")
            }
            Error::TimedOut => format!("{error} ({} s)", CONNECT_TIMEOUT.as_secs()),
            Error::Disconnected(cause)
                if cause.kind() == io::ErrorKind::PermissionDenied
                    && self.address.starts_with("unix:") =>
            {
                format!("{error}: the server's --socket-mode says who may connect")
            }
            Error::Certificate(why) if why == UNKNOWN_AUTHORITY => {
                format!("{error}; --ca names another one")
            }
            error => error.to_string(),
        }
    }
}

/// The failure of a client that has been connected. If the login is refused at a reconnection, the message names the user.
pub fn lost(user: &str, error: Error) -> Failure {
    match error {
        Error::LoginRefused => {
            let user = printable(user.as_bytes());
            Failure::Connection(format!("{error}: user \"{user}\""))
        }
        error => error.into(),
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

fn password(invocation: &Invocation, login: &Login) -> Result<Password, Failure> {
    let from = |source: &str, text: String| {
        let source = source.to_owned();
        Ok(Password { text, source })
    };
    if let Some(file) = invocation.value("password-file") {
        let file = Path::new(file);
        let source = format!("--password-file {}", file.display());
        return match files::read_password(file) {
            Ok(text) => from(&source, text),
            Err(what) => Err(Failure::Usage(format!("{source}: {what}"))),
        };
    }
    match env::var("CLACKS_PASSWORD") {
        Ok(text) if !files::first_line(&text).is_empty() => {
            return from("CLACKS_PASSWORD", files::first_line(&text).to_owned());
        }
        Ok(_) | Err(env::VarError::NotPresent) => {}
        Err(env::VarError::NotUnicode(_)) => {
            return Err(Failure::Usage("CLACKS_PASSWORD is no UTF-8".to_owned()));
        }
    }
    let mut missing = format!(
        "no password for user \"{}\": give --password-file or CLACKS_PASSWORD",
        printable(login.user.as_bytes())
    );
    if login.user == USER && login.address.strip_prefix("unix:") == Some(SERVICE_SOCKET) {
        match files::read_password(Path::new(SERVICE_PASSWORD)) {
            Ok(text) => return from(SERVICE_PASSWORD, text),
            Err(why) => missing += &format!(" ({SERVICE_PASSWORD}: {why})"),
        }
    }
    // /dev/tty is used even if standard input is a pipe, but only if one of the two shows that a person is there.
    if io::stdin().is_terminal() || io::stderr().is_terminal() {
        // Connect before asking: nobody should type a password for a server that does not answer.
        login.connect_with(find_server)?;
        let question = format!("Password of {} at {}: ", login.user, login.address);
        return match terminal::ask_password(&question, invocation.signals()?) {
            Ok(text) => from("the terminal", text),
            Err(error) => Err(Failure::Usage(format!("no password: {error}"))),
        };
    }
    Err(Failure::Usage(missing))
}
