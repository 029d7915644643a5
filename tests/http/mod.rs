//! The listener for HTTP clients: what browsers and monitoring get, and who gets it.

mod connections;
mod figures;
mod flags;
mod full_server;
mod health;
mod login;
mod requests;
mod slow;
mod target;
