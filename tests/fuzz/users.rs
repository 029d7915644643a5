//! Any text as a users file, and as everything else that an administrator writes: addresses.
//!
//! No error quotes what may be a secret. Whoever is in the file can log in with the secret that stands there,
//! or whose hash does, and nobody else; and all the file has is what its lines say.

use clacks::address::Address;
use clacks::broker::{Permissions, Users};
use clacks::protocol::token::Token;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    check_users(&text);
    for line in text.lines() {
        check_address(line);
    }
}

fn new_users() -> Users {
    Users::new("admin", b"adminpw")
}

/// An error is of our own words, but for the name of a user who is there twice.
fn check_error<'a>(error: &str, names: impl Iterator<Item = &'a str>) {
    const ERRORS: [&str; 4] = [
        "not of the form name:permissions:secret",
        "the name or the secret is empty",
        "unknown permission (there are read, write, manage)",
        "sha256: wants 64 hex digits",
    ];
    let (line, what) = error.split_once(": ").expect("the line, and what is wrong");
    let number = line.strip_prefix("line ").expect("its number");
    assert!(number.parse::<usize>().is_ok_and(|number| number > 0));
    let mut twice = names.chain(["admin"]);
    let is_twice = |name| what == format!("there is a user \"{name}\" already");
    assert!(ERRORS.contains(&what) || twice.any(is_twice), "{error}");
}

/// The name that those log in as.
fn log_in<'a>(users: &'a Users, name: &str, password: &[u8]) -> Option<&'a str> {
    let token = Token::encode(name.as_bytes(), password);
    users.login(token.as_bytes()).map(|user| &*user.name)
}

fn check_users(text: &str) {
    let mut users = new_users();
    let added = users.add_file(text);
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut names = BTreeMap::new();
    for line in lines {
        let mut parts = line.splitn(3, ':');
        if let (Some(name), Some(permissions), Some(secret)) =
            (parts.next(), parts.next(), parts.next())
        {
            names.entry(name).or_insert((permissions, secret));
        }
    }
    if let Err(error) = added {
        check_error(&error, names.keys().copied());
        return;
    }
    assert_eq!(users.len(), names.len() + 1, "each line is a user");
    for (&name, &(permissions, secret)) in &names {
        let user = users.get(name).expect("who is in the file is a user");
        assert!(!user.is_primary(), "there is one primary user");
        for (word, permission) in [
            ("read", Permissions::READ),
            ("write", Permissions::WRITE),
            ("manage", Permissions::MANAGE),
        ] {
            let is_written = permissions.split(',').any(|part| part.trim() == word);
            assert_eq!(user.permissions.contains(permission), is_written);
        }
        if !secret.starts_with("sha256:") {
            assert_eq!(log_in(&users, name, secret.as_bytes()), Some(name));
        }
        let wrong = format!("{secret}x");
        assert_eq!(log_in(&users, name, wrong.as_bytes()), None);
    }
    let primary = users.login(users.primary_token().as_bytes());
    assert!(primary.is_some_and(|user| user.is_primary()));
    check_hashed(&names);
}

/// With the hash of each secret in its place, all log in as before; and the hash is no password.
fn check_hashed(names: &BTreeMap<&str, (&str, &str)>) {
    let mut text = String::new();
    let mut hashes = Vec::new();
    for (name, (permissions, secret)) in names {
        let digest = Sha256::digest(secret.as_bytes());
        let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        text += &format!("{name}:{permissions}:sha256:{hash}\n");
        hashes.push(hash);
    }
    let mut users = new_users();
    assert_eq!(users.add_file(&text), Ok(()), "{text}");
    for ((&name, (_, secret)), hash) in names.iter().zip(hashes) {
        assert_eq!(log_in(&users, name, secret.as_bytes()), Some(name));
        for wrong in [format!("{secret}x"), format!("sha256:{hash}"), hash] {
            assert_eq!(log_in(&users, name, wrong.as_bytes()), None);
        }
    }
}

/// An address that is written is read as the same.
fn check_address(text: &str) {
    if let Ok(address) = Address::parse(text) {
        let again = Address::parse(&address.to_string());
        assert_eq!(again.as_ref(), Ok(&address), "{text}");
        if let Address::Tcp(host) | Address::Tls(host) = address {
            assert!(!host.host.is_empty());
            let _ = host.is_loopback();
        }
    }
}
