//! The verb that a request of HTTP counts under in the statistics: its path.

use super::page::File;
use super::{document, events, health, metrics};
use crate::broker::statistics::Verb;
use crate::protocol::http::Frame;

/// Returns the verb of a frame.
pub fn verb_of(frame: &Frame<'_>) -> Verb {
    match frame.request.map_or("", |request| request.path) {
        health::PATH => Verb::Health,
        metrics::PATH => Verb::Metrics,
        document::PATH => Verb::StatusDocument,
        events::PATH => Verb::Events,
        path if File::at(path).is_some() => Verb::PageFile,
        _ => Verb::OtherHttp,
    }
}
