//! The command `chat`: sends each typed line as a signal that all participants listen to, and shows their lines above
//! the line that is being typed.

use super::arguments::Invocation;
use super::editor::{Editor, Event};
use super::failure::Failure;
use super::printer::{Printer, printable, report_error};
use super::terminal::{self, Interest, RawMode};
use super::unix_signals::UnixSignals;
use super::{login, refusal};
use crate::client::{Client, Error, Message};
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::time::Duration;

const SIGNAL: &str = "example::chat";
const PROMPT: &str = "> ";
/// Moves the cursor to the beginning of the terminal's line and empties the line.
const ERASE_LINE: &str = "\r\x1b[K";
/// The time limit for the server to process a sent line. Keys are not read meanwhile.
const ANSWER: Duration = Duration::from_secs(5);
/// Messages shown before keys are read again.
const MESSAGES: usize = 1000;
/// The longest single wait for a connection, before keys are read again.
const DIAL_SLICE: Duration = Duration::from_millis(100);

struct Chat {
    user: String,
    /// The name that stands before the user's lines.
    name: String,
    client: Client,
    output: Printer,
    /// Standard input and output are a terminal.
    is_interactive: bool,
    editor: Editor,
}

/// Runs `clacks chat` until the input ends.
pub fn chat(invocation: &Invocation) -> Result<(), Failure> {
    if invocation.is_set("json") {
        return Err(Failure::Usage("--json means nothing to chat".to_owned()));
    }
    let user = login::user(invocation)?;
    let name = match invocation.optional(0) {
        Some(name) => printable(name).into_owned(),
        None => user.clone(),
    };
    let login = login::login(invocation)?;
    let mut client = login.connect_with(|options| Client::connect(options.call_timeout(ANSWER)))?;
    let begun = client.listen(SIGNAL).and_then(|()| client.sync());
    begun.map_err(|error| match error {
        Error::TimedOut => Failure::Connection(format!("{error} ({} s)", ANSWER.as_secs())),
        error => error.into(),
    })?;
    let (stdin, output) = (io::stdin(), Printer::new(false));
    let is_interactive = stdin.is_terminal() && output.is_terminal;
    let mut chat = Chat {
        user,
        name,
        client,
        output,
        is_interactive,
        editor: Editor::default(),
    };
    if !is_interactive {
        return chat.run(None);
    }
    let signals = invocation.signals()?;
    let raw_mode = RawMode::new(stdin.as_fd(), signals)?;
    chat.show_line(&format!(
        "You are {}. Ctrl-D ends this.",
        printable(chat.name.as_bytes())
    ))?;
    let end = chat.run(Some(signals));
    chat.output.bytes(ERASE_LINE.as_bytes())?;
    chat.output.flush()?;
    drop(raw_mode);
    end
}

impl Chat {
    /// Runs the chat until its input ends or a Unix signal arrives.
    fn run(&mut self, signals: Option<&UnixSignals>) -> Result<(), Failure> {
        let mut stdin = io::stdin();
        let mut unfinished = Vec::new();
        loop {
            let has_more = self.show_messages()?;
            let stdout = io::stdout();
            let mut wanted = vec![
                Interest::hang_up(stdout.as_fd()),
                Interest::readable(stdin.as_fd()),
            ];
            let descriptor = self.client.descriptor();
            let timeout = terminal::time_until(self.client.next_due());
            let timeout = if has_more { Duration::ZERO } else { timeout };
            wanted.extend(descriptor.map(Interest::readable));
            wanted.extend(signals.map(|signals| Interest::readable(signals.as_fd())));
            let ready = terminal::wait(&wanted, timeout)?;
            if ready[0] {
                return Err(Failure::OutputClosed);
            }
            if signals.is_some() && ready.last() == Some(&true) {
                return Ok(());
            }
            if !ready[1] {
                continue;
            }
            // A read at least as large as the buffer of `Stdin` bypasses it. Lines left in that buffer would not make
            // the descriptor readable.
            let mut buffer = [0; 16 * 1024];
            let count = stdin.read(&mut buffer)?;
            let has_ended = if self.is_interactive {
                count == 0 || self.handle_keys(&buffer[..count])?
            } else {
                unfinished.extend_from_slice(&buffer[..count]);
                self.handle_lines(&mut unfinished, count == 0)?;
                count == 0
            };
            if has_ended {
                return Ok(());
            }
        }
    }

    /// Processes keys from a terminal. Returns true at the end of the input.
    fn handle_keys(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        for event in self.editor.feed(bytes) {
            match event {
                Event::End => return Ok(true),
                Event::Line(line) => self.send(&line)?,
            }
        }
        self.draw_prompt()?;
        Ok(false)
    }

    /// Processes bytes from a pipe or a file. `unfinished` keeps the beginning of a line.
    fn handle_lines(&mut self, unfinished: &mut Vec<u8>, is_end: bool) -> Result<(), Failure> {
        if is_end && !unfinished.is_empty() {
            unfinished.push(b'\n');
        }
        while let Some(end) = memchr::memchr(b'\n', unfinished) {
            let line: Vec<u8> = unfinished.drain(..=end).collect();
            self.send(&String::from_utf8_lossy(&line))?;
        }
        Ok(())
    }

    /// Sends a line to all participants and shows it. An empty line is ignored.
    fn send(&mut self, line: &str) -> Result<(), Failure> {
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return Ok(());
        }
        let line = printable(line.as_bytes());
        let said = format!("{}: {line}", self.name);
        if self.is_interactive {
            self.show_line(&said)?;
        }
        let set = self.client.set(SIGNAL, &said);
        let why = match set.and_then(|()| self.client.sync()) {
            Ok(()) => return Ok(()),
            Err(Error::Refused(reason)) => {
                let reason = refusal::with_permission(reason, "SET", "write", &self.user);
                refusal::message(&printable(reason.as_bytes()))
            }
            Err(error) => error.to_string(),
        };
        self.show_notice(&format!("that was not sent: {why}"))
    }

    /// Shows received messages. Returns true if there may be more of them.
    fn show_messages(&mut self) -> Result<bool, Failure> {
        let timeout = if self.client.is_connected() {
            Duration::ZERO
        } else {
            DIAL_SLICE
        };
        for _ in 0..MESSAGES {
            let next = self.client.next(timeout);
            let Some(message) = next.map_err(|error| login::lost(&self.user, error))? else {
                return Ok(false);
            };
            match message {
                Message::Set { value, .. } => self.show_line(&printable(&value))?,
                Message::Disconnected(why) => self.show_notice(&printable(&why))?,
                Message::Reconnected => self.show_notice("connected again")?,
                Message::Error(why) => {
                    self.show_notice(&format!("refused: {}", printable(&why)))?
                }
                _ => {}
            }
        }
        Ok(true)
    }

    /// Shows a message of the program itself.
    fn show_notice(&mut self, text: &str) -> Result<(), Failure> {
        if self.is_interactive {
            return self.show_line(&format!("* {text}"));
        }
        report_error(text);
        Ok(())
    }

    /// Shows a line above the one that is being typed.
    fn show_line(&mut self, line: &str) -> Result<(), Failure> {
        if self.is_interactive {
            self.output.bytes(ERASE_LINE.as_bytes())?;
        }
        self.output.line(line.as_bytes())?;
        self.draw_prompt()
    }

    /// Shows the prompt and the line that is being typed.
    fn draw_prompt(&mut self) -> Result<(), Failure> {
        if self.is_interactive {
            let stdout = io::stdout();
            // One column is left for the cursor.
            let room = terminal::columns(stdout.as_fd()).saturating_sub(PROMPT.len() + 1);
            let line = format!("{ERASE_LINE}{PROMPT}{}", self.editor.tail(room));
            self.output.bytes(line.as_bytes())?;
        }
        self.output.flush()
    }
}
