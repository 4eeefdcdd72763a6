//! Removing directories. A recursive removal never leaves the tree, follows no link, and does not recurse on the stack.

use super::names::flush;
use super::walk::Walk;
use super::{Pulse, Result, Tree, Trouble, beneath};
use crate::proto::{Code, RemotePath};
use crate::sys::dirent::Hint;
use nix::errno::Errno;
use nix::unistd::UnlinkatFlags;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

impl Tree {
    /// Removes the directory `path`, which must be empty unless `recursive`. Returns how many names went.
    pub fn remove_dir(&mut self, path: &RemotePath, recursive: bool, pulse: &mut dyn Pulse) -> Result<u64> {
        if path.is_root() {
            return Err(Trouble::new(Code::BadPath, "your own directory cannot be removed"));
        }
        let (parent, name) = beneath::open_parent(self.root(), path)?;
        let mut removed = 0;
        if recursive {
            let walk = Walk::new(beneath::open_dir(&parent, path.name().unwrap_or(b"."))?)?;
            let mut take = |dir: BorrowedFd, name: &[u8], what, pulse: &mut dyn Pulse| {
                self.unlink_counted(dir, Path::new(OsStr::from_bytes(name)), what, pulse)
            };
            empty(walk, &mut removed, &mut take, pulse)?;
        }
        self.unlink_counted(parent.as_fd(), name, UnlinkatFlags::RemoveDir, pulse).map_err(|errno| match errno {
            Errno::EEXIST => Trouble::of(Code::NotEmpty),
            other => other.into(),
        })?;
        flush(&[parent.as_fd()], pulse)?;
        Ok(removed + 1)
    }
}

/// How often a name is tried that is a directory and a file by turns.
const TRIES: usize = 10;

/// Takes a name away in a directory: what it is told to be, or not at all.
pub(super) type Take<'a> = &'a mut dyn FnMut(BorrowedFd, &[u8], UnlinkatFlags, &mut dyn Pulse) -> nix::Result<()>;

/// Removes all that is in the directory where `walk` begins, name by name. `removed` counts them, also when it fails.
pub(super) fn empty(mut walk: Walk, removed: &mut u64, take: Take, pulse: &mut dyn Pulse) -> Result<()> {
    let mut name = Vec::new();
    loop {
        pulse.check()?;
        let Some(hint) = walk.next(&mut name)? else {
            let Some(left) = walk.leave()? else { return Ok(()) };
            *removed += match take(walk.dir()?, &left, UnlinkatFlags::RemoveDir, pulse) {
                Err(Errno::ENOTDIR) => clear(&mut walk, &left, false, take, pulse)?, // it has been replaced meanwhile
                taken => went(taken)?,
            };
            continue;
        };
        *removed += clear(&mut walk, &name, hint == Hint::Dir, take, pulse)?;
    }
}

/// Takes away what has this name, or goes into it if that is a directory: it may be another than was read a moment ago. How many
/// names went.
fn clear(walk: &mut Walk, name: &[u8], mut is_dir: bool, take: Take, pulse: &mut dyn Pulse) -> Result<u64> {
    for _ in 0..TRIES {
        if !is_dir {
            match take(walk.dir()?, name, UnlinkatFlags::NoRemoveDir, pulse) {
                Err(Errno::EISDIR) => {}
                taken => return went(taken),
            }
        }
        match walk.enter(name) {
            Err(trouble) if matches!(trouble.code(), Code::NotDirectory | Code::BadPath) => is_dir = false,
            Err(trouble) if trouble.code() == Code::NotFound => return Ok(0),
            entered => return entered.map(|()| 0),
        }
    }
    Ok(0)
}

/// How many names went: none if another session was faster.
fn went(taken: nix::Result<()>) -> Result<u64> {
    match taken {
        Ok(()) => Ok(1),
        Err(Errno::ENOENT) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::Patient;
    use nix::unistd::unlinkat;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::symlink;

    /// Removes all below a directory, also what `rm` by paths cannot reach. How many names went.
    pub fn empty_all(top: OwnedFd) -> u64 {
        let mut removed = 0;
        let mut take = |dir: BorrowedFd, name: &[u8], what, _: &mut dyn Pulse| unlinkat(dir, name, what);
        empty(Walk::new(top).unwrap(), &mut removed, &mut take, &mut Patient).unwrap();
        removed
    }

    /// Empties `tree`; before a name is taken away for the first time, `first` may change what it is.
    fn emptied(tree: &Path, first: fn(&Path)) -> (u64, usize) {
        let (mut removed, mut seen) = (0, std::collections::HashSet::new());
        let mut take = |dir: BorrowedFd, name: &[u8], what, _: &mut dyn Pulse| {
            if seen.insert(name.to_vec()) {
                first(&tree.join(OsStr::from_bytes(name)));
            }
            unlinkat(dir, name, what)
        };
        let walk = Walk::new(std::fs::File::open(tree).unwrap().into()).unwrap();
        empty(walk, &mut removed, &mut take, &mut Patient).unwrap();
        (removed, std::fs::read_dir(tree).unwrap().count())
    }

    #[test]
    fn a_file_that_has_become_a_directory_meanwhile_goes_too_and_the_other_way_round() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("file"), "x").unwrap();
        let becomes_directory = |at: &Path| {
            std::fs::remove_file(at).unwrap();
            std::fs::create_dir(at).unwrap();
        };
        assert_eq!(emptied(tree.path(), becomes_directory), (1, 0));
        std::fs::create_dir(tree.path().join("dir")).unwrap();
        let becomes_file = |at: &Path| {
            std::fs::remove_dir(at).unwrap();
            std::fs::write(at, "x").unwrap();
        };
        assert_eq!(emptied(tree.path(), becomes_file), (1, 0));
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
