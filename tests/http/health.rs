//! The health that everybody may ask for.

use super::target::{HttpAnswer, Target, request, status};
use crate::support::{Setup, text, wait_until};

fn health(target: &Target) -> HttpAnswer {
    target.ask(&request("GET", "/healthz", ""))
}

fn is_healthy(target: &Target) -> serde_json::Value {
    let answer = target.ask(&status("admin"));
    let status: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    status["healthy"].clone()
}

#[test]
fn a_server_is_well_and_says_so_to_everybody() {
    let target = Target::start(&[]);
    let answer = health(&target);
    assert_eq!((answer.status, &answer.body[..]), (200, "ok\n"));
    assert_eq!(
        answer.header("Content-Type"),
        Some("text/plain; charset=utf-8")
    );
    assert!(answer.closes());
    // On a connection of somebody who may see more, it goes on.
    let mut connection = target.connect();
    assert_eq!(connection.ask(&status("admin")).status, 200);
    let answer = connection.ask(&request("GET", "/healthz", ""));
    assert_eq!((answer.status, answer.closes()), (200, false));
    assert_eq!(connection.ask(&status("admin")).status, 200);
}

#[test]
fn a_slave_without_its_master_is_not_well() {
    let master = Setup::new().start();
    let address = format!("unix:{}", text(&master.socket));
    let flags = ["--master", &address, "--interclacks-reconnect", "0.1"];
    let target = Target::start(&flags);
    wait_until("the link is up", || health(&target).status == 200);
    assert_eq!(is_healthy(&target), true);
    drop(master);
    wait_until("the link is down", || health(&target).status == 503);
    assert_eq!(health(&target).body, "no uplink\n");
    assert_eq!(is_healthy(&target), false);
}

#[test]
fn a_server_that_saves_nothing_or_ends_is_not_well() {
    let setup = Setup::new();
    let journal = text(&setup.path("journal"));
    let target = Target::start_in(setup, &["--persist", &journal]);
    assert_eq!(health(&target).status, 200);
    target.server.process.limit_files(20_000);
    let mut client = target.server.client("admin");
    let value = "x".repeat(10_000);
    for name in 0..3 {
        client.send(&format!("STORE {name}={value}"));
    }
    client.flush();
    wait_until("it is not well", || health(&target).status == 503);
    assert_eq!(health(&target).body, "journal failed\n");
    assert_eq!(is_healthy(&target), false);
    client.send("OVERHEAD S 60");
    client.flush();
    wait_until("it ends", || {
        health(&target).body == "shutting down\njournal failed\n"
    });
    target.server.process.limit_files(libc::RLIM64_INFINITY);
    wait_until("it saves again", || {
        health(&target).body == "shutting down\n"
    });
}
