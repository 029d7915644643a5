//! The health of the server, which everybody may ask for: one question of a load balancer or a supervisor.

use super::Page;
use crate::broker::Broker;
use crate::broker::health::faults;
use crate::protocol::http::Status;

/// The path of the page.
pub const PATH: &str = "/healthz";

/// `ok`, or the reasons, a line each.
pub fn page(broker: &Broker) -> Page {
    let faults: Vec<&str> = faults(broker).collect();
    match faults.is_empty() {
        true => Page::text(Status::Ok, "ok"),
        false => Page::text(Status::ServiceUnavailable, &faults.join("\n")),
    }
}
