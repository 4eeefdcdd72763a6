//! Killed anywhere: sessions, the scribe, the listener, clients, an operator's command, or all at once, at any moment of a load of
//! uploads, overwrites, renames, deletes, broken-off and resumed uploads, trash and new passwords, and of reloads, upgrades and rotations.
//! What was acknowledged is there afterwards, what was not is whole or absent, and a restart needs no hand.

mod books;
mod changer;
mod edits;
pub mod house;
mod keeper;
pub mod quota;
pub mod strike;

use super::journal::Order;
use super::load::Worker;
use super::run::{Account, Run};
use books::Books;
use changer::Changer;
use edits::Edits;
use house::House;
use keeper::Keeper;
use nix::sys::signal::Signal;
use std::sync::atomic::{AtomicBool, Ordering};
use strike::Fate;

/// Workers at once, two of each user's.
const WORKERS: u64 = 6;

/// What all rounds work on.
struct Scene {
    house: House,
    workers: Vec<Worker>,
    keeper: Keeper,
    changer: Changer,
    books: Books,
    edits: Edits,
}

/// Rounds until so many have been killed.
pub fn run(run: &Run, account: &mut Account) {
    let house = House::build();
    let mut scene = Scene {
        workers: (0..WORKERS).map(|n| Worker::new(n, WORKERS / 2, run.chance(n))).collect(),
        keeper: Keeper::new("user4", run.chance(100)),
        changer: Changer::new("user5", run.chance(101)),
        books: Books::of(&house),
        edits: Edits::of(&house),
        house,
    };
    let mut chance = run.chance(u64::MAX);
    let mut round = 0;
    // A round kills two or more as a rule; one that finds nobody to kill must not go on for ever.
    while strike::kills(account) < run.times && round < run.times * 2 {
        let begun = strike::kills(account);
        let fate = scene.suffer(&mut chance, account);
        scene.look(round, fate, &mut chance, account);
        round += 1;
        account.count("rounds", 1);
        account.count("rounds in which nobody was killed", u64::from(strike::kills(account) == begun));
    }
    scene.end(account);
}

impl Scene {
    /// A load, and what befalls it.
    fn suffer(&mut self, chance: &mut super::run::Chance, account: &mut Account) -> Fate {
        let stop = AtomicBool::new(false);
        let address = self.house.server().address().to_owned();
        let lines: Vec<_> = self.workers.iter().map(|worker| worker.line.clone()).collect();
        lines.iter().for_each(|line| *line.lock().unwrap() = None); // those of the round before
        std::thread::scope(|scope| {
            let (stop, address) = (&stop, &address);
            let mut tasks: Vec<_> = Vec::new();
            for worker in &mut self.workers {
                tasks.push(scope.spawn(|| worker.work(address, stop)));
            }
            tasks.push(scope.spawn(|| self.keeper.work(address, stop)));
            tasks.push(scope.spawn(|| self.changer.work(address, stop)));
            let fate = strike::strike(&mut self.house, &lines, &mut self.books, &mut self.edits, chance, account);
            stop.store(true, Ordering::Relaxed);
            tasks.into_iter().for_each(|task| task.join().unwrap());
            fate
        })
    }

    /// The server is up again, and all is as it was promised.
    fn look(&mut self, round: u64, fate: Fate, chance: &mut super::run::Chance, account: &mut Account) {
        let mut wrong = self.house.recover(fate, chance);
        for worker in &mut self.workers {
            let dir = self.house.server().at(&worker.user).join(&worker.dir);
            let lost = worker.journal.check(&dir, Order::AsAsked);
            wrong.extend(lost.into_iter().map(|loss| format!("{}: {loss}", dir.display())));
            wrong.append(&mut worker.lies);
            self.books.expect(&worker.user, worker.told.drain(..));
        }
        wrong.extend(self.keeper.check(&self.house));
        wrong.extend(self.changer.check(self.house.server().address()));
        self.books.expect("user4", self.keeper.told.drain(..));
        wrong.extend(quota::check(&self.house, &format!("user{}", chance.below(5))));
        wrong.extend(self.edits.check());
        wrong.extend(self.books.check(fate));
        if !wrong.is_empty() {
            self.house.tell_log();
        }
        wrong.into_iter().for_each(|loss| account.lost(format!("round {round} ({fate:?}): {loss}")));
    }

    /// What broken-off uploads left goes when it is old; the server ends in order; and the audit is whole to its end.
    fn end(mut self, account: &mut Account) {
        account.count("acknowledged", self.workers.iter().map(|worker| worker.acknowledged).sum());
        let server = self.house.server();
        let mut wrong = self.changer.end(server.address(), &server.storage());
        self.keeper.tell(account);
        self.changer.tell(account);
        self.edits.tell(account);
        wrong.extend(self.house.sweep());
        let server = self.house.server_mut();
        server.signal(Signal::SIGINT);
        if server.wait() != 0 {
            wrong.push("the exit status at the end is not 0".into());
        }
        server.nobody_is_left();
        wrong.extend(self.books.finish(account));
        wrong.into_iter().for_each(|loss| account.lost(format!("at the end: {loss}")));
    }
}
