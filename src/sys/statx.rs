//! statx(2), for the one thing that fstat does not tell: which mount a descriptor is on.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Identifies the mount that `fd` lies on. Two bind mounts of one file system differ, as they do for rename(2). Where the
/// kernel does not tell (before 5.8), the device stands in.
pub fn mount_of(fd: BorrowedFd) -> io::Result<u64> {
    let mut found = MaybeUninit::<libc::statx>::uninit();
    // SAFETY: the path is a NUL-terminated constant and `found` is large enough for the kernel to fill in.
    let result = unsafe {
        libc::statx(fd.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, libc::STATX_MNT_ID, found.as_mut_ptr())
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: statx returned success, so all of the structure has been written.
    let found = unsafe { found.assume_init() };
    if found.stx_mask & libc::STATX_MNT_ID != 0 {
        return Ok(found.stx_mnt_id);
    }
    Ok(u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor))
}
