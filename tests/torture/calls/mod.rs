//! Every call fails once: for each kind of session, the n-th call of each kind, with each errno that it can really fail with, and cut
//! short. After each the names hold the whole old or the whole new content, the reply was true, nothing is left behind, and the next session
//! works.
//!
//! Which calls a kind makes is learned from a run in which nothing fails. The short run has each call of each kind fail once, and some more by
//! chance; the full run takes for n = 1, 2, 3 … each errno, until the run gets through untouched. What was found is repeated by its name:
//! `DFOS_TORTURE_CALL='upload-new/fsync dir/2/EIO' scripts/torture.sh calls`; all of a kind of session by `DFOS_TORTURE_CALL=upload-new`.

mod after;
mod command;
mod faults;
mod kinds;
mod names;
mod password;
mod plausible;
mod visit;

use self::faults::{Failing, Fault, Faults, Seen, Whose};
use self::kinds::{KINDS, Kind, LIMITS, Scene};
use self::names::Names;
use self::visit::{Visit, Went};
use super::common::{Server, command, give, home};
use super::run::{Account, Run};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A server is used for so many runs: its log grows.
const RUNS_OF_A_SERVER: u64 = 200;
/// Beyond this the n-th call is like those before.
const MOST: u32 = 400;

/// What lost something once, and is tried in each run.
const FOUND: &[&str] = &[
    "upload-new/fstat file/3/ENOMEM",
    "pipeline/fstat file/4+/ESTALE",
    "upload-over/unlink name/1/EIO",
    "quota/stat name/6+/EIO",
    "download/fstat file/2/EIO",
    "download/fstat file/10/ENOMEM",
    "passwd-helper/statx file/2/ESTALE",
    "passwd-helper/fsync dir/3/ESTALE",
];

/// A server with the library in it.
pub struct House {
    server: Server,
    audit: PathBuf,
    /// Lines of the log that have been looked at.
    heard: usize,
    runs: u64,
    required: bool,
}

/// What was met in a run.
pub struct Met {
    seen: Seen,
    /// Descriptors of the session after all of it, if it lives.
    descriptors: Option<usize>,
    wrong: Vec<String>,
    /// The answers.
    said: Vec<String>,
    /// What failed.
    call: Option<String>,
}

impl Met {
    fn hit(&self) -> bool {
        self.seen.hits > 0
    }

    /// Whether the process may have been ended at once.
    fn may_have_died(&self) -> bool {
        self.hit() && self.call.as_deref().is_some_and(plausible::may_kill)
    }
}

/// All that a run needs.
pub struct Stage {
    faults: Faults,
    house: Option<House>,
    serial: u64,
    /// What each kind does when nothing fails.
    untouched: BTreeMap<&'static str, Met>,
}

/// Makes calls fail, so many of them.
pub fn run(run: &Run, account: &mut Account) {
    if !nix::unistd::geteuid().is_root() {
        return account.count("skipped: needs root, to look into the processes", 1);
    }
    let faults = match Faults::build() {
        Ok(faults) => faults,
        Err(why) => return account.count(&format!("skipped: {why}"), 1),
    };
    let mut stage = Stage { faults, house: None, serial: 0, untouched: BTreeMap::new() };
    match std::env::var("DFOS_TORTURE_CALL") {
        Ok(name) if name.contains('/') => stage.one_by_name(&name, account),
        Ok(name) => stage.all(run.times, |kind| name.split(',').any(|name| name == kind.name), account),
        Err(_) if run.full => stage.all(run.times, |_| true, account),
        Err(_) => stage.some(run, account),
    }
}

impl Stage {
    /// Each call of each kind that is `wanted`, with each fault.
    fn all(&mut self, times: u64, wanted: impl Fn(&Kind) -> bool, account: &mut Account) {
        let mut left = times;
        for kind in KINDS.iter().filter(|kind| wanted(kind)) {
            self.learn(kind, account);
            let calls: Vec<String> = self.untouched[kind.name].seen.counts.keys().cloned().collect();
            for (call, fault, lasting) in calls.iter().flat_map(|call| ways(call)) {
                for nth in 1..=MOST {
                    let failing = Failing { call: call.clone(), nth, fault, lasting };
                    if left == 0 || !self.fails(kind, &failing, account) {
                        break;
                    }
                    left -= 1;
                }
            }
            println!("  {}: {} calls have failed by now", kind.name, times - left);
        }
    }

    /// Some of them: the same in each run, so that no call of any kind of session is left out, and what is left of `times` by chance.
    fn some(&mut self, run: &Run, account: &mut Account) {
        KINDS.iter().for_each(|kind| self.learn(kind, account));
        for name in FOUND {
            let (kind, failing) = named(name);
            self.fails(kind, &failing, account);
        }
        let mut chosen = self.chosen();
        if (chosen.len() as u64) > run.times {
            chosen.clear();
        }
        let mut chance = run.chance(0);
        while (chosen.len() as u64) < run.times {
            let kind = chance.of(KINDS);
            let (call, count) = chance.of(&self.calls_of(kind)).clone();
            let nth = 1 + chance.below(count.into()) as u32;
            let (call, fault, lasting) = chance.of(&ways(&call)).clone();
            chosen.push((kind, Failing { call, nth, fault, lasting }));
        }
        // In turn, so that a server that one kind needs serves several runs.
        chosen.sort_by_key(|(kind, _)| KINDS.iter().position(|known| std::ptr::eq(known, *kind)));
        for (kind, failing) in chosen {
            self.fails(kind, &failing, account);
        }
    }

    /// For each kind of session each call, once: in the midst of its calls, with one fault, of another class from kind to kind.
    fn chosen(&self) -> Vec<(&'static Kind, Failing)> {
        let mut chosen = Vec::new();
        for (turn, kind) in KINDS.iter().enumerate() {
            for (call, count) in self.calls_of(kind) {
                let mut ways = ways(&call);
                ways.sort_by_key(|(_, fault, _)| plausible::class(*fault));
                ways.dedup_by_key(|(_, fault, _)| plausible::class(*fault));
                let (call, fault, lasting) = ways[turn % ways.len()].clone();
                chosen.push((kind, Failing { call, nth: count.div_ceil(2), fault, lasting }));
            }
        }
        chosen
    }

    /// The calls of a kind of session that can fail, and how often it makes them.
    fn calls_of(&self, kind: &Kind) -> Vec<(String, u32)> {
        let counts = self.untouched[kind.name].seen.counts.iter();
        let counts = counts.filter(|(call, _)| !plausible::faults(call).is_empty());
        counts.map(|(call, count)| (call.clone(), (*count).min(MOST))).collect()
    }

    /// The one that was found.
    fn one_by_name(&mut self, name: &str, account: &mut Account) {
        let (kind, failing) = named(name);
        self.learn(kind, account);
        println!("  untouched: {:?}", self.untouched[kind.name].seen.counts);
        self.fails(kind, &failing, account);
        if let Some(house) = &self.house {
            house.server.log().iter().rev().take(12).rev().for_each(|line| println!("  | {line}"));
        }
    }

    /// Learns what a kind does when nothing fails.
    fn learn(&mut self, kind: &'static Kind, account: &mut Account) {
        let met = self.meet(kind, None);
        met.wrong.iter().for_each(|wrong| account.lost(format!("{}, untouched: {wrong}", kind.name)));
        account.count("untouched", 1);
        if std::env::var_os("DFOS_TORTURE_TELL").is_some() {
            println!("  {}: {:?}", kind.name, met.seen.counts);
        }
        self.untouched.insert(kind.name, met);
    }

    /// Has one call fail; whether it came to that.
    fn fails(&mut self, kind: &'static Kind, failing: &Failing, account: &mut Account) -> bool {
        let mut met = self.meet(kind, Some(failing));
        let before = self.untouched[kind.name].descriptors;
        if let (Some(before), Some(after)) = (before, met.descriptors)
            && after > before
        {
            met.wrong.push(format!("{after} descriptors are open, {before} would be if nothing had failed"));
        }
        let detail = &met.seen.detail;
        for wrong in &met.wrong {
            account.lost(format!("{}/{failing} ({detail}): {wrong}", kind.name));
        }
        account.count(if met.hit() { "calls failed" } else { "untouched" }, 1);
        if !met.wrong.is_empty() {
            self.house = None; // whatever it was, it is not to be met again in the next run
        }
        met.hit()
    }

    /// One run.
    fn meet(&mut self, kind: &Kind, failing: Option<&Failing>) -> Met {
        self.serial += 1;
        if kind.scene == Scene::Command {
            return command::meet(&self.faults, failing);
        }
        self.open_house(kind.name == "audit-required");
        let Some(house) = self.house.as_mut() else { unreachable!("it has just been opened") };
        house.runs += 1;
        let mut names = Names::default();
        (kind.before)(&mut names);
        let dir = house.server.at(kind.user);
        let _ = std::fs::remove_dir_all(&dir);
        password::forget(&house.server);
        names.make_in(&dir);
        if dir.exists() {
            give(&dir);
        }
        let (mut visit, session) = match begun(house, &self.faults, kind, names, self.serial, failing) {
            Some(begun) => begun,
            None => panic!("the listener cannot be reached"),
        };
        let went = match kind.scene {
            Scene::Session | Scene::Login | Scene::Listener | Scene::Scribe | Scene::Helper => (kind.act)(&mut visit),
            Scene::Command => None,
        };
        let seen = self.faults.disarm();
        let call = failing.map(|failing| failing.call.clone());
        let is_cut = call.as_deref().is_some_and(|call| plausible::is_of_connection(call) || plausible::may_kill(call));
        let must_go_on = !is_cut && [Scene::Session, Scene::Helper].contains(&kind.scene);
        let session = session.unwrap_or_else(|| self.faults.forked());
        let said = std::mem::take(&mut visit.said);
        let mut wrong = truth(kind, &visit, went, failing, &seen);
        let descriptors = went.and_then(|()| self::again(&mut visit, kind, session, must_go_on, &mut wrong));
        let names = std::mem::take(&mut visit.names);
        drop(visit);
        let mut met = Met { seen, descriptors, wrong, said, call };
        let looked = after::look(house, kind, &names, &met, &self.faults);
        met.wrong.extend(looked);
        met
    }

    fn open_house(&mut self, required: bool) {
        if self.house.as_ref().is_some_and(|house| house.required == required && house.runs < RUNS_OF_A_SERVER) {
            return;
        }
        self.house = None;
        let home = home();
        std::fs::write(home.path().join("user_limits.toml"), LIMITS).unwrap();
        let audit = home.path().join("audit");
        let path = audit.to_str().unwrap().to_owned();
        let mut options = vec!["--trash", "30d", "--audit", &path];
        if required {
            options.push("--audit-required");
        }
        give(home.path());
        let mut command = command(home.path(), &options);
        self.faults.preload(&mut command);
        let server = Server::spawn(command, home, &options);
        self.house = Some(House { server, audit, heard: 0, runs: 0, required });
    }
}

/// What a name means: `upload-new/fsync dir/2/EIO`.
fn named(name: &str) -> (&'static Kind, Failing) {
    let mut words = name.splitn(4, '/');
    let mut word = || words.next().expect("KIND/CALL/N/FAULT");
    let (kind, call, nth, fault) = (word(), word().to_owned(), word(), word());
    let kind = KINDS.iter().find(|known| known.name == kind).expect("a kind of session");
    let fault = plausible::faults(&call).into_iter().find(|known| known.to_string() == fault).expect("a fault of it");
    let lasting = nth.ends_with('+');
    let nth = nth.trim_end_matches('+').parse().expect("a number");
    (kind, Failing { call, nth, fault, lasting })
}

/// All that can happen to a call.
fn ways(call: &str) -> Vec<(String, Fault, bool)> {
    let faults = plausible::faults(call).into_iter();
    let ways = faults.flat_map(|fault| [(fault, false), (fault, true)]);
    ways.filter(|(fault, lasting)| !lasting || plausible::may_last(call, *fault))
        .map(|(fault, lasting)| (call.to_owned(), fault, lasting))
        .collect()
}

/// A visit that has come to where calls count from, and the process of its session if that is known by now.
fn begun(
    house: &House,
    faults: &Faults,
    kind: &Kind,
    names: Names,
    serial: u64,
    failing: Option<&Failing>,
) -> Option<(Visit, Option<i32>)> {
    let address = house.server.address();
    let connect = |names| Visit::begin(address, names, serial);
    match kind.scene {
        Scene::Login | Scene::Listener | Scene::Scribe => {
            // What was broken off before lies there already.
            let mut names = names;
            if kind.user != "user0" {
                let mut visit = connect(names)?;
                visit.log_in(kind.user, "secret", false)?;
                (kind.first)(&mut visit)?;
                visit.log_out();
                names = visit.names;
            }
            let whose = match kind.scene {
                Scene::Login => Whose::NextForked,
                Scene::Listener => Whose::Process(house.server.pid().as_raw()),
                _ => Whose::Process(house.server.scribe()?.as_raw()),
            };
            faults.arm(whose, failing);
            Some((connect(names)?, None))
        }
        Scene::Session | Scene::Helper | Scene::Command => {
            let mut visit = connect(names)?;
            visit.log_in(kind.user, "secret", false)?;
            let session = faults.forked();
            (kind.first)(&mut visit)?;
            let whose = if kind.scene == Scene::Helper { Whose::NextForked } else { Whose::Process(session) };
            faults.arm(whose, failing);
            Some((visit, Some(session)))
        }
    }
}

/// What was said that is not so, and what was not said.
fn truth(kind: &Kind, visit: &Visit, went: Went, failing: Option<&Failing>, seen: &Seen) -> Vec<String> {
    let mut wrong = visit.lies.clone();
    if visit.hung {
        wrong.push("the connection hung".into());
    }
    let Some(failing) = failing.filter(|_| seen.hits > 0) else {
        wrong.extend(visit.refusals.iter().map(|refusal| format!("nothing failed, and the answer was '{refusal}'")));
        if went.is_none() {
            wrong.push("nothing failed, and the connection ended".into());
        }
        return wrong;
    };
    for refusal in &visit.refusals {
        let code = refusal.split(' ').next().unwrap_or_default();
        if !kind.may_say(code) && !plausible::fits(&failing.call, failing.fault, code) {
            wrong.push(format!("the answer was '{refusal}'"));
        }
    }
    // The helper flushes one directory for the decoy and for the password: the second flush does for both.
    let is_made_good =
        kind.scene == Scene::Helper && seen.counts.get(&failing.call).is_some_and(|count| *count > failing.nth);
    let is_told = went.is_none() || !visit.refusals.is_empty() || is_made_good && !failing.lasting;
    if !is_told && plausible::must_be_told(failing) {
        wrong.push("a flush failed, and all was acknowledged".into());
    }
    let is_cut = plausible::is_of_connection(&failing.call) || plausible::may_kill(&failing.call);
    let may_end = kind.scene != Scene::Session || is_cut;
    if went.is_none() && visit.refusals.is_empty() && !may_end {
        wrong.push("the session ended without a word".into());
    }
    wrong
}

/// The session goes on as if nothing had happened; how many descriptors it then has.
fn again(visit: &mut Visit, kind: &Kind, session: i32, must_go_on: bool, wrong: &mut Vec<String>) -> Option<usize> {
    if kind.scene == Scene::Scribe {
        return None; // it has logged out
    }
    let before = visit.refusals.len();
    let went = visit.upload("again", b"again").and_then(|()| visit.ask("PING")).and_then(|_| visit.ask("STAT again"));
    if went.is_none() || visit.refusals.len() > before {
        let is_full = kind.name == "quota" && visit.refusals[before..].iter().any(|why| why.starts_with("over-quota "));
        if must_go_on && !is_full {
            wrong.push(format!("the session does not go on: {:?}", &visit.refusals[before..]));
        }
        return None;
    }
    let count = std::fs::read_dir(format!("/proc/{session}/fd")).map_or(0, Iterator::count);
    visit.log_out();
    Some(count)
}

impl Kind {
    /// Codes that are said for reasons of their own: of what is done for a session by others, and before there is one.
    fn may_say(&self, code: &str) -> bool {
        match self.scene {
            Scene::Login => ["internal", "busy", "io-error", "login-refused"].contains(&code),
            Scene::Listener => code == "busy",
            Scene::Scribe => code == "busy",
            Scene::Helper => ["internal", "uncertain"].contains(&code),
            // What could not be removed takes room.
            Scene::Session if self.name == "quota" => code == "over-quota",
            Scene::Session | Scene::Command => self.name == "passwd" && ["internal", "uncertain"].contains(&code),
        }
    }

    /// With what the user may log in afterwards.
    fn password(&self) -> &'static [&'static str] {
        if self.user == kinds::CHANGES { &["secret", kinds::ANOTHER] } else { &["secret"] }
    }
}
