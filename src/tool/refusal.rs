//! What a refusal means. The server says one word (clacks-protocol(7), ERRORS); which command it is about, who sent it,
//! and which limit it names is known here.

use super::table::Invocation;
use super::{Failure, login};

/// The word of a server for a command that its user may not send.
const PERMISSION_DENIED: &str = "permission_denied";

/// The limits of a server that its words are about.
const LIMITS: &[(&str, &str)] = &[
    (
        "line_too_long",
        "a line was longer than the server's --max-line",
    ),
    (
        "entry_too_large",
        "the entry is larger than the server's --cache-max",
    ),
    (
        "client_limit",
        "the server has as many clients as its --max-clients",
    ),
    (
        "buffers_limit",
        "all clients together have reached the server's --max-buffers",
    ),
];

/// The message about a refusal, with what is known of its reason.
pub fn said(reason: &str) -> String {
    match LIMITS.iter().find(|(word, _)| *word == reason) {
        Some((_, limit)) => format!("the server refused it: {reason}: {limit}"),
        None => format!("the server refused it: {reason}"),
    }
}

/// The reason of a refusal. Where that is want of a permission, it says which one, what for, and who lacks it.
pub fn with_permission(reason: String, sends: &str, needs: &str, user: &str) -> String {
    if reason != PERMISSION_DENIED || needs.is_empty() {
        return reason;
    }
    format!("{reason}: for {sends} the user \"{user}\" needs the permission to {needs}")
}

/// As [`with_permission`], for a command that has failed.
pub fn add_permission(failure: Failure, invocation: &Invocation) -> Failure {
    let Failure::Refused(reason) = failure else {
        return failure;
    };
    let user = login::user(invocation).unwrap_or_default();
    let (sends, needs) = (invocation.command.sends, invocation.command.needs);
    Failure::Refused(with_permission(reason, sends, needs, &user))
}
