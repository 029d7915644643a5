//! Options of SIGNAL lines there and back, and words that are none.

use super::super::tests::line_of;
use super::*;
use crate::limits::LONG_LINE;
use crate::protocol::peer::{NodeId, decode as decode_line};
use crate::protocol::shared::Piece;

const ID: SignalId = SignalId {
    origin: NodeId(0x9f3),
    number: 12,
};

/// The line that has these options, and the line in it.
fn encoded(common: &[u8], groups: &[&[u8]], line: &[u8]) -> Vec<u8> {
    line_of(|to| {
        let left_out = encode_signal(to, ID, common, groups.iter().copied(), &[line]);
        assert_eq!(left_out, 0);
    })
}

fn options_of(line: &[u8]) -> (Options<'_>, &[u8]) {
    match decode_line(line) {
        Some(PeerLine::Signal {
            id: ID,
            options,
            line,
        }) => (options, line),
        other => panic!("{}: {other:?}", line.escape_ascii()),
    }
}

#[test]
fn options_are_written_as_the_manual_says() {
    let mut common = Vec::new();
    let header = b"NATS/1.0\r\nA: 1\r\n\r\n";
    encode_options(&mut common, Some(b"a=b"), Some(b"_INBOX.x.1"), Some(header));
    let line = encoded(&common, &[b"workers", b"audit"], b"SET a%3Db=42");
    assert_eq!(
        String::from_utf8_lossy(&line),
        "SIGNAL 9f3:12 s=a=b r=_INBOX.x.1 h=TkFUUy8xLjANCkE6IDENCg0K q=workers q=audit SET a%3Db=42"
    );
    assert_eq!(encoded(b"", &[], b"NOTIFY a"), b"SIGNAL 9f3:12 NOTIFY a");
}

/// Checks that the options and the line in a SIGNAL line are those that it was made of.
fn assert_come_back([subject, reply, header]: [Option<&[u8]>; 3], groups: &[&[u8]], line: &[u8]) {
    let mut common = Vec::new();
    encode_options(&mut common, subject, reply, header);
    let text = encoded(&common, groups, line);
    let (options, found) = options_of(&text);
    assert_eq!(found, line);
    assert_eq!((options.subject(), options.reply()), (subject, reply));
    assert_eq!(options.header().as_deref(), header);
    assert!(options.groups().eq(groups.iter().copied()));
    assert_eq!(options.common(), &common[..]);
    assert!(matches!(options.common(), Cow::Borrowed(_)));
}

/// Every set of options, with texts that look like options or like parts of the line.
#[test]
fn options_go_there_and_back() {
    let texts = [None, Some("a"), Some("q=x"), Some("=\u{e9}\0"), Some("SET")];
    let texts = texts.map(|text| text.map(str::as_bytes));
    let headers = [None, Some(&b"\r"[..]), Some(b"\r\n"), Some(b"\xff \tq")];
    let groups: [&[&[u8]]; 4] = [&[], &[b"w"], &[b"b", b"a", b"b"], &[b"s=a", b"\0"]];
    for subject in texts {
        for reply in texts {
            for header in headers {
                for groups in groups {
                    for line in ["SET a=b", "NOTIFY s=a q=b", "NOTIFY ", "", "SET q= w =x"] {
                        assert_come_back([subject, reply, header], groups, line.as_bytes());
                    }
                }
            }
        }
    }
}

/// Words of all kinds in every order: each is where it belongs, and those with unknown letters are handed on.
#[test]
fn options_may_come_in_any_order() {
    let words = ["s=a", "r=b", "h=QQ==", "q=d", "q=c", "x=", "z=q=1"];
    let mut order: Vec<usize> = (0..words.len()).collect();
    let mut orders = Vec::new();
    permute(&mut order, 0, &mut orders);
    assert_eq!(orders.len(), 5040);
    for order in orders {
        let words: Vec<&str> = order.iter().map(|place| words[*place]).collect();
        let text = format!("{} SET a=b", words.join(" "));
        let (options, line) = Options::split_off(text.as_bytes()).expect("it is right");
        assert_eq!(line, b"SET a=b");
        assert_eq!(options.subject(), Some(&b"a"[..]));
        assert_eq!(options.reply(), Some(&b"b"[..]));
        assert_eq!(options.header().as_deref(), Some(&b"A"[..]));
        let (groups, others): (Vec<&str>, Vec<&str>) =
            words.iter().partition(|word| word.starts_with('q'));
        let found: Vec<u8> = options
            .groups()
            .flat_map(|group| [b" q=", group].concat())
            .collect();
        assert_eq!(
            String::from_utf8_lossy(&found),
            format!(" {}", groups.join(" "))
        );
        let common = format!("{} ", others.join(" "));
        assert_eq!(String::from_utf8_lossy(&options.common()), common);
        // The next server finds everything again.
        let handed_on = encoded(&options.common(), &[b"e"], line);
        let (next, _) = options_of(&handed_on);
        assert_eq!(next.common(), options.common());
        assert!(next.groups().eq([&b"e"[..]]));
    }
}

fn permute(order: &mut Vec<usize>, fixed: usize, orders: &mut Vec<Vec<usize>>) {
    if fixed == order.len() {
        orders.push(order.clone());
    }
    for place in fixed..order.len() {
        order.swap(fixed, place);
        permute(order, fixed + 1, orders);
        order.swap(fixed, place);
    }
}

#[test]
fn the_first_word_of_another_form_begins_the_line() {
    for (text, options, line) in [
        ("SET a=b", "", "SET a=b"),
        ("NOTIFY a=b s=c", "", "NOTIFY a=b s=c"),
        ("s=a SET a=b", "s=a ", "SET a=b"),
        ("x=a S=a SET", "x=a ", "S=a SET"),
        ("ss=a SET", "", "ss=a SET"),
        ("s a=b c", "", "s a=b c"),
        ("=a b=c d", "", "=a b=c d"),
        ("1=a SET", "", "1=a SET"),
        ("x=a y=b\tc z=d", "x=a ", "y=b\tc z=d"),
        ("x=a", "none", ""),
        ("x=", "none", ""),
        ("x=a ", "x=a ", ""),
        ("x= y= ", "x= y= ", ""),
        ("x=a  y=b", "x=a ", " y=b"),
        ("", "", ""),
    ] {
        let expected = (options != "none").then_some((options.as_bytes(), line.as_bytes()));
        let found = Options::split_off(text.as_bytes()).map(|(options, line)| (options.text, line));
        assert_eq!(found, expected, "{text:?}");
    }
}

/// All texts of up to six bytes of a few, and a long text with a wrong byte at each place.
#[test]
fn the_form_of_a_header_is_that_of_the_decoder() {
    let bytes = b"AQg/+=-\xff";
    for length in 0..=6_u32 {
        for number in 0..bytes.len().pow(length) {
            let byte = |place| bytes[number / bytes.len().pow(place) % bytes.len()];
            let text: Vec<u8> = (0..length).map(byte).collect();
            let is_right = STANDARD.decode(&text).is_ok();
            assert_eq!(is_base64(&text), is_right, "{}", text.escape_ascii());
        }
    }
    let long = STANDARD.encode([b'x'; 99]).into_bytes();
    assert!(is_base64(&long));
    for place in 0..long.len() {
        for wrong in *b"=-_ \n\x80" {
            let mut text = long.clone();
            text[place] = wrong;
            let is_right = STANDARD.decode(&text).is_ok();
            assert_eq!(is_base64(&text), is_right, "{}", text.escape_ascii());
        }
    }
}

#[test]
fn groups_fill_no_more_than_their_part_of_a_line() {
    // Each of these takes 1 KiB, with the letter, `=` and the blank; together they leave 1 KiB.
    let long = vec![b'g'; KIB];
    let before = MAX_GROUPS_LENGTH / KIB - 1;
    for (last, left_out) in [
        (&[][..], 0),
        (&[KIB - 3], 0),
        (&[KIB - 2], 1),
        (&[KIB - 7, 1], 0),
        (&[KIB - 6, 1], 1),
        // None that comes after one that was left out is there, however short it is.
        (&[KIB - 2, 1, 1], 3),
    ] {
        let mut groups = vec![&long[..KIB - 3]; before];
        groups.extend(last.iter().map(|length| &long[..*length]));
        let mut line = Vec::new();
        let each = groups.iter().copied();
        let found = encode_signal(&mut line, ID, b"s=a ", each, &[b"SET a="]);
        assert_eq!(found, left_out, "{last:?}");
        let (options, _) = options_of(&line[..line.len() - 2]);
        let there = groups.len() - left_out;
        assert!(options.groups().eq(groups[..there].iter().copied()));
        assert_eq!(options.common(), &b"s=a "[..]);
    }
}

#[test]
fn a_long_line_is_shared_and_the_options_are_copied() {
    let text = SharedBytes::copy_of(&[b"SET name=", &vec![b'v'; LONG_LINE]]);
    let mut lines = Lines::default();
    append_signal(&mut lines, ID, b"r=a ", [&b"b"[..]], &[&text], Some(&text));
    let pieces: Vec<&[u8]> = lines
        .pieces()
        .map(|piece| match piece {
            Piece::Copied(bytes) => bytes,
            Piece::Shared(shared) => shared,
        })
        .collect();
    assert!(pieces == [b"SIGNAL 9f3:12 r=a q=b ", &text[..], b"\r\n"]);
}
