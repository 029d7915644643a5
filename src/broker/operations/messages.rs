//! Messages: signals on their way to those who subscribe to patterns and subjects, and those that NATS clients send.

use super::signals::{Signal, deliver_to};
use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::events::{Audience, ConnectionId, Now};
use crate::broker::interclacks::{Carried, HandedOn, HandedOnGroups, SignalScope};
use crate::broker::session::Session;
use crate::broker::subjects::{GroupId, Member, SubscriptionId, Topic};
use crate::limits::WORK_PER_NODE;
use crate::protocol::encode;
use crate::protocol::nats::answer::{Message, MessageLine};
use crate::protocol::nats::names::{MAX_SUBJECT, Named, name_of, subject_of};
use crate::protocol::nats::subject;
use crate::protocol::peer;
use crate::protocol::shown::{shown, taken};
use smallvec::SmallVec;
use std::borrow::Cow;

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
    /// Those of which another server says so.
    Named(&'a [GroupId]),
}

impl Groups<'_> {
    fn include(self, group: GroupId) -> bool {
        match self {
            Groups::All => true,
            Groups::Named(groups) => groups.contains(&group),
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
}

/// The member that serves a group.
enum Choice {
    Local(SubscriptionId, ConnectionId),
    Link(HandedOn),
}

impl Broker {
    /// Sends a message of a NATS client to everybody who listens, at whatever server. Returns the number of deliveries to
    /// clients of this server.
    pub(in crate::broker) fn publish_message<O: Carrier>(
        &mut self,
        sender: ConnectionId,
        message: &Message<'_>,
        now: Now,
        out: &mut O,
    ) -> usize {
        self.statistics.signals += 1;
        let is_for_clacks = self.listeners.names() > 0
            || self.subjects.has_patterns_of_clacks()
            || !self.tree.links.is_empty()
            || !self.monitors.is_empty();
        let named = is_for_clacks.then(|| name_of(message.subject));
        let value = shown(message.payload);
        let mut count = 0;
        if let Some(Named { name, is_exact }) = &named {
            let signal = Signal {
                name,
                line: &encode::set(name, &value),
                value: &value,
            };
            count += self.deliver_to_listeners(Some(sender), &signal, out);
            if !is_exact {
                count += self.deliver_to_clacks_patterns(Some(sender), &signal, out);
            }
        }
        let exact = named.as_ref().filter(|named| named.is_exact);
        let exact = exact.map(|named| &named.name[..]);
        self.look_up_subscriptions(Topic::Subject(message.subject), exact, out);
        if let Some(name) = exact {
            count += self.deliver_to_audience(Some(sender), &encode::set(name, &value), out);
        }
        let delivered = self.deliver_message(Some(sender), message, Groups::All, out);
        if let Some(Named { name, is_exact }) = &named {
            let line = encode::set(name, &value);
            let extras = Extras {
                subject: (!is_exact).then_some(message.subject),
                reply: message.reply,
                header: message.header,
            };
            self.forward_message(sender, &line, &extras, &delivered.handed_on, now, out);
            if !self.monitors.is_empty() {
                self.mirror(sender, &line.concat(), out);
            }
        }
        count + delivered.count
    }

    fn forward_message<O: Carrier>(
        &mut self,
        sender: ConnectionId,
        line: &[&[u8]],
        extras: &Extras<'_>,
        handed_on: &[HandedOn],
        now: Now,
        out: &mut O,
    ) {
        if self.tree.links.is_empty() {
            return;
        }
        let mut options = Vec::new();
        peer::encode_options(&mut options, extras.subject, extras.reply, extras.header);
        let carried = Carried {
            options: &options,
            handed_on,
        };
        self.forward_new_signal(sender, line, carried, SignalScope::All, now, out);
    }

    /// Delivers a signal to those at this server who subscribe to a pattern of its name or of its subject. Clacks clients
    /// that listen to the name itself have got it already. Returns the groups that are to be served behind links.
    #[cold]
    pub(in crate::broker) fn deliver_to_subscriptions<O: Carrier>(
        &mut self,
        sender: Option<ConnectionId>,
        signal: &Signal<'_>,
        extras: &Extras<'_>,
        groups: Groups<'_>,
        out: &mut O,
    ) -> HandedOnGroups {
        self.deliver_to_clacks_patterns(sender, signal, out);
        if let Some(subject) = extras.subject {
            self.look_up_subscriptions(Topic::Subject(subject), None, out);
        }
        let found = self.subjects.found();
        if found.plain.is_empty() && found.members.is_empty() {
            return HandedOnGroups::new();
        }
        let subject = match extras.subject {
            Some(subject) => Cow::Borrowed(subject),
            None => Cow::Owned(subject_of(signal.name)),
        };
        if subject.len() > MAX_SUBJECT {
            return HandedOnGroups::new();
        }
        let message = Message {
            subject: &subject,
            reply: extras.reply,
            header: extras.header,
            payload: &taken(signal.value),
        };
        let delivered = self.deliver_message(sender, &message, groups, out);
        delivered.handed_on
    }

    /// Delivers a signal to the Clacks clients at this server that listen to a pattern of its name and not to the name
    /// itself. Returns to how many.
    fn deliver_to_clacks_patterns<O: Carrier>(
        &mut self,
        sender: Option<ConnectionId>,
        signal: &Signal<'_>,
        out: &mut O,
    ) -> usize {
        self.look_up_subscriptions(Topic::Name(signal.name), Some(signal.name), out);
        self.deliver_to_audience(sender, signal.line, out)
    }

    /// Looks up who is to get a signal with that topic, and with that name for Clacks clients.
    pub(in crate::broker) fn look_up_subscriptions<O: Carrier>(
        &mut self,
        topic: Topic<'_>,
        name: Option<&[u8]>,
        out: &mut O,
    ) {
        let visited = self.subjects.find(topic, name, &self.listeners);
        out.add_work(visited * WORK_PER_NODE);
    }

    /// Delivers a line to the Clacks clients that were looked up last. Returns to how many.
    fn deliver_to_audience<O: Carrier>(
        &mut self,
        sender: Option<ConnectionId>,
        line: &[&[u8]],
        out: &mut O,
    ) -> usize {
        let Some((id, listeners)) = self.subjects.audience() else {
            return 0;
        };
        let audience = Audience {
            id,
            listeners,
            sender,
        };
        let long_line = self.long_line.as_ref();
        let deliveries = deliver_to(&audience, line, long_line, &mut self.payload, out);
        self.statistics.deliveries += deliveries as u64;
        deliveries
    }

    /// Delivers a message to the NATS subscriptions that were looked up last: to each without a group, and to one member
    /// of each group.
    fn deliver_message<O: Carrier>(
        &mut self,
        sender: Option<ConnectionId>,
        message: &Message<'_>,
        groups: Groups<'_>,
        out: &mut O,
    ) -> Delivered {
        let found = self.subjects.found();
        if found.plain.is_empty() && found.members.is_empty() {
            return Delivered::default();
        }
        let (choices, silent) = (self.choose(sender, groups), self.silent(sender));
        let lines = Lines::of(message);
        let Broker {
            subjects,
            sessions,
            long_line,
            ..
        } = self;
        let source = long_line.as_ref();
        let mut send = |to: ConnectionId, sid: &[u8]| {
            let takes_headers = message.header.is_none()
                || (sessions.get(to)).is_some_and(Session::takes_headers_of_messages);
            let parts = lines.parts(sid, message, takes_headers);
            out.append_line(to, &parts, source);
        };
        let (mut count, mut spent) = subjects.deliver_plain(|to, sid| {
            let is_meant = Some(to) != silent;
            if is_meant {
                send(to, sid);
            }
            is_meant
        });
        let mut handed_on = SmallVec::new();
        for choice in choices {
            match choice {
                Choice::Link(link) => handed_on.push(link),
                Choice::Local(id, to) => {
                    if let Some((sid, is_spent)) = subjects.count_message(id) {
                        send(to, sid);
                        count += 1;
                        spent.extend(is_spent.then_some(id));
                    }
                }
            }
        }
        self.statistics.deliveries += count as u64;
        self.end_spent(&spent, out);
        Delivered { count, handed_on }
    }

    /// The connection that does not get its own messages.
    fn silent(&self, sender: Option<ConnectionId>) -> Option<ConnectionId> {
        let session = self.sessions.get(sender?)?;
        let conversation = session.nats.as_ref()?;
        (!conversation.wants_echo()).then_some(session.id)
    }

    /// Chooses who serves each group: a member of this server, else a link behind which there are some.
    fn choose(
        &mut self,
        sender: Option<ConnectionId>,
        groups: Groups<'_>,
    ) -> SmallVec<[Choice; 2]> {
        let silent = self.silent(sender);
        let Broker {
            subjects,
            sessions,
            tree,
            random,
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
            if let Some(member) = pick(locals, takes_it, |below| random.below(below)) {
                choices.push(Choice::Local(member.subscription, member.connection));
                continue;
            }
            let link_of = |member: &Member| {
                let link = tree.links.get(member.connection);
                link.filter(|link| link.is_up && Some(member.connection) != sender)
            };
            let is_prompt = |member: &Member| link_of(member).is_some_and(|link| link.is_prompt());
            let is_up = |member: &Member| link_of(member).is_some();
            let mut links: SmallVec<[Member; 4]> = SmallVec::from_slice(links);
            links.dedup_by_key(|member| member.connection);
            let picked = pick(&links, is_prompt, |below| random.below(below))
                .or_else(|| pick(&links, is_up, |below| random.below(below)));
            choices.extend(picked.map(|member| {
                Choice::Link(HandedOn {
                    link: member.connection,
                    group: member.group,
                })
            }));
        }
        choices
    }

    /// Ends subscriptions that have got as many messages as they were to get.
    fn end_spent<O: Carrier>(&mut self, spent: &[SubscriptionId], out: &mut O) {
        for &id in spent {
            if let Some((connection, _)) = self.subjects.nats(id) {
                self.end_subscription(connection, id, out);
            }
        }
        if !spent.is_empty() {
            self.announce_groups(out);
        }
    }

    /// Ends one subscription of a session.
    fn end_subscription<O: Carrier>(
        &mut self,
        connection: ConnectionId,
        subscription: SubscriptionId,
        out: &mut O,
    ) {
        let session = self.sessions.get_mut(connection);
        // Those of a session on its way out end with it.
        if let Some(session) = session.filter(|session| session.closing.is_none()) {
            let memory = self.subjects.end(subscription, &mut session.subjects);
            out.charge_memory(connection, -memory);
        }
    }

    /// From now on the NATS client gets messages with subjects that match the pattern, under that sid.
    pub(in crate::broker) fn subscribe_to_subject<O: Carrier>(
        &mut self,
        id: ConnectionId,
        pattern: &[u8],
        group: Option<&[u8]>,
        sid: &[u8],
        out: &mut O,
    ) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let own = &mut session.subjects;
        if let Some(memory) = self.subjects.subscribe(pattern, group, sid, id, own) {
            out.charge_memory(id, memory);
            self.announce_groups(out);
        }
    }

    /// The NATS client's subscription with that sid ends: now, or after so many messages, counted from its beginning.
    pub(in crate::broker) fn unsubscribe_from_subject<O: Carrier>(
        &mut self,
        id: ConnectionId,
        sid: &[u8],
        max: Option<u32>,
        out: &mut O,
    ) {
        let Some(subscription) = self.subjects.with_sid(id, sid) else {
            return;
        };
        if max.is_none_or(|max| self.subjects.limit(subscription, max)) {
            self.end_subscription(id, subscription, out);
            self.announce_groups(out);
        }
    }

    /// A sid under which the client has a subscription without a group that matches a subject.
    pub(in crate::broker) fn plain_sid<O: Carrier>(
        &mut self,
        id: ConnectionId,
        subject: &[u8],
        out: &mut O,
    ) -> Option<SmallVec<[u8; 16]>> {
        if !subject::is_valid(subject) {
            return None;
        }
        self.look_up_subscriptions(Topic::Subject(subject), None, out);
        let plain = self.subjects.found().plain.iter();
        let mut subscriptions = plain.filter_map(|&subscription| self.subjects.nats(subscription));
        let (_, own) = subscriptions.find(|(connection, _)| *connection == id)?;
        Some(own.sid.clone())
    }
}

/// Picks one of those that `may` be picked, each with the same probability. `random` draws a number below another one.
fn pick<'a>(
    members: &'a [Member],
    may: impl Fn(&Member) -> bool,
    mut random: impl FnMut(usize) -> usize,
) -> Option<&'a Member> {
    if members.is_empty() {
        return None;
    }
    let first = &members[random(members.len())];
    if may(first) {
        return Some(first);
    }
    // Seldom: somebody leaves, or does not get its own messages.
    let able = || members.iter().filter(|member| may(member));
    match able().count() {
        0 => None,
        count => able().nth(random(count)),
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

    fn parts<'a>(
        &'a self,
        sid: &'a [u8],
        message: &Message<'a>,
        takes_headers: bool,
    ) -> [&'a [u8]; 5] {
        match &self.without {
            Some(without) if !takes_headers => without.parts(sid, b"", message.payload),
            _ => {
                let header = message.header.unwrap_or_default();
                self.with_header.parts(sid, header, message.payload)
            }
        }
    }
}
