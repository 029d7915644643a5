//! Who a server is to its clients, and whom a client takes for its server: certificates for TLS. A slave
//! is its master's client.

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

/// What TLS needs, where it is used.
#[derive(Debug, Clone, Default)]
pub struct Certificates {
    pub own: Option<OwnCertificate>,
    pub of_master: Option<ServerTrust>,
}

/// For listeners.
pub type OwnCertificate = Arc<ServerConfig>;
/// For clients.
pub type ServerTrust = Arc<ClientConfig>;

/// Whom a client takes for its server.
pub enum Trust {
    /// Whoever is certified by an authority that the system trusts.
    System,
    /// Whoever is certified by one of these, or shows one of them itself.
    Authorities(Vec<CertificateDer<'static>>),
    Anybody,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Whether a certificate can be one for that name or address.
pub fn can_be_certified(host: &str) -> bool {
    ServerName::try_from(host).is_ok()
}

/// From PEM: a certificate with those that lead to its authority, or authorities.
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

/// From PEM: a certificate's private key. Any other text may stand around it.
pub fn parse_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let mut keys = PrivateKeyDer::pem_slice_iter(without_mark(pem));
    // What the parser complains of could be a part of the key.
    keys.find_map(Result::ok)
        .ok_or_else(|| "there is no private key in it (PEM, not encrypted)".to_owned())
}

/// The text without the byte order mark that some editors put before it, and that would hide a PEM label.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text)
}

/// The time in which a certificate can be used, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before_s: u64,
    pub not_after_s: u64,
}

impl Validity {
    /// `None` if the certificate can't be read.
    ///
    /// rustls gives no access to the dates, but names them when it refuses a certificate for them, and it looks at them
    /// before anything else.
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

/// The object identifier of the curve P-521, as it stands in a key.
const P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

/// An error if the provider can't sign with a key of that kind.
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

/// For listeners. The error says why the key can't be used, or why it doesn't fit the certificate.
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
    // Connections live long. To resume them would be state that whoever knocks makes grow.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// For clients. The error says what is wrong with the authorities.
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

/// A server that shows a certificate of a known authority, or one of the known certificates itself.
///
/// The second may have been issued by an authority that is not known here. Or `openssl req -x509` has made it, which
/// calls it an authority, and those must not be servers by the letter. Whoever names such a file means exactly that
/// certificate.
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
        // The fault may be one of the certificates that lead to its authority.
        let is_known = self.certificates.iter().any(|known| known == end_entity);
        if is_known && Validity::of(end_entity).is_some_and(|validity| validity.contains(now)) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        match fault {
            // It is an authority itself.
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

/// Any server at all. Its signatures are not looked at either: they would prove that it owns a
/// certificate that proves nothing, and old self-signed ones can't be parsed.
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
