//! Where the server listens: Unix socket files, who may use them and who removes them, several
//! addresses at once, free ports.

use crate::runner::{needs_ipv6, needs_localhost, needs_root};
use crate::support::{Client, Process, Server, Setup, USERS, run, token};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

#[test]
fn a_socket_file_that_was_left_behind_is_replaced() {
    let setup = Setup::new();
    let path = setup.path("socket");
    drop(UnixListener::bind(&path).expect("a folder of our own"));
    assert!(is_socket(&path), "it is left behind");
    let server = setup.start();
    assert_eq!(server.client("admin").ask("RETRIEVE a"), ["NOTRETRIEVED a"]);

    // The same after a server that was killed.
    let Server { process, setup, .. } = server;
    drop(process);
    assert!(is_socket(&path), "it is left behind");
    let _again = setup.spawn();
    assert_eq!(
        Client::unix(&path).logged_in("admin").ask("RETRIEVE a"),
        ["NOTRETRIEVED a"]
    );
}

#[test]
fn a_socket_that_somebody_answers_at_is_not_replaced() {
    let server = Server::start();
    let mut client = server.client("admin");
    let before = fs::metadata(&server.socket).expect("a socket file").ino();

    let second = Setup::new().flags(&["--listen", &server.setup.unix("socket")]);
    let ended = run(&mut second.command());
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains(&server.setup.unix("socket")),
        "{ended:?}"
    );

    assert_eq!(client.ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    assert_eq!(server.client("admin").ask("RETRIEVE a"), ["NOTRETRIEVED a"]);
    assert_eq!(
        fs::metadata(&server.socket).expect("a socket file").ino(),
        before
    );
}

/// Its queue of connections may be full: a start must neither wait for it nor replace it.
#[test]
fn a_socket_whose_server_is_busy_is_not_replaced() {
    let setup = Setup::new();
    let socket =
        socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
    let path = setup.path("busy");
    socket
        .bind(&socket2::SockAddr::unix(&path).expect("a short path"))
        .expect("a folder of our own");
    socket.listen(0).expect("a bound socket");
    let _waiting = UnixStream::connect(&path).expect("the queue holds one");

    let address = setup.unix("busy");
    let setup = setup.flags(&["--listen", &address]);
    let ended = run(&mut setup.command());
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&address), "{ended:?}");
    assert!(is_socket(&path));
}

#[test]
fn what_is_no_such_socket_is_never_replaced() {
    let refused = |make: &dyn Fn(&Path)| {
        let setup = Setup::new();
        let path = setup.path("occupied");
        make(&path);
        let before = fs::symlink_metadata(&path).expect("something").ino();
        let address = setup.unix("occupied");
        let setup = setup.flags(&["--listen", &address]);
        let ended = run(&mut setup.command());
        assert_eq!(ended.status, Some(1), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(ended.stderr.contains(&address), "{ended:?}");
        assert_eq!(
            fs::symlink_metadata(&path).expect("something").ino(),
            before
        );
        if path.is_file() {
            assert_eq!(fs::read(&path).expect("a file"), b"precious");
        }
    };
    refused(&|path| fs::write(path, "precious").expect("a folder of our own"));
    refused(&|path| fs::create_dir(path).expect("a folder of our own"));
    refused(&|path| std::os::unix::fs::symlink("/nowhere", path).expect("a folder of our own"));
    // A socket, but not of this kind.
    let datagram = std::cell::RefCell::new(None);
    refused(&|path| {
        *datagram.borrow_mut() = Some(UnixDatagram::bind(path).expect("a folder of our own"))
    });
}

/// Mode and group of the socket that is made under that umask.
fn mode_of(setup: Setup, umask: libc::mode_t) -> (u32, u32) {
    let server = setup.start_changed(|command| {
        // SAFETY: between fork and exec, umask is safe to call.
        unsafe {
            command.pre_exec(move || {
                libc::umask(umask);
                Ok(())
            })
        };
    });
    let metadata = fs::metadata(&server.socket).expect("a socket file");
    (metadata.permissions().mode() & 0o7777, metadata.gid())
}

#[test]
fn the_mode_of_a_socket_is_as_the_flag_says() {
    // Whatever the umask says.
    assert_eq!(mode_of(Setup::new(), 0o077).0, 0o660);
    assert_eq!(mode_of(Setup::new(), 0o000).0, 0o660);
    assert_eq!(
        mode_of(Setup::new().flags(&["--socket-mode", "600"]), 0).0,
        0o600
    );
    assert_eq!(
        mode_of(Setup::new().flags(&["--socket-mode", "0666"]), 0o077).0,
        0o666
    );
}

#[test]
fn the_group_of_a_socket_is_as_the_flag_says() {
    needs_root();
    let groups = fs::read_to_string("/etc/group").expect("groups");
    let (name, id) = groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            Some((fields.next()?, fields.nth(1)?.parse::<u32>().ok()?))
        })
        .find(|(_, id)| *id != 0)
        .expect("a group other than root's");
    assert_eq!(
        mode_of(Setup::new().flags(&["--socket-group", name]), 0o022),
        (0o660, id)
    );
}

#[test]
fn a_socket_file_is_removed_on_exit() {
    let mut server = Server::start();
    assert!(is_socket(&server.socket));
    server.process.signal(libc::SIGTERM);
    assert_eq!(
        server.process.wait().code(),
        Some(0),
        "{:?}",
        server.process.log()
    );
    assert!(!server.socket.exists());
}

/// The check whether the file is the server's own made the same check again, without end.
#[test]
fn removing_the_socket_file_overflowed_the_stack() {
    let setup = Setup::new();
    let (first, second) = (setup.unix("socket"), setup.unix("missing/socket"));
    let setup = setup.flags(&["--listen", &first, "--listen", &second]);
    let ended = run(&mut setup.command());
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(
        !setup.path("socket").exists(),
        "the first was bound already"
    );
}

#[test]
fn a_socket_file_that_another_server_has_put_there_stays() {
    let mut server = Server::start();
    fs::remove_file(&server.socket).expect("a folder of our own");
    let other = UnixListener::bind(&server.socket).expect("a folder of our own");
    let inode = fs::metadata(&server.socket).expect("a socket file").ino();
    server.process.signal(libc::SIGTERM);
    assert_eq!(server.process.wait().code(), Some(0));
    assert_eq!(
        fs::metadata(&server.socket).expect("the other's").ino(),
        inode
    );
    drop(other);
}

#[test]
fn a_removed_socket_file_is_no_trouble_on_exit() {
    let mut server = Server::start();
    fs::remove_file(&server.socket).expect("a folder of our own");
    server.process.signal(libc::SIGINT);
    assert_eq!(server.process.wait().code(), Some(0));
}

#[test]
fn every_listener_leads_to_the_same_server() {
    let setup = Setup::new();
    let (one, two) = (setup.unix("one"), setup.unix("two"));
    let tcp = "tcp://127.0.0.1:0";
    let setup = setup.flags(&["-l", &one, "-l", &two, "-l", tcp, "-l", tcp]);
    let server = setup.spawn();
    Client::unix(&setup.path("one"))
        .logged_in("admin")
        .ask("STORE where=here");
    let listening = addresses(&server);
    assert_eq!(listening[..2], [&one[..], &two]);
    assert_eq!(listening.len(), 4);
    for address in &listening[2..] {
        assert_is_there(address);
    }
    let mut client = Client::unix(&setup.path("two")).logged_in("admin");
    assert_eq!(client.ask("RETRIEVE where"), ["RETRIEVED where=here"]);
    let log = server.log();
    assert!(
        log.last().is_some_and(|line| line.ends_with("ready")),
        "{log:?}"
    );
}

/// Where a server says that it listens.
fn addresses(server: &Process) -> Vec<String> {
    let log = server.log();
    let addresses = log
        .iter()
        .filter_map(|line| line.split_once("listening on "));
    addresses.map(|(_, address)| address.to_owned()).collect()
}

/// Asks for the entry `where`, at an address with the real port.
fn assert_is_there(address: &str) {
    let address = address.strip_prefix("tcp://").expect("a TCP address");
    assert!(!address.ends_with(":0"), "{address}");
    let mut client = Client::tcp_address(address).logged_in("admin");
    assert_eq!(
        client.ask("RETRIEVE where"),
        ["RETRIEVED where=here"],
        "{address}"
    );
}

#[test]
fn a_listener_may_be_given_by_an_ipv6_address() {
    needs_ipv6();
    assert_listens("tcp://[::1]:0", "tcp://[::1]:");
}

#[test]
fn a_listener_may_be_given_by_name() {
    needs_localhost();
    assert_listens("tcp://localhost:0", "tcp://");
}

/// The name may stand for several addresses.
fn assert_listens(flag: &str, start: &str) {
    let setup = Setup::new().flags(&["-l", flag]);
    let server = setup.spawn();
    let listening = addresses(&server);
    assert!(!listening.is_empty());
    Client::tcp_address(listening[0].trim_start_matches("tcp://"))
        .logged_in("admin")
        .ask("STORE where=here");
    for address in &listening {
        assert!(address.starts_with(start), "{address}");
        assert_is_there(address);
    }
}

#[test]
fn the_name_of_a_tcp_connection_is_its_address() {
    let server = Server::start();
    let stream = std::net::TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
    let port = stream.local_addr().expect("a connected socket").port();
    let mut client = Client::from_tcp(stream).logged_in("admin");
    let list = client.ask("CLIENTLIST");
    let cid = list[1]
        .split(';')
        .next()
        .and_then(|field| field.strip_prefix("CLIENT CID="))
        .expect("a CID");
    assert!(cid.starts_with("127.0.0.1:"), "{cid}");
    assert_eq!(cid.split(':').count(), 3, "{cid}");
    let place = format!(";HOST=127.0.0.1;PORT={port};CLIENTINFO=");
    assert!(list[1].contains(&place), "{list:?}");
}

#[test]
fn the_name_of_a_connection_over_ipv6_is_its_address() {
    needs_ipv6();
    let setup = Setup::new().flags(&["-l", "tcp://[::1]:0"]);
    let server = setup.spawn();
    let address = server.log_line("listening on tcp://").expect("it is ready");
    let (_, address) = address.split_once("tcp://").expect("an address");
    let mut client = Client::tcp_address(address).logged_in("admin");
    let list = client.ask("CLIENTLIST");
    assert!(
        list[1].starts_with("CLIENT CID=::1:") && list[1].contains(";HOST=::1;PORT="),
        "{list:?}"
    );
}

/// A relative path means the folder that the server was started in.
#[test]
fn a_relative_path_is_one_of_the_working_folder() {
    let setup = Setup::bare();
    setup.write_secret("password", "adminpw");
    setup.write_secret("users", USERS);
    let setup = setup.flags(&[
        "-u",
        "admin",
        "--password-file",
        "password",
        "--users",
        "users",
        "-l",
        "unix:socket",
    ]);
    let mut server = Process::spawn(setup.command().current_dir(setup.folder.path()));
    server.wait_for_log("ready");
    let mut client = Client::unix(&setup.path("socket"));
    client.send(&format!("OVERHEAD A {}", token("rw")));
    client.expect_after_others("OVERHEAD O Welcome!");
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(!setup.path("socket").exists());
}
