//! clacksd: interprocess messaging and caching in one small daemon, compatible on the wire with
//! Net::Clacks.
//!
//! Programs use [`Client`] for signals and the cache. It is blocking, on the standard library, over Unix sockets, TCP
//! and TLS; every call returns within its timeout, and a lost connection is made again by itself. [`Cache`] is a cache in
//! the manner of memcached: it keeps any bytes and, with the feature `yaml`, structures, which the Perl cache client
//! reads and writes as well.
//!
//! ```no_run
//! use clacks::{Client, Error, Options};
//! use std::time::Duration;
//!
//! fn main() -> Result<(), Error> {
//!     let options = Options::new("unix:/run/clacksd/clacksd.sock")?.login("lamp", "password");
//!     let mut client = Client::connect(options)?;
//!     client.listen("kitchen::light")?;
//!     while let Some(message) = client.next(Duration::from_secs(60))? {
//!         println!("{message:?}");
//!     }
//!     Ok(())
//! }
//! ```
//!
//! With `clacks = { package = "clacksd", default-features = false, features = ["client"] }` nothing of the daemon is
//! built. Two whole programs are in `src/client/examples`, a clock and a robot for the chat. With a server on this
//! machine and its password in `CLACKS_PASSWORD`:
//!
//! ```sh
//! cargo run --example clock -- tcp://127.0.0.1:49888 clacks
//! cargo run --example chatbot -- tcp://127.0.0.1:49888 clacks
//! ```
//!
//! For those who work on the daemon, the page [`architecture`] is the map of the sources: layers, one turn of the loop,
//! one write, a glossary and recipes. The page [`contributing`] says how to build, test and change all of this, and
//! [`costs`] how fast it is and how that is measured.
//!
//! The wire is specified in clacks-protocol(7) and, between servers, in clacks-interclacks(7), the daemon in
//! clacksd(8), the command-line client in clacks(1).

#![deny(unsafe_code)]

pub mod address;
#[cfg(any(feature = "server", feature = "client"))]
pub mod certificates;
#[cfg(feature = "client")]
pub mod client;
pub mod limits;
pub mod program;
pub mod protocol;

#[cfg(feature = "postgres")]
pub mod bridge;
#[cfg(feature = "server")]
pub mod broker;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod reactor;
#[cfg(feature = "server")]
pub mod storage;
#[cfg(any(feature = "server", feature = "tool", feature = "postgres"))]
pub mod sys;
#[cfg(feature = "tool")]
pub mod tool;

#[cfg(doc)]
#[doc = include_str!("architecture.md")]
pub mod architecture {}
#[cfg(doc)]
#[doc = include_str!("contributing.md")]
pub mod contributing {}
#[cfg(doc)]
#[doc = include_str!("costs.md")]
pub mod costs {}

#[cfg(feature = "client")]
pub use client::{Cache, Client, Error, KeyInfo, Message, Options, Text, Ttl};
