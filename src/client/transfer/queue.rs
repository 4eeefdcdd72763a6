//! The files of one command, shared by its connections.

use crate::client::failure::{Exit, Failure};
use crate::client::remote::Remote;
use crate::client::retry::Context;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, channel};
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
    /// connections of their own. These log in while `first` is done over `session`, and begin after it, if it succeeds. One that loses its
    /// connection for good, or for which the server has no room, leaves its jobs to the others; any other failure ends all.
    pub fn share(
        &self,
        context: Context,
        count: usize,
        session: &mut Option<Remote>,
        first: impl FnOnce(&mut Option<Remote>) -> Result<(), Failure>,
        work: impl Fn(Context, &mut Option<Remote>) -> Result<(), Failure> + Sync,
    ) -> Result<(), Failure> {
        let ends_all = |failure: &Failure| {
            if !failure.retry {
                self.close();
            }
        };
        let guarded = |context: Context, session: &mut Option<Remote>| work(context, session).inspect_err(ends_all);
        let helper = |start: Receiver<()>| {
            let (context, mut session) = (context.helper(), None);
            context.with_retries(&mut session, |_, _| Ok(())).inspect_err(ends_all)?;
            // Where what comes first has failed, the other end goes without a word.
            if start.recv().is_ok() { guarded(context, &mut session) } else { Ok(()) }
        };
        let (mut own, others) = std::thread::scope(|scope| {
            let (starts, threads): (Vec<_>, Vec<_>) = (1..count)
                .map(|_| {
                    let (start, started) = channel();
                    (start, scope.spawn(move || helper(started)))
                })
                .unzip();
            let begun = first(session).inspect(|()| {
                starts.iter().for_each(|start| {
                    let _ = start.send(()); // one that could not log in has gone
                })
            });
            drop(starts);
            let own = begun.and_then(|()| guarded(context, session));
            let others: Vec<Result<(), Failure>> =
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(died()))).collect();
            (own, others)
        });
        if let Some(fatal) = others.into_iter().filter_map(Result::err).find(|failure| !failure.retry) {
            return Err(fatal);
        }
        if own.is_ok() {
            // What another gave back when this one was done already.
            own = guarded(context, session);
        }
        match own {
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
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

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
        let shared = queue.share(
            context,
            2,
            &mut None,
            |_| Ok(()),
            |context, session| {
                if std::thread::current().id() != own {
                    return context.with_retries(session, |remote, _| remote.ping().map(drop));
                }
                while let Some(job) = queue.take() {
                    *done.lock().unwrap() += job;
                }
                Ok(())
            },
        );
        assert!(shared.is_ok(), "{shared:?}");
        assert_eq!((*done.lock().unwrap(), report.told(), fake.end()), (6, vec![], 1));
    }

    #[test]
    fn others_log_in_while_the_first_prepares_and_work_only_if_that_succeeds() {
        for fails in [false, true] {
            let (here, came) = std::sync::mpsc::channel();
            let script: Script = Box::new(move |peer| {
                here.send(()).unwrap();
                peer.line();
            });
            let fake = Fake::start(0, vec![script]);
            let (stop, report, met) = (Stop::deaf(), Recorder::default(), AtomicBool::new(false));
            let context = Context::new(&fake.target, &stop, &report, &met);
            let (queue, prepared, workers) = (Queue::new(vec![1]), AtomicBool::new(false), Mutex::new(HashSet::new()));
            let first = |_: &mut Option<Remote>| {
                came.recv_timeout(std::time::Duration::from_secs(20)).expect("the other logs in meanwhile");
                prepared.store(true, SeqCst);
                if fails { Err(died()) } else { Ok(()) }
            };
            let shared = queue.share(context, 2, &mut None, first, |_, _| {
                assert!(prepared.load(SeqCst));
                workers.lock().unwrap().insert(std::thread::current().id());
                Ok(())
            });
            assert_eq!((shared.is_err(), workers.lock().unwrap().len()), (fails, if fails { 0 } else { 2 }));
            fake.end();
        }
    }
}
