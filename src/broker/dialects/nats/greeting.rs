//! The first line of a connection, and who need not log in.

use super::conversation::Conversation;
use super::frames::max_payload;
use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::close_reason::CloseReason;
use crate::broker::dialects::Notice;
use crate::broker::entrance::{Entrance, EntranceAddress};
use crate::broker::events::{ConnectionId, Now, Peer};
use crate::broker::operations::Login as Outcome;
use crate::broker::users::Users;
use crate::protocol::Language;
use crate::protocol::nats::answer::{self, Info};

/// The settings of listeners for NATS clients.
#[derive(Debug, Clone, Default)]
pub struct NatsSettings {
    /// The user that clients act as which give no login; `None`: they have to log in.
    pub user: Option<String>,
    pub addresses: Vec<EntranceAddress>,
}

/// A NATS client has connected. INFO comes before a TLS handshake.
pub fn handle_connected<O: Carrier>(broker: &mut Broker, id: ConnectionId, now: Now, out: &mut O) {
    let Some(session) = broker.sessions.get_mut(id) else {
        return;
    };
    session.nats = Some(Box::<Conversation>::default());
    let entrance = Entrance {
        language: Language::Nats,
        number: session.entrance,
    };
    let (peer, is_surplus) = (session.cid.peer, session.is_surplus);
    let mut greeting = Vec::new();
    encode_info(broker, peer, entrance, &mut greeting);
    // Nobody can manage the server by NATS, so that the places for those who do are not for its clients.
    if is_surplus {
        let refused = Notice::Refused(CloseReason::ClientLimit);
        refused.encode(Language::Nats, &mut greeting);
        out.send_in_plain(id, &greeting);
        return broker.close(id, CloseReason::ClientLimit, now, out);
    }
    out.send_in_plain(id, &greeting);
    let Some(name) = broker.settings.nats.user.clone() else {
        if let Some(session) = broker.sessions.get_mut(id) {
            session.language = Language::NatsLogin;
        }
        return;
    };
    let user = |users: &Users| users.get(&name).cloned();
    match broker.log_in(id, None, user, now, out) {
        Outcome::Done => {}
        Outcome::Wrong => broker.refuse(id, CloseReason::LoginFailed, now, out),
        Outcome::Later | Outcome::NoPlace => {
            broker.refuse(id, CloseReason::ClientLimit, now, out);
        }
    }
}

/// Appends the first line of a connection that comes in there.
pub fn encode_info(broker: &Broker, peer: Peer, entrance: Entrance, to: &mut Vec<u8>) {
    let addresses = &broker.settings.nats.addresses;
    let address = addresses.get(usize::from(entrance.number));
    let (host, port) = match address {
        Some(EntranceAddress::Tcp { host, port, .. }) => (&host[..], *port),
        _ => ("unix", 0),
    };
    let client_ip = match peer {
        Peer::Tcp(address) => Some(address.ip().to_canonical().to_string()),
        _ => None,
    };
    let node = format!("{:016x}", broker.tree.node.0);
    let software = broker.settings.software.split(' ').next();
    let info = Info {
        server_id: &node,
        server_name: software.unwrap_or_default(),
        host,
        port,
        needs_tls: address.is_some_and(EntranceAddress::is_tls),
        max_payload: max_payload(&broker.settings),
        client_id: broker.statistics.connections.sum(),
        client_ip: client_ip.as_deref(),
    };
    answer::info(to, &info);
}
