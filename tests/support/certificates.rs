//! Certificates for the servers under test, right ones and wrong ones.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::time::Duration;

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
        let is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Identity::self_signed_as(is_ca, names, validity)
    }

    fn self_signed_as(is_ca: IsCa, names: &[&str], validity: Validity) -> Identity {
        let mut parameters = parameters(names, validity);
        parameters.is_ca = is_ca;
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        Identity {
            certificates: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Self-signed, and no authority, as some clients demand it of the certificate of a server.
    pub fn self_signed_server(names: &[&str]) -> Identity {
        Identity::self_signed_as(IsCa::ExplicitNoCa, names, Validity::Now)
    }

    /// The server's own certificate alone, in PEM.
    pub fn alone(&self) -> String {
        const END: &str = "-----END CERTIFICATE-----\n";
        let (own, _) = self.certificates.split_once(END).expect("a certificate");
        format!("{own}{END}")
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
    /// Up to so many seconds after the beginning of 1970.
    Until(u64),
}

/// Who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The authority's own certificate, by which others know it, in PEM.
    pub certificate: String,
    /// The certificates from this authority's up to that of the known root, which is left out, in PEM.
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
        self.vouch_for(parameters, key)
    }

    /// One that this one vouched for until it expired.
    pub fn expired_below(&self, name: &str) -> Authority {
        let (mut parameters, key) = Authority::parameters(name);
        parameters.not_after = date_time_ymd(2001, 1, 1);
        self.vouch_for(parameters, key)
    }

    fn vouch_for(&self, parameters: CertificateParams, key: KeyPair) -> Authority {
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
    let year = |year| date_time_ymd(year, 1, 1);
    let (from, until) = match validity {
        Validity::Now => (year(2000), year(2200)),
        Validity::Past => (year(2000), year(2001)),
        Validity::Future => (year(2199), year(2200)),
        Validity::Until(time_s) => (year(2000), year(1970) + Duration::from_secs(time_s)),
    };
    parameters.not_before = from;
    parameters.not_after = until;
    parameters
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
