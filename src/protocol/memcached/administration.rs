//! Commands that steer the server and look into it. Sub-commands are compared as whole words.

use super::Error;
use super::number;
use super::words::Words;

/// The greatest class of slabs that can be named.
const MAX_CLASS: u32 = 63;

/// The longest rest of the crawler, in microseconds.
const MAX_SLEEP_US: u32 = 1_000_000;

/// The class of all entries.
const CLASS_OF_ALL: u32 = 1;

/// A page of `stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stats {
    General,
    Items,
    Slabs,
    Sizes,
    Settings,
    Conns,
    Reset,
    /// `stats detail on` or `off`: without effect.
    DetailSwitch,
    DetailDump,
    /// So many entries at most, 0 for all. `None` asks for a class without entries.
    CacheDump(Option<u32>),
}

/// The two forms of a dump of all entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpForm {
    Metadata,
    MetaGet,
}

/// A command of `lru_crawler`, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crawler {
    /// `is_empty` if only classes without entries are asked for.
    Dump {
        form: DumpForm,
        is_empty: bool,
    },
    WithoutEffect,
}

/// The kinds of events that a watcher asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watched {
    pub fetchers: bool,
    pub mutations: bool,
    pub evictions: bool,
    pub connections: bool,
    pub deletions: bool,
}

pub fn stats(mut words: Words<'_>) -> Result<Stats, Error> {
    let Some(page) = words.next() else {
        return Ok(Stats::General);
    };
    Ok(match page {
        b"items" => Stats::Items,
        b"slabs" => Stats::Slabs,
        b"sizes" => Stats::Sizes,
        b"settings" => Stats::Settings,
        b"conns" => Stats::Conns,
        b"reset" => Stats::Reset,
        b"detail" => match words.next() {
            Some(b"on" | b"off") => Stats::DetailSwitch,
            Some(b"dump") => Stats::DetailDump,
            _ => return Err(Error::DetailUsage),
        },
        b"cachedump" => cache_dump(words)?,
        _ => return Err(Error::NoSuchCommand),
    })
}

fn cache_dump(mut words: Words<'_>) -> Result<Stats, Error> {
    let (Some(class), Some(most)) = (words.next(), words.next()) else {
        return Err(Error::Dump);
    };
    let (Some(class), Some(most)) = (number::u32(class), number::u32(most)) else {
        return Err(Error::Format);
    };
    if class > MAX_CLASS {
        return Err(Error::IllegalSlab);
    }
    Ok(Stats::CacheDump((class == CLASS_OF_ALL).then_some(most)))
}

pub fn crawler(mut words: Words<'_>) -> Result<Crawler, Error> {
    let command = words.next().ok_or(Error::NoSuchCommand)?;
    let argument = words.next();
    if words.next().is_some() {
        return Err(Error::NoSuchCommand);
    }
    let form = match (command, argument) {
        (b"metadump", Some(_)) => DumpForm::Metadata,
        (b"mgdump", Some(_)) => DumpForm::MetaGet,
        (b"enable" | b"disable", None) => return Ok(Crawler::WithoutEffect),
        (b"sleep" | b"tocrawl", Some(word)) => {
            let number = number::u32(word).ok_or(Error::Format)?;
            return match command == b"sleep" && number > MAX_SLEEP_US {
                true => Err(Error::SleepTooLong),
                false => Ok(Crawler::WithoutEffect),
            };
        }
        (b"crawl", Some(classes)) => {
            return includes_all(classes).map(|_| Crawler::WithoutEffect);
        }
        _ => return Err(Error::NoSuchCommand),
    };
    let is_empty = !includes_all(argument.unwrap_or_default())?;
    Ok(Crawler::Dump { form, is_empty })
}

/// Reports whether the classes in a word include that of all entries.
fn includes_all(classes: &[u8]) -> Result<bool, Error> {
    if matches!(classes, b"all" | b"hash") {
        return Ok(true);
    }
    let mut includes = false;
    for class in classes.split(|&byte| byte == b',') {
        let class = number::u32(class).filter(|class| (1..=MAX_CLASS).contains(class));
        includes |= class.ok_or(Error::BadClass)? == CLASS_OF_ALL;
    }
    Ok(includes)
}

/// Checks a command of `slabs`; none has an effect.
pub fn slabs(mut words: Words<'_>) -> Result<(), Error> {
    match (words.next(), words.next(), words.next()) {
        (Some(b"automove"), Some(b"ratio" | b"freeratio" | b"window"), Some(number))
            if is_decimal(number) =>
        {
            Ok(())
        }
        (Some(b"automove"), Some(b"ratio" | b"freeratio" | b"window"), _) => {
            Err(Error::NoSuchCommand)
        }
        (Some(b"automove"), Some(mode), _) => match number::u32(mode) {
            Some(0..=2) => Ok(()),
            Some(_) => Err(Error::NoSuchCommand),
            None => Err(Error::Format),
        },
        (Some(b"reassign"), Some(from), Some(to)) => {
            let classes = number::exptime(from).zip(number::exptime(to));
            classes.map(drop).ok_or(Error::Format)
        }
        _ => Err(Error::NoSuchCommand),
    }
}

/// Checks a command of `lru`; none has an effect.
pub fn lru(mut words: Words<'_>) -> Result<(), Error> {
    let is_known = match (words.next(), words.next()) {
        (Some(b"mode"), Some(b"flat" | b"segmented")) => true,
        (Some(b"tune"), Some(hot)) => {
            let (warm, factors) = (words.next(), [words.next(), words.next()]);
            let are_shares = [Some(hot), warm]
                .iter()
                .all(|share| share.is_some_and(|share| number::u32(share).is_some()));
            are_shares && factors.iter().all(|factor| factor.is_some_and(is_decimal))
        }
        (Some(b"temp_ttl"), Some(seconds)) => {
            let digits = seconds.strip_prefix(b"-").unwrap_or(seconds);
            number::u64(digits).is_some()
        }
        _ => false,
    };
    is_known.then_some(()).ok_or(Error::NoSuchCommand)
}

/// Reports whether a word is a number, which may have decimals.
fn is_decimal(word: &[u8]) -> bool {
    let number = str::from_utf8(word).map(str::parse::<f64>);
    matches!(number, Ok(Ok(number)) if number.is_finite())
}

pub fn watch(words: Words<'_>) -> Result<Watched, Error> {
    let mut watched = Watched::default();
    if words.is_empty() {
        watched.fetchers = true;
    }
    for word in words {
        match word {
            b"fetchers" => watched.fetchers = true,
            b"mutations" => watched.mutations = true,
            b"evictions" => watched.evictions = true,
            b"connevents" => watched.connections = true,
            b"deletions" => watched.deletions = true,
            b"rawcmds" | b"sysevents" | b"proxyreqs" | b"proxyevents" | b"proxyuser" => {}
            _ => return Err(Error::NoSuchCommand),
        }
    }
    Ok(watched)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_statistics_are_whole_words() {
        for (line, expected) in [
            ("", Ok(Stats::General)),
            ("items", Ok(Stats::Items)),
            ("slabs", Ok(Stats::Slabs)),
            ("sizes", Ok(Stats::Sizes)),
            ("settings", Ok(Stats::Settings)),
            ("conns", Ok(Stats::Conns)),
            ("reset", Ok(Stats::Reset)),
            ("reset noreply", Ok(Stats::Reset)),
            ("noreply", Err(Error::NoSuchCommand)),
            ("malloc", Err(Error::NoSuchCommand)),
            ("r", Err(Error::NoSuchCommand)),
            ("detail on", Ok(Stats::DetailSwitch)),
            ("detail off", Ok(Stats::DetailSwitch)),
            ("detail dump", Ok(Stats::DetailDump)),
            ("detail", Err(Error::DetailUsage)),
            ("detail x", Err(Error::DetailUsage)),
            ("cachedump 1 0", Ok(Stats::CacheDump(Some(0)))),
            ("cachedump 1 9", Ok(Stats::CacheDump(Some(9)))),
            ("cachedump 0 0", Ok(Stats::CacheDump(None))),
            ("cachedump 63 0", Ok(Stats::CacheDump(None))),
            ("cachedump 64 0", Err(Error::IllegalSlab)),
            ("cachedump x 0", Err(Error::Format)),
            ("cachedump 1 x", Err(Error::Format)),
            ("cachedump 1", Err(Error::Dump)),
            ("cachedump", Err(Error::Dump)),
        ] {
            assert_eq!(stats(Words::new(line.as_bytes())), expected, "{line:?}");
        }
    }

    #[test]
    fn the_crawler_dumps_and_else_does_nothing() {
        let dump = |form, is_empty| Ok(Crawler::Dump { form, is_empty });
        for (line, expected) in [
            ("metadump all", dump(DumpForm::Metadata, false)),
            ("mgdump hash", dump(DumpForm::MetaGet, false)),
            ("metadump 1", dump(DumpForm::Metadata, false)),
            ("metadump 2,63", dump(DumpForm::Metadata, true)),
            ("metadump 2,1", dump(DumpForm::Metadata, false)),
            ("metadump 0", Err(Error::BadClass)),
            ("metadump 64", Err(Error::BadClass)),
            ("metadump 1,", Err(Error::BadClass)),
            ("mgdump x", Err(Error::BadClass)),
            ("metadump", Err(Error::NoSuchCommand)),
            ("metadump all x", Err(Error::NoSuchCommand)),
            ("enable", Ok(Crawler::WithoutEffect)),
            ("disable", Ok(Crawler::WithoutEffect)),
            ("sleep 1000000", Ok(Crawler::WithoutEffect)),
            ("sleep 1000001", Err(Error::SleepTooLong)),
            ("sleep x", Err(Error::Format)),
            ("tocrawl 1000001", Ok(Crawler::WithoutEffect)),
            ("tocrawl x", Err(Error::Format)),
            ("crawl all", Ok(Crawler::WithoutEffect)),
            ("crawl 1,2", Ok(Crawler::WithoutEffect)),
            ("crawl x", Err(Error::BadClass)),
            ("sleep", Err(Error::NoSuchCommand)),
            ("x", Err(Error::NoSuchCommand)),
            ("", Err(Error::NoSuchCommand)),
        ] {
            assert_eq!(crawler(Words::new(line.as_bytes())), expected, "{line:?}");
        }
    }

    #[test]
    fn slabs_and_lru_are_checked_for_form() {
        for (line, expected) in [
            ("automove 0", Ok(())),
            ("automove 2", Ok(())),
            ("automove 3", Err(Error::NoSuchCommand)),
            ("automove x", Err(Error::Format)),
            ("automove ratio 1", Ok(())),
            ("automove freeratio 1", Ok(())),
            ("automove window 1", Ok(())),
            ("automove ratio x", Err(Error::NoSuchCommand)),
            ("automove window", Err(Error::NoSuchCommand)),
            ("automove 1 2", Ok(())),
            ("automove", Err(Error::NoSuchCommand)),
            ("reassign 1 2", Ok(())),
            ("reassign -1 2", Ok(())),
            ("reassign x 2", Err(Error::Format)),
            ("reassign 1 2x", Err(Error::Format)),
            ("reassign 1", Err(Error::NoSuchCommand)),
            ("", Err(Error::NoSuchCommand)),
        ] {
            assert_eq!(slabs(Words::new(line.as_bytes())), expected, "{line:?}");
        }
        for (line, expected) in [
            ("mode flat", Ok(())),
            ("mode segmented", Ok(())),
            ("mode x", Err(Error::NoSuchCommand)),
            ("tune 1 2 3 4", Ok(())),
            ("tune 10 25 0.1 2.0", Ok(())),
            ("tune 1 2 3", Err(Error::NoSuchCommand)),
            ("tune 1 x 3 4", Err(Error::NoSuchCommand)),
            ("tune -1 2 3 4", Err(Error::NoSuchCommand)),
            ("tune 1 2 inf 4", Err(Error::NoSuchCommand)),
            ("tune 1 2 3 x", Err(Error::NoSuchCommand)),
            ("temp_ttl 1", Ok(())),
            ("temp_ttl -1", Ok(())),
            ("temp_ttl 1x", Err(Error::NoSuchCommand)),
            ("temp_ttl", Err(Error::NoSuchCommand)),
            ("", Err(Error::NoSuchCommand)),
        ] {
            assert_eq!(lru(Words::new(line.as_bytes())), expected, "{line:?}");
        }
    }

    #[test]
    fn a_watcher_names_events() {
        let watched = |line: &str| watch(Words::new(line.as_bytes()));
        let fetchers = Watched {
            fetchers: true,
            ..Watched::default()
        };
        assert_eq!(watched(" "), Ok(fetchers));
        assert_eq!(watched("rawcmds proxyreqs"), Ok(Watched::default()));
        let all = watched("mutations evictions connevents deletions fetchers").expect("events");
        assert!(all.mutations && all.evictions && all.connections && all.deletions && all.fetchers);
        assert_eq!(watched("fetchers noreply"), Err(Error::NoSuchCommand));
    }
}
