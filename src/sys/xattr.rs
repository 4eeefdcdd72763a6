//! fgetxattr(2), fsetxattr(2): small notes kept with a file.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Reads the attribute `name` of `fd` into `buffer`; how many bytes it has. Longer ones are an error (ERANGE).
pub fn get(fd: BorrowedFd, name: &CStr, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `name` is NUL-terminated, and the kernel writes at most `buffer.len()` bytes into `buffer`.
    let n = unsafe { libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Sets the attribute `name` of `fd` to `value`.
pub fn set(fd: BorrowedFd, name: &CStr, value: &[u8]) -> io::Result<()> {
    change(fd, name, value, 0)
}

/// Gives the attribute `name` of `fd` another value; without one it is an error (ENODATA).
pub fn replace(fd: BorrowedFd, name: &CStr, value: &[u8]) -> io::Result<()> {
    change(fd, name, value, libc::XATTR_REPLACE)
}

fn change(fd: BorrowedFd, name: &CStr, value: &[u8], flags: libc::c_int) -> io::Result<()> {
    // SAFETY: `name` is NUL-terminated, and the kernel reads `value.len()` bytes of `value`.
    let result = unsafe { libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
