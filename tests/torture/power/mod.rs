//! Power cuts: the storage lies on a disk that forgets, at any moment, what it was not told to keep, and all processes are gone. What was
//! acknowledged is there afterwards; what was not is whole or absent.

mod content;
mod disk;
mod fuse;
mod machine;
mod names;
mod password;
mod proof;
mod questions;
mod things;
mod wire;

pub use proof::run as prove;

use crate::journal::Order;
use crate::load::Worker;
use crate::run::{Account, Chance, Run};
use disk::{Luck, Without};
use machine::Machine;
use nix::sched::{CloneFlags, unshare};
use password::Passwords;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use things::Things;

/// Workers at once, two of each user's.
const WORKERS: u64 = 8;
/// Some users have a quota, which is never reached: the figures must be right all the same.
const LIMITS: &str = "[alice]\ntrash = \"1d\"\n[user0]\nquota = \"1GiB\"\n[user1]\nquota = \"1GiB\"\nfiles = 100_000\n";

/// Cuts the power so often.
pub fn run(run: &Run, account: &mut Account) {
    in_a_mount_namespace(account, |account| {
        let mut torture = Torture::new(run, Without::default());
        for round in 0..run.times {
            let lost = torture.round(account);
            lost.into_iter().for_each(|loss| account.lost(format!("round {round}: {loss}")));
        }
        account.count("acknowledged", torture.acknowledged());
        account.count("failed flushes", torture.failed_flushes);
        torture.machine.stop();
    });
}

/// Does something in a thread with mounts of its own, which are gone with it, whatever happens; or says why that is not possible.
fn in_a_mount_namespace(account: &mut Account, body: impl FnOnce(&mut Account) + Send) {
    let ended = std::thread::scope(|scope| {
        let inside = || {
            if !std::path::Path::new("/dev/fuse").exists() {
                return account.count("skipped: no /dev/fuse", 1);
            }
            if let Err(why) = unshare(CloneFlags::CLONE_NEWNS) {
                return account.count(&format!("skipped: no mounts of its own: {why}"), 1);
            }
            let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
            nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            body(account);
        };
        scope.spawn(inside).join()
    });
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The power goes.
    Cut,
    /// All processes of the server are killed.
    Kill,
    /// The sessions are killed.
    KillSessions,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Fault::Cut => "cuts",
            Fault::Kill => "kills of the server",
            Fault::KillSessions => "kills of the sessions",
        }
    }
}

/// A machine under load, and what everybody knows of what was acknowledged.
struct Torture {
    machine: Machine,
    workers: Vec<Worker>,
    things: Things,
    passwords: Passwords,
    /// What a stranger was told, if it was.
    salt: Option<String>,
    chance: Chance,
    /// Of workers that have gone.
    acknowledged: u64,
    /// Flushes that have failed.
    failed_flushes: u64,
}

impl Torture {
    fn new(run: &Run, without: Without) -> Torture {
        let mut chance = run.chance(u64::MAX);
        let machine = Machine::new(LIMITS, chance.split(), without);
        let (things, workers) = (Things::new(chance.split()), workers(&mut chance));
        let passwords = Passwords::new();
        Torture { machine, workers, things, passwords, salt: None, chance, acknowledged: 0, failed_flushes: 0 }
    }

    /// Some load, a fault at any moment of it, and a look at what is left; sentences tell what is lost.
    fn round(&mut self, account: &mut Account) -> Vec<String> {
        let is_new = self.chance.one_in(4);
        if is_new {
            self.new_disk();
            account.count("new disks", 1);
        }
        if is_new || self.salt.is_none() {
            self.salt = Some(questions::salt_of_a_stranger(&self.machine));
        }
        if self.chance.one_in(4) {
            let successes = self.chance.below(30);
            self.machine.disk().fail_fsync_after(successes);
        }
        let fault =
            *self.chance.of(&[Fault::Cut, Fault::Cut, Fault::Cut, Fault::Cut, Fault::Kill, Fault::KillSessions]);
        account.count(fault.name(), 1);
        let luck = self.load_until(fault, is_new);
        let cut_off = self.workers.iter().filter(|worker| !worker.journal.is_settled()).count();
        account.count("workers cut off", cut_off as u64);
        match fault {
            Fault::Cut => self.machine.restart(),
            Fault::Kill => self.machine.start_again(),
            Fault::KillSessions => self.machine.server().wait_idle(),
        }
        let mut lost = self.check(fault);
        if let Some(luck) = luck {
            lost.iter_mut().for_each(|loss| *loss = format!("{loss} (names, content, attributes: {luck:?})"));
        }
        lost
    }

    /// Works for a moment, lets a fault happen, and kills what runs. How lucky the disk was in a cut.
    fn load_until(&mut self, fault: Fault, is_new: bool) -> Option<[Luck; 3]> {
        let stop = AtomicBool::new(false);
        let address = self.machine.server().address().to_owned();
        let (address, stop) = (address.as_str(), &stop);
        // Of a new disk often the very first flush, with which all users' directories begin. Half of the faults come in the midst of a flush
        // that does not end, while whoever does not need it goes on; the others soon after one.
        let most = *self.chance.of(if is_new { &[1, 1, 10, 100] } else { &[4, 20, 100, 500] });
        self.machine.disk().hang_after(self.chance.below(most));
        let (in_a_flush, longest) = (self.chance.one_in(2), *self.chance.of(&[10, 50, 500]));
        let instant = Duration::from_micros(self.chance.below(longest * 1000));
        let unnoticed = Duration::from_micros(self.chance.below(10_000));
        let (things, passwords) = (&mut self.things, &mut self.passwords);
        std::thread::scope(|scope| {
            for worker in &mut self.workers {
                scope.spawn(|| worker.work(address, stop));
            }
            scope.spawn(|| things.work(address, stop));
            scope.spawn(|| passwords.work(address, stop));
            self.machine.until_it_hangs();
            if !in_a_flush {
                self.machine.disk().hang_no_more(true);
            }
            std::thread::sleep(instant);
            self.failed_flushes += u64::from(self.machine.disk().stop_failing());
            let luck = (fault == Fault::Cut).then(|| self.machine.cut());
            std::thread::sleep(unnoticed); // some see the calls fail before they die
            stop.store(true, Ordering::Relaxed);
            match fault {
                Fault::KillSessions => self.machine.kill_sessions(),
                Fault::Cut | Fault::Kill => self.machine.kill(),
            }
            luck
        })
    }

    fn check(&mut self, fault: Fault) -> Vec<String> {
        let order = if fault == Fault::Cut { Order::Any } else { Order::AsAsked };
        let mut lost = Vec::new();
        for worker in &mut self.workers {
            let dir = self.machine.server().at(&worker.user).join(&worker.dir);
            let wrong = worker.journal.check(&dir, order);
            lost.extend(wrong.into_iter().map(|loss| format!("{}/{}: {loss}", worker.user, worker.dir)));
            lost.append(&mut worker.lies);
        }
        lost.extend(self.things.check(&self.machine));
        lost.extend(self.passwords.check(&self.machine, order));
        for worker in &self.workers {
            if self.chance.one_in(3) {
                lost.extend(questions::about(&self.machine, worker, fault != Fault::KillSessions, &mut self.chance));
            }
        }
        if let Some(before) = &self.salt {
            let after = questions::salt_of_a_stranger(&self.machine);
            if after != *before {
                lost.push(format!("a stranger was told the salt {before}, and is told {after} now"));
                self.salt = Some(after);
            }
        }
        lost
    }

    /// Begins anew on an empty disk: directories of users, and what the server itself keeps, are made for the first time.
    fn new_disk(&mut self) {
        self.acknowledged = self.acknowledged();
        let chance = self.chance.split();
        self.machine.replace_disk(chance);
        self.workers = workers(&mut self.chance);
        self.things = Things::new(self.chance.split());
        self.passwords = Passwords::new();
        self.salt = None;
    }

    /// All requests that were answered OK.
    fn acknowledged(&self) -> u64 {
        let now: u64 = self.workers.iter().map(|worker| worker.acknowledged).sum();
        self.acknowledged + now + self.things.acknowledged + self.passwords.acknowledged
    }
}

fn workers(chance: &mut Chance) -> Vec<Worker> {
    (0..WORKERS).map(|n| Worker::new(n, WORKERS / 2, chance.split())).collect()
}
