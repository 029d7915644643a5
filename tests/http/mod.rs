//! The listener for HTTP clients: what browsers and monitoring get, and who gets it.

mod browser;
mod connections;
mod events;
mod figures;
mod flags;
mod full_server;
mod health;
mod login;
mod page;
mod requests;
mod slow;
pub mod target;
