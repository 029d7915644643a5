//! `clacks bench`: each load for a moment, against a real server.

use crate::support::{Authority, Ended, Running, Server, Setup, text, wait_until};
use serde_json::Value;

/// The object that it prints.
fn figures(server: &Server, arguments: &[&str]) -> Value {
    let arguments = [&["--json", "bench"], arguments].concat();
    let output = server.clacks_output("admin", &arguments);
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{output}: {error}"))
}

/// It names the server's process and knows what it used.
fn assert_sees_the_server(server: &Server, figures: &Value) {
    assert_eq!(figures["server_pid"], server.process.id(), "{figures}");
    assert!(
        figures["server_memory_bytes"].as_u64() > Some(100_000),
        "{figures}"
    );
}

fn assert_fails(ended: &Ended, status: i32, part: &str) {
    assert_eq!((ended.status, &*ended.stdout), (Some(status), ""));
    assert!(ended.stderr.contains(part), "{}", ended.stderr);
}

#[test]
fn a_cache_load_does_what_it_counts() {
    let server = Server::start();
    server.client("rw").ask("STORE mine=1");
    for (pipeline, reads, count) in [
        ("1", "90", 3000),
        ("16", "90", 5001),
        ("16", "0", 2000),
        ("7", "100", 100),
    ] {
        let before = server.status("lines");
        let count_text = count.to_string();
        let figures = figures(
            &server,
            &[
                "cache",
                "--connections",
                "5",
                "--pipeline",
                pipeline,
                "--reads",
                reads,
                "--names",
                "300",
                "-n",
                &count_text,
            ],
        );
        assert_eq!(figures["type"], "cache");
        assert_eq!(figures["operations"], count);
        assert!(figures["latency_us_50"].as_f64() > Some(0.0), "{figures}");
        assert!(figures["latency_us_50"].as_f64() <= figures["latency_us_longest"].as_f64());
        assert!(figures["server_cpu_ns_per_operation"].as_f64() > Some(0.0));
        assert_sees_the_server(&server, &figures);
        // With 300 names stored and removed.
        let lines = server.status("lines") - before;
        assert!(lines >= count + 600, "{lines} lines: {figures}");
    }
    assert_eq!(server.clacks_output("admin", &["keys"]), "mine\n");
}

#[test]
fn a_load_ends_when_its_time_is_over() {
    let server = Server::start();
    for load in ["cache", "fan-out", "ping-pong"] {
        let figures = figures(&server, &[load, "--seconds", "0.2"]);
        assert!(figures["operations"].as_u64() > Some(10), "{figures}");
        let seconds = figures["seconds"].as_f64().expect("a number");
        assert!((0.2..10.0).contains(&seconds), "{figures}");
    }
}

#[test]
fn a_fan_out_reaches_every_listener() {
    let server = Server::start();
    for (listeners, names, count) in [("1", "1", 1000), ("20", "100", 130), ("3", "5", 7)] {
        let before = server.status("deliveries");
        let count_text = count.to_string();
        let figures = figures(
            &server,
            &[
                "fan-out",
                "--listeners",
                listeners,
                "--names",
                names,
                "--count",
                &count_text,
            ],
        );
        let deliveries = count * listeners.parse::<u64>().expect("a number");
        assert_eq!(figures["operations"], deliveries);
        assert_eq!(server.status("deliveries") - before, deliveries);
        assert_sees_the_server(&server, &figures);
    }
}

#[test]
fn a_ping_pong_is_one_connection() {
    let server = Server::start();
    let figures = figures(&server, &["ping-pong", "--count", "200"]);
    assert_eq!(
        (&figures["type"], &figures["operations"]),
        (&"ping-pong".into(), &200.into())
    );
    assert!(figures["latency_us_50"].as_f64() > Some(0.0));
}

#[test]
fn idle_connections_show_what_they_take() {
    let server = Server::start();
    for own_names in [false, true] {
        let mut arguments = vec!["idle", "--connections", "300"];
        arguments.extend(own_names.then_some("--own-names"));
        let figures = figures(&server, &arguments);
        assert_eq!(figures["own_names"], own_names);
        assert!(figures["bytes_per_connection"].is_number(), "{figures}");
        assert_sees_the_server(&server, &figures);
    }
}

#[test]
fn people_get_text() {
    let server = Server::start();
    let text = server.clacks_output("admin", &["bench", "cache", "-n", "500"]);
    for part in [
        "50 connections, pipeline 1, 1000 names, values of 64 bytes, 90% reads\n",
        ": 500 in ",
        "99.9% ",
        "µs each",
        "MB\n",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let text = server.clacks_output("admin", &["bench", "idle", "--connections", "10"]);
    assert!(text.contains("bytes per connection"), "{text}");
}

#[test]
fn it_works_over_tcp_and_tls() {
    let authority = Authority::new("an authority");
    let identity = authority.certify(&["127.0.0.1"]);
    let setup = Setup::new().with_tls(&identity);
    setup.write_secret("ca.pem", &authority.certificate);
    let server = setup.start();
    let ca = text(&server.setup.path("ca.pem"));
    let tcp = format!("tcp://127.0.0.1:{}", server.port);
    let tls = format!("tls://127.0.0.1:{}", server.tls_port());
    for flags in [vec!["-s", &tcp], vec!["-s", &tls, "--ca", &ca]] {
        for load in [
            &["cache", "--pipeline", "100"][..],
            &["cache", "--value-size", "100K", "--connections", "3"],
            &["fan-out", "--listeners", "5"],
            &["ping-pong"],
        ] {
            let figures = figures(&server, &[load, &["-n", "300"], &flags].concat());
            let factor = if load[0] == "fan-out" { 5 } else { 1 };
            assert_eq!(figures["operations"], 300 * factor, "{flags:?}");
            assert_sees_the_server(&server, &figures);
        }
    }
}

#[test]
fn what_can_not_be_done_is_told() {
    let server = Server::start();
    let fails = |user: &str, arguments: &[&str], status, part| {
        let arguments = [&["bench"], arguments].concat();
        assert_fails(&server.clacks(user, &arguments), status, part);
    };
    fails("rw", &["nonsense"], 2, "nonsense");
    fails("rw", &[], 2, "usage");
    fails("rw", &["cache", "--listeners", "3"], 2, "--listeners");
    fails("rw", &["idle", "--seconds", "3"], 2, "--seconds");
    fails("rw", &["cache", "--reads", "101"], 2, "0 to 100");
    fails("rw", &["cache", "--names", "2000000"], 2, "--names");
    fails("rw", &["cache", "--seconds", "0"], 2, "--seconds");
    fails("rw", &["cache", "--pid", "999999999"], 2, "--pid");
    fails("ro", &["cache", "-n", "10"], 4, "permission_denied");
    fails("wo", &["fan-out", "-n", "10"], 4, "permission_denied");
    fails("mg", &["idle"], 4, "permission_denied");
    let nowhere = server.setup.unix("nowhere");
    fails("rw", &["cache", "-s", &nowhere], 3, "nowhere");
    // More than the server lets in.
    let small = Setup::new().flags(&["--max-clients", "20"]).start();
    let ended = small.clacks("rw", &["bench", "idle", "--connections", "100"]);
    assert_fails(&ended, 3, "client_limit");
}

/// Another client writes in between: then answers are not what they should be.
#[test]
fn a_wrong_answer_is_an_error() {
    let server = Server::start();
    let mut other = server.client("rw");
    let load = [
        "bench",
        "cache",
        "--reads",
        "100",
        "--names",
        "1",
        "--seconds",
        "30",
    ];
    let spoiled = Running::start(&mut server.clacks_command("rw", &load));
    wait_until("the name is stored", || {
        other.ask("RETRIEVE bench::000000")[0].starts_with("RETRIEVED ")
    });
    other.ask("STORE bench::000000=other");
    let complaint = spoiled.complaint();
    assert!(complaint.contains("a wrong answer: \"RETRIEVED bench::000000=other\""));
    assert!(complaint.starts_with("clacks: "), "{complaint}");
}
