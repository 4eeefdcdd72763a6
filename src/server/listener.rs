//! The listener: the parent of all. It accepts, counts, forks and reaps; it never reads a byte from a client and never
//! touches a user's file.

mod desk;
mod door;
mod end;
mod fork;
mod names;
mod passwords;
mod reap;
mod renew;
mod telling;
mod upgrade;

use super::children::{Children, Reaper};
use super::config::Configuration;
use super::confine::Walls;
use super::desk::Desk;
use super::ending::Ending;
use super::gate::Gate;
use super::gate::refusal::Throttle;
use super::handover::Taken;
use super::level::Level;
use super::manager::{Manager, Served};
use super::new_password::NewPassword;
use super::options::ServeOptions;
use super::record::Log;
use super::scoreboard::{Scoreboard, Totals};
use super::scribe::{self, Scribe, Ways};
use super::session::Brief;
use super::users::{self, Begun, Load, Loading, Sources, Users};
use super::words::{self, Ears, Mouth};
use crate::net::listen::Listener as Socket;
use crate::proto::limits;
use crate::store::tree::Policy;
use crate::sys::exec::Program;
use crate::sys::fork::{Fork, fork};
use crate::sys::notice::Notice;
use crate::sys::signals::{self, SignalPipe, UPGRADE};
use desk::Books;
use end::{LAST_WORDS, Phase};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::time::TimeSpec;
use nix::unistd::{Pid, setpgid};
use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};
use upgrade::Upgrade;

/// How long accepting rests when there are no descriptors or processes to be had.
const REST: Duration = Duration::from_millis(200);
/// How long the listener does nothing at all when the kernel has no memory for the list of what it waits for.
const NO_MEMORY: Duration = Duration::from_millis(20);
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
    /// A helper that changes a user's password.
    Passwords(Box<NewPassword>),
}

/// The parent process.
pub struct Listener {
    pid: Pid,
    options: ServeOptions,
    configuration: Configuration,
    sockets: Vec<Socket>,
    storage: OwnedFd,
    sources: Sources,
    users: Users,
    identity: Option<File>,
    loading: Option<Loading>,
    /// Helpers that change passwords.
    changes: Vec<passwords::Asked>,
    signals: SignalPipe,
    log: Log,
    /// What a session gets for it.
    session_log: Log,
    /// The ends that a new scribe would read.
    log_ends: scribe::Ends,
    /// Where a scribe says whether the audit can be written, if it must be.
    notice: Option<Notice>,
    /// When the server was started, in Unix seconds.
    started: u64,
    scribe: Option<Pid>,
    /// When the scribe is told of all sessions again, since it has missed something.
    untold: Option<Instant>,
    /// Whether the scribe is still to be told that its files have been put away.
    to_reopen: bool,
    children: Children,
    reaper: Reaper,
    scoreboard: Scoreboard,
    totals: Totals,
    connections: u64,
    gate: Gate,
    throttle: Throttle,
    /// The same for the audit.
    audit_throttle: Throttle,
    sent_away: u64,
    /// How often the users have been loaded again.
    generation: u64,
    mouth: Mouth,
    ears: Ears,
    lingering: VecDeque<(Instant, OwnedFd)>,
    rest_until: Option<Instant>,
    phase: Phase,
    policy: Policy,
    walls: Rc<Walls>,
    manager: Manager,
    upgrade: Upgrade,
    /// Whether another program was here before, and its sessions still are.
    took_over: bool,
    desk: Desk,
    books: Books,
}

/// What is ready before the listener begins.
pub struct Prepared {
    /// How to serve.
    pub options: ServeOptions,
    /// Where that is read again.
    pub configuration: Configuration,
    /// Where to listen.
    pub sockets: Vec<Socket>,
    /// The storage directory.
    pub storage: OwnedFd,
    /// Where users and certificate come from.
    pub sources: Sources,
    /// The users.
    pub users: Users,
    /// The server's certificate and key, sealed, if a listener needs them.
    pub identity: Option<File>,
    /// What the operator should read.
    pub notes: Vec<(Level, String)>,
    /// The operator's decisions about trees.
    pub policy: Policy,
    /// What the kernel holds around each session.
    pub walls: Walls,
    /// Who is told how it goes.
    pub manager: Manager,
    /// How this program was started.
    pub program: Program,
    /// What the program that was here before has left, if there was one.
    pub taken: Option<Taken>,
    /// Where the operator asks.
    pub desk: Desk,
}

impl Listener {
    /// The parent process, with all that it holds.
    pub fn new(prepared: Prepared) -> io::Result<Self> {
        let reaper = Reaper::new()?; // before the pipe that wakes the listener
        let signals = SignalPipe::new(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, UPGRADE, Signal::SIGCHLD])?;
        let Prepared { options, configuration, sockets, storage, sources, users, identity, notes, .. } = prepared;
        let Prepared { policy, walls, manager, program, taken, desk, .. } = prepared;
        let (Ways { listener: log, sessions: session_log }, log_ends) = scribe::ways(options.log.level())?;
        let (session_log, notice) = telling::audited(session_log, &options.log, None)?;
        let (mouth, ears) = words::socket()?;
        let gate = Gate::new(&options.gate, options.max_clients, options.max_clients_per_ip)?;
        let most = options.max_clients as usize + options.gate.max_logins as usize;
        let count = taken.as_ref().map_or(0, |taken| taken.invitation.count);
        let mut listener = Listener {
            pid: Pid::this(),
            scoreboard: Scoreboard::new(most)?,
            options,
            configuration,
            sockets,
            storage,
            sources,
            users,
            identity,
            loading: None,
            changes: Vec::new(),
            signals,
            log,
            session_log,
            log_ends,
            notice,
            started: telling::now(),
            scribe: None,
            untold: None,
            to_reopen: false,
            children: Children::new(most)?,
            reaper,
            totals: Totals::default(),
            connections: 0,
            gate,
            throttle: Throttle::new(limits::REFUSALS_LOGGED),
            audit_throttle: Throttle::new(limits::REFUSALS_AUDITED),
            sent_away: 0,
            generation: 0,
            mouth,
            ears,
            lingering: VecDeque::new(),
            rest_until: None,
            phase: Phase::Serving,
            policy,
            walls: Rc::new(walls),
            manager,
            upgrade: Upgrade::new(program, count),
            took_over: taken.is_some(),
            desk,
            books: Books::new(),
        };
        if let Some(taken) = taken {
            listener.take_over(taken)?;
        }
        for (level, note) in notes {
            listener.log.line(level, note);
        }
        Ok(listener)
    }

    /// Serves until the end. Returns in the parent at the end, and in each child at its beginning: there, all that the listener
    /// held is dropped on the way back.
    pub fn run(mut self, announce: impl FnOnce(&[Socket])) -> io::Result<Role> {
        let occasion = if self.took_over { "the server was upgraded" } else { "the server has started" };
        if let Some((scribe, mask)) = self.start_scribe(occasion)? {
            return Ok(Role::Scribe(scribe, mask));
        }
        if self.took_over {
            self.tell_of_takeover();
        } else {
            announce(&self.sockets);
        }
        self.manager.ready();
        for socket in self.sockets.iter().filter(|_| !self.took_over) {
            self.log.line(Level::Info, format!("listening on {}", socket.address));
            if socket.address.is_exposed() {
                let text = "is reachable from other machines and speaks plain text: files travel readable";
                self.log.line(Level::Warning, format!("{} {text}", socket.address));
            }
        }
        loop {
            let ready = self.wait()?;
            self.signals.drain();
            let mut ended = self.reap();
            if let Some(change) = self.hear_words(&ended) {
                return Ok(Role::Passwords(change));
            }
            let left = self.scribe.is_none() && self.upgrade.is_leaving();
            if left {
                self.bury(std::mem::take(&mut ended));
                self.go_on_as_another();
            }
            if self.scribe.is_none() {
                if let Some((scribe, mask)) = self.start_scribe("the scribe was started again")? {
                    return Ok(Role::Scribe(scribe, mask));
                }
                if !left {
                    self.log.line(Level::Warning, "the scribe ended and was started again");
                }
                self.introduce_sessions();
            }
            self.tell_anew();
            self.bury(ended);
            // What comes while the scribe makes room for another program's is for that program.
            if !self.upgrade.is_leaving() && self.signals.came(Signal::SIGHUP) {
                self.to_reopen = true;
                self.reopen_logs();
                if let Some(load) = self.reload() {
                    return Ok(Role::Loader(load));
                }
            }
            if self.signals.came(UPGRADE) {
                let _ = self.begin_upgrade(); // the log tells why not
            }
            self.kill_slow_changes();
            self.turn_upgrade();
            // Both are asked: `||` would leave the second flag set.
            if self.signals.came(Signal::SIGINT) | self.signals.came(Signal::SIGTERM) {
                self.end();
            }
            self.serve_desk();
            self.end_if_drained();
            self.kill_the_disobedient();
            // A scribe that makes room for another program's reads no more: the next one is told how it ended.
            if let Some(orderly) = self.ended()
                && !self.upgrade.is_leaving()
            {
                return self.finish(orderly);
            }
            for at in ready {
                if let Some((arrival, mask)) = self.accept(at)? {
                    return Ok(Role::Session(Box::new(self.become_session(arrival)), mask));
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
        let accepting = matches!(self.phase, Phase::Serving | Phase::Draining(_)) && self.rest_until.is_none();
        let end = match self.phase {
            Phase::Serving => None,
            Phase::Draining(until) => until,
            Phase::Ending(until) | Phase::Forcing(until, _) => Some(until),
        };
        let strangers = self.gate.room.strangers().len();
        self.manager.turn(now, Served { sessions: self.children.count(), strangers });
        let leaving = self.gate.room.has_leaving().then(|| now + limits::STRANGER);
        let due = [
            self.lingering.front().map(|(until, _)| *until),
            self.rest_until,
            end,
            leaving,
            self.reaper.due(),
            self.untold,
            self.manager.due(),
            self.upgrade.due(now),
            self.desk.due(),
            self.changes.iter().filter_map(passwords::Asked::due).min(),
        ];
        let left = due.into_iter().flatten().min().map(|at| TimeSpec::from(at.saturating_duration_since(now)));
        let mut fds =
            vec![PollFd::new(self.signals.fd(), PollFlags::POLLIN), PollFd::new(self.ears.fd(), PollFlags::POLLIN)];
        if accepting {
            fds.extend(self.sockets.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        }
        let desk = fds.len();
        fds.extend(self.desk.poll_fds());
        match ppoll(&mut fds, left, None) {
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(Errno::ENOMEM) => {
                self.rest("cannot wait for clients: the kernel has no memory");
                std::thread::sleep(NO_MEMORY);
                return Ok(Vec::new());
            }
            other => other?,
        };
        let is_ready = |fd: &PollFd| fd.any().unwrap_or(false);
        let ready = fds[2..desk].iter().enumerate().filter(|(_, fd)| is_ready(fd)).map(|(at, _)| at).collect();
        self.desk.woken = fds[desk..].iter().any(is_ready);
        Ok(ready)
    }

    /// SIGHUP: has the configuration, the users and all else loaded again; running sessions go on. Returns in the helper only.
    fn reload(&mut self) -> Option<Box<Load>> {
        if self.loading.is_some() {
            self.log.line(Level::Warning, "reload: the users are being loaded already");
            return None;
        }
        let logged_in: HashSet<_> = self.children.members().map(|(_, user)| user).collect();
        let (logged_in, again) = (logged_in.into_iter().collect(), Some(&self.configuration));
        match users::begin(&self.sources, self.storage.as_fd(), None, logged_in, again) {
            Ok(Begun::Parent(loading)) => {
                self.loading = Some(loading);
                self.manager.reloading();
            }
            Ok(Begun::Helper(load)) => return Some(load),
            Err(error) => self.log.line(Level::Error, format!("reload failed, everything stays as it is: {error}")),
        }
        None
    }

    /// Forks the scribe. Returns in the child only.
    fn start_scribe(&mut self, occasion: &'static str) -> io::Result<Option<(Box<Scribe>, SigSet)>> {
        let mask = signals::block()?;
        match fork()? {
            Fork::Child => {
                setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
                let (ends, desk) = (self.log_ends.try_clone()?, self.setup(occasion));
                Ok(Some((Box::new(Scribe::new(ends, self.pid, desk)), mask)))
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

/// How a process of the server that is no listener ends.
pub fn ending_of(result: std::thread::Result<Ending>) -> u8 {
    result.map_or(101, |ending| ending as u8)
}
