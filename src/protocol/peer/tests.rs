//! Lines there and back, and lines that are wrong.

use super::*;
use crate::limits::LONG_LINE;
use crate::protocol::attributes::Marks;
use crate::protocol::number::Number;
use crate::protocol::shared::{Lines, Piece, SharedBytes};

/// The line that is appended, without its end; it contains no other line end.
pub(super) fn line_of(append: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut line = Vec::new();
    append(&mut line);
    assert!(line.ends_with(b"\r\n"));
    line.truncate(line.len() - 2);
    assert!(!line.contains(&b'\r') && !line.contains(&b'\n'));
    line
}

fn assert_state_comes_back(name: &[u8], state: &State<'_>, signal: Option<SignalId>) {
    let line = line_of(|to| encode_state(to, name, state, signal));
    let Some(PeerLine::State {
        name: decoded_name,
        head,
        value,
        signal: decoded_signal,
    }) = decode(&line)
    else {
        panic!("{}", line.escape_ascii());
    };
    assert_eq!(decoded_name, name);
    assert_eq!(&head.into_state(&value.unescape()), state);
    assert_eq!(decoded_signal, signal);
}

pub(super) fn stored(value: &[u8]) -> State<'_> {
    State {
        stamp: Stamp {
            time_us: 7,
            node: NodeId(9),
        },
        accessed_us: 8,
        register: Register::Value(value),
        attributes: Attributes::default(),
        contributions: Vec::new(),
    }
}

/// Every text of so many bytes of a few: all that are escaped, the letters of all escapes, and others.
fn texts(length: usize) -> impl Iterator<Item = Vec<u8>> {
    let bytes = b"\\\n\r=nre\0\xff";
    (0..bytes.len().pow(length as u32)).map(move |number| {
        let byte = |place| bytes[number / bytes.len().pow(place) % bytes.len()];
        (0..length as u32).map(byte).collect()
    })
}

#[test]
fn names_and_values_of_any_bytes_go_there_and_back() {
    let every_byte = (0..=255_u8).map(|byte| vec![byte]);
    let texts = (1..=4).flat_map(texts).chain(every_byte);
    for text in texts {
        assert_state_comes_back(&text, &stored(&text), None);
        let stamp = stored(b"").stamp;
        let line = line_of(|to| encode_unknown_count(to, &text, stamp));
        assert!(matches!(decode(&line), Some(PeerLine::Count { name, .. }) if name == text));
        let line = line_of(|to| encode_touch(to, &text, stamp, &every_attribute()));
        assert!(matches!(decode(&line), Some(PeerLine::Touch { name, .. }) if name == text));
    }
    assert_state_comes_back(b"n", &stored(b""), None);
}

/// Behind an escape, so many bytes are looked at one by one before the next escape is searched for.
#[test]
fn escapes_at_any_distance_from_each_other_are_right_or_refused() {
    for distance in 0..140 {
        let beginning = [b"\\".as_slice(), &vec![b'x'; distance]].concat();
        for middle in texts(2) {
            let text = [&beginning, &middle[..], b"xxx"].concat();
            assert_state_comes_back(&text, &stored(&text), None);
        }
        let right = [b"\\".as_slice(), &beginning].concat();
        assert!(EscapedValue::new(&right).is_some());
        for end in [r"\", r"\q", r"\qxxx", r"\e"] {
            let wrong = [&right, end.as_bytes()].concat();
            assert_eq!(EscapedValue::new(&wrong), None, "{distance} {end}");
        }
    }
}

#[test]
fn names_and_values_are_escaped_as_the_manual_says() {
    let line = line_of(|to| encode_state(to, b"session=42\r", &stored(b"a\nb\\c\r=d"), None));
    assert_eq!(
        String::from_utf8_lossy(&line),
        r"STATE 7:9 8 V - - - session\e42\r=a\nb\\c\r=d"
    );
}

#[test]
fn what_has_no_escape_is_not_copied() {
    let line = b"STATE 7:9 8 V - - - name=value";
    let Some(PeerLine::State { name, value, .. }) = decode(line) else {
        panic!("it is right");
    };
    assert!(matches!(name, Cow::Borrowed(_)) && matches!(value.unescape(), Cow::Borrowed(_)));
}

/// How many bytes are shared of the line that is appended with a long text.
fn shared_length(name: &[u8], value: &[u8]) -> usize {
    let text = SharedBytes::copy_of(&[name, b"=", value]);
    let mut lines = Lines::default();
    let state = stored(&text[name.len() + 1..]);
    append_state(&mut lines, &text[..name.len()], &state, None, Some(&text));
    let (mut line, mut shared) = (Vec::new(), 0);
    for piece in lines.pieces() {
        match piece {
            Piece::Copied(bytes) => line.extend_from_slice(bytes),
            Piece::Shared(text) => {
                shared += text.len();
                line.extend_from_slice(text);
            }
        }
    }
    let copied = line_of(|to| encode_state(to, name, &state, None));
    assert!(line.strip_suffix(b"\r\n") == Some(&copied));
    shared
}

#[test]
fn long_values_are_shared_unless_they_have_to_be_escaped() {
    let mut value = vec![b'v'; LONG_LINE];
    assert_eq!(shared_length(b"name", &value), LONG_LINE + 5);
    assert_eq!(shared_length(b"na=me", &value), LONG_LINE + 1);
    value[LONG_LINE - 1] = b'\n';
    assert_eq!(shared_length(b"name", &value), 0);
}

pub(super) fn every_attribute() -> Attributes {
    Attributes {
        client_flags: u32::MAX,
        expires_us: Some(0),
        touched_us: Some(u64::MAX),
        version: Some(5),
        marks: Marks {
            base64: true,
            stale: true,
            won: true,
        },
    }
}

#[test]
fn every_set_of_attributes_goes_there_and_back() {
    let all = every_attribute();
    for set in 0..1 << 7 {
        let has = |place: u32| set & 1 << place != 0;
        let attributes = Attributes {
            client_flags: if has(0) { all.client_flags } else { 0 },
            expires_us: all.expires_us.filter(|_| has(1)),
            touched_us: all.touched_us.filter(|_| has(2)),
            version: all.version.filter(|_| has(3)),
            marks: Marks {
                base64: has(4),
                stale: has(5),
                won: has(6),
            },
        };
        for register in [Register::Removed, Register::Value(b"v")] {
            let state = State {
                register,
                attributes,
                ..stored(b"")
            };
            assert_state_comes_back(b"n", &state, None);
        }
    }
    let state = State {
        attributes: all,
        ..stored(b"v")
    };
    let line = line_of(|to| encode_state(to, b"n", &state, None));
    let word = format!("f{},x0,t{},c5,b,s,w", u32::MAX, u64::MAX);
    assert_eq!(
        String::from_utf8_lossy(&line),
        format!("STATE 7:9 8 V - - {word} n=v")
    );
}

#[test]
fn attributes_have_one_form() {
    let is_right =
        |word: &str| decode(format!("STATE 1:2 3 V - - {word} n=v").as_bytes()).is_some();
    let right = "- f1 x0 f1,x2,t3,c4,b,s,w t3,w c18446744073709551615";
    for word in right.split(' ') {
        assert!(is_right(word), "{word}");
    }
    let wrong = ", -,f1 f f0 f01 f+1 f4294967296 f1, ,f1 f1,f1 x x-1 x1.5 x00 x18446744073709551616 \
                 x1,f1 t1,x1 w,s b,b b1 y1 F1 x\u{0661}";
    for word in wrong.split(' ').chain([""]) {
        assert!(!is_right(word), "{word}");
    }
}

#[test]
fn a_touch_is_sent_without_the_other_attributes() {
    let all = every_attribute();
    let won = Attributes {
        marks: Marks {
            won: true,
            ..Marks::default()
        },
        ..Attributes::default()
    };
    let touch = Attributes {
        expires_us: all.expires_us,
        touched_us: all.touched_us,
        ..Attributes::default()
    };
    let forever = Attributes {
        expires_us: None,
        ..touch
    };
    let both = Attributes {
        marks: won.marks,
        ..touch
    };
    let untouched = Attributes {
        touched_us: None,
        ..all
    };
    let stamp = stored(b"").stamp;
    for (given, attributes) in [
        (touch, touch),
        (forever, forever),
        (won, won),
        (all, both),
        (untouched, won),
    ] {
        let line = line_of(|to| encode_touch(to, b"n", stamp, &given));
        let expected = PeerLine::Touch {
            name: b"n".as_slice().into(),
            stamp,
            attributes,
        };
        assert_eq!(decode(&line), Some(expected), "{}", line.escape_ascii());
    }
}
#[test]
fn a_state_goes_there_and_back() {
    let contributions = vec![
        Contribution {
            share: ShareId(1),
            version: 7,
            sum: Number::from_value(b"-3"),
        },
        Contribution {
            share: ShareId(0xabc),
            version: 1,
            sum: Number::from_value(b"0.1"),
        },
    ];
    let stamp = Stamp {
        time_us: 1_700_000_000_123_456,
        node: NodeId(u64::MAX),
    };
    for (register, contributions) in [
        (Register::Value(b"v a=l"), Vec::new()),
        (Register::Value(b"5"), contributions.clone()),
        (Register::Removed, Vec::new()),
        (Register::Absent, contributions),
    ] {
        for signal in [
            None,
            Some(SignalId {
                origin: NodeId(9),
                number: 12,
            }),
        ] {
            let state = State {
                stamp,
                accessed_us: 5,
                register,
                attributes: Attributes::default(),
                contributions: contributions.clone(),
            };
            assert_state_comes_back(b"na me", &state, signal);
        }
    }
}

#[test]
fn a_share_and_the_question_for_a_state_go_there_and_back() {
    let stamp = Stamp {
        time_us: 1_700_000_000_123_456,
        node: NodeId(9),
    };
    let contribution = Contribution {
        share: ShareId::new(1_700_000_000_000_000, 7),
        version: 1_700_000_000_123_457,
        sum: Number::from_value(b"-0.5"),
    };
    let decoded = |line: &[u8], contribution, accessed_us| {
        assert_eq!(
            decode(line.strip_suffix(b"\r\n").unwrap()),
            Some(PeerLine::Count {
                name: b"na me".as_slice().into(),
                stamp,
                accessed_us,
                contribution
            })
        );
    };
    let mut line = Vec::new();
    encode_count(&mut line, b"na me", stamp, 5, &contribution);
    decoded(&line, Some(contribution), 5);
    line.clear();
    encode_unknown_count(&mut line, b"na me", stamp);
    decoded(&line, None, 0);
    line.clear();
    encode_fold(&mut line, stamp);
    let fold = decode(line.strip_suffix(b"\r\n").unwrap());
    assert_eq!(fold, Some(PeerLine::Fold(stamp)));
}

#[test]
fn a_share_id_says_when_it_began_and_is_never_that_of_the_folded_share() {
    assert_eq!(ShareId::new(12_999_999, 3), ShareId(12 << 32 | 3));
    assert_eq!(ShareId::new(12_999_999, 3).begun_us(), 12_000_000);
    assert_ne!(ShareId::new(0, 0), ShareId::FOLDED);
    assert_eq!(ShareId::new(u64::MAX, 0).0 >> 32, u64::from(u32::MAX));
}

#[test]
fn what_is_out_of_form_is_none() {
    for line in [
        "COUNT 1:2 3 4:5:6",
        "COUNT 1:2 3 4:5:6 ",
        "COUNT 1:2 3 4:5:6 a=b",
        "COUNT 1:2 3 4:5 name",
        "COUNT 1:2 x - name",
        "COUNT 1:2 3 - name",
        r"COUNT 1:2 3 4:5:6 a\x",
        r"COUNT 1:2 3 4:5:6 a\",
        "TOUCH 1:2 w",
        "TOUCH 1:2 w ",
        "TOUCH 1:2 w a=b",
        r"TOUCH 1:2 w a\x",
        "TOUCH 1:2 - name",
        "TOUCH 1:2 x5 name",
        "TOUCH 1:2 f1,x5,t5 name",
        "TOUCH 1:2 b,w name",
        "TOUCH 1 w name",
        "FOLD",
        "FOLD 5",
        "STATE",
        "STATE 1:2 3 V - - n=x",
        "STATE 1:2 3 V - - - =x",
        "STATE 1:2 3 A - - - n=",
        "STATE 1 3 V - - - n=x",
        "STATE 1:2 3 V 2:1:0,1:1:0 - - n=",
        "STATE 1:2 3 Q - - - n=x",
        r"STATE 1:2 3 V - - - n=\",
        r"STATE 1:2 3 V - - - n=a\e",
        r"STATE 1:2 3 V - - - n=\\\x",
        r"STATE 1:2 3 V - - - n\=x",
        r"STATE 1:2 3 V - - - n\x=x",
        "SIGNAL 1 SET a=1",
        "SIGNAL 1:x SET a=1",
        "SIGNAL 1:2",
        "SIGNAL 1:2 s=a",
        "SIGNAL 1:2 x=a q=b",
        "SIGNAL 1:2 s= SET a=1",
        "SIGNAL 1:2 r= SET a=1",
        "SIGNAL 1:2 h= SET a=1",
        "SIGNAL 1:2 q= SET a=1",
        "SIGNAL 1:2 s=a s=a SET a=1",
        "SIGNAL 1:2 r=a q=b r=c SET a=1",
        "SIGNAL 1:2 h=QQ== h=QQ== SET a=1",
        "SIGNAL 1:2 h=QQ SET a=1",
        "SIGNAL 1:2 h=QR== SET a=1",
        "SIGNAL 1:2 h=QQ==QQ== SET a=1",
        "SIGNAL 1:2 h=Q-_Q SET a=1",
        "JOIN",
        "JOIN ",
        "JOIN  ",
        "JOIN a ",
        "JOIN  a",
        "JOIN a b ",
        "JOIN a b c",
        "JOIN a\tb c",
        "JOIN a b\t",
        "LEAVE",
        "LEAVE a b c",
        "CLEAR",
        "CLEAR 5",
        "PATH",
        "PATH x!",
        "PING",
    ] {
        assert_eq!(decode(line.as_bytes()), None, "{line}");
        assert_eq!(has_verb(line.as_bytes()), line != "PING", "{line}");
    }
}

#[test]
fn members_of_groups_go_there_and_back() {
    for (pattern, group) in [
        ("jobs.*", "workers"),
        (">", ">"),
        ("a..b", "a=b"),
        ("\0", "\u{e9}"),
    ] {
        let membership = Membership {
            pattern: pattern.as_bytes(),
            group: group.as_bytes(),
        };
        let join = line_of(|to| encode_join(to, membership));
        assert_eq!(join, format!("JOIN {pattern} {group}").as_bytes());
        assert_eq!(decode(&join), Some(PeerLine::Join(membership)));
        let leave = line_of(|to| encode_leave(to, membership));
        assert_eq!(leave, format!("LEAVE {pattern} {group}").as_bytes());
        assert_eq!(decode(&leave), Some(PeerLine::Leave(membership)));
    }
}

#[test]
fn a_pattern_without_a_group_is_kept_free() {
    for line in ["JOIN jobs.*", "LEAVE jobs.*", "JOIN >"] {
        assert_eq!(decode(line.as_bytes()), Some(PeerLine::Reserved), "{line}");
        assert!(has_verb(line.as_bytes()));
    }
}

#[test]
fn a_clacks_line_announces_the_greatest_version_that_it_names() {
    for (software, version) in [
        ("clacksd/0.1.0 interclacks/1", Some(1)),
        ("clacksd/0.1.0 interclacks/2", Some(2)),
        ("clacksd/9.9 interclacks/3 interclacks/2 x", Some(3)),
        ("interclacks/1 interclacks/x", Some(1)),
        ("interclacks/99999999999999999999", Some(u32::MAX)),
        ("clacksd/0.1.0", None),
        ("Net::Clacks 36", None),
        ("interclacks/", None),
        ("interclacks/0", None),
        ("interclacks/02", None),
        ("interclacks/+2", None),
        ("interclacks/-2", None),
        ("interclacks/2.1", None),
        ("interclacks/2x", None),
        ("Interclacks/2", None),
        ("x/interclacks/2", None),
        ("", None),
    ] {
        assert_eq!(
            announced_version(software.as_bytes()),
            version,
            "{software}"
        );
    }
    let bytes_around = b"\xff interclacks/2 \xff";
    assert_eq!(announced_version(bytes_around), Some(2));
}
