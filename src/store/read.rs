//! Looking at names, and opening files to read them.

use super::meta::Meta;
use super::{Result, Tree, Trouble, beneath, digest};
use crate::proto::{Code, Digest, EntryKind, RemotePath};
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, fstat, fstatat};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

/// A regular file, open for reading. It keeps the content it was opened with, whatever takes its name meanwhile.
pub struct Reading {
    /// The open file.
    pub file: File,
    /// What it was when it was opened.
    pub meta: Meta,
    /// Whether a digest may be kept with it: not in a tree where nothing is written.
    keeps: bool,
}

impl Reading {
    /// Whether the file is still what it was when it was opened. (Not by its ctime: a rename over its name changes that,
    /// and not the content.) An error where the disk does not tell.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        let now = Meta::from(fstat(&self.file)?);
        Ok((now.size, now.mtime) == (self.meta.size, self.meta.mtime))
    }

    /// The digest kept with the file, if it still belongs to this content.
    pub fn known_digest(&self) -> Option<Digest> {
        digest::recall(self.file.as_fd(), &self.meta)
    }

    /// Keeps `digest` with the file, if it has not changed since it was opened.
    pub fn keep_digest(&self, digest: Digest) {
        if self.keeps && self.is_unchanged().unwrap_or(false) {
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
            EntryKind::File => Ok(Reading { file: fd.into(), meta, keeps: !self.read_only }),
            EntryKind::Dir => Err(Trouble::of(Code::IsDirectory)),
            _ => Err(Trouble::new(Code::BadPath, "it is not a regular file")),
        }
    }

    /// The digest kept with the regular file `path`, if any.
    pub fn known_digest(&self, path: &RemotePath) -> Option<Digest> {
        self.read(path).ok()?.known_digest()
    }
}
