//! The settings of listeners for memcached clients, and the pages of `stats` that show them and the connections.

use super::exchange::{Exchange, seconds_since};
use super::frames::max_value;
use super::is_spoken;
use super::long_answers::{LongAnswer, Stage};
use crate::broker::EntranceAddress;
use crate::broker::cid::CidText;
use crate::broker::events::{Flow, Peer};
use crate::broker::output::Output;
use crate::broker::session::Session;
use crate::limits::{BACKLOG, LISTING_SLICE};
use crate::protocol::encode;
use crate::protocol::memcached::answer::stat;
use std::fmt::Display;

/// The settings of listeners for memcached clients.
#[derive(Debug, Clone, Default)]
pub struct MemcachedSettings {
    /// The user that the clients act as; `None`: they have to log in.
    pub user: Option<String>,
    pub addresses: Vec<EntranceAddress>,
    /// The mode of Unix sockets.
    pub socket_mode: u32,
    /// The memory of the machine, in bytes.
    pub machine_memory: usize,
}

/// The address of a listener, as the statistics show it.
fn shown(address: &EntranceAddress) -> String {
    match address {
        EntranceAddress::Unix(path) => format!("unix:{path}"),
        EntranceAddress::Tcp { host, port, .. } if host.contains(':') => {
            format!("tcp6:[{host}]:{port}")
        }
        EntranceAddress::Tcp { host, port, .. } => format!("tcp:{host}:{port}"),
    }
}

impl MemcachedSettings {
    /// The host and port of the first TCP listener.
    fn first_tcp(&self) -> Option<(&str, u16)> {
        let mut addresses = self.addresses.iter();
        addresses.find_map(|address| match address {
            EntranceAddress::Tcp { host, port, .. } => Some((&host[..], *port)),
            EntranceAddress::Unix(_) => None,
        })
    }

    fn first_path(&self) -> Option<&str> {
        let mut addresses = self.addresses.iter();
        addresses.find_map(|address| match address {
            EntranceAddress::Unix(path) => Some(&path[..]),
            EntranceAddress::Tcp { .. } => None,
        })
    }

    fn has_tls(&self) -> bool {
        self.addresses.iter().any(EntranceAddress::is_tls)
    }
}

fn yes_or_no(is_so: bool) -> &'static str {
    match is_so {
        true => "yes",
        false => "no",
    }
}

impl<O: Output> Exchange<'_, O> {
    /// `--cache-max`, or the memory of the machine, in bytes.
    pub fn max_bytes(&self) -> usize {
        let settings = &self.broker.settings;
        let machine = settings.memcached.machine_memory;
        settings.cache_max.unwrap_or(machine)
    }

    /// `stats settings`.
    pub fn settings_page(&mut self) {
        let settings = &self.broker.settings;
        let memcached = &settings.memcached;
        let (host, port) = memcached.first_tcp().unwrap_or(("NULL", 0));
        let path = memcached.first_path().unwrap_or("NULL");
        let umask = format!("{:o}", memcached.socket_mode);
        let needs_login = yes_or_no(memcached.user.is_none());
        let has_tls = yes_or_no(memcached.has_tls());
        let (max_bytes, max_clients) = (self.max_bytes(), settings.max_clients);
        let max_value = max_value(self.broker);
        let figures: [(&str, &dyn Display); 12] = [
            ("maxbytes", &max_bytes),
            ("maxconns", &max_clients),
            ("tcpport", &port),
            ("udpport", &0),
            ("inter", &host),
            ("verbosity", &0),
            ("oldest", &0),
            ("evictions", &"on"),
            ("domain_socket", &path),
            ("umask", &umask),
            ("auth_enabled_ascii", &needs_login),
            ("item_size_max", &max_value),
        ];
        let mut to = Vec::new();
        for (name, value) in figures {
            stat(&mut to, name, value);
        }
        stat(&mut to, "tcp_backlog", BACKLOG);
        stat(&mut to, "ssl_enabled", has_tls);
        for (name, value) in FIXED {
            stat(&mut to, name, value);
        }
        encode::line(&mut to, &[b"END"]);
        self.append(|output| output.extend_from_slice(&to));
    }

    /// `stats conns`.
    pub fn connections_page(&mut self, line: &[u8]) -> Flow {
        let mut to = Vec::new();
        for (n, address) in self.broker.settings.memcached.addresses.iter().enumerate() {
            stat(&mut to, format_args!("{n}:addr"), shown(address));
            stat(&mut to, format_args!("{n}:state"), "conn_listening");
            stat(&mut to, format_args!("{n}:secs_since_last_cmd"), 0);
        }
        self.append(|output| output.extend_from_slice(&to));
        self.start_long_answer(LongAnswer {
            line: line.into(),
            stage: Stage::Connections(Connections::default()),
        })
    }

    /// Makes one slice; true if the list is complete.
    pub fn advance_connections(&mut self, shown: &mut Connections) -> bool {
        let (mut to, mut last, mut looks) = (Vec::new(), None, 0);
        for session in self.broker.sessions.after(&shown.last) {
            if session.closing.is_none() && is_spoken(session) {
                self.append_connection(session, &mut to);
            }
            looks += 1;
            if to.len() >= LISTING_SLICE || looks == SESSIONS_PER_SLICE {
                last = Some(session.cid.text());
                break;
            }
        }
        if last.is_none() {
            encode::line(&mut to, &[b"END"]);
        }
        self.append(|output| output.extend_from_slice(&to));
        match last {
            None => true,
            Some(last) => {
                shown.last = last;
                false
            }
        }
    }

    fn append_connection(&self, session: &Session, to: &mut Vec<u8>) {
        let n = session.cid.serial;
        let address = match session.cid.peer {
            Peer::Tcp(address) if address.ip().is_ipv6() => format!("tcp6:{address}"),
            Peer::Tcp(address) => format!("tcp:{address}"),
            _ => "unix:".to_owned(),
        };
        let conversation = session.memcached.as_ref();
        let is_watcher = conversation.is_some_and(|conversation| conversation.is_watcher);
        let state = match session.id == self.id {
            true => "conn_parse_cmd",
            false if is_watcher => "conn_watch",
            false if self.out.traffic(session.id).missing > 0 => "conn_nread",
            false => "conn_read",
        };
        let last_us = conversation.map_or(0, |conversation| conversation.last_command_us);
        let last_us = last_us.max(session.opened_us);
        let idle_s = seconds_since(last_us, self.now.monotonic_us);
        stat(to, format_args!("{n}:addr"), address);
        let listeners = &self.broker.settings.memcached.addresses;
        if let Some(listener) = listeners.get(usize::from(session.entrance)) {
            stat(to, format_args!("{n}:listen_addr"), shown(listener));
        }
        stat(to, format_args!("{n}:state"), state);
        stat(to, format_args!("{n}:secs_since_last_cmd"), idle_s);
    }
}

/// Sessions that are looked at in one slice.
const SESSIONS_PER_SLICE: usize = 1000;

/// How far `stats conns` has come.
#[derive(Default)]
pub struct Connections {
    /// The CID of the session that was looked at last.
    last: CidText,
}

/// Settings of memcached that have one value here.
const FIXED: &[(&str, &str)] = &[
    ("shutdown_command", "yes"),
    ("growth_factor", "1.25"),
    ("chunk_size", "48"),
    ("num_threads", "1"),
    ("stat_key_prefix", ":"),
    ("detail_enabled", "no"),
    ("reqs_per_event", "20"),
    ("cas_enabled", "yes"),
    ("binding_protocol", "ascii"),
    ("auth_enabled_sasl", "no"),
    ("maxconns_fast", "yes"),
    ("hashpower_init", "0"),
    ("slab_reassign", "no"),
    ("slab_automove", "0"),
    ("lru_crawler", "no"),
    ("lru_maintainer_thread", "no"),
    ("lru_segmented", "no"),
    ("flush_enabled", "yes"),
    ("dump_enabled", "yes"),
    ("hash_algorithm", "ahash"),
    ("idle_timeout", "0"),
    ("track_sizes", "no"),
    ("client_flags_size", "4"),
];
