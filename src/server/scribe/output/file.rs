//! A file of lines that only grows: the audit, or the log. Every line in it is whole. It is found again after it was put away
//! (logrotate(8)): a file that no longer stands at its path is written to no more, so that what is compressed is complete.

use super::opening;
use crate::proto::limits;
use crate::sys::ofd;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long lines wait for whoever put a file away to say that another may be made: logrotate makes one itself if it is told to.
const PUT_AWAY: Duration = Duration::from_millis(500);

/// How long one's turn to change a file is waited for, which others have for a moment at a time: one that stands still must not stop this one.
const TURN: Duration = Duration::from_millis(500);

/// Bytes at the end of a file among which the beginning of a torn line is looked for.
const TAIL: u64 = 128 * 1024;

/// A file that lines are added to.
pub struct LineFile {
    path: PathBuf,
    open: Option<Open>,
    /// Whole lines that are still to be written.
    waiting: String,
    /// Lines that had no room among those.
    lost: u64,
    /// Why nothing can be written.
    trouble: Option<String>,
    /// Since when the file has not been at its path.
    away: Option<Instant>,
    /// Whether room is kept ready ahead.
    keeps_room: bool,
}

/// The file itself.
struct Open {
    file: File,
    /// Device and number.
    id: (u64, u64),
    /// Up to where the disk's room is taken already; `None` where the file system cannot do that.
    taken: Option<u64>,
}

impl LineFile {
    /// The file at `path`, opened when the first line is written; with `keeps_room`, room for more is always taken ahead.
    pub fn new(path: PathBuf, keeps_room: bool) -> Self {
        LineFile { path, open: None, waiting: String::new(), lost: 0, trouble: None, away: None, keeps_room }
    }

    /// Adds a line, its end included. It is written with the next [`flush`](Self::flush).
    pub fn push(&mut self, line: &str) {
        if self.waiting.len() + line.len() > limits::LINES_WAITING {
            self.lost += 1;
        } else {
            self.waiting.push_str(line);
        }
    }

    /// Writes what waits, with one call where that is enough.
    pub fn flush(&mut self) {
        if self.waiting.is_empty() && self.trouble.is_none() {
            return;
        }
        let result = match self.is_put_away() {
            Ok(true) => Ok(()),
            Ok(false) => self.try_flush_at_its_path(),
            Err(why) => Err(why),
        };
        self.trouble = result.err();
    }

    /// Why nothing can be written, if that is so.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// How many lines were lost, once others can be written again.
    pub fn recovered(&mut self) -> u64 {
        if self.trouble.is_none() && self.waiting.is_empty() { std::mem::take(&mut self.lost) } else { 0 }
    }

    /// Whether every line that was added is in the file. That no room could be taken for more does not change it.
    pub fn is_complete(&self) -> bool {
        self.waiting.is_empty() && self.lost == 0
    }

    /// Whether there is something to try again soon.
    pub fn is_behind(&self) -> bool {
        !self.is_complete() || self.trouble.is_some()
    }

    /// Lets go of the file, and goes on in the one that is at the path then.
    pub fn reopen(&mut self) {
        self.away = None;
        if self.open.is_some() {
            self.trouble = self.renew().err();
        }
    }

    /// Takes the file that is at the path now. What waits goes there: the old one may be compressed already.
    fn renew(&mut self) -> Result<(), String> {
        let new = open(&self.path)?;
        if self.open.as_ref().is_some_and(|old| old.id == new.id) {
            return Ok(());
        }
        if let Some(old) = self.open.replace(new)
            && let Some(_turn) = Turn::of(&old.file)
        {
            let _ = old.file.metadata().and_then(|found| old.file.set_len(found.len())); // gives back the room that was taken ahead
        }
        self.take_room()
    }

    /// Writes what waits. Where the file was put away in that very moment, whoever compresses it may have missed that: then it waits again, and
    /// stands in both files rather than in none.
    fn try_flush_at_its_path(&mut self) -> Result<(), String> {
        let lines = self.waiting.clone();
        self.try_flush()?;
        let Some(open) = &self.open else { return Ok(()) };
        if !self.path.symlink_metadata().is_ok_and(|found| id_of(&found) == open.id) {
            self.waiting = lines;
        }
        Ok(())
    }

    fn try_flush(&mut self) -> Result<(), String> {
        if self.open.is_none() {
            self.open = Some(open(&self.path)?);
        }
        self.write_out()?;
        self.take_room()
    }

    /// Whether the file has been put away a moment ago and nobody has said that another may be made. One that stands there already is taken.
    fn is_put_away(&mut self) -> Result<bool, String> {
        let Some(open) = &self.open else { return Ok(false) };
        match self.path.symlink_metadata() {
            Ok(found) if id_of(&found) == open.id => self.away = None,
            Err(why) if why.kind() != io::ErrorKind::NotFound => {}
            Err(_) if self.away.get_or_insert_with(Instant::now).elapsed() < PUT_AWAY => return Ok(true),
            _ => {
                self.renew()?;
                self.away = None;
            }
        }
        Ok(false)
    }

    fn write_out(&mut self) -> Result<(), String> {
        let Some(open) = &self.open else { return Ok(()) };
        let _turn = Turn::of(&open.file);
        while !self.waiting.is_empty() {
            match (&open.file).write(self.waiting.as_bytes()) {
                Ok(0) => return Err(self.cannot("write", "nothing was taken")),
                Ok(count) => {
                    let kept = open.whole(self.waiting.as_bytes(), count);
                    self.waiting.drain(..kept);
                    if kept < count {
                        return Err(self.cannot("write", Errno::ENOSPC.desc()));
                    }
                }
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return Err(self.cannot("write", why)),
            }
        }
        Ok(())
    }

    /// Takes room ahead where less than half of it is left.
    fn take_room(&mut self) -> Result<(), String> {
        let (true, Some(open)) = (self.keeps_room, &mut self.open) else { return Ok(()) };
        open.take_room().map_err(|why| self.cannot("have room for more in", why))
    }

    fn cannot(&self, what: &str, why: impl std::fmt::Display) -> String {
        format!("cannot {what} {}: {why}", self.path.display())
    }
}

/// One's turn to change a file. The scribe of a server that was killed writes its last while the next server starts already: who looked at
/// the file in the midst of that would take a line for torn that is not, and cut off what comes behind it.
struct Turn<'a>(&'a File);

impl<'a> Turn<'a> {
    /// Waits for it; `None` if another keeps it. Where there are no locks everybody has it at once.
    fn of(file: &'a File) -> Option<Self> {
        let until = Instant::now() + TURN;
        while matches!(ofd::try_lock(file, 0), Ok(false)) {
            if Instant::now() > until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(Turn(file))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        ofd::unlock(self.0, 0);
    }
}

impl Open {
    /// How many of the first `count` bytes of `lines`, which the file has taken, are to stay there: whole lines. The rest of a line is taken
    /// back; where that cannot be done it stays, and is completed later.
    fn whole(&self, lines: &[u8], count: usize) -> usize {
        let written = lines.get(..count).unwrap_or(lines);
        let whole = written.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole == count {
            return count;
        }
        let length = self.file.metadata().map(|found| found.len().saturating_sub((count - whole) as u64));
        if length.and_then(|length| self.file.set_len(length)).is_ok() { whole } else { count }
    }

    fn take_room(&mut self) -> io::Result<()> {
        let Some(taken) = self.taken else { return Ok(()) };
        let length = self.file.metadata()?.len();
        if taken.saturating_sub(length) > limits::AUDIT_ROOM / 2 {
            return Ok(());
        }
        let (from, room) = (i64::try_from(length), i64::try_from(limits::AUDIT_ROOM));
        let (Ok(from), Ok(room)) = (from, room) else { return Err(io::ErrorKind::FileTooLarge.into()) };
        match fallocate(&self.file, FallocateFlags::FALLOC_FL_KEEP_SIZE, from, room) {
            Ok(()) => self.taken = Some(length + limits::AUDIT_ROOM),
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => self.taken = None,
            Err(why) => return Err(why.into()),
        }
        Ok(())
    }
}

/// Opens a file of lines, and makes it if it is missing.
fn open(path: &Path) -> Result<Open, String> {
    let (file, found) = opening::make(path)?;
    mend(&file).map_err(|why| opening::cannot(path, &why))?;
    Ok(Open { file, id: id_of(&found), taken: Some(0) })
}

/// Whether a file of lines can be written, before anything else is done.
pub fn check(path: &Path) -> Result<(), String> {
    open(path).map(drop)
}

/// Takes the beginning of a line away that a crash has left at the end.
fn mend(mut file: &File) -> io::Result<()> {
    let Some(_turn) = Turn::of(file) else { return Ok(()) };
    let length = file.metadata()?.len();
    let from = length.saturating_sub(TAIL);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(TAIL).read_to_end(&mut tail)?;
    let whole = match tail.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => from + at as u64 + 1,
        None if from == 0 => 0,
        None => return Err(io::Error::other("it holds no lines")),
    };
    if whole < length { file.set_len(whole) } else { Ok(()) }
}

fn id_of(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_is_made_for_its_owner_and_group_and_a_torn_line_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let mut file = LineFile::new(path.clone(), true);
        file.push("a\n");
        file.flush();
        assert_eq!((file.trouble(), fs::metadata(&path).unwrap().mode() & 0o027), (None, 0));
        fs::write(&path, "a\nb").unwrap();
        let mut file = LineFile::new(path.clone(), false);
        file.push("c\n");
        file.flush();
        assert_eq!(read(&path), "a\nc\n");
    }

    #[test]
    fn a_line_that_another_is_writing_is_not_taken_for_torn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        fs::write(&path, "a\nhalf").unwrap();
        let other = File::options().append(true).open(&path).unwrap();
        let turn = Turn::of(&other);
        let opened = open(&path).unwrap();
        assert_eq!(read(&path), "a\nhalf");
        (&other).write_all(b" a line\n").unwrap();
        drop((turn, opened));
        fs::write(&path, "a\nhalf").unwrap();
        check(&path).unwrap();
        assert_eq!(read(&path), "a\n");
    }

    #[test]
    fn what_somebody_else_could_have_put_there_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("audit"), dir.path().join("other"));
        fs::write(&other, "x").unwrap();
        symlink(&other, &path).unwrap();
        assert!(check(&path).unwrap_err().contains("it is a link"));
        fs::remove_file(&path).unwrap();
        fs::hard_link(&other, &path).unwrap();
        assert!(check(&path).unwrap_err().contains("second name"));
        fs::remove_file(&other).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(check(&path).unwrap_err().contains("others may write"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(check(&path).is_err());
        fs::remove_dir(&path).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(check(&path).unwrap_err().contains("everybody may write to its directory"));
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_was_put_away_gets_no_line_more() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("audit"), dir.path().join("audit.1"));
        let mut file = LineFile::new(path.clone(), true);
        file.push("a\n");
        file.flush();
        fs::rename(&path, &old).unwrap();
        file.push("b\n");
        file.flush();
        assert!(file.is_behind() && !path.exists(), "it waits for a word");
        file.reopen();
        file.flush();
        assert_eq!((read(&old), read(&path)), ("a\n".into(), "b\n".into()));
        // Where no word comes, it helps itself; and a file that stands there already is taken at once.
        fs::rename(&path, &old).unwrap();
        file.push("c\n");
        file.flush();
        file.away = Some(Instant::now() - 2 * PUT_AWAY);
        file.flush();
        assert_eq!((read(&old), read(&path)), ("b\n".into(), "c\n".into()));
        fs::rename(&path, &old).unwrap();
        fs::write(&path, "").unwrap();
        file.push("d\n");
        file.flush();
        assert_eq!((read(&old), read(&path), file.is_behind()), ("c\n".into(), "d\n".into(), false));
    }

    #[test]
    fn of_a_line_that_went_half_nothing_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let open = open(&path).unwrap();
        (&open.file).write_all(b"old\nnew line\nhal").unwrap();
        assert_eq!(open.whole(b"new line\nhalf a line\n", 12), 9);
        assert_eq!(read(&path), "old\nnew line\n");
        assert_eq!(open.whole(b"new line\n", 9), 9);
    }

    #[test]
    fn what_waits_is_bounded_and_the_rest_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none/audit");
        let mut file = LineFile::new(path.clone(), false);
        let line = "x".repeat(1023) + "\n";
        (0..1100).for_each(|_| file.push(&line));
        file.flush();
        assert!(file.trouble().is_some() && file.recovered() == 0);
        fs::create_dir(dir.path().join("none")).unwrap();
        file.flush();
        assert_eq!(file.trouble(), None);
        assert_eq!((file.recovered(), file.recovered()), (76, 0));
        assert_eq!(read(&path).len(), limits::LINES_WAITING);
    }
}
