//! TLS on a socket: looks like a plain stream to whoever reads and writes it, and never waits.
//!
//! Handshakes are work: key exchanges, and a signature at the server's side. So they take their steps when
//! the loop has time for one ([`TlsStream::shake_hands`]), and nothing is read before they are done.
//!
//! Records are decrypted and encrypted in buffers that all streams share. With a stream stays only what is cut off: the
//! first part of a record, lines for which a reader has no room, and what the socket doesn't take.

mod hello;
mod session;

use crate::certificates::OwnCertificate;
use crate::limits::{MAX_CLIENT_HELLO, MAX_SERVER_HANDSHAKE, TLS_MEMORY, TLS_READ, TLS_RECORD};
use crate::reactor::fault::{Fault, is_tls};
use hello::{Hello, look_for_hello};
use mio::net::TcpStream;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, Error};
use session::{Made, Received, Session, Task};
use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Bytes before the content of a record.
const RECORD_HEAD: usize = 5;

thread_local! {
    static SHARED: RefCell<Shared> = RefCell::default();
}

/// Buffers that all streams of a thread use, one after the other.
#[derive(Default)]
struct Shared {
    /// Records that were read, behind those that wait for them.
    records: Vec<u8>,
    made: Made,
    /// Lines for one record.
    gathered: Vec<u8>,
}

pub struct TlsStream {
    socket: TcpStream,
    stage: Stage,
    /// Records that wait for more to come: usually the first part of one.
    records: Vec<u8>,
    /// Bytes of lines that have come, and that nobody has read yet.
    lines: Vec<u8>,
    /// Records that the socket has not taken.
    unsent: Vec<u8>,
    /// Bytes read in the handshake or, after it, since the last bytes of lines.
    unfinished: usize,
    /// Bytes of lines that were taken since the socket last took everything.
    taken: usize,
    /// Lines were ever taken.
    has_carried: bool,
    /// The peer has said that it will send nothing more.
    has_ended: bool,
    /// The last read found less in the socket than it asked for.
    is_drained: bool,
    /// Bytes that the socket has taken.
    moved: u64,
}

enum Stage {
    /// The client's first message is on its way.
    Hello,
    /// It is complete. Answering it takes a signature.
    Accepted,
    Session(Session),
    /// It has failed. The reason is there until it is told.
    Over(Option<io::Error>),
}

impl TlsStream {
    /// Of a client.
    pub fn accept(socket: TcpStream) -> TlsStream {
        TlsStream::new(socket, Stage::Hello)
    }

    /// To a server that goes by that name.
    pub fn connect(
        socket: TcpStream,
        name: ServerName<'static>,
        config: Arc<ClientConfig>,
    ) -> io::Result<TlsStream> {
        let session = UnbufferedClientConnection::new(config, name).map_err(Fault::Protocol)?;
        let session = Session::Client(Box::new(session));
        let mut stream = TlsStream::new(socket, Stage::Session(session));
        SHARED.with_borrow_mut(|shared| stream.run(shared, 0, &mut [], Task::Nothing));
        Ok(stream)
    }

    fn new(socket: TcpStream, stage: Stage) -> TlsStream {
        TlsStream {
            socket,
            stage,
            records: Vec::new(),
            lines: Vec::new(),
            unsent: Vec::new(),
            unfinished: 0,
            taken: 0,
            has_carried: false,
            has_ended: false,
            is_drained: false,
            moved: 0,
        }
    }

    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// The socket's descriptor, to be asked something.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// Reports whether the other side has sent anything, or this side has begun.
    pub fn has_begun(&self) -> bool {
        !matches!(self.stage, Stage::Hello) || !self.records.is_empty()
    }

    /// Reports whether the stream takes lines: the handshake is done.
    pub fn is_open(&self) -> bool {
        matches!(&self.stage, Stage::Session(session) if session.is_open())
    }

    /// Reports whether the stream ever took lines.
    pub fn has_carried(&self) -> bool {
        self.has_carried
    }

    /// Bytes that the socket has taken, in all.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// Reports whether the next step is to answer a client's first message, which takes a signature.
    pub fn is_to_sign(&self) -> bool {
        matches!(self.stage, Stage::Accepted)
    }

    /// To be asked right after a read. Reports whether there is nothing more to read: an event will say when there is.
    pub fn is_drained(&self) -> bool {
        let has_more = self.has_ended || !self.lines.is_empty();
        self.is_drained && !has_more && matches!(self.stage, Stage::Session(_))
    }

    /// Bytes that were taken, or made by TLS itself, and are not in the socket yet; roughly.
    pub fn unsent(&self) -> usize {
        match self.unsent.is_empty() {
            true => 0,
            false => self.taken.max(1),
        }
    }

    /// Memory in bytes: keys, messages and records that are not complete, and what waits for its reader or the socket.
    pub fn memory(&self) -> usize {
        TLS_MEMORY + self.records.capacity() + self.lines.capacity() + self.unsent.capacity()
    }

    /// Says that nothing more will come.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.say_goodbye();
        self.socket.shutdown(Shutdown::Write)
    }

    /// Sends the alert that tells the end of a stream from a cut one, as far as the socket takes it at once.
    pub fn say_goodbye(&mut self) {
        SHARED.with_borrow_mut(|shared| self.run(shared, 0, &mut [], Task::Close));
        let _ = self.flush();
    }

    /// Takes the handshake one step further, with the certificate of `own` where this is the server: reads
    /// a piece, and processes it. 0 at the end of the stream; an error of kind `WouldBlock` if nothing has
    /// come. A step may be a key exchange or a signature, milliseconds of work.
    pub fn shake_hands(&mut self, own: Option<&OwnCertificate>) -> io::Result<usize> {
        let count = match self.stage {
            Stage::Hello => self.read_hello(own)?,
            Stage::Accepted => {
                self.answer(own);
                1
            }
            Stage::Session(_) => self.advance(&mut [])?.0,
            Stage::Over(_) => 0,
        };
        self.check().map(|()| count)
    }

    /// Reads a piece of a client's first message.
    fn read_hello(&mut self, own: Option<&OwnCertificate>) -> io::Result<usize> {
        let count = SHARED.with_borrow_mut(|shared| {
            let count = self.fill(shared, TLS_READ)?;
            let kept = self.records.len();
            self.records
                .extend_from_slice(&shared.records[kept..kept + count]);
            io::Result::Ok(count)
        })?;
        if self.records.first().is_some_and(|first| !is_tls(*first)) {
            self.end(None);
            return Err(Fault::PlainText.into());
        }
        match look_for_hello(&self.records) {
            Hello::Partial => {}
            Hello::Complete => self.stage = Stage::Accepted,
            Hello::Wrong => {
                // The session knows what is wrong, unless it would wait for something else.
                self.answer(own);
                if matches!(self.stage, Stage::Session(_)) {
                    self.end(Some(Error::General(
                        "no ClientHello comes first".to_owned(),
                    )));
                }
            }
        }
        self.limit_unfinished();
        Ok(count)
    }

    /// Answers the client's first message.
    fn answer(&mut self, own: Option<&OwnCertificate>) {
        let own = own.expect("whoever listens for TLS has a certificate");
        match UnbufferedServerConnection::new(own.clone()) {
            Ok(session) => self.stage = Stage::Session(Session::Server(Box::new(session))),
            Err(error) => return self.end(Some(error)),
        }
        SHARED.with_borrow_mut(|shared| self.run(shared, 0, &mut [], Task::Nothing));
    }

    /// Reads a piece from the socket and processes it. Returns how much that was, and how many bytes of lines are in
    /// `room` now; further ones wait.
    fn advance(&mut self, room: &mut [u8]) -> io::Result<(usize, usize)> {
        let most = self.most_to_read(room.len());
        SHARED.with_borrow_mut(|shared| {
            let count = self.fill(shared, most)?;
            let filled = self.run(shared, count, room, Task::Nothing);
            self.limit_unfinished();
            Ok((count, filled))
        })
    }

    /// Returns how much the socket is asked for. Of a long record that is the rest, and the head of the next one: what is
    /// read of that would be copied once more.
    fn most_to_read(&self, room: usize) -> usize {
        if !self.is_open() {
            return TLS_READ;
        }
        let Some((&[_, _, _, high, low], rest)) = self.records.split_first_chunk() else {
            return room;
        };
        let missing = usize::from(u16::from_be_bytes([high, low])).saturating_sub(rest.len());
        match missing >= TLS_RECORD / 2 {
            true => missing + RECORD_HEAD,
            false => room,
        }
    }

    /// Reads a piece from the socket to where it is to stand behind what is kept.
    fn fill(&mut self, shared: &mut Shared, most: usize) -> io::Result<usize> {
        let kept = self.records.len();
        shared.make_room(kept + most);
        let count = self.socket.read(&mut shared.records[kept..kept + most])?;
        self.is_drained = count < most;
        self.unfinished += count;
        Ok(count)
    }

    /// Processes what is kept and the `count` bytes that were read behind it, and then does the task. Returns how many
    /// bytes of lines are in `room` now.
    fn run(&mut self, shared: &mut Shared, count: usize, room: &mut [u8], task: Task<'_>) -> usize {
        let Stage::Session(session) = &mut self.stage else {
            return 0;
        };
        let was_open = session.is_open();
        let kept = self.records.len();
        shared.make_room(kept);
        shared.records[..kept].copy_from_slice(&self.records);
        let records = &mut shared.records[..kept + count];
        shared.made.clear();
        let mut received = Received {
            room,
            filled: 0,
            rest: std::mem::take(&mut self.lines),
            has_ended: false,
        };
        let done = session.run(records, task, &mut received, &mut shared.made);
        let is_through = !received.is_empty() || session.is_open() != was_open;
        self.has_ended |= received.has_ended;
        self.lines = received.rest;
        self.send(shared.made.bytes());
        match done {
            // Nothing behind the end counts.
            Ok(_) if self.has_ended => self.records = Vec::new(),
            Ok(done) => self.records = records[done..].to_vec(),
            Err(error) => self.end(Some(error)),
        }
        if is_through {
            self.unfinished = self.records.len();
        }
        received.filled
    }

    /// Writes records, and keeps what the socket doesn't take.
    fn send(&mut self, records: &[u8]) {
        let mut sent = 0;
        if self.unsent.is_empty() && !records.is_empty() {
            // Whatever is wrong is said again when the rest is written.
            sent = self.socket.write(records).unwrap_or(0);
            self.moved += sent as u64;
        }
        self.unsent.extend_from_slice(&records[sent..]);
    }

    /// Ends the session, and sends the alert that says why as far as the socket takes it at once.
    fn end(&mut self, reason: Option<Error>) {
        let _ = self.flush();
        self.unsent = Vec::new();
        self.records = Vec::new();
        self.stage = Stage::Over(reason.map(|error| Fault::Protocol(error).into()));
    }

    /// Ends the session if more of a message has come than is kept.
    fn limit_unfinished(&mut self) {
        let max = match &self.stage {
            Stage::Session(Session::Client(_)) => MAX_SERVER_HANDSHAKE,
            _ if self.is_open() => TLS_RECORD + MAX_CLIENT_HELLO,
            _ => MAX_CLIENT_HELLO,
        };
        if self.unfinished > max && !matches!(self.stage, Stage::Over(_)) {
            let too_long = "a handshake message is too long".to_owned();
            self.end(Some(Error::General(too_long)));
        }
    }

    /// An error if the session has failed, once.
    fn check(&mut self) -> io::Result<()> {
        match &mut self.stage {
            Stage::Over(reason) => reason.take().map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }
}

impl Shared {
    fn make_room(&mut self, length: usize) {
        if self.records.len() < length {
            self.records.resize(length, 0);
        }
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.lines.is_empty() {
                // Since they came there may have been events.
                self.is_drained = false;
                let count = self.lines.len().min(buffer.len());
                buffer[..count].copy_from_slice(&self.lines[..count]);
                self.lines.drain(..count);
                if self.lines.is_empty() {
                    self.lines = Vec::new();
                }
                return Ok(count);
            }
            self.check()?;
            match self.stage {
                // There are no lines before a session: this is read to be dropped.
                Stage::Hello | Stage::Accepted => return self.socket.read(buffer),
                Stage::Over(_) => return Ok(0),
                Stage::Session(_) if self.has_ended => return Ok(0),
                Stage::Session(_) => {}
            }
            // Net::Clacks clients close the socket without a word. Lines have ends of their own, so nothing can pass
            // for complete that was cut off.
            let (count, filled) = self.advance(buffer)?;
            if filled > 0 || count == 0 {
                return Ok(filled);
            }
        }
    }
}

impl Write for TlsStream {
    /// Takes at most one record's worth, and nothing while an earlier one waits for the socket.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        if !self.is_open() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let bytes = &bytes[..bytes.len().min(TLS_RECORD)];
        self.has_carried = true;
        SHARED.with_borrow_mut(|shared| self.run(shared, 0, &mut [], Task::Write(bytes)));
        self.check()?;
        self.taken = bytes.len();
        Ok(bytes.len())
    }

    /// Puts the pieces into one record, as far as they go in.
    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Some(first) = pieces.first().filter(|first| first.len() >= TLS_RECORD) {
            return self.write(first);
        }
        let mut gathered = SHARED.with_borrow_mut(|shared| std::mem::take(&mut shared.gathered));
        gathered.clear();
        for piece in pieces {
            let room = TLS_RECORD - gathered.len();
            gathered.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        let written = self.write(&gathered);
        SHARED.with_borrow_mut(|shared| shared.gathered = gathered);
        written
    }

    /// Writes what waits; an error of kind `WouldBlock` if the socket doesn't take all of it.
    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let count = self.socket.write(&self.unsent)?;
            if count == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            self.moved += count as u64;
            self.unsent.drain(..count);
        }
        self.unsent = Vec::new();
        self.taken = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::{self, Trust};
    use rustls::ClientConnection;
    use rustls::pki_types::PrivateKeyDer;
    use std::net;

    /// The client of a stream, at the other end of its socket. Both wait for what they read.
    struct Client {
        session: ClientConnection,
        socket: net::TcpStream,
    }

    impl Client {
        fn connect() -> (Client, TlsStream) {
            let listener = net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("it is bound");
            let socket = net::TcpStream::connect(address).expect("it listens");
            let (accepted, _) = listener.accept().expect("there is a client");
            let trust = certificates::of_server(Trust::Anybody).expect("a right configuration");
            let name = ServerName::try_from("localhost").expect("a name");
            let session = ClientConnection::new(trust, name).expect("a right configuration");
            let client = Client { session, socket };
            (client, TlsStream::accept(TcpStream::from_std(accepted)))
        }

        fn flush(&mut self) {
            while self.session.wants_write() {
                let written = self.session.write_tls(&mut self.socket);
                written.expect("there is room in the socket");
            }
        }

        fn send(&mut self, lines: &[u8]) {
            let written = self.session.writer().write(lines);
            assert_eq!(written.expect("room in memory"), lines.len());
            self.flush();
        }

        fn shake_hands(&mut self, stream: &mut TlsStream) {
            let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
            let identity = identity.expect("a name");
            let key = PrivateKeyDer::try_from(identity.signing_key.serialize_der());
            let own = certificates::own(vec![identity.cert.der().clone()], key.expect("PKCS#8"));
            let own = own.expect("they fit");
            self.flush();
            while !matches!(stream.stage, Stage::Session(_)) {
                let count = stream.shake_hands(Some(&own)).expect("a right ClientHello");
                assert!(count > 0);
            }
            while self.session.is_handshaking() {
                let read = self.session.read_tls(&mut self.socket);
                assert!(read.expect("an answer") > 0);
                let worked_off = self.session.process_new_packets();
                worked_off.expect("a right answer");
            }
            self.flush();
            while !stream.is_open() {
                assert!(stream.shake_hands(None).expect("a right end") > 0);
            }
        }
    }

    #[test]
    fn a_socket_is_drained_only_if_it_was_just_read_to_its_end() {
        let (mut client, mut stream) = Client::connect();
        client.shake_hands(&mut stream);
        let mut room = [0; 100];
        client.send(b"short");
        assert_eq!(stream.read(&mut room).expect("it has come"), 5);
        assert!(stream.is_drained());

        let long = [b'x'; 1_000];
        client.send(&long);
        let mut left = long.len();
        while left > 0 {
            left -= stream.read(&mut room).expect("it has come");
            // What comes between two reads is announced only once.
            client.send(b"y");
            assert!(!stream.is_drained(), "{left} are left");
        }
    }
}
