//! How a client reaches its server.

use super::Error;
use crate::address::Address;
use crate::limits::CENTURY_S;
use crate::protocol::token::Token;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the server is, who logs in there, and how long calls may take.
///
/// ```
/// use clacks::Options;
/// use std::time::Duration;
///
/// let options = Options::new("unix:/run/clacksd/clacksd.sock")?
///     .login("thermostat", "its password")
///     .calls_itself("thermostat 1.0")
///     .call_timeout(Duration::from_secs(5));
/// # Ok::<(), clacks::Error>(())
/// ```
#[derive(Clone)]
pub struct Options {
    pub(super) address: Address,
    pub(super) token: String,
    pub(super) software: String,
    pub(super) connect_timeout: Duration,
    pub(super) call_timeout: Duration,
    pub(super) ping_interval: Option<Duration>,
    pub(super) probe_interval: Duration,
    pub(super) allow_plaintext: bool,
    pub(super) check: ServerCheck,
    pub(super) max_queued: usize,
}

/// Where the service listens.
pub(crate) const SERVICE_SOCKET: &str = "/run/clacksd/clacksd.sock";
/// Where a clacksd without flags listens.
const OTHERWISE: &str = "tcp://127.0.0.1:49888";

/// The address of this machine's server: the service's socket if it is there, otherwise the port that a
/// clacksd without flags listens at.
pub fn local_server() -> String {
    first_of(SERVICE_SOCKET)
}

fn first_of(socket: &str) -> String {
    if Path::new(socket).exists() {
        format!("unix:{socket}")
    } else {
        OTHERWISE.to_owned()
    }
}

/// Whom a client takes for its server, at `tls://` addresses.
#[derive(Debug, Clone)]
pub(super) enum ServerCheck {
    System,
    Authorities(PathBuf),
    None,
}

impl Options {
    /// For a server at `unix:PATH`, `tcp://HOST:PORT` or `tls://HOST:PORT`; the port may be left out and
    /// is then 49888.
    ///
    /// # Errors
    /// [`Error::Options`] if that is no address.
    pub fn new(address: &str) -> Result<Options, Error> {
        let parsed = Address::parse(address)
            .map_err(|error| Error::Options(format!("{address}: {error}")))?;
        Ok(Options {
            address: parsed,
            token: Token::encode(b"", b""),
            software: concat!("clacks/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(15),
            call_timeout: Duration::from_secs(30),
            ping_interval: Some(Duration::from_secs(60)),
            probe_interval: Duration::from_secs(60),
            allow_plaintext: false,
            check: ServerCheck::System,
            max_queued: 64 << 20,
        })
    }

    /// The user and its password.
    pub fn login(mut self, user: &str, password: &str) -> Options {
        self.set_login(user, password);
        self
    }

    /// True for an address that [`Options::allow_plaintext`] is needed for. Programs name their own flag for it.
    #[cfg(any(feature = "tool", feature = "postgres"))]
    pub(crate) fn is_plain_beyond_loopback(&self) -> bool {
        self.address.is_plain_beyond_loopback()
    }

    pub(super) fn set_login(&mut self, user: &str, password: &str) {
        self.token = Token::encode(user.as_bytes(), password.as_bytes());
    }

    /// What the client is, as CLIENTLIST shows it. Line breaks become blanks.
    pub fn calls_itself(mut self, software: &str) -> Options {
        self.software = software.replace(['\r', '\n'], " ");
        self
    }

    /// To connect, shake hands and log in; 15 seconds otherwise.
    pub fn connect_timeout(mut self, timeout: Duration) -> Options {
        self.connect_timeout = timeout;
        self
    }

    /// For every call, a reconnection that it needs included; 30 seconds otherwise.
    pub fn call_timeout(mut self, timeout: Duration) -> Options {
        self.call_timeout = timeout;
        self
    }

    /// No PINGs: the server never takes this client for hung. What it says waits to be read by the program's next
    /// calls, and when it has no more room for that, it ends the connection all the same.
    ///
    /// Otherwise a PING goes out now and then, from within the program's own calls: a program that calls
    /// nothing for the server's ping timeout (180 seconds) is disconnected.
    pub fn without_ping(mut self) -> Options {
        self.ping_interval = None;
        self
    }

    /// How often a PING goes out; every 60 seconds otherwise. For servers whose ping timeout is not much
    /// longer than that.
    pub fn ping_interval(mut self, interval: Duration) -> Options {
        self.ping_interval = Some(interval);
        self
    }

    /// How long the server may say nothing before it is asked, by a FLUSH, whether it is there, and how long it may then
    /// go on saying nothing before the connection counts as lost; 60 seconds otherwise. A clacksd that has nothing to
    /// say to a client sends it a NOP every 60 seconds.
    pub fn probe_interval(mut self, interval: Duration) -> Options {
        let longest = Duration::from_secs(CENTURY_S);
        self.probe_interval = interval.clamp(Duration::from_millis(1), longest);
        self
    }

    /// Lets `tcp://` addresses beyond this machine pass. Passwords and values then cross the network in
    /// plain text.
    pub fn allow_plaintext(mut self) -> Options {
        self.allow_plaintext = true;
        self
    }

    /// The server's certificate must come from an authority in this file (PEM), or stand in it, instead
    /// of coming from one that the system trusts.
    pub fn authorities(mut self, file: impl Into<PathBuf>) -> Options {
        self.check = ServerCheck::Authorities(file.into());
        self
    }

    /// The server's certificate is not checked: an impostor gets the password.
    pub fn insecure(mut self) -> Options {
        self.check = ServerCheck::None;
        self
    }

    /// How many bytes of messages are kept for [`Client::next`](super::Client::next) before the oldest
    /// are dropped; 64 MiB otherwise.
    pub fn max_queued(mut self, bytes: usize) -> Options {
        self.max_queued = bytes;
        self
    }
}

impl fmt::Debug for Options {
    /// Without the login.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("address", &self.address)
            .field("software", &self.software)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_comes_first() {
        assert_eq!(first_of("/"), "unix:/");
        assert_eq!(first_of("/is/not/there"), OTHERWISE);
    }
}
