//! Any bytes to frames of memcached clients, before the login and after it, and any frame to what it says.
//!
//! However a stream is cut, its frames are the same, and together they are the stream; a block that is dropped takes
//! no memory; and a number in a value is the one that C reads there.
//!
//! The first byte chooses where the rest is cut.

use super::decoder::pieces;
use clacks::protocol::framing::{Next, Unfinished};
use clacks::protocol::memcached::counting::number_in;
use clacks::protocol::memcached::framing::value_length;
use clacks::protocol::memcached::login::{self, Login};
use clacks::protocol::memcached::meta::{KeyScratch, Meta, append_key, decode_key};
use clacks::protocol::memcached::{Block, Expiry, Frame, MAX_KEY, Request, decode};
use clacks::protocol::{Language, Pending};
use std::ffi::CString;

/// The longest value that is kept where longer ones are dropped, in bytes.
const MAX_VALUE: usize = 20;
/// CR LF behind a block.
const BLOCK_END: usize = 2;
/// Some moment of unix time, in microseconds.
const NOW_US: u64 = 1_790_000_000_000_000;

pub fn run(data: &[u8]) {
    let Some((&cuts, stream)) = data.split_first() else {
        return;
    };
    for language in [Language::Memcached, Language::MemcachedLogin] {
        let frames = all_at_once(stream, language);
        assert_eq!(in_pieces(stream, cuts, language), frames, "cut by {cuts}");
        check_put_back(stream, cuts, language, &frames);
    }
    let frames = all_at_once(stream, Language::Memcached);
    check_dropped_blocks(stream, cuts, &frames);
    for frame in &frames {
        check_request(frame);
        check_login(frame);
        check_number(line_and_block(frame).1);
    }
}

fn all_at_once(stream: &[u8], language: Language) -> Vec<Vec<u8>> {
    let (mut rest, mut frames) = (stream, Vec::new());
    loop {
        match language.next(rest, Unfinished::default()) {
            Next::Frame(frame, used) => {
                assert_eq!(frame, &rest[..used], "nothing is left out");
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
    let (mut pending, mut frames) = (Pending::new(language), Vec::<Vec<u8>>::new());
    let (mut came, mut taken) = (0, 0);
    for piece in pieces(stream, cuts) {
        pending.push(piece);
        came += piece.len();
        while let Some(frame) = pending.next_frame() {
            taken += frame.len();
            frames.push(frame.to_vec());
        }
        assert_eq!(pending.waiting(), came - taken);
        assert!(pending.capacity() <= 2 * came.max(8));
    }
    frames
}

/// Every other frame is put back once.
fn check_put_back(stream: &[u8], cuts: u8, language: Language, frames: &[Vec<u8>]) {
    let (mut pending, mut found) = (Pending::new(language), Vec::new());
    for piece in pieces(stream, cuts) {
        pending.push(piece);
        while let Some(frame) = pending.next_frame().map(<[u8]>::to_vec) {
            if found.len() % 2 == 0 {
                pending.put_back(frame.len());
                assert_eq!(pending.next_frame(), Some(&frame[..]));
            }
            found.push(frame);
        }
    }
    assert_eq!(found, frames);
}

/// Longer values are dropped while they come: of their frames the line alone is left.
fn check_dropped_blocks(stream: &[u8], cuts: u8, frames: &[Vec<u8>]) {
    let lines = stream.split_inclusive(|byte| *byte == b'\n');
    let longest_line = lines.map(<[u8]>::len).max().unwrap_or(0);
    let (mut pending, mut found) = (Pending::new(Language::Memcached), Vec::new());
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
            let value = value_length(pending.bytes(), pending.frame_length());
            if !pending.is_skipping() && value > Some(MAX_VALUE) {
                pending.skip_block();
            }
            assert!(pending.waiting() <= longest_line + MAX_VALUE + BLOCK_END);
        }
    }
    let kept = |frame: &Vec<u8>| match value_length(frame, frame.len()) {
        Some(MAX_VALUE..) if frame.len() > line_length(frame) + MAX_VALUE + BLOCK_END => {
            frame[..line_length(frame)].to_vec()
        }
        _ => frame.clone(),
    };
    let expected: Vec<Vec<u8>> = frames.iter().map(kept).collect();
    assert_eq!(found, expected);
}

/// The length of a frame's line, its end included.
fn line_length(frame: &[u8]) -> usize {
    let end = frame.iter().position(|byte| *byte == b'\n');
    end.expect("a frame has a line") + 1
}

/// The line of a frame, with its end, and the block behind it, with its end.
fn line_and_block(frame: &[u8]) -> (&[u8], &[u8]) {
    frame.split_at(line_length(frame))
}

fn check_request(frame: &[u8]) {
    let decoded = Frame::of(frame);
    let (line, block) = line_and_block(frame);
    let text = decoded.line();
    let end = &line[text.len()..];
    assert!(line.starts_with(text) && (end == b"\n" || end == b"\r\n"));
    let request = decoded.request;
    // The block changes nothing but itself.
    let without_block = decode(line);
    assert_eq!(
        (request.need(), request.reply(), request.key()),
        (
            without_block.need(),
            without_block.reply(),
            without_block.key()
        )
    );
    match request {
        Request::Store(store) => {
            check_key(store.key);
            check_expiry(store.expiry);
            check_block(store.block, block);
        }
        Request::Get(get) => get.keys.for_each(check_key),
        Request::Delete(key, _) => check_key(key),
        Request::Touch(key, expiry, _) => {
            check_key(key);
            check_expiry(expiry);
        }
        Request::Count(count) => check_key(count.key),
        Request::Meta(meta) => check_meta(&meta),
        Request::MetaStore(meta, found) => {
            check_meta(&meta);
            check_block(found, block);
        }
        Request::FlushAll(expiry, _) => check_expiry(expiry),
        Request::Wrong(..) => {}
        _ => assert_eq!(block, b""),
    }
}

fn check_key(key: &[u8]) {
    let is_free = |byte: &u8| *byte != b' ' && *byte != b'\n';
    assert!((1..=MAX_KEY).contains(&key.len()) && key.iter().all(is_free));
}

fn check_expiry(expiry: Expiry) {
    let moment_us = expiry.moment_us(NOW_US);
    assert!(moment_us.is_none_or(|moment_us| moment_us >= NOW_US));
    assert_eq!(moment_us.is_none(), expiry == Expiry::Never);
}

fn check_block(found: Block<'_>, block: &[u8]) {
    match found {
        Block::Value(value) => assert_eq!([value, b"\r\n"].concat(), block),
        Block::BadEnd(length) => {
            assert!(!block.ends_with(b"\r\n") && length + BLOCK_END == block.len());
        }
        Block::Dropped(_) => panic!("nothing was dropped of {}", block.escape_ascii()),
    }
}

fn check_meta(meta: &Meta<'_>) {
    let Ok(flags) = meta.flags() else {
        return;
    };
    check_key(meta.key);
    let letters = meta.words.map(|word| word[0]);
    assert!(letters.eq(flags.letters().iter().copied()));
    if flags.has(b'b') {
        let (mut scratch, mut again) = (KeyScratch::default(), KeyScratch::default());
        let key = decode_key(meta.key, &mut scratch).expect("it was checked");
        let mut regular = Vec::new();
        append_key(&mut regular, key);
        assert_eq!(regular.len(), meta.key.len());
        assert_eq!(decode_key(&regular, &mut again), Some(key));
    }
}

fn check_login(frame: &[u8]) {
    let Login::Token { user, password } = login::decode(frame) else {
        return;
    };
    assert!(!user.contains(&b' '));
    let token = [user, b" ", password, b"\r\n"].concat();
    assert_eq!(line_and_block(frame).1, token);
}

/// C reads a number at the beginning, and behind it stands a space or nothing. Of negative ones only 0 is let through.
fn check_number(value: &[u8]) {
    let end = value.iter().position(|byte| *byte == 0);
    let value = &value[..end.unwrap_or(value.len())];
    let text = CString::new(value).expect("it ends at the first NUL");
    let mut end = std::ptr::null_mut();
    // SAFETY: both pointers are to what lives until after the calls, and the text ends in NUL.
    let (number, length) = unsafe {
        let number = libc::strtoull(text.as_ptr(), &mut end, 10);
        (number, end.offset_from(text.as_ptr()) as usize)
    };
    let is_space = |byte: &u8| matches!(byte, b' ' | 9..=13);
    let has_end = value.get(length).is_none_or(is_space);
    // Greater numbers become the greatest one.
    let digits = value[..length].iter().filter(|byte| byte.is_ascii_digit());
    let digits: Vec<u8> = digits.copied().skip_while(|digit| *digit == b'0').collect();
    let is_exact = number != u64::MAX || digits == b"18446744073709551615";
    let is_negative = value[..length].contains(&b'-') && number != 0;
    let expected = (length > 0 && has_end && is_exact && !is_negative).then_some(number);
    assert_eq!(number_in(value), expected, "{}", value.escape_ascii());
}
