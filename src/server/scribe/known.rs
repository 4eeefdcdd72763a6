//! Who is who: what the listener has said of its sessions. No session adds to it.

use crate::server::audit::Line;
use crate::server::record::Caller;
use nix::unistd::Pid;
use std::collections::HashMap;

/// A listening socket, as it stands in the audit.
#[derive(Debug, Clone)]
pub struct House {
    /// Its address.
    pub address: String,
    /// Whether it speaks TLS.
    pub speaks_tls: bool,
}

/// A session, and who has logged in.
#[derive(Debug, Clone)]
pub struct Session {
    /// The session.
    pub caller: Caller,
    /// Who has logged in.
    pub user: Option<String>,
}

impl Session {
    /// What stands before each of its lines in the log.
    pub fn who(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{} ", self.caller.peer),
            None => format!("{} ", self.caller.peer),
        }
    }
}

/// All sessions that the scribe knows.
pub struct Known {
    sessions: HashMap<Pid, Session>,
    houses: Vec<House>,
    /// When the server was started, in Unix seconds.
    started: u64,
}

impl Known {
    /// Nobody yet.
    pub fn new(houses: Vec<House>, started: u64) -> Self {
        Known { sessions: HashMap::new(), houses, started }
    }

    /// A session, and its user if one has logged in.
    pub fn add(&mut self, caller: Caller, user: Option<String>) {
        self.sessions.insert(caller.pid, Session { caller, user });
    }

    /// Somebody has logged in; `None` if the session is not known.
    pub fn log_in(&mut self, pid: Pid, name: String) -> Option<()> {
        self.sessions.get_mut(&pid).map(|session| session.user = Some(name))
    }

    /// A session has ended.
    pub fn remove(&mut self, pid: Pid) {
        self.sessions.remove(&pid);
    }

    /// All that was said is void.
    pub fn clear(&mut self) {
        self.sessions.clear();
    }

    /// Whether a session is known; `with_user`, whether its user is as well.
    pub fn has(&self, pid: Pid, with_user: bool) -> bool {
        self.sessions.get(&pid).is_some_and(|session| !with_user || session.user.is_some())
    }

    /// What stands before each of a session's lines in the log.
    pub fn who(&self, pid: Pid) -> String {
        self.sessions.get(&pid).map_or_else(String::new, Session::who)
    }

    /// What is known of a session.
    pub fn get(&self, pid: Pid) -> Option<&Session> {
        self.sessions.get(&pid)
    }

    /// The address that a session came to.
    pub fn house(&self, session: &Session) -> Option<&str> {
        self.houses.get(session.caller.at).map(|house| house.address.as_str())
    }

    /// What a session is called, unique over restarts.
    pub fn name(&self, session: &Session) -> String {
        format!("{:x}-{}", self.started, session.caller.serial)
    }

    /// Whether a session came to a listening socket that speaks TLS.
    pub fn speaks_tls(&self, pid: Pid) -> bool {
        let at = self.sessions.get(&pid).map(|session| session.caller.at);
        at.and_then(|at| self.houses.get(at)).is_some_and(|house| house.speaks_tls)
    }

    /// A line of the audit about a session: who it is.
    pub fn line(&self, event: &str, pid: Pid) -> Line {
        if let Some(session) = self.sessions.get(&pid) {
            return self.line_of(event, session);
        }
        let mut line = Line::of(event);
        line.number("pid", pid.as_raw().unsigned_abs().into());
        line
    }

    /// The same about a session that may have ended.
    pub fn line_of(&self, event: &str, session: &Session) -> Line {
        let (mut line, Session { caller, user }) = (Line::of(event), session);
        line.text("session", &self.name(session)).number("pid", caller.pid.as_raw().unsigned_abs().into());
        self.place(&mut line, caller.at, &caller.peer).maybe("user", user.as_deref());
        line
    }

    /// Where somebody came from and to.
    pub fn place<'a>(&self, line: &'a mut Line, at: usize, peer: &str) -> &'a mut Line {
        line.text("peer", peer).maybe("listener", self.houses.get(at).map(|house| house.address.as_str()))
    }
}
