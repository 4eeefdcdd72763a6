//! What may lie under each name of a user, and whether it does.

use crate::common::tree::{sha256, snapshot};
use std::collections::BTreeMap;
use std::path::Path;

/// What lies under a name.
#[derive(Clone, PartialEq, Eq)]
pub enum Thing {
    /// Nothing.
    Nothing,
    /// A directory.
    Dir,
    /// A file with this content.
    File(Vec<u8>),
}

impl std::fmt::Debug for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Thing::Nothing => f.write_str("nothing"),
            Thing::Dir => f.write_str("a directory"),
            Thing::File(bytes) => write!(f, "{} bytes ({:.8})", bytes.len(), sha256(bytes)),
        }
    }
}

/// What each name may hold: one thing where it is certain, the old and the new where it is not.
#[derive(Default, Clone)]
pub struct Names {
    may: BTreeMap<String, Vec<Thing>>,
}

/// What a request does to names.
pub type Effect = Vec<(String, Thing)>;

impl Names {
    /// It is so.
    pub fn is(&mut self, name: &str, thing: Thing) {
        self.may.insert(name.into(), vec![thing]);
    }

    /// Makes all of it, as an operator does; where there is nothing, not even the directory.
    pub fn make_in(&self, dir: &Path) {
        for (name, things) in &self.may {
            match things.first() {
                Some(Thing::Dir) => std::fs::create_dir_all(dir.join(name)).unwrap(),
                Some(Thing::File(bytes)) => {
                    std::fs::create_dir_all(dir).unwrap();
                    std::fs::write(dir.join(name), bytes).unwrap();
                }
                _ => {}
            }
        }
    }

    /// What a name holds for certain.
    pub fn content(&self, name: &str) -> Vec<u8> {
        match self.may.get(name).map(Vec::as_slice) {
            Some([Thing::File(bytes)]) => bytes.clone(),
            other => panic!("{name} holds {other:?}"),
        }
    }

    /// A request was answered OK: all of it has happened.
    pub fn done(&mut self, effect: Effect) {
        effect.into_iter().for_each(|(name, thing)| self.is(&name, thing));
    }

    /// Nobody knows whether a request was carried out.
    pub fn doubtful(&mut self, effect: Effect) {
        for (name, thing) in effect {
            self.may.entry(name).or_insert_with(|| vec![Thing::Nothing]).push(thing);
        }
    }

    /// All names, and what each may hold.
    pub fn all(&self) -> impl Iterator<Item = (&String, &Vec<Thing>)> {
        self.may.iter()
    }

    /// A directory and all that is in it.
    pub fn below(&self, dir: &str) -> Vec<String> {
        let within = format!("{dir}/");
        self.may.keys().filter(|name| *name == dir || name.starts_with(&within)).cloned().collect()
    }

    /// How many names there are for certain.
    pub fn count(&self) -> usize {
        self.may.values().filter(|things| !things.contains(&Thing::Nothing)).count()
    }

    /// Sentences about what is not as it may be.
    pub fn wrong(&self, dir: &Path) -> Vec<String> {
        let mut found: BTreeMap<String, Thing> = BTreeMap::new();
        for (path, (kind, _, _, bytes)) in snapshot(dir) {
            let name = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
            found.insert(name, if kind == 'd' { Thing::Dir } else { Thing::File(bytes) });
        }
        let names = self.may.keys().chain(found.keys().filter(|name| !self.may.contains_key(*name)));
        let wrong = |name: &String| {
            let seen = found.get(name).unwrap_or(&Thing::Nothing);
            let may = self.may.get(name).map_or(&[Thing::Nothing][..], Vec::as_slice);
            (!may.contains(seen)).then(|| format!("{name} holds {seen:?}, but may hold {may:?}"))
        };
        names.filter_map(wrong).collect()
    }
}
