//! Clients whose connections end in the middle of whatever they say.

use super::frames::{Frame, take_all};
use super::target::{Login, Target};
use crate::support::{Proxy, Trouble, Way, wait_until};
use std::io::{Read, Write};
use std::net::TcpStream;

const SAID: &str = "CONNECT {\"verbose\":false,\"headers\":true}\r\n\
    SUB heard.* group 1\r\nPUB heard.a 5\r\nhello\r\n\
    HPUB heard.b 19 24\r\nNATS/1.0\r\nA: bcd\r\n\r\nhello\r\nUNSUB 1\r\nPING\r\n";

#[test]
fn clients_cut_at_any_byte_leave_nothing_but_whole_messages() {
    let target = Target::clacksd(Login::Optional);
    let server = target.server();
    let proxy = Proxy::to(Way::Unix(server.setup.path("nats")));
    let mut observer = target.connect_quietly();
    target.ask(&mut observer, b"SUB heard.> 9\r\n");
    let descriptors = server.open_descriptors();
    for cut in 1..=SAID.len() {
        proxy.set(Trouble {
            cut_after_sent: Some(cut),
            is_half: cut % 3 == 0,
            ..Trouble::default()
        });
        let mut client = TcpStream::connect(("127.0.0.1", proxy.port)).expect("a proxy");
        let _ = client.write_all(SAID.as_bytes());
        let _ = client.shutdown(std::net::Shutdown::Write);
        let _ = client.read_to_end(&mut Vec::new());
    }
    wait_until("all connections are gone", || {
        server.status("clients") == 1 && server.open_descriptors() == descriptors
    });
    let mut came = target.ask(&mut observer, b"");
    let mut messages = 0;
    for frame in take_all(&mut came) {
        let Frame::Message(message) = frame else {
            panic!("a line came");
        };
        assert_eq!(message.payload, b"hello");
        messages += 1;
    }
    // Cut behind the first message, it has gone to the observer, unless the answers to it could not be written any more.
    let [first, second] = ["HPUB", "UNSUB"].map(|behind| SAID.find(behind).expect("it is said"));
    let most = 2 * SAID.len() + 2 - first - second;
    assert!(
        messages > most / 2 && messages <= most,
        "{messages} of {most}"
    );
    assert_eq!(server.status("subscriptions"), 1);
}
