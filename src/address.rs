//! Addresses in flags and options: `unix:PATH`, `tcp://HOST:PORT`, `tls://HOST:PORT` (clacksd(8), ADDRESSES).

use crate::limits::DEFAULT_PORT;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// The address of a server or a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Unix(PathBuf),
    /// TCP without encryption.
    Tcp(HostPort),
    Tls(HostPort),
}

/// A host and a TCP port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name, or an IP address without brackets.
    pub host: String,
    pub port: u16,
}

impl Address {
    /// Returns true if plain text would leave this machine.
    pub fn is_plain_beyond_loopback(&self) -> bool {
        matches!(self, Address::Tcp(host) if !host.is_loopback())
    }

    /// Parses an address. The default port is [`DEFAULT_PORT`].
    ///
    /// # Errors
    /// A message that says what is wrong, without the text itself.
    pub fn parse(text: &str) -> Result<Address, String> {
        Address::parse_with_port(text, DEFAULT_PORT)
    }

    /// Parses an address that has this port if it names none.
    ///
    /// # Errors
    /// As those of [`Address::parse`].
    pub fn parse_with_port(text: &str, port: u16) -> Result<Address, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err("unix: wants a path".to_owned());
            }
            return Ok(Address::Unix(PathBuf::from(path)));
        }
        if let Some(rest) = text.strip_prefix("tcp://") {
            return HostPort::parse(rest, port).map(Address::Tcp);
        }
        if let Some(rest) = text.strip_prefix("tls://") {
            return HostPort::parse(rest, port).map(Address::Tls);
        }
        Err("neither unix:PATH nor tcp://HOST:PORT nor tls://HOST:PORT".to_owned())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(host) => write!(f, "tcp://{host}"),
            Address::Tls(host) => write!(f, "tls://{host}"),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostPort { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

impl HostPort {
    fn parse(text: &str, default_port: u16) -> Result<HostPort, String> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or("a bracket is not closed")?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err("only a port may follow the bracket".to_owned()),
            }
        } else {
            match text.split_once(':') {
                Some((_, rest)) if rest.contains(':') => {
                    return Err("IPv6 addresses stand in brackets".to_owned());
                }
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() {
            return Err("the host is missing".to_owned());
        }
        let port = match port {
            Some(port) => port
                .parse()
                .map_err(|_| "the port is no number up to 65535".to_owned())?,
            None => default_port,
        };
        Ok(HostPort {
            host: host.to_owned(),
            port,
        })
    }

    /// The host as a certificate names it: without the zone of a link-local address (`fe80::1%eth0`), which has a meaning
    /// only on this machine.
    pub fn certified_host(&self) -> &str {
        match self.zone() {
            Some(zone) => &self.host[..self.host.len() - zone.len() - 1],
            None => &self.host,
        }
    }

    /// The zone of a link-local IPv6 address: the interface, by name or number.
    pub fn zone(&self) -> Option<&str> {
        let (address, zone) = self.host.split_once('%')?;
        address.parse::<Ipv6Addr>().ok().map(|_| zone)
    }

    /// Returns true if the host is certainly this machine: an address of the loopback network, or `localhost`. The addresses
    /// of other names may change.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }

    /// Resolves the name. Blocks for as long as the system's resolver takes.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map(Iterator::collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_there_and_back() {
        for text in [
            "unix:/run/x.sock",
            "tcp://localhost:1",
            "tcp://[::1]:65535",
            "tcp://127.0.0.1:0",
            "tls://example.org:49888",
            "tls://[2001:db8::1]:2",
        ] {
            assert_eq!(
                Address::parse(text)
                    .map(|address| address.to_string())
                    .as_deref(),
                Ok(text)
            );
        }
        let without_port = |text| Address::parse(text).map(|address| address.to_string());
        assert_eq!(
            without_port("tcp://host").as_deref(),
            Ok("tcp://host:49888")
        );
        assert_eq!(
            without_port("tcp://[::1]").as_deref(),
            Ok("tcp://[::1]:49888")
        );
        let with_other_port = |text| {
            let address = Address::parse_with_port(text, 11211);
            address.map(|address| address.to_string())
        };
        for (text, address) in [
            ("tls://host", "tls://host:11211"),
            ("tcp://[::1]", "tcp://[::1]:11211"),
            ("tcp://host:1", "tcp://host:1"),
        ] {
            assert_eq!(with_other_port(text).as_deref(), Ok(address));
        }
    }

    #[test]
    fn a_certificate_names_no_zone() {
        for (text, certified, zone) in [
            ("tls://[fe80::1%eth0]:1", "fe80::1", Some("eth0")),
            ("tls://[fe80::1%3]:1", "fe80::1", Some("3")),
            ("tls://[fe80::1]:1", "fe80::1", None),
            ("tls://example.org:1", "example.org", None),
            ("tls://127.0.0.1:1", "127.0.0.1", None),
        ] {
            let address = Address::parse(text).expect("an address");
            assert_eq!(address.to_string(), text);
            let Address::Tls(host) = address else {
                panic!("{text} is an address for TLS");
            };
            assert_eq!((host.certified_host(), host.zone()), (certified, zone));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "unix:",
            "tcp://",
            "tcp://:1",
            "tcp://a:b",
            "tcp://a:65536",
            "tcp://::1:1",
            "tcp://[::1",
            "tls://",
            "x",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
