//! Lines of the log that watchers get.

use super::servers::Target;
use crate::support::Conversation;
use std::net::TcpStream;

fn watch(target: &Target, kind: &str) -> Conversation {
    let mut watcher = target.connect(None, "");
    watcher.ask(format!("watch {kind}\r\n").as_bytes(), b"OK\r\n");
    watcher
}

/// The next events, without time, number and connection.
fn events(watcher: &mut Conversation, count: usize) -> Vec<String> {
    let is_end = |byte: &&u8| **byte == b'\n';
    while watcher.came.iter().filter(is_end).count() < count {
        assert!(!watcher.is_closed && watcher.wait(), "no further event");
    }
    let came = String::from_utf8(std::mem::take(&mut watcher.came)).expect("text");
    assert!(came.ends_with('\n') && !came.contains('\r'), "{came}");
    let events = came.lines().map(|line| {
        let is_of_event = |word: &&str| {
            let changes = ["ts=", "gid=", "cfd="];
            !changes.iter().any(|start| word.starts_with(start))
        };
        let words: Vec<&str> = line.split(' ').filter(is_of_event).collect();
        words.join(" ")
    });
    events.collect()
}

#[test]
fn watchers_see_clients_come_and_go() {
    let tcp = ["--memcached", "tcp://127.0.0.1:0"];
    let target = Target::clacksd_with(&tcp);
    let mut watcher = watch(&target, "connevents");
    let new = "type=conn_new rip=unix rport=0 transport=local";
    let close = "type=conn_close rip=unix rport=0 transport=local";
    let mut quits = target.connect(None, "");
    quits.say(b"quit\r\n");
    assert_eq!(quits.until_closed(), b"");
    assert_eq!(
        events(&mut watcher, 2),
        [new.to_owned(), format!("{close} reason=normal")]
    );
    drop(target.connect(None, ""));
    assert_eq!(
        events(&mut watcher, 2),
        [new.to_owned(), format!("{close} reason=error")]
    );
    let port = target.server().process.memcached_port();
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens there");
    let own_port = stream.local_addr().expect("a socket").port();
    let peer = format!("rip=127.0.0.1 rport={own_port} transport=tcp");
    assert_eq!(events(&mut watcher, 1), [format!("type=conn_new {peer}")]);
    drop(stream);
    assert_eq!(
        events(&mut watcher, 1),
        [format!("type=conn_close {peer} reason=error")]
    );
    // Clients of another language are none of theirs.
    drop(target.connect(None, "clacks"));
    drop(target.connect(None, ""));
    assert_eq!(events(&mut watcher, 2)[0], new);
}

#[test]
fn watchers_see_who_is_closed_by_a_shutdown() {
    let target = Target::clacksd();
    // Who came first is closed first, and so many are not closed in one turn.
    let mut clients: Vec<Conversation> = (0..200).map(|_| target.connect(None, "")).collect();
    for client in &mut clients {
        client.ask(b"mn\r\n", b"MN\r\n");
    }
    let watcher = watch(&target, "connevents");
    clients[0].say(b"shutdown\r\n");
    let seen = String::from_utf8(watcher.until_closed()).expect("text");
    assert!(
        seen.contains(" transport=local reason=shutdown cfd="),
        "{seen}"
    );
}

#[test]
fn watchers_see_what_is_evicted() {
    let target = Target::clacksd_with(&["--cache-max", "128K"]);
    let mut watcher = watch(&target, "evictions");
    let mut client = target.connect(None, "");
    for number in 0..300 {
        let line = format!("set k%{number} 0 10000 1024 noreply\r\n");
        client.say(&[line.as_bytes(), &[b'x'; 1024], b"\r\n"].concat());
    }
    client.ask(b"mn\r\n", b"MN\r\n");
    let seen = events(&mut watcher, 1);
    for event in seen {
        let event = event.strip_prefix("type=eviction key=k%25");
        let (key, fields) = event
            .and_then(|event| event.split_once(' '))
            .expect("a key");
        assert!(key.parse::<u32>().is_ok(), "{key}");
        let words: Vec<&str> = fields.split(' ').collect();
        let [fetch, ttl, la, class, size] = words[..] else {
            panic!("{fields}");
        };
        assert_eq!((fetch, class, size), ("fetch=no", "clsid=1", "size=1024"));
        let seconds = |word: &str, name: &str| -> u32 {
            let number = word.strip_prefix(name).map(str::parse);
            number.expect("the name").expect("a number")
        };
        assert!((9_900..=10_000).contains(&seconds(ttl, "ttl=")), "{ttl}");
        assert!(seconds(la, "la=") < 100, "{la}");
    }
}

#[test]
fn watchers_see_that_an_entry_has_expired() {
    let (target, clock) = Target::clacksd_by_clock(&["--clean-interval", "1000"]);
    let mut watcher = watch(&target, "fetchers");
    let mut client = target.connect(None, "");
    client.ask(b"set k 0 10 1\r\nx\r\n", b"STORED\r\n");
    clock.let_pass(20);
    client.ask(b"get k\r\nmg k v\r\n", b"END\r\nEN\r\n");
    let expired = "type=item_get key=k status=expired clsid=0 size=0";
    assert_eq!(events(&mut watcher, 2), [expired; 2]);
}

#[test]
fn watchers_see_the_announced_size_of_a_value_that_is_too_large() {
    let target = Target::clacksd_with(&["--max-line", "4096"]);
    let mut watcher = watch(&target, "mutations");
    let mut client = target.connect(None, "");
    // Some come whole, and others are dropped while they come.
    for size in [4097, 1_000_000] {
        for line in [
            format!("set k 0 100 {size}"),
            format!("add k 0 100 {size}"),
            format!("ms k {size} T100"),
        ] {
            let block = vec![b'x'; size];
            let request = [line.as_bytes(), b"\r\n", &block, b"\r\n"].concat();
            client.ask(&request, b"SERVER_ERROR object too large for cache\r\n");
        }
        let event = |command: &str| {
            format!(
                "type=item_store key=k status=too_large cmd={command} ttl=100 clsid=1 size={size}"
            )
        };
        assert_eq!(
            events(&mut watcher, 3),
            [event("set"), event("add"), event("set")]
        );
    }
}

#[test]
fn watchers_see_what_meta_commands_delete() {
    let target = Target::clacksd();
    let mut watcher = watch(&target, "deletions");
    let mut client = target.connect(None, "");
    client.ask(b"set k 0 0 3\r\nabc\r\n", b"STORED\r\n");
    client.ask(b"md k q\r\nmd k\r\nmn\r\n", b"NF\r\nMN\r\n");
    client.ask(b"set l 0 0 1\r\nx\r\ndelete l\r\n", b"DELETED\r\n");
    let expected = [
        "type=deleted key=k cmd=md clsid=1 size=3",
        "type=deleted key=l cmd=delete clsid=1 size=1",
    ];
    assert_eq!(events(&mut watcher, 2), expected);
}

#[test]
fn a_watcher_that_reads_too_slowly_loses_lines_and_stays() {
    const EVENTS: usize = 40_000;
    let target = Target::clacksd();
    let mut watcher = watch(&target, "fetchers");
    let mut client = target.connect(None, "");
    let key = "k".repeat(200);
    for _ in 0..EVENTS / 100 {
        let line = format!("get{}\r\n", format!(" {key}").repeat(100));
        client.ask(line.as_bytes(), b"END\r\n");
    }
    // It gets those that come when it has read what waited.
    while memchr::memmem::find(&watcher.came, b" key=end ").is_none() {
        client.ask(b"get end\r\n", b"END\r\n");
        assert!(watcher.wait(), "it stays");
        assert!(!watcher.is_closed);
    }
    let came = String::from_utf8(watcher.came).expect("text");
    let of_key = format!(" key={key} ");
    let count = came.lines().filter(|line| line.contains(&of_key)).count();
    assert!(count > 1000 && count < EVENTS, "{count}");
    let numbers = came.lines().filter(|line| line.contains(" key=end "));
    let mut numbers = numbers.filter_map(|line| {
        let number = line.split(' ').find_map(|word| word.strip_prefix("gid="));
        number?.parse().ok()
    });
    let first: usize = numbers.next().expect("a number");
    assert!(first > EVENTS, "{first}");
    let is_whole = |line: &str| line.starts_with("ts=") && line.contains(" type=item_get key=");
    let (last, whole) = came
        .rsplit_once('\n')
        .map_or(("", ""), |(whole, last)| (last, whole));
    assert!(whole.lines().all(is_whole) && last.len() < 300);
}
