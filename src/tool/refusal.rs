//! Messages about refusals. The server says one word (clacks-protocol(7), ERRORS); the client knows the command, the
//! user and the name of the limit, and adds them.

/// The server's word for a command that the user may not send.
const PERMISSION_DENIED: &str = "permission_denied";

/// Explanations of the server's words. Most of them are about its limits, each with the flag of the server that sets it.
const EXPLANATIONS: &[(&str, &str)] = &[
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
    (
        "not_saved",
        "it is done, but the server can't write its journal (--persist): a restart may lose it",
    ),
    (
        "unknown_command",
        "a server of Net::Clacks, or an old one, does not have this command",
    ),
];

/// The message about a refusal, with an explanation if the reason has one. The command that is unknown may follow the
/// word.
pub fn message(reason: &str) -> String {
    let word = reason.split(' ').next().unwrap_or_default();
    match EXPLANATIONS.iter().find(|(known, _)| *known == word) {
        Some((_, explanation)) => format!("the server refused it: {reason}: {explanation}"),
        None => format!("the server refused it: {reason}"),
    }
}

/// The reason of a refusal. If a permission is missing, the text names the permission, the verb that needs it, and the
/// user who lacks it.
pub fn with_permission(reason: String, sends: &str, needs: &str, user: &str) -> String {
    if reason != PERMISSION_DENIED || needs.is_empty() {
        return reason;
    }
    format!("{reason}: for {sends} the user \"{user}\" needs the permission to {needs}")
}
