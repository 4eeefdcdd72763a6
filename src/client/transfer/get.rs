//! The command `get`: which remote files go where, and then all of them on their way.
//!
//! What is written locally follows from what the user named and from names checked component by component; a server cannot
//! make it anything else.

use super::download::{Download, Place, here, tell};
use super::folder::Folder;
use super::lost::resumable;
use super::part::{Version, is_directory};
use super::queue::{Left, Queue};
use super::receiver::Receiver;
use super::rules::{Clobber, LEFT_OUT, Rules};
use super::source::local;
use super::tally::{Outcome, Tally};
use crate::client::failure::{Exit, Failure};
use crate::client::jobs::Jobs;
use crate::client::limits;
use crate::client::names::{bad_name, below_here, means_directory, remote_from_user};
use crate::client::remote::{Listed, Recursion, Remote, Replace, Stat};
use crate::client::report::{Direction, Event, Report};
use crate::client::retry::Context;
use crate::client::stop::Stop;
use crate::client::target::Target;
use crate::proto::answer::Entry;
use crate::proto::{EntryKind, Mtime, RemotePath};
use nix::sys::stat::FileStat;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What is to be fetched, and where to.
#[derive(Debug, Clone)]
pub struct GetPlan {
    /// Remote files and directories, as typed.
    pub sources: Vec<OsString>,
    /// The local name or directory; `-` is standard output. Without it each source keeps its name, in the current directory.
    pub to: Option<PathBuf>,
    /// What the sources are relative to.
    pub here: RemotePath,
    /// Whether directories are fetched with all that is in them.
    pub recursive: bool,
    /// How many connections; the first is the session's own.
    pub jobs: Jobs,
    /// Which of them come, and how.
    pub rules: Rules,
}

/// Fetches files. Failures of single files are told as events and counted; the error is one that ended the whole command.
pub fn get(
    target: &Target,
    plan: &GetPlan,
    session: &mut Option<Remote>,
    stop: &Stop,
    report: &dyn Report,
) -> Result<Outcome, Failure> {
    let met = AtomicBool::new(false);
    let context = Context::new(target, stop, report, &met);
    let mut left = None;
    get_all(&context, plan, session, &mut left).map_err(|failure| resumable(&context, failure, left))
}

/// The same; `left` becomes what there is still to fetch.
fn get_all(
    context: &Context,
    plan: &GetPlan,
    session: &mut Option<Remote>,
    left: &mut Option<Left>,
) -> Result<Outcome, Failure> {
    let destination = Destination::of(plan, context)?;
    let paths: Vec<RemotePath> =
        plan.sources.iter().map(|typed| remote_from_user(typed, &plan.here)).collect::<Result<_, _>>()?;
    let stats = context.with_retries(session, |remote, _| remote.stat_all(&paths))?;
    let mut planner = Planner::new(context, plan, &destination);
    for ((typed, path), stat) in plan.sources.iter().zip(&paths).zip(stats) {
        planner.source(typed, path, stat, session)?;
    }
    let Planner { files, tally, drawn, .. } = planner;
    if plan.rules.dry_run {
        drawn.iter().for_each(|(remote, to, size)| tell(context.report, remote, to, *size));
        return Ok(tally.outcome());
    }
    // Standard output takes one file after the other.
    let jobs = if matches!(destination, Destination::Stdout) { Jobs::Just(1) } else { plan.jobs };
    let bytes = files.iter().map(Download::left).fold(0, u64::saturating_add);
    let count = context.connections(jobs, files.len(), bytes);
    let files = Queue::new(files);
    let fetch = |context: Context, session: &mut Option<Remote>| Receiver::new(context, &files, &tally).run(session);
    let fetched = files.share(*context, count, session, |_| Ok(()), fetch);
    *left = Some(files.left(Download::left));
    fetched.map(|()| tally.outcome())
}

/// Where the sources go.
enum Destination {
    Stdout,
    /// Into this directory, each under its own name.
    Into(PathBuf),
    /// The one source takes this name.
    As(PathBuf),
}

impl Destination {
    fn of(plan: &GetPlan, context: &Context) -> Result<Self, Failure> {
        let Some(to) = &plan.to else { return Ok(Destination::Into(PathBuf::from("."))) };
        if to.as_os_str() == "-" {
            return Ok(Destination::Stdout);
        }
        if plan.sources.len() == 1 && !plan.rules.listed && !means_directory(to.as_os_str()) && !to.is_dir() {
            return Ok(Destination::As(to.clone()));
        }
        if !to.is_dir() {
            if !plan.rules.begun {
                made(context.report, to);
            }
            if !plan.rules.dry_run {
                std::fs::create_dir_all(to).map_err(|why| local(to, &why))?;
            }
        }
        Ok(Destination::Into(to.clone()))
    }
}

/// Tells of a directory that is made.
fn made(report: &dyn Report, path: &Path) {
    report.event(Event::Step { verb: "mkdir", name: here(path).as_os_str().as_bytes(), to: None, bytes: None });
}

/// The directory that the sources go into. In a dry run it need not be there.
#[derive(Clone)]
struct Ground {
    path: PathBuf,
    folder: Option<Arc<Folder>>,
}

impl Ground {
    /// A name below it as the user knows it.
    fn path_of(&self, tail: &[u8]) -> PathBuf {
        if tail == b"." { self.path.clone() } else { self.path.join(OsStr::from_bytes(tail)) }
    }

    fn look(&self, tail: &[u8]) -> Option<FileStat> {
        self.folder.as_ref().and_then(|folder| folder.look(tail))
    }
}

/// Finds out what there is to fetch.
struct Planner<'a> {
    context: &'a Context<'a>,
    recursive: bool,
    rules: &'a Rules,
    destination: &'a Destination,
    /// The number of the next file.
    next: u64,
    files: Vec<Download>,
    tally: Tally,
    /// Names that sources have taken in the destination.
    taken: HashSet<RemotePath>,
    /// The destination directory, once it is open.
    root: Option<Ground>,
    /// What a dry run would fetch, where to, and how many bytes.
    drawn: Vec<(RemotePath, PathBuf, u64)>,
    /// The directories that were made, or in a dry run would be.
    made: HashSet<RemotePath>,
}

impl<'a> Planner<'a> {
    fn new(context: &'a Context<'a>, plan: &'a GetPlan, destination: &'a Destination) -> Self {
        let (files, tally, taken, made) = (Vec::new(), Tally::default(), HashSet::new(), HashSet::new());
        let (recursive, rules, drawn) = (plan.recursive, &plan.rules, Vec::new());
        Planner { context, recursive, rules, destination, next: 0, files, tally, taken, root: None, drawn, made }
    }

    /// Plans one source. The error is the connection's; what is wrong with the source itself counts as a file that failed.
    fn source(
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
        let folder = match Folder::open(path) {
            Ok(folder) => Some(Arc::new(folder)),
            Err(_) if self.rules.dry_run && std::fs::symlink_metadata(path).is_err() => None,
            Err(failure) => return Err(failure),
        };
        let root = Ground { path: path.to_owned(), folder };
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
fn listing(remote: &mut Remote, path: &RemotePath, most: usize) -> Result<(Vec<Entry>, Listed), Failure> {
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

#[cfg(test)]
mod tests {
    use super::super::part;
    use super::*;
    use crate::client::fake::{Fake, Peer, Recorder, Script, digest_of, ready, stat};
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn fetch(fake: &Fake, dir: &Path, source: &str, recursive: bool) -> (Result<Outcome, Failure>, Vec<String>) {
        let report = Recorder::default();
        let to = dir.join(if recursive { "tree" } else { "" });
        let plan = GetPlan {
            sources: vec![source.into()],
            to: Some(to),
            here: RemotePath::root(),
            recursive,
            jobs: Jobs::Just(1),
            rules: Rules::default(),
        };
        let result = get(&fake.target, &plan, &mut None, &Stop::deaf(), &report);
        (result, report.told())
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = walkdir::WalkDir::new(dir)
            .min_depth(1)
            .into_iter()
            .map(|entry| entry.unwrap().path().strip_prefix(dir).unwrap().display().to_string())
            .collect();
        names.sort();
        names
    }

    fn exit(result: &Result<Outcome, Failure>) -> Exit {
        result.as_ref().map_or_else(|failure| failure.exit, |outcome| outcome.exit)
    }

    /// A server that answers STAT for a file of `size` bytes, then does as told with the DOWNLOAD.
    fn file(size: usize, then: impl FnOnce(&mut Peer, String) + Send + 'static) -> Script {
        Box::new(move |peer| {
            assert!(peer.line().starts_with("STAT"));
            peer.say(stat(size));
            let request = peer.line();
            then(peer, request);
        })
    }

    /// A server that is asked for a file in the first connection of an attempt that was cut before.
    fn again(then: impl FnOnce(&mut Peer, String) + Send + 'static) -> Script {
        Box::new(move |peer| {
            let request = peer.line();
            then(peer, request);
        })
    }

    #[test]
    fn a_file_arrives_whole_with_its_time_and_the_usual_mode() {
        let dir = tempfile::tempdir().unwrap();
        let fake = Fake::start(0, vec![file(5, |peer, _| peer.send(b"hello", 0))]);
        let (result, told) = fetch(&fake, dir.path(), "a", false);
        assert_eq!(exit(&result), Exit::Ok);
        assert_eq!(told, ["finished 5"]);
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"hello");
        let found = fs::metadata(dir.path().join("a")).unwrap();
        assert_eq!((found.mtime(), found.mtime_nsec()), (1_700_000_000, 1));
        assert_eq!(names(dir.path()), ["a"]);
        fake.end();
    }

    #[test]
    fn a_name_that_is_taken_meanwhile_is_left_alone_where_that_was_asked_for() {
        for (clobber, stays) in [(Clobber::Never, true), (Clobber::Always, false)] {
            let dir = tempfile::tempdir().unwrap();
            let own = dir.path().join("a");
            let script = file(5, move |peer, _| {
                fs::write(own, "mine!").unwrap(); // after the look at what is there, before the file is whole
                peer.send(b"hello", 0);
            });
            let fake = Fake::start(0, vec![script]);
            let report = Recorder::default();
            let plan = GetPlan {
                sources: vec!["a".into()],
                to: Some(dir.path().join("")),
                here: RemotePath::root(),
                recursive: false,
                jobs: Jobs::Just(1),
                rules: Rules { clobber, ..Rules::default() },
            };
            let outcome = get(&fake.target, &plan, &mut None, &Stop::deaf(), &report).unwrap();
            assert_eq!((outcome.exit, outcome.kept), (Exit::Ok, u64::from(stays)), "{:?}", report.told());
            assert_eq!(fs::read(dir.path().join("a")).unwrap(), if stays { b"mine!" } else { b"hello" });
            assert_eq!(names(dir.path()), ["a"], "nothing lies beside it");
            fake.end();
        }
    }

    #[test]
    fn a_server_that_lies_about_a_file_leaves_nothing_under_its_name() {
        let lies: Vec<(&str, Exit)> = vec![
            ("READY size=5 mtime=1 offset=0 length=5\nDATA 6\nhello!", Exit::Protocol),
            ("READY size=5 mtime=1 offset=0 length=5\nDATA 3\nhelEND sha256=X\n", Exit::Protocol),
            ("READY size=5 mtime=1 offset=0 length=9\n", Exit::Protocol),
            ("READY size=5 mtime=1 offset=3 length=2\n", Exit::Protocol),
            ("READY size=5 mtime=1\n", Exit::Protocol),
            ("READY size=5 mtime=1 offset=0 length=5 path=b\nDATA 5\nhello", Exit::Integrity),
            ("READY size=5 mtime=1 offset=0 length=5\nDATA 5\nhelloEND\n", Exit::Protocol),
            ("READY size=5 mtime=1 offset=0 length=5\nDATA 5\nhelloABORT io-error good=6 x\n", Exit::Protocol),
            ("READY size=5 mtime=1 offset=0 length=5\nDATA 5\nhelloABORT io-error good=2 x\n", Exit::Other),
            ("ENTRY file 1 1 ../../x\n", Exit::Protocol),
            ("OK\n", Exit::Protocol),
            ("\u{1b}[2J\n", Exit::Protocol),
        ];
        for (lie, expected) in lies {
            let dir = tempfile::tempdir().unwrap();
            let fake = Fake::start(0, vec![file(5, move |peer, _| peer.say(lie))]);
            let (result, _) = fetch(&fake, dir.path(), "a", false);
            assert_eq!(exit(&result), expected, "{lie}: {result:?}");
            assert_eq!(names(dir.path()), Vec::<String>::new(), "{lie}");
            fake.end();
        }
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let fake = Fake::start(0, vec![file(5, |peer, _| peer.say("x".repeat(1 << 20)))]);
        assert_eq!(exit(&fetch(&fake, dir.path(), "a", false).0), Exit::Protocol);
        fake.end();
    }

    #[test]
    fn a_wrong_digest_is_asked_for_afresh_once_and_then_refused() {
        let dir = tempfile::tempdir().unwrap();
        let wrong = format!("{}DATA 5\nhelloEND sha256={}\n", ready(5, 0), digest_of(b"other"));
        let fake = Fake::start(
            0,
            vec![file(5, move |peer, request| {
                assert_eq!(request, "DOWNLOAD a");
                peer.say(&wrong);
                assert_eq!(peer.line(), "DOWNLOAD a fresh");
                peer.say(&wrong);
            })],
        );
        let (result, told) = fetch(&fake, dir.path(), "a", false);
        assert_eq!((exit(&result), told), (Exit::Integrity, vec!["failed 11".to_owned()]));
        assert_eq!(names(dir.path()), Vec::<String>::new());
        fake.end();
    }

    /// A tree whose names or depth were not asked for, or that hides a link in the way.
    #[test]
    fn a_listing_cannot_lead_out_of_the_destination() {
        for entry in ["../x", "/etc/x", "a/../../x", "%2e%2e/x", "a%2Fb", ".", "", "a/./b", "x%00"] {
            let dir = tempfile::tempdir().unwrap();
            let listing = format!("ENTRY file 1 1 {entry}\nOK entries=1 skipped=0\n");
            let script: Script = Box::new(move |peer| {
                peer.line();
                peer.say("OK type=dir size=0 mtime=1\n");
                peer.line();
                peer.say(&listing);
            });
            let fake = Fake::start(0, vec![script]);
            assert_eq!(exit(&fetch(&fake, dir.path(), "t", true).0), Exit::Protocol, "{entry}");
            assert_eq!(names(dir.path()), Vec::<String>::new());
            fake.end();
        }
    }

    #[test]
    fn a_link_in_the_destination_is_not_followed() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(dir.path().join("tree")).unwrap();
        fs::create_dir(dir.path().join("tree/t")).unwrap();
        symlink(outside.path(), dir.path().join("tree/t/sub")).unwrap();
        let script: Script = Box::new(|peer| {
            peer.line();
            peer.say("OK type=dir size=0 mtime=1\n");
            peer.line();
            peer.say(
                "ENTRY dir 0 1 sub\nENTRY file 5 1 sub/f\nENTRY file 5 1 g\nENTRY link 1 1 l\nOK entries=4 skipped=0\n",
            );
            assert_eq!(peer.line(), "DOWNLOAD t/g");
            peer.send(b"hello", 0);
        });
        let fake = Fake::start(0, vec![script]);
        let (result, told) = fetch(&fake, dir.path(), "t", true);
        assert_eq!(exit(&result), Exit::Partial);
        assert!(told.contains(&"skipped t/l".to_owned()));
        assert_eq!(fs::read(dir.path().join("tree/t/g")).unwrap(), b"hello");
        assert_eq!(names(outside.path()), Vec::<String>::new());
        fake.end();
    }

    fn big() -> Vec<u8> {
        (0..3_000_000u32).map(|n| (n * 7 / 3) as u8).collect()
    }

    /// Sends the first `n` bytes of the rest and cuts.
    fn cut_after(content: Vec<u8>, offset: usize, n: usize) -> impl FnOnce(&mut Peer, String) + Send {
        move |peer, request| {
            let asked = if offset == 0 { "DOWNLOAD a".to_owned() } else { format!("DOWNLOAD a offset={offset}") };
            assert_eq!(request, asked);
            peer.say(ready(content.len(), offset));
            peer.say(format!("DATA {n}\n"));
            peer.say(&content[offset..offset + n]);
        }
    }

    #[test]
    fn interrupted_attempts_leave_one_part_and_the_next_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let size = big().len();
        let fake = Fake::start(
            0,
            vec![
                file(size, cut_after(big(), 0, 500_000)),
                file(size, cut_after(big(), 500_000, 500_000)),
                file(size, |peer, _| peer.send(&big(), 1_000_000)),
            ],
        );
        for so_far in [500_000, 1_000_000] {
            assert_eq!(exit(&fetch(&fake, dir.path(), "a", false).0), Exit::Interrupted);
            let left = names(dir.path());
            assert_eq!(left.len(), 1, "{left:?}");
            let part = fs::metadata(dir.path().join(&left[0])).unwrap();
            assert_eq!((part.len(), part.mode() & 0o777), (so_far, 0o600));
        }
        let (result, told) = fetch(&fake, dir.path(), "a", false);
        assert_eq!(exit(&result), Exit::Ok);
        assert_eq!(told, ["resumed 1000000", "finished 2000000"]);
        assert!(fs::read(dir.path().join("a")).unwrap() == big());
        assert_eq!(names(dir.path()), ["a"]);
        fake.end();
    }

    #[test]
    fn a_lost_connection_is_resumed_and_progress_renews_the_attempts() {
        let dir = tempfile::tempdir().unwrap();
        let scripts = vec![
            file(big().len(), cut_after(big(), 0, 1 << 20)),
            again(cut_after(big(), 1 << 20, 1 << 20)),
            again(|peer, _| peer.send(&big(), 2 << 20)),
        ];
        let fake = Fake::start(1, scripts);
        let (result, told) = fetch(&fake, dir.path(), "a", false);
        assert_eq!(exit(&result), Exit::Ok, "{result:?}");
        assert_eq!(told.iter().filter(|word| *word == "retrying 1/1").count(), 2);
        assert!(told.contains(&"finished 3000000".to_owned()));
        assert!(fs::read(dir.path().join("a")).unwrap() == big());
        assert_eq!(fake.end(), 3);
    }

    #[test]
    fn a_file_whose_part_waits_to_be_read_is_not_forgotten_with_the_connection() {
        let dir = tempfile::tempdir().unwrap();
        let size = big().len();
        let cut: Script = Box::new(move |peer| {
            for size in [5, size] {
                peer.line();
                peer.say(stat(size));
            }
            peer.line();
        });
        let whole: Script = Box::new(|peer| {
            assert_eq!(peer.line(), "DOWNLOAD 0");
            peer.send(b"hello", 0);
            assert_eq!(peer.line(), "DOWNLOAD a offset=500000");
            peer.send(&big(), 500_000);
        });
        let fake = Fake::start(1, vec![cut, whole]);
        let (folder, version) = (Arc::new(Folder::open(dir.path()).unwrap()), (size as u64, "1700000000.000000001"));
        let beginning = part::beginning(&fake.target, &"a".parse().unwrap());
        let version = (version.0, version.1.parse().unwrap());
        let begun = part::Part::create(&folder, &beginning, version, part::Unfinished::Stays).unwrap();
        std::io::Write::write_all(&mut begun.file(), &big()[..500_000]).unwrap();
        drop(begun);
        let plan = GetPlan {
            sources: vec!["0".into(), "a".into()],
            to: Some(dir.path().into()),
            here: RemotePath::root(),
            recursive: false,
            jobs: Jobs::Just(1),
            rules: Rules::default(),
        };
        let outcome = get(&fake.target, &plan, &mut None, &Stop::deaf(), &Recorder::default()).unwrap();
        assert_eq!(
            (outcome.files, outcome.moved, outcome.exit, fake.end()),
            (2, size as u64 - 500_000 + 5, Exit::Ok, 2)
        );
        assert_eq!(names(dir.path()), ["0", "a"]);
    }

    #[test]
    fn a_part_that_was_tampered_with_is_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let afresh = file(big().len(), |peer, request| {
            assert_eq!(request, "DOWNLOAD a offset=500000");
            peer.send(&big(), 500_000);
            assert_eq!(peer.line(), "DOWNLOAD a fresh");
            peer.send(&big(), 0);
        });
        let fake = Fake::start(0, vec![file(big().len(), cut_after(big(), 0, 500_000)), afresh]);
        assert!(fetch(&fake, dir.path(), "a", false).0.is_err());
        fs::write(dir.path().join(&names(dir.path())[0]), vec![1; 500_000]).unwrap();
        assert_eq!(exit(&fetch(&fake, dir.path(), "a", false).0), Exit::Ok);
        assert!(fs::read(dir.path().join("a")).unwrap() == big());
        assert_eq!(names(dir.path()), ["a"]);
        fake.end();
    }

    #[test]
    fn what_was_good_of_an_aborted_piece_stays() {
        let dir = tempfile::tempdir().unwrap();
        let script = file(big().len(), |peer, _| {
            peer.say(ready(big().len(), 0));
            peer.say("DATA 500000\n");
            peer.say(vec![0; 500_000]);
            peer.say("ABORT io-error good=123 the disk failed\n");
        });
        let fake = Fake::start(0, vec![script]);
        assert_eq!(exit(&fetch(&fake, dir.path(), "a", false).0), Exit::Other);
        let left = names(dir.path());
        assert_eq!(fs::metadata(dir.path().join(&left[0])).unwrap().len(), 123);
        fake.end();
    }

    #[test]
    fn a_server_that_ends_in_the_middle_is_gone_on_with_when_it_is_back() {
        for good in [500_000, 123_000] {
            let dir = tempfile::tempdir().unwrap();
            let ends = file(big().len(), move |peer, _| {
                peer.say(ready(big().len(), 0));
                peer.say("DATA 500000\n");
                peer.say([&big()[..good], &vec![0; 500_000 - good]].concat());
                peer.say(format!("ABORT shutting-down good={good} the session is ending; resume later\n"));
            });
            let fake = Fake::start(
                1,
                vec![
                    ends,
                    again(move |peer, request| {
                        assert_eq!(request, format!("DOWNLOAD a offset={good}"));
                        peer.send(&big(), good)
                    }),
                ],
            );
            let (result, told) = fetch(&fake, dir.path(), "a", false);
            assert_eq!(exit(&result), Exit::Ok, "{result:?} {told:?}");
            assert!(fs::read(dir.path().join("a")).unwrap() == big());
            assert!(told.contains(&format!("resumed {good}")), "{told:?}");
            assert_eq!((names(dir.path()), fake.end()), (vec!["a".to_owned()], 2));
        }
    }

    #[test]
    fn a_directory_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        let fake = Fake::start(0, vec![file(5, |_, _| {})]);
        assert_eq!(exit(&fetch(&fake, dir.path(), "a", false).0), Exit::Conflict);
        fake.end();
    }

    #[test]
    fn a_file_that_is_not_there_is_not_asked_for_twice() {
        let dir = tempfile::tempdir().unwrap();
        let script: Script = Box::new(|peer| {
            peer.line();
            peer.say("ERR not-found no such file\n");
        });
        let fake = Fake::start(5, vec![script]);
        let (result, told) = fetch(&fake, dir.path(), "a", false);
        assert_eq!((exit(&result), told), (Exit::NotFound, vec!["failed 7".to_owned()]));
        assert_eq!(fake.end(), 1);
    }

    #[test]
    fn an_endless_listing_ends_at_the_limit() {
        let script: Script = Box::new(|peer| {
            peer.line();
            while peer.try_say("ENTRY file 1 1 a\n").is_ok() {}
        });
        let fake = Fake::start(0, vec![script]);
        let mut remote = Remote::connect(&fake.target, &Stop::deaf()).unwrap();
        let failure = listing(&mut remote, &"t".parse().unwrap(), 1000).unwrap_err();
        assert!(failure.exit == Exit::Other && failure.text.contains("more than"), "{failure}");
        drop(remote);
        fake.end();
    }
}
