//! A user whose big uploads are broken off and resumed, and who moves files to the trash and back: whatever is killed, each thing that was
//! acknowledged lies under its name or in the trash, under the id that was told.

use super::super::common::raw::{field, number, pieces};
use super::super::common::tree::sha256;
use super::super::journal::{Effect, Journal, Order, State, content};
use super::super::load::line;
use super::super::run::{Account, Chance};
use super::changer::log_in;
use super::house::House;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Its directory.
const DIR: &str = "k";
/// Names of files in it.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A user.
pub struct Keeper {
    user: &'static str,
    journal: Journal,
    chance: Chance,
    /// The upload of each name that was broken off.
    broken: BTreeMap<&'static str, u64>,
    /// What lies in the trash, by its id.
    binned: BTreeMap<String, u64>,
    /// What was asked of the trash and not answered.
    doubt: Option<Doubt>,
    /// What was acknowledged, as the audit tells it.
    pub told: Vec<(&'static str, String, String)>,
    lies: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}

/// A request about the trash that nobody answered.
enum Doubt {
    /// A name whose version may lie there now.
    Deleted(&'static str, u64),
    /// An id whose version may lie under a name now.
    Restored(String, &'static str),
    /// An id that may have gone.
    Emptied(String),
}

type Wire = BufReader<TcpStream>;

impl Keeper {
    /// A user who has nothing.
    pub fn new(user: &'static str, chance: Chance) -> Keeper {
        let (broken, binned, told, lies, counts) = Default::default();
        Keeper { user, journal: Journal::new(100), chance, broken, binned, doubt: None, told, lies, counts }
    }

    /// Works until told to stop, or until a connection ends that it did not end itself.
    pub fn work(&mut self, address: &str, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let Some(mut wire) = log_in(address, self.user, "secret") else { return };
            if ask(&mut wire, &format!("MKDIR {DIR} parents")).is_none_or(|said| !said.starts_with("OK")) {
                return;
            }
            loop {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                match self.step(&mut wire) {
                    Some(Next::GoOn) => {}
                    Some(Next::Connect) => break,
                    None => return,
                }
            }
        }
    }

    fn step(&mut self, wire: &mut Wire) -> Option<Next> {
        let name = *self.chance.of(&NAMES);
        match self.chance.below(8) {
            0..3 => self.delete(wire, name),
            3 | 4 => self.restore(wire, name),
            5 if self.binned.len() > 8 => self.empty(wire),
            _ => self.upload(wire, name),
        }
    }

    /// Begins an upload or goes on with the one that was broken off, and ends it, gives it up, or goes away.
    fn upload(&mut self, wire: &mut Wire, name: &'static str) -> Option<Next> {
        let version = self.broken.get(name).copied().unwrap_or_else(|| self.version());
        let bytes = content(version);
        self.broken.insert(name, version);
        let said = ask(wire, &format!("UPLOAD {DIR}/{name} size={} resume", bytes.len()))?;
        let Some(from) = self.begin(&said, &bytes) else { return Some(Next::GoOn) };
        self.send(wire, format!("FROM {from}\n").as_bytes())?;
        let end = from + self.chance.below((bytes.len() - from) as u64 + 1) as usize;
        self.send(wire, &pieces(&bytes[from..end]))?;
        match self.chance.below(4) {
            0 => return Some(Next::Connect), // without an END nothing has happened
            1 => {
                let said = ask(wire, "ABORT aborted")?;
                return self.expect(&said, "ERR aborted ");
            }
            _ => {}
        }
        self.send(wire, &pieces(&bytes[end..]))?;
        self.journal.ask(Effect { on: vec![(name.into(), State::Version(version))], at_once: true });
        let said = ask(wire, &format!("END sha256={}", sha256(&bytes)))?;
        if said.starts_with("OK") {
            self.broken.remove(name);
            self.count("uploads", 1);
        }
        self.settle(&said, "UPLOAD", name, sha256(&bytes))
    }

    /// Where to go on; what the server holds may be of another upload.
    fn begin(&mut self, ready: &str, bytes: &[u8]) -> Option<usize> {
        if !ready.starts_with("READY offset=") {
            self.expect(ready, "READY");
            return None;
        }
        let offset = number(ready, "offset") as usize;
        if offset > bytes.len() {
            self.lies.push(format!("more is offered than there is: {ready}"));
            return Some(0);
        }
        if offset == 0 {
            return Some(0);
        }
        if field(ready, "sha256") != sha256(&bytes[..offset]) {
            self.count("leftovers of other uploads", 1);
            return Some(0);
        }
        self.count("uploads resumed", 1);
        Some(offset)
    }

    fn delete(&mut self, wire: &mut Wire, name: &'static str) -> Option<Next> {
        let State::Version(version) = self.journal.state(name) else { return Some(Next::GoOn) };
        self.journal.ask(Effect { on: vec![(name.into(), State::Absent)], at_once: true });
        self.doubt = Some(Doubt::Deleted(name, version));
        let said = ask(wire, &format!("DELETE {DIR}/{name} trash"))?;
        if said.starts_with("OK") {
            self.binned.insert(field(&said, "id").to_owned(), version);
            self.count("moved to the trash", 1);
        }
        self.settle(&said, "DELETE", name, String::new())
    }

    fn restore(&mut self, wire: &mut Wire, name: &'static str) -> Option<Next> {
        let nth = self.chance.below(self.binned.len() as u64) as usize;
        let Some(id) = &self.binned.keys().nth(nth).cloned() else { return Some(Next::GoOn) };
        self.journal.ask(Effect { on: vec![(name.into(), State::Version(self.binned[id]))], at_once: true });
        self.doubt = Some(Doubt::Restored(id.clone(), name));
        let said = ask(wire, &format!("TRASH restore {id} to={DIR}/{name} replace"))?;
        if said.starts_with("OK") {
            self.binned.remove(id);
            self.count("had back", 1);
        }
        self.settle(&said, "TRASH", name, String::new())
    }

    fn empty(&mut self, wire: &mut Wire) -> Option<Next> {
        let id = self.binned.keys().next()?.clone();
        self.doubt = Some(Doubt::Emptied(id.clone()));
        let said = ask(wire, &format!("TRASH empty {id}"))?;
        if said.starts_with("OK") {
            self.binned.remove(&id);
        }
        self.doubt = None;
        self.expect(&said, "OK")
    }

    /// What the answer to the one open request says.
    fn settle(&mut self, said: &str, verb: &'static str, name: &str, digest: String) -> Option<Next> {
        if said.starts_with("ERR uncertain") {
            return None; // all that it may have changed stays in doubt
        }
        self.doubt = None;
        if said.starts_with("OK") {
            self.journal.acknowledged();
            if verb != "TRASH" {
                self.told.push((verb, format!("{DIR}/{name}"), digest));
            }
            return Some(Next::GoOn);
        }
        self.journal.refused();
        self.expect(said, "OK")
    }

    /// An answer must begin so, unless the server cannot at present, or sends away who logged in while the users were loaded again.
    fn expect(&mut self, said: &str, beginning: &str) -> Option<Next> {
        if said.starts_with("ERR uncertain") {
            return None; // the scribe has gone, and the session with it
        }
        let passing = ["busy", "shutting-down", "timeout", "login-refused"]
            .iter()
            .any(|code| said.starts_with(&format!("ERR {code} ")));
        if !said.starts_with(beginning) && !passing {
            self.lies.push(format!("due was '{beginning}', came '{said}'"));
        }
        Some(Next::GoOn)
    }

    /// One with content, so that its digest names it.
    fn version(&mut self) -> u64 {
        loop {
            let version = self.journal.version();
            if !content(version).is_empty() {
                return version;
            }
        }
    }

    fn send(&mut self, wire: &mut Wire, bytes: &[u8]) -> Option<()> {
        wire.get_mut().write_all(bytes).ok()
    }

    fn count(&mut self, what: &'static str, more: u64) {
        *self.counts.entry(what).or_default() += more;
    }

    /// What is lost, of what lies under names and in the trash.
    pub fn check(&mut self, house: &House) -> Vec<String> {
        let dir = house.server().at(self.user);
        let mut wrong = self.journal.check(&dir.join(DIR), Order::AsAsked);
        wrong.append(&mut self.lies);
        let trash = dir.join(".dfos/trash");
        match self.doubt.take() {
            Some(Doubt::Deleted(name, version)) if self.journal.state(name) == State::Absent => {
                match self.find(&trash, version) {
                    Some(id) => drop(self.binned.insert(id, version)),
                    None => wrong.push(format!("{name}, version {version}, is neither there nor in the trash")),
                }
            }
            Some(Doubt::Restored(id, name)) if self.journal.state(name) == State::Version(self.binned[&id]) => {
                self.binned.remove(&id);
            }
            Some(Doubt::Emptied(id)) => drop(self.binned.remove(&id)),
            _ => {}
        }
        for (id, version) in self.binned.clone() {
            let held = fs::read(trash.join(&id)).map(|bytes| sha256(&bytes));
            if held.ok() != Some(self.journal.digest(version)) || !note(&trash, &id).exists() {
                wrong.push(format!("version {version} does not lie in the trash as {id}, with its note"));
            }
        }
        wrong
    }

    /// Under which id something lies in the trash that nobody was told of.
    fn find(&mut self, trash: &Path, version: u64) -> Option<String> {
        let digest = self.journal.digest(version);
        let names = fs::read_dir(trash).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let unknown: Vec<String> = names
            .filter(|name| !name.contains('.') && !self.binned.contains_key(name) && note(trash, name).exists())
            .collect();
        unknown.into_iter().find(|name| fs::read(trash.join(name)).is_ok_and(|bytes| sha256(&bytes) == digest))
    }

    /// What was done.
    pub fn tell(&self, account: &mut Account) {
        self.counts.iter().for_each(|(what, count)| account.count(what, *count));
    }
}

/// What comes after a step.
enum Next {
    GoOn,
    Connect,
}

fn note(trash: &Path, id: &str) -> PathBuf {
    trash.join(format!("{id}.note"))
}

/// Sends a line; the answer.
fn ask(wire: &mut Wire, request: &str) -> Option<String> {
    wire.get_mut().write_all(format!("{request}\n").as_bytes()).ok()?;
    line(wire)
}
