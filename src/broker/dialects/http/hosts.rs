//! The hosts under whose names requests without a login are answered.
//!
//! A page of a foreign site can let the name of its own host stand for an address of this machine, and then read the
//! answers as if they came from that site (DNS rebinding). The browser sends that name, and no login for it.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Reports whether a header Host, with or without a port, names no host that a foreign site may have chosen: it is an
/// address, a name that always means this machine, or one of `own`.
pub fn is_own(host: &[u8], own: &[String]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        return address.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || is_port(port));
    }
    let name = match host.split_once(':') {
        Some((name, port)) if is_port(&host[name.len()..]) && !port.contains(':') => name,
        Some(_) => return false,
        None => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.parse::<Ipv4Addr>().is_ok()
        || is_localhost(name)
        || own.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Reports whether a text is a colon with the digits of a port behind it, or none.
fn is_port(text: &str) -> bool {
    let digits = text.strip_prefix(':');
    digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Browsers resolve `localhost` and all below it to this machine without asking anybody (RFC 6761).
fn is_localhost(name: &str) -> bool {
    const LOCALHOST: &str = "localhost";
    let start = name.len().saturating_sub(LOCALHOST.len());
    let (before, end) = match (name.get(..start), name.get(start..)) {
        (Some(before), Some(end)) => (before, end),
        _ => return false,
    };
    end.eq_ignore_ascii_case(LOCALHOST) && (before.is_empty() || before.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_own_names_are_own() {
        let own = ["Status.Example".to_owned()];
        for host in [
            "127.0.0.1",
            "10.1.2.3:49890",
            "[::1]",
            "[::1]:49890",
            "[fe80::1]:",
            "localhost",
            "LOCALHOST:80",
            "localhost.",
            "a.b.localhost:1",
            "status.example:49890",
            "status.example.",
        ] {
            assert!(is_own(host.as_bytes(), &own), "{host}");
        }
    }

    #[test]
    fn names_that_others_may_have_chosen_are_not() {
        for host in [
            "",
            "example.com",
            "example.com:49890",
            "127.0.0.1.example.com",
            "localhost.example.com",
            "notlocalhost",
            "status.example.com",
            "127.1",
            "127.0.0.1:x",
            "127.0.0.1:1:2",
            "[::1",
            "[::1]x",
            "::1",
            "user@localhost",
            "localhost,example.com",
            "\u{fc}localhost",
        ] {
            let own = ["status.example".to_owned()];
            assert!(!is_own(host.as_bytes(), &own), "{host}");
        }
        assert!(!is_own(b"\xff", &[]));
    }
}
