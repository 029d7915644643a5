//! The clients of a world in which messages are sent: they subscribe, publish, ask and answer, and tell the oracle.

use super::contents::{CLACKS_PATTERNS, Content, NAMES, PATTERNS, Topic};
use super::oracle::{Connection, Interest, Manner, Oracle, Sent};
use crate::simulation::nats::Message;
use crate::simulation::world::World;
use clacks::protocol::Language;

/// The clients of a node.
const WRITER: usize = 0;
const LISTENER: usize = 1;
const PATTERN_LISTENER: usize = 2;
const FIRST_OF_NATS: usize = 3;
const CLIENTS: [Language; 6] = [
    Language::Clacks,
    Language::Clacks,
    Language::Clacks,
    Language::Nats,
    Language::Nats,
    Language::Nats,
];
/// Those of NATS.
const MANNERS: [Manner; 3] = [
    Manner {
        wants_echo: true,
        takes_headers: true,
    },
    Manner {
        wants_echo: true,
        takes_headers: false,
    },
    Manner {
        wants_echo: false,
        takes_headers: true,
    },
];
const GROUPS: [&str; 3] = [WORKERS, "audit", "q=x"];
/// Its members answer requests.
pub const WORKERS: &str = "workers";
const SERVICE: &str = "svc.*";
/// Requests have such subjects, and answers such ones.
const OF_SERVICE: &str = "svc.";
const OF_INBOX: &str = "_INBOX.";
/// Everything is looked at once in so many events.
const CHECK_EVERY: u64 = 32;

pub struct Talk {
    pub oracle: Oracle,
    pub net_clacks: Option<usize>,
    /// The number of former connections of each client of each node.
    serials: Vec<[usize; CLIENTS.len()]>,
    /// Numbers of sids and of requests.
    last_number: usize,
    events: u64,
}

impl Talk {
    /// Gives all nodes their clients.
    pub fn begin(world: &mut World, parts: Vec<usize>, net_clacks: Option<usize>) -> Talk {
        let nodes = world.nodes.len();
        let mut talk = Talk {
            oracle: Oracle::new(parts),
            net_clacks,
            serials: vec![[0; CLIENTS.len()]; nodes],
            last_number: 0,
            events: 0,
        };
        for node in 0..nodes {
            for &language in talk.languages(node) {
                world.add_client(node, language);
            }
            talk.settle_in(world, node);
        }
        talk
    }

    /// The clients of a node: a Net::Clacks server knows neither patterns nor NATS.
    fn languages(&self, node: usize) -> &'static [Language] {
        match Some(node) == self.net_clacks {
            true => &CLIENTS[..PATTERN_LISTENER],
            false => &CLIENTS,
        }
    }

    fn connection(&self, node: usize, client: usize) -> Connection {
        Connection {
            node,
            client,
            serial: self.serials[node][client],
        }
    }

    /// A NATS client.
    pub fn any_client(&self, world: &mut World) -> (usize, usize) {
        loop {
            let node = world.any_node();
            if Some(node) != self.net_clacks {
                let client = world.random.below(MANNERS.len() as u64) as usize;
                return (node, FIRST_OF_NATS + client);
            }
        }
    }

    /// Connections of a node's clients are new: they subscribe.
    fn settle_in(&mut self, world: &mut World, node: usize) {
        for client in 0..self.languages(node).len() {
            self.introduce(world, node, client);
        }
    }

    fn introduce(&mut self, world: &mut World, node: usize, client: usize) {
        let of = self.connection(node, client);
        match client {
            // The writer listens to what it sends: it must never get it.
            WRITER => self.listen(world, of, &NAMES[..1]),
            LISTENER => self.listen(world, of, &NAMES),
            PATTERN_LISTENER => {
                let patterns = [0; 2].map(|_| world.random.pick(&CLACKS_PATTERNS).to_owned());
                for pattern in &patterns {
                    world.say(node, client, &format!("PLISTEN {pattern}"));
                }
                let interest = Interest::Patterns(patterns.into(), None);
                self.oracle.begin(of, interest, world.now_us);
            }
            _ => {
                let Manner {
                    wants_echo,
                    takes_headers,
                } = MANNERS[client - FIRST_OF_NATS];
                let line = format!(
                    "CONNECT {{\"verbose\":false,\"pedantic\":false,\"echo\":{wants_echo},\"headers\":{takes_headers}}}\r"
                );
                world.say(node, client, &line);
                let inbox = format!("{OF_INBOX}{node}.{client}.{}.*", of.serial);
                self.subscribe(world, of, inbox, None);
                self.subscribe_any(world, node, client);
                self.subscribe_any(world, node, client);
            }
        }
        self.hear(world, node);
    }

    fn listen(&mut self, world: &mut World, of: Connection, names: &'static [&'static str]) {
        for name in names {
            world.say(of.node, of.client, &format!("LISTEN {name}"));
        }
        self.oracle.begin(of, Interest::Names(names), world.now_us);
    }

    pub fn subscribe_any(&mut self, world: &mut World, node: usize, client: usize) {
        let (pattern, group) = (
            world.random.pick(&PATTERNS).to_owned(),
            world.random.pick(&GROUPS),
        );
        let of = self.connection(node, client);
        match world.random.below(6) {
            0 => self.subscribe(world, of, SERVICE.to_owned(), Some(WORKERS)),
            1..4 => self.subscribe(world, of, pattern, Some(group)),
            _ => self.subscribe(world, of, pattern, None),
        }
    }

    fn subscribe(
        &mut self,
        world: &mut World,
        of: Connection,
        pattern: String,
        group: Option<&str>,
    ) {
        self.last_number += 1;
        let sid = format!("s{}", self.last_number);
        let line = match group {
            Some(group) => format!("SUB {pattern} {group} {sid}\r"),
            None => format!("SUB {pattern} {sid}\r"),
        };
        world.say(of.node, of.client, &line);
        let interest = Interest::Nats {
            sid,
            pattern,
            group: group.map(str::to_owned),
        };
        self.oracle.begin(of, interest, world.now_us);
    }

    /// A client's subscription ends, at once or after some messages. Inboxes stay.
    pub fn unsubscribe(&mut self, world: &mut World, node: usize, client: usize) {
        let of = self.connection(node, client);
        let own = |number: &usize| {
            let subscription = &self.oracle.subscriptions[*number];
            let is_inbox = subscription.pattern().starts_with(OF_INBOX);
            subscription.of == of && !subscription.has_ended() && !is_inbox
        };
        let all = 0..self.oracle.subscriptions.len();
        let own: Vec<usize> = all.filter(own).collect();
        if own.is_empty() {
            return;
        }
        let number = world.random.pick(&own);
        let sid = self.oracle.subscriptions[number].sid();
        let sid = sid.expect("those of NATS have one").to_owned();
        if world.random.one_in(3) {
            let max = 1 + world.random.below(8) as usize;
            world.say(node, client, &format!("UNSUB {sid} {max}\r"));
            self.oracle.limit(number, max, world.now_us);
        } else {
            world.say(node, client, &format!("UNSUB {sid}\r"));
            self.oracle.end(number, world.now_us);
        }
    }

    /// A Clacks client listens to one pattern more, or no longer does. Where a Net::Clacks master may lock its slaves, it
    /// might have to wait.
    pub fn change_patterns(&mut self, world: &mut World, node: usize) {
        if self.net_clacks.is_some() {
            return;
        }
        let of = self.connection(node, PATTERN_LISTENER);
        let pattern = world.random.pick(&CLACKS_PATTERNS);
        let mut subscriptions = self.oracle.subscriptions.iter_mut();
        let own = subscriptions.find(|other| other.of == of && !other.has_ended());
        let Some(Interest::Patterns(patterns, other)) = own.map(|own| &mut own.interest) else {
            return;
        };
        let line = match other.take() {
            Some(pattern) => format!("PUNLISTEN {pattern}"),
            None if patterns.iter().any(|had| had == pattern) => return,
            None => {
                *other = Some(pattern.to_owned());
                format!("PLISTEN {pattern}")
            }
        };
        world.say(node, PATTERN_LISTENER, &line);
    }

    /// A node's process ends and starts anew.
    pub fn restart(&mut self, world: &mut World, node: usize) {
        world.restart(node);
        self.oracle.end_all(world.now_us, |of| of.node == node);
        for serial in &mut self.serials[node] {
            *serial += 1;
        }
        self.settle_in(world, node);
    }

    /// A NATS client ends its connection and makes another.
    pub fn reconnect(&mut self, world: &mut World, node: usize, client: usize) {
        let former = self.connection(node, client);
        world.reconnect_client(node, client);
        self.oracle.end_all(world.now_us, |of| of == former);
        self.serials[node][client] += 1;
        self.introduce(world, node, client);
    }

    pub fn send_any(&mut self, world: &mut World) {
        if world.random.one_in(3) {
            return self.send_by_clacks(world);
        }
        let (node, client) = self.any_client(world);
        let topic = Topic::any(&mut world.random, true);
        let reply = world.random.one_in(4);
        let reply = reply.then(|| "a..reply.*".to_owned());
        self.publish(world, node, client, topic, reply);
    }

    fn send_by_clacks(&mut self, world: &mut World) {
        let (node, number) = (world.any_node(), self.oracle.sent.len());
        let verbs = ["SET", "SET", "NOTIFY", "SETANDSTORE"];
        let verb = world.random.pick(&verbs);
        let (topic, content) = match verb {
            "NOTIFY" => (Topic::of_subject(format!("n.{number}")), Content::none()),
            _ => {
                let random = &mut world.random;
                (Topic::any(random, false), Content::any(random, number))
            }
        };
        let line = match verb {
            "NOTIFY" => format!("NOTIFY {}", topic.name),
            _ => format!("{verb} {}={}", topic.name, content.value),
        };
        let sender = self.connection(node, WRITER);
        self.oracle.send(Sent {
            is_notify: verb == "NOTIFY",
            ..Sent::new(world, sender, topic, content)
        });
        let at_sender = self.oracle.groups_at_sender(number);
        world.say(node, WRITER, &line);
        self.hear(world, node);
        // A Net::Clacks master makes clients of its slaves wait while it synchronises.
        if !world.is_waiting(node, WRITER) {
            self.oracle
                .check_served_at_sender(number, at_sender, world.now_us);
        }
    }

    /// A NATS client publishes.
    fn publish(
        &mut self,
        world: &mut World,
        node: usize,
        client: usize,
        topic: Topic,
        reply: Option<String>,
    ) {
        let Manner {
            wants_echo,
            takes_headers,
        } = MANNERS[client - FIRST_OF_NATS];
        let number = self.oracle.sent.len();
        let content = Content::any(&mut world.random, number);
        let header = (takes_headers && world.random.one_in(2))
            .then(|| format!("NATS/1.0\r\nN: {number}\r\n\r\n").into_bytes());
        let header_length = header.as_ref().map_or(0, Vec::len);
        let size = header_length + content.payload.len();
        let (subject, to) = (&topic.subject, reply.as_deref().unwrap_or_default());
        let line = match header {
            Some(_) => format!("HPUB {subject} {to} {header_length} {size}\r\n"),
            None => format!("PUB {subject} {to} {size}\r\n"),
        };
        let block = header.as_deref().unwrap_or_default();
        let bytes = [line.as_bytes(), block, &content.payload, b"\r\n"].concat();
        let sender = self.connection(node, client);
        self.oracle.send(Sent {
            reply,
            header,
            wants_echo,
            ..Sent::new(world, sender, topic, content)
        });
        let at_sender = self.oracle.groups_at_sender(number);
        world.send_bytes(node, client, &bytes);
        self.hear(world, node);
        self.oracle
            .check_served_at_sender(number, at_sender, world.now_us);
    }

    /// A NATS client asks whoever answers. Returns the subject that the answer is to have.
    pub fn request(&mut self, world: &mut World, node: usize, client: usize) -> String {
        self.last_number += 1;
        let (number, serial) = (self.last_number, self.serials[node][client]);
        let reply = format!("{OF_INBOX}{node}.{client}.{serial}.{number}");
        let topic = Topic::of_subject(format!("{OF_SERVICE}{}", number % 3));
        self.publish(world, node, client, topic, Some(reply.clone()));
        reply
    }

    /// Something has happened at a node.
    pub fn attend(&mut self, world: &mut World, node: usize) {
        self.hear(world, node);
        self.events += 1;
        if self.events.is_multiple_of(CHECK_EVERY) {
            world.check(node);
        }
    }

    /// Takes all that has come to a node's clients. Members of a group answer requests, but not before: the oracle has to
    /// have seen which subscriptions have ended with their last message.
    fn hear(&mut self, world: &mut World, node: usize) {
        let mut requests = Vec::new();
        for client in 0..world.nodes[node].clients.len() {
            self.hear_lines(world, node, client);
            while let Some(message) = world.nodes[node].clients[client].messages.pop_front() {
                let reply = self.hear_message(world.now_us, node, client, message);
                requests.extend(reply.map(|reply| (client, reply)));
            }
        }
        for (client, reply) in requests {
            self.publish(world, node, client, Topic::of_subject(reply), None);
        }
    }

    fn hear_lines(&mut self, world: &mut World, node: usize, client: usize) {
        let (of, now_us) = (self.connection(node, client), world.now_us);
        while let Some(line) = world.nodes[node].clients[client].lines.pop_front() {
            match client {
                FIRST_OF_NATS.. if line.starts_with("INFO ") => {}
                FIRST_OF_NATS.. => self.oracle.blame(now_us, format!("{of:?} got {line:?}")),
                _ => self.oracle.hear_line(of, &line, now_us),
            }
        }
    }

    /// Takes a message. Returns the subject for the answer if the client is to answer.
    fn hear_message(
        &mut self,
        now_us: u64,
        node: usize,
        client: usize,
        message: Message,
    ) -> Option<String> {
        let of = self.connection(node, client);
        let manner = MANNERS[client - FIRST_OF_NATS];
        let subscription = self.oracle.hear(of, manner, &message, now_us)?;
        let subscription = &self.oracle.subscriptions[subscription];
        let answers =
            subscription.group() == Some(WORKERS) && message.subject.starts_with(OF_SERVICE);
        if subscription.pattern().starts_with(OF_INBOX) {
            *self.oracle.answers.entry(message.subject).or_default() += 1;
            return None;
        }
        message.reply.filter(|_| answers)
    }
}
