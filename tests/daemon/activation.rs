//! Sockets that a service manager has opened and hands over.

use crate::runner::{needs_ipv6, needs_localhost};
use crate::support::{Client, Process, Setup, hand_over, run, text, wait_until};
use socket2::{Domain, Socket, Type};
use std::fs::{self, File};
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A setup with a listening Unix socket in its folder, and one on a free port.
fn opened() -> (Setup, UnixListener, TcpListener) {
    let setup = Setup::new();
    let unix = UnixListener::bind(setup.path("activated")).expect("a folder of our own");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    (setup, unix, tcp)
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("a bound socket").port()
}

fn start(setup: &Setup, sockets: &[BorrowedFd<'_>], names: &str) -> Process {
    let process = Process::spawn(&mut hand_over(&setup.command(), sockets, names));
    process.wait_for_log("ready");
    process
}

fn listening(process: &Process) -> Vec<String> {
    let log = process.log();
    log.iter()
        .filter_map(|line| Some(line.split_once("listening on ")?.1.to_owned()))
        .collect()
}

fn assert_serves(mut client: Client) {
    assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
}

#[test]
fn sockets_that_are_handed_over_are_served_instead_of_the_default() {
    for names in ["unix:tcp", "clacksd.socket:", ""] {
        let (setup, unix, tcp) = opened();
        let mut process = start(&setup, &[unix.as_fd(), tcp.as_fd()], names);
        assert_eq!(
            listening(&process),
            [
                setup.unix("activated"),
                format!("tcp://127.0.0.1:{}", port(&tcp))
            ]
        );
        assert_serves(Client::unix(&setup.path("activated")).logged_in("admin"));
        assert_serves(Client::tcp(port(&tcp)).logged_in("admin"));
        for descriptor in [3, 4] {
            let info = fs::read_to_string(format!("/proc/{}/fdinfo/{descriptor}", process.id()));
            let info = info.expect("an open descriptor");
            let flags = info
                .lines()
                .find_map(|line| line.strip_prefix("flags:"))
                .and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok())
                .expect("flags");
            for flag in [libc::O_CLOEXEC, libc::O_NONBLOCK] {
                assert_ne!(flags & flag, 0, "{info}");
            }
        }
        process.signal(libc::SIGTERM);
        assert_eq!(process.wait().code(), Some(0));
        assert!(setup.path("activated").exists(), "it is the manager's");
    }
}

#[test]
fn flags_add_listeners_to_those_that_are_handed_over() {
    let (setup, unix, tcp) = opened();
    let (own, same) = (setup.unix("socket"), setup.unix("activated"));
    let setup = setup.flags(&["--listen", &own, "--listen", &same]);
    let mut process = start(&setup, &[unix.as_fd(), tcp.as_fd()], "unix:tcp");
    // What is open already is not opened again, so the same flags do with and without a manager.
    assert_eq!(
        listening(&process),
        [same, format!("tcp://127.0.0.1:{}", port(&tcp)), own]
    );
    for name in ["socket", "activated"] {
        assert_serves(Client::unix(&setup.path(name)).logged_in("admin"));
    }
    process.signal(libc::SIGTERM);
    assert_eq!(process.wait().code(), Some(0));
    assert!(!setup.path("socket").exists() && setup.path("activated").exists());
}

#[test]
fn a_socket_that_is_handed_over_is_known_by_every_name_of_its_file() {
    let (setup, unix, tcp) = opened();
    let folder = setup.path("");
    std::os::unix::fs::symlink(&folder, setup.path("link")).expect("a folder of our own");
    let linked = format!("unix:{}", text(&setup.path("link/activated")));
    let setup = setup.flags(&["--listen", &linked, "--listen", "unix:./activated"]);
    let mut command = setup.command();
    command.current_dir(&folder);
    let mut command = hand_over(&command, &[unix.as_fd(), tcp.as_fd()], "unix:tcp");
    let process = Process::spawn(command.current_dir(&folder));
    process.wait_for_log("ready");
    let tcp = format!("tcp://127.0.0.1:{}", port(&tcp));
    assert_eq!(listening(&process), [setup.unix("activated"), tcp]);
    assert_serves(Client::unix(&setup.path("activated")).logged_in("admin"));
}

/// A listening socket at a free port of IPv6, for IPv4 as well if that is wanted.
fn on_all_of_ipv6(is_only_ipv6: bool) -> TcpListener {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None).expect("a socket");
    socket.set_only_v6(is_only_ipv6).expect("a new socket");
    let any = std::net::SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    socket.bind(&any.into()).expect("a free port");
    socket.listen(16).expect("a bound socket");
    socket.into()
}

#[test]
fn a_port_that_is_handed_over_is_known_by_every_name_of_its_address() {
    needs_localhost();
    needs_ipv6();
    let listening_with = |socket: &TcpListener, host: &str| {
        let address = format!("tcp://{host}:{}", port(socket));
        let setup = Setup::new().flags(&["--allow-plaintext", "--listen", &address]);
        let process = start(&setup, &[socket.as_fd()], "tcp");
        assert_serves(Client::tcp(port(socket)).logged_in("admin"));
        let listening = listening(&process);
        assert!(
            listening[0].ends_with(&format!(":{}", port(socket))),
            "{listening:?}"
        );
        listening[1..].to_vec()
    };
    let free = |address: &str| TcpListener::bind(address).expect("a free port");
    let on_ipv4 = free("127.0.0.1:0");
    let others = listening_with(&on_ipv4, "localhost");
    // The name may stand for the address of IPv6, too.
    let other = format!("tcp://[::1]:{}", port(&on_ipv4));
    assert!(others.iter().all(|address| *address == other), "{others:?}");
    for (socket, hosts) in [
        (free("127.0.0.1:0"), &["127.0.0.1"][..]),
        (free("0.0.0.0:0"), &["0.0.0.0", "127.0.0.1"]),
        (
            on_all_of_ipv6(false),
            &["[::]", "0.0.0.0", "127.0.0.1", "[::1]", "localhost"],
        ),
    ] {
        for host in hosts {
            assert_eq!(listening_with(&socket, host), [""; 0], "{socket:?} {host}");
        }
    }
    let (on_ipv6, address) = (on_all_of_ipv6(true), "0.0.0.0");
    let setup = Setup::new().flags(&["--allow-plaintext"]);
    let address = format!("tcp://{address}:{}", port(&on_ipv6));
    let process = start(
        &setup.flags(&["--listen", &address]),
        &[on_ipv6.as_fd()],
        "tcp",
    );
    let bound = format!("tcp://[::]:{}", port(&on_ipv6));
    assert_eq!(listening(&process), [bound, address]);
}

#[test]
fn an_abstract_socket_is_served_too() {
    let setup = Setup::new();
    let name = format!("clacksd-test-{}", text(&setup.path("abstract")));
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let unix = UnixListener::bind_addr(&address).expect("a free name");
    let process = start(&setup, &[unix.as_fd()], "unix");
    assert_eq!(listening(&process), [format!("unix:@{name}")]);
    let stream = std::os::unix::net::UnixStream::connect_addr(&address);
    assert_serves(Client::from_unix(stream.expect("it listens")).logged_in("admin"));
}

#[test]
fn what_is_meant_for_another_process_is_left_alone() {
    let (setup, unix, _) = opened();
    let own = setup.unix("socket");
    let setup = setup.flags(&["--listen", &own]);
    // Found in the environment, with the number of another process.
    let mut command = hand_over(&setup.command(), &[unix.as_fd()], "unix");
    let mut stranger = setup.command();
    stranger
        .env("LISTEN_PID", "1")
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "unix");
    let process = Process::spawn(&mut stranger);
    process.wait_for_log("ready");
    assert_eq!(listening(&process), [own]);
    drop(process);
    // No descriptors are none.
    command.env("LISTEN_FDS", "0");
    let process = Process::spawn(&mut command);
    process.wait_for_log("ready");
    assert_eq!(listening(&process), [setup.unix("socket")]);
}

#[test]
fn wrong_descriptors_are_refused_in_one_line() {
    let (setup, unix, tcp) = opened();
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let datagram = UnixDatagram::bind(setup.path("datagram")).expect("a folder of our own");
    let (connected, _other) = std::os::unix::net::UnixStream::pair().expect("two sockets");
    let file = File::open("/dev/null").expect("the null device");
    let public = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let refused = |sockets: &[BorrowedFd<'_>], names: &str, count: &str, parts: &[&str]| {
        let mut command = hand_over(&setup.command(), sockets, names);
        if !count.is_empty() {
            command.env("LISTEN_FDS", count);
        }
        let ended = run(&mut command);
        assert_eq!(ended.status, Some(2), "{parts:?}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        for part in parts {
            assert!(ended.stderr.contains(part), "{part:?}: {ended:?}");
        }
    };
    let no_stream = "no listening stream socket";
    refused(
        &[tcp.as_fd()],
        "unix",
        "",
        &["descriptor 3", "\"unix\"", "no Unix socket"],
    );
    refused(&[unix.as_fd()], "tcp", "", &["\"tcp\"", "no TCP socket"]);
    refused(&[unix.as_fd()], "tls", "", &["\"tls\"", "no TCP socket"]);
    refused(&[tcp.as_fd()], "tls", "", &["--tls-cert is missing"]);
    refused(&[udp.as_fd()], "tcp", "", &[no_stream]);
    refused(
        &[unix.as_fd(), datagram.as_fd()],
        "unix:unix",
        "",
        &["descriptor 4", no_stream],
    );
    refused(&[connected.as_fd()], "unix", "", &[no_stream]);
    refused(&[file.as_fd()], "unix", "", &["no socket"]);
    refused(
        &[unix.as_fd()],
        "unix:tcp",
        "",
        &["LISTEN_FDNAMES", "2 names", "1 descriptors"],
    );
    refused(&[unix.as_fd()], "unix", "one", &["LISTEN_FDS=one"]);
    refused(&[unix.as_fd()], "unix", "-1", &["LISTEN_FDS=-1"]);
    refused(&[], "", "2147483647", &["LISTEN_FDS=2147483647"]);
    refused(&[unix.as_fd()], "", "3", &["descriptor 4"]);
    let address = format!("tcp://0.0.0.0:{}", port(&public));
    refused(
        &[public.as_fd()],
        "tcp",
        "",
        &[&address, "--allow-plaintext"],
    );
    refused(&[public.as_fd()], "", "", &[&address, "--allow-plaintext"]);

    let setup = Setup::new().flags(&["--allow-plaintext"]);
    let process = start(&setup, &[public.as_fd()], "tcp");
    assert_eq!(listening(&process), [address]);
    assert_serves(Client::tcp(port(&public)).logged_in("admin"));
}

#[test]
fn check_names_the_sockets_that_are_handed_over() {
    let (setup, unix, _) = opened();
    let setup = setup.flags(&["--check"]);
    let ended = run(&mut hand_over(&setup.command(), &[unix.as_fd()], "unix"));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let served = format!("would serve {}\n", setup.unix("activated"));
    assert!(ended.stdout.starts_with(&served), "{ended:?}");
    assert!(!ended.stdout.contains("would listen"), "{ended:?}");
}

/// How it goes with those that connect again and again while the server is restarted.
#[derive(Default)]
struct Fate {
    refused: Mutex<Vec<String>>,
    served: AtomicUsize,
    told_to_quit: AtomicUsize,
}

impl Fate {
    fn meet(&self, client: std::io::Result<Client>) {
        let mut client = match client {
            Ok(client) => client,
            Err(error) => {
                let mut refused = self.refused.lock().expect("no panic while it is held");
                return refused.push(error.to_string());
            }
        };
        let token = crate::support::token("admin");
        // A server that is ending may have closed it already, after telling so.
        let _ = client.try_send(format!("OVERHEAD A {token}\r\n").as_bytes());
        loop {
            match client.next_line().as_deref() {
                Some("OVERHEAD O Welcome!") => {
                    self.served.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Some("QUIT") => {
                    self.told_to_quit.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Some(_) => {}
                None => {
                    let mut refused = self.refused.lock().expect("no panic while it is held");
                    return refused.push("closed without a word".to_owned());
                }
            }
        }
    }
}

#[test]
fn nobody_is_refused_while_the_server_is_restarted() {
    const RESTARTS: usize = 10;
    let (setup, unix, tcp) = opened();
    let sockets = [unix.as_fd(), tcp.as_fd()];
    let (over_unix, over_tcp) = (Fate::default(), Fate::default());
    let is_over = AtomicBool::new(false);
    let (path, address) = (setup.path("activated"), tcp.local_addr().expect("a port"));
    let mut last = None;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let stream = std::os::unix::net::UnixStream::connect(&path);
                    over_unix.meet(stream.map(Client::from_unix));
                }
            });
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    over_tcp.meet(std::net::TcpStream::connect(address).map(Client::from_tcp));
                }
            });
        }
        for _ in 0..RESTARTS {
            let mut process = start(&setup, &sockets, "unix:tcp");
            let served = || {
                (
                    over_unix.served.load(Ordering::Relaxed),
                    over_tcp.served.load(Ordering::Relaxed),
                )
            };
            let before = served();
            wait_until("the new server serves both", || {
                let now = served();
                now.0 > before.0 + 10 && now.1 > before.1 + 10
            });
            process.signal(libc::SIGTERM);
            assert_eq!(process.wait().code(), Some(0));
        }
        // The last ones that wait are served, too.
        last = Some(start(&setup, &sockets, "unix:tcp"));
        is_over.store(true, Ordering::Relaxed);
    });
    drop(last);
    for (kind, fate) in [("Unix", &over_unix), ("TCP", &over_tcp)] {
        let refused = fate.refused.lock().expect("no panic while it is held");
        eprintln!(
            "{kind}: {RESTARTS} restarts, {} logins, {} told to quit, {} refused",
            fate.served.load(Ordering::Relaxed),
            fate.told_to_quit.load(Ordering::Relaxed),
            refused.len()
        );
        assert_eq!(refused[..], [""; 0], "{kind}");
    }
}
