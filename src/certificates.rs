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
    /// Whoever is certified by one of these, in PEM, or shows one of them itself.
    Authorities(Vec<u8>),
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
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err("there is no certificate in it (PEM)".to_owned())
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(error.to_string()),
    }
}

/// From PEM: a certificate's private key.
pub fn parse_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem)
        // What the parser complains of could be a part of the key.
        .map_err(|_| "there is no private key in it (PEM, not encrypted)".to_owned())
}

/// For listeners. The error says why certificate and key don't fit together.
pub fn own(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<OwnCertificate, String> {
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
        Trust::Authorities(pem) => Arc::new(KnownServer::new(parse_certificates(&pem)?)?),
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
/// The second is what `openssl req -x509` makes: it calls itself an authority, and those must not be
/// servers by the letter. Whoever names such a file means exactly that certificate.
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
        match verified {
            // What is wrong is not its time, which is checked before, but that it is an authority.
            Err(Error::InvalidCertificate(CertificateError::Other(_))) => {
                if !self.certificates.iter().any(|known| known == end_entity) {
                    return Err(CertificateError::UnknownIssuer.into());
                }
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
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
