//! A tree of three real servers: requests, groups and exact subjects cross two links.

use super::frames::{Frame, Message, take_all};
use crate::support::{Conversation, Proxy, Server, Setup, Trouble, Way, wait_until};

/// Three servers, each the master of the next.
pub struct Tree {
    servers: Vec<Server>,
    /// Stands before the first server, and before the second.
    proxies: Vec<Proxy>,
}

impl Tree {
    pub fn new() -> Tree {
        let mut tree = Tree {
            servers: vec![start(&[])],
            proxies: Vec::new(),
        };
        for _ in 0..2 {
            let master = tree.servers.last().expect("there is one");
            let proxy = Proxy::to(Way::Unix(master.socket.clone()));
            let server = start(&["--master", &proxy.address(), "--allow-plaintext"]);
            tree.proxies.push(proxy);
            tree.servers.push(server);
        }
        tree.wait_for_links();
        tree
    }

    pub fn wait_for_links(&self) {
        for server in &self.servers[1..] {
            wait_until("the link is up", || server.is_slave());
        }
    }

    pub fn client(&self, server: usize) -> Client {
        Client::of(&self.servers[server])
    }

    /// Cuts all links, and waits until each slave has dialled once more.
    fn cut_all(&self, trouble: Trouble) {
        for proxy in &self.proxies {
            let before = proxy.dialled();
            proxy.set(trouble);
            proxy.cut();
            wait_until("a slave dials again", || proxy.dialled() > before);
        }
    }

    /// Cuts a link in the middle of whatever it carries.
    pub fn cut(&self, link: usize) {
        self.proxies[link].cut();
    }

    /// Waits until each server has as many subscriptions as said, those that links stand for among them.
    pub fn wait_for_subscriptions(&self, counts: [u64; 3]) {
        for (server, count) in self.servers.iter().zip(counts) {
            wait_until("the servers know of each other's groups", || {
                server.status("subscriptions") == count
            });
        }
    }
}

fn start(flags: &[&str]) -> Server {
    let setup = Setup::new().with_server_of_environment();
    let address = setup.unix("nats");
    let setup = setup.flags(&["--nats", &address, "--nats-user", "admin"]);
    let setup = setup.flags(&["--interclacks-reconnect", "0.05"]);
    setup.flags(flags).start()
}

/// A NATS client.
pub struct Client {
    conversation: Conversation,
}

impl Client {
    fn of(server: &Server) -> Client {
        let mut conversation = Conversation::begin(&server.setup.path("nats"));
        assert!(conversation.line().starts_with(b"INFO "));
        conversation
            .say(b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n");
        let mut client = Client { conversation };
        client.sync();
        client
    }

    pub fn say(&mut self, text: &str) {
        self.conversation.say(text.as_bytes());
    }

    /// Waits until all that was said is handled. Returns the messages that came.
    pub fn sync(&mut self) -> Vec<Message> {
        self.say("PING\r\n");
        let mut messages = Vec::new();
        loop {
            for frame in take_all(&mut self.conversation.came) {
                match frame {
                    Frame::Message(message) => messages.push(message),
                    Frame::Line(line) if line == b"PONG" => return messages,
                    Frame::Line(line) => panic!("{}", line.escape_ascii()),
                }
            }
            assert!(self.conversation.wait(), "no PONG came");
        }
    }

    /// Says something, and waits until it is handled.
    pub fn does(&mut self, text: &str) {
        self.say(text);
        assert_eq!(self.sync(), []);
    }

    /// Waits for messages, and returns those that have come.
    pub fn wait_for_some(&mut self) -> Vec<Message> {
        loop {
            let frames = take_all(&mut self.conversation.came);
            if !frames.is_empty() {
                let messages = frames.into_iter().map(|frame| match frame {
                    Frame::Message(message) => message,
                    Frame::Line(line) => panic!("{}", line.escape_ascii()),
                });
                return messages.collect();
            }
            assert!(self.conversation.wait(), "no message came");
        }
    }

    /// Waits for the next message, which comes alone.
    fn next(&mut self) -> Message {
        let mut messages = self.wait_for_some();
        let message = messages.pop().expect("one has come");
        assert_eq!(messages, []);
        message
    }
}

fn message(subject: &str, sid: &str, reply: Option<&str>, header: &str, payload: &str) -> Message {
    Message {
        sid: sid.into(),
        subject: subject.into(),
        reply: reply.map(Into::into),
        header: (!header.is_empty()).then(|| header.into()),
        payload: payload.into(),
    }
}

const HEADER: &str = "NATS/1.0\r\nA: 1\r\n\r\n";

#[test]
fn a_request_is_answered_at_the_other_end_with_headers_any_bytes_and_exact_subjects() {
    let tree = Tree::new();
    let (mut requester, mut responder) = (tree.client(2), tree.client(0));
    // The name of this subject is also that of another one.
    responder.does("SUB a::b.> 7\r\n");
    requester.does("SUB _INBOX.x.* 1\r\n");
    for number in 0..10 {
        let reply = format!("_INBOX.x.{number}");
        requester.say(&format!(
            "HPUB a::b.c {reply} 18 24\r\n{}{}\r\n",
            HEADER, "two\r\nz"
        ));
        let request = responder.next();
        assert_eq!(
            request,
            message("a::b.c", "7", Some(&reply), HEADER, "two\r\nz")
        );
        responder.say(&format!("PUB {reply} 2\r\n\r\n\r\n"));
        assert_eq!(requester.next(), message(&reply, "1", None, "", "\r\n"));
    }
    // With links up nobody knows that there is no responder, but for features that are not spoken.
    requester.does("PUB nobody _INBOX.x.11 0\r\n\r\n");
    requester.say("PUB $JS.API.INFO _INBOX.x.12 0\r\n\r\n");
    let none = message("_INBOX.x.12", "1", None, "NATS/1.0 503\r\n\r\n", "");
    assert_eq!(requester.next(), none);
}

#[test]
fn a_group_is_served_once_in_the_whole_tree_and_by_the_senders_server_first() {
    let tree = Tree::new();
    let mut senders = [0, 1, 2].map(|server| tree.client(server));
    let mut workers = [1, 2].map(|server| tree.client(server));
    workers[0].does("SUB jobs.* workers 1\r\n");
    workers[1].does("SUB jobs.> workers 1\r\n");
    let mut plain = tree.client(2);
    plain.does("SUB jobs.new 9\r\n");
    // Each server knows the two pairs; the second one from two sides.
    tree.wait_for_subscriptions([2, 2, 3]);
    for (sender, worker) in [(0, 0), (1, 0), (2, 1)] {
        for number in 0..20 {
            let payload = format!("{sender}/{number:02}");
            senders[sender].say(&format!("PUB jobs.new {}\r\n{payload}\r\n", payload.len()));
            let job = message("jobs.new", "1", None, "", &payload);
            assert_eq!(workers[worker].next(), job);
            let heard = message("jobs.new", "9", None, "", &payload);
            assert_eq!(plain.next(), heard);
            assert_eq!(workers[1 - worker].sync(), []);
        }
    }
    // Without the nearer one the farther one serves.
    workers[0].does("UNSUB 1\r\n");
    tree.wait_for_subscriptions([1, 1, 2]);
    for sender in &mut senders {
        sender.say("PUB jobs.new 1\r\n.\r\n");
        assert_eq!(workers[1].next(), message("jobs.new", "1", None, "", "."));
        assert_eq!(plain.next(), message("jobs.new", "9", None, "", "."));
    }
    assert_eq!(workers[0].sync(), []);
}

#[test]
fn groups_are_known_again_after_links_were_cut_anywhere() {
    let tree = Tree::new();
    let (mut worker, mut sender) = (tree.client(2), tree.client(0));
    worker.does("SUB jobs q 1\r\n");
    tree.wait_for_subscriptions([1, 1, 1]);
    for (round, cut) in (1..400).step_by(12).enumerate() {
        tree.cut_all(Trouble {
            cut_after_answered: Some(cut),
            ..Trouble::default()
        });
        tree.cut_all(Trouble::default());
        tree.wait_for_links();
        // What is known now came over the links that are there now.
        worker.does("UNSUB 1\r\n");
        tree.wait_for_subscriptions([0, 0, 0]);
        worker.does("SUB jobs q 1\r\n");
        tree.wait_for_subscriptions([1, 1, 1]);
        let payload = round.to_string();
        sender.say(&format!("PUB jobs {}\r\n{payload}\r\n", payload.len()));
        assert_eq!(worker.next(), message("jobs", "1", None, "", &payload));
        assert_eq!(worker.sync(), []);
    }
}

/// A slave says which node it is; its master ends the connection that it had before.
#[test]
fn a_slave_that_comes_back_replaces_its_former_link() {
    let tree = Tree::new();
    let (mut worker, mut sender) = (tree.client(2), tree.client(0));
    worker.does("SUB jobs q 1\r\n");
    tree.wait_for_subscriptions([1, 1, 1]);
    // What the slave's end says is heard by nobody, so that the master does not notice it.
    tree.proxies[0].half_close();
    wait_until("the master has noticed", || {
        let log = tree.servers[0].process.log();
        log.iter().any(|line| line.contains("has ended: "))
    });
    tree.wait_for_links();
    assert_eq!(tree.servers[0].status("links"), 1);
    // Groups behind the link are served over the one that is there now.
    tree.wait_for_subscriptions([1, 1, 1]);
    sender.say("PUB jobs 1\r\n.\r\n");
    assert_eq!(worker.next(), message("jobs", "1", None, "", "."));
    assert_eq!(worker.sync(), []);
}
