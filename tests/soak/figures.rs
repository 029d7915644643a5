//! Figures of the servers at a check, from their status lines and from the kernel.

use crate::support::Server;
use std::time::Instant;

#[derive(Clone)]
pub struct NodeFigures {
    process: u32,
    memory_kb: u64,
    descriptors: usize,
    clients: u64,
    entries: u64,
    tombstones: u64,
    cache_bytes: u64,
    longest_turn_us: u64,
    lines: u64,
    deliveries: u64,
}

#[derive(Clone)]
pub struct Figures {
    at: Instant,
    nodes: Vec<NodeFigures>,
}

impl NodeFigures {
    pub fn of(server: &Server) -> NodeFigures {
        let status = server.status_line();
        let figure = |name: &str| {
            let mut words = status.split(' ');
            let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value.map_or(0, |value| value.parse().expect("figures are numbers"))
        };
        NodeFigures {
            process: server.process.id(),
            memory_kb: server.proc_status("VmRSS"),
            descriptors: server.open_descriptors(),
            clients: figure("clients"),
            entries: figure("entries"),
            tombstones: figure("tombstones"),
            cache_bytes: figure("cache_bytes"),
            longest_turn_us: figure("longest_turn_us"),
            lines: figure("lines"),
            deliveries: figure("deliveries"),
        }
    }
}

impl Figures {
    pub fn new(nodes: Vec<NodeFigures>) -> Figures {
        Figures {
            at: Instant::now(),
            nodes,
        }
    }

    pub fn print(&self, when: &str, before: Option<&Figures>) {
        println!("soak: {when}");
        for (number, node) in self.nodes.iter().enumerate() {
            // A process that was killed meanwhile has counted from 0.
            let then = before.map(|figures| (figures.at, &figures.nodes[number]));
            let then = then.filter(|(_, then)| then.process == node.process);
            let rate = then.map_or_else(String::new, |(at, then)| {
                let passed =
                    |now: u64, then: u64| (now - then) as f64 / (self.at - at).as_secs_f64();
                format!(
                    ", {:.0} lines and {:.0} deliveries a second",
                    passed(node.lines, then.lines),
                    passed(node.deliveries, then.deliveries)
                )
            });
            println!(
                "soak:   node {number}: {:.1} MB, {} descriptors, {} clients, {} entries and {} tombstones in {} bytes, \
                 longest turn {:.1} ms (with the times it was stopped){rate}",
                node.memory_kb as f64 / 1024.0,
                node.descriptors,
                node.clients,
                node.entries,
                node.tombstones,
                node.cache_bytes,
                node.longest_turn_us as f64 / 1000.0,
            );
        }
    }

    /// As much has happened since the middle as before it, so whatever is never given back shows. At both moments
    /// no client is there, and the processes are the same.
    pub fn assert_not_grown(&self, middle: &Figures) {
        for (node, then) in self.nodes.iter().zip(&middle.nodes) {
            assert_eq!(node.process, then.process, "none is killed any more");
            // What the allocator keeps of what was given back differs by some megabytes.
            let bound_kb = then.memory_kb + then.memory_kb / 10 + 8 * 1024;
            assert!(
                node.memory_kb <= bound_kb,
                "{} kB at the end, {} kB in the middle",
                node.memory_kb,
                then.memory_kb
            );
        }
    }
}
