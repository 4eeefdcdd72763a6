//! How the listener reaps: whose end it was, and who is to be told of it.

use super::Listener;
use crate::server::ending::Fate;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use std::time::Instant;

impl Listener {
    /// Reaps children that have ended. What is to be told of them waits for a scribe.
    pub(super) fn reap(&mut self) -> Vec<(Pid, WaitStatus)> {
        let came = self.signals.came(Signal::SIGCHLD);
        let ended = self.reaper.reap(came, Instant::now());
        if ended.iter().any(|(pid, _)| Some(*pid) == self.scribe) {
            self.scribe = None;
        }
        ended
    }

    /// Strikes children that have been reaped off every list, and tells how they ended.
    pub(super) fn bury(&mut self, ended: Vec<(Pid, WaitStatus)>) {
        let (mut loaded, mut rehearsed) = (None, None);
        for (pid, status) in ended {
            if self.upgrade.is_rehearsed_by(pid) {
                rehearsed = Some(status);
            } else if self.loading.as_ref().is_some_and(|loading| loading.pid == pid) {
                loaded = Some(status);
            } else if let Some(asked) = self.take_change(pid) {
                self.tell_change(&asked, status);
            } else if let (Some(child), Some(fate)) = (self.children.remove(pid), Fate::of(status)) {
                let figures = self.scoreboard.give_back(child.slot, &mut self.totals);
                self.part_with(pid, &child.peer, fate);
                self.tell_parted(pid, &child, fate, &figures);
            }
        }
        // Who is sent away now is alive or not yet reaped: the number is still its own.
        if let Some(status) = loaded {
            self.reloaded(status);
        }
        rehearsed.into_iter().for_each(|status| self.rehearsed(status));
    }
}
