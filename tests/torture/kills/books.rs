//! The audit: every line is whole, and each acknowledged request has one.

use super::super::common::eventually;
use super::super::run::Account;
use super::house::House;
use super::strike::Fate;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

/// The user, the verb, the path, and the digest of an upload.
type Entry = (String, String, String, String);

/// What the audit should tell, and what it tells.
pub struct Books {
    path: PathBuf,
    /// Files of before and the one that grows, the last, each with how far it was read.
    files: Vec<(PathBuf, u64)>,
    rotations: u64,
    /// Requests that were acknowledged, less those whose line was found.
    due: BTreeMap<Entry, i64>,
    lines: u64,
    /// Acknowledged requests whose lines went with the queue.
    gone: u64,
    /// Acknowledged requests whose lines tell no user.
    nameless: u64,
    wrong: Vec<String>,
}

impl Books {
    /// The audit of a server.
    pub fn of(house: &House) -> Books {
        let path = house.place().join("books/audit");
        let files = vec![(path.clone(), 0)];
        Books { path, files, rotations: 0, due: BTreeMap::new(), lines: 0, gone: 0, nameless: 0, wrong: Vec::new() }
    }

    /// Puts the audit away, as logrotate does, and tells the server.
    pub fn rotate(&mut self, house: &House) {
        self.rotations += 1;
        let away = self.path.with_extension(self.rotations.to_string());
        if fs::rename(&self.path, &away).is_ok() {
            self.files.last_mut().unwrap().0 = away;
            self.files.push((self.path.clone(), 0));
        }
        house.server().signal(Signal::SIGHUP);
    }

    /// These requests of a user's were acknowledged.
    pub fn expect(&mut self, user: &str, told: impl Iterator<Item = (&'static str, String, String)>) {
        for (verb, path, digest) in told {
            *self.due.entry((user.to_owned(), verb.to_owned(), path, digest)).or_default() += 1;
        }
    }

    /// Reads what was added; what is wrong with it, and which acknowledged requests have no line. docs/AUDIT.md promises that lines outlive
    /// the listener and the scribe, but not both; and that they tell the user unless whoever knew it was killed.
    pub fn check(&mut self, fate: Fate) -> Vec<String> {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        self.read();
        while self.due.values().any(|due| *due > 0) && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
            self.read();
            if fate != Fate::Lives {
                self.settle_nameless();
            }
        }
        let missing: Vec<_> =
            self.due.iter().filter(|(_, due)| **due > 0).map(|(entry, _)| format!("{entry:?}")).collect();
        self.due.clear(); // also of what was done, and told here alone since the answer was lost
        let mut wrong = std::mem::take(&mut self.wrong);
        if fate == Fate::BothKilled {
            self.gone += missing.len() as u64;
        } else if let Some(first) = missing.first() {
            wrong.push(format!("{} acknowledged requests have no line in the audit, as {first}", missing.len()));
        }
        wrong
    }

    /// What is due of a user is told, where a line that tells no user tells it.
    fn settle_nameless(&mut self) {
        let due: Vec<Entry> = self.due.iter().filter(|(_, due)| **due > 0).map(|(entry, _)| entry.clone()).collect();
        for entry in due {
            let nobodys = (String::new(), entry.1.clone(), entry.2.clone(), entry.3.clone());
            let Some(told) = self.due.get_mut(&nobodys).filter(|told| **told < 0) else { continue };
            *told += 1;
            *self.due.entry(entry).or_default() -= 1;
            self.nameless += 1;
        }
    }

    /// All of it, once the server has ended: nothing is torn.
    pub fn finish(mut self, account: &mut Account) -> Vec<String> {
        eventually("the audit's end", || fs::read(&self.path).is_ok_and(|text| text.ends_with(b"\n")));
        let wrong = self.check(Fate::Lives);
        account.count("audit lines", self.lines);
        account.count("acknowledged requests whose lines went with listener and scribe", self.gone);
        account.count("acknowledged requests whose lines tell no user", self.nameless);
        wrong
    }

    fn read(&mut self) {
        let mut files = std::mem::take(&mut self.files);
        for (path, at) in &mut files {
            let mut text = Vec::new();
            let Ok(mut file) = fs::File::open(&path) else { continue };
            file.seek(SeekFrom::Start(*at)).unwrap();
            file.read_to_end(&mut text).unwrap();
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            *at += whole as u64;
            for line in text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                self.take(line, &path.display().to_string());
            }
        }
        self.files = files;
    }

    fn take(&mut self, line: &[u8], file: &str) {
        self.lines += 1;
        let Ok(Value::Object(line)) = serde_json::from_slice::<Value>(line) else {
            self.wrong.push(format!("{file} holds what is no JSON: {}", String::from_utf8_lossy(line)));
            return;
        };
        let word = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        if word("event") == "request" && word("result") == "ok" {
            let verb = word("verb");
            let digest = if verb == "UPLOAD" { word("sha256") } else { String::new() };
            *self.due.entry((word("user"), verb, word("path"), digest)).or_default() -= 1;
        }
    }
}
