//! Why connections end.

use std::fmt;

macro_rules! close_reasons {
    ($($(#[doc = $doc:literal])* $name:ident $word:literal,)*) => {
        /// Why a connection ended. Its word stands in the log and in the status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum CloseReason {
            $($(#[doc = $doc])* $name,)*
        }

        impl CloseReason {
            pub const ALL: &[CloseReason] = &[$(CloseReason::$name,)*];

            pub fn word(self) -> &'static str {
                match self { $(CloseReason::$name => $word,)* }
            }
        }
    };
}

close_reasons! {
    /// The client sent QUIT, or asked for no further answer by HTTP.
    Quit "quit",
    /// An HTTP request was answered on a connection that does not stay.
    Answered "answered",
    /// The peer closed its side.
    EndOfStream "end_of_stream",
    /// Reading or writing failed.
    ConnectionLost "connection_lost",
    /// A wrong token.
    LoginFailed "login_failed",
    /// Not logged in within the auth timeout.
    AuthTimeout "auth_timeout",
    /// No PING within the ping timeout.
    PingTimeout "ping_timeout",
    /// Took nothing of its output for the stalled write timeout.
    StalledWrite "stalled_write",
    /// A line longer than allowed.
    LineTooLong "line_too_long",
    /// More output waiting than one client may have.
    OutputLimit "output_limit",
    /// The largest holder of buffers when all together held too much.
    BuffersLimit "buffers_limit",
    /// One connection more than allowed.
    ClientLimit "client_limit",
    /// CLIENTDISCONNECT.
    Disconnected "disconnected",
    /// OVERHEAD C.
    ClosedAll "closed_all",
    /// The server ends.
    Shutdown "shutdown",
    /// Its user was removed or changed.
    UserChanged "user_changed",
    /// The TLS handshake failed, or the peer's TLS was wrong later on.
    TlsFailed "tls_failed",
    /// Plain text came to a port for TLS.
    PlainToTls "plain_text_to_tls_port",
    /// TLS came to a port for plain text.
    TlsToPlain "tls_to_plain_text_port",
    /// A memcached client speaks the binary protocol.
    BinaryProtocol "binary_protocol",
    /// A client speaks HTTP to a listener for memcached clients.
    HttpRequest "http_request",
    /// A client says what its protocol does not allow.
    ProtocolError "protocol_error",
    /// A message longer than allowed.
    PayloadTooLarge "payload_too_large",
    /// The client reports an error of its own.
    PeerError "peer_error",
    /// The other end of an interclacks link has connected again.
    Replaced "replaced",
    /// An interclacks peer said TIMEOUT.
    PeerTimeout "peer_timeout",
    /// The servers form a ring.
    Ring "ring",
    /// An interclacks peer's clock is more than an hour ahead.
    ClockAhead "clock_ahead",
    /// An interclacks peer says what no server of the tree can say.
    Implausible "implausible",
    /// An interclacks peer announces a version of the lines between clacksd servers that is no longer spoken.
    PeerVersion "peer_version",
}

impl CloseReason {
    /// Reports whether queued output is still sent.
    pub fn drains(self) -> bool {
        use CloseReason::*;
        match self {
            Quit | Answered | EndOfStream | LoginFailed | AuthTimeout | PingTimeout
            | LineTooLong | Disconnected | ClosedAll | Shutdown | UserChanged | ClientLimit
            | TlsToPlain | HttpRequest | ProtocolError | PayloadTooLarge | PeerError
            | PeerTimeout | Ring | ClockAhead | Implausible | PeerVersion => true,
            ConnectionLost | StalledWrite | OutputLimit | BuffersLimit | TlsFailed | PlainToTls
            | BinaryProtocol | Replaced => false,
        }
    }

    /// Reports whether the peer is to see a last line, which says why. It may be in the middle of sending much, and a plain
    /// close would answer with a reset that destroys the line; and the end of the stream is not to come with the line.
    pub fn lingers(self) -> bool {
        let is_peers_wish = matches!(self, CloseReason::Quit | CloseReason::EndOfStream);
        self == CloseReason::BuffersLimit || (self.drains() && !is_peers_wish)
    }

    /// Reports whether that is the ordinary end of a connection.
    pub fn is_ordinary(self) -> bool {
        use CloseReason::*;
        matches!(
            self,
            Quit | Answered | EndOfStream | Disconnected | ClosedAll | Shutdown | BinaryProtocol
        )
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
