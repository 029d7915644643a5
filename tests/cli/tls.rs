//! clacks and whom it takes for its server: certificates, and plain text.

use crate::runner::needs_localhost;
use crate::support::{Authority, Ended, Identity, Server, Setup, Validity, bare_clacks, run, text};

/// A server with that certificate and one entry, `a`.
fn server(identity: &Identity) -> Server {
    let server = Setup::new().with_tls(identity).start();
    server.client("rw").ask("STORE a=1");
    server
}

/// `clacks retrieve a` over TLS, at that name.
fn retrieve(server: &Server, host: &str, flags: &[&str]) -> Ended {
    let address = format!("tls://{host}:{}", server.tls_port());
    let mut command = bare_clacks(&["-s", &address, "-u", "rw", "retrieve", "a"]);
    command.args(flags).env("CLACKS_PASSWORD", "rwpw");
    // What the machine trusts doesn't matter here.
    let nothing = Authority::new("of the machine").certificate;
    server.setup.write_secret("system.pem", &nothing);
    command.env("SSL_CERT_FILE", server.setup.path("system.pem"));
    run(command.env_remove("SSL_CERT_DIR"))
}

fn assert_retrieved(ended: Ended) {
    assert_eq!(
        (ended.status, &*ended.stdout, &*ended.stderr),
        (Some(0), "1\n", "")
    );
}

/// No connection, for that reason, in one line; and nobody has logged in.
fn assert_refused(server: &Server, host: &str, ended: Ended, why: &str) {
    let address = format!("tls://{host}:{}", server.tls_port());
    assert_eq!(
        (ended.status, &*ended.stdout, &*ended.stderr),
        (
            Some(3),
            "",
            &*format!("clacks: {address}: the server's certificate is refused: {why}\n")
        )
    );
}

const UNKNOWN: &str = "no authority that is trusted here vouches for it; --ca names another one";
const OTHER_NAME: &str = "it is not for the name in the address";

#[test]
fn the_right_authority_is_enough() {
    needs_localhost();
    let authority = Authority::new("right");
    let server = server(&authority.certify(&["localhost", "127.0.0.1"]));
    server.setup.write_secret("ca.pem", &authority.certificate);
    let ca = text(&server.setup.path("ca.pem"));
    for host in ["localhost", "127.0.0.1"] {
        assert_retrieved(retrieve(&server, host, &["--ca", &ca]));
    }
    // Or the certificate itself, whoever has issued it.
    for identity in [
        Identity::self_signed(&["localhost"]),
        authority.certify(&["localhost"]),
        authority.below("below").certify(&["localhost"]),
    ] {
        let server = self::server(&identity);
        server.setup.write_secret("own.pem", &identity.alone());
        let own = text(&server.setup.path("own.pem"));
        assert_retrieved(retrieve(&server, "localhost", &["--ca", &own]));
        let ended = retrieve(&server, "127.0.0.1", &["--ca", &own]);
        assert_refused(&server, "127.0.0.1", ended, OTHER_NAME);
    }
}

#[test]
fn a_wrong_certificate_is_refused_before_anything_is_said() {
    needs_localhost();
    let (right, wrong) = (Authority::new("right"), Authority::new("wrong"));
    let server = server(&right.certify(&["localhost"]));
    let file = |name: &str, content: &str| {
        server.setup.write_secret(name, content);
        text(&server.setup.path(name))
    };
    let (ca, other) = (
        file("ca.pem", &right.certificate),
        file("wrong.pem", &wrong.certificate),
    );
    let refused = |host: &str, flags: &[&str], why: &str| {
        assert_refused(&server, host, retrieve(&server, host, flags), why);
    };
    refused("localhost", &["--ca", &other], UNKNOWN);
    refused("localhost", &[], UNKNOWN);
    refused("127.0.0.1", &["--ca", &ca], OTHER_NAME);
    // Where it is not checked it may be any.
    for host in ["localhost", "127.0.0.1"] {
        assert_retrieved(retrieve(&server, host, &["--insecure"]));
    }
    for (validity, why) in [
        (Validity::Past, "it has expired"),
        (Validity::Future, "it is not valid yet"),
    ] {
        let server = self::server(&right.certify_with(&["localhost"], validity));
        let ended = retrieve(&server, "localhost", &["--ca", &ca]);
        assert_refused(&server, "localhost", ended, why);
        assert_retrieved(retrieve(&server, "localhost", &["--insecure"]));
    }
}

/// The key of the authority is one of those that can't be checked with.
#[test]
fn a_kind_of_key_that_is_not_supported_is_named() {
    needs_localhost();
    let identity = Identity {
        certificates: include_str!("../support/issued_with_p521.pem").to_owned(),
        key: include_str!("../support/issued_with_p521.key.pem").to_owned(),
    };
    let server = server(&identity);
    let ca = include_str!("../support/p521.ca.pem");
    server.setup.write_secret("ca.pem", ca);
    let ca = text(&server.setup.path("ca.pem"));
    let ended = retrieve(&server, "localhost", &["--ca", &ca]);
    let why =
        "the kind of its key, or of its authority's, is not supported (such as ECDSA with P-521)";
    assert_refused(&server, "localhost", ended, why);
    // The certificate itself is of another kind.
    let own = text(&server.setup.path("cert.pem"));
    assert_retrieved(retrieve(&server, "localhost", &["--ca", &own]));
}

#[test]
fn files_that_are_no_authorities_are_wrong_usage() {
    let server = server(&Identity::self_signed(&["localhost"]));
    let (key, none) = (
        text(&server.setup.path("key.pem")),
        text(&server.setup.path("none.pem")),
    );
    let endless = "/dev/zero".to_owned();
    for (file, why) in [
        (&key, "no certificate in it"),
        (&none, "No such file"),
        (&endless, "no file"),
    ] {
        let ended = retrieve(&server, "127.0.0.1", &["--ca", file]);
        assert_eq!((ended.status, &*ended.stdout), (Some(2), ""));
        let told = ended.stderr;
        assert!(told.contains(&**file) && told.contains(why), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

/// Whoever mixes the two up is told, and soon.
#[test]
fn tls_and_plain_text_do_not_understand_each_other() {
    let server = server(&Identity::self_signed(&["localhost"]));
    let (plain, tls) = (server.port, server.tls_port());
    for (address, why) in [
        (
            format!("tls://127.0.0.1:{plain}"),
            "that is no clacks server: it doesn't speak TLS",
        ),
        (
            format!("tcp://127.0.0.1:{tls}"),
            "no connection to the server: the server has closed the connection",
        ),
    ] {
        let mut command = bare_clacks(&["-s", &address, "-u", "rw", "--insecure", "keys"]);
        let ended = run(command.env("CLACKS_PASSWORD", "rwpw"));
        assert_eq!((ended.status, &*ended.stdout), (Some(3), ""), "{address}");
        assert_eq!(ended.stderr, format!("clacks: {address}: {why}\n"));
    }
}
