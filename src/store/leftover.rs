//! Leftovers: staged files that interrupted uploads left behind, to be continued, copied or swept.

use super::meta::{Meta, meta_at};
use super::reserved::Reserved;
use super::spool::{KEY, Lock, Spool, key, lock};
use super::{Pulse, Result, Tree, Weight, beneath};
use crate::proto::{EntryKind, RemotePath, limits};
use crate::sys::dirent::DirStream;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Calls `tell` with the name of every staged file.
pub(super) fn each(reserved: &Reserved, mut tell: impl FnMut(&[u8])) -> Result<()> {
    let mut stream = DirStream::new(beneath::open_dir(&reserved.uploads, b".")?);
    let mut name = Vec::new();
    while stream.next(&mut name)?.is_some() {
        tell(&name);
    }
    Ok(())
}

/// The longest leftover for the same target that can be of use, and whether this session holds its lock now.
pub(super) fn best(reserved: &Rc<Reserved>, path: &RemotePath, size: Option<u64>) -> Result<Option<(bool, Spool)>> {
    let key = key(path);
    let mut names = Vec::new();
    each(reserved, |name| {
        if let (true, Ok(name)) = (name.starts_with(key.as_bytes()), std::str::from_utf8(name)) {
            names.push(name.to_owned());
        }
    })?;
    let mut best: Option<(u64, bool, Spool)> = None;
    for name in names {
        let Ok(fd) = beneath::open(&reserved.uploads, name.as_bytes(), OFlag::O_RDWR, Mode::empty()) else { continue };
        let spool = Spool { file: Arc::new(fd.into()), name, reserved: reserved.clone() };
        let mine = lock(&spool.file) == Lock::Mine;
        let meta = Meta::from(fstat(&*spool.file)?);
        // Its writer may have published it since the name was read: a file that is no longer, or not only, staged is not ours.
        let staged = meta_at(reserved.uploads.as_fd(), spool.name.as_bytes())
            .is_ok_and(|m| m.inode == meta.inode && m.links == 1);
        let fits = meta.kind == EntryKind::File && meta.size > 0 && size.is_none_or(|size| meta.size <= size);
        if staged && fits && best.as_ref().is_none_or(|(size, ..)| meta.size > *size) {
            best = Some((meta.size, mine, spool));
        }
    }
    Ok(best.map(|(_, mine, spool)| (mine, spool)))
}

/// Removes the leftovers of the target whose staged files' names begin with `key`, if `go` chooses them by name and size. What an
/// account gets back.
pub(super) fn remove_of(reserved: &Reserved, key: &str, go: impl Fn(&[u8], u64) -> bool) -> Weight {
    remove_all_of(reserved, &HashSet::from([key.as_bytes()]), go)
}

/// The same for many targets.
pub(super) fn remove_all_of(reserved: &Reserved, keys: &HashSet<&[u8]>, go: impl Fn(&[u8], u64) -> bool) -> Weight {
    let mut freed = Weight::NONE;
    let _ = each(reserved, |name| {
        if name.get(..KEY).is_some_and(|key| keys.contains(key)) {
            freed += remove(reserved, name, |meta| go(name, meta.len()));
        }
    });
    freed
}

/// Unlinks a staged file that no session holds, if its status is as asked; what an account gets back.
fn remove(reserved: &Reserved, name: &[u8], go: impl Fn(&Metadata) -> bool) -> Weight {
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK;
    let Ok(fd) = beneath::open(&reserved.uploads, name, flags, Mode::empty()) else { return Weight::NONE };
    let file = File::from(fd);
    let Ok(meta) = file.metadata() else { return Weight::NONE };
    let is_free = || match lock(&file) {
        Lock::Mine => true,
        Lock::Theirs => false,
        Lock::Impossible => is_old(&meta), // whether anybody has it cannot be told
    };
    if !go(&meta) || !is_free() {
        return Weight::NONE;
    }
    match unlinkat(&reserved.uploads, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) => Weight::one(if meta.nlink() == 1 { meta.len() } else { 0 }),
        Err(_) => Weight::NONE,
    }
}

/// Removes what uploads broken off long ago left behind.
pub(super) fn sweep(tree: &mut Tree, pulse: &mut dyn Pulse) -> Result<()> {
    let mut freed = Weight::NONE;
    let epoch = tree.account_epoch();
    for reserved in tree.reserved.clone() {
        each(&reserved, |name| freed += remove(&reserved, name, is_old))?;
    }
    tree.refund_since(epoch, freed, pulse);
    Ok(())
}

/// Whether an upload was broken off long ago. A whole one that awaited its flush has the time that its client gave it; when it was
/// last touched its access time tells.
fn is_old(meta: &Metadata) -> bool {
    let age = |at: std::io::Result<SystemTime>| at.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    let old = |age: Option<Duration>| age.is_some_and(|age| age > limits::PARTIAL_AGE);
    old(age(meta.modified())) && old(age(meta.accessed()))
}
