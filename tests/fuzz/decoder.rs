//! Any bytes to lines, and any line to what it says in each of the three languages: a client's, a server's,
//! and that between clacksd servers.
//!
//! However a stream is cut, its lines are the same; what was decoded is encoded to a line that says the same;
//! and nothing takes more memory than what came.
//!
//! The first byte chooses where the rest is cut.

use clacks::protocol::command::{Counter, Expire, KeySync, Pair, StatusList, decode};
use clacks::protocol::framing::{Next, Unfinished};
use clacks::protocol::peer::packed::NamedState;
use clacks::protocol::peer::{self, PeerLine, StatesLine};
use clacks::protocol::reply::{self, Reply};
use clacks::protocol::token::Token;
use clacks::protocol::{Command, Key, Language, Overhead, Pending, encode};

pub fn run(data: &[u8]) {
    let Some((&cuts, stream)) = data.split_first() else {
        return;
    };
    let lines = all_at_once(stream);
    assert_eq!(in_pieces(stream, cuts), lines, "cut by {cuts}");
    check_put_back_and_skip(stream, cuts, &lines);
    for line in &lines {
        check_command(line);
        check_reply(line);
        check_peer_line(line);
        check_token(line);
    }
}

fn all_at_once(stream: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut lines) = (stream, Vec::new());
    loop {
        let (line, used) = match Language::Clacks.next(rest, Unfinished::default()) {
            Next::Frame(line, used) => (line.to_vec(), used),
            Next::Scattered(used) => {
                let mut line = Vec::new();
                Language::Clacks.assemble(&rest[..used], &mut line);
                (line, used)
            }
            Next::Unfinished(known) => {
                assert_eq!(known.scanned, rest.len());
                assert!(!rest.contains(&b'\n'), "no line is left over");
                return lines;
            }
        };
        assert!(!line.contains(&b'\r') && !line.contains(&b'\n'));
        assert_eq!(rest[used - 1], b'\n');
        lines.push(line);
        rest = &rest[used..];
    }
}

/// Lengths of pieces, without end: a generator that begins with what chooses.
pub fn pieces(mut stream: &[u8], cuts: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(cuts);
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let most = match state >> 30 {
            0 => 1,
            1 => 7,
            2 => 64,
            _ => 4096,
        };
        let length = (1 + (state >> 8) as usize % most).min(stream.len());
        let (piece, rest) = stream.split_at(length);
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

fn in_pieces(stream: &[u8], cuts: u8) -> Vec<Vec<u8>> {
    let (mut pending, mut lines, mut came) = (Pending::default(), Vec::new(), 0);
    for piece in pieces(stream, cuts) {
        pending.push(piece);
        came += piece.len();
        while let Some(line) = pending.next_frame() {
            lines.push(line.to_vec());
        }
        assert!(pending.waiting() <= came);
        // A Vec grows to twice of what it needs, and has 8 bytes at first.
        assert!(
            pending.capacity() <= 2 * came.max(8),
            "bounded by what came"
        );
        assert_eq!(pending.is_idle(), pending.waiting() == 0);
    }
    let end = stream.iter().rposition(|byte| *byte == b'\n');
    let unfinished = &stream[end.map_or(0, |end| end + 1)..];
    let unfinished = unfinished.iter().filter(|byte| **byte != b'\r');
    assert_eq!(pending.waiting(), unfinished.count());
    lines
}

/// Every other line is put back once. The unfinished line after some piece is skipped.
fn check_put_back_and_skip(stream: &[u8], cuts: u8, lines: &[Vec<u8>]) {
    let (mut pending, mut found) = (Pending::default(), Vec::new());
    let mut skipped = None;
    for (index, piece) in pieces(stream, cuts).enumerate() {
        pending.push(piece);
        while let Some(line) = pending.next_frame().map(<[u8]>::to_vec) {
            if found.len() % 2 == 0 {
                pending.put_back(line.len());
                assert_eq!(pending.next_frame(), Some(&line[..]));
            }
            found.push(line);
        }
        if index == usize::from(cuts % 8) {
            pending.skip_frame();
            assert!(!pending.is_idle());
            skipped = Some(found.len());
        }
    }
    let mut expected = lines.to_vec();
    if let Some(skipped) = skipped.filter(|skipped| *skipped < expected.len()) {
        expected.remove(skipped);
    }
    assert_eq!(found, expected);
}

/// Returns the line that `write` writes, without its end. It must write one whole line.
fn line_of(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut line = Vec::new();
    write(&mut line);
    assert!(line.ends_with(b"\r\n"));
    line.truncate(line.len() - 2);
    line
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    line_of(|to| encode::line(to, parts))
}

fn overhead_line(overhead: Overhead<'_>) -> Vec<u8> {
    line_of(|to| encode::overhead(to, overhead.flags, overhead.value))
}

fn expire_line(Expire { name, after_us }: &Expire<'_>) -> Vec<u8> {
    let after_us = after_us.unwrap_or(0);
    let seconds = format!("{}.{:06}", after_us / 1_000_000, after_us % 1_000_000);
    joined(&[b"EXPIRE ", name, b"=", seconds.as_bytes()])
}

fn key_sync_line(key_sync: KeySync<'_>) -> Vec<u8> {
    let Pair { name, value } = key_sync.entry();
    joined(&[
        b"KEYSYNC ",
        key_sync.cache_time(),
        b" ",
        key_sync.access_time(),
        b" ",
        key_sync.mode(),
        b" ",
        name,
        b"=",
        value,
    ])
}

fn check_command(line: &[u8]) {
    let command = decode(line);
    match Language::Clacks.decode(line).key() {
        None => {}
        Some(Key::Entry(name)) => assert!(
            matches!(command, Some(Command::Retrieve(found) | Command::Store(Pair { name: found, .. })) if found == name)
        ),
        Some(Key::Listeners(name)) => assert!(
            matches!(command, Some(Command::Notify(found) | Command::Set(Pair { name: found, .. })) if found == name)
        ),
    }
    let Some(command) = command else { return };
    let pair = |verb: &[u8], Pair { name, value }| joined(&[verb, name, b"=", value]);
    let counter = |verb: &[u8], Counter { name, step }| match step {
        Some(step) => joined(&[verb, name, b"=", step]),
        None => joined(&[verb, name]),
    };
    let same = match command {
        Command::Clacks(text) => joined(&[b"CLACKS ", text]),
        Command::ClearCache => joined(&[b"CLEARCACHE"]),
        Command::ClientDisconnect(cid) => joined(&[b"CLIENTDISCONNECT ", cid]),
        Command::ClientList => joined(&[b"CLIENTLIST"]),
        Command::Decrement(parts) => counter(b"DECREMENT ", parts),
        Command::Expire(expire) => expire_line(&expire),
        Command::Ttl(name) => joined(&[b"TTL ", name]),
        Command::Flush(text) => joined(&[b"FLUSH ", text]),
        Command::Increment(parts) => counter(b"INCREMENT ", parts),
        Command::KeyInfo(prefix) => joined(&[b"KEYINFO ", prefix]),
        Command::KeyList => joined(&[b"KEYLIST"]),
        Command::KeySync(key_sync) => key_sync_line(key_sync),
        Command::Listen(name) => joined(&[b"LISTEN ", name]),
        Command::Monitor => joined(&[b"MONITOR"]),
        Command::NoPing => joined(&[b"NOPING"]),
        Command::Nop => joined(&[b"NOP"]),
        Command::Notify(name) => joined(&[b"NOTIFY ", name]),
        Command::Overhead(None) => joined(&[b"OVERHEAD x"]),
        Command::Overhead(Some(overhead)) => {
            assert!(!overhead.flags.is_empty() && !overhead.value.is_empty());
            overhead_line(overhead)
        }
        Command::Ping => joined(&[b"PING"]),
        Command::Quit => joined(&[b"QUIT"]),
        Command::Remove(name) => joined(&[b"REMOVE ", name]),
        Command::Retrieve(name) => joined(&[b"RETRIEVE ", name]),
        Command::Set(parts) => pair(b"SET ", parts),
        Command::SetAndStore(parts) => pair(b"SETANDSTORE ", parts),
        Command::Status(list) => match list {
            StatusList::Figures => joined(&[b"STATUS"]),
            StatusList::Clients => joined(&[b"STATUS clients"]),
            StatusList::Links => joined(&[b"STATUS links"]),
            StatusList::Names => joined(&[b"STATUS names"]),
            StatusList::Slow => joined(&[b"STATUS slow"]),
        },
        Command::Store(parts) => pair(b"STORE ", parts),
        Command::Unlisten(name) => joined(&[b"UNLISTEN ", name]),
        Command::ListenToPattern(pattern) => joined(&[b"PLISTEN ", pattern]),
        Command::UnlistenToPattern(pattern) => joined(&[b"PUNLISTEN ", pattern]),
        Command::Unmonitor => joined(&[b"UNMONITOR"]),
    };
    assert_eq!(decode(&same), Some(command));
    if let Command::Store(Pair { name, .. })
    | Command::Set(Pair { name, .. })
    | Command::SetAndStore(Pair { name, .. }) = command
    {
        assert!(!name.is_empty() && !name.contains(&b'='));
    }
}

fn check_reply(line: &[u8]) {
    let Some(said) = reply::decode(line) else {
        return;
    };
    let pair = |word: &[u8], Pair { name, value }| joined(&[word, name, b"=", value]);
    let same = match said {
        Reply::Clacks(text) => joined(&[b"CLACKS ", text]),
        Reply::Client(fields) => joined(&[b"CLIENT ", fields]),
        Reply::ClientListEnd => joined(&[b"CLIENTLISTEND"]),
        Reply::ClientListStart => joined(&[b"CLIENTLISTSTART"]),
        Reply::Debug(parts) => pair(b"DEBUG ", parts),
        Reply::Flushed(text) => joined(&[b"FLUSHED ", text]),
        Reply::Key(name) => joined(&[b"KEY ", name]),
        Reply::KeyInfo(info) => {
            let numbers = format!("{} {} ", info.size, info.age_s);
            joined(&[b"KEYINFO ", numbers.as_bytes(), info.ttl, b" ", info.name])
        }
        Reply::KeyInfoEnd => joined(&[b"KEYINFOEND"]),
        Reply::KeyInfoStart => joined(&[b"KEYINFOSTART"]),
        Reply::KeyListEnd => joined(&[b"KEYLISTEND"]),
        Reply::KeyListStart => joined(&[b"KEYLISTSTART"]),
        Reply::Nop => joined(&[b"NOP"]),
        Reply::NotRetrieved(name) => joined(&[b"NOTRETRIEVED ", name]),
        Reply::Notify(name) => joined(&[b"NOTIFY ", name]),
        Reply::Overhead(overhead) => overhead_line(overhead),
        Reply::Quit => joined(&[b"QUIT"]),
        Reply::Retrieved(answer) => joined(&[b"RETRIEVED ", answer]),
        Reply::Ttl(answer) => joined(&[b"TTL ", answer]),
        Reply::Set(parts) => pair(b"SET ", parts),
        Reply::Status(text) => joined(&[b"STATUS ", text]),
        Reply::StatusEnd => joined(&[b"STATUSEND"]),
        Reply::StatusStart => joined(&[b"STATUSSTART"]),
        Reply::Timeout => joined(&[b"TIMEOUT"]),
    };
    assert_eq!(reply::decode(&same), Some(said));
}

fn check_peer_line(line: &[u8]) {
    let Some(said) = peer::decode(line) else {
        return;
    };
    if let PeerLine::States(packed) = &said
        && packed.unpack().is_none()
    {
        return;
    }
    let same = line_of(|to| match &said {
        PeerLine::State {
            name,
            head,
            value,
            signal,
        } => {
            assert!(!name.is_empty());
            let value = value.unescape();
            let state = head.clone().into_state(&value);
            peer::encode_state(to, name, &state, *signal);
        }
        PeerLine::States(packed) => {
            let mut states = StatesLine::default();
            for NamedState { name, state, .. } in packed.unpack().iter().flatten() {
                assert!(!name.is_empty());
                states.push(name, state);
            }
            states.finish(to);
        }
        PeerLine::Signal { id, options, line } => {
            let left_out =
                peer::encode_signal(to, *id, &options.common(), options.groups(), &[line]);
            assert_eq!(
                left_out, 0,
                "an input is shorter than the groups of a line may be"
            );
        }
        PeerLine::Join(membership) => peer::encode_join(to, *membership),
        PeerLine::Leave(membership) => peer::encode_leave(to, *membership),
        PeerLine::Reserved => encode::line(to, &[b"JOIN pattern"]),
        PeerLine::Clear(stamp) => encode::text(to, format_args!("CLEAR {stamp}")),
        PeerLine::Count {
            name,
            stamp,
            accessed_us,
            contribution,
        } => {
            assert!(!name.is_empty());
            match contribution {
                Some(share) => peer::encode_count(to, name, *stamp, *accessed_us, share),
                None => peer::encode_unknown_count(to, name, *stamp),
            }
        }
        PeerLine::Touch {
            name,
            stamp,
            attributes,
        } => peer::encode_touch(to, name, *stamp, attributes),
        PeerLine::Fold(marker) => peer::encode_fold(to, *marker),
        PeerLine::Synced => encode::line(to, &[b"SYNCED"]),
        PeerLine::Pong => encode::line(to, &[b"PONG"]),
        PeerLine::Path(nodes) => {
            let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
            encode::text(to, format_args!("PATH {}", nodes.join(" ")));
        }
    });
    // A NaN among the sums is not equal to itself, but it is written as it was read.
    let again = peer::decode(&same).expect("what is encoded is decoded");
    assert_eq!(meaning(&again), meaning(&said));
}

/// The parts of a line as text. Groups among the options of a signal have no order towards the others.
fn meaning(said: &PeerLine<'_>) -> String {
    match said {
        PeerLine::Signal { id, options, line } => {
            let known = (options.subject(), options.reply(), options.header());
            let groups: Vec<&[u8]> = options.groups().collect();
            format!("{id} {known:?} {:?} {groups:?} {line:?}", options.common())
        }
        said => format!("{said:?}"),
    }
}

fn check_token(line: &[u8]) {
    if let Some(Token { user, password }) = Token::decode(line) {
        let same = Token::encode(&user, &password);
        assert_eq!(same.as_bytes(), line, "there is one way to write a token");
    }
}
