//! A download that is not yet whole: a hidden file beside the name it will have.
//!
//! It is called `.dfos-TARGET.VERSION.part`: TARGET stands for server, user and remote path, VERSION for the size and time of
//! the file there. So a later attempt finds it, and one of another version is known to be useless. It can be read by its owner
//! alone until it is whole, and is locked, so that two downloads never write into one.

use super::folder::Folder;
use super::source::{local, shown};
use crate::client::failure::{Exit, Failure};
use crate::client::remote::Replace;
use crate::client::target::Target;
use crate::proto::{Mtime, RemotePath};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, fstatat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, geteuid, linkat, unlinkat};
use sha2::{Digest as _, Sha256};
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

const HEAD: &str = ".dfos-";
const TAIL: &str = ".part";

/// Size and time of a remote file: what tells one version of it from another before its digest is known.
pub type Version = (u64, Mtime);

/// Whether a name is one of an unfinished download.
pub fn is_part(name: &str) -> bool {
    name.starts_with(HEAD) && name.ends_with(TAIL)
}

/// How the names of all parts of one remote file begin.
pub fn beginning(target: &Target, remote: &RemotePath) -> String {
    let mut hasher = Sha256::new();
    hasher.update(format!("{}\0{}\0", target.address, target.user.as_str()));
    hasher.update(remote.as_bytes());
    format!("{HEAD}{}.", short(hasher))
}

fn version_word((size, mtime): Version) -> String {
    let mut hasher = Sha256::new();
    hasher.update(format!("{size} {mtime}"));
    short(hasher)
}

/// 64 bits of a hash are enough to tell the files of one directory apart; the digest decides in the end.
fn short(hasher: Sha256) -> String {
    hex::encode(hasher.finalize().get(..8).unwrap_or_default())
}

/// What happens to a part that does not become whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// It stays: going on is cheaper than starting over.
    Stays,
    /// It goes.
    Goes,
}

/// A part, open and locked.
pub struct Part {
    /// Locked until it is closed.
    file: File,
    folder: Arc<Folder>,
    name: String,
    unfinished: Unfinished,
    whole: bool,
}

impl Part {
    /// Finds the part of an earlier attempt at this version and how many bytes it has; removes those of other versions, and all
    /// but the longest.
    pub fn find(folder: &Arc<Folder>, beginning: &str, version: Version) -> Option<(Part, u64)> {
        let wanted = format!("{beginning}{}.", version_word(version));
        let mut best: Option<(Part, u64)> = None;
        for name in folder.leftovers(beginning) {
            let Ok(mut part) = Part::open(folder, name.to_owned(), OFlag::empty()) else { continue };
            part.unfinished = Unfinished::Goes;
            let length = fstat(&part.file).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
            let useful = name.starts_with(&wanted) && length > 0 && length <= version.0;
            if useful && best.as_ref().is_none_or(|(_, longest)| length > *longest) {
                best = Some((part, length)); // the one before goes
            }
        }
        if let Some((part, _)) = &mut best {
            part.unfinished = Unfinished::Stays;
        }
        best
    }

    /// A new, empty part.
    pub fn create(folder: &Arc<Folder>, beginning: &str, version: Version, unfinished: Unfinished) -> io::Result<Part> {
        let plain = format!("{beginning}{}{TAIL}", version_word(version));
        let mut part = match Part::open(folder, plain, OFlag::O_CREAT | OFlag::O_EXCL) {
            Err(Errno::EEXIST | Errno::EWOULDBLOCK | Errno::ESTALE) => {
                // Somebody else is at it: beside, not into.
                let mut bytes = [0; 4];
                getrandom::fill(&mut bytes).map_err(|why| io::Error::other(format!("no random bytes: {why}")))?;
                let own = format!("{beginning}{}.{}{TAIL}", version_word(version), hex::encode(bytes));
                Part::open(folder, own, OFlag::O_CREAT | OFlag::O_EXCL)
            }
            result => result,
        }?;
        part.unfinished = unfinished;
        Ok(part)
    }

    /// Opens and locks. A name that has become another file's between the two (its owner finished and renamed it) is ESTALE.
    fn open(folder: &Arc<Folder>, name: String, flags: OFlag) -> Result<Part, Errno> {
        let how = flags | OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(folder.as_ref(), name.as_str(), how, Mode::from_bits_truncate(0o600))?);
        file.try_lock().map_err(|why| match why {
            TryLockError::WouldBlock => Errno::EWOULDBLOCK,
            TryLockError::Error(why) => why.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
        })?;
        let open = fstat(&file)?;
        // One that we have just made is ours; before it was locked somebody may only have taken it away as a useless leftover.
        let new = flags.contains(OFlag::O_EXCL);
        if open.st_nlink != 1 || !(new || is_ours(&open, folder, &name)?) {
            return Err(Errno::ESTALE);
        }
        Ok(Part { file, folder: folder.clone(), name, unfinished: Unfinished::Stays, whole: false })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it lies, as the user knows it.
    pub fn path(&self) -> PathBuf {
        self.folder.path_of(self.name.as_bytes())
    }

    /// Cuts it to `length` and goes there.
    pub fn cut(&mut self, length: u64) -> Result<(), Failure> {
        let result = self.file.set_len(length).and_then(|()| self.file.seek(SeekFrom::Start(length)));
        result.map(drop).map_err(|why| local(&self.path(), &why))
    }

    /// It is of no use any more.
    pub fn discard(mut self) {
        self.unfinished = Unfinished::Goes;
    }

    /// Gives the whole file its time, its mode and its name. A file of that name is replaced in one step; or, with
    /// [`Replace::Keep`], it stays, and this one goes. Whether this one has the name now.
    ///
    /// `flush` puts the data on the disk before the name. It is for big files: ten thousand small ones would take minutes, and
    /// after a power cut a command that had not reported its end is repeated anyway.
    pub fn publish(mut self, name: &[u8], mtime: Mtime, replace: Replace, flush: bool) -> Result<bool, Failure> {
        let shown = self.folder.path_of(name);
        let failed = |why: Errno| local(&shown, &io::Error::from(why));
        let time = TimeSpec::new(mtime.seconds, i64::from(mtime.nanos));
        futimens(&self.file, &TimeSpec::UTIME_OMIT, &time).map_err(failed)?;
        fchmod(&self.file, mode_for(&self.folder, name)?).map_err(failed)?;
        if flush {
            self.file.sync_all().map_err(|why| local(&shown, &why))?;
        }
        let folder = self.folder.as_ref();
        match take_name(folder, &self.name, OsStr::from_bytes(name), replace) {
            Ok(()) => self.whole = true,
            Err(Errno::EEXIST) if replace == Replace::Keep => {
                self.unfinished = Unfinished::Goes;
                return Ok(false);
            }
            Err(Errno::EISDIR | Errno::ENOTEMPTY | Errno::EEXIST) => {
                self.unfinished = Unfinished::Goes;
                return Err(is_directory(&shown));
            }
            Err(why) => return Err(failed(why)),
        }
        if flush {
            // Not every file system can flush a directory; the data is safe either way.
            let _ = nix::unistd::fsync(folder);
        }
        Ok(true)
    }
}

/// Renames (rename(2), renameat2(2)). A file system that cannot do so without replacing can link, which never replaces.
fn take_name(folder: &Folder, old: &str, new: &OsStr, replace: Replace) -> Result<(), Errno> {
    if replace == Replace::Replace {
        return renameat(folder, old, folder, new);
    }
    match renameat2(folder, old, folder, new, RenameFlags::RENAME_NOREPLACE) {
        Err(Errno::EINVAL) => {
            linkat(folder, old, folder, new, AtFlags::empty())?;
            unlinkat(folder, old, UnlinkatFlags::NoRemoveDir)
        }
        renamed => renamed,
    }
}

/// Whether `open` is a file of this user's that still has the name `name`.
fn is_ours(open: &FileStat, folder: &Folder, name: &str) -> Result<bool, Errno> {
    let named = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let regular = open.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG;
    let same = (open.st_dev, open.st_ino) == (named.st_dev, named.st_ino);
    Ok(regular && same && open.st_uid == geteuid().as_raw())
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.whole && self.unfinished == Unfinished::Goes {
            // What cannot be removed now is found and removed by the next attempt.
            let _ = unlinkat(self.folder.as_ref(), self.name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// The mode of a file that takes `name`: that of the file it replaces, so that a private one stays private; else the usual one. What
/// is no file (a pipe somebody reads, a device) is not replaced.
pub fn mode_for(folder: &Folder, name: &[u8]) -> Result<Mode, Failure> {
    let usual = Mode::from_bits_truncate(0o666 & !umask());
    let Ok(old) = fstatat(folder, OsStr::from_bytes(name), AtFlags::AT_SYMLINK_NOFOLLOW) else { return Ok(usual) };
    match old.st_mode & nix::libc::S_IFMT {
        nix::libc::S_IFREG => Ok(Mode::from_bits_truncate(old.st_mode & 0o777)),
        nix::libc::S_IFDIR | nix::libc::S_IFLNK => Ok(usual), // the rename decides
        _ => {
            let text = format!("{} is not a regular file and stays as it is", shown(&folder.path_of(name)));
            Err(Failure::new(Exit::Local, text + "; to write into it, use `--to -` and redirect"))
        }
    }
}

/// The failure of a name that a directory has.
pub fn is_directory(path: &std::path::Path) -> Failure {
    Failure::new(Exit::Conflict, format!("{} is a directory; a file cannot take its name", shown(path)))
}

/// The file mode mask. umask(2) tells it only by changing it, which other threads would see; /proc does not.
fn umask() -> u32 {
    static MASK: OnceLock<u32> = OnceLock::new();
    *MASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let word = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        // Without /proc: for the owner alone.
        word.and_then(|word| u32::from_str_radix(word.trim(), 8).ok()).unwrap_or(0o077)
    })
}
