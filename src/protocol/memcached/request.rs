//! Commands, decoded from frames. A request borrows from its frame.

use super::administration::{self, Crawler, Stats, Watched};
use super::counting::Direction;
use super::framing::are_flags;
use super::meta::{Meta, Verb};
use super::words::{Words, split, split_frame};
use super::{Error, Expiry, MAX_KEY, number};

/// A command whose form was checked; the flags of meta commands are not looked at yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    Get(Get<'a>),
    Store(Store<'a>),
    Delete(&'a [u8], Reply),
    Touch(&'a [u8], Expiry, Reply),
    Count(Count<'a>),
    Meta(Meta<'a>),
    MetaStore(Meta<'a>, Block<'a>),
    MetaDebug(Debugged<'a>),
    MetaNoop,
    FlushAll(Expiry, Reply),
    Version,
    Quit,
    Stats(Stats),
    Crawler(Crawler, Reply),
    /// `slabs` and `lru`: without effect.
    Tune(Reply),
    Watch(Watched),
    /// `verbosity`: without effect.
    Verbosity(Reply),
    /// The size of the cache, in MiB.
    CacheMemLimit(u32, Reply),
    Shutdown(Reply),
    /// A request of HTTP: the connection is closed.
    Http,
    Wrong(Error, Reply),
}

/// A frame and the command that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub bytes: &'a [u8],
    pub request: Request<'a>,
}

impl<'a> Frame<'a> {
    pub fn of(bytes: &'a [u8]) -> Frame<'a> {
        Frame {
            bytes,
            request: decode(bytes),
        }
    }

    /// The command line, without its end.
    pub fn line(&self) -> &'a [u8] {
        split_frame(self.bytes).0
    }
}

/// The wish for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    Wanted,
    /// The line ends in `noreply`: not even errors are sent.
    Unwanted,
}

/// `get`, `gets`, `gat`, `gats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Get<'a> {
    /// One or more, none too long.
    pub keys: Words<'a>,
    pub with_cas: bool,
    /// The expiry that the entries get.
    pub expiry: Option<Expiry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreVerb {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    /// If the entry has this cas.
    Cas(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store<'a> {
    pub verb: StoreVerb,
    pub key: &'a [u8],
    pub flags: u32,
    pub expiry: Expiry,
    pub block: Block<'a>,
    pub reply: Reply,
}

/// The block of a storage command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block<'a> {
    /// The value, without the end of the block.
    Value(&'a [u8]),
    /// The block does not end in CR LF. So many bytes were announced.
    BadEnd(usize),
    /// The block was dropped because it is larger than any value may be, or because the client may not store. So many
    /// bytes were announced.
    Dropped(usize),
}

/// `incr` and `decr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count<'a> {
    pub key: &'a [u8],
    pub direction: Direction,
    pub delta: u64,
    pub reply: Reply,
}

/// The entry that `me` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Debugged<'a> {
    pub key: &'a [u8],
    pub is_base64: bool,
}

/// The permission that a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Login,
    Read,
    ReadAndWrite,
    Write,
    Manage,
}

impl<'a> Block<'a> {
    /// The bytes behind the line of a frame, which announces a value of that length.
    fn of(bytes: &'a [u8], announced: usize) -> Block<'a> {
        match bytes.strip_suffix(b"\r\n") {
            Some(value) => Block::Value(value),
            None if bytes.is_empty() => Block::Dropped(announced),
            None => Block::BadEnd(announced),
        }
    }

    /// The length of the value that was announced, in bytes.
    pub fn length(&self) -> usize {
        match self {
            Block::Value(value) => value.len(),
            Block::BadEnd(length) | Block::Dropped(length) => *length,
        }
    }
}

impl Reply {
    fn of(words: Words<'_>) -> Reply {
        match words.end_in_noreply() {
            true => Reply::Unwanted,
            false => Reply::Wanted,
        }
    }
}

impl<'a> Request<'a> {
    /// The wish for an answer that the line ends in.
    pub fn reply(&self) -> Reply {
        match *self {
            Request::Store(Store { reply, .. }) | Request::Count(Count { reply, .. }) => reply,
            Request::Delete(_, reply)
            | Request::Touch(_, _, reply)
            | Request::FlushAll(_, reply)
            | Request::Crawler(_, reply)
            | Request::Tune(reply)
            | Request::Verbosity(reply)
            | Request::CacheMemLimit(_, reply)
            | Request::Shutdown(reply)
            | Request::Wrong(_, reply) => reply,
            _ => Reply::Wanted,
        }
    }

    /// The key that is looked up first, as it was sent. One in base64 is none that is found.
    pub fn key(&self) -> Option<&'a [u8]> {
        match *self {
            Request::Get(get) => { get.keys }.next(),
            Request::Store(Store { key, .. })
            | Request::Delete(key, _)
            | Request::Touch(key, ..)
            | Request::Count(Count { key, .. })
            | Request::Meta(Meta { key, .. })
            | Request::MetaStore(Meta { key, .. }, _) => Some(key),
            _ => None,
        }
    }

    /// The permission that the command needs. `mg` with N, T or R needs to write as well.
    pub fn need(&self) -> Need {
        match self {
            Request::Get(get) if get.expiry.is_some() => Need::ReadAndWrite,
            Request::Get(_) | Request::MetaDebug(_) => Need::Read,
            Request::Meta(meta) if meta.verb == Verb::Get => {
                let changes = |word: &[u8]| matches!(word.first(), Some(b'N' | b'T' | b'R'));
                match { meta.words }.any(changes) {
                    true => Need::ReadAndWrite,
                    false => Need::Read,
                }
            }
            Request::Stats(Stats::CacheDump(_)) | Request::Crawler(Crawler::Dump { .. }, _) => {
                Need::Read
            }
            Request::Store(_)
            | Request::Delete(..)
            | Request::Touch(..)
            | Request::Count(_)
            | Request::Meta(_)
            | Request::MetaStore(..) => Need::Write,
            Request::FlushAll(..)
            | Request::Stats(Stats::Conns | Stats::Reset)
            | Request::Watch(_)
            | Request::Verbosity(_)
            | Request::CacheMemLimit(..)
            | Request::Shutdown(_) => Need::Manage,
            Request::MetaNoop
            | Request::Version
            | Request::Quit
            | Request::Stats(_)
            | Request::Crawler(Crawler::WithoutEffect, _)
            | Request::Tune(_)
            | Request::Http
            | Request::Wrong(..) => Need::Login,
        }
    }
}

/// The command that a frame is.
pub fn decode(frame: &[u8]) -> Request<'_> {
    let (line, block) = split_frame(frame);
    if line.len() < 2 {
        return Request::Wrong(Error::Format, Reply::Wanted);
    }
    let (command, words) = split(line);
    let decoded = match command {
        b"get" | b"gets" => get(words, command == b"gets", None),
        b"gat" | b"gats" => get_and_touch(words, command == b"gats"),
        b"mg" => meta(Verb::Get, words),
        b"md" => meta(Verb::Delete, words),
        b"ma" => meta(Verb::Count, words),
        b"ms" => meta_store(words, block),
        b"me" => meta_debug(words),
        b"mn" => Ok(Request::MetaNoop),
        b"version" => Ok(Request::Version),
        b"quit" => Ok(Request::Quit),
        b"stats" => administration::stats(words).map(Request::Stats),
        b"watch" => administration::watch(words).map(Request::Watch),
        // An old name of `get`.
        b"bget" => get(words, false, None),
        _ => return quieted(command, words, block),
    };
    decoded.unwrap_or_else(|error| Request::Wrong(error, Reply::Wanted))
}

/// The commands that may end in `noreply`.
fn quieted<'a>(command: &'a [u8], words: Words<'a>, block: &'a [u8]) -> Request<'a> {
    let reply = Reply::of(words);
    // The line without `noreply` decides what is missing, but for storage.
    let arguments = words.without_noreply();
    let decoded = match command {
        b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => {
            let Some(length) = { words }.nth(3).and_then(number::length) else {
                return Request::Wrong(Error::Format, Reply::Wanted);
            };
            store(command, words, Block::of(block, length), reply)
        }
        b"delete" | b"touch" | b"incr" | b"decr" => {
            let fewest = if command == b"delete" { 1 } else { 2 };
            if words.count() < fewest {
                return Request::Wrong(Error::Format, Reply::Wanted);
            }
            of_one_key(command, words, reply)
        }
        b"flush_all" => flush_all(arguments, reply),
        b"verbosity" => match { arguments }.next().and_then(number::u32) {
            Some(_) => Ok(Request::Verbosity(reply)),
            None => Err(Error::Format),
        },
        b"cache_memlimit" => match { arguments }.next().and_then(number::u32) {
            Some(limit) => Ok(Request::CacheMemLimit(limit, reply)),
            None => Err(Error::NoSuchCommand),
        },
        b"shutdown" => match { arguments }.next() {
            None | Some(b"graceful") => Ok(Request::Shutdown(reply)),
            Some(_) => Err(Error::ShutdownMode),
        },
        b"slabs" => administration::slabs(arguments).map(|()| Request::Tune(reply)),
        b"lru" => administration::lru(arguments).map(|()| Request::Tune(reply)),
        b"lru_crawler" => {
            administration::crawler(arguments).map(|crawler| Request::Crawler(crawler, reply))
        }
        _ if { words }
            .last()
            .is_some_and(|word| word.starts_with(b"HTTP/")) =>
        {
            Ok(Request::Http)
        }
        _ => Err(Error::NoSuchCommand),
    };
    decoded.unwrap_or_else(|error| Request::Wrong(error, reply))
}

fn checked_key<'a>(words: &mut Words<'a>) -> Result<&'a [u8], Error> {
    let key = words.next().filter(|key| key.len() <= MAX_KEY);
    key.ok_or(Error::Format)
}

fn get(keys: Words<'_>, with_cas: bool, expiry: Option<Expiry>) -> Result<Request<'_>, Error> {
    if keys.is_empty() || keys.has_longer(MAX_KEY) {
        return Err(Error::Format);
    }
    let get = Get {
        keys,
        with_cas,
        expiry,
    };
    Ok(Request::Get(get))
}

fn get_and_touch(mut words: Words<'_>, with_cas: bool) -> Result<Request<'_>, Error> {
    let exptime = words.next().ok_or(Error::Format)?;
    if words.is_empty() {
        return Err(Error::Format);
    }
    let expiry = number::exptime(exptime).map(Expiry::of);
    get(words, with_cas, Some(expiry.ok_or(Error::Exptime)?))
}

/// A line with a key, flags, exptime, a good length, and of `cas` the cas.
fn store<'a>(
    command: &[u8],
    mut words: Words<'a>,
    block: Block<'a>,
    reply: Reply,
) -> Result<Request<'a>, Error> {
    let key = checked_key(&mut words)?;
    let flags = words.next().and_then(number::client_flags);
    let flags = flags.ok_or(Error::Format)?;
    let exptime = words.next().and_then(number::storage_exptime);
    let expiry = Expiry::of(exptime.ok_or(Error::Format)?);
    let verb = match command {
        b"set" => StoreVerb::Set,
        b"add" => StoreVerb::Add,
        b"replace" => StoreVerb::Replace,
        b"append" => StoreVerb::Append,
        b"prepend" => StoreVerb::Prepend,
        _ => StoreVerb::Cas(words.nth(1).and_then(number::u64).ok_or(Error::Format)?),
    };
    Ok(Request::Store(Store {
        verb,
        key,
        flags,
        expiry,
        block,
        reply,
    }))
}

/// A line with at least the words that its command needs.
fn of_one_key<'a>(
    command: &[u8],
    mut words: Words<'a>,
    reply: Reply,
) -> Result<Request<'a>, Error> {
    let key = checked_key(&mut words)?;
    if command == b"delete" {
        return Ok(Request::Delete(key, reply));
    }
    let word = words.next().unwrap_or_default();
    if command == b"touch" {
        let exptime = number::exptime(word).ok_or(Error::Exptime)?;
        return Ok(Request::Touch(key, Expiry::of(exptime), reply));
    }
    let direction = match command {
        b"incr" => Direction::Up,
        _ => Direction::Down,
    };
    Ok(Request::Count(Count {
        key,
        direction,
        delta: number::u64(word).ok_or(Error::Delta)?,
        reply,
    }))
}

fn flush_all(mut words: Words<'_>, reply: Reply) -> Result<Request<'_>, Error> {
    let exptime = match words.next() {
        None => Some(0),
        Some(word) => number::exptime(word),
    };
    let expiry = Expiry::of(exptime.ok_or(Error::Exptime)?);
    Ok(Request::FlushAll(expiry, reply))
}

fn meta(verb: Verb, mut words: Words<'_>) -> Result<Request<'_>, Error> {
    let key = words.next().ok_or(Error::Format)?;
    match are_flags(words) {
        true => Ok(Request::Meta(Meta { verb, key, words })),
        false => Err(Error::Format),
    }
}

fn meta_store<'a>(mut words: Words<'a>, block: &'a [u8]) -> Result<Request<'a>, Error> {
    let key = words.next().ok_or(Error::Format)?;
    let length = words.next().and_then(number::length);
    let length = length.ok_or(Error::Format)?;
    if !are_flags(words) {
        return Err(Error::Format);
    }
    let block = Block::of(block, length);
    let verb = Verb::Store;
    Ok(Request::MetaStore(Meta { verb, key, words }, block))
}

/// A flag b counts only if one more word follows it.
fn meta_debug(mut words: Words<'_>) -> Result<Request<'_>, Error> {
    let key = checked_key(&mut words)?;
    let before_last = words.count().saturating_sub(1);
    let is_base64 = words.take(before_last).any(|word| word.starts_with(b"b"));
    Ok(Request::MetaDebug(Debugged { key, is_base64 }))
}

#[cfg(test)]
mod tests;
