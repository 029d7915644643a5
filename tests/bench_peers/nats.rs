//! How NATS is spoken to, with its core protocol, unconfirmed.

use super::contender::Contender;
use crate::support::Ending;
use clacks::tool::bench::protocol::{BenchProtocol, Exchange, Unsolicited, append};
use std::process::Command;

pub fn command(port: u16) -> Command {
    let mut command = Command::new("nats-server");
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
    command
}

pub fn start(process: Ending, port: u16) -> Contender {
    let mut contender = Contender::new(process, port, Box::new(Nats));
    // It greets with a line INFO, which is ignored wherever it comes.
    contender.hello = b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n".to_vec();
    contender.welcome = b"PONG\r\n".to_vec();
    contender
}

struct Nats;

impl BenchProtocol for Nats {
    fn get(&self, _name: &[u8], _value: &[u8], _to: &mut Exchange) {
        unreachable!("it has no cache");
    }

    fn set(&self, _name: &[u8], _value: &[u8], _to: &mut Exchange) {
        unreachable!("it has no cache");
    }

    fn remove(&self, _name: &[u8], _to: &mut Exchange) {
        unreachable!("it has no cache");
    }

    fn barrier(&self, to: &mut Exchange) {
        to.ask(&[b"PING\r\n"]);
        to.expect(&[b"PONG\r\n"]);
    }

    fn listen(&self, name: &[u8], before: usize, to: &mut Exchange) {
        let id = (before + 1).to_string();
        to.ask(&[b"SUB ", name, b" ", id.as_bytes(), b"\r\n"]);
    }

    fn signal(&self, name: &[u8], value: &[u8], _listeners: usize, to: &mut Exchange) {
        let length = value.len().to_string();
        to.ask(&[b"PUB ", name, b" ", length.as_bytes(), b"\r\n"]);
        to.ask(&[value, b"\r\n"]);
    }

    /// All rows listen to one name.
    fn delivery(&self, name: &[u8], value: &[u8], to: &mut Vec<u8>) {
        let length = value.len().to_string();
        append(to, &[b"MSG ", name, b" 1 ", length.as_bytes(), b"\r\n"]);
        append(to, &[value, b"\r\n"]);
    }

    fn unsolicited(&self, line: &[u8]) -> Unsolicited {
        match line {
            b"PING" => Unsolicited::Answered(b"PONG\r\n"),
            _ if line.starts_with(b"INFO ") => Unsolicited::Ignored,
            _ if line.starts_with(b"-ERR") => {
                Unsolicited::Refused(String::from_utf8_lossy(line).into_owned())
            }
            _ => Unsolicited::Wrong,
        }
    }
}
