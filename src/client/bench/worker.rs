//! One client of a load test: its connection, its directory, its files, and the loop in which it does one operation after the
//! other. It waits for each answer before it goes on, as a person or a script does.

use super::body::{Body, Stuff};
use super::figures::Counter;
use super::operations;
use super::plan::{Operation, Plan};
use super::random::Random;
use super::shelf::{File, Shelf};
use super::turnstile::Turnstile;
use crate::client::failure::{Exit, Failure};
use crate::client::limits;
use crate::client::remote::{Parents, Remote};
use crate::client::report::Direction;
use crate::client::stop::Stop;
use crate::client::target::Target;
use crate::proto::RemotePath;
use std::time::{Duration, Instant};

/// What all clients share.
#[derive(Clone, Copy)]
pub struct Common<'a> {
    /// What is to be done.
    pub plan: &'a Plan,
    /// Whom to connect to.
    pub target: &'a Target,
    /// Ctrl+C.
    pub stop: &'a Stop,
    /// Where everything is counted.
    pub counter: &'a Counter,
    /// What the files are made of.
    pub stuff: &'a Stuff,
    /// Lets so many log in at once.
    pub turnstile: &'a Turnstile,
}

/// One client.
pub struct Worker<'a> {
    common: Common<'a>,
    number: usize,
    directory: RemotePath,
    random: Random,
    shelf: Shelf,
    session: Option<Remote>,
    /// Logins in a row that failed.
    locked_out: u32,
}

impl<'a> Worker<'a> {
    /// A client that works in `directory`, over `session` if it has one already.
    pub fn new(
        common: Common<'a>,
        number: usize,
        directory: RemotePath,
        random: Random,
        session: Option<Remote>,
    ) -> Self {
        let shelf = Shelf::new(common.plan.room());
        Worker { common, number, directory, random, shelf, session, locked_out: 0 }
    }

    /// Logs in, makes the directory, and puts the first files where some have to be there. Whether all of that went well; if
    /// not, it has been counted.
    pub fn prepare(&mut self) -> bool {
        if self.session.is_none() && !self.log_in() {
            return false;
        }
        if let Some(remote) = &mut self.session {
            remote.connection.set_grace(limits::BENCH_GRACE);
        }
        let directory = self.directory.clone();
        let made = self.remote().and_then(|remote| remote.mkdir(&directory, Parents::Existing));
        if !self.settle(Operation::Put, made) {
            return false;
        }
        while self.common.plan.needs_files() && self.shelf.len() < limits::BENCH_PREPARED && !self.shelf.is_full() {
            if self.common.stop.asked() {
                return false;
            }
            let result = self.put();
            if !self.settle(Operation::Put, result.map(drop)) {
                return false;
            }
        }
        self.common.counter.takes_part(self.number);
        !self.common.stop.asked()
    }

    /// Does operations until the plan is done or the user has had enough. `end` is when the time is up.
    pub fn run(&mut self, end: Option<Instant>) {
        let mut left = self.common.plan.files.unwrap_or(u64::MAX);
        let is_over = || end.is_some_and(|end| Instant::now() >= end);
        while left > 0 && !is_over() && !self.common.stop.asked() {
            if self.session.is_none() && !self.log_in_again(end) {
                return;
            }
            self.operate();
            left -= 1;
        }
    }

    /// The connection, if it still stands.
    pub fn into_session(self) -> Option<Remote> {
        self.session
    }

    /// One operation, counted.
    fn operate(&mut self) {
        let operation = match self.common.plan.mix.draw(&mut self.random) {
            // Uploads that failed may have left nothing to get.
            Operation::Get if self.shelf.is_empty() => Operation::Put,
            operation => operation,
        };
        let begun = Instant::now();
        let result = match operation {
            Operation::Put => self.put(),
            Operation::Get => self.get(),
            Operation::List => self.list(),
        };
        if let Ok(bytes) = result {
            self.common.counter.done(self.number, operation, bytes, begun.elapsed());
        }
        self.settle(operation, result.map(drop));
    }

    /// Counts a failure, and drops a connection that is of no more use. Whether there was none.
    fn settle(&mut self, operation: Operation, result: Result<(), Failure>) -> bool {
        if !self.session.as_ref().is_some_and(Remote::usable) {
            self.session = None;
        }
        match result {
            Ok(()) => true,
            // That is the user's wish, not the server's failure.
            Err(failure) if failure.exit == Exit::Interrupted => false,
            Err(failure) => {
                self.common.counter.failed(self.number, operation, &failure);
                false
            }
        }
    }

    /// Puts a file; its bytes.
    fn put(&mut self) -> Result<u64, Failure> {
        let body = Body { seed: self.random.number(), size: self.common.plan.sizes.draw(&mut self.random) };
        let number = self.shelf.reserve();
        let path = operations::path(&self.directory, number)?;
        let Common { stuff, counter, stop, .. } = self.common;
        let passed = |bytes| counter.passed(Direction::Put, bytes);
        let digest = operations::put(&mut self.remote()?.connection, &path, &body, stuff, stop, &passed)?;
        self.shelf.put(File { number, body, digest });
        Ok(body.size)
    }

    /// Gets any of the files; its bytes.
    fn get(&mut self) -> Result<u64, Failure> {
        let Some(file) = self.shelf.any(&mut self.random) else { return Ok(0) };
        let path = operations::path(&self.directory, file.number)?;
        let Common { counter, stop, .. } = self.common;
        let passed = |bytes| counter.passed(Direction::Get, bytes);
        operations::get(&mut self.remote()?.connection, &path, &file, stop, &passed)?;
        Ok(file.body.size)
    }

    /// Lists the directory.
    fn list(&mut self) -> Result<u64, Failure> {
        let Some(remote) = &mut self.session else { return Err(not_connected()) };
        operations::list(remote, &self.directory, &self.shelf).map(|()| 0)
    }

    fn remote(&mut self) -> Result<&mut Remote, Failure> {
        self.session.as_mut().ok_or_else(not_connected)
    }

    /// Connects and logs in. Whether that went well; if not, it has been counted.
    fn log_in(&mut self) -> bool {
        let common = self.common;
        let (result, took) = common.turnstile.pass(|| {
            let begun = Instant::now();
            (Remote::connect(common.target, common.stop), begun.elapsed())
        });
        match result {
            Ok(mut remote) => {
                remote.connection.set_grace(limits::BENCH_GRACE);
                common.counter.login(took);
                (self.session, self.locked_out) = (Some(remote), 0);
            }
            Err(failure) if failure.exit == Exit::Interrupted => {}
            Err(failure) => {
                common.counter.no_login(&failure);
                self.locked_out += 1;
            }
        }
        self.session.is_some()
    }

    /// Brings a lost connection back, with the waits that every command has between its attempts, within the time of the test.
    fn log_in_again(&mut self, end: Option<Instant>) -> bool {
        while self.locked_out <= self.common.target.retries {
            let waits = self.common.target.waits;
            let wait = waits.get(self.locked_out as usize).or(waits.last()).copied().unwrap_or(Duration::ZERO);
            let left = end.map_or(wait, |end| end.saturating_duration_since(Instant::now()));
            if self.common.stop.sleep(wait.min(left)).is_err() || left.is_zero() && end.is_some() {
                return false;
            }
            if self.log_in() {
                return true;
            }
        }
        false
    }
}

fn not_connected() -> Failure {
    Failure::passing(Exit::Connect, "not connected")
}
