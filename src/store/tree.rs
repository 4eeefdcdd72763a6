//! One user's tree: the descriptor that all else starts from.

use super::order::{flush_found, flush_way};
use super::quota::{Allowance, Quota};
use super::reserved::Reserved;
use super::{Pulse, Result, Trouble, beneath, leftover};
use crate::proto::{Code, RemotePath, limits};
use nix::errno::Errno;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::fsync;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

/// A user's directory and what is remembered of it while a session lasts.
pub struct Tree {
    root: OwnedFd,
    /// Reserved directories in use, one a mount.
    pub(super) reserved: Vec<Rc<Reserved>>,
    /// Directories that hold what has just been uploaded or made, by their names.
    parents: Vec<Parent>,
    /// What published files may have of read, write and execute.
    pub(super) file_mode: Mode,
    pub(super) quota: Option<Quota>,
    /// Bytes of the largest file that is taken in.
    pub(super) largest: Option<u64>,
    /// Seconds that the trash keeps things; `None` where there is no trash.
    pub(super) keep: Option<u64>,
    /// Nothing is written here, notes of the server's own neither.
    pub(super) read_only: bool,
}

/// A directory in which names are about to change.
pub(super) struct Parent {
    path: RemotePath,
    fd: Arc<OwnedFd>,
    /// Whether it can be reached after a power cut.
    lasts: bool,
    /// Where what is uploaded into it is staged, once that is known.
    reserved: Option<Rc<Reserved>>,
}

/// What the operator decides about trees.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Bits that published files do not get.
    pub umask: Mode,
    /// What the user may store.
    pub quota: Allowance,
    /// Bytes of the largest file that is taken in; `None` for no limit.
    pub largest: Option<u64>,
    /// Seconds that what is moved to the trash is kept; `None` where nothing is.
    pub trash: Option<u64>,
    /// Whether nothing at all is written into the tree.
    pub read_only: bool,
    /// A number that no other start of a server has: by it what was noted before a power cut is told from what holds. 0 believes nothing.
    pub start: u64,
}

impl Policy {
    /// No limits; published files do not get the bits of `umask`. To be made once at each start of a server.
    pub fn new(umask: Mode) -> Policy {
        let start = getrandom::u64().unwrap_or(0);
        Policy { umask, quota: Allowance::default(), largest: None, trash: None, read_only: false, start }
    }
}

impl Tree {
    /// Opens the directory `user` in the storage directory, durably making it at the user's first login.
    pub fn open_root(storage: BorrowedFd, user: &str, policy: Policy) -> Result<OwnedFd> {
        match beneath::open_dir(storage, user.as_bytes()) {
            Err(Errno::ENOENT) if policy.read_only => {
                let text = "there is none, and a read-only account does not make it; ask the operator";
                Err(Trouble::new(Code::NotFound, text))
            }
            Err(Errno::ENOENT) => {
                match mkdirat(storage, user, Mode::S_IRWXU | Mode::S_IRWXG | Mode::S_IRWXO) {
                    // Where another session was faster, its flush may not be done yet.
                    Ok(()) | Err(Errno::EEXIST) => fsync(storage)?,
                    Err(error) => return Err(error.into()),
                }
                Ok(beneath::open_dir(storage, user.as_bytes())?)
            }
            other => {
                let root = other?;
                if !policy.read_only {
                    flush_found(storage)?;
                }
                Ok(root)
            }
        }
    }

    /// The tree below `root`; sweeps what old broken uploads left there, and what the trash has kept for long enough.
    pub fn new(root: OwnedFd, policy: Policy, pulse: &mut dyn Pulse) -> Result<Tree> {
        let file_mode = Mode::from_bits_truncate(0o666) & !policy.umask;
        let Policy { quota, largest, trash: keep, read_only, start, .. } = policy;
        let (reserved, parents, quota) = (Vec::new(), Vec::new(), Quota::new(quota, start));
        let mut tree = Tree { root, reserved, parents, file_mode, quota, largest, keep, read_only };
        if let Some(reserved) = Reserved::open(tree.root(), false)? {
            if read_only {
                tree.reserved.push(Rc::new(reserved)); // what lies there is counted
                return Ok(tree);
            }
            Quota::forget_unless(&reserved, tree.quota.is_some());
            tree.reserved.push(Rc::new(reserved));
            let _ = leftover::sweep(&mut tree, pulse); // debris that stays costs space, not the login
        }
        if keep.is_some() && !read_only {
            let _ = tree.sweep_trash(pulse);
        }
        Ok(tree)
    }

    /// The user's own directory.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Forgets where names led: a moment later they may lead elsewhere. To be called with each flush, after whatever may have changed
    /// names, and before anything is waited for.
    pub fn forget_parents(&mut self) {
        self.parents.clear();
    }

    /// The directory `path`, for what is to last in it; remembered for a moment.
    pub(super) fn parent(&mut self, path: &RemotePath, pulse: &mut dyn Pulse) -> Result<Arc<OwnedFd>> {
        let fd = self.directory(path)?;
        if self.parents.iter().rev().any(|parent| parent.lasts && Arc::ptr_eq(&parent.fd, &fd)) {
            return Ok(fd);
        }
        flush_way(self.root(), path, fd.as_fd(), pulse)?;
        if let Some(parent) = self.parents.iter_mut().rev().find(|parent| Arc::ptr_eq(&parent.fd, &fd)) {
            parent.lasts = true;
        }
        Ok(fd)
    }

    /// The same while the way to it may still have to be flushed.
    pub(super) fn directory(&mut self, path: &RemotePath) -> Result<Arc<OwnedFd>> {
        // The last first: who uploads a tree goes from directory to directory.
        if let Some(parent) = self.parents.iter().rev().find(|parent| parent.path == *path) {
            return Ok(parent.fd.clone());
        }
        let fd = Arc::new(beneath::open_dir(self.root(), path.as_bytes())?);
        if self.parents.len() >= limits::BATCH_FILES {
            self.parents.clear();
        }
        self.parents.push(Parent { path: path.clone(), fd: fd.clone(), lasts: false, reserved: None });
        Ok(fd)
    }

    /// The reserved directory for files in `parent`, which `path` names.
    pub(super) fn reserved_beside(&mut self, parent: &Arc<OwnedFd>, path: &RemotePath) -> Result<Rc<Reserved>> {
        let known = |of: &&mut Parent| Arc::ptr_eq(&of.fd, parent);
        if let Some(reserved) = self.parents.iter_mut().rev().find(known).and_then(|of| of.reserved.clone()) {
            return Ok(reserved);
        }
        let reserved = self.reserved_for(parent.as_fd(), path)?;
        if let Some(of) = self.parents.iter_mut().rev().find(known) {
            of.reserved = Some(reserved.clone());
        }
        Ok(reserved)
    }
}
