//! `stats`: its pages of figures.

use super::administration::VERSION;
use super::exchange::Exchange;
use super::state::Counters;
use crate::broker::close_reason::CloseReason;
use crate::broker::events::Flow;
use crate::broker::output::Output;
use crate::limits::{MIB, SECOND_US};
use crate::protocol::encode;
use crate::protocol::memcached::administration::Stats;
use crate::protocol::memcached::answer::stat;

impl<O: Output> Exchange<'_, O> {
    pub fn statistics(&mut self, page: Stats, line: &[u8]) -> Flow {
        match page {
            Stats::General => self.general_page(),
            Stats::Items => self.items_page(),
            Stats::Slabs => self.slabs_page(),
            Stats::Settings => self.settings_page(),
            Stats::Conns => return self.connections_page(line),
            Stats::Sizes => {
                self.answer("STAT sizes_status disabled");
                self.answer("END");
            }
            Stats::Reset => {
                self.reset_counters();
                self.answer("RESET");
            }
            Stats::DetailSwitch => self.answer("OK"),
            Stats::DetailDump | Stats::CacheDump(None) => self.answer("END"),
            Stats::CacheDump(Some(most)) => return self.cache_dump(most, line),
        }
        Flow::Next
    }

    fn reset_counters(&mut self) {
        let statistics = &self.broker.statistics;
        self.broker.memcached.counters = Counters {
            connections_before: statistics.connections.sum(),
            rejected_before: statistics.closed(CloseReason::ClientLimit),
            ..Counters::default()
        };
    }

    fn general_page(&mut self) {
        let mut to = Vec::new();
        self.append_host_figures(&mut to);
        self.append_gauges(&mut to);
        append_counters(&self.broker.memcached.counters, &mut to);
        for name in ALWAYS_0 {
            stat(&mut to, name, 0);
        }
        encode::line(&mut to, &[b"END"]);
        self.append(|output| output.extend_from_slice(&to));
    }

    fn append_host_figures(&self, to: &mut Vec<u8>) {
        let host = self.out.host_figures();
        let seconds = |us: u64| format!("{}.{:06}", us / SECOND_US, us % SECOND_US);
        stat(to, "pid", host.process_id);
        // Pages divide by it.
        stat(to, "uptime", (self.now.monotonic_us / SECOND_US).max(1));
        stat(to, "time", self.now.wall_us / SECOND_US);
        stat(to, "version", VERSION);
        stat(to, "pointer_size", 64);
        stat(to, "rusage_user", seconds(host.user_us));
        stat(to, "rusage_system", seconds(host.system_us));
        stat(to, "accepting_conns", u8::from(host.is_accepting));
        stat(to, "listen_disabled_num", host.accept_rests);
        stat(to, "conn_yields", host.yields);
        stat(to, "threads", 1);
    }

    fn append_gauges(&self, to: &mut Vec<u8>) {
        let (broker, counters) = (&self.broker, &self.broker.memcached.counters);
        let total = broker.statistics.connections.sum() - counters.connections_before;
        let rejected =
            broker.statistics.closed(CloseReason::ClientLimit) - counters.rejected_before;
        stat(to, "max_connections", broker.settings.max_clients);
        stat(to, "curr_connections", broker.sessions.len());
        stat(to, "total_connections", total);
        stat(to, "rejected_connections", rejected);
        stat(to, "curr_items", broker.cache.live());
        stat(to, "bytes", broker.cache.bytes());
        stat(to, "limit_maxbytes", self.max_bytes());
    }

    /// `stats items`. All entries are of one class.
    fn items_page(&mut self) {
        let mut to = Vec::new();
        let (cache, counters) = (&self.broker.cache, &self.broker.memcached.counters);
        if cache.live() > 0 {
            let mut item = |name, value: u64| {
                stat(&mut to, format_args!("items:1:{name}"), value);
            };
            item("number", cache.live() as u64);
            item("number_cold", cache.live() as u64);
            // Entries are not kept in the order of their use, so nobody knows the one that was not used for longest.
            item("age", 0);
            item("mem_requested", cache.bytes() as u64);
            item("evicted", counters.evictions);
            item("evicted_nonzero", counters.evictions_with_expiry);
            item("evicted_time", counters.evicted_idle_s);
            item("reclaimed", counters.reclaimed);
            item("hits_to_cold", counters.get_hits);
            for name in ITEMS_ALWAYS_0 {
                item(name, 0);
            }
        }
        encode::line(&mut to, &[b"END"]);
        self.append(|output| output.extend_from_slice(&to));
    }

    /// `stats slabs`. All entries are of one class, whose chunks have their mean size.
    fn slabs_page(&mut self) {
        let mut to = Vec::new();
        let (cache, counters) = (&self.broker.cache, &self.broker.memcached.counters);
        let (count, bytes) = (cache.live(), cache.bytes());
        if let Some(mean) = bytes.checked_div(count) {
            let chunk = mean.max(1);
            let mut slab = |name, value: u64| stat(&mut to, format_args!("1:{name}"), value);
            slab("chunk_size", chunk as u64);
            slab("chunks_per_page", (MIB / chunk).max(1) as u64);
            slab("total_pages", bytes.div_ceil(MIB) as u64);
            slab("total_chunks", count as u64);
            slab("used_chunks", count as u64);
            slab("free_chunks", 0);
            slab("free_chunks_end", 0);
            slab("get_hits", counters.get_hits);
            slab("cmd_set", counters.cmd_set);
            slab("delete_hits", counters.delete_hits);
            slab("incr_hits", counters.incr_hits);
            slab("decr_hits", counters.decr_hits);
            slab("cas_hits", counters.cas_hits);
            slab("cas_badval", counters.cas_badval);
            slab("touch_hits", counters.touch_hits);
        }
        stat(&mut to, "active_slabs", u8::from(count > 0));
        stat(&mut to, "total_malloced", if count > 0 { bytes } else { 0 });
        encode::line(&mut to, &[b"END"]);
        self.append(|output| output.extend_from_slice(&to));
    }
}

fn append_counters(counters: &Counters, to: &mut Vec<u8>) {
    for (name, value) in [
        ("cmd_get", counters.cmd_get),
        ("cmd_set", counters.cmd_set),
        ("cmd_flush", counters.cmd_flush),
        ("cmd_touch", counters.cmd_touch),
        ("cmd_meta", counters.cmd_meta),
        ("get_hits", counters.get_hits),
        ("get_misses", counters.get_misses),
        ("get_expired", counters.get_expired),
        ("delete_misses", counters.delete_misses),
        ("delete_hits", counters.delete_hits),
        ("incr_misses", counters.incr_misses),
        ("incr_hits", counters.incr_hits),
        ("decr_misses", counters.decr_misses),
        ("decr_hits", counters.decr_hits),
        ("cas_misses", counters.cas_misses),
        ("cas_hits", counters.cas_hits),
        ("cas_badval", counters.cas_badval),
        ("touch_hits", counters.touch_hits),
        ("touch_misses", counters.touch_misses),
        ("store_too_large", counters.store_too_large),
        ("auth_cmds", counters.auth_cmds),
        ("auth_errors", counters.auth_errors),
        ("bytes_read", counters.bytes_read),
        ("bytes_written", counters.bytes_written),
        ("total_items", counters.total_items),
        ("evictions", counters.evictions),
        ("reclaimed", counters.reclaimed),
    ] {
        stat(to, name, value);
    }
}

/// Figures of parts that memcached has and this server has not.
const ALWAYS_0: &[&str] = &[
    "get_flushed",
    "store_no_memory",
    "connection_structures",
    "response_obj_oom",
    "read_buf_oom",
    "time_in_listen_disabled_us",
    "hash_is_expanding",
    "slab_reassign_running",
    "slabs_moved",
    "lru_crawler_running",
    "lru_crawler_starts",
    "malloc_fails",
    "expired_unfetched",
    "evicted_unfetched",
    "evicted_active",
    "crawler_reclaimed",
    "crawler_items_checked",
    "lrutail_reflocked",
    "moves_to_cold",
    "moves_to_warm",
    "moves_within_lru",
    "direct_reclaims",
    "log_worker_dropped",
    "log_watcher_skipped",
];

/// Figures of that kind on the page of items.
const ITEMS_ALWAYS_0: &[&str] = &[
    "number_hot",
    "number_warm",
    "number_temp",
    "age_hot",
    "age_warm",
    "outofmemory",
    "tailrepairs",
    "expired_unfetched",
    "evicted_unfetched",
    "evicted_active",
    "crawler_reclaimed",
    "crawler_items_checked",
    "lrutail_reflocked",
    "moves_to_cold",
    "moves_to_warm",
    "moves_within_lru",
    "direct_reclaims",
    "hits_to_hot",
    "hits_to_warm",
    "hits_to_temp",
];
