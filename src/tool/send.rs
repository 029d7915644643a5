//! Lines of the protocol, as they are, from standard input to the server, and its lines back.

use super::output::Output;
use super::table::Invocation;
use super::terminal::{self, Wanted};
use super::{Failure, login};
use crate::client::{self, Connection, Error};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long the server may take for a write, and for the last answers.
const PATIENCE: Duration = Duration::from_secs(30);
/// While nothing happens there is nothing to do.
const WAIT: Duration = Duration::from_secs(3600);
/// Read and handed over at once.
const PIECE: usize = 16 * 1024;
/// Lines printed before standard input gets its turn.
const LINES: usize = 1000;

struct Sending {
    connection: Connection,
    output: Output,
    /// Read and not yet sent; only its whole lines are.
    waiting: Vec<u8>,
    /// When the server has to have taken what was handed over last.
    taken_by: Instant,
    stdin_has_ended: bool,
    /// What the answer to the last FLUSH is, and when it is missed; it is sent after all lines.
    last: Option<(Vec<u8>, Instant)>,
    has_quit: bool,
}

pub fn send(invocation: &Invocation) -> Result<(), Failure> {
    if invocation.is_set("json") {
        return Err(Failure::Usage("--json means nothing to send".to_owned()));
    }
    // Whoever types may take a while.
    let login = login::login(invocation)?;
    let mut sending = Sending {
        connection: login.reach(|options| client::connect(options.without_ping()))?,
        output: Output::new(false),
        waiting: Vec::new(),
        taken_by: Instant::now(),
        stdin_has_ended: false,
        last: None,
        has_quit: false,
    };
    loop {
        sending.hand_over();
        let has_more = match sending.print() {
            Ok(Printed::Everything) => false,
            Ok(Printed::Some) => true,
            Ok(Printed::Last) => return Ok(()),
            Err(failure) => {
                sending.output.flush()?;
                return match failure {
                    // That is what was asked for.
                    Failure::Connection(_) if sending.has_quit => Ok(()),
                    failure => Err(failure),
                };
            }
        };
        if sending.stdin_has_ended && sending.waiting.is_empty() && sending.last.is_none() {
            sending.finish();
        }
        sending.wait(has_more)?;
    }
}

enum Printed {
    Everything,
    Some,
    /// The answer to the last line of all.
    Last,
}

impl Sending {
    /// Prints what has come, and sends what was handed over.
    fn print(&mut self) -> Result<Printed, Failure> {
        for _ in 0..LINES {
            let line = match self.connection.receive(Instant::now()) {
                Ok(line) => line,
                Err(Error::TimedOut) => {
                    self.output.flush()?;
                    return match self.patience_ends() {
                        Some(end) if Instant::now() > end => Err(Error::TimedOut.into()),
                        _ => Ok(Printed::Everything),
                    };
                }
                Err(error) => return Err(error.into()),
            };
            if let Some((answer, end)) = &mut self.last {
                if line == *answer {
                    self.output.flush()?;
                    return Ok(Printed::Last);
                }
                *end = Instant::now() + PATIENCE;
            }
            self.output.line(&line)?;
        }
        self.output.flush()?;
        Ok(Printed::Some)
    }

    /// All that follows the last line is that line's answer, or comes too late.
    fn finish(&mut self) {
        let mark = format!("clacks-send-{}", std::process::id());
        self.waiting = format!("FLUSH {mark}\r\n").into_bytes();
        self.last = Some((
            format!("FLUSHED {mark}").into_bytes(),
            Instant::now() + PATIENCE,
        ));
    }

    fn whole_lines(&self) -> usize {
        memchr::memrchr(b'\n', &self.waiting).map_or(0, |end| end + 1)
    }

    /// When the server has taken too long, if it has to do anything.
    fn patience_ends(&self) -> Option<Instant> {
        if self.connection.is_sent() {
            self.last.as_ref().map(|(_, end)| *end)
        } else {
            Some(self.taken_by)
        }
    }

    /// Whole lines go to the connection, one piece after the other.
    fn hand_over(&mut self) {
        let piece = self.whole_lines().min(PIECE);
        if piece == 0 || !self.connection.is_sent() {
            return;
        }
        let lines: Vec<u8> = self.waiting.drain(..piece).collect();
        self.has_quit |= lines
            .split(|byte| *byte == b'\n')
            .any(|line| line.trim_ascii_end() == b"QUIT");
        self.connection.push(lines);
        self.taken_by = Instant::now() + PATIENCE;
    }

    /// Until there is something to print, to send or to read, which it does.
    fn wait(&mut self, has_more: bool) -> Result<(), Failure> {
        let (stdin, stdout) = (io::stdin(), io::stdout());
        let has_lines = self.whole_lines() > 0;
        let is_sent = self.connection.is_sent();
        let reads = !has_lines && !self.stdin_has_ended;
        let socket = self.connection.as_fd();
        let mut wanted = vec![Wanted::end_of(stdout.as_fd()), Wanted::input_of(socket)];
        if !is_sent {
            wanted.push(Wanted::room_in(socket));
        }
        if reads {
            wanted.push(Wanted::input_of(stdin.as_fd()));
        }
        let patience = match self.patience_ends() {
            _ if has_more || is_sent && has_lines => Duration::ZERO,
            Some(end) => end.saturating_duration_since(Instant::now()) + Duration::from_millis(1),
            None => WAIT,
        };
        let ready = terminal::wait(&wanted, patience)?;
        if ready[0] {
            return Err(Failure::OutputClosed);
        }
        if reads && ready.last() == Some(&true) {
            self.read(stdin)?;
        }
        Ok(())
    }

    fn read(&mut self, mut stdin: io::Stdin) -> Result<(), Failure> {
        let mut buffer = [0; PIECE];
        match stdin.read(&mut buffer)? {
            0 => {
                self.stdin_has_ended = true;
                if !self.waiting.is_empty() {
                    self.waiting.extend_from_slice(b"\r\n");
                }
            }
            count => self.waiting.extend_from_slice(&buffer[..count]),
        }
        Ok(())
    }
}
