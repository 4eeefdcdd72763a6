//! The listener: the parent of all. It accepts, counts, forks and reaps; it never reads a byte from a client and never
//! touches a user's file.

use super::children::{self, Child, Children};
use super::ending::{Ending, Fate};
use super::options::ServeOptions;
use super::record::{Level, Log, Record};
use super::scoreboard::{Figure, Scoreboard, Totals};
use super::scribe::{self, Scribe};
use super::session::{Brief, Times};
use super::users::{self, Begun, Load, Loading, Users};
use crate::net::listen::Listener as Socket;
use crate::net::{Address, Peer};
use crate::proto::{Answer, Code};
use crate::store::tree::Policy;
use crate::sys::fork::{Fork, exit_child, fork};
use crate::sys::signals::{self, SignalPipe};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use nix::sys::time::TimeSpec;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getppid, setpgid};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long accepting rests when there are no descriptors or processes to be had.
const REST: Duration = Duration::from_millis(200);
/// How long a refused connection is kept open, so that the refusal is read before the close.
const LINGER: Duration = Duration::from_secs(1);
/// How many such connections are kept.
const LINGERING: usize = 64;
/// How long sessions have to obey before they are killed.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a process has become when [`Listener::run`] returns.
pub enum Role {
    /// The listener, at its end: whether it was the controlled one.
    Listener(bool),
    /// A session: what to do, and the signal mask to restore once it is ready for signals.
    Session(Box<Brief>, SigSet),
    /// The scribe.
    Scribe(Box<Scribe>, SigSet),
    /// A helper that loads the users.
    Loader(Box<Load>),
}

/// How far the end has come.
enum Phase {
    Serving,
    /// Sessions have been asked to end, and have until then.
    Ending(Instant),
    /// Sessions have been told to break off, and have until then. `true` if that was asked for.
    Forcing(Instant, bool),
}

/// The parent process.
pub struct Listener {
    pid: Pid,
    options: ServeOptions,
    sockets: Vec<Socket>,
    storage: OwnedFd,
    users: Users,
    loading: Option<Loading>,
    signals: SignalPipe,
    log: Log,
    /// The end of the log socket that a new scribe would read.
    log_reader: OwnedFd,
    scribe: Option<Pid>,
    children: Children,
    scoreboard: Scoreboard,
    totals: Totals,
    connections: u64,
    refused: u64,
    lingering: VecDeque<(Instant, OwnedFd)>,
    rest_until: Option<Instant>,
    phase: Phase,
    policy: Policy,
}

/// What is ready before the listener begins.
pub struct Prepared {
    /// How to serve.
    pub options: ServeOptions,
    /// Where to listen.
    pub sockets: Vec<Socket>,
    /// The storage directory.
    pub storage: OwnedFd,
    /// The users.
    pub users: Users,
    /// What the operator should read about them.
    pub notes: Vec<String>,
    /// The operator's decisions about trees.
    pub policy: Policy,
}

impl Listener {
    /// The parent process, with all that it holds.
    pub fn new(prepared: Prepared) -> io::Result<Self> {
        let (log, log_reader) = scribe::socket()?;
        let signals = SignalPipe::new(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD])?;
        let Prepared { options, sockets, storage, users, notes, policy } = prepared;
        for note in notes {
            log.line(Level::Warning, note);
        }
        Ok(Listener {
            pid: Pid::this(),
            scoreboard: Scoreboard::new(options.max_clients as usize)?,
            options,
            sockets,
            storage,
            users,
            loading: None,
            signals,
            log,
            log_reader,
            scribe: None,
            children: Children::default(),
            totals: Totals::default(),
            connections: 0,
            refused: 0,
            lingering: VecDeque::new(),
            rest_until: None,
            phase: Phase::Serving,
            policy,
        })
    }

    /// Serves until the end. Returns in the parent at the end, and in each child at its beginning: there, all that the listener
    /// held is dropped on the way back.
    pub fn run(mut self, announce: impl FnOnce(&[Socket])) -> io::Result<Role> {
        if let Some((scribe, mask)) = self.start_scribe()? {
            return Ok(Role::Scribe(scribe, mask));
        }
        announce(&self.sockets);
        for socket in &self.sockets {
            self.log.line(Level::Info, format!("listening on {}", socket.address));
            if !socket.is_local() {
                let text = "is reachable from other machines and speaks plain text: files travel readable";
                self.log.line(Level::Warning, format!("{} {text}", socket.address));
            }
        }
        loop {
            let ready = self.wait()?;
            self.signals.drain();
            let ended = if self.signals.came(Signal::SIGCHLD) { self.reap() } else { Vec::new() };
            if self.scribe.is_none() {
                if let Some((scribe, mask)) = self.start_scribe()? {
                    return Ok(Role::Scribe(scribe, mask));
                }
                self.introduce_sessions();
            }
            self.bury(ended);
            if self.signals.came(Signal::SIGHUP)
                && let Some(load) = self.reload()
            {
                return Ok(Role::Loader(load));
            }
            // Both are asked: `||` would leave the second flag set.
            if self.signals.came(Signal::SIGINT) | self.signals.came(Signal::SIGTERM) {
                self.end();
            }
            if let Some(orderly) = self.ended() {
                return self.finish(orderly);
            }
            for at in ready {
                if let Some((brief, mask)) = self.accept(at)? {
                    return Ok(Role::Session(Box::new(brief), mask));
                }
            }
        }
    }

    /// Waits for a connection, a signal, or the time when something is due. Returns which sockets have a connection.
    fn wait(&mut self) -> io::Result<Vec<usize>> {
        let now = Instant::now();
        while self.lingering.front().is_some_and(|(until, _)| *until <= now) {
            self.lingering.pop_front();
        }
        self.rest_until = self.rest_until.filter(|until| *until > now);
        let accepting = matches!(self.phase, Phase::Serving) && self.rest_until.is_none();
        let end = match self.phase {
            Phase::Serving => None,
            Phase::Ending(until) | Phase::Forcing(until, _) => Some(until),
        };
        let due = [self.lingering.front().map(|(until, _)| *until), self.rest_until, end];
        let left = due.into_iter().flatten().min().map(|at| TimeSpec::from(at.saturating_duration_since(now)));
        let mut fds = vec![PollFd::new(self.signals.fd(), PollFlags::POLLIN)];
        if accepting {
            fds.extend(self.sockets.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        }
        match ppoll(&mut fds, left, None) {
            Err(Errno::EINTR) => return Ok(Vec::new()),
            other => other?,
        };
        let ready = fds[1..].iter().enumerate().filter(|(_, fd)| fd.any().unwrap_or(false));
        Ok(ready.map(|(at, _)| at).collect())
    }

    /// Accepts a connection from a socket, and forks a session for it or turns it away. Returns in the child only.
    fn accept(&mut self, at: usize) -> io::Result<Option<(Brief, SigSet)>> {
        let (socket, peer) = match self.sockets[at].accept() {
            Ok(Some(accepted)) => accepted,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.rest(&format!("cannot accept: {error}"));
                return Ok(None);
            }
        };
        self.connections += 1;
        if self.children.count() >= self.options.max_clients as usize {
            self.turn_away(socket, &peer, "the server has as many clients as it takes; try again later");
            return Ok(None);
        }
        if self.children.count_from(&peer) >= self.options.max_clients_per_ip {
            self.turn_away(
                socket,
                &peer,
                "there are as many clients from your address as the server takes; try again later",
            );
            return Ok(None);
        }
        self.fork_session(socket, peer)
    }

    fn fork_session(&mut self, socket: OwnedFd, peer: Peer) -> io::Result<Option<(Brief, SigSet)>> {
        let Some(slot) = self.scoreboard.take() else {
            self.turn_away(socket, &peer, "the server has as many clients as it takes; try again later");
            return Ok(None);
        };
        let group = self.scribe.unwrap_or(self.pid);
        let login_by = Instant::now() + self.options.login_timeout;
        let mask = signals::block()?;
        match fork() {
            Ok(Fork::Child) => match self.become_session(socket, peer, slot, group, login_by) {
                Ok(brief) => Ok(Some((brief, mask))),
                Err(error) => {
                    self.log.line(Level::Error, format!("cannot start a session: {error}"));
                    exit_child(Ending::Failed as u8)
                }
            },
            Ok(Fork::Parent(pid)) => {
                let _ = setpgid(pid, group); // the child does it too: whichever is first, it has happened
                self.children.add(pid, Child { peer, slot, group, since: Instant::now() });
                self.log.send(&Record::Opened(pid, peer.to_string()));
                self.log
                    .line(Level::Info, format!("{peer} connected, session {pid}, {} active", self.children.count()));
                signals::restore(&mask)?;
                Ok(None)
            }
            Err(error) => {
                signals::restore(&mask)?;
                self.scoreboard.give_back(slot, &mut self.totals);
                self.turn_away(socket, &peer, "the server cannot start another session; try again later");
                self.rest(&format!("cannot fork: {error}"));
                Ok(None)
            }
        }
    }

    /// In the child: takes what the session needs; all else is dropped when the listener's loop is left.
    fn become_session(
        &mut self,
        socket: OwnedFd,
        peer: Peer,
        slot: usize,
        group: Pid,
        login_by: Instant,
    ) -> io::Result<Brief> {
        let _ = setpgid(Pid::from_raw(0), group);
        nix::sys::prctl::set_pdeathsig(Signal::SIGINT)?;
        if getppid() != self.pid {
            return Err(io::Error::other("the listener has gone")); // before it could have been noticed
        }
        let (log, _) = scribe::socket()?; // a stand-in: the true one goes with the session
        let scoreboard = std::mem::replace(&mut self.scoreboard, Scoreboard::new(1)?);
        Ok(Brief {
            socket,
            peer,
            storage: self.storage.try_clone()?,
            users: self.users.table.try_clone()?,
            limits: self.users.limits.try_clone()?,
            log: std::mem::replace(&mut self.log, log),
            tally: scoreboard.keep_only(slot)?,
            times: Times { login_by, idle: self.options.idle_timeout, grace: self.options.grace },
            policy: self.policy,
        })
    }

    /// Tells a client why it is not served, before the close.
    fn turn_away(&mut self, socket: OwnedFd, peer: &Peer, why: &str) {
        self.refused += 1;
        self.log.line(Level::Warning, format!("{peer} turned away: {why}"));
        let line = format!("{}\n", Answer::Err(Code::Busy, why.into()));
        let sent = send(socket.as_raw_fd(), line.as_bytes(), MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
        if sent.is_ok() && shutdown(socket.as_raw_fd(), Shutdown::Write).is_ok() {
            if self.lingering.len() >= LINGERING {
                self.lingering.pop_front();
            }
            self.lingering.push_back((Instant::now() + LINGER, socket));
        }
    }

    /// Stops accepting for a moment: what is short now may be there again then.
    fn rest(&mut self, why: &str) {
        self.log.line(Level::Error, format!("{why}; accepting again in {} ms", REST.as_millis()));
        self.rest_until = Some(Instant::now() + REST);
    }

    /// Reaps all children that have ended. What is to be told of them waits for a scribe.
    fn reap(&mut self) -> Vec<(Pid, WaitStatus)> {
        let mut ended = Vec::new();
        children::reap(|pid, status| ended.push((pid, status)));
        if ended.iter().any(|(pid, _)| Some(*pid) == self.scribe) {
            self.scribe = None;
        }
        ended
    }

    /// Tells a new scribe what the old one knew.
    fn introduce_sessions(&self) {
        self.log.line(Level::Warning, "the scribe ended and was started again");
        for (pid, peer) in self.children.peers() {
            self.log.send(&Record::Opened(pid, peer.to_string()));
        }
    }

    /// Strikes children that have been reaped off every list, and tells how they ended.
    fn bury(&mut self, ended: Vec<(Pid, WaitStatus)>) {
        for (pid, status) in ended {
            if self.loading.as_ref().is_some_and(|loading| loading.pid == pid) {
                self.reloaded(status);
            } else if let (Some(child), Some(fate)) = (self.children.remove(pid), Fate::of(status)) {
                self.scoreboard.give_back(child.slot, &mut self.totals);
                let level = if fate.is_alarming() { Level::Error } else { Level::Info };
                let (count, time) = (self.children.count(), child.since.elapsed().as_secs_f64());
                let text = format!("{} disconnected, session {pid}: {fate} {time:.3}s, {count} active", child.peer);
                self.log.line(level, text);
                self.log.send(&Record::Closed(pid));
            }
        }
    }

    /// SIGHUP: has the users loaded again; running sessions go on. Returns in the helper only.
    fn reload(&mut self) -> Option<Box<Load>> {
        if self.loading.is_some() {
            self.log.line(Level::Warning, "reload: the users are being loaded already");
            return None;
        }
        match users::begin(&self.options) {
            Ok(Begun::Parent(loading)) => self.loading = Some(loading),
            Ok(Begun::Helper(load)) => return Some(load),
            Err(error) => self.log.line(Level::Error, format!("reload failed, the users stay as they are: {error}")),
        }
        None
    }

    fn reloaded(&mut self, status: WaitStatus) {
        let Some(loading) = self.loading.take() else { return };
        let (users, notes) = match loading.finish(status) {
            Ok(loaded) => loaded,
            Err(error) => (None, vec![error.to_string()]),
        };
        for note in notes {
            self.log.line(Level::Warning, note);
        }
        match users {
            Some(users) if users.demonstration && !self.sockets.iter().all(Socket::is_local) => {
                self.log.line(
                    Level::Error,
                    "reload refused: demonstration users, and the server listens beyond this machine",
                );
            }
            Some(users) => {
                self.users = users;
                self.log.line(Level::Info, "users reloaded");
            }
            None => self.log.line(Level::Error, "reload failed: the users stay as they are"),
        }
    }

    /// A request to end: the first is obeyed in order, a second one at once.
    fn end(&mut self) {
        let now = Instant::now();
        match self.phase {
            Phase::Serving => {
                let (count, grace) = (self.children.count(), self.options.grace);
                self.log.line(Level::Info, format!("ending: {count} active, up to {} s to finish", grace.as_secs()));
                self.sockets.iter().for_each(remove_unix);
                self.sockets.clear();
                self.signal_sessions(Signal::SIGINT);
                self.phase = Phase::Ending(now + grace + LAST_WORDS);
            }
            Phase::Ending(_) => {
                self.log.line(Level::Warning, "asked again: ending at once");
                self.signal_sessions(Signal::SIGTERM);
                self.phase = Phase::Forcing(now + LAST_WORDS, true);
            }
            Phase::Forcing(..) => {}
        }
    }

    fn signal_sessions(&self, signal: Signal) {
        for group in self.children.groups() {
            let _ = killpg(group, signal); // a group of which nobody is left
        }
    }

    /// Whether all sessions have gone; helps when their time is over. `false` where the end was forced.
    fn ended(&mut self) -> Option<bool> {
        let now = Instant::now();
        let empty = self.children.count() == 0;
        match self.phase {
            Phase::Serving => None,
            Phase::Ending(_) if empty => Some(true),
            Phase::Forcing(_, asked) if empty => Some(!asked),
            Phase::Ending(until) if until <= now => {
                self.log.line(Level::Warning, format!("{} sessions did not end in time", self.children.count()));
                self.signal_sessions(Signal::SIGTERM);
                self.phase = Phase::Forcing(now + LAST_WORDS, false);
                None
            }
            Phase::Forcing(until, asked) if until <= now => {
                self.signal_sessions_dead();
                self.phase = Phase::Forcing(now + LAST_WORDS, asked);
                None
            }
            _ => None,
        }
    }

    /// Kills what does not end. Not by group: the scribe is needed a moment longer.
    fn signal_sessions_dead(&self) {
        for pid in self.children.pids() {
            self.log.line(Level::Error, format!("session {pid} is killed"));
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// Tells what has been done, and ends the scribe by leaving it nobody to listen to.
    fn finish(self, orderly: bool) -> io::Result<Role> {
        let total = |figure| self.totals.get(figure);
        let size = |figure| bytesize::ByteSize(total(figure));
        self.log.line(
            Level::Info,
            format!(
                "ended: {} connections ({} turned away), {} logins, {} files in ({}, {} bytes), {} files out ({}, {} bytes)",
                self.connections,
                self.refused,
                total(Figure::Logins),
                total(Figure::FilesIn),
                size(Figure::BytesIn),
                total(Figure::BytesIn),
                total(Figure::FilesOut),
                size(Figure::BytesOut),
                total(Figure::BytesOut),
            ),
        );
        self.log.send(&Record::End);
        let Listener { log, log_reader, scribe, signals, .. } = self;
        drop((log, log_reader));
        if let Some(pid) = scribe {
            await_scribe(pid, &signals)?;
        }
        Ok(Role::Listener(orderly))
    }

    /// Forks the scribe. Returns in the child only.
    fn start_scribe(&mut self) -> io::Result<Option<(Box<Scribe>, SigSet)>> {
        let mask = signals::block()?;
        match fork()? {
            Fork::Child => {
                setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
                let level = if self.options.verbose > 0 { Level::Debug } else { Level::Info };
                let reader = self.log_reader.try_clone()?;
                Ok(Some((Box::new(Scribe::new(reader, self.pid, self.options.log_target, level)), mask)))
            }
            Fork::Parent(pid) => {
                let _ = setpgid(pid, pid); // before any session wants to join
                signals::restore(&mask)?;
                self.scribe = Some(pid);
                Ok(None)
            }
        }
    }
}

/// Waits until the scribe has written everything; one whose output nobody takes is not waited for.
fn await_scribe(pid: Pid, signals: &SignalPipe) -> io::Result<()> {
    let deadline = Instant::now() + LAST_WORDS;
    while waitpid(pid, Some(WaitPidFlag::WNOHANG))? == WaitStatus::StillAlive {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            kill(pid, Signal::SIGKILL)?;
        }
        let wait = (!left.is_zero()).then(|| TimeSpec::from(left));
        let mut fds = [PollFd::new(signals.fd(), PollFlags::POLLIN)];
        let _ = ppoll(&mut fds, wait, None); // SIGCHLD
        signals.drain();
    }
    Ok(())
}

/// Removes a Unix socket's name: nobody can connect any more.
fn remove_unix(socket: &Socket) {
    if let Address::Unix(path) = &socket.address {
        let _ = std::fs::remove_file(path);
    }
}

/// How a process of the server that is no listener ends.
pub fn ending_of(result: std::thread::Result<Ending>) -> u8 {
    result.map_or(101, |ending| ending as u8)
}
