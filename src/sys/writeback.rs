//! sync_file_range(2): having the disk begin early with what will be flushed later.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Begins to write `length` bytes of `file` from `from` on to the disk, without waiting for it. It promises nothing; an error that
/// the disk reports later is reported by the fsync(2) that follows.
pub fn write_back(file: BorrowedFd, from: u64, length: u64) -> io::Result<()> {
    let offset = |n: u64| i64::try_from(n).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW));
    let (from, length) = (offset(from)?, offset(length)?);
    // SAFETY: numbers alone, and a descriptor that is open as long as the borrow.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), from, length, libc::SYNC_FILE_RANGE_WRITE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
