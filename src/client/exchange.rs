//! How a client's calls are carried out: lines sent, answers found among the signals that stream in, connections
//! lost and made anew.

use super::connection::{Connection, DRAIN};
use super::dial::Dial;
use super::{Client, Error, Message, end_of};
use crate::protocol::encode;
use crate::protocol::reply::{self, Reply};
use crate::protocol::{Flags, Overhead};
use std::io;
use std::time::{Duration, Instant};

/// How long a client that only sends leaves unread what has come. A server closes only when the system's buffers
/// are full of that.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// The answer to a FLUSH, before FLUSHED, of a server whose journal has failed.
const NOT_SAVED: &str = "not_saved";

impl Client {
    /// Sends a line that nobody answers.
    pub(super) fn send(&mut self, line: &[&[u8]]) -> Result<(), Error> {
        let until = self.end_of_call();
        let mut bytes = Vec::new();
        encode::line(&mut bytes, line);
        // Before the line is lost on a connection that is gone.
        self.look_after(LOOK_INTERVAL);
        self.ensure_connected(until)?;
        self.has_unconfirmed = true;
        self.push_out(bytes, until)
    }

    /// Sends no more than a PING, if it is due.
    pub(super) fn keep_alive(&mut self) -> Result<(), Error> {
        self.push_out(Vec::new(), self.end_of_call())
    }

    fn push_out(&mut self, lines: Vec<u8>, until: Instant) -> Result<(), Error> {
        self.push(lines);
        self.transmit(until).map_err(|error| {
            let error = self.lose(error);
            // Now the caller knows.
            self.lost_lines = false;
            match error {
                // A part of the line may have been sent, so the connection is lost for certain.
                Error::TimedOut => Error::Disconnected(io::ErrorKind::TimedOut.into()),
                error => error,
            }
        })
    }

    /// Adds lines to what goes out, and before them what is due: a PING, and a question to a silent server.
    fn push(&mut self, lines: Vec<u8>) {
        self.probe_if_silent();
        if let Some(connection) = &mut self.connection {
            if let Some(interval) = self.options.ping_interval {
                connection.keep_alive(interval);
            }
            connection.push(lines);
        }
    }

    /// Adds a FLUSH if the server was silent for the probe interval: its answer shows that the server is there.
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

    /// An error if the server was asked whether it is there, and nothing has come for the probe interval.
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

    /// Waits until that has gone out. What comes meanwhile is kept: a server that nobody reads from may
    /// read nothing itself.
    fn transmit(&mut self, until: Instant) -> Result<(), Error> {
        loop {
            let line = match self.present()?.send(until) {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.explain(error)),
            };
            self.take_in(&line);
            // Lines that stream in are no reason to wait for longer.
            if Instant::now() > until {
                return Err(Error::TimedOut);
            }
        }
    }

    /// Reads what has come, if that was not done for so long, and finds out so whether the connection is lost.
    pub(super) fn look_after(&mut self, interval: Duration) {
        let looked = match &mut self.connection {
            Some(connection) => connection.look(interval),
            None => return,
        };
        if matches!(looked, Ok(false)) {
            return;
        }
        // What the server has said before its end comes first.
        let looked = self.work_off().and(looked);
        let looked = looked.and_then(|_| self.check_silence());
        // Why a connection ends later is something else.
        self.refusal_is_last = false;
        if let Err(error) = looked {
            self.lose(error);
        }
    }

    /// Takes in the lines that were read. One of them may end the connection.
    fn work_off(&mut self) -> Result<(), Error> {
        while let Some(connection) = &mut self.connection
            && let Some(line) = connection.next_line()?
        {
            self.take_in(&line);
        }
        Ok(())
    }

    /// A line that comes while no answer is waited for.
    fn take_in(&mut self, line: &[u8]) {
        let reply = reply::decode(line);
        self.refusal_is_last = false;
        match reply.and_then(|reply| refusal(&reply)) {
            Some(reason) => self.keep_refusal(reason),
            None => reply.into_iter().for_each(|reply| self.handle(reply)),
        }
    }

    /// One that nobody was told of: it is for the next [`Client::sync`], or else a message.
    fn keep_refusal(&mut self, reason: String) {
        if self.is_about_probe(&reason) {
            return;
        }
        if let Some(earlier) = self.refusal.replace(reason) {
            self.incoming.push(Message::Error(earlier.as_str().into()));
        }
        self.refusal_is_last = true;
    }

    /// True for what a server whose journal has failed says to a FLUSH that only asks whether it is there: the program has
    /// written nothing that could be lost.
    fn is_about_probe(&self, reason: &str) -> bool {
        self.probe.is_some() && !self.has_unconfirmed && reason == NOT_SAVED
    }

    /// If the server has refused something and then said nothing more, that is why it has closed.
    fn explain(&mut self, error: Error) -> Error {
        match error {
            Error::Disconnected(_) if self.refusal_is_last => {
                self.refusal.take().map_or(error, Error::Refused)
            }
            error => error,
        }
    }

    /// The connection, as long as the server keeps it.
    fn present(&mut self) -> Result<&mut Connection, Error> {
        self.connection.as_mut().ok_or_else(|| {
            let kind = io::ErrorKind::ConnectionReset;
            Error::Disconnected(io::Error::new(kind, "the server has ended it"))
        })
    }

    /// Asks something that may be asked again if the connection breaks before the answer has come.
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

    /// Sends lines and a FLUSH, and reads up to its answer: what is expected has come by then, or never
    /// comes. Returns what was expected, and the refusals of what was sent before.
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
        let mut older: Vec<String> = self.refusal.take().into_iter().collect();
        let (mut refusals, mut found) = (Vec::new(), None);
        let mut is_last_word = std::mem::take(&mut self.refusal_is_last);
        let mut is_late = false;
        loop {
            let connection = self.present()?;
            let received = if is_late {
                Err(Error::TimedOut)
            } else {
                connection.receive(until)
            };
            let is_sent = connection.is_sent();
            let line = match received {
                Ok(line) => line,
                // An answer that comes later comes before the answer to this FLUSH, and so it is known.
                Err(Error::TimedOut) if is_sent => {
                    older.append(&mut refusals);
                    older.into_iter().for_each(|one| self.keep_refusal(one));
                    self.refusal_is_last = is_last_word;
                    return Err(Error::TimedOut);
                }
                Err(error) => {
                    let error = self.lose(error);
                    let reason = refusals.pop().or(older.pop());
                    let reason = reason.filter(|_| is_last_word);
                    return Err(reason.map_or(error, Error::Refused));
                }
            };
            // Signals that stream in are no reason to wait for longer, and this one is not to be lost.
            is_late = Instant::now() >= until;
            let reply = reply::decode(&line);
            let refused = reply.as_ref().and_then(refusal);
            is_last_word = refused.is_some();
            match (refused, reply) {
                (Some(reason), _) => refusals.push(reason),
                (None, Some(Reply::Flushed(text))) if text == mark.as_bytes() => {
                    self.has_unconfirmed = false;
                    let found = found.or_else(|| answer(&Reply::Flushed(text)));
                    // Without an answer the last refusal is that of the question.
                    let reason = found.is_none().then(|| refusals.pop()).flatten();
                    older.append(&mut refusals);
                    if let Some(found) = found {
                        return Ok((older, found));
                    }
                    self.queue_refusals(older);
                    let reason = reason.unwrap_or_else(|| "there was no answer".to_owned());
                    return Err(Error::Refused(reason));
                }
                // What came up to here belongs to a question that was given up, or is older.
                (None, Some(Reply::Flushed(text))) => {
                    if self.is_probe(text) {
                        self.probe = None;
                    }
                    found = None;
                    older.append(&mut refusals);
                }
                (None, Some(reply)) => match found.is_none().then(|| answer(&reply)).flatten() {
                    Some(answer) => found = Some(answer),
                    None => self.handle(reply),
                },
                (None, None) => {}
            }
        }
    }

    /// Refusals of what was sent before: nobody waits for them.
    fn queue_refusals(&mut self, refusals: Vec<String>) {
        for reason in refusals {
            self.incoming.push(Message::Error(reason.as_str().into()));
        }
    }

    /// The text of a FLUSH that no other has.
    fn next_mark(&mut self) -> String {
        self.flushes += 1;
        format!("clacks-{}", self.flushes)
    }

    /// Waits until a message may have come.
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
                // There may be no end of lines that are no messages.
                if Instant::now() > until + DRAIN && self.incoming.is_empty() {
                    return Err(Error::TimedOut);
                }
                Ok(())
            }
            Err(Error::TimedOut) => match self.check_silence() {
                Err(silence) => Err(self.lose(silence)),
                // Only a PING was due, or a question to the server.
                Ok(()) if wake < until => Ok(()),
                Ok(()) => Err(Error::TimedOut),
            },
            Err(error) => Err(self.lose(error)),
        }
    }

    /// Something that the server says unasked.
    fn handle(&mut self, reply: Reply<'_>) {
        match reply {
            Reply::Quit => self.lose_with("the server ends the connection"),
            Reply::Timeout => self.lose_with("the server says that this client was silent"),
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

    /// After an error the connection is of no use any more, but for what the server has said before.
    fn lose(&mut self, error: Error) -> Error {
        let mut error = error;
        if !matches!(error, Error::Disconnected(_) | Error::Refused(_)) {
            // More is not read: there may be no end of it.
            let _ = self.work_off();
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
        self.lose_with(&error.to_string());
        error
    }

    fn lose_with(&mut self, why: &str) {
        if self.connection.take().is_some() {
            self.lost_lines |= std::mem::take(&mut self.has_unconfirmed);
            self.last_values.forget_all();
            self.probe = None;
            self.backoff.failed();
            self.incoming.push(Message::Disconnected(why.into()));
        }
    }

    /// Dials, if there is no connection, until there is one or the time is over.
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
                Err(error) if is_final(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Goes on with a dial, or begins one. [`Error::TimedOut`] while there still is a dial: it takes longer
    /// than up to then.
    pub(super) fn try_to_connect(&mut self, until: Instant) -> Result<(), Error> {
        let dial = match &mut self.dial {
            Some(dial) => Ok(dial),
            none => Dial::new(&self.options, self.trust.as_ref()).map(|dial| none.insert(dial)),
        };
        match dial.and_then(|dial| dial.go_on(&self.subscriptions, until)) {
            Ok(None) => Err(Error::TimedOut),
            Ok(Some((connection, early))) => {
                self.dial = None;
                self.trouble = None;
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
                self.trouble = Some(error.to_string());
                self.backoff.failed();
                Err(error)
            }
        }
    }

    /// Lets several calls end in time together. A first connection that fails is not tried again.
    pub(super) fn within<T>(
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
            .unwrap_or_else(|| end_of(self.options.call_timeout))
    }
}

/// Whether dialling again is of no use, until somebody has changed something.
pub(super) fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::LoginRefused | Error::Certificate(_) | Error::Options(_)
    )
}

/// Why the server refuses something, if it does. What other clients forward to all is no refusal.
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

    /// A client that was idle for so long that it looks before it sends, and its server's side.
    fn idle_client(address: &str) -> (Client, UnixStream) {
        let (near, far) = UnixStream::pair().expect("sockets");
        near.set_nonblocking(true).expect("a socket of our own");
        let mut connection = Connection::new(Transport::new(near.into(), None));
        connection.age(LOOK_INTERVAL);
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
        // Once, for a while.
        server.write_all(b"IFY c\r\n").expect("room for it");
        client.notify("b").expect("a connection");
        assert!(client.incoming.is_empty());
        let connection = client.connection.as_mut().expect("it was kept");
        connection.age(LOOK_INTERVAL);
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
        client.look_after(Duration::ZERO);
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
        assert!(matches!(connection.look(Duration::ZERO), Ok(true)));
        assert!(matches!(client.lose(Error::TimedOut), Error::TimedOut));
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
