//! accept4(2), with the new descriptor owned from the first moment.

use nix::sys::socket::{SockFlag, accept4};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Accepts one connection; close-on-exec and non-blocking.
pub fn accept(socket: BorrowedFd) -> nix::Result<OwnedFd> {
    let fresh = accept4(socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
    // SAFETY: the kernel has just made this descriptor; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fresh) })
}
