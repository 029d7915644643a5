//! The broker logs no secret.

use super::oracle::holds_secret;
use crate::support::read_log;

/// Looks at all that this thread logs from now on, or at none of it.
pub fn watch(is_watched: bool) {
    read_log(is_watched.then_some(|text| {
        assert!(!holds_secret(text.as_bytes()), "a secret is logged: {text}");
    }));
}
