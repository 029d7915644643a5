//! A line of Clacks, whoever says it: a client before or after its login, or another server.

use super::verb::verb_of;
use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::events::{ConnectionId, Flow, Now, Peer};
use crate::broker::output::Output;
use crate::protocol::{ClacksLine, Command, Flags, Request};

impl Broker {
    /// A line came, whoever says it: a client, or another server.
    #[inline(always)]
    pub(in crate::broker) fn handle_clacks_line<O: Output>(
        &mut self,
        id: ConnectionId,
        line: &ClacksLine<'_>,
        now: Now,
        out: &mut O,
    ) -> Flow {
        if line.text.is_empty() {
            return Flow::Next;
        }
        let Some(session) = self.sessions.get(id).filter(|session| session.is_served()) else {
            return Flow::Stop;
        };
        let is_uplink = matches!(session.cid.peer, Peer::Master(_));
        let permissions = session.user.as_ref().map(|user| user.permissions);
        let is_link_up = match session.is_link {
            true => self.tree.links.get(id).map(|link| link.is_up),
            false => None,
        };
        if is_link_up == Some(false) {
            self.statistics.link_lines += 1;
            self.handle_master_greeting(id, line, now, out);
            return Flow::Next;
        }
        if !session.is_logged_in() {
            let flow = self.handle_before_login(id, line, now, out);
            self.statistics
                .count_request(verb_of(line), flow != Flow::StopBefore);
            return flow;
        }
        if (self.lock.is_some() && !is_uplink && self.waits_for_lock(id, &Request::Clacks(*line)))
            || (self.persistence.is_some() && self.waits_for_disk(id, &Request::Clacks(*line), now))
        {
            return Flow::StopBefore;
        }
        match is_link_up {
            Some(_) => {
                self.statistics.link_lines += 1;
                self.handle_link_line(id, line, now, out)
            }
            None => {
                let verb = verb_of(line);
                let flow = self.handle_command(id, permissions, line, now, out);
                self.statistics
                    .count_request(verb, flow != Flow::StopBefore);
                flow
            }
        }
    }

    /// Before the login everything but it and the identification is ignored.
    fn handle_before_login<O: Carrier>(
        &mut self,
        id: ConnectionId,
        line: &ClacksLine<'_>,
        now: Now,
        out: &mut O,
    ) -> Flow {
        if let Some(session) = self.sessions.get_mut(id) {
            session.has_spoken = true;
        }
        match line.command {
            Some(Command::Clacks(text)) => self.sessions.identify(id, text),
            Some(Command::Overhead(Some(overhead))) if overhead.flags.intersects(Flags::LOGIN) => {
                return self.handle_login(id, overhead, now, out);
            }
            _ => {}
        }
        Flow::Next
    }
}
