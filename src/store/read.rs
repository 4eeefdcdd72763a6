//! Looking at names, and opening files to read them.

use super::digest;
use super::{Result, Tree, Trouble, beneath};
use crate::proto::{Code, Digest, EntryKind, Mtime, RemotePath};
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// File, directory, link or something else.
    pub kind: EntryKind,
    /// Bytes.
    pub size: u64,
    /// When its content last changed.
    pub mtime: Mtime,
    /// The inode number, as part of a file's identity.
    pub inode: u64,
    /// How many names it has.
    pub links: u64,
}

impl From<FileStat> for Meta {
    fn from(stat: FileStat) -> Meta {
        let kind = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => EntryKind::File,
            SFlag::S_IFDIR => EntryKind::Dir,
            SFlag::S_IFLNK => EntryKind::Link,
            _ => EntryKind::Other,
        };
        Meta {
            kind,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: Mtime { seconds: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) },
            inode: stat.st_ino,
            links: stat.st_nlink,
        }
    }
}

/// What `name` in `dir` stands for, links not followed.
pub fn meta_at(dir: BorrowedFd, name: &[u8]) -> nix::Result<Meta> {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).map(Meta::from)
}

/// A regular file, open for reading. It keeps the content it was opened with, whatever takes its name meanwhile.
pub struct Reading {
    /// The open file.
    pub file: File,
    /// What it was when it was opened.
    pub meta: Meta,
}

impl Reading {
    /// Whether the file is still what it was when it was opened. (Not by its ctime: a rename over its name changes that,
    /// and not the content.)
    pub fn is_unchanged(&self) -> bool {
        fstat(&self.file).is_ok_and(|stat| {
            let now = Meta::from(stat);
            (now.size, now.mtime) == (self.meta.size, self.meta.mtime)
        })
    }

    /// The digest kept with the file, if it still belongs to this content.
    pub fn known_digest(&self) -> Option<Digest> {
        digest::recall(self.file.as_fd(), &self.meta)
    }

    /// Keeps `digest` with the file, if it has not changed since it was opened.
    pub fn keep_digest(&self, digest: Digest) {
        if self.is_unchanged() {
            digest::keep(self.file.as_fd(), &self.meta, digest);
        }
    }
}

impl Tree {
    /// What `path` stands for; a symbolic link stands for itself.
    pub fn stat(&self, path: &RemotePath) -> Result<Meta> {
        if path.is_root() {
            return Ok(fstat(self.root())?.into());
        }
        let (parent, name) = beneath::open_parent(self.root(), path)?;
        Ok(fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?.into())
    }

    /// Opens the regular file `path`.
    pub fn read(&self, path: &RemotePath) -> Result<Reading> {
        // O_NONBLOCK: opening a pipe must not wait for somebody to write into it.
        let fd = beneath::open(self.root(), path.as_bytes(), OFlag::O_RDONLY | OFlag::O_NONBLOCK, Mode::empty())?;
        let meta = Meta::from(fstat(&fd)?);
        match meta.kind {
            EntryKind::File => Ok(Reading { file: fd.into(), meta }),
            EntryKind::Dir => Err(Trouble::of(Code::IsDirectory)),
            _ => Err(Trouble::new(Code::BadPath, "it is not a regular file")),
        }
    }

    /// The digest kept with the regular file `path`, if any.
    pub fn known_digest(&self, path: &RemotePath) -> Option<Digest> {
        self.read(path).ok()?.known_digest()
    }
}
