//! Certificates for TLS: the certificate that a server presents to its clients, and the check of a server's certificate by
//! a client. A slave is a client of its master.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use std::sync::Arc;
use std::time::Duration;

/// The certificates of a daemon.
#[derive(Debug, Clone, Default)]
pub struct Certificates {
    /// The configuration of TLS listeners, if there are any.
    pub own: Option<OwnCertificate>,
    /// The check of a master's certificate, if there is a master at a TLS address.
    pub of_master: Option<ServerTrust>,
}

/// The configuration of TLS listeners: the certificate and its key.
pub type OwnCertificate = Arc<ServerConfig>;
/// The configuration of TLS clients: the check of the server's certificate.
pub type ServerTrust = Arc<ClientConfig>;

/// The server certificates that a client accepts.
pub enum Trust {
    /// Certificates issued by an authority that the system trusts.
    System,
    /// Certificates issued by one of these authorities, and these certificates themselves.
    Authorities(Vec<CertificateDer<'static>>),
    /// All certificates.
    Anybody,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Returns true if a certificate can be issued for that name or address.
pub fn can_be_certified(host: &str) -> bool {
    ServerName::try_from(host).is_ok()
}

/// Parses the certificates in a PEM text: a certificate and the chain to its authority, or several authorities.
///
/// # Errors
/// A message, without the text.
pub fn parse_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = without_mark(pem);
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err("there is no certificate in it (PEM)".to_owned())
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses the first private key in a PEM text, which may contain other text as well.
///
/// # Errors
/// A message, without the text.
pub fn parse_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let mut keys = PrivateKeyDer::pem_slice_iter(without_mark(pem));
    // The parser's message is dropped, because it could contain part of the key.
    keys.find_map(Result::ok)
        .ok_or_else(|| "there is no private key in it (PEM, not encrypted)".to_owned())
}

/// Removes the byte order mark that some editors write before a text, and that would hide a PEM label.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text)
}

/// The period of validity of a certificate, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before_s: u64,
    pub not_after_s: u64,
}

impl Validity {
    /// Determines the validity of a certificate; `None` if it can't be parsed.
    ///
    /// rustls gives no access to the dates, but its error names them when it refuses a certificate because of them, and it
    /// checks them before anything else.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Validity> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone().into_owned()).ok()?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        let verifier = verifier.build().ok()?;
        let name = ServerName::try_from("localhost").expect("a name");
        let verify_at = |time_s| {
            let time = UnixTime::since_unix_epoch(Duration::from_secs(time_s));
            verifier.verify_server_cert(certificate, &[], &name, &[], time)
        };
        let Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) =
            verify_at(u64::MAX)
        else {
            return None;
        };
        let not_before_s = match verify_at(0) {
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                not_before,
                ..
            })) => not_before.as_secs(),
            _ => 0,
        };
        Some(Validity {
            not_before_s,
            not_after_s: not_after.as_secs(),
        })
    }

    fn contains(&self, time: UnixTime) -> bool {
        (self.not_before_s..=self.not_after_s).contains(&time.as_secs())
    }
}

/// The object identifier of the curve P-521, as encoded in a key.
const P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

/// Checks that the TLS library can sign with a key.
///
/// # Errors
/// A message that names the supported kinds.
fn check_kind(key: &PrivateKeyDer<'static>) -> Result<(), String> {
    let loaded = provider().key_provider.load_private_key(key.clone_key());
    let Err(_) = loaded else {
        return Ok(());
    };
    let is_p521 = memchr::memmem::find(key.secret_der(), P521).is_some();
    let fault = if is_p521 {
        "keys of ECDSA with P-521 are not supported"
    } else {
        "the key is damaged, or of a kind that is not supported"
    };
    Err(format!(
        "{fault}; there are RSA of 2048 to 4096 bits, ECDSA with P-256 or P-384, and Ed25519"
    ))
}

/// Creates the configuration of TLS listeners.
///
/// # Errors
/// A message that says why the key can't be used, or why it does not fit the certificate.
pub fn own(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<OwnCertificate, String> {
    check_kind(&key)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| error.to_string())?;
    // Connections are long-lived, so resumption is of little use, and its state would grow with every handshake.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Creates the configuration of TLS clients.
///
/// # Errors
/// A message that says what is wrong with the authorities.
pub fn of_server(trust: Trust) -> Result<ServerTrust, String> {
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Anybody => Arc::new(AnyServer),
        Trust::System => {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() {
                return Err("the system trusts no authority".to_owned());
            }
            Arc::new(KnownServer::new(found.certs)?)
        }
        Trust::Authorities(authorities) => Arc::new(KnownServer::new(authorities)?),
    };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Accepts certificates issued by a known authority, and the known certificates themselves.
///
/// A known certificate may have been issued by an unknown authority. Or it was made by `openssl req -x509`, which marks it
/// as an authority, and by the standard authorities are no servers. A user who names a file with such a certificate wants
/// exactly that certificate to be accepted.
#[derive(Debug)]
struct KnownServer {
    authorities: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl KnownServer {
    fn new(certificates: Vec<CertificateDer<'static>>) -> Result<KnownServer, String> {
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        if added == 0 {
            return Err("no certificate in it can be used".to_owned());
        }
        let authorities =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        Ok(KnownServer {
            authorities: authorities.map_err(|error| error.to_string())?,
            certificates,
        })
    }
}

impl ServerCertVerifier for KnownServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.authorities.verify_server_cert(
            end_entity,
            intermediates,
            name,
            ocsp_response,
            now,
        );
        let Err(Error::InvalidCertificate(fault)) = &verified else {
            return verified;
        };
        // The fault may lie in a certificate of the chain.
        let is_known = self.certificates.iter().any(|known| known == end_entity);
        if is_known && Validity::of(end_entity).is_some_and(|validity| validity.contains(now)) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        match fault {
            // The certificate is marked as an authority.
            CertificateError::Other(_) => Err(CertificateError::UnknownIssuer.into()),
            _ => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Accepts all certificates. Signatures are not checked either: they would only prove that the server owns a certificate
/// that proves nothing, and some old self-signed certificates can't be parsed.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
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
