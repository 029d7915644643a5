//! The line INFO that every NATS client gets first.

use super::servers::Version;
use super::target::{Login, Target};
use crate::support::Setup;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};

/// All fields that the line may have.
const FIELDS: [&str; 13] = [
    "server_id",
    "server_name",
    "version",
    "proto",
    "go",
    "host",
    "port",
    "headers",
    "auth_required",
    "tls_required",
    "max_payload",
    "client_id",
    "client_ip",
];

/// The object in a line without its end, which is a blank before CR LF.
fn object(line: &[u8]) -> Value {
    let line = str::from_utf8(line).expect("text");
    let inner = line
        .strip_prefix("INFO ")
        .and_then(|rest| rest.strip_suffix(' '));
    let inner = inner.expect("one blank before the object and one behind it");
    assert_eq!(inner, inner.trim());
    serde_json::from_str(inner).expect("JSON")
}

fn info(target: &Target) -> Value {
    object(&target.begin().1)
}

/// Panics unless the fields that do not depend on the listener have their values.
fn assert_usual(info: &Value) {
    let fields = info.as_object().expect("an object");
    for name in fields.keys() {
        assert!(FIELDS.contains(&name.as_str()), "{name}");
    }
    let id = info["server_id"].as_str().expect("a text");
    let is_hexadecimal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    assert!(!id.is_empty() && id.chars().all(is_hexadecimal), "{id}");
    let name = info["server_name"].as_str().expect("a text");
    assert_eq!(name, concat!("clacksd/", env!("CARGO_PKG_VERSION")));
    assert_eq!(info["version"], "2.10.0");
    assert_eq!(info["proto"], 1);
    assert_eq!(info["go"], "");
    assert_eq!(info["headers"], true);
    assert_eq!(info["auth_required"], true);
}

#[test]
fn a_unix_socket_has_no_port_and_no_address_of_the_client() {
    for login in [Login::Optional, Login::Needed] {
        let target = Target::clacksd(login);
        let info = info(&target);
        assert_usual(&info);
        assert_eq!(info["host"], "unix");
        assert_eq!(info["port"], 0);
        assert_eq!(info.get("client_ip"), None);
        assert_eq!(info.get("tls_required"), None);
        assert_eq!(info["max_payload"], 1 << 20);
    }
}

#[test]
fn connections_have_ascending_numbers_and_one_server_id() {
    let target = Target::clacksd(Login::Optional);
    let (one, other) = (info(&target), info(&target));
    let number = |info: &Value| info["client_id"].as_u64().expect("a number");
    assert!(
        number(&one) >= 1 && number(&other) > number(&one),
        "{one} {other}"
    );
    assert_eq!(one["server_id"], other["server_id"]);
    let another = info(&Target::clacksd(Login::Optional));
    assert_ne!(one["server_id"], another["server_id"]);
}

#[test]
fn a_tcp_port_is_named_with_the_address_of_the_client() {
    let setup = Setup::new().with_server_of_environment();
    let server = setup.flags(&["--nats", "tcp://127.0.0.1:0"]).start();
    let line = server
        .process
        .log_line("nats listening on tcp://127.0.0.1:");
    let line = line.expect("it is logged before \"ready\"");
    let port: u16 = line
        .rsplit(':')
        .next()
        .expect("a port")
        .parse()
        .expect("a number");
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens there");
    let mut info = Vec::new();
    let read = BufReader::new(stream).read_until(b'\n', &mut info);
    read.expect("a line");
    let info = object(info.strip_suffix(b"\r\n").expect("a line"));
    assert_usual(&info);
    assert_eq!(info["host"], "127.0.0.1");
    assert_eq!(info["port"], port);
    assert_eq!(info["client_ip"], "127.0.0.1");
}

#[test]
fn the_largest_payload_is_that_of_max_line_up_to_a_mebibyte() {
    for (max_line, max_payload) in [("4096", 4096), ("1048575", 1_048_575), ("2M", 1 << 20)] {
        let target = Target::clacksd_with(Login::Optional, &["--max-line", max_line]);
        assert_eq!(info(&target)["max_payload"], max_payload);
    }
}

/// Clients that know nats-server find each field there in the same type.
#[test]
fn fields_have_the_types_of_nats_server() {
    let ours = info(&Target::clacksd(Login::Needed));
    let theirs = info(&Target::nats_server(Version::Debian, Login::Needed));
    for (name, value) in ours.as_object().expect("an object") {
        let other = theirs.get(name).unwrap_or_else(|| panic!("no {name}"));
        let types = (std::mem::discriminant(value), std::mem::discriminant(other));
        assert_eq!(types.0, types.1, "{name}");
    }
}

/// Starts the server with these flags in addition, and returns its status when it ends at once.
fn status_of(flags: &[&str]) -> Option<i32> {
    let setup = Setup::new().with_server_of_environment();
    let address = setup.unix("socket");
    let setup = setup.flags(&["--listen", &address]).flags(flags);
    let mut command: Command = setup.command();
    let ended = command.stderr(Stdio::null()).arg("--check").status();
    ended.expect("the server is there").code()
}

#[test]
fn the_user_of_clients_without_login_has_to_exist_and_to_have_a_listener() {
    let nats = ["--nats", "tcp://127.0.0.1:0"];
    let with = |flags: &[&str]| status_of(&[&nats, flags].concat());
    assert_eq!(with(&["--nats-user", "admin"]), Some(0));
    assert_eq!(with(&["--nats-user", "ro"]), Some(0));
    assert_eq!(with(&["--nats-user", "nobody"]), Some(2));
    assert_eq!(status_of(&["--nats-user", "admin"]), Some(2));
    assert_eq!(status_of(&["--nats", "tcp://0.0.0.0:0"]), Some(2));
}
