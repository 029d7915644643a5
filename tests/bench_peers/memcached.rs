//! How memcached is spoken to: its text protocol.

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
    Contender::new(process, port, Box::new(Memcached))
}

struct Memcached;

impl BenchProtocol for Memcached {
    fn get(&self, name: &[u8], value: &[u8], to: &mut Exchange) {
        to.ask(&[b"get ", name, b"\r\n"]);
        let length = value.len().to_string();
        to.expect(&[b"VALUE ", name, b" 0 ", length.as_bytes(), b"\r\n"]);
        to.expect(&[value, b"\r\nEND\r\n"]);
    }

    fn set(&self, name: &[u8], value: &[u8], to: &mut Exchange) {
        let length = value.len().to_string();
        to.ask(&[b"set ", name, b" 0 0 ", length.as_bytes(), b"\r\n"]);
        to.ask(&[value, b"\r\n"]);
        to.expect(&[b"STORED\r\n"]);
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
