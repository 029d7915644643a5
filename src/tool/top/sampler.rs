//! The thread that asks the server, so that no slow answer delays a key.

use super::view::List;
use crate::client::{Client, Error, Fields, Figure, Message};
use crate::tool::failure::Failure;
use crate::tool::login;
use crate::tool::printer::printable;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// The time limit of a question. A server that takes longer counts as one that does not answer.
pub const ANSWER: Duration = Duration::from_secs(5);
/// The longest single wait for a connection, before a choice of another list is read.
const DIAL_SLICE: Duration = Duration::from_secs(1);
/// Refusals that no later question changes.
const FINAL_REFUSALS: [&str; 2] = ["permission_denied", "unknown_command"];

/// The news of a server.
pub enum News {
    Figures(Vec<Figure>),
    Rows(List, Vec<Fields>),
    /// There is no connection, for this reason. It is being dialled again.
    Lost(String),
    /// Nothing more comes.
    Ended(Failure),
}

/// The other end of the thread. Dropping it ends the thread at its next question.
pub struct Sampler {
    lists: Sender<List>,
    news: Receiver<News>,
    /// Readable when there is news.
    wake: UnixStream,
}

impl Sampler {
    /// Starts the thread with a connected client of that user.
    pub fn start(client: Client, user: String, interval: Duration) -> io::Result<Sampler> {
        let (lists, chosen) = channel();
        let (sender, news) = channel();
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let worker = Worker {
            client,
            user,
            interval,
            list: List::Clients,
            chosen,
            news: sender,
            wake: woken,
        };
        std::thread::Builder::new()
            .name("sampler".to_owned())
            .spawn(move || worker.run())?;
        Ok(Sampler { lists, news, wake })
    }

    /// Asks for another list from now on, at once.
    pub fn choose(&self, list: List) {
        // A thread that has ended has said why.
        let _ = self.lists.send(list);
    }

    /// The news so far.
    pub fn take_news(&mut self) -> Vec<News> {
        let mut buffer = [0; 64];
        while matches!(self.wake.read(&mut buffer), Ok(1..)) {}
        self.news.try_iter().collect()
    }
}

impl AsFd for Sampler {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

struct Worker {
    client: Client,
    user: String,
    interval: Duration,
    list: List,
    chosen: Receiver<List>,
    news: Sender<News>,
    wake: UnixStream,
}

/// Nobody wants more news.
struct Unwanted;

impl Worker {
    /// The caller has the first figures already.
    fn run(mut self) {
        let mut asked = self.ask_for_list();
        while asked.is_ok() {
            let due = Instant::now() + self.interval;
            asked = self.wait(due).and_then(|()| self.sample());
        }
    }

    /// Waits, and asks for another list as soon as it is chosen.
    fn wait(&mut self, due: Instant) -> Result<(), Unwanted> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            match self.chosen.recv_timeout(left) {
                Ok(list) => {
                    self.list = self.chosen.try_iter().last().unwrap_or(list);
                    self.ask_for_list()?;
                }
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => return Err(Unwanted),
            }
        }
    }

    /// Asks for the figures and the list.
    fn sample(&mut self) -> Result<(), Unwanted> {
        self.read_messages()?;
        if !self.client.is_connected() {
            return Ok(());
        }
        let figures = self.client.status();
        self.report(figures.map(News::Figures))?;
        self.ask_for_list()
    }

    fn ask_for_list(&mut self) -> Result<(), Unwanted> {
        if !self.client.is_connected() {
            return Ok(());
        }
        let list = self.list;
        let rows = self.client.status_list(list.word());
        self.report(rows.map(|rows| News::Rows(list, rows)))
    }

    /// Reads messages, by which a lost connection is noticed, and dials if there is none.
    fn read_messages(&mut self) -> Result<(), Unwanted> {
        loop {
            let timeout = match self.client.is_connected() {
                true => Duration::ZERO,
                false => DIAL_SLICE,
            };
            match self.client.next(timeout) {
                Ok(Some(Message::Disconnected(why))) => {
                    self.send(News::Lost(printable(&why).into_owned()))?;
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(error) => return self.report(Err(error)),
            }
        }
    }

    /// Sends an answer, or the reason for which there is none.
    fn report(&mut self, answer: Result<News, Error>) -> Result<(), Unwanted> {
        let error = match answer {
            Ok(news) => return self.send(news),
            Err(error) => error,
        };
        let is_final = match &error {
            Error::LoginRefused | Error::Certificate(_) | Error::Options(_) => true,
            Error::Refused(reason) => {
                let word = reason.split(' ').next().unwrap_or_default();
                FINAL_REFUSALS.contains(&word)
            }
            _ => false,
        };
        if is_final {
            self.send(News::Ended(login::lost(&self.user, error)))?;
            return Err(Unwanted);
        }
        self.send(News::Lost(
            printable(error.to_string().as_bytes()).into_owned(),
        ))
    }

    fn send(&mut self, news: News) -> Result<(), Unwanted> {
        self.news.send(news).map_err(|_| Unwanted)?;
        match self.wake.write(&[0]) {
            // A full socket wakes the reader as well.
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(Unwanted),
            _ => Ok(()),
        }
    }
}
