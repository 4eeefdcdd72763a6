//! Where passwords of the users' own lie: a file for each user in the storage's own reserved directory, so that all servers of one
//! storage heed a new one from the next login on. A session reads them before login; only a helper of the listener's writes them.

use crate::auth::own_password::LONGEST;
use crate::auth::table::Found;
use crate::auth::{OwnPassword, UserName};
use crate::proto::limits;
use crate::store::beneath;
use crate::store::order::fsync_dir;
use crate::sys::dirent::DirStream;
use nix::errno::Errno;
use nix::fcntl::{OFlag, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

/// Their directory, in the reserved one.
const PLACE: &str = "passwords";
/// What is read for those who have none, so that the time does not tell who has. No user has this name.
const DECOY: &str = ".decoy";
/// How the names of files begin that are being written. No user has such a name.
const DRAFT: &str = ".draft-";
/// The name of nobody.
const NOBODY: &str = ".nobody";

/// What was found for a name by the users file, with the password of the user's own where there is one. Does the same for everybody.
pub fn heed(storage: BorrowedFd, found: Found) -> io::Result<Found> {
    let user = found.name();
    let name = user.as_ref().map_or(NOBODY, UserName::as_str);
    let open = |name: &str| {
        let path = format!("{}/{PLACE}/{name}", limits::RESERVED);
        match beneath::open(storage, path.as_bytes(), OFlag::O_RDONLY | OFlag::O_NONBLOCK, Mode::empty()) {
            Err(Errno::ENOENT) => Ok(None),
            other => other.map(Some),
        }
    };
    let (own, decoy) = (open(name)?, open(DECOY)?);
    let Some(file) = own.or(decoy) else { return Ok(found) };
    let mut text = Vec::with_capacity(LONGEST);
    File::from(file).take(LONGEST as u64).read_to_end(&mut text)?;
    Ok(found.renewed(OwnPassword::from_text(&text)))
}

/// What became of a password that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It holds, whatever is killed next.
    Durably,
    /// It holds, but its directory could not be flushed: a power cut may bring the old one back.
    Perhaps,
}

/// Keeps a user's own password. An error means that nothing has changed.
pub fn keep(storage: BorrowedFd, user: &UserName, own: &OwnPassword) -> io::Result<Kept> {
    let dir = place(storage)?;
    let _ = remove_left(&dir); // debris that stays does not hinder
    if beneath::open(&dir, DECOY.as_bytes(), OFlag::O_PATH, Mode::empty()).is_err() {
        write(&dir, DECOY, &own.decoy()?.to_text())?;
    }
    write(&dir, user.as_str(), &own.to_text())
}

/// The directory, made where it is missing.
fn place(storage: BorrowedFd) -> io::Result<OwnedFd> {
    let above = beneath::open_dir(storage, limits::RESERVED.as_bytes())?;
    match mkdirat(&above, PLACE, Mode::S_IRWXU) {
        // Where another helper was faster, its flush may not be done yet.
        Ok(()) | Err(Errno::EEXIST) => fsync_dir(&above)?,
        Err(error) => return Err(error.into()),
    }
    Ok(beneath::open_dir(&above, PLACE.as_bytes())?)
}

/// Writes a file whole or not at all: whoever logs in meanwhile reads the old text or the new one.
fn write(dir: &OwnedFd, name: &str, text: &str) -> io::Result<Kept> {
    let (mut file, draft) = draft(dir)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let named = written.and_then(|()| Ok(renameat(dir, draft.as_str(), dir, name)?));
    if named.is_err() {
        let _ = unlinkat(dir, draft.as_str(), UnlinkatFlags::NoRemoveDir);
    }
    named.map(|()| if fsync_dir(dir).is_ok() { Kept::Durably } else { Kept::Perhaps })
}

/// A new file, locked for as long as it is written, and its name.
fn draft(dir: &OwnedFd) -> io::Result<(File, String)> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    loop {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = format!("{DRAFT}{}", hex::encode(random));
        let file = File::from(beneath::open(dir.as_fd(), name.as_bytes(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        // Another helper may have found it in the instant before it was locked, and taken it for one that was left.
        let links = file.metadata().map(|meta| meta.nlink());
        if !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) && matches!(links, Ok(1)) {
            return Ok((file, name));
        }
        let _ = unlinkat(dir, name.as_str(), UnlinkatFlags::NoRemoveDir);
        links?;
    }
}

/// Removes what helpers that were killed have left: it holds verifiers. Where files cannot be locked it stays.
fn remove_left(dir: &OwnedFd) -> io::Result<()> {
    let (mut stream, mut name) = (DirStream::new(beneath::open_dir(dir, b".")?), Vec::new());
    while stream.next(&mut name)?.is_some() {
        if !name.starts_with(DRAFT.as_bytes()) {
            continue;
        }
        let Ok(found) = beneath::open(dir, &name, OFlag::O_WRONLY, Mode::empty()) else { continue };
        if File::from(found).try_lock().is_ok() {
            unlinkat(dir, name.as_slice(), UnlinkatFlags::NoRemoveDir)?;
        }
    }
    Ok(())
}
