//! The connection to PostgreSQL: connects, listens for notifications, and probes a silent database.
//!
//! Every wait has a time limit, whatever the database does. So this module drives tokio-postgres itself: the blocking
//! wrapper of that crate waits for ever if a server accepts a connection and stays silent, or becomes silent later.

use super::dial::{connect, within};
use super::encodings;
use super::failure::Failure;
use super::functions::CHANNEL;
use super::payload::{Parts, split_in_utf8, split_payload};
use super::session::Session;
use super::target::{DatabaseHost, Target};
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::runtime::{self, Runtime};
use tokio::time::timeout;

/// The pause between two attempts to connect to the database.
const REDIAL: Duration = Duration::from_secs(1);
/// The time limit for SQL that changes something, which may have to wait for locks.
const CHANGE: Duration = Duration::from_secs(60);

type Pending<T> = Pin<Box<dyn Future<Output = Result<T, Failure>>>>;

/// A change of the connection's state.
pub enum Change {
    Listening,
    Lost(Failure),
    Unreachable(Failure),
}

/// A database and the sessions there.
pub struct Database {
    target: Target,
    state: State,
    /// Received payloads that are not converted to UTF-8 yet. They outlive the session.
    unconverted: Vec<Vec<u8>>,
    runtime: Runtime,
}

struct Sessions {
    listening: Session,
    /// The session that converts payloads. PostgreSQL sends all pending notifications to a listening session before it
    /// answers its queries; queries in that session would therefore fetch payloads faster than they can be converted.
    /// `None` if the database allows no second session.
    converting: Option<Session>,
}

enum State {
    /// There is no connection; the time of the next attempt.
    Disconnected(Instant),
    Connecting(Pending<Sessions>),
    Connected(Box<Sessions>),
}

impl Database {
    /// Creates a database without connecting to it.
    ///
    /// # Errors
    /// The runtime can't be started.
    pub fn new(target: Target) -> Result<Database, Failure> {
        Ok(Database {
            target,
            state: State::Disconnected(Instant::now()),
            unconverted: Vec::new(),
            runtime: runtime()?,
        })
    }

    /// Returns payloads that have arrived or arrive within `wait`, about `slice` of them at most, and the change of the
    /// connection after them, if there was one. Without a connection it connects, as far as that gets within `wait`.
    pub fn fetch(&mut self, wait: Duration, slice: usize) -> (Vec<Parts>, Option<Change>) {
        match &mut self.state {
            State::Disconnected(dial_at) => {
                let left = dial_at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    self.state = State::Connecting(Box::pin(dial(self.target.clone())));
                    return self.fetch(wait, slice);
                }
                std::thread::sleep(left.min(wait));
                (Vec::new(), None)
            }
            State::Connecting(dial) => {
                let change = match self.runtime.block_on(async { timeout(wait, dial).await }) {
                    Err(_) => None,
                    Ok(Ok(sessions)) => {
                        self.state = State::Connected(Box::new(sessions));
                        Some(Change::Listening)
                    }
                    Ok(Err(failure)) => {
                        self.state = State::Disconnected(Instant::now() + REDIAL);
                        Some(Change::Unreachable(failure))
                    }
                };
                (Vec::new(), change)
            }
            State::Connected(_) => {
                let (payloads, failure) = self.fetch_connected(wait, slice);
                if failure.is_some() {
                    self.state = State::Disconnected(Instant::now() + REDIAL);
                }
                (payloads, failure.map(Change::Lost))
            }
        }
    }

    /// [`Database::fetch`] while there is a session.
    fn fetch_connected(&mut self, wait: Duration, slice: usize) -> (Vec<Parts>, Option<Failure>) {
        let State::Connected(sessions) = &mut self.state else {
            return (Vec::new(), None);
        };
        let session = &mut sessions.listening;
        let ended = self.runtime.block_on(async {
            let some = poll_fn(|context| session.poll_payloads(context, slice));
            timeout(wait, some).await
        });
        let failure = match ended {
            Ok(Err(failure)) => Some(failure),
            _ => session.check_alive(&self.target),
        };
        if encodings::is_passed_unconverted(session.encoding()) {
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
            self.target.timeout(),
        ));
        match converted {
            Ok(converted) => {
                let unconverted = std::mem::take(&mut self.unconverted);
                (log_unconvertible(converted, &unconverted), None)
            }
            Err(failure) => (Vec::new(), Some(failure)),
        }
    }

    /// Closes the connections without waiting.
    pub fn close(self) {
        let Database { state, runtime, .. } = self;
        drop(state);
        // A lookup of a name may still be running in a thread; it can't be cancelled.
        runtime.shutdown_background();
    }

    /// Runs SQL in a session of its own, at the first host that can do it.
    pub fn run(self, sql: &str) -> Result<(), Failure> {
        let done = self.runtime.block_on(at_first(&self.target, async |host| {
            let mut session = connect(&self.target, host).await?;
            within(CHANGE, session.execute(sql.to_owned())).await
        }));
        self.close();
        done.map(|_| ())
    }
}

/// The parts of a payload that is not converted.
fn in_parts(payload: &[u8], encoding: &str) -> Parts {
    let parts = split_payload(payload, encoding);
    split_in_utf8(parts.into_iter().map(<[u8]>::to_vec).collect())
}

/// The converted payloads. Those that could not be converted are logged and left out.
fn log_unconvertible(converted: Vec<Option<Parts>>, unconverted: &[Vec<u8>]) -> Vec<Parts> {
    let payloads = converted.into_iter().zip(unconverted);
    let log_unconvertible = payloads.filter_map(|(converted, raw)| {
        if converted.is_none() {
            let start = raw[..raw.len().min(80)].escape_ascii();
            log::warn!("a notification was skipped: it has no form in UTF-8: \"{start}\"");
        }
        converted
    });
    log_unconvertible.collect()
}

fn runtime() -> Result<Runtime, Failure> {
    let mut builder = runtime::Builder::new_current_thread();
    builder.enable_all().build().map_err(Failure::System)
}

/// Calls `act` with one host after the other until it succeeds, or fails for a reason that is not the host's.
///
/// # Errors
/// That failure, or the failures of all hosts.
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

/// Opens a session that listens and receives notifications, and a second one for conversions if they are needed.
///
/// Behind a pooler in transaction mode LISTEN succeeds, but the server's session that listens is given to another client
/// afterwards. To detect that, a second session notifies a channel that only the first one listens to.
async fn listen(target: &Target, host: &DatabaseHost) -> Result<Sessions, Failure> {
    let mut listening = connect(target, host).await?;
    let probe = probe_channel();
    let mut sql = format!("LISTEN {CHANNEL}; LISTEN {probe}");
    let needs_conversion = !encodings::is_passed_unconverted(listening.encoding());
    if needs_conversion || listening.encoding() == "SQL_ASCII" {
        sql.insert_str(0, encodings::WITHOUT_CONVERSION);
    }
    within(target.timeout(), listening.execute(sql)).await?;
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
    match within(target.timeout(), listening.wait_for(&probe)).await {
        Err(Failure::Silent) => return Err(Failure::NoNotifications),
        last_received => last_received?,
    }
    within(
        target.timeout(),
        listening.execute(format!("UNLISTEN {probe}")),
    )
    .await?;
    Ok(Sessions {
        listening,
        converting: needs_conversion.then_some(second),
    })
}

/// Notifies a channel from a new session. Returns the session for further use.
async fn notify(target: &Target, host: &DatabaseHost, channel: &str) -> Result<Session, Failure> {
    let mut session = connect(target, host).await?;
    within(
        target.timeout(),
        session.execute(format!("NOTIFY {channel}")),
    )
    .await?;
    Ok(session)
}

/// A channel name that nobody else uses. Hash keys are the only source of randomness in the standard library.
fn probe_channel() -> String {
    let drawn = RandomState::new().build_hasher().finish();
    format!("clackspg_{drawn:016x}")
}
