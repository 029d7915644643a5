//! The verb that a command of memcached counts under in the statistics.

use crate::broker::statistics::Verb;
use crate::protocol::memcached::counting::Direction;
use crate::protocol::memcached::meta;
use crate::protocol::memcached::request::{Get, Request, StoreVerb};

/// Returns the verb of a command.
pub fn verb_of(request: &Request<'_>) -> Verb {
    match request {
        Request::Get(Get { expiry: None, .. }) => Verb::Get,
        Request::Get(_) => Verb::Gat,
        Request::Store(store) => match store.verb {
            StoreVerb::Set => Verb::SetEntry,
            StoreVerb::Add => Verb::Add,
            StoreVerb::Replace => Verb::Replace,
            StoreVerb::Append => Verb::Append,
            StoreVerb::Prepend => Verb::Prepend,
            StoreVerb::Cas(_) => Verb::Cas,
        },
        Request::Delete(..) => Verb::Delete,
        Request::Touch(..) => Verb::Touch,
        Request::Count(count) => match count.direction {
            Direction::Up => Verb::Incr,
            Direction::Down => Verb::Decr,
        },
        Request::Meta(meta) | Request::MetaStore(meta, _) => match meta.verb {
            meta::Verb::Get => Verb::MetaGet,
            meta::Verb::Store => Verb::MetaStore,
            meta::Verb::Delete => Verb::MetaDelete,
            meta::Verb::Count => Verb::MetaCount,
        },
        Request::MetaDebug(_) => Verb::MetaDebug,
        Request::MetaNoop => Verb::MetaNoop,
        Request::FlushAll(..) => Verb::FlushAll,
        Request::Stats(_) => Verb::Stats,
        Request::Wrong(..) | Request::Http => Verb::Wrong,
        Request::Version
        | Request::Quit
        | Request::Crawler(..)
        | Request::Tune(_)
        | Request::Watch(_)
        | Request::Verbosity(_)
        | Request::CacheMemLimit(..)
        | Request::Shutdown(_) => Verb::Administration,
    }
}
