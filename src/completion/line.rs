//! A command line as far as it is typed, taken apart as bash, zsh and fish do where they agree: blanks part words, quotes and
//! backslashes keep them together. Nothing is expanded but a `~/` at the beginning.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// A line, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The words behind the program's name.
    pub words: Vec<OsString>,
    /// The word at the cursor, as far as it goes.
    pub current: OsString,
    /// Of that word what readline takes for words of their own: all up to the last `:` or `=` that is not quoted.
    pub kept: Vec<u8>,
}

/// Takes a line apart. What stands before the program's name (assignments, sudo) is passed over.
pub fn split(line: &OsStr, program: &str) -> Line {
    let (mut words, open) = scan(line.as_bytes());
    let (current, kept) = if open { words.pop().unwrap_or_default() } else { Default::default() };
    let named = |word: &(Vec<u8>, usize)| word.0.rsplit(|&b| b == b'/').next() == Some(program.as_bytes());
    let after = words.iter().position(named).map_or(1.min(words.len()), |at| at + 1);
    let words = words.into_iter().skip(after).map(|(word, _)| expanded(word)).collect();
    Line { words, kept: current.get(..kept).unwrap_or_default().to_vec(), current: expanded(current) }
}

fn expanded(word: Vec<u8>) -> OsString {
    match (word.strip_prefix(b"~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => OsString::from_vec([home.as_bytes(), b"/", rest].concat()),
        _ => OsString::from_vec(word),
    }
}

/// A word, and how many of its bytes end with an unquoted `:` or `=`.
type Scanned = (Vec<u8>, usize);

/// The words, and whether the last one ends at the cursor.
fn scan(line: &[u8]) -> (Vec<Scanned>, bool) {
    let mut words = Vec::new();
    let mut word: Option<Scanned> = None;
    let mut quote: Option<u8> = None;
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if quote.is_none() && matches!(byte, b' ' | b'\t' | b'\n') {
            words.extend(word.take());
            continue;
        }
        let (current, kept) = word.get_or_insert_default();
        match (byte, quote) {
            (b'\'' | b'"', None) => quote = Some(byte),
            (_, Some(open)) if byte == open => quote = None,
            (b'\\', None) => current.extend(bytes.next()),
            // Within double quotes a backslash is one, except before what means something there.
            (b'\\', Some(b'"')) => {
                let next = bytes.next_if(|next| matches!(next, b'"' | b'\\' | b'$' | b'`'));
                current.push(next.unwrap_or(b'\\'));
            }
            _ => current.push(byte),
        }
        if quote.is_none() && matches!(byte, b':' | b'=') {
            *kept = current.len();
        }
    }
    let open = word.is_some();
    words.extend(word);
    (words, open)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(line: &str) -> (Vec<String>, String) {
        let line = split(OsStr::new(line), "dfos-client");
        (line.words.into_iter().map(|word| word.into_string().unwrap()).collect(), line.current.into_string().unwrap())
    }

    #[test]
    fn what_readline_keeps_ends_with_the_last_unquoted_colon() {
        for (line, kept) in [
            ("x tls://ho", "tls:"),
            ("x --to=a:b", "--to=a:"),
            ("x 'a:b", ""),
            ("x a\\:b", ""),
            ("x ab", ""),
            ("x a:b ", ""),
        ] {
            assert_eq!(split(OsStr::new(line), "x").kept, kept.as_bytes(), "{line}");
        }
    }

    #[test]
    fn words_end_where_shells_end_them() {
        for (line, words, current) in [
            ("dfos-client get ", &["get"][..], ""),
            ("dfos-client get no", &["get"], "no"),
            (r"dfos-client get my\ fi", &["get"], "my fi"),
            ("dfos-client get 'my fi", &["get"], "my fi"),
            ("dfos-client get \"it's", &["get"], "it's"),
            (r#"dfos-client get "a\"b\c"#, &["get"], r#"a"b\c"#),
            ("/usr/bin/dfos-client --server 'a b' ", &["--server", "a b"], ""),
            ("DFOS_USER=x sudo dfos-client ls ", &["ls"], ""),
            ("./other ls ", &["ls"], ""),
            ("", &[], ""),
            ("dfos-client get a\\", &["get"], "a"),
        ] {
            assert_eq!(
                parts(line),
                (words.iter().map(|word| word.to_string()).collect(), current.to_owned()),
                "{line}"
            );
        }
    }
}
