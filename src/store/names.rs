//! Changes to names: make, delete, rename. Each is durable before it returns; new directories may share a flush.

use super::meta::meta_at;
use super::order::{flush_way, fsync_dir, is_read_only};
use super::publish::rename_new;
use super::pulse::patiently;
use super::{Pulse, Result, Tree, Trouble, Weight, beneath};
use crate::proto::{Code, RemotePath, limits};
use nix::errno::Errno;
use nix::fcntl::renameat;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// Flushes directories after a change in them. The change is made: a failure leaves it uncertain.
pub(super) fn flush(dirs: &[BorrowedFd], pulse: &mut dyn Pulse) -> Result<()> {
    patiently(pulse, || dirs.iter().try_for_each(fsync_dir)).map_err(|_| Trouble::uncertain())
}

impl Tree {
    /// Makes the directory `path`; `parents` makes those above it too and is content with one that exists. What is returned is to be
    /// flushed: it is for a [`Pipeline`](super::pipeline::Pipeline).
    pub fn make_dir(&mut self, path: &RemotePath, parents: bool, pulse: &mut dyn Pulse) -> Result<Vec<Arc<OwnedFd>>> {
        let (Some(above), Some(name)) = (path.parent(), path.name()) else {
            return if parents { Ok(Vec::new()) } else { Err(Trouble::of(Code::Exists)) };
        };
        if !parents {
            let parent = self.parent(&above, pulse)?;
            if !self.make_one(parent.as_fd(), name, pulse)? {
                return Err(Trouble::of(Code::Exists));
            }
            return Ok(vec![parent]);
        }
        let mut here = RemotePath::root();
        let mut changed = Vec::new();
        for name in path.components() {
            if changed.len() >= limits::WALK_OPEN {
                flush(&changed.iter().map(AsFd::as_fd).collect::<Vec<_>>(), pulse)?;
                changed.clear();
            }
            let parent = self.directory(&here)?;
            // One that exists may be of an attempt that was cut off before its flush.
            if self.make_one(parent.as_fd(), name, pulse)? || !is_read_only(parent.as_fd()) {
                changed.push(parent);
            }
            here = here.join(name).map_err(|why| Trouble::new(why.into(), why.to_string()))?;
        }
        beneath::open_dir(self.root(), path.as_bytes())?; // what exists may be a file or a link
        Ok(changed)
    }

    /// Makes one directory, charged to the account. `false` if the name is taken.
    fn make_one(&mut self, parent: BorrowedFd, name: &[u8], pulse: &mut dyn Pulse) -> Result<bool> {
        if meta_at(parent, name).is_ok() {
            return Ok(false); // nothing is charged, so that a full account is told the truth
        }
        let account = self.charge(Weight::one(0), pulse)?;
        let made = mkdirat(parent, Path::new(OsStr::from_bytes(name)), Mode::from_bits_truncate(0o777));
        self.settle(account, if made.is_ok() { Weight::NONE } else { Weight::one(0) });
        match made {
            Err(Errno::EEXIST) => Ok(false),
            other => Ok(other.map(|()| true)?),
        }
    }

    /// Deletes the file or link `path`, never a directory.
    pub fn delete(&mut self, path: &RemotePath, pulse: &mut dyn Pulse) -> Result<()> {
        if path.is_root() {
            return Err(Trouble::of(Code::IsDirectory));
        }
        let (parent, name) = beneath::open_parent(self.root(), path)?;
        self.unlink_counted(parent.as_fd(), name, UnlinkatFlags::NoRemoveDir, pulse)?;
        flush(&[parent.as_fd()], pulse)
    }

    /// Takes a name away, and gives the account back what it held. That is looked at under the account's lock: before it, another
    /// session might still replace a large file, which would then be given back twice.
    pub(super) fn unlink_counted(
        &mut self,
        dir: BorrowedFd,
        name: &Path,
        what: UnlinkatFlags,
        pulse: &mut dyn Pulse,
    ) -> nix::Result<()> {
        let account = self.lock_account(pulse);
        let freed = match &account {
            Some(_) => meta_at(dir, name.as_os_str().as_bytes())?.weight(),
            None => Weight::NONE,
        };
        unlinkat(dir, name, what)?;
        self.settle(account, freed);
        Ok(())
    }

    /// Gives `from` the name `to`. Without `replace` an existing `to` is refused.
    pub fn rename(&mut self, from: &RemotePath, to: &RemotePath, replace: bool, pulse: &mut dyn Pulse) -> Result<()> {
        if from.is_root() || to.is_root() {
            return Err(Trouble::new(Code::BadPath, "your own directory cannot be renamed"));
        }
        let (from_dir, from_name) = beneath::open_parent(self.root(), from)?;
        let (to_dir, to_name) = beneath::open_parent(self.root(), to)?;
        self.move_name((from_dir.as_fd(), from_name), (to_dir.as_fd(), to_name), to, replace, pulse)
    }

    /// Gives what has the name `from` in a directory the name `to` in another, which the path `path` means.
    pub(super) fn move_name(
        &mut self,
        (from_dir, from_name): (BorrowedFd, &Path),
        (to_dir, to_name): (BorrowedFd, &Path),
        path: &RemotePath,
        replace: bool,
        pulse: &mut dyn Pulse,
    ) -> Result<()> {
        let above = path.parent().unwrap_or_else(RemotePath::root);
        flush_way(self.root(), &above, to_dir, pulse)?;
        let lock = self.lock_account(pulse); // also where nothing goes: nobody counts while it is neither here nor there
        if replace {
            let moved = meta_at(from_dir, from_name.as_os_str().as_bytes());
            let replaced = meta_at(to_dir, to_name.as_os_str().as_bytes());
            let renamed = renameat(from_dir, from_name, to_dir, to_name);
            let freed = match (moved, replaced) {
                // Between two names of one file rename(2) does nothing.
                (Ok(moved), Ok(meta)) if renamed.is_ok() && moved.inode != meta.inode => meta.weight(),
                _ => Weight::NONE,
            };
            self.settle(lock, freed);
            renamed.map_err(rename_error)?;
        } else {
            rename_new((from_dir, from_name), (to_dir, to_name), || {
                let reserved = self.reserved_for(to_dir, &above)?;
                Ok(beneath::open_dir(&reserved.dir, b".")?)
            })?;
            drop(lock);
        }
        // The new name first: if the old one went before it, a crash in between would lose both.
        flush(&[to_dir, from_dir], pulse)
    }
}

fn rename_error(errno: Errno) -> Trouble {
    match errno {
        Errno::EINVAL => Trouble::new(Code::BadPath, "a directory cannot be moved into itself"),
        Errno::EEXIST => Trouble::of(Code::NotEmpty),
        other => other.into(),
    }
}
