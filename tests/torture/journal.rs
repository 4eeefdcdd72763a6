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

/// Each so manieth version is an empty file.
const EMPTY: u64 = 32;

/// The content of a version: nothing, a line, some kilobytes, or some megabytes; never the same twice but for nothing.
pub fn content(version: u64) -> Vec<u8> {
    let length = match version % EMPTY {
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
    /// Seen since their server was killed, and never answered, the oldest first: a power cut may still take them back.
    doubtful: Vec<Effect>,
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
        let effects = self.doubtful.iter().chain(&self.open).rev().flat_map(|effect| effect.on.iter().rev());
        let asked = effects.into_iter().find(|(of, _)| of == name).map(|(_, state)| *state);
        asked.unwrap_or_else(|| self.settled.get(name).copied().unwrap_or_default())
    }

    /// All names that hold something if all that was asked for is carried out.
    pub fn names(&self) -> Vec<String> {
        let all: BTreeSet<String> = self.names_ever().collect();
        all.into_iter().filter(|name| self.state(name) != State::Absent).collect()
    }

    /// Something is asked for: from now on it may be there.
    pub fn ask(&mut self, mut effect: Effect) {
        for (_, state) in &mut effect.on {
            // One empty file is like another: nobody can tell which of them lies there.
            if matches!(state, State::Version(version) if *version % EMPTY == 0) {
                *state = State::Version(0);
            }
        }
        self.open.push(effect);
    }

    /// The oldest open request was answered OK. With it what came before it under the same names is certain.
    pub fn acknowledged(&mut self) {
        let effect = self.open.remove(0);
        let mut names: BTreeSet<String> = effect.on.iter().map(|(name, _)| name.clone()).collect();
        let mut certain = vec![effect];
        for at in (0..self.doubtful.len()).rev() {
            if self.doubtful[at].on.iter().any(|(name, _)| names.contains(name)) {
                let earlier = self.doubtful.remove(at);
                names.extend(earlier.on.iter().map(|(name, _)| name.clone()));
                certain.push(earlier);
            }
        }
        self.settled.extend(certain.into_iter().rev().flat_map(|effect| effect.on));
    }

    /// The oldest open request was refused: nothing has happened. Whether that is so: what happens bit by bit may have begun, and stays
    /// open.
    pub fn refused(&mut self) -> bool {
        let at_once = self.open.first().is_none_or(|effect| effect.at_once);
        if at_once {
            self.open.remove(0);
        }
        at_once
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
            let possible = self.possible(&name, order);
            let seen = found.get(&name);
            match possible.iter().find(|state| self.is(**state, seen)) {
                Some(state) => drop(there.insert(name, *state)),
                None => wrong.push(format!("{name} holds {}, but should hold {possible:?}", told(seen))),
            }
        }
        let carried_out = if order == Order::AsAsked { self.beginning(&there) } else { self.selection(&there) };
        let open = std::mem::take(&mut self.open);
        match carried_out {
            Some(carried_out) if wrong.is_empty() && order == Order::AsAsked => self.doubtful.extend(carried_out),
            Some(_) if wrong.is_empty() => self.hold(there),
            _ => {
                if wrong.is_empty() {
                    let doubtful = &self.doubtful;
                    wrong.push(format!("no {order:?} of {doubtful:?} and {open:?} leaves what is there: {there:?}"));
                }
                self.hold(there);
            }
        }
        let (settled, doubtful) = (&self.settled, &self.doubtful);
        let kept =
            || settled.values().chain(doubtful.iter().flat_map(|effect| effect.on.iter().map(|(_, state)| state)));
        self.digests.retain(|version, _| kept().any(|state| *state == State::Version(*version)));
        wrong
    }

    /// What is there is certain.
    fn hold(&mut self, there: BTreeMap<String, State>) {
        self.doubtful.clear();
        self.settled = there.into_iter().filter(|(_, state)| *state != State::Absent).collect();
    }

    fn names_ever(&self) -> impl Iterator<Item = String> {
        let effects = self.doubtful.iter().chain(&self.open).flat_map(|effect| &effect.on);
        self.settled.keys().chain(effects.map(|(name, _)| name)).cloned()
    }

    /// What a name may hold: what is settled, or what a request makes of it that was not answered.
    fn possible(&self, name: &str, order: Order) -> Vec<State> {
        let mut states = vec![self.settled.get(name).copied().unwrap_or_default()];
        let of_name = |effect: &Effect| effect.on.iter().rev().find(|(of, _)| of == name).map(|(_, state)| *state);
        for state in self.doubtful.iter().filter_map(of_name) {
            if order == Order::AsAsked {
                states.clear(); // it was seen, and only a power cut takes it back
            }
            states.push(state);
        }
        states.extend(self.open.iter().filter_map(of_name));
        states.dedup();
        states
    }

    /// The first so many of the open requests, and perhaps a part of one that is no single step, if they leave just this. The most of them:
    /// some may have undone what others did.
    fn beginning(&self, there: &BTreeMap<String, State>) -> Option<Vec<Effect>> {
        let mut now = self.settled.clone();
        now.extend(self.doubtful.iter().flat_map(|effect| effect.on.iter().cloned()));
        let differs = |now: &BTreeMap<String, State>, (name, state): &(&String, &State)| {
            now.get(*name).copied().unwrap_or_default() != **state
        };
        let mut carried_out = None;
        for (count, effect) in self.open.iter().enumerate() {
            let part: &[_] = if effect.at_once { &[] } else { &effect.on };
            let come: Vec<_> =
                there.iter().filter(|row| differs(&now, row)).map(|(name, state)| (name.clone(), *state)).collect();
            if come.iter().all(|row| part.contains(row)) {
                let part = (!come.is_empty()).then_some(Effect { on: come, at_once: false });
                carried_out = Some(self.open[..count].iter().cloned().chain(part).collect());
            }
            now.extend(effect.on.iter().cloned());
        }
        if there.iter().any(|row| differs(&now, &row)) { carried_out } else { Some(self.open.clone()) }
    }

    /// Whether some of what was not answered leaves just this.
    fn selection(&self, there: &BTreeMap<String, State>) -> Option<Vec<Effect>> {
        let effects: Vec<Effect> = self.doubtful.iter().chain(&self.open).cloned().collect();
        is_a_selection(&self.settled, &effects, there).then_some(effects)
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

/// Whether some of these effects, each whole unless it happens bit by bit, lead from what was to what is there. So a file that was renamed
/// is under one of its names.
fn is_a_selection(now: &BTreeMap<String, State>, effects: &[Effect], there: &BTreeMap<String, State>) -> bool {
    // What no effect can change any more must be as it is there: so nothing is tried that leads nowhere.
    let is_over = |name: &String| !effects.iter().any(|effect| effect.on.iter().any(|(of, _)| of == name));
    let mut over = there.iter().filter(|(name, _)| is_over(name));
    if over.any(|(name, state)| now.get(name).copied().unwrap_or_default() != *state) {
        return false;
    }
    let Some((effect, later)) = effects.split_first() else { return true };
    if is_a_selection(now, later, there) {
        return true;
    }
    let mut after = now.clone();
    if effect.at_once {
        after.extend(effect.on.iter().cloned());
        return is_a_selection(&after, later, there);
    }
    // Of each name it is what is there that tells whether the effect has come that far, or something later.
    let has_come = |(name, state): &&(String, State)| there.get(name) == Some(state);
    after.extend(effect.on.iter().filter(has_come).cloned());
    is_a_selection(&after, later, there)
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
