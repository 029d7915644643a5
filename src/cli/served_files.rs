//! The files that a running server reads again on SIGHUP (users, passwords, certificates), and its log, which it reopens.

use crate::broker::{Permissions, Users};
use crate::certificates::Certificates;
use crate::cli::certificate_files::{CertificateFiles, Dates};
use crate::cli::flags::wrong;
use crate::cli::logging::LogFile;
use crate::cli::secrets::Secrets;
use crate::program::start::StartError;
use crate::protocol::Language;
use crate::reactor::Files;

/// The files of a running server.
pub struct ServedFiles {
    pub secrets: Secrets,
    /// Users that clients act as without a login, whom the users have to include.
    pub assumed_users: Vec<AssumedUser>,
    pub certificates: CertificateFiles,
    /// The validity of the certificates in use.
    pub dates: Dates,
    pub log: Option<LogFile>,
}

impl ServedFiles {
    /// Reads all files. An error leaves everything as it was.
    fn read(&mut self) -> Result<(Users, Certificates), StartError> {
        let users = self.secrets.read()?;
        check_users(&self.assumed_users, &users)?;
        let (certificates, dates) = self.certificates.read()?;
        self.dates = dates;
        Ok((users, certificates))
    }

    /// The flags and paths of the files, for the log.
    fn names(&self) -> String {
        let files = self
            .secrets
            .files()
            .into_iter()
            .chain(self.certificates.files());
        files
            .map(|(flag, path)| format!("; --{flag} {}", path.display()))
            .collect()
    }
}

/// A user that clients act as without a login.
#[derive(Debug, Clone)]
pub struct AssumedUser {
    /// The language of these clients.
    pub language: Language,
    pub name: String,
}

impl AssumedUser {
    /// The flag that names the user of clients of a language.
    pub fn flag_of(language: Language) -> String {
        format!("{}-user", language.word())
    }

    /// The flag that names it.
    pub fn flag(&self) -> String {
        AssumedUser::flag_of(self.language)
    }

    /// The name of that of a language among some.
    pub fn of(users: &[AssumedUser], language: Language) -> Option<String> {
        let found = users.iter().find(|user| user.language == language);
        found.map(|user| user.name.clone())
    }
}

/// Checks that the users that clients act as without a login are among the users, and that the one of HTTP clients may
/// manage the server, for only such users see anything.
///
/// # Errors
/// [`StartError::Usage`] if there is no such user.
pub fn check_users(assumed: &[AssumedUser], users: &Users) -> Result<(), StartError> {
    for user in assumed {
        let why = match users.get(&user.name) {
            None => "there is no such user",
            Some(found)
                if user.language == Language::Http
                    && !found.permissions.contains(Permissions::MANAGE) =>
            {
                "that user lacks the permission manage"
            }
            Some(_) => continue,
        };
        return Err(wrong(&user.flag(), &format!("{}: {why}", user.name)));
    }
    Ok(())
}

impl Files for ServedFiles {
    fn reload(&mut self) -> Option<(Users, Certificates)> {
        if let Some(log) = &self.log {
            log.reopen();
        }
        match self.read() {
            Ok((users, certificates)) => {
                log::info!("read again: {} users{}", users.len(), self.names());
                self.dates.warn();
                Some((users, certificates))
            }
            Err(error) => {
                log::error!("not read again, everything stays as it was: {error}");
                None
            }
        }
    }

    fn check_certificates(&mut self) {
        self.dates.warn();
    }
}
