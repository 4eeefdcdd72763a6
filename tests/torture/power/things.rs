//! A user who throws things away and has them back. Each thing is under its name or in the trash, never in neither.

use super::machine::Machine;
use super::wire::Wire;
use crate::common::Raw;
use crate::journal::content;
use crate::run::Chance;
use std::sync::atomic::{AtomicBool, Ordering};

/// Who does it; the limits of users give a trash to this one.
pub const USER: &str = "alice";

#[derive(Debug, Clone, PartialEq)]
enum Place {
    /// Under its own name.
    Name,
    /// In the trash.
    Trash,
    /// Asked for, and not answered: it was there and is to come here.
    Either,
}

#[derive(Debug)]
struct Thing {
    name: String,
    version: u64,
    place: Place,
}

/// All things that were acknowledged.
pub struct Things {
    things: Vec<Thing>,
    next: u64,
    chance: Chance,
    /// Requests that were answered OK.
    pub acknowledged: u64,
}

impl Things {
    /// None yet.
    pub fn new(chance: Chance) -> Things {
        Things { things: Vec::new(), next: 0, chance, acknowledged: 0 }
    }

    /// Uploads, throws away and restores until told to stop, or until the connection ends.
    pub fn work(&mut self, address: &str, stop: &AtomicBool) {
        let Some(mut wire) = Wire::login(address, USER, "secret") else { return };
        while !stop.load(Ordering::Relaxed) && self.things.len() < 50 && self.one(&mut wire).is_some() {}
    }

    fn one(&mut self, wire: &mut Wire) -> Option<()> {
        self.next += 1;
        let (name, version) = (format!("thing{}", self.next), self.next << 16 | self.chance.below(28));
        wire.upload(&name, &content(version))?.starts_with("OK").then_some(())?;
        self.acknowledged += 1;
        self.things.push(Thing { name: name.clone(), version, place: Place::Either });
        let thing = self.things.last_mut()?;
        let trashed = wire.ask(&format!("DELETE {name} trash"))?;
        let id = trashed.strip_prefix("OK deleted id=")?;
        self.acknowledged += 1;
        thing.place = Place::Trash;
        if self.chance.one_in(2) {
            thing.place = Place::Either;
            wire.ask(&format!("TRASH restore {id}"))?.starts_with("OK").then_some(())?;
            self.acknowledged += 1;
            thing.place = Place::Name;
        }
        Some(())
    }

    /// What is lost. Afterwards there are no things any more.
    pub fn check(&mut self, machine: &Machine) -> Vec<String> {
        let mut raw = machine.server().login(USER);
        let rows = listed(&mut raw);
        let lost = self.things.drain(..).filter_map(|thing| missing(&thing, &rows, &mut raw)).collect();
        raw.demand("TRASH empty", "OK emptied");
        for name in raw.names("") {
            raw.demand(&format!("DELETE {name}"), "OK");
        }
        lost
    }
}

/// The rows of the trash: id and path of each thing.
fn listed(raw: &mut Raw) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut line = raw.ask("TRASH list");
    while let Some(row) = line.strip_prefix("TRASHED ") {
        let words: Vec<&str> = row.split(' ').collect();
        rows.push((words[0].to_owned(), words[4].to_owned()));
        line = raw.line();
    }
    rows
}

/// A sentence, if a thing is not where it should be, or not what it was.
fn missing(thing: &Thing, rows: &[(String, String)], raw: &mut Raw) -> Option<String> {
    let in_trash = rows.iter().find(|(_, path)| *path == thing.name);
    let told = raw.ask(format!("STAT {}", thing.name));
    let under_name = told.starts_with("OK type=");
    let is_right = match thing.place {
        Place::Name => under_name && in_trash.is_none(),
        Place::Trash => in_trash.is_some() && !under_name,
        Place::Either => in_trash.is_some() != under_name,
    };
    if !is_right {
        return Some(format!("{thing:?}: STAT tells '{told}', TRASH list {in_trash:?} of {rows:?}"));
    }
    if let Some((id, _)) = in_trash {
        let restored = raw.ask(format!("TRASH restore {id}"));
        if !restored.starts_with("OK restored") {
            return Some(format!("{thing:?} cannot be had back: {restored}"));
        }
    }
    let body = raw.fetch(&format!("DOWNLOAD {}", thing.name));
    let is_whole = body.as_ref().is_ok_and(|body| body.bytes == content(thing.version));
    (!is_whole).then(|| format!("{thing:?} is not what it was: {:?}", body.map(|body| body.end)))
}
