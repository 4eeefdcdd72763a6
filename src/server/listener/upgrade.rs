//! How the listener goes on as another program: a new version of itself, in the same process, while its sessions go on untouched.
//!
//! ```text
//! SIGUSR2 → rehearsal   a child executes the new program, which takes a copy of everything over, says yes or no, and ends
//!         → leaving     the scribe writes what it has taken, and ends; what comes meanwhile waits for the next one
//!         → execve      with the descriptors, and what is known, in a sealed file
//! ```
//!
//! Up to the last step nothing has changed: a program that fails, or is not there, leaves the old one serving. Connections that come while
//! the new one starts wait in the sockets, which stay open.

use super::{LAST_WORDS, Listener, Phase, REST, telling};
use crate::proto::limits;
use crate::server::children::Children;
use crate::server::gate::refusal;
use crate::server::gate::room::Room;
use crate::server::handover::{Clock, Door, Invitation, Listening, READY, Session, State, Taken, VARIABLE};
use crate::server::level::Level;
use crate::server::record::Record;
use crate::server::scoreboard::{LAYOUT, Scoreboard};
use crate::server::{scribe, words};
use crate::sys::exec::Program;
use crate::sys::fork::{Fork, exit_child, fork};
use crate::sys::{sealed, signals};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, dup2_stderr, dup2_stdout};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// How far it has come.
enum Step {
    /// Nobody has asked.
    Idle,
    /// A rehearsal runs, for so long at most; what it says goes into the file.
    Rehearsing(Pid, Instant, File),
    /// The new program has said that it can take over.
    Approved,
    /// The scribe has been told to end, and has until then.
    Leaving(Instant),
}

/// The program that may take over, and whether it does.
pub(super) struct Upgrade {
    program: Program,
    step: Step,
    /// How often it has been done.
    count: u64,
    /// Why it was not, the last time.
    refused: Option<String>,
}

impl Upgrade {
    /// Nothing under way. This process has gone on as another program so often.
    pub(super) fn new(program: Program, count: u64) -> Self {
        Upgrade { program, step: Step::Idle, count, refused: None }
    }

    /// How often it has been done.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Why it was not, the last time.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Whether another program gets ready.
    pub(super) fn is_under_way(&self) -> bool {
        !matches!(self.step, Step::Idle)
    }

    /// Whether the rehearsal is this process.
    pub(super) fn is_rehearsed_by(&self, pid: Pid) -> bool {
        matches!(self.step, Step::Rehearsing(of, ..) if of == pid)
    }

    /// Whether the scribe has been told to make room for another program's.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.step, Step::Leaving(_))
    }

    /// When something has to be done about it.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        match self.step {
            Step::Idle => None,
            Step::Rehearsing(_, until, _) | Step::Leaving(until) => Some(until),
            Step::Approved => Some(now + REST),
        }
    }

    /// In a session: closes what is open; memory alone stays where it is.
    pub(super) fn leave_behind(self) {
        drop(self.step);
        std::mem::forget((self.program, self.refused));
    }
}

impl Listener {
    /// Has the program that now lies where this one was started from rehearse to take over; or says why not now.
    pub(super) fn begin_upgrade(&mut self) -> Result<(), String> {
        if !matches!(self.phase, Phase::Serving) || self.upgrade.is_under_way() {
            let why = "no upgrade now: the server ends, or another upgrade is under way";
            self.log.line(Level::Warning, why);
            return Err(why.into());
        }
        match self.rehearse() {
            Ok(step) => self.upgrade.step = step,
            Err(why) => self.stay(&format!("no rehearsal can be started: {why}")),
        }
        Ok(())
    }

    fn rehearse(&mut self) -> io::Result<Step> {
        let (file, keep) = self.hand_over()?;
        let mut report = sealed::of_length(c"dfos-rehearsal", limits::REPORT)?;
        let mask = signals::block()?;
        let forked = fork();
        if let Ok(Fork::Child) = forked {
            // No other process of the server is like this one: it never comes back. Signals stay blocked, as the new program expects it.
            let why = self.execute_as_rehearsal(&file, &keep, &report);
            let _ = writeln!(report, "{}: {why}", self.upgrade.program.path.display());
            exit_child(1);
        }
        signals::restore(&mask)?;
        match forked? {
            Fork::Parent(pid) => Ok(Step::Rehearsing(pid, Instant::now() + limits::REHEARSAL, report)),
            Fork::Child => exit_child(1), // it has ended above
        }
    }

    /// In the child: what it says is what is reported, and it does not outlive the listener. Returns why it could not be executed.
    fn execute_as_rehearsal(&self, file: &File, keep: &[RawFd], report: &File) -> io::Error {
        let prepared = || -> io::Result<()> {
            dup2_stdout(report)?;
            dup2_stderr(report)?;
            Ok(set_pdeathsig(Signal::SIGKILL)?)
        };
        if let Err(why) = prepared() {
            return why;
        }
        let invitation = Invitation { rehearsal: true, count: self.upgrade.count + 1, file: file.as_raw_fd() };
        self.upgrade.program.execute((VARIABLE, &invitation.encode(Pid::this())), keep)
    }

    /// The rehearsal has ended.
    pub(super) fn rehearsed(&mut self, status: WaitStatus) {
        let Step::Rehearsing(_, until, report) = std::mem::replace(&mut self.upgrade.step, Step::Idle) else { return };
        let said = text_of(&report).unwrap_or_default();
        let can = matches!(status, WaitStatus::Exited(_, 0)) && said.lines().last() == Some(READY);
        if can {
            self.upgrade.step = Step::Approved;
            return;
        }
        let why = match said.lines().find(|line| !line.is_empty() && *line != READY) {
            Some(line) => line.to_owned(),
            None if until <= Instant::now() => format!("no answer within {} s", limits::REHEARSAL.as_secs()),
            None => "the program ended without saying that it can take over".into(),
        };
        self.stay(&format!("the rehearsal of {} failed: {why}", self.upgrade.program.path.display()));
    }

    fn stay(&mut self, why: &str) {
        self.upgrade.step = Step::Idle;
        self.log.line(Level::Error, format!("upgrade refused, the server goes on as it is: {why}"));
        self.upgrade.refused = Some(why.into());
    }

    /// At each turn of the loop: ends who takes too long, and takes the next step when it can be taken.
    pub(super) fn turn_upgrade(&mut self) {
        let now = Instant::now();
        match &self.upgrade.step {
            Step::Rehearsing(pid, until, _) if *until <= now => {
                let _ = kill(*pid, Signal::SIGKILL); // not yet reaped, so the number is still its own
            }
            Step::Approved if !matches!(self.phase, Phase::Serving) => self.upgrade.step = Step::Idle,
            // Users that are being loaded, and passwords that are being changed, are waited for: the new program could not hear of them.
            Step::Approved if !self.has_helpers() && self.has_told_to_leave() => {
                let for_hooks = self.options.hooks.programs().next().map_or(Duration::ZERO, |_| 2 * limits::HOOK_MERCY);
                self.upgrade.step = Step::Leaving(now + LAST_WORDS + for_hooks);
            }
            Step::Leaving(until) if *until <= now => {
                // Nobody takes its output. What waits in the sockets is for the next one.
                let _ = self.scribe.map(|pid| kill(pid, Signal::SIGKILL));
            }
            _ => {}
        }
    }

    /// Whether the scribe has been told; where there is none at the moment it is told at the next turn.
    fn has_told_to_leave(&self) -> bool {
        self.scribe.is_some_and(|pid| self.log.send(&Record::Leave(pid)))
    }

    fn has_helpers(&self) -> bool {
        self.loading.is_some() || self.is_changing_passwords()
    }

    /// The server ends: there is nothing to rehearse for.
    pub(super) fn forget_upgrade(&mut self) {
        if let Step::Rehearsing(pid, ..) = self.upgrade.step {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// The scribe has ended: goes on as the new program. Returns only where nothing came of it, and all is as it was but for the scribe.
    pub(super) fn go_on_as_another(&mut self) {
        self.upgrade.step = Step::Idle;
        if !matches!(self.phase, Phase::Serving) {
            return;
        }
        let why = self.execute().unwrap_or_else(|why| why);
        self.stay(&format!("cannot execute {}: {why}", self.upgrade.program.path.display()));
    }

    fn execute(&mut self) -> io::Result<io::Error> {
        let (file, keep) = self.hand_over()?;
        let invitation = Invitation { rehearsal: false, count: self.upgrade.count + 1, file: file.as_raw_fd() };
        let mask = signals::block()?;
        // What has come since it was last asked about comes again, to whoever is here then: blocked signals outlive the execve.
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            if self.signals.came(signal) {
                kill(self.pid, signal)?;
            }
        }
        let why = self.upgrade.program.execute((VARIABLE, &invitation.encode(self.pid)), &keep);
        signals::restore(&mask)?;
        Ok(why)
    }

    /// All that is handed over: the sealed file, and the descriptors, its own among them.
    fn hand_over(&self) -> io::Result<(File, Vec<RawFd>)> {
        let state = self.state()?;
        let file = state.write()?;
        let mut keep = state.descriptors();
        keep.push(file.as_raw_fd());
        Ok((file, keep))
    }

    fn state(&self) -> io::Result<State> {
        let clock = Clock::now()?;
        let number = |fd: BorrowedFd| fd.as_raw_fd();
        let sockets = self.sockets.iter().map(|socket| Listening {
            fd: number(socket.as_fd()),
            address: socket.address.to_string(),
            is_ours: socket.is_ours,
        });
        let children = self.children.all();
        let children =
            children.map(|(pid, child)| Session::new(pid, &child, self.gate.room.leaving_since(pid), &clock));
        let penalties = self.gate.penalties.all();
        let (socket, watchdog) = self.manager.origin();
        let watchdog = watchdog.and_then(|limit| u64::try_from(limit.as_micros()).ok());
        Ok(State {
            at: clock.at(),
            manager: socket.and_then(|socket| Some((socket.into_string().ok()?, watchdog))),
            sockets: sockets.collect(),
            storage: number(self.storage.as_fd()),
            users: [number(self.users.table.as_fd()), number(self.users.limits.as_fd())],
            demonstration: self.users.demonstration,
            identity: self.identity.as_ref().map(|file| number(file.as_fd())),
            mouths: [number(self.log.fd()), number(self.session_log.fd())],
            ends: self.log_ends.fds().map(number),
            words: [number(self.mouth.fd()), number(self.ears.fd())],
            notice: self.notice.as_ref().map(|notice| number(notice.fd())),
            desk: self.desk.door().map(|(socket, path, operator)| Door {
                fd: number(socket),
                path: path.to_string_lossy().into_owned(),
                operator: operator.as_raw(),
            }),
            scoreboard: number(self.scoreboard.fd()),
            layout: LAYOUT,
            children: children.collect(),
            penalties: penalties.map(|(address, until, growth)| (address, clock.encode(until), growth)).collect(),
            totals: self.totals,
            started: self.started,
            connections: self.connections,
            peak: self.books.peak,
            kicked: self.books.kicked,
            turned_away: self.gate.tally.0.to_vec(),
            sent_away: self.sent_away,
            generation: self.generation,
            lingering: self.lingering.iter().map(|(_, socket)| number(socket.as_fd())).collect(),
        })
    }

    /// In the new program: takes the sessions over, and what was known of them.
    pub(super) fn take_over(&mut self, taken: Taken) -> io::Result<()> {
        let Taken { mouths, ends, words: [mouth, ears], scoreboard, children, penalties, lingering, state, .. } = taken;
        let (ways, log_ends) = scribe::resume(mouths, ends, self.options.log.level());
        (self.log, self.log_ends) = (ways.listener, log_ends);
        (self.session_log, self.notice) = telling::audited(ways.sessions, &self.options.log, taken.notice)?;
        (self.mouth, self.ears) = words::resume(mouth, ears);
        let most = self.options.max_clients as usize + self.options.gate.max_logins as usize + children.len();
        let slots: Vec<_> = children.iter().map(|(_, child, _)| child.slot).collect();
        let same_layout = scoreboard.is_some();
        self.scoreboard = match scoreboard {
            Some(file) => Scoreboard::resume(file, most, &slots)?,
            None => Scoreboard::new(most)?,
        };
        self.children = Children::new(most)?;
        self.gate.room = Room::with_places(self.gate.room.limits(), most)?;
        for (pid, mut child, leaving) in children {
            if !same_layout {
                // Its own page is another now: what it does from here on is counted nowhere.
                child.slot = self.scoreboard.take().ok_or_else(|| io::Error::other("there are too few slots"))?;
            }
            self.children.add(pid, child);
            self.gate.room.enter(pid, &child.peer, child.since);
            if child.user.is_some() {
                self.gate.room.log_in(pid);
            }
            leaving.into_iter().for_each(|at| self.gate.room.send_away(pid, at));
        }
        penalties.into_iter().for_each(|(address, until, growth)| self.gate.penalties.resume(address, until, growth));
        self.gate.tally = refusal::Tally::of(&state.turned_away);
        let until = Instant::now() + super::door::LINGER;
        self.lingering = lingering.into_iter().map(|socket| (until, socket)).collect();
        (self.totals, self.connections, self.sent_away) = (state.totals, state.connections, state.sent_away);
        (self.books.peak, self.books.kicked) = (state.peak, state.kicked);
        (self.generation, self.started) = (state.generation, state.started);
        self.reaper.look_at_all(); // who ended while nobody listened
        Ok(())
    }

    /// In the new program, once there is a scribe: says who is who, and that it has taken over.
    pub(super) fn tell_of_takeover(&mut self) {
        self.introduce_sessions();
        let (version, count) = (env!("CARGO_PKG_VERSION"), self.children.count());
        let sessions = if count == 1 { "session goes" } else { "sessions go" };
        self.log.line(Level::Info, format!("upgraded in place: dfos-forkd {version}, {count} active {sessions} on"));
    }
}

/// All that was written to a file of zeros. Read at a stated offset: the position is the writer's too.
fn text_of(file: &File) -> io::Result<String> {
    let length = file.metadata()?.len().min(limits::REPORT);
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').into())
}
