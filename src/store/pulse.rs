//! Work that takes long, and whoever waits for it.

use super::{Result, Trouble};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How often somebody who waits for a blocking call is told that it still runs.
pub(super) const BEAT: Duration = Duration::from_secs(1);

/// Somebody who waits: told now and then that work goes on, and asked whether it still should.
pub trait Pulse {
    /// Called often while work goes on. `false`: nobody waits any more, break off.
    fn beat(&mut self) -> bool;

    /// [`Pulse::beat`] as a result, for loops.
    fn check(&mut self) -> Result<()> {
        if self.beat() { Ok(()) } else { Err(Trouble::Interrupted) }
    }
}

/// Waits without asking: for work at start-up and for tests.
pub struct Patient;

impl Pulse for Patient {
    fn beat(&mut self) -> bool {
        true
    }
}

/// Runs a call that may block for long (a flush, a lock) in a thread, and keeps the pulse meanwhile. The call cannot be
/// broken off: its result is returned whatever the pulse says. Where no thread can be had it runs here.
pub fn patiently<T: Send>(pulse: &mut dyn Pulse, work: impl FnOnce() -> T + Send) -> T {
    let (done, finished) = channel();
    let mut work = Some(work);
    let slot = &mut work;
    let outcome = thread::scope(|scope| {
        let body = move || {
            let result = slot.take().map(|work| work());
            let _ = done.send(()); // the waiting side never goes first
            result
        };
        let handle = thread::Builder::new().stack_size(64 * 1024).spawn_scoped(scope, body).ok()?;
        while let Err(RecvTimeoutError::Timeout) = finished.recv_timeout(BEAT) {
            pulse.beat();
        }
        match handle.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    match (outcome, work) {
        (Some(result), _) => result,
        (None, Some(work)) => work(),
        (None, None) => unreachable!("the work is either done or still here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count(u32);
    impl Pulse for Count {
        fn beat(&mut self) -> bool {
            self.0 += 1;
            true
        }
    }

    #[test]
    fn a_blocking_call_keeps_the_pulse_going() {
        let mut pulse = Count(0);
        let (tell, told) = channel::<()>();
        let result = patiently(&mut pulse, move || {
            let waited = told.recv_timeout(BEAT + BEAT / 2); // nobody tells: this is the call that blocks
            drop(tell);
            (waited.is_err(), 7)
        });
        assert_eq!(result, (true, 7));
        assert!(pulse.0 >= 1);
    }
}
