//! The beginning of a file as a terminal may see it: text as text, anything else as a hex dump.

use super::escape::escape_text;
use std::fmt::Write;

/// Bytes in one line of a dump.
const ROW: usize = 16;

/// Whether `bytes`, the beginning of something, are no text: a control character other than tab, newline and carriage
/// return, or what is not UTF-8. A character that is merely cut off at the end is still text.
pub fn is_binary(bytes: &[u8]) -> bool {
    let control = |b: &u8| (*b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r')) || *b == 0x7f;
    let broken = std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_some());
    broken || bytes.iter().any(control)
}

/// `bytes` for a terminal, ended by a newline. `offset` is where in the file they stand.
pub fn preview(bytes: &[u8], offset: u64) -> String {
    if is_binary(bytes) {
        return dump(bytes, offset);
    }
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // Without the character that is cut off at the end.
        Err(error) => std::str::from_utf8(bytes.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default(),
    };
    let mut text = escape_text(whole.replace("\r\n", "\n").as_bytes());
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// One line for each sixteen bytes: where they stand, their values, and those that are ASCII.
pub fn dump(bytes: &[u8], offset: u64) -> String {
    let mut text = String::new();
    for (at, row) in (offset..).step_by(ROW).zip(bytes.chunks(ROW)) {
        let values: Vec<String> = row.chunks(ROW / 2).map(octets).collect();
        let ascii: String =
            row.iter().map(|&b| if b == b' ' || b.is_ascii_graphic() { b as char } else { '.' }).collect();
        let _ = writeln!(text, "{at:08x}  {:<48}  |{ascii}|", values.join("  ")); // writing to a String cannot fail
    }
    text
}

fn octets(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_shows_offset_values_and_ascii() {
        let lines = dump(b"\x7fELF\x02\x01\x01\0 0123456789", 0x20);
        assert_eq!(
            lines,
            "00000020  7f 45 4c 46 02 01 01 00  20 30 31 32 33 34 35 36  |.ELF.... 0123456|\n\
             00000030  37 38 39                                          |789|\n"
        );
        assert_eq!(dump(b"", 0), "");
    }

    #[test]
    fn text_is_told_from_binary() {
        assert!(!is_binary(b"plain\ttext\r\n"));
        assert!(!is_binary("é".as_bytes()));
        assert!(!is_binary(&"abc€".as_bytes()[..5]), "a character cut off at the end is text");
        for binary in [&b"\0"[..], b"\x1b[2J", b"\x7f", b"\xff\xfe", b"a\xc3("] {
            assert!(is_binary(binary), "{binary:?}");
        }
    }

    #[test]
    fn a_preview_ends_its_last_line_and_hides_direction_marks() {
        assert_eq!(preview(b"a\r\nb\\r\n", 0), "a\nb\\r\n");
        assert_eq!(preview(b"", 0), "");
        assert_eq!(preview(&"abc€".as_bytes()[..5], 0), "abc\n");
        assert_eq!(preview("x\u{202e}y".as_bytes(), 0), "x\\u{202e}y\n");
        assert!(preview(b"\x1b[2J", 0).starts_with("00000000  1b 5b"));
    }
}
