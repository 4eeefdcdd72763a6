//! Locks on single bytes that belong to an open file description (F_OFD_SETLK, fcntl(2)): the kernel gives them up when the last
//! descriptor goes, however a process ends. Locks may lie beyond the end of the file; they need no bytes there.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::File;

/// Tries to lock the byte at `at` for this open file alone, without waiting. `false`: another has it. An error means that the file
/// system has no such locks, or none left (ENOLCK).
pub fn try_lock(file: &File, at: i64) -> nix::Result<bool> {
    match set(file, at, libc::F_WRLCK) {
        Ok(()) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the lock up.
pub fn unlock(file: &File, at: i64) {
    let _ = set(file, at, libc::F_UNLCK); // a lock that is held can always be given up
}

fn set(file: &File, at: i64, kind: i32) -> nix::Result<()> {
    let (l_type, l_whence) = (kind as libc::c_short, libc::SEEK_SET as libc::c_short);
    // `l_pid` must be 0: this is no lock of a process.
    let lock = libc::flock { l_type, l_whence, l_start: at, l_len: 1, l_pid: 0 };
    loop {
        match fcntl(file, FcntlArg::F_OFD_SETLK(&lock)) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_locked_once_until_its_last_descriptor_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let open = || File::options().create(true).truncate(false).write(true).read(true).open(&path).unwrap();
        let (one, two) = (open(), open());
        assert!(try_lock(&one, 5).unwrap());
        assert!(try_lock(&one, 5).unwrap(), "one's own lock is no obstacle");
        assert!(!try_lock(&two, 5).unwrap());
        assert!(try_lock(&two, 6).unwrap(), "another byte is another lock");
        let copy = one.try_clone().unwrap();
        drop(one);
        assert!(!try_lock(&two, 5).unwrap());
        drop(copy);
        assert!(try_lock(&two, 5).unwrap());
        unlock(&two, 5);
        assert!(try_lock(&open(), 5).unwrap());
    }
}
