//! CONNECT: the options of a client, and its login.

use super::Exchange;
use crate::broker::Suppressed;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::Flow;
use crate::broker::operations::Login as Outcome;
use crate::broker::output::Output;
use crate::broker::users::Users;
use crate::protocol::Language;
use crate::protocol::nats::Error;
use crate::protocol::nats::connect::{Login, Malformed, Options};

impl<O: Output> Exchange<'_, O> {
    pub(super) fn connect(&mut self, text: &[u8]) -> Flow {
        let Some(conversation) = self.conversation() else {
            return Flow::Next;
        };
        let options = match conversation.options.with(text) {
            Ok(options) => options,
            Err(Malformed) => {
                self.fail(Error::Form);
                return Flow::Next;
            }
        };
        match self.log_in(&options) {
            Outcome::Done => {}
            Outcome::Later => return Flow::StopBefore,
            Outcome::Wrong => {
                self.fail(Error::Authorization);
                return Flow::Next;
            }
            Outcome::NoPlace => {
                let reason = CloseReason::ClientLimit;
                self.broker.refuse(self.id, reason, self.now, self.out);
                return Flow::Next;
            }
        }
        if !(0..=1).contains(&options.protocol) {
            self.fail(Error::ClientProtocol);
        } else if options.wants_no_responders && !options.takes_headers {
            self.fail(Error::NoRespondersWithoutHeaders);
        } else {
            return self.take(options);
        }
        Flow::Next
    }

    /// Takes the options over. The first CONNECT of a client that has to log in changes how the bytes behind it are read.
    fn take(&mut self, options: Options) -> Flow {
        let identification = options.identification();
        self.broker
            .sessions
            .identify(self.id, identification.as_bytes());
        let Some(session) = self.broker.sessions.get_mut(self.id) else {
            return Flow::Stop;
        };
        if let Some(conversation) = &mut session.nats {
            conversation.options = self.broker.nats_options.share(options);
        }
        let is_first = session.language == Language::NatsLogin;
        session.language = Language::Nats;
        session.resumes_with_room |= is_first;
        self.accept();
        if is_first {
            self.out.request_writable(self.id);
            return Flow::Stop;
        }
        Flow::Next
    }

    /// Logs in by the options, or as the user of `--nats-user` if they give no login.
    fn log_in(&mut self, options: &Options) -> Outcome {
        let (id, now) = (self.id, self.now);
        match options.login() {
            Login::Token { user, password } => {
                let (user, password) = (user.as_bytes(), password.as_bytes());
                let verify = |users: &Users| users.verify(user, password).cloned();
                self.broker.log_in(id, Some(user), verify, now, self.out)
            }
            Login::Unknown(field) => {
                self.log_unknown_login(field);
                self.broker.log_in(id, None, |_| None, now, self.out)
            }
            Login::None => {
                let name = self.broker.settings.nats.user.clone();
                let assumed = |users: &Users| users.get(&name?).cloned();
                self.broker.log_in(id, None, assumed, now, self.out)
            }
        }
    }

    /// Logs the field by which a client wanted to log in; so many a second.
    fn log_unknown_login(&mut self, field: &str) {
        let admitted = self.broker.refusal_log.admit(self.now.monotonic_us);
        if let (Some(session), Some(suppressed)) = (self.broker.sessions.get(self.id), admitted) {
            let (cid, suppressed) = (session.cid, Suppressed(suppressed));
            log::warn!("CONNECT with {field}: only user and pass are known ({cid}){suppressed}");
        }
    }
}
