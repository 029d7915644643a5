//! The live page in a browser: it shows what the server says, asks nobody else, and finds no fault with itself.

use super::browser::Browser;
use super::target::{Target, login, request};
use crate::runner::needs;
use crate::support::{Client, Conversation, Ends, Proxy, Server, Setup, Way, text};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A name that would change the page if it were taken for HTML.
const EVIL: &str = "<img><script>document.write(1)</script>";
/// A listener for browsers that asks for no login.
const OPEN: [&str; 4] = ["--http", "tcp://127.0.0.1:0", "--http-user", "mg"];
/// Widths of windows and schemes of colours, with the number of charts in a row.
const LOOKS: [(u32, &str, usize); 4] = [
    (1400, "light", 3),
    (1400, "dark", 3),
    (400, "light", 1),
    (400, "dark", 1),
];

/// A server whose page needs no login, and its page in a browser.
struct Shown {
    target: Target,
    browser: Browser,
    origin: String,
}

impl Shown {
    fn start_in(setup: Setup, flags: &[&str]) -> Shown {
        needs("chromium");
        let target = Target::start_in(setup.flags(&OPEN), flags);
        let port = target.port("tcp");
        let mut shown = Shown::open(target, port);
        shown.wait_for_text("stream", "Live");
        shown
    }

    fn open(target: Target, port: u16) -> Shown {
        let mut browser = Browser::start();
        let origin = format!("http://127.0.0.1:{port}/");
        browser.go_to(&origin);
        Shown {
            target,
            browser,
            origin,
        }
    }

    /// The status that the server gives to programs.
    fn status(&self) -> Value {
        let answer = self
            .target
            .ask(&request("GET", "/status.json", &login("mg")));
        serde_json::from_str(&answer.body).expect("JSON")
    }

    /// Waits until an element has that text.
    fn wait_for_text(&mut self, id: &str, text: &str) {
        let shown =
            format!("document.getElementById('{id}')?.innerText.replaceAll('\\u00a0', ' ')");
        self.browser
            .wait_until(&format!("{shown} === {}", json!(text)));
    }

    /// Fails if the page found a fault, or asked another server than its own.
    fn expect_no_fault(&mut self) {
        assert_eq!(self.browser.faults(), [""; 0]);
        for url in self.browser.requested() {
            let is_own = url.starts_with(&self.origin) || url.starts_with("data:");
            assert!(is_own, "{url}");
        }
    }

    /// Looks at the page in windows of two widths and in two schemes of colours. The pictures stay in the folder of the
    /// build.
    fn expect_good_looks(&mut self, name: &str) {
        let mut backgrounds = Vec::new();
        for (width, scheme, columns) in LOOKS {
            let browser = &mut self.browser;
            browser.set_look(width, scheme);
            browser.wait_until(&format!("innerWidth === {width}"));
            let is_within = browser.value("document.documentElement.scrollWidth <= innerWidth");
            assert_eq!(is_within, true, "{width} {scheme}");
            let charts = "getComputedStyle(document.getElementById('charts'))";
            let found = format!("{charts}.gridTemplateColumns.split(' ').length");
            assert_eq!(browser.value(&found), columns, "{width} {scheme}");
            let background = browser.value("getComputedStyle(document.body).backgroundColor");
            backgrounds.push((scheme, background));
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
            browser.save_picture(&folder.join(format!("page-{name}-{scheme}-{width}.png")));
        }
        let [(_, light), (_, dark), ..] = &backgrounds[..] else {
            panic!("too few looks");
        };
        assert_ne!(light, dark);
    }
}

/// Looks entries up, four of five of which are there, and sends signals, until it is to end. Returns how often.
fn work(mut client: Client, is_over: &AtomicBool) -> u64 {
    let mut rounds = 0;
    while !is_over.load(Ordering::Relaxed) {
        let mut lines = String::new();
        for number in 0..5 {
            lines += &format!("RETRIEVE name{number}\nSET name0=x\n");
        }
        client.send_bytes(lines.repeat(20).as_bytes());
        client.flush();
        rounds += 20;
        std::thread::sleep(Duration::from_millis(10));
    }
    rounds
}

#[test]
fn the_page_shows_a_server_under_load() {
    let mut shown = Shown::start_in(Setup::new(), &[]);
    let mut client = shown.target.server.client("rw");
    for number in 0..4 {
        client.send(&format!("STORE name{number}=value"));
    }
    client.ask(&format!("STORE {EVIL}={}", "x".repeat(2000)));
    client.ask("STORE removed=1");
    client.ask("REMOVE removed");
    client.ask("LISTEN name0");
    let worker = shown.target.server.client("rw");
    let is_over = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        let ends = Ends(&is_over);
        let worker = scope.spawn(|| work(worker, &is_over));
        let browser = &mut shown.browser;
        browser.wait_until("samples.length > 4 && samples.at(-1).values[0][0] > 100");
        browser.wait_until(
            "samples.at(-1).values[1].every((value, place) => place === 1 || value > 50)",
        );
        browser.wait_until("document.querySelectorAll('#busy .name').length > 0");
        shown.expect_good_looks("load");
        drop(ends);
        worker.join().expect("it ends")
    });
    let lookups = rounds * 5;
    shown.wait_for_text("signals-now", "0/s");
    let status = shown.status();
    assert_eq!(status["figures"]["cache_hits"], lookups / 5 * 4);
    assert_eq!(shown.browser.text("hits-more"), "80 % since the start");
    assert_eq!(shown.browser.text("entries-now"), "5");
    assert_eq!(shown.browser.text("entries-more"), "1 tombstone");
    assert_eq!(shown.browser.text("health"), "Healthy");
    assert_eq!(shown.browser.text("journal-state"), "Not kept");
    let software = status["software"].as_str().expect("a text");
    assert_eq!(shown.browser.text("software"), software);
    let sent = shown.browser.value("sum(displayed.figures.signals)");
    assert_eq!(sent, lookups);
    // The client of Clacks that is left, and the browser's own connections.
    let languages = "displayed.clients.filter((client) => client.language === 'clacks').length";
    shown.browser.wait_until(&format!("{languages} === 1"));
    let cids =
        "[...document.querySelectorAll('#clients td:first-child')].map((cell) => cell.innerText)";
    let cids = shown.browser.value(cids);
    assert!(cids.as_array().expect("a list").len() >= 2, "{cids}");
    let largest = "document.querySelector('#large .name').innerText";
    assert_eq!(shown.browser.value(largest), EVIL);
    assert_eq!(
        shown.browser.value("document.querySelector('main img')"),
        Value::Null
    );
    shown.expect_no_fault();
}

/// A message for so many subscriptions is heavy work.
const SUBSCRIPTIONS: usize = 50_000;

#[test]
fn links_slow_requests_and_names_of_clients_are_shown_under_load() {
    let master = Server::start();
    let setup = Setup::new();
    let (nats, address) = (setup.unix("nats"), master.setup.unix("socket"));
    let flags = ["--master", &address, "--nats", &nats, "--nats-user", "rw"];
    let mut shown = Shown::start_in(setup, &flags);
    let server = &shown.target.server;
    let mut evil = server.client("rw");
    evil.ask(&format!("CLACKS {EVIL}"));
    evil.ask("STORE name0=value");
    let worker = server.client("rw");
    let mut subscriber = Conversation::begin(&server.setup.path("nats"));
    subscriber.line();
    subscriber.say(b"CONNECT {\"verbose\":false,\"echo\":false}\r\n");
    let subscriptions = (0..SUBSCRIPTIONS).map(|number| format!("SUB large.* {number}\r\n"));
    subscriber.say(subscriptions.collect::<String>().as_bytes());
    subscriber.ask(b"PING\r\n", b"PONG\r\n");
    let mut sender = Conversation::begin(&server.setup.path("nats"));
    sender.line();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ends = Ends(&is_over);
        scope.spawn(|| work(worker, &is_over));
        let publication = "CONNECT {\"verbose\":false}\r\nPUB large.<img> 1\r\nx\r\n";
        sender.say(publication.as_bytes());
        let browser = &mut shown.browser;
        browser.wait_until("samples.length > 2 && samples.at(-1).values[0][0] > 100");
        let texts = |query: &str| {
            format!("[...document.querySelectorAll('{query}')].map((one) => one.innerText)")
        };
        let slow = texts("#slow tbody td:last-child");
        browser.wait_until(&format!("{slow}.includes('large.<img>')"));
        let verbs = texts("#slow tbody td:nth-child(2)");
        browser.wait_until(&format!("{verbs}.includes('PUB')"));
        let names = texts("#clients td:last-child");
        browser.wait_until(&format!("{names}.includes({})", json!(EVIL)));
        browser.wait_until("byId('links').innerText.includes('up to date')");
        browser.wait_until(
            "/longest turn .*, (loop|nats|clacks) /.test(byId('slow-shown').innerText)",
        );
        let image = browser.value("document.querySelector('main img')");
        assert_eq!(image, Value::Null);
        shown.expect_good_looks("links");
        drop(ends);
    });
    shown.expect_no_fault();
}

#[test]
fn the_page_shows_what_is_wrong() {
    let setup = Setup::new();
    let (journal, master) = (text(&setup.path("journal")), setup.unix("nobody"));
    let flags = ["--persist", &journal, "--master", &master];
    let mut shown = Shown::start_in(setup, &flags);
    shown.wait_for_text("faults", "no uplink");
    shown.target.server.process.limit_files(20_000);
    let mut client = shown.target.server.client("rw");
    for number in 0..20 {
        client.send(&format!("STORE name{number}={}", "x".repeat(2000)));
    }
    client.flush();
    shown.wait_for_text("faults", "journal failed\nno uplink");
    let browser = &mut shown.browser;
    assert_eq!(browser.text("health"), "Not healthy");
    assert_eq!(browser.text("journal-state"), "Not saving");
    let error = browser.text("journal-error");
    assert!(error.starts_with("Last failure: "), "{error}");
    let links = browser.text("links");
    assert!(links.starts_with("master\nnot connected\n"), "{links}");
    assert!(links.contains("this server"), "{links}");
    let title = browser.value("document.title");
    assert!(title.as_str().is_some_and(|title| title.starts_with('⚠')));
    shown.expect_good_looks("trouble");
    shown
        .target
        .server
        .process
        .limit_files(libc::RLIM64_INFINITY);
    shown.wait_for_text("faults", "no uplink");
    shown.wait_for_text("journal-state", "Saving");
    shown.expect_no_fault();
}

/// Status documents that were made up, with known differences, give known rates.
#[test]
fn rates_are_the_differences_of_two_events() {
    let mut shown = Shown::start_in(Setup::new(), &[]);
    let browser = &mut shown.browser;
    browser.value("source.close(); clearTimeout(silence); var base = structuredClone(latest); 0");
    let feed = "var change = (seconds, edit) => {
            const next = structuredClone(latest);
            next.figures.uptime_seconds += seconds;
            edit(next.figures);
            receive(next);
        };
        change(1, (figures) => { figures.requests.clacks.SET += 1000; });
        change(2, (figures) => {
            figures.requests.clacks.SET += 1234;
            figures.requests.nats.PUB += 10;
            figures.cache_hits += 3;
            figures.cache_misses += 1;
            figures.received_bytes += 2 * 1536 * 1024;
            figures.signals.nats += 20;
            figures.link_signals += 2;
            figures.deliveries.clacks += 2000000;
            figures.resident_memory_bytes = 3 * 2 ** 30;
            figures.turn_seconds.count += 100;
            for (const bucket of figures.turn_seconds.buckets) {
                bucket.count += bucket.at_most_seconds < 0.0002 ? 0 : bucket.at_most_seconds < 0.001 ? 90 : 100;
            }
        }); 0";
    browser.value(feed);
    let legend = |browser: &mut Browser, chart: usize| {
        let list = format!("document.querySelectorAll('.legend')[{chart}].innerText");
        let text = browser.value(&list);
        let text = text.as_str().expect("a text").replace('\u{a0}', " ");
        text.replace('\n', ", ")
    };
    assert_eq!(browser.text("requests-now"), "622/s");
    assert_eq!(browser.text("hits-now"), "75%");
    assert_eq!(browser.text("signals-now"), "11/s");
    assert_eq!(browser.text("signals-more"), "1 M/s delivered");
    assert_eq!(browser.text("memory-now"), "3GiB");
    let requests = "Clacks 617/s, memcached 0/s, NATS 5/s, HTTP 0/s";
    assert_eq!(legend(browser, 0), requests);
    assert_eq!(legend(browser, 3), "received 1.5 MiB/s, sent 0 B/s");
    // Half of the turns took up to 50/90 of the way from 128 to 256 microseconds, and all but one up to 9/10 of the way
    // from 512 to 1024.
    assert_eq!(legend(browser, 5), "median 199 µs, 99 % 973 µs");

    // The arrow keys go back in time.
    browser.value("document.querySelector('.plot').focus(); 0");
    for kind in ["keyDown", "keyUp"] {
        let key = json!({ "type": kind, "key": "ArrowLeft", "windowsVirtualKeyCode": 37 });
        browser.call("Input.dispatchKeyEvent", key);
    }
    let before = "Clacks 1,000/s, memcached 0/s, NATS 0/s, HTTP 0/s";
    assert_eq!(legend(browser, 0), before);

    // Another process has counters of its own.
    browser
        .value("pointAt(null); change(-1, (figures) => { figures.requests.clacks.SET = 0; }); 0");
    assert_eq!(browser.text("requests-now"), "–");
    shown.expect_no_fault();
}

#[test]
fn clients_are_sorted_by_the_head_of_a_column() {
    let mut shown = Shown::start_in(Setup::new(), &[]);
    let mut clients: Vec<Client> = (0..3).map(|_| shown.target.server.client("rw")).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        for name in 0..=number {
            client.ask(&format!("LISTEN name{name}"));
        }
    }
    let browser = &mut shown.browser;
    browser.wait_until("displayed.clients.length > 3");
    let button = "document.querySelector('[data-sort=subscriptions]')";
    let column =
        "[...document.querySelectorAll('#clients td:nth-child(6)')].map((cell) => +cell.innerText)";
    browser.value(&format!("{button}.click(); 0"));
    let numbers = browser.value(column);
    let numbers = numbers.as_array().expect("a list");
    assert_eq!(numbers[..3], [3, 2, 1]);
    let order = format!("{button}.parentElement.ariaSort");
    assert_eq!(browser.value(&order), "descending");
    browser.value(&format!("{button}.click(); 0"));
    assert_eq!(browser.value(&order), "ascending");
    let smallest = browser.value(column);
    assert_eq!(
        smallest.as_array().and_then(|all| all.last()),
        Some(&json!(3))
    );
    shown.expect_no_fault();
}

#[test]
fn a_broken_stream_is_said_and_comes_back() {
    needs("chromium");
    let target = Target::start(&OPEN);
    let proxy = Proxy::to(Way::Tcp(target.port("tcp")));
    let port = proxy.port;
    let mut shown = Shown::open(target, port);
    shown.wait_for_text("stream", "Live");
    proxy.cut();
    shown.wait_for_text(
        "stream",
        "The stream broke; these are the last figures. Reconnecting",
    );
    shown.wait_for_text("stream", "Live");
    // The charts go on.
    assert_eq!(shown.browser.value("samples.length > 1"), true);
}

#[test]
fn a_page_beyond_the_places_comes_when_one_is_free() {
    needs("chromium");
    let target = Target::start(&OPEN);
    let mut others = Vec::new();
    loop {
        let mut connection = target.connect();
        connection.say(&request("GET", "/events", &login("mg")));
        if connection.answer_to_head().status == 503 {
            break;
        }
        others.push(connection);
    }
    let port = target.port("tcp");
    let mut shown = Shown::open(target, port);
    shown.wait_for_text("stream", "No connection. Reconnecting");
    drop(others);
    shown.wait_for_text("stream", "Live");
}

#[test]
fn the_page_is_for_those_who_log_in() {
    needs("chromium");
    let target = Target::start(&["--http", "tcp://127.0.0.1:0"]);
    let port = target.port("tcp");
    let mut browser = Browser::start();
    let login = login("mg");
    let (_, login) = login.trim_end().split_once(": ").expect("a header");
    browser.set_headers(json!({ "Authorization": login }));
    browser.go_to(&format!("http://127.0.0.1:{port}/"));
    browser.wait_until("document.getElementById('stream')?.innerText === 'Live'");
    assert_eq!(browser.faults(), [""; 0]);
}
