//! Commands that look at the server and steer it.

/// The answer to `version`: the version of memcached whose commands are spoken, and this program's. Clients read three
/// numbers at the beginning; some split at blanks.
pub const VERSION: &str = concat!("VERSION 1.6.45-clacksd-", env!("CARGO_PKG_VERSION"));
