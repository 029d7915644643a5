//! Very many connections at once, driven from one thread.

use super::{DEADLINE, token};
use mio::event::Source;
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

trait Socket: Source + Read + Write + Send {}
impl<S: Source + Read + Write + Send> Socket for S {}

/// One of the crowd.
struct Member {
    socket: Box<dyn Socket>,
    /// The bytes that came and were not forgotten.
    received: Vec<u8>,
    closed: bool,
}

pub struct Crowd {
    poll: Poll,
    events: Events,
    members: Vec<Member>,
}

impl Crowd {
    pub fn unix(path: &Path, size: usize) -> Crowd {
        Crowd::new(size, || {
            // A blocking connect waits until the server's queue has room.
            let stream = UnixStream::connect(path).expect("the server listens there");
            stream.set_nonblocking(true).expect("a fresh socket");
            Box::new(mio::net::UnixStream::from_std(stream))
        })
    }

    pub fn tcp(port: u16, size: usize) -> Crowd {
        Crowd::new(size, || {
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens there");
            stream.set_nonblocking(true).expect("a fresh socket");
            Box::new(mio::net::TcpStream::from_std(stream))
        })
    }

    fn new(size: usize, mut connect: impl FnMut() -> Box<dyn Socket>) -> Crowd {
        clacks::program::process_limits::raise_descriptor_limit().expect("a limit of our own");
        let poll = Poll::new().expect("a poll");
        let mut members = Vec::with_capacity(size);
        for index in 0..size {
            let mut socket = connect();
            poll.registry()
                .register(&mut socket, Token(index), Interest::READABLE)
                .expect("a fresh socket");
            members.push(Member {
                socket,
                received: Vec::new(),
                closed: false,
            });
        }
        Crowd {
            poll,
            events: Events::with_capacity(1024),
            members,
        }
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Logs all in as `user` and lets each send the lines of `more`; waits until the server has handled them.
    pub fn log_in(&mut self, user: &str, more: impl Fn(usize) -> String) {
        let token = token(user);
        self.send(|index| {
            format!(
                "CLACKS crowd\r\nOVERHEAD A {token}\r\n{}FLUSH ready\r\n",
                more(index)
            )
            .into_bytes()
        });
        self.wait_for_all("the login", |received| {
            received.ends_with(b"FLUSHED ready\r\n")
        });
        self.forget();
    }

    /// Each sends something of its own.
    pub fn send(&mut self, what: impl Fn(usize) -> Vec<u8>) {
        for (index, member) in self.members.iter_mut().enumerate() {
            let bytes = what(index);
            let end = Instant::now() + DEADLINE;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                match member.socket.write(rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        assert!(Instant::now() < end, "the server doesn't read");
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    Err(error) => panic!("number {index} can't send: {error}"),
                }
            }
        }
    }

    /// Reads what comes within `wait`; how many bytes that were.
    pub fn receive(&mut self, wait: Duration) -> usize {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => panic!("{error}"),
            _ => {}
        }
        let mut count = 0;
        let mut buffer = [0; 65536];
        for event in &self.events {
            let member = &mut self.members[event.token().0];
            while !member.closed {
                match member.socket.read(&mut buffer) {
                    Ok(0) => member.closed = true,
                    Ok(more) => {
                        member.received.extend_from_slice(&buffer[..more]);
                        count += more;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => member.closed = true,
                }
            }
        }
        count
    }

    /// Waits until what each has received is right.
    pub fn wait_for_all(&mut self, what: &str, is_right: impl Fn(&[u8]) -> bool) {
        let end = Instant::now() + DEADLINE;
        let mut waiting: Vec<usize> = (0..self.members.len()).collect();
        loop {
            waiting.retain(|&index| !is_right(&self.members[index].received));
            let Some(&first) = waiting.first() else {
                return;
            };
            let member = &self.members[first];
            assert!(
                Instant::now() < end && !member.closed,
                "{what}: {} of {} wait, one got {:?}",
                waiting.len(),
                self.members.len(),
                String::from_utf8_lossy(&member.received[..member.received.len().min(500)])
            );
            self.receive(Duration::from_millis(100));
        }
    }

    /// Returns the bytes that each has received and not forgotten.
    pub fn received(&self) -> impl Iterator<Item = &[u8]> {
        self.members.iter().map(|member| &member.received[..])
    }

    /// Forgets what was received.
    pub fn forget(&mut self) {
        self.members
            .iter_mut()
            .for_each(|member| member.received = Vec::new());
    }

    /// How many the server has closed.
    pub fn closed(&self) -> usize {
        self.members.iter().filter(|member| member.closed).count()
    }
}
