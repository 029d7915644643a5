//! Hears every signal at one node: from each speaker in order, and none twice.

use super::ledger::Ledger;
use super::tree::Entrance;
use super::worker::connect;
use std::collections::HashMap;
use std::time::Duration;

pub fn watch(entrance: &Entrance, ledger: &Ledger) {
    // A new connection may hear the rest of what the one before has begun to hear.
    let mut newest: HashMap<String, u64> = HashMap::new();
    while ledger.goes_on() {
        let Some(mut client) = connect(entrance, "ro") else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let _ = client.try_send(b"NOPING\r\nLISTEN signal\r\n");
        while ledger.goes_on() && !client.is_closed() {
            for line in client.read_once(Duration::from_millis(20)) {
                hear(&line, &mut newest, ledger);
            }
        }
    }
}

fn hear(line: &str, newest: &mut HashMap<String, u64>, ledger: &Ledger) {
    let Some((speaker, number)) = line
        .strip_prefix("SET signal=")
        .and_then(|value| value.split_once(':'))
    else {
        return;
    };
    let number: u64 = number.parse().expect("a number");
    let before = newest.entry(speaker.to_owned()).or_default();
    if number <= *before {
        ledger.complain(format!("{speaker} was heard with {number} after {before}"));
    }
    *before = number;
    ledger.count_heard();
}
