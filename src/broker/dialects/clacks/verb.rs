//! The verb that a line of Clacks counts under in the statistics.

use crate::broker::statistics::Verb;
use crate::protocol::{ClacksLine, Command};

/// Returns the verb of a line.
#[inline(always)]
pub fn verb_of(line: &ClacksLine<'_>) -> Verb {
    let Some(command) = &line.command else {
        return Verb::Unknown;
    };
    match command {
        Command::Clacks(_) => Verb::Identify,
        Command::ClearCache => Verb::ClearCache,
        Command::ClientDisconnect(_) => Verb::ClientDisconnect,
        Command::ClientList => Verb::ClientList,
        Command::Decrement(_) => Verb::Decrement,
        Command::Expire(_) => Verb::Expire,
        Command::Flush(_) => Verb::Flush,
        Command::Increment(_) => Verb::Increment,
        Command::KeyInfo(_) => Verb::KeyInfo,
        Command::KeyList => Verb::KeyList,
        Command::KeySync(_) => Verb::KeySync,
        Command::Listen(_) => Verb::Listen,
        Command::Monitor => Verb::Monitor,
        Command::NoPing => Verb::NoPing,
        Command::Nop => Verb::Nop,
        Command::Notify(_) => Verb::Notify,
        Command::Overhead(_) => Verb::Overhead,
        Command::Ping => Verb::Ping,
        Command::ListenToPattern(_) => Verb::ListenToPattern,
        Command::UnlistenToPattern(_) => Verb::UnlistenToPattern,
        Command::Quit => Verb::Quit,
        Command::Remove(_) => Verb::Remove,
        Command::Retrieve(_) => Verb::Retrieve,
        Command::Set(_) => Verb::Set,
        Command::SetAndStore(_) => Verb::SetAndStore,
        Command::Status(_) => Verb::Status,
        Command::Store(_) => Verb::Store,
        Command::Ttl(_) => Verb::Ttl,
        Command::Unlisten(_) => Verb::Unlisten,
        Command::Unmonitor => Verb::Unmonitor,
    }
}
