//! The kernel's calls, passed on to a [`Disk`]; and the mount.
//!
//! The kernel does not forward syncfs(2) and flock(2) here, has no O_TMPFILE and no fallocate: as with most file systems in user space.

use super::disk::{Disk, Wanted};
use fuser::{
    AccessFlags, BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, SessionACL, TimeOrNow, WriteFlags,
};
use nix::mount::{MntFlags, umount2};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// For how long the kernel may believe what it was told: nobody else changes anything.
const TTL: Duration = Duration::from_secs(600);

/// A disk that several threads use.
pub type Shared = Arc<Mutex<Disk>>;

type Listing = Vec<(u64, FileType, OsString)>;

/// A mounted disk; unmounted when dropped.
pub struct Mount {
    at: PathBuf,
    session: Option<BackgroundSession>,
}

impl Mount {
    /// Mounts `disk` at the directory `at`, for all users.
    pub fn new(disk: &Shared, at: &Path) -> std::io::Result<Mount> {
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName("dfos-torture".into()), MountOption::DefaultPermissions, MountOption::NoAtime];
        config.acl = SessionACL::All;
        config.n_threads = Some(16); // a flush takes its time, or hangs, and others go on
        let forwarder = Forwarder { disk: disk.clone(), listings: Mutex::default(), next: AtomicU64::new(1) };
        let session = fuser::spawn_mount(forwarder, at, &config)?;
        Ok(Mount { at: at.to_owned(), session: Some(session) })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = umount2(&self.at, MntFlags::MNT_DETACH); // also where somebody still holds a file
        drop(self.session.take()); // its threads end when the last file is closed
    }
}

struct Forwarder {
    disk: Shared,
    /// What open directories held when their reading began: it does not change under the reader.
    listings: Mutex<HashMap<u64, Listing>>,
    next: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn time(wanted: Option<TimeOrNow>) -> Option<SystemTime> {
    wanted.map(|wanted| match wanted {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    })
}

fn empty(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

fn entry(result: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match result {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(errno) => reply.error(errno),
    }
}

fn attr(result: Result<FileAttr, Errno>, reply: ReplyAttr) {
    match result {
        Ok(attr) => reply.attr(&TTL, &attr),
        Err(errno) => reply.error(errno),
    }
}

fn bytes(result: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match result {
        Ok(bytes) if size == 0 => reply.size(bytes.len() as u32),
        Ok(bytes) if bytes.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(bytes) => reply.data(&bytes),
        Err(errno) => reply.error(errno),
    }
}

impl Forwarder {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        locked(&self.disk)
    }

    fn flush(&self, keep: impl FnOnce(&mut Disk) -> Result<(), Errno>) -> Result<(), Errno> {
        let latency = self.disk().latency();
        std::thread::sleep(latency);
        let mut disk = self.disk();
        let hung = disk.hangs();
        while disk.hangs() {
            drop(disk);
            std::thread::sleep(Duration::from_millis(1));
            disk = self.disk();
        }
        if hung && disk.has_lost_flushes() { Err(Errno::EIO) } else { keep(&mut disk) }
    }
}

impl Filesystem for Forwarder {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(self.disk().lookup(parent.0, name), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attr(self.disk().attr(ino.0), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mode = mode.map(|mode| (mode & 0o7777) as u16);
        let wanted = Wanted { mode, uid, gid, size, accessed: time(accessed), modified: time(modified) };
        attr(self.disk().set_attr(ino.0, wanted), reply);
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.disk().target(ino.0) {
            Ok(target) => reply.data(target.as_os_str().as_bytes()),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(&self, who: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        entry(self.disk().make_dir(parent.0, name, mode, (who.uid(), who.gid())), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.disk().unlink(parent.0, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.disk().remove_dir(parent.0, name), reply);
    }

    fn symlink(&self, who: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        entry(self.disk().make_link(parent.0, name, target, (who.uid(), who.gid())), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !(flags - RenameFlags::RENAME_NOREPLACE).is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let may_replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        empty(self.disk().rename((parent.0, name), (new_parent.0, new_name), may_replace), reply);
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(self.disk().link(ino.0, parent.0, name), reply);
    }

    fn create(&self, who: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, _: i32, reply: ReplyCreate) {
        match self.disk().make_file(parent.0, name, mode, (who.uid(), who.gid())) {
            Ok(attr) => reply.created(&TTL, &attr, Generation(0), FileHandle(0), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.disk().attr(ino.0) {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.disk().read(ino.0, offset, size) {
            Ok(bytes) => reply.data(bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.disk().write(ino.0, offset, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS); // what close(2) would wait for; the kernel does not ask again
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, data_only: bool, reply: ReplyEmpty) {
        empty(self.flush(|disk| disk.sync_file(ino.0, data_only)), reply);
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.disk().attr(ino.0) {
            Ok(_) => {
                let handle = self.next.fetch_add(1, Ordering::Relaxed);
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(&self, _: &Request, ino: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut listings = locked(&self.listings);
        if offset == 0 || !listings.contains_key(&handle.0) {
            match self.disk().list(ino.0) {
                Ok(listing) => drop(listings.insert(handle.0, listing)),
                Err(errno) => return reply.error(errno),
            }
        }
        let dots = [".", ".."].map(|name| (ino.0, FileType::Directory, OsString::from(name)));
        let all = dots.iter().chain(&listings[&handle.0]).enumerate().skip(offset as usize);
        for (at, (number, kind, name)) in all {
            if reply.add(INodeNo(*number), at as u64 + 1, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        locked(&self.listings).remove(&handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(self.flush(|disk| disk.sync_dir(ino.0)), reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (blocks, files) = (1 << 20, 1 << 20); // four gigabytes, always free
        reply.statfs(blocks, blocks, blocks, files, files, 4096, 255, 4096);
    }

    fn setxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, value: &[u8], _: i32, _: u32, reply: ReplyEmpty) {
        empty(self.disk().set_extended(ino.0, name, Some(value)), reply);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        bytes(self.disk().extended(ino.0, name), size, reply);
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let names = self.disk().all_extended(ino.0);
        let list = names.map(|names| names.iter().flat_map(|name| [name.as_bytes(), b"\0"].concat()).collect());
        bytes(list, size, reply);
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.disk().set_extended(ino.0, name, None), reply);
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.ok(); // the kernel has checked by the permissions
    }
}
