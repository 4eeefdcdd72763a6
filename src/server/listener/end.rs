//! How the listener ends: in order when first asked, at once when asked again, and never waiting for ever.

use super::{Listener, Role};
use crate::net::Address;
use crate::net::listen::Listener as Socket;
use crate::proto::limits::HOOK_MERCY;
use crate::server::level::Level;
use crate::server::record::{Log, Record};
use crate::server::scoreboard::Figure;
use crate::sys::signals::SignalPipe;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::time::TimeSpec;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::io;
use std::time::{Duration, Instant};

/// How long sessions have to obey before they are killed.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(2);

/// How far the end has come.
pub(super) enum Phase {
    Serving,
    /// Nobody new is taken; the server ends when all have gone, or then.
    Draining(Option<Instant>),
    /// Sessions have been asked to end, and have until then.
    Ending(Instant),
    /// Sessions have been told to break off, and have until then. `true` if that was asked for.
    Forcing(Instant, bool),
}

impl Phase {
    /// As the operator sees it.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Phase::Serving => "serving",
            Phase::Draining(_) => "draining",
            Phase::Ending(_) | Phase::Forcing(..) => "ending",
        }
    }
}

impl Listener {
    /// A request to end: the first is obeyed in order, a second one at once.
    pub(super) fn end(&mut self) {
        let now = Instant::now();
        match self.phase {
            Phase::Serving | Phase::Draining(_) => {
                let (count, grace) = (self.children.count(), self.options.grace);
                self.log.line(Level::Info, format!("ending: {count} active, up to {} s to finish", grace.as_secs()));
                self.forget_upgrade();
                self.manager.stopping(grace + 4 * LAST_WORDS); // to obey, to break off, to be killed, and the scribe
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
    pub(super) fn ended(&mut self) -> Option<bool> {
        let now = Instant::now();
        let empty = self.children.count() == 0;
        match self.phase {
            Phase::Serving | Phase::Draining(_) => None,
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

    /// How long the operator's programs may go on: what is left of the time that sessions had. `None` if there are none.
    fn left_for_hooks(&self) -> Option<Duration> {
        self.options.hooks.programs().next()?;
        Some(match self.phase {
            Phase::Ending(until) => until.saturating_duration_since(Instant::now()),
            _ => Duration::ZERO,
        })
    }

    /// Tells what has been done, and ends the scribe by leaving it nobody to listen to.
    pub(super) fn finish(mut self, mut orderly: bool) -> io::Result<Role> {
        self.desk.close();
        let total = |figure| self.totals.get(figure);
        let size = |figure| bytesize::ByteSize(total(figure));
        let told = Record::Line(
            Level::Info,
            format!(
                "ended: {} connections ({} turned away), {} logins, {} files in ({}, {} bytes), {} files out ({}, {} bytes){}",
                self.connections,
                self.gate.tally.total(),
                total(Figure::Logins),
                total(Figure::FilesIn),
                size(Figure::BytesIn),
                total(Figure::BytesIn),
                total(Figure::FilesOut),
                size(Figure::BytesOut),
                total(Figure::BytesOut),
                self.told_of_the_door(),
            ),
        );
        let unsaid = self.audit_throttle.take_unsaid();
        self.tell_of_a_flood(Some(unsaid));
        let patience = self.left_for_hooks();
        // A scribe that is behind is waited for: how it ended, and how many lines were lost, must not be lost.
        let heard = [told, Record::End(patience.unwrap_or_default())]
            .iter()
            .all(|record| self.log.send_within(record, LAST_WORDS));
        let Listener { log, session_log, log_ends, scribe, signals, .. } = self;
        drop((session_log, log_ends));
        if let Some(pid) = scribe {
            orderly &= await_scribe(pid, &signals, heard.then_some(log), patience)?;
        }
        Ok(Role::Listener(orderly))
    }
}

/// Waits until the scribe has written everything, and the operator's programs have ended; one whose output nobody takes is not waited for.
/// `log` leads to it if it knows that the end has come. `false` if it was asked meanwhile to end at once.
fn await_scribe(pid: Pid, signals: &SignalPipe, log: Option<Log>, for_hooks: Option<Duration>) -> io::Result<bool> {
    let mut deadline = Instant::now() + LAST_WORDS + for_hooks.map_or(Duration::ZERO, |left| left + HOOK_MERCY);
    let mut in_peace = true;
    while waitpid(pid, Some(WaitPidFlag::WNOHANG))? == WaitStatus::StillAlive {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            kill(pid, Signal::SIGKILL)?;
        }
        let wait = (!left.is_zero()).then(|| TimeSpec::from(left));
        let mut fds = [PollFd::new(signals.fd(), PollFlags::POLLIN)];
        let _ = ppoll(&mut fds, wait, None); // SIGCHLD
        signals.drain();
        if signals.came(Signal::SIGINT) | signals.came(Signal::SIGTERM) {
            let _ = log.as_ref().map(|log| log.send(&Record::End(Duration::ZERO)));
            deadline = deadline.min(Instant::now() + HOOK_MERCY + LAST_WORDS);
            in_peace = false;
        }
    }
    Ok(in_peace)
}

/// Removes a Unix socket's name: nobody can connect any more. One that was passed stays, for whoever is started next.
fn remove_unix(socket: &Socket) {
    if let (Address::Unix(path), true) = (&socket.address, socket.is_ours) {
        let _ = std::fs::remove_file(path);
    }
}
