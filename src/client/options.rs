//! The options of a client: its server, its login and its time limits.

use super::error::Error;
use crate::address::Address;
use crate::limits::CENTURY_S;
use crate::protocol::token::Token;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The server's address, the login, and the time limits of a client.
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

/// The socket of the installed service.
pub(crate) const SERVICE_SOCKET: &str = "/run/clacksd/clacksd.sock";
/// The address at which a clacksd without flags listens.
const DEFAULT_ADDRESS: &str = "tcp://127.0.0.1:49888";

/// Returns the address of this machine's server: the socket of the installed service if it exists, otherwise the address
/// at which a clacksd without flags listens.
pub fn local_server() -> String {
    first_of(SERVICE_SOCKET)
}

fn first_of(socket: &str) -> String {
    if Path::new(socket).exists() {
        format!("unix:{socket}")
    } else {
        DEFAULT_ADDRESS.to_owned()
    }
}

/// The check of a server's certificate at `tls://` addresses.
#[derive(Debug, Clone)]
pub(super) enum ServerCheck {
    System,
    Authorities(PathBuf),
    None,
}

impl Options {
    /// Creates options for a server at `unix:PATH`, `tcp://HOST:PORT` or `tls://HOST:PORT`. The default port is 49888.
    ///
    /// # Errors
    /// [`Error::Options`] if the address has none of these forms.
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

    /// Sets the user and the password.
    pub fn login(mut self, user: &str, password: &str) -> Options {
        self.set_login(user, password);
        self
    }

    /// Returns true for an address that needs [`Options::allow_plaintext`], so that a program can name its own flag in the
    /// error.
    #[cfg(any(feature = "tool", feature = "postgres"))]
    pub(crate) fn is_plain_beyond_loopback(&self) -> bool {
        self.address.is_plain_beyond_loopback()
    }

    pub(super) fn set_login(&mut self, user: &str, password: &str) {
        self.token = Token::encode(user.as_bytes(), password.as_bytes());
    }

    /// Sets the name of the client in CLIENTLIST. Line breaks become blanks.
    pub fn calls_itself(mut self, software: &str) -> Options {
        self.software = software.replace(['\r', '\n'], " ");
        self
    }

    /// Sets the time limit for connecting, the TLS handshake and the login. The default is 15 seconds.
    pub fn connect_timeout(mut self, timeout: Duration) -> Options {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the time limit of every call, including a reconnection. The default is 30 seconds.
    pub fn call_timeout(mut self, timeout: Duration) -> Options {
        self.call_timeout = timeout;
        self
    }

    /// Sends no PINGs and asks the server not to expect any, so that a program may make no calls for any time. If the
    /// server's output queue for the client fills up meanwhile, the server ends the connection all the same.
    ///
    /// By default a PING is sent now and then from within the program's calls, and a program that makes no call for the
    /// server's ping timeout (180 seconds) is disconnected.
    pub fn without_ping(mut self) -> Options {
        self.ping_interval = None;
        self
    }

    /// Sets the interval of PINGs, for servers with a short ping timeout. The default is 60 seconds.
    pub fn ping_interval(mut self, interval: Duration) -> Options {
        self.ping_interval = Some(interval);
        self
    }

    /// Sets the time after which a silent server is probed by a FLUSH, and the time after the probe at which the connection
    /// of a still silent server counts as lost. The default is 60 seconds; the minimum is a millisecond. A clacksd sends
    /// a NOP to an idle client every 60 seconds.
    pub fn probe_interval(mut self, interval: Duration) -> Options {
        let longest = Duration::from_secs(CENTURY_S);
        self.probe_interval = interval.clamp(Duration::from_millis(1), longest);
        self
    }

    /// Permits `tcp://` addresses of other machines. Passwords and values then cross the network in plain text.
    pub fn allow_plaintext(mut self) -> Options {
        self.allow_plaintext = true;
        self
    }

    /// Accepts only server certificates that are in this file (PEM) or issued by an authority in it. The default is to
    /// trust the system's authorities.
    pub fn authorities(mut self, file: impl Into<PathBuf>) -> Options {
        self.check = ServerCheck::Authorities(file.into());
        self
    }

    /// Switches the check of the server's certificate off. An impostor can then obtain the password.
    pub fn insecure(mut self) -> Options {
        self.check = ServerCheck::None;
        self
    }

    /// Limits the memory of messages queued for [`Client::next`](super::Client::next), in bytes. Beyond it the oldest
    /// messages are dropped. The default is 64 MiB.
    pub fn max_queued(mut self, bytes: usize) -> Options {
        self.max_queued = bytes;
        self
    }
}

impl fmt::Debug for Options {
    /// Omits the login.
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

    /// A silent server counts as lost after two of these.
    #[test]
    fn a_connection_is_kept_alive_each_minute() {
        let options = Options::new("unix:/is/not/there").expect("an address");
        assert_eq!(options.ping_interval, Some(Duration::from_secs(60)));
        assert_eq!(options.probe_interval, Duration::from_secs(60));
    }

    #[test]
    fn the_service_comes_first() {
        assert_eq!(first_of("/"), "unix:/");
        assert_eq!(first_of("/is/not/there"), DEFAULT_ADDRESS);
    }
}
