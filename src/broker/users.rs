//! Who may log in, and what for. Secrets are kept as their SHA-256 and compared in constant time;
//! nothing here is ever printed.

use crate::limits::MAX_LINE_BEFORE_LOGIN;
use crate::protocol::token::Token;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use subtle::ConstantTimeEq;

/// A set of permissions (clacks-protocol(7), PERMISSIONS).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(u8);

impl Permissions {
    /// The empty set: a user with it may do only what every login allows.
    pub const NONE: Permissions = Permissions(0);
    pub const READ: Permissions = Permissions(1);
    pub const WRITE: Permissions = Permissions(2);
    pub const MANAGE: Permissions = Permissions(4);
    /// Only the primary user has it.
    pub const INTERCLACKS: Permissions = Permissions(8);
    /// The primary user's.
    pub const ALL: Permissions = Permissions(15);

    pub const fn with(self, other: Permissions) -> Permissions {
        Permissions(self.0 | other.0)
    }

    /// Those of these that are not among others.
    pub const fn without(self, other: Permissions) -> Permissions {
        Permissions(self.0 & !other.0)
    }

    pub const fn contains(self, other: Permissions) -> bool {
        self.0 & other.0 == other.0
    }

    fn parse(words: &str) -> Result<Permissions, String> {
        words
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .try_fold(Permissions::NONE, |all, word| {
                match word {
                    "read" => Ok(all.with(Permissions::READ)),
                    "write" => Ok(all.with(Permissions::WRITE)),
                    "manage" => Ok(all.with(Permissions::MANAGE)),
                    // Not quoted: where a part was left out, this one may be the secret.
                    _ => Err("unknown permission (there are read, write, manage)".to_owned()),
                }
            })
    }
}

/// The names, as a users file has them.
impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            (Permissions::READ, "read"),
            (Permissions::WRITE, "write"),
            (Permissions::MANAGE, "manage"),
            (Permissions::INTERCLACKS, "interclacks (the primary user's)"),
        ];
        let mut separator = "";
        for (permission, name) in named {
            if self.contains(permission) {
                write!(f, "{separator}{name}")?;
                separator = " and ";
            }
        }
        Ok(())
    }
}

/// A user. Sessions share it.
#[derive(PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub permissions: Permissions,
    secret: [u8; 32],
}

impl Hash for User {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl User {
    /// The one that has every permission and that servers log in with at each other.
    fn primary(name: &str, password: &[u8]) -> User {
        User {
            name: name.to_owned(),
            permissions: Permissions::ALL,
            secret: Sha256::digest(password).into(),
        }
    }

    pub fn is_primary(&self) -> bool {
        self.permissions.contains(Permissions::INTERCLACKS)
    }
}

/// All users.
pub struct Users {
    by_name: HashMap<Vec<u8>, Rc<User>>,
    /// The user that stands in for an unknown name, so that its login takes as long as that of a known one.
    nobody: User,
    /// The primary user's token, with which this node logs in at other servers.
    primary_token: String,
}

impl Users {
    /// With the primary user alone.
    pub fn new(name: &str, password: &[u8]) -> Users {
        let nobody = User {
            name: String::new(),
            permissions: Permissions::NONE,
            secret: [0; 32],
        };
        let primary_token = Token::encode(name.as_bytes(), password);
        let mut users = Users {
            by_name: HashMap::new(),
            nobody,
            primary_token,
        };
        users.insert(User::primary(name, password));
        users
    }

    /// A secret: it goes to interclacks peers and nowhere else.
    pub fn primary_token(&self) -> &str {
        &self.primary_token
    }

    /// Adds the users of a users file: a line each, `name:permissions:secret`. An error names the
    /// line, and never quotes what may be a secret.
    pub fn add_file(&mut self, text: &str) -> Result<(), String> {
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            self.add_line(line)
                .map_err(|error| format!("line {}: {error}", index + 1))?;
        }
        Ok(())
    }

    fn add_line(&mut self, line: &str) -> Result<(), String> {
        let mut parts = line.splitn(3, ':');
        let (Some(name), Some(permissions), Some(secret)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err("not of the form name:permissions:secret".to_owned());
        };
        if name.is_empty() || secret.is_empty() {
            return Err("the name or the secret is empty".to_owned());
        }
        if self.by_name.contains_key(name.as_bytes()) {
            return Err(format!("there is a user \"{name}\" already"));
        }
        let permissions = Permissions::parse(permissions)?;
        let secret = match secret.strip_prefix("sha256:") {
            Some(hex) => from_hex(hex).ok_or("sha256: wants 64 hex digits")?,
            None => Sha256::digest(secret.as_bytes()).into(),
        };
        self.insert(User {
            name: name.to_owned(),
            permissions,
            secret,
        });
        Ok(())
    }

    fn insert(&mut self, user: User) {
        self.by_name
            .insert(user.name.clone().into_bytes(), Rc::new(user));
    }

    pub fn get(&self, name: &str) -> Option<&Rc<User>> {
        self.by_name.get(name.as_bytes())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// There is always the primary user.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The user whose token that is. Who is logged in already may send a longer line than others; its token is
    /// no right one then, and not worth the time.
    pub fn login(&self, token: &[u8]) -> Option<&Rc<User>> {
        if token.len() > MAX_LINE_BEFORE_LOGIN {
            return None;
        }
        let token = Token::decode(token)?;
        self.verify(&token.user, &token.password)
    }

    /// The user of that name, if that is the password.
    pub fn verify(&self, name: &[u8], password: &[u8]) -> Option<&Rc<User>> {
        let user = self.by_name.get(name);
        let expected = user.map_or(&self.nobody.secret, |user| &user.secret);
        let given: [u8; 32] = Sha256::digest(password).into();
        let right = bool::from(given.ct_eq(expected));
        user.filter(|_| right)
    }
}

fn from_hex(digits: &str) -> Option<[u8; 32]> {
    let digits = digits.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(file: &str) -> Result<Users, String> {
        let mut users = Users::new("admin", b"adminpw");
        users.add_file(file).map(|()| users)
    }

    fn login(users: &Users, name: &str, password: &str) -> Option<Permissions> {
        let token = Token::encode(name.as_bytes(), password.as_bytes());
        users.login(token.as_bytes()).map(|user| user.permissions)
    }

    #[test]
    fn users_log_in_with_their_own_password() {
        let users = users(
            "# comment\n\n ro:read:ropw\nhashed:write,manage:\
             sha256:2BB80D537B1DA3E38BD30361AA855686BDE0EACD7162FEF6A25FE97BF527A25B\nnone::a:b:c\n",
        )
        .unwrap();
        assert_eq!(login(&users, "admin", "adminpw"), Some(Permissions::ALL));
        assert_eq!(login(&users, "ro", "ropw"), Some(Permissions::READ));
        assert_eq!(
            login(&users, "hashed", "secret"),
            Some(Permissions::WRITE.with(Permissions::MANAGE))
        );
        assert_eq!(login(&users, "none", "a:b:c"), Some(Permissions::NONE));
        for (name, password) in [
            ("admin", "ropw"),
            ("ro", ""),
            ("nobody", "ropw"),
            ("", ""),
            ("Admin", "adminpw"),
        ] {
            assert_eq!(login(&users, name, password), None, "{name}");
        }
    }

    #[test]
    fn a_bad_line_is_named_and_its_secret_is_not() {
        for (file, error) in [
            (
                "ok:read:x\nbroken\n",
                "line 2: not of the form name:permissions:secret",
            ),
            (
                "a:reed:hidden",
                "line 1: unknown permission (there are read, write, manage)",
            ),
            ("a:read:", "line 1: the name or the secret is empty"),
            (":read:hidden", "line 1: the name or the secret is empty"),
            (
                "admin:read:hidden",
                "line 1: there is a user \"admin\" already",
            ),
            (
                "a:read:sha256:hidden",
                "line 1: sha256: wants 64 hex digits",
            ),
        ] {
            assert_eq!(users(file).err().as_deref(), Some(error));
        }
    }
}
