//! TLS as the tests' clients and masters speak it.

use super::{Identity, connect_from};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConfig, ServerConnection,
    SignatureScheme, SupportedProtocolVersion,
};
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::{Arc, OnceLock};

/// TLS 1.2 and 1.3.
pub static VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| Arc::new(ring::default_provider()))
        .clone()
}

/// The client's side of a connection. As Net::Clacks does, it talks to whoever answers.
pub fn session(version: &'static SupportedProtocolVersion) -> ClientConnection {
    session_with(version, None)
}

/// As [`session`], with records of at most so many bytes, heads included.
pub fn session_with(
    version: &'static SupportedProtocolVersion,
    most_in_record: Option<usize>,
) -> ClientConnection {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .expect("a version that the provider knows")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    // Every handshake is a whole one.
    config.resumption = rustls::client::Resumption::disabled();
    config.max_fragment_size = most_in_record;
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("a right configuration")
}

/// The first message of a client, which anybody can send again and again.
pub fn client_hello() -> Vec<u8> {
    let mut hello = Vec::new();
    session(VERSIONS[1])
        .write_tls(&mut hello)
        .expect("room in memory");
    hello
}

/// Connections from that address that begin a handshake with the same message each, and say no more.
pub fn replay_hellos(from: Ipv4Addr, port: u16, count: usize) -> Vec<TcpStream> {
    clacks::program::process_limits::raise_descriptor_limit().expect("a limit of our own");
    let hello = client_hello();
    let connect = |_| {
        let mut stream = connect_from(from, port);
        stream.write_all(&hello).expect("a fresh socket has room");
        stream
    };
    (0..count).map(connect).collect()
}

/// The side of a master that the test plays.
pub fn master_session(identity: &Identity) -> ServerConnection {
    let chain = CertificateDer::pem_slice_iter(identity.certificates.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions that the provider knows")
        .with_no_client_auth()
        .with_single_cert(chain.map(|one| one.expect("PEM")).collect(), key)
        .expect("a certificate and its key");
    ServerConnection::new(Arc::new(config)).expect("a right configuration")
}

/// Checks nothing.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
