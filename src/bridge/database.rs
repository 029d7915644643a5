//! The connection to PostgreSQL: dialled, listening, and asked now and then whether it is still there.
//!
//! No wait is without end, whatever the database does. So this drives tokio-postgres by itself: its blocking
//! wrapper waits for ever where a server accepts a connection and is silent then, and where it becomes silent
//! later.

use super::dial::{connect, within};
use super::encodings;
use super::functions::CHANNEL;
use super::payload::{Parts, take_apart, take_apart_in_utf8};
use super::session::Session;
use super::target::{DatabaseHost, Target, chain};
use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::runtime::{self, Runtime};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;

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
    /// It lets the bridge listen, and no notification arrives.
    Deaf,
    /// There is no connection, or it breaks before the login.
    Unreachable(io::Error),
    Tls(String),
    /// Of each of several hosts.
    Hosts(String),
    /// Nothing of the database's: a runtime can't be had.
    System(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Postgres(error) => f.write_str(&chain(error)),
            Failure::Closed => f.write_str("it has closed the connection"),
            Failure::Silent => f.write_str("it doesn't answer"),
            Failure::Deaf => f.write_str(
                "its notifications don't arrive, as behind a pooler in transaction mode; \
                 the bridge needs a session of its own",
            ),
            Failure::Unreachable(error) => write!(f, "error connecting to server: {error}"),
            Failure::Tls(what) => write!(f, "TLS: {what}"),
            Failure::Hosts(text) => f.write_str(text),
            Failure::System(error) => error.fmt(f),
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure::Postgres(error)
    }
}

impl Failure {
    /// True if another host may do better: there is no session here, or it is one of a standby.
    fn is_of_host(&self) -> bool {
        match self {
            Failure::Postgres(error) => {
                let code = error.code();
                code.is_none_or(|code| {
                    *code == SqlState::READ_ONLY_SQL_TRANSACTION || is_of_login(code.code())
                })
            }
            Failure::System(_) => false,
            _ => true,
        }
    }
}

/// Classes of errors by which a server lets nobody in: connections, logins, catalogs, resources, shutting down.
fn is_of_login(code: &str) -> bool {
    ["08", "28", "3D", "53", "57"]
        .iter()
        .any(|class| code.starts_with(class))
}

/// What has become of the connection.
pub enum Change {
    Listening,
    Lost(Failure),
    Unreachable(Failure),
}

pub struct Database {
    target: Target,
    state: State,
    /// Payloads that have come and are not in UTF-8 yet. They outlive the session.
    unconverted: Vec<Vec<u8>>,
    runtime: Runtime,
}

struct Sessions {
    listening: Session,
    /// Converts payloads. PostgreSQL sends all notifications that there are before it answers a session that listens; so
    /// questions of that one would fetch them faster than they can be converted. `None` where no second session is let
    /// in.
    converting: Option<Session>,
}

enum State {
    /// It is dialled then.
    Away(Instant),
    Dialling(Doing<Sessions>),
    There(Box<Sessions>),
}

impl Database {
    /// Nothing is dialled yet.
    pub fn new(target: Target) -> Result<Database, Failure> {
        Ok(Database {
            target,
            state: State::Away(Instant::now()),
            unconverted: Vec::new(),
            runtime: runtime()?,
        })
    }

    /// Payloads that have come, or come within that time, up to about so many; and what has become of the
    /// connection after them. Dials, as far as it gets in that time.
    pub fn fetch(&mut self, wait: Duration, slice: usize) -> (Vec<Parts>, Option<Change>) {
        match &mut self.state {
            State::Away(dial_at) => {
                let left = dial_at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    self.state = State::Dialling(Box::pin(dial(self.target.clone())));
                    return self.fetch(wait, slice);
                }
                std::thread::sleep(left.min(wait));
                (Vec::new(), None)
            }
            State::Dialling(dial) => {
                let change = match self.runtime.block_on(async { timeout(wait, dial).await }) {
                    Err(_) => None,
                    Ok(Ok(sessions)) => {
                        self.state = State::There(Box::new(sessions));
                        Some(Change::Listening)
                    }
                    Ok(Err(failure)) => {
                        self.state = State::Away(Instant::now() + REDIAL);
                        Some(Change::Unreachable(failure))
                    }
                };
                (Vec::new(), change)
            }
            State::There(_) => {
                let (payloads, failure) = self.fetch_there(wait, slice);
                if failure.is_some() {
                    self.state = State::Away(Instant::now() + REDIAL);
                }
                (payloads, failure.map(Change::Lost))
            }
        }
    }

    /// The part of [`Database::fetch`] with a session.
    fn fetch_there(&mut self, wait: Duration, slice: usize) -> (Vec<Parts>, Option<Failure>) {
        let State::There(sessions) = &mut self.state else {
            return (Vec::new(), None);
        };
        let session = &mut sessions.listening;
        let ended = self.runtime.block_on(async {
            let some = poll_fn(|context| session.poll_payloads(context, slice));
            timeout(wait, some).await
        });
        let failure = match ended {
            Ok(Err(failure)) => Some(failure),
            _ => session.look_after(&self.target),
        };
        if encodings::needs_no_conversion(session.encoding()) {
            let encoding = session.encoding().to_owned();
            let payloads = session
                .take_payloads()
                .map(|payload| in_parts(&payload, &encoding));
            return (payloads.collect(), failure);
        }
        self.unconverted.extend(session.take_payloads());
        if failure.is_some() || self.unconverted.is_empty() {
            return (Vec::new(), failure);
        }
        let session = sessions.converting.as_mut().unwrap_or(session);
        let converted = self.runtime.block_on(encodings::convert(
            session,
            &self.unconverted,
            self.target.patience(),
        ));
        match converted {
            Ok(converted) => {
                let unconverted = std::mem::take(&mut self.unconverted);
                (passed_on(converted, &unconverted), None)
            }
            Err(failure) => (Vec::new(), Some(failure)),
        }
    }

    /// Without waiting for anything.
    pub fn close(self) {
        let Database { state, runtime, .. } = self;
        drop(state);
        // A name may still be looked up, which nobody can stop.
        runtime.shutdown_background();
    }

    /// Runs SQL on a connection of its own, at the first host that can.
    pub fn run(self, sql: &str) -> Result<(), Failure> {
        let done = self.runtime.block_on(at_first(&self.target, async |host| {
            let mut session = connect(&self.target, host).await?;
            within(CHANGE, session.execute(sql.to_owned())).await
        }));
        self.close();
        done.map(|_| ())
    }
}

/// The parts of a payload that needs no conversion.
fn in_parts(payload: &[u8], encoding: &str) -> Parts {
    let parts = take_apart(payload, encoding);
    take_apart_in_utf8(parts.into_iter().map(<[u8]>::to_vec).collect())
}

/// Payloads in UTF-8. One that can't be converted is logged, and left out.
fn passed_on(converted: Vec<Option<Parts>>, unconverted: &[Vec<u8>]) -> Vec<Parts> {
    let payloads = converted.into_iter().zip(unconverted);
    let passed_on = payloads.filter_map(|(converted, raw)| {
        if converted.is_none() {
            let start = raw[..raw.len().min(80)].escape_ascii();
            log::warn!("a notification was skipped: it has no form in UTF-8: \"{start}\"");
        }
        converted
    });
    passed_on.collect()
}

fn runtime() -> Result<Runtime, Failure> {
    let mut builder = runtime::Builder::new_current_thread();
    builder.enable_all().build().map_err(Failure::System)
}

/// Does something at the first of the hosts that can do it. The failure of the only host, or of all.
async fn at_first<T>(
    target: &Target,
    act: impl AsyncFn(&DatabaseHost) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut failures = Vec::new();
    for host in &target.hosts {
        match act(host).await {
            Err(failure) if failure.is_of_host() => failures.push((host, failure)),
            done => return done,
        }
    }
    if failures.len() == 1
        && let Some((_, failure)) = failures.pop()
    {
        return Err(failure);
    }
    let each = failures
        .iter()
        .map(|(host, failure)| format!("{host}: {failure}"));
    Err(Failure::Hosts(each.collect::<Vec<_>>().join("; ")))
}

async fn dial(target: Target) -> Result<Sessions, Failure> {
    at_first(&target, async |host| listen(&target, host).await).await
}

/// A session that listens, and hears, and another one.
///
/// Behind a pooler in transaction mode LISTEN succeeds, and the session that listens then is another client's. That shows
/// only when somebody else notifies: a second session does, on a channel of the first one's own.
async fn listen(target: &Target, host: &DatabaseHost) -> Result<Sessions, Failure> {
    let mut listening = connect(target, host).await?;
    let probe = probe_channel();
    let mut sql = format!("LISTEN {CHANNEL}; LISTEN {probe}");
    let needs_conversion = !encodings::needs_no_conversion(listening.encoding());
    if needs_conversion || listening.encoding() == "SQL_ASCII" {
        sql.insert_str(0, encodings::AS_THEY_ARE);
    }
    within(target.patience(), listening.execute(sql)).await?;
    let second = match notify(target, host, &probe).await {
        Ok(second) => second,
        Err(failure) => {
            log::warn!("it is not known whether the database's notifications arrive: {failure}");
            return Ok(Sessions {
                listening,
                converting: None,
            });
        }
    };
    match within(target.patience(), listening.wait_for(&probe)).await {
        Err(Failure::Silent) => return Err(Failure::Deaf),
        heard => heard?,
    }
    within(
        target.patience(),
        listening.execute(format!("UNLISTEN {probe}")),
    )
    .await?;
    Ok(Sessions {
        listening,
        converting: needs_conversion.then_some(second),
    })
}

/// Notifies a channel from a session of its own, which is still of use.
async fn notify(target: &Target, host: &DatabaseHost, channel: &str) -> Result<Session, Failure> {
    let mut session = connect(target, host).await?;
    within(
        target.patience(),
        session.execute(format!("NOTIFY {channel}")),
    )
    .await?;
    Ok(session)
}

/// A channel that nobody else listens to. The standard library's hash keys are the only random thing it offers.
fn probe_channel() -> String {
    let drawn = RandomState::new().build_hasher().finish();
    format!("clackspg_{drawn:016x}")
}
