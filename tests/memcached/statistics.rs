//! Figures that `stats` shows to memcached clients.

use super::servers::Target;
use crate::support::{Conversation, wait_until};
use std::collections::BTreeMap;

/// Counters of commands. Each test begins with all of them at 0.
const COUNTERS: [&str; 22] = [
    "cmd_get",
    "get_hits",
    "get_misses",
    "get_expired",
    "cmd_touch",
    "touch_hits",
    "touch_misses",
    "cmd_set",
    "cas_hits",
    "cas_misses",
    "cas_badval",
    "delete_hits",
    "delete_misses",
    "incr_hits",
    "incr_misses",
    "decr_hits",
    "decr_misses",
    "cmd_flush",
    "cmd_meta",
    "store_too_large",
    "auth_cmds",
    "auth_errors",
];

/// A page of figures, by name.
fn page(connection: &mut Conversation, request: &str) -> BTreeMap<String, String> {
    let answer = connection.ask(format!("{request}\r\n").as_bytes(), b"END\r\n");
    let answer = String::from_utf8(answer).expect("text");
    let lines = answer.lines().map(|line| {
        let words = line
            .strip_prefix("STAT ")
            .and_then(|line| line.split_once(' '));
        let (name, value) = words.unwrap_or_else(|| panic!("{line} in {request}"));
        (name.to_owned(), value.to_owned())
    });
    lines.collect()
}

/// The counters that are not 0 after a request, before which they all were.
fn counted(connection: &mut Conversation, request: &str) -> String {
    connection.ask(b"stats reset\r\n", b"RESET\r\n");
    let request = format!("{request}mn\r\n");
    connection.ask(request.as_bytes(), b"MN\r\n");
    let figures = page(connection, "stats");
    let counted = COUNTERS.iter().filter_map(|name| {
        let value = figures.get(*name).unwrap_or_else(|| panic!("no {name}"));
        (value != "0").then(|| format!("{name} {value}"))
    });
    counted.collect::<Vec<_>>().join(", ")
}

/// Requests, in the order in which they are sent, and what they count.
const REQUESTS: [(&str, &str); 41] = [
    ("get k\r\n", "cmd_get 1, get_misses 1"),
    ("set k 0 0 1\r\nx\r\n", "cmd_set 1"),
    ("get k none k\r\n", "cmd_get 3, get_hits 2, get_misses 1"),
    ("gets k none\r\n", "cmd_get 2, get_hits 1, get_misses 1"),
    ("mg k v\r\n", "cmd_get 1, get_hits 1"),
    ("mg none v\r\n", "cmd_get 1, get_misses 1"),
    ("mg none v q\r\n", "cmd_get 1, get_misses 1"),
    ("mg k T100\r\n", "cmd_touch 1, touch_hits 1"),
    ("mg none T100\r\n", "cmd_get 1, get_misses 1"),
    ("touch k 100\r\n", "cmd_touch 1, touch_hits 1"),
    ("touch none 100\r\n", "cmd_touch 1, touch_misses 1"),
    (
        "gat 100 k none\r\n",
        "cmd_touch 2, touch_hits 1, touch_misses 1",
    ),
    ("gats 100 k\r\n", "cmd_touch 1, touch_hits 1"),
    ("add k 0 0 1\r\nx\r\n", "cmd_set 1"),
    ("replace none 0 0 1\r\nx\r\n", "cmd_set 1"),
    ("append k 0 0 1\r\nx\r\n", "cmd_set 1"),
    ("set k 0 0 1 noreply\r\nx\r\n", "cmd_set 1"),
    ("set k x 0 1\r\nx\r\n", ""),
    ("ms k 1 q\r\nx\r\n", "cmd_set 1"),
    ("ms k 1 ME\r\nx\r\n", "cmd_set 1"),
    ("cas k 0 0 1 1\r\nx\r\n", "cmd_set 1, cas_badval 1"),
    ("cas none 0 0 1 1\r\nx\r\n", "cmd_set 1, cas_misses 1"),
    ("ms k 1 C1\r\nx\r\n", "cmd_set 1, cas_badval 1"),
    ("ms none 1 C1 MR\r\nx\r\n", "cmd_set 1, cas_misses 1"),
    ("ms k 1 C1 MA\r\nx\r\n", "cmd_set 1"),
    ("delete none\r\n", "delete_misses 1"),
    ("md none q\r\n", "delete_misses 1"),
    ("md k C1\r\n", "delete_misses 1"),
    ("md k I\r\n", ""),
    ("delete k\r\n", "delete_hits 1"),
    ("incr n 1\r\n", "incr_misses 1"),
    ("decr n 1\r\n", "decr_misses 1"),
    ("ma n N0 J5\r\n", ""),
    ("incr n 1\r\n", "incr_hits 1"),
    ("decr n 1\r\n", "decr_hits 1"),
    ("ma n\r\n", "incr_hits 1"),
    ("ma n MD q\r\n", "decr_hits 1"),
    ("ma none\r\n", "incr_misses 1"),
    ("mg v N100\r\n", "cmd_get 1, get_hits 1"),
    ("me n\r\n", "cmd_meta 1"),
    ("flush_all\r\n", "cmd_flush 1"),
];

#[test]
fn each_command_counts_as_what_it_is() {
    let target = Target::clacksd();
    let mut connection = target.connect(None, "");
    for (request, expected) in REQUESTS {
        let found = counted(&mut connection, request);
        assert_eq!(found, expected, "{request}");
    }
}

#[test]
fn a_cas_that_fits_is_a_hit() {
    let target = Target::clacksd();
    let mut connection = target.connect(None, "");
    connection.ask(b"set k 0 0 1\r\nx\r\n", b"STORED\r\n");
    for command in ["cas k 0 0 1 CAS\r\nx\r\n", "ms k 1 CCAS\r\nx\r\n"] {
        let answer = connection.ask(b"mg k c\r\n", b"\r\n");
        let cas = str::from_utf8(&answer).expect("text").strip_prefix("HD c");
        let command = command.replace("CAS", cas.expect("a cas"));
        let found = counted(&mut connection, &command);
        assert_eq!(found, "cmd_set 1, cas_hits 1");
    }
}

#[test]
fn logins_are_counted() {
    let target = Target::clacksd_with_login();
    let mut connection = target.connect(None, "admin");
    connection.ask(b"stats reset\r\n", b"RESET\r\n");
    let mut other = target.connect(None, "");
    let tries = b"set a 0 0 7\r\nadmin x\r\nset a 0 0 13\r\nadmin adminpw\r\n";
    other.ask(tries, b"STORED\r\n");
    let figures = page(&mut connection, "stats");
    assert_eq!(
        (&*figures["auth_cmds"], &*figures["auth_errors"]),
        ("2", "1")
    );
}

#[test]
fn gauges_are_those_of_the_server() {
    let target = Target::clacksd_with(&["--cache-max", "64M", "--max-clients", "50"]);
    let mut connection = target.connect(None, "");
    let mut clacks = target.connect(None, "clacks");
    clacks.ask(b"STORE a=1\r\nRETRIEVE a\r\n", b"RETRIEVED a=1\r\n");
    connection.ask(b"set b 0 0 1\r\nx\r\n", b"STORED\r\n");
    let figures = page(&mut connection, "stats");
    let number = |name: &str| -> u64 { figures[name].parse().expect("a number") };
    assert_eq!((number("curr_items"), number("total_items")), (2, 1));
    assert_eq!(number("limit_maxbytes"), 64 * 1024 * 1024);
    assert_eq!(number("max_connections"), 50);
    assert_eq!(number("curr_connections"), 2);
    assert_eq!(number("pointer_size"), 64);
    assert_eq!(number("threads"), 1);
    assert_eq!(number("pid"), u64::from(target.server().process.id()));
    assert!(number("uptime") >= 1);
    assert!(number("bytes") > 0);
    for name in ["rusage_user", "rusage_system"] {
        let (_, decimals) = figures[name].split_once('.').expect("a point");
        assert!(decimals.len() == 6 && decimals.bytes().all(|byte| byte.is_ascii_digit()));
    }
    assert!(figures["version"].starts_with("1.6.45-clacksd-"));
}

/// Figures of parts that clacksd does not have, which some programs read.
const ALWAYS_0: [&str; 24] = [
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

#[test]
fn figures_of_parts_that_are_not_there_are_0() {
    let target = Target::clacksd();
    let mut connection = target.connect(None, "");
    let figures = page(&mut connection, "stats");
    for name in ALWAYS_0 {
        assert_eq!(figures.get(name).map(|value| &**value), Some("0"), "{name}");
    }
}

#[test]
fn pages_of_classes_have_all_in_the_first() {
    let target = Target::clacksd();
    let mut connection = target.connect(None, "");
    connection.ask(
        b"set a 0 0 1\r\nx\r\nset b 0 0 1\r\nx\r\n",
        b"STORED\r\nSTORED\r\n",
    );
    connection.ask(b"get a\r\n", b"END\r\n");
    let items = page(&mut connection, "stats items");
    assert_eq!(items["items:1:number"], "2");
    assert_eq!(items["items:1:number_cold"], "2");
    assert_eq!(items["items:1:hits_to_cold"], "1");
    let bytes = &page(&mut connection, "stats")["bytes"];
    assert_eq!(&items["items:1:mem_requested"], bytes);
    let slabs = page(&mut connection, "stats slabs");
    assert_eq!(slabs["1:used_chunks"], "2");
    assert_eq!(slabs["1:total_chunks"], "2");
    assert_eq!(slabs["1:total_pages"], "1");
    assert_eq!(slabs["active_slabs"], "1");
    assert_eq!(&slabs["total_malloced"], bytes);
    let chunk: u64 = slabs["1:chunk_size"].parse().expect("a number");
    assert_eq!(slabs["1:chunks_per_page"], (1_048_576 / chunk).to_string());
    assert_eq!(slabs["1:cmd_set"], "2");
}

#[test]
fn settings_are_those_of_the_flags() {
    let target = Target::clacksd_with(&["--max-clients", "50"]);
    let mut connection = target.connect(None, "");
    let settings = page(&mut connection, "stats settings");
    for (name, value) in [
        ("maxconns", "50"),
        ("tcpport", "0"),
        ("udpport", "0"),
        ("inter", "NULL"),
        ("evictions", "on"),
        ("num_threads", "1"),
        ("cas_enabled", "yes"),
        ("auth_enabled_ascii", "no"),
        ("item_size_max", "16777216"),
        ("flush_enabled", "yes"),
        ("binding_protocol", "ascii"),
    ] {
        assert_eq!(settings[name], value, "{name}");
    }
    assert!(settings["domain_socket"].ends_with("/memcached"));
    let with_login = Target::clacksd_with_login();
    let mut connection = with_login.connect(None, "admin");
    let settings = page(&mut connection, "stats settings");
    assert_eq!(settings["auth_enabled_ascii"], "yes");
}

#[test]
fn connections_are_listed_with_what_they_do() {
    let target = Target::clacksd();
    let mut connection = target.connect(None, "");
    let mut waiting = target.connect(None, "");
    waiting.say_alone(b"set k 0 0 10\r\nabc");
    let mut refused = target.connect(None, "");
    refused.say_alone(b"set k 0 0 2000000000\r\nabc");
    let mut unfinished = target.connect(None, "");
    unfinished.say_alone(b"get k");
    let mut watcher = target.connect(None, "");
    watcher.ask(b"watch\r\n", b"OK\r\n");
    let listed = page(&mut connection, "stats conns");
    let states = listed.iter().filter(|(name, _)| name.ends_with(":state"));
    let mut states: Vec<&str> = states.map(|(_, state)| &**state).collect();
    states.sort_unstable();
    let expected = [
        "conn_listening",
        "conn_nread",
        "conn_nread",
        "conn_parse_cmd",
        "conn_read",
        "conn_watch",
    ];
    assert_eq!(states, expected);
    let addresses = listed
        .iter()
        .filter(|(name, _)| name.ends_with(":listen_addr"));
    assert_eq!(addresses.count(), 5);
}

/// A figure of `stats`.
fn figure(connection: &mut Conversation, name: &str) -> u64 {
    page(connection, "stats")[name].parse().expect("a number")
}

#[test]
fn bytes_are_those_of_commands_and_answers() {
    let target = Target::clacksd();
    let mut connection = target.connect(None, "");
    let long = "x".repeat(100_000);
    for (request, answer) in [
        ("set k 0 0 5\r\nhello\r\n", "STORED\r\n"),
        ("get k\r\n", "VALUE k 0 5\r\nhello\r\nEND\r\n"),
        ("mg k v\r\n", "VA 5\r\nhello\r\n"),
        ("ms k x\r\n", "CLIENT_ERROR bad command line format\r\n"),
        (&format!("set k 0 0 100000\r\n{long}\r\n"), "STORED\r\n"),
        (
            "get k\r\n",
            &format!("VALUE k 0 100000\r\n{long}\r\nEND\r\n"),
        ),
    ] {
        connection.ask(b"stats reset\r\n", b"RESET\r\n");
        assert_eq!(connection.ask(request.as_bytes(), answer.as_bytes()), b"");
        let figures = page(&mut connection, "stats");
        let (read, written) = (
            request.len() + "stats\r\n".len(),
            answer.len() + "RESET\r\n".len(),
        );
        assert_eq!(figures["bytes_read"], read.to_string(), "{request:.20}");
        assert_eq!(
            figures["bytes_written"],
            written.to_string(),
            "{request:.20}"
        );
    }
}

#[test]
fn the_bytes_of_logins_are_counted() {
    let target = Target::clacksd_with_login();
    let mut connection = target.connect(None, "admin");
    connection.ask(b"stats reset\r\n", b"RESET\r\n");
    let mut other = target.connect(None, "");
    let login = b"version\r\nset a 0 0 13\r\nadmin adminpw\r\n";
    let answers = b"CLIENT_ERROR unauthenticated\r\nSTORED\r\n";
    other.ask(login, answers);
    let figures = page(&mut connection, "stats");
    let read = login.len() + "stats\r\n".len();
    let written = answers.len() + "RESET\r\n".len();
    assert_eq!(figures["bytes_read"], read.to_string());
    assert_eq!(figures["bytes_written"], written.to_string());
}

#[test]
fn an_expired_entry_counts_when_it_is_asked_for_and_when_it_goes() {
    let (target, clock) = Target::clacksd_by_clock(&["--clean-interval", "100"]);
    let mut connection = target.connect(None, "");
    connection.ask(b"set k 0 10 1\r\nx\r\n", b"STORED\r\n");
    connection.ask(b"set other 0 0 1\r\nx\r\n", b"STORED\r\n");
    clock.let_pass(20);
    let found = counted(&mut connection, "get k\r\nmg k v q\r\n");
    assert_eq!(found, "cmd_get 2, get_misses 2, get_expired 2");
    assert_eq!(figure(&mut connection, "reclaimed"), 0);
    clock.let_pass(200);
    wait_until("it is gone", || figure(&mut connection, "reclaimed") == 1);
    let items = page(&mut connection, "stats items");
    assert_eq!(items["items:1:reclaimed"], "1");
    assert_eq!(items["items:1:number"], "1");
    let found = counted(&mut connection, "get k\r\n");
    assert_eq!(found, "cmd_get 1, get_misses 1");
}

/// Stores entries of a KiB with that exptime until one is evicted.
fn fill(connection: &mut Conversation, exptime: u64) {
    let value = "x".repeat(1024);
    for number in 0..1000 {
        let line = format!("set {exptime}:{number} 0 {exptime} 1024\r\n{value}\r\n");
        connection.ask(line.as_bytes(), b"STORED\r\n");
        if figure(connection, "evictions") > 0 {
            return;
        }
    }
    panic!("nothing is evicted");
}

#[test]
fn evicted_entries_are_counted_by_their_expiry_and_time_without_use() {
    let (target, clock) = Target::clacksd_by_clock(&["--cache-max", "128K"]);
    let mut connection = target.connect(None, "");
    for (exptime, nonzero) in [(10_000, true), (0, false)] {
        connection.ask(b"flush_all\r\n", b"OK\r\n");
        connection.ask(b"stats reset\r\n", b"RESET\r\n");
        fill(&mut connection, exptime);
        let evictions = figure(&mut connection, "evictions");
        let items = page(&mut connection, "stats items");
        assert_eq!(items["items:1:evicted"], evictions.to_string());
        let with_expiry = if nonzero { evictions } else { 0 };
        assert_eq!(items["items:1:evicted_nonzero"], with_expiry.to_string());
    }
    clock.let_pass(500);
    // Of those that stayed, some go for this one.
    connection.ask(b"stats reset\r\n", b"RESET\r\n");
    fill(&mut connection, 1000);
    let items = page(&mut connection, "stats items");
    let idle_s: u64 = items["items:1:evicted_time"].parse().expect("a number");
    assert!((500..600).contains(&idle_s), "{idle_s}");
}

#[test]
fn a_long_stream_of_commands_has_to_wait_for_its_next_turn() {
    let target = Target::clacksd();
    let mut connection = target.connect(None, "");
    assert_eq!(figure(&mut connection, "conn_yields"), 0);
    let mut stream = b"set k 0 0 1 noreply\r\nx\r\n".repeat(20_000);
    stream.extend(b"mn\r\n");
    connection.ask(&stream, b"MN\r\n");
    assert!(figure(&mut connection, "conn_yields") > 0);
}

#[test]
fn a_rest_from_accepting_is_shown() {
    let target = Target::clacksd();
    let mut connection = target.connect(None, "");
    let shown = |connection: &mut Conversation| {
        ["accepting_conns", "listen_disabled_num"].map(|name| figure(connection, name))
    };
    assert_eq!(shown(&mut connection), [1, 0]);
    let before = target.server().leave_descriptors(0);
    let mut waiting = target.connect(None, "");
    wait_until("accepting rests", || {
        let [is_accepting, rests] = shown(&mut connection);
        is_accepting == 0 && rests > 0
    });
    target.server().limit_descriptors(before);
    waiting.ask(b"mn\r\n", b"MN\r\n");
    let [is_accepting, rests] = shown(&mut connection);
    assert!(is_accepting == 1 && rests > 0);
}

#[test]
fn a_connection_too_many_is_counted() {
    let target = Target::clacksd_with(&["--max-clients", "1"]);
    let mut connection = target.connect(None, "");
    for count in 1..3 {
        let refused = target.connect(None, "").until_closed();
        assert_eq!(refused, b"ERROR Too many open connections\r\n");
        assert_eq!(figure(&mut connection, "rejected_connections"), count);
    }
    connection.ask(b"stats reset\r\n", b"RESET\r\n");
    assert_eq!(figure(&mut connection, "rejected_connections"), 0);
}
