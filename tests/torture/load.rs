//! The load: workers that upload, replace, rename, delete and read in directories of their own, and keep journals of what was
//! acknowledged.

use super::common::raw::upload_bytes;
use super::journal::{Effect, Journal, State, content};
use super::run::Chance;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A connection that somebody else can cut.
pub type Line = Arc<Mutex<Option<TcpStream>>>;

/// A worker, the only one that changes anything below its directory.
pub struct Worker {
    /// Whom it logs in as.
    pub user: String,
    /// Its directory in the user's.
    pub dir: String,
    /// What may lie there.
    pub journal: Journal,
    /// What it does next.
    pub chance: Chance,
    /// Requests that were answered OK.
    pub acknowledged: u64,
    /// The same, as an audit tells them: the verb, the path, and of an upload the digest.
    pub told: Vec<(&'static str, String, String)>,
    /// How many that are, to be looked at while it works.
    pub progress: Arc<AtomicU64>,
    /// What was refused, as it was told, and how often.
    pub refusals: BTreeMap<String, u64>,
    /// What the server said that was not so.
    pub lies: Vec<String>,
    /// The connection of the moment, once it is logged in.
    pub line: Line,
    /// Requests of which another may be refused are not sent behind it: where the disk is in trouble, any may be.
    pub careful: bool,
    /// It hung up by itself, since it heard that something was done in part, or uncertain.
    pub in_doubt: bool,
}

/// A request on its way, and what its answer says.
struct Asked {
    verb: &'static str,
    path: String,
    bytes: Vec<u8>,
    answer: Answer,
}

enum Answer {
    /// READY, then an OK with this digest.
    Upload(u64),
    /// One line.
    Done,
    /// The same, and a refusal does not say how far it came.
    Parts,
}

/// Names of files that a worker uses: few, so that most uploads replace something.
const NAMES: [&str; 8] = ["a", "b", "c", "d", "x/a", "x/b", "y/a", "y/b"];

impl Worker {
    /// A worker of this number, of the user `user{number % users}`.
    pub fn new(number: u64, users: u64, chance: Chance) -> Self {
        let (user, dir) = (format!("user{}", number % users), format!("w{number}"));
        Worker {
            user,
            dir,
            journal: Journal::new(number),
            chance,
            acknowledged: 0,
            told: Vec::new(),
            progress: Arc::default(),
            refusals: BTreeMap::new(),
            lies: Vec::new(),
            line: Line::default(),
            careful: false,
            in_doubt: false,
        }
    }

    /// Works until told to stop, or until the connection ends; what was not answered stays open in the journal.
    pub fn work(&mut self, address: &str, stop: &AtomicBool) {
        if let Ok(stream) = TcpStream::connect(address) {
            self.work_over(stream, stop);
        }
    }

    /// The same over this connection.
    pub fn work_over(&mut self, stream: TcpStream, stop: &AtomicBool) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
        let _ = stream.set_write_timeout(Some(Duration::from_secs(30)));
        let mut wire = BufReader::new(stream);
        if self.log_in(&mut wire).is_none() {
            return;
        }
        *self.line.lock().unwrap() = wire.get_ref().try_clone().ok();
        self.go_on(&mut wire, stop);
        *self.line.lock().unwrap() = None; // it would keep the connection open
    }

    fn go_on(&mut self, wire: &mut BufReader<TcpStream>, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let done = if self.chance.one_in(4) { self.read(wire) } else { self.change(wire) };
            if done.is_none() {
                return;
            }
        }
        let _ = wire.get_mut().write_all(b"LOGOUT\n");
        let _ = line(wire);
    }

    /// Uploads something under each of its names, so that nothing is left to be resumed; whether all of it was acknowledged.
    pub fn fill(&mut self, address: &str) -> bool {
        let Ok(stream) = TcpStream::connect(address) else { return false };
        let mut wire = BufReader::new(stream);
        if self.log_in(&mut wire).is_none() {
            return false;
        }
        let mut asked = Vec::new();
        for name in NAMES {
            if !self.has_parent(name) {
                let parent = name.split('/').next().unwrap_or_default();
                asked.push(self.simple("MKDIR", parent, vec![(parent.to_owned(), State::Directory)], true));
            }
            asked.push(self.upload(name));
        }
        let before = self.acknowledged;
        let all = asked.len() as u64;
        let all_heard = asked
            .into_iter()
            .all(|asked| wire.get_mut().write_all(&asked.bytes).is_ok() && self.hear(&mut wire, asked).is_some());
        all_heard && self.acknowledged == before + all
    }

    fn log_in(&mut self, wire: &mut BufReader<TcpStream>) -> Option<()> {
        line(wire)?;
        let dir = self.dir.clone();
        wire.get_mut().write_all(format!("LOGIN {} secret\nMKDIR {dir} parents\n", self.user).as_bytes()).ok()?;
        line(wire)?.starts_with("OK welcome").then_some(())?;
        let made = line(wire)?;
        if made.starts_with("OK") {
            return Some(());
        }
        *self.refusals.entry(made).or_default() += 1; // the disk may be in trouble already
        self.in_doubt = true;
        None
    }

    /// Sends some changes at once, and hears what becomes of them.
    fn change(&mut self, wire: &mut BufReader<TcpStream>) -> Option<()> {
        let most = if self.chance.one_in(8) { 14 } else { 6 }; // so many that they are flushed all at once
        let count = 1 + self.chance.below(most);
        let asked: Vec<_> = if self.careful {
            self.any_independent_changes(count)
        } else {
            (0..count).map(|_| self.any_change()).collect()
        };
        let bytes: Vec<u8> = asked.iter().flat_map(|asked| asked.bytes.iter().copied()).collect();
        let sent = wire.get_mut().write_all(&bytes);
        for asked in asked {
            self.hear(wire, asked)?; // also after a failure to send: answers may be there
        }
        sent.ok()
    }

    /// Some uploads, or one change of another kind.
    fn any_independent_changes(&mut self, count: u64) -> Vec<Asked> {
        let mut asked = vec![self.any_change()];
        while matches!(asked[0].answer, Answer::Upload(_)) && (asked.len() as u64) < count {
            let name = (*self.chance.of(&NAMES)).to_owned();
            asked.push(self.upload(if self.has_parent(&name) { &name } else { "a" }));
        }
        asked
    }

    fn any_change(&mut self) -> Asked {
        let name = (*self.chance.of(&NAMES)).to_owned();
        let other = (*self.chance.of(&NAMES)).to_owned();
        let is_file = |state| matches!(state, State::Version(_));
        match self.chance.below(16) {
            0 if is_file(self.journal.state(&name)) => {
                self.simple("DELETE", &name, vec![(name.clone(), State::Absent)], true)
            }
            1 | 2 if name != other && is_file(self.journal.state(&name)) && self.has_parent(&other) => {
                let on = vec![(name.clone(), State::Absent), (other.clone(), self.journal.state(&name))];
                let words = format!("{name} {}/{other} replace", self.dir);
                self.simple("RENAME", &words, on, true)
            }
            3 => self.tree_deleted(),
            _ if !self.has_parent(&name) => {
                let parent = name.split('/').next().unwrap_or_default().to_owned();
                self.simple("MKDIR", &parent.clone(), vec![(parent, State::Directory)], true)
            }
            _ => self.upload(&name),
        }
    }

    fn has_parent(&self, name: &str) -> bool {
        name.split_once('/').is_none_or(|(parent, _)| self.journal.state(parent) == State::Directory)
    }

    fn upload(&mut self, name: &str) -> Asked {
        let version = self.journal.version();
        self.journal.ask(Effect { on: vec![(name.to_owned(), State::Version(version))], at_once: true });
        let bytes = upload_bytes(&format!("{}/{name}", self.dir), &content(version));
        Asked { verb: "UPLOAD", path: format!("{}/{name}", self.dir), bytes, answer: Answer::Upload(version) }
    }

    /// Deletes one of the directories with all that is in it, or makes it.
    fn tree_deleted(&mut self) -> Asked {
        let dir = *self.chance.of(&["x", "y"]);
        if self.journal.state(dir) != State::Directory {
            return self.simple("MKDIR", dir, vec![(dir.to_owned(), State::Directory)], true);
        }
        let below = self.journal.names().into_iter().filter(|name| name.starts_with(&format!("{dir}/")));
        let mut on: Vec<_> = below.map(|name| (name, State::Absent)).collect();
        on.push((dir.to_owned(), State::Absent));
        self.simple("RMDIR", &format!("{dir} recursive"), on, false)
    }

    fn simple(&mut self, verb: &'static str, words: &str, on: Vec<(String, State)>, at_once: bool) -> Asked {
        self.journal.ask(Effect { on, at_once });
        let path = format!("{}/{}", self.dir, words.split(' ').next().unwrap_or_default());
        let answer = if at_once { Answer::Done } else { Answer::Parts };
        Asked { verb, path, bytes: format!("{verb} {}/{words}\n", self.dir).into_bytes(), answer }
    }

    /// Hears the answer to the oldest request.
    fn hear(&mut self, wire: &mut BufReader<TcpStream>, asked: Asked) -> Option<()> {
        let mut said = line(wire)?;
        if matches!(asked.answer, Answer::Upload(_)) && said.starts_with("READY") {
            said = line(wire)?;
        }
        if said.starts_with("OK") {
            let mut digest = String::new();
            if let Answer::Upload(version) = asked.answer {
                digest = self.journal.digest(version);
                if !said.ends_with(&format!("sha256={digest}")) {
                    self.lies.push(format!("version {version} was acknowledged as '{said}'"));
                }
            }
            self.journal.acknowledged();
            self.acknowledged += 1;
            self.told.push((asked.verb, asked.path, digest));
            self.progress.fetch_add(1, Ordering::Relaxed);
            return Some(());
        }
        *self.refusals.entry(said.clone()).or_default() += 1;
        if said.starts_with("ERR uncertain") || matches!(asked.answer, Answer::Parts) {
            self.in_doubt = true;
            return None; // the journal keeps it open; the next look will tell
        }
        // The last: who logs in while the users are loaded again is sent away, as the protocol allows.
        let is_expected =
            ["busy", "shutting-down", "no-space", "over-quota", "read-only", "io-error", "timeout", "login-refused"];
        if !is_expected.iter().any(|code| said.starts_with(&format!("ERR {code} "))) {
            self.lies.push(format!("unexpected: '{said}'"));
            return None; // whatever it may have meant
        }
        self.journal.refused().then_some(()) // else the next look will tell
    }

    /// Reads a file that must be there as it was acknowledged.
    fn read(&mut self, wire: &mut BufReader<TcpStream>) -> Option<()> {
        let name = (*self.chance.of(&NAMES)).to_owned();
        let State::Version(version) = self.journal.state(&name) else { return Some(()) };
        wire.get_mut().write_all(format!("DOWNLOAD {}/{name}\n", self.dir).as_bytes()).ok()?;
        let mut said = line(wire)?;
        if !said.starts_with("READY") {
            // The last, as for changes.
            let codes = ["busy", "shutting-down", "io-error", "timeout", "login-refused"];
            let is_expected = codes.iter().any(|code| said.starts_with(&format!("ERR {code} ")));
            (!is_expected).then(|| self.lies.push(format!("{name}, version {version}, could not be read: '{said}'")));
            return Some(());
        }
        let mut bytes = Vec::new();
        loop {
            said = line(wire)?;
            let Some(count) = said.strip_prefix("DATA ") else { break };
            let mut piece = vec![0; count.parse().ok()?];
            wire.read_exact(&mut piece).ok()?;
            bytes.extend(piece);
        }
        if said.starts_with("END") && bytes != content(version) {
            self.lies.push(format!("{name} was read, and is not version {version}: {} bytes", bytes.len()));
        }
        Some(())
    }
}

/// The next line, without WAIT; `None` at the end.
pub fn line(wire: &mut BufReader<TcpStream>) -> Option<String> {
    loop {
        let mut line = String::new();
        if wire.read_line(&mut line).ok()? == 0 || !line.ends_with('\n') {
            return None;
        }
        if !line.starts_with("WAIT") {
            line.pop();
            return Some(line);
        }
    }
}
