//! The chat: what is typed goes to all who listen to one signal, and what they say is shown.

use super::editor::{Editor, Event};
use super::output::{Output, printable};
use super::signals::Signals;
use super::table::Invocation;
use super::terminal::{self, KeyByKey, Wanted};
use super::{Failure, complain, login, refusal};
use crate::client::{Client, Error, Message};
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::time::Duration;

const SIGNAL: &str = "example::chat";
const PROMPT: &str = "> ";
/// Back to the beginning of the terminal's line, which is emptied.
const ERASE_LINE: &str = "\r\x1b[K";
/// How long a server may take to pass on what was said: nothing can be typed meanwhile.
const ANSWER: Duration = Duration::from_secs(5);
/// Messages shown before the keys get their turn.
const MESSAGES: usize = 1000;
/// Without a connection: how long to dial before keys are looked at again.
const DIAL: Duration = Duration::from_millis(100);

struct Chat {
    user: String,
    /// What others know the user by.
    name: String,
    client: Client,
    output: Output,
    /// Somebody types, and sees it.
    is_typed: bool,
    editor: Editor,
}

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
    let mut client = login.reach(|options| Client::connect(options.call_timeout(ANSWER)))?;
    client.listen(SIGNAL)?;
    client.sync()?;
    let (stdin, output) = (io::stdin(), Output::new(false));
    let is_typed = stdin.is_terminal() && output.is_terminal;
    let mut chat = Chat {
        user,
        name,
        client,
        output,
        is_typed,
        editor: Editor::default(),
    };
    if !is_typed {
        return chat.talk(None);
    }
    let signals = invocation.signals()?;
    let key_by_key = KeyByKey::new(stdin.as_fd(), signals)?;
    chat.show(&format!(
        "You are {}. Ctrl-D ends this.",
        printable(chat.name.as_bytes())
    ))?;
    let end = chat.talk(Some(signals));
    chat.output.exactly(ERASE_LINE.as_bytes())?;
    chat.output.flush()?;
    drop(key_by_key);
    end
}

impl Chat {
    /// Up to the end of what is said here, or a signal.
    fn talk(&mut self, signals: Option<&Signals>) -> Result<(), Failure> {
        let mut stdin = io::stdin();
        let mut unfinished = Vec::new();
        loop {
            let has_more = self.hear()?;
            let stdout = io::stdout();
            let mut wanted = vec![
                Wanted::end_of(stdout.as_fd()),
                Wanted::input_of(stdin.as_fd()),
            ];
            let descriptor = self.client.descriptor();
            let patience = terminal::time_until(self.client.next_due());
            let patience = if has_more { Duration::ZERO } else { patience };
            wanted.extend(descriptor.map(Wanted::input_of));
            wanted.extend(signals.map(|signals| Wanted::input_of(signals.as_fd())));
            let ready = terminal::wait(&wanted, patience)?;
            if ready[0] {
                return Err(Failure::OutputClosed);
            }
            if signals.is_some() && ready.last() == Some(&true) {
                return Ok(());
            }
            if !ready[1] {
                continue;
            }
            // Large enough to be read into past the buffer of `Stdin`, where lines would stay unseen.
            let mut buffer = [0; 16 * 1024];
            let count = stdin.read(&mut buffer)?;
            let has_ended = if self.is_typed {
                count == 0 || self.typed(&buffer[..count])?
            } else {
                unfinished.extend_from_slice(&buffer[..count]);
                self.piped(&mut unfinished, count == 0)?;
                count == 0
            };
            if has_ended {
                return Ok(());
            }
        }
    }

    /// Keys; whether this is the end.
    fn typed(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        for event in self.editor.feed(bytes) {
            match event {
                Event::End => return Ok(true),
                Event::Line(line) => self.say(&line)?,
            }
        }
        self.draw()?;
        Ok(false)
    }

    /// Lines from a program.
    fn piped(&mut self, unfinished: &mut Vec<u8>, is_end: bool) -> Result<(), Failure> {
        if is_end && !unfinished.is_empty() {
            unfinished.push(b'\n');
        }
        while let Some(end) = memchr::memchr(b'\n', unfinished) {
            let line: Vec<u8> = unfinished.drain(..=end).collect();
            self.say(&String::from_utf8_lossy(&line))?;
        }
        Ok(())
    }

    fn say(&mut self, line: &str) -> Result<(), Failure> {
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return Ok(());
        }
        let line = printable(line.as_bytes());
        let said = format!("{}: {line}", self.name);
        if self.is_typed {
            self.show(&said)?;
        }
        let set = self.client.set(SIGNAL, &said);
        let why = match set.and_then(|()| self.client.sync()) {
            Ok(()) => return Ok(()),
            Err(Error::Refused(reason)) => {
                let reason = refusal::with_permission(reason, "SET", "write", &self.user);
                refusal::said(&printable(reason.as_bytes()))
            }
            Err(error) => error.to_string(),
        };
        self.remark(&format!("that was not sent: {why}"))
    }

    /// Shows what has come; whether there may be more.
    fn hear(&mut self) -> Result<bool, Failure> {
        let patience = if self.client.is_connected() {
            Duration::ZERO
        } else {
            DIAL
        };
        for _ in 0..MESSAGES {
            let Some(message) = self.client.next(patience)? else {
                return Ok(false);
            };
            match message {
                Message::Set { value, .. } => self.show(&printable(&value))?,
                Message::Disconnected(why) => self.remark(&printable(&why))?,
                Message::Reconnected => self.remark("connected again")?,
                Message::Error(why) => self.remark(&format!("refused: {}", printable(&why)))?,
                _ => {}
            }
        }
        Ok(true)
    }

    /// What nobody has said.
    fn remark(&mut self, text: &str) -> Result<(), Failure> {
        if self.is_typed {
            return self.show(&format!("* {text}"));
        }
        complain(text);
        Ok(())
    }

    /// A line above the one that is being typed.
    fn show(&mut self, line: &str) -> Result<(), Failure> {
        if self.is_typed {
            self.output.exactly(ERASE_LINE.as_bytes())?;
        }
        self.output.line(line.as_bytes())?;
        self.draw()
    }

    /// What is being typed.
    fn draw(&mut self) -> Result<(), Failure> {
        if self.is_typed {
            let stdout = io::stdout();
            // The cursor wants a column, too.
            let room = terminal::columns(stdout.as_fd()).saturating_sub(PROMPT.len() + 1);
            let line = format!("{ERASE_LINE}{PROMPT}{}", self.editor.tail(room));
            self.output.exactly(line.as_bytes())?;
        }
        self.output.flush()
    }
}
