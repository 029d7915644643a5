//! Tests of the decoding of commands.

use super::*;
use Error::{Delta, Exptime, Format, NoSuchCommand, ShutdownMode};
use Reply::{Unwanted, Wanted};

#[test]
fn a_storage_command_has_a_block() {
    let store = |frame: &'static str| match decode(frame.as_bytes()) {
        Request::Store(store) => store,
        other => panic!("{other:?}"),
    };
    let set = store("set k 4294967297 4294967295 3 \r\na\nb\r\n");
    assert_eq!(
        (set.verb, set.key, set.flags),
        (StoreVerb::Set, &b"k"[..], 1)
    );
    assert_eq!((set.expiry, set.reply), (Expiry::AtOnce, Wanted));
    assert_eq!(set.block, Block::Value(b"a\nb"));
    let cas = store("cas k 0 30 0 7 noreply \r\n\r\n");
    assert_eq!((cas.verb, cas.reply), (StoreVerb::Cas(7), Unwanted));
    assert_eq!(
        (cas.expiry, cas.block),
        (Expiry::AfterS(30), Block::Value(b""))
    );
    assert_eq!(store("add k 0 0 1\nx\nq").block, Block::BadEnd(1));
    assert_eq!(store("replace k 0 0 999\r\n").block, Block::Dropped(999));
    assert_eq!(store("append k 0 0 1 noreply x\r\ny\r\n").reply, Wanted);
    assert_eq!(store("prepend k 0 0 1\r\ny\r\n").verb, StoreVerb::Prepend);
}

const FAULTS: &[(&str, Error, Reply)] = &[
    ("", Format, Wanted),
    ("x", Format, Wanted),
    ("foo", NoSuchCommand, Wanted),
    ("foo noreply", NoSuchCommand, Unwanted),
    (" get k", NoSuchCommand, Wanted),
    ("GET k", NoSuchCommand, Wanted),
    ("get\tk", NoSuchCommand, Wanted),
    ("set k 0 0", Format, Wanted),
    ("set k 0 0 noreply", Format, Wanted),
    ("set k 0 0 x noreply", Format, Wanted),
    ("set  0 0 1 noreply", Format, Wanted),
    ("set k a 0 1", Format, Wanted),
    ("set k -1 0 1 noreply", Format, Unwanted),
    ("set k 0 a 1", Format, Wanted),
    ("set LONG 0 0 1", Format, Wanted),
    ("set LONG 0 0 1 noreply", Format, Unwanted),
    ("cas k 0 0 1", Format, Wanted),
    ("cas k 0 0 1 x", Format, Wanted),
    ("cas k 0 0 1 noreply", Format, Unwanted),
    ("get", Format, Wanted),
    ("gets ", Format, Wanted),
    ("get k LONG", Format, Wanted),
    ("gat", Format, Wanted),
    ("gat 10", Format, Wanted),
    ("gat x k", Exptime, Wanted),
    ("gats 4294967295 k", Exptime, Wanted),
    ("gat 0 k LONG", Format, Wanted),
    ("delete", Format, Wanted),
    ("delete LONG", Format, Wanted),
    ("delete LONG noreply", Format, Unwanted),
    ("touch k", Format, Wanted),
    ("touch k x", Exptime, Wanted),
    ("touch k 4294967295", Exptime, Wanted),
    ("touch k noreply", Exptime, Unwanted),
    ("touch LONG x", Format, Wanted),
    ("incr k", Format, Wanted),
    ("incr noreply", Format, Wanted),
    ("incr k -1", Delta, Wanted),
    ("incr k +1", Delta, Wanted),
    ("decr k x noreply", Delta, Unwanted),
    ("incr k 18446744073709551616", Delta, Wanted),
    ("flush_all x", Exptime, Wanted),
    ("flush_all 4294967295", Exptime, Wanted),
    ("flush_all x noreply", Exptime, Unwanted),
    ("verbosity", Format, Wanted),
    ("verbosity x", Format, Wanted),
    ("cache_memlimit", NoSuchCommand, Wanted),
    ("cache_memlimit x", NoSuchCommand, Wanted),
    ("shutdown now", ShutdownMode, Wanted),
    ("stats noreply", NoSuchCommand, Wanted),
    ("watch fetchers noreply", NoSuchCommand, Wanted),
    ("slabs automove x noreply", Format, Unwanted),
    ("lru x", NoSuchCommand, Wanted),
    ("lru_crawler metadump", NoSuchCommand, Wanted),
    ("extstore x", NoSuchCommand, Wanted),
    ("refresh_certs", NoSuchCommand, Wanted),
    ("mg", Format, Wanted),
    ("mg k {", Format, Wanted),
    ("md k !", Format, Wanted),
    ("ma", Format, Wanted),
    ("ms k", Format, Wanted),
    ("ms k S1", Format, Wanted),
    ("ms k 1 !", Format, Wanted),
    ("me", Format, Wanted),
    ("me LONG", Format, Wanted),
];

#[test]
fn each_fault_has_its_error() {
    let long = "k".repeat(251);
    for &(line, error, reply) in FAULTS {
        let frame = format!("{}\r\n", line.replace("LONG", &long));
        let decoded = decode(frame.as_bytes());
        assert_eq!(decoded, Request::Wrong(error, reply), "{line:?}");
    }
}

const fn count(direction: Direction, reply: Reply) -> Request<'static> {
    Request::Count(Count {
        key: b"k",
        direction,
        delta: 5,
        reply,
    })
}

const COMMANDS: &[(&str, Request<'_>, Need)] = &[
    ("delete k", Request::Delete(b"k", Wanted), Need::Write),
    ("delete k 5", Request::Delete(b"k", Wanted), Need::Write),
    (
        "delete k 0 noreply",
        Request::Delete(b"k", Unwanted),
        Need::Write,
    ),
    (
        "touch k 0",
        Request::Touch(b"k", Expiry::Never, Wanted),
        Need::Write,
    ),
    ("incr k 5", count(Direction::Up, Wanted), Need::Write),
    (
        "decr k 5 noreply ",
        count(Direction::Down, Unwanted),
        Need::Write,
    ),
    (
        "flush_all",
        Request::FlushAll(Expiry::Never, Wanted),
        Need::Manage,
    ),
    (
        "flush_all  noreply",
        Request::FlushAll(Expiry::Never, Unwanted),
        Need::Manage,
    ),
    (
        "flush_all -1",
        Request::FlushAll(Expiry::AtOnce, Wanted),
        Need::Manage,
    ),
    (
        "flush_all 9 noreply",
        Request::FlushAll(Expiry::AfterS(9), Unwanted),
        Need::Manage,
    ),
    ("mn", Request::MetaNoop, Need::Login),
    ("version x", Request::Version, Need::Login),
    ("version noreply", Request::Version, Need::Login),
    ("quit x", Request::Quit, Need::Login),
    ("stats ", Request::Stats(Stats::General), Need::Login),
    ("stats conns", Request::Stats(Stats::Conns), Need::Manage),
    (
        "stats reset noreply",
        Request::Stats(Stats::Reset),
        Need::Manage,
    ),
    (
        "stats cachedump 1 0",
        Request::Stats(Stats::CacheDump(Some(0))),
        Need::Read,
    ),
    ("verbosity 1", Request::Verbosity(Wanted), Need::Manage),
    (
        "cache_memlimit 64",
        Request::CacheMemLimit(64, Wanted),
        Need::Manage,
    ),
    ("shutdown", Request::Shutdown(Wanted), Need::Manage),
    (
        "shutdown graceful noreply",
        Request::Shutdown(Unwanted),
        Need::Manage,
    ),
    ("slabs automove 1", Request::Tune(Wanted), Need::Login),
    (
        "lru mode flat noreply",
        Request::Tune(Unwanted),
        Need::Login,
    ),
    ("GET / HTTP/1.1", Request::Http, Need::Login),
];

#[test]
fn each_command_is_decoded_and_needs_its_permission() {
    for &(line, request, need) in COMMANDS {
        let frame = format!("{line}\r\n");
        let decoded = decode(frame.as_bytes());
        assert_eq!(decoded, request, "{line:?}");
        assert_eq!(decoded.need(), need, "{line:?}");
    }
}

#[test]
fn several_keys_are_read() {
    let get = |line: &'static str| match decode(line.as_bytes()) {
        Request::Get(get) => (get.keys.collect::<Vec<_>>(), get.with_cas, get.expiry),
        other => panic!("{other:?}"),
    };
    let keys = vec![&b"a"[..], b"a", b"noreply"];
    assert_eq!(get("get a a noreply \r\n"), (keys, false, None));
    assert_eq!(get("gets k\r\r\n"), (vec![&b"k\r"[..]], true, None));
    let touched = (vec![&b"k"[..]], true, Some(Expiry::AtOnce));
    assert_eq!(get("gats -1 k\n"), touched);
    assert_eq!(decode(b"gat 0 k\n").need(), Need::ReadAndWrite);
    assert_eq!(decode(b"get k\n").need(), Need::Read);
}

#[test]
fn a_meta_command_keeps_its_words() {
    for (line, verb, need) in [
        ("mg k v", Verb::Get, Need::Read),
        ("mg k v N30", Verb::Get, Need::ReadAndWrite),
        ("mg k T0", Verb::Get, Need::ReadAndWrite),
        ("mg k R30", Verb::Get, Need::ReadAndWrite),
        ("md k", Verb::Delete, Need::Write),
        ("ma k", Verb::Count, Need::Write),
        ("ms k 1 c\r\nx", Verb::Store, Need::Write),
    ] {
        let frame = format!("{line}\r\n");
        let decoded = decode(frame.as_bytes());
        assert_eq!(decoded.need(), need, "{line:?}");
        match decoded {
            Request::Meta(meta) => assert_eq!((meta.verb, meta.key), (verb, &b"k"[..])),
            Request::MetaStore(meta, block) => {
                assert_eq!((meta.verb, meta.key), (verb, &b"k"[..]));
                assert_eq!({ meta.words }.next(), Some(&b"c"[..]));
                assert_eq!(block, Block::Value(b"x"));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn b_of_me_counts_if_a_word_follows() {
    for (line, is_base64) in [
        ("me Zm9v b", false),
        ("me Zm9v b x", true),
        ("me Zm9v x b", false),
    ] {
        let key = b"Zm9v";
        let expected = Request::MetaDebug(Debugged { key, is_base64 });
        assert_eq!(decode(line.as_bytes()), expected, "{line}");
    }
}

#[test]
fn a_request_is_small() {
    assert!(size_of::<Request<'_>>() <= 80);
}
