//! Rates: how fast all sessions of one user together may move bytes. A token bucket for each direction, kept as the one moment at
//! which all that was granted so far has had its time (the generic cell rate algorithm of ATM, ITU-T I.371): 8 bytes in the file
//! that the sessions share, changed under a lock.
//!
//! The moment is one of the wall clock, the only one that several servers on one storage share. Where their clocks differ by more
//! than five seconds, or the clock is set back, the state counts as damaged and begins anew: two servers whose clocks are that far
//! apart each keep the rate for themselves. Any 8 bytes are a state, so a damaged one costs a moment and nothing else.

use crate::net::Cut;
use crate::proto::limits::RATE_BURST as BURST;
use crate::sys::ofd;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A grant is taken when the ones before it are done within this time; until then a session waits without having taken any.
const AHEAD: Duration = Duration::from_secs(1);
/// A moment further ahead than this was not written by this algorithm on this clock.
const LATEST: Duration = Duration::from_secs(5);
/// The longest sleep: between two of them the session looks whether it must end, and says WAIT where it is time.
const NAP: Duration = Duration::from_millis(250);
/// How long to wait for the lock, which is held for one read and one write. Who holds it longer is none of ours: go on without.
const LOCK_TRIES: u32 = 100;
const LOCK_NAP: Duration = Duration::from_millis(2);

/// One direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    Up,
    /// To the client.
    Down,
}

impl Direction {
    /// Where the state lies in the file.
    fn place(self) -> u64 {
        match self {
            Direction::Up => 0,
            Direction::Down => 64,
        }
    }
}

/// The bucket of one direction.
pub struct Bucket {
    /// Bytes a second.
    rate: u64,
    direction: Direction,
    /// The file that the user's sessions share.
    shared: Rc<File>,
    /// The moment, where the file cannot be used: then each session keeps the rate for itself.
    alone: u64,
}

impl Bucket {
    /// A bucket for `rate` bytes a second, shared through `shared`.
    pub fn new(rate: u64, direction: Direction, shared: Rc<File>) -> Bucket {
        Bucket { rate: rate.max(1), direction, shared, alone: 0 }
    }

    /// How much of `count` may be taken at once: so little that the wait for it is short, and something always.
    pub fn grant(&self, count: usize) -> usize {
        let most = usize::try_from(self.worth(BURST)).unwrap_or(usize::MAX);
        count.min(most.max(1))
    }

    /// Bytes that pass in `span`.
    fn worth(&self, span: Duration) -> u64 {
        let bytes = u128::from(self.rate) * span.as_nanos() / 1_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Nanoseconds that `bytes` take.
    fn cost(&self, bytes: usize) -> u64 {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.rate);
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// Takes `bytes` out of the bucket, grant by grant, and calls `sleep` until each has had its time.
    pub fn take(&mut self, bytes: usize, mut sleep: impl FnMut(Duration) -> Result<(), Cut>) -> Result<(), Cut> {
        let mut left = bytes;
        while left > 0 {
            let some = self.grant(left);
            loop {
                let wait = self.ask(some, now(), &mut sleep)?;
                match wait {
                    Wait::Taken(span) => {
                        nap(span, &mut sleep)?;
                        break;
                    }
                    Wait::Later(span) => sleep(span.min(NAP))?,
                }
            }
            left -= some;
        }
        Ok(())
    }

    /// Asks for one grant at the moment `now`.
    fn ask(&mut self, bytes: usize, now: u64, sleep: &mut dyn FnMut(Duration) -> Result<(), Cut>) -> Result<Wait, Cut> {
        let place = self.direction.place();
        let mut tries = 0;
        let locked = loop {
            match ofd::try_lock(&self.shared, place as i64) {
                Ok(false) if tries < LOCK_TRIES => {
                    tries += 1;
                    sleep(LOCK_NAP)?;
                }
                other => break other.unwrap_or(false),
            }
        };
        let mut bytes_of_state = [0; 8];
        let state = match locked.then(|| self.shared.read_at(&mut bytes_of_state, place)) {
            Some(Ok(_)) => u64::from_le_bytes(bytes_of_state),
            _ => self.alone,
        };
        let (state, wait) = step(state, self.cost(bytes), now);
        self.alone = state;
        if locked {
            let _ = self.shared.write_all_at(&state.to_le_bytes(), place); // what is not written is kept by `alone`
            ofd::unlock(&self.shared, place as i64);
        }
        Ok(wait)
    }
}

/// What asking came to.
#[derive(Debug, PartialEq, Eq)]
enum Wait {
    /// The grant is taken; its time is over after so long.
    Taken(Duration),
    /// Others are before; ask again after so long.
    Later(Duration),
}

/// One step of the algorithm: all that was granted has had its time at `state`, and `cost` more is asked for. All in nanoseconds.
fn step(state: u64, cost: u64, now: u64) -> (u64, Wait) {
    let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let sound = if state > now.saturating_add(nanos(LATEST)) { now } else { state };
    if sound > now.saturating_add(nanos(AHEAD)) {
        return (sound, Wait::Later(Duration::from_nanos(sound - now - nanos(AHEAD))));
    }
    let after = sound.max(now.saturating_sub(nanos(BURST))).saturating_add(cost);
    (after, Wait::Taken(Duration::from_nanos(after.saturating_sub(now))))
}

/// Sleeps for `span`, in naps.
fn nap(mut span: Duration, sleep: &mut dyn FnMut(Duration) -> Result<(), Cut>) -> Result<(), Cut> {
    while !span.is_zero() {
        let some = span.min(NAP);
        sleep(some)?;
        span -= some;
    }
    Ok(())
}

/// Nanoseconds since 1970; good until the year 2554.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn bucket(rate: u64) -> Bucket {
        Bucket::new(rate, Direction::Up, Rc::new(tempfile::tempfile().unwrap()))
    }

    #[test]
    fn a_quiet_user_has_a_quarter_of_a_second_at_once_and_then_the_rate() {
        let now = 1_000 * SECOND;
        let (state, wait) = step(0, SECOND / 4, now);
        assert_eq!((state, wait), (now, Wait::Taken(Duration::ZERO)));
        let (state, wait) = step(state, SECOND / 4, now);
        assert_eq!((state, wait), (now + SECOND / 4, Wait::Taken(Duration::from_millis(250))));
        // Whatever the past, no more than a quarter of a second is saved up.
        assert_eq!(step(now - 900 * SECOND, SECOND, now).0, now + 3 * SECOND / 4);
    }

    #[test]
    fn many_sessions_wait_without_having_taken_and_a_clock_set_back_begins_anew() {
        let now = 1_000 * SECOND;
        let (state, wait) = step(now + 2 * SECOND, SECOND, now);
        assert_eq!((state, wait), (now + 2 * SECOND, Wait::Later(Duration::from_secs(1))));
        assert_eq!(step(now + 3600 * SECOND, SECOND / 4, now).0, now + SECOND / 4);
        for state in [0, 1, u64::MAX, u64::MAX - 1] {
            for now in [0, now, u64::MAX] {
                step(state, u64::MAX, now); // no bytes in the file do harm
            }
        }
    }

    #[test]
    fn sessions_that_share_a_bucket_share_its_rate() {
        let shared = tempfile::NamedTempFile::new().unwrap();
        let open = || Rc::new(File::options().read(true).write(true).open(shared.path()).unwrap());
        let mut buckets: Vec<Bucket> = (0..4).map(|_| Bucket::new(1_000_000, Direction::Down, open())).collect();
        let now = 1_000 * SECOND;
        let mut no_sleep = |_: Duration| Ok(());
        let mut granted = 0;
        for round in 0..400 {
            let at = now + round * SECOND / 100;
            for bucket in &mut buckets {
                if let Wait::Taken(_) = bucket.ask(10_000, at, &mut no_sleep).unwrap() {
                    granted += 10_000;
                }
            }
        }
        // Four seconds, a burst before and what is taken ahead.
        assert!((4_000_000..=4_000_000 + 250_000 + 1_000_000 + 10_000).contains(&granted), "{granted}");
        let mut other = Bucket::new(1_000_000, Direction::Up, open());
        assert_eq!(
            other.ask(10_000, now, &mut no_sleep).unwrap(),
            Wait::Taken(Duration::ZERO),
            "the other direction is free"
        );
    }

    #[test]
    fn a_lock_that_nobody_gives_up_does_not_stop_the_session_for_ever() {
        let shared = tempfile::NamedTempFile::new().unwrap();
        let open = || Rc::new(File::options().read(true).write(true).open(shared.path()).unwrap());
        let holder = open();
        assert!(ofd::try_lock(&holder, 0).unwrap());
        let mut bucket = Bucket::new(1000, Direction::Up, open());
        let mut slept = Duration::ZERO;
        bucket
            .take(1000, |span| {
                slept += span;
                Ok(())
            })
            .unwrap();
        assert!(slept >= Duration::from_millis(700) && slept < Duration::from_secs(4), "{slept:?}");
    }

    #[test]
    fn grants_are_small_and_never_nothing() {
        assert_eq!(bucket(1_000_000).grant(1 << 20), 250_000);
        assert_eq!(bucket(1_000_000).grant(7), 7);
        assert_eq!(bucket(1).grant(7), 1);
        assert_eq!(bucket(u64::MAX).grant(1 << 20), 1 << 20);
    }
}
