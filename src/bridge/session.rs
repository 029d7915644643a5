//! One session at a database: runs queries and collects the notifications that arrive.

use super::failure::Failure;
use super::functions::CHANNEL;
use super::target::Target;
use super::translated::{Stream, bytes_of};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio_postgres::error::Severity;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Connection, SimpleQueryMessage};

/// The first column of a result's rows.
type Rows = Vec<String>;
type PendingQuery = Pin<Box<dyn Future<Output = Result<Rows, Failure>>>>;

/// A session with its received notifications.
pub struct Session {
    client: Arc<Client>,
    connection: Connection<Stream, NoTlsStream>,
    /// Received payloads in the encoding of the database.
    payloads: VecDeque<Vec<u8>>,
    /// The last notified channel other than [`CHANNEL`].
    other_channel: Option<String>,
    /// The time at which the database last sent something.
    last_received: Instant,
    /// The query that probes a silent database, and the deadline of its answer.
    check: Option<(PendingQuery, Instant)>,
}

impl Session {
    pub fn new(client: Client, connection: Connection<Stream, NoTlsStream>) -> Session {
        Session {
            client: Arc::new(client),
            connection,
            payloads: VecDeque::new(),
            other_channel: None,
            last_received: Instant::now(),
            check: None,
        }
    }

    /// The encoding of the database.
    pub fn encoding(&self) -> &str {
        self.connection
            .parameter("server_encoding")
            .unwrap_or("UTF8")
    }

    /// Takes the received payloads.
    pub fn take_payloads(&mut self) -> impl Iterator<Item = Vec<u8>> {
        self.payloads.drain(..)
    }

    /// Receives messages, up to about `slice` payloads. Ready when there are so many, or the connection has ended.
    fn poll(&mut self, context: &mut Context<'_>, slice: usize) -> Poll<Result<(), Failure>> {
        while self.payloads.len() < slice {
            match self.connection.poll_message(context) {
                Poll::Ready(Some(Ok(AsyncMessage::Notification(notification)))) => {
                    self.last_received = Instant::now();
                    if notification.channel() == CHANNEL {
                        self.payloads.push_back(bytes_of(notification.payload()));
                    } else {
                        self.other_channel = Some(notification.channel().to_owned());
                    }
                }
                Poll::Ready(Some(Ok(AsyncMessage::Notice(notice)))) => {
                    if notice.parsed_severity() == Some(Severity::Warning) {
                        log::warn!("the database warns: {}", notice.message());
                    }
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.into())),
                Poll::Ready(None) => return Poll::Ready(Err(Failure::Closed)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Receives messages. Ready as soon as there are payloads, or the connection has ended.
    pub fn poll_payloads(
        &mut self,
        context: &mut Context<'_>,
        slice: usize,
    ) -> Poll<Result<(), Failure>> {
        let ended = self.poll(context, slice);
        if let Some((check, _)) = &mut self.check
            && let Poll::Ready(answer) = check.as_mut().poll(context)
        {
            self.check = None;
            self.last_received = Instant::now();
            if let Err(failure) = answer {
                return Poll::Ready(Err(failure));
            }
        }
        match ended {
            Poll::Pending if !self.payloads.is_empty() => Poll::Ready(Ok(())),
            ended => ended,
        }
    }

    /// Probes a database that was silent for long. Returns a failure if an earlier probe was not answered in time.
    pub fn check_alive(&mut self, target: &Target) -> Option<Failure> {
        match &self.check {
            Some((_, end)) if Instant::now() > *end => return Some(Failure::Silent),
            None if self.last_received.elapsed() >= target.idle() => {
                let end = Instant::now() + target.timeout();
                self.check = Some((self.ask(String::new()), end));
            }
            _ => {}
        }
        None
    }

    fn ask(&self, sql: String) -> PendingQuery {
        let client = self.client.clone();
        Box::pin(async move {
            let answer = client.simple_query(&sql).await?;
            let rows = answer.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
                _ => None,
            });
            Ok(rows.collect())
        })
    }

    /// Runs SQL and returns the first column of the result. Notifications that arrive meanwhile are collected.
    pub async fn execute(&mut self, sql: String) -> Result<Rows, Failure> {
        let mut answer = pin!(self.ask(sql));
        poll_fn(|context| {
            let ended = self.poll(context, usize::MAX);
            match answer.as_mut().poll(context) {
                Poll::Ready(answer) => Poll::Ready(answer),
                // If the connection has ended, no answer will arrive.
                Poll::Pending => ended.map(|ended| ended.map(|()| Rows::new())),
            }
        })
        .await
    }

    /// Waits until a channel other than [`CHANNEL`] is notified.
    pub async fn wait_for(&mut self, channel: &str) -> Result<(), Failure> {
        poll_fn(|context| {
            let ended = self.poll(context, usize::MAX);
            match &self.other_channel {
                Some(notified) if notified == channel => Poll::Ready(Ok(())),
                _ => ended,
            }
        })
        .await
    }
}
