//! The least that a server can do under the same loads: as many bytes go in and out as with clacksd, and
//! between reading and writing nothing is done. What it costs is what the system calls cost.

use super::contender::Contender;
use crate::support::Ending;
use clacks::tool::bench::protocol::{BenchProtocol, Exchange, Unsolicited};
use std::env;
use std::path::PathBuf;
use std::process::Command;

/// Beside the tests: cargo builds it for them.
pub fn program() -> PathBuf {
    let tests = env::current_exe().expect("a program");
    let folder = tests.ancestors().nth(2).expect("a folder of builds");
    folder.join("examples/bare_server")
}

pub fn command(port: u16) -> Command {
    let mut command = Command::new(program());
    command.args([port.to_string(), ANSWER.to_string()]);
    command
}

pub fn start(process: Ending, port: u16) -> Contender {
    Contender::new(process, port, Box::new(Bare))
}

/// Bytes of an answer: those of RETRIEVED with a name of 13 bytes and a value of 64.
const ANSWER: usize = 90;

/// The protocol of the bare server, which tests/bench_peers/bare_server.rs describes.
struct Bare;

/// So many bytes, of which the last one says what they are.
fn fill(to: &mut Vec<u8>, byte: u8, length: usize, end: u8) {
    to.resize(to.len() + length - 1, byte);
    to.push(end);
}

impl BenchProtocol for Bare {
    fn get(&self, name: &[u8], value: &[u8], to: &mut Exchange) {
        assert_eq!("RETRIEVED =\r\n".len() + name.len() + value.len(), ANSWER);
        fill(
            &mut to.request,
            b'?',
            "RETRIEVE \r\n".len() + name.len(),
            b'\n',
        );
        fill(&mut to.answer, b'!', ANSWER, b'\n');
    }

    fn set(&self, name: &[u8], value: &[u8], to: &mut Exchange) {
        let length = "STORE =\r\n".len() + name.len() + value.len();
        fill(&mut to.request, b'+', length, b'\r');
    }

    fn remove(&self, _name: &[u8], _to: &mut Exchange) {}

    fn barrier(&self, to: &mut Exchange) {
        to.request.push(b'\n');
        fill(&mut to.answer, b'!', ANSWER, b'\n');
    }

    fn listen(&self, _name: &[u8], _before: usize, to: &mut Exchange) {
        to.request.push(b'L');
    }

    fn signal(&self, name: &[u8], value: &[u8], _listeners: usize, to: &mut Exchange) {
        self.delivery(name, value, &mut to.request);
    }

    fn delivery(&self, name: &[u8], value: &[u8], to: &mut Vec<u8>) {
        fill(
            to,
            b'S',
            "SET =\r\n".len() + name.len() + value.len(),
            b'\n',
        );
    }

    fn unsolicited(&self, _line: &[u8]) -> Unsolicited {
        Unsolicited::Wrong
    }
}
