//! What there is to send: sources and what lies below them become jobs with a name on the server.

use super::PutPlan;
use crate::client::failure::{Exit, Failure};
use crate::client::names::{self, bad_name};
use crate::client::remote::{Remote, Stat};
use crate::client::report::Event;
use crate::client::retry::Context;
use crate::client::transfer::rules::{Clobber, LEFT_OUT, Rules};
use crate::client::transfer::sender::{Job, What, name};
use crate::client::transfer::source::{Beneath, Links, local, mtime, shown};
use crate::client::transfer::tally::Tally;
use crate::proto::{Code, EntryKind, RemotePath};
use nix::fcntl::OFlag;
use std::collections::HashSet;
use std::fs::{File, FileType};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use walkdir::{DirEntry, WalkDir};

/// Where the sources go.
pub enum Destination {
    /// Below this directory, each under its own name.
    Into(RemotePath),
    /// The one source takes this name.
    As(RemotePath),
}

/// Finds out what there is to send.
pub struct Planner<'a> {
    context: &'a Context<'a>,
    recursive: bool,
    rules: &'a Rules,
    /// The number of the next file.
    next: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Directories to be made, those above first.
    pub dirs: Vec<Job>,
    /// Files to be sent.
    pub files: Vec<Job>,
    /// What has failed already, or is left alone.
    pub tally: Tally,
    /// Names that sources have taken on the server.
    taken: HashSet<RemotePath>,
}

impl<'a> Planner<'a> {
    /// Nothing is planned yet.
    pub fn new(context: &'a Context<'a>, plan: &'a PutPlan) -> Self {
        let (dirs, files, tally, taken) = (Vec::new(), Vec::new(), Tally::default(), HashSet::new());
        Planner { context, recursive: plan.recursive, rules: &plan.rules, next: 0, bytes: 0, dirs, files, tally, taken }
    }

    /// Plans one source. What is wrong with it counts as a file that failed.
    pub fn source(&mut self, source: &Path, destination: &Destination) {
        if let Err(failure) = self.try_source(source, destination) {
            self.fail(source.as_os_str().as_bytes(), &failure);
        }
    }

    /// Leaves alone what the rules spare, and tells what there is to do.
    pub fn spare(&mut self, session: &mut Option<Remote>) -> Result<(), Failure> {
        let clobber = self.rules.clobber;
        if clobber != Clobber::Always {
            let paths: Vec<RemotePath> = self.files.iter().map(|job| job.remote.clone()).collect();
            let stats = self.context.with_retries(session, |remote, _| remote.stat_all(&paths))?;
            for (mut job, stat) in std::mem::take(&mut self.files).into_iter().zip(stats) {
                job.new = clobber == Clobber::Never;
                match spared(clobber, &job, stat) {
                    Ok(None) => self.files.push(job),
                    Ok(Some(why)) => {
                        self.bytes -= job.left();
                        self.tally.kept();
                        self.context.report.event(Event::Kept { file: None, name: &name(&job), why });
                    }
                    Err(failure) => {
                        self.bytes -= job.left();
                        self.fail(&name(&job), &failure);
                    }
                }
            }
        }
        let files = self.files.len() as u64 + self.tally.outcome().failed;
        self.context.report.event(Event::Planned { files, bytes: self.bytes });
        Ok(())
    }

    fn try_source(&mut self, source: &Path, destination: &Destination) -> Result<(), Failure> {
        if source.as_os_str() == "-" && !self.rules.listed {
            return match destination {
                Destination::As(name) => {
                    self.job(name.clone(), What::Stdin);
                    Ok(())
                }
                Destination::Into(_) => {
                    let text = "standard input has no name: say which file it becomes (put - --to NAME)";
                    Err(Failure::new(Exit::Usage, text))
                }
            };
        }
        let names =
            if self.rules.listed { names::below_here(source)? } else { source.file_name().into_iter().collect() };
        // Links that the user names are followed; only those that a walk finds are not.
        let found = std::fs::metadata(source).map_err(|why| local(source, &why))?;
        let way: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let names_above = (1..way.len()).all(|end| self.rules.filter.takes(way.get(..end).unwrap_or_default(), true));
        if !names_above || !self.rules.filter.takes(&way, found.is_dir()) {
            if found.is_dir() && !self.rules.listed {
                self.context.report.event(Event::Skipped { name: source.as_os_str().as_bytes(), why: LEFT_OUT });
            }
            return Ok(());
        }
        let remote = match (destination, source.file_name()) {
            (Destination::Into(dir), _) if self.rules.listed => match self.listed(dir, &way, found.is_dir())? {
                Some(remote) => remote,
                None => return Ok(()),
            },
            (Destination::As(name), _) => name.clone(),
            (Destination::Into(dir), Some(name)) => {
                let remote = below(dir, name.as_bytes())?;
                if !self.taken.insert(remote.clone()) {
                    let text = format!("{}: another source of this command has the same name", shown(source));
                    return Err(Failure::new(Exit::Conflict, text));
                }
                remote
            }
            // `.`, `..`, `/`: what is in them is meant.
            (Destination::Into(dir), None) => dir.clone(),
        };
        if found.is_dir() {
            if !self.recursive {
                let text = format!("{} is a directory; -r puts it with all that is in it", shown(source));
                return Err(Failure::new(Exit::Usage, text));
            }
            return self.tree(source, &remote);
        }
        if !found.is_file() {
            return Err(Failure::new(Exit::Local, format!("{} is not a regular file", shown(source))));
        }
        let (size, mtime) = (found.len(), mtime(&found));
        self.job(remote, What::File { path: source.to_owned(), size, mtime, links: Links::Follow });
        Ok(())
    }

    /// Where a name of a list goes, below `dir` as it lies below where we stand; what leads there is made first. `None` if the list has
    /// named it before.
    fn listed(&mut self, dir: &RemotePath, way: &[&[u8]], is_dir: bool) -> Result<Option<RemotePath>, Failure> {
        let mut remote = dir.clone();
        for (at, name) in way.iter().enumerate() {
            remote = below(&remote, name)?;
            let leads = at + 1 < way.len();
            if leads && self.taken.insert(remote.clone()) {
                self.dirs.push(Job::new(u64::MAX, remote.clone(), What::Dir));
            }
        }
        Ok((is_dir || self.taken.insert(remote.clone())).then_some(remote))
    }

    /// Plans a directory. The walk goes by names, which somebody may turn into links meanwhile; so what it finds counts only if
    /// it can be reached from the directory, held open, without a link.
    fn tree(&mut self, source: &Path, remote: &RemotePath) -> Result<(), Failure> {
        let root = Arc::new(OwnedFd::from(File::open(source).map_err(|why| local(source, &why))?));
        // The slash makes a link that the user named be followed.
        let mut walk = WalkDir::new(source.join("")).sort_by_file_name().into_iter();
        while let Some(found) = walk.next() {
            if self.context.stop.asked() {
                return Ok(());
            }
            if let Ok(entry) = &found
                && !self.takes(entry, source)
            {
                if entry.file_type().is_dir() {
                    walk.skip_current_dir();
                }
                continue;
            }
            let planned = match &found {
                Ok(entry) => self.entry(entry, source, &root, remote),
                Err(why) => Err(walk_failure(source, why)),
            };
            if let Err(failure) = planned {
                let name = match &found {
                    Ok(entry) => entry.path(),
                    Err(why) => why.path().unwrap_or(source),
                };
                self.fail(name.as_os_str().as_bytes(), &failure);
            }
        }
        Ok(())
    }

    fn takes(&self, entry: &DirEntry, source: &Path) -> bool {
        if self.rules.filter.is_empty() {
            return true;
        }
        let tail = entry.path().strip_prefix(source).unwrap_or(Path::new(""));
        let names: Vec<&[u8]> = tail.components().map(|name| name.as_os_str().as_bytes()).collect();
        self.rules.filter.takes(&names, entry.file_type().is_dir())
    }

    fn entry(
        &mut self,
        entry: &DirEntry,
        source: &Path,
        root: &Arc<OwnedFd>,
        remote: &RemotePath,
    ) -> Result<(), Failure> {
        let path = entry.path();
        let kind = entry.file_type();
        if let Some(why) = not_sent(kind) {
            self.context.report.event(Event::Skipped { name: path.as_os_str().as_bytes(), why });
            return Ok(());
        }
        let tail = path.strip_prefix(source).unwrap_or(Path::new(""));
        let mut name = remote.clone();
        for component in tail.components() {
            name = below(&name, component.as_os_str().as_bytes())?;
        }
        let way = Beneath { root: root.clone(), tail: tail.to_owned() };
        if kind.is_dir() {
            // Its name would be sent as well.
            way.open(OFlag::O_PATH | OFlag::O_DIRECTORY).map_err(|why| local(path, &why))?;
            if !name.is_root() {
                self.dirs.push(Job::new(u64::MAX, name, What::Dir));
            }
            return Ok(());
        }
        let found = entry.metadata().map_err(|why| walk_failure(path, &why))?;
        let (size, mtime) = (found.len(), mtime(&found));
        self.job(name, What::File { path: path.to_owned(), size, mtime, links: Links::Refuse(way) });
        Ok(())
    }

    fn job(&mut self, remote: RemotePath, what: What) {
        if let What::File { size, .. } = what {
            self.bytes += size;
        }
        self.files.push(Job::new(self.next, remote, what));
        self.next += 1;
    }

    /// A file that fails before it could become a job.
    fn fail(&mut self, name: &[u8], failure: &Failure) {
        let file = self.next;
        self.next += 1;
        self.tally.failed(failure);
        let direction = crate::client::report::Direction::Put;
        self.context.report.event(Event::Started { file, direction, name, size: None });
        self.context.report.event(Event::Failed { file, failure });
    }
}

/// Why a file is left alone, by what the server told of its name.
fn spared(clobber: Clobber, job: &Job, there: Result<Stat, Failure>) -> Result<Option<&'static str>, Failure> {
    let What::File { mtime, .. } = &job.what else { return Ok(None) };
    match there {
        Ok(stat) => Ok(clobber.spares(*mtime, (stat.kind == EntryKind::File).then_some(stat.mtime))),
        // Who may only add learns nothing of what is there, and replaces nothing either.
        Err(failure) if failure.code == Some(Code::Denied) && clobber == Clobber::Older => Err(failure),
        Err(_) => Ok(None), // nothing is there, or the upload will say what stands in the way
    }
}

fn below(dir: &RemotePath, name: &[u8]) -> Result<RemotePath, Failure> {
    dir.join(name).map_err(|why| bad_name(name, &why))
}

/// Why something in a tree is passed over.
fn not_sent(kind: FileType) -> Option<&'static str> {
    match kind {
        _ if kind.is_dir() || kind.is_file() => None,
        _ if kind.is_symlink() => Some("a symbolic link; links are not followed"),
        _ if kind.is_fifo() => Some("a pipe"),
        _ if kind.is_socket() => Some("a socket"),
        _ => Some("a device"),
    }
}

fn walk_failure(path: &Path, why: &walkdir::Error) -> Failure {
    match why.io_error() {
        Some(error) => local(why.path().unwrap_or(path), error),
        None => Failure::new(Exit::Local, format!("{}: {why}", shown(path))),
    }
}
