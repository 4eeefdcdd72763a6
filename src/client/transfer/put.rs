//! The command `put`: which local files go where, and then all of them on their way.

use super::lost::{resumable, unrepeatable};
use super::queue::{Left, Queue};
use super::rules::{Clobber, LEFT_OUT, Rules};
use super::sender::{Job, Sender, What, name};
use super::source::{Beneath, Links, local, mtime, shown};
use super::tally::{Outcome, Tally};
use crate::client::failure::{Exit, Failure};
use crate::client::jobs::Jobs;
use crate::client::names::{self, bad_name, means_directory, remote_from_user};
use crate::client::remote::{Parents, Remote, Stat};
use crate::client::report::{Event, Report};
use crate::client::retry::Context;
use crate::client::stop::Stop;
use crate::client::target::Target;
use crate::proto::{Code, EntryKind, RemotePath};
use nix::fcntl::OFlag;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{File, FileType};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use walkdir::{DirEntry, WalkDir};

/// What is to be put where.
#[derive(Debug, Clone)]
pub struct PutPlan {
    /// Local files and directories; `-` is standard input.
    pub sources: Vec<PathBuf>,
    /// The remote name, as typed. Without it each source keeps its own name, below `here`.
    pub to: Option<OsString>,
    /// What `to` is relative to.
    pub here: RemotePath,
    /// Whether directories are put with all that is in them.
    pub recursive: bool,
    /// How many connections; the first is the session's own.
    pub jobs: Jobs,
    /// Which of them go, and how.
    pub rules: Rules,
}

/// Puts files. Failures of single files are told as events and counted; the error is one that ended the whole command.
pub fn put(
    target: &Target,
    plan: &PutPlan,
    session: &mut Option<Remote>,
    stop: &Stop,
    report: &dyn Report,
) -> Result<Outcome, Failure> {
    let met = AtomicBool::new(false);
    let context = Context::new(target, stop, report, &met);
    let mut left = None;
    put_all(&context, plan, session, &mut left).map_err(|failure| {
        match !plan.rules.listed && plan.sources.iter().any(|path| path == "-") {
            true => unrepeatable(&context, failure),
            false => resumable(&context, failure, left),
        }
    })
}

/// The same; `left` becomes what there is still to send.
fn put_all(
    context: &Context,
    plan: &PutPlan,
    session: &mut Option<Remote>,
    left: &mut Option<Left>,
) -> Result<Outcome, Failure> {
    let destination = destination(context, plan, session)?;
    let mut planner = Planner::new(context, plan);
    for source in &plan.sources {
        context.stop.check()?;
        planner.source(source, &destination);
    }
    planner.spare(session)?;
    let Planner { dirs, files, bytes, tally, .. } = planner;
    if plan.rules.dry_run {
        dirs.iter().chain(&files).for_each(|job| job.tell(context.report));
        return Ok(tally.outcome());
    }
    let count = context.connections(plan.jobs, files.len(), bytes);
    let (dirs, files) = (Queue::new(dirs), Queue::new(files));
    // Directories first, and by one connection: two would race for the same parents, and no file may come before its own.
    let make_dirs = |session: &mut Option<Remote>| match dirs.is_empty() {
        true => Ok(()), // nobody waits for a login that nothing needs yet
        false => Sender::new(*context, &dirs, &tally).run(session),
    };
    let send = |context: Context, session: &mut Option<Remote>| Sender::new(context, &files, &tally).run(session);
    let sent = files.share(*context, count, session, make_dirs, send);
    *left = Some(files.left(Job::left));
    sent.map(|()| tally.outcome())
}

/// Where the sources go.
enum Destination {
    /// Below this directory, each under its own name.
    Into(RemotePath),
    /// The one source takes this name.
    As(RemotePath),
}

fn destination(context: &Context, plan: &PutPlan, session: &mut Option<Remote>) -> Result<Destination, Failure> {
    let Some(typed) = &plan.to else { return Ok(Destination::Into(plan.here.clone())) };
    let to = remote_from_user(typed, &plan.here)?;
    if to.is_root() {
        return Ok(Destination::Into(to));
    }
    if plan.sources.len() == 1 && !plan.rules.listed && !means_directory(typed) {
        let found = context.with_retries(session, |remote, _| remote.stat(&to));
        return match found {
            Ok(stat) if stat.kind == EntryKind::Dir => Ok(Destination::Into(to)),
            Ok(_) => Ok(Destination::As(to)),
            // What stands in the way, if anything does, the upload itself will say.
            Err(failure) if failure.code.is_some() && !failure.retry => Ok(Destination::As(to)),
            Err(failure) => Err(failure),
        };
    }
    if !plan.rules.begun {
        context.report.event(Event::Step { verb: "mkdir", name: to.as_bytes(), to: None, bytes: None });
    }
    if !plan.rules.dry_run {
        context.with_retries(session, |remote, _| remote.mkdir(&to, Parents::Make))?;
    }
    Ok(Destination::Into(to))
}

/// Finds out what there is to send.
struct Planner<'a> {
    context: &'a Context<'a>,
    recursive: bool,
    rules: &'a Rules,
    /// The number of the next file.
    next: u64,
    bytes: u64,
    dirs: Vec<Job>,
    files: Vec<Job>,
    tally: Tally,
    /// Names that sources have taken on the server.
    taken: HashSet<RemotePath>,
}

impl<'a> Planner<'a> {
    fn new(context: &'a Context<'a>, plan: &'a PutPlan) -> Self {
        let (dirs, files, tally, taken) = (Vec::new(), Vec::new(), Tally::default(), HashSet::new());
        Planner { context, recursive: plan.recursive, rules: &plan.rules, next: 0, bytes: 0, dirs, files, tally, taken }
    }

    fn source(&mut self, source: &Path, destination: &Destination) {
        if let Err(failure) = self.try_source(source, destination) {
            self.fail(source.as_os_str().as_bytes(), &failure);
        }
    }

    /// Leaves alone what the rules spare, and tells what there is to do.
    fn spare(&mut self, session: &mut Option<Remote>) -> Result<(), Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{Fake, Peer, Recorder, Script, digest_of};
    use crate::client::limits;
    use std::fs;

    fn send(fake: &Fake, sources: Vec<PathBuf>) -> (Result<Outcome, Failure>, Vec<String>) {
        let report = Recorder::default();
        let plan = PutPlan {
            sources,
            to: None,
            here: RemotePath::root(),
            recursive: true,
            jobs: Jobs::Just(1),
            rules: Rules::default(),
        };
        let result = put(&fake.target, &plan, &mut None, &Stop::deaf(), &report);
        (result, report.told())
    }

    fn exit(result: &Result<Outcome, Failure>) -> Exit {
        result.as_ref().map_or_else(|failure| failure.exit, |outcome| outcome.exit)
    }

    fn stored(peer: &mut Peer, content: &[u8]) {
        peer.say(format!("OK size={} sha256={}\n", content.len(), digest_of(content)));
    }

    #[test]
    fn small_files_are_sent_ahead_and_one_that_fails_stops_no_other() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(dir.path().join(name), name.repeat(10)).unwrap();
        }
        let script: Script = Box::new(|peer| {
            assert_eq!(peer.line(), "MKDIR t parents");
            peer.say("OK created\n");
            // All three are read before the first answer: the client does not wait.
            let mut bodies = Vec::new();
            for name in ["a", "b", "c"] {
                assert!(peer.line().starts_with(&format!("UPLOAD t/{name} size=10 mtime=")));
                let (body, end) = peer.body();
                assert!(end.ends_with(&format!(" path=t/{name}")), "{end}");
                bodies.push(body);
            }
            peer.say("READY offset=0\n");
            stored(peer, &bodies[0]);
            peer.say("READY offset=0\nERR over-quota full\n");
            peer.say("READY offset=0\n");
            stored(peer, &bodies[2]);
        });
        let tree = dir.path().join("t");
        fs::create_dir(&tree).unwrap();
        for name in ["a", "b", "c"] {
            fs::rename(dir.path().join(name), tree.join(name)).unwrap();
        }
        std::os::unix::fs::symlink("a", tree.join("link")).unwrap();
        let fake = Fake::start(0, vec![script]);
        let (result, told) = send(&fake, vec![tree]);
        assert_eq!(exit(&result), Exit::Partial);
        assert_eq!(&told[1..], ["finished 10", "failed 9", "finished 10"]);
        assert!(told[0].ends_with("/link"), "{told:?}");
        fake.end();
    }

    #[test]
    fn a_name_that_is_taken_meanwhile_is_left_alone_where_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("small"), "x").unwrap();
        fs::write(dir.path().join("large"), vec![0; limits::SMALL as usize]).unwrap();
        for clobber in [Clobber::Never, Clobber::Always] {
            let script: Script = Box::new(move |peer| {
                let never = clobber == Clobber::Never;
                for _ in 0..if never { 2 } else { 0 } {
                    assert!(peer.line().starts_with("STAT"));
                    peer.say("ERR not-found no such file\n");
                }
                for _ in 0..2 {
                    let request = peer.line();
                    assert_eq!(request.split(' ').any(|word| word == "new"), never, "{request}");
                    if request.starts_with("UPLOAD small") {
                        peer.body();
                    }
                    peer.say("ERR exists somebody was faster\n");
                }
            });
            let fake = Fake::start(0, vec![script]);
            let report = Recorder::default();
            let plan = PutPlan {
                sources: ["small", "large"].map(|name| dir.path().join(name)).into(),
                to: None,
                here: RemotePath::root(),
                recursive: false,
                jobs: Jobs::Just(1),
                rules: Rules { clobber, ..Rules::default() },
            };
            let outcome = put(&fake.target, &plan, &mut None, &Stop::deaf(), &report).unwrap();
            let expected = if clobber == Clobber::Never { (Exit::Ok, 2, 0) } else { (Exit::Conflict, 0, 2) };
            assert_eq!((outcome.exit, outcome.kept, outcome.failed), expected, "{:?}", report.told());
            fake.end();
        }
    }

    #[test]
    fn what_was_not_answered_is_sent_again_over_a_new_connection() {
        let dir = tempfile::tempdir().unwrap();
        let sources: Vec<PathBuf> = ["a", "b"].iter().map(|name| dir.path().join(name)).collect();
        sources.iter().for_each(|path| fs::write(path, "0123456789").unwrap());
        let first: Script = Box::new(|peer| {
            peer.line();
            let (body, _) = peer.body();
            peer.say("READY offset=0\n");
            stored(peer, &body);
            peer.line();
            peer.body();
        });
        let second: Script = Box::new(|peer| {
            assert!(peer.line().starts_with("UPLOAD b "));
            let (body, _) = peer.body();
            peer.say("READY offset=0\n");
            stored(peer, &body);
        });
        let fake = Fake::start(1, vec![first, second]);
        let (result, told) = send(&fake, sources);
        assert_eq!(exit(&result), Exit::Ok);
        assert_eq!(told, ["finished 10", "retrying 1/1", "reconnected", "finished 10"]);
        assert_eq!(fake.end(), 2);
    }

    #[test]
    fn a_big_file_that_waits_for_answers_is_not_forgotten_with_the_connection() {
        let dir = tempfile::tempdir().unwrap();
        let sources: Vec<PathBuf> = ["a", "b"].iter().map(|name| dir.path().join(name)).collect();
        fs::write(&sources[0], "0123456789").unwrap();
        fs::write(&sources[1], big()).unwrap();
        let cut: Script = Box::new(|peer| drop((peer.line(), peer.body())));
        let whole: Script = Box::new(|peer| {
            assert!(peer.line().starts_with("UPLOAD a "));
            let (body, _) = peer.body();
            peer.say("READY offset=0\n");
            stored(peer, &body);
            resuming(Vec::new(), 0)(peer);
        });
        let fake = Fake::start(1, vec![cut, whole]);
        let (result, told) = send(&fake, sources);
        assert_eq!((exit(&result), fake.end()), (Exit::Ok, 2));
        assert_eq!(told, ["retrying 1/1", "reconnected", "finished 10", "finished 1500000"]);
    }

    #[test]
    fn three_retries_are_four_attempts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "x").unwrap();
        let scripts = (0..9)
            .map(|_| {
                Box::new(|peer: &mut Peer| {
                    peer.line();
                }) as Script
            })
            .collect();
        let fake = Fake::start(3, scripts);
        let (result, told) = send(&fake, vec![path]);
        let failure = result.unwrap_err();
        assert_eq!(failure.exit, Exit::Interrupted, "{failure}");
        assert!(failure.text.ends_with("1 B of 1 file are left; run the same command again to go on"), "{failure}");
        assert_eq!(told.iter().filter(|word| word.starts_with("retrying")).count(), 3);
        assert_eq!(fake.end(), 4);
    }

    /// A server whose connection breaks whenever more than one file is on its way.
    fn one_at_a_time() -> Script {
        Box::new(|peer| {
            while peer.line().starts_with("UPLOAD") {
                let (body, _) = peer.body();
                if peer.has_more() {
                    return;
                }
                peer.say("READY offset=0\n");
                stored(peer, &body);
            }
        })
    }

    #[test]
    fn over_a_link_that_breaks_under_many_files_they_go_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let sources: Vec<PathBuf> = ["a", "b", "c"].iter().map(|name| dir.path().join(name)).collect();
        sources.iter().for_each(|path| fs::write(path, "0123456789").unwrap());
        let fake = Fake::start(5, (0..20).map(|_| one_at_a_time()).collect());
        let (result, told) = send(&fake, sources);
        assert_eq!(exit(&result), Exit::Ok, "{result:?}");
        assert_eq!(told.iter().filter(|word| *word == "finished 10").count(), 3);
        fake.end();
    }

    #[test]
    fn a_connection_that_is_lost_for_good_is_one_event_whatever_was_on_its_way() {
        let dir = tempfile::tempdir().unwrap();
        let (small, large) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&small, "x").unwrap();
        fs::write(&large, big()).unwrap();
        for (sources, jobs) in [(vec![small.clone()], 1), (vec![large.clone()], 1), (vec![small, large], 2)] {
            let gone = || Box::new(|peer: &mut Peer| drop(peer.line())) as Script;
            let fake = Fake::start(0, vec![gone(), gone()]);
            let report = Recorder::default();
            let plan = PutPlan {
                sources,
                to: None,
                here: RemotePath::root(),
                recursive: true,
                jobs: Jobs::Just(jobs),
                rules: Rules::default(),
            };
            let failure = put(&fake.target, &plan, &mut None, &Stop::deaf(), &report).unwrap_err();
            assert_eq!((failure.exit, report.told()), (Exit::Interrupted, vec![]), "{failure}");
            assert!(failure.text.contains("left; run the same command again to go on"), "{failure}");
            fake.end();
        }
    }

    #[test]
    fn while_attempts_remain_nobody_is_told_to_run_the_command_again() {
        struct Texts(std::sync::Mutex<Vec<String>>);
        impl Report for Texts {
            fn event(&self, event: Event<'_>) {
                if let Event::Retrying { why, .. } = event {
                    self.0.lock().unwrap().push(why.text.clone());
                }
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, big()).unwrap();
        let cut: Script = Box::new(|peer| drop(peer.line()));
        let fake = Fake::start(1, vec![cut, resuming(big()[..900_000].to_vec(), 900_000)]);
        let texts = Texts(std::sync::Mutex::default());
        let plan = PutPlan {
            sources: vec![path],
            to: None,
            here: RemotePath::root(),
            recursive: false,
            jobs: Jobs::Just(1),
            rules: Rules::default(),
        };
        put(&fake.target, &plan, &mut None, &Stop::deaf(), &texts).unwrap();
        let told = texts.0.into_inner().unwrap();
        assert!(told.len() == 1 && !told[0].contains("again"), "{told:?}");
        fake.end();
    }

    fn big() -> Vec<u8> {
        (0..1_500_000u32).map(|n| (n * 5 / 3) as u8).collect()
    }

    /// A server that holds `held` of an earlier attempt, and expects the client to go on from `from`.
    fn resuming(held: Vec<u8>, from: usize) -> Script {
        Box::new(move |peer| {
            let request = peer.line();
            assert!(request.ends_with(" resume"), "{request}");
            let path = request.split(' ').nth(1).unwrap();
            peer.say(format!("READY offset={} sha256={}\n", held.len(), digest_of(&held)));
            assert_eq!(peer.line(), format!("FROM {from}"));
            let (rest, end) = peer.body();
            let whole = [&held[..from], &rest].concat();
            assert_eq!(end, format!("END sha256={} path={path}", digest_of(&whole)));
            stored(peer, &whole);
        })
    }

    #[test]
    fn a_big_file_goes_on_where_the_server_has_its_bytes_and_only_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, big()).unwrap();
        for (held, from) in [(big()[..900_000].to_vec(), 900_000), (vec![0; 900_000], 0), ([big(), big()].concat(), 0)]
        {
            let fake = Fake::start(0, vec![resuming(held, from)]);
            let (result, told) = send(&fake, vec![path.clone()]);
            assert_eq!(exit(&result), Exit::Ok, "{result:?}");
            assert_eq!(told.last(), Some(&format!("finished {}", 1_500_000 - from)));
            assert_eq!(told.first() == Some(&"resumed 900000".to_owned()), from > 0);
            fake.end();
        }
    }

    #[test]
    fn a_refusal_in_mid_body_is_heard_and_the_connection_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (path, small) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&path, vec![1; 64 << 20]).unwrap();
        fs::write(&small, "x").unwrap();
        let script: Script = Box::new(|peer| {
            peer.line();
            peer.say("READY offset=0\n");
            peer.line();
            peer.say("ERR no-space the disk is full\n");
            let (sent, next) = peer.body();
            assert!(sent.len() < 60 << 20, "{} bytes were sent after the refusal", sent.len());
            assert!(next.starts_with("UPLOAD b "), "{next}");
            let (body, _) = peer.body();
            peer.say("READY offset=0\n");
            stored(peer, &body);
        });
        let fake = Fake::start(0, vec![script]);
        let (result, told) = send(&fake, vec![path, small]);
        assert_eq!((exit(&result), told), (Exit::Partial, vec!["failed 9".to_owned(), "finished 1".to_owned()]));
        fake.end();
    }

    #[test]
    fn a_server_that_stored_other_bytes_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "x").unwrap();
        let script: Script = Box::new(|peer| {
            peer.line();
            peer.body();
            peer.say("READY offset=0\n");
            stored(peer, b"y");
        });
        let fake = Fake::start(0, vec![script]);
        assert_eq!(exit(&send(&fake, vec![path]).0), Exit::Integrity);
        fake.end();
    }
}
