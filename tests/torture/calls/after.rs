//! What must be true when a call has failed, and the session is over.

use super::faults::Faults;
use super::kinds::{BROKEN, CHANGES, Kind, Scene};
use super::names::{Names, Thing};
use super::visit::Visit;
use super::{House, Met};
use super::{password, plausible};
use crate::common::raw::number;
use crate::common::tree::noise;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Longer than a session of the past takes to be gone.
const GONE_BY: Duration = Duration::from_secs(15);
/// Longer than its last line takes to be in the log; one that is lost with the scribe's memory is not missed.
const TOLD_BY: Duration = Duration::from_secs(2);
/// Older than unfinished uploads become.
const OLD: Duration = Duration::from_secs(9 * 24 * 3600);

/// Sentences about all that is wrong now.
pub fn look(house: &mut House, kind: &Kind, names: &Names, met: &Met, faults: &Faults) -> Vec<String> {
    let mut wrong = children(house);
    let dir = house.server.at(kind.user);
    wrong.extend(names.wrong(&dir));
    if kind.name == "trash" {
        wrong.extend(lost_in_trash(&dir));
    }
    if kind.scene == Scene::Scribe {
        wrong.extend(untold(house, kind, names));
    }
    wrong.extend(next_session(house, kind, names, met));
    if kind.user == CHANGES {
        wrong.extend(password::wrong(&house.server, met));
    }
    wrong.extend(debris(house, kind, names, met));
    wrong.extend(children(house));
    wrong.extend(alarms(house, met, faults.forked()));
    wrong
}

/// The listener lives, and so does the scribe; all sessions have been reaped.
fn children(house: &House) -> Vec<String> {
    let listener = house.server.pid();
    let path = format!("/proc/{listener}/task/{listener}/children");
    let deadline = Instant::now() + GONE_BY;
    loop {
        let Ok(children) = fs::read_to_string(&path) else { return vec!["the listener has gone".into()] };
        let count = children.split_whitespace().count();
        if count == 1 {
            return Vec::new();
        }
        if Instant::now() > deadline {
            return vec![format!("the listener has {count} children, and not the scribe alone: {children}")];
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// No process died of what nobody had thought of. The log is complete when it tells of the end of the last session.
fn alarms(house: &mut House, met: &Met, last: i32) -> Vec<String> {
    let (end, deadline) = (format!("disconnected, session {last}:"), Instant::now() + TOLD_BY);
    while Instant::now() < deadline && !house.server.log().iter().skip(house.heard).any(|line| line.contains(&end)) {
        std::thread::sleep(Duration::from_millis(2));
    }
    let log = house.server.log();
    let fresh = log.iter().skip(std::mem::replace(&mut house.heard, log.len()));
    let signs = ["unexpected exit status", "killed by", "panicked"];
    let signs: Vec<&String> = fresh.filter(|line| signs.iter().any(|sign| line.contains(sign))).collect();
    if met.may_have_died() && signs.iter().any(|line| line.contains(plausible::NO_STACK)) {
        return Vec::new();
    }
    signs.into_iter().map(|line| format!("the log says: {line}")).collect()
}

/// What went to the trash is there, or where it was.
fn lost_in_trash(dir: &Path) -> Vec<String> {
    let old = noise(1, 3000);
    let is_old = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| bytes == old);
    let mut places = files(&dir.join(".dfos/trash"));
    places.push(dir.join("old"));
    if places.iter().any(is_old) {
        Vec::new()
    } else {
        vec!["what was deleted is neither there nor in the trash".into()]
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}

/// Lines that the audit must have and has not: what was acknowledged, unless it tells that some are missing, which it must not where it is
/// required.
fn untold(house: &House, kind: &Kind, names: &Names) -> Vec<String> {
    let done: Vec<String> = names.certain().into_iter().filter(|name| name.ends_with("-moved")).collect();
    let deadline = Instant::now() + GONE_BY;
    loop {
        let text = String::from_utf8_lossy(&fs::read(&house.audit).unwrap_or_default()).into_owned();
        let lines: Vec<Result<serde_json::Value, _>> = text.lines().map(serde_json::from_str).collect();
        let torn = lines.iter().position(Result::is_err); // the last one may be on its way
        if let Some(at) = torn.filter(|at| at + 1 < lines.len() || Instant::now() > deadline) {
            return vec![format!("a torn line in the audit: {:?}", text.lines().nth(at))];
        }
        let lines: Vec<serde_json::Value> = lines.into_iter().flatten().collect();
        let told = |name: &String| lines.iter().any(|line| line["to"] == *name && line["result"] == "ok");
        let missing: Vec<&String> = done.iter().filter(|name| !told(name)).collect();
        let is_said = kind.name == "audit" && lines.iter().any(|line| line["event"] == "lost");
        if torn.is_none() && (missing.is_empty() || is_said) {
            return Vec::new();
        }
        if torn.is_none() && Instant::now() > deadline {
            return vec![format!("the audit does not tell of {missing:?}")];
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The next session of the user is served, and its account is what lies there.
fn next_session(house: &House, kind: &Kind, names: &Names, met: &Met) -> Vec<String> {
    let Some(mut visit) = Visit::begin(house.server.address(), names.clone(), 0) else {
        return vec!["the next client cannot connect".into()];
    };
    let logged_in = kind.password().iter().any(|password| {
        if visit.log_in(kind.user, password, false).is_some() && visit.refusals.is_empty() {
            return true;
        }
        visit = Visit::begin(house.server.address(), names.clone(), 0).unwrap();
        false
    });
    if !logged_in {
        return vec![format!("the next session: {:?}", visit.refusals)];
    }
    let dir = house.server.at(kind.user);
    let mut used = account(&mut visit);
    let there = weight(&dir);
    let is_more = used.is_some_and(|used| used != there && used.0 >= there.0 && used.1 >= there.1);
    if is_more && met.call.as_deref().is_some_and(plausible::may_hold_back) {
        make_old(&dir.join(".dfos/usage"));
        used = account(&mut visit);
    }
    visit.log_out();
    match used {
        None => vec![format!("QUOTA in the next session: {:?}", visit.refusals)],
        Some(used) if used != there => vec![format!("the account tells {used:?} bytes and names, there are {there:?}")],
        Some(_) => Vec::new(),
    }
}

/// Bytes and names, as the account tells them.
fn account(visit: &mut Visit) -> Option<(u64, u64)> {
    let quota = visit.ask("QUOTA").flatten()?;
    Some((number(&quota, "used"), number(&quota, "files")))
}

/// Gives the account's figures the age at which they are counted again.
fn make_old(usage: &Path) {
    let text = fs::read_to_string(usage).unwrap_or_default();
    let mut words: Vec<&str> = text.trim_end().split(' ').collect();
    if let Some(counted) = words.get_mut(3) {
        *counted = "00000000000000000000";
        fs::write(usage, words.join(" ") + "\n").unwrap();
    }
}

/// Bytes and names that count: files, what is staged, and what lies in the trash, without its notes.
fn weight(dir: &Path) -> (u64, u64) {
    let (mut bytes, mut names) = (0, 0);
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        let in_trash = dir.ends_with(".dfos/trash");
        for path in files(&dir) {
            let meta = fs::symlink_metadata(&path).unwrap();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_own = dir.ends_with(".dfos") || name == ".dfos" || in_trash && name.ends_with(".note");
            names += u64::from(!is_own);
            bytes += if meta.is_file() && !is_own { meta.size() } else { 0 };
            if meta.is_dir() {
                left.push(path);
            }
        }
    }
    (bytes, names)
}

/// What is left of an unfinished upload goes when it is old; nothing else is left.
fn debris(house: &House, kind: &Kind, names: &Names, met: &Met) -> Vec<String> {
    let own = house.server.at(kind.user).join(".dfos");
    let mut wrong: Vec<String> = Vec::new();
    for path in files(&own) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !["uploads", "trash", "usage"].contains(&&*name) {
            wrong.push(format!("a stranger in the reserved directory: {name}"));
        }
    }
    let notes_alone = files(&own.join("trash"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "note") && !path.with_extension("").exists());
    let notes_alone = notes_alone.count();
    if notes_alone > 0 && !met.hit() {
        wrong.push(format!("{notes_alone} notes of nothing in the trash"));
    }
    let staged = files(&own.join("uploads"));
    if staged.is_empty() {
        return wrong;
    }
    if !met.hit() && !names.certain().iter().any(|name| name == BROKEN) && kind.name != "login-scram" {
        wrong.push(format!("untouched, and there are staged files: {staged:?}"));
    }
    if met.hit() && met.call.as_deref() == Some("fsync file") {
        wrong.push(format!("what could not be flushed lies there to be resumed: {staged:?}"));
    }
    for path in &staged {
        let old = SystemTime::now() - OLD;
        let times = fs::FileTimes::new().set_accessed(old).set_modified(old);
        let _ = fs::File::open(path).and_then(|file| file.set_times(times));
    }
    wrong.extend(next_session(house, kind, names, met));
    let staged = files(&own.join("uploads"));
    if !staged.is_empty() {
        wrong.push(format!("staged files outlive the sweep: {staged:?}"));
    }
    wrong
}

impl Names {
    /// All that is there for certain.
    pub fn certain(&self) -> Vec<String> {
        self.all().filter(|(_, things)| !things.contains(&Thing::Nothing)).map(|(name, _)| name.clone()).collect()
    }
}
