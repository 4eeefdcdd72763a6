//! The names in a directory and the way to it, and whether they last.
//!
//! fsync(2) of a directory makes the names in it durable, and need not do so for the directory's own name: that stands in the one above.
//! Who makes a directory flushes the one above before the OK; but who only finds it does not know whether that was done: its maker may be
//! a session that was killed a moment ago, or is still at it. A file system with one journal keeps all changes in their order, so
//! that with the latest the earlier ones are durable too. On others the way is flushed by everybody who relies on it.

use super::pulse::patiently;
use super::{Pulse, beneath};
use crate::proto::RemotePath;
use crate::sys::xattr;
use nix::errno::Errno;
use nix::sys::statfs::{EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs};
use nix::sys::statvfs::FsFlags;
use nix::unistd::fsync;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

/// An extended attribute that nothing has.
const NONE: &CStr = c"user.dfos.none";

/// Flushes the names in a directory, by fsync(2). Of ext4 that is not believed alone: where another flush could not write the changes, a
/// moment earlier, it finds nothing left to be written, and says that all is well. Only the next change is refused then; so one is
/// asked for that changes nothing.
pub fn fsync_dir(dir: impl AsFd) -> nix::Result<()> {
    let dir = dir.as_fd();
    fsync(dir)?;
    if fstatfs(dir).is_ok_and(|fs| fs.filesystem_type() != EXT4_SUPER_MAGIC) {
        return Ok(());
    }
    let refused = xattr::replace(dir, NONE, b"").err().and_then(|why| why.raw_os_error()).map(Errno::from_raw);
    refused.filter(|errno| matches!(errno, Errno::EROFS | Errno::EIO)).map_or(Ok(()), Err)
}

/// Whether nothing changes there, so that there is nothing to be flushed.
pub(super) fn is_read_only(dir: BorrowedFd) -> bool {
    fstatfs(dir).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_RDONLY))
}

/// Whether a flush of anything makes all earlier changes of names durable: known of ext4 and ext3 with their journal, and of XFS. What
/// has none, ext2 or an ext4 made without, has the same magic number and is taken for one that has: docs/RELIABILITY.md. Of what lies in
/// memory nothing is durable in any order.
fn keeps_order(fd: BorrowedFd) -> bool {
    fstatfs(fd).is_ok_and(|fs| [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, TMPFS_MAGIC].contains(&fs.filesystem_type()))
}

/// Makes a name in `above` durable that was found there, where that is in doubt.
pub(super) fn flush_found(above: BorrowedFd) -> nix::Result<()> {
    if keeps_order(above) { Ok(()) } else { fsync_dir(above) }
}

/// The same for all names on the way from `root` to `path`, where `fd` is.
pub(super) fn flush_way(root: BorrowedFd, path: &RemotePath, fd: BorrowedFd, pulse: &mut dyn Pulse) -> nix::Result<()> {
    if path.is_root() || keeps_order(fd) {
        return Ok(());
    }
    patiently(pulse, || {
        // Beginning at the user's own directory, each component up to the one before the last.
        let slashes = path.as_bytes().iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let above = slashes.filter_map(|(at, _)| path.as_bytes().get(..at));
        std::iter::once(&b"."[..]).chain(above).try_for_each(|dir| fsync_dir(beneath::open_dir(root, dir)?))
    })
}
