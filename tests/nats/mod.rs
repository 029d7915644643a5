//! The listener for NATS clients: the example programs of its manual.

mod examples;
