//! The files with certificates and keys for TLS, the check of a master's certificate, and warnings about expiry.

use crate::address::Address;
use crate::certificates::{self, Certificates, OwnCertificate, ServerTrust, Trust, Validity};
use crate::cli::flags::{path, wrong};
use crate::cli::secrets::read_secret;
use crate::limits::CERTIFICATE_NOTICE_S;
use crate::program::files;
use crate::program::start::StartError;
use getopts::Matches;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The files with certificates and keys, which are read at the start and on SIGHUP.
pub struct CertificateFiles {
    /// The certificate and its key, if there are TLS listeners.
    own: Option<(PathBuf, PathBuf)>,
    /// The check of a master's certificate, if there is a master at a TLS address.
    master: Option<MasterCheck>,
}

/// The accepted certificates of a master.
enum MasterCheck {
    /// Those issued by an authority that the system trusts.
    System,
    /// Those issued by an authority in this file, or contained in it.
    Authorities(PathBuf),
    /// All.
    None,
}

impl CertificateFiles {
    /// Takes the files from the flags.
    ///
    /// # Errors
    /// A flag is missing for the given addresses, does not apply to them, or contradicts another flag.
    pub fn from_flags<'a>(
        matches: &Matches,
        mut listen: impl Iterator<Item = &'a Address>,
        masters: &[Address],
    ) -> Result<CertificateFiles, StartError> {
        let is_tls = |address: &Address| matches!(address, Address::Tls(_));
        let (listens, dials) = (listen.any(is_tls), masters.iter().any(is_tls));
        let own = match (path(matches, "tls-cert")?, path(matches, "tls-key")?) {
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
        let master = match (path(matches, "master-ca")?, insecure) {
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

    /// Returns true if the master's certificate is not checked, so that an impostor can be the master.
    pub fn trusts_anybody(&self) -> bool {
        matches!(self.master, Some(MasterCheck::None))
    }

    /// The files that [`CertificateFiles::read`] reads, with their flags.
    pub fn files(&self) -> Vec<(&'static str, &Path)> {
        let mut files = Vec::new();
        if let Some((certificate, key)) = &self.own {
            files.extend([("tls-cert", &**certificate), ("tls-key", &**key)]);
        }
        if let Some(MasterCheck::Authorities(file)) = &self.master {
            files.push(("master-ca", file));
        }
        files
    }

    /// Reads all files.
    ///
    /// # Errors
    /// A file can't be read or used; the message names its flag.
    pub fn read(&self) -> Result<(Certificates, Dates), StartError> {
        let mut dates = Dates::default();
        let certificates = Certificates {
            own: match &self.own {
                Some((certificate, key)) => Some(read_own(certificate, key, &mut dates)?),
                None => None,
            },
            of_master: match &self.master {
                Some(check) => Some(read_trust(check, &mut dates)?),
                None => None,
            },
        };
        Ok((certificates, dates))
    }
}

/// The periods of validity of the certificates in use, by file.
#[derive(Default)]
pub struct Dates(Vec<FileDates>);

struct FileDates {
    /// The flag and the file, for messages.
    place: String,
    /// The validity of each certificate in the order of the file; `None` for one that can't be parsed.
    of_each: Vec<Option<Validity>>,
}

impl Dates {
    fn add(&mut self, flag: &str, path: &Path, certificates: &[CertificateDer<'static>]) {
        self.0.push(FileDates {
            place: format!("--{flag} {}", path.display()),
            of_each: certificates.iter().map(Validity::of).collect(),
        });
    }

    /// Logs a warning for each file with a certificate that is not valid now or expires soon.
    pub fn warn(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_s = now.unwrap_or_default().as_secs();
        for file in &self.0 {
            if let Some(warning) = file.warning(now_s) {
                log::warn!("{}: {warning}", file.place);
            }
        }
    }
}

impl FileDates {
    /// The warning about a file: its first fault, and the number of further ones.
    fn warning(&self, now_s: u64) -> Option<String> {
        let count = self.of_each.len();
        let mut faults = self
            .of_each
            .iter()
            .enumerate()
            .filter_map(|(index, validity)| {
                let fault = fault(validity.as_ref()?, now_s)?;
                Some(match count {
                    1 => format!("the certificate {fault}"),
                    _ => format!("certificate {} of {count} {fault}", index + 1),
                })
            });
        let first = faults.next()?;
        Some(match faults.count() {
            0 => first,
            more => format!("{first} (and {more} more)"),
        })
    }
}

/// The fault of a certificate that is not valid now or expires soon.
fn fault(validity: &Validity, now_s: u64) -> Option<String> {
    let Validity {
        not_before_s,
        not_after_s,
    } = *validity;
    if now_s > not_after_s {
        Some(format!("expired at {}", date(not_after_s)))
    } else if now_s < not_before_s {
        Some(format!("is not valid before {}", date(not_before_s)))
    } else if not_after_s - now_s <= CERTIFICATE_NOTICE_S {
        Some(format!("expires at {}", date(not_after_s)))
    } else {
        None
    }
}

/// The time in UTC. Certificates without an expiry date name the last second of the year 9999, which is a day later than
/// the last representable timestamp.
fn date(time_s: u64) -> Timestamp {
    let time_s = i64::try_from(time_s).unwrap_or(i64::MAX);
    Timestamp::from_second(time_s).unwrap_or(Timestamp::MAX)
}

fn read(flag: &str, path: &Path) -> Result<Vec<u8>, StartError> {
    files::read(path).map_err(|error| wrong(flag, &format!("{}: {error}", path.display())))
}

fn read_own(
    certificate: &Path,
    key: &Path,
    dates: &mut Dates,
) -> Result<OwnCertificate, StartError> {
    let failed = |flag, path: &Path, error| wrong(flag, &format!("{}: {error}", path.display()));
    let chain = certificates::parse_certificates(&read("tls-cert", certificate)?)
        .map_err(|error| failed("tls-cert", certificate, error))?;
    dates.add("tls-cert", certificate, &chain);
    let parsed = certificates::parse_key(&read_secret("tls-key", key)?);
    let parsed = parsed.map_err(|error| failed("tls-key", key, error))?;
    certificates::own(chain, parsed).map_err(|error| failed("tls-key", key, error))
}

fn read_trust(check: &MasterCheck, dates: &mut Dates) -> Result<ServerTrust, StartError> {
    match check {
        MasterCheck::None => certificates::of_server(Trust::Anybody),
        MasterCheck::System => certificates::of_server(Trust::System),
        MasterCheck::Authorities(file) => {
            let pem = read("master-ca", file)?;
            let parsed = certificates::parse_certificates(&pem);
            return parsed
                .and_then(|authorities| {
                    dates.add("master-ca", file, &authorities);
                    certificates::of_server(Trust::Authorities(authorities))
                })
                .map_err(|error| wrong("master-ca", &format!("{}: {error}", file.display())));
        }
    }
    .map_err(|error| wrong("master-ca", &format!("is needed: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: u64 = 86_400;

    fn file(of_each: &[(u64, u64)]) -> FileDates {
        let validity = |&(from, until): &(u64, u64)| Validity {
            not_before_s: from * DAY_S,
            not_after_s: until * DAY_S,
        };
        FileDates {
            place: String::new(),
            of_each: of_each.iter().map(|dates| Some(validity(dates))).collect(),
        }
    }

    #[test]
    fn certificates_are_warned_of_from_two_weeks_before_their_end() {
        let one = file(&[(100, 200)]);
        for (now_s, warning) in [
            (
                99 * DAY_S,
                Some("the certificate is not valid before 1970-04-11T00:00:00Z"),
            ),
            (100 * DAY_S, None),
            (186 * DAY_S - 1, None),
            (
                186 * DAY_S,
                Some("the certificate expires at 1970-07-20T00:00:00Z"),
            ),
            (
                200 * DAY_S,
                Some("the certificate expires at 1970-07-20T00:00:00Z"),
            ),
            (
                200 * DAY_S + 1,
                Some("the certificate expired at 1970-07-20T00:00:00Z"),
            ),
        ] {
            assert_eq!(one.warning(now_s).as_deref(), warning, "{now_s}");
        }
    }

    #[test]
    fn one_warning_is_enough_for_a_file() {
        let mut several = file(&[(0, 300), (0, 200), (0, 210)]);
        several.of_each.push(None);
        let now_s = 205 * DAY_S;
        assert_eq!(
            several.warning(now_s).as_deref(),
            Some("certificate 2 of 4 expired at 1970-07-20T00:00:00Z (and 1 more)")
        );
        assert_eq!(date(u64::MAX), Timestamp::MAX);
    }
}
