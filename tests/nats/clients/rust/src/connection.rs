//! A connection with what the library says about it by itself, and its subscriptions.

use async_nats::{Client, ConnectError, ConnectOptions, Event, HeaderMap, Message, Subscriber};
use futures_util::{FutureExt, StreamExt};
use std::error::Error;
use std::fmt::Display;
use std::future::Future;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::coop::unconstrained;
use tokio::time::timeout;

pub const WAIT: Duration = Duration::from_secs(20);
/// So long an answer is waited for that must not come.
pub const SILENCE: Duration = Duration::from_millis(500);

/// The place that a step speaks to, and its output.
pub struct Told {
    pub address: String,
    pub port: String,
    pub step: String,
}

impl Told {
    pub fn say(&self, text: impl Display) {
        println!(
            "{}: {}",
            self.step,
            text.to_string().replace(&self.port, "PORT")
        );
    }

    pub fn outcome<T>(&self, what: &str, result: Result<T, impl Error>) {
        match result {
            Ok(_) => self.say(format!("{what}: no error")),
            Err(error) => self.say(format!("{what}: {}", causes(&error))),
        }
    }

    pub async fn connect(&self) -> Connection {
        self.connect_with(|options| options).await
    }

    pub async fn connect_as(&self, user: &str) -> Connection {
        let (user, password) = (user.to_owned(), format!("{user}pw"));
        self.connect_with(|options| options.user_and_password(user, password))
            .await
    }

    pub async fn connect_with(
        &self,
        change: impl FnOnce(ConnectOptions) -> ConnectOptions,
    ) -> Connection {
        self.dial(change).await.expect("a connection")
    }

    pub async fn dial(
        &self,
        change: impl FnOnce(ConnectOptions) -> ConnectOptions,
    ) -> Result<Connection, ConnectError> {
        let (sending, words) = unbounded_channel();
        let options = ConnectOptions::new()
            .connection_timeout(WAIT)
            .request_timeout(Some(WAIT))
            .event_callback(move |event: Event| {
                let _ = sending.send(event.to_string());
                async {}
            });
        let client = change(options).connect(&self.address).await?;
        let mut connection = Connection { client, words };
        assert_eq!(connection.next_word().await, "connected");
        Ok(connection)
    }
}

/// An error with all that led to it.
fn causes(error: &dyn Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts.join(": ")
}

pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(WAIT, future)
        .await
        .unwrap_or_else(|_| panic!("no {what} in time"))
}

pub struct Connection {
    pub client: Client,
    words: UnboundedReceiver<String>,
}

impl Connection {
    pub async fn next_word(&mut self) -> String {
        let word = in_time("event", self.words.recv()).await;
        word.expect("the connection can speak")
    }

    /// Waits until all is done that the server has got of the client, and all is here that it has sent before. The library's
    /// own flush waits until all is written.
    pub async fn barrier(&self) {
        let inbox = self.client.new_inbox();
        let mut sub = self.subscribe(&inbox).await;
        self.publish(&inbox, "").await;
        sub.next().await;
    }

    /// A barrier for a connection that does not hear itself.
    pub async fn silent_barrier(&self) {
        let asked = self.client.request("nobody.here", "".into()).await;
        asked.expect_err("nobody is there");
    }

    pub async fn subscribe(&self, subject: &str) -> Messages {
        let sub = self.client.subscribe(subject.to_owned()).await;
        Messages(sub.expect("a subject"))
    }

    pub async fn join(&self, subject: &str, group: &str) -> Messages {
        let (subject, group) = (subject.to_owned(), group.to_owned());
        let sub = self.client.queue_subscribe(subject, group).await;
        Messages(sub.expect("a subject"))
    }

    pub async fn publish(&self, subject: &str, payload: &str) {
        self.publish_bytes(subject, payload.as_bytes()).await;
    }

    pub async fn publish_bytes(&self, subject: &str, payload: &[u8]) {
        let payload = payload.to_vec().into();
        let published = self.client.publish(subject.to_owned(), payload).await;
        published.expect("it is small enough");
    }

    pub async fn delivers(&self, told: &Told) {
        let mut sub = self.subscribe("it.works").await;
        self.publish("it.works", "indeed").await;
        let message = sub.next().await;
        told.say(format!("{} {}", message.subject, text(&message)));
    }

    pub async fn close(self) {
        self.client.drain().await.expect("it is open");
    }
}

pub fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.payload).into_owned()
}

pub fn headers(entries: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (key, value) in entries {
        headers.append(*key, *value);
    }
    headers
}

/// The headers of a message, sorted.
pub fn headers_of(message: &Message) -> String {
    let all = message.headers.iter().flat_map(HeaderMap::iter);
    let mut all: Vec<(String, Vec<String>)> = all
        .map(|(name, values)| {
            let values = values.iter().map(|value| value.as_str().to_owned());
            (name.to_string(), values.collect())
        })
        .collect();
    all.sort();
    format!("{all:?}")
}

/// A subscription.
pub struct Messages(pub Subscriber);

impl Messages {
    pub async fn next(&mut self) -> Message {
        let message = in_time("message", self.0.next()).await;
        message.expect("it goes on")
    }

    /// The texts of the messages that are here.
    pub fn waiting(&mut self) -> Vec<String> {
        // The runtime would give other tasks a turn after some of them.
        let here = std::iter::from_fn(|| unconstrained(self.0.next()).now_or_never().flatten());
        here.map(|message| text(&message)).collect()
    }

    /// Takes messages until the library says that no more will come.
    pub async fn count_to_end(&mut self) -> usize {
        let mut count = 0;
        while in_time("end", self.0.next()).await.is_some() {
            count += 1;
        }
        count
    }
}
