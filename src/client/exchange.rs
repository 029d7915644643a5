//! The implementation of [`Client`]'s calls: sends lines, finds answers among arriving signals, notices lost connections
//! and reconnects.

use super::Client;
use super::connection::{Connection, GRACE};
use super::deadline::deadline_after;
use super::dial::Dial;
use super::error::Error;
use super::message::Message;
use crate::protocol::encode;
use crate::protocol::reply::{self, Reply};
use crate::protocol::{Flags, Overhead};
use std::io;
use std::time::{Duration, Instant};

/// The interval at which a client that only sends reads arriving lines. A server ends the connection only when the
/// system's buffers are full.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// The error that a server whose journal has failed sends before FLUSHED.
pub(super) const NOT_SAVED: &str = "not_saved";

/// The replies received so far in an exchange.
struct Replies<T> {
    /// The text of the FLUSH that ends the exchange.
    mark: String,
    /// The refusals of commands sent before the exchange.
    earlier: Vec<String>,
    /// The refusals since the last answer to a FLUSH.
    refusals: Vec<String>,
    /// The answer to the question.
    found: Option<T>,
    /// The last line was a refusal: if the connection ends now, the refusal is the reason.
    ends_with_refusal: bool,
}

impl<T> Replies<T> {
    fn is_waiting(&self) -> bool {
        self.found.is_none()
    }

    /// The reason for which the server has ended the connection, if its last line was a refusal.
    fn last_refusal(mut self) -> Option<String> {
        let reason = self.refusals.pop().or(self.earlier.pop());
        reason.filter(|_| self.ends_with_refusal)
    }
}

impl Client {
    /// Sends a line without an answer.
    pub(super) fn send(&mut self, line: &[&[u8]]) -> Result<(), Error> {
        let until = self.end_of_call();
        let mut bytes = Vec::new();
        encode::line(&mut bytes, line);
        // A line sent on a connection that the server has closed would be lost.
        self.check_connection(POLL_INTERVAL);
        self.ensure_connected(until)?;
        self.has_unconfirmed = true;
        self.send_all(bytes, until)
    }

    /// Sends a PING if it is due.
    pub(super) fn keep_alive(&mut self) -> Result<(), Error> {
        self.send_all(Vec::new(), self.end_of_call())
    }

    fn send_all(&mut self, lines: Vec<u8>, until: Instant) -> Result<(), Error> {
        self.push(lines);
        self.transmit(until).map_err(|error| {
            let error = self.disconnect(error);
            // This error tells the caller; the next sync need not.
            self.has_lost_lines = false;
            match error {
                // Part of the line may have been sent, so the connection can't be used any more.
                Error::TimedOut => Error::Disconnected(io::ErrorKind::TimedOut.into()),
                error => error,
            }
        })
    }

    /// Queues lines for sending, and before them a PING and a probe of a silent server if they are due.
    fn push(&mut self, lines: Vec<u8>) {
        self.probe_if_silent();
        if let Some(connection) = &mut self.connection {
            if let Some(interval) = self.options.ping_interval {
                connection.keep_alive(interval);
            }
            connection.push(lines);
        }
    }

    /// Queues a FLUSH if the server was silent for the probe interval. The answer shows that the server is alive.
    fn probe_if_silent(&mut self) {
        let interval = self.options.probe_interval;
        let is_due = |connection: &Connection| connection.wants_probe(interval);
        if !self.connection.as_ref().is_some_and(is_due) {
            return;
        }
        let mark = self.next_mark();
        let mut line = Vec::new();
        encode::line(&mut line, &[b"FLUSH ", mark.as_bytes()]);
        if let Some(connection) = &mut self.connection {
            connection.probe(line);
            self.probe = Some(mark);
        }
    }

    /// Returns an error if nothing has arrived for the probe interval after a probe.
    fn check_silence(&self) -> Result<(), Error> {
        let interval = self.options.probe_interval;
        match &self.connection {
            Some(connection) if connection.is_silent(interval) => {
                let what = "the server is silent, and does not answer a FLUSH";
                let silence = io::Error::new(io::ErrorKind::TimedOut, what);
                Err(Error::Disconnected(silence))
            }
            _ => Ok(()),
        }
    }

    /// Writes all queued lines. Arriving lines are read meanwhile, since a server may read nothing until its output is
    /// read.
    fn transmit(&mut self, until: Instant) -> Result<(), Error> {
        loop {
            let line = match self.connected()?.send(until) {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.refusal_or(error)),
            };
            self.handle_unsolicited(&line);
            // A stream of arriving lines must not extend the call.
            if Instant::now() > until {
                return Err(Error::TimedOut);
            }
        }
    }

    /// Reads arriving lines, unless that was done within `interval`, and so notices a lost connection.
    pub(super) fn check_connection(&mut self, interval: Duration) {
        let polled = match &mut self.connection {
            Some(connection) => connection.poll_input(interval),
            None => return,
        };
        if matches!(polled, Ok(false)) {
            return;
        }
        // Lines that arrived before the end of the connection come first.
        let polled = self.handle_buffered().and(polled);
        let polled = polled.and_then(|_| self.check_silence());
        // If the connection ends later, the reason is another one.
        self.refusal_is_last = false;
        if let Err(error) = polled {
            self.disconnect(error);
        }
    }

    /// Processes the lines that were read. One of them may end the connection.
    fn handle_buffered(&mut self) -> Result<(), Error> {
        while let Some(connection) = &mut self.connection
            && let Some(line) = connection.next_line()?
        {
            self.handle_unsolicited(&line);
        }
        Ok(())
    }

    /// Processes a line that arrives while no call waits for an answer.
    fn handle_unsolicited(&mut self, line: &[u8]) {
        let reply = reply::decode(line);
        self.refusal_is_last = false;
        match reply.and_then(|reply| refusal(&reply)) {
            Some(reason) => self.remember_refusal(reason),
            None => reply.into_iter().for_each(|reply| self.handle(reply)),
        }
    }

    /// Keeps a refusal for the next [`Client::sync`]. An earlier one becomes a message.
    fn remember_refusal(&mut self, reason: String) {
        if self.is_about_probe(&reason) {
            return;
        }
        if let Some(earlier) = self.refusal.replace(reason) {
            self.incoming.push(Message::Error(earlier.as_str().into()));
        }
        self.refusal_is_last = true;
    }

    /// Returns true for the error that a server with a failed journal sends to a mere probe. The program has written
    /// nothing that could be lost, so the error does not concern it.
    fn is_about_probe(&self, reason: &str) -> bool {
        self.probe.is_some() && !self.has_unconfirmed && reason == NOT_SAVED
    }

    /// Replaces the error of a closed connection by the refusal that was the server's last line, since the refusal is the
    /// reason.
    fn refusal_or(&mut self, error: Error) -> Error {
        match error {
            Error::Disconnected(_) if self.refusal_is_last => {
                self.refusal.take().map_or(error, Error::Refused)
            }
            error => error,
        }
    }

    /// The connection, or an error if there is none any more.
    fn connected(&mut self) -> Result<&mut Connection, Error> {
        self.connection.as_mut().ok_or_else(|| {
            let kind = io::ErrorKind::ConnectionReset;
            Error::Disconnected(io::Error::new(kind, "the server has ended it"))
        })
    }

    /// Sends a question and waits for its answer. Asks again if the connection is lost before the answer arrives.
    pub(super) fn ask<T>(
        &mut self,
        line: &[&[u8]],
        mut answer: impl FnMut(&Reply<'_>) -> Option<T>,
    ) -> Result<T, Error> {
        let until = self.end_of_call();
        let mut bytes = Vec::new();
        encode::line(&mut bytes, line);
        loop {
            match self.exchange(&bytes, until, &mut answer) {
                Ok((refusals, found)) => {
                    self.queue_refusals(refusals);
                    return Ok(found);
                }
                Err(Error::Disconnected(_)) if Instant::now() < until => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends lines and a FLUSH, and reads up to the answer to the FLUSH: the answer to the lines arrives before that, or
    /// never. Returns the refusals of earlier commands, and the answer that `answer` found.
    pub(super) fn exchange<T>(
        &mut self,
        lines: &[u8],
        until: Instant,
        mut answer: impl FnMut(&Reply<'_>) -> Option<T>,
    ) -> Result<(Vec<String>, T), Error> {
        self.ensure_connected(until)?;
        let mark = self.next_mark();
        let mut bytes = lines.to_vec();
        encode::line(&mut bytes, &[b"FLUSH ", mark.as_bytes()]);
        self.push(bytes);
        let mut replies = Replies {
            mark,
            earlier: self.refusal.take().into_iter().collect(),
            refusals: Vec::new(),
            found: None,
            ends_with_refusal: std::mem::take(&mut self.refusal_is_last),
        };
        let mut is_late = false;
        loop {
            let connection = self.connected()?;
            let received = if is_late {
                Err(Error::TimedOut)
            } else {
                connection.receive(until)
            };
            let is_sent = connection.is_sent();
            let line = match received {
                Ok(line) => line,
                // The connection stays usable: an answer that arrives later precedes the answer to this FLUSH, by which
                // the next exchange recognises it.
                Err(Error::TimedOut) if is_sent => {
                    let refusals = replies.earlier.into_iter().chain(replies.refusals);
                    refusals.for_each(|one| self.remember_refusal(one));
                    self.refusal_is_last = replies.ends_with_refusal;
                    return Err(Error::TimedOut);
                }
                Err(error) => {
                    let error = self.disconnect(error);
                    return Err(replies.last_refusal().map_or(error, Error::Refused));
                }
            };
            // A stream of arriving signals must not extend the call. This line is still processed.
            is_late = Instant::now() >= until;
            let reply = reply::decode(&line);
            let refused = reply.as_ref().and_then(refusal);
            replies.ends_with_refusal = refused.is_some();
            match (refused, reply) {
                (Some(reason), _) => replies.refusals.push(reason),
                (None, Some(Reply::Flushed(text))) if text == replies.mark.as_bytes() => {
                    self.has_unconfirmed = false;
                    let found = replies.found.take();
                    let found = found.or_else(|| answer(&Reply::Flushed(text)));
                    return self.finish_exchange(replies, found);
                }
                // Everything up to here belongs to earlier questions, which have timed out.
                (None, Some(Reply::Flushed(text))) => {
                    if self.is_probe(text) {
                        self.probe = None;
                    }
                    replies.found = None;
                    replies.earlier.append(&mut replies.refusals);
                }
                (None, Some(reply)) => match replies.is_waiting().then(|| answer(&reply)).flatten()
                {
                    Some(answer) => replies.found = Some(answer),
                    None => self.handle(reply),
                },
                (None, None) => {}
            }
        }
    }

    /// Ends an exchange whose FLUSH was answered. Returns the refusals of earlier commands, and the answer.
    ///
    /// # Errors
    /// [`Error::Refused`] if there was no answer. The last refusal is the one of the question then.
    fn finish_exchange<T>(
        &mut self,
        mut replies: Replies<T>,
        found: Option<T>,
    ) -> Result<(Vec<String>, T), Error> {
        let reason = found.is_none().then(|| replies.refusals.pop()).flatten();
        replies.earlier.append(&mut replies.refusals);
        if let Some(found) = found {
            return Ok((replies.earlier, found));
        }
        self.queue_refusals(replies.earlier);
        let reason = reason.unwrap_or_else(|| "there was no answer".to_owned());
        Err(Error::Refused(reason))
    }

    /// Queues refusals that no call waits for as messages.
    pub(super) fn queue_refusals(&mut self, refusals: Vec<String>) {
        for reason in refusals {
            self.incoming.push(Message::Error(reason.as_str().into()));
        }
    }

    /// A text for a FLUSH that no other FLUSH of this client has.
    fn next_mark(&mut self) -> String {
        self.flushes += 1;
        format!("clacks-{}", self.flushes)
    }

    /// Waits until a message may have arrived.
    pub(super) fn wait_for_message(&mut self, until: Instant) -> Result<(), Error> {
        self.ensure_connected(until)?;
        if !self.incoming.is_empty() {
            return Ok(());
        }
        self.probe_if_silent();
        let connection = self.connection.as_mut().expect("it was just ensured");
        let mut wake = until.min(connection.next_probe(self.options.probe_interval));
        if let Some(interval) = self.options.ping_interval {
            connection.keep_alive(interval);
            wake = wake.min(connection.next_ping(interval));
        }
        match connection.receive(wake) {
            Ok(line) => {
                if let Some(reply) = reply::decode(&line) {
                    self.handle(reply);
                }
                // Lines that become no messages could arrive without end.
                if Instant::now() > until + GRACE && self.incoming.is_empty() {
                    return Err(Error::TimedOut);
                }
                Ok(())
            }
            Err(Error::TimedOut) => match self.check_silence() {
                Err(silence) => Err(self.disconnect(silence)),
                // Only a PING or a probe was due.
                Ok(()) if wake < until => Ok(()),
                Ok(()) => Err(Error::TimedOut),
            },
            Err(error) => Err(self.disconnect(error)),
        }
    }

    /// Processes a reply that is no answer to a question.
    fn handle(&mut self, reply: Reply<'_>) {
        match reply {
            Reply::Quit => self.disconnect_with("the server ends the connection"),
            Reply::Timeout => self.disconnect_with("the server says that this client was silent"),
            Reply::Flushed(text) if self.is_probe(text) => self.probe = None,
            reply if refusal(&reply).is_some_and(|reason| self.is_about_probe(&reason)) => {}
            reply => self.queue_reply(reply),
        }
    }

    fn is_probe(&self, text: &[u8]) -> bool {
        self.probe
            .as_ref()
            .is_some_and(|mark| mark.as_bytes() == text)
    }

    fn queue_reply(&mut self, reply: Reply<'_>) {
        if let Some(message) = Message::from_reply(reply) {
            self.incoming.push(message);
        }
    }

    /// Gives the connection up after an error. Lines that arrived before are processed first; the error may become the
    /// refusal among them.
    fn disconnect(&mut self, error: Error) -> Error {
        let mut error = error;
        if !matches!(error, Error::Disconnected(_) | Error::Refused(_)) {
            // Only the lines that were read already: the server could send without end.
            let _ = self.handle_buffered();
        }
        while let Error::Disconnected(_) | Error::Refused(_) = error
            && let Some(connection) = &mut self.connection
            && let Ok(line) = connection.receive(Instant::now())
            && let Some(reply) = reply::decode(&line)
        {
            match refusal(&reply) {
                Some(reason) => error = Error::Refused(reason),
                None => self.queue_reply(reply),
            }
        }
        self.disconnect_with(&error.to_string());
        error
    }

    fn disconnect_with(&mut self, why: &str) {
        if self.connection.take().is_some() {
            self.has_lost_lines |= std::mem::take(&mut self.has_unconfirmed);
            self.last_values.forget_all();
            self.probe = None;
            self.backoff.failed();
            self.incoming.push(Message::Disconnected(why.into()));
        }
    }

    /// Connects if there is no connection, and retries until `until`.
    fn ensure_connected(&mut self, until: Instant) -> Result<(), Error> {
        while self.connection.is_none() {
            if self.dial.is_none() {
                let at = self.backoff.at();
                std::thread::sleep(at.min(until).saturating_duration_since(Instant::now()));
                if at > until {
                    return Err(Error::TimedOut);
                }
            }
            match self.try_to_connect(until) {
                Err(Error::TimedOut) if self.dial.is_some() => return Err(Error::TimedOut),
                Err(error) if error.is_final() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Starts a dial or continues the one in progress, until `until`. [`Error::TimedOut`] with `self.dial` still set means
    /// that the dial is not finished.
    pub(super) fn try_to_connect(&mut self, until: Instant) -> Result<(), Error> {
        let dial = match &mut self.dial {
            Some(dial) => Ok(dial),
            none => Dial::new(&self.options, self.trust.as_ref()).map(|dial| none.insert(dial)),
        };
        match dial.and_then(|dial| dial.advance_until(&self.subscriptions, until)) {
            Ok(None) => Err(Error::TimedOut),
            Ok(Some((connection, early))) => {
                self.dial = None;
                self.last_dial_error = None;
                self.connection = Some(connection);
                self.connections += 1;
                self.backoff.succeeded();
                if self.connections > 1 {
                    self.incoming.push(Message::Reconnected);
                }
                self.incoming.append(early);
                Ok(())
            }
            Err(error) => {
                self.dial = None;
                self.last_dial_error = Some(error.to_string());
                self.backoff.failed();
                Err(error)
            }
        }
    }

    /// Calls `act` with one deadline for all calls in it. The first connection is tried only once.
    pub(crate) fn within<T>(
        &mut self,
        until: Instant,
        act: impl FnOnce(&mut Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.connections == 0 {
            self.try_to_connect(until)?;
        }
        self.call_end = Some(until);
        let result = act(self);
        self.call_end = None;
        result
    }

    pub(super) fn end_of_call(&self) -> Instant {
        self.call_end
            .unwrap_or_else(|| deadline_after(self.options.call_timeout))
    }
}

/// The reason in a refusal by the server. Lines that other clients have forwarded are no refusals.
fn refusal(reply: &Reply<'_>) -> Option<String> {
    match reply {
        Reply::Overhead(Overhead { flags, value })
            if flags.intersects(Flags::ERROR) && !flags.intersects(Flags::FORWARD) =>
        {
            Some(String::from_utf8_lossy(value).into_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Options;
    use crate::client::transport::Transport;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    /// A client that was idle for so long that it reads before it sends, and the server's end of its connection.
    fn idle_client(address: &str) -> (Client, UnixStream) {
        let (near, far) = UnixStream::pair().expect("sockets");
        near.set_nonblocking(true).expect("a socket of our own");
        let mut connection = Connection::new(Transport::new(near.into(), None));
        connection.age(POLL_INTERVAL);
        let options = Options::new(address).expect("an address");
        let mut client = Client::new(options).expect("right options");
        client.connection = Some(connection);
        (client, far)
    }

    #[test]
    fn whoever_only_sends_reads_what_has_come() {
        let (mut client, mut server) = idle_client("unix:/is/not/there");
        server
            .write_all(b"NOTIFY a\r\nOVERHEAD E permission_denied\r\nNOT")
            .expect("room for it");
        client.notify("b").expect("a connection");
        assert_eq!(
            client.incoming.take(),
            Some(Message::Notify { name: "a".into() })
        );
        assert_eq!(client.refusal.as_deref(), Some("permission_denied"));
        // Within the interval it reads only once.
        server.write_all(b"IFY c\r\n").expect("room for it");
        client.notify("b").expect("a connection");
        assert!(client.incoming.is_empty());
        let connection = client.connection.as_mut().expect("it was kept");
        connection.age(POLL_INTERVAL);
        client.notify("b").expect("a connection");
        assert_eq!(
            client.incoming.take(),
            Some(Message::Notify { name: "c".into() })
        );
    }

    #[test]
    fn a_refusal_of_something_else_is_not_why_a_connection_is_lost() {
        let (mut client, mut server) = idle_client("unix:/is/not/there");
        server
            .write_all(b"OVERHEAD E permission_denied\r\n")
            .expect("room for it");
        client.store("a", "1").expect("a connection");
        drop(server);
        assert!(matches!(
            client.store("a", "2"),
            Err(Error::Disconnected(_))
        ));
        assert_eq!(client.refusal.as_deref(), Some("permission_denied"));
    }

    #[test]
    fn why_the_server_has_closed_is_kept_for_the_caller() {
        let (mut client, mut server) = idle_client("unix:/is/not/there");
        server
            .write_all(b"OVERHEAD E line_too_long\r\n")
            .expect("room for it");
        drop(server);
        client.check_connection(Duration::ZERO);
        assert!(!client.is_connected());
        assert_eq!(client.refusal.as_deref(), Some("line_too_long"));
        assert!(!client.refusal_is_last, "of the next connection it isn't");
    }

    #[test]
    fn what_was_read_before_a_call_ran_out_of_time_is_not_lost() {
        let (mut client, mut server) = idle_client("unix:/is/not/there");
        server
            .write_all(b"NOTIFY a\r\nOVERHEAD E permission_denied\r\nNOTIFY b\r\nNOT")
            .expect("room for it");
        let connection = client.connection.as_mut().expect("there is one");
        assert!(matches!(connection.poll_input(Duration::ZERO), Ok(true)));
        assert!(matches!(
            client.disconnect(Error::TimedOut),
            Error::TimedOut
        ));
        for name in ["a", "b"] {
            let message = Message::Notify { name: name.into() };
            assert_eq!(client.incoming.take(), Some(message));
        }
        assert_eq!(client.refusal.as_deref(), Some("permission_denied"));
    }

    #[test]
    fn an_idle_client_sends_on_a_new_connection_what_the_old_one_would_lose() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("played");
        let listener = UnixListener::bind(&path).expect("a socket of our own");
        let played = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the client dials");
            stream
                .write_all(b"CLACKS played\r\nOVERHEAD O Welcome!\r\n")
                .expect("it listens");
            let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
            lines.any(|line| line == "STORE a=1")
        });
        let (mut client, mut server) = idle_client(&format!("unix:{}", path.display()));
        server.write_all(b"TIMEOUT\r\n").expect("room for it");
        drop(server);
        client.store("a", "1").expect("a new connection");
        let why = "the server says that this client was silent";
        assert_eq!(
            client.incoming.take(),
            Some(Message::Disconnected(why.into()))
        );
        assert!(played.join().expect("it doesn't panic"));
    }
}
