//! A local directory that downloads go into, held by a descriptor. Nothing below it is reached by following a link, and no
//! name leads out of it (openat2(2), RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS).

use super::part;
use super::source::local;
use crate::client::failure::Failure;
use crate::proto::RemotePath;
use crate::sys::dirent::DirStream;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{FileStat, Mode, fstat, mkdirat};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A directory.
pub struct Folder {
    fd: OwnedFd,
    /// As the user knows it.
    path: PathBuf,
    /// The unfinished downloads that lay in it when it was opened.
    leftovers: Vec<String>,
}

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

impl Folder {
    /// Opens the directory that the user named; links in that name are the user's own.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let fd = open(path, DIRECTORY, Mode::empty()).map_err(|why| local(path, &why.into()))?;
        Folder::new(fd, path.to_owned())
    }

    fn new(fd: OwnedFd, path: PathBuf) -> Result<Self, Failure> {
        let leftovers = leftovers(fd.as_fd()).map_err(|why| local(&path, &why))?;
        Ok(Folder { fd, path, leftovers })
    }

    /// Opens a directory below this one.
    pub fn below(&self, tail: &RemotePath) -> Result<Folder, Failure> {
        let path = self.path_of(tail.as_bytes());
        let how =
            OpenHow::new().flags(DIRECTORY).resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let fd = openat2(&self.fd, OsStr::from_bytes(tail.as_bytes()), how).map_err(|why| local(&path, &why.into()))?;
        Folder::new(fd, path)
    }

    /// What has a name below this one, if anything has; where the name itself is a link, the link.
    pub fn look(&self, tail: &[u8]) -> Option<FileStat> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        openat2(&self.fd, OsStr::from_bytes(tail), how).and_then(fstat).ok()
    }

    /// Makes a directory below this one, and what leads to it.
    pub fn make(&self, tail: &RemotePath) -> Result<(), Failure> {
        let mut at = RemotePath::root();
        let mut fd = self.fd.try_clone().map_err(|why| local(&self.path, &why))?;
        for name in tail.components() {
            at = at.join(name).map_err(|why| crate::client::names::bad_name(name, &why))?;
            let failed = |why: nix::Error| local(&self.path_of(at.as_bytes()), &why.into());
            match mkdirat(&fd, OsStr::from_bytes(name), Mode::from_bits_truncate(0o777)) {
                Ok(()) | Err(nix::Error::EEXIST) => {}
                Err(why) => return Err(failed(why)),
            }
            // One component, and no link: O_NOFOLLOW is enough.
            let flags = DIRECTORY | OFlag::O_NOFOLLOW;
            fd = openat(&fd, OsStr::from_bytes(name), flags, Mode::empty()).map_err(failed)?;
        }
        Ok(())
    }

    /// The unfinished downloads whose names begin so.
    pub fn leftovers<'a>(&'a self, beginning: &'a str) -> impl Iterator<Item = &'a str> {
        self.leftovers.iter().map(String::as_str).filter(move |name| name.starts_with(beginning))
    }

    /// A name in it as the user knows it.
    pub fn path_of(&self, name: &[u8]) -> PathBuf {
        if name == b"." { self.path.clone() } else { self.path.join(OsStr::from_bytes(name)) }
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The names of unfinished downloads in a directory: one look for all files that will come into it.
fn leftovers(fd: BorrowedFd) -> std::io::Result<Vec<String>> {
    let mut stream = DirStream::new(openat(fd, ".", DIRECTORY, Mode::empty())?);
    let (mut found, mut name) = (Vec::new(), Vec::new());
    while stream.next(&mut name)?.is_some() {
        if let Some(text) = std::str::from_utf8(&name).ok().filter(|text| part::is_part(text)) {
            found.push(text.to_owned());
        }
    }
    Ok(found)
}
