//! clacks, the command-line client: what each command prints, and the status it exits with.

use crate::runner::needs_mounts;
use crate::support::{Server, Setup, VARIABLES, bare_clacks, run, text};
use clacks::{Cache, Options};
use serde_json::{Value, json};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

#[test]
fn an_entry_is_stored_with_an_expiry() {
    let server = Server::start();
    let does = |arguments: &[&str]| server.clacks_output("admin", arguments);
    assert_eq!(does(&["store", "a", "1"]), "");
    assert_eq!(does(&["ttl", "a"]), "-1\n");
    assert_eq!(
        does(&["--json", "ttl", "a"]),
        "{\"name\":\"a\",\"ttl\":-1}\n"
    );
    assert_eq!(does(&["store", "--ttl", "1000.5", "a", "two\nlines"]), "");
    let left: u64 = does(&["ttl", "a"]).trim_end().parse().expect("seconds");
    assert!((1..=1001).contains(&left), "{left}");
    assert_eq!(does(&["retrieve", "a"]), "two\nlines");
    assert_fails(server.clacks("admin", &["ttl", "b"]), 1, "\"b\"");
    for wrong in ["0", "-1", "x", "nan", "inf", "3153600001"] {
        let arguments = ["store", "a", "1", "--ttl", wrong];
        assert_fails(server.clacks("admin", &arguments), 2, "--ttl");
    }
}

/// Exits with that status, prints nothing, and says one line with that part in it.
pub fn assert_fails(ended: crate::support::Ended, status: i32, part: &str) {
    assert_eq!(
        (ended.status, &*ended.stdout),
        (Some(status), ""),
        "{}",
        ended.stderr
    );
    let complaint = ended.stderr.strip_suffix('\n').expect("a line");
    assert!(complaint.starts_with("clacks: "), "{complaint}");
    assert!(
        complaint.contains(part) && !complaint.contains('\n'),
        "{complaint}"
    );
}

#[test]
fn the_cache_is_written_and_read() {
    let server = Server::start();
    let does = |arguments: &[&str]| server.clacks_output("admin", arguments);
    assert_eq!(does(&["store", "a", "good morning"]), "");
    assert_eq!(does(&["retrieve", "a"]), "good morning\n");
    assert_eq!(does(&["increment", "n"]), "1\n");
    assert_eq!(does(&["increment", "n", "-5"]), "-4\n");
    assert_eq!(does(&["decrement", "n", "0.5"]), "-4.5\n");
    assert_eq!(does(&["decrement", "n"]), "-5.5\n");
    assert_eq!(does(&["retrieve", "n"]), "-5.5\n");
    assert_eq!(does(&["store", "--", "-b", ""]), "");
    assert_eq!(does(&["retrieve", "--", "-b"]), "\n");
    assert_eq!(does(&["set-and-store", "c", "x=y"]), "");
    assert_eq!(does(&["keys"]), "-b\na\nc\nn\n");
    assert_eq!(does(&["keys", "n"]), "n\n");
    assert_eq!(does(&["keys", "none"]), "");
    assert_eq!(does(&["remove", "a"]), "");
    assert_eq!(does(&["remove", "a"]), "");
    assert_fails(server.clacks("admin", &["retrieve", "a"]), 1, "\"a\"");
    assert_fails(
        server.clacks("admin", &["retrieve", "--raw", "a"]),
        1,
        "\"a\"",
    );
    assert_eq!(does(&["clear"]), "");
    assert_eq!(does(&["keys"]), "");
    let every: Vec<Value> = ["keys", "clear", "clients"]
        .iter()
        .flat_map(|command| json_lines(&does(&["--json", command])))
        .collect();
    assert_eq!(
        every.len(),
        1,
        "only clients has something to print: {every:?}"
    );
}

pub fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

#[test]
fn a_command_that_writes_returns_when_it_is_done() {
    let server = Server::start();
    let mut reader = server.client("ro");
    for number in 0..50 {
        let value = number.to_string();
        server.clacks_output("wo", &["store", "a", &value]);
        // No FLUSH between: the answer is there at once or never.
        reader.send("RETRIEVE a");
        reader.expect(&format!("RETRIEVED a={value}"));
    }
}

#[test]
fn standard_input_comes_back_as_it_was() {
    let server = Server::start();
    let all: Vec<u8> = (0..=255).chain(*b"\n").collect();
    let values: [&[u8]; 8] = [
        b"one line\n",
        b"two\nlines\n",
        b"two\nlines",
        b"\n\n",
        b"\n",
        b"dos\r\n",
        b"PAGECAMELCLACKSB64:eA==\n",
        &all,
    ];
    for value in values {
        let stored = server.clacks_reading("rw", &["store", "a", "-"], value);
        assert_eq!((stored.status, &*stored.stderr), (Some(0), ""));
        let output = server.clacks_command("rw", &["retrieve", "a"]).output();
        let output = output.expect("a process");
        assert_eq!(output.stdout.as_bytes_lossy(), value.as_bytes_lossy());
        assert!(output.status.success());
    }
    // As the value is, whatever it is: without an end of line that is none of it.
    for value in [&b""[..], b"one line", b"two\nlines", b"two\nlines\n", &all] {
        let address = server.address();
        let options = Options::new(&address)
            .expect("an address")
            .login("rw", "rwpw");
        let mut cache = Cache::new(options, "test", "1");
        cache.set("a", value).expect("a connection");
        let output = server
            .clacks_command("rw", &["retrieve", "--raw", "a"])
            .output();
        let output = output.expect("a process");
        assert_eq!(output.stdout.as_bytes_lossy(), value.as_bytes_lossy());
        assert!(output.status.success());
    }
    // The end of a single line is none of the value.
    server.clacks_reading("rw", &["store", "n", "-"], b"5\n");
    server.clacks_output("rw", &["increment", "n"]);
    assert_eq!(server.clacks_output("rw", &["retrieve", "n"]), "6\n");
    server.clacks_reading("rw", &["store", "n", "-"], b"5");
    assert_eq!(server.clacks_output("rw", &["retrieve", "n"]), "5\n");
    assert_eq!(
        server.clacks_output("rw", &["retrieve", "n", "--json"]),
        "{\"name\":\"n\",\"value\":\"5\"}\n"
    );
}

/// Bytes in a form in which a failed assertion can be read.
trait Lossy {
    fn as_bytes_lossy(&self) -> String;
}

impl<T: AsRef<[u8]>> Lossy for T {
    fn as_bytes_lossy(&self) -> String {
        self.as_ref().escape_ascii().to_string()
    }
}

#[test]
fn cache_values_are_encoded_as_the_cache_clients_do() {
    let server = Server::start();
    let raw = |name: &str| server.client("rw").ask(&format!("RETRIEVE {name}"));
    server.clacks_output("rw", &["store", "a", "two\nlines"]);
    assert_eq!(raw("a"), ["RETRIEVED a=PAGECAMELCLACKSB64:dHdvCmxpbmVz"]);
    assert_eq!(server.clacks_output("rw", &["retrieve", "a"]), "two\nlines");
    server.clacks_output("rw", &["store", "b", "PAGECAMELCLACKSB64:eA=="]);
    assert_eq!(
        server.clacks_output("rw", &["retrieve", "b"]),
        "PAGECAMELCLACKSB64:eA==\n"
    );
    server
        .client("rw")
        .ask("STORE c=PAGECAMELCLACKSYAMLB64: LS0tIAotIDEKLSB4Cg==");
    assert_eq!(
        server.clacks_output("rw", &["retrieve", "c"]),
        "--- \n- 1\n- x\n"
    );
    assert_eq!(
        json_lines(&server.clacks_output("rw", &["--json", "retrieve", "c"])),
        [json!({"name": "c", "yaml": "--- \n- 1\n- x\n"})]
    );
    assert_eq!(
        json_lines(&server.clacks_output("rw", &["--json", "retrieve", "a"])),
        [json!({"name": "a", "value": "two\nlines"})]
    );
    // Arguments need not be UTF-8.
    let name = std::ffi::OsStr::from_bytes(b"\xffname");
    let mut store = server.clacks_command("rw", &["store"]);
    assert_eq!(run(store.arg(name).arg(name)).status, Some(0));
    let mut retrieve = server.clacks_command("rw", &["--json", "retrieve"]);
    assert_eq!(
        json_lines(&run(retrieve.arg(name)).stdout),
        [json!({"name_base64": "/25hbWU=", "value_base64": "/25hbWU="})]
    );
    assert_eq!(
        json_lines(&server.clacks_output("rw", &["--json", "keys"])).last(),
        Some(&json!({"name_base64": "/25hbWU="}))
    );
}

#[test]
fn signals_reach_who_listens() {
    let server = Server::start();
    let mut listener = server.client("ro");
    listener.ask("LISTEN a");
    server.clacks_output("wo", &["set", "a", "x = y"]);
    server.clacks_output("wo", &["notify", "a"]);
    server.clacks_output("wo", &["set-and-store", "a", "-1"]);
    server.clacks_reading("wo", &["set", "a", "-"], b"piped\n");
    for line in ["SET a=x = y", "NOTIFY a", "SET a=-1", "SET a=piped"] {
        listener.expect(line);
    }
    assert_eq!(listener.ask("RETRIEVE a"), ["RETRIEVED a=-1"]);
    for command in ["set", "set-and-store"] {
        for value in ["x\ny", "x\r", "x\n"] {
            assert_fails(
                server.clacks("wo", &[command, "a", value]),
                2,
                "line breaks",
            );
        }
        let piped = server.clacks_reading("wo", &[command, "a", "-"], b"x\ny\n");
        assert_fails(piped, 2, "line breaks");
    }
    assert_eq!(listener.flush(), [""; 0], "nothing of that was sent");
}

#[test]
fn managers_see_and_end_connections() {
    let server = Server::start();
    let mut other = server.client("rw");
    let clients = json_lines(&server.clacks_output("mg", &["clients", "--json"]));
    assert_eq!(clients.len(), 2);
    let found = clients
        .iter()
        .find(|client| client["clientinfo"] == "test of rw");
    let found = found.expect("it is connected");
    assert_eq!(found["interclacks"], false);
    assert_eq!(found["outbuffer_length"], 0);
    assert_eq!(found["host"], "unixdomainsocket");
    assert!(
        found["lastping"]
            .as_u64()
            .is_some_and(|time| time > 1_000_000_000)
    );
    let cid = found["cid"].as_str().expect("a text");
    let table = server.clacks_output("mg", &["clients"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split("  ").collect()).collect();
    assert!(rows[0].contains(&"CID"), "{table}");
    let row = rows
        .iter()
        .find(|row| row[0].trim() == cid)
        .expect("its row");
    assert!(row.contains(&"test of rw"), "{table}");
    server.clacks_output("mg", &["disconnect", cid]);
    assert_eq!(other.until_closed(), ["QUIT"]);
    server.clacks_output("mg", &["disconnect", "nobody"]);
    assert_eq!(server.clacks_output("mg", &["clients"]).lines().count(), 2);
}

#[test]
fn the_server_can_be_ended() {
    let mut server = Server::start();
    for wrong in ["0", "-1", "soon", "inf"] {
        assert_fails(
            server.clacks("mg", &["shutdown", "--", wrong]),
            2,
            &format!("S \"{wrong}\" wants seconds"),
        );
    }
    server.clacks_output("mg", &["shutdown", "0.05"]);
    assert!(server.process.wait().success());
    let mut server = Server::start();
    server.clacks_output("admin", &["shutdown"]);
    assert!(server.process.wait().success());
}

#[test]
fn refusals_have_a_status_of_their_own() {
    let server = Server::start();
    for (user, arguments, verb, permission) in [
        ("ro", &["store", "a", "1"][..], "STORE", "write"),
        ("ro", &["remove", "a"], "REMOVE", "write"),
        ("ro", &["increment", "a"], "INCREMENT", "write"),
        ("ro", &["decrement", "a"], "DECREMENT", "write"),
        ("ro", &["set", "a", "1"], "SET", "write"),
        ("ro", &["notify", "a"], "NOTIFY", "write"),
        ("ro", &["set-and-store", "a", "1"], "SETANDSTORE", "write"),
        ("wo", &["retrieve", "a"], "RETRIEVE", "read"),
        ("wo", &["keys"], "KEYLIST", "read"),
        ("wo", &["keys", "--long"], "KEYINFO", "read"),
        ("wo", &["listen", "a"], "LISTEN", "read"),
        ("wo", &["chat"], "LISTEN", "read"),
        ("rw", &["clear"], "CLEARCACHE", "manage"),
        ("rw", &["clients"], "CLIENTLIST", "manage"),
        ("rw", &["status"], "STATUS", "manage"),
        ("rw", &["status", "slow"], "STATUS", "manage"),
        ("rw", &["disconnect", "1"], "CLIENTDISCONNECT", "manage"),
        ("rw", &["monitor"], "MONITOR", "manage"),
        ("rw", &["shutdown"], "OVERHEAD S", "manage"),
    ] {
        let said = format!(
            "permission_denied: for {verb} the user \"{user}\" needs the permission to {permission}\n"
        );
        let ended = server.clacks(user, arguments);
        assert!(ended.stderr.ends_with(&said), "{ended:?}");
        assert_fails(ended, 4, "clacks: the server refused it: permission_denied");
    }
}

#[test]
fn a_chat_says_what_is_needed_to_speak() {
    let server = Server::start();
    let ended = server.clacks_reading("ro", &["chat"], b"hello\n");
    let said = "clacks: that was not sent: the server refused it: permission_denied: \
        for SET the user \"ro\" needs the permission to write\n";
    assert_eq!((ended.status, &*ended.stderr), (Some(0), said));
}

#[test]
fn what_is_too_long_for_the_server_is_refused() {
    let server = Setup::new().flags(&["--max-line", "8K"]).start();
    for size in [10_000, 1_000_000, 20_000_000] {
        let value = vec![b'x'; size];
        let ended = server.clacks_reading("rw", &["store", "a", "-"], &value);
        assert_fails(
            ended,
            4,
            "line_too_long: a line was longer than the server's --max-line",
        );
    }
    let address = format!("tcp://127.0.0.1:{}", server.port);
    let value = vec![b'x'; 10_000];
    let ended = server.clacks_reading("rw", &["-s", &address, "store", "a", "-"], &value);
    assert_fails(ended, 4, "line_too_long");
    assert_eq!(server.clacks_output("rw", &["keys"]), "");
}

#[test]
fn without_connection_or_login_it_says_so() {
    let setup = Setup::bare();
    let nobody = setup.unix("nobody");
    let as_user = |arguments: &[&str]| {
        run(bare_clacks(arguments)
            .env("CLACKS_USER", "rw")
            .env("CLACKS_PASSWORD", "rwpw"))
    };
    for command in ["keys", "monitor", "send", "chat"] {
        let ended = as_user(&["-s", &nobody, command]);
        assert_fails(ended, 3, &format!("{nobody}: no connection to the server"));
    }
    let ended = as_user(&["--server", "tcp://127.0.0.1:1", "notify", "a"]);
    assert_fails(ended, 3, "tcp://127.0.0.1:1");
    let server = Server::start();
    for command in ["keys", "send"] {
        let mut wrong = server.clacks_command("rw", &[command]);
        assert_fails(
            run(wrong.env("CLACKS_PASSWORD", "wrong")),
            3,
            ": the server refuses this user or password: user \"rw\", password from CLACKS_PASSWORD",
        );
    }
    // Something else that listens.
    let path = setup.path("other");
    let listener = UnixListener::bind(&path).expect("a socket of our own");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut &stream, b"220 mail.example.org ESMTP\r\n");
        }
    });
    for _ in 0..20 {
        let ended = as_user(&["-s", &format!("unix:{}", text(&path)), "keys"]);
        assert_fails(ended, 3, "no clacks server");
    }
    // A server that has enough already.
    let full = Setup::new().flags(&["--max-clients", "1"]).start();
    let _only = full.client("rw");
    for _ in 0..20 {
        assert_fails(
            full.clacks("rw", &["keys"]),
            3,
            "client_limit: the server has as many clients as its --max-clients",
        );
    }
}

#[test]
fn wrong_usage_is_told_before_anybody_is_asked() {
    let setup = Setup::bare();
    let nobody = setup.unix("nobody");
    for (arguments, part) in [
        (&[][..], "clacks help"),
        (
            &["frobnicate"],
            "there is no command \"frobnicate\"; try clacks --help",
        ),
        (
            &["retreive", "a"],
            "\"retreive\"; did you mean \"retrieve\"?",
        ),
        (&["set", "a"], "set NAME VALUE"),
        (
            &["keys", "--frobnicate"],
            "there is no flag \"--frobnicate\"; try clacks --help",
        ),
        (
            &["keys", "--sever", "x"],
            "\"--sever\"; did you mean \"--server\"?",
        ),
        (&["listen", "a", "-n", "0"], "--count \"0\" wants"),
        (&["monitor", "-n", "many"], "--count \"many\" wants"),
        (&["bench", "cache", "--names", "1T"], "--names \"1T\" wants"),
        (
            &["bench", "cache", "--seconds", "0"],
            "--seconds \"0\" wants",
        ),
        (&["retrieve"], "retrieve NAME..."),
        (&["retrieve", "a", "--raw", "--json"], "--raw and --json"),
        (&["increment", "a", "much"], "\"much\""),
        (&["send", "--json"], "--json"),
        (&["chat", "--json"], "--json"),
        (&["--ca", "x", "--insecure", "keys"], "--insecure"),
        (&["-s", "localhost", "keys"], "localhost: neither unix:PATH"),
        (
            &["-s", "tcp://192.0.2.1", "keys"],
            "tcp://192.0.2.1: plain text beyond loopback needs --allow-plaintext",
        ),
        (
            &["-s", "tls://localhost", "--ca", "/is/not/there", "keys"],
            "/is/not/there",
        ),
        (&["keys", "a\nb", "c"], "keys [PREFIX]"),
        (&["bad\nname"], "bad\\x0aname"),
    ] {
        let mut command = bare_clacks(arguments);
        command.envs([("CLACKS_SERVER", &*nobody), ("CLACKS_PASSWORD", "x")]);
        assert_fails(run(&mut command), 2, part);
    }
    let server = Server::start();
    for (arguments, part) in [
        (&["store", "a=b", "1"][..], "equals sign"),
        (&["store", "a\nb", "1"], "line breaks"),
        (&["retrieve", ""], "a name can't be empty"),
        (&["increment", "a=b"], "equals sign"),
    ] {
        assert_fails(server.clacks("rw", arguments), 2, part);
    }
    assert_eq!(server.clacks_output("rw", &["keys"]), "");
}

#[test]
fn help_and_version_need_no_server() {
    let help = run(&mut bare_clacks(&["--help"]));
    assert_eq!(help.status, Some(0));
    for command in clacks::tool::COMMANDS {
        assert!(help.stdout.contains(command.name) && help.stdout.contains(command.help));
    }
    assert_eq!(run(&mut bare_clacks(&["help"])).stdout, help.stdout);
    let version = format!("clacks {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&mut bare_clacks(&["-V"])).stdout, version);
    assert_eq!(
        run(&mut bare_clacks(&["--version", "keys"])).stdout,
        version
    );
}

#[test]
fn passwords_come_from_everything_that_writes_a_line() {
    let server = Server::start();
    for written in ["rwpw\n", "rwpw\r\nmore", "\u{feff}rwpw\n"] {
        let mut command = server.clacks_command("rw", &["keys"]);
        let ended = run(command.env("CLACKS_PASSWORD", written));
        assert_eq!(ended.status, Some(0), "{written:?}: {ended:?}");
    }
    // A pipe whose writer takes its time.
    let keys_with_pipe = bare_clacks(&["-s", &server.address(), "-u", "rw", "keys"]);
    let mut piped = Command::new("bash");
    piped
        .args([
            "-c",
            "exec \"$0\" \"$@\" --password-file <(sleep 0.2; echo rwpw)",
        ])
        .arg(keys_with_pipe.get_program())
        .args(keys_with_pipe.get_args());
    let ended = run(&mut piped);
    assert_eq!(ended.status, Some(0), "{ended:?}");
}

#[test]
fn passwords_come_from_files_that_others_cannot_read_or_from_the_environment() {
    let server = Server::start();
    let setup = &server.setup;
    let file = |content: &str| {
        setup.write_secret("secret", content);
        text(&setup.path("secret"))
    };
    let keys = |flags: &[&str]| {
        let address = server.address();
        run(&mut bare_clacks(
            &[&["-s", &address, "-u", "rw", "keys"], flags].concat(),
        ))
    };
    assert_fails(keys(&[]), 2, "--password-file or CLACKS_PASSWORD");
    let path = file("rwpw\nmore\n");
    assert_eq!(keys(&["--password-file", &path]).status, Some(0));
    let ended = keys(&["--password-file", &file("wrong\n")]);
    assert_fails(ended, 3, &format!("password from --password-file {path}"));
    let path = file("rwpw\nmore\n");
    // The flag wins over the environment, in which nothing means nothing.
    let mut both = server.clacks_command("rw", &["keys", "--password-file", &path]);
    assert_eq!(run(both.env("CLACKS_PASSWORD", "wrong")).status, Some(0));
    let mut empty = server.clacks_command("rw", &["keys"]);
    assert_fails(run(empty.env("CLACKS_PASSWORD", "")), 2, "no password");
    assert_fails(
        keys(&["--password-file", &file("")]),
        2,
        "first line is empty",
    );
    assert_fails(
        keys(&["--password-file", "/is/not/there"]),
        2,
        "/is/not/there",
    );
    for mode in [0o604, 0o602, 0o601] {
        let path = file("rwpw\n");
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&path, permissions).expect("a file of our own");
        assert_fails(
            keys(&["--password-file", &path]),
            2,
            "other users have access",
        );
    }
    // Who nobody names is the user of the service.
    let made = Setup::bare();
    made.write_secret("password", "secret\n");
    let password = text(&made.path("password"));
    let flags = ["--user", "clacks", "--password-file", &password];
    let service = made.flags(&flags).start();
    let address = service.address();
    let known = run(&mut bare_clacks(&[
        "-s",
        &address,
        "--password-file",
        &password,
        "keys",
    ]));
    assert_eq!((known.status, &*known.stderr), (Some(0), ""));
}

/// The service's files, as far as clacks knows them: in places where the commands of the test alone see them.
#[test]
fn the_password_of_the_service_is_found_at_its_own_socket_and_for_its_own_user() {
    needs_mounts();
    const PLACES: &str = "mount -t tmpfs none /run && mount -t tmpfs none /etc && \
        mkdir /run/clacksd /etc/clacksd && ln -s \"$0/socket\" /run/clacksd/clacksd.sock && \
        ln -s \"$0/socket\" /run/clacksd/other.sock && cp -p \"$0/secret\" /etc/clacksd/password && \
        cp \"$1\" /run/clacks && shift && exec \"$@\"";
    let setup = Setup::bare();
    setup.write_secret("secret", "of the service\n");
    setup.write_secret("users", "rw:read,write:of the service\n");
    let secret = text(&setup.path("secret"));
    let users = text(&setup.path("users"));
    let flags = [
        "--user",
        "clacks",
        "--password-file",
        &secret,
        "--users",
        &users,
    ];
    let server = setup.flags(&flags).start();
    let folder = server.setup.folder.path();
    let clacks = |before: &[&str], arguments: &[&str]| {
        let clacks = bare_clacks(&[]);
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", PLACES]).arg(folder);
        command.arg(clacks.get_program()).args(before);
        command.arg("/run/clacks").args(arguments);
        for name in VARIABLES {
            command.env_remove(name);
        }
        run(command.stdin(Stdio::null()))
    };
    for arguments in [
        &["keys"][..],
        &["-s", "unix:/run/clacksd/clacksd.sock", "keys"],
    ] {
        let ended = clacks(&[], arguments);
        assert_eq!(
            (ended.status, &*ended.stderr),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
    for arguments in [
        &["-s", "unix:/run/clacksd/other.sock", "keys"][..],
        &["-u", "rw", "keys"],
        // A flag counts before the file.
        &["--password-file", "/dev/null", "keys"],
    ] {
        let ended = clacks(&[], arguments);
        assert_eq!(ended.status, Some(2), "{arguments:?}: {ended:?}");
        assert!(!ended.stderr.contains("/etc/clacksd"), "{ended:?}");
    }
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let why = "CLACKS_PASSWORD (/etc/clacksd/password: Permission denied";
    assert_fails(clacks(&nobody, &["keys"]), 2, why);
    let with_password = [&["env", "CLACKS_PASSWORD=x"][..], &nobody].concat();
    let why = "Permission denied (os error 13): the server's --socket-mode says who may connect";
    assert_fails(clacks(&with_password, &["keys"]), 3, why);
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .expect("a file of our own");
    assert_fails(clacks(&[], &["keys"]), 2, "other users have access");
}

#[test]
fn plain_text_leaves_the_machine_only_if_that_is_wanted() {
    let server = Server::start();
    let tcp = format!("tcp://127.0.0.1:{}", server.port);
    assert_eq!(server.clacks("rw", &["-s", &tcp, "keys"]).status, Some(0));
    // This machine by an address that isn't loopback's, where the server doesn't listen.
    let far = format!("tcp://0.0.0.0:{}", server.port);
    assert_fails(server.clacks("rw", &["-s", &far, "keys"]), 2, "plain text");
    let allowed = server.clacks("rw", &["-s", &far, "--allow-plaintext", "keys"]);
    assert_ne!(allowed.status, Some(2), "{}", allowed.stderr);
}

#[test]
fn output_that_cannot_be_written_is_told() {
    let server = Server::start();
    server.clacks_output("rw", &["store", "a", "1"]);
    for arguments in [&["retrieve", "a"][..], &["keys"], &["--help"]] {
        let full = std::fs::File::create("/dev/full").expect("Linux has it");
        let mut command = server.clacks_command("rw", arguments);
        let output = command.stdout(full).stderr(Stdio::piped()).spawn();
        let output = output.and_then(|child| child.wait_with_output());
        let output = output.expect("a process");
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"));
    }
}
