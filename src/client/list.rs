//! Names and lines out of a file or from standard input, one at a time: `--files-from`, and the commands of a batch.

use super::display::escape::escape;
use super::failure::{Exit, Failure};
use super::limits;
use super::password::StandardInput;
use super::stop::Stop;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Pieces of a file that end with a certain byte.
pub struct List {
    input: BufReader<Box<dyn Read>>,
    is_standard_input: bool,
    end: u8,
    /// What it is called in a sentence.
    pub shown: String,
}

impl List {
    /// Opens a list; `-` is standard input. With `gently` nothing is read beyond the piece in hand: what follows may be meant for
    /// somebody else.
    pub fn open(path: &Path, end: u8, gently: bool) -> Result<Self, Failure> {
        let is_standard_input = path.as_os_str() == "-";
        let (input, shown): (Box<dyn Read>, _) = match is_standard_input {
            true => (Box::new(StandardInput), "standard input".to_owned()),
            false => {
                let shown = escape(path.as_os_str().as_bytes());
                (Box::new(File::open(path).map_err(|why| Failure::new(Exit::Local, format!("{shown}: {why}")))?), shown)
            }
        };
        let room = if gently && is_standard_input { 1 } else { limits::LINE };
        Ok(List { input: BufReader::with_capacity(room, input), is_standard_input, end, shown })
    }

    /// The next piece, without its end; `None` at the end of the list.
    pub fn next(&mut self, stop: &Stop) -> Result<Option<Vec<u8>>, Failure> {
        let mut piece = Vec::new();
        loop {
            if self.is_standard_input && self.input.buffer().is_empty() {
                stop.wait_readable(io::stdin().as_fd())?;
            }
            let there = match self.input.fill_buf() {
                Ok(there) => there,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(why) => return Err(Failure::new(Exit::Local, format!("cannot read {}: {why}", self.shown))),
            };
            if there.is_empty() {
                return Ok((!piece.is_empty()).then_some(piece));
            }
            let end = there.iter().position(|byte| *byte == self.end);
            piece.extend_from_slice(there.get(..end.unwrap_or(there.len())).unwrap_or_default());
            let taken = end.map_or(there.len(), |end| end + 1);
            self.input.consume(taken);
            if piece.len() > limits::LINE {
                let text = format!("{}: a line is longer than {} bytes", self.shown, limits::LINE);
                return Err(Failure::new(Exit::Usage, text));
            }
            if end.is_some() {
                return Ok(Some(piece));
            }
        }
    }

    /// The next names, `most` at most; none at the end. Empty ones do not count.
    pub fn names(&mut self, most: usize, stop: &Stop) -> Result<Vec<OsString>, Failure> {
        let mut names = Vec::new();
        while names.len() < most {
            stop.check()?;
            match self.next(stop)? {
                None => break,
                Some(name) if name.is_empty() => {}
                Some(name) if name.contains(&0) => {
                    let text = format!("{}: names end with NUL bytes there, which -0 takes", self.shown);
                    return Err(Failure::new(Exit::Usage, text));
                }
                Some(name) => names.push(OsString::from_vec(name)),
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(content: &[u8], end: u8, most: usize) -> Vec<Vec<OsString>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        std::fs::write(&path, content).unwrap();
        let (mut list, stop) = (List::open(&path, end, false).unwrap(), Stop::deaf());
        std::iter::from_fn(|| Some(list.names(most, &stop).unwrap()).filter(|names| !names.is_empty())).collect()
    }

    #[test]
    fn names_come_a_part_at_a_time_as_they_are() {
        assert_eq!(names(b"a\n\n b \n#c\nd", b'\n', 3), [vec!["a", " b ", "#c"], vec!["d"]]);
        assert_eq!(names(b"a\nb\0c\0", 0, 9), [["a\nb", "c"]]);
        assert!(names(b"", b'\n', 9).is_empty() && names(b"\n\n", b'\n', 9).is_empty());
    }

    #[test]
    fn a_list_without_line_ends_takes_no_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        std::fs::write(&path, vec![b'x'; 4 * limits::LINE]).unwrap();
        let read = List::open(&path, b'\n', false).unwrap().next(&Stop::deaf());
        assert_eq!(read.err().map(|failure| failure.exit), Some(Exit::Usage));
        assert_eq!(
            List::open(Path::new("/nowhere/list"), 0, false).err().map(|failure| failure.exit),
            Some(Exit::Local)
        );
    }
}
