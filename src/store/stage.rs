//! Staging: an upload lies in the reserved directory under a name of its own until it is whole. What an interrupted one
//! leaves there can be resumed, from any server that shares the storage: all that is needed stands in the file and its name.
//!
//! A staged file is called `<target>.<random>.<size>`: the hash of the target's path, 128 random bits, and the announced size
//! (`-` if unknown). Whoever writes it holds its lock.

use super::read::{Meta, meta_at};
use super::reserved::Reserved;
use super::{Pulse, Result, Tree, Trouble, beneath, digest};
use crate::proto::{Code, Digest, EntryKind, Mtime, RemotePath, limits};
use crate::sys::dirent::DirStream;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fchmod, fstat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};
use sha2::{Digest as _, Sha256};
use std::fs::{File, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// Below this size an upload is not checked against the free space beforehand: the check costs as much as the write.
const WORTH_CHECKING: u64 = 1 << 20;

/// What an upload is to become.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub path: RemotePath,
    /// Its size, if the client knows it.
    pub size: Option<u64>,
    /// Its time; otherwise that of its arrival.
    pub mtime: Option<Mtime>,
    /// Whether an existing name is refused.
    pub new: bool,
}

/// A file in the reserved directory, locked by this session.
pub(super) struct Spool {
    pub(super) file: File,
    pub(super) name: String,
    pub(super) reserved: Rc<Reserved>,
}

/// An upload on its way in. Dropped, it stays behind to be resumed.
pub struct Staged {
    pub(super) spool: Spool,
    pub(super) wanted: Wanted,
    pub(super) parent: Rc<OwnedFd>,
    hasher: Sha256,
    written: u64,
    /// Bytes that the quota holds for this upload.
    pub(super) charged: u64,
}

/// An upload that is whole and verified, and not yet durable.
pub struct Complete {
    pub(super) spool: Spool,
    pub(super) wanted: Wanted,
    pub(super) parent: Rc<OwnedFd>,
    pub(super) charged: u64,
    /// Its bytes.
    pub size: u64,
    /// Their digest.
    pub digest: Digest,
}

/// The part of a staged file's name that says which target it is for.
fn key(path: &RemotePath) -> String {
    hex::encode(&Sha256::digest(path.as_bytes())[..16])
}

fn staged_name(path: &RemotePath, size: Option<u64>) -> Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| Trouble::of(Code::Internal))?;
    let size = size.map_or("-".into(), |n| n.to_string());
    Ok(format!("{}.{}.{size}", key(path), hex::encode(random)))
}

/// The announced size that a staged file's name tells.
pub(super) fn announced(name: &[u8]) -> Option<u64> {
    std::str::from_utf8(name).ok()?.rsplit('.').next()?.parse().ok()
}

impl Spool {
    /// Makes a new staged file, locked from its first moment.
    fn create(reserved: &Rc<Reserved>, path: &RemotePath, size: Option<u64>) -> Result<Spool> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR;
        loop {
            let name = staged_name(path, size)?;
            let fd = beneath::open(&reserved.uploads, name.as_bytes(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
            let spool = Spool { file: fd.into(), name, reserved: reserved.clone() };
            // Another session may have found the file in the instant before it was locked, and taken it for a leftover.
            if lock(&spool.file) != Lock::Theirs && fstat(&spool.file)?.st_nlink == 1 {
                return Ok(spool);
            }
        }
    }

    pub(super) fn unlink(&self) {
        let _ = unlinkat(&self.reserved.uploads, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}

#[derive(PartialEq, Eq)]
enum Lock {
    Mine,
    Theirs,
    /// The file system has no locks: nobody may write to what another may hold.
    Impossible,
}

fn lock(file: &File) -> Lock {
    match file.try_lock() {
        Ok(()) => Lock::Mine,
        Err(TryLockError::WouldBlock) => Lock::Theirs,
        Err(TryLockError::Error(_)) => Lock::Impossible,
    }
}

impl Tree {
    /// Begins an upload from nothing.
    pub fn stage(&mut self, wanted: Wanted, pulse: &mut dyn Pulse) -> Result<Staged> {
        let (parent, reserved) = self.prepare(&wanted)?;
        let size = wanted.size.unwrap_or(0);
        self.charge(size, pulse)?;
        match Spool::create(&reserved, &wanted.path, wanted.size) {
            Ok(spool) => Ok(Staged { spool, wanted, parent, hasher: Sha256::new(), written: 0, charged: size }),
            Err(trouble) => {
                self.refund(size, pulse);
                Err(trouble)
            }
        }
    }

    /// Begins an upload with what an earlier one of the same path left, if anything; [`Staged::written`] tells how much.
    pub fn stage_again(&mut self, wanted: Wanted, pulse: &mut dyn Pulse) -> Result<Staged> {
        let (_, reserved) = self.prepare(&wanted)?;
        let Some((mine, left)) = best_leftover(&reserved, &wanted)? else { return self.stage(wanted, pulse) };
        let length = left.file.metadata()?.len();
        let mut staged = if mine {
            self.adopt(left, wanted, length, pulse)?
        } else {
            // Its writer may still live, unaware that its client is gone: what it has is copied, never written to.
            let mut staged = self.stage(wanted, pulse)?;
            let covered = self.cover(&mut staged.charged, length, pulse);
            if let Err(error) = covered.and_then(|()| copy(&left.file, &mut staged.spool.file, length, pulse)) {
                self.discard(staged, pulse);
                return Err(error);
            }
            staged
        };
        let absorbed = digest::absorb(&mut staged.hasher, &staged.spool.file, length, pulse);
        staged.written = length;
        if let Err(trouble) = absorbed.and_then(|()| Ok(staged.spool.file.seek(SeekFrom::Start(length)).map(drop)?)) {
            self.keep(staged, pulse);
            return Err(trouble);
        }
        Ok(staged)
    }

    fn adopt(&mut self, mut left: Spool, wanted: Wanted, length: u64, pulse: &mut dyn Pulse) -> Result<Staged> {
        let (parent, reserved) = self.prepare(&wanted)?;
        let missing = wanted.size.unwrap_or(0).saturating_sub(length);
        self.charge(missing, pulse)?;
        let name = staged_name(&wanted.path, wanted.size)?;
        nix::fcntl::renameat(&reserved.uploads, left.name.as_str(), &reserved.uploads, name.as_str())?;
        left.name = name;
        Ok(Staged { spool: left, wanted, parent, hasher: Sha256::new(), written: 0, charged: length + missing })
    }

    /// What must hold before any byte is taken: the directory is there, the name can be had, the disk has room.
    fn prepare(&mut self, wanted: &Wanted) -> Result<(Rc<OwnedFd>, Rc<Reserved>)> {
        let (Some(above), Some(name)) = (wanted.path.parent(), wanted.path.name()) else {
            return Err(Trouble::of(Code::IsDirectory));
        };
        let parent = self.parent(&above)?;
        match meta_at(parent.as_fd(), name).map(|meta| meta.kind) {
            Err(Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
            Ok(EntryKind::Dir) => return Err(Trouble::of(Code::IsDirectory)),
            Ok(EntryKind::Link) => return Err(Errno::ELOOP.into()),
            Ok(EntryKind::Other) => return Err(Trouble::new(Code::BadPath, "a special file has that name")),
            Ok(EntryKind::File) if wanted.new => return Err(Trouble::of(Code::Exists)),
            Ok(EntryKind::File) => {}
        }
        if let Some(size) = wanted.size.filter(|size| *size >= WORTH_CHECKING) {
            let disk = nix::sys::statvfs::fstatvfs(&parent)?;
            if disk.blocks_available().saturating_mul(disk.fragment_size()) < size {
                return Err(Errno::ENOSPC.into());
            }
        }
        let reserved = self.reserved_for(parent.as_fd(), &above)?;
        Ok((parent, reserved))
    }

    /// The directory `path`, remembered until the next commit.
    fn parent(&mut self, path: &RemotePath) -> Result<Rc<OwnedFd>> {
        if let Some((_, fd)) = self.parents.iter().find(|(of, _)| of == path) {
            return Ok(fd.clone());
        }
        let fd = Rc::new(beneath::open_dir(self.root(), path.as_bytes())?);
        self.parents.push((path.clone(), fd.clone()));
        Ok(fd)
    }

    /// Leaves an unfinished upload to be resumed; earlier leftovers of the same target go.
    pub fn keep(&mut self, staged: Staged, pulse: &mut dyn Pulse) {
        if staged.written == 0 {
            return self.discard(staged, pulse);
        }
        self.refund(staged.charged.saturating_sub(staged.written), pulse);
        let mut freed = 0;
        let _ = each_leftover(&staged.spool.reserved, |name| {
            if name.starts_with(key(&staged.wanted.path).as_bytes()) && name != staged.spool.name.as_bytes() {
                freed += remove_leftover(&staged.spool.reserved, name, |_| true);
            }
        });
        self.refund(freed, pulse);
    }

    /// Removes an unfinished upload for good.
    pub fn discard(&mut self, staged: Staged, pulse: &mut dyn Pulse) {
        staged.spool.unlink();
        self.refund(staged.charged, pulse);
    }
}

impl Staged {
    /// Bytes there are so far, those of an earlier attempt included.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The digest of the bytes there are so far.
    pub fn digest_so_far(&self) -> Digest {
        digest::finish(self.hasher.clone())
    }

    /// Throws away what there is and begins at nothing.
    pub fn restart(&mut self) -> Result<()> {
        self.spool.file.set_len(0)?;
        self.spool.file.rewind()?;
        self.hasher = Sha256::new();
        self.written = 0;
        Ok(())
    }

    /// Adds bytes of the body.
    pub fn write(&mut self, tree: &mut Tree, bytes: &[u8], pulse: &mut dyn Pulse) -> Result<()> {
        let after = self.written + bytes.len() as u64;
        if self.wanted.size.is_some_and(|size| after > size) {
            return Err(Trouble::new(Code::BadRequest, "the body is longer than its announced size"));
        }
        if after > limits::NUMBER {
            return Err(Trouble::of(Code::TooLarge));
        }
        tree.cover(&mut self.charged, after, pulse)?;
        self.spool.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.written = after;
        Ok(())
    }

    /// Checks the whole body and dresses the file as it will be published: mode, time, digest. The caller discards a staged
    /// file that is refused here; that is why it comes back.
    pub fn finish(self, tree: &Tree, claimed: Option<Digest>) -> std::result::Result<Complete, (Trouble, Box<Staged>)> {
        let digest = digest::finish(self.hasher.clone());
        match self.check(claimed, digest).and_then(|()| self.dress(tree.file_mode, digest)) {
            Err(trouble) => Err((trouble, Box::new(self))),
            Ok(()) => Ok(Complete {
                spool: self.spool,
                wanted: self.wanted,
                parent: self.parent,
                charged: self.charged,
                size: self.written,
                digest,
            }),
        }
    }

    fn check(&self, claimed: Option<Digest>, digest: Digest) -> Result<()> {
        if let Some(size) = self.wanted.size.filter(|size| *size != self.written) {
            let text = format!("the body has {} bytes, announced were {size}", self.written);
            return Err(Trouble::new(Code::BadRequest, text));
        }
        if claimed.is_some_and(|claimed| claimed != digest) {
            return Err(Trouble::new(Code::ChecksumMismatch, format!("received were bytes with sha256={digest}")));
        }
        Ok(())
    }

    fn dress(&self, mode: Mode, digest: Digest) -> Result<()> {
        let file = &self.spool.file;
        if mode != Mode::S_IRUSR | Mode::S_IWUSR {
            fchmod(file, mode)?;
        }
        if let Some(mtime) = self.wanted.mtime {
            futimens(file, &TimeSpec::UTIME_NOW, &TimeSpec::new(mtime.seconds, i64::from(mtime.nanos)))?;
        }
        let meta = Meta::from(fstat(file)?);
        digest::keep(file.as_fd(), &meta, digest);
        Ok(())
    }
}

/// Copies the first `length` bytes of another session's staged file.
fn copy(from: &File, to: &mut File, length: u64, pulse: &mut dyn Pulse) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let mut buffer = vec![0; limits::BUFFER];
    let mut at = 0;
    while at < length {
        pulse.check()?;
        let want = usize::try_from(length - at).unwrap_or(usize::MAX).min(buffer.len());
        let n = from.read_at(&mut buffer[..want], at)?;
        if n == 0 {
            return Err(Trouble::of(Code::Changed));
        }
        to.write_all(&buffer[..n])?;
        at += n as u64;
    }
    Ok(())
}

/// Calls `tell` with the name of every staged file.
pub(super) fn each_leftover(reserved: &Reserved, mut tell: impl FnMut(&[u8])) -> Result<()> {
    let mut stream = DirStream::new(beneath::open_dir(&reserved.uploads, b".")?);
    let mut name = Vec::new();
    while stream.next(&mut name)?.is_some() {
        tell(&name);
    }
    Ok(())
}

/// The longest leftover for the same target that can be of use, and whether this session holds its lock now.
fn best_leftover(reserved: &Rc<Reserved>, wanted: &Wanted) -> Result<Option<(bool, Spool)>> {
    let key = key(&wanted.path);
    let mut names = Vec::new();
    each_leftover(reserved, |name| {
        if let (true, Ok(name)) = (name.starts_with(key.as_bytes()), std::str::from_utf8(name)) {
            names.push(name.to_owned());
        }
    })?;
    let mut best: Option<(u64, bool, Spool)> = None;
    for name in names {
        let Ok(fd) = beneath::open(&reserved.uploads, name.as_bytes(), OFlag::O_RDWR, Mode::empty()) else { continue };
        let spool = Spool { file: fd.into(), name, reserved: reserved.clone() };
        let mine = lock(&spool.file) == Lock::Mine;
        let meta = Meta::from(fstat(&spool.file)?);
        // Its writer may have published it since the name was read: a file that is no longer, or not only, staged is not ours.
        let staged = meta_at(reserved.uploads.as_fd(), spool.name.as_bytes())
            .is_ok_and(|m| m.inode == meta.inode && m.links == 1);
        let fits = meta.kind == EntryKind::File && meta.size > 0 && wanted.size.is_none_or(|size| meta.size <= size);
        if staged && fits && best.as_ref().is_none_or(|(size, ..)| meta.size > *size) {
            best = Some((meta.size, mine, spool));
        }
    }
    Ok(best.map(|(_, mine, spool)| (mine, spool)))
}

/// Unlinks a staged file that no session holds, if its status is as asked; the bytes that it had.
fn remove_leftover(reserved: &Reserved, name: &[u8], go: impl Fn(&std::fs::Metadata) -> bool) -> u64 {
    let Ok(fd) = beneath::open(&reserved.uploads, name, OFlag::O_RDWR | OFlag::O_NONBLOCK, Mode::empty()) else {
        return 0;
    };
    let file = File::from(fd);
    let Ok(meta) = file.metadata() else { return 0 };
    if !go(&meta) || lock(&file) != Lock::Mine {
        return 0;
    }
    use std::os::unix::fs::MetadataExt;
    match unlinkat(&reserved.uploads, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) if meta.nlink() == 1 => meta.len(),
        _ => 0,
    }
}

/// Removes what uploads broken off long ago left behind.
pub(super) fn sweep(tree: &mut Tree, pulse: &mut dyn Pulse) -> Result<()> {
    let old = |age: Duration| age > limits::PARTIAL_AGE;
    let mut freed = 0;
    for reserved in tree.reserved.clone() {
        each_leftover(&reserved, |name| {
            freed += remove_leftover(&reserved, name, |meta| {
                meta.modified().is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(old))
            });
        })?;
    }
    tree.refund(freed, pulse);
    Ok(())
}
