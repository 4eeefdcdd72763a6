//! The files of an audit, read and unpacked by one thread and cut into pieces of whole lines for another.

use crate::paper::escape::escape;
use crate::proto::limits;
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender};

/// Pieces under way: one that is parsed, one that waits, one that is filled.
pub const PIECES: usize = 3;

/// What comes out of the files.
#[derive(Debug)]
pub enum Piece {
    /// Whole lines; the last may lack its ending where the file ends.
    Lines {
        /// Of which file.
        file: usize,
        /// The number of the first, from 1.
        first: u64,
        /// Their bytes.
        bytes: Vec<u8>,
    },
    /// A line that is longer than a piece.
    TooLong {
        /// Of which file.
        file: usize,
        /// Its number.
        line: u64,
    },
    /// Why a file could not be read to its end.
    Trouble {
        /// Which.
        file: usize,
        /// Why.
        why: String,
    },
}

/// Somebody no longer wants what is read.
struct Unwanted;

/// Where an audit comes from.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    /// Its name, for people.
    pub shown: String,
}

/// The files that were named, each once. One that cannot be opened is known before anything is read.
pub fn sources(paths: &[PathBuf]) -> Result<Vec<Source>, String> {
    let mut known = Vec::new();
    let mut sources = Vec::new();
    for path in paths {
        let shown = escape(path.as_os_str().as_bytes());
        let why = |error| format!("cannot read {shown}: {error}");
        if is_standard_input(path) {
            if !known.contains(&None) {
                known.push(None);
                sources.push(Source { path: path.clone(), shown: "standard input".into() });
            }
            continue;
        }
        let meta = path.metadata().map_err(why)?;
        if meta.is_dir() {
            return Err(format!("{shown} is a directory: name the files in it"));
        }
        if meta.is_file() {
            drop(File::open(path).map_err(why)?); // one that is no file might be spoiled by that
        }
        let identity = Some((meta.dev(), meta.ino()));
        if !known.contains(&identity) {
            known.push(identity);
            sources.push(Source { path: path.clone(), shown });
        }
    }
    Ok(sources)
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Whether writing to `path` would destroy one of them.
pub fn any_is(sources: &[Source], path: &Path) -> bool {
    let same = |a: &Path| Some((a.metadata().ok()?, path.metadata().ok()?));
    let equal = |source: &Source| same(&source.path).is_some_and(|(a, b)| (a.dev(), a.ino()) == (b.dev(), b.ino()));
    sources.iter().any(equal)
}

/// Reads all of them, in their order, until nobody wants more. Buffers come back through `spare`.
pub fn read(sources: &[Source], to: SyncSender<Piece>, spare: Receiver<Vec<u8>>) {
    let mut cutter = Cutter { to, spare };
    for (file, source) in sources.iter().enumerate() {
        if cutter.read(file, source).is_err() {
            return;
        }
    }
}

fn open(source: &Source) -> io::Result<Box<dyn Read>> {
    let plain: Box<dyn Read> = match is_standard_input(&source.path) {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(&source.path)?),
    };
    // By its first bytes and not by its name: standard input has none, and rotated files have many.
    let mut reader = BufReader::with_capacity(limits::BUFFER, plain);
    let packed = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if packed { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) })
}

struct Cutter {
    to: SyncSender<Piece>,
    spare: Receiver<Vec<u8>>,
}

impl Cutter {
    fn read(&mut self, file: usize, source: &Source) -> Result<(), Unwanted> {
        let trouble = match open(source) {
            Ok(mut input) => self.cut(file, &mut *input)?.err(),
            Err(why) => Some(why),
        };
        match trouble {
            Some(why) => self.send(Piece::Trouble { file, why: said(&why) }),
            None => Ok(()),
        }
    }

    /// Cuts what can be read behind the last line ending that fits into a piece.
    fn cut(&mut self, file: usize, input: &mut dyn Read) -> Result<io::Result<()>, Unwanted> {
        let mut rest = Vec::new();
        let mut line = 1;
        let mut skipping = false;
        loop {
            let mut bytes = self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(limits::REPORT_CHUNK));
            bytes.clear();
            bytes.append(&mut rest);
            let room = limits::REPORT_CHUNK.saturating_sub(bytes.len()) as u64;
            let outcome = input.take(room).read_to_end(&mut bytes); // what came before an error is in it
            let ended = outcome.is_err() || bytes.len() < limits::REPORT_CHUNK;
            if skipping {
                let end = bytes.iter().position(|byte| *byte == b'\n');
                bytes.drain(..end.map_or(bytes.len(), |end| end + 1));
                skipping = end.is_none();
                line += u64::from(!skipping);
            }
            match bytes.iter().rposition(|byte| *byte == b'\n') {
                Some(last) if !ended => rest.extend(bytes.drain(last + 1..)),
                None if !ended && !bytes.is_empty() => {
                    self.send(Piece::TooLong { file, line })?;
                    bytes.clear();
                    skipping = true;
                }
                _ => {}
            }
            let first = line;
            line += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            if !bytes.is_empty() {
                self.send(Piece::Lines { file, first, bytes })?;
            }
            if ended {
                return Ok(outcome.map(|_| ()));
            }
        }
    }

    fn send(&self, piece: Piece) -> Result<(), Unwanted> {
        self.to.send(piece).map_err(|_| Unwanted)
    }
}

fn said(why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::UnexpectedEof => "its compressed content ends before its end; what was there is counted".into(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            format!("its compressed content is damaged ({why}); what stood before that is counted")
        }
        _ => why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;
    use std::sync::mpsc::{channel, sync_channel};

    /// All lines of a file with their numbers, and what else came.
    fn lines(content: &[u8]) -> (Vec<(u64, Vec<u8>)>, Vec<String>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, content).unwrap();
        let sources = sources(&[file.path().to_owned()]).unwrap();
        let (to, pieces) = sync_channel(PIECES);
        let (back, spare) = channel();
        let reader = std::thread::spawn(move || read(&sources, to, spare));
        let (mut lines, mut others) = (Vec::new(), Vec::new());
        for piece in pieces {
            match piece {
                Piece::Lines { first, bytes, .. } => {
                    let split = bytes.strip_suffix(b"\n").unwrap_or(&bytes).split(|byte| *byte == b'\n');
                    lines.extend(split.enumerate().map(|(n, line)| (first + n as u64, line.to_vec())));
                    let _ = back.send(bytes);
                }
                Piece::TooLong { line, .. } => others.push(format!("{line} too long")),
                Piece::Trouble { why, .. } => others.push(why),
            }
        }
        reader.join().unwrap();
        (lines, others)
    }

    fn packed(content: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(content).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn every_line_comes_once_with_its_number_packed_or_not() {
        let expected: Vec<(u64, Vec<u8>)> =
            (1..=40_000).map(|n| (n, format!("line {n} {}", "x".repeat(n as usize % 97)).into_bytes())).collect();
        let content = expected.iter().flat_map(|(_, line)| [line, &b"\n"[..]].concat()).collect::<Vec<u8>>();
        assert!(content.len() > 3 * limits::REPORT_CHUNK);
        assert_eq!(lines(&content), (expected.clone(), vec![]));
        assert_eq!(lines(&packed(&content)), (expected.clone(), vec![]));
        let half = content.len() / 2;
        let members = [packed(&content[..half]), packed(&content[half..])].concat();
        assert_eq!(lines(&members), (expected.clone(), vec![]), "gzip files may be laid one behind the other");
        assert_eq!(lines(&content[..content.len() - 1]).0.len(), 40_000, "the last without its ending");
    }

    #[test]
    fn a_line_without_end_takes_no_memory_and_the_next_is_read() {
        let content = [&b"a\n"[..], &vec![b'x'; 3 * limits::REPORT_CHUNK + 5], b"\nb\n"].concat();
        let (lines, others) = lines(&content);
        assert_eq!(lines, [(1, b"a".to_vec()), (3, b"b".to_vec())]);
        assert_eq!(others, ["2 too long"]);
    }

    #[test]
    fn a_packed_file_that_breaks_off_is_read_as_far_as_it_goes() {
        let content: Vec<u8> = (0..9000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let whole = packed(&content);
        let (lines, others) = lines(&whole[..whole.len() / 2]);
        assert!(lines.len() > 1000, "{}", lines.len());
        assert!(others.len() == 1 && others[0].contains("ends before its end"), "{others:?}");
    }

    #[test]
    fn a_file_that_was_named_twice_is_read_once_and_one_that_is_not_there_is_known_beforehand() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("audit"), dir.path().join("link"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("audit", &link).unwrap();
        let found = sources(&[file.clone(), link.clone(), "-".into(), "-".into()]).unwrap();
        assert_eq!(found.len(), 2);
        assert!(any_is(&found, &link) && !any_is(&found, &dir.path().join("new")));
        assert!(sources(&[dir.path().join("missing")]).unwrap_err().contains("cannot read"));
        assert!(sources(&[dir.path().to_owned()]).unwrap_err().contains("is a directory"));
    }
}
