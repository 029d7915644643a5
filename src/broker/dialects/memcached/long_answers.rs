//! Answers about many entries or connections, made a slice at a time as the client takes them. The connection's next
//! command waits until its answer is complete.

use super::dumps::Dump;
use super::exchange::Exchange;
use super::retrieval::GetForm;
use super::settings::Connections;
use crate::broker::Broker;
use crate::broker::events::{ConnectionId, Flow, Now};
use crate::broker::output::Output;
use crate::protocol::memcached::words::Words;

/// An answer in the making.
pub struct LongAnswer {
    /// The line that asked for it; monitors see it when the answer is complete.
    pub line: Box<[u8]>,
    pub stage: Stage,
}

pub enum Stage {
    /// The values of the keys behind a place in the line.
    Values {
        place: usize,
        form: GetForm,
    },
    Dump(Dump),
    Connections(Connections),
}

impl LongAnswer {
    /// The memory that is charged for it, in bytes.
    pub fn memory(&self) -> usize {
        self.line.len()
    }
}

impl<O: Output> Exchange<'_, O> {
    /// Lets an answer begin when the connection's turn for a slice comes.
    pub fn start_long_answer(&mut self, answer: LongAnswer) -> Flow {
        let session = self.broker.sessions.get_mut(self.id);
        if let Some(conversation) = session.and_then(|session| session.memcached.as_mut()) {
            self.out.charge_memory(self.id, answer.memory() as isize);
            conversation.answer = Some(answer);
            self.out.request_writable(self.id);
        }
        Flow::Stop
    }

    /// Makes one slice; true if the answer is complete.
    fn advance(&mut self, answer: &mut LongAnswer) -> bool {
        let LongAnswer { line, stage } = answer;
        match stage {
            Stage::Values { place, form } => {
                let mut keys = Words::new(&line[*place..]);
                let is_done = self.append_values(&mut keys, *form);
                *place = line.len() - keys.rest().len();
                is_done
            }
            Stage::Dump(dump) => self.advance_dump(dump),
            Stage::Connections(connections) => self.advance_connections(connections),
        }
    }
}

/// There is room in the connection's output: goes on with its answer, if there is one.
pub fn handle_writable<O: Output>(broker: &mut Broker, id: ConnectionId, now: Now, out: &mut O) {
    let session = broker.sessions.get_mut(id);
    let Some(mut answer) = session
        .and_then(|session| session.memcached.as_mut())
        .and_then(|conversation| conversation.answer.take())
    else {
        return;
    };
    let mut exchange = Exchange {
        broker,
        id,
        now,
        out,
    };
    if exchange.advance(&mut answer) {
        exchange.mirror(&answer.line);
        exchange.out.charge_memory(id, -(answer.memory() as isize));
        exchange.out.resume(id);
        return;
    }
    let session = exchange.broker.sessions.get_mut(id);
    if let Some(conversation) = session.and_then(|session| session.memcached.as_mut()) {
        conversation.answer = Some(answer);
        exchange.out.request_writable(id);
    }
}
