//! Masters that speak TLS: who can't show that it is the one gets no login.

use crate::runner::needs_localhost;
use crate::support::tls::master_session;
use crate::support::{Authority, Client, Identity, Setup, Validity, run, text, token, wait_until};
use rustls::ServerConnection;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Names that slaves dial.
const NAMES: &[&str] = &["localhost", "127.0.0.1"];

fn slave_of(address: &str) -> Setup {
    Setup::new().flags(&["--master", address, "--interclacks-reconnect", "0.2"])
}

/// Stands where the master is expected, and keeps what it is told.
struct Impostor {
    port: u16,
    told: Arc<Mutex<Vec<u8>>>,
    dialled: Arc<Mutex<u32>>,
}

impl Impostor {
    fn new(identity: Identity) -> Impostor {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let (told, dialled) = (
            Arc::<Mutex<Vec<u8>>>::default(),
            Arc::<Mutex<u32>>::default(),
        );
        let (keep, count) = (told.clone(), Arc::clone(&dialled));
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let heard = listen_to(master_session(&identity), socket);
                keep.lock()
                    .expect("no panic while it is held")
                    .extend_from_slice(&heard);
                *count.lock().expect("no panic while it is held") += 1;
            }
        });
        Impostor {
            port,
            told,
            dialled,
        }
    }

    /// How often somebody has dialled and gone.
    fn dialled(&self) -> u32 {
        *self.dialled.lock().expect("no panic while it is held")
    }

    fn told(&self) -> String {
        let told = self.told.lock().expect("no panic while it is held");
        String::from_utf8(told.clone()).expect("text")
    }
}

/// Returns the plaintext that the session receives, up to the first line break behind a login or the end.
fn listen_to(mut session: ServerConnection, mut socket: TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    loop {
        match session.complete_io(&mut socket) {
            Ok((0, 0)) | Err(_) => return heard,
            Ok(_) => {}
        }
        // No more is there, or no more ever.
        let _ = session.reader().read_to_end(&mut heard);
        let text = String::from_utf8_lossy(&heard);
        if text.contains("OVERHEAD A ") && text.ends_with('\n') {
            return heard;
        }
    }
}

#[test]
fn who_cannot_show_that_it_is_the_master_gets_no_login() {
    let authority = Authority::new("authority");
    let namesake = Authority::new("authority");
    let stranger = Authority::new("stranger");
    let itself = Identity::self_signed(NAMES);
    let expired = Identity::self_signed_with(NAMES, Validity::Past);
    let of_another = Identity::self_signed(&["other.example"]);
    let old = authority.certify_with(NAMES, Validity::Past);
    let elsewhere = authority.certify(&["other.example"]);
    let mut without_chain = authority.below("below").certify(NAMES);
    without_chain.certificates = without_chain.alone();
    let ca = &authority.certificate;
    let cases: Vec<(&str, Identity, &str, &str)> = vec![
        (
            "expired",
            authority.certify_with(NAMES, Validity::Past),
            ca,
            "invalid peer certificate: certificate expired",
        ),
        (
            "of the future",
            authority.certify_with(NAMES, Validity::Future),
            ca,
            "invalid peer certificate: certificate not valid yet",
        ),
        (
            "of another server",
            authority.certify(&["other.example"]),
            ca,
            "invalid peer certificate: certificate not valid for name \"127.0.0.1\"",
        ),
        (
            "with nothing but a common name",
            authority.certify(&[]),
            ca,
            "invalid peer certificate: certificate not valid for name \"127.0.0.1\"",
        ),
        (
            "of an unknown authority",
            stranger.certify(NAMES),
            ca,
            "invalid peer certificate: UnknownIssuer",
        ),
        (
            "of an authority that calls itself the same",
            namesake.certify(NAMES),
            ca,
            "invalid peer certificate: BadSignature",
        ),
        (
            "without the certificates between",
            without_chain,
            ca,
            "invalid peer certificate: UnknownIssuer",
        ),
        (
            "self-signed and unknown",
            itself.clone(),
            ca,
            "invalid peer certificate: UnknownIssuer",
        ),
        (
            "self-signed, and another is known",
            itself,
            &of_another.certificates,
            "invalid peer certificate: UnknownIssuer",
        ),
        (
            "self-signed, known and expired",
            expired.clone(),
            &expired.certificates,
            "invalid peer certificate: certificate expired",
        ),
        (
            "known, of an authority, and expired",
            old.clone(),
            &old.certificates,
            "invalid peer certificate: certificate expired",
        ),
        (
            "known, of an authority, and of another server",
            elsewhere.clone(),
            &elsewhere.certificates,
            "invalid peer certificate: certificate not valid for name \"127.0.0.1\"",
        ),
        (
            "of an authority, and another one of it is known",
            authority.certify(NAMES),
            &elsewhere.certificates,
            "invalid peer certificate: UnknownIssuer",
        ),
        (
            "self-signed, known and of another server",
            of_another.clone(),
            &of_another.certificates,
            "invalid peer certificate: certificate not valid for name \"127.0.0.1\"",
        ),
    ];
    for (what, identity, known, said) in cases {
        let impostor = Impostor::new(identity);
        let setup = slave_of(&format!("tls://127.0.0.1:{}", impostor.port));
        setup.write_secret("ca.pem", known);
        let file = text(&setup.path("ca.pem"));
        let slave = setup.flags(&["--master-ca", &file]).start();
        let line = slave.process.wait_for_log("TLS with 127.0.0.1:");
        assert!(line.contains(said), "{what}: {line}");
        slave.process.wait_for_log(": tls_failed (");
        let line = slave.process.wait_for_log("ended before it had logged in");
        assert!(line.contains(&impostor.port.to_string()), "{line}");
        wait_until("it goes on trying", || impostor.dialled() >= 2);
        assert_eq!(impostor.told(), "", "{what}");
        let log = slave.process.log();
        assert!(
            !log.iter().any(|line| line.contains("discarded")),
            "{log:?}"
        );
    }
}

/// So that the test above can be believed: here the same master hears the login.
#[test]
fn who_can_show_it_gets_the_login() {
    let authority = Authority::new("authority");
    let impostor = Impostor::new(authority.certify(NAMES));
    let setup = slave_of(&format!("tls://127.0.0.1:{}", impostor.port));
    setup.write_secret("ca.pem", &authority.certificate);
    let file = text(&setup.path("ca.pem"));
    let _slave = setup.flags(&["--master-ca", &file]).start();
    wait_until("the master hears the login", || {
        impostor
            .told()
            .contains(&format!("OVERHEAD A {}", token("admin")))
    });
}

#[test]
fn a_master_with_a_right_certificate_is_obeyed() {
    needs_localhost();
    let authority = Authority::new("authority");
    let below = authority.below("below");
    let itself = Identity::self_signed(NAMES);
    let other = Identity::self_signed(&["other.example"]);
    let issued = below.certify(NAMES);
    let issued_alone = issued.alone();
    let late = authority.expired_below("below").certify(NAMES);
    let late_alone = late.alone();
    let namesake = Authority::new("below");
    let issued_and_namesake = format!("{issued_alone}{}", namesake.certificate);
    // Files may hold several.
    let both = format!("{}{}", other.certificates, itself.certificates);
    let cases = [
        (
            "an authority",
            authority.certify(NAMES),
            &authority.certificate,
        ),
        (
            "a chain",
            below.below("further").certify(NAMES),
            &authority.certificate,
        ),
        (
            "a certificate in between",
            below.certify(NAMES),
            &below.certificate,
        ),
        ("itself", itself.clone(), &itself.certificates),
        ("itself, of an authority", issued.clone(), &issued_alone),
        (
            "itself, of an authority that has expired",
            late,
            &late_alone,
        ),
        (
            "itself, with a namesake of its authority",
            issued,
            &issued_and_namesake,
        ),
        ("itself among others", itself.clone(), &both),
    ];
    for (what, identity, known) in cases {
        let master = Setup::new().with_tls(&identity).start();
        master
            .client("rw")
            .ask(&format!("STORE from=the master, {what}"));
        for host in ["localhost", "127.0.0.1"] {
            let setup = slave_of(&format!("tls://{host}:{}", master.tls_port()));
            setup.write_secret("ca.pem", known);
            let file = text(&setup.path("ca.pem"));
            let slave = setup.flags(&["--master-ca", &file]).start();
            wait_until("the link is up", || slave.is_slave());
            let mut client = slave.client("rw");
            wait_until("the slave has what the master has", || {
                client.ask("RETRIEVE from") == [format!("RETRIEVED from=the master, {what}")]
            });
            client.ask(&format!("STORE back::{host}=from the slave"));
            let mut at_master = master.client("rw");
            wait_until("the master has what the slave has", || {
                at_master.ask(&format!("RETRIEVE back::{host}"))
                    == [format!("RETRIEVED back::{host}=from the slave")]
            });
            // Values of many records, both ways.
            let large = "x".repeat(3 << 20);
            client.ask(&format!("STORE large={large}"));
            wait_until("the master has it", || {
                at_master.ask("RETRIEVE large") == [format!("RETRIEVED large={large}")]
            });
            at_master.ask("REMOVE large");
        }
    }
}

#[test]
fn master_insecure_takes_whoever_answers_and_warns() {
    let identity = Identity::self_signed_with(&["other.example"], Validity::Past);
    let master = Setup::new().with_tls(&identity).start();
    let slave = slave_of(&format!("tls://127.0.0.1:{}", master.tls_port()))
        .flags(&["--master-insecure"])
        .start();
    let line = slave.process.wait_for_log("--master-insecure");
    assert!(
        line.contains("WARN") && line.contains("gets this server's login"),
        "{line}"
    );
    wait_until("the link is up", || slave.is_slave());
}

#[test]
fn without_master_ca_the_authorities_of_the_system_count() {
    let authority = Authority::new("authority");
    let master = Setup::new().with_tls(&authority.certify(NAMES)).start();
    let address = format!("tls://127.0.0.1:{}", master.tls_port());
    let setup = slave_of(&address);
    setup.write_secret("system.pem", &authority.certificate);
    let system = setup.path("system.pem");
    let slave = setup.start_changed(|command| {
        command.env("SSL_CERT_FILE", &system);
    });
    wait_until("the link is up", || slave.is_slave());
    drop(slave);

    let setup = slave_of(&address);
    setup.write_secret("system.pem", &Authority::new("another").certificate);
    let system = setup.path("system.pem");
    let slave = setup.start_changed(|command| {
        command.env("SSL_CERT_FILE", &system);
    });
    slave
        .process
        .wait_for_log("invalid peer certificate: UnknownIssuer");
    drop(slave);

    let setup = slave_of(&address);
    setup.write_secret("system.pem", "");
    let system = setup.path("system.pem");
    let listen = setup.unix("socket");
    let setup = setup.flags(&["--listen", &listen]);
    let ended = run(setup.command().env("SSL_CERT_FILE", &system));
    assert_eq!(ended.status, Some(2), "{ended:?}");
    assert!(
        ended.stderr.contains("--master-ca is needed") && ended.stderr.lines().count() == 1,
        "{ended:?}"
    );
}

/// Of two addresses that stand for each other's kind of port, each side says what it met.
#[test]
fn a_master_that_speaks_the_other_language_is_called_so() {
    let identity = Identity::self_signed(NAMES);
    let master = Setup::new().with_tls(&identity).start();
    let slave = slave_of(&format!("tcp://127.0.0.1:{}", master.tls_port())).start();
    master.process.wait_for_log(": plain_text_to_tls_port (");
    slave.process.wait_for_log("ended before it had logged in");
    drop(slave);

    let slave = slave_of(&format!("tls://127.0.0.1:{}", master.port))
        .flags(&["--master-insecure"])
        .start();
    slave.process.wait_for_log(": tls_failed (");
    master.process.wait_for_log(": tls_to_plain_text_port (");
}

/// So OpenSSL answers plain text: with an alert.
#[test]
fn a_slave_that_should_speak_tls_is_told_by_an_alert() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("a bound socket").port();
    let slave = slave_of(&format!("tcp://127.0.0.1:{port}")).start();
    let (mut socket, _) = listener.accept().expect("a dial");
    socket
        .write_all(&[21, 3, 1, 0, 2, 2, 70])
        .expect("the slave reads");
    slave.process.wait_for_log(": tls_to_plain_text_port (");
}

/// The handshake is a part of what has to be done in time.
#[test]
fn a_master_that_never_answers_the_handshake_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = silent.local_addr().expect("a bound socket").port();
    let slave = slave_of(&format!("tls://127.0.0.1:{port}"))
        .flags(&["--master-insecure", "--auth-timeout", "0.3"])
        .start();
    slave.process.wait_for_log(": auth_timeout (");
    // It dials again.
    let (mut first, _) = silent.accept().expect("the first dial");
    let (_second, _) = silent.accept().expect("another dial");
    let mut heard = Vec::new();
    let _ = first.read_to_end(&mut heard);
    assert_eq!(heard.first(), Some(&22), "a ClientHello and nothing else");
}

#[test]
fn a_new_master_ca_is_used_from_the_next_dial_on() {
    let (right, wrong) = (Authority::new("right"), Authority::new("wrong"));
    let master = Setup::new().with_tls(&right.certify(NAMES)).start();
    let setup = slave_of(&format!("tls://127.0.0.1:{}", master.tls_port()));
    setup.write_secret("ca.pem", &wrong.certificate);
    let file = text(&setup.path("ca.pem"));
    let slave = setup.flags(&["--master-ca", &file]).start();
    slave.process.wait_for_log("UnknownIssuer");
    slave.setup.write_secret("ca.pem", &right.certificate);
    slave.process.signal(libc::SIGHUP);
    wait_until("the link is up", || slave.is_slave());
    // What is up stays so, whatever counts from now on.
    slave.setup.write_secret("ca.pem", &wrong.certificate);
    slave.process.signal(libc::SIGHUP);
    wait_until("it was read again twice", || {
        let log = slave.process.log();
        log.iter()
            .filter(|line| line.contains("read again: "))
            .count()
            == 2
    });
    let mut client: Client = slave.client("rw");
    client.ask("STORE a=1");
    assert!(slave.is_slave());
}
