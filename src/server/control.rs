//! What a user's sessions share, on all servers of one storage: a small file of the user's in the storage's own reserved directory,
//! outside of the user's tree. It is opened after login, before the session is shut into that tree.
//!
//! Nothing in it need survive: a seat is a locked byte, which the kernel gives up when its session dies, and the state of the rates
//! ([`super::rate`]) is good for a second.

use crate::auth::{Limits, UserName};
use crate::proto::{Code, limits as bounds};
use crate::store::{Trouble, beneath};
use crate::sys::ofd;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// Where the files of the users lie, in the storage's reserved directory.
const USERS: &str = "users";
/// The byte of the first seat. Below it lies what the rates need.
const SEATS: i64 = 4096;

/// The file that a user's sessions share.
pub struct Control {
    file: Rc<File>,
}

impl Control {
    /// Opens the user's file and takes a seat, where the limits need one; `None` where they do not. `busy` if all seats are taken.
    pub fn enter(storage: BorrowedFd, user: &UserName, limits: &Limits) -> Result<Option<Control>, Trouble> {
        if limits.sessions.is_none() && limits.rate_up.is_none() && limits.rate_down.is_none() {
            return Ok(None);
        }
        let dir = own_dir(own_dir(storage, bounds::RESERVED)?, USERS)?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT;
        let file = beneath::open(dir, user.as_str().as_bytes(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let control = Control { file: Rc::new(file.into()) };
        if let Some(seats) = limits.sessions {
            control.sit(seats)?;
        }
        Ok(Some(control))
    }

    /// Takes one of `seats` seats; it is free again when this file is closed, or its session dead. A number that has become smaller
    /// holds for who comes, not for who sits.
    fn sit(&self, seats: u32) -> Result<(), Trouble> {
        for seat in 0..i64::from(seats) {
            match ofd::try_lock(&self.file, SEATS + seat) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(errno) => {
                    // A limit that cannot be held is not passed over in silence.
                    let text = format!(
                        "sessions cannot be counted: the storage has no locks ({}); tell the operator",
                        errno.desc()
                    );
                    return Err(Trouble::new(Code::IoError, text));
                }
            }
        }
        let text = format!("you have as many sessions as you may ({seats}); end one, or try again later");
        Err(Trouble::new(Code::Busy, text))
    }

    /// The file, for what else is shared. The seat stays taken while anybody has it.
    pub fn file(&self) -> Rc<File> {
        self.file.clone()
    }
}

/// Opens a directory of the server's own, made if it is missing. It need not be durable: without it nothing is lost.
fn own_dir(above: impl AsFd, name: &str) -> Result<OwnedFd, Trouble> {
    match beneath::open_dir(&above, name.as_bytes()) {
        Err(Errno::ENOENT) => match mkdirat(&above, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => Ok(beneath::open_dir(&above, name.as_bytes())?),
            Err(error) => Err(error.into()),
        },
        other => Ok(other?),
    }
}
