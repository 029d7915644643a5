//! Any bytes to frames of NATS clients, before the login and after it, and any frame to what it says.
//!
//! However a stream is cut, its frames are the same; a tail that is ignored takes no memory; a request that is written
//! again says the same; and no name and no answer contains a line end.
//!
//! The first byte chooses where the rest is cut.

use super::decoder::pieces;
use clacks::protocol::framing::{Next, Unfinished};
use clacks::protocol::nats::connect::Options;
use clacks::protocol::nats::framing::{MAX_ARGUMENTS, kept_of_tail};
use clacks::protocol::nats::names::{name_of, subject_of};
use clacks::protocol::nats::request::{Publish, Subscribe, Unsubscribe};
use clacks::protocol::nats::{Frame, Request, answer, subject};
use clacks::protocol::{Language, Pending};

/// More than the longest verb and the line's end take.
const BESIDE_ARGUMENTS: usize = 10;

pub fn run(data: &[u8]) {
    let Some((&cuts, stream)) = data.split_first() else {
        return;
    };
    for language in [Language::Nats, Language::NatsLogin] {
        let frames = all_at_once(stream, language);
        assert_eq!(in_pieces(stream, cuts, language), frames, "cut by {cuts}");
        check_put_back(stream, cuts, language, &frames);
        check_tails(stream, cuts, language, &frames);
    }
    for frame in &all_at_once(stream, Language::Nats) {
        check_request(frame);
        let is_login = frame[0].eq_ignore_ascii_case(&b'C');
        let before_login = Frame::before_login(frame).request;
        assert_eq!(before_login == Frame::of(frame).request, is_login);
    }
}

/// Reports whether of a frame only the verb is kept.
fn ignores_rest(frame: &[u8]) -> bool {
    kept_of_tail(frame) == Some(frame.len())
}

fn all_at_once(stream: &[u8], language: Language) -> Vec<Vec<u8>> {
    let (mut rest, mut frames) = (stream, Vec::new());
    loop {
        match language.next(rest, Unfinished::default()) {
            Next::Frame(frame, used) => {
                assert!(!frame.is_empty() && rest.starts_with(frame));
                let is_whole = frame.len() == used;
                let is_verb = ignores_rest(frame) && rest[used - 1] == b'\n';
                assert!(is_whole || is_verb, "nothing else is left out");
                frames.push(frame.to_vec());
                rest = &rest[used..];
            }
            Next::Scattered(_) => panic!("every byte belongs to a frame"),
            Next::Unfinished(known) => {
                let has_line = rest.contains(&b'\n');
                assert_eq!(known.length.is_some(), has_line, "no frame is left over");
                assert!(known.length.is_none_or(|length| length > rest.len()));
                return frames;
            }
        }
    }
}

fn in_pieces(stream: &[u8], cuts: u8, language: Language) -> Vec<Vec<u8>> {
    let (mut pending, mut frames, mut came) = (Pending::new(language), Vec::new(), 0);
    for piece in pieces(stream, cuts) {
        pending.push(piece);
        came += piece.len();
        while let Some(frame) = pending.next_frame() {
            frames.push(frame.to_vec());
        }
        assert!(pending.waiting() <= came);
        assert!(pending.capacity() <= 2 * came.max(8));
    }
    frames
}

/// Every other frame is put back once, but for those of which the rest is dropped: none of them has to wait.
fn check_put_back(stream: &[u8], cuts: u8, language: Language, frames: &[Vec<u8>]) {
    let (mut pending, mut found) = (Pending::new(language), Vec::new());
    for piece in pieces(stream, cuts) {
        pending.push(piece);
        while let Some(frame) = pending.next_frame().map(<[u8]>::to_vec) {
            if found.len() % 2 == 0 && !ignores_rest(&frame) {
                pending.put_back(frame.len());
                assert_eq!(pending.next_frame(), Some(&frame[..]));
            }
            found.push(frame);
        }
    }
    assert_eq!(found, frames);
}

/// The rest of a line that is ignored is dropped while it comes.
fn check_tails(stream: &[u8], cuts: u8, language: Language, frames: &[Vec<u8>]) {
    let (mut pending, mut found) = (Pending::new(language), Vec::new());
    for mut piece in pieces(stream, cuts) {
        while !piece.is_empty() {
            let taken = pending.push_to_frame(piece);
            assert!(taken > 0, "the stream goes on");
            piece = &piece[taken..];
            while !pending.is_skipping()
                && let Some(frame) = pending.next_frame()
            {
                found.push(frame.to_vec());
            }
            let kept = kept_of_tail(pending.bytes());
            if let Some(kept) = kept.filter(|_| !pending.is_skipping()) {
                pending.skip_tail(kept);
            }
            let is_line = pending.known().length.is_none();
            assert!(!is_line || pending.waiting() <= MAX_ARGUMENTS * 2 + BESIDE_ARGUMENTS);
        }
    }
    assert_eq!(found, frames);
}

fn check_request(frame: &[u8]) {
    let again = match Frame::of(frame).request {
        Request::Publish(publish) => {
            assert!(frame.ends_with(b"\r\n"));
            check_names(publish.subject);
            publish_again(&publish)
        }
        Request::Subscribe(subscribe) => {
            check_answers(subscribe.pattern, subscribe.group);
            subscribe_again(&subscribe)
        }
        Request::Unsubscribe(unsubscribe) => unsubscribe_again(&unsubscribe),
        Request::Connect(text) => return check_options(text),
        Request::PeerError(_) | Request::Ignored | Request::Cut(_) | Request::Wrong(_) => return,
        Request::Ping => b"PING\r\n".to_vec(),
        Request::Pong => b"PONG\r\n".to_vec(),
    };
    assert_eq!(
        Frame::of(&again).request,
        Frame::of(frame).request,
        "{} says the same",
        again.escape_ascii()
    );
    let frames = all_at_once(&again, Language::Nats);
    assert_eq!(frames.len(), 1);
}

/// Words with a blank behind each, and CR LF.
fn line(words: &[Option<&[u8]>]) -> Vec<u8> {
    let mut line = Vec::new();
    for word in words.iter().flatten() {
        let is_right = |byte: &u8| !b" \t\r\n".contains(byte);
        assert!(!word.is_empty() && word.iter().all(is_right));
        line.extend_from_slice(word);
        line.push(b' ');
    }
    line.pop();
    line.extend_from_slice(b"\r\n");
    line
}

fn publish_again(publish: &Publish<'_>) -> Vec<u8> {
    let header = publish.header.unwrap_or_default();
    let header_size = header.len().to_string();
    let size = (header.len() + publish.payload.len()).to_string();
    let (verb, header_size) = match publish.has_header_size {
        true => ("HPUB", Some(header_size.as_bytes())),
        false => ("PUB", None),
    };
    let line = line(&[
        Some(verb.as_bytes()),
        Some(publish.subject),
        publish.reply,
        header_size,
        Some(size.as_bytes()),
    ]);
    [&line, header, publish.payload, b"\r\n"].concat()
}

fn subscribe_again(subscribe: &Subscribe<'_>) -> Vec<u8> {
    line(&[
        Some(b"SUB"),
        Some(subscribe.pattern),
        subscribe.group,
        Some(subscribe.sid),
    ])
}

fn unsubscribe_again(unsubscribe: &Unsubscribe<'_>) -> Vec<u8> {
    let max = unsubscribe.max.map(|max| max.to_string());
    assert_ne!(unsubscribe.max, Some(0));
    let max = max.as_ref().map(String::as_bytes);
    line(&[Some(b"UNSUB"), Some(unsubscribe.sid), max])
}

/// Each valid subject has a name that a line can contain, and no name has two subjects.
fn check_names(published: &[u8]) {
    if !subject::is_valid(published) {
        return;
    }
    let named = name_of(published);
    assert!(!named.name.is_empty());
    assert!(!named.name.iter().any(|byte| b"\r\n=".contains(byte)));
    let of_name = subject_of(&named.name);
    assert_eq!(named.is_exact, of_name == published);
    let again = name_of(&of_name);
    assert_eq!((again.name, again.is_exact), (named.name, true));
}

/// A refusal is one line, whatever is quoted in it.
fn check_answers(pattern: &[u8], group: Option<&[u8]>) {
    let mut answer = Vec::new();
    answer::may_not_subscribe(&mut answer, pattern, group);
    answer::may_not_publish(&mut answer, pattern);
    let lines = answer.split_inclusive(|byte| *byte == b'\n');
    let is_line = |line: &[u8]| line.starts_with(b"-ERR '") && line.ends_with(b"'\r\n");
    assert_eq!(lines.clone().count(), 2);
    assert!(lines.into_iter().all(is_line), "{}", answer.escape_ascii());
}

/// Options that are right change nothing when they are given again.
fn check_options(text: &[u8]) {
    let Ok(options) = Options::default().with(text) else {
        return;
    };
    let again = options.with(text).expect("it was right");
    assert!(again == options);
}
