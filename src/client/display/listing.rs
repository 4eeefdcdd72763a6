//! A listing as it is printed: sorted where it is short enough to be held, as it comes where it is not.

use super::json::Object;
use super::output::Output;
use crate::client::failure::Failure;
use crate::proto::answer::Entry;
use crate::proto::{EntryKind, Mtime};
use time::OffsetDateTime;
use time::macros::format_description;

/// Entries that are held for sorting. What is longer is printed as it comes, in constant memory.
const HELD: usize = 10_000;

/// A listing that is being received.
pub struct Listing<'a> {
    output: &'a Output,
    long: bool,
    held: Vec<Entry>,
    streaming: bool,
}

impl<'a> Listing<'a> {
    /// A listing to `output`; a `long` one tells type, size and time too.
    pub fn new(output: &'a Output, long: bool) -> Self {
        Listing { output, long, held: Vec::new(), streaming: false }
    }

    /// Takes one entry.
    pub fn push(&mut self, entry: Entry) -> Result<(), Failure> {
        if self.streaming {
            return row(self.output, self.long, &entry, entry.path.as_bytes());
        }
        self.held.push(entry);
        if self.held.len() < HELD {
            return Ok(());
        }
        self.streaming = true;
        self.print_held()
    }

    /// Prints what is still held.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.held.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        self.print_held()
    }

    fn print_held(&mut self) -> Result<(), Failure> {
        for entry in std::mem::take(&mut self.held) {
            row(self.output, self.long, &entry, entry.path.as_bytes())?;
        }
        self.output.flush()
    }
}

/// Prints one entry under `name`.
pub fn row(output: &Output, long: bool, entry: &Entry, name: &[u8]) -> Result<(), Failure> {
    if output.json {
        return output.object(&Object::entry(entry, name));
    }
    let mut line = Vec::new();
    if long {
        let columns = format!("{:<5} {:>14} {} ", entry.kind.as_str(), entry.size, utc(entry.mtime));
        line.extend_from_slice(columns.as_bytes());
    }
    line.extend_from_slice(&output.name(name));
    if output.out_is_terminal && entry.kind == EntryKind::Dir {
        line.push(b'/');
    }
    line.push(b'\n');
    output.data(&line)
}

/// A time as RFC 3339 writes it, to the second; one that no calendar holds as seconds since 1970.
pub fn utc(time: Mtime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let date = OffsetDateTime::from_unix_timestamp(time.seconds).ok();
    date.and_then(|date| date.format(format).ok()).unwrap_or_else(|| format!("{:<20}", time.seconds))
}

/// A line of `sha256sum`: a name that holds a backslash or a line ending is escaped, and the line begins with a backslash.
pub fn checksum_line(digest: &str, name: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    if name.iter().any(|b| matches!(b, b'\\' | b'\n' | b'\r')) {
        line.push(b'\\');
    }
    line.extend_from_slice(format!("{digest}  ").as_bytes());
    for &byte in name {
        match byte {
            b'\\' => line.extend_from_slice(br"\\"),
            b'\n' => line.extend_from_slice(br"\n"),
            b'\r' => line.extend_from_slice(br"\r"),
            _ => line.push(byte),
        }
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::display::output::Volume;
    use crate::client::display::output::tests::kept;
    use crate::proto::RemotePath;

    fn entry(name: &[u8]) -> Entry {
        let mtime = Mtime { seconds: 1_700_000_000, nanos: 5 };
        Entry { kind: EntryKind::File, size: 6, mtime, path: RemotePath::from_bytes(name).unwrap() }
    }

    #[test]
    fn a_short_listing_is_sorted_and_its_names_are_raw_in_a_pipe() {
        let (output, out, _) = kept(false, Volume::Normal);
        let mut listing = Listing::new(&output, false);
        for name in [&b"b c"[..], b"a\n\x1b", b"c"] {
            listing.push(entry(name)).unwrap();
        }
        listing.finish().unwrap();
        assert_eq!(out.text(), "a\n\x1b\nb c\nc\n");
    }

    #[test]
    fn a_long_listing_is_printed_as_it_comes() {
        let (output, out, _) = kept(false, Volume::Normal);
        let mut listing = Listing::new(&output, false);
        for number in (0..HELD + 5).rev() {
            listing.push(entry(number.to_string().as_bytes())).unwrap();
            assert!(listing.held.len() < HELD);
        }
        assert_eq!(out.text().lines().count(), HELD + 5, "nothing waits for the end");
        listing.finish().unwrap();
        assert_eq!(out.text().lines().count(), HELD + 5);
    }

    #[test]
    fn the_columns_of_a_long_row() {
        let (output, out, _) = kept(false, Volume::Normal);
        row(&output, true, &entry(b"x"), b"x").unwrap();
        assert_eq!(out.text(), "file               6 2023-11-14T22:13:20Z x\n");
        assert_eq!(utc(Mtime { seconds: i64::MAX, nanos: 0 }).trim(), i64::MAX.to_string());
        assert_eq!(utc(Mtime { seconds: -1, nanos: 0 }), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn checksums_are_written_as_sha256sum_writes_them() {
        assert_eq!(checksum_line("ab", b"a b"), b"ab  a b\n");
        assert_eq!(checksum_line("ab", b"a\\\nb"), b"\\ab  a\\\\\\nb\n");
    }
}
