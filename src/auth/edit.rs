//! Changes to the users file, as `dfos-forkd user add|passwd|remove|list` makes them.
//!
//! The file is replaced in one step, so a server that reloads at any moment sees the old or the new; all lines but the
//! user's own stay byte for byte. Two editors wait for each other by a lock on the users file itself: a lock file beside
//! it would be one more thing to own and to leave behind, and a lock on the directory could be held by anyone who can
//! read that. Since each change puts a new file in its place, the lock counts only if the name still means the locked
//! file.

use super::keys;
use super::trust::{self, TrustError};
use super::users_file::{self, ParsedUsers};
use super::{Password, UserName, Verifier};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::Zeroizing;

/// Why the users file stays as it is.
#[derive(Debug, Error)]
pub enum EditError {
    /// `add` of a name that has a line.
    #[error("user {0} exists already: 'dfos-forkd user passwd {0}' sets a new password")]
    Exists(UserName),
    /// `passwd` or `remove` of a name without a line.
    #[error("there is no user {0}: 'dfos-forkd user list' shows all")]
    Missing(UserName),
    /// The file is not there, or not safe to work with.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The file belongs to somebody else, and the new one could not be given to them.
    #[error("cannot keep the owner and group of {0}: {1}; run this as root or as the file's owner")]
    Owner(PathBuf, #[source] io::Error),
    /// The new file has its name, but its directory could not be flushed.
    #[error("{0} was changed, but a power cut may bring the old one back: {1}; check the disk")]
    Uncertain(PathBuf, #[source] io::Error),
    /// The disk or the kernel says no.
    #[error("cannot change {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
}

/// Adds a user; a file that does not exist is made, mode 0600.
pub fn add(path: &Path, name: &UserName, password: &Password) -> Result<(), EditError> {
    let verifier = fresh(path, password)?;
    change(path, true, |old| match has(old, name) {
        true => Err(EditError::Exists(*name)),
        false => Ok(appended(old, name, &verifier)),
    })
}

/// Gives a user a new password.
pub fn passwd(path: &Path, name: &UserName, password: &Password) -> Result<(), EditError> {
    let verifier = fresh(path, password)?;
    change(path, false, |old| replaced(old, name, Some(&verifier)).ok_or(EditError::Missing(*name)))
}

/// Removes a user's lines. The user's files stay.
pub fn remove(path: &Path, name: &UserName) -> Result<(), EditError> {
    change(path, false, |old| replaced(old, name, None).ok_or(EditError::Missing(*name)))
}

/// What the file says now: its users, and what the operator should know.
pub fn list(path: &Path) -> Result<ParsedUsers, EditError> {
    let contents = users_file::contents(&trust::open(path)?).map_err(|why| EditError::Io(path.into(), why))?;
    Ok(users_file::parse(&contents))
}

/// What [`add`] (`is_new`) or [`passwd`] would refuse as the file is now: nobody need type a password that nothing comes of.
pub fn foresee(path: &Path, name: &UserName, is_new: bool) -> Result<(), EditError> {
    let file = match trust::open(path) {
        Err(why) if is_new && why.is_missing() => return Ok(()),
        other => other?,
    };
    let contents = users_file::contents(&file).map_err(|why| EditError::Io(path.into(), why))?;
    match (is_new, has(&contents, name)) {
        (true, true) => Err(EditError::Exists(*name)),
        (false, false) => Err(EditError::Missing(*name)),
        _ => Ok(()),
    }
}

/// Whether a user has a line, sound or damaged.
fn has(contents: &[u8], name: &UserName) -> bool {
    users_file::lines(contents).1.any(|line| users_file::owner(line).as_ref() == Some(name))
}

/// A verifier, made before the lock is taken: it takes its time.
fn fresh(path: &Path, password: &Password) -> Result<Verifier, EditError> {
    Verifier::fresh(password).map_err(|why| EditError::Io(path.into(), why))
}

/// The ending that a line has: an editor on another system may have written CRLF.
fn ending(line: &[u8]) -> &'static [u8] {
    if line.ends_with(b"\r\n") { b"\r\n" } else { b"\n" }
}

/// An empty text with room for `old` and one line more, so that it need not move and leave copies behind.
fn room_for(old: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(old.len() + 512))
}

/// The file with one more line at its end, ended as the first one is.
fn appended(old: &[u8], name: &UserName, verifier: &Verifier) -> Zeroizing<Vec<u8>> {
    let (bom, mut lines) = users_file::lines(old);
    let ending = lines.next().map_or(&b"\n"[..], ending);
    let mut new = room_for(old);
    new.extend_from_slice(old);
    if old.len() > bom.len() && !old.ends_with(b"\n") {
        new.extend_from_slice(ending);
    }
    new.extend_from_slice(format!("{name}:{verifier}").as_bytes());
    new.extend_from_slice(ending);
    new
}

/// The file with the user's first line replaced, or removed. Further lines of the user go as well, damaged ones too:
/// left behind they would come to count again with an old password. `None` if the user has no line.
fn replaced(old: &[u8], name: &UserName, verifier: Option<&Verifier>) -> Option<Zeroizing<Vec<u8>>> {
    let (bom, lines) = users_file::lines(old);
    let mut new = room_for(old);
    new.extend_from_slice(bom);
    let mut seen = false;
    for line in lines {
        if users_file::owner(line).as_ref() != Some(name) {
            new.extend_from_slice(line);
        } else if let Some(verifier) = verifier.filter(|_| !seen) {
            new.extend_from_slice(format!("{name}:{verifier}").as_bytes());
            new.extend_from_slice(ending(line));
        }
        seen |= users_file::owner(line).as_ref() == Some(name);
    }
    seen.then_some(new)
}

/// Reads the file, changes it and puts it back, all under the lock.
fn change(
    path: &Path,
    create: bool,
    edit: impl FnOnce(&[u8]) -> Result<Zeroizing<Vec<u8>>, EditError>,
) -> Result<(), EditError> {
    let path = trust::resolve(path)?;
    trust::check_directory(&path)?;
    let file = lock(&path, create)?;
    let old = users_file::contents(&file).map_err(|why| EditError::Io(path.clone(), why))?;
    replace(&path, &file, &edit(&old)?)
}

/// Opens and locks the file that the name means. Another editor may have replaced it while we waited: then once more.
fn lock(path: &Path, create: bool) -> Result<Flock<File>, EditError> {
    let io = |why: io::Error| EditError::Io(path.into(), why);
    loop {
        let file = match trust::open(path) {
            Err(why) if create && why.is_missing() => {
                // An empty file to lock. Whoever made it first, the next round opens it.
                match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
                    Err(why) if why.kind() != io::ErrorKind::AlreadyExists => return Err(io(why)),
                    _ => continue,
                }
            }
            other => other?,
        };
        let file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, why)| io(why.into()))?;
        let (locked, named) = (file.metadata().map_err(io)?, fs::symlink_metadata(path));
        if named.is_ok_and(|named| (named.dev(), named.ino()) == (locked.dev(), locked.ino())) {
            return Ok(file);
        }
    }
}

/// A new file beside the old one; goes when dropped, unless it has taken the old one's name. One whose maker was killed goes when the
/// next is made: it holds verifiers.
struct Beside {
    path: PathBuf,
    file: File,
}

/// How the new files for `path` are called; another users file may stand in the same directory.
fn beginning(path: &Path) -> String {
    let name = path.file_name().map_or(&b""[..], OsStrExt::as_bytes);
    format!(".dfos-users-{}-", hex::encode(Sha256::digest(name).get(..4).unwrap_or_default()))
}

/// Removes what was left beside `path`. Only whoever holds its lock makes such files, and nobody else does so now.
fn remove_left(path: &Path) -> io::Result<()> {
    let beginning = beginning(path);
    for entry in fs::read_dir(trust::directory_of(path))? {
        let entry = entry?;
        if entry.file_name().as_bytes().starts_with(beginning.as_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

impl Beside {
    fn create(path: &Path) -> io::Result<Self> {
        let _ = remove_left(path); // debris that stays does not hinder the change
        let mut random = [0; 8];
        keys::random(&mut random)?;
        let path = trust::directory_of(path).join(format!("{}{}", beginning(path), hex::encode(random)));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Beside { path, file })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // After the rename there is nothing left under this name.
        let _ = fs::remove_file(&self.path);
    }
}

/// Puts the contents in the place of `old`, flushed to the disk, with its owner and group. The group may go on reading
/// if it could, so that a server that has left root can reload; others never may.
fn replace(path: &Path, old: &File, contents: &[u8]) -> Result<(), EditError> {
    let io = |why| EditError::Io(path.into(), why);
    let before = old.metadata().map_err(io)?;
    let mut new = Beside::create(path).map_err(io)?;
    new.file.write_all(contents).map_err(io)?;
    let now = new.file.metadata().map_err(io)?;
    if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
        let owner = |why| EditError::Owner(path.into(), why);
        fchown(&new.file, Some(before.uid()), Some(before.gid())).map_err(owner)?;
    }
    new.file.set_permissions(Permissions::from_mode(0o600 | before.mode() & 0o040)).map_err(io)?;
    new.file.sync_all().map_err(io)?;
    fs::rename(&new.path, path).map_err(io)?;
    let flushed = File::open(trust::directory_of(path)).and_then(|directory| directory.sync_all());
    flushed.map_err(|why| EditError::Uncertain(path.into(), why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::users_file::{MARKER, Secret};
    use proptest::prelude::*;
    use std::os::unix::fs::symlink;

    const KEYS: &str = "SCRAM-SHA-256$4096:AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\
                        AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn name(text: &str) -> UserName {
        text.parse().unwrap()
    }

    fn password(text: &str) -> Password {
        Password::new(text).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_user_comes_changes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        let check = |word: &str| {
            let users = list(&path).unwrap();
            let Secret::Scram(verifier) = &users.entries[0].secret else { panic!("a verifier is written") };
            verifier.matches(&password(word))
        };
        add(&path, &name("alice"), &password("a:b\nmallory:x")).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(check("a:b\nmallory:x"));
        passwd(&path, &name("alice"), &password("second")).unwrap();
        assert!(check("second"));
        remove(&path, &name("alice")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside the file");
    }

    #[test]
    fn what_a_killed_editor_left_goes_with_the_next_change_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("users"), dir.path().join("others"));
        let left = [format!("{}0123456789abcdef", beginning(&path)), format!("{}0123456789abcdef", beginning(&other))];
        left.iter().for_each(|name| fs::write(dir.path().join(name), "half a").unwrap());
        add(&path, &name("alice"), &password("x")).unwrap();
        assert!(!dir.path().join(&left[0]).exists());
        assert!(dir.path().join(&left[1]).exists(), "that of another file, which somebody may be writing");
    }

    #[test]
    fn a_change_that_makes_no_sense_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        assert!(matches!(passwd(&path, &name("a"), &password("x")), Err(EditError::Trust(why)) if why.is_missing()));
        assert!(matches!(remove(&path, &name("a")), Err(EditError::Trust(why)) if why.is_missing()));
        assert!(foresee(&path, &name("a"), true).is_ok() && foresee(&path, &name("a"), false).is_err());
        assert!(!path.exists());
        // The second line is damaged, but it is somebody's: a second line of that name would come as a surprise.
        let text = "alice:x\nbob:SCRAM-SHA-256$damaged\n";
        fs::write(&path, text).unwrap();
        assert!(matches!(add(&path, &name("alice"), &password("y")), Err(EditError::Exists(_))));
        assert!(matches!(add(&path, &name("bob"), &password("y")), Err(EditError::Exists(_))));
        assert!(matches!(passwd(&path, &name("carol"), &password("y")), Err(EditError::Missing(_))));
        assert!(matches!(foresee(&path, &name("bob"), true), Err(EditError::Exists(_))));
        assert!(matches!(foresee(&path, &name("carol"), false), Err(EditError::Missing(_))));
        assert!(foresee(&path, &name("carol"), true).is_ok() && foresee(&path, &name("bob"), false).is_ok());
        assert!(matches!(remove(&path, &name("carol")), Err(EditError::Missing(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn no_older_password_comes_back() {
        let text = b"alice:one\n# alice:no\nalice:two\nbob:x\nalice:SCRAM-SHA-256$\n";
        assert_eq!(&**replaced(text, &name("alice"), None).unwrap(), b"# alice:no\nbob:x\n");
        let new = replaced(text, &name("alice"), Some(&KEYS.parse().unwrap())).unwrap();
        assert_eq!(std::str::from_utf8(&new).unwrap(), format!("alice:{KEYS}\n# alice:no\nbob:x\n"));
    }

    #[test]
    fn marker_mark_and_line_endings_stay() {
        let verifier = KEYS.parse().unwrap();
        let new = appended(format!("\u{FEFF}{MARKER}\r\nbob:x").as_bytes(), &name("alice"), &verifier);
        assert_eq!(std::str::from_utf8(&new).unwrap(), format!("\u{FEFF}{MARKER}\r\nbob:x\r\nalice:{KEYS}\r\n"));
        assert!(users_file::parse(&new).demonstration);
        let new = replaced("\u{FEFF}bob:x\r\na:b".as_bytes(), &name("bob"), Some(&verifier)).unwrap();
        assert_eq!(std::str::from_utf8(&new).unwrap(), format!("\u{FEFF}bob:{KEYS}\r\na:b"));
    }

    #[test]
    fn the_group_may_go_on_reading_and_others_may_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        for (before, after) in [(0o640, 0o640), (0o644, 0o640), (0o600, 0o600), (0o660, 0o640), (0o604, 0o600)] {
            fs::write(&path, "a:b\n").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
            passwd(&path, &name("a"), &password("x")).unwrap();
            assert_eq!(mode(&path), after, "{before:o}");
        }
    }

    #[test]
    fn the_owner_stays_the_owner() {
        if !nix::unistd::geteuid().is_root() {
            return; // Only root can make files that belong to others.
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        fs::write(&path, "a:b\n").unwrap();
        std::os::unix::fs::chown(&path, Some(12345), Some(12346)).unwrap();
        passwd(&path, &name("a"), &password("x")).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.uid(), after.gid()), (12345, 12346));
    }

    #[test]
    fn a_link_stays_a_link_and_its_target_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("users"), dir.path().join("link"));
        fs::write(&file, "a:b\n").unwrap();
        symlink("users", &link).unwrap();
        remove(&link, &name("a")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"");
    }

    #[test]
    fn editors_at_the_same_time_lose_no_user() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        std::thread::scope(|scope| {
            for n in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    change(path, true, |old| Ok(appended(old, &name(&format!("u{n}")), &KEYS.parse().unwrap())))
                        .unwrap()
                });
            }
        });
        assert_eq!(list(&path).unwrap().entries.len(), 8);
    }

    /// Lines of all kinds, sound and damaged, none of them alice's.
    fn other_line() -> impl Strategy<Value = Vec<u8>> {
        let odd = proptest::collection::vec(any::<u8>().prop_filter("one line", |b| *b != b'\n'), 0..20);
        let text = "(#.{0,10}|[b-z]{1,3}:.{0,10}|alice|alice2:x| alice:x|\\r|)";
        let line = prop_oneof![odd, text.prop_map(|text: String| text.replace('\n', "").into_bytes())];
        line.prop_filter("not alice's", |line| !line.starts_with(b"alice:"))
            .prop_map(|line| [&line[..], &b"\n"[..]].concat())
    }

    proptest! {
        #[test]
        fn all_other_lines_stay_byte_for_byte(
            before in proptest::collection::vec(other_line(), 0..6),
            after in proptest::collection::vec(other_line(), 0..6),
        ) {
            let (before, after) = (before.concat(), after.concat());
            let verifier: Verifier = KEYS.parse().unwrap();
            let own = format!("alice:{KEYS}\n");
            // The mark of UTF-8 at the very beginning is no part of a line.
            prop_assume!(!before.starts_with(b"\xEF\xBB\xBFalice:"));
            let old = [&before[..], b"alice:old\n", &after].concat();

            let new = replaced(&old, &name("alice"), Some(&verifier)).unwrap();
            prop_assert_eq!(&**new, &[&before[..], own.as_bytes(), &after].concat());
            let new = replaced(&old, &name("alice"), None).unwrap();
            prop_assert_eq!(&**new, &[&before[..], &after].concat());

            let old = [&before[..], &after].concat();
            let new = appended(&old, &name("alice"), &verifier);
            prop_assert!(new.starts_with(&old));
            let crlf = users_file::lines(&old).1.next().is_some_and(|line| line.ends_with(b"\r\n"));
            let own = if crlf { own.replace('\n', "\r\n") } else { own };
            prop_assert_eq!(&new[old.len()..], own.as_bytes());
        }
    }
}
