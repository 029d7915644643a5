//! Tells the service manager how the server is doing, in the words of sd_notify(3). What is told when
//! is the loop's business; where to, and how often the watchdog wants to hear, is handed in.
//!
//! It is own code since the loop must never wait: the crate sd-notify sends with a socket that blocks
//! while the manager's queue is full. Here such a message is kept and sent again a little later.

use crate::limits::{NOTIFY_RETRY_US, NOTIFY_STATUS_US};
use crate::sys;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The figures of a status that the manager shows.
const FIGURES: [&str; 5] = ["clients", "entries", "uplink", "health", "memory"];

/// A line to the manager, or none if nobody wants to know.
#[derive(Default)]
pub struct Notifier {
    channel: Option<Channel>,
}

/// The way to the service manager.
struct Channel {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Never more than one of each kind.
    unsent: VecDeque<Message>,
    /// The queue was full; then is the next try.
    retry_us: Option<u64>,
    watchdog: Option<Watchdog>,
    status: Status,
    is_stopping: bool,
    /// A manager that can't be reached is mentioned once.
    has_warned: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reloading,
    Ready,
    Stopping,
    Status,
    Watchdog,
}

struct Message {
    kind: Kind,
    text: String,
}

struct Watchdog {
    interval_us: u64,
    due_us: u64,
}

/// The status that the service manager was last sent, and the time when the figures are next compared with it. Only a
/// turn before that time sets a deadline, so that an idle server is not woken for this.
#[derive(Default)]
struct Status {
    told: String,
    due_us: u64,
    is_unseen: bool,
}

impl Notifier {
    /// `address` is a path, or an abstract name behind an `@`. `watchdog_us` is the time without a sign
    /// of life after which the manager takes the server for stuck.
    pub fn open(address: &OsStr, watchdog_us: Option<u64>) -> io::Result<Notifier> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => {
                return Err(io::Error::new(
                    ErrorKind::Unsupported,
                    "neither a path nor an abstract name",
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Notifier {
            channel: Some(Channel {
                socket,
                address,
                unsent: VecDeque::new(),
                retry_us: None,
                // As sd_watchdog_enabled(3) advises, so that one that is late does no harm.
                watchdog: watchdog_us.map(|within_us| Watchdog {
                    interval_us: (within_us / 2).max(1),
                    due_us: 0,
                }),
                status: Status::default(),
                is_stopping: false,
                has_warned: false,
            }),
        })
    }

    /// The server serves: it has started, or read its files again.
    pub fn ready(&mut self) {
        self.push(Kind::Ready, || "READY=1".to_owned());
    }

    /// It begins to read its files again; [`Notifier::ready`] follows.
    pub fn reloading(&mut self) {
        self.push(Kind::Reloading, || {
            // The manager tells by the time which request this belongs to.
            format!("RELOADING=1\nMONOTONIC_USEC={}", sys::machine_time_us())
        });
    }

    /// It accepts nobody any more. Nothing but signs of life follows.
    pub fn stopping(&mut self) {
        self.push(Kind::Stopping, || "STOPPING=1".to_owned());
        if let Some(channel) = &mut self.channel {
            channel.is_stopping = true;
        }
    }

    /// The server has ended with a loss, which the manager shows as the last status.
    pub fn failed(&mut self, loss: &str) {
        if let Some(channel) = &mut self.channel {
            // A line break would begin another assignment.
            let text = format!("STATUS=ended with a loss: {}", loss.replace('\n', " "));
            // There is no later turn for what finds no room.
            let _ = channel
                .socket
                .send_to_addr(text.as_bytes(), &channel.address);
        }
    }

    /// At the end of each turn: sends what there is to send. `figures` gives words of the form
    /// `name=value`.
    pub fn handle_turn(&mut self, now_us: u64, figures: impl FnOnce() -> String) {
        let Some(channel) = &mut self.channel else {
            return;
        };
        if let Some(watchdog) = &mut channel.watchdog
            && watchdog.due_us <= now_us
        {
            watchdog.due_us = now_us + watchdog.interval_us;
            channel.push(Kind::Watchdog, "WATCHDOG=1".to_owned());
        }
        channel.status.is_unseen = channel.status.due_us > now_us;
        if !channel.status.is_unseen {
            channel.status.due_us = now_us + NOTIFY_STATUS_US;
            let text = summary(&figures());
            if text != channel.status.told {
                channel.push(Kind::Status, format!("STATUS={text}"));
                channel.status.told = text;
            }
        }
        if channel.retry_us.is_none_or(|at_us| at_us <= now_us) {
            channel.send(now_us);
        }
    }

    /// The next moment for [`Notifier::handle_turn`], if it isn't called before for another reason.
    pub fn poll_deadline(&self) -> Option<u64> {
        let channel = self.channel.as_ref()?;
        let watchdog = channel.watchdog.as_ref().map(|watchdog| watchdog.due_us);
        let status = channel.status.is_unseen.then_some(channel.status.due_us);
        let unsent = (!channel.unsent.is_empty()).then_some(channel.retry_us.unwrap_or(0));
        [watchdog, status, unsent].into_iter().flatten().min()
    }

    fn push(&mut self, kind: Kind, text: impl FnOnce() -> String) {
        if let Some(channel) = &mut self.channel
            && !channel.is_stopping
        {
            channel.push(kind, text());
        }
    }
}

impl Channel {
    fn push(&mut self, kind: Kind, text: String) {
        // What is being told anew needn't be told as it was before. A reload that wasn't told of is
        // over as well; its end comes with the end of the new one.
        self.unsent.retain(|message| {
            message.kind != kind && !(kind == Kind::Reloading && message.kind == Kind::Ready)
        });
        self.unsent.push_back(Message { kind, text });
    }

    fn send(&mut self, now_us: u64) {
        self.retry_us = None;
        while let Some(message) = self.unsent.front() {
            let sent = self
                .socket
                .send_to_addr(message.text.as_bytes(), &self.address);
            match sent {
                Err(error) if may_work_later(&error) => {
                    self.retry_us = Some(now_us + NOTIFY_RETRY_US);
                    return;
                }
                Err(error) if !self.has_warned => {
                    self.has_warned = true;
                    log::warn!("NOTIFY_SOCKET: the service manager can't be reached: {error}");
                }
                _ => {}
            }
            self.unsent.pop_front();
        }
    }
}

/// Reports whether sending may succeed later: the manager has too much to do, or the system too little memory.
fn may_work_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::OutOfMemory
    ) || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// The words of the figures that are told, in a form for people.
fn summary(figures: &str) -> String {
    let value = |name: &str| {
        figures
            .split(' ')
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    FIGURES
        .iter()
        .filter_map(|name| Some(format!("{name}: {}", in_words(value(name)?))))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A value with blanks where the figures have none.
fn in_words(value: &str) -> String {
    value.replace('+', " and ").replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, watchdog_us: Option<u64>) -> (UnixDatagram, Notifier) {
        let name = format!("clacksd-unit-test-{}-{name}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let manager = UnixDatagram::bind_addr(&address).expect("a free name");
        manager.set_nonblocking(true).expect("a fresh socket");
        let notifier = Notifier::open(format!("@{name}").as_ref(), watchdog_us);
        (manager, notifier.expect("a socket"))
    }

    fn received(manager: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 4096];
        std::iter::from_fn(|| {
            let count = manager.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
        })
        .collect()
    }

    #[test]
    fn figures_are_told_when_they_change_and_wake_nobody_otherwise() {
        let (manager, mut notifier) = pair("figures", None);
        let figures = |clients: u32| {
            let rest = "uplink=none x=1 entries=7 memory=9M health=shutting_down+no_uplink";
            move || format!("clients={clients} {rest}")
        };
        let status = |clients: u32| {
            let health = "health: shutting down and no uplink";
            let shown = format!("clients: {clients}, entries: 7, uplink: none, {health}");
            format!("STATUS={shown}, memory: 9M")
        };
        notifier.handle_turn(5, figures(1));
        assert_eq!(received(&manager), [status(1)]);
        assert_eq!(notifier.poll_deadline(), None);
        // Too early to look, so it is looked at later, even if nothing else happens.
        notifier.handle_turn(6, figures(2));
        assert_eq!(received(&manager), [""; 0]);
        assert_eq!(notifier.poll_deadline(), Some(5 + NOTIFY_STATUS_US));
        notifier.handle_turn(5 + NOTIFY_STATUS_US, figures(2));
        assert_eq!(received(&manager), [status(2)]);
        assert_eq!(notifier.poll_deadline(), None);
        notifier.handle_turn(5 + 3 * NOTIFY_STATUS_US, figures(2));
        assert_eq!(received(&manager), [""; 0]);
        assert_eq!(notifier.poll_deadline(), None);
    }

    #[test]
    fn the_watchdog_hears_of_the_server_at_half_its_time() {
        let (manager, mut notifier) = pair("watchdog", Some(10_000));
        notifier.handle_turn(100, String::new);
        assert_eq!(received(&manager), ["WATCHDOG=1"]);
        assert_eq!(notifier.poll_deadline(), Some(5_100));
        notifier.handle_turn(5_099, String::new);
        assert_eq!(received(&manager), [""; 0]);
        notifier.handle_turn(5_100, String::new);
        assert_eq!(received(&manager), ["WATCHDOG=1"]);
    }

    #[test]
    fn what_finds_no_room_is_sent_later_in_order_and_once() {
        let (manager, mut notifier) = pair("full", None);
        let socket = UnixDatagram::unbound().expect("a socket");
        socket.set_nonblocking(true).expect("a fresh socket");
        let address = manager.local_addr().expect("a bound socket");
        while socket.send_to_addr(b"filler", &address).is_ok() {}

        notifier.ready();
        for turn in 0..1000 {
            notifier.reloading();
            notifier.ready();
            notifier.handle_turn(turn, || format!("clients={turn}"));
        }
        notifier.stopping();
        notifier.reloading();
        notifier.ready();
        assert_eq!(notifier.poll_deadline(), Some(NOTIFY_RETRY_US));
        received(&manager);
        notifier.handle_turn(NOTIFY_RETRY_US - 1, String::new);
        assert_eq!(received(&manager), [""; 0]);
        notifier.handle_turn(NOTIFY_RETRY_US, String::new);
        let told = received(&manager);
        assert!(
            told[1].starts_with("RELOADING=1\nMONOTONIC_USEC="),
            "{told:?}"
        );
        assert_eq!(
            [&told[0], &told[2], &told[3]],
            ["STATUS=clients: 0", "READY=1", "STOPPING=1"]
        );
        assert_eq!(told.len(), 4);
    }

    #[test]
    fn nobody_is_told_anything_where_there_is_no_manager() {
        let mut notifier = Notifier::default();
        notifier.ready();
        notifier.handle_turn(0, || panic!("nobody wants to know"));
        assert_eq!(notifier.poll_deadline(), None);
        for address in ["", "relative", "vsock:2:1234"] {
            assert!(Notifier::open(address.as_ref(), None).is_err(), "{address}");
        }
    }
}
