//! The listener: the parent of all. It accepts, counts, forks and reaps; it never reads a byte from a client and never
//! touches a user's file.

mod desk;
mod door;
mod end;
mod names;

use super::certificate::Source;
use super::children::{Child, Children, Reaper};
use super::confine::Walls;
use super::desk::Desk;
use super::ending::{Ending, Fate};
use super::gate::refusal::Throttle;
use super::gate::{Gate, Refusal};
use super::options::ServeOptions;
use super::record::{Level, Log, Record};
use super::scoreboard::{Scoreboard, Totals};
use super::scribe::{self, Scribe, Ways};
use super::session::{Brief, Times};
use super::users::{self, Begun, Load, Loaded, Loading, Sources, Users};
use super::words::{self, Ears, Mouth};
use crate::net::Peer;
use crate::net::listen::Listener as Socket;
use crate::proto::limits;
use crate::store::tree::Policy;
use crate::sys::fork::{Fork, exit_child, fork};
use crate::sys::signals::{self, SignalPipe};
use desk::Books;
use end::Phase;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::time::TimeSpec;
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, getppid, setpgid};
use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long accepting rests when there are no descriptors or processes to be had.
const REST: Duration = Duration::from_millis(200);
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

/// Somebody who has come, in the child that was forked for it.
struct Arrival {
    /// Which listening socket.
    at: usize,
    socket: OwnedFd,
    peer: Peer,
    slot: usize,
    group: Pid,
    login_by: Instant,
}

/// The parent process.
pub struct Listener {
    pid: Pid,
    options: ServeOptions,
    sockets: Vec<Socket>,
    storage: OwnedFd,
    sources: Sources,
    users: Users,
    identity: Option<File>,
    loading: Option<Loading>,
    signals: SignalPipe,
    log: Log,
    /// What a session gets for it.
    session_log: Log,
    /// The ends that a new scribe would read.
    log_ends: scribe::Ends,
    scribe: Option<Pid>,
    /// When the scribe is told of all sessions again, since it has missed something.
    untold: Option<Instant>,
    children: Children,
    reaper: Reaper,
    scoreboard: Scoreboard,
    totals: Totals,
    connections: u64,
    gate: Gate,
    throttle: Throttle,
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
    desk: Desk,
    books: Books,
}

/// What is ready before the listener begins.
pub struct Prepared {
    /// How to serve.
    pub options: ServeOptions,
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
    /// Where the operator asks.
    pub desk: Desk,
}

impl Listener {
    /// The parent process, with all that it holds.
    pub fn new(prepared: Prepared) -> io::Result<Self> {
        let reaper = Reaper::new()?; // before the pipe that wakes the listener
        let signals = SignalPipe::new(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD])?;
        let Prepared { options, sockets, storage, sources, users, identity, notes, policy, walls, desk } = prepared;
        let (Ways { listener: log, sessions: session_log }, log_ends) = scribe::ways(options.log_level())?;
        let (mouth, ears) = words::socket()?;
        let gate = Gate::new(&options.gate, options.max_clients, options.max_clients_per_ip)?;
        let most = options.max_clients as usize + options.gate.max_logins as usize;
        for (level, note) in notes {
            log.line(level, note);
        }
        Ok(Listener {
            pid: Pid::this(),
            scoreboard: Scoreboard::new(most)?,
            options,
            sockets,
            storage,
            sources,
            users,
            identity,
            loading: None,
            signals,
            log,
            session_log,
            log_ends,
            scribe: None,
            untold: None,
            children: Children::new(most)?,
            reaper,
            totals: Totals::default(),
            connections: 0,
            gate,
            throttle: Throttle::default(),
            sent_away: 0,
            generation: 0,
            mouth,
            ears,
            lingering: VecDeque::new(),
            rest_until: None,
            phase: Phase::Serving,
            policy,
            walls: Rc::new(walls),
            desk,
            books: Books::new(),
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
            if socket.address.is_exposed() {
                let text = "is reachable from other machines and speaks plain text: files travel readable";
                self.log.line(Level::Warning, format!("{} {text}", socket.address));
            }
        }
        loop {
            let ready = self.wait()?;
            self.signals.drain();
            let ended = self.reap();
            self.hear_words(&ended);
            if self.scribe.is_none() {
                if let Some((scribe, mask)) = self.start_scribe()? {
                    return Ok(Role::Scribe(scribe, mask));
                }
                self.log.line(Level::Warning, "the scribe ended and was started again");
                self.introduce_sessions();
            }
            self.tell_anew();
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
            self.serve_desk();
            self.end_if_drained();
            self.kill_the_disobedient();
            if let Some(orderly) = self.ended() {
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
        let leaving = self.gate.room.has_leaving().then(|| now + limits::STRANGER);
        let due = [
            self.lingering.front().map(|(until, _)| *until),
            self.rest_until,
            end,
            leaving,
            self.reaper.due(),
            self.untold,
            self.desk.due(),
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
            other => other?,
        };
        let is_ready = |fd: &PollFd| fd.any().unwrap_or(false);
        let ready = fds[2..desk].iter().enumerate().filter(|(_, fd)| is_ready(fd)).map(|(at, _)| at).collect();
        self.desk.woken = fds[desk..].iter().any(is_ready);
        Ok(ready)
    }

    /// Accepts a connection from a socket, and forks a session for it or turns it away. Returns in the child only.
    fn accept(&mut self, at: usize) -> io::Result<Option<(Arrival, SigSet)>> {
        // A request to end that was heard after the wait has closed them: whoever knocked just then has come too late.
        let Some(listening) = self.sockets.get(at) else { return Ok(None) };
        let (socket, peer) = match listening.accept() {
            Ok(Some(accepted)) => accepted,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.rest(&format!("cannot accept: {error}"));
                return Ok(None);
            }
        };
        self.connections += 1;
        if !self.may_enter(at, &socket, &peer) {
            return Ok(None);
        }
        self.fork_session(at, socket, peer)
    }

    fn fork_session(&mut self, at: usize, socket: OwnedFd, peer: Peer) -> io::Result<Option<(Arrival, SigSet)>> {
        let Some(slot) = self.scoreboard.take() else {
            self.turn_away(at, &socket, &peer, Refusal::Full);
            return Ok(None);
        };
        let group = self.scribe.unwrap_or(self.pid);
        let login_by = Instant::now() + self.options.login_timeout;
        let mask = signals::block()?;
        match fork() {
            Ok(Fork::Child) => Ok(Some((Arrival { at, socket, peer, slot, group, login_by }, mask))),
            Ok(Fork::Parent(pid)) => {
                let _ = setpgid(pid, group); // the child does it too: whichever is first, it has happened
                let (since, generation) = (Instant::now(), self.generation);
                self.children
                    .add(pid, Child { number: self.connections, peer, slot, group, since, generation, user: None });
                self.gate.room.enter(pid, &peer, since);
                let text = format!("{peer} connected, session {pid}, {} active", self.children.count());
                self.tell(&Record::Opened(pid, peer.to_string(), text));
                signals::restore(&mask)?;
                Ok(None)
            }
            Err(error) => {
                signals::restore(&mask)?;
                self.scoreboard.give_back(slot, &mut self.totals);
                self.turn_away(at, &socket, &peer, Refusal::Short);
                self.rest(&format!("cannot fork: {error}"));
                Ok(None)
            }
        }
    }

    /// In the child: takes what the session needs, and closes all else.
    fn become_session(self, arrival: Arrival) -> Brief {
        let Arrival { at, socket, peer, slot, group, login_by } = arrival;
        let with_tls = self.sockets.get(at).is_some_and(Socket::speaks_tls);
        let Listener { pid, options, storage, sources, users, identity, children, scoreboard, gate, .. } = self;
        let log = self.session_log; // the listener's own is closed here
        let tally = join(group, pid).and_then(|()| scoreboard.keep_only(slot)).unwrap_or_else(|error| {
            log.line(Level::Error, format!("cannot start a session: {error}"));
            exit_child(Ending::Failed as u8)
        });
        let times = Times { login_by, idle: options.idle_timeout, grace: options.grace };
        drop(children);
        gate.leave_behind();
        // Memory alone, without a descriptor in it: to free it would be to write to it, and so to have a copy of it.
        std::mem::forget((options, sources));
        Brief {
            socket,
            peer,
            storage,
            users: users.table,
            identity: identity.filter(|_| with_tls),
            limits: users.limits,
            log,
            mouth: self.mouth,
            tally,
            times,
            policy: self.policy,
            walls: self.walls,
            listener: pid,
        }
    }

    /// Stops accepting for a moment: what is short now may be there again then.
    fn rest(&mut self, why: &str) {
        self.log.line(Level::Error, format!("{why}; accepting again in {} ms", REST.as_millis()));
        self.rest_until = Some(Instant::now() + REST);
    }

    /// Reaps children that have ended. What is to be told of them waits for a scribe.
    fn reap(&mut self) -> Vec<(Pid, WaitStatus)> {
        let came = self.signals.came(Signal::SIGCHLD);
        let ended = self.reaper.reap(came, Instant::now());
        if ended.iter().any(|(pid, _)| Some(*pid) == self.scribe) {
            self.scribe = None;
        }
        ended
    }

    /// Strikes children that have been reaped off every list, and tells how they ended.
    fn bury(&mut self, ended: Vec<(Pid, WaitStatus)>) {
        let mut loaded = None;
        for (pid, status) in ended {
            if self.loading.as_ref().is_some_and(|loading| loading.pid == pid) {
                loaded = Some(status);
            } else if let (Some(child), Some(fate)) = (self.children.remove(pid), Fate::of(status)) {
                self.scoreboard.give_back(child.slot, &mut self.totals);
                self.part_with(pid, &child.peer, fate);
                let level = if fate.is_alarming() { Level::Error } else { Level::Info };
                let (count, time) = (self.children.count(), child.since.elapsed().as_secs_f64());
                let text = format!("{} disconnected, session {pid}: {fate} {time:.3}s, {count} active", child.peer);
                self.tell(&Record::Closed(pid, level, text));
            }
        }
        // Who is sent away now is alive or not yet reaped: the number is still its own.
        if let Some(status) = loaded {
            self.reloaded(status);
        }
    }

    /// SIGHUP: has the users loaded again; running sessions go on. Returns in the helper only.
    fn reload(&mut self) -> Option<Box<Load>> {
        if self.loading.is_some() {
            self.log.line(Level::Warning, "reload: the users are being loaded already");
            return None;
        }
        // A certificate of the server's own changes with nobody's hand, and its key may be root's, whom this process has left.
        let mut sources = self.sources.clone();
        sources.certificate = sources.certificate.filter(|source| matches!(source, Source::Files { .. }));
        // A limits file that was there must be there; one that was not may have come.
        sources.limits = sources.limits.or_else(|| self.options.limits_file());
        self.sources.limits.clone_from(&sources.limits);
        let logged_in: HashSet<_> = self.children.members().map(|(_, user)| user).collect();
        match users::begin(&sources, self.storage.as_fd(), None, logged_in.into_iter().collect()) {
            Ok(Begun::Parent(loading)) => self.loading = Some(loading),
            Ok(Begun::Helper(load)) => return Some(load),
            Err(error) => self.log.line(Level::Error, format!("reload failed, the users stay as they are: {error}")),
        }
        None
    }

    fn reloaded(&mut self, status: WaitStatus) {
        let Some(mut loading) = self.loading.take() else { return };
        let asked = std::mem::take(&mut loading.asked);
        let loaded = loading.finish(status).unwrap_or_else(|error| Loaded {
            users: None,
            identity: None,
            notes: vec![error.to_string()],
        });
        tell(&self.log, loaded.notes);
        match loaded.identity {
            Some(identity) => {
                self.identity = Some(identity);
                self.log.line(Level::Info, "certificate reloaded");
            }
            None if matches!(self.sources.certificate, Some(Source::Files { .. })) => {
                self.log.line(Level::Error, "reload failed: the certificate stays as it is");
            }
            None => {}
        }
        match loaded.users {
            Some(users) if users.demonstration && !self.sockets.iter().all(Socket::is_local) => {
                self.log.line(
                    Level::Error,
                    "reload refused: demonstration users, and the server listens beyond this machine",
                );
            }
            Some(users) => {
                self.dismiss(&asked, &users.gone);
                self.users = users;
                self.log.line(Level::Info, "users reloaded");
            }
            None => self.log.line(Level::Error, "reload failed: the users stay as they are"),
        }
    }

    /// Forks the scribe. Returns in the child only.
    fn start_scribe(&mut self) -> io::Result<Option<(Box<Scribe>, SigSet)>> {
        let mask = signals::block()?;
        match fork()? {
            Fork::Child => {
                setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
                let level = self.options.log_level();
                let ends = self.log_ends.try_clone()?;
                Ok(Some((Box::new(Scribe::new(ends, self.pid, self.options.log_target, level)), mask)))
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

/// In the child: one of the sessions, to be ended with the listener.
fn join(group: Pid, listener: Pid) -> io::Result<()> {
    let _ = setpgid(Pid::from_raw(0), group);
    nix::sys::prctl::set_pdeathsig(Signal::SIGINT)?;
    // It may have gone before that could have been noticed.
    if getppid() == listener { Ok(()) } else { Err(io::Error::other("the listener has gone")) }
}

/// Tells what a loader had to say.
fn tell(log: &Log, notes: Vec<String>) {
    for note in notes {
        log.line(users::level_of(&note), note);
    }
}

/// How a process of the server that is no listener ends.
pub fn ending_of(result: std::thread::Result<Ending>) -> u8 {
    result.map_or(101, |ending| ending as u8)
}
