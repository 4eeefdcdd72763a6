//! Where passwords of the users' own lie: a file for each user in the storage's own reserved directory, so that all servers of one
//! storage heed a new one from the next login on. A session reads them before login; only a helper of the listener's writes them.

use crate::auth::own_password::LONGEST;
use crate::auth::table::Found;
use crate::auth::{OwnPassword, UserName};
use crate::proto::limits;
use crate::store::beneath;
use nix::errno::Errno;
use nix::fcntl::{OFlag, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Their directory, in the reserved one.
const PLACE: &str = "passwords";
/// What is read for those who have none, so that the time does not tell who has. No user has this name.
const DECOY: &str = ".decoy";
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

/// Keeps a user's own password, durably.
pub fn keep(storage: BorrowedFd, user: &UserName, own: &OwnPassword) -> io::Result<()> {
    let dir = place(storage)?;
    if beneath::open(&dir, DECOY.as_bytes(), OFlag::O_PATH, Mode::empty()).is_err() {
        write(&dir, DECOY, &own.decoy()?.to_text())?;
    }
    write(&dir, user.as_str(), &own.to_text())
}

/// The directory, made where it is missing.
fn place(storage: BorrowedFd) -> io::Result<OwnedFd> {
    let above = beneath::open_dir(storage, limits::RESERVED.as_bytes())?;
    match mkdirat(&above, PLACE, Mode::S_IRWXU) {
        Ok(()) => fsync(&above)?,
        Err(Errno::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(beneath::open_dir(&above, PLACE.as_bytes())?)
}

/// Writes a file whole or not at all: whoever logs in meanwhile reads the old text or the new one.
fn write(dir: &OwnedFd, name: &str, text: &str) -> io::Result<()> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let draft = format!(".draft-{}", hex::encode(random));
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let mut file = File::from(beneath::open(dir.as_fd(), draft.as_bytes(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let named = written.and_then(|()| Ok(renameat(dir, draft.as_str(), dir, name)?));
    if named.is_err() {
        let _ = unlinkat(dir, draft.as_str(), UnlinkatFlags::NoRemoveDir);
    }
    named.and_then(|()| Ok(fsync(dir)?))
}
