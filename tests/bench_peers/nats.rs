//! How NATS is spoken to, with its core protocol, unconfirmed.

use super::contender::Contender;
use crate::support::Ending;
use clacks::tool::bench::protocol::{BenchProtocol, Exchange, Unsolicited, append};
use std::env;
use std::path::PathBuf;
use std::process::Command;

/// The version that Debian has.
pub fn program() -> PathBuf {
    "nats-server".into()
}

/// The newer version that `make nats-clients` installs.
pub fn newer_program() -> PathBuf {
    let folder = env::var_os("NATS_CLIENTS").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| {
        let home = env::var("HOME").unwrap_or_default();
        format!("{home}/.cache/clacksd/nats-clients").into()
    });
    folder.join("python/bin/nats-server")
}

pub fn command(program: PathBuf, port: u16) -> Command {
    let mut command = Command::new(program);
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
    command
}

pub fn start(process: Ending, port: u16) -> Contender {
    let mut contender = Contender::new(process, port, Box::new(Nats));
    speak(&mut contender);
    contender
}

/// Prepares the login. The options are those that client libraries send.
pub fn speak(contender: &mut Contender) {
    const OPTIONS: &str =
        "{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}";
    // The server greets with a line INFO, which is ignored wherever it comes.
    contender.hello = format!("CONNECT {OPTIONS}\r\nPING\r\n").into_bytes();
    contender.welcome = b"PONG\r\n".to_vec();
}

pub struct Nats;

/// The subject of a name of the loads.
pub fn subject(name: &[u8]) -> Vec<u8> {
    let name = std::str::from_utf8(name).expect("it is ASCII");
    name.replace("::", ".").into_bytes()
}

/// Appends PUB with its payload.
pub fn publish(subject: &[u8], reply: &[u8], payload: &[u8], to: &mut Vec<u8>) {
    let length = payload.len().to_string();
    append(to, &[b"PUB ", subject, b" ", reply]);
    if !reply.is_empty() {
        to.push(b' ');
    }
    append(to, &[length.as_bytes(), b"\r\n", payload, b"\r\n"]);
}

/// Appends MSG with its payload, for the subscription 1.
pub fn message(subject: &[u8], reply: &[u8], payload: &[u8], to: &mut Vec<u8>) {
    let length = payload.len().to_string();
    append(to, &[b"MSG ", subject, b" 1 ", reply]);
    if !reply.is_empty() {
        to.push(b' ');
    }
    append(to, &[length.as_bytes(), b"\r\n", payload, b"\r\n"]);
}

/// Asks for a subscription.
pub fn subscribe(pattern: &[u8], id: usize, to: &mut Exchange) {
    let id = id.to_string();
    to.ask(&[b"SUB ", pattern, b" ", id.as_bytes(), b"\r\n"]);
}

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
        subscribe(&subject(name), before + 1, to);
    }

    fn signal(&self, name: &[u8], value: &[u8], _listeners: usize, to: &mut Exchange) {
        publish(&subject(name), b"", value, &mut to.request);
    }

    /// All rows have one subscription for each connection.
    fn delivery(&self, name: &[u8], value: &[u8], to: &mut Vec<u8>) {
        message(&subject(name), b"", value, to);
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
