//! Changes to names: make, delete, rename. Each is durable before it returns.

use super::meta::meta_at;
use super::publish::rename_new;
use super::pulse::patiently;
use super::{Pulse, Result, Tree, Trouble, beneath};
use crate::proto::{Code, RemotePath};
use nix::errno::Errno;
use nix::fcntl::renameat;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};
use std::os::fd::{AsFd, BorrowedFd};

/// Flushes directories after a change in them. The change is made: a failure leaves it uncertain.
pub(super) fn flush(dirs: &[BorrowedFd], pulse: &mut dyn Pulse) -> Result<()> {
    patiently(pulse, || dirs.iter().try_for_each(fsync)).map_err(|_| Trouble::of(Code::Uncertain))
}

impl Tree {
    /// Makes the directory `path`; `parents` makes those above it too and is content with one that exists.
    pub fn make_dir(&mut self, path: &RemotePath, parents: bool, pulse: &mut dyn Pulse) -> Result<()> {
        if path.is_root() {
            return if parents { Ok(()) } else { Err(Trouble::of(Code::Exists)) };
        }
        if !parents {
            let (parent, name) = beneath::open_parent(self.root(), path)?;
            mkdirat(&parent, name, Mode::from_bits_truncate(0o777))?;
            return flush(&[parent.as_fd()], pulse);
        }
        let mut here = RemotePath::root();
        for name in path.components() {
            let parent = beneath::open_dir(self.root(), here.as_bytes())?;
            match mkdirat(&parent, name, Mode::from_bits_truncate(0o777)) {
                // One that exists may be of an attempt that was cut off before its flush.
                Ok(()) | Err(Errno::EEXIST) => flush(&[parent.as_fd()], pulse)?,
                Err(error) => return Err(error.into()),
            }
            here = here.join(name).map_err(|why| Trouble::new(why.into(), why.to_string()))?;
        }
        beneath::open_dir(self.root(), path.as_bytes())?; // what exists may be a file or a link
        Ok(())
    }

    /// Deletes the file or link `path`, never a directory.
    pub fn delete(&mut self, path: &RemotePath, pulse: &mut dyn Pulse) -> Result<()> {
        if path.is_root() {
            return Err(Trouble::of(Code::IsDirectory));
        }
        let (parent, name) = beneath::open_parent(self.root(), path)?;
        let meta = meta_at(parent.as_fd(), path.name().unwrap_or(b"."))?;
        let lock = self.lock_account(pulse);
        let removed = unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir);
        let freed = if removed.is_ok() { meta.weight() } else { 0 };
        self.settle(lock, freed);
        removed?;
        flush(&[parent.as_fd()], pulse)
    }

    /// Gives `from` the name `to`. Without `replace` an existing `to` is refused.
    pub fn rename(&mut self, from: &RemotePath, to: &RemotePath, replace: bool, pulse: &mut dyn Pulse) -> Result<()> {
        if from.is_root() || to.is_root() {
            return Err(Trouble::new(Code::BadPath, "your own directory cannot be renamed"));
        }
        let (from_dir, from_name) = beneath::open_parent(self.root(), from)?;
        let (to_dir, to_name) = beneath::open_parent(self.root(), to)?;
        if replace {
            let lock = self.lock_account(pulse);
            let replaced = meta_at(to_dir.as_fd(), to.name().unwrap_or(b"."));
            let renamed = renameat(&from_dir, from_name, &to_dir, to_name);
            let freed = match replaced {
                Ok(meta) if renamed.is_ok() && from != to => meta.weight(),

                _ => 0,
            };
            self.settle(lock, freed);
            renamed.map_err(rename_error)?;
        } else {
            rename_new((from_dir.as_fd(), from_name), (to_dir.as_fd(), to_name), || {
                let above = to.parent().unwrap_or_else(RemotePath::root);
                let reserved = self.reserved_for(to_dir.as_fd(), &above)?;
                Ok(beneath::open_dir(&reserved.dir, b".")?)
            })?;
        }
        // The new name first: if the old one went before it, a crash in between would lose both.
        flush(&[to_dir.as_fd(), from_dir.as_fd()], pulse)
    }
}

fn rename_error(errno: Errno) -> Trouble {
    match errno {
        Errno::EINVAL => Trouble::new(Code::BadPath, "a directory cannot be moved into itself"),
        Errno::EEXIST => Trouble::of(Code::NotEmpty),
        other => other.into(),
    }
}
