//! Connecting to a database: the socket, TLS around it, and the driver's login.

use super::failure::Failure;
use super::session::Session;
use super::target::{DatabaseHost, Target, Tls};
use super::translated::{Duplex, Translated};
use crate::certificates::ServerTrust;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_postgres::{Config, NoTls};
use tokio_rustls::TlsConnector;

/// Awaits a future with a time limit.
///
/// # Errors
/// [`Failure::Silent`] after the time limit.
pub async fn within<T>(
    limit: Duration,
    doing: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(limit, doing).await.unwrap_or(Err(Failure::Silent))
}

/// Opens a session at one host and logs in.
pub async fn connect(target: &Target, host: &DatabaseHost) -> Result<Session, Failure> {
    within(target.timeout(), async {
        let stream = open(target, host).await?;
        let (client, connection) = target
            .config
            .connect_raw(Translated::new(stream), NoTls)
            .await?;
        Ok(Session::new(client, connection))
    })
    .await
}

async fn open(target: &Target, host: &DatabaseHost) -> Result<Box<dyn Duplex>, Failure> {
    let (name, address, port) = match host {
        DatabaseHost::Unix(path) => {
            let socket = UnixStream::connect(path)
                .await
                .map_err(Failure::Unreachable)?;
            return Ok(Box::new(socket));
        }
        DatabaseHost::Tcp {
            name,
            address,
            port,
        } => (name, address, *port),
    };
    let dial = async || dial_tcp(&target.config, address, port).await;
    match &target.tls {
        Tls::Never => Ok(Box::new(dial().await?)),
        Tls::Required(trust) => match start_tls(dial().await?, trust, name).await? {
            Negotiated::Tls(stream) => Ok(stream),
            Negotiated::Refused(_) => Err(Failure::Tls("the database has no TLS".to_owned())),
        },
        Tls::Preferred(trust) => match start_tls(dial().await?, trust, name).await {
            Ok(Negotiated::Tls(stream)) => Ok(stream),
            Ok(Negotiated::Refused(socket)) => Ok(Box::new(socket)),
            // TLS is not required, so a failed handshake leads to a connection without it.
            Err(Failure::Tls(_)) => Ok(Box::new(dial().await?)),
            Err(failure) => Err(failure),
        },
    }
}

/// Connects to the first address of a name that accepts a connection.
async fn dial_tcp(config: &Config, address: &str, port: u16) -> Result<TcpStream, Failure> {
    let socket = TcpStream::connect((address, port))
        .await
        .map_err(Failure::Unreachable)?;
    prepare(&socket, config).map_err(Failure::Unreachable)?;
    Ok(socket)
}

/// Sets the socket options that the connection string asks for.
fn prepare(socket: &TcpStream, config: &Config) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    if let Some(limit) = config.get_tcp_user_timeout() {
        socket.set_tcp_user_timeout(Some(*limit))?;
    }
    if config.get_keepalives() {
        let mut keepalive = TcpKeepalive::new().with_time(config.get_keepalives_idle());
        if let Some(interval) = config.get_keepalives_interval() {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(retries) = config.get_keepalives_retries() {
            keepalive = keepalive.with_retries(retries);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}

/// The server's answer to a request for TLS.
enum Negotiated {
    Tls(Box<dyn Duplex>),
    /// The server has no TLS and continues without it.
    Refused(TcpStream),
}

/// The message SSLRequest: its length, and a number in place of a protocol version.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Requests TLS. Exactly one byte is read before the handshake, so that plain text which an attacker adds to the stream
/// does not pass for the server's.
async fn start_tls(
    mut socket: TcpStream,
    trust: &ServerTrust,
    name: &str,
) -> Result<Negotiated, Failure> {
    socket
        .write_all(&SSL_REQUEST)
        .await
        .map_err(Failure::Unreachable)?;
    match socket.read_u8().await.map_err(Failure::Unreachable)? {
        b'S' => {}
        b'N' => return Ok(Negotiated::Refused(socket)),
        _ => return Err(Failure::Unreachable(ErrorKind::InvalidData.into())),
    }
    let name = ServerName::try_from(name.to_owned())
        .map_err(|_| Failure::Tls(format!("{name} can't be the name in a certificate")))?;
    let stream = TlsConnector::from(trust.clone())
        .connect(name, socket)
        .await;
    match stream {
        Ok(stream) => Ok(Negotiated::Tls(Box::new(stream))),
        Err(error) => Err(Failure::Tls(error.to_string())),
    }
}
