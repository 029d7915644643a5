//! Where connections come from, as far as limits for strangers need to know it.

use super::events::Peer;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address of a client that has not logged in, for shares and limits. One person easily has many IPv6 addresses,
/// but they are all in one /64 network; on Unix sockets processes are told apart by their user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    Ipv4(Ipv4Addr),
    /// The upper 64 bits of an IPv6 address.
    Ipv6Network(u64),
    Uid(u32),
}

impl Origin {
    /// The origin of a client; `None` for the master, which this server has dialled itself.
    pub fn of(peer: Peer) -> Option<Origin> {
        match peer {
            Peer::Unix(process) => Some(Origin::Uid(process.uid)),
            // A socket for both kinds of addresses shows an IPv4 address as an IPv6 one.
            Peer::Tcp(address) => Some(match address.ip().to_canonical() {
                IpAddr::V4(ip) => Origin::Ipv4(ip),
                IpAddr::V6(ip) => Origin::Ipv6Network((ip.to_bits() >> 64) as u64),
            }),
            Peer::Master(_) => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Ipv4(ip) => ip.fmt(f),
            Origin::Ipv6Network(upper) => {
                write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(*upper) << 64))
            }
            Origin::Uid(uid) => write!(f, "uid {uid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::events::Process;
    use std::net::SocketAddr;
    use std::str::FromStr;

    fn of_tcp(address: &str) -> String {
        let origin = Origin::of(Peer::Tcp(
            SocketAddr::from_str(address).expect("an address").into(),
        ));
        origin.expect("a client").to_string()
    }

    #[test]
    fn an_ipv4_address_an_ipv6_network_or_a_user_is_one_origin() {
        assert_eq!(of_tcp("192.0.2.1:1"), "192.0.2.1");
        assert_eq!(of_tcp("[::ffff:192.0.2.1]:2"), "192.0.2.1");
        assert_ne!(of_tcp("192.0.2.2:1"), of_tcp("192.0.2.1:1"));
        assert_eq!(of_tcp("[2001:db8:1:2:3::4]:1"), "2001:db8:1:2::/64");
        assert_eq!(of_tcp("[2001:db8:1:2::]:1"), "2001:db8:1:2::/64");
        assert_eq!(of_tcp("[2001:db8:1:3::4]:1"), "2001:db8:1:3::/64");
        let [first, second] = [1, 2].map(|pid| Peer::Unix(Process { uid: 1000, pid }));
        assert_eq!(Origin::of(first), Origin::of(second));
        assert_eq!(Origin::of(first), Some(Origin::Uid(1000)));
        assert_eq!(Origin::of(Peer::Master(None)), None);
    }
}
