//! Quotas: how many bytes a user has stored, unfinished uploads included.
//!
//! The figure stands in a file in the reserved directory and is changed under that file's lock, so that all sessions of a
//! user, on all servers that share the storage, draw on one account. It is reserved before bytes arrive and settled when a
//! file is published. A session that is killed leaves too much reserved, never too little; and before anybody is refused,
//! and once a day, the tree is counted afresh. Without a quota nothing is kept, and QUOTA counts.

use super::meta::meta_at;
use super::pulse::patiently;
use super::reserved::Reserved;
use super::walk::Walk;
use super::{Pulse, Result, Tree, Trouble, beneath, leftover, spool};
use crate::proto::{Code, EntryKind, RemotePath, limits};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::fs::{File, TryLockError};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// The name of the usage file in the reserved directory.
const USAGE: &str = "usage";
/// An upload of unknown length reserves so much at a time.
const CHUNK: u64 = 16 << 20;
/// A figure counted less long ago than this is good enough to refuse by, in seconds: refusals must not be a way to keep the disk busy.
const FRESH: u64 = 10;
/// A figure older than this is counted again, in seconds: the operator may have added or removed files by hand.
const STALE: u64 = 24 * 3600;

/// A user's account.
pub struct Quota {
    limit: u64,
    file: Option<File>,
}

/// What the usage file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Usage {
    used: u64,
    /// When it was last counted, in seconds since 1970.
    counted: u64,
}

/// The usage file's lock, held.
pub(super) struct Locked {
    file: File,
    usage: Option<Usage>,
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = self.file.unlock(); // the descriptor stays open in `Quota`, and the lock with it
    }
}

impl Usage {
    fn read(file: &File) -> Option<Usage> {
        let mut text = [0; 64];
        let n = file.read_at(&mut text, 0).ok()?;
        let mut words = std::str::from_utf8(text.get(..n)?).ok()?.strip_suffix('\n')?.split(' ');
        if words.next()? != "dfos-usage-1" {
            return None;
        }
        Some(Usage { used: words.next()?.parse().ok()?, counted: words.next()?.parse().ok()? })
    }

    /// Always of one length, so that it is overwritten whole.
    fn write(self, file: &File) -> std::io::Result<()> {
        file.write_all_at(format!("dfos-usage-1 {:020} {:020}\n", self.used, self.counted).as_bytes(), 0)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

impl Quota {
    /// An account of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Quota { limit, file: None }
    }

    /// Empties the usage file where there is no quota now: a figure that nobody keeps must not be believed later.
    pub(super) fn forget_unless(reserved: &Reserved, has_quota: bool) {
        if has_quota {
            return;
        }
        if let Ok(fd) = beneath::open(&reserved.dir, USAGE.as_bytes(), OFlag::O_RDWR, Mode::empty()) {
            let _ = File::from(fd).set_len(0);
        }
    }
}

/// What the QUOTA verb tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Bytes stored.
    pub used: u64,
    /// Bytes allowed; `None` for no limit.
    pub limit: Option<u64>,
    /// Bytes that the disk has left.
    pub free: u64,
}

impl Tree {
    /// Tells the account.
    pub fn account(&mut self, pulse: &mut dyn Pulse) -> Result<Account> {
        let disk = nix::sys::statvfs::fstatvfs(self.root())?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        let limit = self.quota.as_ref().map(|quota| quota.limit);
        let used = match self.open_usage(pulse)? {
            Some(mut locked) => self.usage(&mut locked, STALE, pulse)?.used,
            None => self.count(pulse)?,
        };
        Ok(Account { used, limit, free })
    }

    /// Reserves `bytes`, or refuses.
    pub(super) fn charge(&mut self, bytes: u64, pulse: &mut dyn Pulse) -> Result<()> {
        let Some(limit) = self.quota.as_ref().map(|quota| quota.limit) else { return Ok(()) };
        let Some(mut locked) = self.open_usage(pulse)? else { return Ok(()) };
        let mut usage = self.usage(&mut locked, STALE, pulse)?;
        if usage.used.saturating_add(bytes) > limit {
            usage = self.usage(&mut locked, FRESH, pulse)?;
        }
        if usage.used.saturating_add(bytes) > limit {
            let text = format!("{bytes} more bytes would exceed your quota: {} of {limit} are used", usage.used);
            return Err(Trouble::new(Code::OverQuota, text));
        }
        usage.used += bytes;
        Ok(usage.write(&locked.file)?)
    }

    /// Sees to it that `charged` covers `size` bytes of an upload whose length nobody knew.
    pub(super) fn cover(&mut self, charged: &mut u64, size: u64, pulse: &mut dyn Pulse) -> Result<()> {
        if self.quota.is_none() || size <= *charged {
            return Ok(());
        }
        let more = (size - *charged).max(CHUNK);
        let more = match self.charge(more, pulse) {
            Err(trouble) if trouble.code() != Code::OverQuota => return Err(trouble),
            Err(_) => {
                let exactly = size - *charged; // near the limit the last bytes are counted one by one
                self.charge(exactly, pulse)?;
                exactly
            }
            Ok(()) => more,
        };
        *charged += more;
        Ok(())
    }

    /// Gives back what is no longer stored or reserved.
    pub(super) fn refund(&mut self, bytes: u64, pulse: &mut dyn Pulse) {
        if bytes > 0 {
            let lock = self.lock_usage(pulse);
            self.settle(lock, bytes);
        }
    }

    /// Takes the account's lock, if there is a quota: around a change of names, so that nobody counts in between.
    pub(super) fn lock_usage(&mut self, pulse: &mut dyn Pulse) -> Option<Locked> {
        self.open_usage(pulse).ok().flatten() // without the lock the figure is off until it is counted again
    }

    /// Gives back `bytes` and the lock.
    pub(super) fn settle(&mut self, lock: Option<Locked>, bytes: u64) {
        let Some(Locked { file, usage: Some(usage) }) = lock.as_ref() else { return };
        if bytes > 0 {
            let _ = Usage { used: usage.used.saturating_sub(bytes), ..*usage }.write(file);
        }
    }

    fn open_usage(&mut self, pulse: &mut dyn Pulse) -> Result<Option<Locked>> {
        if self.quota.is_none() {
            return Ok(None);
        }
        let file = match self.quota.as_ref().and_then(|quota| quota.file.as_ref()) {
            Some(file) => file.try_clone()?,
            None => {
                let root = self.root().try_clone_to_owned()?;
                let reserved = self.reserved_for(root.as_fd(), &RemotePath::root())?;
                let mode = Mode::S_IRUSR | Mode::S_IWUSR;
                let fd = beneath::open(&reserved.dir, USAGE.as_bytes(), OFlag::O_RDWR | OFlag::O_CREAT, mode)?;
                let file = File::from(fd);
                if let Some(quota) = self.quota.as_mut() {
                    quota.file = Some(file.try_clone()?);
                }
                file
            }
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => patiently(pulse, || file.lock())?,
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        Ok(Some(Locked { usage: Usage::read(&file), file }))
    }

    /// The figure, counted afresh if it is missing, damaged, or older than `age` seconds.
    fn usage(&mut self, locked: &mut Locked, age: u64, pulse: &mut dyn Pulse) -> Result<Usage> {
        if let Some(usage) = locked.usage.filter(|usage| now().saturating_sub(usage.counted) < age) {
            return Ok(usage);
        }
        let usage = Usage { used: self.count(pulse)?, counted: now() };
        usage.write(&locked.file)?;
        locked.usage = Some(usage);
        Ok(usage)
    }

    /// Counts the bytes of all files, and what running uploads have reserved.
    fn count(&self, pulse: &mut dyn Pulse) -> Result<u64> {
        let mut walk = Walk::new(beneath::open_dir(self.root(), b".")?)?;
        let (mut total, mut name) = (0u64, Vec::new());
        loop {
            pulse.check()?;
            if walk.next(&mut name)?.is_none() {
                if walk.leave()?.is_none() {
                    break;
                }
                continue;
            }
            let Ok(meta) = meta_at(walk.dir()?, &name) else { continue };
            match meta.kind {
                EntryKind::Dir if name != limits::RESERVED.as_bytes() => drop(walk.enter(&name)),
                EntryKind::File => total += meta.size,
                _ => {}
            }
        }
        for reserved in &self.reserved {
            leftover::each(reserved, |name| total += staged_bytes(reserved, name))?;
        }
        Ok(total)
    }
}

/// What a staged file counts: its bytes, or what was reserved for it while its writer lives.
fn staged_bytes(reserved: &Reserved, name: &[u8]) -> u64 {
    let Ok(fd) = beneath::open(&reserved.uploads, name, OFlag::O_RDONLY, Mode::empty()) else { return 0 };
    let file = File::from(fd);
    let size = file.metadata().map_or(0, |meta| meta.len());
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => spool::announced(name).unwrap_or(size.next_multiple_of(CHUNK)).max(size),
        _ => size,
    }
}
