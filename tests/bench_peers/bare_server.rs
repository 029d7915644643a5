//! A server that does nothing but read and write; `make bench-peers` measures what that costs. What a
//! connection is says its first byte: `S`, and all it sends goes to those that began with `L`; of what others
//! send each `\n` is answered.
//!
//! `bare_server PORT BYTES-OF-AN-ANSWER`, on loopback, until it is killed.

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::env;
use std::io::{self, ErrorKind, Read, Write};

const LISTENER: Token = Token(usize::MAX);
const SCRATCH: usize = 64 * 1024;

#[derive(Clone, Copy, PartialEq)]
enum Role {
    New,
    Asks,
    Listens,
    Sends,
}

struct Server {
    connections: Vec<(TcpStream, Role)>,
    scratch: Box<[u8]>,
    /// As many answers as one read can ask for.
    answers: Vec<u8>,
    answer: usize,
}

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let mut number = || {
        let number = arguments.next().and_then(|number| number.parse().ok());
        number.ok_or(io::Error::from(ErrorKind::InvalidInput))
    };
    let (port, answer): (usize, usize) = (number()?, number()?);
    let address = format!("127.0.0.1:{port}").parse();
    let mut listener = TcpListener::bind(address.map_err(io::Error::other)?)?;
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut one_answer = vec![b'!'; answer];
    one_answer[answer - 1] = b'\n';
    let mut server = Server {
        connections: Vec::new(),
        scratch: vec![0; SCRATCH].into_boxed_slice(),
        answers: one_answer.repeat(SCRATCH),
        answer,
    };
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => while server.accept(&listener, &poll)? {},
                // Closed by its peer, most likely; nobody opens another one in its place.
                Token(index) => drop(server.serve(index)),
            }
        }
    }
}

impl Server {
    /// Accepts one connection. Returns false if none was waiting.
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> io::Result<bool> {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        let token = Token(self.connections.len());
        poll.registry()
            .register(&mut stream, token, Interest::READABLE)?;
        self.connections.push((stream, Role::New));
        Ok(true)
    }

    fn serve(&mut self, index: usize) -> io::Result<()> {
        loop {
            let (stream, role) = &mut self.connections[index];
            let count = match stream.read(&mut self.scratch) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
                Ok(0) => return Ok(()),
                Ok(count) => count,
            };
            let read = &self.scratch[..count];
            *role = match (*role, read[0]) {
                (Role::New, b'S') => Role::Sends,
                (Role::New, b'L') => Role::Listens,
                (Role::New, _) => Role::Asks,
                (role, _) => role,
            };
            if *role == Role::Sends {
                let all = self.connections.iter_mut();
                for (listener, _) in all.filter(|(_, role)| *role == Role::Listens) {
                    write_all(listener, read)?;
                }
            } else {
                let asked = memchr::memchr_iter(b'\n', read).count();
                write_all(stream, &self.answers[..asked * self.answer])?;
            }
            if count < SCRATCH {
                return Ok(());
            }
        }
    }
}

/// Waits for room if there is none: it has no backlog.
fn write_all(stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
