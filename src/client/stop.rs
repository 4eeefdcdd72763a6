//! Ctrl+C, for any number of connections at once.
//!
//! Every connection catches the signals with a pipe of its own (a pipe that several threads empty would wake only one of
//! them). [`Stop`] remembers that a signal came, for connections that do not exist yet, and is what back-off and standard
//! input wait with.

use super::failure::{Exit, Failure};
use crate::net::Waiter;
use crate::sys::signals::{SignalPipe, StopPipe};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::Signal;
use nix::sys::time::TimeSpec;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Whether the user has asked to stop.
pub struct Stop {
    pipe: Option<SignalPipe>,
    asked: AtomicBool,
}

impl Stop {
    /// Heeds SIGINT and SIGTERM from now on.
    pub fn listen() -> io::Result<Self> {
        let pipe = SignalPipe::new(&[Signal::SIGINT, Signal::SIGTERM])?;
        Ok(Stop { pipe: Some(pipe), asked: AtomicBool::new(false) })
    }

    /// Heeds no signal; [`Stop::ask`] still works between two steps.
    pub fn deaf() -> Self {
        Stop { pipe: None, asked: AtomicBool::new(false) }
    }

    /// Asks to stop, as a signal would.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was asked for since the last [`Stop::forget`].
    pub fn asked(&self) -> bool {
        if let Some(pipe) = &self.pipe {
            // The pipe is left full: it goes on waking everybody who waits with it.
            let (int, term) = (pipe.came(Signal::SIGINT), pipe.came(Signal::SIGTERM));
            if int || term {
                self.ask();
            }
        }
        self.asked.load(Ordering::SeqCst)
    }

    /// Fails if a stop was asked for.
    pub fn check(&self) -> Result<(), Failure> {
        if self.asked() { Err(interrupted()) } else { Ok(()) }
    }

    /// Forgets a request to stop, as a shell does at its next prompt.
    pub fn forget(&self) {
        if let Some(pipe) = &self.pipe {
            pipe.drain();
        }
        self.asked();
        self.asked.store(false, Ordering::SeqCst);
    }

    /// What a new connection waits with. A signal that came before ends it at once, one that comes later wakes it.
    pub fn waiter(&self) -> Result<Waiter, Failure> {
        let waiter = match &self.pipe {
            None => Waiter::deaf(),
            Some(_) => {
                let pipe = StopPipe::new()
                    .map_err(|why| Failure::new(Exit::Other, format!("cannot listen for signals: {why}")))?;
                Waiter::new(pipe, Duration::ZERO)
            }
        };
        self.check()?;
        Ok(waiter)
    }

    /// Sleeps for `span`, or fails as soon as a stop is asked for.
    pub fn sleep(&self, span: Duration) -> Result<(), Failure> {
        self.wait([], Some(Instant::now() + span)).map(drop)
    }

    /// Waits until `fd` can be read, or fails as soon as a stop is asked for.
    pub fn wait_readable(&self, fd: BorrowedFd) -> Result<(), Failure> {
        self.wait([(fd, PollFlags::POLLIN)], None).map(drop)
    }

    /// Waits until `fd` can be written, or fails as soon as a stop is asked for.
    pub fn wait_writable(&self, fd: BorrowedFd) -> Result<(), Failure> {
        self.wait([(fd, PollFlags::POLLOUT)], None).map(drop)
    }

    /// Waits for `span` until one of two can be read, or fails as soon as a stop is asked for; which can be.
    pub fn wait_either(&self, fds: [BorrowedFd; 2], span: Duration) -> Result<[bool; 2], Failure> {
        self.wait(fds.map(|fd| (fd, PollFlags::POLLIN)), Some(Instant::now() + span))
    }

    fn wait<const N: usize>(
        &self,
        what: [(BorrowedFd, PollFlags); N],
        deadline: Option<Instant>,
    ) -> Result<[bool; N], Failure> {
        loop {
            self.check()?;
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok([false; N]);
            }
            let mut fds: Vec<PollFd> = what.iter().map(|(fd, events)| PollFd::new(*fd, *events)).collect();
            fds.extend(self.pipe.as_ref().map(|pipe| PollFd::new(pipe.fd(), PollFlags::POLLIN)));
            match ppoll(&mut fds, left.map(TimeSpec::from), None) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(why) => return Err(Failure::new(Exit::Other, format!("cannot wait: {why}"))),
            }
            let mut ready = [false; N];
            for (ready, fd) in ready.iter_mut().zip(&fds) {
                *ready = fd.revents().is_some_and(|events| !events.is_empty());
            }
            if ready.contains(&true) {
                return self.check().map(|()| ready);
            }
        }
    }
}

/// The failure of a command that the user broke off.
pub fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted; run the same command again to go on")
}
