//! The real client, killed or cut off at any byte of a `put` or `get` of one file or of a tree: what lies under a name is whole, the old or
//! the new; what the client said is whole is; and the same command, run again, moves what is missing and leaves nothing behind.

mod books;
mod carrier;
mod freight;
mod fuse;

use super::common::{eventually, process};
use super::kills::house::{House, family};
use super::kills::quota;
use super::kills::strike::Fate;
use super::run::{Account, Chance, Run};
use books::Books;
use carrier::{Carrier, Target, Told, USER, Way};
use freight::{Freight, TREE, Versions};
use fuse::{Blow, Line};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;
use tempfile::TempDir;

/// What all rounds work on.
struct Scene {
    house: House,
    line: Line,
    here: TempDir,
    scratch: TempDir,
    freight: Freight,
    target: Target,
    /// Whether a part may lie beside a file that is whole already: a command that fetches all anew was broken off and not repeated.
    dangling: bool,
}

/// A command that is repeated until it has come to its end.
struct Errand {
    way: Way,
    words: Vec<String>,
    wanted: Versions,
    /// Whether what is there already stays.
    newer: bool,
}

/// What befalls the client, or whom it talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    ClientKilled,
    LineCut,
    LineReset,
    SessionsKilled,
    ListenerKilled,
    ClientAndSessionsKilled,
}

/// Faults until there were so many.
pub fn run(run: &Run, account: &mut Account) {
    let house = House::build();
    let (here, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(house.server().login(USER)); // makes the user's directory
    let freight = Freight::new(here.path(), &house.server().at(USER));
    let line = Line::to(house.server().address());
    let mut scene = Scene { house, line, here, scratch, freight, target: Target::default(), dangling: false };
    let mut chance = run.chance(0);
    let mut round = 0;
    // A fault comes to pass in nearly every run; a part whose faults never do must not go on for ever.
    while account.counted("faults") < run.times && round < 2 * run.times + 10 {
        scene.freight.change(&mut chance);
        for way in [Way::Put, Way::Get] {
            let wrong = scene.carry(way, round == 0, &mut chance, account);
            wrong.into_iter().for_each(|loss| account.lost(format!("round {round}, {way:?}: {loss}")));
        }
        round += 1;
    }
    account.count("rounds", round);
    let wrong = [scene.house.sweep(), quota::check(&scene.house, USER)].concat();
    wrong.into_iter().for_each(|loss| account.lost(format!("at the end: {loss}")));
}

impl Errand {
    fn any(freight: &Freight, way: Way, whole_tree: bool, chance: &mut Chance) -> Errand {
        let all = freight.wanted(way);
        let mut words: Vec<String> = vec![if way == Way::Put { "put" } else { "get" }.into()];
        let newer = whole_tree || chance.one_in(2);
        if newer {
            words.push("--newer".into());
        }
        if chance.one_in(2) {
            words.extend(["--jobs".into(), (1 + chance.below(3)).to_string()]);
        }
        if whole_tree || chance.below(3) > 0 {
            words.extend(["-r".into(), TREE.into()]);
            if way == Way::Get {
                words.extend(["--dir".into(), "copy".into()]);
            }
            return Errand { way, words, wanted: all, newer };
        }
        let names: Vec<&String> = all.keys().collect();
        let name = (*chance.of(&names)).clone();
        let to = if way == Way::Put { format!("{TREE}/{name}") } else { format!("copy/{TREE}/{name}") };
        words.extend([format!("{TREE}/{name}"), "--to".into(), to]);
        let wanted = all.into_iter().filter(|(other, _)| *other == name).collect();
        Errand { way, words, wanted, newer }
    }
}

impl Scene {
    /// Carries something one way, with what befalls that, and then to its end.
    fn carry(&mut self, way: Way, first: bool, chance: &mut Chance, account: &mut Account) -> Vec<String> {
        let errand = Errand::any(&self.freight, way, first, chance);
        let mut wrong = Vec::new();
        for _ in 0..1 + chance.below(3) {
            wrong.extend(self.suffer(&errand, chance, account));
        }
        // What was broken off and never ended is of no use to the next version, and in nobody's way.
        if first || !chance.one_in(3) {
            wrong.extend(self.finish(&errand, account));
        } else {
            self.dangling |= !errand.newer;
        }
        wrong.into_iter().map(|loss| format!("{loss} ({})", errand.words.join(" "))).collect()
    }

    /// A run and a fault in it.
    fn suffer(&mut self, errand: &Errand, chance: &mut Chance, account: &mut Account) -> Vec<String> {
        let fault = *chance.of(&Fault::ALL);
        let patient = fault.spares_client() && chance.one_in(2);
        // About as many bytes as will pass: the content, the login, and what is said of each file.
        let due = self.freight.missing(errand.way, &errand.wanted, errand.newer);
        let passing = due + 1_000 + 250 * errand.wanted.len() as u64;
        let linger = Duration::from_micros(if chance.one_in(2) { 0 } else { chance.below(3_000) });
        self.line.arm(1 + chance.below(passing), self.blow(fault, linger));
        let retries = if patient { "5" } else { "0" };
        let mut client = self.start(errand, &["--retries", retries]);
        let listener = self.house.server().pid();
        let lives = || process(listener.as_raw()).is_some_and(|process| process.state != 'Z');
        eventually("the client or the listener ends", || client.has_ended() || !lives());
        // Where the listener was killed, another is started while the client still asks for it.
        let died = !lives();
        let mut wrong = if died { self.restart(chance) } else { Vec::new() };
        let told = client.end(&self.target);
        let fell = self.line.disarm();
        self.line.fuse().cut(false); // lets go of sessions whose client was killed in the midst of them
        if !died && fell && fault == Fault::ListenerKilled {
            wrong.extend(self.restart(chance)); // it fell as the client ended
        }
        wrong.extend(self.house.recover(Fate::Lives, chance));
        account.count("faults", u64::from(fell));
        account.count(&format!("{fault:?}"), u64::from(fell));
        account.count("runs that came to their end by themselves", u64::from(fell && told.status == Some(0)));
        wrong.extend(self.judge(errand, &told));
        let killed = fault.kills_client() && told.status.is_none();
        let may_fail = fell && !patient;
        if !killed && !may_fail && told.status != Some(0) {
            let Told { status, text, .. } = told;
            wrong.push(format!("{fault:?} (fell: {fell}, patient: {patient}) ended with {status:?}: {text}"));
        }
        wrong
    }

    /// The same command with nothing in its way: it moves what is missing and no more, and all is there.
    fn finish(&mut self, errand: &Errand, account: &mut Account) -> Vec<String> {
        let due = self.freight.missing(errand.way, &errand.wanted, errand.newer);
        let books = Books::of(&self.house);
        let told = self.start(errand, &[]).end(&self.target);
        let mut wrong = self.house.recover(Fate::Lives, &mut Run { seed: 0, times: 0, full: false }.chance(0));
        wrong.extend(self.judge(errand, &told));
        if told.status != Some(0) {
            wrong.push(format!("the rerun ended with {:?}: {}", told.status, told.text));
        }
        let moved: u64 = told.finished.iter().map(|(_, moved)| moved).sum();
        if moved != due {
            wrong.push(format!("the rerun moved {moved} bytes where {due} were missing"));
        }
        let told = books.moved();
        if told != Some(due) {
            wrong.push(format!("the audit of the rerun tells {told:?} bytes where {due} were missing"));
        }
        for (name, version) in
            errand.wanted.iter().filter(|(name, version)| !self.freight.has(errand.way, name, **version))
        {
            wrong.push(format!("after the rerun {name} does not hold version {version}"));
        }
        if errand.way == Way::Get && errand.words.contains(&"-r".into()) {
            self.dangling &= errand.newer;
            let parts = self.freight.parts();
            if !parts.is_empty() && !self.dangling {
                wrong.push(format!("after the rerun {parts:?} are left"));
            }
        }
        account.count("reruns", 1);
        account.count("bytes moved by reruns", moved);
        wrong
    }

    fn start(&self, errand: &Errand, options: &[&str]) -> Carrier {
        let words: Vec<String> =
            options.iter().map(|word| (*word).to_owned()).chain(errand.words.iter().cloned()).collect();
        Carrier::start(self.line.address(), self.here.path(), self.scratch.path(), &words, &self.target)
    }

    /// What lies there after a run, and whether what the client said was so.
    fn judge(&mut self, errand: &Errand, told: &Told) -> Vec<String> {
        let mut wrong = self.freight.look(errand.way, &errand.wanted);
        for (path, _) in &told.finished {
            let name = path.strip_prefix(&format!("{TREE}/")).unwrap_or(path);
            let version = errand.wanted.get(name).copied();
            if !version.is_some_and(|version| self.freight.has(errand.way, name, version)) {
                wrong.push(format!("the client said that {path} is whole, and version {version:?} is not there"));
            }
        }
        if told.status == Some(0) {
            let missing = self.freight.missing(errand.way, &errand.wanted, true);
            if missing > 0 {
                wrong.push(format!("the client ended well, and {missing} bytes are missing: {}", told.text));
            }
        }
        wrong
    }

    fn restart(&mut self, chance: &mut Chance) -> Vec<String> {
        self.house.server_mut().wait();
        self.house.recover(Fate::ListenerKilled, chance)
    }

    fn blow(&self, fault: Fault, linger: Duration) -> Blow {
        let (target, fuse, listener) = (self.target.clone(), self.line.fuse(), self.house.server().pid());
        Box::new(move || {
            std::thread::sleep(linger);
            match fault {
                Fault::ClientKilled => target.kill(),
                Fault::LineCut | Fault::LineReset => fuse.cut(fault == Fault::LineReset),
                Fault::SessionsKilled => kill_sessions(listener),
                Fault::ListenerKilled => {
                    let _ = kill(listener, Signal::SIGKILL);
                }
                Fault::ClientAndSessionsKilled => {
                    target.kill();
                    kill_sessions(listener);
                }
            }
        })
    }
}

impl Fault {
    /// Some more often than others.
    const ALL: [Fault; 10] = [
        Fault::ClientKilled,
        Fault::ClientKilled,
        Fault::ClientKilled,
        Fault::LineCut,
        Fault::LineCut,
        Fault::LineReset,
        Fault::LineReset,
        Fault::SessionsKilled,
        Fault::ListenerKilled,
        Fault::ClientAndSessionsKilled,
    ];

    fn kills_client(self) -> bool {
        matches!(self, Fault::ClientKilled | Fault::ClientAndSessionsKilled)
    }

    fn spares_client(self) -> bool {
        !self.kills_client()
    }
}

fn kill_sessions(listener: Pid) {
    let sessions =
        family(listener).into_iter().filter(|process| process.parent == listener && process.group != process.pid);
    for session in sessions {
        let _ = kill(session.pid, Signal::SIGKILL);
    }
}
