//! TLS at the server and on its links.

mod certificates;
mod clients;
mod masters;
mod reload;
