//! Many downloads over one connection: requests are sent ahead, so that a tree of small files is not one round trip each.

use super::download::{Download, Place, Settled};
use super::folder::Folder;
use super::queue::Queue;
use super::rules::TAKEN;
use super::tally::Tally;
use crate::client::connection::Connection;
use crate::client::failure::{Exit, Failure};
use crate::client::limits;
use crate::client::remote::Remote;
use crate::client::report::{Direction, Event};
use crate::client::retry::{Context, Retry};
use crate::proto::RemotePath;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Receives jobs from a queue over one connection after another.
pub struct Receiver<'a> {
    context: Context<'a>,
    queue: &'a Queue<Download>,
    tally: &'a Tally,
    /// What is to be asked for before anything else.
    again: VecDeque<Download>,
    /// What has been asked for.
    asked: VecDeque<Download>,
    ahead: u64,
    /// The directory that the last file went into: the next one probably does, too.
    folder: Option<(Arc<Folder>, RemotePath, Arc<Folder>)>,
}

impl<'a> Receiver<'a> {
    /// A receiver with nothing in hand.
    pub fn new(context: Context<'a>, queue: &'a Queue<Download>, tally: &'a Tally) -> Self {
        let (again, asked) = (VecDeque::new(), VecDeque::new());
        Receiver { context, queue, tally, again, asked, ahead: 0, folder: None }
    }

    /// Receives until the queue is empty. What it could not receive because its connection is gone for good goes back.
    pub fn run(mut self, session: &mut Option<Remote>) -> Result<(), Failure> {
        let context = self.context;
        let mut result = Ok(());
        // Work may end early, with its connection given up on purpose: that is no attempt that failed.
        while result.is_ok() && !(self.again.is_empty() && self.queue.is_empty()) {
            result = context.with_retries(session, |remote, retry| self.work(&mut remote.connection, retry));
        }
        self.recall();
        self.queue.give_back(self.again.drain(..));
        result
    }

    fn work(&mut self, connection: &mut Connection, retry: &mut Retry) -> Result<(), Failure> {
        self.recall();
        while let Some(job) = self.again.pop_front().or_else(|| self.queue.take()) {
            if let Err(failure) = self.context.stop.check() {
                return self.put_back(job, failure);
            }
            self.ask(connection, retry, job)?;
            connection.gather()?;
            if self.asked.len() >= limits::REQUESTS_AHEAD || self.ahead >= limits::BYTES_AHEAD {
                self.receive_until(connection, retry, limits::REQUESTS_AHEAD / 2)?;
            }
            if self.again.is_empty() && self.queue.is_empty() {
                self.receive_until(connection, retry, 0)?;
            }
            if !connection.usable() {
                return Ok(());
            }
        }
        self.receive_until(connection, retry, 0)
    }

    /// What was asked for and has not come is to be asked for again, in the old order.
    fn recall(&mut self) {
        self.ahead = 0;
        while let Some(job) = self.asked.pop_back() {
            self.again.push_front(job);
        }
    }

    /// Ends the work with a job in hand, which must not be forgotten over that.
    fn put_back(&mut self, job: Download, failure: Failure) -> Result<(), Failure> {
        self.again.push_front(job);
        Err(failure)
    }

    fn ask(&mut self, connection: &mut Connection, retry: &mut Retry, mut job: Download) -> Result<(), Failure> {
        if job.began.is_none() {
            job.began = Some(Instant::now());
            let (file, name, size) = (job.file, job.remote.as_bytes(), Some(job.version.0));
            job.tell(self.context.report);
            self.context.report.event(Event::Started { file, direction: Direction::Get, name, size });
        }
        if let Place::File { root, dir, .. } = &job.place {
            let folder = match self.open(root, dir) {
                Ok(folder) => folder,
                Err(failure) => {
                    self.failed(&job, &failure);
                    return Ok(());
                }
            };
            if job.version.0 >= limits::SMALL && job.has_leftover(&self.context, &folder) {
                // It will be read first, and nothing else shall wait half sent meanwhile.
                if let Err(failure) = self.receive_until(connection, retry, 0) {
                    return self.put_back(job, failure);
                }
            }
            match job.prepare(&self.context, folder) {
                Ok(()) => {}
                Err(failure) if failure.exit == Exit::Interrupted => return self.put_back(job, failure),
                Err(failure) => {
                    self.failed(&job, &failure);
                    return Ok(());
                }
            }
        }
        if !connection.usable() {
            self.again.push_front(job);
            return Ok(());
        }
        job.request(connection);
        self.ahead = self.ahead.saturating_add(job.version.0);
        self.asked.push_back(job);
        Ok(())
    }

    fn open(&mut self, root: &Arc<Folder>, dir: &RemotePath) -> Result<Arc<Folder>, Failure> {
        if let Some((last_root, last_dir, folder)) = &self.folder
            && Arc::ptr_eq(last_root, root)
            && last_dir == dir
        {
            return Ok(folder.clone());
        }
        let folder = if dir.is_root() { root.clone() } else { Arc::new(root.below(dir)?) };
        self.folder = Some((root.clone(), dir.clone(), folder.clone()));
        Ok(folder)
    }

    /// Receives until at most `left` files are due, with no more than half the bytes that may be on the way.
    fn receive_until(&mut self, connection: &mut Connection, retry: &mut Retry, left: usize) -> Result<(), Failure> {
        while connection.usable() && (self.asked.len() > left || self.ahead > limits::BYTES_AHEAD / 2) {
            let Some(mut job) = self.asked.pop_front() else { break };
            let size = job.version.0; // as it was when it was asked for
            match job.receive(connection, retry, &self.context) {
                Ok(settled) => {
                    self.ahead = self.ahead.saturating_sub(size);
                    self.settle(job, settled, retry);
                }
                Err(failure) => {
                    self.asked.push_front(job);
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    fn settle(&mut self, job: Download, settled: Settled, retry: &mut Retry) {
        match settled {
            Settled::Whole(digest) => {
                retry.progress();
                let (file, bytes, moved) = (job.file, job.version.0, job.moved);
                let took = job.began.map_or_else(Default::default, |began| began.elapsed());
                self.tally.finished(bytes, moved);
                self.context.report.event(Event::Finished { file, bytes, moved, digest, took });
            }
            Settled::Kept => {
                self.tally.kept();
                self.context.report.event(Event::Kept {
                    file: Some(job.file),
                    name: job.remote.as_bytes(),
                    why: TAKEN,
                });
            }
            Settled::Again => self.again.push_front(job),
            Settled::Failed(failure) => self.failed(&job, &failure),
        }
    }

    fn failed(&self, job: &Download, failure: &Failure) {
        self.tally.failed(failure);
        self.context.report.event(Event::Failed { file: job.file, failure });
    }
}
