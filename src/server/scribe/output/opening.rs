//! Opening a file of lines. Refused is what somebody else could have put there or could change: a link, a file that others may write, one in
//! a directory that everybody may write to.

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::unistd::{AccessFlags, faccessat, geteuid};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Opens it to read it and to add to it, and makes it if it is missing.
pub fn make(path: &Path) -> Result<(File, Metadata), String> {
    check_directory(path)?;
    trusted(path, true)
}

/// What [`make`] would refuse, found without making or changing anything.
pub fn foresee(path: &Path) -> Result<(), String> {
    check_directory(path)?;
    if path.symlink_metadata().is_err_and(|why| why.kind() == io::ErrorKind::NotFound) {
        let writable =
            faccessat(AT_FDCWD, directory_of(path), AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS);
        return writable.map_err(|why| refused(path, why.into()));
    }
    trusted(path, false).map(drop)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn check_directory(path: &Path) -> Result<(), String> {
    let found = directory_of(path).metadata().map_err(|why| match why.kind() {
        io::ErrorKind::NotFound => cannot(path, &"there is no such directory"),
        _ => cannot(path, &why),
    })?;
    match found.mode() & 0o002 {
        0 => Ok(()),
        _ => Err(cannot(path, &"everybody may write to its directory; name a file in one that is the server's")),
    }
}

/// The file itself, if nobody else could have put it there.
fn trusted(path: &Path, make: bool) -> Result<(File, Metadata), String> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(make).mode(0o640).custom_flags(flags.bits());
    let file = options.open(path).map_err(|why| refused(path, why))?;
    let found = file.metadata().map_err(|why| cannot(path, &why))?;
    let own = found.uid() == geteuid().as_raw() || found.uid() == 0;
    if !found.is_file() || found.nlink() != 1 {
        return Err(cannot(path, &"it is no file, or has a second name"));
    }
    if !own || found.mode() & 0o002 != 0 {
        return Err(cannot(path, &"others may write to it"));
    }
    Ok((file, found))
}

/// The kernel's refusal.
fn refused(path: &Path, why: io::Error) -> String {
    match why.raw_os_error() {
        Some(number) if number == Errno::ELOOP as i32 => cannot(path, &"it is a link; name the file itself"),
        Some(number) if number == Errno::EACCES as i32 => {
            let text = "the user that the server runs as must be able to write it and to make it anew";
            cannot(path, &format!("{why}: {text}"))
        }
        _ => cannot(path, &why),
    }
}

/// The sentence for it.
pub fn cannot(path: &Path, why: &dyn std::fmt::Display) -> String {
    format!("cannot open {}: {why}", path.display())
}
