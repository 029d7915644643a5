//! Net::Clacks slaves, which the tests play: counters that their clients count before the lock.

use crate::interclacks::slave_of;
use crate::support::{Client, Server, wait_until};
use std::time::SystemTime;

/// A Net::Clacks slave that has dialled and logged in, and has not yet handled its master's lines.
pub struct Slave {
    pub link: Client,
    /// When its clients counted, by its clock.
    counted_s: f64,
}

fn unix_time_s() -> f64 {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    time.expect("after 1970").as_secs_f64()
}

impl Slave {
    pub fn of(server: &Server) -> Slave {
        let mut link = server.client("admin");
        link.send("CLACKS Net::Clacks 36");
        link.send("OVERHEAD I 1");
        Slave {
            link,
            counted_s: unix_time_s(),
        }
    }

    /// Its clients say these lines, which it passes on.
    fn count(&mut self, lines: &[&str]) {
        self.counted_s = unix_time_s();
        self.link.send(&lines.join("\r\n"));
    }

    /// Reads what the master tells; those of its lines that are of that name.
    pub fn hear(&mut self, name: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            let line = self.link.next_line().expect("the link lives");
            if line == "OVERHEAD L 0" {
                return heard;
            }
            if line.contains(&format!(" {name}=")) {
                heard.push(line);
            }
        }
    }

    /// Tells the time and what it holds.
    pub fn tell(&mut self, entries: &[&str]) {
        self.link.send("OVERHEAD O Welcome!");
        let counted_s = self.counted_s;
        self.link.send(&format!("OVERHEAD T {:.6}", unix_time_s()));
        for entry in entries {
            self.link
                .send(&format!("KEYSYNC {counted_s:.6} {counted_s:.6} U {entry}"));
        }
        self.link.send("NOTIFY told");
    }
}

fn value(server: &Server, name: &str) -> String {
    server
        .client("ro")
        .ask(&format!("RETRIEVE {name}"))
        .remove(0)
}

/// A listener for the end of what the slave tells.
fn listener(server: &Server) -> Client {
    let mut listener = server.client("ro");
    listener.ask("LISTEN told");
    listener
}

#[test]
fn steps_before_the_lock_begin_no_counter_that_the_slave_holds() {
    let server = Server::start();
    let below = slave_of(&server.setup.unix("socket")).start();
    wait_until("the slave is linked", || below.is_slave());
    let mut other = Slave::of(&server);
    other.hear("");
    other.tell(&[]);
    server.client("rw").ask("REMOVE removed");
    let mut told = listener(&server);
    let mut slave = Slave::of(&server);
    slave.count(&[
        "INCREMENT up",
        "DECREMENT down=2",
        "INCREMENT up=2",
        "INCREMENT removed=5",
    ]);
    slave.hear("up");
    slave.tell(&["up=1193", "down=81", "removed=7"]);
    told.expect("NOTIFY told");
    for node in [&server, &below] {
        wait_until("the slave's state has come", || {
            value(node, "removed") == "RETRIEVED removed=7"
        });
        assert_eq!(value(node, "up"), "RETRIEVED up=1193");
        assert_eq!(value(node, "down"), "RETRIEVED down=81");
    }
    // The slave is told nothing of it, and another one the same states.
    slave.link.send("FLUSH all");
    slave.link.expect("PING");
    slave.link.expect_after_others("FLUSHED all");
    server.client("rw").ask("NOTIFY end");
    let mut passed = Vec::new();
    while passed.last().is_none_or(|line| line != "NOTIFY end") {
        passed.extend(other.link.next_line());
    }
    assert!(
        !passed.iter().any(|line| line.starts_with("INCREMENT ")),
        "{passed:?}"
    );
    assert!(
        passed.iter().any(|line| line.ends_with(" U up=1193")),
        "{passed:?}"
    );
    // From now on steps count.
    slave.link.send("INCREMENT up");
    slave.link.send("NOTIFY told");
    told.expect("NOTIFY told");
    assert_eq!(value(&server, "up"), "RETRIEVED up=1194");
}

#[test]
fn steps_before_the_lock_count_once_where_the_counter_is_known() {
    let server = Server::start();
    let mut client = server.client("rw");
    client.ask("STORE alone=10");
    client.ask("STORE shared=10");
    client.ask("STORE left=10");
    let mut told = listener(&server);
    let mut slave = Slave::of(&server);
    slave.count(&[
        "INCREMENT alone=5",
        "INCREMENT shared=5",
        "INCREMENT left=5",
    ]);
    slave.hear("");
    client.ask("INCREMENT shared=100");
    slave.link.expect_after_others("INCREMENT shared=100");
    // Of one it had counted for an hour without a link.
    slave.tell(&["alone=15", "left=75", "shared=15"]);
    told.expect("NOTIFY told");
    assert_eq!(value(&server, "alone"), "RETRIEVED alone=15");
    assert_eq!(value(&server, "shared"), "RETRIEVED shared=115");
    assert_eq!(value(&server, "left"), "RETRIEVED left=75");
}
