//! Many uploads over one connection: small files one behind the other without waiting, big ones one by one.

use super::queue::Queue;
use super::rules::TAKEN;
use super::source::{Links, Source, Stdin};
use super::tally::Tally;
use super::upload::{Input, Surroundings, Upload, stored_wrongly};
use crate::client::connection::Connection;
use crate::client::failure::Failure;
use crate::client::limits;
use crate::client::names::not_made;
use crate::client::remote::Remote;
use crate::client::report::{Direction, Event, Report};
use crate::client::retry::{Context, Retry};
use crate::proto::{Answer, Code, Digest, Mtime, RemotePath};
use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Instant;

/// What is to be made on the server.
#[derive(Debug)]
pub enum What {
    /// A directory; one that exists is fine.
    Dir,
    /// A file with these bytes.
    File {
        /// The local file.
        path: PathBuf,
        /// Its size when it was found.
        size: u64,
        /// Its time when it was found.
        mtime: Mtime,
        /// Whether links may lead to it.
        links: Links,
    },
    /// A file with the bytes of standard input.
    Stdin,
}

/// One thing to send.
#[derive(Debug)]
pub struct Job {
    /// Its number in reports.
    pub file: u64,
    /// Its name on the server.
    pub remote: RemotePath,
    /// What it is.
    pub what: What,
    /// When it was begun, so that a repetition is not announced again.
    pub began: Option<Instant>,
    /// Whether it goes only where its name is free.
    pub new: bool,
    /// Whether it is sent once more because the server received other bytes.
    pub repeated: bool,
    /// Bytes sent over a connection that was then lost for good, and how far they reached.
    gone: (u64, u64),
}

impl Job {
    /// A job that has not begun.
    pub fn new(file: u64, remote: RemotePath, what: What) -> Self {
        Job { file, remote, what, began: None, new: false, repeated: false, gone: (0, 0) }
    }

    /// The step that it is, as it is told.
    pub fn tell(&self, report: &dyn Report) {
        let (remote, name) = (self.remote.as_bytes(), name(self));
        report.event(match self.what {
            What::Dir => Event::Step { verb: "mkdir", name: remote, to: None, bytes: None },
            What::File { size, .. } => Event::Step { verb: "put", name: &name, to: Some(remote), bytes: Some(size) },
            What::Stdin => Event::Step { verb: "put", name: &name, to: Some(remote), bytes: None },
        });
    }

    /// What UPLOAD says besides, for one that goes only where its name is free.
    pub fn flag(&self) -> &'static str {
        if self.new { " new" } else { "" }
    }

    /// Bytes that are still to go.
    pub fn left(&self) -> u64 {
        match self.what {
            What::File { size, .. } => size.saturating_sub(self.gone.1),
            What::Dir | What::Stdin => 0,
        }
    }
}

/// A job whose answer is still to come.
struct Sent {
    job: Job,
    /// Size and digest of a file; `None` for a directory.
    content: Option<(u64, Digest)>,
    /// Whether READY has come.
    ready: bool,
}

/// How much may be on its way unanswered. Over a link that breaks before the first answer comes, less is sent each time, down
/// to one file, so that in the end something gets through.
struct Window {
    files: usize,
    /// Whether anything was answered over this connection.
    heard: bool,
}

impl Window {
    const FULL: Window = Window { files: limits::UPLOADS_AHEAD, heard: true };

    /// A connection begins. An eighth each time: the usual five retries reach one file.
    fn begin(&mut self) {
        if !self.heard {
            self.files = (self.files / 8).max(1);
        }
        self.heard = false;
    }

    /// Something was stored.
    fn acknowledged(&mut self) {
        self.heard = true;
        self.files = (self.files + 1).min(limits::UPLOADS_AHEAD);
    }

    fn bytes(&self) -> u64 {
        limits::BYTES_AHEAD / limits::UPLOADS_AHEAD as u64 * self.files as u64
    }
}

/// Sends jobs from a queue over one connection after another.
pub struct Sender<'a> {
    context: Context<'a>,
    queue: &'a Queue<Job>,
    tally: &'a Tally,
    /// Jobs whose fate a lost connection left unknown; they go first. Storing the same content again is harmless.
    again: VecDeque<Job>,
    sent: VecDeque<Sent>,
    ahead: u64,
    window: Window,
    /// A big upload under way.
    big: Option<(Upload, Job)>,
}

impl<'a> Sender<'a> {
    /// A sender with nothing in hand.
    pub fn new(context: Context<'a>, queue: &'a Queue<Job>, tally: &'a Tally) -> Self {
        let (again, sent) = (VecDeque::new(), VecDeque::new());
        Sender { context, queue, tally, again, sent, ahead: 0, window: Window::FULL, big: None }
    }

    /// Sends until the queue is empty. What it could not send because its connection is gone for good goes back.
    pub fn run(mut self, session: &mut Option<Remote>) -> Result<(), Failure> {
        let context = self.context;
        let result = context.with_retries(session, |remote, retry| self.work(&mut remote.connection, retry));
        self.recall();
        if let Some((upload, mut job)) = self.big.take() {
            job.gone = (upload.moved, upload.reached);
            self.again.push_front(job);
        }
        self.queue.give_back(self.again.drain(..));
        result
    }

    fn work(&mut self, connection: &mut Connection, retry: &mut Retry) -> Result<(), Failure> {
        self.recall();
        self.window.begin();
        self.finish_big(connection, retry)?;
        while let Some(job) = self.again.pop_front().or_else(|| self.queue.take()) {
            if let Err(failure) = self.context.stop.check() {
                return self.put_back(job, failure);
            }
            match &job.what {
                What::Dir => self.send_dir(connection, job),
                What::File { size, .. } if *size < limits::SMALL => self.send_small(connection, job)?,
                _ => self.send_big(connection, retry, job)?,
            }
            connection.gather()?;
            if self.sent.len() >= self.window.files || self.ahead >= self.window.bytes() {
                // Half the window is answered before more is sent, so that the server flushes many at once.
                self.settle(connection, retry, self.window.files / 2)?;
            }
            if self.queue_is_done() {
                self.settle(connection, retry, 0)?;
            }
        }
        self.settle(connection, retry, 0)
    }

    /// Whether nothing more is to be sent for now; answers may still bring a repetition.
    fn queue_is_done(&self) -> bool {
        self.again.is_empty() && self.queue.is_empty()
    }

    /// What was sent and not answered is to be sent again, in the old order.
    fn recall(&mut self) {
        self.ahead = 0;
        while let Some(sent) = self.sent.pop_back() {
            self.again.push_front(sent.job);
        }
    }

    /// Ends the work with a job in hand, which must not be forgotten over that.
    fn put_back(&mut self, job: Job, failure: Failure) -> Result<(), Failure> {
        self.again.push_front(job);
        Err(failure)
    }

    fn send_dir(&mut self, connection: &mut Connection, mut job: Job) {
        if job.began.is_none() {
            job.began = Some(Instant::now());
            job.tell(self.context.report);
        }
        connection.queue(format_args!("MKDIR {} parents", job.remote));
        self.sent.push_back(Sent { job, content: None, ready: false });
    }

    /// Sends a whole small file without waiting for anything.
    fn send_small(&mut self, connection: &mut Connection, mut job: Job) -> Result<(), Failure> {
        let What::File { path, links, .. } = &job.what else { return Ok(()) };
        let (source, content) = match read_small(path, links) {
            Ok(read) => read,
            Err(failure) => {
                self.announce(&mut job, None);
                self.failed(&job, &failure);
                return Ok(());
            }
        };
        let size = content.len() as u64;
        self.announce(&mut job, Some(size));
        let digest = Digest(Sha256::digest(&content).into());
        connection.queue(format_args!("UPLOAD {} size={size} mtime={}{}", job.remote, source.mtime(), job.flag()));
        let queued = connection.queue_body(&content).map(|()| connection.queue_end(digest, &job.remote));
        // Whether or not the connection has outlived the body: what is on its way is tried again.
        self.ahead += size;
        self.sent.push_back(Sent { job, content: Some((size, digest)), ready: false });
        queued
    }

    /// Sends a big file, or standard input, once nothing else is on its way.
    fn send_big(&mut self, connection: &mut Connection, retry: &mut Retry, job: Job) -> Result<(), Failure> {
        if let Err(failure) = self.settle(connection, retry, 0) {
            return self.put_back(job, failure);
        }
        self.begin_big(job);
        self.finish_big(connection, retry)
    }

    /// Reads answers until at most `left` are due, and their bytes are no more than half of what may be on the way.
    fn settle(&mut self, connection: &mut Connection, retry: &mut Retry, left: usize) -> Result<(), Failure> {
        while self.sent.len() > left || (left > 0 && self.ahead > self.window.bytes() / 2) {
            let answer = connection.answer()?;
            self.take_answer(connection, retry, answer)?;
        }
        Ok(())
    }

    fn take_answer(&mut self, connection: &mut Connection, retry: &mut Retry, answer: Answer) -> Result<(), Failure> {
        let Some(mut sent) = self.sent.pop_front() else { return Err(connection.unexpected(&answer)) };
        match (&sent.content, answer) {
            (Some(_), Answer::Ready(fields)) if !sent.ready => {
                // The whole file was sent after the request: no other beginning makes sense.
                if fields.number("offset").map_err(|why| connection.broken(why))? != 0 {
                    return Err(connection.broken("the server resumes an upload that was not to be resumed"));
                }
                sent.ready = true;
                self.sent.push_front(sent);
                return Ok(());
            }
            (None, Answer::Ok(_)) => {}
            (Some((size, ours)), Answer::Ok(fields)) if sent.ready => {
                if fields.value("sha256") == Ok(*ours) {
                    self.context.report.event(Event::Advanced { file: sent.job.file, bytes: *size });
                    self.finished(&sent.job, *size, *size, *ours);
                } else {
                    self.failed(&sent.job, &stored_wrongly(&sent.job.remote));
                }
            }
            (_, Answer::Err(code, text)) => {
                let failure = connection.refused(sent.job.remote.as_bytes(), code, &text);
                if !connection.usable() {
                    self.sent.push_front(sent);
                    return Err(failure);
                }
                self.ahead = self.ahead.saturating_sub(sent.content.map_or(0, |(size, _)| size));
                if code == Code::ChecksumMismatch && !sent.job.repeated {
                    sent.job.repeated = true;
                    self.again.push_back(sent.job);
                } else {
                    self.refused(&sent.job, &failure);
                }
                return Ok(());
            }
            (_, other) => {
                self.sent.push_front(sent);
                return Err(connection.unexpected(&other));
            }
        }
        self.ahead = self.ahead.saturating_sub(sent.content.map_or(0, |(size, _)| size));
        self.window.acknowledged();
        retry.progress();
        Ok(())
    }

    fn begin_big(&mut self, mut job: Job) {
        let input = match &job.what {
            What::File { path, links, .. } => Source::open(path, links).map(Input::File),
            _ => Stdin::new().map(Input::Stdin),
        };
        let size = match &input {
            Ok(Input::File(source)) => Some(source.size()),
            _ => None,
        };
        self.announce(&mut job, size);
        match input {
            Ok(input) => {
                let mut upload = Upload::new(job.file, job.remote.clone(), input);
                (upload.moved, upload.flag) = (job.gone.0, job.flag());
                self.big = Some((upload, job));
            }
            Err(failure) => self.failed(&job, &failure),
        }
    }

    fn finish_big(&mut self, connection: &mut Connection, retry: &mut Retry) -> Result<(), Failure> {
        let Some((upload, _)) = &mut self.big else { return Ok(()) };
        let around = Surroundings { stop: self.context.stop, report: self.context.report };
        let settled = upload.attempt(connection, retry, &around)?;
        let moved = upload.moved;
        let Some((_, job)) = self.big.take() else { return Ok(()) };
        match settled {
            Ok((bytes, digest)) => {
                self.finished(&job, bytes, moved, digest);
                self.window.acknowledged();
                retry.progress();
            }
            Err(failure) => self.refused(&job, &failure),
        }
        Ok(())
    }

    fn announce(&self, job: &mut Job, size: Option<u64>) {
        if job.began.is_none() {
            job.began = Some(Instant::now());
            let (file, name) = (job.file, name(job));
            job.tell(self.context.report);
            self.context.report.event(Event::Started { file, direction: Direction::Put, name: &name, size });
        }
    }

    fn finished(&self, job: &Job, bytes: u64, moved: u64, digest: Digest) {
        let took = job.began.map_or_else(Default::default, |began| began.elapsed());
        self.tally.finished(bytes, moved);
        self.context.report.event(Event::Finished { file: job.file, bytes, moved, digest, took });
    }

    /// What the server does not take. That the name is taken is no failure where that was asked for.
    fn refused(&self, job: &Job, failure: &Failure) {
        if !(job.new && failure.code == Some(Code::Exists)) {
            return self.failed(job, &not_made(&job.remote, failure.clone()));
        }
        self.tally.kept();
        self.context.report.event(Event::Kept { file: Some(job.file), name: &name(job), why: TAKEN });
    }

    fn failed(&self, job: &Job, failure: &Failure) {
        self.tally.failed(failure);
        self.context.report.event(Event::Failed { file: job.file, failure });
    }
}

/// Reads a file that was small when it was found. One that is being written to is read once more before it counts as changed.
fn read_small(path: &std::path::Path, links: &Links) -> Result<(Source, Vec<u8>), Failure> {
    let once = || {
        let mut source = Source::open(path, links)?;
        // One byte more than there should be, to see a file that grew.
        let room = usize::try_from(source.size().min(limits::SMALL)).unwrap_or(0) + 1;
        let mut content = vec![0; room];
        let n = source.read(&mut content)?;
        content.truncate(n);
        if n as u64 != source.size() {
            return Err(source.changed());
        }
        source.check_unchanged()?;
        Ok((source, content))
    };
    once().or_else(|_| once())
}

/// The name of a job as a report shows it.
pub fn name(job: &Job) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    match &job.what {
        What::File { path, .. } => path.as_os_str().as_bytes().to_vec(),
        What::Stdin => b"-".to_vec(),
        What::Dir => job.remote.as_bytes().to_vec(),
    }
}
