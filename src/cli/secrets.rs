//! Users and passwords: from files, the environment or the service manager, or generated for trying the server out at a
//! terminal.

use crate::broker::Users;
use crate::program::files;
use crate::program::start::StartError;
use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The primary user, and the sources of passwords and further users.
pub struct Secrets {
    pub primary: String,
    password: Password,
    users_file: Option<PathBuf>,
}

/// The source of the primary user's password.
enum Password {
    File(PathBuf),
    /// A password from the environment, a credential or a pipe, or a generated one. It is not read again.
    Fixed(String),
}

impl Secrets {
    /// Determines the sources from the values of the flags, the environment and the credential. `None` if there is neither
    /// user nor password.
    ///
    /// # Errors
    /// A user without a password, a password without a user, or a value that can't be read.
    pub fn find(
        primary: Option<String>,
        password_file: Option<PathBuf>,
        users_file: Option<PathBuf>,
    ) -> Result<Option<Secrets>, StartError> {
        let primary = match primary {
            Some(primary) => Some(primary),
            None => variable("CLACKSD_USER")?,
        };
        let password = match (password_file, variable("CLACKSD_PASSWORD")?) {
            // A pipe can't be read again when a signal asks for it.
            (Some(file), _) if files::is_pipe(&file) => Some(Password::Fixed(password(&file)?)),
            (Some(file), _) => Some(Password::File(file)),
            (None, Some(password)) => {
                Some(Password::Fixed(files::first_line(&password).to_owned()))
            }
            (None, None) => credential()?.map(Password::Fixed),
        };
        match (primary, password) {
            (Some(primary), Some(password)) => Ok(Some(Secrets { primary, password, users_file })),
            (None, None) if users_file.is_some() => {
                Err(StartError::Usage("--users needs a primary user beside it: give --user too".to_owned()))
            }
            (None, None) => Ok(None),
            (Some(_), None) => Err(StartError::Usage(
                "--user has no password: give --password-file, CLACKSD_PASSWORD or the credential \"password\""
                    .to_owned(),
            )),
            (None, Some(_)) => {
                Err(StartError::Usage("a password is given but no user: give --user or CLACKSD_USER".to_owned()))
            }
        }
    }

    /// Generates a random password for a user. Returns the password as well, to be shown.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn generated(primary: &str) -> io::Result<(Secrets, String)> {
        let password: String = random::<8>()?
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let secrets = Secrets {
            primary: primary.to_owned(),
            password: Password::Fixed(password.clone()),
            users_file: None,
        };
        Ok((secrets, password))
    }

    /// The files that [`Secrets::read`] reads, with their flags.
    pub fn files(&self) -> Vec<(&'static str, &Path)> {
        let password = match &self.password {
            Password::File(file) => Some(("password-file", &**file)),
            Password::Fixed(_) => None,
        };
        let users = self.users_file.as_deref().map(|file| ("users", file));
        password.into_iter().chain(users).collect()
    }

    /// Reads all files.
    ///
    /// # Errors
    /// A file can't be read or has a wrong content; the message names its flag.
    pub fn read(&self) -> Result<Users, StartError> {
        let password = match &self.password {
            Password::Fixed(password) => password.clone(),
            Password::File(file) => password(file)?,
        };
        if password.is_empty() {
            return Err(StartError::Usage("the password is empty".to_owned()));
        }
        let mut users = Users::new(&self.primary, password.as_bytes());
        if let Some(file) = &self.users_file {
            let text = files::secret_text(read_secret("users", file)?)
                .map_err(|what| wrong_secret("users", file, &what))?;
            let add = users.add_file(&text);
            add.map_err(|error| StartError::Usage(format!("--users {}: {error}", file.display())))?;
        }
        Ok(users)
    }
}

/// Unpredictable random bytes from the system.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The value of an environment variable, if it is set and not empty.
fn variable(name: &str) -> Result<Option<String>, StartError> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(StartError::Usage(format!("{name} is no UTF-8"))),
    }
}

/// The password in the service manager's credential, if there is one.
fn credential() -> Result<Option<String>, StartError> {
    let Some(directory) = env::var_os("CREDENTIALS_DIRECTORY") else {
        return Ok(None);
    };
    let path = Path::new(&directory).join("password");
    if !path.exists() {
        return Ok(None);
    }
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(files::first_line(&text).to_owned())),
        Err(error) => Err(StartError::Usage(format!(
            "the credential \"password\": {error}"
        ))),
    }
}

/// Reads the file of `--password-file`.
fn password(file: &Path) -> Result<String, StartError> {
    files::read_password(file).map_err(|what| wrong_secret("password-file", file, &what))
}

fn wrong_secret(flag: &str, path: &Path, what: &str) -> StartError {
    StartError::Usage(format!("--{flag} {}: {what}", path.display()))
}

/// Reads a file to which only its owner and group may have access.
pub fn read_secret(flag: &str, path: &Path) -> Result<Vec<u8>, StartError> {
    files::read_secret(path).map_err(|what| wrong_secret(flag, path, &what))
}
