//! Which numbers a process's descriptors have: close_range(2) for what was inherited, and a connection as standard input.

use nix::unistd::dup2_stdin;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Closes every descriptor above standard error that the starter left open, but for those in `keep`, which it passed on purpose: these
/// this process owns from now on, in that order, and no program that it starts has them. To be called first of all: whatever this
/// process has opened itself would be closed behind its owner's back. The second time in a process it is an error, as is a number that
/// is named twice or is not open.
pub fn close_inherited(keep: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::Relaxed) {
        return Err(io::Error::other("what was inherited has been closed already"));
    }
    let mut sorted = keep.to_vec();
    sorted.sort_unstable();
    if sorted.first().is_some_and(|least| *least < FIRST) || sorted.windows(2).any(|two| two[0] == two[1]) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    for number in &sorted {
        // SAFETY: fcntl(2) with F_SETFD touches no memory; nobody in this process owns the number yet.
        if unsafe { libc::fcntl(*number, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let mut from = FIRST;
    for number in sorted {
        if from < number {
            close_range(from, number - 1)?;
        }
        from = number + 1;
    }
    close_range(from, RawFd::MAX)?;
    // SAFETY: each is open (above), distinct, not standard, and owned by nobody: the process has opened nothing yet, and nobody comes
    // here twice.
    Ok(keep.iter().map(|number| unsafe { OwnedFd::from_raw_fd(*number) }).collect())
}

/// The first number that is not a standard one.
const FIRST: RawFd = 3;

/// Closes the numbers from `first` to `last`.
fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: no memory is touched; nobody owns one of these numbers (`close_inherited`).
    let result = unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, last as libc::c_uint, 0) };
    match io::Error::last_os_error() {
        _ if result == 0 => Ok(()),
        error if error.raw_os_error() == Some(libc::ENOSYS) => close_each(first, last), // before Linux 5.9
        error => Err(error),
    }
}

/// Has no descriptor above standard error outlive an exec(3): each is opened so anyway, and here none can have been forgotten.
pub fn end_with_exec() -> io::Result<()> {
    // SAFETY: no memory is touched; descriptors stay open, and what is marked closes only in a program that has yet to begin.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    match io::Error::last_os_error() {
        _ if result == 0 => Ok(()),
        // Before Linux 5.9 and 5.11: then what opens them must have remembered.
        error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => Ok(()),
        error => Err(error),
    }
}

/// The same, one by one.
fn close_each(first: RawFd, last: RawFd) -> io::Result<()> {
    let names = std::fs::read_dir("/proc/self/fd")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let numbers: Vec<RawFd> = names.filter(|number| (first..=last).contains(number)).collect();
    for number in numbers {
        // SAFETY: as above; the listing's own is closed already, which is only an error.
        unsafe { libc::close(number) };
    }
    Ok(())
}

/// Makes `socket` standard input, whatever that was, and owns it under that number from now on. The second time in a process it is an
/// error: two would own the number.
pub fn as_standard_input(socket: OwnedFd) -> io::Result<OwnedFd> {
    static OWNED: AtomicBool = AtomicBool::new(false);
    if OWNED.swap(true, Ordering::Relaxed) {
        return Err(io::Error::other("standard input is a connection already"));
    }
    dup2_stdin(&socket)?;
    drop(socket);
    // SAFETY: descriptor 0 has just been made, standard input is owned by nobody in Rust, and nobody comes here twice.
    Ok(unsafe { OwnedFd::from_raw_fd(0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    use nix::unistd::pipe2;

    #[test]
    fn what_was_forgotten_ends_with_the_next_program() {
        let (one, _other) = pipe2(OFlag::empty()).unwrap();
        let flags = || FdFlag::from_bits_retain(fcntl(&one, FcntlArg::F_GETFD).unwrap());
        assert!(!flags().contains(FdFlag::FD_CLOEXEC));
        end_with_exec().unwrap();
        assert!(flags().contains(FdFlag::FD_CLOEXEC));
    }
}
