//! A disk with a volatile cache, and the file system on it: what calls see, and what survives when the power goes.
//!
//! Durable becomes a file's content, size and attributes by an fsync of the file (fdatasync leaves attributes out); names by an fsync
//! of their directory, see [`super::names`]. What was not synced may survive a cut all the same: content by pages of 4 KiB and apart
//! from the size, attributes apart from the content, names apart from all of it. So a rename may survive whose file's content did not,
//! and leave nothing, zeros, or what lay on that part of the disk before: as ext4 would without its help for programs that forget to sync
//! (auto_da_alloc). Locks and open files are the kernel's, and gone with it.

use super::content::Content;
use super::names::{Change, Pending};
use crate::run::Chance;
use fuser::{Errno, FileAttr, FileType, INodeNo};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The number of the top directory.
pub const ROOT: u64 = 1;

type Result<T> = std::result::Result<T, Errno>;

/// How many eighths survive of what was not synced.
#[derive(Debug, Clone, Copy)]
pub struct Luck(u64);

impl Luck {
    fn any(chance: &mut Chance) -> Luck {
        // Nothing, and all, are what the caches of real disks do most often.
        Luck(*chance.of(&[0, 0, 0, 1, 3, 4, 7, 8, 8]))
    }

    /// Whether this piece survives.
    pub fn smiles(self, chance: &mut Chance) -> bool {
        chance.below(8) < self.0
    }
}

/// What the disk pretends to do and does not: to see whether that is noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Without {
    /// An fsync of a file.
    pub fsync_file: bool,
    /// An fsync of a directory.
    pub fsync_directory: bool,
}

/// What is written in an inode beside the content.
#[derive(Clone)]
struct Attributes {
    mode: u16,
    owner: (u32, u32),
    accessed: SystemTime,
    modified: SystemTime,
    changed: SystemTime,
    extended: BTreeMap<OsString, Vec<u8>>,
}

#[derive(Default)]
struct Directory {
    now: BTreeMap<OsString, u64>,
    kept: BTreeMap<OsString, u64>,
}

enum Body {
    File(Content),
    Directory(Directory),
    Link(PathBuf),
}

struct Inode {
    body: Body,
    links: u32,
    now: Attributes,
    kept: Attributes,
}

/// What is to be changed in attributes.
#[derive(Default)]
pub struct Wanted {
    /// Permissions.
    pub mode: Option<u16>,
    /// User.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size.
    pub size: Option<u64>,
    /// Time of access.
    pub accessed: Option<SystemTime>,
    /// Time of modification.
    pub modified: Option<SystemTime>,
}

/// The disk.
pub struct Disk {
    inodes: HashMap<u64, Inode>,
    next: u64,
    pending: Pending,
    is_on: bool,
    chance: Chance,
    without: Without,
    /// After so many more fsyncs of files, one fails.
    fails_after: Option<u64>,
    /// Whether it has.
    failed: bool,
    /// How many flushes there have been.
    flushes: u64,
    /// After so many it hangs.
    hangs_at: Option<u64>,
    /// Whether flushes that hung are never done.
    has_lost_flushes: bool,
}

impl Inode {
    fn new(body: Body, mode: u32, owner: (u32, u32)) -> Inode {
        let now = SystemTime::now();
        let mode = (mode & 0o7777) as u16;
        let born = Attributes { mode, owner, accessed: now, modified: now, changed: now, extended: BTreeMap::new() };
        Inode { body, links: 1, now: born.clone(), kept: born }
    }

    fn kind(&self) -> FileType {
        match self.body {
            Body::File(_) => FileType::RegularFile,
            Body::Directory(_) => FileType::Directory,
            Body::Link(_) => FileType::Symlink,
        }
    }

    fn directory(&mut self) -> Result<&mut Directory> {
        match &mut self.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn touch(&mut self) {
        self.now.modified = SystemTime::now();
        self.now.changed = self.now.modified;
    }

    fn attr(&self, number: u64) -> FileAttr {
        let size = match &self.body {
            Body::File(content) => content.now().len() as u64,
            Body::Directory(_) => 4096,
            Body::Link(target) => target.as_os_str().len() as u64,
        };
        let Attributes { mode, owner, accessed, modified, changed, .. } = self.now;
        FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(512),
            atime: accessed,
            mtime: modified,
            ctime: changed,
            crtime: changed,
            kind: self.kind(),
            perm: mode,
            nlink: if self.kind() == FileType::Directory { 2 } else { self.links },
            uid: owner.0,
            gid: owner.1,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Disk {
    /// An empty one, whose top directory is this user's.
    pub fn new(owner: u32, chance: Chance) -> Disk {
        let top = Inode::new(Body::Directory(Directory::default()), 0o755, (owner, owner));
        let inodes = HashMap::from([(ROOT, top)]);
        let pending = Pending::default();
        let (without, hangs_at) = (Without::default(), None);
        Disk {
            inodes,
            next: ROOT + 1,
            pending,
            is_on: true,
            chance,
            without,
            fails_after: None,
            failed: false,
            flushes: 0,
            hangs_at,
            has_lost_flushes: false,
        }
    }

    /// From now on it pretends.
    pub fn pretend(&mut self, without: Without) {
        self.without = without;
    }

    /// The power goes: from now on every call fails, and what is not on the disk is lost. How lucky names, content and attributes were.
    pub fn cut(&mut self) -> [Luck; 3] {
        self.is_on = false;
        let lucks = std::array::from_fn(|_| Luck::any(&mut self.chance));
        let [names, content, attributes] = lucks;
        let survivors = self.pending.take_some(names, &mut self.chance);
        self.keep_names(survivors);
        let mut numbers: Vec<u64> = self.inodes.keys().copied().collect();
        numbers.sort_unstable(); // chance is to be the same each time
        for number in numbers {
            let Some(inode) = self.inodes.get_mut(&number) else { continue };
            if let Body::File(file) = &mut inode.body {
                file.keep_some(content, &mut self.chance);
            }
            let extended = std::mem::take(&mut inode.kept.extended);
            let (old, new) = (extended, inode.now.extended.clone());
            if attributes.smiles(&mut self.chance) {
                inode.kept = inode.now.clone();
            }
            inode.kept.extended = if attributes.smiles(&mut self.chance) { new } else { old };
        }
        lucks
    }

    /// The power is back: what was kept and can be reached is all there is.
    pub fn restart(&mut self) {
        self.pending = Pending::default();
        let mut links: HashMap<u64, u32> = HashMap::from([(ROOT, 1)]);
        let mut left = vec![ROOT];
        while let Some(number) = left.pop() {
            let Some(Inode { body: Body::Directory(directory), .. }) = self.inodes.get_mut(&number) else { continue };
            directory.now.clone_from(&directory.kept);
            for inode in directory.kept.values() {
                *links.entry(*inode).or_default() += 1;
                left.push(*inode);
            }
        }
        self.inodes.retain(|number, _| links.contains_key(number));
        for (number, inode) in &mut self.inodes {
            inode.links = links[number];
            inode.now = inode.kept.clone();
            if let Body::File(file) = &mut inode.body {
                file.restart();
            }
        }
        self.is_on = true;
    }

    /// After so many fsyncs of files that succeed, one fails, and what was not on the disk by then never comes there.
    pub fn fail_fsync_after(&mut self, successes: u64) {
        self.fails_after = Some(successes);
    }

    /// Whether one has; from now on none does.
    pub fn stop_failing(&mut self) -> bool {
        self.fails_after = None;
        std::mem::take(&mut self.failed)
    }

    /// After so many more flushes the next one does not come to an end.
    pub fn hang_after(&mut self, flushes: u64) {
        (self.hangs_at, self.has_lost_flushes) = (Some(self.flushes + flushes), false);
    }

    /// Whether it has come so far.
    pub fn hangs(&self) -> bool {
        self.hangs_at.is_some_and(|at| self.flushes >= at)
    }

    /// Flushes end again. Those that hung are done now, or never.
    pub fn hang_no_more(&mut self, are_done: bool) {
        if self.hangs_at.take().is_some() {
            self.has_lost_flushes = !are_done;
        }
    }

    /// Whether a flush that hung is not to be done any more.
    pub fn has_lost_flushes(&self) -> bool {
        self.has_lost_flushes
    }

    /// How long the next flush takes.
    pub fn latency(&mut self) -> Duration {
        Duration::from_micros(self.chance.below(1500))
    }

    fn inode(&mut self, number: u64) -> Result<&mut Inode> {
        if !self.is_on {
            return Err(Errno::EIO);
        }
        self.inodes.get_mut(&number).ok_or(Errno::ENOENT)
    }

    fn file(&mut self, number: u64) -> Result<&mut Content> {
        match &mut self.inode(number)?.body {
            Body::File(content) => Ok(content),
            _ => Err(Errno::EISDIR),
        }
    }

    fn find(&mut self, dir: u64, name: &OsStr) -> Result<u64> {
        self.inode(dir)?.directory()?.now.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// What a name leads to.
    pub fn lookup(&mut self, dir: u64, name: &OsStr) -> Result<FileAttr> {
        let number = self.find(dir, name)?;
        self.attr(number)
    }

    /// What stat(2) tells.
    pub fn attr(&mut self, number: u64) -> Result<FileAttr> {
        Ok(self.inode(number)?.attr(number))
    }

    /// chmod, chown, truncate, utimens.
    pub fn set_attr(&mut self, number: u64, wanted: Wanted) -> Result<FileAttr> {
        if let Some(size) = wanted.size {
            self.file(number)?.set_len(size as usize);
        }
        let inode = self.inode(number)?;
        if wanted.size.is_some() {
            inode.touch();
        }
        let now = &mut inode.now;
        now.changed = SystemTime::now();
        now.mode = wanted.mode.map_or(now.mode, |mode| mode & 0o7777);
        now.owner = (wanted.uid.unwrap_or(now.owner.0), wanted.gid.unwrap_or(now.owner.1));
        now.accessed = wanted.accessed.unwrap_or(now.accessed);
        now.modified = wanted.modified.unwrap_or(now.modified);
        self.attr(number)
    }

    /// A new file.
    pub fn make_file(&mut self, dir: u64, name: &OsStr, mode: u32, owner: (u32, u32)) -> Result<FileAttr> {
        self.make(dir, name, Inode::new(Body::File(Content::default()), mode, owner))
    }

    /// A new directory.
    pub fn make_dir(&mut self, dir: u64, name: &OsStr, mode: u32, owner: (u32, u32)) -> Result<FileAttr> {
        self.make(dir, name, Inode::new(Body::Directory(Directory::default()), mode, owner))
    }

    /// A new symbolic link.
    pub fn make_link(&mut self, dir: u64, name: &OsStr, target: &Path, owner: (u32, u32)) -> Result<FileAttr> {
        self.make(dir, name, Inode::new(Body::Link(target.to_owned()), 0o777, owner))
    }

    fn make(&mut self, dir: u64, name: &OsStr, inode: Inode) -> Result<FileAttr> {
        match self.find(dir, name) {
            Err(errno) if errno.code() == Errno::ENOENT.code() => {}
            other => return Err(other.err().unwrap_or(Errno::EEXIST)),
        }
        let number = self.next;
        self.next += 1;
        self.inodes.insert(number, inode);
        self.change(vec![number], vec![((dir, name.to_owned()), Some(number))], None);
        self.attr(number)
    }

    /// One more name for a file.
    pub fn link(&mut self, number: u64, dir: u64, name: &OsStr) -> Result<FileAttr> {
        if self.find(dir, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.inode(number)?.links += 1;
        self.change(vec![number], vec![((dir, name.to_owned()), Some(number))], None);
        self.attr(number)
    }

    /// One name less.
    pub fn unlink(&mut self, dir: u64, name: &OsStr) -> Result<()> {
        let number = self.find(dir, name)?;
        self.drop_link(number)?;
        self.change(vec![number], vec![((dir, name.to_owned()), None)], None);
        Ok(())
    }

    /// A directory less.
    pub fn remove_dir(&mut self, dir: u64, name: &OsStr) -> Result<()> {
        let number = self.find(dir, name)?;
        self.must_be_empty(number)?;
        self.drop_link(number)?;
        self.change(vec![number], vec![((dir, name.to_owned()), None)], Some(number));
        Ok(())
    }

    /// Another name, in one step; what had it is replaced.
    pub fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr), may_replace: bool) -> Result<()> {
        let moved = self.find(from.0, from.1)?;
        let replaced = self.find(to.0, to.1).ok();
        if replaced == Some(moved) {
            return Ok(());
        }
        let mut inodes = vec![moved];
        let mut emptied = None;
        if let Some(replaced) = replaced {
            if !may_replace {
                return Err(Errno::EEXIST);
            }
            if self.inode(replaced)?.kind() == FileType::Directory {
                self.must_be_empty(replaced)?;
                emptied = Some(replaced);
            }
            self.drop_link(replaced)?;
            inodes.push(replaced);
        }
        let names = vec![((from.0, from.1.to_owned()), None), ((to.0, to.1.to_owned()), Some(moved))];
        self.change(inodes, names, emptied);
        Ok(())
    }

    fn must_be_empty(&mut self, number: u64) -> Result<()> {
        let is_empty = self.inode(number)?.directory()?.now.is_empty();
        if is_empty { Ok(()) } else { Err(Errno::ENOTEMPTY) }
    }

    fn drop_link(&mut self, number: u64) -> Result<()> {
        let inode = self.inode(number)?;
        inode.links = inode.links.saturating_sub(1);
        inode.now.changed = SystemTime::now();
        Ok(())
    }

    fn change(&mut self, inodes: Vec<u64>, names: Vec<((u64, OsString), Option<u64>)>, emptied: Option<u64>) {
        for ((dir, name), number) in &names {
            let Some(inode) = self.inodes.get_mut(dir) else { continue };
            inode.touch();
            if let Ok(directory) = inode.directory() {
                put(&mut directory.now, name, *number);
            }
        }
        self.pending.add(Change { inodes, names, emptied });
    }

    fn keep_names(&mut self, changes: Vec<Change>) {
        for ((dir, name), number) in changes.into_iter().flat_map(|change| change.names) {
            if let Some(Inode { body: Body::Directory(directory), .. }) = self.inodes.get_mut(&dir) {
                put(&mut directory.kept, &name, number);
            }
        }
    }

    /// Where a symbolic link leads to.
    pub fn target(&mut self, number: u64) -> Result<PathBuf> {
        match &self.inode(number)?.body {
            Body::Link(target) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Bytes of a file.
    pub fn read(&mut self, number: u64, at: u64, size: u32) -> Result<&[u8]> {
        let content = self.file(number)?.now();
        let begin = content.len().min(at as usize);
        Ok(&content[begin..content.len().min(begin + size as usize)])
    }

    /// Writes into a file.
    pub fn write(&mut self, number: u64, at: u64, bytes: &[u8]) -> Result<()> {
        self.inode(number)?.touch();
        if let Some(Inode { body: Body::File(content), .. }) = self.inodes.get_mut(&number) {
            content.write(at as usize, bytes, &mut self.chance);
        }
        Ok(())
    }

    /// fsync of a file, or fdatasync.
    pub fn sync_file(&mut self, number: u64, data_only: bool) -> Result<()> {
        self.inode(number)?;
        self.flushes += 1;
        let fails = self.fails_after == Some(0);
        self.fails_after = self.fails_after.and_then(|left| left.checked_sub(1));
        if fails {
            self.failed = true;
            self.file(number)?.fail_to_keep();
            return Err(Errno::EIO);
        }
        if self.without.fsync_file {
            return Ok(());
        }
        let inode = self.inode(number)?;
        if let Body::File(content) = &mut inode.body {
            content.keep();
        }
        if !data_only {
            inode.kept = inode.now.clone();
        }
        Ok(())
    }

    /// fsync of a directory.
    pub fn sync_dir(&mut self, number: u64) -> Result<()> {
        self.flushes += 1;
        let without = self.without.fsync_directory;
        let inode = self.inode(number)?;
        if without {
            return Ok(());
        }
        inode.kept = inode.now.clone();
        let changes = self.pending.take_of(number);
        self.keep_names(changes);
        Ok(())
    }

    /// What is in a directory.
    pub fn list(&mut self, number: u64) -> Result<Vec<(u64, FileType, OsString)>> {
        let names = self.inode(number)?.directory()?.now.clone();
        let row = |(name, number): (OsString, u64)| Some((number, self.inodes.get(&number)?.kind(), name));
        Ok(names.into_iter().filter_map(row).collect())
    }

    /// An extended attribute.
    pub fn extended(&mut self, number: u64, name: &OsStr) -> Result<Vec<u8>> {
        self.inode(number)?.now.extended.get(name).cloned().ok_or(Errno::ENODATA)
    }

    /// The names of all of them.
    pub fn all_extended(&mut self, number: u64) -> Result<Vec<OsString>> {
        Ok(self.inode(number)?.now.extended.keys().cloned().collect())
    }

    /// Sets one, or removes it.
    pub fn set_extended(&mut self, number: u64, name: &OsStr, value: Option<&[u8]>) -> Result<()> {
        let now = &mut self.inode(number)?.now;
        now.changed = SystemTime::now();
        let old = match value {
            Some(value) => now.extended.insert(name.to_owned(), value.to_owned()),
            None => now.extended.remove(name),
        };
        if old.is_none() && value.is_none() { Err(Errno::ENODATA) } else { Ok(()) }
    }
}

fn put(entries: &mut BTreeMap<OsString, u64>, name: &OsStr, number: Option<u64>) {
    match number {
        Some(number) => drop(entries.insert(name.to_owned(), number)),
        None => drop(entries.remove(name)),
    }
}
