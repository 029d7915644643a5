//! Sockets that connections come in at.

mod inherited;

use crate::address::{Address, HostPort};
use crate::broker::{Entrance, Peer, Process};
use crate::limits::BACKLOG;
use crate::protocol::Language;
use crate::reactor::own_file::OwnFile;
use crate::reactor::stream::Stream;
use crate::reactor::tls::TlsStream;
use crate::sys;
use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Mode and group of Unix sockets.
#[derive(Debug, Clone, Copy)]
pub struct SocketAccess {
    pub mode: u32,
    /// `None`: who starts the server.
    pub owner: Option<u32>,
    /// `None`: the process's own.
    pub group: Option<u32>,
}

pub struct Listener {
    /// With the port that was really bound.
    pub address: Address,
    /// The language of its clients, and its place among those of that language.
    pub entrance: Entrance,
    /// True if connections may be waiting to be accepted.
    pub is_ready: bool,
    /// Kept for its end; it stands before the socket, which keeps the file's inode number from being
    /// used again.
    _file: Option<OwnFile>,
    socket: ListeningSocket,
}

enum ListeningSocket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Binds and listens. A host name may stand for several addresses.
    pub fn bind(
        address: &Address,
        language: Language,
        access: SocketAccess,
    ) -> io::Result<Vec<Listener>> {
        let mut listeners = match address {
            Address::Unix(path) => vec![Listener::bind_unix(path, access)?],
            Address::Tcp(host) => Listener::bind_tcp(host, Address::Tcp)?,
            Address::Tls(host) => Listener::bind_tcp(host, Address::Tls)?,
        };
        for listener in &mut listeners {
            listener.entrance = language.into();
        }
        Ok(listeners)
    }

    fn bind_unix(path: &Path, access: SocketAccess) -> io::Result<Listener> {
        remove_stale_socket(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        let socket = with_mode(socket, access.mode)?;
        sys::without_umask(|| socket.bind(&SockAddr::unix(path)?))?;
        let file = OwnFile::of(path)?;
        // clacksd.service forbids the system call, even if it would change nothing. Nobody can connect before
        // `listen`.
        if access.owner.is_some() || access.group.is_some() {
            sys::change_owner(&named(path)?, access.owner, access.group)?;
        }
        socket.listen(BACKLOG)?;
        let socket = ListeningSocket::Unix(UnixListener::from_std(socket.into()));
        Ok(Listener {
            address: Address::Unix(path.to_owned()),
            entrance: Language::Clacks.into(),
            is_ready: true,
            socket,
            _file: Some(file),
        })
    }

    /// `kind` says what is spoken there.
    fn bind_tcp(host: &HostPort, kind: fn(HostPort) -> Address) -> io::Result<Vec<Listener>> {
        let mut listeners = Vec::new();
        let mut missing = io::Error::new(ErrorKind::NotFound, "the name has no address");
        for address in host.resolve()? {
            match Listener::bind_address(address, host.zone(), kind) {
                Ok(listener) => listeners.push(listener),
                // A name like localhost may stand for an address family this machine doesn't have.
                Err(error) if is_absent(&error) => missing = error,
                Err(error) => return Err(error),
            }
        }
        if listeners.is_empty() {
            Err(missing)
        } else {
            Ok(listeners)
        }
    }

    /// `zone` is the interface of a link-local address, as the flag names it.
    fn bind_address(
        address: SocketAddr,
        zone: Option<&str>,
        kind: fn(HostPort) -> Address,
    ) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into());
        let bound = listener.local_addr()?;
        let ip = bound.ip();
        let address = kind(HostPort {
            host: zone.map_or_else(|| ip.to_string(), |zone| format!("{ip}%{zone}")),
            port: bound.port(),
        });
        Ok(Listener {
            address,
            entrance: Language::Clacks.into(),
            is_ready: true,
            socket: ListeningSocket::Tcp(listener),
            _file: None,
        })
    }

    /// Returns true if connections to that address come in here, so that nothing else can be bound to it.
    pub fn is_bound_to(&self, address: SocketAddr) -> bool {
        let ListeningSocket::Tcp(listener) = &self.socket else {
            return false;
        };
        let Ok(bound) = listener.local_addr() else {
            return false;
        };
        let takes_ipv4_too = || SockRef::from(listener).only_v6().is_ok_and(|only| !only);
        let is_in_all = bound.ip().is_unspecified()
            && (bound.is_ipv4() == address.is_ipv4() || (bound.is_ipv6() && takes_ipv4_too()));
        bound.port() == address.port() && (bound.ip() == address.ip() || is_in_all)
    }

    /// For registration with the poll.
    pub fn source(&mut self) -> &mut dyn Source {
        match &mut self.socket {
            ListeningSocket::Unix(listener) => listener,
            ListeningSocket::Tcp(listener) => listener,
        }
    }

    /// The next waiting connection; an error of kind `WouldBlock` if there is none.
    pub fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            ListeningSocket::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                let sys::Credentials { uid, pid } = sys::credentials_of_peer(stream.as_fd())?;
                let process = Process { uid, pid };
                Ok((Stream::Unix(stream), Peer::Unix(process)))
            }
            ListeningSocket::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                // Output is gathered over a turn already; waiting for more would only cost time.
                // If that fails the connection is gone already, and reading will tell.
                let _ = stream.set_nodelay(true);
                let stream = match self.address {
                    Address::Tls(_) => Stream::Tls(Box::new(TlsStream::accept(stream))),
                    _ => Stream::Tcp(stream),
                };
                Ok((stream, Peer::Tcp(address.into())))
            }
        }
    }
}

/// The file of a socket that was just bound. Others who may write to the folder may have put something else in its
/// place.
fn named(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
        .open(path)?;
    if !file.metadata()?.file_type().is_socket() {
        return Err(io::Error::other("somebody has taken the socket away"));
    }
    Ok(file)
}

/// Linux gives a socket's mode to its file. By its name another file could be meant, as for [`named`].
fn with_mode(socket: Socket, mode: u32) -> io::Result<Socket> {
    let socket = File::from(OwnedFd::from(socket));
    socket.set_permissions(Permissions::from_mode(mode))?;
    Ok(Socket::from(OwnedFd::from(socket)))
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

/// Makes way for a new socket. What somebody answers at, and what is no socket, stays.
fn remove_stale_socket(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            ErrorKind::AlreadyExists,
            "there is a file that is no socket",
        ));
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A server that accepts nobody at the moment would be waited for.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Err(io::Error::new(
            ErrorKind::AddrInUse,
            "a server is running there",
        )),
    }
}
