//! Signals that come one straight after the other are put together for their listeners: nobody must be able
//! to tell, but by the speed.

use crate::support::{Client, Server, Setup};

/// The lines SET `name`=from to SET `name`=to, together.
fn sets(name: &str, numbers: std::ops::Range<u32>) -> String {
    numbers
        .map(|number| format!("SET {name}={number}\r\n"))
        .collect()
}

fn lines(text: &str) -> Vec<&str> {
    text.split_terminator("\r\n").collect()
}

fn listener(server: &Server, names: &[&str]) -> Client {
    let mut client = server.client("admin");
    for name in names {
        client.send(&format!("LISTEN {name}"));
    }
    client.flush();
    client
}

/// Returns the lines that the listener has received when all lines that the sender sent before have reached it.
fn heard(sender: &mut Client, listener: &mut Client) -> Vec<String> {
    sender.flush();
    listener.flush()
}

#[test]
fn every_listener_gets_each_signal_once_and_in_order() {
    let server = Server::start();
    let mut sender = server.client("admin");
    let mut of_one = listener(&server, &["a"]);
    let mut of_both = listener(&server, &["a", "b"]);
    // Bursts of all lengths, some longer than a chunk of output, and single signals between them.
    let script: String = [1, 2, 3, 5000, 1, 9, 700, 2]
        .into_iter()
        .enumerate()
        .map(|(round, length)| {
            sets("a", 0..length) + &sets("b", 0..round as u32) + &sets("a", 7..8) + &sets("b", 8..9)
        })
        .collect();
    sender.send_bytes(script.as_bytes());
    assert!(heard(&mut sender, &mut of_both) == lines(&script));
    let of_a: Vec<&str> = lines(&script)
        .into_iter()
        .filter(|line| line.starts_with("SET a="))
        .collect();
    assert!(heard(&mut sender, &mut of_one) == of_a);
}

#[test]
fn who_listens_to_what_it_sends_gets_the_others_signals_only() {
    let server = Server::start();
    let mut silent = listener(&server, &["a"]);
    let mut senders: Vec<Client> = (0..3).map(|_| listener(&server, &["a"])).collect();
    for (number, sender) in senders.iter_mut().enumerate() {
        sender.send_bytes(sets("a", number as u32 * 1000..number as u32 * 1000 + 500).as_bytes());
        // Each after the other, so that the order is known.
        sender.send("PING");
        sender.flush();
    }
    let all =
        lines(&(sets("a", 0..500) + &sets("a", 1000..1500) + &sets("a", 2000..2500))).join("\n");
    assert_eq!(silent.flush().join("\n"), all);
    let from = |first: u32| lines(&sets("a", first..first + 500)).join("\n");
    // What the first ones have sent had come to the last one by its own FLUSH, which was received above.
    assert_eq!(
        senders[0].flush().join("\n"),
        format!("{}\n{}", from(1000), from(2000))
    );
    assert_eq!(senders[1].flush().join("\n"), from(2000));
    assert_eq!(senders[2].flush().join("\n"), "");
}

#[test]
fn answers_of_a_listener_stand_where_they_belong() {
    let server = Server::start();
    // It listens to the signals of its twin and asks in between, both in one write, thousands of times: the
    // answers' order among the signals is open, but each of the two streams must stay in order.
    let mut asking = listener(&server, &["a"]);
    let mut sender = server.client("admin");
    sender.ask("STORE k=v");
    let questions: String = (0..2000)
        .map(|number| format!("RETRIEVE k{number}\r\n"))
        .collect();
    sender.send_bytes(sets("a", 0..2000).as_bytes());
    asking.send_bytes(questions.as_bytes());
    let came = heard(&mut sender, &mut asking);
    let (signals, answers): (Vec<&String>, Vec<&String>) =
        came.iter().partition(|line| line.starts_with("SET "));
    assert!(signals == lines(&sets("a", 0..2000)));
    let expected: Vec<String> = (0..2000)
        .map(|number| format!("NOTRETRIEVED k{number}"))
        .collect();
    assert!(answers.into_iter().eq(&expected));
}

#[test]
fn signals_of_several_names_reach_whoever_listens_to_each() {
    let server = Server::start();
    let mut sender = listener(&server, &["own", "both"]);
    let mut of_some = listener(&server, &["a", "b", "both"]);
    let mut of_another = listener(&server, &["c"]);
    // The same listener of two names, then another one's, the sender's own, and one that it shares.
    let script: String = (0..2000)
        .map(|round| {
            let name = ["a", "b", "a", "b", "c", "b", "c", "own", "a", "both"][round % 10];
            sets(name, round as u32..round as u32 + 1)
        })
        .collect();
    sender.send_bytes(script.as_bytes());
    let expected = |names: &[&str]| -> Vec<String> {
        let is_of = |line: &&str| {
            names
                .iter()
                .any(|name| line.starts_with(&format!("SET {name}=")))
        };
        lines(&script)
            .into_iter()
            .filter(is_of)
            .map(str::to_owned)
            .collect()
    };
    assert!(heard(&mut sender, &mut of_some) == expected(&["a", "b", "both"]));
    assert!(of_another.flush() == expected(&["c"]));
    assert!(sender.flush().is_empty());
    // Who sends to itself alone, in the midst of a burst that it is in.
    of_some.send_bytes((sets("a", 0..50) + &sets("c", 0..50)).as_bytes());
    assert!(of_some.flush().is_empty());
    assert_eq!(of_another.flush(), lines(&sets("c", 0..50)));
}

#[test]
fn names_without_letters_are_looked_ahead_too() {
    let server = Server::start();
    let many: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
    let names: Vec<&str> = many.iter().map(String::as_str).chain([""]).collect();
    let mut all = listener(&server, &names);
    let mut sender = server.client("admin");
    sender.send_bytes(b"NOTIFY \r\nNOTIFY 17\r\nNOTIFY \r\nNOTIFY none\r\n");
    assert_eq!(
        heard(&mut sender, &mut all),
        ["NOTIFY ", "NOTIFY 17", "NOTIFY "]
    );
}

#[test]
fn what_else_a_listener_gets_comes_in_its_place() {
    let server = Server::start();
    let mut sender = server.client("admin");
    let mut monitor = listener(&server, &["a"]);
    monitor.send("MONITOR");
    monitor.flush();
    sender.send_bytes(sets("a", 0..500).as_bytes());
    let came = heard(&mut sender, &mut monitor);
    let came: Vec<&String> = came.iter().filter(|line| line.contains("SET a=")).collect();
    for (number, pair) in came.chunks(2).enumerate() {
        let signal = format!("SET a={number}");
        assert_eq!(*pair[0], signal);
        assert!(pair[1].starts_with("DEBUG ") && pair[1].ends_with(&format!("={signal}")));
    }
    assert_eq!(came.len(), 1000);
}

#[test]
fn a_listener_that_is_closed_in_a_burst_has_what_came_before() {
    let server = Server::start();
    let mut sender = server.client("admin");
    let mut stays = listener(&server, &["a"]);
    let mut goes = listener(&server, &["a"]);
    let list = sender.ask("CLIENTLIST");
    // It came last.
    let cid = list
        .iter()
        .filter_map(|line| line.split("CID=").nth(1)?.split(';').next())
        .max_by_key(|cid| {
            cid.rsplit(':')
                .next()
                .and_then(|serial| serial.parse::<u64>().ok())
        })
        .expect("it is listed")
        .to_owned();
    let script = sets("a", 0..50) + &format!("CLIENTDISCONNECT {cid}\r\n") + &sets("a", 50..100);
    sender.send_bytes(script.as_bytes());
    assert_eq!(heard(&mut sender, &mut stays), lines(&sets("a", 0..100)));
    let mut came = goes.until_closed();
    assert_eq!(came.pop().as_deref(), Some("QUIT"));
    assert_eq!(came, lines(&sets("a", 0..50)));
}

#[test]
fn a_listener_that_reads_nothing_is_closed_at_its_limit_and_the_others_get_everything() {
    let server = Setup::new()
        .flags(&["--max-line", "64K", "--max-output", "1M"])
        .start();
    let mut sender = server.client("admin");
    let mut reads = listener(&server, &["a"]);
    let mut deaf = listener(&server, &["a"]);
    let value = "v".repeat(500);
    for round in 0..400 {
        let burst: String = (0..50)
            .map(|number| format!("SET a={round}.{number} {value}\r\n"))
            .collect();
        sender.send_bytes(burst.as_bytes());
        assert_eq!(heard(&mut sender, &mut reads).len(), 50);
    }
    server.process.wait_for_log("output_limit");
    let came = deaf.until_closed();
    assert!(came.len() < 20_000, "{}", came.len());
}

/// Whatever is listened to and sent, against a list of who listens to what: one client after the other sends a
/// batch, and all see what came.
#[test]
fn everybody_gets_what_a_list_of_listeners_says() {
    const CLIENTS: usize = 5;
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let server = Server::start();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| listener(&server, &[])).collect();
    let mut listens = [[false; NAMES.len()]; CLIENTS];
    let mut random = 1_u64;
    let mut below = |limit: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize % limit
    };
    for round in 0..400 {
        let sender = below(CLIENTS);
        let mut expected: [Vec<String>; CLIENTS] = Default::default();
        let mut batch = String::new();
        for step in 0..below(40) {
            let name = below(NAMES.len());
            let text = NAMES[name];
            // Long runs of few names, with little in between.
            let line = match below(40) {
                0 => {
                    listens[sender][name] = true;
                    format!("LISTEN {text}")
                }
                1 => {
                    listens[sender][name] = false;
                    format!("UNLISTEN {text}")
                }
                2 => {
                    expected[sender].push(format!("NOTRETRIEVED {text}"));
                    format!("RETRIEVE {text}")
                }
                _ => {
                    let line = format!("SET {text}={round}.{step}");
                    for (client, expected) in expected.iter_mut().enumerate() {
                        if client != sender && listens[client][name] {
                            expected.push(line.clone());
                        }
                    }
                    line
                }
            };
            batch += &line;
            batch += "\r\n";
        }
        clients[sender].send_bytes(batch.as_bytes());
        // Its own FLUSH first: by then the others have theirs on the way.
        let others = (0..CLIENTS).filter(|client| *client != sender);
        for client in [sender].into_iter().chain(others) {
            assert_eq!(clients[client].flush(), expected[client], "{batch}");
        }
    }
}
