//! The listener's children, by process. How many there may be is for the gate to say.

use super::by_pid::ByPid;
use super::ending::Fate;
use crate::auth::UserName;
use crate::net::Peer;
use crate::proto::limits;
use crate::sys::deaths::Deaths;
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashSet;
use std::io;
use std::time::{Duration, Instant};

/// A session, as the listener knows it.
#[derive(Debug, Clone, Copy)]
pub struct Child {
    /// Who is served.
    pub peer: Peer,
    /// Its page of the scoreboard.
    pub slot: usize,
    /// Its process group.
    pub group: Pid,
    /// When it was forked.
    pub since: Instant,
    /// Which connection it serves, counted since the server's start.
    pub serial: u64,
    /// Which listening socket that came to.
    pub at: u32,
    /// Which loading of the users it knows, counted.
    pub generation: u64,
    /// Who has logged in, once that is known.
    pub user: Option<UserName>,
    /// How many words it has said to the listener.
    pub said: u8,
}

/// All sessions that live.
pub struct Children {
    by_pid: ByPid<Child>,
}

impl Children {
    /// None yet, and so many at a time.
    pub fn new(count: usize) -> io::Result<Self> {
        Ok(Children { by_pid: ByPid::new(count)? })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_pid.count()
    }

    /// Adds a child that has been forked.
    pub fn add(&mut self, pid: Pid, child: Child) {
        self.by_pid.insert(pid, child);
    }

    /// Removes a child that has been reaped.
    pub fn remove(&mut self, pid: Pid) -> Option<Child> {
        self.by_pid.remove(pid)
    }

    /// Notes who has logged in, and returns the child.
    pub fn log_in(&mut self, pid: Pid, user: UserName) -> Option<Child> {
        let child = Child { user: Some(user), ..self.by_pid.get(pid)? };
        self.by_pid.insert(pid, child);
        Some(child)
    }

    /// What is known of one.
    pub fn get(&self, pid: Pid) -> Option<Child> {
        self.by_pid.get(pid)
    }

    /// Notes that a child says a word; how many beyond what a session says that makes. `None` of who is no child.
    pub fn says(&mut self, pid: Pid) -> Option<u8> {
        let mut child = self.by_pid.get(pid)?;
        child.said = child.said.saturating_add(1);
        self.by_pid.insert(pid, child);
        Some(child.said.saturating_sub(limits::WORDS_OF_A_SESSION))
    }

    /// Those who have logged in, and as whom.
    pub fn members(&self) -> impl Iterator<Item = (Pid, UserName)> {
        self.by_pid.iter().filter_map(|(pid, child)| Some((pid, child.user?)))
    }

    /// Their process ids.
    pub fn pids(&self) -> impl Iterator<Item = Pid> {
        self.by_pid.pids()
    }

    /// Each, and what is known of it.
    pub fn all(&self) -> impl Iterator<Item = (Pid, Child)> {
        self.by_pid.iter()
    }

    /// The process groups that sessions live in: one, unless the scribe had to be replaced.
    pub fn groups(&self) -> HashSet<Pid> {
        self.by_pid.iter().map(|(_, child)| child.group).collect()
    }
}

/// Reaps children that have ended, those that are named first.
///
/// That finds nearly all, but one SIGCHLD may stand for many, and to look for the others is work for the kernel that grows with the
/// number of all sessions. So between two such looks lies a rest many times as long as a look takes.
pub struct Reaper {
    deaths: Deaths,
    /// When the others are looked for, since a child has ended.
    due: Option<Instant>,
    rest_until: Instant,
}

/// How many times as long as a look at all children took is the rest after it.
const REST: u32 = 100;
/// The longest rest: nobody's place stays taken for longer than that after the end.
const LONGEST_REST: Duration = Duration::from_millis(200);

impl Reaper {
    /// Reaps what ends from now on.
    pub fn new() -> io::Result<Self> {
        Ok(Reaper { deaths: Deaths::new()?, due: None, rest_until: Instant::now() })
    }

    /// When it should be called again, though no signal may come.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Has the next call look at all children, whatever signals came: some may have ended before this was made.
    pub fn look_at_all(&mut self) {
        self.due = Some(Instant::now());
    }

    /// Reaps, after a SIGCHLD (`came`) or when it is due.
    pub fn reap(&mut self, came: bool, now: Instant) -> Vec<(Pid, WaitStatus)> {
        let mut ended = Vec::new();
        if came {
            for pid in self.deaths.named() {
                ended.extend(ended_of(waitpid(pid, Some(WaitPidFlag::WNOHANG))));
            }
            self.due = Some(self.rest_until);
        }
        if self.due.is_some_and(|due| due <= now) {
            let look = reap_all(&mut ended);
            self.due = None;
            self.rest_until = Instant::now() + (look * REST).min(LONGEST_REST);
        }
        ended
    }
}

/// Reaps every child that has ended; how long the look took that found no more.
fn reap_all(ended: &mut Vec<(Pid, WaitStatus)>) -> Duration {
    loop {
        let began = Instant::now();
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::EINTR) => {}
            Ok(WaitStatus::StillAlive) | Err(_) => return began.elapsed(),
            found => ended.extend(ended_of(found)),
        }
    }
}

/// What is told of a child that has ended; nothing of one that was only stopped.
fn ended_of(found: nix::Result<WaitStatus>) -> Option<(Pid, WaitStatus)> {
    let status = found.ok()?;
    Fate::of(status)?;
    Some((status.pid()?, status))
}
