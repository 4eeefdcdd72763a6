//! Users who change their own password. The listener has a helper do it, and tells the session how it went by a signal: what was sent
//! it neither reads nor keeps.

use super::Listener;
use crate::auth::UserName;
use crate::proto::limits;
use crate::server::level::Level;
use crate::server::new_password::{self, Begun, NewPassword, Outcome};
use crate::sys::signals::{PASSWORD_FAILED, PASSWORD_REFUSED, PASSWORD_TAKEN, PASSWORD_UNCERTAIN};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use std::os::fd::AsFd;
use std::time::Instant;
use zeroize::Zeroizing;

/// A helper at work.
pub(super) struct Asked {
    helper: Pid,
    session: Pid,
    /// When the session began: another may have its number when the helper ends.
    since: Instant,
    user: UserName,
    /// When its time is over; `None` once it has been killed. Then the session has given up as well, and nobody is told how it ends.
    until: Option<Instant>,
}

impl Asked {
    /// When something has to be done about it.
    pub(super) fn due(&self) -> Option<Instant> {
        self.until
    }
}

impl Listener {
    /// Kills helpers whose time is over: the storage hangs. One that even so does not end, since the kernel waits for a disk, keeps its place
    /// among those at a time, so that they are never many, but nothing else waits for it.
    pub(super) fn kill_slow_changes(&mut self) {
        let now = Instant::now();
        for asked in self.changes.iter_mut().filter(|asked| asked.until.is_some_and(|until| until <= now)) {
            let _ = kill(asked.helper, Signal::SIGKILL); // not yet reaped, so the number is still its own
            asked.until = None;
            let (user, session, seconds) = (asked.user, asked.session, limits::PASSWORD_PATIENCE.as_secs());
            let text =
                format!("was perhaps not changed: its helper is killed after {seconds} s: does the storage hang?");
            self.log.line(Level::Error, format!("the password of {user} {text} session {session}"));
        }
    }

    /// Whether a helper is still to end in time.
    pub(super) fn is_changing_passwords(&self) -> bool {
        self.changes.iter().any(|asked| asked.until.is_some())
    }

    /// A session's user asks for another password. Returns in the helper only.
    pub(super) fn change_password(&mut self, session: Pid, words: Zeroizing<String>) -> Option<Box<NewPassword>> {
        let child = self.children.get(session)?;
        let user = child.user?; // who has not logged in has none to change
        if self.changes.len() >= limits::PASSWORDS_AT_A_TIME {
            let _ = kill(session, PASSWORD_FAILED);
            return None;
        }
        match new_password::begin(self.storage.as_fd(), &self.users.table, &self.users.limits, user, words) {
            Ok(Begun::Parent(helper)) => {
                let until = Some(Instant::now() + limits::PASSWORD_PATIENCE);
                self.changes.push(Asked { helper, session, since: child.since, user, until });
                None
            }
            Ok(Begun::Helper(change)) => Some(change),
            Err(error) => {
                self.log.line(Level::Error, format!("the password of {user} cannot be changed: {error}"));
                let _ = kill(session, PASSWORD_FAILED);
                None
            }
        }
    }

    /// What a helper that has ended was asked for.
    pub(super) fn take_change(&mut self, helper: Pid) -> Option<Asked> {
        let at = self.changes.iter().position(|asked| asked.helper == helper)?;
        Some(self.changes.swap_remove(at))
    }

    /// Tells the log, and the session if it is still there, how a change ended that was not given up.
    pub(super) fn tell_change(&mut self, asked: &Asked, status: WaitStatus) {
        let Asked { session, since, user, until: Some(_), .. } = asked else { return };
        let (level, text, signal) = match Outcome::of(status) {
            Outcome::Taken => (Level::Info, "was changed by the user", PASSWORD_TAKEN),
            Outcome::Refused => (Level::Warning, "was not changed: the old one was wrong", PASSWORD_REFUSED),
            Outcome::Denied => {
                (Level::Warning, "was not changed: the account may not, or asked amiss", PASSWORD_FAILED)
            }
            Outcome::Failed => (Level::Error, "could not be written down", PASSWORD_FAILED),
            Outcome::Uncertain => {
                (Level::Error, "was perhaps changed: whoever wrote it down did not come to the end", PASSWORD_UNCERTAIN)
            }
        };
        self.log.line(level, format!("the password of {user} {text}, session {session}"));
        if self.children.get(*session).is_some_and(|child| child.since == *since) {
            let _ = kill(*session, signal);
        }
    }
}
