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
    /// How often it has been counted.
    epoch: u64,
}

/// The usage file's lock, held. Kept while names change, so that nobody counts in between.
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
        let mut text = [0; 96];
        let n = file.read_at(&mut text, 0).ok()?;
        let mut words = std::str::from_utf8(text.get(..n)?).ok()?.strip_suffix('\n')?.split(' ');
        if words.next()? != "dfos-usage-1" {
            return None;
        }
        let mut number = || words.next()?.parse().ok();
        Some(Usage { used: number()?, counted: number()?, epoch: number()? })
    }

    /// Always of one length, so that it is overwritten whole.
    fn write(self, file: &File) -> std::io::Result<()> {
        let text = format!("dfos-usage-1 {:020} {:020} {:020}\n", self.used, self.counted, self.epoch);
        file.write_all_at(text.as_bytes(), 0)
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

    /// Reserves `bytes`, or refuses. The account stays locked while what is returned lives.
    pub(super) fn charge(&mut self, bytes: u64, pulse: &mut dyn Pulse) -> Result<Option<Locked>> {
        let Some(limit) = self.quota.as_ref().map(|quota| quota.limit) else { return Ok(None) };
        let Some(mut locked) = self.open_usage(pulse)? else { return Ok(None) };
        let mut usage = self.usage(&mut locked, STALE, pulse)?;
        if usage.used.saturating_add(bytes) > limit {
            usage = self.usage(&mut locked, FRESH, pulse)?;
        }
        if usage.used.saturating_add(bytes) > limit {
            let text = format!("{bytes} more bytes would exceed your quota: {} of {limit} are used", usage.used);
            return Err(Trouble::new(Code::OverQuota, text));
        }
        usage.used += bytes;
        usage.write(&locked.file)?;
        locked.usage = Some(usage);
        Ok(Some(locked))
    }

    /// Sees to it that `charged` covers `size` bytes of an upload whose length nobody knew.
    pub(super) fn cover(&mut self, charged: &mut u64, size: u64, pulse: &mut dyn Pulse) -> Result<()> {
        if self.quota.is_some() && size > *charged {
            self.charge(size - *charged, pulse)?;
            *charged = size;
        }
        Ok(())
    }

    /// Takes the account's lock, if there is a quota: around a change of names.
    pub(super) fn lock_account(&mut self, pulse: &mut dyn Pulse) -> Option<Locked> {
        self.open_usage(pulse).ok().flatten() // without the lock the figure is off until it is counted again
    }

    /// Gives back `bytes` and the lock.
    pub(super) fn settle(&mut self, account: Option<Locked>, bytes: u64) {
        let Some(Locked { file, usage: Some(usage) }) = account.as_ref() else { return };
        if bytes > 0 {
            let _ = Usage { used: usage.used.saturating_sub(bytes), ..*usage }.write(file);
        }
    }

    /// How often the account has been counted, to be told to [`Tree::refund_since`] after work too long to hold the lock.
    pub(super) fn account_epoch(&mut self) -> Option<u64> {
        let file = self.usage_file().ok()??;
        Usage::read(&file).map(|usage| usage.epoch)
    }

    /// Gives back what has been removed since `epoch`. Not if somebody has counted meanwhile: some of it would be given back
    /// twice, and too much reserved is set right by the next count, too little by nobody.
    pub(super) fn refund_since(&mut self, epoch: Option<u64>, bytes: u64, pulse: &mut dyn Pulse) {
        if bytes > 0 && epoch.is_some() {
            let account = self.lock_account(pulse);
            let same = account.as_ref().is_some_and(|locked| locked.usage.map(|usage| usage.epoch) == epoch);
            self.settle(account, if same { bytes } else { 0 });
        }
    }

    fn usage_file(&mut self) -> Result<Option<File>> {
        match &self.quota {
            None => return Ok(None),
            Some(Quota { file: Some(file), .. }) => return Ok(Some(file.try_clone()?)),
            Some(_) => {}
        }
        let root = self.root().try_clone_to_owned()?;
        let reserved = self.reserved_for(root.as_fd(), &RemotePath::root())?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT;
        let file = File::from(beneath::open(&reserved.dir, USAGE.as_bytes(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        if let Some(quota) = self.quota.as_mut() {
            quota.file = Some(file.try_clone()?);
        }
        Ok(Some(file))
    }

    fn open_usage(&mut self, pulse: &mut dyn Pulse) -> Result<Option<Locked>> {
        let Some(file) = self.usage_file()? else { return Ok(None) };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => patiently(pulse, || file.lock())?,
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        Ok(Some(Locked { usage: Usage::read(&file), file }))
    }

    /// The figure, counted afresh if it is missing, damaged, or older than `age` seconds.
    fn usage(&mut self, locked: &mut Locked, age: u64, pulse: &mut dyn Pulse) -> Result<Usage> {
        let is_fresh = |usage: &Usage| now().checked_sub(usage.counted).is_some_and(|since| since < age);
        if let Some(usage) = locked.usage.filter(is_fresh) {
            return Ok(usage);
        }
        let epoch = locked.usage.map_or(0, |usage| usage.epoch) + 1;
        let usage = Usage { used: self.count(pulse)?, counted: now(), epoch };
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
        Err(TryLockError::WouldBlock) => spool::announced(name).unwrap_or(0).max(size),
        _ => size,
    }
}
