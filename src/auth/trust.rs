//! Opening a file of the operator's that decides who may do what: only if nobody else could have planted or changed it.
//!
//! The users file is opened by root or by the service user from a path on the command line. A link that somebody else put
//! there would make DFOS read, or worse rewrite, a file of that person's choice.

use nix::fcntl::OFlag;
use nix::unistd::{Uid, geteuid};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Links that are followed one after the other, at most: as many as any sound installation has, and no loop.
const MOST_LINKS: usize = 8;
const WRITABLE_BY_ALL: u32 = 0o002;
const WRITABLE_BY_GROUP: u32 = 0o020;
const STICKY: u32 = 0o1000;

/// Why a file is not trusted, or not there.
#[derive(Debug, Error)]
pub enum TrustError {
    /// A link that belongs to neither root nor the one who runs this.
    #[error("{0} is a link that belongs to another user (uid {1}): remove it, or name the file itself")]
    ForeignLink(PathBuf, u32),
    /// Links that lead to links without end.
    #[error("{0} leads through more than {MOST_LINKS} links")]
    Links(PathBuf),
    /// A directory, a device, a pipe.
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    /// Anyone may change the file.
    #[error("{0} can be changed by every user of this machine: run 'chmod o-w' on it")]
    WritableFile(PathBuf),
    /// Anyone may put another file there.
    #[error("every user of this machine can put files into {0}: keep the file elsewhere, or run 'chmod o-w'")]
    WritableDirectory(PathBuf),
    /// In a directory like /tmp: the file was put there by somebody else.
    #[error("{0} belongs to another user (uid {1}) and stands where everyone can put files: keep it elsewhere")]
    Planted(PathBuf, u32),
    /// A file of the operator's that is somebody else's.
    #[error("{0} belongs to another user (uid {1}): it must be root's, or belong to the one who runs the server")]
    NotOurs(PathBuf, u32),
    /// Root obeys a file that a group can change.
    #[error("{0} can be changed by a group (gid {1}): run 'chmod g-w' on it")]
    Shared(PathBuf, u32),
    /// A directory of secrets that is somebody else's.
    #[error("{0} belongs to another user (uid {1}): name a directory of your own")]
    Foreign(PathBuf, u32),
    /// A directory of secrets that others can look into.
    #[error("others can look into {0}: run 'chmod 700' on it")]
    Open(PathBuf),
    /// The kernel says no.
    #[error("cannot open {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
}

impl TrustError {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, TrustError::Io(_, why) if why.kind() == io::ErrorKind::NotFound)
    }
}

/// Opens a file for reading and checks it, the links to it and the directory that it stands in.
pub fn open(path: &Path) -> Result<File, TrustError> {
    let path = resolve(path)?;
    check_directory(&path)?;
    let io = |why| TrustError::Io(path.clone(), why);
    // Without O_NONBLOCK the open of a pipe would wait for a writer.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(&path).map_err(io)?;
    check_file(&path, &file.metadata().map_err(io)?)?;
    Ok(file)
}

/// The same for a file that says what to do as root: it must belong to root or to ourselves, and root obeys none that a group can change.
pub fn open_own(path: &Path) -> Result<File, TrustError> {
    let file = open(path)?;
    let found = file.metadata().map_err(|why| TrustError::Io(path.into(), why))?;
    if !trusted(found.uid()) {
        return Err(TrustError::NotOurs(path.into(), found.uid()));
    }
    if geteuid().is_root() && found.gid() != 0 && found.mode() & WRITABLE_BY_GROUP != 0 {
        return Err(TrustError::Shared(path.into(), found.gid()));
    }
    Ok(file)
}

/// The file that a path means once its last component is no link any more; it need not exist. Each link on the way must be
/// root's or our own.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, TrustError> {
    let mut at = path.to_path_buf();
    for _ in 0..=MOST_LINKS {
        let found = match fs::symlink_metadata(&at) {
            Ok(found) => found,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(at),
            Err(why) => return Err(TrustError::Io(at, why)),
        };
        if !found.is_symlink() {
            return Ok(at);
        }
        if !trusted(found.uid()) {
            return Err(TrustError::ForeignLink(at, found.uid()));
        }
        let target = fs::read_link(&at).map_err(|why| TrustError::Io(at.clone(), why))?;
        at = directory_of(&at).join(target);
    }
    Err(TrustError::Links(path.into()))
}

/// The directory that a file stands in.
pub(super) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The directory of the file at `path` is refused where everyone can put files, and one anywhere above it, unless it is sticky (/tmp):
/// there nobody can take our file away.
pub fn check_directory(path: &Path) -> Result<(), TrustError> {
    let directory = directory_of(path);
    let real = fs::canonicalize(directory).map_err(|why| TrustError::Io(directory.into(), why))?;
    for directory in real.ancestors() {
        let found = fs::metadata(directory).map_err(|why| TrustError::Io(directory.into(), why))?;
        if found.mode() & WRITABLE_BY_ALL != 0 && found.mode() & STICKY == 0 {
            return Err(TrustError::WritableDirectory(directory.into()));
        }
    }
    Ok(())
}

/// Checks a directory that holds secrets: nobody but its owner may look into it, and its owner is root or ourselves, as are the links
/// that lead to it.
pub fn private_directory(path: &Path) -> Result<(), TrustError> {
    let path = resolve(path)?;
    check_directory(&path)?;
    let found = fs::metadata(&path).map_err(|why| TrustError::Io(path.clone(), why))?;
    if !trusted(found.uid()) {
        return Err(TrustError::Foreign(path, found.uid()));
    }
    if found.mode() & 0o077 != 0 {
        return Err(TrustError::Open(path));
    }
    Ok(())
}

fn check_file(path: &Path, found: &Metadata) -> Result<(), TrustError> {
    if !found.is_file() {
        return Err(TrustError::NotAFile(path.into()));
    }
    if found.mode() & WRITABLE_BY_ALL != 0 {
        return Err(TrustError::WritableFile(path.into()));
    }
    let directory = directory_of(path);
    let parent = fs::metadata(directory).map_err(|why| TrustError::Io(directory.into(), why))?;
    if parent.mode() & WRITABLE_BY_ALL != 0 && !trusted(found.uid()) {
        return Err(TrustError::Planted(path.into(), found.uid()));
    }
    Ok(())
}

/// Root could change everything anyway.
fn trusted(uid: u32) -> bool {
    uid == 0 || Uid::from_raw(uid) == geteuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_of_our_own_opens_also_through_our_own_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("users"), dir.path().join("link"));
        fs::write(&file, "").unwrap();
        symlink("users", &link).unwrap();
        assert!(open(&file).is_ok());
        assert!(open(&link).is_ok());
        assert_eq!(resolve(&link).unwrap(), file);
        assert!(open(&dir.path().join("none")).unwrap_err().is_missing());
    }

    #[test]
    fn what_everyone_can_change_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        fs::write(&file, "").unwrap();
        mode(&file, 0o666);
        assert!(matches!(open(&file), Err(TrustError::WritableFile(_))));
        mode(&file, 0o600);
        mode(dir.path(), 0o777);
        assert!(matches!(open(&file), Err(TrustError::WritableDirectory(_))));
        let below = dir.path().join("below");
        fs::create_dir(&below).unwrap();
        fs::write(below.join("users"), "").unwrap();
        assert!(matches!(open(&below.join("users")), Err(TrustError::WritableDirectory(_))), "anywhere above it");
        mode(dir.path(), 0o1777);
        assert!(open(&file).is_ok());
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(matches!(open(&pipe), Err(TrustError::NotAFile(_))));
        assert!(matches!(open(dir.path()), Err(TrustError::NotAFile(_))));
    }

    #[test]
    fn links_that_turn_in_circles_end() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink("link", &link).unwrap();
        assert!(matches!(open(&link), Err(TrustError::Links(_))));
    }

    #[test]
    fn what_somebody_else_planted_is_refused() {
        if !geteuid().is_root() {
            return; // Only root can make files that belong to others.
        }
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("users"), dir.path().join("link"));
        fs::write(&file, "").unwrap();
        symlink("users", &link).unwrap();
        lchown(&link, Some(12345), None).unwrap();
        assert!(matches!(open(&link), Err(TrustError::ForeignLink(_, 12345))));
        let (secret, way) = (dir.path().join("secret"), dir.path().join("way"));
        fs::create_dir(&secret).unwrap();
        symlink("secret", &way).unwrap();
        assert!(matches!(private_directory(&secret), Err(TrustError::Open(_))));
        mode(&secret, 0o700);
        assert!(private_directory(&way).is_ok());
        lchown(&way, Some(12345), None).unwrap();
        assert!(matches!(private_directory(&way), Err(TrustError::ForeignLink(_, 12345))));
        lchown(&secret, Some(12345), None).unwrap();
        assert!(matches!(private_directory(&secret), Err(TrustError::Foreign(_, 12345))));
        lchown(&file, Some(12345), None).unwrap();
        mode(dir.path(), 0o1777);
        assert!(matches!(open(&file), Err(TrustError::Planted(_, 12345))));
    }
}
