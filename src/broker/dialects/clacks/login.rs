//! OVERHEAD A: the login (clacks-protocol(7), LOGIN).

use crate::broker::Broker;
use crate::broker::carrier::Carrier;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::{ConnectionId, Flow, Now};
use crate::broker::operations::Login;
use crate::broker::users::Users;
use crate::protocol::token::Token;
use crate::protocol::{Flags, Overhead, encode};

impl Broker {
    pub(super) fn handle_login<O: Carrier>(
        &mut self,
        id: ConnectionId,
        overhead: Overhead<'_>,
        now: Now,
        out: &mut O,
    ) -> Flow {
        if !overhead.is_on() {
            return Flow::Next;
        }
        let token = overhead.value;
        let name = Token::user_of(token);
        let verify = |users: &Users| users.login(token).cloned();
        match self.log_in(id, name.as_deref(), verify, now, out) {
            Login::Done => out.append(id, |to| {
                encode::overhead(to, Flags::LOGIN_RIGHT, b"Welcome!")
            }),
            Login::Later => return Flow::StopBefore,
            Login::Wrong => self.refuse(id, CloseReason::LoginFailed, now, out),
            Login::NoPlace => self.refuse(id, CloseReason::ClientLimit, now, out),
        }
        Flow::Next
    }
}
