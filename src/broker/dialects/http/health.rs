//! The health of the server, which everybody may ask for: one question of a load balancer or a supervisor.

use super::Page;
use crate::broker::{Broker, Lifetime};
use crate::protocol::http::Status;

/// The path of the page.
pub const PATH: &str = "/healthz";

/// The reasons why the server is not well. They name no file and no other server.
pub fn faults(broker: &Broker) -> impl Iterator<Item = &'static str> {
    let persistence = broker.persistence.as_ref();
    let faults = [
        (broker.lifetime != Lifetime::Endless).then_some("shutting down"),
        persistence
            .is_some_and(|persistence| !persistence.is_saving())
            .then_some("journal failed"),
        (!matches!(broker.uplink_state(), "none" | "up")).then_some("no uplink"),
    ];
    faults.into_iter().flatten()
}

/// `ok`, or the reasons, a line each.
pub fn page(broker: &Broker) -> Page {
    let faults: Vec<&str> = faults(broker).collect();
    match faults.is_empty() {
        true => Page::text(Status::Ok, "ok"),
        false => Page::text(Status::ServiceUnavailable, &faults.join("\n")),
    }
}
