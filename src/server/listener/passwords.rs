//! Users who change their own password. The listener has a helper do it, and tells the session how it went by a signal: what was sent
//! it neither reads nor keeps.

use super::Listener;
use crate::auth::UserName;
use crate::proto::limits;
use crate::server::new_password::{self, Begun, NewPassword, Outcome};
use crate::server::record::Level;
use crate::sys::signals::{PASSWORD_FAILED, PASSWORD_REFUSED, PASSWORD_TAKEN, PASSWORD_UNCERTAIN};
use nix::sys::signal::kill;
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
}

impl Listener {
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
                self.changes.push(Asked { helper, session, since: child.since, user });
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

    /// Tells the log, and the session if it is still there, how a change ended.
    pub(super) fn tell_change(&mut self, asked: &Asked, status: WaitStatus) {
        let Asked { session, since, user, .. } = asked;
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
