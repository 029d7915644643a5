//! The server that all this is about.

use super::contender::{Contender, Reached};
use super::memcached::Memcached;
use super::nats::{self, Nats};
use crate::support::{Ending, Setup, text, token};
use clacks::tool::bench::protocol::Clacks;
use std::env;
use std::process::Command;

/// The build that is tested, or the one that `CLACKSD_SERVER` names.
pub fn program() -> String {
    env::var("CLACKSD_SERVER").unwrap_or_else(|_| env!("CARGO_BIN_EXE_clacksd").to_owned())
}

pub fn command(setup: &Setup, port: u16) -> Command {
    let mut command = setup.command_of(&program());
    command.args(["--max-clients", "11000"]);
    command.args(["--listen", &format!("tcp://127.0.0.1:{port}")]);
    command.args(["--listen", &setup.unix("socket")]);
    command
}

/// A clacksd that keeps the cache on disk.
pub fn command_with_journal(setup: &Setup, port: u16) -> Command {
    let mut command = command(setup, port);
    command.args(["--persist", &text(&setup.path("journal"))]);
    command
}

pub fn start(setup: Setup, process: Ending, port: u16) -> Contender {
    let mut contender = Contender::new(process, port, Box::new(Clacks));
    let token = token("rw");
    contender.hello = format!("CLACKS bench\r\nOVERHEAD A {token}\r\nNOPING\r\n").into_bytes();
    contender.welcome = b"OVERHEAD O Welcome!\r\n".to_vec();
    contender.setup = Some(setup);
    contender
}

/// A clacksd that memcached clients connect to.
pub fn command_for_memcached(setup: &Setup, port: u16) -> Command {
    let mut command = setup.command_of(&program());
    command.args(["--max-clients", "11000"]);
    command.args(["--listen", &setup.unix("socket")]);
    command.args(["--memcached", &format!("tcp://127.0.0.1:{port}")]);
    command.args(["--memcached-user", "rw"]);
    command
}

pub fn start_for_memcached(setup: Setup, process: Ending, port: u16) -> Contender {
    let mut contender = Contender::new(process, port, Box::new(Memcached::Text));
    contender.setup = Some(setup);
    contender
}

/// A clacksd that NATS clients connect to.
pub fn command_for_nats(setup: &Setup, port: u16) -> Command {
    let mut command = setup.command_of(&program());
    command.args(["--max-clients", "11000"]);
    command.args(["--listen", &setup.unix("socket")]);
    command.args(["--nats", &format!("tcp://127.0.0.1:{port}")]);
    command.args(["--nats-user", "rw"]);
    command
}

pub fn start_for_nats(setup: Setup, process: Ending, port: u16) -> Contender {
    let mut contender = Contender::new(process, port, Box::new(Nats));
    nats::speak(&mut contender);
    contender.setup = Some(setup);
    contender
}

/// Returns a clacksd whose clients connect to its Unix socket.
pub fn over_unix(mut contender: Contender) -> Contender {
    let setup = contender.setup.as_ref().expect("it was started here");
    contender.reached = Reached::Unix(text(&setup.path("socket")).into());
    contender
}
