//! The files of one command, shared by its connections.

use crate::client::failure::{Exit, Failure};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

/// Jobs that wait for a connection.
pub struct Queue<J> {
    jobs: Mutex<VecDeque<J>>,
}

impl<J: Send> Queue<J> {
    /// A queue of `jobs`, in this order.
    pub fn new(jobs: Vec<J>) -> Self {
        Queue { jobs: Mutex::new(jobs.into()) }
    }

    /// The next job.
    pub fn take(&self) -> Option<J> {
        self.lock().pop_front()
    }

    /// Gives jobs back, for another connection.
    pub fn give_back(&self, jobs: impl IntoIterator<Item = J>) {
        self.lock().extend(jobs);
    }

    /// Leaves nothing to do.
    pub fn close(&self) {
        self.lock().clear();
    }

    /// Whether no job waits.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<J>> {
        self.jobs.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Runs `work` in `count` threads, each with a connection of its own, until the jobs are done. One that loses its
    /// connection for good (a server that takes fewer connections than were asked for) leaves its jobs to the others; any
    /// other failure ends all.
    pub fn share(&self, count: usize, work: impl Fn() -> Result<(), Failure> + Sync) -> Result<(), Failure> {
        let guarded = || {
            let result = work();
            if result.as_ref().is_err_and(|failure| !failure.retry) {
                self.close();
            }
            result
        };
        let results: Vec<Result<(), Failure>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..count).map(|_| scope.spawn(guarded)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(died()))).collect()
        });
        let fatal = |failure: &Failure| !failure.retry;
        let failures: Vec<Failure> = results.into_iter().filter_map(Result::err).collect();
        match failures.iter().find(|failure| fatal(failure)) {
            Some(failure) => Err(failure.clone()),
            None if self.is_empty() => Ok(()),
            None => failures.into_iter().next().map_or(Ok(()), Err),
        }
    }
}

fn died() -> Failure {
    Failure::new(Exit::Other, "a part of this program failed; please report it")
}
