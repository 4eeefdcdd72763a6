//! The command `rm`: files, and directories with all that is in them.

use super::cli::Rm;
use super::consent::{agree, may_ask};
use super::console::{Console, Named};
use super::display::json::Object;
use super::display::output::Volume;
use super::display::steps::{self, Steps};
use super::each::each;
use super::failure::{Exit, Failure};
use super::filter::Filter;
use super::limits;
use super::names::below_here;
use super::remote::Recursion;
use super::transfer::rules::LEFT_OUT;
use super::transfer::tally::Tally;
use super::trash;
use crate::proto::answer::Entry;
use crate::proto::{Code, EntryKind, Mtime, RemotePath};
use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// `rm`.
pub fn rm(console: &mut Console, options: &Rm) -> Result<(), Failure> {
    let to_trash = options.trash.wanted(std::env::var_os(trash::options::VARIABLE).as_deref())?;
    let keeps = if to_trash { Some(trash::keeps(console)?) } else { None };
    if options.recursive && !options.dry_run && !to_trash {
        may_ask(console, options.yes, "rm -r")?;
    }
    let mut removal = Removal { options, filter: &options.filters.0, steps: Steps::default(), to_trash, trashed: 0 };
    let result = match options.list.open()? {
        None => {
            let named = console.all_named(&options.remote)?;
            each(console, named, |console, name| removal.one(console, name))
        }
        Some(mut list) => removal.listed(console, &mut list),
    };
    if options.dry_run {
        console.output.note(&removal.steps.told(0));
    }
    if let Some(keeps) = keeps.filter(|_| removal.trashed > 0) {
        trash::told(&console.output, keeps);
    }
    result
}

/// `subfolder delete`: one directory with all that is in it.
pub fn directory(console: &mut Console, name: &Named, yes: bool) -> Result<(), Failure> {
    may_ask(console, yes, "subfolder delete")?;
    agree(name, yes)?;
    whole_tree(console, name)
}

/// Deletes a directory in one request: the server does all of it.
fn whole_tree(console: &mut Console, name: &Named) -> Result<(), Failure> {
    let mut removed = 0;
    console.ask_to_remove(|remote| remote.rmdir(&name.path, Recursion::Recursive).map(|count| removed = count))?;
    console.summary.deleted += removed;
    console.output.detail(&format!("{}: {removed} removed", name.escaped()));
    let mut object = Object::new("removed").path(name.shown.as_bytes());
    object.files = Some(removed);
    console.output.object(&object)
}

struct Removal<'a> {
    options: &'a Rm,
    filter: &'a Filter,
    steps: Steps,
    /// Whether things go to the trash instead; and how many have.
    to_trash: bool,
    trashed: u64,
}

impl Removal<'_> {
    /// Names out of a list, one after the other. Like arguments, one that fails does not keep the others.
    fn listed(&mut self, console: &mut Console, list: &mut super::list::List) -> Result<(), Failure> {
        let tally = Tally::default();
        loop {
            let names = list.names(limits::LISTED, &console.stop)?;
            if names.is_empty() {
                break;
            }
            for word in names {
                let named = below_here(Path::new(&word)).and_then(|_| console.named_exactly(word.clone()));
                match named.and_then(|name| self.one(console, name)) {
                    Ok(()) => tally.finished(0, 0),
                    Err(failure) if failure.retry || failure.exit == Exit::Interrupted => return Err(failure),
                    Err(failure) => {
                        console.output.error(&failure);
                        tally.failed(&failure);
                    }
                }
            }
        }
        let outcome = tally.outcome();
        match outcome.exit {
            Exit::Ok => Ok(()),
            exit => {
                let text = format!("{} of {} failed", outcome.failed, outcome.failed + outcome.files);
                Err(Failure::new(exit, text))
            }
        }
    }

    fn one(&mut self, console: &mut Console, name: Named) -> Result<(), Failure> {
        // A directory as a whole the server removes fastest; whoever wants to see or choose has each thing removed by itself.
        // To the trash it goes as a whole, unless there are rules.
        let each = self.options.dry_run || console.output.volume == Volume::Verbose || !self.filter.is_empty();
        let result = if each { self.looked_at(console, &name) } else { self.at_once(console, &name) };
        result.inspect_err(|_| console.summary.failed())
    }

    fn at_once(&mut self, console: &mut Console, name: &Named) -> Result<(), Failure> {
        if self.to_trash {
            return self.trash(console, name);
        }
        match console.ask_to_remove(|remote| remote.delete(&name.path)) {
            Err(failure) if failure.code == Some(Code::IsDirectory) && self.options.recursive => {
                agree(name, self.options.yes)?;
                whole_tree(console, name)
            }
            Err(failure) if failure.code == Some(Code::IsDirectory) => Err(needs_recursion(name, failure)),
            result => {
                result?;
                console.summary.deleted += 1;
                console.output.object(&Object::new("deleted").path(name.shown.as_bytes()))
            }
        }
    }

    fn looked_at(&mut self, console: &mut Console, name: &Named) -> Result<(), Failure> {
        let stat = console.ask(|remote| remote.stat(&name.path))?;
        let is_directory = stat.kind == EntryKind::Dir;
        let own: Vec<&[u8]> = name.path.name().into_iter().collect();
        if !self.filter.takes(&own, is_directory) {
            if is_directory && self.options.recursive {
                console.output.note(&format!("{}: passed over: {LEFT_OUT}", name.escaped()));
            }
            return Ok(());
        }
        if !is_directory {
            return self.step(console, name, stat.kind, stat.size);
        }
        if !self.options.recursive {
            return Err(needs_recursion(name, Failure::refused(Code::IsDirectory, "")));
        }
        if self.to_trash && self.filter.is_empty() {
            return self.step(console, name, stat.kind, 0);
        }
        if !self.options.dry_run && !self.to_trash {
            agree(name, self.options.yes)?;
        }
        self.tree(console, name)
    }

    /// Removes what the rules take of a directory, thing by thing; a directory in which something stays, stays.
    fn tree(&mut self, console: &mut Console, top: &Named) -> Result<(), Failure> {
        let mut entries: Vec<Entry> = Vec::new();
        let listed = console.ask(|remote| {
            entries.clear();
            remote.list(&top.path, Recursion::Recursive, &mut |entry| {
                if entries.len() >= limits::ENTRIES {
                    return Err(Failure::new(
                        Exit::Other,
                        "there are too many entries; delete the directories below one by one",
                    ));
                }
                entries.push(entry);
                Ok(())
            })
        })?;
        let root =
            Entry { kind: EntryKind::Dir, size: 0, mtime: Mtime { seconds: 0, nanos: 0 }, path: RemotePath::root() };
        entries.push(root);
        let mut stay: HashSet<RemotePath> = HashSet::new();
        if listed.skipped > 0 {
            stay.insert(RemotePath::root());
        }
        entries.retain(|entry| {
            let taken = self.filter.reaches(&entry.path, entry.kind == EntryKind::Dir);
            if !taken {
                hold(&mut stay, &entry.path);
            }
            taken
        });
        // What is in a directory goes before it.
        entries.sort_by_cached_key(|entry| {
            let mut key: Vec<(bool, Vec<u8>)> = entry.path.components().map(|name| (false, name.to_vec())).collect();
            key.extend((entry.kind == EntryKind::Dir).then(|| (true, Vec::new())));
            key
        });
        let mut failures = 0;
        for entry in entries {
            console.stop.check()?;
            if entry.kind == EntryKind::Dir && stay.contains(&entry.path) {
                continue;
            }
            let removed = below(top, &entry.path).and_then(|name| self.step(console, &name, entry.kind, entry.size));
            match removed {
                Ok(()) => {}
                Err(failure) if failure.retry || failure.exit == Exit::Interrupted => return Err(failure),
                Err(failure) => {
                    console.output.error(&failure);
                    failures += 1;
                    hold(&mut stay, &entry.path);
                }
            }
        }
        match (failures, listed.skipped) {
            (0, 0) => Ok(()),
            (0, skipped) => {
                let text = format!("{}: {skipped} directories in it could not be read by the server", top.escaped());
                Err(Failure::new(Exit::Partial, text))
            }
            (count, _) => Err(Failure::new(Exit::Partial, format!("{}: {count} things in it stay", top.escaped()))),
        }
    }

    fn trash(&mut self, console: &mut Console, name: &Named) -> Result<(), Failure> {
        trash::move_there(console, name, self.options.recursive)?;
        self.trashed += 1;
        Ok(())
    }

    /// Removes one thing, or tells that it would be.
    fn step(&mut self, console: &mut Console, name: &Named, kind: EntryKind, size: u64) -> Result<(), Failure> {
        // Of a directory out of which things went one by one the empty rest is nothing to keep.
        let to_trash = self.to_trash && (kind != EntryKind::Dir || self.filter.is_empty());
        let (verb, bytes) = match (kind, to_trash) {
            (EntryKind::Dir, true) => ("trash", None),
            (EntryKind::Dir, false) => ("rmdir", None),
            (_, true) => ("trash", Some(size)),
            (_, false) => ("delete", Some(size)),
        };
        self.steps.count(verb, bytes);
        steps::tell(&console.output, self.options.dry_run, verb, name.shown.as_bytes(), None, bytes);
        if self.options.dry_run {
            return Ok(());
        }
        if to_trash {
            return self.trash(console, name);
        }
        match kind {
            EntryKind::Dir if name.path.is_root() => return Ok(()), // one's own directory stays, as with one request
            EntryKind::Dir => console.ask_to_remove(|remote| remote.rmdir(&name.path, Recursion::Flat).map(drop))?,
            _ => console.ask_to_remove(|remote| remote.delete(&name.path))?,
        }
        console.summary.deleted += 1;
        console.output.object(&Object::new("deleted").path(name.shown.as_bytes()))
    }
}

/// All directories that lead to `path`, and the top, have to stay.
fn hold(stay: &mut HashSet<RemotePath>, path: &RemotePath) {
    let mut above = path.parent();
    while let Some(path) = above {
        above = path.parent();
        stay.insert(path);
    }
    stay.insert(RemotePath::root());
}

/// What lies below a named directory, as the user would write it.
fn below(top: &Named, tail: &RemotePath) -> Result<Named, Failure> {
    if tail.is_root() {
        return Ok(top.clone());
    }
    let path = top.path.join_path(tail).map_err(|why| super::names::bad_name(tail.as_bytes(), &why))?;
    let mut shown = top.shown.as_bytes().to_vec();
    if !shown.ends_with(b"/") {
        shown.push(b'/');
    }
    shown.extend_from_slice(tail.as_bytes());
    Ok(Named { shown: OsString::from_vec(shown), path })
}

fn needs_recursion(name: &Named, failure: Failure) -> Failure {
    let text = format!("{} is a directory: delete it with rm -r", name.escaped());
    Failure { text, ..failure }
}
