//! A server of Net::Clacks, played: it has no verbs of clacksd.

use crate::support::{Ended, Setup, bare_clacks, run};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};

pub struct PlayedServer {
    address: String,
}

impl PlayedServer {
    pub fn start(setup: &Setup) -> PlayedServer {
        let listener = UnixListener::bind(setup.path("played")).expect("a socket of our own");
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                converse(stream);
            }
        });
        PlayedServer {
            address: setup.unix("played"),
        }
    }

    pub fn clacks(&self, arguments: &[&str]) -> Ended {
        let mut command = bare_clacks(&["-s", &self.address]);
        run(command.args(arguments).env("CLACKS_PASSWORD", "x"))
    }
}

fn converse(mut stream: UnixStream) {
    let reading = stream.try_clone().expect("another handle");
    let mut say = |lines: &str| stream.write_all(lines.as_bytes()).is_ok();
    say("CLACKS played\r\nOVERHEAD O Welcome!\r\n");
    for line in BufReader::new(reading).lines().map_while(Result::ok) {
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match verb {
            "PLISTEN" | "STATUS" => format!("OVERHEAD E unknown_command {line}\r\n"),
            "FLUSH" => format!("FLUSHED {rest}\r\n"),
            "CLIENTLIST" => "CLIENTLISTSTART\r\n\
                CLIENT CID=10.0.0.1:5:1;HOST=10.0.0.1;PORT=5;CLIENTINFO=perl;OUTBUFFER_LENGTH=7;\
                INBUFFER_LENGTH=0;INTERCLACKS=0;MONITOR=1;\r\n\
                CLIENTLISTEND\r\n"
                .to_owned(),
            _ => continue,
        };
        if !say(&answer) {
            return;
        }
    }
}
