//! Publishing: whole uploads whose data is on the disk take their names, in the order of the requests.

use super::meta::meta_at;
use super::reserved::Reserved;
use super::stage::Complete;
use super::{Pulse, Result, Tree, Trouble, Weight, leftover};
use crate::proto::{Code, EntryKind};
use nix::errno::Errno;
use nix::fcntl::{RenameFlags, renameat, renameat2};
use std::collections::HashSet;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

/// How often a name is tried that is taken, and free again when it is looked at.
const TRIES: usize = 10;

impl Tree {
    /// Gives uploads their names; one result each, in order. `flushed` tells of which the data is on the disk.
    pub(super) fn take_names(
        &mut self,
        batch: &[&Complete],
        flushed: Vec<nix::Result<()>>,
        pulse: &mut dyn Pulse,
    ) -> Vec<Result<()>> {
        let mut results: Vec<Result<()>> = Vec::with_capacity(batch.len());
        let lock = self.lock_account(pulse);
        let mut freed = Weight::NONE;
        for (complete, flushed) in batch.iter().zip(flushed) {
            pulse.beat(); // a name that was asked for is given, whoever hears of it
            let result = flushed.map_err(Trouble::from).and_then(|()| {
                let replaced = if lock.is_some() { weight_at(complete) } else { Weight::NONE };
                take_name(complete)?;
                Ok(replaced)
            });
            match &result {
                Ok(replaced) => freed += *replaced + Weight::bytes(complete.charged.saturating_sub(complete.size)),
                Err(_) => {
                    // A file whose flush failed is never resumed: the kernel takes its pages for clean now.
                    let gone = complete.spool.unlink();
                    freed += if gone { Weight::one(complete.charged) } else { Weight::NONE };
                }
            }
            results.push(result.map(drop));
        }
        freed += remove_outdated(&self.reserved, batch, &results);
        self.settle(lock, freed);
        results
    }
}

/// Removes what earlier, broken attempts at files left that have now been published. What the account gets back.
fn remove_outdated(reserved: &[Rc<Reserved>], batch: &[&Complete], results: &[Result<()>]) -> Weight {
    let published = batch.iter().zip(results).filter(|(_, result)| result.is_ok());
    let keys: HashSet<&[u8]> = published.map(|(complete, _)| complete.spool.key().as_bytes()).collect();
    reserved.iter().map(|reserved| leftover::remove_all_of(reserved, &keys, |_, _| true)).sum()
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
        return take_new_name(complete, from, to);
    }
    Ok(renameat(from.0, from.1, to.0, to.1)?)
}

/// Takes a name that must be free. What came there meanwhile is told as what it is.
fn take_new_name(complete: &Complete, from: (BorrowedFd, &Path), to: (BorrowedFd, &Path)) -> Result<()> {
    for _ in 0..TRIES {
        match rename_new(from, to, || Ok(super::beneath::open_dir(&complete.spool.reserved.dir, b".")?)) {
            Err(trouble) if trouble.code() == Code::Exists => {}
            other => return other,
        }
        match meta_at(to.0, to.1.as_os_str().as_bytes()) {
            Ok(meta) => return may_take(meta.kind, true),
            Err(Errno::ENOENT) => {} // gone again
            Err(error) => return Err(error.into()),
        }
    }
    Err(Trouble::of(Code::Exists))
}

/// Whether an upload may take a name that something of this kind has.
pub(super) fn may_take(there: EntryKind, new: bool) -> Result<()> {
    match there {
        EntryKind::Dir => Err(Trouble::of(Code::IsDirectory)),
        EntryKind::Link => Err(Errno::ELOOP.into()),
        EntryKind::Other => Err(Trouble::new(Code::BadPath, "a special file has that name")),
        EntryKind::File if new => Err(Trouble::of(Code::Exists)),
        EntryKind::File => Ok(()),
    }
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
