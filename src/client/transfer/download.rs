//! One download: asked for, received, verified, and only then given its name.

use super::folder::Folder;
use super::part::{self, Part, Unfinished, Version};
use super::source::{hash_on, local};
use crate::client::connection::Connection;
use crate::client::display::escape::escape;
use crate::client::display::output::cannot_write;
use crate::client::failure::{Exit, Failure};
use crate::client::limits;
use crate::client::remote::Replace;
use crate::client::report::{Event, Report};
use crate::client::retry::{Context, Retry};
use crate::client::stop::Stop;
use crate::hash::Running;
use crate::net::{Intake, Pipe, Portion};
use crate::proto::answer::{BadAnswer, Fields};
use crate::proto::{Answer, Code, Digest, Mtime, RemotePath};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::libc::PIPE_BUF;
use nix::sys::stat::{fstat, fstatat};
use sha2::Sha256;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Where a download goes.
pub enum Place {
    /// Standard output, unverified until its end.
    Stdout,
    /// A name in a directory below one that the user named.
    File {
        /// The directory that the user named.
        root: Arc<Folder>,
        /// The way from there.
        dir: RemotePath,
        /// The name there.
        name: Vec<u8>,
    },
}

/// A local name without the dot that stands for where we are.
pub fn here(path: &Path) -> &Path {
    path.strip_prefix(".").unwrap_or(path)
}

/// Tells of a download, begun or only thought of.
pub fn tell(report: &dyn Report, remote: &RemotePath, to: &Path, size: u64) {
    let (name, to) = (remote.as_bytes(), Some(here(to).as_os_str().as_bytes()));
    report.event(Event::Step { verb: "get", name, to, bytes: Some(size) });
}

/// Where its bytes go while it runs.
enum Sink {
    Stdout,
    Part(Part),
}

/// A download with what it must know to go on after a lost connection.
pub struct Download {
    /// Its number in reports.
    pub file: u64,
    /// Its name on the server.
    pub remote: RemotePath,
    /// Where it goes.
    pub place: Place,
    /// Size and time, first as STAT or LIST told them, then as READY does.
    pub version: Version,
    /// Whether it may take the place of a file that has its name.
    pub replace: Replace,
    /// When it was begun, so that a repetition is not announced again.
    pub began: Option<Instant>,
    /// Bytes received, over all attempts.
    pub moved: u64,
    /// The directory it goes into, once that is open.
    folder: Option<Arc<Folder>>,
    sink: Option<Sink>,
    /// Bytes that the sink holds, and their hash.
    at: u64,
    hash: Running,
    /// The digest was wrong: the server is to read the file anew.
    fresh: bool,
    /// The file changed under our hands; that is accepted once.
    restarted: bool,
}

/// Why bytes have nowhere to go: `Ok` is the failure of this file, `Err` that of the whole command.
type Stuck = Result<Failure, Failure>;

/// How an attempt ended when the connection did not. The connection may have been given up all the same.
pub enum Settled {
    /// Whole, verified, under its name.
    Whole(Digest),
    /// Whole, and thrown away: somebody has taken its name meanwhile, which was to be left alone.
    Kept,
    /// To be asked for once more, from the beginning.
    Again,
    /// It failed.
    Failed(Failure),
}

impl Download {
    /// A download that has not begun.
    pub fn new(file: u64, remote: RemotePath, place: Place, version: Version) -> Self {
        Download {
            file,
            remote,
            place,
            version,
            replace: Replace::Replace,
            began: None,
            moved: 0,
            folder: None,
            sink: None,
            at: 0,
            hash: Running::new(),
            fresh: false,
            restarted: false,
        }
    }

    /// Looks for what an earlier attempt left in `folder`, before the first request. Reads all of that.
    pub fn prepare(&mut self, context: &Context, folder: Arc<Folder>) -> Result<(), Failure> {
        let Place::File { name, .. } = &self.place else { return Ok(()) };
        if self.folder.is_some() {
            return Ok(());
        }
        refuse_irreplaceable(&folder, name)?;
        self.folder = Some(folder.clone());
        let beginning = part::beginning(context.target, &self.remote);
        match Part::find(&folder, &beginning, self.version) {
            Some((part, length)) => self.go_on_with(part, length, context.stop),
            None => Ok(()),
        }
    }

    /// Goes on behind the first `length` bytes of `part`, which are read for that, or afresh where it has fewer.
    fn go_on_with(&mut self, mut part: Part, length: u64, stop: &Stop) -> Result<(), Failure> {
        (self.at, self.hash) = (0, Running::new());
        let path = part.path();
        let hasher = hash_on(Sha256::default(), part.file(), (0, length), stop, |why| local(&path, &why))?;
        if let Some(hasher) = hasher {
            part.cut(length)?;
            (self.at, self.hash) = (length, Running::after(length, hasher));
            self.sink = Some(Sink::Part(part));
        }
        Ok(())
    }

    /// Whether `folder` holds something of an earlier attempt.
    pub fn has_leftover(&self, context: &Context, folder: &Folder) -> bool {
        self.folder.is_none() && folder.leftovers(&part::beginning(context.target, &self.remote)).next().is_some()
    }

    /// Bytes that are still to come.
    pub fn left(&self) -> u64 {
        self.version.0.saturating_sub(self.at)
    }

    /// The step that it is, as it is told.
    pub fn tell(&self, report: &dyn Report) {
        let to = match &self.place {
            Place::Stdout => PathBuf::from("-"),
            Place::File { root, dir, name } => root.path_of(dir.as_bytes()).join(OsStr::from_bytes(name)),
        };
        tell(report, &self.remote, &to, self.version.0);
    }

    /// Asks for the file, from where we stand.
    pub fn request(&self, connection: &mut Connection) {
        let fresh = if self.fresh { " fresh" } else { "" };
        match self.at {
            0 => connection.queue(format_args!("DOWNLOAD {}{fresh}", self.remote)),
            at => connection.queue(format_args!("DOWNLOAD {} offset={at}{fresh}", self.remote)),
        }
    }

    /// Receives what was asked for. An error is the connection's: after it, the same download goes on over another one.
    pub fn receive(
        &mut self,
        connection: &mut Connection,
        retry: &mut Retry,
        context: &Context,
    ) -> Result<Settled, Failure> {
        let ready = match connection.answer()? {
            Answer::Ready(fields) => fields,
            Answer::Err(code, text) => {
                let failure = connection.refused(self.remote.as_bytes(), code, &text);
                return match connection.usable() {
                    false => Err(failure),
                    // Shorter than what we hold: it is another file now.
                    true if code == Code::BadRequest && self.at > 0 => Ok(self.changed()),
                    true => Ok(Settled::Failed(failure)),
                };
            }
            other => return Err(connection.unexpected(&other)),
        };
        let version = self.check_ready(connection, &ready)?;
        if self.at > 0 && version != self.version {
            connection.abandon();
            return Ok(self.changed());
        }
        self.version = version;
        if let Err(stuck) = self.open_sink(context) {
            connection.abandon();
            return stuck.map(Settled::Failed);
        }
        if self.at > 0 {
            context.report.event(Event::Resumed { file: self.file, at: self.at });
        }
        self.body(connection, retry, context)
    }

    /// Checks that what follows is what was asked for, to the byte.
    fn check_ready(&self, connection: &mut Connection, ready: &Fields) -> Result<Version, Failure> {
        let fields = || -> Result<(u64, u64, u64, Mtime), BadAnswer> {
            Ok((ready.number("size")?, ready.number("offset")?, ready.number("length")?, ready.value("mtime")?))
        };
        if ready.get("path").is_some_and(|path| path.parse() != Ok(self.remote.clone())) {
            connection.abandon();
            let text = format!("{}: the server sends another file than was asked for", self.shown());
            return Err(Failure::passing(Exit::Integrity, text));
        }
        let (size, offset, length, mtime) = fields().map_err(|why| connection.broken(why))?;
        if offset != self.at || offset.checked_add(length) != Some(size) {
            return Err(connection.broken("the server sends another part of the file than was asked for"));
        }
        Ok((size, mtime))
    }

    fn open_sink(&mut self, context: &Context) -> Result<(), Stuck> {
        if self.sink.is_some() {
            return Ok(());
        }
        self.sink = Some(match &self.folder {
            None => Sink::Stdout,
            Some(folder) => {
                let unfinished = if self.version.0 < limits::SMALL { Unfinished::Goes } else { Unfinished::Stays };
                let beginning = part::beginning(context.target, &self.remote);
                let created = Part::create(folder, &beginning, self.version, unfinished);
                Sink::Part(created.map_err(|why| self.stuck(&why))?)
            }
        });
        Ok(())
    }

    fn body(&mut self, connection: &mut Connection, retry: &mut Retry, context: &Context) -> Result<Settled, Failure> {
        let mut intake = self.intake();
        // Where the last piece began: an ABORT says how much of it is good.
        let mut piece = (self.at, 0);
        loop {
            match connection.answer()? {
                Answer::Data(n) if n as u64 <= self.version.0 - self.at => {
                    piece = (self.at, n as u64);
                    if let Err(failure) = self.piece(connection, retry, context, n, &mut intake)? {
                        connection.abandon();
                        return Ok(Settled::Failed(failure));
                    }
                }
                Answer::Data(_) => return Err(connection.broken("the server sends more than was asked for")),
                Answer::End(fields) if self.at == self.version.0 => {
                    let theirs: Digest = fields.value("sha256").map_err(|why| connection.broken(why))?;
                    context.report.event(Event::Settling { file: self.file });
                    return Ok(self.settle(theirs));
                }
                Answer::End(_) => return Err(connection.broken("the server ends a file before its end")),
                Answer::Abort(code, good, text) if good <= piece.1 => {
                    let failure = connection.refused(self.remote.as_bytes(), code, &text);
                    return self.aborted(failure, piece.0 + good, context.stop);
                }
                other => return Err(connection.unexpected(&other)),
            }
        }
    }

    /// Room for a portion of this file; a large one that goes into a file has a pipe.
    fn intake(&self) -> Intake {
        let intake = Intake::new(limits::PIECE.min(usize::try_from(self.version.0).unwrap_or(usize::MAX)));
        let large = self.version.0 >= limits::SMALL;
        if large && matches!(self.sink, Some(Sink::Part(_))) { intake.with(Pipe::open()) } else { intake }
    }

    /// Receives one piece. The inner error is local: the bytes have nowhere to go.
    fn piece(
        &mut self,
        connection: &mut Connection,
        retry: &mut Retry,
        context: &Context,
        length: usize,
        intake: &mut Intake,
    ) -> Result<Result<(), Failure>, Failure> {
        let mut left = length;
        while left > 0 {
            let n = connection.take_in(intake, left)?;
            if let Err(stuck) = self.put_away(intake.portion(), context.stop) {
                connection.abandon();
                return stuck.map(Err);
            }
            left -= n;
            self.at += n as u64;
            self.moved += n as u64;
            context.stop.check().inspect_err(|_| connection.abandon())?;
            retry.passed(n as u64);
            context.report.event(Event::Advanced { file: self.file, bytes: n as u64 });
        }
        Ok(Ok(()))
    }

    /// Hands a portion to where it goes, and to the hash.
    fn put_away(&mut self, portion: Portion, stop: &Stop) -> Result<(), Stuck> {
        let passed = match (&mut self.sink, portion) {
            (Some(Sink::Part(part)), portion) => self.hash.write(portion, part.file()),
            (_, Portion::Read(bytes)) => {
                write_out(bytes, stop).map_err(|failure| match failure.exit {
                    Exit::Interrupted => Err(failure),
                    _ => Ok(failure),
                })?;
                self.hash.passed(bytes, None)
            }
            (_, Portion::Piped(_)) => Err(io::ErrorKind::Unsupported.into()), // only a file is given a pipe
        };
        passed.map_err(|why| self.stuck(&why))
    }

    /// The server could not go on. What was good stays, and is gone on from where another connection may help: the server makes room for
    /// its next program, or ends and is back soon.
    fn aborted(&mut self, failure: Failure, good: u64, stop: &Stop) -> Result<Settled, Failure> {
        if failure.code == Some(Code::Changed) {
            return Ok(self.changed());
        }
        if good < self.at {
            match self.sink.take() {
                Some(Sink::Part(part)) => match self.go_on_with(part, good, stop) {
                    Err(local) if local.exit != Exit::Interrupted => return Ok(Settled::Failed(local)),
                    other => other?,
                },
                // What was printed cannot be taken back.
                _ => return Ok(Settled::Failed(Failure::new(Exit::Connect, failure.text))),
            }
        }
        if failure.retry { Err(failure) } else { Ok(Settled::Failed(failure)) }
    }

    /// All bytes are there: are they the right ones?
    fn settle(&mut self, theirs: Digest) -> Settled {
        let ours = match std::mem::take(&mut self.hash).finish() {
            Ok(ours) => ours,
            Err(why) => return self.unreadable(&why),
        };
        if ours != theirs {
            let wrong = format!("{}: the bytes received do not have the digest that the server states", self.shown());
            if self.fresh || !self.start_over() {
                return Settled::Failed(Failure::new(Exit::Integrity, wrong));
            }
            self.fresh = true;
            return Settled::Again;
        }
        let published = match (self.sink.take(), &self.place) {
            (Some(Sink::Part(part)), Place::File { name, .. }) => {
                part.publish(name, self.version.1, self.replace, self.version.0 >= limits::SMALL)
            }
            _ => io::stdout().flush().map_err(|why| cannot_write(&why)).map(|()| true),
        };
        match published {
            Ok(true) => Settled::Whole(ours),
            Ok(false) => Settled::Kept,
            Err(failure) => Settled::Failed(failure),
        }
    }

    /// The file on the server is not, or no longer, the one that we have a part of.
    fn changed(&mut self) -> Settled {
        if !self.restarted && self.start_over() {
            self.restarted = true;
            return Settled::Again;
        }
        let text =
            format!("{}: the file changes while it is received; try again when nothing writes to it", self.shown());
        Settled::Failed(Failure { code: Some(Code::Changed), ..Failure::new(Exit::Integrity, text) })
    }

    /// Throws away what we have. What went to standard output cannot be taken back.
    fn start_over(&mut self) -> bool {
        let gone = match self.sink.take() {
            Some(Sink::Part(part)) => {
                part.discard();
                true
            }
            Some(Sink::Stdout) => self.at == 0,
            None => true,
        };
        (self.at, self.hash) = (0, Running::new());
        gone
    }

    /// What a local error means, told of the file that the user knows and not of its unfinished part.
    fn stuck(&self, why: &io::Error) -> Stuck {
        let path = match (&self.folder, &self.place) {
            (Some(folder), Place::File { name, .. }) => folder.path_of(name),
            _ => OsStr::from_bytes(self.remote.as_bytes()).into(),
        };
        let failure = local(&path, why);
        // The next file would fare no better: a full disk, a used up quota, a file system that is read-only.
        match why.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOSPC | Errno::EDQUOT) => {
                let text = format!("{failure}; make room and run the same command again");
                Err(Failure { text, ..failure })
            }
            Some(Errno::EROFS) => Err(failure),
            _ => Ok(failure),
        }
    }

    /// What was written does not read back.
    fn unreadable(&mut self, why: &io::Error) -> Settled {
        let failure = match self.stuck(why) {
            Ok(failure) | Err(failure) => failure,
        };
        self.start_over();
        Settled::Failed(failure)
    }

    fn shown(&self) -> String {
        escape(self.remote.as_bytes())
    }
}

/// What cannot be replaced by a file: better known before a gigabyte has come.
fn refuse_irreplaceable(folder: &Folder, name: &[u8]) -> Result<(), Failure> {
    match fstatat(folder, OsStr::from_bytes(name), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) if stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR => {
            Err(part::is_directory(&folder.path_of(name)))
        }
        _ => part::mode_for(folder, name).map(drop),
    }
}

/// Writes to standard output, which may be a pipe that nobody empties: a pipe that is ready takes [`PIPE_BUF`] bytes at once
/// without blocking (pipe(7)), so that Ctrl+C is heard before each.
fn write_out(mut bytes: &[u8], stop: &Stop) -> Result<(), Failure> {
    let out = io::stdout();
    out.lock().flush().map_err(|why| cannot_write(&why))?;
    let is_file = fstat(&out).is_ok_and(|stat| stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG);
    let at_once = if is_file { bytes.len() } else { PIPE_BUF };
    while !bytes.is_empty() {
        stop.wait_writable(out.as_fd())?;
        match nix::unistd::write(&out, &bytes[..bytes.len().min(at_once)]) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(why) => return Err(cannot_write(&why.into())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_ends_the_command_and_names_the_file_that_the_user_knows() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Arc::new(Folder::open(dir.path()).unwrap());
        let place = Place::File { root: folder.clone(), dir: RemotePath::root(), name: b"mine".to_vec() };
        let mut download = Download::new(0, "theirs".parse().unwrap(), place, (1, Mtime { seconds: 0, nanos: 0 }));
        download.folder = Some(folder);
        for errno in [Errno::ENOSPC, Errno::EDQUOT, Errno::EROFS] {
            let failure = download.stuck(&errno.into()).unwrap_err();
            assert_eq!(failure.exit, Exit::Local);
            assert!(failure.text.contains("/mine: ") && !failure.text.contains(".part"), "{failure}");
        }
        assert!(download.stuck(&Errno::EIO.into()).is_ok());
    }
}
