//! Listening sockets that somebody else has opened, as a service manager does. Mode, group and the
//! file of a Unix socket are that one's business; the file stays when the server ends.

use super::{Listener, ListeningSocket};
use crate::address::{Address, HostPort};
use crate::protocol::Language;
use mio::net::{TcpListener, UnixListener};
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The kind of an inherited socket: its transport, and for TCP whether TLS is spoken there.
enum Kind {
    Unix,
    Tcp,
    Tls,
}

impl Listener {
    /// Takes the socket over. Its name says what is spoken there (clacksd(8), SERVICE MANAGER). The
    /// error says what is wrong with it.
    pub fn inherit(descriptor: OwnedFd, name: &str) -> Result<Listener, String> {
        let socket = Socket::from(descriptor);
        let kind = kind_of(&socket, name)?;
        let taken = match kind {
            Kind::Unix => take_unix(socket),
            Kind::Tcp => take_tcp(socket, Address::Tcp),
            Kind::Tls => take_tcp(socket, Address::Tls),
        };
        let mut listener = taken.map_err(|error| error.to_string())?;
        listener.entrance = language_of(name).into();
        Ok(listener)
    }
}

fn language_of(name: &str) -> Language {
    let of_others = Language::OTHERS.iter();
    let found = of_others
        .copied()
        .find(|language| name.starts_with(language.word()));
    found.unwrap_or_default()
}

fn kind_of(socket: &Socket, name: &str) -> Result<Kind, String> {
    let no_socket = |error: io::Error| format!("is no socket: {error}");
    let domain = socket.domain().map_err(no_socket)?;
    let is_internet = match domain {
        Domain::UNIX => false,
        Domain::IPV4 | Domain::IPV6 => true,
        _ => return Err("is neither a Unix nor a TCP socket".to_owned()),
    };
    let is_listening = socket.r#type().map_err(no_socket)? == Type::STREAM
        && socket.is_listener().map_err(no_socket)?;
    if !is_listening {
        return Err("is no listening stream socket".to_owned());
    }
    let is_tls = name == "tls" || name.ends_with("-tls");
    match (name, is_internet) {
        ("unix", true) => Err("is no Unix socket".to_owned()),
        (_, false) if is_tls || name == "tcp" => Err("is no TCP socket".to_owned()),
        (_, true) if is_tls => Ok(Kind::Tls),
        (_, true) => Ok(Kind::Tcp),
        (_, false) => Ok(Kind::Unix),
    }
}

/// The flags of a descriptor are as its last user left them.
fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_cloexec(true)?;
    socket.set_nonblocking(true)
}

fn take_unix(socket: Socket) -> io::Result<Listener> {
    prepare(&socket)?;
    let address = socket.local_addr()?;
    let path = match (address.as_pathname(), address.as_abstract_namespace()) {
        (Some(path), _) => path.to_owned(),
        // The usual way to write a name that is in no folder.
        (None, Some(name)) => {
            let name = [b"@", name].concat();
            PathBuf::from(std::ffi::OsStr::from_bytes(&name))
        }
        (None, None) => PathBuf::from("@"),
    };
    Ok(Listener {
        address: Address::Unix(path),
        entrance: Language::Clacks.into(),
        is_ready: true,
        socket: ListeningSocket::Unix(UnixListener::from_std(socket.into())),
        _file: None,
    })
}

/// `kind` says what is spoken there.
fn take_tcp(socket: Socket, kind: fn(HostPort) -> Address) -> io::Result<Listener> {
    prepare(&socket)?;
    let listener = TcpListener::from_std(socket.into());
    let bound: SocketAddr = listener.local_addr()?;
    Ok(Listener {
        address: kind(HostPort {
            host: bound.ip().to_string(),
            port: bound.port(),
        }),
        entrance: Language::Clacks.into(),
        is_ready: true,
        socket: ListeningSocket::Tcp(listener),
        _file: None,
    })
}
