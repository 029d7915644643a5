//! The steps.

use crate::connection::{Connection, Messages, SILENCE, Told, headers, headers_of, in_time, text};
use async_nats::{ConnectOptions, Request, Subject};
use futures_util::StreamExt;
use std::collections::HashSet;
use std::env;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

/// So many bytes of payload the servers take.
const LIMIT: usize = 1024 * 1024;

pub async fn run(step: &str, told: &Told) {
    match step {
        "connect" => connect(told).await,
        "login" => login(told).await,
        "wrong_login" => wrong_login(told).await,
        "login_required" => login_required(told).await,
        "wildcards" => wildcards(told).await,
        "groups" => groups(told).await,
        "publish" => publish(told).await,
        "headers" => several_headers(told).await,
        "request" => request(told).await,
        "nobody" => nobody(told).await,
        "auto_unsubscribe" => auto_unsubscribe(told).await,
        "no_echo" => no_echo(told).await,
        "flush" => flush(told).await,
        "drain" => drain(told).await,
        "close" => close(told).await,
        "max_payload" => max_payload(told).await,
        "read_only" => read_only(told).await,
        "write_only" => write_only(told).await,
        "tls" => tls(told).await,
        "tls_first" => tls_first(told).await,
        "reconnect" => reconnect(told).await,
        "crowd" => crowd(told).await,
        "relay" => relay(told).await,
        _ => panic!("no step {step}"),
    }
}

async fn connect(told: &Told) {
    let mut connection = told.connect().await;
    told.say(format!("max_payload {}", connection.client.max_payload()));
    connection.delivers(told).await;
    connection.client.drain().await.expect("it is open");
    loop {
        let word = connection.next_word().await;
        told.say(&word);
        if word == "closed" {
            return;
        }
    }
}

async fn login(told: &Told) {
    let connection = told.connect_as("rw").await;
    connection.delivers(told).await;
    connection.close().await;
}

async fn wrong_login(told: &Told) {
    for (user, password) in [("rw", "wrong"), ("nobody", "rwpw"), ("rw", "")] {
        let login =
            |options: ConnectOptions| options.user_and_password(user.into(), password.into());
        told.outcome(&format!("{user}:{password}"), told.dial(login).await);
    }
    let token = told.dial(|options| options.token("word".into())).await;
    told.outcome("token", token);
}

async fn login_required(told: &Told) {
    told.outcome("no login", told.dial(|options| options).await);
    login(told).await;
}

async fn wildcards(told: &Told) {
    let connection = told.connect().await;
    let mut subs = Vec::new();
    for pattern in ["w.*", "w.>", "w.*.c", "*.b", "w.b", ">"] {
        subs.push((pattern, connection.subscribe(pattern).await));
    }
    for subject in [
        "w", "w.a", "w.b", "w.b.c", "w.x.y.c", "other.b", "w.é", "W.b", "w.b",
    ] {
        connection.publish(subject, subject).await;
    }
    connection.barrier().await;
    for (pattern, mut sub) in subs {
        let mut subjects = sub.waiting();
        // The barrier's own message is empty.
        subjects.retain(|subject| !subject.is_empty());
        told.say(format!("{pattern} gets {subjects:?}"));
    }
    connection.close().await;
}

async fn groups(told: &Told) {
    let (one, other) = (told.connect().await, told.connect().await);
    let mut members = [
        one.join("g.*", "q").await,
        one.join("g.>", "q").await,
        other.join("g.a", "q").await,
    ];
    let mut alone = [other.join("g.a", "r").await, other.subscribe("g.a").await];
    one.barrier().await;
    other.barrier().await;
    for number in 0..300 {
        one.publish("g.a", &number.to_string()).await;
    }
    one.barrier().await;
    other.barrier().await;
    let numbers = |sub: &mut Messages| -> Vec<u32> {
        let texts = sub.waiting().into_iter();
        texts.map(|text| text.parse().expect("a number")).collect()
    };
    let shares = members.each_mut().map(numbers);
    let mut together = shares.concat();
    together.sort();
    let everything: Vec<u32> = (0..300).collect();
    told.say(format!("together each once {}", together == everything));
    told.say(format!(
        "each in order {}",
        shares.iter().all(|share| share.is_sorted())
    ));
    told.say(format!(
        "each has a share {}",
        shares.iter().all(|share| share.len() > 30)
    ));
    for sub in &mut alone {
        told.say(format!("alone all {}", numbers(sub) == everything));
    }
    one.close().await;
    other.close().await;
}

async fn publish(told: &Told) {
    let connection = told.connect().await;
    let mut sub = connection.subscribe("p.>").await;
    let payloads = [
        Vec::new(),
        b"21.5".to_vec(),
        (0..=255).collect(),
        b"\r\nPUB p.x 0\r\n\r\n".to_vec(),
        vec![b'x'; 100_000],
    ];
    for (number, payload) in payloads.iter().enumerate() {
        connection
            .publish_bytes(&format!("p.{number}"), payload)
            .await;
    }
    let published =
        connection
            .client
            .publish_with_reply("p.reply", "some.where", "with reply".into());
    published.await.expect("it is small enough");
    for payload in payloads {
        let message = sub.next().await;
        let is_same = message.payload == payload;
        told.say(format!(
            "{} {} as sent {is_same}",
            message.subject,
            message.payload.len()
        ));
    }
    let message = sub.next().await;
    told.say(format!(
        "{} {} {:?}",
        message.subject,
        text(&message),
        reply(&message)
    ));
    connection.close().await;
}

fn reply(message: &async_nats::Message) -> Option<&str> {
    message.reply.as_ref().map(Subject::as_str)
}

async fn several_headers(told: &Told) {
    let connection = told.connect().await;
    let mut sub = connection.subscribe("h").await;
    let one = headers(&[("A", "1")]);
    let several = headers(&[("A", "1"), ("Long-Name", "with blanks: é"), ("A", "2")]);
    let client = &connection.client;
    for (headers, payload) in [(one.clone(), "one"), (several, "")] {
        let published = client.publish_with_headers("h", headers, payload.into());
        published.await.expect("it is small enough");
    }
    let published = client.publish_with_reply_and_headers("h", "back", one, "three".into());
    published.await.expect("it is small enough");
    connection.publish("h", "none").await;
    for _ in 0..4 {
        let message = sub.next().await;
        told.say(format!(
            "{} {} {:?}",
            text(&message),
            headers_of(&message),
            reply(&message)
        ));
    }
    connection.close().await;
}

/// Answers requests to `service`.
async fn answer(connection: Connection, mut sub: Messages) {
    while let Some(asked) = sub.0.next().await {
        let reply = asked.reply.clone().expect("it is a request");
        let payload = format!("re: {}", text(&asked)).into();
        let value = asked.headers.as_ref().and_then(|headers| headers.get("A"));
        let answered = match value {
            Some(value) => {
                let headers = headers(&[("Got", value.as_str())]);
                connection
                    .client
                    .publish_with_headers(reply, headers, payload)
                    .await
            }
            None => connection.client.publish(reply, payload).await,
        };
        answered.expect("it is small enough");
    }
}

async fn request(told: &Told) {
    let (connection, other) = (told.connect().await, told.connect().await);
    let sub = other.join("service", "servers").await;
    other.barrier().await;
    tokio::spawn(answer(other, sub));
    let client = &connection.client;
    for number in 0..3 {
        let message = client.request("service", number.to_string().into()).await;
        let message = message.expect("an answer");
        told.say(format!("{} {}", text(&message), headers_of(&message)));
    }
    let headers = headers(&[("A", "1")]);
    let message = client
        .request_with_headers("service", headers, "with headers".into())
        .await;
    let message = message.expect("an answer");
    told.say(format!("{} {}", text(&message), headers_of(&message)));
    let asked = Request::new()
        .payload("inbox of its own".into())
        .inbox(client.new_inbox());
    let message = client
        .send_request("service", asked)
        .await
        .expect("an answer");
    told.say(format!("inbox of its own: {}", text(&message)));
    connection.close().await;
}

async fn nobody(told: &Told) {
    let connection = told.connect().await;
    let client = &connection.client;
    told.outcome("request", client.request("nobody.here", "?".into()).await);
    let asked = Request::new().inbox(client.new_inbox());
    told.outcome(
        "inbox of its own",
        client.send_request("nobody.here", asked).await,
    );
    // JetStream's own calls begin with it.
    told.outcome("JetStream", client.request("$JS.API.INFO", "".into()).await);
    let mut silent = connection.subscribe("silent").await;
    let asked = Request::new().timeout(Some(SILENCE));
    told.outcome("silence", client.send_request("silent", asked).await);
    told.say(format!("the silent one got {}", silent.waiting().len()));
    connection.close().await;
}

async fn auto_unsubscribe(told: &Told) {
    let connection = told.connect().await;
    let mut soon = connection.subscribe("u.soon").await;
    let mut late = connection.subscribe("u.late").await;
    let mut now = connection.subscribe("u.now").await;
    soon.0.unsubscribe_after(3).await.expect("it is open");
    for _ in 0..2 {
        connection.publish("u.late", "").await;
        connection.publish("u.now", "").await;
    }
    connection.barrier().await;
    late.0.unsubscribe_after(4).await.expect("it is open");
    // It has got so many already.
    now.0.unsubscribe_after(2).await.expect("it is open");
    for _ in 0..5 {
        for subject in ["u.soon", "u.late", "u.now"] {
            connection.publish(subject, "").await;
        }
    }
    connection.barrier().await;
    for (name, mut sub) in [("soon", soon), ("late", late), ("now", now)] {
        told.say(format!("{name} {} messages", sub.count_to_end().await));
    }
    let mut again = connection.subscribe("u.soon").await;
    connection.publish("u.soon", "again").await;
    told.say(text(&again.next().await));
    again.0.unsubscribe().await.expect("it is open");
    connection.publish("u.soon", "").await;
    connection.barrier().await;
    told.say(format!(
        "after unsubscribing {}",
        again.count_to_end().await
    ));
    connection.close().await;
}

async fn no_echo(told: &Told) {
    let connection = told.connect_with(ConnectOptions::no_echo).await;
    let other = told.connect().await;
    let mut own = [
        connection.subscribe("e").await,
        connection.join("e", "q").await,
    ];
    let mut others = [other.subscribe("e").await, other.join("e", "r").await];
    connection.silent_barrier().await;
    other.barrier().await;
    connection.publish("e", "mine").await;
    connection.silent_barrier().await;
    other.barrier().await;
    other.publish("e", "theirs").await;
    other.barrier().await;
    connection.silent_barrier().await;
    for sub in &mut own {
        told.say(format!("own {:?}", sub.waiting()));
    }
    for sub in &mut others {
        told.say(format!("others {:?}", sub.waiting()));
    }
    let _to_itself = connection.subscribe("self").await;
    let asked = connection.client.request("self", "".into()).await;
    told.outcome("request to itself", asked);
    connection.close().await;
    other.close().await;
}

async fn flush(told: &Told) {
    let connection = told.connect().await;
    for _ in 0..3 {
        told.outcome("flush", connection.client.flush().await);
    }
    connection.close().await;
}

async fn drain(told: &Told) {
    let (mut connection, other) = (told.connect().await, told.connect().await);
    let mut one = connection.subscribe("d.one").await;
    let mut all = connection.join("d.all", "q").await;
    let mut last = other.subscribe("d.last").await;
    connection.barrier().await;
    other.barrier().await;
    for _ in 0..50 {
        other.publish("d.one", "").await;
    }
    other.barrier().await;
    one.0.drain().await.expect("it is open");
    told.say(format!(
        "subscription drained after {}",
        one.count_to_end().await
    ));
    for _ in 0..50 {
        other.publish("d.one", "").await;
        other.publish("d.all", "").await;
    }
    other.barrier().await;
    connection.publish("d.last", "last words").await;
    connection.client.drain().await.expect("it is open");
    told.say(text(&last.next().await));
    told.say(format!(
        "connection drained after {}",
        all.count_to_end().await
    ));
    loop {
        let word = connection.next_word().await;
        told.say(&word);
        if word == "closed" {
            break;
        }
    }
    other.close().await;
}

async fn close(told: &Told) {
    let mut connection = told.connect().await;
    let mut sub = connection.subscribe("c").await;
    connection.barrier().await;
    connection.client.drain().await.expect("it is open");
    while connection.next_word().await != "closed" {}
    told.say(format!(
        "the subscription ends after {}",
        sub.count_to_end().await
    ));
    told.outcome("publish", connection.client.publish("c", "".into()).await);
    told.outcome("subscribe", connection.client.subscribe("c").await);
    told.outcome("flush", connection.client.flush().await);
}

async fn max_payload(told: &Told) {
    let connection = told.connect().await;
    let mut sub = connection.subscribe("m").await;
    connection.publish_bytes("m", &vec![b'x'; LIMIT]).await;
    told.say(format!("{} bytes arrive", sub.next().await.payload.len()));
    let header = "NATS/1.0\r\nA: 1\r\n\r\n".len();
    let client = &connection.client;
    let with_header = async |count: usize| {
        let payload = vec![b'x'; count].into();
        client
            .publish_with_headers("m", headers(&[("A", "1")]), payload)
            .await
    };
    with_header(LIMIT - header)
        .await
        .expect("it is small enough");
    told.say(format!(
        "{} bytes with a header arrive",
        sub.next().await.payload.len()
    ));
    let published = client.publish("m", vec![b'x'; LIMIT + 1].into()).await;
    told.outcome("one more", published);
    told.outcome(
        "one more with a header",
        with_header(LIMIT - header + 1).await,
    );
    connection.delivers(told).await;
    connection.close().await;
}

async fn read_only(told: &Told) {
    let (mut connection, writer) = (told.connect_as("ro").await, told.connect_as("rw").await);
    let mut sub = connection.subscribe("perm.>").await;
    connection.publish("perm.a", "refused").await;
    told.say(connection.next_word().await);
    let client = connection.client.clone();
    let published = client
        .publish_with_headers("perm.a", headers(&[("A", "1")]), "refused".into())
        .await;
    published.expect("the server refuses it later");
    told.say(connection.next_word().await);
    let asked = Request::new().timeout(Some(SILENCE));
    told.outcome("request", client.send_request("perm.b", asked).await);
    told.say(connection.next_word().await);
    writer.publish("perm.a", "allowed").await;
    told.say(text(&sub.next().await));
    connection.close().await;
    writer.close().await;
}

async fn write_only(told: &Told) {
    let (mut connection, reader) = (told.connect_as("wo").await, told.connect_as("rw").await);
    let mut sub = reader.subscribe("perm.>").await;
    reader.barrier().await;
    let _refused = connection.subscribe("perm.a").await;
    told.say(connection.next_word().await);
    let _refused = connection.join("perm.*", "q").await;
    told.say(connection.next_word().await);
    connection.publish("perm.a", "allowed").await;
    told.say(text(&sub.next().await));
    connection.close().await;
    reader.close().await;
}

fn trusting(options: ConnectOptions) -> ConnectOptions {
    let authority = env::var_os("NATS_CA").expect("the file NATS_CA");
    options.add_root_certificates(authority.into())
}

async fn tls(told: &Told) {
    let login = |options| trusting(options).user_and_password("rw".into(), "rwpw".into());
    let connection = told.connect_with(login).await;
    connection.delivers(told).await;
    connection.publish_bytes("large", &vec![b'x'; LIMIT]).await;
    connection.barrier().await;
    connection.close().await;
    told.outcome("unknown authority", told.dial(|options| options).await);
}

async fn tls_first(told: &Told) {
    let connected = told.dial(|options| trusting(options).tls_first()).await;
    // The kind of error is left to chance: it may be a time limit.
    told.say(if connected.is_ok() {
        "no error"
    } else {
        "refused"
    });
}

/// Prints the words of the client, and each message that has come to two subscriptions, until "end" has; after `connected`,
/// all is subscribed again.
async fn reconnect(told: &Told) {
    let mut connection = told
        .connect_with(|options| options.name("reconnecting"))
        .await;
    let mut plain = connection.subscribe("news.>").await;
    let mut member = connection.join("news.>", "q").await;
    let mut limited = connection.subscribe("limited").await;
    limited.0.unsubscribe_after(3).await.expect("it is open");
    connection.barrier().await;
    told.say("ready");
    let mut once = HashSet::new();
    loop {
        let message = tokio::select! {
            word = connection.next_word() => {
                if word == "connected" {
                    connection.barrier().await;
                    connection.publish("heard", "by others").await;
                }
                told.say(word);
                continue;
            }
            message = plain.next() => message,
            message = member.next() => message,
        };
        // A flood's payloads are long.
        if message.payload.len() > 100 || once.insert(message.payload.clone()) {
            continue;
        }
        told.say(format!("got {}", text(&message)));
        if message.payload == "end" {
            break;
        }
    }
    told.say(format!("limited {}", limited.count_to_end().await));
    connection.close().await;
}

/// One of several clients at once: publishes at `go`, and lists what it got at `stop`.
async fn crowd(told: &Told) {
    const EACH: usize = 20;
    let name = env::var("NATS_NAME").expect("NATS_NAME");
    let senders: usize = env::var("NATS_SENDERS")
        .expect("NATS_SENDERS")
        .parse()
        .expect("a number");
    let mut lines = BufReader::new(stdin()).lines();
    let connection = told.connect().await;
    let mut plain = connection.subscribe("crowd.*").await;
    let mut member = connection.join("crowd.>", "q").await;
    connection.barrier().await;
    told.say("ready");
    in_time("line", lines.next_line()).await.expect("a line");
    for number in 0..EACH {
        connection
            .publish(&format!("crowd.{name}"), &format!("{name} {number}"))
            .await;
    }
    let mut messages = Vec::new();
    while messages.len() < senders * EACH {
        messages.push(text(&plain.next().await));
    }
    told.say("all");
    in_time("line", lines.next_line()).await.expect("a line");
    connection.barrier().await;
    messages.extend(plain.waiting());
    for message in messages {
        told.say(format!("plain {message}"));
    }
    for message in member.waiting() {
        told.say(format!("group {message}"));
    }
    connection.close().await;
}

/// Publishes what the lines of standard input say, and prints each message, its own ones too. A line has subject, payload,
/// reply and the header A, in hexadecimal digits; what is empty or absent is a hyphen.
async fn relay(told: &Told) {
    let connection = told.connect().await;
    let mut sub = connection.subscribe(">").await;
    connection.barrier().await;
    // The barrier's own message.
    sub.next().await;
    told.say("ready");
    let mut lines = BufReader::new(stdin()).lines();
    loop {
        let line = tokio::select! {
            message = sub.0.next() => {
                let message = message.expect("it goes on");
                let headers = message.headers.as_ref();
                let header = headers.and_then(|headers| headers.get("A"));
                let parts = [
                    message.subject.as_bytes(),
                    &message.payload[..],
                    reply(&message).unwrap_or_default().as_bytes(),
                    header.map_or("", |value| value.as_str()).as_bytes(),
                ];
                told.say(parts.map(written).join(" "));
                continue;
            }
            line = lines.next_line() => line.expect("text"),
        };
        let Some(line) = line else { break };
        let parts: Vec<Vec<u8>> = line.split(' ').map(read).collect();
        let part = |index: usize| String::from_utf8(parts[index].clone()).expect("text");
        let message = PublishMessage {
            subject: part(0).into(),
            payload: parts[1].clone().into(),
            reply: Some(part(2))
                .filter(|reply| !reply.is_empty())
                .map(Subject::from),
            headers: Some(part(3))
                .filter(|value| !value.is_empty())
                .map(|value| headers(&[("A", &value)])),
        };
        publish_message(told, &connection, message).await;
    }
    connection.close().await;
}

struct PublishMessage {
    subject: Subject,
    payload: bytes::Bytes,
    reply: Option<Subject>,
    headers: Option<async_nats::HeaderMap>,
}

async fn publish_message(told: &Told, connection: &Connection, message: PublishMessage) {
    let PublishMessage {
        subject,
        payload,
        reply,
        headers,
    } = message;
    let (client, name) = (&connection.client, written(subject.as_bytes()));
    let published = match (reply, headers) {
        (None, None) => client.publish(subject, payload).await,
        (Some(reply), None) => client.publish_with_reply(subject, reply, payload).await,
        (None, Some(headers)) => client.publish_with_headers(subject, headers, payload).await,
        (Some(reply), Some(headers)) => {
            client
                .publish_with_reply_and_headers(subject, reply, headers, payload)
                .await
        }
    };
    if let Err(error) = published {
        told.say(format!("refused {name} {error}"));
    }
}

fn written(bytes: &[u8]) -> String {
    match bytes {
        [] => "-".to_owned(),
        bytes => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn read(word: &str) -> Vec<u8> {
    let pairs = word.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16);
    pairs.map(|pair| byte(pair).expect("digits")).collect()
}
