//! Rules for the output of a connection: which lines may be sent to it, in which form and when.

use clacks::protocol::peer::PeerLine;
use clacks::protocol::reply::{self, Reply};
use clacks::protocol::{Command, Flags, decode, peer};
use memchr::memmem;

/// All passwords begin with this, and so do tokens with what it is in base64.
const SECRET: &[u8] = b"secret-of-";
const SECRET_IN_BASE64: &[u8] = b"c2VjcmV0LW9m";

/// Who somebody logs in as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    pub reads: bool,
    pub manages: bool,
    pub is_primary: bool,
}

pub struct Oracle {
    /// True if this node dialled the connection.
    pub is_uplink: bool,
    is_link: bool,
    /// True if a line was sent that only clacksd peers know.
    is_clacksd: bool,
    /// True if a line was sent that only Net::Clacks peers know.
    is_net_clacks: bool,
    lines: usize,
    /// The rights of the user that is logged in.
    rights: Option<Rights>,
    /// The rights of the user whom the line being handled names, if it is a login.
    pub logs_in_as: Option<Rights>,
    /// How many records there were when the FLUSH came that is not answered yet.
    pub flush_needs: Option<u64>,
    /// The last line said that not all is saved.
    was_not_saved: bool,
}

impl Oracle {
    pub fn new(is_uplink: bool) -> Oracle {
        Oracle {
            is_uplink,
            is_link: false,
            is_clacksd: false,
            is_net_clacks: false,
            lines: 0,
            rights: None,
            logs_in_as: None,
            flush_needs: None,
            was_not_saved: false,
        }
    }

    pub fn become_link(&mut self) {
        assert!(!self.is_link, "nobody becomes a link twice");
        let may = self.is_uplink || self.rights.is_some_and(|rights| rights.is_primary);
        assert!(may, "only the primary user becomes a link");
        self.is_link = true;
    }

    /// All that is said at once are whole lines, and each of them may be said. `saved`: how many records are;
    /// `own_login`: the line that this node logs in with, if secrets are looked for.
    pub fn check_output(&mut self, bytes: &[u8], saved: u64, own_login: Option<&str>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = memchr::memchr2(b'\r', b'\n', rest).expect("a line has an end");
            assert_eq!(
                rest.get(end..end + 2),
                Some(&b"\r\n"[..]),
                "and that is CR LF"
            );
            self.check_line(&rest[..end], saved);
            if let Some(own_login) = own_login {
                self.check_secrets(&rest[..end], own_login);
            }
            rest = &rest[end + 2..];
        }
    }

    fn check_line(&mut self, line: &[u8], saved: u64) {
        let text = || line.escape_ascii().to_string();
        self.lines += 1;
        let said = reply::decode(line);
        if !self.is_uplink {
            let is_right = match self.lines {
                1 => matches!(said, Some(Reply::Clacks(_))),
                2 => line == b"OVERHEAD M Authentication required",
                _ => true,
            };
            assert!(is_right, "the greeting comes first: {}", text());
            if self.lines <= 2 {
                return;
            }
        }
        if self.is_link {
            return self.check_link_line(line);
        }
        let said = said.unwrap_or_else(|| panic!("no client knows this line: {}", text()));
        match said {
            Reply::Overhead(overhead) if overhead.flags == Flags::LOGIN_RIGHT => {
                self.rights = self.logs_in_as.take();
                assert!(self.rights.is_some(), "who was welcomed has logged in");
            }
            Reply::Overhead(overhead) if overhead.flags.intersects(Flags::LOGIN_WRONG) => {
                assert_eq!(overhead.value, b"Login failed!");
            }
            Reply::Flushed(_) => {
                let needed = self.flush_needs.take().expect("a FLUSH was sent");
                assert!(
                    needed <= saved || self.was_not_saved,
                    "{needed} records were to be saved, {saved} are"
                );
            }
            _ => {}
        }
        self.was_not_saved = line == b"OVERHEAD E not_saved";
        let Some(rights) = self.rights else {
            let is_error = matches!(&said, Reply::Overhead(overhead)
                if overhead.flags == Flags::ERROR || overhead.flags == Flags::LOGIN_WRONG);
            let may = is_error || said == Reply::Quit;
            assert!(may, "nothing is said to strangers: {}", text());
            return;
        };
        let may = match said {
            Reply::Retrieved(_)
            | Reply::NotRetrieved(_)
            | Reply::Ttl(_)
            | Reply::Key(_)
            | Reply::KeyListStart
            | Reply::KeyListEnd
            | Reply::Set(_)
            | Reply::Notify(_) => rights.reads,
            Reply::Debug(_) | Reply::Client(_) | Reply::ClientListStart | Reply::ClientListEnd => {
                rights.manages
            }
            Reply::Clacks(_) => false,
            _ => true,
        };
        assert!(may, "it has no right to this: {}", text());
    }

    /// A peer is told nothing in another language than its own, and nothing that only clients are told.
    fn check_link_line(&mut self, line: &[u8]) {
        let text = || line.escape_ascii().to_string();
        let command = decode(line);
        if let Some(Command::Overhead(Some(overhead))) = command {
            assert!(
                !overhead.flags.intersects(Flags::ERROR)
                    || overhead.flags.intersects(Flags::FORWARD)
            );
            // Who logs in with nothing to say it with is no clacksd, but not yet known to be anything.
            self.is_net_clacks |= overhead.flags.intersects(Flags::LOCK);
        }
        assert_ne!(command, Some(Command::Nop), "no link is sent a NOP");
        if peer::decode(line).is_some() {
            self.is_clacksd = true;
        } else {
            let is_known = command.is_some() || reply::decode(line).is_some();
            assert!(is_known, "no peer knows this line: {}", text());
            self.is_net_clacks |= matches!(command, Some(Command::KeySync(_)));
        }
        assert!(
            !(self.is_clacksd && self.is_net_clacks),
            "one language for one peer: {}",
            text()
        );
    }

    /// This node's own login goes to links, and is a line of its own; no other secret goes anywhere.
    fn check_secrets(&self, line: &[u8], own_login: &str) {
        let is_own_login = self.is_link && line == own_login.as_bytes();
        assert!(
            is_own_login || !holds_secret(line),
            "a secret: {}",
            line.escape_ascii()
        );
    }
}

/// Reports whether the bytes contain a password or a token.
#[inline(never)]
pub fn holds_secret(bytes: &[u8]) -> bool {
    [SECRET, SECRET_IN_BASE64]
        .iter()
        .any(|secret| memmem::find(bytes, secret).is_some())
}

/// Reports whether a line is a FLUSH, which is answered by FLUSHED.
pub fn is_flush(line: &[u8]) -> bool {
    matches!(decode(line), Some(Command::Flush(_)))
}

/// Reports whether something is kept for whoever sends that line, as long as the connection lasts.
pub fn is_listen(line: &[u8]) -> bool {
    let is_join = matches!(peer::decode(line), Some(PeerLine::Join(_)));
    let command = decode(line);
    is_join
        || matches!(
            command,
            Some(Command::Listen(_) | Command::ListenToPattern(_))
        )
}

/// The token in a login line.
pub fn token_of(line: &[u8]) -> Option<&[u8]> {
    match decode(line) {
        Some(Command::Overhead(Some(overhead))) if overhead.flags.intersects(Flags::LOGIN) => {
            Some(overhead.value)
        }
        _ => None,
    }
}
