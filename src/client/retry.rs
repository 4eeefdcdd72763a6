//! Bringing a lost connection back: a few attempts, each after a longer wait, counted anew whenever something was achieved.

use super::failure::{Exit, Failure};
use super::jobs::Jobs;
use super::limits;
use super::remote::Remote;
use super::report::{Event, Report};
use super::stop::Stop;
use super::target::Target;
use crate::proto::Code;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How many attempts are left, and how long to wait before the next.
pub struct Retry {
    of: u32,
    made: u32,
    waits: &'static [Duration],
    /// Bytes that have passed since the count began.
    bytes: u64,
}

impl Retry {
    /// As many attempts after the first, with such waits, as `target` has.
    pub fn new(target: &Target) -> Self {
        Retry { of: target.retries, made: 0, waits: target.waits, bytes: 0 }
    }

    /// Something was achieved: the count begins anew.
    pub fn progress(&mut self) {
        (self.made, self.bytes) = (0, 0);
    }

    /// So many bytes have passed for good: enough of them are an achievement.
    pub fn passed(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes >= limits::PROGRESS {
            self.progress();
        }
    }

    /// The number of the next attempt and the wait before it; `None` when all are used up.
    fn next(&mut self) -> Option<(u32, Duration)> {
        if self.made >= self.of {
            return None;
        }
        let full = self.waits.get(self.made as usize).or(self.waits.last()).copied().unwrap_or_default();
        self.made += 1;
        Some((self.made, jitter(full)))
    }
}

/// `full` and up to a quarter more, so that clients cut off together do not come back together.
fn jitter(full: Duration) -> Duration {
    // Without random bytes the plain wait is as good.
    let mut byte = [0];
    let _ = getrandom::fill(&mut byte);
    full.mul_f64(1.0 + f64::from(byte[0]) / 1020.0)
}

/// What a piece of work needs besides the connection.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Whom to connect to.
    pub target: &'a Target,
    /// Whether the user has asked to stop.
    pub stop: &'a Stop,
    /// Who is told.
    pub report: &'a dyn Report,
    /// Whether the server has let this command in, over any connection: from then on what is lost is lost on the way.
    met: &'a AtomicBool,
    /// Whether another connection does the work if the server does not take this one.
    helper: bool,
}

impl<'a> Context<'a> {
    /// The surroundings of one command; `met` begins as false.
    pub fn new(target: &'a Target, stop: &'a Stop, report: &'a dyn Report, met: &'a AtomicBool) -> Self {
        Context { target, stop, report, met, helper: false }
    }

    /// The same for one more connection: one that the server has no room for is not worth an attempt or a word.
    pub fn helper(self) -> Self {
        Context { helper: true, ..self }
    }

    /// Over how many connections so many files of so many bytes go.
    pub fn connections(&self, jobs: Jobs, files: usize, bytes: u64) -> usize {
        let most = self.target.throttle.as_ref().map_or(usize::MAX, |throttle| throttle.rate.connections());
        jobs.connections(files, bytes).min(most)
    }

    /// Whether the server has let this command in.
    pub fn met(&self) -> bool {
        self.met.load(Ordering::SeqCst)
    }

    /// Does `work` over `session`, which is connected first where it is not, and again, with the count of attempts that
    /// `work` may reset, as long as it fails with what a new connection may cure. A session that is no longer usable is gone
    /// when this returns.
    pub fn with_retries<T>(
        &self,
        session: &mut Option<Remote>,
        mut work: impl FnMut(&mut Remote, &mut Retry) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut retry = Retry::new(self.target);
        loop {
            let result = self.connected(session, retry.made > 0).and_then(|remote| {
                remote.connection.set_throttle(self.target.throttle.clone());
                work(remote, &mut retry)
            });
            if !session.as_ref().is_some_and(Remote::usable) {
                *session = None;
            }
            let failure = match result {
                Err(failure) if failure.retry => failure,
                done => return done,
            };
            *session = None;
            if self.helper && failure.code == Some(Code::Busy) {
                return Err(failure);
            }
            let Some((attempt, wait)) = retry.next() else { return Err(failure) };
            self.report.event(Event::Retrying { attempt, of: retry.of, wait, why: &failure });
            self.stop.sleep(wait)?;
        }
    }

    fn connected<'s>(&self, session: &'s mut Option<Remote>, again: bool) -> Result<&'s mut Remote, Failure> {
        if session.is_none() {
            let mut remote = Remote::connect(self.target, self.stop).map_err(|failure| self.out_of_reach(failure))?;
            self.report.event(Event::Connected);
            if let Some(introduction) = remote.introduction() {
                self.report.event(Event::Introduced { introduction: &introduction });
            }
            if again {
                self.report.event(Event::Reconnected);
            }
            *session = Some(remote);
        }
        self.met.store(true, Ordering::SeqCst);
        session.as_mut().ok_or_else(|| Failure::passing(Exit::Connect, "not connected"))
    }

    /// A server that was there and cannot be found now (a socket that is gone while it restarts, a name that does not resolve
    /// without a network) may be there again soon.
    fn out_of_reach(&self, failure: Failure) -> Failure {
        Failure { retry: failure.retry || (self.met() && failure.exit == Exit::Connect), ..failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Password;
    use crate::net::Address;

    fn target() -> Target {
        let (user, password) = ("alice".parse().unwrap(), Password::new("secret").unwrap());
        Target::new(Address::Unix("/nowhere".into()), user, password)
    }

    #[test]
    fn the_usual_retries_begin_at_once_and_last_for_half_a_minute() {
        let mut retry = Retry::new(&target());
        let waits: Vec<Duration> = std::iter::from_fn(|| retry.next()).map(|(_, wait)| wait).collect();
        assert_eq!((waits.len(), waits[0]), (5, Duration::ZERO));
        let all: Duration = waits.iter().sum();
        assert!(all >= Duration::from_secs(30) && all < Duration::from_secs(60), "{all:?}");
        let server = crate::proto::limits::STALL + crate::proto::limits::GOODBYE;
        assert!(
            limits::SILENCE + all > server + Duration::from_secs(2),
            "the seat of one's own old session is not free yet"
        );
        assert!(Retry::new(&Target { retries: 0, ..target() }).next().is_none());
        let mut many = Retry::new(&Target { retries: 20, ..target() });
        let last = std::iter::from_fn(|| many.next()).last().unwrap();
        assert!(last.0 == 20 && last.1 >= Duration::from_secs(20) && last.1 <= Duration::from_secs(25), "{last:?}");
    }

    #[test]
    fn only_what_counts_renews_the_attempts() {
        let mut retry = Retry::new(&target());
        let mut number = || retry.next().map(|(attempt, _)| attempt);
        assert_eq!((number(), number()), (Some(1), Some(2)));
        retry.passed(1);
        assert_eq!(retry.next().map(|(attempt, _)| attempt), Some(3));
        retry.passed(limits::PROGRESS - 1);
        assert_eq!(retry.next().map(|(attempt, _)| attempt), Some(1));
        retry.progress();
        assert_eq!(retry.next().map(|(attempt, _)| attempt), Some(1));
    }
}
