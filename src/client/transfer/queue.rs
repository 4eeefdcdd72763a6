//! The files of one command, shared by its connections.

use crate::client::failure::{Exit, Failure};
use crate::client::remote::Remote;
use crate::client::retry::Context;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

/// What is left of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

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

    /// What is left to do: how many jobs, and how many bytes they have by `size`.
    pub fn left(&self, size: impl Fn(&J) -> u64) -> Left {
        let jobs = self.lock();
        Left { files: jobs.len(), bytes: jobs.iter().map(size).fold(0, u64::saturating_add) }
    }

    /// Whether no job waits.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<J>> {
        self.jobs.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Runs `work` over `count` connections until the jobs are done: over `session` in this thread, and in others with
    /// connections of their own. One that loses its connection for good, or for which the server has no room, leaves its jobs
    /// to the others; any other failure ends all.
    pub fn share(
        &self,
        context: Context,
        count: usize,
        session: &mut Option<Remote>,
        work: impl Fn(Context, &mut Option<Remote>) -> Result<(), Failure> + Sync,
    ) -> Result<(), Failure> {
        let guarded = |context: Context, session: &mut Option<Remote>| {
            let result = work(context, session);
            if result.as_ref().is_err_and(|failure| !failure.retry) {
                self.close();
            }
            result
        };
        let (mut first, others) = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..count).map(|_| scope.spawn(|| guarded(context.helper(), &mut None))).collect();
            let first = guarded(context, session);
            let others: Vec<Result<(), Failure>> =
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(died()))).collect();
            (first, others)
        });
        if let Some(fatal) = others.into_iter().filter_map(Result::err).find(|failure| !failure.retry) {
            return Err(fatal);
        }
        if first.is_ok() {
            // What another gave back when this one was done already.
            first = guarded(context, session);
        }
        match first {
            Err(failure) if failure.retry && self.is_empty() => Ok(()),
            result => result,
        }
    }
}

fn died() -> Failure {
    Failure::new(Exit::Other, "a part of this program failed; please report it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{Fake, Recorder, Script};
    use crate::client::stop::Stop;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn connections_that_the_server_has_no_room_for_are_not_missed() {
        let busy: Script = Box::new(|peer| {
            peer.line();
            peer.say("ERR busy too many clients\n");
        });
        let fake = Fake::start(5, vec![busy]);
        let (stop, report, met) = (Stop::deaf(), Recorder::default(), AtomicBool::new(false));
        let context = Context::new(&fake.target, &stop, &report, &met);
        let queue = Queue::new(vec![1, 2, 3]);
        let own = std::thread::current().id();
        let done = Mutex::new(0);
        let shared = queue.share(context, 2, &mut None, |context, session| {
            if std::thread::current().id() != own {
                return context.with_retries(session, |remote, _| remote.ping());
            }
            while let Some(job) = queue.take() {
                *done.lock().unwrap() += job;
            }
            Ok(())
        });
        assert!(shared.is_ok(), "{shared:?}");
        assert_eq!((*done.lock().unwrap(), report.told(), fake.end()), (6, vec![], 1));
    }
}
