//! Names as a terminal may see them. A name is bytes that somebody else chose: printed raw it could move the cursor, rename
//! the window, or hide what stands beside it.

use crate::proto::unseen::is_unsafe;
use std::fmt::Write;

/// Prints `bytes` so that a terminal shows them and does nothing else: control characters (C0, DEL, C1), marks that turn the
/// direction of writing or cannot be seen, bytes that are not UTF-8, and the backslash become `\n`, `\xNN`, `\u{…}`, `\\`.
/// The shell of the client reads the same notation, so a name can be copied from a listing.
pub fn escape(bytes: &[u8]) -> String {
    escape_where(bytes, &[])
}

/// Like [`escape`], for text of many lines: newlines and tabs stay.
pub fn escape_text(bytes: &[u8]) -> String {
    escape_where(bytes, &['\n', '\t'])
}

fn escape_where(bytes: &[u8], kept: &[char]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                _ if kept.contains(&c) => text.push(c),
                '\\' if kept.is_empty() => text.push_str(r"\\"),
                '\n' => text.push_str(r"\n"),
                '\t' => text.push_str(r"\t"),
                '\r' => text.push_str(r"\r"),
                // Writing to a String cannot fail.
                _ if c.is_ascii_control() => drop(write!(text, r"\x{:02x}", c as u32)),
                _ if is_unsafe(c) => drop(write!(text, r"\u{{{:x}}}", c as u32)),
                _ => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, r"\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_would_obey_is_spelled_out() {
        for (name, shown) in [
            (&b"\x1b]0;x\x07"[..], r"\x1b]0;x\x07"),
            (b"\x1b[2J", r"\x1b[2J"),
            (b"a\rb", r"a\rb"),
            (b"a\nb", r"a\nb"),
            (b"\x9b31m", r"\x9b31m"),
            ("\u{9b}31m".as_bytes(), r"\u{9b}31m"),
            (b"\x7f\x08\0", r"\x7f\x08\x00"),
            ("a\u{202e}gpj.exe".as_bytes(), r"a\u{202e}gpj.exe"),
            ("\u{61c}\u{200f}\u{2066}\u{feff}".as_bytes(), r"\u{61c}\u{200f}\u{2066}\u{feff}"),
            (br"back\slash", r"back\\slash"),
            (b"caf\xe9", r"caf\xe9"),
            ("ça va 日本 🎉".as_bytes(), "ça va 日本 🎉"),
            (b" \"$(x)' ", " \"$(x)' "),
        ] {
            assert_eq!(escape(name), shown);
        }
    }

    #[test]
    fn text_keeps_its_lines_and_backslashes() {
        assert_eq!(escape_text(b"a\\b\n\tc\x1b[0m\r\n"), "a\\b\n\tc\\x1b[0m\\r\n");
    }

    proptest! {
        #[test]
        fn nothing_escaped_is_unsafe(name in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(!escape(&name).chars().any(is_unsafe));
            prop_assert!(!escape_text(&name).chars().any(|c| is_unsafe(c) && c != '\n' && c != '\t'));
        }
    }
}
