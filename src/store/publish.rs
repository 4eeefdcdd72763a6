//! Publishing: whole uploads take their names. The promise stays per file, the flushes are shared: all data, then all
//! renames in the order of the requests, then each directory once. No rename precedes its data.

use super::meta::meta_at;
use super::pulse::patiently;
use super::reserved::Reserved;
use super::stage::Complete;
use super::{Pulse, Result, Tree, Trouble, Weight, leftover};
use crate::proto::Code;
use nix::errno::Errno;
use nix::fcntl::{RenameFlags, renameat, renameat2};
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, fstatfs};
use nix::unistd::{fsync, syncfs};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

/// From so many files on, one flush of the whole file system is cheaper than one of each.
const WORTH_SYNCFS: usize = 8;

impl Tree {
    /// Makes a batch of uploads durable under their names. One result each, in order; after `uncertain` the name holds the
    /// old content or the new, whole.
    pub fn commit(&mut self, batch: Vec<Complete>, pulse: &mut dyn Pulse) -> Vec<Result<()>> {
        if batch.is_empty() {
            self.parents.clear();
            return Vec::new();
        }
        let flushed = flush_data(&batch, pulse);
        let mut results: Vec<Result<()>> = Vec::with_capacity(batch.len());
        let lock = self.lock_account(pulse);
        let mut freed = Weight::NONE;
        for (complete, flushed) in batch.iter().zip(flushed) {
            let result = flushed.map_err(Trouble::from).and_then(|()| {
                let replaced = if lock.is_some() { weight_at(complete) } else { Weight::NONE };
                take_name(complete)?;
                Ok(replaced)
            });
            match &result {
                Ok(replaced) => freed += *replaced + Weight::bytes(complete.charged.saturating_sub(complete.size)),
                Err(_) => {
                    // A file whose flush failed is never resumed: the kernel takes its pages for clean now.
                    complete.spool.unlink();
                    freed += Weight::one(complete.charged);
                }
            }
            results.push(result.map(drop));
        }
        freed += remove_outdated(&batch, &results);
        self.settle(lock, freed);
        flush_parents(&batch, &mut results, pulse);
        self.parents.clear();
        results
    }
}

/// Removes what earlier, broken attempts at files left that have now been published. What the account gets back.
fn remove_outdated(batch: &[Complete], results: &[Result<()>]) -> Weight {
    let published = || batch.iter().zip(results).filter(|(_, result)| result.is_ok()).map(|(complete, _)| complete);
    let mut reserved: Vec<&Rc<Reserved>> = published().map(|complete| &complete.spool.reserved).collect();
    reserved.dedup_by(|a, b| Rc::ptr_eq(a, b));
    let paths: Vec<_> = published().map(|complete| &complete.wanted.path).collect();
    reserved.into_iter().map(|reserved| leftover::remove_of(reserved, &paths, |_, _| true)).sum()
}

fn target(complete: &Complete) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(complete.wanted.path.name().unwrap_or(b".")))
}

/// What the file weighs that the upload is about to replace.
fn weight_at(complete: &Complete) -> Weight {
    let name = complete.wanted.path.name().unwrap_or(b".");
    meta_at(complete.parent.as_fd(), name).map_or(Weight::NONE, |meta| meta.weight())
}

fn take_name(complete: &Complete) -> Result<()> {
    let from = (complete.spool.reserved.uploads.as_fd(), Path::new(&complete.spool.name));
    let to = (complete.parent.as_fd(), target(complete));
    if complete.wanted.new {
        return rename_new(from, to, || Ok(super::beneath::open_dir(&complete.spool.reserved.dir, b".")?));
    }
    Ok(renameat(from.0, from.1, to.0, to.1)?)
}

/// Renames unless the new name exists. Where the file system cannot do both in one step (FUSE, NFS), sessions take turns under a
/// lock on the directory that `turn` opens.
pub(super) fn rename_new(
    from: (BorrowedFd, &Path),
    to: (BorrowedFd, &Path),
    turn: impl FnOnce() -> Result<OwnedFd>,
) -> Result<()> {
    match renameat2(from.0, from.1, to.0, to.1, RenameFlags::RENAME_NOREPLACE) {
        Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {}
        other => return Ok(other?),
    }
    let turn = File::from(turn()?);
    turn.lock()?; // held for two calls by each session
    use std::os::unix::ffi::OsStrExt;
    match meta_at(to.0, to.1.as_os_str().as_bytes()) {
        Err(Errno::ENOENT) => Ok(renameat(from.0, from.1, to.0, to.1)?),
        Err(error) => Err(error.into()),
        Ok(_) => Err(Trouble::of(Code::Exists)),
    }
}

/// Flushes the data of all files, by one call where the file system is known to honour it.
fn flush_data(batch: &[Complete], pulse: &mut dyn Pulse) -> Vec<nix::Result<()>> {
    let files: Vec<BorrowedFd> = batch.iter().map(|c| c.spool.file.as_fd()).collect();
    let one_mount = batch.iter().all(|c| Rc::ptr_eq(&c.spool.reserved, &batch[0].spool.reserved));
    patiently(pulse, move || {
        if files.len() >= WORTH_SYNCFS && one_mount && honours_syncfs(files[0]) && syncfs(files[0]).is_ok() {
            return files.iter().map(|_| Ok(())).collect();
        }
        files.iter().map(fsync).collect()
    })
}

/// Whether syncfs(2) reaches the disk and reports errors: known of these, and FUSE does not forward it.
fn honours_syncfs(fd: BorrowedFd) -> bool {
    fstatfs(fd).is_ok_and(|fs| [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC].contains(&fs.filesystem_type()))
}

/// Flushes each directory that got a name, once. A failure makes its files `uncertain`.
fn flush_parents(batch: &[Complete], results: &mut [Result<()>], pulse: &mut dyn Pulse) {
    let mut parents: Vec<&Rc<OwnedFd>> = Vec::new();
    for (complete, result) in batch.iter().zip(results.iter()) {
        if result.is_ok() && !parents.iter().any(|known| Rc::ptr_eq(known, &complete.parent)) {
            parents.push(&complete.parent);
        }
    }
    let fds: Vec<BorrowedFd> = parents.iter().map(|fd| fd.as_fd()).collect();
    if fds.is_empty() {
        return;
    }
    let flushed: Vec<nix::Result<()>> = patiently(pulse, move || fds.iter().map(fsync).collect());
    for (parent, flushed) in parents.iter().zip(flushed) {
        if flushed.is_ok() {
            continue;
        }
        for (complete, result) in batch.iter().zip(results.iter_mut()) {
            if result.is_ok() && Rc::ptr_eq(parent, &complete.parent) {
                *result = Err(Trouble::of(Code::Uncertain));
            }
        }
    }
}
