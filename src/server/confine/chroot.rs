//! The root directory: after login it is the user's own. Landlock and seccomp cannot keep a path from being looked at (stat(2), an
//! open with O_PATH); with this there is no path that leads out.
//!
//! The right to do so, CAP_SYS_CHROOT, is what a start as root keeps of root. A start without root takes it in a user namespace
//! of the session's own, where the kernel permits that. It is used once and then given up.

use crate::sys::credentials::own_user_namespace;
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::stat::{fstat, stat};
use nix::unistd::{chroot, fchdir};
use std::io;
use std::os::fd::BorrowedFd;

/// The one capability that a session needs.
const RIGHT: Capability = Capability::CAP_SYS_CHROOT;

/// Before anything else is confined: gets the right to chroot, and no other.
pub fn prepare() -> io::Result<()> {
    if caps::has_cap(None, CapSet::Effective, RIGHT).map_err(io::Error::other)? {
        return Ok(());
    }
    own_user_namespace()?;
    caps::clear(None, CapSet::Bounding).map_err(io::Error::other)?;
    keep_right(true)
}

/// Gives up all capabilities but the right to chroot, and that too unless `it` is to be kept.
pub fn keep_right(it: bool) -> io::Result<()> {
    let kept = if it { CapsHashSet::from([RIGHT]) } else { CapsHashSet::new() };
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &kept).map_err(io::Error::other)?;
    }
    let inheritable = caps::read(None, CapSet::Inheritable).map_err(io::Error::other)?;
    caps::set(None, CapSet::Inheritable, &(&inheritable & &kept)).map_err(io::Error::other)
}

/// Lets the right outlive an execve(2), for the program that takes the listener's place: an ambient capability, which no_new_privs does not
/// take away. To be called before [`keep_right`], and before the bits that forbid it are locked. Without the right it does nothing.
pub fn hand_on_right() -> io::Result<()> {
    let has = |set| caps::has_cap(None, set, RIGHT).map_err(io::Error::other);
    if !has(CapSet::Permitted)? || has(CapSet::Ambient)? {
        return Ok(());
    }
    let mut inheritable = caps::read(None, CapSet::Inheritable).map_err(io::Error::other)?;
    inheritable.insert(RIGHT);
    caps::set(None, CapSet::Inheritable, &inheritable).map_err(io::Error::other)?;
    caps::raise(None, CapSet::Ambient, RIGHT).map_err(io::Error::other)
}

/// Whether this process has the right.
pub fn has_right() -> bool {
    caps::has_cap(None, CapSet::Permitted, RIGHT).unwrap_or(false)
}

/// Makes `root` the root directory and the working directory.
pub fn enter(root: BorrowedFd) -> io::Result<()> {
    fchdir(root)?;
    Ok(chroot(".")?)
}

/// Whether `root` is the root directory.
pub fn holds(root: BorrowedFd) -> bool {
    let identity = |found: nix::Result<nix::sys::stat::FileStat>| found.map(|found| (found.st_dev, found.st_ino)).ok();
    let there = identity(fstat(root));
    there.is_some() && there == identity(stat("/"))
}
