//! Reading ahead in a socket without taking anything out (`SO_PEEK_OFF`, socket(7)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// From now on each recv(2) with `MSG_PEEK` begins where the one before it ended, and not at the beginning of the queue.
pub fn walk_on(socket: BorrowedFd) -> io::Result<()> {
    let zero: libc::c_int = 0;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `zero`, which is so long.
    let set = unsafe {
        let value = (&raw const zero).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEEK_OFF, value, length)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many bytes wait in a socket, over all records (`FIONREAD`, ioctl(2)).
pub fn bytes_waiting(socket: BorrowedFd) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes one int to `count`.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &raw mut count) } {
        0 => Ok(usize::try_from(count).unwrap_or_default()),
        _ => Err(io::Error::last_os_error()),
    }
}
