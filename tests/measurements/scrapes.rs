//! The costs of monitoring for others: the metrics and the status of a server with many clients and entries.

use super::{Latencies, fill, goes_on, latency_during, milliseconds};
use crate::http::target::{Target, login, request};
use crate::statistics::Figures;
use crate::support::{Awake, Crowd, Server};
use std::sync::atomic::AtomicBool;

const ENTRIES: usize = 1_000_000;
const CLIENTS: usize = 10_000;
const PAGES: usize = 200;
/// The bucket of the histogram that has all turns of 2 milliseconds.
const BOUND: &str = "turn_seconds.le.0.002048";

/// Turns above the bound, all turns, and the processor time in seconds.
fn turns(server: &Server) -> [f64; 3] {
    let figures = Figures::of(&mut server.client("mg"));
    let all = figures.get("turn_seconds.count");
    let modes = ["processor_seconds.user", "processor_seconds.system"];
    let processor = modes.map(|mode| figures.get(mode));
    [all - figures.get(BOUND), all, processor.iter().sum()]
}

#[test]
#[ignore = "a measurement"]
fn turns_while_a_large_server_is_scraped() {
    let _awake = Awake::new();
    let target = Target::start(&["--max-clients", "14000"]);
    let server = &target.server;
    fill(server, &mut server.client("rw"), ENTRIES);
    let mut crowd = Crowd::unix(&server.socket, CLIENTS);
    crowd.log_in("ro", |number| format!("NOPING\r\nLISTEN own{number}\r\n"));
    assert!(server.status("clients") >= CLIENTS as u64);
    for path in ["/metrics", "/status.json"] {
        let [long_before, turns_before, processor_before] = turns(server);
        let mut connection = target.connect();
        let page = request("GET", path, &login("mg"));
        for _ in 0..PAGES {
            assert_eq!(connection.ask(&page).status, 200);
        }
        let [long, turns, processor] = turns(server);
        println!(
            "measured: {PAGES} pages {path} with {CLIENTS} clients and {ENTRIES} entries: {} of {} turns took more than 2.048 ms, {:.3} ms of processor time a page",
            long - long_before,
            turns - turns_before,
            (processor - processor_before) * 1e3 / PAGES as f64,
        );
        assert_eq!(long, long_before, "{path}");
    }
}

#[test]
#[ignore = "a measurement"]
fn latency_while_200_scrape_at_once() {
    const SCRAPERS: usize = 200;
    let target = Target::start(&[]);
    let server = &target.server;
    fill(server, &mut server.client("rw"), 100_000);
    let p99 = |latencies: &Latencies| milliseconds(latencies.percentile(99));
    let without = latency_during(server, "without scrapes", |_| ());
    let scrape = |ended: &AtomicBool| {
        let mut connections: Vec<_> = (0..SCRAPERS).map(|_| target.connect()).collect();
        let request = request("GET", "/metrics", &login("mg"));
        let mut rounds = 0;
        while goes_on(ended) {
            for connection in &mut connections {
                connection.say(&request);
            }
            for connection in &mut connections {
                assert_eq!(connection.answer().status, 200);
            }
            rounds += 1;
            // As often as the most eager Prometheus, for each of them.
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
        println!("measured: {rounds} rounds of {SCRAPERS} scrapes at once");
    };
    let with = latency_during(server, "while 200 scrape at once, each second", scrape);
    let worse = p99(&with) - p99(&without);
    println!("measured: the 99th percentile is {worse:.3} ms worse");
    assert!(worse < 1.0, "{worse} ms");
}
