//! The SIGNAL line: a signal on its way through the tree, with options that only clacksd servers read.

#[cfg(test)]
mod tests;

use super::ids::{SignalId, signal_id};
use super::{PeerLine, is_word, split};
use crate::limits::KIB;
use crate::protocol::encode;
use crate::protocol::shared::{Lines, SharedBytes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;
use std::io::Write;

/// The longest text of all `q=` options of one line, in bytes, with their blanks. The rest of [`PEER_LINE_EXTRA`] is for
/// the other parts of the line that do not grow with the value.
///
/// [`PEER_LINE_EXTRA`]: crate::limits::PEER_LINE_EXTRA
pub const MAX_GROUPS_LENGTH: usize = 32 * KIB;

const SUBJECT: u8 = b's';
const REPLY: u8 = b'r';
const HEADER: u8 = b'h';
const GROUP: u8 = b'q';

/// The options of a SIGNAL line, which stand between the id and the line: words of a lower-case letter, `=` and a text
/// without blanks. Letters without a meaning here are handed on. Options of a line that is neither SET nor NOTIFY have
/// no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options<'a> {
    /// All words, each with the blank after it. A word that has a meaning has the right form.
    text: &'a [u8],
}

impl<'a> Options<'a> {
    /// The exact subject, if it is not that of the name.
    pub fn subject(self) -> Option<&'a [u8]> {
        self.texts(SUBJECT).next()
    }

    /// The subject for answers.
    pub fn reply(self) -> Option<&'a [u8]> {
        self.texts(REPLY).next()
    }

    /// The header block.
    pub fn header(self) -> Option<Vec<u8>> {
        let text = self.texts(HEADER).next()?;
        Some(STANDARD.decode(text).expect("the form was checked"))
    }

    /// The queue groups to serve beyond the link that the line came from, in the order of the line.
    pub fn groups(self) -> impl Iterator<Item = &'a [u8]> {
        self.texts(GROUP)
    }

    /// The text of all options but the groups: the part that is the same for all links. Each word has a blank after it,
    /// as in [`encode_options`].
    pub fn common(self) -> Cow<'a, [u8]> {
        let is_common = |word: &&[u8]| word.first() != Some(&GROUP);
        let length = |word: &[u8]| word.len();
        let first: usize = self.words().take_while(is_common).map(length).sum();
        let all: usize = self.words().filter(is_common).map(length).sum();
        if first == all {
            return Cow::Borrowed(&self.text[..first]);
        }
        let words: Vec<&[u8]> = self.words().filter(is_common).collect();
        Cow::Owned(words.concat())
    }

    /// Splits the part of a SIGNAL line that follows the id: options, and the line that begins with the first other word.
    /// `None`: there is no such line, or an option is out of form.
    fn split_off(text: &'a [u8]) -> Option<(Options<'a>, &'a [u8])> {
        let mut end = 0;
        while let [b'a'..=b'z', b'=', word @ ..] = &text[end..] {
            let length = memchr::memchr2(b' ', b'\t', word)?;
            if word[length] == b'\t' {
                break;
            }
            end += 2 + length + 1;
        }
        let (text, line) = text.split_at(end);
        let options = Options { text };
        options.are_in_form().then_some((options, line))
    }

    /// Reports whether the options with a meaning have a text, in its form, and all but groups come at most once.
    fn are_in_form(self) -> bool {
        let is_once = |letter| self.texts(letter).nth(1).is_none();
        self.words().all(|word| match (word[0], text_of(word)) {
            (SUBJECT | REPLY | HEADER | GROUP, b"") => false,
            (letter @ (SUBJECT | REPLY), _) => is_once(letter),
            (HEADER, text) => is_once(HEADER) && is_base64(text),
            _ => true,
        })
    }

    /// All words, each with the blank after it.
    fn words(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.text;
        std::iter::from_fn(move || {
            let blank = memchr::memchr(b' ', rest)?;
            let (word, behind) = rest.split_at(blank + 1);
            rest = behind;
            Some(word)
        })
    }

    /// The texts of the words with that letter.
    fn texts(self, letter: u8) -> impl Iterator<Item = &'a [u8]> {
        let words = self.words().filter(move |word| word[0] == letter);
        words.map(text_of)
    }
}

/// The text between the sign `=` of a word and the blank after the word.
fn text_of(word: &[u8]) -> &[u8] {
    &word[2..word.len() - 1]
}

/// Reports whether a text is standard base64 with padding in its one regular form. All bytes are looked at without a
/// branch, so that the longest line takes few milliseconds.
fn is_base64(text: &[u8]) -> bool {
    let Some((before, last)) = text.split_last_chunk::<4>() else {
        return text.is_empty();
    };
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() | (*byte == b'+') | (*byte == b'/');
    let are_digits = before
        .iter()
        .fold(true, |so_far, byte| so_far & is_digit(byte));
    // The last four may be padding, and contain bits that no byte needs.
    let is_regular = STANDARD.decode_slice(last, &mut [0; 3]).is_ok();
    before.len().is_multiple_of(4) && are_digits && is_regular
}

/// Decodes a SIGNAL line from its id on.
pub(super) fn decode(bytes: &[u8]) -> Option<PeerLine<'_>> {
    let (id, rest) = split(bytes);
    let (options, line) = Options::split_off(rest?)?;
    Some(PeerLine::Signal {
        id: signal_id(id)?,
        options,
        line,
    })
}

/// Appends the options that are the same for all links, each with a blank after it. The texts are not empty, and have no
/// blanks or line ends in them, but for the header block, which is of any bytes.
pub fn encode_options(
    to: &mut Vec<u8>,
    subject: Option<&[u8]>,
    reply: Option<&[u8]>,
    header: Option<&[u8]>,
) {
    for (letter, text) in [(SUBJECT, subject), (REPLY, reply)] {
        if let Some(text) = text {
            append_option(to, letter, text);
        }
    }
    if let Some(header) = header {
        debug_assert!(!header.is_empty());
        to.extend_from_slice(&[HEADER, b'=']);
        append_base64(to, header);
        to.push(b' ');
    }
}

fn append_option(to: &mut Vec<u8>, letter: u8, text: &[u8]) {
    debug_assert!(is_word(text));
    to.extend_from_slice(&[letter, b'=']);
    to.extend_from_slice(text);
    to.push(b' ');
}

fn append_base64(to: &mut Vec<u8>, bytes: &[u8]) {
    let start = to.len();
    to.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut to[start..]);
    debug_assert_eq!(written, Ok(to.len() - start));
}

/// Appends a SIGNAL line to one link. `common` is the text of the options that are the same for all links
/// ([`encode_options`], [`Options::common`]), and `groups` those to serve beyond the link. If the groups are longer than
/// [`MAX_GROUPS_LENGTH`], the last of them are left out. Returns how many these are.
pub fn encode_signal<'a>(
    to: &mut Vec<u8>,
    id: SignalId,
    common: &[u8],
    groups: impl IntoIterator<Item = &'a [u8]>,
    line: &[&[u8]],
) -> usize {
    let left_out = encode_head(to, id, common, groups);
    encode::line(to, line);
    left_out
}

/// Appends a SIGNAL line as [`encode_signal`] does. If its end lies in `source`, a long line that is shared, that is not
/// copied.
pub fn append_signal<'a>(
    to: &mut Lines,
    id: SignalId,
    common: &[u8],
    groups: impl IntoIterator<Item = &'a [u8]>,
    line: &[&[u8]],
    source: Option<&SharedBytes>,
) -> usize {
    let left_out = encode_head(to.bytes(), id, common, groups);
    to.append(line, source);
    left_out
}

/// Appends all of a SIGNAL line before the line in it. Returns how many groups are left out.
fn encode_head<'a>(
    to: &mut Vec<u8>,
    id: SignalId,
    common: &[u8],
    groups: impl IntoIterator<Item = &'a [u8]>,
) -> usize {
    debug_assert!(common.is_empty() || common.ends_with(b" "));
    write!(to, "SIGNAL {id} ").expect("a Vec takes every write");
    to.extend_from_slice(common);
    let most = to.len() + MAX_GROUPS_LENGTH;
    let mut left_out = 0;
    for group in groups {
        // The letter, `=` and the blank.
        if left_out > 0 || to.len() + group.len() + 3 > most {
            left_out += 1;
        } else {
            append_option(to, GROUP, group);
        }
    }
    left_out
}
