//! The reserved directory at the top of each mount in a user's tree: where uploads lie until they are whole.
//!
//! It must lie on the target's own mount, because rename(2) works only there.

use super::beneath;
use super::order::{flush_found, fsync_dir};
use super::{Result, Tree, Trouble};
use crate::proto::{Code, RemotePath, limits};
use crate::sys::statx::mount_of;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// Where unfinished uploads lie, within the reserved directory.
const UPLOADS: &str = "uploads";

/// The reserved directory of one mount.
pub struct Reserved {
    /// The directory itself.
    pub dir: OwnedFd,
    /// Its directory of unfinished uploads.
    pub uploads: OwnedFd,
    /// The mount it lies on.
    pub mount: u64,
}

impl Reserved {
    /// Opens the reserved directory at `top`, making it where `make` says so; `None` if there is none.
    pub fn open(top: BorrowedFd, make: bool) -> Result<Option<Reserved>> {
        let Some(dir) = own_dir(top, limits::RESERVED, make)? else { return Ok(None) };
        let Some(uploads) = own_dir(dir.as_fd(), UPLOADS, make)? else { return Ok(None) };
        Ok(Some(Reserved { mount: mount_of(top)?, dir, uploads }))
    }
}

/// Opens a directory that only the server may have made: a link, or one that somebody else owns, is refused. Whose it is the kernel
/// says by O_NOATIME, which is the owner's alone (open(2)): in the user namespace of a confined session user ids have no numbers.
pub(super) fn own_dir(above: BorrowedFd, name: &str, make: bool) -> Result<Option<OwnedFd>> {
    let open = || {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOATIME;
        beneath::open(above, name.as_bytes(), flags, Mode::empty())
    };
    let fd = match open() {
        Err(Errno::ENOENT) if make => {
            match mkdirat(above, name, Mode::S_IRWXU) {
                // Where another session was faster, its flush may not be done yet.
                Ok(()) | Err(Errno::EEXIST) => fsync_dir(above)?,
                Err(error) => return Err(error.into()),
            }
            open()
        }
        Err(Errno::ENOENT) => return Ok(None),
        Ok(dir) if make => flush_found(above).map(|()| dir),
        other => other,
    };
    match fd {
        Err(Errno::EPERM) => {
            let text = "the reserved directory on the server belongs to somebody else; tell the operator";
            Err(Trouble::new(Code::Denied, text))
        }
        other => Ok(Some(other?)),
    }
}

impl Tree {
    /// The reserved directory for files in the directory `parent`, which `path` names; made where it is missing.
    pub fn reserved_for(&mut self, parent: BorrowedFd, path: &RemotePath) -> Result<Rc<Reserved>> {
        let mount = mount_of(parent)?;
        if let Some(found) = self.reserved.iter().find(|r| r.mount == mount) {
            return Ok(found.clone());
        }
        let (top, _) = self.top_of_mount(mount, path)?;
        let reserved = Reserved::open(top.as_fd(), true)?.ok_or_else(|| Trouble::of(Code::NotFound))?;
        let reserved = Rc::new(reserved);
        self.reserved.push(reserved.clone());
        Ok(reserved)
    }

    /// The highest directory on the way down to `path` from which on all lie on `mount`, and its path.
    pub(super) fn top_of_mount(&self, mount: u64, path: &RemotePath) -> Result<(OwnedFd, RemotePath)> {
        let mut top = None;
        let mut here = RemotePath::root();
        let mut below = path.components();
        loop {
            let fd = beneath::open_dir(self.root(), here.as_bytes())?;
            if mount_of(fd.as_fd())? == mount {
                top.get_or_insert_with(|| (fd, here.clone()));
            } else {
                top = None;
            }
            match below.next() {
                Some(name) => here = here.join(name).map_err(|why| Trouble::new(why.into(), why.to_string()))?,
                None => return top.ok_or_else(|| Trouble::new(Code::Changed, "the directory was moved meanwhile")),
            }
        }
    }
}
