//! Programs of the operator's that are run after what happens, once it has been written down. The scribe runs them, outside the
//! confinement of sessions; it waits for none of them: it looks at them when one has ended and, while any runs, every now and then.

mod event;
pub mod program;
mod running;
mod waiting;

pub use event::{Event, Job};

use crate::proto::limits::HOOKS_WAITING;
use crate::sys::signals::SignalPipe;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use running::{Ended, Running};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use waiting::Waiting;

/// How often it is looked what programs say and whether their time is over: who says gigabytes is heard no faster than this allows.
pub const LOOK: Duration = Duration::from_millis(50);

/// How often it is said that programs were not run.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What is to be run, and how.
#[derive(Debug, Clone, Default)]
pub struct Orders {
    /// Which program after what.
    pub programs: Vec<(Event, PathBuf)>,
    /// How long one may take.
    pub timeout: Duration,
    /// How many at a time.
    pub at_a_time: usize,
    /// Where users' directories lie: an absolute path.
    pub storage: PathBuf,
}

/// What there is to tell of programs.
pub enum Report {
    /// One was run, or could not be.
    Ended(Box<Ended>),
    /// So many were not run, and why.
    Dropped(u64, &'static str),
}

/// The programs.
pub struct Hooks {
    orders: Orders,
    waiting: Waiting<Job>,
    running: Vec<Running>,
    /// Tells when one has ended; there from [`Hooks::begin`] on, if there are programs at all.
    signals: Option<SignalPipe>,
    looked: Instant,
    /// When all must have ended, since the server does.
    end: Option<Instant>,
    /// So many had no room to wait, and when that was told.
    crowded_out: u64,
    told: Option<Instant>,
}

impl Hooks {
    /// Programs of which none runs yet.
    pub fn new(orders: Orders) -> Self {
        let (waiting, running) = (Waiting::new(HOOKS_WAITING), Vec::new());
        Hooks { orders, waiting, running, signals: None, looked: Instant::now(), end: None, crowded_out: 0, told: None }
    }

    /// Hears from now on when one ends. In the process that runs them: what a fork inherits of this would be its parent's.
    pub fn begin(&mut self) -> io::Result<()> {
        if !self.orders.programs.is_empty() {
            self.signals = Some(SignalPipe::new(&[Signal::SIGCHLD])?);
        }
        Ok(())
    }

    /// Whether a program is run after this.
    pub fn wants(&self, event: Event) -> bool {
        self.orders.programs.iter().any(|(of, _)| *of == event)
    }

    /// What to poll for input.
    pub fn poll_fd(&self) -> Option<PollFd<'_>> {
        self.signals.as_ref().map(|signals| PollFd::new(signals.fd(), PollFlags::POLLIN))
    }

    /// When it should be looked at them though nothing comes.
    pub fn due(&self) -> Option<Duration> {
        let (runs, ends) = (!self.running.is_empty(), self.end.is_some() && self.waiting.count() > 0);
        (runs || ends || self.crowded_out > 0).then_some(LOOK)
    }

    /// Whether none runs and none waits.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.count() == 0 && self.crowded_out == 0
    }

    /// Has a program run as soon as its turn has come.
    pub fn push(&mut self, job: Job) {
        let owner = job.owner().to_owned();
        self.crowded_out += u64::from(self.waiting.push(&owner, job).is_some());
    }

    /// The server ends: what runs and what waits has until then. What was said first, or is sooner, holds.
    pub fn end_by(&mut self, then: Instant) {
        let then = self.end.map_or(then, |end| end.min(then));
        self.end = Some(then);
        self.running.iter_mut().for_each(|running| running.end_by(then));
    }

    /// Whether it has been said when the server ends.
    pub fn is_ending(&self) -> bool {
        self.end.is_some()
    }

    /// What is to be said when the server ends while programs run or wait.
    pub fn left(&self, patience: Duration) -> Option<String> {
        let (run, wait, seconds) = (self.running.len(), self.waiting.count(), patience.as_secs());
        (run + wait > 0).then(|| format!("hooks: {run} programs run and {wait} wait, up to {seconds} s to finish"))
    }

    /// Does what is due: reaps, ends what takes too long, and starts what waits, unless `may_start` says that something else comes first.
    pub fn turn(&mut self, may_start: bool) -> Vec<Report> {
        let now = Instant::now();
        let mut reports = Vec::new();
        self.look(now, &mut reports);
        let is_over = self.end.is_some_and(|end| end <= now);
        if is_over {
            let left = self.waiting.clear() as u64;
            reports.extend((left > 0).then_some(Report::Dropped(left, "the server ended before their turn came")));
        }
        while may_start && !is_over && self.running.len() < self.orders.at_a_time {
            let Some(job) = self.waiting.pop() else { break };
            self.start(job, &mut reports);
        }
        if self.crowded_out > 0 && (is_over || self.told.is_none_or(|then| then + TELL_EVERY <= now)) {
            self.told = Some(now);
            let count = std::mem::take(&mut self.crowded_out);
            reports.push(Report::Dropped(count, "too many wait already"));
        }
        reports
    }

    /// Looks whether programs have ended, what they say, and whether their time is over.
    fn look(&mut self, now: Instant, reports: &mut Vec<Report>) {
        let came = self.signals.as_ref().is_some_and(|signals| {
            signals.drain();
            signals.came(Signal::SIGCHLD)
        });
        let is_due = now >= self.looked + LOOK;
        if self.running.is_empty() || !(came || is_due) {
            return;
        }
        if is_due {
            self.looked = now;
            let is_over = self.end.is_some_and(|end| end <= now);
            for running in &mut self.running {
                running.listen();
                running.watch(now, is_over);
            }
        }
        for ended in self.running.extract_if(.., |running| running.has_ended()) {
            reports.push(Report::Ended(Box::new(ended.reap())));
        }
    }

    fn start(&mut self, job: Job, reports: &mut Vec<Report>) {
        let found = self.orders.programs.iter().find(|(event, _)| *event == job.event);
        let Some((_, program)) = found else { return };
        match Running::start(program, job, &self.orders.storage, self.orders.timeout) {
            Ok(mut running) => {
                self.end.into_iter().for_each(|end| running.end_by(end));
                self.running.push(running);
            }
            Err(ended) => reports.push(Report::Ended(ended)),
        }
    }
}
