//! System clocks that somebody sets while the servers run: timeouts don't notice, the cache does. What the
//! broker makes of it in detail is in `broker`, and trees whose clocks are wrong and are set are in
//! `simulation`; here is that the process asks the right clocks.

use crate::support::{Client, Proxy, Server, SetClock, Setup, Trouble, Way, wait_until};
use std::time::{Duration, SystemTime};

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;
const YEAR_S: i64 = 365 * DAY_S;

/// A server with a clock of its own, which is so many seconds ahead at its start.
fn start(setup: Setup, ahead: i64) -> (Server, SetClock) {
    let clock = SetClock::new(&setup);
    clock.set_ahead(ahead);
    let server = setup.start_changed(|command| clock.apply_to(command));
    (server, clock)
}

/// The time that a server sees, which stands in the names of its connections.
fn time_at(server: &Server) -> i64 {
    let mut client = server.client("mg");
    let mut times = Vec::new();
    wait_until("the one that asked before has gone", || {
        let list = client.ask("CLIENTLIST");
        let own = list.iter().filter(|line| line.contains("test of mg;"));
        let cids = own.filter_map(|line| line.strip_prefix("CLIENT CID=unixdomainsocket:"));
        times = cids
            .filter_map(|cid| cid.split(':').next()?.parse().ok())
            .collect();
        times.len() == 1
    });
    times[0]
}

fn assert_ahead(server: &Server, seconds: i64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs() as i64;
    let ahead = time_at(server) - now;
    assert!((ahead - seconds).abs() < 60, "{ahead} s, not {seconds} s");
}

#[test]
fn a_clock_that_is_set_ends_no_connection_and_no_link() {
    // Far less than the clocks are set by, and more than any of this takes on a busy machine.
    let flags = [
        "--ping-timeout",
        "120",
        "--stalled-write-timeout",
        "120",
        "--interclacks-ping-timeout",
        "120",
        "--interclacks-reconnect",
        "0.2",
    ];
    let (master, of_master) = start(Setup::new().flags(&flags), 0);
    let address = master.setup.unix("socket");
    let slave = Setup::new().flags(&flags).flags(&["--master", &address]);
    let (slave, of_slave) = start(slave, 0);
    wait_until("the link is up", || slave.is_slave());
    let mut clients = [&master, &slave].map(|server| server.client("rw"));
    for ahead in [YEAR_S, -YEAR_S, 30 * YEAR_S, 0] {
        // Both at once, and each alone.
        for clocks in [[true, true], [true, false], [false, true]] {
            of_master.set_ahead(if clocks[0] { ahead } else { 0 });
            of_slave.set_ahead(if clocks[1] { ahead } else { 0 });
            for _ in 0..10 {
                for client in &mut clients {
                    assert_eq!(client.ask("PING"), [""; 0]);
                    assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            assert_ahead(&master, if clocks[0] { ahead } else { 0 });
            assert_ahead(&slave, if clocks[1] { ahead } else { 0 });
        }
    }
    // By less than an hour in all: what is written passes, too.
    let steps = [(0, 0), (20, 0), (0, 20), (-20, 20), (-20, -20), (20, -20)];
    for (round, (master_ahead, slave_ahead)) in steps.into_iter().enumerate() {
        of_master.set_ahead(master_ahead * 60);
        of_slave.set_ahead(slave_ahead * 60);
        for writer in [0, 1, 0] {
            let value = format!("{round} of {writer}");
            clients[writer].ask(&format!("STORE name={value}"));
            wait_until("the other one has it", || {
                clients[1 - writer].ask("RETRIEVE name") == [format!("RETRIEVED name={value}")]
            });
        }
        assert_ahead(&master, master_ahead * 60);
        assert_ahead(&slave, slave_ahead * 60);
    }
    assert!(slave.is_slave());
    assert_eq!(master.status("links"), 1);
    for server in [&master, &slave] {
        assert_eq!(server.status("ping_timeout"), 0);
        assert_eq!(server.process.log_line("has ended"), None);
    }
}

#[test]
fn a_clock_that_goes_back_keeps_nobody_who_is_overdue() {
    let (server, clock) = start(Setup::new().flags(&["--ping-timeout", "1"]), 0);
    let mut silent = server.client("rw");
    let mut ahead = 0;
    wait_until("the silent one is closed", || {
        ahead -= HOUR_S;
        clock.set_ahead(ahead);
        server.status("ping_timeout") == 1
    });
    assert_eq!(silent.until_closed(), ["TIMEOUT"]);
}

fn is_there(client: &mut Client, name: &str) -> bool {
    client.ask(&format!("RETRIEVE {name}"))[0].starts_with("RETRIEVED ")
}

#[test]
fn the_cache_ages_by_the_clock_that_is_set() {
    let (server, clock) = start(Setup::new(), 0);
    let mut client = server.client("admin");
    client.ask("STORE old=1");
    clock.set_ahead(DAY_S - HOUR_S);
    client.ask("STORE younger=1");
    assert!(is_there(&mut client, "younger"));
    clock.set_ahead(DAY_S + HOUR_S);
    assert!(!is_there(&mut client, "old"), "it was not used for a day");
    assert!(is_there(&mut client, "younger"));
    // Set back, nothing ages, and what is written is newer than what was there.
    clock.set_ahead(-YEAR_S);
    for value in 2..5 {
        client.ask(&format!("STORE younger={value}"));
        assert_eq!(
            client.ask("RETRIEVE younger"),
            [format!("RETRIEVED younger={value}")]
        );
    }
    client.ask("REMOVE younger");
    assert!(!is_there(&mut client, "younger"));
    client.ask("STORE younger=5");
    assert!(is_there(&mut client, "younger"));
}

#[test]
fn servers_whose_clocks_differ_and_are_set_agree() {
    let flags = ["--interclacks-reconnect", "0.1"];
    let (master, of_master) = start(Setup::new().flags(&flags), 0);
    let proxy = Proxy::to(Way::Unix(master.socket.clone()));
    let slave = Setup::new()
        .flags(&flags)
        .flags(&["--master", &proxy.address()]);
    proxy.set(Trouble {
        cut_after_sent: Some(1),
        ..Trouble::default()
    });
    let (slave, of_slave) = start(slave, 1500);
    let servers = [&master, &slave];
    let mut clients = servers.map(|server| server.client("rw"));
    // Before they have met: by its stamp the slave's is by far the newer one.
    clients[1].ask("STORE name=of the slave");
    clients[0].ask("STORE name=of the master");
    proxy.set(Trouble::default());
    wait_until("the link is up", || slave.is_slave());
    wait_until("both hold the same", || {
        master.entries() == slave.entries() && master.entries()["name"] == "of the slave"
    });
    let steps = [
        (0, 1500),
        (1000, -1000),
        (-1000, YEAR_S),
        (0, -YEAR_S),
        (500, 0),
    ];
    for (round, (master_ahead, slave_ahead)) in steps.into_iter().enumerate() {
        // The slave keeps to its master's time, whatever its own clock says.
        of_master.set_ahead(master_ahead);
        of_slave.set_ahead(slave_ahead);
        for turn in 0..6 {
            let writer = turn % 2;
            let value = format!("{round}.{turn}");
            clients[writer].ask(&format!("STORE name={value}"));
            clients[writer].ask(&format!("INCREMENT counter={turn}"));
            // Whoever has seen that writes something later.
            wait_until("the other one has it", || {
                clients[1 - writer].ask("RETRIEVE name") == [format!("RETRIEVED name={value}")]
            });
        }
        // Both write while neither knows of the other.
        proxy.cut();
        for client in &mut clients {
            client.ask(&format!("STORE apart={round}"));
            client.ask(&format!("STORE apart{round}=1"));
        }
        clients[round % 2].ask("REMOVE name");
        wait_until("the link is up again", || {
            slave.is_slave() && master.status("links") == 1
        });
        wait_until("both hold the same", || {
            let entries = master.entries();
            entries == slave.entries() && !entries.contains_key("name")
        });
    }
    assert_eq!(master.entries()["counter"], (5 * 15).to_string());
    for server in servers {
        assert_eq!(server.process.log_line(" ERROR "), None);
    }
}

/// It is said what is wrong, what is there stays, and when the clock is right again so is the tree.
#[test]
fn a_root_whose_clock_is_set_by_a_year_is_refused_until_it_starts_with_the_right_one() {
    let flags = ["--interclacks-reconnect", "0.1"];
    let (master, clock) = start(Setup::new().flags(&flags), 0);
    let address = master.setup.unix("socket");
    let slave = Setup::new()
        .flags(&flags)
        .flags(&["--master", &address])
        .start();
    wait_until("the link is up", || slave.is_slave());
    slave.client("rw").ask("STORE kept=1");
    wait_until("the master has it", || {
        is_there(&mut master.client("ro"), "kept")
    });
    clock.set_ahead(YEAR_S);
    master.client("rw").ask("STORE future=1");
    slave.process.wait_for_log("ahead, more than an hour");
    slave
        .process
        .wait_for_log("the master's clock and this server's differ");
    let mut client = slave.client("rw");
    assert!(is_there(&mut client, "kept"));
    assert!(!is_there(&mut client, "future"));
    // Started anew, the master is empty, and its clock the machine's.
    let master = master.kill_and_restart();
    wait_until("the link is up again", || slave.is_slave());
    wait_until("both hold the same", || {
        master.entries() == slave.entries() && master.entries().len() == 1
    });
}

/// While a machine sleeps its monotonic clock stands still, and the tree's time by it; its own clock doesn't.
#[test]
fn a_slave_that_has_slept_for_hours_finds_its_master_again() {
    let (master, of_master) = start(Setup::new(), 0);
    let proxy = Proxy::to(Way::Tcp(master.port));
    let address = proxy.address();
    let flags = ["--master", &address, "--interclacks-reconnect", "0.2"];
    let (slave, of_slave) = start(Setup::new().flags(&flags), 0);
    wait_until("the link is up", || slave.is_slave());
    slave.client("rw").ask("STORE before=1");
    for clock in [&of_master, &of_slave] {
        clock.set_ahead(2 * HOUR_S);
    }
    let dialled = proxy.dialled();
    proxy.cut();
    wait_until("the link is up again", || {
        proxy.dialled() > dialled && slave.is_slave()
    });
    master.client("rw").ask("STORE after=1");
    let mut client = slave.client("ro");
    wait_until("it hears of writes", || is_there(&mut client, "after"));
    assert!(is_there(&mut client, "before"));
}
