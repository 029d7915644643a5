//! The bridge at work: from the database's notifications to the server's confirmations.
//!
//! One loop, which waits nowhere for long. What is notified while the server is away waits in the
//! backlog; what is notified while the bridge has no connection to the database is lost, for PostgreSQL
//! keeps nothing for those who don't listen.

use super::backlog::Backlog;
use super::database::{Change, Database};
use super::flags::Login;
use super::order::Order;
use super::payload::DELIMITER;
use crate::client::{Client, Error, Message};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the loop waits for a notification when there is nothing else to do.
const IDLE: Duration = Duration::from_secs(1);
/// The same when there is. Without any time at all nothing would be read from the socket.
const BRIEF: Duration = Duration::from_millis(5);
/// How long a dial of the server may go on at once when there is nothing else to do, and how long the loop
/// then waits for a notification.
const DIAL: Duration = Duration::from_millis(100);
/// Notifications taken before they are passed on.
const SLICE: usize = 1000;
/// After an error that nothing is known to help against.
const PAUSE: Duration = Duration::from_secs(1);

pub struct Pump {
    database: Database,
    client: Client,
    login: Login,
    backlog: Backlog,
    dropped: u64,
    /// Why the server can't be reached, as it was told last.
    trouble: Option<String>,
    /// The same of the password.
    unreadable: Option<String>,
}

impl Pump {
    pub fn new(database: Database, client: Client, login: Login) -> Pump {
        Pump {
            database,
            client,
            login,
            backlog: Backlog::default(),
            dropped: 0,
            trouble: None,
            unreadable: None,
        }
    }

    /// Works until it is to end; what has come by then is passed on, if the server takes it.
    pub fn run(mut self, ended: &AtomicBool) {
        while !ended.load(Ordering::Relaxed) {
            let has_fetched = self.fetch();
            self.pass_on();
            self.tell_messages(has_fetched);
            self.tell_trouble();
        }
        self.pass_on();
        self.database.close();
        if !self.backlog.is_empty() {
            log::warn!("ended before the server had taken everything");
        }
    }

    /// Takes what the database has notified, if anything, and waits a moment for it if there is nothing else
    /// to do.
    fn fetch(&mut self) -> bool {
        let wait = match (self.client.is_connected(), self.backlog.is_empty()) {
            (true, true) => IDLE,
            (true, false) => BRIEF,
            (false, _) => DIAL,
        };
        let (payloads, change) = self.database.fetch(wait, SLICE);
        for payload in &payloads {
            self.take(payload);
        }
        match change {
            None => {}
            Some(Change::Listening) => log::info!("listening to the database"),
            Some(Change::Lost(why)) => log::warn!("the database is lost: {why}"),
            Some(Change::Unreachable(why)) => log::warn!("the database can't be reached: {why}"),
        }
        !payloads.is_empty()
    }

    fn take(&mut self, parts: &[Vec<u8>]) {
        match Order::parse(parts) {
            Ok(order) => {
                let dropped = self.backlog.push(order) as u64;
                if dropped > 0 && self.dropped == 0 {
                    log::error!("the backlog is full: the oldest notifications are lost");
                }
                self.dropped += dropped;
            }
            Err(why) => {
                let payload = parts.join(DELIMITER.as_bytes());
                let start = String::from_utf8_lossy(&payload[..payload.len().min(80)]);
                log::warn!("a notification was skipped: {why}: {start:?}");
            }
        }
    }

    /// Sends what waits, and keeps it until the server has worked it off.
    fn pass_on(&mut self) {
        // Without a connection nothing waits here: it is dialled when the messages are looked at.
        while !self.backlog.is_empty() && self.client.is_connected() {
            // What was sent before comes first: if it was lost, it is sent again before anything else.
            if self.backlog.sent() > 0 && !self.confirm() {
                return;
            }
            while let Some(order) = self.backlog.next() {
                match order.send(&mut self.client) {
                    Ok(()) => self.backlog.note_sent(),
                    Err(Error::Invalid(why)) => {
                        log::warn!("a notification was skipped: {why}");
                        self.backlog.skip();
                    }
                    Err(error) => return self.note_trouble(&error),
                }
            }
            if !self.confirm() {
                return;
            }
        }
    }

    /// Waits until what was sent is worked off; false if that can't be said yet.
    fn confirm(&mut self) -> bool {
        match self.client.sync() {
            Ok(()) => {}
            Err(Error::Refused(why)) if self.client.is_connected() => {
                log::error!("the server refused something: {why}");
            }
            Err(error) => {
                self.note_trouble(&error);
                return false;
            }
        }
        self.backlog.confirm();
        match std::mem::take(&mut self.dropped) {
            0 => {}
            dropped => {
                log::error!("the server was away for too long: {dropped} notifications are lost")
            }
        }
        true
    }

    fn note_trouble(&mut self, error: &Error) {
        // A lost connection may have been renewed already.
        let is_lost = matches!(error, Error::Disconnected(_)) || !self.client.is_connected();
        if is_lost && !matches!(error, Error::Refused(_)) {
            self.backlog.send_again();
        }
        match error {
            Error::TimedOut | Error::Disconnected(_) => log::debug!("{error}"),
            // Something that was sent has ended the connection: what it is shows when each is sent alone.
            Error::Refused(why) if self.backlog.skip_if_alone() => {
                log::error!("the server refused a notification, which is skipped: {why}");
            }
            Error::Refused(_) => self.backlog.send_alone(),
            error => {
                log::error!("{error}");
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// The server has a new password, perhaps, and then it is in the file as well, or will be. It is tried with
    /// the next dial.
    fn read_password(&mut self) {
        let read = self.login.password().map_err(|error| error.to_string());
        match &read {
            Ok(password) => self.client.log_in_as(&self.login.user, password),
            Err(why) if self.unreadable.as_ref() != Some(why) => log::warn!("{why}"),
            Err(_) => {}
        }
        self.unreadable = read.err();
    }

    /// Logs why the server can't be reached, each reason once.
    fn tell_trouble(&mut self) {
        let trouble = self.client.trouble();
        if trouble == self.trouble.as_deref() {
            return;
        }
        if let Some(why) = trouble {
            log::warn!("the server can't be reached: {why}");
        }
        self.trouble = trouble.map(str::to_owned);
    }

    /// Logs what happens with the server, which is dialled meanwhile. While the database has much to say that
    /// is not waited for.
    fn tell_messages(&mut self, is_busy: bool) {
        loop {
            let patience = if is_busy || self.client.is_connected() {
                Duration::ZERO
            } else {
                DIAL
            };
            match self.client.next(patience) {
                Ok(Some(Message::Disconnected(why))) => log::warn!("the server is lost: {why}"),
                Ok(Some(Message::Reconnected)) => log::info!("the server is there again"),
                Ok(Some(Message::Error(why))) => log::error!("the server refused something: {why}"),
                Ok(Some(_)) => {}
                Err(Error::LoginRefused) => return self.read_password(),
                // Why is told as any trouble is.
                Ok(None) | Err(_) => return,
            }
        }
    }
}
