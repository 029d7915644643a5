//! Signals and their delivery: to those at this server who subscribe to patterns and subjects, and to the members that
//! are chosen to serve groups.

use crate::broker::carrier::Carrier;
use crate::broker::empty;
use crate::broker::events::{Audience, ConnectionId, LabelledAudience};
use crate::broker::interclacks::{HandedOn, HandedOnGroups, Tree};
use crate::broker::listeners::Listeners;
use crate::broker::random::Random;
use crate::broker::session::{Session, Sessions};
use crate::broker::statistics::Statistics;
use crate::broker::subjects::{GroupId, Member, Sids, Subjects, SubscriptionId, Topic};
use crate::limits::{WORK_PER_MATCH, WORK_PER_MEMBER, WORK_PER_NODE};
use crate::protocol::Language;
use crate::protocol::nats::answer::{self, Message, MessageLine};
use crate::protocol::shared::{self, SharedBytes};
use smallvec::SmallVec;

/// A signal in the form that Clacks clients know.
#[derive(Clone, Copy)]
pub struct Signal<'a> {
    pub name: &'a [u8],
    /// The line for Clacks clients and other servers, in parts.
    pub line: &'a [&'a [u8]],
    /// The text of the value; empty of a NOTIFY.
    pub value: &'a [u8],
}

/// The parts of a signal that no Clacks line has.
#[derive(Clone, Copy, Default)]
pub struct Extras<'a> {
    /// The subject, if it is not that of the name.
    pub subject: Option<&'a [u8]>,
    pub reply: Option<&'a [u8]>,
    /// The header block.
    pub header: Option<&'a [u8]>,
}

/// The groups of which one member each is to get a signal.
#[derive(Clone, Copy)]
pub enum Groups<'a> {
    /// All that have members anywhere: the signal enters this part of the tree here.
    All,
    /// Those of which another server says so, in their order.
    Named(&'a [GroupId]),
}

impl Groups<'_> {
    fn include(self, group: GroupId) -> bool {
        match self {
            Groups::All => true,
            Groups::Named(groups) => groups.binary_search(&group).is_ok(),
        }
    }
}

/// The outcome of a delivery to subscriptions.
#[derive(Default)]
pub struct Delivered {
    /// Messages to clients of this server.
    pub count: usize,
    /// The groups that are to be served behind links.
    pub handed_on: HandedOnGroups,
    /// The subscriptions that end with this message.
    pub spent: SmallVec<[SubscriptionId; 2]>,
}

/// The parts of a node that a delivery needs.
pub struct Delivery<'a> {
    pub listeners: &'a Listeners,
    pub subjects: &'a mut Subjects,
    pub sessions: &'a Sessions,
    pub tree: &'a Tree,
    pub random: &'a mut Random,
    pub statistics: &'a mut Statistics,
    /// The buffer in which messages for many are encoded.
    pub payload: &'a mut Vec<u8>,
    /// The long line or frame that the signal came in.
    pub source: Option<&'a SharedBytes>,
    /// The connection that the signal came from.
    pub sender: ConnectionId,
}

/// The member that serves a group.
enum Choice {
    Local(SubscriptionId, ConnectionId),
    Link(HandedOn),
}

impl Delivery<'_> {
    /// Looks up who is to get a signal with that topic, and with that name for Clacks clients.
    pub fn look_up<O: Carrier>(&mut self, topic: Topic<'_>, name: Option<&[u8]>, out: &mut O) {
        let visited = self.subjects.find(topic, name, self.listeners);
        if visited > 0 {
            let found = self.subjects.found().len();
            out.add_work(visited * WORK_PER_NODE + found * WORK_PER_MATCH);
        }
    }

    /// Delivers a line to the Clacks clients that were looked up last. Returns to how many.
    pub fn deliver_line<O: Carrier>(&mut self, line: &[&[u8]], out: &mut O) -> usize {
        let Some((id, listeners)) = self.subjects.audience() else {
            return 0;
        };
        let audience = Audience {
            id,
            listeners,
            sender: Some(self.sender),
        };
        let deliveries = deliver_to(&audience, line, self.source, out);
        self.statistics
            .deliveries
            .add(Language::Clacks, deliveries as u64);
        deliveries
    }

    /// Reports whether a NATS client or a group was looked up last.
    pub fn reaches_subscriptions(&self) -> bool {
        let found = self.subjects.found();
        !found.plain.is_empty() || !found.members.is_empty()
    }

    /// Delivers a message to the NATS subscriptions that were looked up last: to each without a group, and to one member
    /// of each group.
    pub fn deliver_message<O: Carrier>(
        &mut self,
        message: &Message<'_>,
        groups: Groups<'_>,
        out: &mut O,
    ) -> Delivered {
        if !self.reaches_subscriptions() {
            return Delivered::default();
        }
        out.expect_deliveries();
        let silent = self.silent();
        let mut delivered = match self.deliver_to_all(message, silent, out) {
            Some(count) => Delivered {
                count,
                ..Delivered::default()
            },
            None => self.deliver_to_each(message, silent, out),
        };
        if !self.subjects.found().members.is_empty() {
            self.deliver_to_groups(message, (groups, silent), &mut delivered, out);
        }
        self.statistics
            .deliveries
            .add(Language::Nats, delivered.count as u64);
        delivered
    }

    /// Delivers a message to all subscriptions without a group at once. Returns to how many; `None` if some of them are to
    /// get it apart from the others.
    fn deliver_to_all<O: Carrier>(
        &mut self,
        message: &Message<'_>,
        silent: Option<ConnectionId>,
        out: &mut O,
    ) -> Option<usize> {
        if self.source.is_some() {
            // A long one is not encoded, but shared.
            return None;
        }
        let plain = self.subjects.plain_audience()?;
        let takes_headers = |id: &ConnectionId| takes_headers(self.sessions, *id);
        if message.header.is_some() && !plain.connections.iter().all(takes_headers) {
            return None;
        }
        let audience = Audience {
            id: plain.id,
            listeners: plain.connections,
            sender: silent,
        };
        empty(self.payload);
        match plain.sids {
            Sids::Equal(sid) => {
                answer::message(self.payload, sid, message);
                out.deliver_message(&audience, self.payload);
            }
            Sids::Differing(labels) => {
                let place = answer::message(self.payload, b"", message);
                let (before, after) = self.payload.split_at(place);
                out.deliver_labelled(&LabelledAudience { audience, labels }, before, after);
            }
        }
        Some(self.subjects.count_for_all(silent))
    }

    /// Delivers a message to the subscriptions without a group, to one after the other.
    fn deliver_to_each<O: Carrier>(
        &mut self,
        message: &Message<'_>,
        silent: Option<ConnectionId>,
        out: &mut O,
    ) -> Delivered {
        if self.subjects.found().plain.is_empty() {
            return Delivered::default();
        }
        let lines = Lines::of(message);
        let (sessions, source) = (self.sessions, self.source);
        let (count, spent) = self.subjects.deliver_plain(|to, sid| {
            let is_meant = Some(to) != silent;
            if is_meant {
                lines.append(to, sid, message, (sessions, source), out);
            }
            is_meant
        });
        Delivered {
            count,
            spent,
            ..Delivered::default()
        }
    }

    /// Delivers a message to a member of each group.
    fn deliver_to_groups<O: Carrier>(
        &mut self,
        message: &Message<'_>,
        (groups, silent): (Groups<'_>, Option<ConnectionId>),
        delivered: &mut Delivered,
        out: &mut O,
    ) {
        out.add_work(self.subjects.found().members.len() * WORK_PER_MEMBER);
        let lines = Lines::of(message);
        let (sessions, source) = (self.sessions, self.source);
        for choice in self.choose(groups, silent) {
            match choice {
                Choice::Link(link) => delivered.handed_on.push(link),
                Choice::Local(id, to) => {
                    if let Some((sid, is_spent)) = self.subjects.count_message(id) {
                        lines.append(to, sid, message, (sessions, source), out);
                        delivered.count += 1;
                        delivered.spent.extend(is_spent.then_some(id));
                    }
                }
            }
        }
    }

    /// The sender, if it does not get its own messages.
    fn silent(&self) -> Option<ConnectionId> {
        let session = self.sessions.get(self.sender)?;
        let conversation = session.nats.as_ref()?;
        (!conversation.wants_echo()).then_some(session.id)
    }

    /// Chooses who serves each group: a member of this server, else a link behind which there are some.
    fn choose(
        &mut self,
        groups: Groups<'_>,
        silent: Option<ConnectionId>,
    ) -> SmallVec<[Choice; 2]> {
        let Delivery {
            subjects,
            sessions,
            tree,
            random,
            sender,
            ..
        } = self;
        let mut choices = SmallVec::new();
        let members = &subjects.found().members;
        let of_groups = members.chunk_by(|one, other| one.group == other.group);
        for members in of_groups.filter(|members| groups.include(members[0].group)) {
            let locals = members.partition_point(|member| !member.is_link);
            let (locals, links) = members.split_at(locals);
            let takes_it = |member: &Member| {
                let session = sessions.get(member.connection);
                Some(member.connection) != silent && session.is_some_and(Session::is_served)
            };
            if let Some(member) = pick(locals, takes_it, random) {
                choices.push(Choice::Local(member.subscription, member.connection));
                continue;
            }
            let link_of = |member: &Member| {
                let link = tree.links.get(member.connection);
                link.filter(|link| link.is_up && member.connection != *sender)
            };
            let is_prompt = |member: &Member| link_of(member).is_some_and(|link| link.is_prompt());
            let is_up = |member: &Member| link_of(member).is_some();
            // A link stands for all that is behind it, however many patterns of the group match.
            let mut links: SmallVec<[Member; 4]> = SmallVec::from_slice(links);
            links.dedup_by_key(|member| member.connection);
            let picked = pick(&links, is_prompt, random).or_else(|| pick(&links, is_up, random));
            choices.extend(picked.map(|member| {
                Choice::Link(HandedOn {
                    link: member.connection,
                    group: member.group,
                })
            }));
        }
        choices
    }
}

/// Delivers a line; returns to how many. Inlined, since most signals go through here.
#[inline(always)]
pub(super) fn deliver_to<O: Carrier>(
    audience: &Audience<'_>,
    line: &[&[u8]],
    long_line: Option<&SharedBytes>,
    out: &mut O,
) -> usize {
    if let Some(source) = long_line
        && let Some(lines) = shared::Lines::sharing(line, source)
    {
        let mut deliveries = 0;
        for receiver in audience.receivers() {
            out.append_lines(receiver, &lines);
            deliveries += 1;
        }
        return deliveries;
    }
    out.deliver(audience, line)
}

/// Picks one of those that `may` be picked, each with the same probability.
fn pick<'a>(
    members: &'a [Member],
    may: impl Fn(&Member) -> bool,
    random: &mut Random,
) -> Option<&'a Member> {
    if members.is_empty() {
        return None;
    }
    let first = &members[random.below(members.len())];
    if may(first) {
        return Some(first);
    }
    // Seldom: somebody leaves, or does not get its own messages.
    let able = || members.iter().filter(|member| may(member));
    match able().count() {
        0 => None,
        count => able().nth(random.below(count)),
    }
}

/// A message's line for those who take headers, and for those who don't.
struct Lines {
    with_header: MessageLine,
    without: Option<MessageLine>,
}

impl Lines {
    fn of(message: &Message<'_>) -> Lines {
        let without = Message {
            header: None,
            ..*message
        };
        Lines {
            with_header: MessageLine::of(message),
            without: message.header.map(|_| MessageLine::of(&without)),
        }
    }

    /// Appends the message to the output of a connection, for its subscription with that sid.
    fn append<O: Carrier>(
        &self,
        to: ConnectionId,
        sid: &[u8],
        message: &Message<'_>,
        (sessions, source): (&Sessions, Option<&SharedBytes>),
        out: &mut O,
    ) {
        let parts = match &self.without {
            Some(without) if !takes_headers(sessions, to) => {
                without.parts(sid, b"", message.payload)
            }
            _ => {
                let header = message.header.unwrap_or_default();
                self.with_header.parts(sid, header, message.payload)
            }
        };
        out.append_line(to, &parts, source);
    }
}

/// Reports whether messages are sent to a connection with their header blocks.
fn takes_headers(sessions: &Sessions, id: ConnectionId) -> bool {
    sessions
        .get(id)
        .is_some_and(Session::takes_headers_of_messages)
}
