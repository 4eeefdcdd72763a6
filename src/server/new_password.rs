//! The helper that changes a user's password: a short-lived process that no client talks to. It has the word of the session, the users'
//! table and the storage; whether the proof is right is for it alone to say.

use super::own_passwords::{self, Kept};
use crate::auth::limits as records;
use crate::auth::{Change, OwnPassword, UserName, table};
use crate::sys::fork::{Fork, fork};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use zeroize::Zeroizing;

/// How a change ended, as the helper's exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// The new password holds.
    Taken = 0,
    /// Whoever asked for it does not know the old one.
    Refused = 10,
    /// The account may not, or what was sent is no verifier of the old one's form.
    Denied = 11,
    /// It could not be written down: nothing has changed.
    Failed = 12,
    /// The old one may hold, or the new one.
    Uncertain = 13,
}

impl Outcome {
    /// What a helper's end says.
    pub fn of(status: WaitStatus) -> Outcome {
        match status {
            WaitStatus::Exited(_, 0) => Outcome::Taken,
            WaitStatus::Exited(_, 10) => Outcome::Refused,
            WaitStatus::Exited(_, 11) => Outcome::Denied,
            WaitStatus::Exited(_, 12) => Outcome::Failed,
            _ => Outcome::Uncertain, // it was killed, and nobody knows how far it had come
        }
    }
}

/// What [`begin`] returns in each of two processes.
pub enum Begun {
    /// The one that asked: the helper.
    Parent(Pid),
    /// The helper, which drops what it inherited and then does its work.
    Helper(Box<NewPassword>),
}

/// A helper's work.
pub struct NewPassword {
    storage: OwnedFd,
    users: File,
    limits: File,
    user: UserName,
    words: Zeroizing<String>,
}

/// Starts a helper for `user`, who has sent `words`.
pub fn begin(
    storage: BorrowedFd,
    users: &File,
    limits: &File,
    user: UserName,
    words: Zeroizing<String>,
) -> io::Result<Begun> {
    let (storage, users, limits) = (storage.try_clone_to_owned()?, users.try_clone()?, limits.try_clone()?);
    let work = NewPassword { storage, users, limits, user, words };
    Ok(match fork()? {
        Fork::Parent(pid) => Begun::Parent(pid),
        Fork::Child => Begun::Helper(Box::new(work)),
    })
}

impl NewPassword {
    /// Does the work; the helper's exit status.
    pub fn run(self) -> u8 {
        self.change().unwrap_or(Outcome::Failed) as u8
    }

    fn change(self) -> io::Result<Outcome> {
        let user = self.user.as_str();
        let limits = records::lookup(&self.limits, user)?;
        let change = self.words.split_once(' ').and_then(|(verifier, proof)| Change::from_words(verifier, proof).ok());
        let (true, Some(change)) = (limits.may_change_password(), change) else { return Ok(Outcome::Denied) };
        let given = || table::lookup(&self.users, user);
        let current = own_passwords::heed(self.storage.as_fd(), given()?)?;
        let verifier = match change.check(&self.user, current.verifier()) {
            Ok(verifier) => verifier,
            Err(crate::auth::change::Refused::Proof) => return Ok(Outcome::Refused),
            Err(crate::auth::change::Refused::Form) => return Ok(Outcome::Denied),
        };
        let Some(own) = OwnPassword::new(&given()?, verifier) else { return Ok(Outcome::Denied) };
        Ok(match own_passwords::keep(self.storage.as_fd(), &self.user, &own)? {
            Kept::Durably => Outcome::Taken,
            Kept::Perhaps => Outcome::Uncertain,
        })
    }
}
