//! clacksd beside the servers that one would take otherwise, under the same load: Redis, memcached and NATS,
//! as far as they are installed. Run by `make bench-peers` on a quiet machine with two cores or more: the
//! server under test has one core for itself, and what loads it another one.
//!
//! How much of it is due to the system calls, whatever a server does, a bare one shows that does nothing else.
//!
//! The loads are those of `clacks bench`, driven by the same code; only the words differ. Each measurement
//! has a server of its own, and rounds are interleaved, so that a moment in which the machine does
//! something else hits all of them. `CLACKSD_BENCH=text` chooses the rows with that in their names,
//! `CLACKSD_ROUNDS=n` how often each is measured, and `CLACKSD_SERVER=path` another build of the server.

mod bare;
mod clacksd;
mod contender;
mod memcached;
mod nats;
mod nats_rows;
mod patterns;
mod redis;
mod requests;
mod rows;
mod sample;
mod table;

use crate::support::{Awake, stay_on_our_core};
use contender::Kind;
use rows::{Row, Variant};
use sample::Sample;
use std::env;

#[test]
#[ignore = "a comparison with other servers"]
fn beside_others() {
    clacks::program::process_limits::raise_descriptor_limit().expect("a limit of our own");
    let wanted = env::var("CLACKSD_BENCH").unwrap_or_default();
    let rounds = match env::var("CLACKSD_ROUNDS") {
        Ok(number) => number.parse().expect("CLACKSD_ROUNDS is a number"),
        Err(_) => 5,
    };
    let rows: Vec<Row> = rows::all()
        .into_iter()
        .filter(|row| row.name.contains(&wanted))
        .collect();
    assert!(!rows.is_empty(), "no row has \"{wanted}\" in its name");
    // Behind what the test runner has left unfinished.
    println!();
    for kind in [
        Kind::Clacksd,
        Kind::Redis,
        Kind::Memcached,
        Kind::Nats,
        Kind::NewerNats,
    ] {
        match kind.version() {
            Some(version) => println!("{}: {version}", kind.name()),
            None => println!("{}: not installed", kind.name()),
        }
    }
    if !stay_on_our_core() {
        println!("There is one core only: servers and load share it.");
    }
    let _awake = Awake::new();
    println!("{rounds} rounds each; medians\n");
    table::print_heading();
    for row in &rows {
        let present: Vec<&Variant> = row
            .variants
            .iter()
            .filter(|variant| variant.kind.version().is_some())
            .collect();
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); present.len()];
        for _ in 0..rounds {
            for (variant, samples) in present.iter().zip(&mut samples) {
                samples.push(variant.measure());
            }
        }
        let medians: Vec<(&Variant, Sample)> = present
            .into_iter()
            .zip(samples.iter().map(|samples| Sample::median(samples)))
            .collect();
        table::print_row(row, &medians);
    }
}
