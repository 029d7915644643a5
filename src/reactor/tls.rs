//! TLS on a socket: looks like a plain stream to whoever reads and writes it, and never waits.
//!
//! Handshakes are work: key exchanges, and a signature at the server's side. So they take their steps when
//! the loop has time for one ([`TlsStream::shake_hands`]), and nothing is read before they are done.

use crate::certificates::OwnCertificate;
use crate::limits::{MAX_CLIENT_HELLO, MAX_SERVER_HANDSHAKE, TLS_MEMORY, TLS_READ, TLS_RECORD};
use crate::reactor::fault::{Fault, is_tls};
use mio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::server::{Accepted, Acceptor};
use rustls::{ClientConfig, ClientConnection, Connection};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

pub struct TlsStream {
    socket: TcpStream,
    stage: Stage,
    /// Bytes read in the handshake or, after it, since the last bytes of lines.
    unfinished: usize,
    /// The progress of the record that is being received.
    record: PartialRecord,
    /// Bytes of lines that were taken since the socket last took everything.
    taken: usize,
    /// Lines were ever taken.
    has_carried: bool,
    /// Bytes that the socket has taken.
    moved: u64,
}

enum Stage {
    /// The client's first message is on its way.
    Hello(Acceptor),
    /// It is complete. Answering it takes a signature.
    Accepted(Accepted),
    Session(Connection),
    /// The handshake has failed.
    Over,
}

/// Keeps in mind what is read through it: the first byte, and how much of a record that is not complete.
struct Sniffer<'a> {
    socket: &'a mut TcpStream,
    first: Option<u8>,
    record: &'a mut PartialRecord,
}

impl Read for Sniffer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(buffer)?;
        self.first = buffer[..count].first().copied();
        self.record.add(&buffer[..count]);
        Ok(count)
    }
}

/// Where a stream of records stands: rustls keeps the bytes of a record until it is complete.
#[derive(Default)]
struct PartialRecord {
    /// Its header, of which so much has come.
    header: [u8; 5],
    /// Bytes that have come, with the header.
    length: usize,
    /// Bytes of its content that are still to come, once the header is complete.
    missing: usize,
}

impl PartialRecord {
    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let header = self.header.len();
            let count = match self.length < header {
                true => (header - self.length).min(bytes.len()),
                false => self.missing.min(bytes.len()),
            };
            let (taken, rest) = bytes.split_at(count);
            if self.length < header {
                self.header[self.length..self.length + count].copy_from_slice(taken);
                if self.length + count == header {
                    self.missing =
                        usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                }
            } else {
                self.missing -= count;
            }
            self.length += count;
            if self.length >= header && self.missing == 0 {
                self.length = 0;
            }
            bytes = rest;
        }
    }
}

/// Memory of the buffer in which rustls keeps so many bytes: it reads a page more at a time, and grows by doubling.
fn buffer_memory(kept: usize) -> usize {
    (kept + TLS_READ).next_power_of_two()
}

impl TlsStream {
    /// Of a client.
    pub fn accept(socket: TcpStream) -> TlsStream {
        TlsStream {
            socket,
            stage: Stage::Hello(Acceptor::default()),
            unfinished: 0,
            record: PartialRecord::default(),
            taken: 0,
            has_carried: false,
            moved: 0,
        }
    }

    /// To a server that goes by that name.
    pub fn connect(
        socket: TcpStream,
        name: ServerName<'static>,
        config: Arc<ClientConfig>,
    ) -> io::Result<TlsStream> {
        let session = ClientConnection::new(config, name).map_err(Fault::Protocol)?;
        Ok(TlsStream {
            socket,
            stage: Stage::Session(session.into()),
            unfinished: 0,
            record: PartialRecord::default(),
            taken: 0,
            has_carried: false,
            moved: 0,
        })
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

    /// Reports whether the stream takes lines: the handshake is done.
    pub fn is_open(&self) -> bool {
        matches!(&self.stage, Stage::Session(session) if !session.is_handshaking())
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
        matches!(self.stage, Stage::Accepted(_))
    }

    /// Takes the handshake one step further, with the certificate of `own` where this is the server: reads
    /// a piece, and works it off. 0 at the end of the stream; an error of kind `WouldBlock` if nothing has
    /// come. A step may be a key exchange or a signature, milliseconds of work.
    pub fn shake_hands(&mut self, own: Option<&OwnCertificate>) -> io::Result<usize> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Accepted(accepted) => {
                let own = own.expect("whoever listens for TLS has a certificate");
                match accepted.into_connection(own.clone()) {
                    Ok(session) => {
                        self.stage = Stage::Session(session.into());
                        Ok(1)
                    }
                    Err((error, mut alert)) => {
                        let _ = alert.write(&mut self.socket);
                        Err(Fault::Protocol(error).into())
                    }
                }
            }
            other => {
                self.stage = other;
                self.advance()
            }
        }
    }

    /// Bytes that were taken, or made by TLS itself, and are not in the socket yet; roughly.
    pub fn unsent(&self) -> usize {
        match &self.stage {
            Stage::Session(session) if session.wants_write() => self.taken.max(1),
            _ => 0,
        }
    }

    /// Memory in bytes: keys, messages and records that are not complete, and what waits for the socket.
    pub fn memory(&self) -> usize {
        // Messages of the handshake may come in many records, and are kept until they are complete.
        let kept = self.unfinished.max(self.record.length);
        TLS_MEMORY + buffer_memory(kept).saturating_sub(buffer_memory(1)) + self.taken
    }

    /// Says that nothing more will come.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.say_goodbye();
        self.socket.shutdown(Shutdown::Write)
    }

    /// Sends the alert that tells the end of a stream from a cut one, as far as the socket takes it at once.
    pub fn say_goodbye(&mut self) {
        if let Stage::Session(session) = &mut self.stage {
            session.send_close_notify();
            let _ = self.flush();
        }
    }

    /// Reads a piece from the socket and works it off; how much that was.
    fn advance(&mut self) -> io::Result<usize> {
        let count = match &mut self.stage {
            Stage::Hello(acceptor) => {
                let mut sniffer = Sniffer {
                    socket: &mut self.socket,
                    first: None,
                    record: &mut self.record,
                };
                let count = acceptor.read_tls(&mut sniffer)?;
                if self.unfinished == 0 && sniffer.first.is_some_and(|first| !is_tls(first)) {
                    self.stage = Stage::Over;
                    return Err(Fault::PlainText.into());
                }
                self.unfinished += count;
                match acceptor.accept() {
                    Ok(None) => {}
                    Ok(Some(accepted)) => self.stage = Stage::Accepted(accepted),
                    Err((error, mut alert)) => {
                        let _ = alert.write(&mut self.socket);
                        self.stage = Stage::Over;
                        return Err(Fault::Protocol(error).into());
                    }
                }
                count
            }
            Stage::Session(session) => {
                let was_open = !session.is_handshaking();
                let count = session.read_tls(&mut Sniffer {
                    socket: &mut self.socket,
                    first: None,
                    record: &mut self.record,
                })?;
                self.unfinished += count;
                match session.process_new_packets() {
                    Ok(state) => {
                        let is_open = !session.is_handshaking();
                        if state.plaintext_bytes_to_read() > 0 || is_open != was_open {
                            self.unfinished = 0;
                        }
                    }
                    Err(error) => {
                        // There is an alert to be sent that says the same.
                        let _ = session.write_tls(&mut self.socket);
                        self.stage = Stage::Over;
                        return Err(Fault::Protocol(error).into());
                    }
                }
                count
            }
            Stage::Accepted(_) => return Err(ErrorKind::WouldBlock.into()),
            Stage::Over => 0,
        };
        // So much of messages that never end would be kept.
        let max = match &self.stage {
            Stage::Session(Connection::Client(_)) => MAX_SERVER_HANDSHAKE,
            _ if self.is_open() => TLS_RECORD + MAX_CLIENT_HELLO,
            _ => MAX_CLIENT_HELLO,
        };
        if self.unfinished > max {
            self.stage = Stage::Over;
            let too_long = rustls::Error::General("a handshake message is too long".to_owned());
            return Err(Fault::Protocol(too_long).into());
        }
        Ok(count)
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Stage::Session(session) = &mut self.stage {
                match session.reader().read(buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    // Net::Clacks clients close the socket without a word. Lines have ends of their own,
                    // so nothing can pass for complete that was cut off.
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                    result => return result,
                }
            }
            if self.advance()? == 0 {
                return Ok(0);
            }
        }
    }
}

impl Write for TlsStream {
    /// Takes at most one record's worth, and nothing while an earlier one waits for the socket.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let Stage::Session(session) = &mut self.stage else {
            return Err(ErrorKind::WouldBlock.into());
        };
        let count = session
            .writer()
            .write(&bytes[..bytes.len().min(TLS_RECORD)])?;
        self.taken += count;
        self.has_carried = true;
        match self.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(count),
        }
    }

    /// Writes what waits; an error of kind `WouldBlock` if the socket doesn't take all of it.
    fn flush(&mut self) -> io::Result<()> {
        let Stage::Session(session) = &mut self.stage else {
            return Ok(());
        };
        while session.wants_write() {
            let count = session.write_tls(&mut self.socket)?;
            if count == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            self.moved += count as u64;
        }
        self.taken = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_record_is_known_however_the_stream_is_cut() {
        let records: Vec<u8> = [0_usize, 1, 5, 300]
            .iter()
            .flat_map(|length| {
                let header = [23, 3, 3, (length >> 8) as u8, *length as u8];
                header.into_iter().chain(vec![0; *length])
            })
            .collect();
        let ends = [0, 5, 11, 21, 326];
        for step in 1..=records.len() {
            let (mut partial, mut read) = (PartialRecord::default(), 0);
            for piece in records.chunks(step) {
                partial.add(piece);
                read += piece.len();
                let end = ends.iter().rev().find(|end| **end <= read);
                assert_eq!(partial.length, read - end.expect("the first is 0"));
            }
        }
    }
}
