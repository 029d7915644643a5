//! Where certificates and keys for TLS come from, and whom a slave trusts.

use crate::address::Address;
use crate::certificates::{self, Certificates, OwnCertificate, ServerTrust, Trust};
use crate::cli::StartError;
use crate::cli::flags::wrong;
use crate::cli::secrets::read_secret;
use crate::files;
use getopts::Matches;
use std::path::{Path, PathBuf};

/// The files, to be read at the start and on SIGHUP.
pub struct CertificateFiles {
    /// Certificate and key, if there are listeners for TLS.
    own: Option<(PathBuf, PathBuf)>,
    /// If there is a master that speaks TLS.
    master: Option<MasterCheck>,
}

enum MasterCheck {
    System,
    Authorities(PathBuf),
    None,
}

impl CertificateFiles {
    pub fn from_flags<'a>(
        matches: &Matches,
        mut listen: impl Iterator<Item = &'a Address>,
        masters: &[Address],
    ) -> Result<CertificateFiles, StartError> {
        let is_tls = |address: &Address| matches!(address, Address::Tls(_));
        let (listens, dials) = (listen.any(is_tls), masters.iter().any(is_tls));
        let path = |name| matches.opt_str(name).map(absolute).transpose();
        let own = match (path("tls-cert")?, path("tls-key")?) {
            (None, None) if listens => {
                return Err(wrong("tls-cert", "is missing: a listener speaks TLS"));
            }
            (None, None) => None,
            (Some(_), None) => return Err(wrong("tls-key", "is missing beside --tls-cert")),
            (None, Some(_)) => return Err(wrong("tls-cert", "is missing beside --tls-key")),
            (Some(_), Some(_)) if !listens => {
                return Err(wrong(
                    "tls-cert",
                    "is for listeners at tls://; there is none",
                ));
            }
            (Some(certificate), Some(key)) => Some((certificate, key)),
        };
        for master in masters {
            if let Address::Tls(host) = master
                && !certificates::can_be_certified(host.certified_host())
            {
                return Err(wrong(
                    "master",
                    &format!("{master}: no name that certificates can have"),
                ));
            }
        }
        let insecure = matches.opt_present("master-insecure");
        let master = match (path("master-ca")?, insecure) {
            (Some(_), true) => return Err(wrong("master-ca", "contradicts --master-insecure")),
            (Some(_), false) if !dials => {
                return Err(wrong(
                    "master-ca",
                    "is for masters at tls://; there is none",
                ));
            }
            (None, true) if !dials => {
                return Err(wrong(
                    "master-insecure",
                    "is for masters at tls://; there is none",
                ));
            }
            (Some(file), false) => Some(MasterCheck::Authorities(file)),
            (None, true) => Some(MasterCheck::None),
            (None, false) => dials.then_some(MasterCheck::System),
        };
        Ok(CertificateFiles { own, master })
    }

    /// Whether any impostor can be the master.
    pub fn trusts_anybody(&self) -> bool {
        matches!(self.master, Some(MasterCheck::None))
    }

    /// Reads everything there is to read, now.
    pub fn read(&self) -> Result<Certificates, StartError> {
        Ok(Certificates {
            own: match &self.own {
                Some((certificate, key)) => Some(read_own(certificate, key)?),
                None => None,
            },
            of_master: match &self.master {
                Some(check) => Some(read_trust(check)?),
                None => None,
            },
        })
    }
}

fn absolute(path: String) -> Result<PathBuf, StartError> {
    crate::cli::config::absolute(PathBuf::from(path))
}

fn read(flag: &str, path: &Path) -> Result<Vec<u8>, StartError> {
    files::read(path).map_err(|error| wrong(flag, &format!("{}: {error}", path.display())))
}

fn read_own(certificate: &Path, key: &Path) -> Result<OwnCertificate, StartError> {
    let failed = |flag, path: &Path, error| wrong(flag, &format!("{}: {error}", path.display()));
    let chain = certificates::parse_certificates(&read("tls-cert", certificate)?)
        .map_err(|error| failed("tls-cert", certificate, error))?;
    let secret = read_secret("tls-key", key)?;
    let parsed = certificates::parse_key(secret.as_bytes());
    let parsed = parsed.map_err(|error| failed("tls-key", key, error))?;
    certificates::own(chain, parsed).map_err(|error| failed("tls-key", key, error))
}

fn read_trust(check: &MasterCheck) -> Result<ServerTrust, StartError> {
    match check {
        MasterCheck::None => certificates::of_server(Trust::Anybody),
        MasterCheck::System => certificates::of_server(Trust::System),
        MasterCheck::Authorities(file) => {
            let pem = read("master-ca", file)?;
            return certificates::of_server(Trust::Authorities(pem))
                .map_err(|error| wrong("master-ca", &format!("{}: {error}", file.display())));
        }
    }
    .map_err(|error| wrong("master-ca", &format!("is needed: {error}")))
}
