//! Removing directories. A recursive removal never leaves the tree, follows no link, and does not recurse on the stack.

use super::names::flush;
use super::walk::Walk;
use super::{Pulse, Result, Tree, Trouble, Weight, beneath};
use crate::proto::{Code, RemotePath};
use crate::store::meta::{Meta, meta_at};
use crate::sys::dirent::Hint;
use nix::errno::Errno;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::os::fd::AsFd;

impl Tree {
    /// Removes the directory `path`, which must be empty unless `recursive`. Returns how many names went.
    pub fn remove_dir(&mut self, path: &RemotePath, recursive: bool, pulse: &mut dyn Pulse) -> Result<u64> {
        if path.is_root() {
            return Err(Trouble::new(Code::BadPath, "your own directory cannot be removed"));
        }
        let (parent, name) = beneath::open_parent(self.root(), path)?;
        let mut removed = 0;
        if recursive {
            let (mut freed, epoch) = (Weight::NONE, self.account_epoch());
            let emptied = Walk::new(beneath::open_dir(&parent, path.name().unwrap_or(b"."))?)
                .and_then(|walk| empty(walk, &mut removed, &mut freed, pulse));
            self.refund_since(epoch, freed, pulse);
            emptied?;
        }
        let account = self.lock_account(pulse);
        let gone = unlinkat(&parent, name, UnlinkatFlags::RemoveDir);
        self.settle(account, if gone.is_ok() { Weight::one(0) } else { Weight::NONE });
        gone.map_err(|errno| match errno {
            Errno::EEXIST => Trouble::of(Code::NotEmpty),
            other => other.into(),
        })?;
        flush(&[parent.as_fd()], pulse)?;
        Ok(removed + 1)
    }
}

/// Removes all that is in the directory where `walk` begins. `removed` counts names, and `freed` what an account gets back, also when
/// it fails.
pub(super) fn empty(mut walk: Walk, removed: &mut u64, freed: &mut Weight, pulse: &mut dyn Pulse) -> Result<()> {
    let mut name = Vec::new();
    loop {
        pulse.check()?;
        let Some(hint) = walk.next(&mut name)? else {
            let Some(left) = walk.leave()? else { return Ok(()) };
            match unlinkat(walk.dir()?, left.as_slice(), UnlinkatFlags::RemoveDir) {
                Ok(()) => {
                    *removed += 1;
                    *freed += Weight::one(0);
                }
                Err(Errno::ENOENT) => {}
                Err(error) => return Err(Trouble::from(error)),
            }
            continue;
        };
        let meta = match meta_at(walk.dir()?, &name) {
            Ok(meta) => meta,
            Err(Errno::ENOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        if hint != Hint::NotDir && is_dir(&meta) {
            walk.enter(&name)?;
            continue;
        }
        match unlinkat(walk.dir()?, name.as_slice(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => {
                *removed += 1;
                *freed += meta.weight();
            }
            Err(Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_dir(meta: &Meta) -> bool {
    meta.kind == crate::proto::EntryKind::Dir
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::Patient;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::symlink;

    /// Removes all below a directory, also what `rm` by paths cannot reach. How many names went.
    pub fn empty_all(top: OwnedFd) -> u64 {
        let (mut removed, mut freed) = (0, Weight::NONE);
        empty(Walk::new(top).unwrap(), &mut removed, &mut freed, &mut Patient).unwrap();
        removed
    }

    #[test]
    fn all_below_goes_and_nothing_that_links_point_to() {
        let base = tempfile::tempdir().unwrap();
        let outside = base.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("precious"), "x").unwrap();
        let tree = base.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b/c")).unwrap();
        std::fs::write(tree.join("a/file"), "y").unwrap();
        symlink(&outside, tree.join("a/b/link")).unwrap();
        symlink("../../outside", tree.join("link")).unwrap();
        assert_eq!(empty_all(std::fs::File::open(&tree).unwrap().into()), 6);
        assert_eq!(std::fs::read_dir(&tree).unwrap().count(), 0);
        assert_eq!(std::fs::read(outside.join("precious")).unwrap(), b"x");
    }
}
