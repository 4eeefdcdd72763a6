//! Staged files: where the bytes of an upload lie until it is whole. What an interrupted one leaves can be resumed, from any
//! server that shares the storage: all that is needed stands in the file and its name.
//!
//! A staged file is called `<target>.<random>.<size>`: the hash of the target's path, 128 random bits, and the announced size
//! (`-` if unknown). Whoever writes it holds its lock.

use super::reserved::Reserved;
use super::{Result, Trouble, beneath};
use crate::proto::{Code, RemotePath};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use sha2::{Digest as _, Sha256};
use std::fs::{File, TryLockError};
use std::rc::Rc;
use std::sync::Arc;

/// A file in the reserved directory, locked by this session.
pub(super) struct Spool {
    /// The file, for a flush in another thread too.
    pub(super) file: Arc<File>,
    /// Its name there.
    pub(super) name: String,
    /// The reserved directory.
    pub(super) reserved: Rc<Reserved>,
}

/// Bytes of the part of a staged file's name that says which target it is for.
pub(super) const KEY: usize = 32;

/// The part of a staged file's name that says which target it is for.
pub(super) fn key(path: &RemotePath) -> String {
    hex::encode(&Sha256::digest(path.as_bytes())[..KEY / 2])
}

fn staged_name(path: &RemotePath, size: Option<u64>) -> Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| Trouble::of(Code::Internal))?;
    let size = size.map_or("-".into(), |n| n.to_string());
    Ok(format!("{}.{}.{size}", key(path), hex::encode(random)))
}

/// The announced size that a staged file's name tells.
pub(super) fn announced(name: &[u8]) -> Option<u64> {
    std::str::from_utf8(name).ok()?.rsplit('.').next()?.parse().ok()
}

impl Spool {
    /// Makes a new staged file, locked from its first moment.
    pub(super) fn create(reserved: &Rc<Reserved>, path: &RemotePath, size: Option<u64>) -> Result<Spool> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR;
        loop {
            let name = staged_name(path, size)?;
            let fd = beneath::open(&reserved.uploads, name.as_bytes(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
            let spool = Spool { file: Arc::new(fd.into()), name, reserved: reserved.clone() };
            // Another session may have found the file in the instant before it was locked, and taken it for a leftover.
            let links = fstat(&*spool.file).map(|stat| stat.st_nlink);
            if lock(&spool.file) != Lock::Theirs && links == Ok(1) {
                return Ok(spool);
            }
            spool.unlink();
            links?;
        }
    }

    /// Gives a leftover a new name, as this session's own.
    pub(super) fn rename(&mut self, path: &RemotePath, size: Option<u64>) -> Result<()> {
        let name = staged_name(path, size)?;
        let uploads = &self.reserved.uploads;
        nix::fcntl::renameat(uploads, self.name.as_str(), uploads, name.as_str())?;
        self.name = name;
        Ok(())
    }

    /// The part of its name that says which target it is for.
    pub(super) fn key(&self) -> &str {
        self.name.get(..KEY).unwrap_or_default()
    }

    /// Removes it from the reserved directory; its space goes with the last descriptor. Whether it went: what stays, stays counted.
    pub(super) fn unlink(&self) -> bool {
        unlinkat(&self.reserved.uploads, self.name.as_str(), UnlinkatFlags::NoRemoveDir).is_ok()
    }
}

/// What became of an attempt to lock a staged file.
#[derive(PartialEq, Eq)]
pub(super) enum Lock {
    /// It is this session's now.
    Mine,
    /// Another session has it.
    Theirs,
    /// The file system has no locks: nobody may write to what another may hold.
    Impossible,
}

/// Tries to lock a staged file, without waiting.
pub(super) fn lock(file: &File) -> Lock {
    match file.try_lock() {
        Ok(()) => Lock::Mine,
        Err(TryLockError::WouldBlock) => Lock::Theirs,
        Err(TryLockError::Error(_)) => Lock::Impossible,
    }
}
