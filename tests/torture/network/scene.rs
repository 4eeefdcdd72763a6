//! A server and a client, each in a place of its own, and the line between them.

use super::super::command::{Desk, Ended, Running};
use super::super::common::tree::snapshot;
use super::super::common::{PATIENCE, Server, home};
use super::super::run::{Account, Chance, Run};
use super::link::{Fates, Link};
use super::place::Place;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The server's address.
const THERE: &str = "10.9.0.1";
/// The client's, at first.
pub const HERE: &str = "10.9.0.2";
/// The client's, after a move.
pub const ELSEWHERE: &str = "10.9.0.3";

/// What a busy machine may add to a time limit.
pub const SLACK: Duration = Duration::from_secs(12);

/// Everything that one try needs.
pub struct Scene<'a> {
    /// Says what goes wrong.
    pub notes: &'a Notes,
    /// Which try this is, for sentences.
    pub name: String,
    /// The line.
    pub link: Link,
    /// The server, which serves alice.
    pub server: Server,
    /// Where the server is.
    pub there: Place,
    /// Where the client is.
    pub here: Place,
    /// The client's files.
    pub desk: Desk,
    /// What of it is random.
    pub chance: Chance,
    dir: tempfile::TempDir,
}

/// The account, shared by tries that run at the same time.
#[derive(Default)]
pub struct Notes(pub Mutex<Account>);

impl Notes {
    /// As [`Account::count`].
    pub fn count(&self, what: &str, more: u64) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).count(what, more);
    }

    /// As [`Account::lost`].
    pub fn lost(&self, what: String) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).lost(what);
    }
}

/// A channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// tcp://
    Plain,
    /// tls://
    Tls,
}

impl Channel {
    /// One and the other in turn.
    pub fn of(number: usize) -> Channel {
        if number.is_multiple_of(2) { Channel::Tls } else { Channel::Plain }
    }
}

/// Why nothing of this can be tried here, if it cannot.
pub fn impossible() -> Option<String> {
    Place::new(HERE).err()
}

impl<'a> Scene<'a> {
    /// A scene for the try of this number and name. The server has these options besides, and lets alice have one session if `alone`.
    pub fn new(run: &Run, notes: &'a Notes, number: u64, name: &str, alone: bool, options: &[&str]) -> Scene<'a> {
        let (here, client) = Place::new(HERE).unwrap();
        let (there, device) = Place::new(THERE).unwrap();
        let link = Link::between(client, device, run.chance(number));
        let (tls, plain) = (format!("tls://{THERE}:0"), format!("tcp://{THERE}:0"));
        let options = [&["--listen", &tls, "--listen", &plain, "--allow-plaintext"], options].concat();
        let home = home();
        if alone {
            std::fs::write(home.path().join("user_limits.toml"), "[alice]\nsessions = 1\n").unwrap();
        }
        let server = there.inside(|| Server::start_in(home, &options));
        let dir = tempfile::Builder::new().prefix("dfos-test-").tempdir().unwrap();
        let desk = Desk::new(dir.path());
        Scene { notes, name: name.to_owned(), link, server, there, here, desk, chance: run.chance(!number), dir }
    }

    /// The server's address by this channel.
    pub fn url(&self, channel: Channel) -> String {
        match channel {
            Channel::Tls => format!("tls://{}", self.server.tls_address()),
            Channel::Plain => format!("tcp://{}", self.server.address()),
        }
    }

    /// Lets sockets hold little (tcp(7): at least, usually and at most), so that a body of some megabytes is not all in them.
    pub fn small_buffers(&self) {
        for place in [&self.here, &self.there] {
            ["tcp_rmem", "tcp_wmem"].iter().for_each(|key| place.set(key, "4096 65536 262144"));
        }
    }

    /// Starts a client.
    pub fn start(&self, channel: Channel, words: &[&str]) -> Running {
        self.here.inside(|| self.desk.start(&self.url(channel), words))
    }

    /// Runs a client to its end; a loss if it takes longer than `limit`, or panics.
    pub fn command(&self, channel: Channel, words: &[&str], limit: Duration) -> Ended {
        self.must_be_sound(self.start(channel, words).wait(limit))
    }

    /// A loss if it never ended, or panicked.
    pub fn must_be_sound(&self, ended: Ended) -> Ended {
        if ended.is_broken() {
            self.lost(&ended.told());
        }
        ended
    }

    /// Something is lost.
    pub fn lost(&self, what: &str) {
        self.notes.lost(format!("{}: {what}", self.name));
    }

    /// Logs in by hand, in plain text.
    pub fn login(&self) -> super::super::common::Raw {
        self.here.inside(|| {
            let mut raw = super::super::common::Raw::connect(self.server.address());
            raw.scram("alice", "secret").unwrap();
            raw
        })
    }

    /// Waits until no client is served any more, until `deadline` at most; when that was. A loss if it never was.
    pub fn wait_until_served_nobody(&self, deadline: Instant) -> Option<Instant> {
        while !self.server.sessions().is_empty() || self.server.zombies() > 0 {
            if Instant::now() > deadline {
                self.lost(&format!("the server still serves who is gone: {:?}", self.server.sessions()));
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Instant::now())
    }

    /// What lies at the server and at the client below these names is the same, and nothing is left of the ways there.
    pub fn must_match(&self, local: &str, remote: &str) {
        self.must_be_same(&self.desk.at(local), &self.server.at("alice").join(remote));
    }

    /// What lies in these two directories is the same.
    pub fn must_be_same(&self, one: &Path, other: &Path) {
        let (a, b) = (contents(one), contents(other));
        if a.is_empty() || a != b {
            let differ: Vec<_> = a.keys().chain(b.keys()).filter(|name| a.get(*name) != b.get(*name)).collect();
            self.lost(&format!("{} and {} differ in {differ:?}", one.display(), other.display()));
        }
    }

    /// Ends the server; all that it left is looked at.
    pub fn finish(self) -> Fates {
        let Scene { notes, name, link, server, here, .. } = self;
        link.weather(Default::default());
        link.mend();
        let begin = Instant::now();
        while !server.partials("alice").is_empty() && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        let left = server.partials("alice");
        if !left.is_empty() {
            notes.lost(format!("{name}: staging files are left: {left:?}"));
        }
        server.stop();
        drop((here, self.dir));
        link.fates()
    }
}

/// All files below a directory (or the one file) by the way there.
fn contents(top: &Path) -> BTreeMap<String, Vec<u8>> {
    if top.is_file() {
        return BTreeMap::from([(String::new(), std::fs::read(top).unwrap())]);
    }
    let all = snapshot(top).into_iter();
    all.map(|(path, seen)| (path.strip_prefix(top).unwrap().to_string_lossy().into_owned(), seen.3)).collect()
}
