//! The one function that waits. Everything that blocks at either end waits here, for three things at once: the socket,
//! the signal pipe, and a deadline. So no signal and no time-out is ever missed.

use crate::proto::line::BadLine;
use crate::sys::signals::StopPipe;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Why a connection cannot go on.
#[derive(Debug, Error)]
pub enum Cut {
    /// The other end closed, or vanished.
    #[error("the other end closed the connection")]
    Closed,
    /// The deadline passed.
    #[error("the other end kept still for too long")]
    TimedOut,
    /// This process was asked to end, and its patience is used up.
    #[error("interrupted")]
    Stopping,
    /// A line was not a line.
    #[error(transparent)]
    Line(#[from] BadLine),
    /// The other end broke the protocol, and has been told.
    #[error("the other end does not speak the protocol")]
    Protocol,
    /// TLS failed.
    #[error("TLS failed: {0}")]
    Tls(#[from] rustls::Error),
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(io::Error),
}

impl From<io::Error> for Cut {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::*;
        match error.kind() {
            ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected | UnexpectedEof => Cut::Closed,
            _ => Cut::Io(error),
        }
    }
}

impl From<nix::Error> for Cut {
    fn from(error: nix::Error) -> Self {
        io::Error::from(error).into()
    }
}

/// How long to wait, and whether something is in hand.
#[derive(Debug, Clone, Copy)]
pub struct Until {
    deadline: Option<Instant>,
    /// Starts anew with each wait.
    silence: Option<Duration>,
    idle: bool,
    /// What a request to stop leaves beyond the grace period.
    leeway: Duration,
}

impl Until {
    /// Until `deadline`, between two requests: a request to stop ends the wait at once.
    pub fn idle(deadline: Instant) -> Self {
        Until { deadline: Some(deadline), silence: None, idle: true, leeway: Duration::ZERO }
    }

    /// Until `deadline`, with an operation in hand: a request to stop leaves it the grace period.
    pub fn busy(deadline: Instant) -> Self {
        Until { deadline: Some(deadline), silence: None, idle: false, leeway: Duration::ZERO }
    }

    /// As long as something moves: each single wait ends after `span`. For a client, which any byte reassures.
    pub fn silent_for(span: Duration) -> Self {
        Until { deadline: None, silence: Some(span), idle: false, leeway: Duration::ZERO }
    }

    /// The same, but no wait ends later than `span` from now.
    pub fn no_longer_than(self, span: Duration) -> Self {
        let end = Instant::now() + span;
        Until { deadline: Some(self.deadline.map_or(end, |at| at.min(end))), silence: None, ..self }
    }

    /// Whether the deadline has passed.
    pub fn is_over(&self) -> bool {
        self.deadline.is_some_and(|at| at <= Instant::now())
    }

    /// The same, with `leeway` more than the grace period: for what was begun and can only be ended or torn.
    pub fn with_leeway(self, leeway: Duration) -> Self {
        Until { leeway, ..self }
    }

    /// For `span` from now, with an operation in hand.
    pub fn within(span: Duration) -> Self {
        Self::busy(Instant::now() + span)
    }
}

/// What waits; knows whether this process has been asked to end.
pub struct Waiter {
    stop: Option<StopPipe>,
    /// How long an operation in hand may go on after a request to stop.
    grace: Duration,
    /// When the operation in hand must have ended, once a stop was requested.
    stop_at: Option<Instant>,
    errand: Errand,
    /// Whether a request to make room is heeded: before login.
    gives_way: bool,
}

/// Why this process was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// The server, or the client, is ending.
    Ending,
    /// Somebody else needs the place.
    MakeRoom,
    /// The user is gone from the users file.
    UserGone,
    /// The operator has ended this session.
    Kicked,
}

impl Waiter {
    /// A waiter that no signal interrupts.
    pub fn deaf() -> Self {
        Waiter { stop: None, grace: Duration::ZERO, stop_at: None, errand: Errand::Ending, gives_way: false }
    }

    /// A waiter that heeds `stop`, giving the operation in hand `grace` to end.
    pub fn new(stop: StopPipe, grace: Duration) -> Self {
        Waiter { stop: Some(stop), grace, stop_at: None, errand: Errand::Ending, gives_way: true }
    }

    /// Looks for a request to stop without waiting.
    pub fn stop_requested(&mut self) -> bool {
        if let Some(stop) = &self.stop {
            let now = Instant::now();
            let heard = stop.take();
            let sent = match (heard.kicked, heard.user_gone, heard.make_room && self.gives_way) {
                (true, ..) => Some(Errand::Kicked),
                (_, true, _) => Some(Errand::UserGone),
                (.., true) => Some(Errand::MakeRoom),
                _ => None,
            };
            if heard.urgent || sent.is_some() {
                self.stop_at = Some(now);
                self.errand = sent.unwrap_or(self.errand);
            } else if heard.gentle {
                self.stop_at.get_or_insert(now + self.grace);
            }
        }
        self.stop_at.is_some()
    }

    /// Why the stop was requested.
    pub fn errand(&self) -> Errand {
        self.errand
    }

    /// From now on, no request to make room is heeded: this is a user.
    pub fn stays(&mut self) {
        self.gives_way = false;
    }

    /// Whether the operation in hand must break off now.
    pub fn must_stop(&mut self) -> bool {
        self.must_stop_after(Duration::ZERO)
    }

    fn must_stop_after(&mut self, leeway: Duration) -> bool {
        self.stop_requested() && self.stop_at.is_some_and(|at| at + leeway <= Instant::now())
    }

    /// From now on, an operation in hand may go on for `grace` after a request to stop.
    pub fn set_grace(&mut self, grace: Duration) {
        self.grace = grace;
    }

    /// Forgets a request to stop, as the client's shell does at its next prompt.
    pub fn forget_stop(&mut self) {
        self.stop_requested();
        self.stop_at = None;
    }

    /// Sleeps for `span`, or until a request to stop ends what is in hand.
    pub fn sleep(&mut self, span: Duration) -> Result<(), Cut> {
        match self.wait_for(None, Until::within(span)) {
            Err(Cut::TimedOut) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Waits until `fd` is ready for `events`. Returns what it is ready for.
    pub fn wait(&mut self, fd: BorrowedFd, events: PollFlags, until: Until) -> Result<PollFlags, Cut> {
        self.wait_for(Some((fd, events)), until)
    }

    fn wait_for(&mut self, what: Option<(BorrowedFd, PollFlags)>, until: Until) -> Result<PollFlags, Cut> {
        let until = match until.silence {
            Some(span) => Until { deadline: Some(Instant::now() + span), ..until },
            None => until,
        };
        loop {
            if self.stop_requested() && (until.idle || self.must_stop_after(until.leeway)) {
                return Err(Cut::Stopping);
            }
            let deadline = [until.deadline, self.stop_at.map(|at| at + until.leeway)].into_iter().flatten().min();
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let mut fds: Vec<PollFd> = Vec::with_capacity(2);
            fds.extend(self.stop.as_ref().map(|stop| PollFd::new(stop.fd(), PollFlags::POLLIN)));
            fds.extend(what.map(|(fd, events)| PollFd::new(fd, events)));
            match ppoll(&mut fds, left.map(TimeSpec::from), None) {
                Err(nix::Error::EINTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
            if let (Some(stop), Some(true)) = (&self.stop, fds.first().and_then(PollFd::any)) {
                stop.drain();
            }
            let last = if what.is_some() { fds.last() } else { None };
            let ready = last.and_then(PollFd::revents).unwrap_or(PollFlags::empty());
            if !ready.is_empty() {
                return Ok(ready);
            }
            if until.deadline.is_some_and(|at| at <= Instant::now()) {
                return Err(Cut::TimedOut);
            }
        }
    }
}
