//! A connection that a test drives byte by byte.

use super::DEADLINE;
use socket2::Socket;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub struct Conversation {
    stream: Socket,
    /// Bytes that have come and were not asked for yet.
    pub came: Vec<u8>,
    pub is_closed: bool,
}

impl Conversation {
    pub fn begin(socket: &Path) -> Conversation {
        let stream = UnixStream::connect(socket).expect("the server listens there");
        Conversation::over(stream.into())
    }

    /// Begins a conversation at a TCP port of this machine.
    pub fn begin_at(port: u16) -> Conversation {
        Conversation::begin_to((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Begins a conversation at a TCP address.
    pub fn begin_to(address: SocketAddr) -> Conversation {
        let stream = TcpStream::connect(address);
        let stream = stream.expect("the server listens there");
        stream.set_nodelay(true).expect("a fresh socket");
        Conversation::over(stream.into())
    }

    fn over(stream: Socket) -> Conversation {
        let limited = stream.set_read_timeout(Some(DEADLINE));
        limited.expect("a fresh socket");
        Conversation {
            stream,
            came: Vec::new(),
            is_closed: false,
        }
    }

    /// Sends bytes. A server that has closed the connection does not read them.
    pub fn say(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes) {
            Err(error) if is_of_a_closed_connection(error.kind()) => {}
            sent => sent.expect("a socket"),
        }
    }

    /// Sends bytes in a thread beside this one, which may read meanwhile.
    pub fn say_beside(&self, bytes: Vec<u8>) -> JoinHandle<()> {
        let mut stream = self.stream.try_clone().expect("an open socket");
        std::thread::spawn(move || stream.write_all(&bytes).expect("the server reads"))
    }

    /// As [`Conversation::say_beside`], until the server closes the connection.
    pub fn say_until_closed_beside(&self, bytes: Vec<u8>) -> JoinHandle<()> {
        let mut stream = self.stream.try_clone().expect("an open socket");
        std::thread::spawn(move || {
            let _ = stream.write_all(&bytes);
        })
    }

    /// Sends bytes, and waits until the server has read them, so that it does not get them together with others. Over
    /// TCP, they are only sure to have arrived.
    pub fn say_alone(&mut self, bytes: &[u8]) {
        self.say(bytes);
        let end = Instant::now() + DEADLINE;
        while self.unread() > 0 {
            assert!(Instant::now() < end, "the server does not read");
            std::thread::yield_now();
        }
    }

    fn unread(&self) -> libc::c_int {
        let mut bytes = 0;
        // SAFETY: the call writes one int, which outlives it.
        let done = unsafe { libc::ioctl(self.stream.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
        assert_eq!(done, 0);
        bytes
    }

    /// Waits for more bytes, or for the end of the connection; false if neither comes.
    #[must_use]
    pub fn wait(&mut self) -> bool {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.is_closed = true,
            Ok(count) => self.came.extend_from_slice(&buffer[..count]),
            Err(error) if is_of_a_closed_connection(error.kind()) => self.is_closed = true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("the connection is lost: {error}"),
        }
        true
    }

    /// Reports whether the server closes the connection within that time, in which nothing comes.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        let limited = self.stream.set_read_timeout(Some(time));
        limited.expect("an open socket");
        let has_come = self.wait();
        let limited = self.stream.set_read_timeout(Some(DEADLINE));
        limited.expect("an open socket");
        assert!(self.came.is_empty(), "{}", self.came.escape_ascii());
        has_come
    }

    /// Sends no more, and returns what the server still answers before it closes.
    pub fn end(self) -> Vec<u8> {
        let _ = self.stream.shutdown(Shutdown::Write);
        self.until_closed()
    }

    /// Returns what the server says before it closes.
    pub fn until_closed(mut self) -> Vec<u8> {
        while !self.is_closed {
            assert!(self.wait(), "the server does not close the connection");
        }
        self.came
    }

    /// Returns what comes before an end that does not come within it.
    pub fn until(&mut self, end: &[u8]) -> Vec<u8> {
        while !self.came.ends_with(end) {
            assert!(
                !self.is_closed && self.wait(),
                "nothing more than \"{}\" came",
                self.came.escape_ascii()
            );
        }
        let mut came = std::mem::take(&mut self.came);
        came.truncate(came.len() - end.len());
        came
    }

    /// Returns the next line without its end.
    pub fn line(&mut self) -> Vec<u8> {
        loop {
            if let Some(length) = memchr::memmem::find(&self.came, b"\r\n") {
                let mut line: Vec<u8> = self.came.drain(..length + 2).collect();
                line.truncate(length);
                return line;
            }
            assert!(
                !self.is_closed && self.wait(),
                "no line, but \"{}\" came",
                self.came.escape_ascii()
            );
        }
    }

    /// Sends a request, and returns its answer, which ends as said.
    pub fn ask(&mut self, request: &[u8], end: &[u8]) -> Vec<u8> {
        self.say(request);
        self.until(end)
    }
}

fn is_of_a_closed_connection(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}
