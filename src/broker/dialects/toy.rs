//! The dialect of the language for tests alone (see `protocol::toy`): that a language needs no more than this.

use super::{Notice, Plan, Receivers};
use crate::broker::Broker;
use crate::broker::events::{ConnectionId, Flow, Now};
use crate::broker::interclacks::LegacyForm;
use crate::broker::operations::By;
use crate::broker::output::Output;
use crate::protocol::toy::Request;

pub fn encode_notice(notice: Notice<'_>, to: &mut Vec<u8>) {
    if let Notice::Refused(reason) = notice {
        to.extend_from_slice(b"refused ");
        to.extend_from_slice(reason.word().as_bytes());
        to.extend_from_slice(b"\r\n");
    }
}

pub fn plan<'a>(request: &Request<'a>) -> Plan<'a> {
    let may_write = matches!(request, Request::Put { .. });
    Plan {
        receivers: match may_write {
            true => Receivers::Links,
            false => Receivers::Nobody,
        },
        is_monitored: false,
        may_write,
    }
}

impl Broker {
    /// A request of a client, who needs no login.
    pub(in crate::broker) fn handle_toy_request<O: Output>(
        &mut self,
        id: ConnectionId,
        request: &Request<'_>,
        now: Now,
        out: &mut O,
    ) -> Flow {
        let by = By {
            connection: id,
            form: LegacyForm::Effect(&crate::broker::cache::Effect::Register),
        };
        match *request {
            Request::Get(key) => match self.retrieve(key, now, out) {
                Some(found) => {
                    let length = found.value.len().to_string();
                    let parts = [key, b" ", length.as_bytes(), b"\r\n", found.value, b"\r\n"];
                    out.append(id, |to| to.extend_from_slice(&parts.concat()));
                }
                None => out.append(id, |to| to.extend_from_slice(b"none\r\n")),
            },
            Request::Put { key, value } => {
                let answer: &[u8] = match self.store(key, value, by, now, out) {
                    Ok(()) => b"ok\r\n",
                    Err(_) => b"too large\r\n",
                };
                out.append(id, |to| to.extend_from_slice(answer));
            }
            Request::Wrong => out.append(id, |to| to.extend_from_slice(b"wrong\r\n")),
        }
        Flow::Next
    }
}
