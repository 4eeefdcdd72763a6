//! How large a terminal is (ioctl_tty(2), TIOCGWINSZ).

use std::os::fd::{AsRawFd, BorrowedFd};

/// Columns and rows; `None` where it is no terminal, or one that does not say.
pub fn size(terminal: BorrowedFd) -> Option<(usize, usize)> {
    let mut window = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call writes one `winsize` to where the pointer leads, which lives until it returns.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut window) };
    (result == 0 && window.ws_col > 0 && window.ws_row > 0).then(|| (window.ws_col.into(), window.ws_row.into()))
}
