//! The command `top`: a live screen of a server's figures, clients, links, names and slow requests.
//!
//! [`sampler`] asks the server in a thread of its own; [`rates`], [`largest`] and [`view`] make of its answers what there
//! is to show, without I/O; [`draw`] lays it out, and [`screen`] owns the terminal.

mod draw;
mod keys;
mod largest;
mod rates;
mod sampler;
mod screen;
mod units;
mod view;

use super::arguments::Invocation;
use super::failure::Failure;
use super::login;
use super::terminal::{self, Interest};
use super::unix_signals::{ScreenSignals, UnixSignals};
use crate::client::{Client, Error};
use keys::{Key, Keys};
use rates::Figures;
use sampler::{ANSWER, News, Sampler};
use screen::Screen;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use view::{Action, View};

/// The time between two samples, if `--interval` does not say another one.
const INTERVAL: Duration = Duration::from_secs(1);
/// The shortest such time. Each sample costs the server some work.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// The longest time between two drawings: the times on the screen go on.
const REFRESH: Duration = Duration::from_secs(1);
/// The time after which an ESC without more is the key Escape.
const ESCAPE: Duration = Duration::from_millis(50);

/// Runs `clacks top` until a key or a signal ends it.
pub fn top(invocation: &Invocation) -> Result<(), Failure> {
    let usage = |what: &str| Err(Failure::Usage(what.to_owned()));
    if invocation.is_set("json") {
        return usage("--json means nothing to top: clacks --json status prints the figures");
    }
    let interval = invocation.seconds("interval")?.unwrap_or(INTERVAL);
    let interval = interval.max(SHORTEST_INTERVAL);
    let stdin = io::stdin();
    if !stdin.is_terminal() || !io::stdout().is_terminal() {
        return usage("top needs a terminal: clacks status prints the figures");
    }
    let login = login::login(invocation)?;
    let mut client = login.connect_with(|options| Client::connect(options.call_timeout(ANSWER)))?;
    // A refusal is reported before there is a screen.
    let figures = client.status().map_err(|error| match error {
        Error::TimedOut => Failure::Connection(format!("{error} ({} s)", ANSWER.as_secs())),
        error => error.into(),
    })?;
    let figures = Figures::new(&figures);
    let mut view = View::new(login.address(), interval, figures, Instant::now());
    let sampler = Sampler::start(client, login::user(invocation)?, interval)?;
    let (signals, screen_signals) = (invocation.signals()?, ScreenSignals::install()?);
    let mut top = Top {
        screen: Screen::open(&stdin, signals)?,
        sampler,
        signals,
        screen_signals,
        keys: Keys::default(),
    };
    // Dropping the screen gives the terminal back, before a failure is reported.
    top.run(&mut view)
}

struct Top<'a> {
    screen: Screen<'a>,
    sampler: Sampler,
    signals: &'a UnixSignals,
    screen_signals: ScreenSignals,
    keys: Keys,
}

impl Top<'_> {
    fn run(&mut self, view: &mut View) -> Result<(), Failure> {
        loop {
            let now = Instant::now();
            self.screen.draw(|frame| draw::draw(view, now, frame))?;
            let stdin = io::stdin();
            let wanted = [
                Interest::readable(self.signals.as_fd()),
                Interest::readable(self.screen_signals.as_fd()),
                Interest::readable(self.sampler.as_fd()),
                Interest::readable(stdin.as_fd()),
            ];
            let timeout = match self.keys.is_unfinished() {
                true => ESCAPE,
                false => REFRESH,
            };
            let ready = terminal::wait(&wanted, timeout)?;
            if ready[0] {
                return Ok(());
            }
            if ready[1] {
                self.handle_signals()?;
            }
            if ready[2] {
                self.take_news(view)?;
            }
            let keys = match ready[3] {
                true => self.read_keys(stdin)?,
                // Nothing has followed an ESC.
                false if self.keys.is_unfinished() => self.keys.finish().into_iter().collect(),
                false => Vec::new(),
            };
            for key in keys {
                if self.act(view.handle(key))? {
                    return Ok(());
                }
            }
        }
    }

    fn handle_signals(&mut self) -> Result<(), Failure> {
        let news = self.screen_signals.take();
        if news.wants_stop {
            self.suspend()?;
        } else if news.has_continued {
            self.screen.resume()?;
        }
        Ok(())
    }

    fn suspend(&mut self) -> Result<(), Failure> {
        self.screen.suspend()?;
        // The signal that has let the process go on means nothing more.
        self.screen_signals.take();
        Ok(())
    }

    fn take_news(&mut self, view: &mut View) -> Result<(), Failure> {
        for news in self.sampler.take_news() {
            match news {
                News::Figures(figures) => {
                    view.take_figures(Figures::new(&figures), Instant::now());
                }
                News::Rows(list, rows) => view.take_rows(list, rows),
                News::Lost(why) => view.lose(why),
                News::Ended(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Reads keys. The end of the terminal is a Ctrl-C.
    fn read_keys(&mut self, mut stdin: io::Stdin) -> Result<Vec<Key>, Failure> {
        // A read at least as large as the buffer of `Stdin` bypasses it.
        let mut buffer = [0; 16 * 1024];
        Ok(match stdin.read(&mut buffer)? {
            0 => vec![Key::Interrupt],
            count => self.keys.feed(&buffer[..count]),
        })
    }

    /// Does what a key asks for. Returns true if that is the end.
    fn act(&mut self, action: Action) -> Result<bool, Failure> {
        match action {
            Action::Nothing => {}
            Action::Show(list) => self.sampler.choose(list),
            Action::Suspend => self.suspend()?,
            Action::Redraw => self.screen.redraw()?,
            Action::Quit => return Ok(true),
        }
        Ok(false)
    }
}
