//! The ends of connections, as STATUS counts them: each under its own reason.

use super::{World, settings, users};
use clacks::broker::{CloseReason, ConnectionId, Peer, Process};
use clacks::protocol::Language;
use std::collections::BTreeMap;

/// The counts of all reasons.
fn counts(world: &mut World, admin: ConnectionId) -> BTreeMap<String, u64> {
    let answer = world.answers(admin, "STATUS");
    let figures = answer.lines().filter_map(|line| {
        let (reason, count) = line.strip_prefix("STATUS closes.")?.split_once('=')?;
        Some((reason.to_owned(), count.parse().expect("a number")))
    });
    figures.collect()
}

/// A connection that has not logged in.
fn stranger(world: &mut World, language: Language) -> ConnectionId {
    world.connect_as(Peer::Unix(Process::default()), language)
}

/// Lets one connection end for a reason. Returns false if that reason is not driven here.
fn end(world: &mut World, admin: ConnectionId, reason: CloseReason) -> bool {
    match reason {
        CloseReason::Quit => {
            let id = world.client("rw");
            world.line(id, "QUIT");
        }
        CloseReason::EndOfStream => {
            let id = world.client("rw");
            world.machine.hang_up(id);
            world.machine.turn();
        }
        CloseReason::ConnectionLost => {
            let id = world.client("rw");
            world.lose(id);
        }
        CloseReason::LoginFailed => {
            let id = world.connect();
            world.line(id, "OVERHEAD A bm9ib2R5Ondyb25n");
        }
        CloseReason::AuthTimeout => {
            world.connect();
            world.pass(17.0);
        }
        CloseReason::PingTimeout => {
            world.client("rw");
            world.pass(182.0);
        }
        CloseReason::StalledWrite => {
            let id = world.slow_client("rw", 1_000);
            world.line(id, &format!("STORE a={}", "v".repeat(50_000)));
            world.line(id, "RETRIEVE a");
            world.pass(62.0);
        }
        CloseReason::Disconnected => {
            world.quiet_client("rw");
            let list = world.answers(admin, "STATUS clients");
            let row = list.lines().find(|line| line.contains(";USER=rw;"));
            let row = row.and_then(|row| row.strip_prefix("STATUS CID="));
            let cid = row.and_then(|row| row.split(';').next());
            let cid = cid.expect("its row").to_owned();
            world.line(admin, &format!("CLIENTDISCONNECT {cid}"));
        }
        CloseReason::UserChanged => {
            world.client("ro");
            world.reload(users("rw:read,write:rwpw\nwo:write:wopw\n"));
        }
        _ => return end_by_bytes(world, reason),
    }
    true
}

/// Lets a connection end that has not logged in, for what comes on it.
fn end_by_bytes(world: &mut World, reason: CloseReason) -> bool {
    match reason {
        CloseReason::Answered => {
            let id = stranger(world, Language::Http);
            world.send(id, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        }
        CloseReason::LineTooLong => {
            let id = world.connect();
            world.send(id, &"x".repeat(5_000));
        }
        CloseReason::TlsToPlain => {
            let id = world.connect();
            world.machine.send(id, b"\x16\x03\x01\x02\x00\x01");
            world.machine.turn();
        }
        CloseReason::BinaryProtocol => {
            let id = stranger(world, Language::Memcached);
            world.machine.send(id, &[0x80; 24]);
            world.machine.turn();
        }
        CloseReason::HttpRequest => {
            let id = stranger(world, Language::Memcached);
            world.send(id, "GET / HTTP/1.1\r\n\r\n");
        }
        CloseReason::ProtocolError => {
            let id = stranger(world, Language::Nats);
            world.send(id, "NONSENSE\r\n");
        }
        CloseReason::PayloadTooLarge => {
            let id = stranger(world, Language::Nats);
            world.send(id, "CONNECT {}\r\nPUB a 100000000\r\n");
        }
        CloseReason::PeerError => {
            let id = stranger(world, Language::Nats);
            world.send(id, "CONNECT {}\r\n-ERR 'mine'\r\n");
        }
        _ => return false,
    }
    true
}

#[test]
fn each_end_counts_under_its_own_reason_and_no_other() {
    let mut settings = settings();
    settings.memcached.user = Some("rw".to_owned());
    settings.nats.user = Some("rw".to_owned());
    let mut driven = 0;
    for &reason in CloseReason::ALL {
        let mut world = World::with(settings.clone());
        let admin = world.quiet_client("admin");
        let before = counts(&mut world, admin);
        assert!(before.values().all(|count| *count == 0), "{before:?}");
        if !end(&mut world, admin, reason) {
            continue;
        }
        driven += 1;
        world.machine.work_off();
        let mut expected = before;
        *expected.get_mut(reason.word()).expect("its count") += 1;
        assert_eq!(counts(&mut world, admin), expected, "{reason}");
    }
    assert_eq!(driven, 17);
}
