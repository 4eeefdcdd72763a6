//! Where the control socket lies, and how it comes there: the one place that decides it, for the server and for the commands.

use super::Door;
use crate::auth::trust;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Uid, geteuid};
use std::fs::DirBuilder;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Visitors that wait to be let in.
const BACKLOG: i32 = 16;

/// The control socket's path by what `--control` says: `none` is none, and nothing the usual place, if there is one.
pub fn of(option: Option<&Path>) -> Option<PathBuf> {
    match option {
        Some(path) if path == Path::new("none") => None,
        Some(path) => Some(path.into()),
        None if geteuid().is_root() => Some("/run/dfos/control.sock".into()),
        None => {
            let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)?;
            runtime.is_absolute().then(|| runtime.join("dfos-forkd.sock"))
        }
    }
}

/// Makes the control socket: with a mode that lets its owner alone connect, in a directory that nobody else can write to, which is made if
/// it is missing. A socket that a dead server has left there is replaced; anything else is left alone, and an error. To be called before
/// the server leaves root: the socket stays root's then, so that even a session without any wall could not open it.
pub fn open(path: &Path, operator: Uid) -> io::Result<Door> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    private(parent)?;
    remove_dead(path)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let before = umask(Mode::from_bits_truncate(0o177)); // it is never there with another mode
    let bound = bind(socket.as_raw_fd(), &UnixAddr::new(path)?);
    umask(before);
    bound?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(Door { socket, path: path.into(), operator })
}

/// Makes a directory if it is missing, and looks whether anybody else could put something of their own into it, or another in its place.
fn private(dir: &Path) -> io::Result<()> {
    let mode = if geteuid().is_root() { 0o755 } else { 0o700 };
    DirBuilder::new().recursive(true).mode(mode).create(dir)?;
    trust::check_directory(&dir.join("socket")).map_err(|why| io::Error::new(io::ErrorKind::PermissionDenied, why))?;
    let meta = std::fs::metadata(dir)?;
    let is_ours = meta.uid() == 0 || meta.uid() == geteuid().as_raw();
    if is_ours && meta.mode() & 0o022 == 0 {
        return Ok(());
    }
    let text = format!("others can write to {}: name a directory of one's own", dir.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

/// Removes a socket at which nobody listens any more.
fn remove_dead(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(meta) if meta.file_type().is_socket() => {}
        _ => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else is there")),
    }
    match UnixStream::connect(path) {
        Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "another server answers there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn nobody_else_can_open_it_and_a_dead_servers_is_replaced_but_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/socket");
        let open = || super::open(&path, Uid::effective());
        let first = open().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()) & 0o022, 0);
        assert_eq!(open().err().map(|why| why.kind()), Some(io::ErrorKind::AddrInUse), "of a server that lives");
        drop(first);
        drop(open().unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "a file").unwrap();
        assert_eq!(open().err().map(|why| why.kind()), Some(io::ErrorKind::AlreadyExists));
        assert_eq!(std::fs::read(&path).unwrap(), b"a file");
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o777, 0o1777, 0o775, 0o755, 0o700] {
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let opened = super::open(&dir.path().join(mode.to_string()), Uid::effective());
            assert_eq!(opened.is_ok(), mode & 0o022 == 0, "{mode:o}");
        }
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let opened = super::open(&dir.path().join("private/socket"), Uid::effective());
        assert!(opened.is_err_and(|why| why.kind() == io::ErrorKind::PermissionDenied), "anywhere above it");
    }

    #[test]
    fn none_is_none() {
        assert_eq!(of(Some(Path::new("none"))), None);
        assert_eq!(of(Some(Path::new("/x/y"))), Some("/x/y".into()));
    }
}
