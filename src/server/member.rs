//! A user who is logged in: the conversation, the tree, and the uploads that wait to be committed together.
//!
//! Answers go out in the order of the requests. While uploads are on their way to the disk, nothing that follows them is said; and
//! before the session waits for its client, all of them have arrived there.

use super::action::{Action, Outcome};
use super::control::Control;
use super::rate::{Bucket, Direction};
use super::record::Log;
use super::scoreboard::{Figure, State, Tally};
use super::talk::Talk;
use super::words::Mouth;
use crate::auth::Limits;
use crate::net::wire::Filled;
use crate::net::{Cut, Pace, Until};
use crate::proto::line::BadLine;
use crate::proto::{Access, Answer, Code, Fields, Verb, limits};
use crate::store::pipeline::{Change, Pipeline};
use crate::store::stage::{Complete, Staged};
use crate::store::{Pulse, Tree, Trouble};
use crate::sys::{heap, stack};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A session after login.
pub struct Member {
    /// The conversation.
    pub talk: Talk,
    /// The user's tree.
    pub tree: Tree,
    /// Where log records go.
    pub log: Log,
    /// This session's figures.
    pub tally: Tally,
    /// A body that follows belongs to a refused upload.
    pub discarding: bool,
    /// The audit must have what was done, and did not take it: nothing is acknowledged any more.
    pub unheard: bool,
    /// What the account may do.
    pub access: Access,
    /// Where the listener hears that the user asks for another password; `None` for an account that may not.
    pub mouth: Option<Mouth>,
    /// How often it has been asked for here.
    pub passwords: u8,
    /// What is said here can be read on the way: plain text from another machine.
    pub exposed: bool,
    /// The seat that this session takes among those of its user.
    control: Option<Control>,
    up: Option<Bucket>,
    down: Option<Bucket>,
    idle: Duration,
    /// How the body in hand comes in.
    pace: Pace,
    /// A request that was read where a body was due.
    put_back: Option<String>,
    pipeline: Pipeline<Pending>,
    /// READY of the upload in hand, kept back while earlier uploads wait.
    ready: Option<Answer>,
    buffer: Vec<u8>,
}

/// A request whose work is on its way to the disk.
struct Pending {
    /// What has not been said yet of an upload.
    ready: Option<Answer>,
    /// What it is in the log and in the audit.
    action: Action,
    began: Instant,
    /// What will be said if all goes well.
    fields: Fields,
}

impl Member {
    /// A member of the house.
    pub fn new(talk: Talk, tree: Tree, log: Log, tally: Tally, idle: Duration) -> Self {
        Member {
            talk,
            tree,
            log,
            tally,
            access: Access::Full,
            mouth: None,
            passwords: 0,
            exposed: false,
            control: None,
            up: None,
            down: None,
            idle,
            pace: Pace::default(),
            discarding: false,
            unheard: false,
            put_back: None,
            pipeline: Pipeline::default(),
            ready: None,
            buffer: Vec::new(),
        }
    }

    /// Holds the member to the user's limits.
    pub fn limit(&mut self, limits: &Limits, control: Option<Control>) {
        self.access = limits.access;
        let shared = || control.as_ref().map(Control::file);
        let bucket = |rate: Option<u64>, direction| Some(Bucket::new(rate?, direction, shared()?));
        self.up = bucket(limits.rate_up, Direction::Up);
        self.down = bucket(limits.rate_down, Direction::Down);
        self.control = control;
    }

    /// Leaves the user's seat to another session, before the goodbye: a client that logs out and comes again finds it free.
    pub fn leave_seat(&mut self) {
        (self.control, self.up, self.down) = (None, None, None);
    }

    /// How many of `count` bytes of a body may go to the client in one piece.
    pub fn grant_down(&self, count: usize) -> usize {
        self.down.as_ref().map_or(count, |bucket| bucket.grant(count))
    }

    /// Waits until `count` more bytes of bodies may go to the client.
    pub fn pace_down(&mut self, count: usize) -> Result<(), Cut> {
        let Some(mut bucket) = self.down.take() else { return Ok(()) };
        let paced = bucket.take(count, |span| self.rest(span));
        self.down = Some(bucket);
        paced
    }

    /// Waits until the `count` bytes of bodies that have come may have come.
    fn pace_up(&mut self, count: usize) -> Result<(), Cut> {
        let Some(mut bucket) = self.up.take() else { return Ok(()) };
        let paced = bucket.take(count, |span| self.rest(span));
        self.up = Some(bucket);
        paced
    }

    /// Sleeps, after everything owed has been paid, and says now and then that work goes on.
    fn rest(&mut self, span: Duration) -> Result<(), Cut> {
        self.settle()?;
        self.talk.flush()?;
        if !self.talk.beat() {
            return Err(self.talk.interruption());
        }
        self.talk.wire.waiter.sleep(span)
    }

    /// The next request; `None` after a line that was answered with an error.
    pub fn next_request(&mut self) -> Result<Option<String>, Cut> {
        if self.talk.wire.waiter.stop_requested() {
            return Err(Cut::Stopping); // a client that never pauses must not keep the session from ending
        }
        if let Some(line) = self.put_back.take() {
            return Ok(Some(line));
        }
        let until = Until::idle(Instant::now() + self.idle);
        match self.next_line(|member| member.wait(until)) {
            Err(Cut::Line(why @ (BadLine::NotUtf8 | BadLine::Control))) => {
                self.refuse(Code::BadRequest, &why.to_string())?;
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// The next line of a body: the place between two pieces where a session that must end breaks off.
    pub fn body_line(&mut self) -> Result<String, Cut> {
        if self.talk.wire.waiter.must_stop() {
            return Err(Cut::Stopping);
        }
        self.next_line(Member::wait_for_body)
    }

    /// The client says that it is there and not ready to go on with its body.
    pub fn excused(&mut self) {
        self.pace.excused(self.idle);
    }

    /// Keeps a line that is not what was due, to be carried out next.
    pub fn put_back(&mut self, line: String) {
        self.put_back = Some(line);
    }

    fn next_line(&mut self, wait: impl Fn(&mut Member) -> Result<(), Cut>) -> Result<String, Cut> {
        loop {
            if let Some(line) = self.talk.wire.buffered_line()? {
                return Ok(line);
            }
            if self.talk.wire.fill()? == Filled::Nothing {
                wait(self)?;
            }
        }
    }

    /// Waits for input, after everything owed has been paid. Returns early where paying took time: more may have come. Who is quiet for
    /// a moment may be so for an hour: what the last transfer took of memory is given back.
    fn wait(&mut self, until: Until) -> Result<(), Cut> {
        if self.pay()? {
            return Ok(());
        }
        self.tally.state(State::Idle);
        match self.talk.wire.wait_readable(until.no_longer_than(limits::QUIET)) {
            Err(Cut::TimedOut) if !until.is_over() => {}
            other => return other,
        }
        self.talk.wire.rest();
        self.buffer = Vec::new();
        heap::trim();
        stack::wipe();
        self.talk.wire.wait_readable(until)
    }

    /// The same within a body: as long as it moves.
    fn wait_for_body(&mut self) -> Result<(), Cut> {
        let left = self.pace.left();
        if left.is_zero() {
            return Err(Cut::TimedOut); // also where one more byte has just come
        }
        if self.pay()? {
            return Ok(());
        }
        let began = Instant::now();
        let result = self.talk.wire.wait_readable(Until::within(left));
        self.pace.waited(began.elapsed());
        result
    }

    /// Pays some of what is owed, and says so; whether that took time.
    fn pay(&mut self) -> Result<bool, Cut> {
        self.tree.forget_parents();
        let owing = !self.pipeline.is_empty();
        if owing {
            self.tally.settles(true);
            let stepped = self.step();
            self.tally.settles(false);
            stepped?;
        }
        self.talk.flush()?;
        Ok(owing)
    }

    /// Hands `count` bytes of a body to `take`, piece by piece as they arrive.
    pub fn receive(
        &mut self,
        count: usize,
        mut take: impl FnMut(&mut Member, &[u8]) -> Result<(), Trouble>,
    ) -> Result<Result<(), Trouble>, Cut> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(limits::BUFFER, 0);
        let mut left = count;
        let mut result = Ok(Ok(()));
        while left > 0 {
            let want = self.up.as_ref().map_or(left, |bucket| bucket.grant(left)).min(buffer.len());
            match self.talk.wire.read_some(&mut buffer[..want]) {
                Ok(Some(n)) => {
                    left -= n;
                    self.pace.moved(n);
                    if let Ok(Ok(())) = result {
                        result = Ok(take(self, &buffer[..n])); // after a failure the rest is only counted
                    }
                    if let Err(cut) = self.pace_up(n) {
                        result = Err(cut);
                        break;
                    }
                }
                Ok(None) => {
                    if let Err(cut) = self.wait_for_body() {
                        result = Err(cut);
                        break;
                    }
                }
                Err(cut) => {
                    result = Err(cut);
                    break;
                }
            }
        }
        self.buffer = buffer;
        result
    }

    /// Throws `count` bytes of a body away.
    pub fn skip(&mut self, count: usize) -> Result<(), Cut> {
        self.pace = Pace::default();
        self.receive(count, |_, _| Ok(())).map(drop)
    }

    /// Answers, after the answers that came before.
    pub fn answer(&mut self, answer: Answer) -> Result<(), Cut> {
        self.settle()?;
        self.talk.say(answer)
    }

    /// Answers `ERR`.
    pub fn refuse(&mut self, code: Code, text: &str) -> Result<(), Cut> {
        self.answer(Answer::Err(code, text.into()))
    }

    /// Says READY for an upload: at once, or after the uploads that wait.
    pub fn ready(&mut self, fields: Fields) -> Result<(), Cut> {
        let ready = Answer::Ready(fields);
        self.pace = Pace::default();
        if self.pipeline.is_empty() {
            return self.talk.say(ready);
        }
        self.ready = Some(ready);
        Ok(())
    }

    /// Whether an upload is on its way to the disk that has no name yet.
    pub fn has_nameless(&self) -> bool {
        self.pipeline.has_nameless()
    }

    /// Sends a whole upload on its way to the disk.
    pub fn enlist(&mut self, mut action: Action, complete: Complete, began: Instant) -> Result<(), Cut> {
        let fields = Fields::new().with("size", complete.size).with("sha256", complete.digest);
        (action.size, action.digest) = (Some(complete.size), Some(complete.digest));
        let pending = Pending { ready: self.ready.take(), action, began, fields };
        self.push(pending, Change::File(complete))
    }

    /// Sends a new directory on its way to the disk: the directories in which names are new.
    pub fn enlist_dir(&mut self, action: Action, dirs: Vec<Arc<OwnedFd>>, began: Instant) -> Result<(), Cut> {
        let pending = Pending { ready: None, action, began, fields: Fields::words("created") };
        self.push(pending, Change::Dirs(dirs))
    }

    fn push(&mut self, pending: Pending, change: Change) -> Result<(), Cut> {
        self.work_begins();
        self.pipeline.add(pending, change);
        let settled = self.pipeline.push(&mut self.tree, &mut self.talk);
        self.answer_all(settled)
    }

    /// Marks the beginning of work that the client waits for, unless it waits already.
    pub fn work_begins(&mut self) {
        if self.pipeline.is_empty() {
            self.talk.work_begins();
        }
    }

    /// Waits until all that is on its way has arrived, and answers it, in order. Where nobody hears the answers any more it arrives all
    /// the same.
    pub fn settle(&mut self) -> Result<(), Cut> {
        let mut said = Ok(());
        let owing = !self.pipeline.is_empty();
        if owing {
            self.tally.settles(true);
        }
        while !self.pipeline.is_empty() {
            let answered = self.step();
            // What is durable does not wait for another flush.
            if said.is_ok() && matches!(answered, Ok(true)) && !self.pipeline.is_empty() {
                said = self.talk.flush();
            }
            said = said.and(answered.map(drop));
        }
        if owing {
            self.tally.settles(false);
        }
        self.tree.forget_parents();
        said
    }

    /// Has what is on its way go on beside a long body, as far as that costs no waiting.
    pub fn go_on(&mut self) -> Result<(), Cut> {
        if self.pipeline.is_empty() {
            return Ok(());
        }
        if self.pipeline.take_off(&mut self.tree) {
            self.step()?;
            self.talk.flush()?;
        }
        if self.talk.beat() { Ok(()) } else { Err(self.talk.interruption()) }
    }

    /// Whether anything is on its way to the disk.
    pub fn is_owing(&self) -> bool {
        !self.pipeline.is_empty()
    }

    /// Leaves an unfinished upload to be resumed. What is on its way goes first: an earlier upload to the same path, once it has its name,
    /// takes away what attempts before it have left.
    pub fn keep(&mut self, staged: Staged) -> Result<(), Cut> {
        let settled = self.settle();
        self.tree.keep(staged, &mut self.talk);
        settled
    }

    /// Waits for one flush, and answers what has arrived; whether anything has.
    fn step(&mut self) -> Result<bool, Cut> {
        let settled = self.pipeline.step(&mut self.tree, &mut self.talk);
        let any = !settled.is_empty();
        self.answer_all(settled).map(|()| any)
    }

    /// All are noted in the log, also where nobody hears the answers any more.
    fn answer_all(&mut self, settled: Vec<(Pending, Result<(), Trouble>)>) -> Result<(), Cut> {
        let mut said = Ok(());
        for (pending, result) in settled {
            said = said.and(self.answer_one(pending, result));
        }
        match self.ready.take() {
            Some(ready) if self.pipeline.is_empty() => said.and_then(|()| self.talk.say(ready)),
            later => {
                self.ready = later;
                said
            }
        }
    }

    fn answer_one(&mut self, pending: Pending, result: Result<(), Trouble>) -> Result<(), Cut> {
        let Pending { ready, mut action, began, fields } = pending;
        // Where an answer has been left out, any line that follows would be taken for it.
        let said = ready.filter(|_| !self.unheard).map_or(Ok(()), |ready| self.talk.say(ready));
        let answer = match result {
            Ok(()) => Answer::Ok(fields),
            Err(trouble) => Answer::Err(trouble.code(), trouble.to_string()),
        };
        action.end_with(&answer);
        if let (Some(Verb::Upload), Outcome::Ok, Some(size)) = (action.verb, action.outcome, action.size) {
            self.tally.add(Figure::FilesIn, 1);
            self.tally.add(Figure::BytesIn, size);
        }
        let noted = self.note(action, began);
        said.and(noted).and_then(|()| self.talk.say(answer))
    }

    /// Tells the log and the audit of a request that has ended, before its client is told. Where the audit must have it and does not take
    /// it, the session is over.
    pub fn note(&mut self, mut action: Action, began: Instant) -> Result<(), Cut> {
        action.took = began.elapsed();
        if !self.unheard && self.log.action(action, &mut self.talk) {
            return Ok(());
        }
        self.unheard = true;
        if !self.talk.beat() {
            return Err(self.talk.interruption());
        }
        Err(Cut::Io(io::Error::other("the audit does not take what was done")))
    }
}
