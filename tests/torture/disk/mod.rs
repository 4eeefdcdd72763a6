//! The disk fills, its inodes run out, it goes read-only, it fails, or the user's quota is hit, in the middle of everything and with many
//! clients. Errors are clear, what was there stays, and when the fault is over the same sessions go on: without a restart, with nothing
//! left in the staging space, and with the account in order.

mod person;
mod volume;

use super::carrier::Carrier;
use super::common::raw::number;
use super::common::{Server, eventually, home};
use super::journal::Order;
use super::load::Worker;
use super::run::{Account, Chance, Run};
use nix::sys::signal::Signal;
use person::Person;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use volume::{Disk, Volume};

/// Workers at once.
const WORKERS: u64 = 6;

/// What can be the matter with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// No room, or next to none.
    Full,
    /// No inodes.
    Hoarded,
    /// Nothing can be changed.
    ReadOnly,
    /// The user may store no more.
    Quota,
    /// Writes fail, and after that the file system takes none.
    Failing,
}

impl Trouble {
    /// The codes that tell of it, and words that must stand in the sentence: what is the matter, and what to do.
    fn words(self) -> &'static [(&'static str, [&'static str; 2])] {
        match self {
            Trouble::Full | Trouble::Hoarded => &[("no-space", ["disk is full", "delete"])],
            Trouble::ReadOnly => &[
                ("read-only", ["read-only", "operator"]),
                ("uncertain", ["flush failed", "look"]), // it became so between a flush and the question whether that is to be believed
            ],
            Trouble::Quota => &[("over-quota", ["quota", "delete something"])],
            Trouble::Failing => &[
                ("io-error", ["the server's", "operator"]),
                ("read-only", ["read-only", "operator"]),
                ("no-space", ["disk is full", "delete"]),
                ("uncertain", ["flush failed", "look"]),
            ],
        }
    }

    /// Whether a refusal tells of this, and what to do about it.
    pub fn explains(self, answer: &str) -> bool {
        let text = answer.strip_prefix("ERR ").and_then(|rest| rest.split_once(' '));
        text.is_some_and(|(code, text)| {
            self.words().iter().any(|(of, words)| *of == code && words.iter().all(|word| text.contains(word)))
        })
    }
}

/// The code of a refusal.
pub fn code(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

/// Each kind of disk so often.
pub fn run(run: &Run, account: &mut Account) {
    if let Err(why) = volume::can_mount() {
        return account.count(&format!("skipped, since nothing can be mounted here ({why})"), 1);
    }
    let shaken = [Trouble::Full, Trouble::Hoarded, Trouble::ReadOnly];
    rounds("tmpfs", &shaken, "", run, account);
    rounds("ext4", &shaken, "", run, account);
    let limits = "[default]\nquota = \"2500kB\"\nfiles = 60\n\n[user4]\nquota = \"1MB\"\n\n[user5]\nquota = \"20MB\"\n";
    rounds("tmpfs", &[Trouble::Full, Trouble::Quota], limits, run, account);
    rounds("ext4", &[Trouble::Full, Trouble::Quota], limits, run, account);
    failing("failing", run, account);
    failing("dying", run, account);
    account.count(
        "skipped: an error target of the device mapper (a disk on ground that runs out of room stands in for it)",
        1,
    );
}

fn volume(kind: &str, at: &Path) -> Result<Volume, String> {
    match kind {
        "tmpfs" => Volume::tmpfs(at, 40, 700),
        "failing" => Volume::ext4(at, 100, 700, Disk::Failing),
        "dying" => Volume::ext4(at, 100, 700, Disk::Dying),
        _ => Volume::ext4(at, 40, 700, Disk::Sound),
    }
}

/// Rounds on a disk that fails; when its file system has given up, on the next.
fn failing(kind: &str, run: &Run, account: &mut Account) {
    let mut done = 0;
    while done < run.times {
        let run = Run { times: run.times - done, seed: run.seed ^ (done << 32), ..*run };
        done += rounds(kind, &[Trouble::Failing], "", &run, account);
    }
}

/// Rounds on one disk, with one server that is never started anew. How many there were, or were to be where none can be.
fn rounds(kind: &str, troubles: &[Trouble], limits: &str, run: &Run, account: &mut Account) -> u64 {
    let home = home();
    if !limits.is_empty() {
        fs::write(home.path().join("user_limits.toml"), limits).unwrap();
    }
    let volume = match volume(kind, &home.path().join("storage")) {
        Ok(volume) => volume,
        Err(why) if troubles == [Trouble::Failing] => {
            account.count(&format!("skipped: {kind} ({why})"), 1);
            return run.times;
        }
        Err(why) => panic!("no {kind}: {why}"),
    };
    let server = Server::start_in(home, &[]);
    let salt = kind.len() as u64 + 100 * limits.len() as u64;
    let mut scene = Scene::new(volume, server, troubles, !limits.is_empty(), run, salt);
    let mut done = 0;
    while done < run.times {
        scene.round(&format!("{kind} {troubles:?}, round {done}"), account);
        done += 1;
        if scene.volume.gave_up() {
            account.count("file systems that stopped by themselves", 1);
            break;
        }
    }
    scene.end(account);
    done
}

/// A disk, a server on it, and who uses it.
struct Scene {
    volume: Volume, // goes first: what lies there is not to be taken for the home's
    server: Server,
    workers: Vec<Worker>,
    carrier: Carrier,
    person: Person,
    chance: Chance,
    troubles: Vec<Trouble>,
    has_quota: bool,
}

impl Scene {
    fn new(volume: Volume, server: Server, troubles: &[Trouble], has_quota: bool, run: &Run, salt: u64) -> Scene {
        // With quotas all are of one user: its sessions draw on one account.
        let users = if has_quota { 1 } else { 3 };
        let workers = (0..WORKERS).map(|n| Worker::new(n, users, run.chance(salt + n)));
        let mut workers: Vec<_> = workers.map(|worker| Worker { careful: true, ..worker }).collect();
        let mut carrier = Carrier::new(0, "user5", run.chance(salt + WORKERS));
        // The directories are there before anything is the matter.
        workers.iter_mut().for_each(|worker| _ = worker.fill(server.address()));
        carrier.put(&format!("tcp://{}", server.address()));
        server.wait_idle();
        workers.iter_mut().for_each(|worker| {
            // A small quota has no room for all of that.
            worker.refusals.clear();
            worker.lies = worker.journal.check(&server.at(&worker.user).join(&worker.dir), Order::AsAsked);
        });
        let person = Person::new("user4", &server, run.chance(salt + WORKERS + 1));
        let chance = run.chance(salt + WORKERS + 2);
        Scene { volume, server, workers, carrier, person, chance, troubles: troubles.to_vec(), has_quota }
    }

    /// Load, and something the matter now and then; then all is well again, and everybody goes on.
    fn round(&mut self, what: &str, account: &mut Account) {
        let stop = AtomicBool::new(false);
        let address = self.server.address().to_owned();
        let url = format!("tcp://{address}");
        let (server, volume, person) = (&self.server, &self.volume, &mut self.person);
        let progress: Vec<_> = self.workers.iter().map(|worker| worker.progress.clone()).collect();
        let (was_read_only, ended) = std::thread::scope(|scope| {
            let workers = self.workers.iter_mut();
            let tasks: Vec<_> = workers.map(|worker| scope.spawn(|| worker.work(&address, &stop))).collect();
            let carrier = &mut self.carrier;
            let carried = scope.spawn(|| carry(carrier, &url, &stop));
            let _stop = Stop(&stop); // also after a panic
            let mut was_read_only = false;
            for _ in 0..1 + self.chance.below(3) {
                std::thread::sleep(Duration::from_micros(self.chance.below(150_000))); // the instant is what is random here
                let trouble = *self.chance.of(&self.troubles);
                if begin(trouble, volume, &mut self.chance, account) {
                    was_read_only |= trouble == Trouble::ReadOnly;
                    person.try_all(server, Some(trouble), account);
                    std::thread::sleep(Duration::from_micros(self.chance.below(300_000)));
                }
                heal(volume);
            }
            let gave_up = volume.gave_up();
            let still = if self.has_quota { Some(Trouble::Quota) } else { gave_up.then_some(Trouble::Failing) };
            person.try_all(server, still, account);
            let before: Vec<_> = progress.iter().map(|done| done.load(Ordering::Relaxed)).collect();
            eventually("everybody goes on", || {
                let is_done = |(n, before): (usize, &u64)| progress[n].load(Ordering::Relaxed) >= before + 3;
                gave_up || before.iter().enumerate().all(|(n, before)| is_done((n, before)) || tasks[n].is_finished())
            });
            let ended: Vec<_> = (0..tasks.len()).filter(|n| tasks[*n].is_finished()).collect();
            stop.store(true, Ordering::Relaxed);
            tasks.into_iter().for_each(|task| task.join().unwrap());
            for ran in carried.join().unwrap() {
                self::carried(what, &ran, &self.troubles, account);
            }
            (was_read_only, ended)
        });
        for n in ended {
            match std::mem::take(&mut self.workers[n].in_doubt) {
                true => account.count("sessions given up in doubt", 1),
                false => account.lost(format!("{what}: the session of worker {n} ended by itself")),
            }
        }
        self.server.wait_for_count(1);
        self.look(what, was_read_only, account);
    }

    /// What was acknowledged is there, nothing is left over, and the accounts are in order. A file system that has given up need not
    /// even show what it holds: that one is looked at when it has been repaired.
    fn look(&mut self, what: &str, was_read_only: bool, account: &mut Account) {
        let address = self.server.address().to_owned();
        let users: BTreeSet<String> = self.workers.iter().map(|worker| worker.user.clone()).collect();
        let is_stuck = self.volume.gave_up();
        if !was_read_only && !is_stuck {
            for user in &users {
                let left = self.server.partials(user).len();
                if left > 0 {
                    account.lost(format!("{what}: {left} staged files of {user} are left"));
                }
            }
        }
        for worker in &mut self.workers {
            let dir = self.server.at(&worker.user).join(&worker.dir);
            let mut wrong = if is_stuck { Vec::new() } else { worker.journal.check(&dir, Order::AsAsked) };
            for (answer, times) in std::mem::take(&mut worker.refusals) {
                account.count(&format!("told {}", code(&answer)), times);
                if !self.troubles.iter().any(|trouble| trouble.explains(&answer)) {
                    wrong.push(format!("unclear: '{answer}', {times} times"));
                }
            }
            // What could not be removed while nothing could goes with the next upload of the name.
            if was_read_only && !is_stuck && !worker.fill(&address) {
                wrong.push(format!("not all can be uploaded any more: {:?}", worker.refusals));
            }
            wrong.append(&mut worker.lies);
            wrong.into_iter().for_each(|loss| account.lost(format!("{what}, {}: {loss}", dir.display())));
        }
        self.server.wait_for_count(1);
        if is_stuck {
            return;
        }
        let lost = self.carrier.check(&self.server.storage());
        lost.into_iter().for_each(|loss| account.lost(format!("{what}, carrier: {loss}")));
        for user in &users {
            let left = self.server.partials(user).len();
            if left > 0 {
                account.lost(format!("{what}: {left} staged files of {user} are left for good"));
            }
        }
        for user in users.iter().map(String::as_str).chain(["user4", "user5"]) {
            self.account_is_right(user, what, account);
        }
    }

    /// QUOTA tells what lies there.
    fn account_is_right(&self, user: &str, what: &str, account: &mut Account) {
        let told = self.server.login(user).ask("QUOTA");
        let there = weight(&self.server.at(user));
        if (number(&told, "used"), number(&told, "files")) != there {
            account.lost(format!("{what}: QUOTA of {user} is '{told}', there are {there:?}"));
        }
        account.count("accounts compared with what lies there", 1);
    }

    /// Ends the server, and compares what is on the disk itself.
    fn end(self, account: &mut Account) {
        let Scene { mut volume, mut server, mut workers, person, .. } = self;
        account.count("acknowledged", workers.iter().map(|worker| worker.acknowledged).sum());
        drop(person);
        server.wait_idle();
        server.signal(Signal::SIGINT);
        assert_eq!(server.wait(), 0, "the exit status at the end");
        server.nobody_is_left();
        server.no_alarm();
        // A file system that has given up takes back what it was never told to keep, and nobody was promised, as a power cut does.
        let order = if volume.gave_up() { Order::Any } else { Order::AsAsked };
        match volume.seen_on_the_disk() {
            Ok(true) => {}
            Ok(false) => {
                return account.count("skipped: file systems that another namespace holds, not read from the disk", 1);
            }
            Err(why) => return account.lost(format!("the file system is not in order: {why}")),
        }
        for worker in &mut workers {
            let wrong = worker.journal.check(&server.at(&worker.user).join(&worker.dir), order);
            wrong.into_iter().for_each(|loss| account.lost(format!("on the disk itself, {}: {loss}", worker.dir)));
        }
    }
}

/// Tells the threads of a round that it is over.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Something is the matter from now on; whether that could be brought about.
fn begin(trouble: Trouble, volume: &Volume, chance: &mut Chance, account: &mut Account) -> bool {
    let could = match trouble {
        Trouble::Full => {
            let leave = *chance.of(&[0, 0, 1000, 20_000, 300_000]);
            volume.fill(leave);
            true
        }
        Trouble::Hoarded => {
            volume.hoard(chance.below(3) as usize);
            true
        }
        Trouble::ReadOnly => volume.remount("ro", Duration::from_secs(5)),
        Trouble::Failing => {
            volume.fail();
            true
        }
        Trouble::Quota => true,
    };
    account.count(&format!("{trouble:?}{}", if could { "" } else { ", but files were open all the time" }), 1);
    could
}

/// Nothing is the matter any more.
fn heal(volume: &Volume) {
    let is_writable = volume.gave_up() || volume.remount("rw", Duration::from_secs(5));
    assert!(is_writable || volume.gave_up(), "it cannot be made writable again");
    volume.empty();
    volume.recover();
}

/// Puts and gets a directory again and again with the real client; how that went.
fn carry(carrier: &mut Carrier, url: &str, stop: &AtomicBool) -> Vec<super::carrier::Ran> {
    let mut ran = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        ran.push(carrier.put(url));
        let (got, _) = carrier.get(url);
        ran.push(got);
    }
    ran
}

/// A run of the client ended well, or said what is the matter and what to do.
fn carried(what: &str, ran: &super::carrier::Ran, troubles: &[Trouble], account: &mut Account) {
    account.count(&format!("client status {}", ran.status), 1);
    let words = || troubles.iter().flat_map(|trouble| trouble.words());
    let is_told = words().any(|(_, words)| words.iter().all(|word| ran.said.contains(word)));
    if ran.status != 0 && !is_told {
        account.lost(format!("{what}: the client ended with {} and said '{}'", ran.status, ran.said.trim()));
    }
}

/// Bytes and names in a user's directory, without the server's own, as QUOTA counts them.
fn weight(dir: &Path) -> (u64, u64) {
    let (mut bytes, mut names, mut left) = (0, 0, vec![dir.to_owned()]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().map(Result::unwrap) {
            let meta = entry.metadata().unwrap();
            if entry.file_name() == ".dfos" {
                for staged in fs::read_dir(entry.path().join("uploads")).into_iter().flatten().map(Result::unwrap) {
                    (bytes, names) = (bytes + staged.metadata().unwrap().len(), names + 1);
                }
                continue;
            }
            names += 1;
            match meta.is_dir() {
                true => left.push(entry.path()),
                false => bytes += meta.len(),
            }
        }
    }
    (bytes, names)
}
