//! The trash: where what a user deletes can go, to be had back until its time is over.
//!
//! What goes there is renamed into the reserved directory of its own mount, `.dfos/trash/ID`: nothing is copied, and mode, time and
//! digest stay as they are. Where it was stands in a note, `.dfos/trash/ID.note`, always at the top of the user's own directory, so that
//! one directory tells all. When it was deleted is a part of the id, so that what is over its time is known by name.
//!
//! The note is on the disk before the thing is renamed, and goes after the thing has gone: a crash leaves a thing where it was or in the
//! trash with its note, and at worst a note of nothing, which is not told and swept in time.

mod empty;
mod list;
mod note;

pub use list::TrashListing;

use self::note::Note;
use super::meta::meta_at;
use super::names::flush;
use super::quota::in_reach;
use super::reserved::own_dir;
use super::walk::Walk;
use super::{Pulse, Result, Tree, Trouble, Weight, beneath};
use crate::proto::{Code, EntryKind, RemotePath, TrashId, limits};
use crate::sys::statx::mount_of;
use nix::errno::Errno;
use nix::fcntl::renameat;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The trash within the reserved directory.
const TRASH: &str = "trash";

/// What is to go to the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// Anything but a directory.
    File,
    /// A directory with all that is in it.
    Dir,
}

/// The trash of the mount whose top is `top`; `None` if there is none, unless `make` makes it.
fn open(top: BorrowedFd, make: bool) -> Result<Option<OwnedFd>> {
    let Some(dir) = own_dir(top, limits::RESERVED, make)? else { return Ok(None) };
    own_dir(dir.as_fd(), TRASH, make)
}

/// The name of a directory in the trash that is being emptied: nobody gets it back any more.
fn going(id: &TrashId) -> String {
    format!("{id}.gone")
}

fn unknown() -> Trouble {
    Trouble::new(Code::NotFound, "there is no such thing in your trash; TRASH LIST tells what is")
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What the trash takes of an account, of the mount at whose top the directory `top` is. Notes are the server's own.
pub(super) fn weigh(top: BorrowedFd, pulse: &mut dyn Pulse) -> Result<Weight> {
    let place = format!("{}/{TRASH}", limits::RESERVED);
    let bin = in_reach(beneath::open_dir(top, place.as_bytes()).map_err(Trouble::from))?;
    let Some(bin) = bin else { return Ok(Weight::NONE) };
    let (mut walk, mut total, mut name) = (Walk::new(bin)?, Weight::NONE, Vec::new());
    loop {
        pulse.check()?;
        if walk.next(&mut name)?.is_none() {
            if walk.leave()?.is_none() {
                return Ok(total);
            }
            continue;
        }
        if walk.depth() == 0 && note::is_of(&name).is_some() {
            continue;
        }
        let Some(meta) = in_reach(meta_at(walk.dir()?, &name).map_err(Trouble::from))? else { continue };
        total += Weight::one(if meta.kind == EntryKind::File { meta.size } else { 0 });
        if meta.kind == EntryKind::Dir {
            in_reach(walk.enter(&name))?;
        }
    }
}

impl Tree {
    /// Moves `path` to the trash; what it is called there. It is counted as before.
    pub fn trash(&mut self, path: &RemotePath, what: Whole, pulse: &mut dyn Pulse) -> Result<TrashId> {
        if self.keep.is_none() {
            let text = "your account has no trash: what is deleted here is gone at once; ask without 'trash'";
            return Err(Trouble::new(Code::Denied, text));
        }
        let Some(above) = path.parent() else {
            return Err(Trouble::new(Code::BadPath, "your own directory cannot be removed"));
        };
        let (parent, name) = beneath::open_parent(self.root(), path)?;
        let last = path.name().unwrap_or(b".");
        match what {
            Whole::Dir => drop(beneath::open_dir(&parent, last)?),
            Whole::File if meta_at(parent.as_fd(), last)?.kind == EntryKind::Dir => {
                return Err(Trouble::of(Code::IsDirectory));
            }
            Whole::File => {}
        }
        let notes = self.notes(true)?.ok_or_else(unknown)?;
        let (top, other) = self.bin_for(parent.as_fd(), &above)?;
        let bin = other.as_ref().unwrap_or(&notes);
        let id = note::write(&notes, &Note { path: path.clone(), top }, pulse)?;
        let account = self.lock_account(pulse); // nobody counts while it is neither here nor there
        let moved = renameat(&parent, name, bin, id.to_string().as_str());
        drop(account);
        if let Err(why) = moved {
            note::remove(&notes, &id);
            return Err(why.into());
        }
        // The new name first, as with every rename.
        flush(&[bin.as_fd(), parent.as_fd()], pulse)?;
        Ok(id)
    }

    /// Gives back what is called `id`, under the name `to` or the one that it had; directories that lead there are made. Without
    /// `replace` an existing name is refused. Where it is now.
    pub fn restore(
        &mut self,
        id: &TrashId,
        to: Option<RemotePath>,
        replace: bool,
        pulse: &mut dyn Pulse,
    ) -> Result<RemotePath> {
        let notes = self.notes(false)?.filter(|_| !self.is_over(id)).ok_or_else(unknown)?;
        let Note { path, top } = note::read(&notes, id)?.ok_or_else(unknown)?;
        let other = self.other_bin(&top)?;
        let bin = other.as_ref().unwrap_or(&notes);
        let from = id.to_string();
        // Before directories are made for nothing.
        meta_at(bin.as_fd(), from.as_bytes()).map_err(|errno| match errno {
            Errno::ENOENT => unknown(),
            other => other.into(),
        })?;
        let to = to.unwrap_or(path);
        let Some(above) = to.parent() else { return Err(Trouble::of(Code::Exists)) };
        if beneath::open_dir(self.root(), above.as_bytes()).is_err_and(|errno| errno == Errno::ENOENT) {
            let made = self.make_dir(&above, true, pulse)?;
            flush(&made.iter().map(AsFd::as_fd).collect::<Vec<_>>(), pulse)?;
            self.forget_parents();
        }
        let (parent, name) = beneath::open_parent(self.root(), &to)?;
        self.move_name((bin.as_fd(), Path::new(&from)), (parent.as_fd(), name), &to, replace, pulse)?;
        if replace {
            // Between two names of one file rename(2) does nothing: here it would stay, and nothing would tell of it.
            let _ = unlinkat(bin, from.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        note::remove(&notes, id);
        Ok(to)
    }

    /// Whether what is called `id` is over its time.
    fn is_over(&self, id: &TrashId) -> bool {
        self.keep.is_some_and(|keep| now().saturating_sub(id.seconds) >= keep)
    }

    /// The directory of the notes, which is the trash of the mount of the user's own directory.
    fn notes(&self, make: bool) -> Result<Option<OwnedFd>> {
        open(self.root(), make)
    }

    /// Where what lies in `parent`, which `path` names, goes to: the top of its mount and, if that is not the user's own directory, the
    /// trash there.
    fn bin_for(&self, parent: BorrowedFd, path: &RemotePath) -> Result<(RemotePath, Option<OwnedFd>)> {
        let mount = mount_of(parent)?;
        if mount == mount_of(self.root())? {
            return Ok((RemotePath::root(), None));
        }
        let (fd, top) = self.top_of_mount(mount, path)?;
        Ok((top, open(fd.as_fd(), true)?))
    }

    /// The trash at the top of another mount; `None` for that of the user's own directory. `not-found` where the mount is away.
    fn other_bin(&self, top: &RemotePath) -> Result<Option<OwnedFd>> {
        if top.is_root() {
            return Ok(None);
        }
        let away = || Trouble::new(Code::NotFound, "the disk that it lies on is not there at present");
        let Ok(fd) = beneath::open_dir(self.root(), top.as_bytes()) else { return Err(away()) };
        open(fd.as_fd(), false)?.ok_or_else(away).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Patient;
    use crate::store::quota::Allowance;
    use crate::store::tree::Policy;
    use nix::sys::stat::Mode;
    use std::fs::{self, File};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::PathBuf;

    const DAY: u64 = 24 * 3600;

    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Home {
            Home(tempfile::tempdir().unwrap())
        }

        fn with(&self, trash: Option<u64>, quota: Option<u64>) -> Tree {
            let quota = Allowance { bytes: quota, files: None };
            let policy = Policy { trash, quota, ..Policy::new(Mode::empty()) };
            let storage = File::open(self.0.path()).unwrap();
            let root = Tree::open_root(storage.as_fd(), "alice", policy).unwrap();
            Tree::new(root, policy, &mut Patient).unwrap()
        }

        fn tree(&self) -> Tree {
            self.with(Some(DAY), None)
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join("alice").join(name)
        }

        /// What lies in the trash, notes and all, sorted.
        fn bin(&self) -> Vec<String> {
            let names = fs::read_dir(self.at(".dfos/trash")).into_iter().flatten();
            let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }

        /// Sets back the time at which `id` was deleted.
        fn age(&self, id: TrashId, seconds: u64) -> TrashId {
            let older = TrashId { seconds: id.seconds - seconds, ..id };
            for end in ["", ".note"] {
                fs::rename(self.at(&format!(".dfos/trash/{id}{end}")), self.at(&format!(".dfos/trash/{older}{end}")))
                    .unwrap();
            }
            older
        }
    }

    fn path(name: &str) -> RemotePath {
        name.parse().unwrap()
    }

    fn listed(tree: &Tree) -> Vec<(String, EntryKind, u64)> {
        let mut listing = tree.trash_listing().unwrap();
        let mut rows = Vec::new();
        while let Some(row) = listing.next(tree, &mut Patient).unwrap() {
            rows.push((row.path.to_string(), row.kind, row.size));
        }
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows
    }

    #[test]
    fn what_is_restored_is_what_was_deleted_to_its_mode_time_and_inode() {
        let (home, none) = (Home::new(), Vec::<String>::new());
        let mut tree = home.tree();
        fs::create_dir(home.at("d")).unwrap();
        fs::write(home.at("d/f"), "content").unwrap();
        fs::set_permissions(home.at("d/f"), fs::Permissions::from_mode(0o741)).unwrap();
        symlink("/etc/passwd", home.at("link")).unwrap();
        let before = fs::metadata(home.at("d/f")).unwrap();
        let id = tree.trash(&path("d/f"), Whole::File, &mut Patient).unwrap();
        assert!(!home.at("d/f").exists());
        assert_eq!(listed(&tree), [("d/f".into(), EntryKind::File, 7)]);
        fs::remove_dir(home.at("d")).unwrap();
        assert_eq!(tree.restore(&id, None, false, &mut Patient).unwrap(), path("d/f"), "its directory is made again");
        let after = fs::metadata(home.at("d/f")).unwrap();
        let facts = |meta: &fs::Metadata| (meta.ino(), meta.mode(), meta.mtime(), meta.mtime_nsec(), meta.len());
        assert_eq!(facts(&after), facts(&before));
        // A link is a link there and back, and a tree comes back whole.
        let link = tree.trash(&path("link"), Whole::File, &mut Patient).unwrap();
        let dir = tree.trash(&path("d"), Whole::Dir, &mut Patient).unwrap();
        assert_eq!(listed(&tree).iter().map(|row| row.1).collect::<Vec<_>>(), [EntryKind::Dir, EntryKind::Link]);
        tree.restore(&link, None, false, &mut Patient).unwrap();
        tree.restore(&dir, Some(path("e")), false, &mut Patient).unwrap();
        assert_eq!(fs::read_link(home.at("link")).unwrap(), PathBuf::from("/etc/passwd"));
        assert_eq!(fs::read(home.at("e/f")).unwrap(), b"content");
        assert_eq!((home.bin(), listed(&tree).len()), (none, 0));
    }

    #[test]
    fn equal_names_lie_beside_each_other_and_a_name_that_is_taken_is_refused() {
        let home = Home::new();
        let mut tree = home.tree();
        let mut ids = Vec::new();
        for content in ["one", "two", "three"] {
            fs::write(home.at("f"), content).unwrap();
            ids.push(tree.trash(&path("f"), Whole::File, &mut Patient).unwrap());
        }
        assert_eq!(listed(&tree).len(), 3);
        tree.restore(&ids[1], None, false, &mut Patient).unwrap();
        let taken = tree.restore(&ids[0], None, false, &mut Patient).unwrap_err();
        assert_eq!(taken.code(), Code::Exists);
        assert_eq!(fs::read(home.at("f")).unwrap(), b"two");
        tree.restore(&ids[0], None, true, &mut Patient).unwrap();
        assert_eq!(fs::read(home.at("f")).unwrap(), b"one");
        assert_eq!(tree.restore(&ids[0], None, false, &mut Patient).unwrap_err().code(), Code::NotFound);
        assert_eq!(tree.empty_trash(Some(&ids[1]), &mut Patient).unwrap_err().code(), Code::NotFound);
        assert_eq!(tree.empty_trash(Some(&ids[2]), &mut Patient), Ok(1));
        // The other name of the same file.
        fs::hard_link(home.at("f"), home.at("g")).unwrap();
        let id = tree.trash(&path("f"), Whole::File, &mut Patient).unwrap();
        tree.restore(&id, Some(path("g")), true, &mut Patient).unwrap();
        assert_eq!(fs::read(home.at("g")).unwrap(), b"one");
        assert!(home.bin().is_empty(), "{:?}", home.bin());
    }

    #[test]
    fn what_cannot_go_to_the_trash_stays_where_it_is() {
        let home = Home::new();
        let mut tree = home.tree();
        fs::create_dir_all(home.at("d/sub")).unwrap();
        fs::write(home.at("f"), "x").unwrap();
        symlink("d", home.at("link")).unwrap();
        for (name, what, code) in [
            (".", Whole::File, Code::BadPath),
            (".", Whole::Dir, Code::BadPath),
            ("none", Whole::File, Code::NotFound),
            ("none/f", Whole::File, Code::NotFound),
            ("d", Whole::File, Code::IsDirectory),
            ("f", Whole::Dir, Code::NotDirectory),
            ("link", Whole::Dir, Code::BadPath),
            ("link/sub", Whole::Dir, Code::BadPath),
            ("f/f", Whole::File, Code::NotDirectory),
        ] {
            assert_eq!(tree.trash(&path(name), what, &mut Patient).unwrap_err().code(), code, "{name}");
        }
        let refused = home.with(None, None).trash(&path("f"), Whole::File, &mut Patient).unwrap_err();
        assert_eq!(refused.code(), Code::Denied);
        assert!(home.at("f").exists() && home.bin().is_empty());
    }

    #[test]
    fn what_lies_in_the_trash_is_counted_until_it_is_emptied() {
        let home = Home::new();
        let mut tree = home.with(Some(DAY), Some(1_000_000));
        fs::create_dir(home.at("d")).unwrap();
        fs::write(home.at("d/f"), [0; 500]).unwrap();
        fs::write(home.at("g"), [0; 100]).unwrap();
        symlink("g", home.at("link")).unwrap();
        let figure = |tree: &mut Tree| tree.account(&mut Patient).unwrap().used;
        let all = Weight { bytes: 600, files: 4 };
        assert_eq!(figure(&mut tree), all);
        let names = [("d", Whole::Dir), ("g", Whole::File), ("link", Whole::File)];
        let ids = names.map(|(name, what)| tree.trash(&path(name), what, &mut Patient).unwrap());
        assert_eq!(figure(&mut tree), all);
        // Counted afresh, with and without a quota: the same.
        fs::write(home.at(".dfos/usage"), "").unwrap();
        assert_eq!((figure(&mut tree), figure(&mut home.tree())), (all, all));
        assert_eq!(tree.empty_trash(Some(&ids[0]), &mut Patient), Ok(1));
        assert_eq!(figure(&mut tree), Weight { bytes: 100, files: 2 });
        tree.restore(&ids[1], None, false, &mut Patient).unwrap();
        assert_eq!(figure(&mut tree), Weight { bytes: 100, files: 2 });
        assert_eq!(tree.empty_trash(None, &mut Patient), Ok(1));
        assert_eq!(figure(&mut tree), Weight::one(100));
        // What a restored file replaces is given back.
        let id = tree.trash(&path("g"), Whole::File, &mut Patient).unwrap();
        fs::write(home.at("g"), [0; 40]).unwrap();
        fs::write(home.at(".dfos/usage"), "").unwrap();
        assert_eq!(figure(&mut tree), Weight { bytes: 140, files: 2 });
        tree.restore(&id, None, true, &mut Patient).unwrap();
        assert_eq!(figure(&mut tree), Weight::one(100));
    }

    #[test]
    fn what_is_over_its_time_is_not_told_not_given_back_and_swept_by_the_next_session() {
        let home = Home::new();
        let mut tree = home.with(Some(DAY), Some(1_000_000));
        fs::create_dir_all(home.at("d/deep")).unwrap();
        for name in ["d/deep/f", "old", "young"] {
            fs::write(home.at(name), [0; 100]).unwrap();
        }
        let ids = [("d", Whole::Dir), ("old", Whole::File), ("young", Whole::File)]
            .map(|(name, what)| tree.trash(&path(name), what, &mut Patient).unwrap());
        let old = [home.age(ids[0], DAY), home.age(ids[1], DAY + 5)];
        let young = home.age(ids[2], DAY - 60);
        assert_eq!(listed(&tree), [("young".into(), EntryKind::File, 100)]);
        for id in &old {
            assert_eq!(tree.restore(id, None, false, &mut Patient).unwrap_err().code(), Code::NotFound);
            assert_eq!(tree.empty_trash(Some(id), &mut Patient).unwrap_err().code(), Code::NotFound);
        }
        assert_eq!(home.bin().len(), 6);
        // Without a trash nothing is swept, and with a longer time nothing is over.
        drop((home.with(None, None), home.with(Some(2 * DAY), None)));
        assert_eq!((home.bin().len(), listed(&home.with(None, None)).len()), (6, 3));
        let mut next = home.with(Some(DAY), Some(1_000_000));
        assert_eq!(home.bin(), [young.to_string(), format!("{young}.note")]);
        assert_eq!(next.account(&mut Patient).unwrap().used, Weight::one(100));
    }

    #[test]
    fn debris_of_every_kind_is_not_told_and_goes() {
        let home = Home::new();
        let mut tree = home.tree();
        fs::write(home.at("f"), "x").unwrap();
        tree.trash(&path("f"), Whole::File, &mut Patient).unwrap();
        let bin = |name: &str| home.at(&format!(".dfos/trash/{name}"));
        let fresh = TrashId { seconds: now(), random: [7; 8] };
        let older = TrashId { seconds: now() - limits::TRASH_LEAST, random: [8; 8] };
        let orphan = TrashId { seconds: now(), random: [9; 8] };
        fs::write(bin(&format!("{fresh}.note")), "dfos-trash-1 a .\n").unwrap(); // waits for its thing in another session
        fs::write(bin(&format!("{older}.note")), "dfos-trash-1 b .\n").unwrap();
        fs::write(bin(&orphan.to_string()), "has lost its note").unwrap();
        fs::write(bin(&format!("{}.note", TrashId { seconds: now(), random: [1; 8] })), [0xff; 9]).unwrap();
        let half = TrashId { seconds: now(), random: [3; 8] };
        fs::create_dir_all(bin(&format!("{half}.gone/half/emptied"))).unwrap();
        fs::write(bin("stray"), "").unwrap();
        assert_eq!(listed(&tree).len(), 1);
        let mut next = home.tree();
        assert!(!bin(&format!("{half}.gone")).exists(), "what was half emptied is swept");
        assert_eq!(next.empty_trash(None, &mut Patient), Ok(2));
        let left = home.bin();
        assert!(left.contains(&format!("{fresh}.note")) && !left.contains(&format!("{older}.note")), "{left:?}");
        assert!(!bin(&orphan.to_string()).exists());
    }

    #[test]
    fn a_directory_that_is_being_emptied_cannot_be_given_back_half() {
        let home = Home::new();
        let (mut tree, mut other) = (home.tree(), home.tree());
        fs::create_dir(home.at("d")).unwrap();
        for n in 0..10 {
            fs::write(home.at(&format!("d/{n}")), "x").unwrap();
        }
        let id = tree.trash(&path("d"), Whole::Dir, &mut Patient).unwrap();
        /// Goes away in the midst of the work, after another session has tried to get the directory back.
        struct Rival<'a>(&'a mut Tree, TrashId, u32);
        impl Pulse for Rival<'_> {
            fn beat(&mut self) -> bool {
                self.2 += 1;
                if self.2 == 4 {
                    let result = self.0.restore(&self.1, None, false, &mut Patient);
                    assert_eq!(result.unwrap_err().code(), Code::NotFound);
                }
                self.2 < 6
            }
        }
        let broken = tree.empty_trash(Some(&id), &mut Rival(&mut other, id, 0));
        assert_eq!(broken, Err(Trouble::Interrupted));
        assert!(!home.at("d").exists());
        assert_eq!(listed(&tree).len(), 0);
        drop(home.tree());
        assert!(home.bin().iter().all(|name| name.ends_with(".note")), "{:?}", home.bin());
    }

    #[test]
    fn a_trash_that_somebody_else_planted_is_not_followed() {
        let home = Home::new();
        let mut tree = home.tree();
        let foreign = home.0.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(home.at("f"), "x").unwrap();
        fs::create_dir(home.at(".dfos")).unwrap();
        symlink(&foreign, home.at(".dfos/trash")).unwrap();
        assert_eq!(tree.trash(&path("f"), Whole::File, &mut Patient).unwrap_err().code(), Code::BadPath);
        assert!(tree.trash_listing().is_err() && tree.empty_trash(None, &mut Patient).is_err());
        assert!(home.at("f").exists() && fs::read_dir(&foreign).unwrap().next().is_none());
        drop(home.tree()); // and nobody is kept from logging in
    }
}
