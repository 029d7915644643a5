//! The figures of the server as monitoring gets them: `/metrics` and `/status.json`.

use super::target::{HttpAnswer, HttpConnection, Target, login, port, request};
use crate::runner::needs;
use crate::support::{Process, Server, Setup, text, wait_until};
use clacks::broker::catalogue::{self, Kind};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::TcpListener;
use std::process::Command;

fn metrics(target: &Target, headers: &str) -> HttpAnswer {
    let headers = login("mg") + headers;
    target.ask(&request("GET", "/metrics", &headers))
}

fn document(target: &Target) -> Value {
    let answer = target.ask(&request("GET", "/status.json", &login("mg")));
    assert_eq!(answer.status, 200);
    serde_json::from_str(&answer.body).expect("JSON")
}

/// The value of a line of metrics.
fn value(metrics: &str, name: &str) -> f64 {
    let mut lines = metrics.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.expect(name).parse().expect("a number")
}

#[test]
fn promtool_accepts_the_metrics() {
    needs("prometheus");
    let (target, links) = with_links_and_a_failed_journal();
    let answer = metrics(&target, "");
    drop(links);
    for family in [
        "clacksd_link_round_trip_seconds",
        "clacksd_journal_error_info",
        "clacksd_uplink_up",
    ] {
        let sample = format!("\n{family}");
        assert!(answer.body.contains(&sample), "{family}: {}", answer.body);
    }
    assert_eq!(
        answer.header("Content-Type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    // Prometheus takes each of them once; promtool does not look.
    let mut samples = BTreeSet::new();
    for line in answer.body.lines().filter(|line| !line.starts_with('#')) {
        let (sample, _) = line.rsplit_once(' ').expect("a value");
        assert!(samples.insert(sample), "{line}");
    }
    let path = target.server.setup.path("metrics");
    fs::write(&path, &answer.body).expect("a file");
    let mut promtool = Command::new("promtool");
    promtool
        .args(["check", "metrics"])
        .stdin(File::open(&path).expect("that file"));
    let ended = run_with_input(&mut promtool);
    assert_eq!(ended, (Some(0), String::new()), "{}", answer.body);
}

/// A server that has figures of every kind: a master, a slave, and a journal that could not be written.
fn with_links_and_a_failed_journal() -> (Target, [Server; 2]) {
    let master = Server::start();
    let setup = Setup::new();
    let (journal, address) = (text(&setup.path("journal")), master.setup.unix("socket"));
    let flags = ["--persist", &journal, "--master", &address];
    let target = Target::start_in(setup, &flags);
    let address = target.server.setup.unix("socket");
    let slave = Setup::new().flags(&["--master", &address]).start();
    let mut client = target.server.client("rw");
    target.server.process.limit_files(20_000);
    client.ask(&format!("STORE a={}", "v".repeat(30_000)));
    wait_until("there is all of it", || {
        let page = metrics(&target, "").body;
        let has = |line: &str| page.lines().any(|one| one.starts_with(line));
        has("clacksd_uplink_up 1")
            && has("clacksd_links{role=\"slave\"} 1")
            && has("clacksd_link_round_trip_seconds{link=\"master\"}")
            && has("clacksd_journal_error_info{")
    });
    (target, [master, slave])
}

/// Its status and whatever it prints.
fn run_with_input(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("a program");
    let printed = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&printed).into_owned(),
    )
}

/// Each family is described once, before its samples, which come one after the other, as OpenMetrics 1.0 wants it.
#[test]
fn prometheus_is_sent_open_metrics() {
    let target = Target::start(&[]);
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let answer = metrics(&target, accept);
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("Content-Type"), Some(media_type));
    let body = answer.body.strip_suffix("# EOF\n").expect("its end");
    let sample = Regex::new(r#"^clacksd_[a-z_]+(\{([a-z]+="[^"\\]*",?)+\})? [0-9.]+$"#);
    let sample = sample.expect("a pattern");
    let (mut described, mut family) = (BTreeSet::new(), String::new());
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let name = rest.split(' ').next().expect("a name");
            assert!(described.insert(name.to_owned()), "{name} twice");
            name.clone_into(&mut family);
        } else if !line.starts_with("# ") {
            assert!(line.starts_with(&family), "{line} of {family}");
            assert!(sample.is_match(line), "{line}");
        } else {
            assert!(line.contains(&family), "{line}");
        }
    }
    let figures = catalogue::ALL.iter();
    let figures = figures.filter(|metric| !metric.name.starts_with("journal_"));
    let expected = figures.map(|metric| format!("clacksd_{}", metric.name));
    let absent = [
        "uplink_up",
        "link_queued_bytes",
        "link_changed_names",
        "link_round_trip_seconds",
    ];
    let absent = absent.map(|name| format!("clacksd_{name}"));
    let expected: BTreeSet<_> = expected.filter(|name| !absent.contains(name)).collect();
    assert_eq!(described, expected);
    let counters = catalogue::ALL
        .iter()
        .filter(|metric| metric.kind == Kind::Counter);
    let mut names = counters.map(|metric| format!("\nclacksd_{}_total", metric.name));
    assert!(names.any(|name| body.contains(&name)));
}

#[test]
fn metrics_and_the_document_show_the_figures_of_status() {
    let target = Target::start(&[]);
    let mut client = target.server.client("rw");
    for name in ["a", "b", "c"] {
        client.ask(&format!("STORE {name}=1"));
    }
    client.ask("RETRIEVE a");
    client.ask("RETRIEVE none");
    let page = metrics(&target, "").body;
    for (name, expected) in [
        ("clacksd_entries", 3.0),
        ("clacksd_cache_hits_total", 1.0),
        ("clacksd_cache_misses_total", 1.0),
        (
            "clacksd_requests_total{language=\"clacks\",verb=\"STORE\"}",
            3.0,
        ),
        (
            "clacksd_requests_total{language=\"http\",verb=\"metrics\"}",
            0.0,
        ),
        ("clacksd_clients{language=\"http\"}", 1.0),
        ("clacksd_user_clients{user=\"rw\"}", 1.0),
    ] {
        assert_eq!(value(&page, name), expected, "{name}");
    }
    let count = value(&page, "clacksd_turn_seconds_count");
    assert!(count > 5.0);
    assert_eq!(
        value(&page, "clacksd_turn_seconds_bucket{le=\"+Inf\"}"),
        count
    );
    let status = document(&target);
    let figures = &status["figures"];
    assert_eq!(figures["entries"], 3);
    assert_eq!(figures["requests"]["clacks"]["STORE"], 3);
    assert_eq!(figures["requests"]["http"]["metrics"], 1);
    assert_eq!(figures["cache_hits"], 1);
    assert!(figures["turn_seconds"]["count"].as_f64().expect("a count") >= count);
    assert_eq!(status["healthy"], true);
    assert_eq!(status["faults"], serde_json::json!([]));
    assert_eq!(status["links"], serde_json::json!([]));
    let clients = status["clients"].as_array().expect("clients");
    let mut languages: Vec<_> = clients.iter().map(|client| &client["language"]).collect();
    languages.sort_by_key(|language| language.to_string());
    assert_eq!(languages, ["clacks", "http"]);
    let names = status["names"].as_array().expect("names");
    assert!(
        names
            .iter()
            .any(|name| name["kind"] == "large" && name["name"] == "a")
    );
}

/// Names of clients and entries may have any bytes; in JSON they are strings, and in a page nothing but text.
#[test]
fn names_of_others_are_escaped() {
    let target = Target::start(&[]);
    let mut client = target.server.stranger();
    client.send("CLACKS <script>\"\u{1}");
    let mut client = client.logged_in("rw");
    client.ask("STORE <b>\"\\name\u{7}=1");
    let answer = target.ask(&request("GET", "/status.json", &login("mg")));
    assert!(
        answer
            .body
            .bytes()
            .all(|byte| byte == b'\n' || byte >= b' '),
        "{}",
        answer.body
    );
    let status: Value = serde_json::from_str(&answer.body).expect("JSON");
    let names = status["names"].as_array().expect("names");
    assert!(
        names.iter().any(|name| name["name"] == "<b>\"\\name\u{7}"),
        "{names:?}"
    );
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
}

/// A Prometheus of its own scrapes the server and answers a query.
#[test]
fn a_prometheus_scrapes_the_server() {
    needs("prometheus");
    let target = Target::start(&["--http", "tcp://127.0.0.1:0"]);
    target.server.client("rw").ask("STORE a=1");
    let setup = &target.server.setup;
    fs::write(setup.path("secret"), "mgpw").expect("a file");
    let config = format!(
        "scrape_configs:\n  - job_name: clacksd\n    scrape_interval: 100ms\n    scrape_timeout: 100ms\n    \
         basic_auth:\n      username: mg\n      password_file: {}\n    \
         static_configs:\n      - targets: [\"127.0.0.1:{}\"]\n",
        text(&setup.path("secret")),
        port(&target.server, "tcp"),
    );
    fs::write(setup.path("prometheus.yml"), config).expect("a file");
    // Of an address that nobody else uses, so that the port stays free.
    let free = TcpListener::bind("127.49.89.0:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let mut command = Command::new("prometheus");
    command.args([
        &format!("--config.file={}", text(&setup.path("prometheus.yml"))),
        &format!("--storage.tsdb.path={}", text(&setup.path("data"))),
        &format!("--web.listen-address={address}"),
    ]);
    let prometheus = Process::spawn(&mut command);
    prometheus.wait_for_log("Server is ready");
    let query = |text: &str| {
        let path = format!("/api/v1/query?query={text}");
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = HttpConnection::at_address(address).ask(&head);
        let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
        answer["data"]["result"][0]["value"][1].clone()
    };
    wait_until("it has scraped", || query("clacksd_entries") == "1");
    assert_eq!(query("up"), "1");
    assert_eq!(query("clacksd_build_info"), "1");
    wait_until("it has scraped again", || {
        let count = query("clacksd_requests_total%7Bverb%3D%22metrics%22%7D");
        count
            .as_str()
            .is_some_and(|count| count.parse::<u64>().is_ok_and(|count| count > 1))
    });
}
