//! Quotas: how many bytes, and how many files and directories, a user has stored, unfinished uploads included: each of these is a
//! file from its first moment, so that they cannot pile up beside the account. What lies in the trash counts as it did before.
//!
//! The figures stand in a file in the reserved directory and is changed under that file's lock, so that all sessions of a
//! user, on all servers that share the storage, draw on one account. They are reserved before bytes arrive and settled when a
//! file is published. A session that is killed leaves too much reserved, never too little; and before anybody is refused,
//! and once a day, the tree is counted afresh; and once after each start of a server: no flush waits for the figures, so that after a power
//! cut they need not go with what lies there. Without a quota nothing is kept, and QUOTA counts.

use super::meta::meta_at;
use super::pulse::patiently;
use super::reserved::Reserved;
use super::walk::Walk;
use super::{Pulse, Result, Tree, Trouble, Weight, beneath, leftover, spool, trash};
use crate::proto::{Code, EntryKind, RemotePath, limits};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::fs::{File, TryLockError};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The name of the usage file in the reserved directory.
const USAGE: &str = "usage";
/// How the usage file begins. One of another version counts as damaged: it is counted afresh.
const VERSION: &str = "dfos-usage-3";
/// A figure counted less long ago than this is good enough to refuse by, in seconds: refusals must not be a way to keep the disk busy.
const FRESH: u64 = 10;
/// A figure older than this is counted again, in seconds: the operator may have added or removed files by hand.
const STALE: u64 = 24 * 3600;

/// How many servers that share a storage may count without making each other count again.
const SERVERS: usize = 4;

/// A user's account.
pub struct Quota {
    limit: Allowance,
    /// The start of the server, see [`Policy`](super::tree::Policy).
    start: u64,
    file: Option<Arc<File>>,
}

/// What a user may store. Nothing means none, not no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowance {
    /// Bytes; `None` for no limit but the disk.
    pub bytes: Option<u64>,
    /// Files and directories; `None` for no limit.
    pub files: Option<u64>,
}

impl Allowance {
    fn is_unlimited(&self) -> bool {
        *self == Allowance::default()
    }

    /// Why `more` is too much where `used` is there already; `None` if it is not.
    fn refusal(&self, used: Weight, more: Weight) -> Option<String> {
        let after = used + more;
        let over = |after: u64, more: u64, limit: Option<u64>| limit.filter(|limit| more > 0 && after > *limit);
        if let Some(limit) = over(after.bytes, more.bytes, self.bytes) {
            return Some(format!(
                "{} more bytes would exceed your quota: {} of {limit} are used; delete something",
                more.bytes, used.bytes
            ));
        }
        let limit = over(after.files, more.files, self.files)?;
        Some(format!(
            "your quota of files and directories is used up: there are {} of {limit}; delete something",
            used.files
        ))
    }
}

/// What the usage file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Usage {
    used: Weight,
    /// When it was last counted, in seconds since 1970.
    counted: u64,
    /// How often it has been counted.
    epoch: u64,
    /// Starts of servers since which it has been counted, the latest first; 0 for none.
    since: [u64; SERVERS],
}

/// The usage file's lock, held. Kept while names change, so that nobody counts in between.
pub(super) struct Locked {
    file: Arc<File>,
    usage: Option<Usage>,
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = self.file.unlock(); // the descriptor stays open in `Quota`, and the lock with it
    }
}

impl Usage {
    fn read(file: &File) -> Option<Usage> {
        let mut text = [0; 256];
        let n = file.read_at(&mut text, 0).ok()?;
        let mut words = std::str::from_utf8(text.get(..n)?).ok()?.strip_suffix('\n')?.split(' ');
        if words.next()? != VERSION {
            return None;
        }
        let mut number = || words.next()?.parse().ok();
        let used = Weight { bytes: number()?, files: number()? };
        let (counted, epoch, mut since) = (number()?, number()?, [0; SERVERS]);
        for start in &mut since {
            *start = number()?;
        }
        Some(Usage { used, counted, epoch, since })
    }

    /// Always of one length, so that it is overwritten whole.
    fn write(self, file: &File) -> std::io::Result<()> {
        let Usage { used: Weight { bytes, files }, counted, epoch, since } = self;
        let since = since.map(|start| format!(" {start:020}")).concat();
        let text = format!("{VERSION} {bytes:020} {files:020} {counted:020} {epoch:020}{since}\n");
        file.write_all_at(text.as_bytes(), 0)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

impl Quota {
    /// An account, where anything is limited.
    pub fn new(limit: Allowance, start: u64) -> Option<Self> {
        (!limit.is_unlimited()).then_some(Quota { limit, start, file: None })
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
    /// What is stored.
    pub used: Weight,
    /// What is allowed.
    pub limit: Allowance,
    /// Bytes that the disk has left.
    pub free: u64,
}

impl Tree {
    /// Tells the account.
    pub fn account(&mut self, pulse: &mut dyn Pulse) -> Result<Account> {
        let disk = nix::sys::statvfs::fstatvfs(self.root())?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        let limit = self.quota.as_ref().map_or(Allowance::default(), |quota| quota.limit);
        let used = match self.open_usage(pulse)? {
            Some(mut locked) => self.usage(&mut locked, STALE, pulse)?.used,
            None => self.count(pulse)?,
        };
        Ok(Account { used, limit, free })
    }

    /// Reserves `more`, or refuses. The account stays locked while what is returned lives.
    pub(super) fn charge(&mut self, more: Weight, pulse: &mut dyn Pulse) -> Result<Option<Locked>> {
        let Some(limit) = self.quota.as_ref().map(|quota| quota.limit) else { return Ok(None) };
        let Some(mut locked) = self.open_usage(pulse)? else { return Ok(None) };
        let mut usage = self.usage(&mut locked, STALE, pulse)?;
        if limit.refusal(usage.used, more).is_some() {
            usage = self.usage(&mut locked, FRESH, pulse)?;
        }
        if let Some(text) = limit.refusal(usage.used, more) {
            return Err(Trouble::new(Code::OverQuota, text));
        }
        usage.used += more;
        usage.write(&locked.file)?;
        locked.usage = Some(usage);
        Ok(Some(locked))
    }

    /// Sees to it that `charged` covers `size` bytes of an upload whose length nobody knew.
    pub(super) fn cover(&mut self, charged: &mut u64, size: u64, pulse: &mut dyn Pulse) -> Result<()> {
        if self.quota.is_some() && size > *charged {
            self.charge(Weight::bytes(size - *charged), pulse)?;
            *charged = size;
        }
        Ok(())
    }

    /// Whether the account has a quota.
    pub fn has_quota(&self) -> bool {
        self.quota.is_some()
    }

    /// Takes the account's lock, if there is a quota: around a change of names.
    pub(super) fn lock_account(&mut self, pulse: &mut dyn Pulse) -> Option<Locked> {
        self.open_usage(pulse).ok().flatten() // without the lock the figure is off until it is counted again
    }

    /// Gives back `freed` and the lock.
    pub(super) fn settle(&mut self, account: Option<Locked>, freed: Weight) {
        let Some(Locked { file, usage: Some(usage) }) = account.as_ref() else { return };
        if freed != Weight::NONE {
            let _ = Usage { used: usage.used.without(freed), ..*usage }.write(file);
        }
    }

    /// How often the account has been counted, to be told to [`Tree::refund_since`] after work too long to hold the lock.
    pub(super) fn account_epoch(&mut self) -> Option<u64> {
        let file = self.usage_file().ok()??;
        Usage::read(&file).map(|usage| usage.epoch)
    }

    /// Gives back what has been removed since `epoch`. Not if somebody has counted meanwhile: some of it would be given back
    /// twice, and too much reserved is set right by the next count, too little by nobody.
    pub(super) fn refund_since(&mut self, epoch: Option<u64>, freed: Weight, pulse: &mut dyn Pulse) {
        if freed != Weight::NONE && epoch.is_some() {
            let account = self.lock_account(pulse);
            let same = account.as_ref().is_some_and(|locked| locked.usage.map(|usage| usage.epoch) == epoch);
            self.settle(account, if same { freed } else { Weight::NONE });
        }
    }

    fn usage_file(&mut self) -> Result<Option<Arc<File>>> {
        match &self.quota {
            _ if self.read_only => return Ok(None), // counted each time it is asked for
            None => return Ok(None),
            Some(Quota { file: Some(file), .. }) => return Ok(Some(file.clone())),
            Some(_) => {}
        }
        let root = self.root().try_clone_to_owned()?;
        let reserved = self.reserved_for(root.as_fd(), &RemotePath::root())?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = Arc::new(File::from(beneath::open(&reserved.dir, USAGE.as_bytes(), flags, mode)?));
        if let Some(quota) = self.quota.as_mut() {
            quota.file = Some(file.clone());
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

    /// The figure, counted afresh if it is missing, damaged, older than `age` seconds, or than this server.
    fn usage(&mut self, locked: &mut Locked, age: u64, pulse: &mut dyn Pulse) -> Result<Usage> {
        let start = self.quota.as_ref().map_or(0, |quota| quota.start);
        let is_known = |usage: &Usage| start != 0 && usage.since.contains(&start);
        let is_fresh = |usage: &Usage| now().checked_sub(usage.counted).is_some_and(|since| since < age);
        if let Some(usage) = locked.usage.filter(|usage| is_known(usage) && is_fresh(usage)) {
            return Ok(usage);
        }
        let used = match (self.count(pulse), locked.usage) {
            // What part of the disk does not let itself be looked at keeps nobody from storing more.
            (Err(Trouble::Refused { .. }), Some(usage)) if age == STALE => return Ok(usage),
            (count, _) => count?,
        };
        // Never a number that was there before, also where that could not be read: somebody may be about to give back by it.
        let epoch = locked.usage.map_or_else(now, |usage| usage.epoch + 1);
        let mut since = locked.usage.map_or([0; SERVERS], |usage| usage.since);
        if !locked.usage.is_some_and(|usage| is_known(&usage)) {
            since.rotate_right(1);
            since[0] = start;
        }
        let usage = Usage { used, counted: now(), epoch, since };
        usage.write(&locked.file)?;
        locked.usage = Some(usage);
        Ok(usage)
    }

    /// Counts all files and directories and their bytes, those in the trash too, and what running uploads have reserved.
    fn count(&self, pulse: &mut dyn Pulse) -> Result<Weight> {
        let mut walk = Walk::new(beneath::open_dir(self.root(), b".")?)?;
        let (mut total, mut name) = (Weight::NONE, Vec::new());
        loop {
            pulse.check()?;
            if walk.next(&mut name)?.is_none() {
                if walk.leave()?.is_none() {
                    break;
                }
                continue;
            }
            let Some(meta) = in_reach(meta_at(walk.dir()?, &name).map_err(Trouble::from))? else { continue };
            match meta.kind {
                EntryKind::Dir if name == limits::RESERVED.as_bytes() => {
                    total += trash::weigh(walk.dir()?, pulse)?;
                    continue;
                }
                EntryKind::Dir => drop(in_reach(walk.enter(&name))?),
                EntryKind::File => total.bytes = total.bytes.saturating_add(meta.size),
                _ => {}
            }
            total.files += 1;
        }
        for reserved in &self.reserved {
            let mut failed = Ok(());
            leftover::each(reserved, |name| match staged_bytes(reserved, name) {
                Ok(bytes) => total += Weight::one(bytes),
                Err(why) => failed = Err(why),
            })?;
            failed?;
        }
        Ok(total)
    }
}

/// What of a count that looked at something: nothing, where that has gone meanwhile or the operator keeps it from the server. Any other
/// failure is one of the whole count: what it left out, the user could store once more.
pub(super) fn in_reach<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(why) if [Code::NotFound, Code::NotDirectory, Code::BadPath, Code::Denied].contains(&why.code()) => Ok(None),
        Err(why) => Err(why),
    }
}

/// What a staged file counts: its bytes, or what was reserved for it while its writer lives.
fn staged_bytes(reserved: &Reserved, name: &[u8]) -> Result<u64> {
    let fd = beneath::open(&reserved.uploads, name, OFlag::O_RDONLY, Mode::empty()).map_err(Trouble::from);
    let Some(file) = in_reach(fd)?.map(File::from) else { return Ok(0) };
    let size = file.metadata()?.len();
    Ok(match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => spool::announced(name).unwrap_or(0).max(size),
        _ => size,
    })
}
