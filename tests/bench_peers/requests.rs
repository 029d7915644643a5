//! Requests of NATS clients, and the answers of another client, one round trip at a time.
//!
//! As in client libraries, all answers reach one subscription with a wildcard, and each request has a subject of its own
//! for its answer.

use super::nats::{Nats, message, publish, subscribe};
use clacks::tool::bench::connections::LoadConnections;
use clacks::tool::bench::error::BenchError;
use clacks::tool::bench::figures::{Figures, Stopwatch};
use clacks::tool::bench::process::Process;
use clacks::tool::bench::protocol::{BenchProtocol, Exchange};
use std::time::Duration;

/// The settings of a load of requests.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The size of requests and of answers, in bytes.
    pub size: usize,
    pub time: Duration,
}

const REQUESTER: usize = 0;
const RESPONDER: usize = 1;
/// The number of connections.
pub const CONNECTIONS: usize = 2;

const SERVICE: &[u8] = b"bench.service";
const INBOX: &str = "_INBOX.2YqcQwwGfbYsDgDVzPYkmb";

/// Subscribes the responder to requests, and the requester to answers.
pub fn subscribe_both(connections: &mut LoadConnections) -> Result<(), BenchError> {
    let subscription = |pattern: &[u8]| {
        let mut exchange = Exchange::default();
        subscribe(pattern, 1, &mut exchange);
        Nats.barrier(&mut exchange);
        exchange
    };
    let answers = format!("{INBOX}.*");
    let exchanges = [subscription(answers.as_bytes()), subscription(SERVICE)];
    connections.exchange(&Nats, REQUESTER, &exchanges)
}

/// Runs the load. An operation is a request with its answer; a latency is the time from sending the request to the receipt
/// of the answer.
pub fn run(
    connections: &mut LoadConnections,
    plan: &Plan,
    server: Option<Process>,
) -> Result<Figures, BenchError> {
    connections.reset_counts();
    let payload = vec![b'x'; plan.size];
    let mut watch = Stopwatch::start(server);
    let mut number = 0;
    while watch.elapsed() < plan.time {
        let reply = format!("{INBOX}.{number:08}");
        let reply = reply.as_bytes();
        // Of the request: the bytes sent, and those received.
        let (mut request, mut answer) = (Exchange::default(), Exchange::default());
        publish(SERVICE, reply, &payload, &mut request.request);
        message(SERVICE, reply, &payload, &mut request.answer);
        publish(reply, b"", &payload, &mut answer.request);
        message(reply, b"", &payload, &mut answer.answer);

        let sent_at = watch.elapsed();
        pass_on(connections, REQUESTER, RESPONDER, &request)?;
        pass_on(connections, RESPONDER, REQUESTER, &answer)?;
        watch.record(watch.elapsed() - sent_at);
        number += 1;
    }
    Ok(watch.stop(number))
}

/// Sends a message from one connection, and waits for its receipt at another one.
fn pass_on(
    connections: &mut LoadConnections,
    from: usize,
    to: usize,
    message: &Exchange,
) -> Result<(), BenchError> {
    let before = connections.answered(to);
    connections.send(from, &message.request)?;
    while connections.answered(to) == before {
        for event in 0..connections.wait()? {
            let index = connections.ready(event);
            connections.receive(index, &Nats, |number| {
                match (index == to, number == before) {
                    (true, true) => &message.answer,
                    _ => &[],
                }
            })?;
        }
    }
    Ok(())
}
