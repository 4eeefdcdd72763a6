//! The listener's children, and who is counted against which limit. The listener's own memory decides, nothing that a
//! child can write to.

use super::ending::Fate;
use crate::net::Peer;
use crate::net::peer::Origin;
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
}

/// All sessions that live.
#[derive(Debug, Default)]
pub struct Children {
    by_pid: HashMap<Pid, Child>,
    by_origin: HashMap<Origin, u32>,
}

impl Children {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_pid.len()
    }

    /// How many there are from where `peer` comes from.
    pub fn count_from(&self, peer: &Peer) -> u32 {
        self.by_origin.get(&peer.origin()).copied().unwrap_or(0)
    }

    /// Adds a child that has been forked.
    pub fn add(&mut self, pid: Pid, child: Child) {
        *self.by_origin.entry(child.peer.origin()).or_default() += 1;
        self.by_pid.insert(pid, child);
    }

    /// Removes a child that has been reaped.
    pub fn remove(&mut self, pid: Pid) -> Option<Child> {
        let child = self.by_pid.remove(&pid)?;
        let origin = child.peer.origin();
        if let Some(count) = self.by_origin.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                self.by_origin.remove(&origin);
            }
        }
        Some(child)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn child(address: &str) -> Child {
        let peer = Peer::Tcp(address.parse().unwrap());
        Child { peer, slot: 0, group: Pid::from_raw(1), since: Instant::now() }
    }

    #[test]
    fn an_address_is_counted_over_all_its_ports_and_forms() {
        let mut children = Children::default();
        children.add(Pid::from_raw(1), child("10.0.0.1:1"));
        children.add(Pid::from_raw(2), child("[::ffff:10.0.0.1]:2"));
        children.add(Pid::from_raw(3), child("[::1]:3"));
        assert_eq!(children.count_from(&child("10.0.0.1:9").peer), 2);
        children.remove(Pid::from_raw(1));
        children.remove(Pid::from_raw(2));
        assert_eq!((children.count(), children.count_from(&child("10.0.0.1:9").peer)), (1, 0));
        assert!(children.remove(Pid::from_raw(2)).is_none());
    }
}
