//! Hears every signal at one node: from each speaker in order, and none twice; from those at the same node all.

use super::ledger::Ledger;
use super::tree::Entrance;
use super::worker::connect;
use std::collections::HashMap;
use std::time::Duration;

pub fn watch(node: usize, entrance: &Entrance, ledger: &Ledger) {
    // A new connection may hear the rest of what the one before has begun to hear.
    let mut newest: HashMap<String, u64> = HashMap::new();
    // A speaker's name begins with its node, and ends with its connection.
    let neighbours = format!("{node}.");
    while ledger.goes_on() {
        let client = ledger.is_open().then(|| connect(entrance, "ro"));
        let Some(mut client) = client.flatten() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let _ = client.try_send(b"NOPING\r\nLISTEN signal\r\n");
        let mut newest_here: HashMap<String, u64> = HashMap::new();
        while ledger.goes_on() && ledger.is_open() && !client.is_closed() {
            for line in client.read_once(Duration::from_millis(20)) {
                let Some((speaker, number)) = speech(&line) else {
                    continue;
                };
                let before = newest.insert(speaker.to_owned(), number).unwrap_or(0);
                if number <= before {
                    ledger.complain(format!("{speaker} was heard with {number} after {before}"));
                }
                let before = newest_here.insert(speaker.to_owned(), number);
                if speaker.starts_with(&neighbours)
                    && before.is_some_and(|before| number != before + 1)
                {
                    let gap = format!("{speaker} was heard with {number} after {before:?}");
                    ledger.complain(format!("{gap}, at the same node"));
                }
                ledger.count_heard();
            }
        }
    }
}

/// Who speaks, and the number of what is said.
fn speech(line: &str) -> Option<(&str, u64)> {
    let (speaker, number) = line.strip_prefix("SET signal=")?.split_once(':')?;
    Some((speaker, number.parse().expect("a number")))
}
