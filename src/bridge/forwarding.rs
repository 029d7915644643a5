//! The bridge's loop: fetches notifications from the database, sends their actions to the server, and waits for the
//! server's confirmations. No step of the loop waits for long.
//!
//! Notifications that arrive while the server is unreachable wait in the backlog. Notifications that are sent while the
//! bridge has no connection to the database are lost: PostgreSQL does not keep them.

use super::action::Action;
use super::backlog::Backlog;
use super::database::{Change, Database};
use super::flags::Login;
use super::payload::DELIMITER;
use crate::client::{Client, Error, Message};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The wait for a notification when there is nothing else to do.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// The wait for a notification when actions wait to be sent. With a wait of zero nothing would be read from the socket.
const BUSY_WAIT: Duration = Duration::from_millis(5);
/// The wait for a notification while there is no connection to the server, and the time given to its dial in one round of
/// the loop.
const DIAL_WAIT: Duration = Duration::from_millis(100);
/// The number of notifications fetched before their actions are sent.
const SLICE: usize = 1000;
/// The pause after an unexpected error.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// A bridge from one database to one server.
pub struct Bridge {
    database: Database,
    client: Client,
    login: Login,
    backlog: Backlog,
    /// The number of dropped notifications that were not logged yet.
    dropped: u64,
    /// The dial error that was logged last.
    logged_dial_error: Option<String>,
    /// The error of the password file that was logged last.
    logged_password_error: Option<String>,
}

impl Bridge {
    pub fn new(database: Database, client: Client, login: Login) -> Bridge {
        Bridge {
            database,
            client,
            login,
            backlog: Backlog::default(),
            dropped: 0,
            logged_dial_error: None,
            logged_password_error: None,
        }
    }

    /// Runs until `ended` is set. Actions fetched by then are still sent, if the server is reachable.
    pub fn run(mut self, ended: &AtomicBool) {
        while !ended.load(Ordering::Relaxed) {
            let has_payloads = self.fetch();
            self.forward();
            self.log_messages(has_payloads);
            self.log_dial_error();
        }
        self.forward();
        self.database.close();
        if !self.backlog.is_empty() {
            log::warn!("ended before the server had taken everything");
        }
    }

    /// Fetches notifications and adds their actions to the backlog. Returns true if there were any.
    fn fetch(&mut self) -> bool {
        let wait = match (self.client.is_connected(), self.backlog.is_empty()) {
            (true, true) => IDLE_WAIT,
            (true, false) => BUSY_WAIT,
            (false, _) => DIAL_WAIT,
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

    /// Adds the action of a notification to the backlog, or logs why there is none.
    fn take(&mut self, parts: &[Vec<u8>]) {
        match Action::parse(parts) {
            Ok(action) => {
                let dropped = self.backlog.push(action) as u64;
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

    /// Sends the actions of the backlog, and keeps each until the server has processed it.
    fn forward(&mut self) {
        // Without a connection nothing is sent; `log_messages` dials.
        while !self.backlog.is_empty() && self.client.is_connected() {
            // Sent actions are confirmed first: if they were lost, they have to be sent again before others.
            if self.backlog.sent() > 0 && !self.confirm() {
                return;
            }
            while let Some(action) = self.backlog.next() {
                match action.send(&mut self.client) {
                    Ok(()) => self.backlog.note_sent(),
                    Err(Error::Invalid(why)) => {
                        log::warn!("a notification was skipped: {why}");
                        self.backlog.skip();
                    }
                    Err(error) => return self.handle_error(&error),
                }
            }
            if !self.confirm() {
                return;
            }
        }
    }

    /// Waits until the server has processed all sent actions. Returns false if that is not known yet.
    fn confirm(&mut self) -> bool {
        match self.client.sync() {
            Ok(()) => {}
            Err(Error::Refused(why)) if self.client.is_connected() => {
                log::error!("the server refused something: {why}");
            }
            Err(error) => {
                self.handle_error(&error);
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

    /// Decides after an error of the client which actions have to be sent again, and how.
    fn handle_error(&mut self, error: &Error) {
        // A lost connection may have been renewed already.
        let is_lost = matches!(error, Error::Disconnected(_)) || !self.client.is_connected();
        if is_lost && !matches!(error, Error::Refused(_)) {
            self.backlog.send_again();
        }
        match error {
            Error::TimedOut | Error::Disconnected(_) => log::debug!("{error}"),
            // One of the sent actions made the server end the connection. Sending them singly shows which.
            Error::Refused(why) if self.backlog.skip_if_single() => {
                log::error!("the server refused a notification, which is skipped: {why}");
            }
            Error::Refused(_) => self.backlog.send_singly(),
            error => {
                log::error!("{error}");
                std::thread::sleep(ERROR_PAUSE);
            }
        }
    }

    /// Reads the password again after a refused login, since it may have been changed, and uses it for the next dial.
    fn read_password(&mut self) {
        let read = self.login.password().map_err(|error| error.to_string());
        match &read {
            Ok(password) => self.client.log_in_as(&self.login.user, password),
            Err(why) if self.logged_password_error.as_ref() != Some(why) => log::warn!("{why}"),
            Err(_) => {}
        }
        self.logged_password_error = read.err();
    }

    /// Logs the error of a failed dial, unless it is the same as before.
    fn log_dial_error(&mut self) {
        let error = self.client.last_dial_error();
        if error == self.logged_dial_error.as_deref() {
            return;
        }
        if let Some(why) = error {
            log::warn!("the server can't be reached: {why}");
        }
        self.logged_dial_error = error.map(str::to_owned);
    }

    /// Logs the messages of the client, whose calls also dial. While notifications arrive it does not wait for the dial.
    fn log_messages(&mut self, is_busy: bool) {
        loop {
            let patience = if is_busy || self.client.is_connected() {
                Duration::ZERO
            } else {
                DIAL_WAIT
            };
            match self.client.next(patience) {
                Ok(Some(Message::Disconnected(why))) => log::warn!("the server is lost: {why}"),
                Ok(Some(Message::Reconnected)) => log::info!("the server is there again"),
                Ok(Some(Message::Error(why))) => log::error!("the server refused something: {why}"),
                Ok(Some(_)) => {}
                Err(Error::LoginRefused) => return self.read_password(),
                // `log_dial_error` logs the error.
                Ok(None) | Err(_) => return,
            }
        }
    }
}
