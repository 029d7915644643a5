//! The connection to PostgreSQL: dialled, listening, and asked now and then whether it is still there.
//!
//! No wait is without end, whatever the database does. So this drives tokio-postgres by itself: its blocking
//! wrapper waits for ever where a server accepts a connection and is silent then, and where it becomes silent
//! later.

use super::functions::CHANNEL;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::runtime::{self, Runtime};
use tokio::time::timeout;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Socket};

/// For a dial, and for an answer, unless the connection string has a `connect_timeout`.
const PATIENCE: Duration = Duration::from_secs(10);
/// After such a silence the database is asked whether it is still there, unless the connection string has
/// `keepalives_idle`.
const IDLE: Duration = Duration::from_secs(30);
/// What the driver takes for that if nobody has said it.
const DRIVERS_IDLE: Duration = Duration::from_secs(2 * 60 * 60);
/// Between two attempts to reach the database.
const REDIAL: Duration = Duration::from_secs(1);
/// For SQL that changes something, and may have to wait for others who do.
const CHANGE: Duration = Duration::from_secs(60);

type Doing<T> = Pin<Box<dyn Future<Output = Result<T, Failure>>>>;

/// What is wrong with the database.
#[derive(Debug)]
pub enum Failure {
    Postgres(tokio_postgres::Error),
    Closed,
    Silent,
    /// Nothing of the database's: a runtime can't be had.
    System(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Postgres(error) => f.write_str(&chain(error)),
            Failure::Closed => f.write_str("it has closed the connection"),
            Failure::Silent => f.write_str("it doesn't answer"),
            Failure::System(error) => error.fmt(f),
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure::Postgres(error)
    }
}

/// An error with what caused it: PostgreSQL's own say little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += ": ";
        text += &cause.to_string();
        source = cause.source();
    }
    text
}

/// What has become of the connection.
pub enum Change {
    Listening,
    Lost(Failure),
    Unreachable(Failure),
}

pub struct Database {
    config: Config,
    state: State,
    runtime: Runtime,
}

enum State {
    /// It is dialled then.
    Away(Instant),
    Dialling(Doing<Session>),
    There(Box<Session>),
}

impl Database {
    /// Nothing is dialled yet.
    pub fn new(mut config: Config) -> Result<Database, Failure> {
        if config.get_keepalives_idle() == DRIVERS_IDLE {
            config.keepalives_idle(IDLE);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(PATIENCE);
        }
        Ok(Database {
            config,
            state: State::Away(Instant::now()),
            runtime: runtime()?,
        })
    }

    /// Payloads that have come, or come within that time, up to about so many; and what has become of the
    /// connection after them. Dials, as far as it gets in that time.
    pub fn fetch(&mut self, wait: Duration, slice: usize) -> (Vec<String>, Option<Change>) {
        match &mut self.state {
            State::Away(dial_at) => {
                let left = dial_at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    self.state = State::Dialling(Box::pin(dial(self.config.clone())));
                    return self.fetch(wait, slice);
                }
                std::thread::sleep(left.min(wait));
                (Vec::new(), None)
            }
            State::Dialling(dial) => {
                let change = match self.runtime.block_on(async { timeout(wait, dial).await }) {
                    Err(_) => None,
                    Ok(Ok(session)) => {
                        self.state = State::There(Box::new(session));
                        Some(Change::Listening)
                    }
                    Ok(Err(failure)) => {
                        self.state = State::Away(Instant::now() + REDIAL);
                        Some(Change::Unreachable(failure))
                    }
                };
                (Vec::new(), change)
            }
            State::There(session) => {
                let ended = self.runtime.block_on(async {
                    let some = poll_fn(|context| session.poll_payloads(context, slice));
                    timeout(wait, some).await
                });
                let failure = match ended {
                    Ok(Err(failure)) => Some(failure),
                    _ => session.look_after(&self.config),
                };
                let payloads = session.payloads.drain(..).collect();
                if failure.is_some() {
                    self.state = State::Away(Instant::now() + REDIAL);
                }
                (payloads, failure.map(Change::Lost))
            }
        }
    }

    /// Without waiting for anything.
    pub fn close(self) {
        let Database { state, runtime, .. } = self;
        drop(state);
        // A name may still be looked up, which nobody can stop.
        runtime.shutdown_background();
    }

    /// Runs SQL on a connection of its own.
    pub fn run(self, sql: &str) -> Result<(), Failure> {
        let done = self.runtime.block_on(async {
            let mut session = connect(&self.config).await?;
            within(CHANGE, session.execute(sql.to_owned())).await
        });
        self.close();
        done
    }
}

fn runtime() -> Result<Runtime, Failure> {
    let mut builder = runtime::Builder::new_current_thread();
    builder.enable_all().build().map_err(Failure::System)
}

async fn within<T>(
    limit: Duration,
    doing: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(limit, doing).await.unwrap_or(Err(Failure::Silent))
}

/// How long an answer may take.
fn patience(config: &Config) -> Duration {
    config.get_connect_timeout().copied().unwrap_or(PATIENCE)
}

async fn connect(config: &Config) -> Result<Session, Failure> {
    // Each of several hosts gets its time.
    let hosts = config.get_hosts().len().max(config.get_hostaddrs().len());
    let limit = patience(config).saturating_mul(u32::try_from(hosts.max(1)).unwrap_or(1));
    within(limit, async {
        let (client, connection) = config.connect(NoTls).await?;
        Ok(Session {
            client: Arc::new(client),
            connection,
            payloads: VecDeque::new(),
            heard: Instant::now(),
            check: None,
        })
    })
    .await
}

async fn dial(config: Config) -> Result<Session, Failure> {
    let mut session = connect(&config).await?;
    let listen = session.execute(format!("LISTEN {CHANNEL}"));
    within(patience(&config), listen).await?;
    Ok(session)
}

struct Session {
    client: Arc<Client>,
    connection: Connection<Socket, NoTlsStream>,
    payloads: VecDeque<String>,
    /// When the database last showed that it is there.
    heard: Instant,
    /// A question whether it is, and when the answer is missed.
    check: Option<(Doing<()>, Instant)>,
}

impl Session {
    /// Takes what has come, up to about so many payloads. Ready when they are so many, or the connection has
    /// ended.
    fn poll(&mut self, context: &mut Context<'_>, slice: usize) -> Poll<Result<(), Failure>> {
        while self.payloads.len() < slice {
            match self.connection.poll_message(context) {
                Poll::Ready(Some(Ok(AsyncMessage::Notification(notification)))) => {
                    self.payloads.push_back(notification.payload().to_owned());
                    self.heard = Instant::now();
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.into())),
                Poll::Ready(None) => return Poll::Ready(Err(Failure::Closed)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready as soon as there are any payloads, or the connection has ended.
    fn poll_payloads(
        &mut self,
        context: &mut Context<'_>,
        slice: usize,
    ) -> Poll<Result<(), Failure>> {
        let ended = self.poll(context, slice);
        if let Some((check, _)) = &mut self.check
            && let Poll::Ready(answer) = check.as_mut().poll(context)
        {
            self.check = None;
            self.heard = Instant::now();
            if let Err(failure) = answer {
                return Poll::Ready(Err(failure));
            }
        }
        match ended {
            Poll::Pending if !self.payloads.is_empty() => Poll::Ready(Ok(())),
            ended => ended,
        }
    }

    /// Asks whether the database is still there if it was silent for long; says if it is not.
    fn look_after(&mut self, config: &Config) -> Option<Failure> {
        match &self.check {
            Some((_, end)) if Instant::now() > *end => return Some(Failure::Silent),
            None if self.heard.elapsed() >= config.get_keepalives_idle() => {
                let end = Instant::now() + patience(config);
                self.check = Some((self.ask(String::new()), end));
            }
            _ => {}
        }
        None
    }

    fn ask(&self, sql: String) -> Doing<()> {
        let client = self.client.clone();
        Box::pin(async move { Ok(client.batch_execute(&sql).await?) })
    }

    async fn execute(&mut self, sql: String) -> Result<(), Failure> {
        let mut answer = pin!(self.ask(sql));
        poll_fn(|context| {
            let ended = self.poll(context, usize::MAX);
            match answer.as_mut().poll(context) {
                Poll::Ready(answer) => Poll::Ready(answer),
                // Without a connection there will be none.
                Poll::Pending => ended,
            }
        })
        .await
    }
}
