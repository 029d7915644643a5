//! How fast a slave learns a large cache, what that costs, and what others notice of it. Run by
//! `make measure`; `CLACKSD_SERVER` chooses another build of the server to compare with.

use crate::support::{Awake, Server, Setup};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ENTRIES: usize = 1_000_000;

/// Fills a cache: names of 13 bytes, values of 64.
fn fill(server: &Server) {
    let mut client = server.client("admin");
    let value = "v".repeat(64);
    for start in (0..ENTRIES).step_by(1000) {
        let lines: Vec<String> = (start..start + 1000)
            .map(|number| format!("STORE name:{number:08}={value}\r\n"))
            .collect();
        client.send_bytes(lines.concat().as_bytes());
    }
    client.flush();
    assert_eq!(server.status("entries"), ENTRIES as u64);
}

#[test]
#[ignore = "takes minutes: make measure"]
fn a_million_entries_told_to_an_empty_slave() {
    let _awake = Awake::new();
    let master = Setup::new().with_server_of_environment().start();
    fill(&master);
    let at_rest_kb = master.proc_status("VmRSS");
    let address = master.setup.unix("socket");
    let is_over = AtomicBool::new(false);
    let (slave, took, mut round_trips) = std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let mut client = master.client("admin");
            let mut round_trips = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let start = Instant::now();
                client.send("RETRIEVE name:00000500");
                assert!(
                    client
                        .next_line()
                        .is_some_and(|line| line.starts_with("RETRIEVED "))
                );
                round_trips.push(start.elapsed());
                std::thread::sleep(Duration::from_micros(500));
            }
            round_trips
        });
        let start = Instant::now();
        let slave = Setup::new()
            .with_server_of_environment()
            .flags(&["--master", &address])
            .start();
        while slave.status("entries") < ENTRIES as u64 {
            let list = master.client("admin").ask("CLIENTLIST");
            let link = list.iter().find(|line| line.contains("INTERCLACKS=1"));
            let queued = link.and_then(|line| {
                line.split("OUTBUFFER_LENGTH=")
                    .nth(1)?
                    .split(';')
                    .next()?
                    .parse()
                    .ok()
            });
            assert!(
                queued.unwrap_or(0_usize) < 1 << 20,
                "the link's output stays under a megabyte"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let took = start.elapsed();
        is_over.store(true, Ordering::Relaxed);
        (slave, took, asker.join().expect("no panic"))
    });
    round_trips.sort();
    let p99 = round_trips[round_trips.len() * 99 / 100];
    println!(
        "measured: {ENTRIES} entries in {took:.1?}, {:.0} a second; master {at_rest_kb} KB at rest, {} KB at most; \
         slave {} KB; another client's RETRIEVE meanwhile: p99 {p99:?} of {}; longest turn {} and {} us",
        ENTRIES as f64 / took.as_secs_f64(),
        master.proc_status("VmHWM"),
        slave.proc_status("VmRSS"),
        round_trips.len(),
        master.status("longest_turn_us"),
        slave.status("longest_turn_us"),
    );
    assert!(p99 < Duration::from_millis(2), "{p99:?}");
}
