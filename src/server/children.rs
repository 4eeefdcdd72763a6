//! The listener's children, by process. How many there may be is for the gate to say.

use super::ending::Fate;
use crate::auth::UserName;
use crate::net::Peer;
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::{HashMap, HashSet};
use std::time::Instant;

/// A session, as the listener knows it.
#[derive(Debug)]
pub struct Child {
    /// Who is served.
    pub peer: Peer,
    /// Its page of the scoreboard.
    pub slot: usize,
    /// Its process group.
    pub group: Pid,
    /// When it was forked.
    pub since: Instant,
    /// Which loading of the users it knows, counted.
    pub generation: u64,
    /// Who has logged in, once that is known.
    pub user: Option<UserName>,
}

/// All sessions that live.
#[derive(Debug, Default)]
pub struct Children {
    by_pid: HashMap<Pid, Child>,
}

impl Children {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_pid.len()
    }

    /// Adds a child that has been forked.
    pub fn add(&mut self, pid: Pid, child: Child) {
        self.by_pid.insert(pid, child);
    }

    /// Removes a child that has been reaped.
    pub fn remove(&mut self, pid: Pid) -> Option<Child> {
        self.by_pid.remove(&pid)
    }

    /// A child.
    pub fn get(&self, pid: Pid) -> Option<&Child> {
        self.by_pid.get(&pid)
    }

    /// A child, to note what becomes known of it.
    pub fn get_mut(&mut self, pid: Pid) -> Option<&mut Child> {
        self.by_pid.get_mut(&pid)
    }

    /// Those who have logged in, and as whom.
    pub fn members(&self) -> impl Iterator<Item = (Pid, &UserName)> {
        self.by_pid.iter().filter_map(|(pid, child)| Some((*pid, child.user.as_ref()?)))
    }

    /// Their process ids.
    pub fn pids(&self) -> impl Iterator<Item = Pid> {
        self.by_pid.keys().copied()
    }

    /// Whom each serves.
    pub fn peers(&self) -> impl Iterator<Item = (Pid, Peer)> {
        self.by_pid.iter().map(|(pid, child)| (*pid, child.peer))
    }

    /// The process groups that sessions live in: one, unless the scribe had to be replaced.
    pub fn groups(&self) -> HashSet<Pid> {
        self.by_pid.values().map(|child| child.group).collect()
    }
}

/// Reaps every child that has ended: one SIGCHLD may stand for many.
pub fn reap(mut tell: impl FnMut(Pid, WaitStatus)) {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(status) => match (status.pid(), Fate::of(status)) {
                (Some(pid), Some(_)) => tell(pid, status),
                (None, _) => return,
                _ => {}
            },
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}
