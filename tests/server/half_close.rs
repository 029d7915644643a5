//! `printf … | nc` must work: what came before the client's end of stream is answered.

use crate::runner::needs;
use crate::support::{Server, token, wait_until};
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn a_script_with_netcat_gets_its_answers() {
    needs("netcat-openbsd");
    let server = Server::start();
    server.client("admin").ask("STORE a=stored before");
    let mut netcat = Command::new("nc")
        .args(["-N", "127.0.0.1", &server.port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it is installed");
    let script = format!(
        "CLACKS x\r\nOVERHEAD A {}\r\nRETRIEVE a\r\n",
        token("admin")
    );
    netcat
        .stdin
        .take()
        .expect("a pipe")
        .write_all(script.as_bytes())
        .expect("netcat reads");
    let output = netcat
        .wait_with_output()
        .expect("netcat ends when the server closes");
    let output = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = output.split_terminator("\r\n").collect();
    assert_eq!(
        lines[1..],
        [
            "OVERHEAD M Authentication required",
            "OVERHEAD O Welcome!",
            "RETRIEVED a=stored before"
        ]
    );
    assert!(lines[0].starts_with("CLACKS clacksd/"));
}

#[test]
fn everything_before_the_end_is_worked_off_and_an_unfinished_line_is_dropped() {
    let server = Server::start();
    let mut client = server.client("admin");
    for number in 0..20_000 {
        client.send_bytes(format!("STORE k{number}={number}\r\n").as_bytes());
    }
    client.send("KEYLIST");
    client.send("RETRIEVE k19999");
    client.send_bytes(b"STORE k19999=unfinished");
    client.shutdown_write();
    let lines = client.until_closed();
    assert_eq!(lines.len(), 20_000 + 3);
    assert_eq!(lines[20_000 + 2], "RETRIEVED k19999=19999");
    assert_eq!(
        server.client("admin").ask("RETRIEVE k19999"),
        ["RETRIEVED k19999=19999"]
    );
}

/// Nor does it matter that its user is gone by then.
#[test]
fn who_has_asked_and_goes_gets_its_answers_though_its_user_is_gone() {
    let server = Server::start();
    let value = "v".repeat(6 << 20);
    server.client("admin").ask(&format!("STORE large={value}"));
    let mut client = server.client("ro");
    client.send_bytes(b"RETRIEVE large\r\nQUIT\r\n");
    wait_until("its answer waits", || server.status("buffers") > 5 << 20);
    server.setup.write_secret("users", "other:read:otherpw\n");
    server.process.signal(libc::SIGHUP);
    server.process.wait_for_log("read again");
    assert!(client.until_closed() == [format!("RETRIEVED large={value}")]);
}
