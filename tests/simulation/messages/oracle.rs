//! Knows who subscribes to what and who has got what, and says what is wrong with it.

use super::contents::{Content, Topic, matches};
use crate::simulation::nats::Message;
use crate::simulation::witness::Departure;
use crate::simulation::world::World;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A connection of a client: its node, its number there, and how many this client had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    pub node: usize,
    pub client: usize,
    pub serial: usize,
}

/// How a NATS client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    pub wants_echo: bool,
    pub takes_headers: bool,
}

#[derive(Debug)]
pub enum Interest {
    Nats {
        sid: String,
        pattern: String,
        group: Option<String>,
    },
    /// Of a Clacks client that listens to these names.
    Names(&'static [&'static str]),
    /// Of a Clacks client that listens to patterns; one more than those that it had from the beginning.
    Patterns(Vec<String>, Option<String>),
}

#[derive(Debug)]
pub struct Subscription {
    pub of: Connection,
    pub interest: Interest,
    /// The first message that was sent after it had begun.
    since: usize,
    ended_us: Option<u64>,
    /// It ends after so many messages.
    max: Option<usize>,
    got: BTreeSet<usize>,
}

impl Subscription {
    pub fn group(&self) -> Option<&str> {
        match &self.interest {
            Interest::Nats { group, .. } => group.as_deref(),
            _ => None,
        }
    }

    pub fn sid(&self) -> Option<&str> {
        match &self.interest {
            Interest::Nats { sid, .. } => Some(sid),
            _ => None,
        }
    }

    /// The pattern of a NATS client.
    pub fn pattern(&self) -> &str {
        match &self.interest {
            Interest::Nats { pattern, .. } => pattern,
            _ => "",
        }
    }

    pub fn has_ended(&self) -> bool {
        self.ended_us.is_some()
    }

    /// Reports whether a message with that name and that subject is wanted.
    fn wants(&self, name: &str, subject: &str) -> bool {
        let is_wanted = |pattern: &String| matches(pattern.split("::"), name.split("::"));
        match &self.interest {
            Interest::Nats { pattern, .. } => matches(pattern.split('.'), subject.split('.')),
            Interest::Names(names) => names.contains(&name),
            Interest::Patterns(patterns, other) => patterns.iter().chain(other).any(is_wanted),
        }
    }

    /// Reports whether it has always wanted a message with that name and that subject, from each sender but itself, as
    /// long as it lasts.
    fn is_owed(&self, name: &str, subject: &str) -> bool {
        let is_of_all = self.group().is_none() && self.max.is_none();
        let wants = match &self.interest {
            Interest::Patterns(patterns, _) => {
                let mut patterns = patterns.iter();
                patterns.any(|pattern| matches(pattern.split("::"), name.split("::")))
            }
            _ => self.wants(name, subject),
        };
        is_of_all && wants
    }
}

pub struct Sent {
    pub from: Departure,
    pub sender: Connection,
    pub topic: Topic,
    pub content: Content,
    /// The Clacks clients get the NOTIFY line.
    pub is_notify: bool,
    pub reply: Option<String>,
    pub header: Option<Vec<u8>>,
    pub wants_echo: bool,
    /// Who got it as a member of a group, by the part of the tree and the group.
    pub served: BTreeMap<(usize, String), Connection>,
}

impl Sent {
    fn line(&self) -> String {
        let (name, value) = (&self.topic.name, &self.content.value);
        match self.is_notify {
            true => format!("NOTIFY {name}"),
            false => format!("SET {name}={value}"),
        }
    }
}

pub struct Oracle {
    /// The part of the tree that each node is in: parts are joined by Net::Clacks servers, which are parts of their own.
    parts: Vec<usize>,
    pub subscriptions: Vec<Subscription>,
    pub sent: Vec<Sent>,
    by_payload: HashMap<Vec<u8>, usize>,
    by_line: HashMap<String, usize>,
    /// The newest message of each sender that each subscription has got.
    newest: BTreeMap<(usize, Connection), usize>,
    /// Moments at which members of groups came or went.
    changes_us: Vec<u64>,
    /// Answers that have come, by the reply subject.
    pub answers: BTreeMap<String, usize>,
    /// Deliveries to groups that were sure to be made.
    pub sure: u64,
    pub fault: Option<String>,
}

impl Oracle {
    pub fn new(parts: Vec<usize>) -> Oracle {
        Oracle {
            parts,
            subscriptions: Vec::new(),
            sent: Vec::new(),
            by_payload: HashMap::new(),
            by_line: HashMap::new(),
            newest: BTreeMap::new(),
            changes_us: Vec::new(),
            answers: BTreeMap::new(),
            sure: 0,
            fault: None,
        }
    }

    pub fn blame(&mut self, now_us: u64, what: String) {
        self.fault
            .get_or_insert_with(|| format!("at {now_us} us: {what}"));
    }

    pub fn begin(&mut self, of: Connection, interest: Interest, now_us: u64) {
        let subscription = Subscription {
            of,
            interest,
            since: self.sent.len(),
            ended_us: None,
            max: None,
            got: BTreeSet::new(),
        };
        if subscription.group().is_some() {
            self.changes_us.push(now_us);
        }
        self.subscriptions.push(subscription);
    }

    pub fn end(&mut self, subscription: usize, now_us: u64) {
        let subscription = &mut self.subscriptions[subscription];
        subscription.ended_us.get_or_insert(now_us);
        if subscription.group().is_some() {
            self.changes_us.push(now_us);
        }
    }

    /// All connections of a client, or of a node, have ended.
    pub fn end_all(&mut self, now_us: u64, is_gone: impl Fn(Connection) -> bool) {
        for number in 0..self.subscriptions.len() {
            let subscription = &self.subscriptions[number];
            if is_gone(subscription.of) && !subscription.has_ended() {
                self.end(number, now_us);
            }
        }
    }

    /// A subscription is to end after so many messages.
    pub fn limit(&mut self, number: usize, max: usize, now_us: u64) {
        let subscription = &mut self.subscriptions[number];
        subscription.max = Some(max);
        if subscription.got.len() >= max {
            self.end(number, now_us);
        }
    }

    pub fn send(&mut self, sent: Sent) {
        let number = self.sent.len();
        if !sent.content.payload.is_empty() {
            self.by_payload.insert(sent.content.payload.clone(), number);
        }
        self.by_line.insert(sent.line(), number);
        self.sent.push(sent);
    }

    /// The groups that have a member at a message's own server that takes it.
    pub fn groups_at_sender(&self, message: usize) -> BTreeSet<String> {
        let sent = &self.sent[message];
        let subscriptions = self.subscriptions.iter();
        let takes_it = |other: &&Subscription| {
            other.of.node == sent.sender.node && self.is_member_for(other, message)
        };
        let members = subscriptions.filter(takes_it);
        members
            .filter_map(|member| Some(member.group()?.to_owned()))
            .collect()
    }

    /// Checks that a message that was just handled by its server went to members there of these groups.
    pub fn check_served_at_sender(
        &mut self,
        message: usize,
        groups: BTreeSet<String>,
        now_us: u64,
    ) {
        let (node, part) = {
            let node = self.sent[message].sender.node;
            (node, self.parts[node])
        };
        for group in groups {
            let served = self.sent[message].served.get(&(part, group.clone()));
            if served.is_none_or(|served| served.node != node) {
                let (sender, topic) = (self.sent[message].sender, &self.sent[message].topic);
                let what = format!(
                    "message {message} of {sender:?} to {topic:?} went to {served:?} of group {group}, not to a member there"
                );
                self.blame(now_us, what);
            }
        }
    }

    /// Reports whether a subscription is a member of a group that may get a message.
    fn is_member_for(&self, subscription: &Subscription, message: usize) -> bool {
        let (of, sent) = (subscription.of, &self.sent[message]);
        subscription.group().is_some()
            && !subscription.has_ended()
            && (of != sent.sender || sent.wants_echo)
            && subscription.wants(&sent.topic.name, self.subject_at(message, of.node))
    }

    /// The subject that NATS clients of a node get a message with.
    fn subject_at(&self, message: usize, node: usize) -> &str {
        let sent = &self.sent[message];
        match self.parts[node] == self.parts[sent.sender.node] {
            true => &sent.topic.subject,
            false => &sent.topic.of_name,
        }
    }

    /// A line has come to a Clacks client.
    pub fn hear_line(&mut self, of: Connection, line: &str, now_us: u64) {
        if line.starts_with("NOP") {
            return;
        }
        let Some(&message) = self.by_line.get(line) else {
            return self.blame(now_us, format!("{of:?} got {line:?}"));
        };
        let listening = self.subscriptions.iter();
        let mut listening = listening.enumerate();
        let found = listening.find(|(_, other)| other.of == of && !other.has_ended());
        match found.map(|(number, _)| number) {
            Some(subscription) => self.take(subscription, message, now_us),
            None => self.blame(now_us, format!("{of:?} does not listen and got {line:?}")),
        }
    }

    /// A message has come to a NATS client. Returns the subscription that it was for.
    pub fn hear(
        &mut self,
        of: Connection,
        manner: Manner,
        heard: &Message,
        now_us: u64,
    ) -> Option<usize> {
        let by_subject = || {
            let name = heard.subject.replace('.', "::");
            self.by_line.get(&format!("NOTIFY {name}"))
        };
        let message = match heard.payload.is_empty() {
            true => by_subject(),
            false => self.by_payload.get(&heard.payload),
        };
        let Some(&message) = message else {
            self.blame(now_us, format!("{of:?} got {heard:?}"));
            return None;
        };
        let sent = &self.sent[message];
        let is_near = self.parts[of.node] == self.parts[sent.sender.node];
        let expected = Message {
            subject: self.subject_at(message, of.node).to_owned(),
            sid: heard.sid.clone(),
            reply: sent.reply.clone().filter(|_| is_near),
            header: sent
                .header
                .clone()
                .filter(|_| is_near && manner.takes_headers),
            payload: sent.content.payload.clone(),
        };
        if *heard != expected {
            let what = format!("{of:?} got {heard:?} of message {message}, not {expected:?}");
            self.blame(now_us, what);
            return None;
        }
        let own = |other: &Subscription| {
            (other.of, other.sid(), other.has_ended()) == (of, Some(&*heard.sid), false)
        };
        let subscription = self.subscriptions.iter().position(own);
        match subscription {
            Some(subscription) => self.take(subscription, message, now_us),
            None => self.blame(now_us, format!("{of:?} has no subscription for {heard:?}")),
        }
        subscription
    }

    /// A subscription gets a message.
    fn take(&mut self, number: usize, message: usize, now_us: u64) {
        let sent = &self.sent[message];
        let subscription = &self.subscriptions[number];
        let of = subscription.of;
        let newest = self.newest.get(&(number, sent.sender)).copied();
        let is_own = of == sent.sender && !(sent.wants_echo && subscription.sid().is_some());
        let wants = subscription.wants(&sent.topic.name, self.subject_at(message, of.node));
        let fault = if subscription.got.contains(&message) {
            "twice"
        } else if newest.is_some_and(|newest| newest > message) {
            "after a later one of its sender"
        } else if !wants {
            "without wanting it"
        } else if is_own {
            "from itself"
        } else {
            ""
        };
        if !fault.is_empty() {
            let interest = &subscription.interest;
            let (from, topic) = (sent.sender, &sent.topic);
            let what = format!(
                "{of:?} with {interest:?} got message {message} of {from:?} to {topic:?} {fault}"
            );
            return self.blame(now_us, what);
        }
        self.newest.insert((number, sent.sender), message);
        if let Some(group) = subscription.group() {
            let key = (self.parts[of.node], group.to_owned());
            let former = self.sent[message].served.insert(key, of);
            if let Some(former) = former {
                let group = self.subscriptions[number].group();
                let what =
                    format!("group {group:?} got message {message} twice: {former:?} and {of:?}");
                self.blame(now_us, what);
            }
        }
        let subscription = &mut self.subscriptions[number];
        subscription.got.insert(message);
        if subscription.max == Some(subscription.got.len()) {
            self.end(number, now_us);
        }
    }

    /// Checks that every subscription without a group has got each message whose way to it was clear for `settling_us`.
    pub fn check_arrivals(&mut self, world: &World, settling_us: u64) {
        let mut fault = None;
        for (message, sent) in self.sent.iter().enumerate() {
            let nodes = 0..self.parts.len();
            let is_clear = nodes.map(|node| sent.from.has_clear_way(world, node, settling_us));
            let is_clear: Vec<bool> = is_clear.collect();
            let end_us = sent.from.at_us + settling_us;
            let is_owed = |other: &&Subscription| {
                let of = other.of;
                let is_silent = of == sent.sender && (other.sid().is_none() || !sent.wants_echo);
                is_clear[of.node]
                    && !is_silent
                    && other.since <= message
                    && other.ended_us.is_none_or(|ended_us| ended_us > end_us)
                    && other.is_owed(&sent.topic.name, self.subject_at(message, of.node))
            };
            let owed = self.subscriptions.iter().filter(is_owed);
            let lost = owed.into_iter().find(|other| !other.got.contains(&message));
            if let Some(lost) = lost {
                let (from, of) = (sent.sender, lost.of);
                let interest = &lost.interest;
                fault.get_or_insert(format!(
                    "message {message} of {from:?} was lost on its way to {of:?} with {interest:?}"
                ));
            }
        }
        if let Some(fault) = fault {
            self.blame(world.now_us, fault);
        }
    }

    /// Checks the messages from number `from` on, sent while all was quiet: each group that has a member got each of them
    /// once in each part of the tree, by a member where it entered, if there is one.
    pub fn check_groups(&mut self, world: &World, from: usize, settling_us: u64) {
        for message in from..self.sent.len() {
            if !self.was_quiet(world, message, settling_us) {
                continue;
            }
            let mut members: BTreeMap<(usize, String), Vec<Connection>> = BTreeMap::new();
            for subscription in &self.subscriptions {
                let of = subscription.of;
                if let Some(group) = subscription.group()
                    && self.is_member_for(subscription, message)
                {
                    let key = (self.parts[of.node], group.to_owned());
                    members.entry(key).or_default().push(of);
                }
            }
            for ((part, group), members) in members {
                self.sure += 1;
                let served = self.sent[message].served.get(&(part, group.clone()));
                let entrance = self.entrance(message, part);
                let is_there = |member: &Connection| Some(member.node) == entrance;
                let fault = match served {
                    None => "was lost".to_owned(),
                    Some(served) if !is_there(served) && members.iter().any(is_there) => {
                        format!("went on to {served:?}")
                    }
                    _ => continue,
                };
                let Sent { sender, topic, .. } = &self.sent[message];
                let what = format!(
                    "message {message} of {sender:?} to {topic:?} for group {group} of {members:?} {fault}"
                );
                self.blame(world.now_us, what);
            }
        }
    }

    /// Checks that a request that was sent while all was quiet got one answer, if it reached a member of that group that
    /// could see where to send it.
    pub fn check_answer(
        &mut self,
        world: &World,
        message: usize,
        group: &str,
        reply: &str,
        settling_us: u64,
    ) {
        let sent = &self.sent[message];
        let part = self.parts[sent.sender.node];
        let is_served = sent.served.contains_key(&(part, group.to_owned()));
        let expected = usize::from(is_served);
        let answers = self.answers.get(reply).copied().unwrap_or(0);
        if self.was_quiet(world, message, settling_us) && answers != expected {
            let from = sent.sender;
            let what =
                format!("request {message} of {from:?} got {answers} answers, not {expected}");
            self.blame(world.now_us, what);
        }
    }

    /// The node at which a message enters a part of the tree.
    fn entrance(&self, message: usize, part: usize) -> Option<usize> {
        let from = &self.sent[message].from;
        if self.parts[from.node] == part {
            return Some(from.node);
        }
        // The one that is fewest links away.
        let nodes = (0..self.parts.len()).filter(|node| self.parts[*node] == part);
        nodes.min_by_key(|node| from.distance(*node))
    }

    /// Reports whether nothing changed for `settling_us` before a message and after it: all links were up, and no member
    /// of a group came or went.
    fn was_quiet(&self, world: &World, message: usize, settling_us: u64) -> bool {
        let from = &self.sent[message].from;
        let (begin_us, end_us) = (
            from.at_us.saturating_sub(settling_us),
            from.at_us + settling_us,
        );
        let is_within = |at_us: &u64| (begin_us..=end_us).contains(at_us);
        let links = from.masters.iter().enumerate();
        let mut links = links.filter_map(|(slave, master)| Some((slave, (*master)?)));
        !self.changes_us.iter().any(is_within)
            && links.all(|(slave, master)| world.network.was_up(slave, master, begin_us, end_us))
    }
}

impl Sent {
    pub fn new(world: &World, sender: Connection, topic: Topic, content: Content) -> Sent {
        Sent {
            from: Departure::now(world, sender.node),
            sender,
            topic,
            content,
            is_notify: false,
            reply: None,
            header: None,
            wants_echo: true,
            served: BTreeMap::new(),
        }
    }
}
