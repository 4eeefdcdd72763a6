//! Where the bytes of an upload come from: a local file that may change under our hands, or standard input.

use crate::client::display::escape::escape;
use crate::client::failure::{Exit, Failure};
use crate::client::limits;
use crate::client::stop::Stop;
use crate::hash;
use crate::proto::Mtime;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use sha2::Sha256;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Whether links may lead to a file.
#[derive(Debug, Clone)]
pub enum Links {
    /// The user named it: what it points to is meant.
    Follow,
    /// A walk found it below a directory that the user named: no link leads there.
    Refuse(Beneath),
}

/// The way from a directory that is held open to something below it. Somebody may turn what lies on the way into a link while we
/// walk; a path from the top would follow that.
#[derive(Debug, Clone)]
pub struct Beneath {
    /// The directory that the user named.
    pub root: Arc<OwnedFd>,
    /// The way from there, empty for the directory itself.
    pub tail: PathBuf,
}

impl Beneath {
    /// Opens it if no link stands in its way (openat2(2), RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS).
    pub fn open(&self, flags: OFlag) -> io::Result<File> {
        let tail = if self.tail.as_os_str().is_empty() { Path::new(".") } else { &self.tail };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        Ok(openat2(&self.root, tail, how).map(File::from)?)
    }
}

/// A local file that is being sent.
pub struct Source {
    path: PathBuf,
    file: File,
    /// What the file was when it was opened: size and times.
    was: Metadata,
}

impl Source {
    /// Opens a regular file.
    pub fn open(path: &Path, links: &Links) -> Result<Self, Failure> {
        // O_NONBLOCK: a pipe that took the file's place must not hold us up.
        let opened = match links {
            Links::Follow => OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path),
            Links::Refuse(way) => way.open(OFlag::O_RDONLY | OFlag::O_NONBLOCK),
        };
        let file = opened.map_err(|why| local(path, &why))?;
        let was = file.metadata().map_err(|why| local(path, &why))?;
        if !was.is_file() {
            return Err(Failure::new(Exit::Local, format!("{} is not a regular file", shown(path))));
        }
        Ok(Source { path: path.to_owned(), file, was })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The failure of this file for a reason that the kernel gave.
    pub fn failure(&self, why: &io::Error) -> Failure {
        local(&self.path, why)
    }

    /// Its size when it was opened.
    pub fn size(&self) -> u64 {
        self.was.len()
    }

    /// Its time when it was opened.
    pub fn mtime(&self) -> Mtime {
        mtime(&self.was)
    }

    /// Reads up to a buffer; 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        fill(&mut self.file, buffer).map_err(|why| local(&self.path, &why))
    }

    /// Hashes on from `from`, before which `hasher` has seen all, up to `to`, where the file then stands; `None` if it ends
    /// before.
    pub fn hash(&self, from: u64, hasher: Sha256, to: u64, stop: &Stop) -> Result<Option<Sha256>, Failure> {
        hash_on(hasher, &self.file, (from, to), stop, |why| local(&self.path, &why))
    }

    /// Fails if the file has changed since it was opened: what was sent is then neither the old nor the new content.
    pub fn check_unchanged(&self) -> Result<(), Failure> {
        let now = self.file.metadata().map_err(|why| local(&self.path, &why))?;
        let same = now.len() == self.was.len() && mtime(&now) == mtime(&self.was) && now.ctime() == self.was.ctime();
        if same { Ok(()) } else { Err(self.changed()) }
    }

    /// The failure of a file that changed while it was sent.
    pub fn changed(&self) -> Failure {
        let text =
            format!("{} changed while it was being sent; send it again when nothing writes to it", shown(&self.path));
        Failure::new(Exit::Local, text)
    }
}

/// Standard input: can be read once.
pub struct Stdin {
    /// Straight from the descriptor: a buffered reader could hold bytes that a wait does not see.
    fd: OwnedFd,
    /// How long it may be silent before the server is told that more will come.
    pub patience: Duration,
    /// Whether anything has been read: then it cannot be sent again.
    pub begun: bool,
}

impl Stdin {
    /// Standard input.
    pub fn new() -> Result<Self, Failure> {
        let fd = io::stdin().as_fd().try_clone_to_owned().map_err(|why| cannot_read(&why))?;
        Ok(Stdin::of(fd, limits::STILL_HERE))
    }

    /// The same for any descriptor.
    pub fn of(fd: OwnedFd, patience: Duration) -> Self {
        Stdin { fd, patience, begun: false }
    }

    /// What to wait for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Reads what is there, at least a byte; 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        self.begun = true;
        loop {
            match nix::unistd::read(&self.fd, buffer) {
                Ok(n) => return Ok(n),
                Err(nix::Error::EINTR | nix::Error::EAGAIN) => {} // it was just said to be ready
                Err(why) => return Err(cannot_read(&why.into())),
            }
        }
    }
}

/// The failure of standard input.
pub fn cannot_read(why: &io::Error) -> Failure {
    Failure::new(Exit::Local, format!("cannot read standard input: {why}"))
}

/// Reads until `buffer` is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut held = 0;
    while let Some(rest) = buffer.get_mut(held..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(n) => held += n,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    Ok(held)
}

/// Feeds the bytes of `file` from `from` up to `to` to `hasher`; `None` if it ends before.
pub fn hash_on(
    mut hasher: Sha256,
    file: &File,
    (from, to): (u64, u64),
    stop: &Stop,
    failed: impl Fn(io::Error) -> Failure,
) -> Result<Option<Sha256>, Failure> {
    let absorbed = hash::absorb(&mut hasher, file, from, to, || stop.check().map_err(Halt::Stop));
    match absorbed {
        Ok(()) => Ok(Some(hasher)),
        Err(Halt::File(why)) if why.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(Halt::File(why)) => Err(failed(why)),
        Err(Halt::Stop(failure)) => Err(failure),
    }
}

/// Why hashing a file came to no end.
enum Halt {
    File(io::Error),
    Stop(Failure),
}

impl From<io::Error> for Halt {
    fn from(why: io::Error) -> Halt {
        Halt::File(why)
    }
}

/// A file's time as the protocol tells it.
pub fn mtime(of: &Metadata) -> Mtime {
    Mtime { seconds: of.mtime(), nanos: u32::try_from(of.mtime_nsec()).unwrap_or(0) }
}

/// A local name as a sentence may hold it.
pub fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes())
}

/// The failure of a local file.
pub fn local(path: &Path, why: &io::Error) -> Failure {
    Failure::new(Exit::Local, format!("{}: {why}", shown(path)))
}
