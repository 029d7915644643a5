//! How memcached is spoken to: its text protocol, and its meta protocol.

use super::contender::Contender;
use crate::support::Ending;
use clacks::tool::bench::protocol::{BenchProtocol, Exchange, Unsolicited};
use std::process::Command;

/// With one thread, as the others have one for this, and room for a million entries.
pub fn command(port: u16) -> Command {
    let mut command = Command::new("memcached");
    let port = port.to_string();
    command.args(["-l", "127.0.0.1", "-p", &port, "-U", "0"]);
    command.args(["-t", "1", "-c", "11000", "-m", "1024"]);
    // It doesn't run as root otherwise.
    command.args(["-u", "root"]);
    command
}

pub fn start(process: Ending, port: u16) -> Contender {
    Contender::new(process, port, Box::new(Memcached::Text))
}

/// The ways in which its commands are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memcached {
    Text,
    /// All gets of a batch are one, of many names.
    ManyNames,
    /// Values are stored with client flags and an expiry.
    WithExpiry,
    Meta,
}

const END: &[u8] = b"END\r\n";

impl Memcached {
    fn get_among_many(name: &[u8], value: &[u8], to: &mut Exchange) {
        if to.answer.ends_with(END) {
            to.request.truncate(to.request.len() - b"\r\n".len());
            to.answer.truncate(to.answer.len() - END.len());
        } else {
            to.ask(&[b"get"]);
        }
        to.ask(&[b" ", name, b"\r\n"]);
        let length = value.len().to_string();
        to.expect(&[b"VALUE ", name, b" 0 ", length.as_bytes(), b"\r\n"]);
        to.expect(&[value, b"\r\n", END]);
    }
}

impl BenchProtocol for Memcached {
    fn get(&self, name: &[u8], value: &[u8], to: &mut Exchange) {
        match self {
            Memcached::Text | Memcached::WithExpiry => {}
            Memcached::ManyNames => return Memcached::get_among_many(name, value, to),
            Memcached::Meta => {
                to.ask(&[b"mg ", name, b" v\r\n"]);
                let length = value.len().to_string();
                to.expect(&[b"VA ", length.as_bytes(), b"\r\n", value, b"\r\n"]);
                return;
            }
        }
        to.ask(&[b"get ", name, b"\r\n"]);
        let length = value.len().to_string();
        to.expect(&[b"VALUE ", name, b" 0 ", length.as_bytes(), b"\r\n"]);
        to.expect(&[value, b"\r\nEND\r\n"]);
    }

    fn set(&self, name: &[u8], value: &[u8], to: &mut Exchange) {
        let length = value.len().to_string();
        let length = length.as_bytes();
        let stored: &[u8] = match self {
            Memcached::Meta => {
                to.ask(&[b"ms ", name, b" ", length, b"\r\n"]);
                b"HD\r\n"
            }
            Memcached::WithExpiry => {
                to.ask(&[b"set ", name, b" 7 86400 ", length, b"\r\n"]);
                b"STORED\r\n"
            }
            Memcached::Text | Memcached::ManyNames => {
                to.ask(&[b"set ", name, b" 0 0 ", length, b"\r\n"]);
                b"STORED\r\n"
            }
        };
        to.ask(&[value, b"\r\n"]);
        to.expect(&[stored]);
    }

    fn remove(&self, name: &[u8], to: &mut Exchange) {
        to.ask(&[b"delete ", name, b"\r\n"]);
        to.expect(&[b"DELETED\r\n"]);
    }

    fn barrier(&self, to: &mut Exchange) {
        to.ask(&[b"mn\r\n"]);
        to.expect(&[b"MN\r\n"]);
    }

    fn listen(&self, _name: &[u8], _before: usize, _to: &mut Exchange) {
        unreachable!("it has no signals");
    }

    fn signal(&self, _name: &[u8], _value: &[u8], _listeners: usize, _to: &mut Exchange) {
        unreachable!("it has no signals");
    }

    fn delivery(&self, _name: &[u8], _value: &[u8], _to: &mut Vec<u8>) {
        unreachable!("it has no signals");
    }

    fn unsolicited(&self, line: &[u8]) -> Unsolicited {
        match line.starts_with(b"SERVER_ERROR") || line.starts_with(b"CLIENT_ERROR") {
            true => Unsolicited::Refused(String::from_utf8_lossy(line).into_owned()),
            false => Unsolicited::Wrong,
        }
    }
}
