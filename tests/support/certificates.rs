//! Certificates for the servers under test, right ones and wrong ones.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A certificate, with those that lead to its authority, and its private key; both in PEM.
#[derive(Clone)]
pub struct Identity {
    pub certificates: String,
    pub key: String,
}

impl Identity {
    /// As `openssl req -x509` makes it: it calls itself an authority.
    pub fn self_signed(names: &[&str]) -> Identity {
        Identity::self_signed_with(names, Validity::Now)
    }

    pub fn self_signed_with(names: &[&str], validity: Validity) -> Identity {
        let mut parameters = parameters(names, validity);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        Identity {
            certificates: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// The server's own certificate, as it is shown.
    pub fn shown(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificates.as_bytes()).expect("a certificate")
    }
}

/// When a certificate can be used.
#[derive(Clone, Copy)]
pub enum Validity {
    Now,
    Past,
    Future,
}

/// Who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// What others know it by, in PEM.
    pub certificate: String,
    /// What leads from it to the authority that is known, in PEM.
    chain: String,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let (parameters, key) = Authority::parameters(name);
        let certificate = parameters.self_signed(&key).expect("a certificate").pem();
        Authority {
            issuer: Issuer::new(parameters, key),
            certificate,
            chain: String::new(),
        }
    }

    /// One that this one vouches for.
    pub fn below(&self, name: &str) -> Authority {
        let (parameters, key) = Authority::parameters(name);
        let signed = parameters.signed_by(&key, &self.issuer);
        let certificate = signed.expect("a certificate").pem();
        Authority {
            issuer: Issuer::new(parameters, key),
            chain: format!("{certificate}{}", self.chain),
            certificate,
        }
    }

    fn parameters(name: &str) -> (CertificateParams, KeyPair) {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name = common_name(name);
        (parameters, KeyPair::generate().expect("a key"))
    }

    pub fn certify(&self, names: &[&str]) -> Identity {
        self.certify_with(names, Validity::Now)
    }

    pub fn certify_with(&self, names: &[&str], validity: Validity) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let signed = parameters(names, validity).signed_by(&key, &self.issuer);
        let certificate = signed.expect("a certificate").pem();
        Identity {
            certificates: format!("{certificate}{}", self.chain),
            key: key.serialize_pem(),
        }
    }
}

fn parameters(names: &[&str], validity: Validity) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let mut parameters = CertificateParams::new(names).expect("names");
    // It counts for nothing.
    parameters.distinguished_name = common_name("localhost");
    let (from, until) = match validity {
        Validity::Now => (2000, 2200),
        Validity::Past => (2000, 2001),
        Validity::Future => (2199, 2200),
    };
    parameters.not_before = date_time_ymd(from, 1, 1);
    parameters.not_after = date_time_ymd(until, 1, 1);
    parameters
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
