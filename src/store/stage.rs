//! Staging: an upload on its way in, from the first check of its name to the last check of its bytes.

use super::meta::{Meta, meta_at};
use super::publish::may_take;
use super::pulse::patiently;
use super::reserved::Reserved;
use super::spool::{Spool, key};
use super::{Pulse, Result, Tree, Trouble, Weight, digest, leftover};
use crate::hash::Running;
use crate::proto::{Code, Digest, Mtime, RemotePath, limits};
use crate::sys::writeback::write_back;
use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod, fstat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::fsync;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

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
    /// Whether other uploads of the session have yet to take their names.
    pub behind: bool,
}

/// An upload on its way in. Dropped, it stays behind to be resumed.
pub struct Staged {
    pub(super) spool: Spool,
    pub(super) wanted: Wanted,
    pub(super) parent: Arc<OwnedFd>,
    /// What had its name when it began.
    before: Option<Meta>,
    hash: Running,
    written: u64,
    /// Up to where the disk has been told to begin.
    under_way: u64,
    /// Bytes that the quota holds for this upload, beside the one file that it is.
    pub(super) charged: u64,
}

/// An upload that is whole and verified, and not yet durable.
pub struct Complete {
    pub(super) spool: Spool,
    pub(super) wanted: Wanted,
    pub(super) parent: Arc<OwnedFd>,
    pub(super) charged: u64,
    /// Its bytes.
    pub size: u64,
    /// Their digest.
    pub digest: Digest,
}

/// Where an upload goes.
struct Ground {
    parent: Arc<OwnedFd>,
    reserved: Rc<Reserved>,
    /// What has its name.
    before: Option<Meta>,
}

impl Tree {
    /// Begins an upload from nothing.
    pub fn stage(&mut self, wanted: Wanted, pulse: &mut dyn Pulse) -> Result<Staged> {
        let Ground { parent, reserved, before } = self.prepare(&wanted, pulse)?;
        let size = wanted.size.unwrap_or(0);
        check_room(&parent, size)?;
        let account = match self.charge(Weight::one(size), pulse) {
            // What stands in the way may be what an earlier attempt at this very file has left.
            Err(trouble) if trouble.code() == Code::OverQuota => {
                self.remove_leftovers(&reserved, &wanted.path, pulse);
                self.charge(Weight::one(size), pulse)?
            }
            other => other?,
        };
        // The account stays locked until the file is there: whoever counts next finds what has been reserved.
        match Spool::create(&reserved, &wanted.path, wanted.size) {
            Ok(spool) => Ok(Staged::new(spool, wanted, (parent, before), size)),
            Err(trouble) => {
                self.settle(account, Weight::one(size));
                Err(trouble)
            }
        }
    }

    /// Begins an upload with what an earlier one of the same path left, if anything; [`Staged::written`] tells how much.
    pub fn stage_again(&mut self, wanted: Wanted, pulse: &mut dyn Pulse) -> Result<Staged> {
        let ground = self.prepare(&wanted, pulse)?;
        let Some((mine, left)) = leftover::best(&ground.reserved, &wanted.path, wanted.size)? else {
            return self.stage(wanted, pulse);
        };
        let length = left.file.metadata()?.len();
        let mut staged = if mine {
            self.adopt(left, wanted, ground, length, pulse)?
        } else {
            // Its writer may still live, unaware that its client is gone: what it has is copied, never written to.
            let mut staged = self.stage(wanted, pulse)?;
            let covered = self.cover(&mut staged.charged, length, pulse);
            if let Err(error) = covered.and_then(|()| copy(&left.file, &staged.spool.file, length, pulse)) {
                self.discard(staged, pulse);
                return Err(error);
            }
            staged
        };
        let mut hasher = Sha256::new();
        let absorbed = digest::absorb(&mut hasher, &staged.spool.file, length, pulse);
        staged.hash = Running::after(length, hasher);
        staged.written = length;
        if let Err(trouble) =
            absorbed.and_then(|()| Ok((&*staged.spool.file).seek(SeekFrom::Start(length)).map(drop)?))
        {
            self.keep(staged, pulse);
            return Err(trouble);
        }
        Ok(staged)
    }

    /// Continues a leftover of `length` bytes as this session's own.
    fn adopt(
        &mut self,
        mut left: Spool,
        wanted: Wanted,
        Ground { parent, before, .. }: Ground,
        length: u64,
        pulse: &mut dyn Pulse,
    ) -> Result<Staged> {
        let missing = wanted.size.unwrap_or(0).saturating_sub(length);
        check_room(&parent, missing)?;
        let account = self.charge(Weight::bytes(missing), pulse)?; // the file itself is counted already
        if let Err(trouble) = left.rename(&wanted.path, wanted.size) {
            self.settle(account, Weight::bytes(missing));
            return Err(trouble);
        }
        Ok(Staged::new(left, wanted, (parent, before), length + missing))
    }

    /// What must hold before any byte is taken: the directory is there, and the name can be had.
    fn prepare(&mut self, wanted: &Wanted, pulse: &mut dyn Pulse) -> Result<Ground> {
        self.check_size(wanted.size.unwrap_or(0))?;
        let (Some(above), Some(name)) = (wanted.path.parent(), wanted.path.name()) else {
            return Err(Trouble::of(Code::IsDirectory));
        };
        let parent = self.parent(&above, pulse)?;
        let before = match meta_at(parent.as_fd(), name) {
            Err(Errno::ENOENT) => None,
            other => Some(other?),
        };
        if let Some(before) = &before {
            may_take(before.kind, wanted.new)?;
        }
        let reserved = self.reserved_beside(&parent, &above)?;
        Ok(Ground { parent, reserved, before })
    }

    /// Refuses a file larger than the user may store.
    fn check_size(&self, size: u64) -> Result<()> {
        match self.largest.filter(|largest| size > *largest) {
            Some(largest) => Err(Trouble::new(Code::TooLarge, format!("your files may have {largest} bytes at most"))),
            None => Ok(()),
        }
    }

    /// Leaves an unfinished upload to be resumed; leftovers of the same target that have less go. If its name has been given to another
    /// file since it began, it goes itself, and nothing else: its client has come back and done it, while this session did not yet know
    /// that it had gone, and what has been left since is of a later upload.
    pub fn keep(&mut self, staged: Staged, pulse: &mut dyn Pulse) {
        if staged.written == 0 {
            return self.discard(staged, pulse);
        }
        let account = self.lock_account(pulse);
        let (reserved, key, mine) = (&staged.spool.reserved, staged.spool.key(), staged.spool.name.as_bytes());
        let mut freed = Weight::NONE;
        // While it is held: of two that are let go of at the same moment neither takes the other away before it is done itself.
        if !staged.is_outdated() {
            freed += leftover::remove_of(reserved, key, |name, size| name != mine && size <= staged.written);
        }
        // From here on either who publishes the path finds it free and takes it away, or that is seen here.
        let _ = staged.spool.file.unlock();
        if staged.is_outdated() {
            freed += leftover::remove_of(reserved, key, |name, _| name == mine);
        }
        self.settle(account, freed + Weight::bytes(staged.charged.saturating_sub(staged.written)));
    }

    /// Removes an unfinished upload for good.
    pub fn discard(&mut self, staged: Staged, pulse: &mut dyn Pulse) {
        let account = self.lock_account(pulse);
        let gone = staged.spool.unlink();
        self.settle(account, if gone { Weight::one(staged.charged) } else { Weight::NONE });
    }

    /// Removes what earlier attempts at `path` have left and no session holds.
    fn remove_leftovers(&mut self, reserved: &Reserved, path: &RemotePath, pulse: &mut dyn Pulse) {
        let account = self.lock_account(pulse);
        let freed = leftover::remove_of(reserved, &key(path), |_, _| true);
        self.settle(account, freed);
    }
}

/// Refuses early what the disk has no room for.
fn check_room(parent: &OwnedFd, size: u64) -> Result<()> {
    if size < WORTH_CHECKING {
        return Ok(());
    }
    let disk = nix::sys::statvfs::fstatvfs(parent)?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    if free < size { Err(Errno::ENOSPC.into()) } else { Ok(()) }
}

impl Staged {
    fn new(spool: Spool, wanted: Wanted, (parent, before): (Arc<OwnedFd>, Option<Meta>), charged: u64) -> Staged {
        Staged { spool, wanted, parent, before, hash: Running::new(), written: 0, under_way: 0, charged }
    }

    /// Whether another session's file has got its name since it began.
    fn is_outdated(&self) -> bool {
        let identity = |meta: &Meta| (meta.inode, meta.size, meta.mtime);
        let now = self.wanted.path.name().and_then(|name| meta_at(self.parent.as_fd(), name).ok());
        // What the session itself has published meanwhile was asked for before.
        !self.wanted.behind && now.is_some_and(|now| self.before.as_ref().map(identity) != Some(identity(&now)))
    }

    /// The name that it is to have.
    pub fn path(&self) -> &RemotePath {
        &self.wanted.path
    }

    /// Bytes there are so far, those of an earlier attempt included.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The digest of the bytes that an earlier attempt left, before new ones come.
    pub fn digest_so_far(&self) -> Option<Digest> {
        self.hash.so_far()
    }

    /// Throws away what there is and begins at nothing.
    pub fn restart(&mut self) -> Result<()> {
        self.spool.file.set_len(0)?;
        (&*self.spool.file).rewind()?;
        self.hash = Running::new();
        (self.written, self.under_way) = (0, 0);
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
        tree.check_size(after)?; // what was announced may be a lie, or nothing
        tree.cover(&mut self.charged, after, pulse)?;
        (&*self.spool.file).write_all(bytes)?;
        self.hash.passed(bytes, Some(&self.spool.file))?;
        self.written = after;
        self.put_under_way();
        Ok(())
    }

    /// Has the disk begin with what there is, so that the flush at the end is short. If it cannot, the flush says so.
    fn put_under_way(&mut self) {
        if self.written - self.under_way >= limits::UNDER_WAY {
            let _ = write_back(self.spool.file.as_fd(), self.under_way, self.written - self.under_way);
            self.under_way = self.written;
        }
    }

    /// Checks the whole body and dresses the file as it will be published: mode, time, digest. The caller discards a staged
    /// file that is refused here; that is why it comes back.
    pub fn finish(
        mut self,
        tree: &Tree,
        claimed: Option<Digest>,
    ) -> std::result::Result<Complete, (Trouble, Box<Staged>)> {
        match self.verify(tree, claimed) {
            Err(trouble) => Err((trouble, Box::new(self))),
            Ok(digest) => Ok(Complete {
                spool: self.spool,
                wanted: self.wanted,
                parent: self.parent,
                charged: self.charged,
                size: self.written,
                digest,
            }),
        }
    }

    fn verify(&mut self, tree: &Tree, claimed: Option<Digest>) -> Result<Digest> {
        let digest = std::mem::take(&mut self.hash).finish()?;
        tree.check_size(self.written)?;
        self.check(claimed, digest)?;
        self.dress(tree.file_mode, digest)?;
        Ok(digest)
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

    /// Why it is not whole, given what it seems to be. What is hashed is read back, and a disk that could not take it may have lost it by then:
    /// not what the client has sent is wrong then, and the flush tells.
    pub fn why(&self, seeming: Trouble, pulse: &mut dyn Pulse) -> Trouble {
        if seeming.code() != Code::ChecksumMismatch {
            return seeming;
        }
        let file = &*self.spool.file;
        match patiently(pulse, || fsync(file)) {
            Ok(()) => seeming,
            Err(errno) => errno.into(),
        }
    }

    fn dress(&self, mode: Mode, digest: Digest) -> Result<()> {
        let file = &*self.spool.file;
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
fn copy(from: &File, mut to: &File, length: u64, pulse: &mut dyn Pulse) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Patient;
    use crate::store::pipeline::{Change, Pipeline};
    use crate::store::quota::Allowance;
    use crate::store::tree::Policy;
    use std::path::PathBuf;

    struct Home {
        storage: tempfile::TempDir,
        policy: Policy,
    }

    impl Home {
        fn new(quota: Option<u64>) -> Home {
            let bare = Policy::new(Mode::from_bits_truncate(0o027));
            let policy = Policy { quota: Allowance { bytes: quota, files: None }, ..bare };
            Home { storage: tempfile::tempdir().unwrap(), policy }
        }

        fn tree(&self) -> Tree {
            let storage = File::open(self.storage.path()).unwrap();
            let root = Tree::open_root(storage.as_fd(), "alice", self.policy).unwrap();
            Tree::new(root, self.policy, &mut Patient).unwrap()
        }

        fn path(&self, name: &str) -> PathBuf {
            self.storage.path().join("alice").join(name)
        }

        fn staged(&self) -> usize {
            std::fs::read_dir(self.path(".dfos/uploads")).map_or(0, |dir| dir.count())
        }
    }

    fn wanted(name: &str, size: Option<u64>) -> Wanted {
        Wanted { path: name.parse().unwrap(), size, mtime: None, new: false, behind: false }
    }

    fn publish(tree: &mut Tree, mut staged: Staged, bytes: &[u8]) -> Result<()> {
        staged.write(tree, bytes, &mut Patient)?;
        let complete = staged.finish(tree, None).map_err(|(trouble, _)| trouble)?;
        let mut pipeline = Pipeline::default();
        pipeline.add((), Change::File(complete));
        let mut settled = Vec::new();
        while !pipeline.is_empty() {
            settled.extend(pipeline.step(tree, &mut Patient));
        }
        settled.remove(0).1
    }

    #[test]
    fn an_account_is_counted_after_each_start_of_a_server_and_servers_that_share_it_do_not_make_each_other_count() {
        let mut home = Home::new(Some(1000));
        let starts = [1, 2].map(|n| home.policy.start ^ n);
        let figure = |home: &mut Home, start: u64| {
            home.policy.start = start;
            home.tree().account(&mut Patient).unwrap().used.bytes
        };
        assert_eq!(figure(&mut home, starts[0]), 0);
        std::fs::write(home.path("f"), [0; 100]).unwrap(); // as what is there after a power cut, and was not noted
        assert_eq!(figure(&mut home, starts[0]), 0);
        assert_eq!(figure(&mut home, starts[1]), 100);
        std::fs::write(home.path("g"), [0; 10]).unwrap();
        assert_eq!(starts.map(|start| figure(&mut home, start)), [100, 100]);
    }

    #[test]
    fn a_published_file_has_its_bytes_mode_time_and_digest_and_leaves_no_trace() {
        let home = Home::new(None);
        let mut tree = home.tree();
        let mtime = Mtime { seconds: -5, nanos: 123_456_789 };
        let staged = tree.stage(Wanted { mtime: Some(mtime), ..wanted("f", Some(3)) }, &mut Patient).unwrap();
        assert!(!home.path("f").exists());
        publish(&mut tree, staged, b"abc").unwrap();
        use std::os::unix::fs::PermissionsExt;
        let meta = std::fs::metadata(home.path("f")).unwrap();
        assert_eq!((meta.len(), meta.permissions().mode() & 0o777), (3, 0o640));
        assert_eq!(tree.stat(&"f".parse().unwrap()).unwrap().mtime, mtime);
        assert_eq!(home.staged(), 0);
        let known = tree.known_digest(&"f".parse().unwrap());
        if known.is_some() {
            assert_eq!(known, Some(crate::hash::finish(Sha256::new_with_prefix(b"abc"))));
            std::fs::write(home.path("f"), b"xyz").unwrap();
            assert_eq!(tree.known_digest(&"f".parse().unwrap()), None, "a stale digest was believed");
        }
    }

    #[test]
    fn what_an_upload_left_is_continued_and_its_bytes_are_told() {
        let home = Home::new(None);
        let mut tree = home.tree();
        let mut staged = tree.stage(wanted("f", Some(6)), &mut Patient).unwrap();
        staged.write(&mut tree, b"abc", &mut Patient).unwrap();
        tree.keep(staged, &mut Patient);
        let staged = home.tree().stage_again(wanted("f", Some(6)), &mut Patient).unwrap();
        assert_eq!(staged.written(), 3);
        assert_eq!(staged.digest_so_far(), Some(crate::hash::finish(Sha256::new_with_prefix(b"abc"))));
        publish(&mut tree, staged, b"def").unwrap();
        assert_eq!(std::fs::read(home.path("f")).unwrap(), b"abcdef");
        assert_eq!(home.staged(), 0);
    }

    #[test]
    fn what_another_session_holds_is_copied_and_never_written_to() {
        let home = Home::new(None);
        let (mut one, mut two) = (home.tree(), home.tree());
        let mut held = one.stage(wanted("f", Some(6)), &mut Patient).unwrap();
        held.write(&mut one, b"abc", &mut Patient).unwrap();
        let staged = two.stage_again(wanted("f", Some(6)), &mut Patient).unwrap();
        assert_eq!(staged.written(), 3);
        publish(&mut two, staged, b"DEF").unwrap();
        publish(&mut one, held, b"def").unwrap();
        assert_eq!(std::fs::read(home.path("f")).unwrap(), b"abcdef");
    }

    /// An upload of `f` that has these bytes so far, and is to have six.
    fn begun(tree: &mut Tree, bytes: &[u8]) -> Staged {
        let mut staged = tree.stage(wanted("f", Some(6)), &mut Patient).unwrap();
        staged.write(tree, bytes, &mut Patient).unwrap();
        staged
    }

    #[test]
    fn of_attempts_that_break_off_with_the_same_bytes_the_last_stays_and_never_none() {
        let home = Home::new(None); // without an account, whose lock would have them take turns
        let mut tree = home.tree();
        for _ in 0..4 {
            let (one, two) = (begun(&mut tree, b"abc"), begun(&mut tree, b"abc"));
            tree.keep(one, &mut Patient);
            tree.keep(two, &mut Patient);
            assert_eq!(home.staged(), 1);
        }
        for _ in 0..50 {
            let at_once = std::sync::Barrier::new(2);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        let mut tree = home.tree();
                        let staged = begun(&mut tree, b"abc");
                        at_once.wait();
                        tree.keep(staged, &mut Patient);
                    });
                }
            });
            assert!(home.staged() >= 1);
        }
    }

    #[test]
    fn an_attempt_that_was_done_over_again_goes_alone_and_its_account_gets_all_back() {
        let home = Home::new(Some(100));
        let (mut late, mut tree) = (home.tree(), home.tree());
        let old = begun(&mut late, b"abc");
        let whole = tree.stage(wanted("f", Some(6)), &mut Patient).unwrap();
        publish(&mut tree, whole, b"abcdef").unwrap();
        let later = begun(&mut tree, b"A");
        tree.keep(later, &mut Patient);
        late.keep(old, &mut Patient);
        assert_eq!(home.tree().stage_again(wanted("f", Some(6)), &mut Patient).unwrap().written(), 1);
        assert_eq!(tree.account(&mut Patient).unwrap().used.bytes, 6 + 6, "what stands, and what is being resumed");
    }

    #[test]
    fn a_leftover_with_a_second_name_is_left_alone() {
        let home = Home::new(None);
        let mut tree = home.tree();
        let mut staged = tree.stage(wanted("f", Some(6)), &mut Patient).unwrap();
        staged.write(&mut tree, b"abc", &mut Patient).unwrap();
        let name = home.path(".dfos/uploads").join(&staged.spool.name);
        tree.keep(staged, &mut Patient);
        std::fs::hard_link(name, home.path("published")).unwrap(); // a crash between the two halves of a rename
        let staged = tree.stage_again(wanted("f", Some(6)), &mut Patient).unwrap();
        assert_eq!(staged.written(), 0);
        publish(&mut tree, staged, b"uvwxyz").unwrap();
        assert_eq!(std::fs::read(home.path("published")).unwrap(), b"abc");
    }

    #[test]
    fn an_account_that_could_not_be_read_is_counted_under_a_number_that_nobody_has() {
        let home = Home::new(Some(100));
        let mut tree = home.tree();
        tree.account(&mut Patient).unwrap();
        std::fs::write(home.path(".dfos/usage"), "damaged").unwrap();
        tree.account(&mut Patient).unwrap();
        // Before it was damaged it may have been counted any number of times: what another session remembers must not be that again.
        assert!(tree.account_epoch().unwrap() > 1_000_000_000);
    }

    #[test]
    fn what_a_disk_does_not_show_fails_a_count_and_what_has_gone_does_not() {
        use crate::store::quota::in_reach;
        let outcome = |errno: Errno| in_reach::<()>(Err(errno.into())).map_err(|why| why.code());
        for gone in [Errno::ENOENT, Errno::ENOTDIR, Errno::ELOOP, Errno::EACCES] {
            assert_eq!(outcome(gone), Ok(None));
        }
        for failed in [Errno::EIO, Errno::ENOMEM, Errno::EMFILE, Errno::ESTALE] {
            assert!(outcome(failed).is_err(), "{failed}");
        }
    }

    #[test]
    fn what_cannot_be_removed_stays_in_the_account() {
        let home = Home::new(Some(100));
        let mut tree = home.tree();
        let staged = tree.stage(wanted("f", Some(60)), &mut Patient).unwrap();
        let (name, uploads) = (staged.spool.name.clone(), home.path(".dfos/uploads"));
        std::fs::remove_file(uploads.join(&name)).unwrap();
        std::fs::create_dir(uploads.join(&name)).unwrap(); // which unlink(2) does not remove
        tree.discard(staged, &mut Patient);
        assert_eq!(tree.account(&mut Patient).unwrap().used, Weight::one(60));
    }

    #[test]
    fn an_account_is_charged_before_and_settled_after() {
        let home = Home::new(Some(100));
        let mut tree = home.tree();
        let used = |tree: &mut Tree| tree.account(&mut Patient).unwrap().used.bytes;
        let staged = tree.stage(wanted("f", Some(60)), &mut Patient).unwrap();
        assert_eq!(used(&mut tree), 60);
        let mut other = home.tree();
        assert_eq!(other.stage(wanted("g", Some(41)), &mut Patient).err().unwrap().code(), Code::OverQuota);
        let second = other.stage(wanted("g", Some(40)), &mut Patient).unwrap();
        publish(&mut tree, staged, &[b'x'; 60]).unwrap();
        other.discard(second, &mut Patient);
        assert_eq!(used(&mut tree), 60);
        let again = tree.stage(wanted("f", Some(10)), &mut Patient).unwrap();
        publish(&mut tree, again, &[b'y'; 10]).unwrap();
        assert_eq!(used(&mut tree), 10, "what was replaced is still counted");
        let unknown = tree.stage(wanted("h", None), &mut Patient).unwrap();
        publish(&mut tree, unknown, &[b'z'; 90]).unwrap();
        assert_eq!(used(&mut tree), 100);
        let unknown = tree.stage(wanted("i", None), &mut Patient).unwrap();
        assert_eq!(publish(&mut tree, unknown, b"1").unwrap_err().code(), Code::OverQuota);
        tree.delete(&"h".parse().unwrap(), &mut Patient).unwrap();
        assert_eq!(used(&mut tree), 10);
    }

    #[test]
    fn a_directory_that_came_while_a_new_file_was_uploaded_is_told_as_one() {
        let home = Home::new(None);
        let mut tree = home.tree();
        let staged = tree.stage(Wanted { new: true, ..wanted("f", Some(1)) }, &mut Patient).unwrap();
        std::fs::create_dir(home.path("f")).unwrap();
        assert_eq!(publish(&mut tree, staged, b"x").unwrap_err().code(), Code::IsDirectory);
        assert_eq!(home.staged(), 0);
    }

    #[test]
    fn what_is_replaced_while_a_delete_waits_for_the_account_is_not_given_back_twice() {
        struct Waits(std::sync::mpsc::Sender<()>);
        impl Pulse for Waits {
            fn beat(&mut self) -> bool {
                let _ = self.0.send(());
                true
            }
        }
        let home = Home::new(Some(1000));
        let mut tree = home.tree();
        for name in ["f", "kept"] {
            let staged = tree.stage(wanted(name, Some(90)), &mut Patient).unwrap();
            publish(&mut tree, staged, &[b'x'; 90]).unwrap();
        }
        let account = tree.lock_account(&mut Patient);
        let (pen, waits) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let deleted = scope.spawn(|| home.tree().delete(&"f".parse().unwrap(), &mut Waits(pen)));
            waits.recv().unwrap();
            std::fs::write(home.path("f"), [b'y'; 10]).unwrap(); // as another session does it, with the account in its hands
            tree.settle(account, Weight::bytes(80));
            deleted.join().unwrap().unwrap();
        });
        assert_eq!(tree.account(&mut Patient).unwrap().used.bytes, 90);
    }

    #[test]
    fn names_that_cannot_be_had_are_refused_before_any_byte() {
        let home = Home::new(None);
        let mut tree = home.tree();
        std::fs::create_dir(home.path("dir")).unwrap();
        std::fs::write(home.path("file"), "x").unwrap();
        std::os::unix::fs::symlink("file", home.path("link")).unwrap();
        nix::unistd::mkfifo(&home.path("pipe"), Mode::S_IRWXU).unwrap();
        for (name, code) in [
            (".", Code::IsDirectory),
            ("dir", Code::IsDirectory),
            ("link", Code::BadPath),
            ("pipe", Code::BadPath),
            ("none/f", Code::NotFound),
            ("file/f", Code::NotDirectory),
            ("link/f", Code::BadPath),
        ] {
            let refused = tree.stage(wanted(name, Some(1)), &mut Patient).err().unwrap();
            assert_eq!(refused.code(), code, "{name}");
        }
        let new = Wanted { new: true, ..wanted("file", None) };
        assert_eq!(tree.stage(new, &mut Patient).err().unwrap().code(), Code::Exists);
        assert_eq!(home.staged(), 0);
    }
}
