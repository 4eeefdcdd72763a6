//! What may lie under each name: kept by who generates the load, from what was asked for and what was acknowledged, and compared with
//! what lies there after a fault.

use super::common::tree::{noise, sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What lies under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Nothing.
    #[default]
    Absent,
    /// A directory.
    Directory,
    /// The content that goes with this number, see [`content`].
    Version(u64),
}

/// What a request does to names.
#[derive(Debug, Clone)]
pub struct Effect {
    /// What lies under each afterwards.
    pub on: Vec<(String, State)>,
    /// Whether all of it happens at once; a tree is deleted bit by bit.
    pub at_once: bool,
}

/// In which order faults leave what was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The first so many of the requests were carried out, and no others: a process was killed.
    AsAsked,
    /// Any of them, each whole: the disk lost what it had not been told to keep.
    Any,
}

/// The content of a version: nothing, a line, some kilobytes, or some megabytes; never the same twice.
pub fn content(version: u64) -> Vec<u8> {
    let length = match version % 32 {
        0 => return Vec::new(),
        1..=20 => version.wrapping_mul(7919) % 4096,
        21..=29 => version.wrapping_mul(104_729) % 200_000,
        _ => version.wrapping_mul(1_299_709) % 3_000_000,
    };
    let mut bytes = format!("version {version}\n").into_bytes();
    bytes.extend(noise(version, length as usize));
    bytes
}

/// Whose names these are knows what they may hold: one worker, in a directory of its own.
#[derive(Default)]
pub struct Journal {
    settled: BTreeMap<String, State>,
    /// Asked for and not answered, the oldest first.
    open: Vec<Effect>,
    /// What each version's digest is: making content is slow.
    digests: BTreeMap<u64, String>,
    next: u64,
}

impl Journal {
    /// An empty directory's. Versions of different journals differ if `number` does.
    pub fn new(number: u64) -> Self {
        Journal { next: number << 32, ..Journal::default() }
    }

    /// A version that nothing has had.
    pub fn version(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// What lies under a name if all that was asked for is carried out.
    pub fn state(&self, name: &str) -> State {
        let open = self.open.iter().rev().flat_map(|effect| effect.on.iter().rev());
        let asked = open.into_iter().find(|(of, _)| of == name).map(|(_, state)| *state);
        asked.unwrap_or_else(|| self.settled.get(name).copied().unwrap_or_default())
    }

    /// All names that hold something if all that was asked for is carried out.
    pub fn names(&self) -> Vec<String> {
        let all: BTreeSet<&String> = self
            .settled
            .keys()
            .chain(self.open.iter().flat_map(|effect| effect.on.iter().map(|(name, _)| name)))
            .collect();
        all.into_iter().filter(|name| self.state(name) != State::Absent).cloned().collect()
    }

    /// Something is asked for: from now on it may be there.
    pub fn ask(&mut self, effect: Effect) {
        self.open.push(effect);
    }

    /// The oldest open request was answered OK.
    pub fn acknowledged(&mut self) {
        let effect = self.open.remove(0);
        self.settled.extend(effect.on);
    }

    /// The oldest open request was refused: nothing has happened.
    pub fn refused(&mut self) {
        self.open.remove(0);
    }

    /// Whether nothing is open.
    pub fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// What is there is compared with what may be; then what is there holds. The sentences tell what is lost or torn.
    pub fn check(&mut self, dir: &Path, order: Order) -> Vec<String> {
        let found = match look(dir) {
            Ok(found) => found,
            Err(why) => return vec![format!("{} cannot be read: {why}", dir.display())],
        };
        let names: BTreeSet<String> = self.names_ever().chain(found.keys().cloned()).collect();
        let mut there = BTreeMap::new();
        let mut wrong = Vec::new();
        for name in names {
            let possible = self.possible(&name);
            let seen = found.get(&name);
            match possible.iter().find(|state| self.is(**state, seen)) {
                Some(state) => drop(there.insert(name, *state)),
                None => wrong.push(format!("{name} holds {}, but should hold {possible:?}", told(seen))),
            }
        }
        if wrong.is_empty() && order == Order::AsAsked && !self.is_a_beginning(&there) {
            wrong.push(format!(
                "what is there is not what a beginning of the requests leaves: {:?}; {there:?}",
                self.open
            ));
        }
        self.open.clear();
        self.settled = there.into_iter().filter(|(_, state)| *state != State::Absent).collect();
        let settled = &self.settled;
        self.digests.retain(|version, _| settled.values().any(|state| *state == State::Version(*version)));
        wrong
    }

    fn names_ever(&self) -> impl Iterator<Item = String> {
        self.settled.keys().chain(self.open.iter().flat_map(|effect| effect.on.iter().map(|(name, _)| name))).cloned()
    }

    /// What a name may hold: what is settled, or what an open request makes of it.
    fn possible(&self, name: &str) -> Vec<State> {
        let mut states = vec![self.settled.get(name).copied().unwrap_or_default()];
        let open = self.open.iter().flat_map(|effect| &effect.on).filter(|(of, _)| of == name).map(|(_, state)| *state);
        states.extend(open);
        states.dedup();
        states
    }

    /// Whether the first so many requests, and perhaps a part of one that is no single step, leave just this.
    fn is_a_beginning(&self, there: &BTreeMap<String, State>) -> bool {
        let mut now = self.settled.clone();
        let is = |now: &BTreeMap<String, State>, besides: &[(String, State)]| {
            there.iter().all(|(name, state)| {
                now.get(name).copied().unwrap_or_default() == *state || besides.contains(&(name.clone(), *state))
            })
        };
        for effect in &self.open {
            let part: &[_] = if effect.at_once { &[] } else { &effect.on };
            if is(&now, part) {
                return true;
            }
            now.extend(effect.on.iter().cloned());
        }
        is(&now, &[])
    }

    fn is(&mut self, state: State, seen: Option<&Seen>) -> bool {
        match (state, seen) {
            (State::Absent, None) | (State::Directory, Some(Seen::Directory)) => true,
            (State::Version(version), Some(Seen::File(digest))) => self.digest(version) == *digest,
            _ => false,
        }
    }

    /// The digest of a version's content.
    pub fn digest(&mut self, version: u64) -> String {
        self.digests.entry(version).or_insert_with(|| sha256(&content(version))).clone()
    }
}

/// What lies under a name on the disk.
enum Seen {
    Directory,
    File(String),
}

fn told(seen: Option<&Seen>) -> String {
    match seen {
        None => "nothing".into(),
        Some(Seen::Directory) => "a directory".into(),
        Some(Seen::File(digest)) => format!("something of the digest {digest}"),
    }
}

/// All that lies below a directory, by path; an absent one is empty.
fn look(dir: &Path) -> std::io::Result<BTreeMap<String, Seen>> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        let entries = match fs::read_dir(&next) {
            Err(why) if why.kind() == std::io::ErrorKind::NotFound && next == dir => return Ok(found),
            other => other?,
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned();
            if path.is_dir() {
                left.push(path);
                found.insert(name, Seen::Directory);
            } else {
                found.insert(name, Seen::File(sha256(&fs::read(&path)?)));
            }
        }
    }
    Ok(found)
}
