//! Bringing a lost connection back: a few attempts, each after a longer wait, counted anew whenever something was achieved.

use super::failure::Failure;
use super::limits;
use super::remote::Remote;
use super::report::{Event, Report};
use super::stop::Stop;
use super::target::Target;
use std::time::Duration;

/// How many attempts are left, and how long to wait before the next.
pub struct Retry {
    of: u32,
    made: u32,
}

impl Retry {
    /// `of` attempts after the first.
    pub fn new(of: u32) -> Self {
        Retry { of, made: 0 }
    }

    /// Something was achieved: the count begins anew.
    pub fn progress(&mut self) {
        self.made = 0;
    }

    /// The number of the next attempt and the wait before it; `None` when all are used up.
    fn next(&mut self) -> Option<(u32, Duration)> {
        if self.made >= self.of {
            return None;
        }
        self.made += 1;
        let full = match self.made {
            1 => limits::RETRY_FIRST,
            n => limits::RETRY_SECOND.saturating_mul(1 << (n - 2).min(16)).min(limits::RETRY_LONGEST),
        };
        Some((self.made, jitter(full)))
    }
}

/// Half to all of `full`, so that clients cut off together do not come back together.
fn jitter(full: Duration) -> Duration {
    // Without random bytes the full wait is as good.
    let mut byte = [255];
    let _ = getrandom::fill(&mut byte);
    full.mul_f64(0.5 + f64::from(byte[0]) / 510.0)
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
}

impl Context<'_> {
    /// Does `work` over `session`, which is connected first where it is not, and again, with the count of attempts that
    /// `work` may reset, as long as it fails with what a new connection may cure. A session that is no longer usable is gone
    /// when this returns.
    pub fn with_retries<T>(
        &self,
        session: &mut Option<Remote>,
        mut work: impl FnMut(&mut Remote, &mut Retry) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut retry = Retry::new(self.target.retries);
        loop {
            let result = self.connected(session, retry.made > 0).and_then(|remote| work(remote, &mut retry));
            if !session.as_ref().is_some_and(Remote::usable) {
                *session = None;
            }
            let failure = match result {
                Err(failure) if failure.retry => failure,
                done => return done,
            };
            *session = None;
            let Some((attempt, wait)) = retry.next() else { return Err(failure) };
            self.report.event(Event::Retrying { attempt, of: retry.of, wait, why: &failure });
            self.stop.sleep(wait)?;
        }
    }

    fn connected<'s>(&self, session: &'s mut Option<Remote>, again: bool) -> Result<&'s mut Remote, Failure> {
        match session {
            Some(remote) => Ok(remote),
            None => {
                let remote = Remote::connect(self.target, self.stop)?;
                if again {
                    self.report.event(Event::Reconnected);
                }
                Ok(session.insert(remote))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_at_once_to_ten_seconds_and_end() {
        let mut retry = Retry::new(20);
        let waits: Vec<Duration> = std::iter::from_fn(|| retry.next()).map(|(_, wait)| wait).collect();
        assert_eq!(waits.len(), 20);
        assert!(waits[0] < Duration::from_millis(100));
        assert!(waits[1] >= Duration::from_millis(100) && waits[1] <= Duration::from_millis(200));
        assert!(waits[19] >= Duration::from_secs(5) && waits[19] <= Duration::from_secs(10));
        retry.progress();
        assert_eq!(retry.next().map(|(attempt, _)| attempt), Some(1));
        assert!(Retry::new(0).next().is_none());
    }
}
