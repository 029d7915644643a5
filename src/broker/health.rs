//! The health of a node: whether it does all that it is to do.

use super::{Broker, Lifetime};

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
