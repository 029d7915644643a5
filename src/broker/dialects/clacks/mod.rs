//! The language of Net::Clacks clients (clacks-protocol(7)).

mod commands;
mod encoded_answer;
mod lines;
mod listing;
mod login;
mod overhead;
mod plan;
mod runs;
mod status;
mod verb;

use super::Notice;
use crate::broker::close_reason::CloseReason;
use crate::protocol::{Flags, encode};

pub use listing::Listing;
pub use plan::plan;
pub use runs::handle_run;
pub use verb::verb_of;

/// Appends what a server says unasked.
pub fn encode_notice(notice: Notice<'_>, to: &mut Vec<u8>) {
    match notice {
        Notice::Greeting(software) => encode::greeting(to, software),
        Notice::KeepAlive => encode::line(to, &[b"NOP"]),
        Notice::TimedOut(CloseReason::AuthTimeout) => {}
        Notice::TimedOut(_) => encode::line(to, &[b"TIMEOUT"]),
        Notice::Refused(CloseReason::LoginFailed) => {
            encode::overhead(to, Flags::LOGIN_WRONG, b"Login failed!");
        }
        Notice::Refused(CloseReason::TlsToPlain) => {}
        Notice::Refused(reason) => encode::error(to, reason.word()),
        Notice::Farewell => encode::line(to, &[b"QUIT"]),
    }
}
