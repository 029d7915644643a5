//! The cache client against the real server, and its values against the modules of the Perl one.

use crate::runner::needs;
use crate::support::{Server, Setup, run, text};
use clacks::{Cache, Error, Message, Options, Ttl};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

fn cache_at(address: &str, user: &str) -> Cache {
    let options = Options::new(address)
        .expect("an address")
        .login(user, &format!("{user}pw"))
        .call_timeout(Duration::from_secs(20));
    Cache::new(options, "shop test", "1.5")
}

fn cache(server: &Server, user: &str) -> Cache {
    cache_at(&format!("unix:{}", text(&server.socket)), user)
}

/// Returns the value that the server holds for a name, in its encoded form.
fn stored(server: &Server, name: &str) -> String {
    let lines = server.client("rw").ask(&format!("RETRIEVE {name}"));
    let prefix = format!("RETRIEVED {name}=");
    lines
        .iter()
        .find_map(|line| line.strip_prefix(&prefix))
        .unwrap_or_else(|| panic!("{name} is not stored: {lines:?}"))
        .to_owned()
}

#[test]
fn values_come_back_as_they_were_whatever_they_are() {
    let server = Server::start();
    let mut cache = cache(&server, "admin");
    assert_eq!(cache.get("a").unwrap(), None);
    let all: Vec<u8> = (0..=255).collect();
    let values: [&[u8]; 7] = [
        b"",
        b"plain = text",
        b"two\nlines\r\n",
        b"PAGECAMELCLACKSB64:eA==",
        b"PAGECAMELCLACKSYAMLB64: LS0tIDEK",
        b"PAGECAMELCLACKSB64:",
        &all,
    ];
    for value in values {
        cache.set("a", value).unwrap();
        assert_eq!(cache.get("a").unwrap().unwrap(), *value);
    }
    cache.set("a", "two\nlines").unwrap();
    assert_eq!(stored(&server, "a"), "PAGECAMELCLACKSB64:dHdvCmxpbmVz");
    cache.set("a", "one line").unwrap();
    assert_eq!(stored(&server, "a"), "one line");
    cache.delete("a").unwrap();
    cache.delete("a").unwrap();
    assert_eq!(cache.get("a").unwrap(), None);
    cache.incr("n", 5).unwrap();
    cache.incr("n", 0.5).unwrap();
    cache.decr("n", 1).unwrap();
    assert_eq!(cache.get("n").unwrap().unwrap(), "4.5");
    cache.clear().unwrap();
    assert!(cache.keys().unwrap().is_empty());
}

#[test]
fn names_lose_blanks_and_equals_signs() {
    let server = Server::start();
    let mut cache = cache(&server, "rw");
    cache.set("a b=c", "1").unwrap();
    cache.incr("a b=c", 1).unwrap();
    assert_eq!(stored(&server, "a___b___c"), "2");
    assert_eq!(cache.get("a b=c").unwrap().unwrap(), "2");
    cache.decr("a b=c", 3).unwrap();
    assert_eq!(cache.get("a___b___c").unwrap().unwrap(), "-1");
    cache.set_structure("x y", &[1]).unwrap();
    assert_eq!(cache.get_structure("x___y").unwrap(), Some([1]));
    assert_eq!(
        cache.keys().unwrap(),
        ["VERSION::shop___test", "a___b___c", "x___y"]
    );
    cache.delete("a b=c").unwrap();
    assert_eq!(cache.get("a___b___c").unwrap(), None);
    assert!(matches!(cache.set("a\nb", "1"), Err(Error::Invalid(_))));
    assert!(matches!(cache.get(""), Err(Error::Invalid(_))));
}

#[test]
fn it_connects_when_it_is_first_used_and_says_what_it_is() {
    let setup = Setup::new();
    let mut cache = cache_at(&setup.unix("socket"), "rw");
    assert!(matches!(cache.get("a"), Err(Error::Disconnected(_))));
    let server = setup.start();
    assert_eq!(cache.get("a").unwrap(), None);
    assert_eq!(stored(&server, "VERSION::shop___test"), "1.5");
    let clients = server.client("mg").ask("CLIENTLIST");
    let own = clients
        .iter()
        .find(|line| line.contains("CLIENTINFO=shop test/1.5;"));
    let own = own.unwrap_or_else(|| panic!("it is in {clients:?}"));
    assert!(own.contains(";LASTPING=0;"), "no PING is expected: {own}");
    cache.client().unwrap().notify("signal").unwrap();
}

#[test]
fn it_outlives_its_server() {
    let mut server = Server::start();
    let mut cache = cache(&server, "admin");
    for round in 0..5 {
        let value = format!("{round}\n");
        cache.set("a", &value).unwrap();
        assert_eq!(cache.get("a").unwrap().unwrap(), *value.as_str());
        server = server.kill_and_restart();
        match round {
            0 => cache.set("b", "1").unwrap(),
            1 => cache.delete("b").unwrap(),
            2 => assert_eq!(cache.get("a").unwrap(), None),
            3 => cache.clear().unwrap(),
            // Whether it was done nobody knows, so it is not done again.
            _ => assert!(matches!(cache.incr("n", 1), Err(Error::Disconnected(_)))),
        }
        cache.get("a").unwrap();
        cache.keys().unwrap();
        assert_eq!(stored(&server, "VERSION::shop___test"), "1.5");
    }
}

#[test]
fn signals_listened_to_beside_the_cache_all_come() {
    let server = Server::start();
    let mut cache = cache(&server, "rw");
    cache.client().unwrap().listen("a").unwrap();
    cache.client().unwrap().sync().unwrap();
    let mut sender = server.client("rw");
    for number in 0..100 {
        sender.ask(&format!("SET a={number}"));
        // Reads what has come.
        cache.get("b").unwrap();
    }
    let client = cache.client().unwrap();
    let mut numbers = Vec::new();
    while let Some(message) = client.next(Duration::ZERO).unwrap() {
        match message {
            Message::Set { value, .. } => numbers.push(value.to_str().into_owned()),
            Message::Lost(lost) => panic!("{lost} were lost"),
            _ => {}
        }
    }
    let all: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(numbers, all);
}

#[test]
fn refusals_are_told() {
    let server = Server::start();
    let mut reader = cache(&server, "ro");
    assert_eq!(reader.get("a").unwrap(), None);
    assert!(matches!(reader.set("a", "1"), Err(Error::Refused(_))));
    assert!(matches!(reader.delete("a"), Err(Error::Refused(_))));
    assert!(matches!(reader.incr("a", 1), Err(Error::Refused(_))));
    assert!(matches!(reader.clear(), Err(Error::Refused(_))));
    assert_eq!(reader.get("a").unwrap(), None);
    let mut manager = cache(&server, "mg");
    // The version that it may not store is nobody's business.
    manager.clear().unwrap();
    assert!(matches!(manager.get("a"), Err(Error::Refused(_))));
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Record {
    name: String,
    number: i64,
    ratio: f64,
    active: bool,
    passive: bool,
    note: Option<String>,
    remark: Option<String>,
    lines: Vec<String>,
    nested: BTreeMap<String, Vec<BTreeMap<String, String>>>,
    none: Vec<u8>,
    nothing: BTreeMap<String, String>,
}

fn record() -> Record {
    let texts = [
        "",
        "~",
        "null",
        "5",
        "two\nlines\r\n",
        "cr\rlf",
        " blanks ",
        "- a: b # c",
        "é€ \u{1F600} \u{85}\u{2028}",
        "\"quotes\" 'and' \\backslashes\\ \\u00e9 \\x41",
        "\0\u{1}\u{7}\u{1b}\u{7f}\t",
        "---",
        "!tag &anchor *alias %x @y `z",
        "{[|>?",
    ];
    let deepest = BTreeMap::from([
        ("a: b".to_owned(), "\n".to_owned()),
        ("y".to_owned(), "no".to_owned()),
    ]);
    Record {
        name: "5".to_owned(),
        number: -9_007_199_254_740_993,
        ratio: 0.125,
        active: true,
        passive: false,
        note: None,
        remark: Some("~".to_owned()),
        lines: texts.map(str::to_owned).into(),
        nested: BTreeMap::from([
            ("x y".to_owned(), vec![deepest, BTreeMap::new()]),
            (String::new(), vec![]),
        ]),
        none: vec![],
        nothing: BTreeMap::new(),
    }
}

#[test]
fn structures_come_back_as_they_were() {
    let server = Server::start();
    let mut cache = cache(&server, "rw");
    assert_eq!(cache.get_structure::<Record>("a").unwrap(), None);
    cache.set_structure("a", &record()).unwrap();
    assert_eq!(cache.get_structure("a").unwrap(), Some(record()));
    assert!(stored(&server, "a").starts_with("PAGECAMELCLACKSYAMLB64:"));
    // Without its type it is YAML.
    cache.set_structure("b", &["x", "~"]).unwrap();
    assert_eq!(cache.get("b").unwrap().unwrap(), "--- \n- \"x\"\n- \"~\"\n");
    // Texts are structures of one scalar.
    cache.set("c", "5").unwrap();
    assert_eq!(cache.get_structure("c").unwrap(), Some(5));
    cache.set("c", "a\nb").unwrap();
    assert_eq!(cache.get_structure("c").unwrap(), Some("a\nb".to_owned()));
    assert!(matches!(
        cache.get_structure::<u8>("c"),
        Err(Error::Structure(_))
    ));
    assert!(matches!(
        cache.get_structure::<Record>("b"),
        Err(Error::Structure(_))
    ));
    let keys = BTreeMap::from([((1, 2), 3)]);
    assert!(matches!(
        cache.set_structure("c", &keys),
        Err(Error::Structure(_))
    ));
}

/// Runs Perl with YAML::Syck on a stored value, in the way in which Net::Clacks::ClacksCache reads and
/// writes it.
fn perl(code: &str, value: &str) -> String {
    needs("libyaml-syck-perl");
    let script = format!(
        "use strict; use YAML::Syck; use MIME::Base64; $YAML::Syck::SortKeys = 1; my $value = $ARGV[0]; \
         sub decoded {{ $value =~ /^PAGECAMELCLACKSYAMLB64:(.+)/ ? Load(decode_base64($1)) : \
         $value =~ /^PAGECAMELCLACKSB64:(.+)/ ? decode_base64($1) : $value }} \
         sub encoded {{ 'PAGECAMELCLACKSYAMLB64: ' . encode_base64(Dump($_[0]), '') }} {code}"
    );
    let ended = run(Command::new("perl").args(["-e", &script, value]));
    assert_eq!((ended.status, &*ended.stderr), (Some(0), ""));
    ended.stdout
}

#[test]
fn perl_reads_what_rust_wrote_and_the_other_way_round() {
    let server = Server::start();
    let mut cache = cache(&server, "rw");
    cache.set_structure("rust", &record()).unwrap();
    let written = stored(&server, "rust");
    let perl_wrote = perl("print encoded(decoded())", &written);
    assert!(perl_wrote.starts_with("PAGECAMELCLACKSYAMLB64: "));
    server
        .client("rw")
        .send(&format!("STORE perl={perl_wrote}"));
    crate::support::wait_until("what Perl wrote is stored", || {
        cache.get("perl").unwrap().is_some()
    });
    assert_eq!(cache.get_structure("perl").unwrap(), Some(record()));
    // Perl sees the same: each scalar byte by byte, and what is undefined.
    let seen = perl(
        "my $r = decoded(); print join '|', $r->{name}, $r->{number} + 1, $r->{active} ? 'y' : 'n', \
         $r->{passive} ? 'y' : 'n', defined $r->{note} ? 'd' : 'u', $r->{remark}, \
         map { unpack 'H*', $_ } @{$r->{lines}}",
        &written,
    );
    let lines: Vec<String> = record()
        .lines
        .iter()
        .map(|line| line.bytes().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    let expected = format!("5|-9007199254740992|y|n|u|~|{}", lines.join("|"));
    assert_eq!(seen, expected);
    // Values of several lines, too.
    cache.set("text", "two\nlines\r\n").unwrap();
    let seen = perl("print unpack 'H*', decoded()", &stored(&server, "text"));
    assert_eq!(seen, "74776f0a6c696e65730d0a");
}

#[test]
fn what_perl_made_up_is_read() {
    let server = Server::start();
    let mut cache = cache(&server, "rw");
    let code = "my $shared = [1, 2]; print encoded({number => '5', text => 5, undef => undef, shared => \
        [$shared, $shared], latin => \"\\xe9\", control => \"\\x01 \\x7f\", cr => \"a\\rb\", \
        hashes => [{a => 1}, {}, {b => {c => ['x']}}]})";
    let perl_wrote = perl(code, "");
    #[derive(Deserialize, Debug, PartialEq)]
    struct Made {
        number: u32,
        text: String,
        undef: Option<String>,
        shared: Vec<Vec<u8>>,
        latin: char,
        control: String,
        cr: String,
        hashes: serde_json::Value,
    }
    cache.client().unwrap().store("a", perl_wrote).unwrap();
    let made: Option<Made> = cache.get_structure("a").unwrap();
    let expected = Made {
        number: 5,
        text: "5".to_owned(),
        undef: None,
        shared: vec![vec![1, 2], vec![1, 2]],
        latin: 'é',
        control: "\u{1} \u{7f}".to_owned(),
        cr: "a\rb".to_owned(),
        hashes: serde_json::json!([{"a": "1"}, {}, {"b": {"c": ["x"]}}]),
    };
    assert_eq!(made, Some(expected));
}

/// Texts full of what means something in YAML, in structures made at random, there and back: Perl says as
/// JSON what each of them is.
#[test]
fn structures_made_at_random_mean_the_same_to_perl_and_rust() {
    let server = Server::start();
    let mut cache = cache(&server, "rw");
    let code = r##"
        use JSON::PP; my $json = JSON::PP->new->canonical->latin1->allow_nonref; srand 5;
        my @parts = (qw(a b : - # ' " \\ [ ] { } & * ! | > % @ ` ? = ~ 0 . \\xC3 --- ... << null), ' ', ',',
            "\n", "\r", "\t", "\x01", "\e", "\x7f", "\xc3\xa9", "\xe2\x82\xac", "\xc2\x85", ': ', ' #',
            "\xef\xbb\xbf", "\xf3\xb0\x81\x81", "\xf4\x80\x83\x83", '\\u00e9', '\\q', 'k' x 1100, '"' x 400);
        sub text { join '', map { $parts[rand @parts] } 1..int rand 6 }
        sub tree { my $r = rand; my $deeper = $_[0] + 1;
            $r < 0.05 ? undef : $r < 0.1 ? \text() : $r < 0.6 || $deeper > 4 ? text() :
            $r < 0.8 ? [map { tree($deeper) } 1..int rand 4] : {map { (text(), tree($deeper)) } 1..int rand 4} }
        sub texts { my ($t) = @_; ref $t eq 'ARRAY' ? [map { texts($_) } @$t] :
            ref $t eq 'SCALAR' ? $$t : ref $t eq 'HASH' ? {map { $_ => texts($t->{$_}) } keys %$t} : defined $t ? "$t" : undef }
    "##;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = text(&folder.path().join("values"));
    let made = format!(
        "{code} for (1..1000) {{ my $t = [tree(0)]; print encoded($t), \"\\t\", $json->encode(texts($t)), \"\\n\" }}"
    );
    let made = perl(&made, "");
    let mut meant = Vec::new();
    let mut written = String::new();
    for line in made.lines() {
        let (value, json) = line.split_once('\t').expect("two columns");
        let expected: serde_json::Value = serde_json::from_str(json).expect("JSON");
        cache.client().unwrap().store("a", value).unwrap();
        let read: Option<serde_json::Value> = cache.get_structure("a").unwrap();
        assert_eq!(read.as_ref(), Some(&expected), "{value}");
        cache.set_structure("b", &expected).unwrap();
        let stored = cache.client().unwrap().retrieve("b").unwrap();
        written += &format!("{}\n", stored.expect("it was just stored"));
        meant.push(expected);
    }
    std::fs::write(&path, written).expect("a folder of our own");
    let read = "open my $file, '<', $value; while (<$file>) { $value = $_; \
        print $json->encode(texts(decoded())), \"\\n\" }";
    let read = perl(&format!("{code} {read}"), &path);
    for (line, meant) in read.lines().zip(&meant) {
        let read: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(&read, meant);
    }
    assert_eq!(read.lines().count(), meant.len());
}

#[test]
fn values_expire_as_they_are_told() {
    let server = Server::start();
    let mut cache = cache(&server, "rw");
    let time = Duration::from_secs(1000);
    cache.set_for("a=b", "two\nlines", time).unwrap();
    assert!(matches!(cache.ttl("a=b").unwrap(), Some(Ttl::Seconds(_))));
    assert_eq!(cache.get("a=b").unwrap(), Some("two\nlines".into()));
    cache.expire("a=b", None).unwrap();
    assert_eq!(cache.ttl("a=b").unwrap(), Some(Ttl::Never));
    cache.expire("a=b", Some(Duration::ZERO)).unwrap();
    assert_eq!(cache.ttl("a=b").unwrap(), None);
}
