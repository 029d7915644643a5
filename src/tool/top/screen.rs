//! The whole terminal as a screen, which is the shell's again afterwards, whatever ends the program.

use crate::tool::terminal::RawMode;
use crate::tool::unix_signals::UnixSignals;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::crossterm::{Command, queue};
use ratatui::{Frame, Terminal};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::SIGTSTP;
use signal_hook::low_level::emulate_default_handler;
use std::io::{self, BufWriter, Stdin, Stdout, Write};
use std::os::fd::AsFd;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of output that are written at once: a whole screen, as a rule.
const BUFFER: usize = 64 * 1024;

/// The terminal shows the screen. For the hook of panics, which may run in any thread.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);

/// The screen. Dropping it gives the terminal back; a deferred signal ends the process then.
pub struct Screen<'a> {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    raw_mode: Option<RawMode<'a>>,
    stdin: &'a Stdin,
    signals: &'a UnixSignals,
}

impl<'a> Screen<'a> {
    pub fn open(stdin: &'a Stdin, signals: &'a UnixSignals) -> io::Result<Screen<'a>> {
        give_back_at_panic(tcgetattr(stdin)?);
        let output = BufWriter::with_capacity(BUFFER, io::stdout());
        let mut screen = Screen {
            terminal: Terminal::new(CrosstermBackend::new(output))?,
            raw_mode: None,
            stdin,
            signals,
        };
        screen.enter()?;
        Ok(screen)
    }

    fn enter(&mut self) -> io::Result<()> {
        self.raw_mode = Some(RawMode::new(self.stdin.as_fd(), self.signals)?);
        IS_SHOWN.store(true, Ordering::SeqCst);
        let output = self.terminal.backend_mut();
        queue!(output, EnterAlternateScreen, Hide)?;
        output.flush()?;
        self.terminal.clear()
    }

    /// Gives the terminal back.
    fn leave(&mut self) {
        // After a panic the terminal has its own screen already, with the report on it.
        if IS_SHOWN.swap(false, Ordering::SeqCst) {
            let output = self.terminal.backend_mut();
            // A terminal that takes nothing is gone.
            let _ = queue!(output, Show, LeaveAlternateScreen).and_then(|()| output.flush());
        }
        self.raw_mode = None;
    }

    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(|_| ())
    }

    /// Draws everything anew the next time.
    pub fn redraw(&mut self) -> io::Result<()> {
        self.terminal.clear()
    }

    /// Stops the process, as Ctrl-Z does, and takes the terminal again when it goes on.
    pub fn suspend(&mut self) -> io::Result<()> {
        self.leave();
        emulate_default_handler(SIGTSTP)?;
        self.enter()
    }

    /// Takes the terminal again after others have used it.
    pub fn resume(&mut self) -> io::Result<()> {
        self.leave();
        self.enter()
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Gives the terminal back before a panic is reported. The released program ends at a panic without dropping anything.
fn give_back_at_panic(before: Termios) {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if IS_SHOWN.swap(false, Ordering::SeqCst) {
            let mut text = String::new();
            let _ = Show.write_ansi(&mut text);
            let _ = LeaveAlternateScreen.write_ansi(&mut text);
            // Not by way of the buffer of `Stdout`, which the panic may have interrupted.
            let _ = rustix::io::write(io::stdout(), text.as_bytes());
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
        }
        report(info);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::process::{self, Command, Stdio};

    /// Set in the process that panics.
    const PANICS: &str = "CLACKS_TEST_PANICS";
    const REPORT: &str = "a panic as the test wants it";
    /// The answer of a terminal that is asked for the place of its cursor.
    const CURSOR: &[u8] = b"\x1b[1;1R";

    /// Panics while there is a screen. As in the released program, nothing is dropped after the report.
    fn panic_on_a_screen() {
        panic::set_hook(Box::new(|info| {
            println!("{info}");
            process::exit(0);
        }));
        let (stdin, signals) = (io::stdin(), UnixSignals::install().expect("handlers"));
        let _screen = Screen::open(&stdin, &signals).expect("a terminal");
        panic!("{REPORT}");
    }

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_is_reported() {
        if env::var_os(PANICS).is_some() {
            return panic_on_a_screen();
        }
        let program = env::current_exe().expect("the program of the tests");
        let name =
            "tool::top::screen::tests::a_panic_gives_the_terminal_back_before_it_is_reported";
        let command = format!(
            "stty -g; {PANICS}=1 {} --exact --nocapture {name}; stty -g",
            program.display()
        );
        // It runs the command at a terminal of its own.
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]);
        let script = script.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = script.spawn().expect("util-linux");
        // It stays open until the end.
        let mut keys = script.stdin.take().expect("it is piped");
        keys.write_all(CURSOR).expect("it reads");
        let output = script.wait_with_output().expect("its end");
        let output = String::from_utf8_lossy(&output.stdout);
        let place = |text: &str| output.find(text).unwrap_or_else(|| panic!("{output:?}"));
        let (opened, closed) = (place("\x1b[?1049h"), place("\x1b[?1049l"));
        assert!(opened < closed && closed < place(REPORT), "{output:?}");
        let all = output
            .lines()
            .map(|line| line.trim_start_matches("^[[1;1R"));
        let settings: Vec<_> = all.filter(|line| line.matches(':').count() > 20).collect();
        assert_eq!(settings.len(), 2, "{output:?}");
        assert_eq!(settings[0], settings[1], "{output:?}");
    }
}
