//! Wrong logins, strangers, and a server that is full: how late answers come, and which connections make room.

use super::{World, settings, us, users};
use clacks::broker::{CloseReason, ConnectionId, LongFrame, Peer, Process, Settings};
use clacks::limits::{
    LOGIN_DELAY_MAX_US, LOGIN_DELAY_STEP_US, MAX_LINE_BEFORE_LOGIN, MAX_SURPLUS_CLIENTS,
    MIN_STRANGERS_PER_ORIGIN, SECOND_US, WRONG_LOGIN_MEMORY_US,
};
use clacks::protocol::token::Token;
use std::net::SocketAddr;
use std::str::FromStr;

const GREETED: &str = "OVERHEAD M Authentication required\r\n";
const WELCOME: &str = "OVERHEAD O Welcome!\r\n";
const FAILED: &str = "OVERHEAD F Login failed!\r\n";

fn uid(uid: u32) -> Peer {
    Peer::Unix(Process { uid, pid: 1 })
}

fn tcp(address: &str) -> Peer {
    Peer::Tcp(SocketAddr::from_str(address).expect("an address").into())
}

fn login(user: &str, password: &str) -> String {
    let token = Token::encode(user.as_bytes(), password.as_bytes());
    format!("OVERHEAD A {token}")
}

fn seconds(us: u64) -> f64 {
    us as f64 / SECOND_US as f64
}

impl World {
    /// A new connection that sends a login and has read the greeting.
    fn try_login(&mut self, peer: Peer, user: &str, password: &str) -> ConnectionId {
        let id = self.connect_from(peer);
        assert!(self.take(id).ends_with(GREETED));
        self.line(id, &login(user, password));
        id
    }

    /// Lets time pass until something comes; how long that took.
    fn wait_for(&mut self, id: ConnectionId, text: &str) -> u64 {
        let start_us = self.now_us();
        while !self.has_received(id) {
            let passed_us = self.now_us() - start_us;
            assert!(passed_us < 20 * SECOND_US, "nothing comes");
            self.pass(0.001);
        }
        assert_eq!(self.take(id), text);
        self.now_us() - start_us
    }
}

#[test]
fn after_a_wrong_login_the_next_answer_is_late_and_more_so_after_each() {
    let mut world = World::new();
    let mut delays_us = Vec::new();
    for _ in 0..12 {
        let id = world.try_login(uid(7), "rw", "guessed");
        delays_us.push(world.wait_for(id, FAILED));
        assert_eq!(world.closed(id), Some(CloseReason::LoginFailed));
    }
    assert_eq!(delays_us[0], 0);
    assert!(delays_us[1].abs_diff(LOGIN_DELAY_STEP_US) < 2_000);
    assert!(delays_us.is_sorted(), "{delays_us:?}");
    let last_us = *delays_us.last().expect("the last one");
    assert!(last_us.abs_diff(LOGIN_DELAY_MAX_US) < 2_000, "{last_us}");

    // A right one has to wait too, and is the last that has.
    let id = world.try_login(uid(7), "rw", "rwpw");
    let waited_us = world.wait_for(id, WELCOME);
    assert!(
        waited_us.abs_diff(LOGIN_DELAY_MAX_US) < 2_000,
        "{waited_us}"
    );
    assert_eq!(world.closed(id), None);
    let id = world.try_login(uid(7), "rw", "rwpw");
    assert_eq!(world.take(id), WELCOME);
    world.broker().check();
}

#[test]
fn a_wrong_login_delays_nobody_else() {
    let mut world = World::new();
    let client = world.quiet_client("rw");
    let (v4, v6) = ("192.0.2.1:1", "[2001:db8:1:2::1]:1");
    for peer in [uid(0), uid(7), tcp(v4), tcp(v6)] {
        world.try_login(peer, "rw", "guessed");
        let waiting = world.try_login(peer, "rw", "rwpw");
        assert_eq!(world.take(waiting), "");
        // Other users there.
        let other = world.try_login(peer, "ro", "ropw");
        assert_eq!(world.take(other), WELCOME);
        world.try_login(peer, "nobody", "guessed");
        let other = world.try_login(peer, "somebody", "guessed");
        assert_eq!(world.take(other), FAILED);
        // And whoever is logged in already, as this user too.
        assert_eq!(world.answers(client, "RETRIEVE a"), "NOTRETRIEVED a\r\n");
        assert_eq!(world.wait_for(waiting, WELCOME) / 1_000, 500);
    }
    // The same user elsewhere; of an IPv6 network all addresses are one.
    for (peer, other, is_same) in [
        (uid(7), uid(8), false),
        (tcp(v4), tcp("192.0.2.2:1"), false),
        (tcp(v4), tcp("192.0.2.1:999"), true),
        (tcp(v4), tcp("[::ffff:192.0.2.1]:1"), true),
        (tcp(v6), tcp("[2001:db8:1:2:ffff::1]:1"), true),
        (tcp(v6), tcp("[2001:db8:1:3::1]:1"), false),
    ] {
        world.try_login(peer, "wo", "guessed");
        let id = world.try_login(other, "wo", "wopw");
        let at_once = if is_same { "" } else { WELCOME };
        assert_eq!(world.take(id), at_once, "{peer:?} {other:?}");
        world.pass(seconds(WRONG_LOGIN_MEMORY_US));
    }
}

#[test]
fn a_wrong_relogin_delays_the_next_one_and_what_comes_behind_it() {
    let mut world = World::new();
    let (client, other) = (world.quiet_client("ro"), world.quiet_client("ro"));
    world.line(other, &login("rw", "guessed"));
    assert_eq!(world.take(other), FAILED);
    // It is read no further, so that answers keep their order.
    world.line(client, &login("rw", "rwpw"));
    assert!(world.machine.is_stopped(client));
    assert_eq!(world.wait_for(client, WELCOME) / 1_000, 500);
    assert_eq!(world.answers(client, "RETRIEVE a"), "NOTRETRIEVED a\r\n");
    world.broker().check();
}

#[test]
fn the_delay_of_a_login_does_not_put_off_the_auth_timeout() {
    for auth_timeout_s in [15.0, 2.0] {
        let mut world = World::with(Settings {
            auth_timeout_us: us(auth_timeout_s),
            ..settings()
        });
        for _ in 0..10 {
            let id = world.try_login(uid(0), "rw", "guessed");
            let waited_us = world.wait_for(id, FAILED);
            assert!(waited_us <= us(auth_timeout_s / 4.0) + 2_000, "{waited_us}");
        }
        let late = world.connect();
        world.pass(auth_timeout_s - 0.2);
        world.try_login(uid(0), "rw", "guessed");
        world.pass(0.1);
        world.take(late);
        world.line(late, &login("rw", "rwpw"));
        world.pass(0.09);
        assert_eq!(world.closed(late), None);
        world.pass(1.1);
        assert_eq!(world.closed(late), Some(CloseReason::AuthTimeout));
        assert_eq!(world.take(late), "", "without a word");
        world.broker().check();
    }
}

#[test]
fn guesses_on_many_connections_are_answered_one_after_the_other() {
    let mut world = World::new();
    let ids: Vec<ConnectionId> = (0..100)
        .map(|number| world.try_login(uid(0), "rw", &format!("guess {number}")))
        .collect();
    let answered = |world: &World| {
        let closed = ids.iter().filter(|id| world.closed(**id).is_some());
        closed.count()
    };
    assert_eq!(answered(&world), 1);
    world.pass(seconds(LOGIN_DELAY_MAX_US) - 0.001);
    assert!(answered(&world) <= 6, "{}", answered(&world));
    // Nobody waits longer, whoever else guesses.
    let right = world.try_login(uid(0), "rw", "rwpw");
    world.pass(0.002);
    assert_eq!(answered(&world), 100);
    let waited_us = world.wait_for(right, WELCOME);
    assert!(waited_us <= LOGIN_DELAY_MAX_US, "{waited_us}");
    assert!(world.machine.wake_ups < 2_000, "{}", world.machine.wake_ups);
    world.broker().check();
}

#[test]
fn a_malformed_token_guesses_at_nobody_and_delays_nothing() {
    let mut world = World::new();
    for token in ["wrong", "cnc=:!", "cnc="] {
        for _ in 0..2 {
            let id = world.connect();
            world.take(id);
            world.line(id, &format!("OVERHEAD A {token}"));
            assert_eq!(world.take(id), FAILED);
        }
    }
    let id = world.try_login(uid(0), "rw", "rwpw");
    assert_eq!(world.take(id), WELCOME);
}

/// A server with few places, all of them free.
fn world_with_places(places: usize) -> World {
    World::with(Settings {
        max_clients: places,
        ..settings()
    })
}

fn open_of(world: &World, ids: &[ConnectionId]) -> usize {
    ids.iter().filter(|id| world.closed(**id).is_none()).count()
}

#[test]
fn strangers_of_one_address_have_a_share_of_the_places() {
    let places = 4 * MIN_STRANGERS_PER_ORIGIN;
    let mut world = world_with_places(places);
    let client = world.quiet_client("rw");
    let others: Vec<ConnectionId> = (0..20).map(|_| world.connect_from(uid(8))).collect();
    let strangers: Vec<ConnectionId> = (0..places).map(|_| world.connect_from(uid(7))).collect();
    let (gone, staying) = strangers.split_at(places / 4);
    assert_eq!(
        (open_of(&world, gone), open_of(&world, staying)),
        (0, 3 * places / 4)
    );
    assert_eq!(world.closed(gone[0]), Some(CloseReason::ClientLimit));
    assert!(world.take(gone[0]).ends_with("OVERHEAD E client_limit\r\n"));
    assert_eq!(open_of(&world, &others), others.len());
    assert_eq!(world.closed(client), None);
    // A client that has logged in is none of them.
    for _ in 0..places / 4 {
        let id = world.try_login(uid(7), "ro", "ropw");
        assert_eq!(world.take(id), WELCOME);
    }
    world.broker().check();
}

#[test]
fn a_server_full_of_strangers_lets_users_in() {
    let mut world = world_with_places(20);
    let clients: Vec<ConnectionId> = (0..5).map(|_| world.quiet_client("rw")).collect();
    let strangers: Vec<ConnectionId> = (0..15).map(|_| world.connect_from(uid(7))).collect();
    assert_eq!(open_of(&world, &strangers), 15);
    let mut users = Vec::new();
    for number in 1..=15 {
        let id = world.try_login(uid(8), "ro", "ropw");
        assert_eq!(world.take(id), WELCOME);
        users.push(id);
        // The oldest goes first.
        assert_eq!(open_of(&world, &strangers[..number]), 0);
        assert_eq!(open_of(&world, &strangers), 15 - number);
        world.broker().check();
    }
    // Now all places have clients in them, and these stay.
    let id = world.try_login(uid(8), "ro", "ropw");
    assert_eq!(world.take(id), "OVERHEAD E client_limit\r\n");
    world.pass(60.0);
    assert_eq!(open_of(&world, &clients), 5);
    assert_eq!(open_of(&world, &users), 15);
}

/// They come without end, from the same user as the ordinary clients or another one; nobody is as quick to log in.
#[test]
fn a_flood_of_strangers_at_a_full_server_displaces_only_its_own() {
    let mut world = world_with_places(100);
    for _ in 0..1_000 {
        world.connect_from(uid(7));
    }
    for number in 0..40 {
        let id = world.connect_from(uid(8));
        for _ in 0..500 {
            world.connect_from(uid(7));
        }
        assert_eq!(world.closed(id), None, "user {number}");
        world.take(id);
        world.line(id, &login("ro", "ropw"));
        assert_eq!(world.take(id), WELCOME);
    }
    assert!(world.status("clients") as usize <= 100 + MAX_SURPLUS_CLIENTS);
    world.broker().check();
}

/// Places for logging in that are taken by strangers are no places that are missing for users, who may come before a
/// place becomes free or after that.
#[test]
fn strangers_at_a_full_server_keep_nobody_from_a_place_that_is_free() {
    for comes_before in [false, true] {
        let mut world = world_with_places(3);
        let clients: Vec<ConnectionId> = (0..3).map(|_| world.quiet_client("rw")).collect();
        for _ in 0..MAX_SURPLUS_CLIENTS {
            world.connect_from(uid(7));
        }
        let before = comes_before.then(|| world.connect_from(uid(8)));
        world.line(clients[0], "QUIT");
        let id = before.unwrap_or_else(|| world.connect_from(uid(8)));
        assert!(world.take(id).ends_with(GREETED));
        world.line(id, &login("ro", "ropw"));
        assert_eq!(world.take(id), WELCOME);
        // Who came to a full server has taken the place of a stranger.
        let strangers = MAX_SURPLUS_CLIENTS - usize::from(comes_before);
        assert_eq!(world.status("clients") as usize, 3 + strangers);
        world.broker().check();
    }
}

#[test]
fn a_long_line_is_judged_by_whether_its_sender_has_logged_in() {
    let mut world = World::with(Settings {
        max_line: 100_000,
        ..settings()
    });
    let (stranger, client) = (world.connect(), world.client("rw"));
    let (core, now) = (&mut world.machine.core, world.machine.now);
    let mut judge = |id, length| {
        let broker = &mut core.broker;
        let judged = broker.handle_long_frame(id, None, length, now, &mut core.out);
        let connection = core.out.connections.get(id);
        (judged, connection.and_then(|connection| connection.closing))
    };
    assert_eq!(judge(client, 100_000), (LongFrame::Allowed, None));
    assert_eq!(
        judge(client, 100_001),
        (LongFrame::Refused, Some(CloseReason::LineTooLong))
    );
    assert_eq!(
        judge(stranger, MAX_LINE_BEFORE_LOGIN),
        (LongFrame::Allowed, None)
    );
    assert_eq!(
        judge(stranger, MAX_LINE_BEFORE_LOGIN + 1),
        (LongFrame::Refused, Some(CloseReason::LineTooLong))
    );
    world.machine.work_off();
    assert!(world.take(client).ends_with("OVERHEAD E line_too_long\r\n"));
    assert!(
        world
            .take(stranger)
            .ends_with("OVERHEAD E line_too_long\r\n")
    );
}

/// A world with two places, both taken, and its manager outside.
fn full_world() -> (World, [ConnectionId; 2]) {
    let mut world = World::with(Settings {
        max_clients: 2,
        ..settings()
    });
    world.reload(users("rw:read,write:rwpw\nro:read:ropw\nmg:manage:mgpw\n"));
    let clients = [world.quiet_client("rw"), world.quiet_client("ro")];
    (world, clients)
}

#[test]
fn a_stranger_who_says_nothing_to_a_full_server_is_closed_after_5_seconds() {
    let (mut world, clients) = full_world();
    let stranger = world.connect();
    assert!(world.take(stranger).ends_with(GREETED));
    world.pass(4.999);
    assert_eq!(
        (world.take(stranger).as_str(), world.closed(stranger)),
        ("", None)
    );
    world.pass(0.001);
    assert_eq!(
        (world.take(stranger).as_str(), world.closed(stranger)),
        (
            "OVERHEAD E client_limit\r\n",
            Some(CloseReason::ClientLimit)
        )
    );
    // What isn't a login changes nothing.
    let stranger = world.connect();
    world.pass(3.0);
    world.line(stranger, "PING");
    world.line(stranger, "CLACKS I am busy");
    world.pass(2.0);
    assert_eq!(world.closed(stranger), Some(CloseReason::ClientLimit));
    assert!(clients.iter().all(|id| world.closed(*id).is_none()));
    assert_eq!(world.status("client_limit"), 2);

    // Who has a place may take the auth timeout, also when the server is full afterwards.
    world.line(clients[0], "QUIT");
    let late = world.connect();
    let surplus = world.connect();
    world.pass(5.1);
    assert_eq!(
        (world.closed(late), world.closed(surplus)),
        (None, Some(CloseReason::ClientLimit))
    );
    world.log_in(late, "rw");
}

#[test]
fn a_manager_of_a_full_server_stays_in_and_others_get_no_further_than_the_login() {
    let (mut world, clients) = full_world();
    let managers: Vec<ConnectionId> = (0..40).map(|_| world.quiet_client("mg")).collect();
    world.pass(3600.0);
    for id in managers.iter().chain(&clients) {
        assert_eq!(world.closed(*id), None);
    }
    for user in ["rw", "ro"] {
        let id = world.connect();
        world.take(id);
        let token = Token::encode(user.as_bytes(), format!("{user}pw").as_bytes());
        assert_eq!(
            world.answers(id, &format!("OVERHEAD A {token}")),
            "OVERHEAD E client_limit\r\n"
        );
        assert_eq!(world.closed(id), Some(CloseReason::ClientLimit));
    }
    let id = world.connect();
    world.take(id);
    world.line(id, "OVERHEAD A wrong:wrong");
    assert_eq!(world.closed(id), Some(CloseReason::LoginFailed));
    world.client("admin");
}

/// The one who came first makes room, and who got in is none of them any more.
#[test]
fn of_too_many_strangers_at_a_full_server_the_first_goes() {
    let (mut world, _) = full_world();
    let strangers: Vec<ConnectionId> = (0..MAX_SURPLUS_CLIENTS).map(|_| world.connect()).collect();
    assert!(strangers.iter().all(|id| world.closed(*id).is_none()));
    world.log_in(strangers[0], "mg");
    let next = world.connect();
    assert!(strangers.iter().all(|id| world.closed(*id).is_none()));
    let last = world.connect();
    let closed: Vec<ConnectionId> = strangers
        .iter()
        .copied()
        .filter(|id| world.closed(*id).is_some())
        .collect();
    assert_eq!(closed, [strangers[1]]);
    assert!(
        world
            .take(strangers[1])
            .ends_with("OVERHEAD E client_limit\r\n")
    );
    assert!(world.closed(next).is_none() && world.closed(last).is_none());
    world.log_in(last, "admin");
}
