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
//! The rest of this page is for those who work on the daemon.
//!
//! # The way a line takes
//!
//! socket → [`reactor`] fills a buffer → [`protocol`] finds a line and decodes it into a borrowed
//! `Command` → [`broker`] decides → replies and deliveries are encoded into output buffers →
//! [`reactor`] writes each touched socket once, at the end of the turn.
//!
//! That is the reading order too. Data goes one way through the layers and comes back by one seam,
//! [`broker::Output`].
//!
//! # Layers
//!
//! | layer | holds | may use |
//! |---|---|---|
//! | [`limits`] | every cap and default, each with its reason | nothing |
//! | [`address`] | addresses as flags write them | nothing |
//! | [`protocol`] | the wire language: bytes to commands and back, numbers, tokens | |
//! | [`broker`] | what a node is: sessions, permissions, listeners, cache, interclacks, timeouts. Sans-IO | `protocol`; of `sys` a hint to the processor |
//! | [`certificates`] | who a server is, and whom a client takes for one, in TLS | |
//! | [`client`] | the client library, blocking | `protocol`, `certificates` |
//! | [`bridge`] | clacks-pg: from PostgreSQL's notifications to a server | `client`, `certificates` |
//! | [`program`] | what all programs take from outside: command lines, small files, limits of the process | nothing |
//! | [`sys`] | small functions around libc and the processor; the only unsafe code | |
//! | [`storage`] | the journal behind the cache: a file, and a thread that writes it | `broker`, `protocol`, `sys` |
//! | [`reactor`] | the loop: mio, sockets, buffers, signals, timers, word to the service manager. Knows no verb | `broker`, `protocol::line`, `certificates`, `storage`, `sys` |
//! | [`cli`] | flags to configuration, logging, becoming a daemon | all of the above but `client` and `bridge` |
//! | [`tool`] | the command-line client | `client` |
//!
//! `limits` and `address` are open to all, `program` to the programs and, for its small files, to the client. A test
//! (`tests/source/layers.rs`) reads the sources and fails when an arrow is broken.
//!
//! The wire is specified in clacks-protocol(7) and, between servers, in clacks-interclacks(7), the daemon in
//! clacksd(8), the command-line client in clacks(1). The page [`contributing`] says how to build, test and change all
//! of this, and [`costs`] how fast it is and how that is measured.

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
#[cfg(feature = "server")]
pub mod sys;
#[cfg(feature = "tool")]
pub mod tool;

#[cfg(doc)]
#[doc = include_str!("contributing.md")]
pub mod contributing {}
#[cfg(doc)]
#[doc = include_str!("costs.md")]
pub mod costs {}

#[cfg(feature = "client")]
pub use client::{Cache, Client, Error, Message, Options, Text};
