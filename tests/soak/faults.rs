//! Faults of the servers and of the links between them.

use super::tree::{LEAF, MIDDLE, ROOT, Tree};
use crate::support::{Random, Trouble};
use std::time::Duration;

#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    Cut,
    HalfClose,
    /// The next links are cut at some byte of theirs.
    CutsToCome,
    /// All passes late from the next link on.
    Delay,
    /// Every further link is there twice.
    Double,
    Stop,
    /// Only well before the middle, from which on memory is watched.
    Kill,
    Reload,
}

impl Fault {
    /// In the order in which they come, over and over. A cut ends the trouble before it.
    pub const IN_TURN: [Fault; 13] = [
        Fault::Cut,
        Fault::Kill,
        Fault::Stop,
        Fault::HalfClose,
        Fault::Double,
        Fault::Reload,
        Fault::Cut,
        Fault::Delay,
        Fault::Stop,
        Fault::Kill,
        Fault::CutsToCome,
        Fault::Stop,
        Fault::HalfClose,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Fault::Cut => "cuts",
            Fault::HalfClose => "half closes",
            Fault::CutsToCome => "cuts at some byte",
            Fault::Delay => "delays",
            Fault::Double => "double links",
            Fault::Stop => "stops",
            Fault::Kill => "kills",
            Fault::Reload => "reloads",
        }
    }

    pub fn inject(self, tree: &mut Tree, random: &mut Random, longest_stop: Duration) {
        let proxy = &tree.proxies[random.below(2)];
        let node = [ROOT, MIDDLE, LEAF][random.below(3)];
        match self {
            Fault::Cut => {
                proxy.set(Trouble::default());
                proxy.cut();
            }
            Fault::HalfClose => proxy.half_close(),
            Fault::CutsToCome => {
                let after = random.below(200_000);
                proxy.set(Trouble {
                    cut_after_sent: Some(after),
                    cut_after_answered: Some(200_000 - after),
                    ..Trouble::default()
                });
                proxy.cut();
            }
            Fault::Delay => {
                proxy.set(Trouble {
                    delay: Duration::from_millis(2),
                    ..Trouble::default()
                });
                proxy.cut();
            }
            Fault::Double => {
                proxy.set(Trouble {
                    is_double: true,
                    ..Trouble::default()
                });
                proxy.cut();
            }
            Fault::Stop => {
                tree.signal(node, libc::SIGSTOP);
                std::thread::sleep(longest_stop * (random.below(100) + 1) as u32 / 100);
                tree.signal(node, libc::SIGCONT);
            }
            Fault::Kill => tree.kill_middle(),
            Fault::Reload => tree.signal(node, libc::SIGHUP),
        }
    }
}
