//! Opening beneath a directory: the kernel resolves the path and refuses whatever leads out of it (openat2(2)).

use crate::proto::RemotePath;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// A rename anywhere on the machine can make a lookup inconclusive (EAGAIN); so many tries are enough by far.
const TRIES: u32 = 128;
/// On network file systems an open can meet a file that was replaced that moment (ESTALE).
const STALE_TRIES: u32 = 4;

/// Opens `path` beneath `dir`: no `..` out of it, no symbolic link anywhere in it, no link of /proc.
pub fn open(dir: impl AsFd, path: &[u8], flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY)
        .mode(mode)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let (mut tries, mut stale) = (0, 0);
    loop {
        match openat2(dir.as_fd(), path, how) {
            Err(Errno::EAGAIN) if tries < TRIES => tries += 1,
            Err(Errno::ESTALE) if stale < STALE_TRIES => stale += 1,
            Err(Errno::EINTR) => {}
            // The paths of this house cannot climb; what the kernel calls an escape is a link or a mount in motion.
            Err(Errno::EXDEV) => return Err(Errno::ELOOP),
            other => return other,
        }
    }
}

/// Opens a directory beneath `dir`, so that it can be read and flushed.
pub fn open_dir(dir: impl AsFd, path: &[u8]) -> nix::Result<OwnedFd> {
    open(dir, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())
}

/// Opens the directory above `dir`, which the caller must know again: a directory may have been moved. By openat2(2) like everything
/// else, so that a session needs no other way to open.
pub fn open_above(dir: impl AsFd) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(dir.as_fd(), "..", how)
}

/// Opens the directory that holds `path` beneath `dir`; with it, the last component. `EBUSY` for the user's own directory, which is
/// in nobody's hands.
pub fn open_parent(dir: impl AsFd, path: &RemotePath) -> nix::Result<(OwnedFd, &Path)> {
    use std::os::unix::ffi::OsStrExt;
    let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return Err(Errno::EBUSY) };
    Ok((open_dir(dir, parent.as_bytes())?, Path::new(std::ffi::OsStr::from_bytes(name))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn attempt(root: &Path, path: &str) -> nix::Result<OwnedFd> {
        open(std::fs::File::open(root).unwrap(), path.as_bytes(), OFlag::O_RDONLY, Mode::empty())
    }

    #[test]
    fn nothing_outside_opens() {
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join("secret"), "x").unwrap();
        let root = base.path().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(root.join("sub/file"), "y").unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink("/etc", root.join("abs")).unwrap();
        symlink("sub", root.join("in")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        assert!(attempt(&root, "sub/file").is_ok());
        for path in
            ["../secret", "sub/../../secret", "/etc/passwd", "out", "abs/passwd", "in/file", "in", "magic/etc/passwd"]
        {
            assert_eq!(attempt(&root, path).unwrap_err(), Errno::ELOOP, "{path}");
        }
    }
}
