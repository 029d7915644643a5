//! While all rests, signals from every node at once: at each node all of them must be heard, those of one sender
//! in order, and none twice. The watchers, who hear in the midst of faults, can't ask that of links, nor of the
//! last signals before a silence.

use super::tree::Tree;
use crate::support::{Client, DEADLINE};
use std::time::{Duration, Instant};

/// Signals of each node.
const SIGNALS: usize = 300;

/// To be called when all rests, and nothing may end a link.
pub fn hear_each_other(tree: &Tree, check: u32) {
    let mut listeners: Vec<Client> = tree.clients("ro").collect();
    let mut senders: Vec<Client> = tree.clients("rw").collect();
    let bursts: Vec<Vec<String>> = (0..senders.len()).map(|node| burst(node, check)).collect();
    for listener in &mut listeners {
        (0..senders.len()).for_each(|node| listen(listener, node));
        listener.flush();
    }
    for (sender, burst) in senders.iter_mut().zip(&bursts) {
        sender.send_bytes(burst.concat().as_bytes());
    }
    for (node, listener) in listeners.iter_mut().enumerate() {
        let heard = hear(listener, SIGNALS * bursts.len());
        for (sender, burst) in bursts.iter().enumerate() {
            assert_heard(node, &heard, sender, burst);
        }
    }
}

fn name(node: usize) -> String {
    format!("burst:{node}")
}

/// All kinds of signals in turn. A value has the check's number, so that nothing is taken for it that
/// was said at another one; a NOTIFY, which has none, has a name of its own.
fn burst(node: usize, check: u32) -> Vec<String> {
    let name = name(node);
    let line = |number| match number % 3 {
        0 => format!("SET {name}={check}:{number}\r\n"),
        1 => format!("NOTIFY {name}:{number}\r\n"),
        _ => format!("SETANDSTORE {name}={check}:{number}\r\n"),
    };
    (0..SIGNALS).map(line).collect()
}

fn listen(listener: &mut Client, node: usize) {
    let name = name(node);
    let lines = (0..SIGNALS).map(|number| format!("LISTEN {name}:{number}\r\n"));
    listener.send_bytes(lines.collect::<String>().as_bytes());
    listener.send(&format!("LISTEN {name}"));
}

/// Returns the signals that the listener has received: `count` of them, or fewer if its connection or the time ends
/// before, and all that the server has sent beyond them.
fn hear(listener: &mut Client, count: usize) -> Vec<String> {
    let end = Instant::now() + DEADLINE;
    let is_signal = |line: &String| line.starts_with("SET ") || line.starts_with("NOTIFY ");
    let mut heard = Vec::new();
    while heard.len() < count && !listener.is_closed() && Instant::now() < end {
        let lines = listener.read_once(Duration::from_millis(20));
        heard.extend(lines.into_iter().filter(is_signal));
    }
    heard.extend(listener.flush().into_iter().filter(is_signal));
    heard
}

fn assert_heard(node: usize, heard: &[String], sender: usize, burst: &[String]) {
    let said: Vec<String> = burst
        .iter()
        // A listener hears it as a SET.
        .map(|line| line.trim_end().replace("SETANDSTORE", "SET"))
        .collect();
    let name = name(sender);
    let heard: Vec<&String> = heard.iter().filter(|line| line.contains(&name)).collect();
    let missing: Vec<&String> = said.iter().filter(|line| !heard.contains(line)).collect();
    assert!(
        missing.is_empty(),
        "node {node} hasn't heard {} of {} signals of node {sender}: {missing:?}",
        missing.len(),
        said.len()
    );
    for (number, line) in heard.iter().enumerate() {
        assert!(
            said.get(number) == Some(*line),
            "node {node} has heard {line:?} of node {sender} after {:?}: not in order, or twice",
            &heard[number.saturating_sub(5)..number]
        );
    }
}
