//! A client that the test drives by hand: sends lines, waits for lines.

use super::{DEADLINE, tls};
use clacks::protocol::peer::{self, PeerLine};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConnection, StreamOwned, SupportedProtocolVersion};
use socket2::{Domain, Socket, Type};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn set_read_timeout(&self, wait: Duration) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.set_read_timeout(Some(wait)),
            Stream::Tcp(stream) => stream.set_read_timeout(Some(wait)),
            Stream::Tls(stream) => stream.sock.set_read_timeout(Some(wait)),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

pub struct Client {
    stream: Stream,
    received: Vec<u8>,
    /// How much of it was searched for line ends: values of megabytes come in many pieces.
    searched: usize,
    lines: VecDeque<String>,
    flushes: u32,
    closed: bool,
    /// Closed, and not in the way that its kind of stream ends.
    cut: bool,
}

/// The login token of a user whose password is its name and `pw`.
pub fn token(user: &str) -> String {
    clacks::protocol::token::Token::encode(user.as_bytes(), format!("{user}pw").as_bytes())
}

/// The STATE lines that say as much as a STATES line; `None` of any other line.
pub fn states_in(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let Some(PeerLine::States(packed)) = peer::decode(line) else {
        return None;
    };
    let lines = packed.lines();
    assert!(
        !lines.is_empty(),
        "the server packs states in the right form"
    );
    Some(lines)
}

/// A connection to a port of this machine from another one of its addresses.
pub fn connect_from(from: Ipv4Addr, port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let bound = socket.bind(&SocketAddr::from((from, 0)).into());
    bound.expect("all of 127.0.0.0/8 is ours");
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    socket
        .connect(&to.into())
        .expect("the server listens there");
    socket.set_tcp_nodelay(true).expect("a fresh socket");
    socket.into()
}

impl Client {
    pub fn unix(path: &Path) -> Client {
        Client::from_unix(UnixStream::connect(path).expect("the server listens there"))
    }

    pub fn from_unix(stream: UnixStream) -> Client {
        Client::new(Stream::Unix(stream))
    }

    /// The server's own connection to a master that the test plays.
    pub fn accepted(stream: UnixStream) -> Client {
        Client::new(Stream::Unix(stream))
    }

    pub fn tcp(port: u16) -> Client {
        Client::tcp_address(("127.0.0.1", port))
    }

    pub fn from_tcp(stream: TcpStream) -> Client {
        Client::new(Stream::Tcp(stream))
    }

    fn new(stream: Stream) -> Client {
        Client {
            stream,
            received: Vec::new(),
            searched: 0,
            lines: VecDeque::new(),
            flushes: 0,
            closed: false,
            cut: false,
        }
    }

    pub fn tcp_address(address: impl ToSocketAddrs) -> Client {
        let stream = TcpStream::connect(address).expect("the server listens there");
        stream.set_nodelay(true).expect("a fresh socket");
        Client::new(Stream::Tcp(stream))
    }

    /// From that address, which is one of this machine.
    pub fn tcp_from(from: Ipv4Addr, port: u16) -> Client {
        Client::from_tcp(connect_from(from, port))
    }

    /// Over TLS, from that address, which is one of this machine.
    pub fn tls_from(
        from: Ipv4Addr,
        port: u16,
        version: &'static SupportedProtocolVersion,
    ) -> Client {
        let stream = StreamOwned::new(tls::session(version), connect_from(from, port));
        Client::new(Stream::Tls(Box::new(stream)))
    }

    /// Over TLS; the handshake is done with the first line that is sent or read.
    pub fn tls(port: u16, version: &'static SupportedProtocolVersion) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens there");
        stream.set_nodelay(true).expect("a fresh socket");
        let stream = StreamOwned::new(tls::session(version), stream);
        Client::new(Stream::Tls(Box::new(stream)))
    }

    fn session(&mut self) -> &mut StreamOwned<ClientConnection, TcpStream> {
        match &mut self.stream {
            Stream::Tls(stream) => stream,
            _ => panic!("no TLS"),
        }
    }

    /// Returns the certificate that the server has shown.
    pub fn certificate(&mut self) -> CertificateDer<'static> {
        let certificates = self.session().conn.peer_certificates();
        certificates.expect("the handshake is done")[0].clone()
    }

    /// Something that is no TLS, in the midst of it.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let sent = self.session().sock.write_all(bytes);
        sent.expect("the server reads");
    }

    /// Closes the socket at once, without close_notify, as Net::Clacks clients do.
    pub fn vanish(mut self) {
        let closed = self.session().sock.shutdown(Shutdown::Both);
        closed.expect("an open socket");
    }

    /// Ends what it sends with close_notify, and leaves the socket open.
    pub fn send_close_notify(&mut self) {
        let stream = self.session();
        stream.conn.send_close_notify();
        stream.flush().expect("the server reads");
    }

    /// Ends what it sends without close_notify.
    pub fn shutdown_socket(&mut self) {
        let closed = self.session().sock.shutdown(Shutdown::Write);
        closed.expect("an open socket");
    }

    /// Logs in and waits for the welcome.
    pub fn logged_in(mut self, user: &str) -> Client {
        self.send(&format!("CLACKS test of {user}"));
        self.send(&format!("OVERHEAD A {}", token(user)));
        self.expect_after_others("OVERHEAD O Welcome!");
        self
    }

    pub fn send(&mut self, line: &str) {
        self.send_bytes(format!("{line}\r\n").as_bytes());
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the server reads");
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// Sends no more.
    pub fn shutdown_write(&mut self) {
        match &mut self.stream {
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tls(stream) => {
                stream.conn.send_close_notify();
                stream
                    .flush()
                    .and_then(|()| stream.sock.shutdown(Shutdown::Write))
            }
        }
        .expect("an open socket");
    }

    /// Reads what comes within `wait`; false if nothing did.
    pub fn receive(&mut self, wait: Duration) -> bool {
        if self.closed {
            return false;
        }
        let mut buffer = [0; 65536];
        let waiting = self.stream.set_read_timeout(wait);
        let read = waiting.and_then(|()| self.stream.read(&mut buffer));
        match read {
            Ok(0) => self.closed = true,
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                let mut start = 0;
                while let Some(length) = memchr::memchr(b'\n', &self.received[self.searched..]) {
                    let end = self.searched + length;
                    let line = self.received[start..end]
                        .strip_suffix(b"\r")
                        .expect("the server ends lines in CR LF");
                    let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
                    match states_in(line) {
                        Some(states) => self.lines.extend(states.iter().map(|line| text(line))),
                        None => self.lines.push_back(text(line)),
                    }
                    start = end + 1;
                    self.searched = start;
                }
                self.received.drain(..start);
                self.searched = self.received.len();
                return true;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => (self.closed, self.cut) = (true, true),
        }
        false
    }

    /// Reports whether the stream ended in an error: with TLS, also if it ended without close_notify.
    pub fn was_cut(&self) -> bool {
        self.cut
    }

    /// The next line; `None` when the server has closed the connection.
    pub fn next_line(&mut self) -> Option<String> {
        let end = Instant::now() + DEADLINE;
        while self.lines.is_empty() && !self.closed {
            assert!(Instant::now() < end, "no line came");
            self.receive(Duration::from_millis(200));
        }
        self.lines.pop_front()
    }

    pub fn expect(&mut self, line: &str) {
        assert_eq!(self.next_line().as_deref(), Some(line));
    }

    /// Skips lines up to this one.
    pub fn expect_after_others(&mut self, line: &str) {
        while let Some(next) = self.next_line() {
            if next == line {
                return;
            }
        }
        panic!("closed before \"{line}\" came");
    }

    /// Sends a FLUSH with a text of its own; see [`Client::finish_flush`].
    pub fn start_flush(&mut self) {
        self.flushes += 1;
        let line = format!("FLUSH sync-{}\r\n", self.flushes);
        let _ = self.try_send(line.as_bytes());
    }

    /// Everything that came before the answer to the flush, or before the connection was closed.
    pub fn finish_flush(&mut self) -> Vec<String> {
        let answer = format!("FLUSHED sync-{}", self.flushes);
        let mut before = Vec::new();
        while let Some(line) = self.next_line().filter(|line| *line != answer) {
            before.push(line);
        }
        before
    }

    /// Waits until the server has handled all that was sent, and returns the lines that came meanwhile.
    pub fn flush(&mut self) -> Vec<String> {
        self.start_flush();
        self.finish_flush()
    }

    /// Sends a line and returns the lines that came until the server had handled it.
    pub fn ask(&mut self, line: &str) -> Vec<String> {
        self.send(line);
        self.flush()
    }

    /// Everything that came, waiting a moment for it. For connections that can't FLUSH.
    pub fn whatever_came(&mut self, wait: Duration) -> Vec<String> {
        while self.receive(wait) {}
        self.lines.drain(..).collect()
    }

    /// The lines that are here after at most one read.
    pub fn read_once(&mut self, wait: Duration) -> Vec<String> {
        self.receive(wait);
        self.lines.drain(..).collect()
    }

    /// Waits for the end of the connection; what came before.
    pub fn until_closed(&mut self) -> Vec<String> {
        let end = Instant::now() + DEADLINE;
        let mut lines = Vec::new();
        while let Some(line) = self.next_line() {
            assert!(Instant::now() < end, "it is not closed");
            lines.push(line);
        }
        lines
    }

    /// Returns the bytes that came after the last whole line.
    pub fn unfinished_line(&self) -> &[u8] {
        &self.received
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }
}
