//! What is carried: a tree whose files change now and then, as it lies at its origin, on the server, and where it is fetched to. Knows what
//! may lie under each name, and how many bytes are still to be moved.

use super::super::common::tree::sha256;
use super::super::journal::content;
use super::super::run::Chance;
use super::carrier::Way;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The directory's name, at each place.
pub const TREE: &str = "origin";
/// Big files, which are resumed at the server too, and small ones.
const BIG: [&str; 3] = ["big", "x/very big", "x/y/big"];
const SMALL: [&str; 13] = ["a", "b", "c", "d", "e", "x/a", "x/b", "x/c", "x/y/a", "x/y/b", "x/y/ü", "z/a", "z/b"];

/// Files smaller than this are sent anew (docs/man/dfos-client.1.md says what is resumed).
pub const RESUMED: u64 = 1 << 20;

/// The version of each file, by its name below the tree.
pub type Versions = BTreeMap<String, u64>;

/// The three places.
pub struct Freight {
    /// Where it begins, on this machine.
    pub origin: PathBuf,
    /// On the server.
    there: PathBuf,
    /// Where the server keeps what uploads have begun.
    uploads: PathBuf,
    /// Where it is fetched to, on this machine.
    copy: PathBuf,
    at_origin: Versions,
    on_server: Versions,
    at_copy: Versions,
    next: u64,
}

impl Freight {
    /// A tree of which nothing exists yet, below `here` and in a user's directory on the server.
    pub fn new(here: &Path, user: &Path) -> Freight {
        let (origin, copy) = (here.join(TREE), here.join("copy").join(TREE));
        let (at_origin, on_server, at_copy) = Default::default();
        let uploads = user.join(".dfos/uploads");
        Freight { origin, there: user.join(TREE), uploads, copy, at_origin, on_server, at_copy, next: 0 }
    }

    /// Makes some of the files new, in time as in content; at first all.
    pub fn change(&mut self, chance: &mut Chance) {
        let first = self.at_origin.is_empty();
        for name in BIG.iter().chain(&SMALL) {
            // Big ones more often: what was begun of one before must not be believed to be of the next.
            if !first && !chance.one_in(if BIG.contains(name) { 2 } else { 3 }) {
                continue;
            }
            let bytes = self.fresh(BIG.contains(name));
            let path = self.origin.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + self.next);
            fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
            self.at_origin.insert((*name).to_owned(), self.next);
        }
    }

    /// The next version whose content is as big as that.
    fn fresh(&mut self, big: bool) -> Vec<u8> {
        loop {
            self.next += 1;
            let bytes = content(self.next);
            if (bytes.len() as u64 >= RESUMED) == big {
                return bytes;
            }
        }
    }

    /// What goes when it goes this way.
    pub fn wanted(&self, way: Way) -> Versions {
        if way == Way::Put { self.at_origin.clone() } else { self.on_server.clone() }
    }

    /// Whether this version has come already.
    pub fn has(&self, way: Way, name: &str, version: u64) -> bool {
        self.held(way).get(name) == Some(&version)
    }

    fn held(&self, way: Way) -> &Versions {
        if way == Way::Put { &self.on_server } else { &self.at_copy }
    }

    fn destination(&self, way: Way) -> &Path {
        if way == Way::Put { &self.there } else { &self.copy }
    }

    /// Compares what lies at the destination with what may: the old version or the new one of each file, whole, and nothing else. What is
    /// there holds from now on; the sentences tell what is torn, lost or not meant to be there.
    pub fn look(&mut self, way: Way, wanted: &Versions) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut found = files(self.destination(way));
        let held = if way == Way::Put { &mut self.on_server } else { &mut self.at_copy };
        let names: BTreeSet<String> = wanted.keys().chain(held.keys()).cloned().collect();
        for name in names {
            let seen = found.remove(&name);
            // The new one first: empty files are all alike.
            let possible = [wanted.get(&name).copied(), held.get(&name).copied()];
            let is = |version: &Option<u64>| version.map(content) == seen;
            match possible.into_iter().find(|version| is(version) && (version.is_some() || possible[1].is_none())) {
                Some(version) => drop(version.map(|version| held.insert(name, version))),
                None => wrong.push(format!("{name} should hold one of {possible:?}, but {}", told(seen.as_deref()))),
            }
        }
        let strange = found.keys().filter(|name| way == Way::Put || !is_part(name));
        wrong.extend(strange.map(|name| format!("{name} lies where nothing of the kind was put")));
        wrong
    }

    /// How many bytes are still to be moved: what has come already goes again unless only what is `newer` does, and of what was broken off
    /// the rest.
    pub fn missing(&self, way: Way, wanted: &Versions, newer: bool) -> u64 {
        let left = wanted.iter().filter(|(name, version)| !(newer && self.has(way, name, **version)));
        left.map(|(name, version)| self.rest(way, name, &content(*version))).sum()
    }

    fn rest(&self, way: Way, name: &str, whole: &[u8]) -> u64 {
        let size = whole.len() as u64;
        let begun = match way {
            Way::Put if size < RESUMED => None,
            // Of what was begun under this name the server offers the longest, whatever it is.
            Way::Put => {
                let key = &sha256(format!("{TREE}/{name}").as_bytes())[..32];
                let begun =
                    files(&self.uploads).into_iter().filter(|(name, _)| name.starts_with(key)).map(|(_, bytes)| bytes);
                let longest = begun.filter(|bytes| bytes.len() <= whole.len()).max_by_key(Vec::len);
                longest.filter(|bytes| whole.starts_with(bytes))
            }
            Way::Get => {
                let dir = self.copy.join(name).parent().unwrap().to_owned();
                let parts = files(&dir).into_iter().filter(|(name, _)| !name.contains('/') && is_part(name));
                parts.map(|(_, bytes)| bytes).filter(|bytes| whole.starts_with(bytes)).max_by_key(Vec::len)
            }
        };
        size - begun.map_or(0, |bytes| bytes.len() as u64)
    }

    /// Downloads that are not whole.
    pub fn parts(&self) -> Vec<String> {
        files(&self.copy).into_keys().filter(|name| is_part(name)).collect()
    }
}

/// Every file below a directory, by its path from there.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn is_part(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or_default();
    name.starts_with(".dfos-") && name.ends_with(".part")
}

fn told(seen: Option<&[u8]>) -> String {
    seen.map_or("is not there".into(), |bytes| format!("holds {} bytes of the digest {}", bytes.len(), sha256(bytes)))
}
