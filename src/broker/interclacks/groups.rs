//! Groups of NATS clients that have members at several servers: what links are told of them, and who serves them.
//!
//! A server that hands a group on to a link says so with the signal (`q=`), so that no two members get it.

use super::scope::SignalScope;
use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Now};
use crate::broker::subjects::{GroupId, News, work_of_subscription};
use crate::limits::{LISTING_SLICE, MAX_PAIRS_TOLD, WORK_PER_PAIR};
use crate::protocol::nats::framing::MAX_ARGUMENTS;
use crate::protocol::nats::subject;
use crate::protocol::peer::{self, Membership, NodeId};
use log::Level;
use smallvec::SmallVec;

/// A group that is to be served behind a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandedOn {
    pub link: ConnectionId,
    pub group: GroupId,
}

/// The groups of one signal that are to be served behind links.
pub type HandedOnGroups = SmallVec<[HandedOn; 1]>;

/// A signal on its way to other servers.
#[derive(Clone, Copy)]
pub struct Forwarded<'a> {
    /// The line that all servers know, in parts.
    pub line: &'a [&'a [u8]],
    pub scope: SignalScope,
    /// The options that all clacksd servers are sent, each with a blank behind it.
    pub options: &'a [u8],
    pub handed_on: &'a [HandedOn],
}

impl<'a> Forwarded<'a> {
    /// A signal for everybody that has nothing but its line.
    pub fn plain(line: &'a [&'a [u8]]) -> Forwarded<'a> {
        Forwarded {
            line,
            scope: SignalScope::All,
            options: b"",
            handed_on: &[],
        }
    }
}

impl Broker {
    /// Asks for room to announce groups that may have got their first members at this server, or lost the last ones. To be
    /// called after each subscription, whatever its kind: it also removes some of those that ended connections had.
    pub(in crate::broker) fn announce_groups<O: Carrier>(&mut self, out: &mut O) {
        if !self.tree.links.is_empty() {
            for link in self.subjects.pairs().links_with_news() {
                out.request_writable(link);
            }
        }
    }

    /// Tells a link some of the news of groups. It has to be one of those that are told.
    pub(in crate::broker) fn tell_groups<O: Carrier>(
        &mut self,
        id: ConnectionId,
        now: Now,
        out: &mut O,
    ) {
        let mut lines = Vec::new();
        let mut told = 0;
        let pairs = self.subjects.pairs();
        let was_full = pairs.untold(id) > 0;
        let is_more = pairs.tell(id, |news, pair| {
            told += 1;
            let membership = Membership {
                pattern: &pair.pattern,
                group: &pair.group,
            };
            match news {
                News::Join => peer::encode_join(&mut lines, membership),
                News::Leave => peer::encode_leave(&mut lines, membership),
            }
            lines.len() < LISTING_SLICE
        });
        out.add_work(told * WORK_PER_PAIR);
        let untold = pairs.untold(id);
        if untold > 0 && !was_full {
            let what = format_args!(
                "pairs of a pattern and a group are not announced to a server: the limit of {MAX_PAIRS_TOLD} is reached"
            );
            self.tree.log(Level::Warn, what, now);
        }
        if !lines.is_empty() {
            out.append(id, |to| to.extend_from_slice(&lines));
        }
        if is_more {
            out.request_writable(id);
        }
    }

    /// Takes a JOIN or LEAVE: there are members of a group beyond a link, or there are none any more.
    pub(super) fn handle_membership<O: Carrier>(
        &mut self,
        id: ConnectionId,
        news: News,
        Membership { pattern, group }: Membership<'_>,
        now: Now,
        out: &mut O,
    ) {
        if pattern.len() > MAX_ARGUMENTS || !subject::is_pattern(pattern) {
            let what = format_args!("a JOIN or LEAVE of no valid pattern was ignored");
            self.tree.log(Level::Warn, what, now);
            return;
        }
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let own = &mut session.subjects;
        let growth = match news {
            News::Join => self.subjects.join(pattern, group, id, own),
            News::Leave => self
                .subjects
                .part(pattern, group, id, own)
                .map(|memory| -memory),
        };
        if let Some(growth) = growth {
            out.charge_memory(id, growth);
            out.add_work(work_of_subscription(growth) + WORK_PER_PAIR);
            self.announce_groups(out);
        }
    }

    /// A slave says which node it is. It may have connected again before the end of its former connection was noticed.
    pub(super) fn note_node_of_slave<O: Carrier>(
        &mut self,
        id: ConnectionId,
        node: NodeId,
        now: Now,
        out: &mut O,
    ) {
        if let Some(link) = self.tree.links.get_mut(id) {
            link.node = Some(node);
        }
        let former = {
            let mut others = self.tree.links.slaves();
            others.find(|(other, link)| *other != id && link.node == Some(node))
        };
        if let Some(former) = former.map(|(former, _)| former) {
            self.close(former, CloseReason::Replaced, now, out);
        }
    }
}
