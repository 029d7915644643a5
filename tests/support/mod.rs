//! Support that the tests share: a server under test and clients that speak to it.

mod certificates;
mod client;
mod conversation;
mod cores;
mod crowd;
mod handshakes;
mod log;
mod machine;
mod memory_socket;
mod proxy;
mod random;
mod server;
mod service_manager;
mod set_clock;
mod simulated_disk;
mod simulated_journal;
pub mod table;
pub mod table_run;
pub mod tls;
mod tool;
mod transport;

pub use certificates::{Authority, Identity, Validity};
pub use client::{Client, connect_from, states_in, token};
pub use conversation::Conversation;
pub use cores::{Awake, move_to_our_core, run_on_servers_core, stay_on_our_core};
pub use crowd::Crowd;
pub use handshakes::Handshakes;
pub use log::{read_log, take_log};
pub use machine::Machine;
pub use memory_socket::{MemoryPeer, MemorySocket, memory_pair};
pub use proxy::{Proxy, Trouble, Way};
pub use random::Random;
pub use server::{Ended, Ending, Process, Server, Setup, USERS, run, text};
pub use service_manager::{ServiceManager, hand_over};
pub use set_clock::SetClock;
pub use simulated_disk::{Fault, SimulatedDisk};
pub use simulated_journal::SimulatedJournal;
pub use tool::{Running, VARIABLES, bare_clacks};
pub use transport::Transport;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take that must happen: far more than it ever does.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Tells the threads beside a test that it has ended, however it does: else they would go on, and a test
/// that fails would never be over.
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until `is_so`, or fails with `what`.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "this didn't happen: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
