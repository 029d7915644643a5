//! A server that is to do twice what it can: senders of signals to listeners that can't keep up, and of
//! writes, all without waiting for anything. `make measure` runs it for a minute; a short version among the
//! tests shows that nothing gets lost or out of order on the way.

use crate::measurements::megabytes;
use crate::support::{
    Client, Ends, Server, Setup, run_on_servers_core, stay_on_our_core, wait_until,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SENDERS: usize = 8;
const LISTENERS: usize = 20;
/// Lines that a sender writes at once: a tenth are signals, the others writes.
const BATCH: u64 = 200;

const FLAGS: [&str; 8] = [
    "--max-line",
    "64K",
    "--max-output",
    "8M",
    "--max-buffers",
    "64M",
    "--cache-max",
    "32M",
];
/// The memory that a server with these limits may take, in KiB. By clacksd(8), LIMITING THE CACHE: the cache and an
/// eighth of it, 256K for each of the 98 block sizes, the buffers, and some megabytes of its own; and a tenth
/// of the buffers for memory that is no longer used and not yet freed.
const BOUND_KB: u64 = (32 + 4 + 25 + 64 + 6 + 16) * 1024;

/// The state that the threads of a load share.
#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    sent: AtomicU64,
    /// How long the senders have waited for the server to read, all together.
    waited_us: AtomicU64,
    heard: AtomicU64,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }
}

/// A batch of a sender's lines, the first of which has this number.
fn batch(sender: usize, first: u64) -> String {
    let line = |number: u64| match number % 10 {
        0 => {
            let padding = "s".repeat(200);
            format!("SET signal={sender}:{} {padding}\r\n", number / 10)
        }
        1 => format!("INCREMENT counter{sender}\r\n"),
        _ => format!(
            "STORE name:{sender}:{:06}={number} of the sender\r\n",
            number % 50_000
        ),
    };
    (first..first + BATCH).map(line).collect()
}

/// Sends batches until the load is over, at most `batches` of them if that is given, and waits until the server has
/// handled them. Returns the number of lines sent.
fn send(server: &Server, sender: usize, load: &Load, batches: Option<u64>) -> u64 {
    let mut client = server.client("rw");
    client.ask("NOPING");
    let (mut number, mut done) = (0, 0);
    while load.goes_on() && batches != Some(done) {
        let lines = batch(sender, number);
        let start = Instant::now();
        client.send_bytes(lines.as_bytes());
        let waited_us = start.elapsed().as_micros() as u64;
        load.waited_us.fetch_add(waited_us, Ordering::Relaxed);
        number += BATCH;
        done += 1;
        load.sent.fetch_add(BATCH, Ordering::Relaxed);
    }
    // The server handles all lines that were sent, however many others it had to handle.
    assert_eq!(client.flush(), [""; 0]);
    number
}

/// A listener that takes a piece now and then. What it gets, it gets without gaps, until it is closed.
struct Slow {
    client: Client,
    newest: HashMap<usize, u64>,
}

impl Slow {
    fn new(server: &Server, user: &str) -> Slow {
        let mut client = server.client(user);
        client.send("NOPING");
        client.send("LISTEN signal");
        Slow {
            client,
            newest: HashMap::new(),
        }
    }

    /// Takes what is there, up to a piece; whether that was anything.
    fn read(&mut self, load: &Load) -> bool {
        let lines = self.client.read_once(Duration::from_millis(1));
        let is_something = !lines.is_empty();
        for line in lines {
            let Some(value) = line.strip_prefix("SET signal=") else {
                continue;
            };
            let (sender, rest) = value.split_once(':').expect("a whole line");
            let (number, padding) = rest.split_once(' ').expect("a whole line");
            assert_eq!(padding.len(), 200);
            let number: u64 = number.parse().expect("a number");
            let sender: usize = sender.parse().expect("a number");
            if let Some(before) = self.newest.insert(sender, number) {
                assert_eq!(number, before + 1, "of sender {sender}");
            }
            load.heard.fetch_add(1, Ordering::Relaxed);
        }
        is_something
    }
}

/// Listens with all of them, and lets others come for those that are closed. One more takes nothing before it is
/// over, and isn't of those whom the manager disconnects: however slow the server is, it gets too much.
fn listen_slowly(server: &Server, load: &Load) {
    let mut listeners: Vec<Slow> = (0..LISTENERS).map(|_| Slow::new(server, "ro")).collect();
    let mut asleep = Slow::new(server, "rw");
    while load.goes_on() {
        for listener in &mut listeners {
            listener.read(load);
            if listener.client.is_closed() {
                *listener = Slow::new(server, "ro");
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    while asleep.read(load) {}
}

/// The longest times that a manager has waited for answers, and the most memory that the server took meanwhile.
#[derive(Default)]
struct Waits {
    list: Duration,
    /// With connecting and logging in before it.
    list_of_newcomer: Duration,
    disconnect: Duration,
    memory_kb: u64,
    rounds: u32,
}

/// Lists the clients, and disconnects one of the listeners, over and over.
fn manage(server: &Server, load: &Load) -> Waits {
    let mut waits = Waits::default();
    let mut manager = server.client("mg");
    manager.ask("NOPING");
    let listeners = |list: &[String]| -> Vec<String> {
        let lines = list
            .iter()
            .filter(|line| line.contains("CLIENTINFO=test of ro;"));
        let cids = lines.filter_map(|line| line.strip_prefix("CLIENT CID=")?.split(';').next());
        cids.map(str::to_owned).collect()
    };
    while load.goes_on() {
        let start = Instant::now();
        let list = manager.ask("CLIENTLIST");
        waits.list = waits.list.max(start.elapsed());
        assert!(list.len() > 2, "{list:?}");
        let start = Instant::now();
        assert!(server.client("mg").ask("CLIENTLIST").len() > 2);
        waits.list_of_newcomer = waits.list_of_newcomer.max(start.elapsed());
        if let Some(listener) = listeners(&list).first() {
            let start = Instant::now();
            manager.ask(&format!("CLIENTDISCONNECT {listener}"));
            waits.disconnect = waits.disconnect.max(start.elapsed());
            // It may still be sent what waits for it, but takes part in nothing.
            wait_until("it is gone", || {
                !listeners(&manager.ask("CLIENTLIST")).contains(listener)
            });
        }
        waits.memory_kb = waits.memory_kb.max(server.proc_status("VmRSS"));
        waits.rounds += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    waits
}

/// Clients that took too little. Those whom the manager has disconnected don't count.
fn closed_by_limits(server: &Server) -> u64 {
    server.status("output_limit") + server.status("buffers_limit")
}

/// The result of a load.
struct Outcome {
    waits: Waits,
    /// How many lines each of the senders has sent.
    sent: Vec<u64>,
    /// When all were told to stop, or had sent everything.
    stopped: Instant,
    /// The time from `stopped` until the server had handled all lines that were sent.
    drained: Duration,
}

/// A server under load, while `during` runs.
fn under_load(
    server: &Server,
    load: &Load,
    batches: Option<u64>,
    during: impl FnOnce(),
) -> Outcome {
    std::thread::scope(|scope| {
        let _ends = Ends(&load.is_over);
        let listening = scope.spawn(|| listen_slowly(server, load));
        let managing = scope.spawn(|| manage(server, load));
        let sending: Vec<_> = (0..SENDERS)
            .map(|sender| scope.spawn(move || send(server, sender, load, batches)))
            .collect();
        during();
        let mut stopped = Instant::now();
        if batches.is_none() {
            load.is_over.store(true, Ordering::Relaxed);
        }
        let sent = sending.into_iter().map(|one| one.join().expect("no panic"));
        let sent = sent.collect();
        if batches.is_some() {
            stopped = Instant::now();
            load.is_over.store(true, Ordering::Relaxed);
        }
        let drained = stopped.elapsed();
        listening.join().expect("no panic");
        Outcome {
            waits: managing.join().expect("no panic"),
            sent,
            stopped,
            drained,
        }
    })
}

#[test]
fn an_overloaded_server_loses_nothing_and_keeps_order() {
    /// Their signals are twice what may wait for a listener.
    const BATCHES: u64 = 500;
    let server = Setup::new().flags(&FLAGS).start();
    let load = Load::default();
    let Outcome { waits, sent, .. } = under_load(&server, &load, Some(BATCHES), || ());
    assert_eq!(sent, [BATCHES * BATCH; SENDERS]);
    let total = BATCHES * BATCH * SENDERS as u64;
    assert_eq!(server.status("signals"), total / 10);
    let mut client = server.client("rw");
    for sender in 0..SENDERS {
        assert_eq!(
            client.ask(&format!("RETRIEVE counter{sender}")),
            [format!(
                "RETRIEVED counter{sender}={}",
                BATCHES * BATCH / 10
            )]
        );
    }
    // It was more than the listeners could take, and what they got was in order and without gaps.
    assert!(closed_by_limits(&server) > 0);
    assert!(load.heard.load(Ordering::Relaxed) > 1000);
    assert!(waits.rounds > 1, "the manager was served meanwhile");
    let peak_kb = server.proc_status("VmHWM");
    assert!(peak_kb < BOUND_KB, "{peak_kb} kB");
    wait_until("all are gone", || server.status("clients") == 1);
    assert_eq!(server.process.log_line(" ERROR "), None);
}

/// RETRIEVEs of one client.
struct Speed {
    per_second: f64,
    /// The server's own time for one. It says whether the server is slower, or the machine is busy with
    /// something else.
    cpu_us: f64,
}

impl Speed {
    fn measure(server: &Server, client: &mut Client, time: Duration) -> Speed {
        let lines = "RETRIEVE name:0:000002\r\n".repeat(500);
        let (start, cpu_s, mut answered) = (Instant::now(), server.process.cpu_s(), 0);
        while start.elapsed() < time {
            client.send_bytes(lines.as_bytes());
            answered += client.flush().len();
        }
        let used_s = server.process.cpu_s() - cpu_s;
        Speed {
            per_second: answered as f64 / start.elapsed().as_secs_f64(),
            cpu_us: used_s * 1e6 / answered as f64,
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn twice_as_much_as_it_can_for_a_minute() {
    // A thread of its own: only this measurement is to stay on one core.
    let measuring = std::thread::spawn(overload_for_a_minute);
    measuring.join().expect("no panic");
}

fn overload_for_a_minute() {
    const SECOND: Duration = Duration::from_secs(1);
    let setup = Setup::new().with_server_of_environment();
    let has_two_cores = stay_on_our_core();
    let server = setup.flags(&FLAGS).start_changed(|command| {
        if has_two_cores {
            run_on_servers_core(command);
        }
    });
    let mut client = server.client("rw");
    client.ask("NOPING");
    client.ask("STORE name:0:000002=1");
    const WINDOW: Duration = Duration::from_millis(200);
    let mut before: Vec<Speed> = (0..9)
        .map(|_| Speed::measure(&server, &mut client, WINDOW))
        .collect();
    before.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
    let before = before.swap_remove(before.len() / 2);

    let load = Load::default();
    let (deliveries, start) = (server.status("deliveries"), Instant::now());
    let mut shares = (0.0, 0.0);
    let load_ended = under_load(&server, &load, None, || {
        std::thread::sleep(60 * SECOND);
        let passed_s = start.elapsed().as_secs_f64();
        let waited_s = load.waited_us.load(Ordering::Relaxed) as f64 / 1e6 / SENDERS as f64;
        shares = (passed_s, waited_s / passed_s);
    });
    let Outcome {
        waits,
        stopped,
        drained,
        ..
    } = load_ended;
    let (passed_s, waiting) = shares;
    let sent = load.sent.load(Ordering::Relaxed) as f64;

    // The lines that were still on their way are part of the load, and are handled by now.
    let mut after = Vec::new();
    wait_until("it is as fast as before", || {
        after.push(Speed::measure(&server, &mut client, WINDOW));
        after
            .last()
            .is_some_and(|after| after.per_second > 0.8 * before.per_second)
    });
    let recovered = stopped.elapsed();
    println!(
        "measured: {:.0} lines a second for {passed_s:.0} s, with {:.0} deliveries, {} listeners closed by limits; the \
         senders could have sent {:.1} times as much",
        sent / passed_s,
        (server.status("deliveries") - deliveries) as f64 / passed_s,
        closed_by_limits(&server),
        1.0 / (1.0 - waiting),
    );
    println!(
        "measured:   a manager waited at most {:.1} ms for CLIENTLIST, {:.1} ms with a login before it, {:.1} ms for \
         CLIENTDISCONNECT, in {} rounds",
        waits.list.as_secs_f64() * 1000.0,
        waits.list_of_newcomer.as_secs_f64() * 1000.0,
        waits.disconnect.as_secs_f64() * 1000.0,
        waits.rounds,
    );
    println!(
        "measured:   {:.1} MB of memory at most, bound {:.1} MB; longest turn {:.1} ms",
        megabytes(server.proc_status("VmHWM").max(waits.memory_kb)),
        megabytes(BOUND_KB),
        server.status("longest_turn_us") as f64 / 1000.0,
    );
    println!(
        "measured:   {:.0} RETRIEVEs a second before, {:.2} us of the server's time each; when the load stopped, what was \
         on its way took {:.2} s; then {:.0} and {:.2} us, as fast as before {:.2} s after the stop",
        before.per_second,
        before.cpu_us,
        drained.as_secs_f64(),
        after[0].per_second,
        after[0].cpu_us,
        recovered.as_secs_f64(),
    );
    // Half of their time is as much again.
    assert!(waiting > 0.5, "it was no overload");
    assert!(server.proc_status("VmHWM") < BOUND_KB);
    for wait in [waits.list, waits.list_of_newcomer, waits.disconnect] {
        assert!(wait < SECOND, "{wait:?}");
    }
    assert!(recovered < SECOND, "{recovered:?}");
}
