//! The command `send`: passes lines of the protocol from standard input to the server and prints the server's lines.

use super::arguments::Invocation;
use super::failure::{CALL_TIMEOUT, Failure};
use super::login;
use super::printer::Printer;
use super::terminal::{self, Interest};
use crate::client::{self, Connection, Error};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// The time limit for the server to read what was written, and for its last answers.
const TIMEOUT: Duration = CALL_TIMEOUT;
/// The longest single poll without a deadline.
const IDLE_POLL: Duration = Duration::from_secs(3600);
/// Bytes read from standard input, or passed to the connection, at once.
const CHUNK: usize = 16 * 1024;
/// Lines printed before standard input is read again.
const MAX_LINES: usize = 1000;

struct Sender {
    connection: Connection,
    output: Printer,
    /// Bytes read from standard input and not passed on. Only whole lines are passed on.
    unsent: Vec<u8>,
    /// The deadline for the server to read the lines passed on last.
    write_deadline: Instant,
    stdin_has_ended: bool,
    /// The expected answer to the FLUSH that follows the last line, and the deadline for it.
    final_answer: Option<(Vec<u8>, Instant)>,
    /// A QUIT was passed on, so the server is expected to end the connection.
    has_quit: bool,
}

/// Runs `clacks send` until standard input has ended and the last answer was printed.
pub fn send(invocation: &Invocation) -> Result<(), Failure> {
    if invocation.is_set("json") {
        return Err(Failure::Usage("--json means nothing to send".to_owned()));
    }
    // A person who types may pause for longer than the ping timeout.
    let login = login::login(invocation)?;
    let mut sender = Sender {
        connection: login.connect_with(|options| client::connect(options.without_ping()))?,
        output: Printer::new(false),
        unsent: Vec::new(),
        write_deadline: Instant::now(),
        stdin_has_ended: false,
        final_answer: None,
        has_quit: false,
    };
    loop {
        sender.pass_on_lines();
        let has_more = match sender.print() {
            Ok(Printed::All) => false,
            Ok(Printed::Some) => true,
            Ok(Printed::Last) => return Ok(()),
            Err(failure) => {
                sender.output.flush()?;
                return match failure {
                    // The user asked for the end of the connection.
                    Failure::Connection(_) if sender.has_quit => Ok(()),
                    failure => Err(failure),
                };
            }
        };
        if sender.stdin_has_ended && sender.unsent.is_empty() && sender.final_answer.is_none() {
            sender.finish();
        }
        sender.wait(has_more)?;
    }
}

/// The outcome of [`Sender::print`].
enum Printed {
    /// No further line has arrived.
    All,
    /// More lines may have arrived.
    Some,
    /// The answer to the final FLUSH was received.
    Last,
}

impl Sender {
    /// Prints received lines, and writes lines passed to the connection.
    fn print(&mut self) -> Result<Printed, Failure> {
        for _ in 0..MAX_LINES {
            let line = match self.connection.receive(Instant::now()) {
                Ok(line) => line,
                Err(Error::TimedOut) => {
                    self.output.flush()?;
                    return match self.deadline() {
                        Some(end) if Instant::now() > end => Err(Error::TimedOut.into()),
                        _ => Ok(Printed::All),
                    };
                }
                Err(error) => return Err(error.into()),
            };
            if let Some((answer, end)) = &mut self.final_answer {
                if line == *answer {
                    self.output.flush()?;
                    return Ok(Printed::Last);
                }
                *end = Instant::now() + TIMEOUT;
            }
            self.output.line(&line)?;
        }
        self.output.flush()?;
        Ok(Printed::Some)
    }

    /// Sends a FLUSH after the last line: every answer to the lines arrives before its answer.
    fn finish(&mut self) {
        let mark = format!("clacks-send-{}", std::process::id());
        self.unsent = format!("FLUSH {mark}\r\n").into_bytes();
        self.final_answer = Some((
            format!("FLUSHED {mark}").into_bytes(),
            Instant::now() + TIMEOUT,
        ));
    }

    /// The length of the whole lines in `unsent`, in bytes.
    fn whole_lines(&self) -> usize {
        memchr::memrchr(b'\n', &self.unsent).map_or(0, |end| end + 1)
    }

    /// The deadline of the server, or `None` while the server has nothing to do.
    fn deadline(&self) -> Option<Instant> {
        if self.connection.is_sent() {
            self.final_answer.as_ref().map(|(_, end)| *end)
        } else {
            Some(self.write_deadline)
        }
    }

    /// Passes whole lines to the connection, one chunk after the other.
    fn pass_on_lines(&mut self) {
        let chunk = self.whole_lines().min(CHUNK);
        if chunk == 0 || !self.connection.is_sent() {
            return;
        }
        let lines: Vec<u8> = self.unsent.drain(..chunk).collect();
        self.has_quit |= lines
            .split(|byte| *byte == b'\n')
            .any(|line| line.trim_ascii_end() == b"QUIT");
        self.connection.push(lines);
        self.write_deadline = Instant::now() + TIMEOUT;
    }

    /// Waits until there is something to print, to write or to read, and reads standard input.
    fn wait(&mut self, has_more: bool) -> Result<(), Failure> {
        let (stdin, stdout) = (io::stdin(), io::stdout());
        let has_lines = self.whole_lines() > 0;
        let is_sent = self.connection.is_sent();
        let reads = !has_lines && !self.stdin_has_ended;
        let socket = self.connection.as_fd();
        let mut wanted = vec![
            Interest::hang_up(stdout.as_fd()),
            Interest::readable(socket),
        ];
        if !is_sent {
            wanted.push(Interest::writable(socket));
        }
        if reads {
            wanted.push(Interest::readable(stdin.as_fd()));
        }
        let timeout = match self.deadline() {
            _ if has_more || is_sent && has_lines => Duration::ZERO,
            Some(end) => end.saturating_duration_since(Instant::now()) + Duration::from_millis(1),
            None => IDLE_POLL,
        };
        let ready = terminal::wait(&wanted, timeout)?;
        if ready[0] {
            return Err(Failure::OutputClosed);
        }
        if reads && ready.last() == Some(&true) {
            self.read(stdin)?;
        }
        Ok(())
    }

    fn read(&mut self, mut stdin: io::Stdin) -> Result<(), Failure> {
        let mut buffer = [0; CHUNK];
        match stdin.read(&mut buffer)? {
            0 => {
                self.stdin_has_ended = true;
                if !self.unsent.is_empty() {
                    self.unsent.extend_from_slice(b"\r\n");
                }
            }
            count => self.unsent.extend_from_slice(&buffer[..count]),
        }
        Ok(())
    }
}
