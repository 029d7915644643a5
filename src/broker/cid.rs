//! The names that connections go by.

use super::events::Peer;
use smallvec::SmallVec;
use std::fmt;
use std::io::Write;
use std::net::IpAddr;

/// The name a connection goes by in CLIENTLIST, MONITOR and the log. Those of clients are never used twice; all
/// connections to the same master share one, and the last may not be closed yet when the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cid {
    pub peer: Peer,
    /// Counts connections.
    pub serial: u64,
    /// Unix time of its beginning, which lasts until 2106; part of the name of Unix sockets.
    pub opened_s: u32,
}

/// A name as text, in place for all but long addresses.
pub type CidText = SmallVec<[u8; 64]>;

impl Cid {
    /// The name itself. It is made for each comparison of two names, without the machinery of formats.
    pub fn text(&self) -> CidText {
        let mut text = CidText::new();
        match self.peer {
            Peer::Unix(_) => {
                text.extend_from_slice(b"unixdomainsocket:");
                append_decimal(&mut text, self.opened_s.into());
            }
            Peer::Tcp(address) | Peer::Master(Some(address)) => {
                append_ip(&mut text, address.ip());
                text.push(b':');
                append_decimal(&mut text, address.port().into());
            }
            Peer::Master(None) => text.extend_from_slice(b"unixdomainsocket:interclacksmaster"),
        }
        if !matches!(self.peer, Peer::Master(_)) {
            text.push(b':');
            append_decimal(&mut text, self.serial);
        }
        text
    }

    /// The fields HOST and PORT of CLIENTLIST.
    pub fn host_and_port(&self) -> (String, String) {
        match self.peer {
            Peer::Unix(_) => (
                "unixdomainsocket".to_owned(),
                format!("{}:{}", self.opened_s, self.serial),
            ),
            Peer::Tcp(address) | Peer::Master(Some(address)) => {
                (address.ip().to_string(), address.port().to_string())
            }
            Peer::Master(None) => (String::new(), String::new()),
        }
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.text()).expect("names are ASCII"))
    }
}

fn append_decimal(text: &mut CidText, number: u64) {
    let (mut digits, mut start, mut rest) = ([0; 20], 20, number);
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[start..]);
}

fn append_ip(text: &mut CidText, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (place, octet) in ip.octets().into_iter().enumerate() {
                if place > 0 {
                    text.push(b'.');
                }
                append_decimal(text, octet.into());
            }
        }
        IpAddr::V6(ip) => {
            /// No address is longer.
            const LONGEST: usize = 45;
            let mut buffer = [0; LONGEST];
            let mut rest = &mut buffer[..];
            write!(rest, "{ip}").expect("it is no longer");
            let length = LONGEST - rest.len();
            text.extend_from_slice(&buffer[..length]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Process;

    #[test]
    fn names_have_the_form_that_the_protocol_says() {
        let name = |peer, serial| {
            let opened_s = 1_764_495_080;
            Cid {
                peer,
                serial,
                opened_s,
            }
            .to_string()
        };
        let address = |text: &str| {
            let address: std::net::SocketAddr = text.parse().expect("an address");
            address.into()
        };
        let unix = Peer::Unix(Process::default());
        assert_eq!(name(unix, 0), "unixdomainsocket:1764495080:0");
        for (host, shown) in [
            ("127.0.0.1", "127.0.0.1"),
            ("10.200.30.4", "10.200.30.4"),
            ("[::1]", "::1"),
            ("[::ffff:192.0.2.1]", "::ffff:192.0.2.1"),
            (
                "[2001:db8:1234:5678:9abc:def0:1234:5678]",
                "2001:db8:1234:5678:9abc:def0:1234:5678",
            ),
        ] {
            let address = address(&format!("{host}:65535"));
            let named = name(Peer::Tcp(address), u64::MAX);
            assert_eq!(named, format!("{shown}:65535:18446744073709551615"));
            assert_eq!(
                name(Peer::Master(Some(address)), 1),
                format!("{shown}:65535")
            );
        }
        let master = name(Peer::Master(None), 1);
        assert_eq!(master, "unixdomainsocket:interclacksmaster");
    }
}
