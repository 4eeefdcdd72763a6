//! What there is to fetch: sources and the server's listings become files with a place of their own.

use super::GetPlan;
use super::ground::{Destination, Ground, made};
use crate::client::failure::{Exit, Failure};
use crate::client::limits;
use crate::client::names::{bad_name, below_here};
use crate::client::remote::{Listed, Recursion, Remote, Replace, Stat};
use crate::client::report::{Direction, Event};
use crate::client::retry::Context;
use crate::client::transfer::download::{Download, Place};
use crate::client::transfer::part::{Version, is_directory};
use crate::client::transfer::rules::{Clobber, LEFT_OUT, Rules};
use crate::client::transfer::source::local;
use crate::client::transfer::tally::Tally;
use crate::proto::answer::Entry;
use crate::proto::{EntryKind, Mtime, RemotePath};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Finds out what there is to fetch.
pub struct Planner<'a> {
    context: &'a Context<'a>,
    recursive: bool,
    rules: &'a Rules,
    destination: &'a Destination,
    /// The number of the next file.
    next: u64,
    /// What is to be fetched.
    pub files: Vec<Download>,
    /// What has failed already, or is left alone.
    pub tally: Tally,
    /// Names that sources have taken in the destination.
    taken: HashSet<RemotePath>,
    /// The destination directory, once it is open.
    root: Option<Ground>,
    /// What a dry run would fetch, where to, and how many bytes.
    pub drawn: Vec<(RemotePath, PathBuf, u64)>,
    /// The directories that were made, or in a dry run would be.
    made: HashSet<RemotePath>,
}

impl<'a> Planner<'a> {
    /// Nothing is planned yet.
    pub fn new(context: &'a Context<'a>, plan: &'a GetPlan, destination: &'a Destination) -> Self {
        let (files, tally, taken, made) = (Vec::new(), Tally::default(), HashSet::new(), HashSet::new());
        let (recursive, rules, drawn) = (plan.recursive, &plan.rules, Vec::new());
        Planner { context, recursive, rules, destination, next: 0, files, tally, taken, root: None, drawn, made }
    }

    /// Plans one source. The error is the connection's; what is wrong with the source itself counts as a file that failed.
    pub fn source(
        &mut self,
        typed: &OsStr,
        path: &RemotePath,
        stat: Result<Stat, Failure>,
        session: &mut Option<Remote>,
    ) -> Result<(), Failure> {
        let before = (self.next, self.files.len());
        let room = limits::ENTRIES.saturating_sub(self.files.len());
        let way = match self.way(typed, path) {
            Ok(way) => way,
            Err(failure) => {
                self.fail(path, &failure);
                return Ok(());
            }
        };
        let is_dir = stat.as_ref().is_ok_and(|stat| stat.kind == EntryKind::Dir);
        if stat.is_ok() && !self.rules.filter.reaches(&way, is_dir) {
            if is_dir && !self.rules.listed {
                self.context.report.event(Event::Skipped { name: path.as_bytes(), why: LEFT_OUT });
            }
            return Ok(());
        }
        let planned = match stat {
            Ok(stat) if stat.kind == EntryKind::Dir && self.recursive => {
                match self.context.with_retries(session, |remote, _| listing(remote, path, room)) {
                    Ok((entries, listed)) => self.tree(path, &way, entries, listed),
                    Err(failure) if failure.code.is_some() && !failure.retry => Err(failure),
                    Err(failure) => return Err(failure),
                }
            }
            Ok(stat) => self.single(path, &way, &stat),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = planned {
            self.fail(path, &failure);
        }
        let bytes = self.files.iter().skip(before.1).map(|job| job.version.0).fold(0, u64::saturating_add);
        self.context.report.event(Event::Planned { files: self.next - before.0, bytes });
        Ok(())
    }

    /// Where a source goes below the destination: under its own name, or, out of a list, as it lies below where we stand.
    fn way(&self, typed: &OsStr, path: &RemotePath) -> Result<RemotePath, Failure> {
        let names: Vec<&[u8]> = match self.rules.listed {
            true => below_here(Path::new(typed))?.into_iter().map(OsStrExt::as_bytes).collect(),
            false => path.name().into_iter().collect(),
        };
        names.iter().try_fold(RemotePath::root(), |way, name| way.join(name).map_err(|why| bad_name(name, &why)))
    }

    fn single(&mut self, path: &RemotePath, way: &RemotePath, stat: &Stat) -> Result<(), Failure> {
        let refuse = |exit, why| {
            Err(Failure::new(exit, format!("{}: {why}", crate::client::display::escape::escape(path.as_bytes()))))
        };
        match stat.kind {
            EntryKind::File => {}
            EntryKind::Dir => return refuse(Exit::Conflict, "is a directory; -r fetches it with all that is in it"),
            EntryKind::Link => return refuse(Exit::Usage, "is a symbolic link; links are not followed"),
            EntryKind::Other => return refuse(Exit::Usage, "is not a file"),
        }
        let Some(own) = way.name() else { return refuse(Exit::Usage, "is not a file") };
        let version = (stat.size, stat.mtime);
        match self.destination {
            Destination::Stdout => self.push(path.clone(), Place::Stdout, version),
            Destination::Into(dir) => {
                let root = self.root(dir)?;
                let parent = way.parent().unwrap_or_else(RemotePath::root);
                if self.take(path, way)? {
                    self.make(&root, &parent)?;
                    self.file(path.clone(), &root, parent, own, version);
                }
            }
            Destination::As(to) => {
                let Some(name) = to.file_name() else { return Err(is_directory(to)) };
                let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
                let root = self.root(parent.unwrap_or(Path::new(".")))?;
                self.file(path.clone(), &root, RemotePath::root(), name.as_bytes(), version);
            }
        };
        Ok(())
    }

    fn tree(
        &mut self,
        path: &RemotePath,
        way: &RemotePath,
        mut entries: Vec<Entry>,
        listed: Listed,
    ) -> Result<(), Failure> {
        let (root, top) = match (self.destination, path.name()) {
            (Destination::Stdout, _) => {
                return Err(Failure::new(Exit::Usage, "a directory cannot go to standard output"));
            }
            (Destination::As(to), _) => {
                if std::fs::symlink_metadata(to).is_err() {
                    made(self.context.report, to);
                }
                if !self.rules.dry_run {
                    match std::fs::create_dir(to) {
                        Err(why) if why.kind() != io::ErrorKind::AlreadyExists => return Err(local(to, &why)),
                        _ => {}
                    }
                }
                (self.root(to)?, RemotePath::root())
            }
            (Destination::Into(dir), Some(_)) => {
                if !self.take(path, way)? {
                    return Ok(());
                }
                (self.root(dir)?, way.clone())
            }
            // The user's whole directory: what is in it is meant.
            (Destination::Into(dir), None) => (self.root(dir)?, RemotePath::root()),
        };
        self.make(&root, &top)?;
        // The files of one directory one after the other: each directory is opened once.
        entries.sort_by(|a, b| (a.path.parent(), &a.path).cmp(&(b.path.parent(), &b.path)));
        for entry in entries {
            self.context.stop.check()?;
            if !self.rules.filter.reaches(&entry.path, entry.kind == EntryKind::Dir) {
                continue;
            }
            if let Err(failure) = self.entry(path, &root, &top, &entry) {
                self.fail(&entry.path, &failure);
            }
        }
        if listed.skipped > 0 {
            let text = format!("the server could not read {} of the directories", listed.skipped);
            self.fail(path, &Failure::new(Exit::Denied, text));
        }
        Ok(())
    }

    fn entry(&mut self, source: &RemotePath, root: &Ground, top: &RemotePath, entry: &Entry) -> Result<(), Failure> {
        let too_long = |why| bad_name(entry.path.as_bytes(), &why);
        let remote = source.join_path(&entry.path).map_err(too_long)?;
        let here = top.join_path(&entry.path).map_err(too_long)?;
        let why = match entry.kind {
            EntryKind::Dir => return self.make(root, &here),
            EntryKind::File => {
                let (Some(dir), Some(name)) = (here.parent(), here.name()) else { return Ok(()) };
                self.file(remote, root, dir, name, (entry.size, entry.mtime));
                return Ok(());
            }
            EntryKind::Link => "a symbolic link; links are not followed",
            EntryKind::Other => "not a file",
        };
        self.context.report.event(Event::Skipped { name: remote.as_bytes(), why });
        Ok(())
    }

    /// Two sources of one name would overwrite each other; what a list names twice comes once.
    fn take(&mut self, path: &RemotePath, way: &RemotePath) -> Result<bool, Failure> {
        let free = self.taken.insert(way.clone());
        if free || self.rules.listed {
            return Ok(free);
        }
        let name = crate::client::display::escape::escape(path.as_bytes());
        Err(Failure::new(Exit::Conflict, format!("{name}: another source of this command has the same name")))
    }

    fn root(&mut self, path: &Path) -> Result<Ground, Failure> {
        if let Some(root) = &self.root {
            return Ok(root.clone());
        }
        let root = Ground::open(path, self.rules.dry_run)?;
        self.root = Some(root.clone());
        Ok(root)
    }

    /// Makes a directory, and what leads to it.
    fn make(&mut self, root: &Ground, tail: &RemotePath) -> Result<(), Failure> {
        if tail.is_root() || self.made.contains(tail) {
            return Ok(());
        }
        if root.look(tail.as_bytes()).is_none() {
            made(self.context.report, &root.path_of(tail.as_bytes()));
        }
        if let Some(folder) = root.folder.as_ref().filter(|_| !self.rules.dry_run) {
            folder.make(tail)?;
        }
        let ways = std::iter::successors(Some(tail.clone()), RemotePath::parent);
        self.made.extend(ways.take_while(|way| !way.is_root()));
        Ok(())
    }

    /// Plans one file, unless the rules leave alone what has its name.
    fn file(&mut self, remote: RemotePath, root: &Ground, dir: RemotePath, name: &[u8], version: Version) {
        let tail = if dir.is_root() { name.to_vec() } else { [dir.as_bytes(), b"/", name].concat() };
        if self.rules.clobber != Clobber::Always
            && let Some(there) = root.look(&tail)
        {
            let regular = there.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG;
            let time = Mtime { seconds: there.st_mtime, nanos: u32::try_from(there.st_mtime_nsec).unwrap_or(0) };
            if let Some(why) = self.rules.clobber.spares(version.1, regular.then_some(time)) {
                self.tally.kept();
                self.context.report.event(Event::Kept { file: None, name: remote.as_bytes(), why });
                return;
            }
        }
        match &root.folder {
            Some(folder) if !self.rules.dry_run => {
                self.push(remote, Place::File { root: folder.clone(), dir, name: name.to_vec() }, version);
            }
            _ => self.draw(remote, root.path_of(&tail), version.0),
        }
    }

    fn push(&mut self, remote: RemotePath, place: Place, version: Version) {
        if self.rules.dry_run {
            return self.draw(remote, PathBuf::from("-"), version.0);
        }
        let mut job = Download::new(self.next, remote, place, version);
        job.replace = if self.rules.clobber == Clobber::Never { Replace::Keep } else { Replace::Replace };
        self.files.push(job);
        self.next += 1;
    }

    fn draw(&mut self, remote: RemotePath, to: PathBuf, size: u64) {
        self.drawn.push((remote, to, size));
    }

    /// A file that fails before it could become a job.
    fn fail(&mut self, name: &RemotePath, failure: &Failure) {
        let (file, name) = (self.next, name.as_bytes());
        self.next += 1;
        self.tally.failed(failure);
        self.context.report.event(Event::Started { file, direction: Direction::Get, name, size: None });
        self.context.report.event(Event::Failed { file, failure });
    }
}

/// All that lies below a directory, `most` entries at most.
pub fn listing(remote: &mut Remote, path: &RemotePath, most: usize) -> Result<(Vec<Entry>, Listed), Failure> {
    let mut entries = Vec::new();
    let listed = remote.list(path, Recursion::Recursive, &mut |entry| {
        if entries.len() >= most {
            let limit = limits::ENTRIES;
            let text = format!("there are more than {limit} entries to fetch; fetch the directories below one by one");
            return Err(Failure::new(Exit::Other, text));
        }
        entries.push(entry);
        Ok(())
    })?;
    Ok((entries, listed))
}
