//! Lines: text ended by LF, CRLF accepted, at most [`limits::LINE`] bytes.

use super::limits;
use thiserror::Error;

/// Why bytes are not a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadLine {
    /// No end within the limit. Where the next line begins cannot be known: the connection must close.
    #[error("the line is longer than {} bytes", limits::LINE)]
    TooLong,
    /// Not UTF-8.
    #[error("the line is not UTF-8 text; percent-encode other bytes")]
    NotUtf8,
    /// A byte below 0x20, or 0x7F.
    #[error("the line holds a control byte; percent-encode it")]
    Control,
}

/// Finds the end of the first line in `bytes`: how many bytes it takes with its ending, `None` while it is incomplete.
pub fn end(bytes: &[u8]) -> Result<Option<usize>, BadLine> {
    let window = &bytes[..bytes.len().min(limits::LINE)];
    match window.iter().position(|&b| b == b'\n') {
        Some(at) => Ok(Some(at + 1)),
        None if window.len() == limits::LINE => Err(BadLine::TooLong),
        None => Ok(None),
    }
}

/// The text of a line, its ending removed and its characters checked.
pub fn text(line: &[u8]) -> Result<&str, BadLine> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.iter().any(|&b| b < 0x20 || b == 0x7f) {
        return Err(BadLine::Control);
    }
    std::str::from_utf8(line).map_err(|_| BadLine::NotUtf8)
}

/// Whether the beginning of a line holds a byte that no line can hold, whatever follows.
pub fn has_control(begun: &[u8]) -> bool {
    begun.iter().any(|&b| (b < 0x20 && b != b'\r') || b == 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_at_lf_and_loses_its_cr() {
        assert_eq!(end(b"PING\r\nx"), Ok(Some(6)));
        assert_eq!(text(b"PING\r\n"), Ok("PING"));
        assert_eq!(text(b"PING\n"), Ok("PING"));
        assert_eq!(end(b"PIN"), Ok(None));
    }

    #[test]
    fn the_limit_counts_the_ending() {
        let mut line = vec![b'a'; limits::LINE];
        assert_eq!(end(&line), Err(BadLine::TooLong));
        assert_eq!(end(&line[..limits::LINE - 1]), Ok(None));
        line[limits::LINE - 1] = b'\n';
        assert_eq!(end(&line), Ok(Some(limits::LINE)));
        line.insert(0, b'a');
        assert_eq!(end(&line), Err(BadLine::TooLong));
    }

    #[test]
    fn control_bytes_and_broken_utf8_are_refused() {
        for b in (0u8..0x20).chain([0x7f]).filter(|&b| b != b'\n') {
            let line = [b'A', b, b'B', b'\n'];
            assert_eq!(text(&line), Err(BadLine::Control), "{b:#x}");
        }
        assert_eq!(text(b"a\rb\n"), Err(BadLine::Control));
        assert_eq!(text(b"\xff\n"), Err(BadLine::NotUtf8));
        assert_eq!(text("grün\n".as_bytes()), Ok("grün"));
    }
}
