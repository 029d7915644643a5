//! Clients that speak TLS: they are served like all others, and what is wrong with one of them ends
//! that one alone.

use crate::runner::needs;
use crate::support::tls::{VERSIONS, session, session_with};
use crate::support::{Client, Identity, Server, Setup, token, wait_until};
use rustls::{
    AlertDescription, ClientConnection, Error, ProtocolVersion, StreamOwned,
    SupportedProtocolVersion,
};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The first byte of an alert.
const ALERT: u8 = 21;

/// A server that listens for TLS too, and logs how connections end.
fn server(flags: &[&str]) -> Server {
    Setup::new()
        .with_tls(&Identity::self_signed(&["localhost", "127.0.0.1"]))
        .flags(&["-v"])
        .flags(flags)
        .start()
}

fn client(server: &Server, version: &'static SupportedProtocolVersion) -> Client {
    Client::tls(server.tls_port(), version).logged_in("rw")
}

fn raw(server: &Server) -> TcpStream {
    TcpStream::connect(("127.0.0.1", server.tls_port())).expect("the server listens there")
}

/// Returns the first bytes that a client sends: a ClientHello.
fn hello(version: &'static SupportedProtocolVersion) -> Vec<u8> {
    let mut hello = Vec::new();
    session(version)
        .write_tls(&mut hello)
        .expect("room in memory");
    hello
}

/// Reads until the server ends the connection. Panics if nothing arrives for 30 seconds.
fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    let mut rest = Vec::new();
    // A reset is an end too.
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    rest
}

#[test]
fn values_of_every_size_pass_both_ways() {
    let server = server(&[]);
    for version in VERSIONS {
        let mut client = client(&server, version);
        let mut listener = Client::tls(server.tls_port(), version).logged_in("ro");
        listener.ask("LISTEN large");
        assert_eq!(client.ask("RETRIEVE nothing"), ["NOTRETRIEVED nothing"]);
        // Around the size of a record, and far beyond what a socket holds.
        for size in [
            0, 1, 16_000, 16_384, 16_385, 32_768, 65_536, 1_000_003, 9_000_000,
        ] {
            let value: String = (0..)
                .map(|number: u32| number.to_string())
                .scan(0, |length, digits| {
                    *length += digits.len();
                    (*length <= size).then_some(digits)
                })
                .collect();
            assert_eq!(client.ask(&format!("STORE large={value}")), [""; 0]);
            assert!(client.ask("RETRIEVE large") == [format!("RETRIEVED large={value}")]);
            client.send(&format!("SET large={value}"));
            assert!(listener.next_line() == Some(format!("SET large={value}")));
        }
    }
    // What the listeners listen to counts still, and what TLS takes for each.
    wait_until("nothing waits any more", || {
        server.status("buffers") < 100_000
    });
}

#[test]
fn pipelined_lines_are_answered_in_order() {
    const LINES: usize = 20_000;
    let server = server(&[]);
    for version in VERSIONS {
        let mut client = client(&server, version);
        let lines: Vec<String> = (0..LINES)
            .map(|number| format!("STORE k={number}\r\nRETRIEVE k\r\n"))
            .collect();
        client.send_bytes(lines.concat().as_bytes());
        for number in 0..LINES {
            client.expect(&format!("RETRIEVED k={number}"));
        }
    }
}

/// A socket on which everything goes out at once but for one cut, or byte by byte.
struct Cutting<'a> {
    socket: TcpStream,
    sent: usize,
    cut: Cut,
    /// Returns when the server has read what was sent.
    pause: &'a mut dyn FnMut(),
}

#[derive(Clone, Copy)]
enum Cut {
    Nowhere,
    At(usize),
    Everywhere,
}

impl Read for Cutting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }
}

impl Write for Cutting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = match self.cut {
            Cut::At(at) if self.sent < at => bytes.len().min(at - self.sent),
            Cut::Everywhere => 1,
            _ => bytes.len(),
        };
        self.socket.write_all(&bytes[..length])?;
        self.sent += length;
        if matches!(self.cut, Cut::At(at) if at == self.sent) || matches!(self.cut, Cut::Everywhere)
        {
            (self.pause)();
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Each place is within the ClientHello, the end of the handshake, a record of lines or new keys.
#[test]
fn a_session_gives_the_same_answers_wherever_it_is_cut() {
    let server = server(&[]);
    let script = format!(
        "CLACKS cut\r\nOVERHEAD A {}\r\nSTORE a=1\r\nINCREMENT a\r\nRETRIEVE a\r\nQUIT\r\n",
        token("rw")
    );
    let mut other = server.client("rw");
    for version in VERSIONS {
        let mut answers_when_cut = |cut: Cut| {
            let socket = raw(&server);
            socket.set_nodelay(true).expect("a fresh socket");
            let mut pause = || drop(other.flush());
            let mut stream = StreamOwned::new(
                session(version),
                Cutting {
                    socket,
                    sent: 0,
                    cut,
                    pause: &mut pause,
                },
            );
            // In several records.
            for (number, part) in script.as_bytes().chunks(50).enumerate() {
                stream.write_all(part).expect("the server reads");
                if number == 0 && stream.conn.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
                    // Both sides change their keys.
                    let renewed = stream.conn.refresh_traffic_keys();
                    renewed.expect("the handshake is done");
                }
            }
            let mut answers = String::new();
            // Without close_notify this would be an error.
            stream
                .read_to_string(&mut answers)
                .expect("the server ends in the way of TLS");
            (answers, stream.sock.sent)
        };
        let (whole, length) = answers_when_cut(Cut::Nowhere);
        assert!(whole.ends_with("OVERHEAD O Welcome!\r\nRETRIEVED a=2\r\n"));
        for at in 1..length {
            assert_eq!(answers_when_cut(Cut::At(at)).0, whole, "cut at {at}");
        }
        assert_eq!(answers_when_cut(Cut::Everywhere).0, whole, "byte by byte");
    }
}

/// The ClientHello takes many records, and so does each line.
#[test]
fn messages_may_take_many_records() {
    let server = server(&[]);
    for version in VERSIONS {
        let session = session_with(version, Some(40));
        let mut stream = StreamOwned::new(session, raw(&server));
        let value = "x".repeat(5_000);
        let script = format!(
            "CLACKS x\r\nOVERHEAD A {}\r\nSTORE a={value}\r\nRETRIEVE a\r\nQUIT\r\n",
            token("rw")
        );
        stream
            .write_all(script.as_bytes())
            .expect("the server reads");
        let mut answers = String::new();
        let read = stream.read_to_string(&mut answers);
        read.expect("the server ends in the way of TLS");
        assert!(answers.ends_with(&format!("Welcome!\r\nRETRIEVED a={value}\r\n")));
    }
}

#[test]
fn keys_are_renewed_while_values_pass_both_ways() {
    let server = server(&[]);
    let mut session = session(VERSIONS[1]);
    let mut socket = raw(&server);
    session.complete_io(&mut socket).expect("a handshake");
    let mut stream = StreamOwned::new(session, socket);
    let login = format!("CLACKS x\r\nOVERHEAD A {}\r\n", token("rw"));
    stream
        .write_all(login.as_bytes())
        .expect("the server reads");
    let value = "x".repeat(40_000);
    for _ in 0..20 {
        stream.conn.refresh_traffic_keys().expect("TLS 1.3");
        let lines = format!("STORE a={value}\r\nRETRIEVE a\r\n");
        stream
            .write_all(lines.as_bytes())
            .expect("the server reads");
    }
    stream.write_all(b"QUIT\r\n").expect("the server reads");
    let mut answers = String::new();
    let read = stream.read_to_string(&mut answers);
    read.expect("the server ends in the way of TLS");
    let answer = format!("RETRIEVED a={value}\r\n");
    assert!(answers.ends_with(&format!("Welcome!\r\n{}", answer.repeat(20))));
}

/// They come in one piece with what is wrong. The alert says what that is.
#[test]
fn lines_before_a_wrong_record_are_processed() {
    let server = server(&[]);
    let mut other = server.client("rw");
    for (count, version) in VERSIONS.into_iter().enumerate() {
        let mut session = session(version);
        let mut socket = raw(&server);
        session.complete_io(&mut socket).expect("a handshake");
        let lines = format!(
            "CLACKS x\r\nOVERHEAD A {}\r\nSTORE a={count}\r\n",
            token("rw")
        );
        session
            .writer()
            .write_all(lines.as_bytes())
            .expect("room in memory");
        let mut bytes = Vec::new();
        session.write_tls(&mut bytes).expect("room in memory");
        bytes.extend_from_slice(&[23, 3, 3, 0, 40]);
        bytes.resize(bytes.len() + 40, 0xaa);
        socket.write_all(&bytes).expect("the server reads");
        let error = loop {
            assert!(session.read_tls(&mut socket).expect("an alert comes") > 0);
            if let Err(error) = session.process_new_packets() {
                break error;
            }
        };
        assert_eq!(error, Error::AlertReceived(AlertDescription::BadRecordMac));
        wait_until("it is counted", || {
            server.status("tls_failed") == count as u64 + 1
        });
        assert_eq!(other.ask("RETRIEVE a"), [format!("RETRIEVED a={count}")]);
    }
}

#[test]
fn who_closes_without_close_notify_ends_in_the_ordinary_way() {
    let server = server(&[]);
    for (count, version) in VERSIONS.into_iter().enumerate() {
        let mut client = client(&server, version);
        client.send("STORE a=worked off");
        client.send_bytes(b"STORE a=unfinished");
        client.vanish();
        wait_until("it is gone", || {
            server.status("end_of_stream") == count as u64 + 1
        });
        let mut other = server.client("rw");
        assert_eq!(other.ask("RETRIEVE a"), ["RETRIEVED a=worked off"]);
        other.ask("REMOVE a");
        other.send("QUIT");
        other.until_closed();
    }
    let log = server.process.log();
    assert!(
        !log.iter().any(|line| line.contains("WARN")),
        "nothing is wrong with that: {log:?}"
    );
}

#[test]
fn whatever_ends_what_a_client_sends_it_gets_its_answers() {
    let server = server(&[]);
    let ends: [fn(&mut Client); 3] = [
        |client| client.shutdown_write(),
        |client| client.send_close_notify(),
        |client| client.shutdown_socket(),
    ];
    for version in VERSIONS {
        for end in ends {
            let mut client = client(&server, version);
            for number in 0..1_000 {
                client.send(&format!("STORE k={number}\r\nRETRIEVE k"));
            }
            end(&mut client);
            let answers = client.until_closed();
            assert_eq!(answers.len(), 1_000);
            assert_eq!(answers[999], "RETRIEVED k=999");
            assert!(!client.was_cut());
        }
    }
}

#[test]
fn the_server_ends_every_stream_with_close_notify() {
    let mut server = server(&["--max-line", "4K", "--max-output", "64K"]);
    let mut admin = server.client("admin");
    for version in VERSIONS {
        let mut quitting = client(&server, version);
        quitting.send("QUIT");
        let mut wrong = Client::tls(server.tls_port(), version);
        wrong.send("OVERHEAD A wrong:wrong");
        let mut too_long = client(&server, version);
        too_long.send(&"x".repeat(5000));
        let mut disconnected = client(&server, version);
        disconnected.send("CLACKS to be disconnected");
        disconnected.flush();
        let list = admin.ask("CLIENTLIST");
        let line = list
            .iter()
            .find(|line| line.contains("to be disconnected"))
            .expect("a line");
        let cid = line
            .split_once("CID=")
            .and_then(|(_, rest)| rest.split_once(';'))
            .expect("a CID")
            .0;
        admin.send(&format!("CLIENTDISCONNECT {cid}"));
        for (mut client, last) in [
            (quitting, None),
            (wrong, Some("OVERHEAD F Login failed!")),
            (too_long, Some("OVERHEAD E line_too_long")),
            (disconnected, Some("QUIT")),
        ] {
            assert_eq!(client.until_closed().last().map(String::as_str), last);
            assert!(!client.was_cut(), "{last:?}");
        }
    }
    let mut clients = VERSIONS.map(|version| client(&server, version));
    server.process.signal(libc::SIGTERM);
    for client in &mut clients {
        assert_eq!(client.until_closed(), ["QUIT"]);
        assert!(!client.was_cut());
    }
    assert_eq!(server.process.wait().code(), Some(0));
}

/// Another implementation, with all its habits.
#[test]
fn openssl_is_served() {
    needs("openssl");
    let server = server(&[]);
    let script = format!(
        "CLACKS x\r\nOVERHEAD A {}\r\nSTORE a=1\r\nRETRIEVE a\r\nQUIT\r\n",
        token("rw")
    );
    let trusted = crate::support::text(&server.setup.path("cert.pem"));
    for flags in [
        &["-tls1_2"][..],
        &["-tls1_3"],
        // It begins with a key exchange that the server doesn't know, and is asked for another one.
        &["-tls1_3", "-groups", "secp521r1:X25519"],
    ] {
        let mut openssl = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error"])
            .args(flags)
            .args(["-verify_hostname", "localhost", "-CAfile", &trusted])
            .args(["-connect", &format!("127.0.0.1:{}", server.tls_port())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it is installed");
        openssl
            .stdin
            .take()
            .expect("a pipe")
            .write_all(script.as_bytes())
            .expect("openssl reads");
        let output = openssl
            .wait_with_output()
            .expect("openssl ends when the server closes");
        let (output, said) = (
            String::from_utf8(output.stdout).expect("text"),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        let lines: Vec<&str> = output.split_terminator("\r\n").skip(1).collect();
        assert_eq!(
            lines,
            [
                "OVERHEAD M Authentication required",
                "OVERHEAD O Welcome!",
                "RETRIEVED a=1"
            ],
            "{flags:?}: {said}"
        );
        assert!(!said.contains("unexpected eof"), "{said}");
    }
}

/// A client that does the same as Net::Clacks, with the Perl module that Net::Clacks uses for TLS.
const PERL: &str = r#"
use strict;
use warnings;
use IO::Socket::SSL;
use POSIX;
my ($port, $version, $token) = @ARGV;
my $socket = IO::Socket::SSL->new(
    PeerHost => '127.0.0.1', PeerPort => $port,
    SSL_verify_mode => SSL_VERIFY_NONE, SSL_version => $version,
) or die "no connection: $SSL_ERROR";
alarm 20;
for my $lines (
    "CLACKS perl\r\nOVERHEAD A $token\r\nNOPING\r\n",
    "STORE long=" . ("x" x 100_000) . "\r\nSTORE a=from perl\r\n",
    "RETRIEVE long\r\nRETRIEVE a\r\n",
) {
    # It takes a record at a time.
    for (my $sent = 0; $sent < length $lines;) {
        $sent += syswrite($socket, $lines, length($lines) - $sent, $sent) || die "closed";
    }
}
my ($received, $buffer) = ('', '');
until ($received =~ /^RETRIEVED a=.*\r\n/m) {
    sysread($socket, $buffer, 10_000) or die "closed after $received";
    $received .= $buffer;
}
$received =~ s/^RETRIEVED long=(x*)\r\n//m or die "no long value";
die "cut" if length($1) != 100_000;
print $received;
STDOUT->flush();
# No word of farewell: this skips destructors.
POSIX::_exit(0);
"#;

#[test]
fn perl_is_served() {
    needs("libio-socket-ssl-perl");
    let server = server(&[]);
    for (count, version) in ["TLSv1_2", "TLSv1_3"].into_iter().enumerate() {
        let output = Command::new("perl")
            .args(["-e", PERL, &server.tls_port().to_string(), version])
            .arg(token("rw"))
            .output()
            .expect("perl");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{version}: {said}");
        let shown = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = shown.split_terminator("\r\n").skip(1).collect();
        assert_eq!(
            lines,
            [
                "OVERHEAD M Authentication required",
                "OVERHEAD O Welcome!",
                "RETRIEVED a=from perl"
            ],
            "{version}"
        );
        wait_until("it ended in the ordinary way", || {
            server.status("end_of_stream") == count as u64 + 1
        });
    }
}

/// Versions before TLS 1.2, which OpenSSL has long given up, are not accepted.
#[test]
fn only_tls_1_2_and_1_3_are_spoken() {
    let server = server(&[]);
    for (version, expected) in VERSIONS
        .into_iter()
        .zip([ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3])
    {
        let mut session = session(version);
        session.complete_io(&mut raw(&server)).expect("a handshake");
        assert_eq!(session.protocol_version(), Some(expected));
    }
    // TLS 1.1 (RFC 4346): version 3.2, a random number, no session, one cipher, no compression.
    let mut hello = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 2, 0xc0, 0x13, 1, 0]);
    let mut old = raw(&server);
    old.write_all(&hello).expect("the server reads");
    read_to_end(&mut old);
    server.process.wait_for_log(": tls_failed (");
    let said = server.process.wait_for_log("TLS with 127.0.0.1:");
    assert!(said.contains("peer is incompatible"), "{said}");
}

#[test]
fn plain_text_at_a_tls_port_is_called_so() {
    let server = server(&[]);
    let mut bystander = client(&server, VERSIONS[1]);
    for (count, text) in ["CLACKS x\r\n", "GET / HTTP/1.1\r\n", "x", "\r\n"]
        .into_iter()
        .enumerate()
    {
        let mut plain = raw(&server);
        plain.write_all(text.as_bytes()).expect("the server reads");
        read_to_end(&mut plain);
        wait_until("it is counted", || {
            server.status("plain_text_to_tls_port") == count as u64 + 1
        });
    }
    server.process.wait_for_log(": plain_text_to_tls_port (");
    assert_eq!(bystander.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
}

#[test]
fn tls_at_a_plain_port_is_called_so() {
    let server = server(&[]);
    let mut bystander = server.client("rw");
    for (count, version) in VERSIONS.into_iter().enumerate() {
        for (number, mut stranger) in [server.stranger(), server.tcp_stranger()]
            .into_iter()
            .enumerate()
        {
            stranger.send_bytes(&hello(version));
            let said = stranger.until_closed();
            assert!(said.len() <= 2, "nothing but the greeting: {said:?}");
            wait_until("it is counted", || {
                server.status("tls_to_plain_text_port") == (2 * count + number) as u64 + 1
            });
        }
    }
    server.process.wait_for_log(": tls_to_plain_text_port (");
    assert_eq!(bystander.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
}

#[test]
fn half_a_handshake_takes_a_place_only_for_the_auth_timeout() {
    let server = server(&["--auth-timeout", "0.5"]);
    let hello = hello(VERSIONS[1]);
    let mut silent: Vec<TcpStream> = [0, 1, 5, hello.len() / 2, hello.len() - 1, hello.len()]
        .into_iter()
        .map(|length| {
            let mut stream = raw(&server);
            stream
                .write_all(&hello[..length])
                .expect("the server reads");
            stream
        })
        .collect();
    // A whole handshake without a login is no better.
    let mut mute = VERSIONS.map(|version| Client::tls(server.tls_port(), version));
    for client in &mut mute {
        client.next_line();
        client.next_line();
        assert_eq!(client.next_line(), None);
    }
    let start = Instant::now();
    for stream in &mut silent {
        read_to_end(stream);
    }
    assert!(start.elapsed() < Duration::from_secs(10));
    wait_until("they are counted", || server.status("auth_timeout") == 8);
    let line = server.process.wait_for_log(": auth_timeout (");
    assert!(
        !line.contains("discarded"),
        "nobody waits for what could never be sent: {line}"
    );
    assert_eq!(server.status("clients"), 0);
}

#[test]
fn a_client_hello_without_end_is_ended() {
    let server = server(&[]);
    // One that says it has 65,000 bytes, in records of 16,000.
    let mut record = vec![22, 3, 1, 0x3e, 0x80];
    record.extend_from_slice(&[1, 0, 0xfd, 0xe8]);
    record.resize(5 + 16_000, 0);
    let mut large = raw(&server);
    for _ in 0..4 {
        if large.write_all(&record).is_err() {
            break;
        }
    }
    read_to_end(&mut large);
    server
        .process
        .wait_for_log("a handshake message is too long");
    wait_until("it is counted", || server.status("tls_failed") == 1);
    assert_eq!(
        client(&server, VERSIONS[1]).ask("RETRIEVE a"),
        ["NOTRETRIEVED a"]
    );
}

#[test]
fn what_is_no_right_tls_ends_only_who_sends_it() {
    let server = server(&[]);
    let mut bystander = client(&server, VERSIONS[1]);
    let mut failures = 0;
    let mut counted = |what: &str| {
        failures += 1;
        wait_until(what, || server.status("tls_failed") == failures);
    };
    // It begins like a handshake.
    let mut stream = raw(&server);
    stream
        .write_all(&[22, 3, 1, 0, 4, 9, 9, 9, 9])
        .expect("the server reads");
    read_to_end(&mut stream);
    counted("a wrong ClientHello");
    for version in VERSIONS {
        let mut hello = hello(version);
        let length = hello.len();
        hello[length / 2..].fill(0xff);
        let mut stream = raw(&server);
        stream.write_all(&hello).expect("the server reads");
        let said = read_to_end(&mut stream);
        assert_eq!(said.first(), Some(&ALERT), "{said:?}");
        counted("a broken ClientHello");

        // The handshake was right; then comes plain text, a wrong record, one that is too long.
        for garbage in [
            &b"STORE a=1\r\n"[..],
            &[23, 3, 3, 0, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[23, 3, 3, 0xff, 0xff],
        ] {
            let mut client = client(&server, version);
            client.send("STORE b=before");
            client.flush();
            let mut bytes = garbage.to_vec();
            bytes.resize(100, 0xaa);
            client.send_raw(&bytes);
            client.until_closed();
            counted("garbage");
        }
    }
    assert_eq!(bystander.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    assert_eq!(bystander.ask("RETRIEVE b"), ["RETRIEVED b=before"]);
}

/// Its side of the stream was over before the answer to its ClientHello was signed.
#[test]
fn who_ends_before_the_signature_is_gone_at_once() {
    let server = server(&["--auth-timeout", "3600"]);
    server.process.signal(libc::SIGSTOP);
    let mut streams: Vec<TcpStream> = (0..5)
        .map(|number| {
            let mut stream = raw(&server);
            stream
                .write_all(&hello(VERSIONS[number % 2]))
                .expect("the kernel takes it");
            stream.shutdown(Shutdown::Write).expect("an open socket");
            stream
        })
        .collect();
    server.process.signal(libc::SIGCONT);
    for stream in &mut streams {
        read_to_end(stream);
    }
    wait_until("all are gone", || server.status("clients") == 0);
    assert_eq!(server.status("tls_failed"), 5);
}

#[test]
fn who_reads_nothing_is_paused_and_gets_all_answers_in_order() {
    /// Memory that a server takes beyond its buffers, with some to spare.
    const BASE_MEMORY_KB: u64 = 64 * 1024;
    const ANSWERS: usize = 60;
    let server = server(&["--max-line", "1M", "--max-output", "4M"]);
    for version in VERSIONS {
        let mut client = client(&server, version);
        let value = "x".repeat(900_000);
        client.ask("REMOVE last");
        client.ask(&format!("STORE large={value}"));
        for number in 0..ANSWERS {
            client.send(&format!("FLUSH {number}"));
            client.send("RETRIEVE large");
        }
        client.send("STORE last=1");
        let (mut other, mut manager) = (server.client("rw"), server.client("mg"));
        let mut most_waiting = || server.most_waiting(&mut manager);
        // With less than a quarter of the limit it would go on.
        wait_until("much is waiting", || most_waiting() >= 1 << 20);
        assert!(most_waiting() < 4 << 20);
        assert_eq!(
            other.ask("RETRIEVE last"),
            ["NOTRETRIEVED last"],
            "the rest waits"
        );
        // All answers share the value.
        assert!(server.status("buffers") < 2 * value.len() as u64);
        assert!(server.proc_status("VmHWM") < BASE_MEMORY_KB);
        for number in 0..ANSWERS {
            client.expect(&format!("FLUSHED {number}"));
            let answer = client.next_line().map(|line| line.len());
            assert_eq!(answer, Some("RETRIEVED large=".len() + value.len()));
        }
        assert_eq!(client.flush(), [""; 0]);
        assert_eq!(other.ask("RETRIEVE last"), ["RETRIEVED last=1"]);
        wait_until("nothing waits any more", || {
            server.status("buffers") < 100_000
        });
    }
}

#[test]
fn a_large_answer_is_cut_off_with_its_client() {
    let server = server(&[]);
    let mut client = client(&server, VERSIONS[1]);
    client.ask(&format!("STORE large={}", "x".repeat(8 << 20)));
    client.send("RETRIEVE large");
    wait_until("the answer waits", || server.status("buffers") > 1 << 20);
    client.vanish();
    wait_until("nothing is left", || {
        server.status("clients") == 0 && server.status("buffers") == 0
    });
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let server = server(&[]);
    let mut observer = server.client("rw");
    observer.ask("PING");
    let descriptors = server.open_descriptors();
    for number in 0..300 {
        let version = VERSIONS[number % 2];
        match number % 5 {
            0 => drop(raw(&server)),
            1 => drop(raw(&server).write_all(&hello(version)[..100])),
            2 => drop(raw(&server).write_all(&hello(version))),
            3 => Client::tls(server.tls_port(), version)
                .logged_in("rw")
                .vanish(),
            _ => {
                let mut session: ClientConnection = session(version);
                let mut socket = raw(&server);
                session.complete_io(&mut socket).expect("a handshake");
            }
        }
    }
    wait_until("all have come and gone", || {
        server.status("connections") == 301 && server.status("clients") == 1
    });
    wait_until("nothing is left", || {
        server.open_descriptors() == descriptors && server.status("buffers") == 0
    });
}

/// The TLS records of a listing that the client does not read do not keep its connection from being removed.
#[test]
fn who_goes_away_within_a_listing_frees_its_place() {
    let server = server(&[]);
    let mut writer = server.client("admin");
    let name = "n".repeat(1_000);
    // More than sockets take.
    for number in 0..20_000 {
        writer.send(&format!("STORE {name}{number}=1"));
    }
    writer.flush();
    for version in VERSIONS {
        for question in ["KEYLIST", "RETRIEVE much\r\nKEYLIST"] {
            let mut client = client(&server, version);
            client.send("LISTEN a");
            client.flush();
            client.send(question);
            wait_until("its answer waits", || {
                let list = writer.ask("CLIENTLIST");
                let waiting = list
                    .iter()
                    .filter(|line| !line.contains("WRITEFAILTIME=0;"));
                waiting
                    .filter(|line| line.starts_with("CLIENT CID="))
                    .count()
                    == 1
            });
            // Much is unread: the server gets a reset.
            drop(client);
            wait_until("it is gone", || server.status("clients") == 1);
        }
    }
}
