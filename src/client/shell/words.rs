//! A typed line as words: spaces separate, quotes and backslashes keep together.
//!
//! `'…'` takes everything as it stands; within `"…"` and outside quotes a backslash takes the next character as it is, and
//! `\n`, `\t`, `\r`, `\xNN`, `\u{…}` mean what a listing prints with them, so that any name can be typed.

use crate::client::display::escape::escape;
use crate::client::glob;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use thiserror::Error;

/// Why a line is not a row of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadWords {
    /// A quote without its end.
    #[error("a quote is not closed")]
    Quote,
    /// A backslash with nothing after it, or an escape that means nothing.
    #[error("a backslash is followed by nothing that it could mean")]
    Backslash,
}

/// A word as it was scanned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Word {
    /// Where in the line it begins.
    pub start: usize,
    /// Its bytes, quotes and backslashes removed, each with whether it was quoted.
    bytes: Vec<(u8, bool)>,
}

impl Word {
    /// The bytes alone.
    pub fn text(&self) -> Vec<u8> {
        self.bytes.iter().map(|(byte, _)| *byte).collect()
    }

    /// The word as commands take it: if it holds a `*` or `?`, as a pattern, in which a backslash takes from the next
    /// character its meaning; otherwise as it is.
    fn argument(&self) -> OsString {
        let text = self.text();
        if !glob::is_pattern(&text) {
            return OsString::from_vec(text);
        }
        let mut pattern = Vec::with_capacity(text.len());
        for &(byte, quoted) in &self.bytes {
            if byte == b'\\' || (quoted && matches!(byte, b'*' | b'?' | b'{' | b'}')) {
                pattern.push(b'\\');
            }
            pattern.push(byte);
        }
        OsString::from_vec(pattern)
    }
}

/// What a line holds as far as it goes: its words, and what is wrong with its end.
pub struct Scan {
    /// The words; the last one may be unfinished.
    pub words: Vec<Word>,
    /// Whether the line ends within the last word, so that more letters would join it.
    pub open: bool,
    /// What stands unfinished at the end.
    pub bad: Option<BadWords>,
}

/// Splits a line into the words that a command takes.
pub fn split(line: &[u8]) -> Result<Vec<OsString>, BadWords> {
    let scan = scan(line);
    match scan.bad {
        Some(bad) => Err(bad),
        None => Ok(scan.words.iter().map(Word::argument).collect()),
    }
}

/// Scans a line that need not be complete.
pub fn scan(line: &[u8]) -> Scan {
    let mut words: Vec<Word> = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote: Option<u8> = None;
    let mut bad = None;
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        let start = at;
        at += 1;
        if quote.is_none() && matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            words.extend(word.take());
            continue;
        }
        let current = word.get_or_insert_with(|| Word { start, bytes: Vec::new() });
        match (byte, quote) {
            (b'\'' | b'"', None) => quote = Some(byte),
            (_, Some(open)) if open == byte => quote = None,
            (b'\\', None | Some(b'"')) => match unescape(line.get(at..).unwrap_or_default()) {
                Some((bytes, length)) => {
                    current.bytes.extend(bytes.into_iter().map(|byte| (byte, true)));
                    at += length;
                }
                None => {
                    bad = Some(BadWords::Backslash);
                    break;
                }
            },
            _ => current.bytes.push((byte, quote.is_some())),
        }
    }
    let open = word.is_some();
    words.extend(word);
    Scan { words, open, bad: bad.or(quote.map(|_| BadWords::Quote)) }
}

/// What an escape stands for, and how many bytes follow its backslash.
fn unescape(rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (&first, tail) = rest.split_first()?;
    match first {
        b'n' => Some((vec![b'\n'], 1)),
        b't' => Some((vec![b'\t'], 1)),
        b'r' => Some((vec![b'\r'], 1)),
        b'x' => {
            let digits = tail.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
            let value = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            Some((vec![value], 3))
        }
        b'u' => {
            let inner = tail.strip_prefix(b"{")?;
            let end = inner.iter().position(|&b| b == b'}')?;
            let digits = inner.get(..end).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
            let c = char::from_u32(u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?)?;
            Some((c.to_string().into_bytes(), end + 3))
        }
        other => Some((vec![other], 1)),
    }
}

/// Writes `name` so that [`split`] reads it back as that one word. With backslashes, not quotes: so a directory can be completed
/// further without a quote that waits for its end.
pub fn quote(name: &[u8]) -> String {
    if name.is_empty() {
        return "''".into();
    }
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            let shown = escape(c.encode_utf8(&mut [0; 4]).as_bytes());
            if shown.len() == c.len_utf8() && !c.is_alphanumeric() && !"-._~@:+,=/%".contains(c) {
                text.push('\\');
            }
            text.push_str(&shown);
        }
        text.push_str(&escape(chunk.invalid()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt;

    fn words(line: &str) -> Vec<String> {
        split(line.as_bytes()).unwrap().into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn quotes_and_backslashes_keep_words_together() {
        assert_eq!(words("put  a\tb "), ["put", "a", "b"]);
        assert_eq!(words(r#"get "my file" 'a "b" c' d\ e"#), ["get", "my file", "a \"b\" c", "d e"]);
        assert_eq!(words(r#"x"y z"'w'"#), ["xy zw"]);
        assert_eq!(words(r#"'' """#), ["", ""]);
        assert_eq!(words(r"a\tb \x41 \u{e9} \\"), ["a\tb", "A", "é", "\\"]);
        assert_eq!(words(r"'\n'"), ["\\n"]);
        assert!(words("  ").is_empty());
    }

    #[test]
    fn what_is_not_finished_is_said() {
        assert_eq!(split(b"a 'b"), Err(BadWords::Quote));
        assert_eq!(split(b"\"b"), Err(BadWords::Quote));
        for line in [&b"a\\"[..], br"\x4", br"\xzz", br"\u{110000}", br"\u12", br"\u{"] {
            assert_eq!(split(line), Err(BadWords::Backslash));
        }
    }

    #[test]
    fn a_quoted_star_is_a_letter_and_a_bare_one_a_pattern() {
        assert_eq!(words("rm *.txt"), ["rm", "*.txt"]);
        assert_eq!(words("rm '*'.txt"), ["rm", r"\*.txt"]);
        assert_eq!(words(r"rm \*?"), ["rm", r"\*?"]);
        assert_eq!(words(r"rm 'a\b'"), ["rm", r"a\b"], "no pattern: the name as it is");
        assert_eq!(words(r"rm 'a\b'*"), ["rm", r"a\\b*"]);
    }

    #[test]
    fn an_unfinished_line_tells_where_its_last_word_begins() {
        let line = scan(br#"get "my f"#);
        assert!(line.open);
        assert_eq!(line.words[1].start, 4);
        assert_eq!(line.words[1].text(), b"my f");
        assert!(!scan(b"get ").open);
    }

    proptest! {
        #[test]
        fn any_name_survives_quoting(name in proptest::collection::vec(1u8..=255, 0..60)) {
            let line = format!("get {} x", quote(&name));
            let words = split(line.as_bytes()).unwrap();
            prop_assert_eq!(words.len(), 3);
            prop_assert_eq!(glob::literal(words[1].as_bytes()), name);
        }

        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = split(&line);
        }
    }
}
