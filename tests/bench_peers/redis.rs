//! How Redis is spoken to: RESP, version 2.

use super::contender::Contender;
use crate::support::Ending;
use clacks::tool::bench::protocol::{BenchProtocol, Exchange, Unsolicited, append};
use std::process::Command;

/// Nothing is saved to disk.
pub fn command(port: u16) -> Command {
    let mut command = Command::new("redis-server");
    let port = port.to_string();
    command.args(["--bind", "127.0.0.1", "--port", &port]);
    command.args(["--save", "", "--appendonly", "no"]);
    command.args(["--maxclients", "11000", "--loglevel", "warning"]);
    command
}

pub fn start(process: Ending, port: u16) -> Contender {
    Contender::new(process, port, Box::new(Redis))
}

struct Redis;

/// `$4` and the text below.
fn bulk(to: &mut Vec<u8>, text: &[u8]) {
    let length = text.len().to_string();
    append(to, &[b"$", length.as_bytes(), b"\r\n", text, b"\r\n"]);
}

fn array(to: &mut Vec<u8>, parts: &[&[u8]]) {
    append(to, &[b"*", parts.len().to_string().as_bytes(), b"\r\n"]);
    parts.iter().for_each(|part| bulk(to, part));
}

impl BenchProtocol for Redis {
    fn get(&self, name: &[u8], value: &[u8], to: &mut Exchange) {
        array(&mut to.request, &[b"GET", name]);
        bulk(&mut to.answer, value);
    }

    fn set(&self, name: &[u8], value: &[u8], to: &mut Exchange) {
        array(&mut to.request, &[b"SET", name, value]);
        to.expect(&[b"+OK\r\n"]);
    }

    fn remove(&self, name: &[u8], to: &mut Exchange) {
        array(&mut to.request, &[b"DEL", name]);
        to.expect(&[b":1\r\n"]);
    }

    fn barrier(&self, to: &mut Exchange) {
        // All commands are answered, in order; and once a connection listens, PING has another answer.
        if to.answer.is_empty() {
            array(&mut to.request, &[b"PING"]);
            to.expect(&[b"+PONG\r\n"]);
        }
    }

    fn listen(&self, name: &[u8], before: usize, to: &mut Exchange) {
        array(&mut to.request, &[b"SUBSCRIBE", name]);
        to.expect(&[b"*3\r\n"]);
        bulk(&mut to.answer, b"subscribe");
        bulk(&mut to.answer, name);
        to.expect(&[b":", (before + 1).to_string().as_bytes(), b"\r\n"]);
    }

    fn signal(&self, name: &[u8], value: &[u8], listeners: usize, to: &mut Exchange) {
        array(&mut to.request, &[b"PUBLISH", name, value]);
        to.expect(&[b":", listeners.to_string().as_bytes(), b"\r\n"]);
    }

    fn delivery(&self, name: &[u8], value: &[u8], to: &mut Vec<u8>) {
        array(to, &[b"message", name, value]);
    }

    fn unsolicited(&self, line: &[u8]) -> Unsolicited {
        match line.strip_prefix(b"-") {
            Some(error) => Unsolicited::Refused(String::from_utf8_lossy(error).into_owned()),
            None => Unsolicited::Wrong,
        }
    }
}
