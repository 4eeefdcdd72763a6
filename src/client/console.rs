//! Where a user sits: an output, a connection that comes and goes, and a place on the server where names begin.

use super::config::Settings;
use super::display::escape::escape;
use super::display::output::Output;
use super::display::progress::{Progress, Totals};
use super::display::summary::Summary;
use super::failure::{Exit, Failure};
use super::glob::{self, Name};
use super::limits;
use super::local;
use super::names;
use super::remote::{Recursion, Remote};
use super::retry::Context;
use super::stop::Stop;
use super::target::Target;
use crate::proto::{Code, EntryKind, RemotePath};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// A connection that was idle for longer may be gone: it is tried before it is used.
const TRIED_AFTER: Duration = Duration::from_secs(5);

/// Names of a directory that are kept for completion and patterns, at most.
const NAMES: usize = 100_000;

/// Who reads the words of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Arguments of the program: the user's own shell has expanded local patterns.
    CommandLine,
    /// A line of our shell: local patterns are ours to expand as well.
    Shell,
}

/// A name on the server.
#[derive(Debug, Clone)]
pub struct Named {
    /// As the user would write it.
    pub shown: OsString,
    /// What it means.
    pub path: RemotePath,
}

impl Named {
    /// As the user would write it, and as a sentence may hold it.
    pub fn escaped(&self) -> String {
        escape(self.shown.as_bytes())
    }
}

/// One user at one server.
pub struct Console {
    /// Where everything is printed.
    pub output: Output,
    /// The directory on the server where names begin.
    pub here: RemotePath,
    /// What the last transfer moved.
    pub moved: Option<(Totals, Duration)>,
    /// What all transfers moved.
    pub summary: Summary,
    /// Whether that is told at the end.
    pub tells_summary: bool,
    /// Nobody is asked anything, whether there is a terminal or not.
    pub unattended: bool,
    /// Where the password was found, if nobody typed it: what stands there is the old one once it is changed.
    pub password_from: Option<String>,
    /// Ctrl+C.
    pub stop: Stop,
    /// Whom to connect to.
    pub target: Target,
    /// The connection, if one stands.
    pub session: Option<Remote>,
    /// Who reads the words.
    pub place: Place,
    /// What holds for the options of a line.
    pub settings: Settings,
    used: Instant,
    listings: HashMap<RemotePath, Rc<Vec<Name>>>,
}

impl Console {
    /// A console that is not yet connected.
    pub fn new(output: Output, target: Target, stop: Stop, place: Place) -> Self {
        Console {
            output,
            here: RemotePath::root(),
            moved: None,
            summary: Summary::default(),
            tells_summary: false,
            unattended: false,
            password_from: None,
            stop,
            target,
            session: None,
            place,
            settings: Settings::default(),
            used: Instant::now(),
            listings: HashMap::new(),
        }
    }

    /// Makes ready for a next command: an old Ctrl+C is forgotten, so are old listings, and a connection that has died
    /// meanwhile is dropped, to be dialled again when it is needed.
    pub fn refresh(&mut self) {
        if !self.unattended {
            self.stop.forget();
        }
        self.listings.clear();
        self.moved = None;
        let idle = self.used.elapsed() > TRIED_AFTER;
        if let Some(remote) = &mut self.session {
            remote.forget_stop();
            if !remote.usable() || (idle && remote.ping().is_err()) {
                self.session = None;
            }
        }
        self.used = Instant::now();
    }

    /// Asks the server for something, over a new connection where the old one is lost.
    pub fn ask<T>(&mut self, mut work: impl FnMut(&mut Remote) -> Result<T, Failure>) -> Result<T, Failure> {
        self.ask_and_print(|remote, _| work(remote))
    }

    /// Like [`Console::ask`], for what prints while the answer comes.
    pub fn ask_and_print<T>(
        &mut self,
        mut work: impl FnMut(&mut Remote, &Output) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let report = Progress::new(&self.output, false);
        let met = AtomicBool::new(false);
        let context = Context::new(&self.target, &self.stop, &report, &met);
        let fresh = self.session.is_none();
        let result = context.with_retries(&mut self.session, |remote, _| work(remote, &self.output));
        if fresh && self.session.is_some() {
            self.output.detail(&format!("connected to {} as {}", self.target.address, self.target.user));
        }
        self.summary.connections += report.connections();
        self.used = Instant::now();
        result
    }

    /// Like [`Console::ask`], for what removes something: if the connection was lost and the thing is gone at the next
    /// attempt, it was this command that removed it.
    pub fn ask_to_remove(&mut self, mut work: impl FnMut(&mut Remote) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut attempts = 0;
        self.ask(|remote| {
            attempts += 1;
            match work(remote) {
                Err(failure) if attempts > 1 && failure.code == Some(Code::NotFound) => Ok(()),
                done => done,
            }
        })
    }

    /// Like [`Console::ask`], for what makes or moves something: if the connection was lost and the next attempt is refused,
    /// `is_done` looks whether the first one had been heard.
    pub fn ask_to_change(
        &mut self,
        mut work: impl FnMut(&mut Remote) -> Result<(), Failure>,
        mut is_done: impl FnMut(&mut Remote) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let mut attempts = 0;
        self.ask(|remote| {
            attempts += 1;
            match work(remote) {
                Err(failure) if attempts > 1 && !failure.retry && is_done(remote)? => Ok(()),
                done => done,
            }
        })
    }

    /// Logs out, if logged in.
    pub fn log_out(&mut self) {
        if let Some(remote) = self.session.take() {
            let _ = remote.logout(); // nothing stands behind this answer: what was acknowledged stays
        }
    }

    /// The thing on the server that has this very name, whatever letters are in it.
    pub fn named_exactly(&self, shown: OsString) -> Result<Named, Failure> {
        let path = names::remote_from_user(&shown, &self.here)?;
        Ok(Named { shown, path })
    }

    /// The end: logs out, and tells what was moved if that was asked for.
    pub fn finish(&mut self) {
        self.log_out();
        if self.tells_summary {
            // Nobody is left to tell that nobody is left to tell.
            let _ = self.summary.tell(&self.output, false).and_then(|()| self.output.flush());
        }
    }

    /// The one thing on the server that `word` means.
    pub fn named(&self, word: &OsStr) -> Result<Named, Failure> {
        let shown = OsString::from_vec(glob::literal(word.as_bytes()));
        let path = names::remote_from_user(&shown, &self.here)?;
        Ok(Named { shown, path })
    }

    /// All things on the server that `words` mean, patterns expanded. A pattern that matches nothing is an error.
    pub fn all_named(&mut self, words: &[OsString]) -> Result<Vec<Named>, Failure> {
        let mut all = Vec::with_capacity(words.len());
        for word in words {
            if !glob::is_wild(word.as_bytes()) {
                all.push(self.named(word)?);
                continue;
            }
            let found =
                glob::expand(word.as_bytes(), |directory| self.names_in(directory).map(|names| names.to_vec()))?;
            if found.is_empty() {
                return Err(nothing_matches(word, Exit::NotFound));
            }
            for name in found {
                let shown = OsString::from_vec(name);
                let path = names::remote_from_user(&shown, &self.here)?;
                all.push(Named { shown, path });
            }
        }
        Ok(all)
    }

    /// Whether it is a directory. What cannot be found is none: the request that follows will say what is wrong.
    pub fn is_directory(&mut self, name: &Named) -> Result<bool, Failure> {
        match self.ask(|remote| remote.stat(&name.path)) {
            Ok(stat) => Ok(stat.kind == EntryKind::Dir),
            Err(failure) if failure.code.is_some() && !failure.retry => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// The names in a directory of the server, written as the user writes it (`""` for where one stands); remembered until
    /// the next command.
    pub fn names_in(&mut self, directory: &[u8]) -> Result<Rc<Vec<Name>>, Failure> {
        let path = names::remote_from_user(OsStr::from_bytes(directory), &self.here)?;
        if let Some(known) = self.listings.get(&path) {
            return Ok(known.clone());
        }
        let names = self.ask(|remote| {
            let mut names: Vec<Name> = Vec::new();
            remote.list(&path, Recursion::Flat, &mut |entry| {
                if names.len() >= NAMES {
                    let text = format!("a directory of more than {NAMES} entries is too large for a pattern");
                    return Err(Failure::new(Exit::Other, text));
                }
                names.push((entry.path.as_bytes().to_vec(), entry.kind == EntryKind::Dir));
                Ok(())
            })?;
            Ok(names)
        })?;
        let names = Rc::new(names);
        self.listings.insert(path, names.clone());
        Ok(names)
    }

    /// Like [`Console::names_in`], for completion: one attempt, a short one, and silence if it fails.
    pub fn names_if_at_hand(&mut self, directory: &[u8]) -> Vec<Name> {
        let (patient, short) = (self.target.clone(), limits::COMPLETION);
        self.target.retries = 0;
        (self.target.connect, self.target.silence) = (patient.connect.min(short), patient.silence.min(short));
        if let Some(remote) = &mut self.session {
            remote.set_patience(self.target.silence, Some(Instant::now() + short));
        }
        let names = self.names_in(directory).map(|names| names.to_vec()).unwrap_or_default();
        self.target = patient;
        if let Some(remote) = &mut self.session {
            remote.set_patience(self.target.silence, None);
        }
        names
    }

    /// The one local name that `word` means.
    pub fn local(&self, word: &OsStr) -> OsString {
        match self.place {
            Place::CommandLine => word.to_owned(),
            Place::Shell => OsString::from_vec(glob::literal(word.as_bytes())),
        }
    }

    /// All local names that `words` mean; in the shell patterns are expanded.
    pub fn all_local(&self, words: &[OsString]) -> Result<Vec<OsString>, Failure> {
        let mut all = Vec::with_capacity(words.len());
        for word in words {
            if self.place == Place::CommandLine || !glob::is_wild(word.as_bytes()) {
                all.push(self.local(word));
                continue;
            }
            let found = glob::expand(word.as_bytes(), local::names_in)?;
            if found.is_empty() {
                return Err(nothing_matches(word, Exit::Local));
            }
            all.extend(found.into_iter().map(OsString::from_vec));
        }
        Ok(all)
    }
}

fn nothing_matches(pattern: &OsStr, exit: Exit) -> Failure {
    Failure::new(exit, format!("{}: nothing matches", escape(pattern.as_bytes())))
}
