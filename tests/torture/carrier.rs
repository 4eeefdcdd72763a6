//! A person with the real client, who changes some files, puts the directory with `put -r`, and gets it back with `get -r`.

use super::command::client;
use super::common::home;
use super::journal::{Effect, Journal, Order, State, content};
use super::run::Chance;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Who it is, and what may lie at the other end.
pub struct Carrier {
    /// Whom it logs in as.
    pub user: String,
    /// Its directory, here and in the user's.
    pub name: String,
    /// What may lie there.
    pub journal: Journal,
    chance: Chance,
    here: tempfile::TempDir,
    /// Which version lies under each name here.
    versions: BTreeMap<&'static str, u64>,
}

/// How a run of the client ended.
pub struct Ran {
    /// Its exit status; 128 and the signal that killed it.
    pub status: i32,
    /// What it said on standard error.
    pub said: String,
}

/// The files that it has, and the directories that they lie in.
const FILES: [&str; 10] = ["a", "b", "c", "d", "in/a", "in/b", "in/c", "in/side/a", "in/side/b", "in/side/c"];
const DIRS: [&str; 2] = ["in", "in/side"];

impl Carrier {
    /// A carrier of this number, with a directory full of files.
    pub fn new(number: u64, user: &str, chance: Chance) -> Self {
        let (user, name, versions) = (user.to_owned(), format!("c{number}"), BTreeMap::new());
        let mut carrier = Carrier { user, name, journal: Journal::new(1000 + number), chance, here: home(), versions };
        DIRS.iter().for_each(|dir| fs::create_dir_all(carrier.local().join(dir)).unwrap());
        FILES.iter().for_each(|file| carrier.change(file));
        carrier
    }

    /// Its directory here.
    fn local(&self) -> PathBuf {
        self.here.path().join(&self.name)
    }

    /// Another content under this name, here.
    fn change(&mut self, file: &'static str) {
        let version = self.journal.version();
        self.versions.insert(file, version);
        fs::write(self.local().join(file), content(version)).unwrap();
    }

    /// Changes some of the files and puts all of them. If that fails, the next look will tell what it has done: not before the sessions
    /// have ended.
    pub fn put(&mut self, server: &str) -> Ran {
        for _ in 0..1 + self.chance.below(5) {
            let file = *self.chance.of(&FILES);
            self.change(file);
        }
        let files = self.versions.iter().map(|(file, version)| ((*file).to_owned(), State::Version(*version)));
        let dirs = DIRS.iter().map(|dir| ((*dir).to_owned(), State::Directory));
        for on in dirs.chain(files) {
            self.journal.ask(Effect { on: vec![on], at_once: true });
        }
        let ran = self.client(server, &["put", "-r", &self.name]);
        while ran.status == 0 && !self.journal.is_settled() {
            self.journal.acknowledged();
        }
        ran
    }

    /// Gets what it has put into a fresh directory, and compares it, if all of it came; what is wrong.
    pub fn get(&mut self, server: &str) -> (Ran, Vec<String>) {
        let fresh = tempfile::tempdir_in(self.here.path()).unwrap();
        let ran = self.client(server, &["get", "-r", &self.name, "--dir", fresh.path().to_str().unwrap()]);
        let wrong = match ran.status {
            0 => self.journal.check(&fresh.path().join(&self.name), Order::Any),
            _ => Vec::new(),
        };
        (ran, wrong)
    }

    /// Compares what lies at the other end with what may be there.
    pub fn check(&mut self, storage: &Path) -> Vec<String> {
        self.journal.check(&storage.join(&self.user).join(&self.name), Order::Any)
    }

    fn client(&self, server: &str, words: &[&str]) -> Ran {
        let mut client = client(&self.user, server, self.here.path());
        client.args(["--retries", "1", "--quiet"]).args(words).current_dir(self.here.path());
        let output = client.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        use std::os::unix::process::ExitStatusExt;
        Ran { status: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)), said }
    }
}
