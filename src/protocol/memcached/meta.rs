//! Meta commands: their keys and flags.

use super::counting::Direction;
use super::words::Words;
use super::{Error, Expiry, MAX_KEY, number};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

/// Accepts a last character with unused bits set.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Words of a meta command, the command and the key counted.
const MAX_WORDS: usize = 20;

const MAX_FLAGS: usize = MAX_WORDS - 2;

const MAX_OPAQUE: usize = 31;

/// The flags that are known.
const KNOWN: &[u8] = b"bcfhIklLOPqstuvxCDEFJMNRT";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    Store,
    Delete,
    Count,
}

/// A meta command whose flags are not decoded yet; [`Meta::flags`] does that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta<'a> {
    pub verb: Verb,
    /// The key as sent.
    pub key: &'a [u8],
    pub words: Words<'a>,
}

/// A mode of `ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreMode {
    Add,
    Append,
    Prepend,
    Replace,
    #[default]
    Set,
}

/// The flags of a meta command. Those without a token are asked for by [`MetaFlags::has`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaFlags<'a> {
    letters: [u8; MAX_FLAGS],
    count: usize,
    /// C: the cas that the entry must have.
    pub cas: Option<u64>,
    /// E: the cas that the entry gets.
    pub new_cas: Option<u64>,
    /// D
    pub delta: u64,
    /// J
    pub initial: u64,
    /// F
    pub client_flags: u32,
    /// N
    pub vivify: Option<Expiry>,
    /// R
    pub recache: Option<Expiry>,
    /// T
    pub expiry: Option<Expiry>,
    /// O
    pub opaque: &'a [u8],
    /// M of `ms`
    pub store_mode: StoreMode,
    /// M of `ma`
    pub direction: Direction,
}

impl Default for MetaFlags<'_> {
    fn default() -> Self {
        MetaFlags {
            letters: [0; MAX_FLAGS],
            count: 0,
            cas: None,
            new_cas: None,
            delta: 1,
            initial: 0,
            client_flags: 0,
            vivify: None,
            recache: None,
            expiry: None,
            opaque: b"",
            store_mode: StoreMode::default(),
            direction: Direction::Up,
        }
    }
}

impl MetaFlags<'_> {
    /// The letters, in the order of the request.
    pub fn letters(&self) -> &[u8] {
        &self.letters[..self.count]
    }

    pub fn has(&self, letter: u8) -> bool {
        self.letters().contains(&letter)
    }

    /// Reports whether one flag stands before another in the request.
    pub fn is_before(&self, one: u8, other: u8) -> bool {
        let mut letters = self.letters().iter();
        letters.find(|&&letter| letter == one || letter == other) == Some(&one)
    }

    /// The expiry of a vivified entry: of N and T the last one counts.
    pub fn last_expiry(&self) -> Option<Expiry> {
        self.last_expiry_of(self.letters())
    }

    /// The expiry that a vivified entry has got where t stands.
    pub fn expiry_at_t(&self) -> Option<Expiry> {
        let before = self.letters().split(|&letter| letter == b't').next();
        self.last_expiry_of(before?)
    }

    fn last_expiry_of(&self, letters: &[u8]) -> Option<Expiry> {
        let mut letters = letters.iter().rev();
        letters.find_map(|letter| match letter {
            b'N' => self.vivify,
            b'T' => self.expiry,
            _ => None,
        })
    }
}

impl<'a> Meta<'a> {
    /// Decodes the flags. The errors have the order of memcached's.
    pub fn flags(&self) -> Result<MetaFlags<'a>, Error> {
        let counts = self.verb == Verb::Count;
        let flags = self.checked_letters().map_err(|error| match counts {
            true => Error::MetaFlagOrDuplicate,
            false => error,
        })?;
        self.with_tokens(flags)
    }

    /// Checks all that comes before the tokens.
    fn checked_letters(&self) -> Result<MetaFlags<'a>, Error> {
        if self.key.len() > MAX_KEY {
            return Err(Error::Format);
        }
        // The length of the block is a word of `ms` too.
        let most = MAX_FLAGS - usize::from(self.verb == Verb::Store);
        if self.words.count() > most {
            return Err(Error::MetaTooManyWords);
        }
        let mut flags = MetaFlags::default();
        for (place, word) in self.words.enumerate() {
            let letter = word.first().copied().unwrap_or_default();
            if flags.has(letter) {
                return Err(Error::MetaDuplicate);
            }
            if !KNOWN.contains(&letter) {
                return Err(Error::MetaFlag);
            }
            flags.letters[place] = letter;
            flags.count = place + 1;
        }
        let mut scratch = KeyScratch::default();
        if flags.has(b'b') && decode_key(self.key, &mut scratch).is_none() {
            return Err(Error::MetaKey);
        }
        Ok(flags)
    }

    /// Of several bad tokens the last one's error is returned, that of F only if there is no other, that of M and O only
    /// if all others are good.
    fn with_tokens(&self, mut flags: MetaFlags<'a>) -> Result<MetaFlags<'a>, Error> {
        let (mut bad_token, mut bad_flags) = (None, None);
        let (mut bad_mode, mut bad_opaque) = (None, None);
        for word in self.words {
            let Some((&letter, token)) = word.split_first() else {
                continue;
            };
            let taken = flags.take(self.verb, letter, token);
            match taken {
                Ok(()) => {}
                Err(error @ Error::Format) => bad_flags = Some(error),
                Err(error @ (Error::MetaStoreMode | Error::MetaCountMode)) => {
                    bad_mode = Some(error);
                }
                Err(error @ Error::MetaOpaque) => bad_opaque = Some(error),
                Err(error) => bad_token = Some(error),
            }
        }
        let bad_number = bad_token.or(bad_flags).map(|error| match self.verb {
            Verb::Count => Error::MetaFlagOrDuplicate,
            _ => error,
        });
        match bad_number.or(bad_mode).or(bad_opaque) {
            Some(error) => Err(error),
            None => Ok(flags),
        }
    }
}

impl<'a> MetaFlags<'a> {
    fn take(&mut self, verb: Verb, letter: u8, token: &'a [u8]) -> Result<(), Error> {
        let exptime = || {
            number::exptime(token)
                .map(Expiry::of)
                .ok_or(Error::MetaToken)
        };
        let cas = || number::u64(token).ok_or(Error::MetaToken);
        match (letter, verb) {
            (b'C', _) => self.cas = Some(cas()?),
            (b'E', _) => self.new_cas = Some(cas()?).filter(|&cas| cas != 0),
            (b'D', _) => self.delta = number::u64(token).ok_or(Error::MetaDelta)?,
            (b'J', _) => self.initial = number::u64(token).ok_or(Error::MetaInitial)?,
            (b'F', _) => self.client_flags = number::u32(token).ok_or(Error::Format)?,
            (b'N', _) => self.vivify = Some(exptime()?),
            (b'R', _) => self.recache = Some(exptime()?),
            (b'T', _) => self.expiry = Some(exptime()?),
            (b'O', _) if token.len() > MAX_OPAQUE => return Err(Error::MetaOpaque),
            (b'O', _) => self.opaque = token,
            (b'M', Verb::Store) => {
                self.store_mode = store_mode(token).ok_or(Error::MetaStoreMode)?;
            }
            (b'M', Verb::Count) => {
                self.direction = direction(token).ok_or(Error::MetaCountMode)?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn store_mode(token: &[u8]) -> Option<StoreMode> {
    match token.first()? {
        b'E' => Some(StoreMode::Add),
        b'A' => Some(StoreMode::Append),
        b'P' => Some(StoreMode::Prepend),
        b'R' => Some(StoreMode::Replace),
        b'S' => Some(StoreMode::Set),
        _ => None,
    }
}

fn direction(token: &[u8]) -> Option<Direction> {
    match token.first()? {
        b'I' | b'+' => Some(Direction::Up),
        b'D' | b'-' => Some(Direction::Down),
        _ => None,
    }
}

/// Room for a key that is sent in base64.
pub struct KeyScratch([u8; MAX_KEY]);

impl Default for KeyScratch {
    fn default() -> KeyScratch {
        KeyScratch([0; MAX_KEY])
    }
}

/// The key that a base64 text stands for.
pub fn decode_key<'s>(text: &[u8], scratch: &'s mut KeyScratch) -> Option<&'s [u8]> {
    let length = BASE64.decode_slice(text, &mut scratch.0).ok()?;
    scratch.0.get(..length)
}

/// Appends a key in base64.
pub fn append_key(to: &mut Vec<u8>, key: &[u8]) {
    let start = to.len();
    to.resize(start + key.len().div_ceil(3) * 4, 0);
    let written = BASE64.encode_slice(key, &mut to[start..]);
    to.truncate(start + written.unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(
        verb: Verb,
        key: &'static str,
        words: &'static str,
    ) -> Result<MetaFlags<'static>, Error> {
        let (key, words) = (key.as_bytes(), Words::new(words.as_bytes()));
        Meta { verb, key, words }.flags()
    }

    #[test]
    fn tokens_are_decoded_and_letters_keep_their_order() {
        let flags = flags(
            Verb::Store,
            "k",
            "T0 s vfoo c C5 F7 E9 MAx O1 k D2 J3 N-1 R30 Lx",
        )
        .expect("flags");
        assert_eq!(flags.letters(), b"TsvcCFEMOkDJNRL");
        assert_eq!((flags.cas, flags.new_cas), (Some(5), Some(9)));
        assert_eq!((flags.delta, flags.initial, flags.client_flags), (2, 3, 7));
        assert_eq!(flags.store_mode, StoreMode::Append);
        assert_eq!(flags.expiry, Some(Expiry::Never));
        assert_eq!(flags.vivify, Some(Expiry::AtOnce));
        assert_eq!(flags.recache, Some(Expiry::AfterS(30)));
        assert_eq!(flags.opaque, b"1");
        assert!(flags.has(b'v') && !flags.has(b'q'));
    }

    #[test]
    fn missing_tokens_have_defaults() {
        let flags = flags(Verb::Count, "k", "E0 M+").expect("flags");
        assert_eq!((flags.delta, flags.initial, flags.client_flags), (1, 0, 0));
        assert_eq!((flags.cas, flags.new_cas, flags.expiry), (None, None, None));
        assert_eq!(flags.direction, Direction::Up);
    }

    #[test]
    fn each_fault_has_its_error() {
        use Error::*;
        for (words, of_get, of_count) in [
            ("v v", MetaDuplicate, MetaFlagOrDuplicate),
            ("a", MetaFlag, MetaFlagOrDuplicate),
            ("5", MetaFlag, MetaFlagOrDuplicate),
            ("A", MetaFlag, MetaFlagOrDuplicate),
            ("Cx v v", MetaDuplicate, MetaFlagOrDuplicate),
            ("v v a", MetaDuplicate, MetaFlagOrDuplicate),
            ("a v v", MetaFlag, MetaFlagOrDuplicate),
            ("b", MetaKey, MetaFlagOrDuplicate),
            ("b Cx", MetaKey, MetaFlagOrDuplicate),
            ("N", MetaToken, MetaFlagOrDuplicate),
            ("Tx", MetaToken, MetaFlagOrDuplicate),
            ("T4294967295", MetaToken, MetaFlagOrDuplicate),
            ("R", MetaToken, MetaFlagOrDuplicate),
            ("C", MetaToken, MetaFlagOrDuplicate),
            ("E-1", MetaToken, MetaFlagOrDuplicate),
            ("Dx", MetaDelta, MetaFlagOrDuplicate),
            ("J", MetaInitial, MetaFlagOrDuplicate),
            ("Dx Jx", MetaInitial, MetaFlagOrDuplicate),
            ("Jx Dx Cx", MetaToken, MetaFlagOrDuplicate),
            ("F", Format, MetaFlagOrDuplicate),
            ("F4294967296", Format, MetaFlagOrDuplicate),
            ("Cx Fx", MetaToken, MetaFlagOrDuplicate),
            ("Fx Cx", MetaToken, MetaFlagOrDuplicate),
            ("O12345678901234567890123456789012", MetaOpaque, MetaOpaque),
        ] {
            assert_eq!(flags(Verb::Get, "k", words), Err(of_get), "mg k {words}");
            assert_eq!(flags(Verb::Delete, "k", words), Err(of_get), "md k {words}");
            assert_eq!(
                flags(Verb::Store, "k", words),
                Err(of_get),
                "ms k 1 {words}"
            );
            assert_eq!(
                flags(Verb::Count, "k", words),
                Err(of_count),
                "ma k {words}"
            );
        }
    }

    #[test]
    fn a_mode_is_checked_by_the_commands_that_have_one() {
        for words in ["M", "Mx", "Ms", "Mi"] {
            assert_eq!(flags(Verb::Store, "k", words), Err(Error::MetaStoreMode));
            assert_eq!(flags(Verb::Count, "k", words), Err(Error::MetaCountMode));
            assert!(flags(Verb::Get, "k", words).is_ok());
            assert!(flags(Verb::Delete, "k", words).is_ok());
        }
        assert_eq!(flags(Verb::Store, "k", "Mx Cx"), Err(Error::MetaToken));
        for words in ["MI", "M+", "MDx", "M-"] {
            assert!(flags(Verb::Count, "k", words).is_ok(), "{words}");
        }
    }

    #[test]
    fn a_command_has_20_words_at_most() {
        let most = "b c f h I k l L O P q s t u v x C1 D1 E1";
        let (of_get, of_store) = (&most[..most.len() - 3], &most[..most.len() - 6]);
        let count = |verb, words: &'static str| flags(verb, "YQ==", words).map(|flags| flags.count);
        assert_eq!(count(Verb::Get, of_get), Ok(18));
        assert_eq!(count(Verb::Get, most), Err(Error::MetaTooManyWords));
        assert_eq!(count(Verb::Store, of_store), Ok(17));
        assert_eq!(count(Verb::Store, of_get), Err(Error::MetaTooManyWords));
        assert_eq!(count(Verb::Count, most), Err(Error::MetaFlagOrDuplicate));
    }

    #[test]
    fn a_base64_key_comes_back_in_its_regular_form() {
        for (text, key, regular) in [
            ("Zm9v", &b"foo"[..], "Zm9v"),
            ("YWI=", b"ab", "YWI="),
            ("YWJ=", b"ab", "YWI="),
        ] {
            let (mut scratch, mut written) = (KeyScratch::default(), Vec::new());
            let decoded = decode_key(text.as_bytes(), &mut scratch).expect("base64");
            assert_eq!(decoded, key);
            append_key(&mut written, decoded);
            assert_eq!(written, regular.as_bytes());
        }
        for text in ["k", "YWI", "YWI=x", "YQ=", "Y-I=", "===="] {
            let mut scratch = KeyScratch::default();
            assert_eq!(decode_key(text.as_bytes(), &mut scratch), None, "{text}");
        }
        let longest = "QUJD".repeat(62);
        let mut scratch = KeyScratch::default();
        let decoded = decode_key(longest.as_bytes(), &mut scratch);
        assert_eq!(decoded.map(<[u8]>::len), Some(186));
    }
}
