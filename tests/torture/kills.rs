//! Killed anywhere: sessions, the listener, the scribe, the client, or all at once, at any moment of a load of uploads, overwrites,
//! renames and deletes. What was acknowledged is there afterwards, what was not is whole or absent, and a restart needs no hand.

use super::common::{Server, eventually, home};
use super::journal::Order;
use super::load::Worker;
use super::run::{Account, Run};
use nix::sys::signal::{Signal, kill};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Workers at once, two of each user's.
const WORKERS: u64 = 8;

/// Kills so often.
pub fn run(run: &Run, account: &mut Account) {
    let mut chance = run.chance(u64::MAX);
    let mut workers: Vec<Worker> = (0..WORKERS).map(|n| Worker::new(n, WORKERS / 2, run.chance(n))).collect();
    let mut server = Server::start_in(home(), &[]);
    for round in 0..run.times {
        let stop = AtomicBool::new(false);
        let address = server.address().to_owned();
        let listener = std::thread::scope(|scope| {
            let tasks: Vec<_> = workers.iter_mut().map(|worker| scope.spawn(|| worker.work(&address, &stop))).collect();
            std::thread::sleep(Duration::from_micros(20_000 + chance.below(200_000))); // the instant is what is random here
            let listener = chance.one_in(3);
            if listener {
                server.kill_listener();
            }
            for session in server.sessions() {
                if listener && chance.one_in(2) {
                    continue; // it ends by itself, since its listener has gone
                }
                let _ = kill(session.pid, Signal::SIGKILL);
                account.count("sessions killed", 1);
            }
            stop.store(true, Ordering::Relaxed);
            tasks.into_iter().for_each(|task| task.join().unwrap());
            listener
        });
        if listener {
            account.count("listeners killed", 1);
            eventually("all of them have gone", || server.processes().is_empty());
            server = Server::start_in(server.leave(), &[]);
        } else {
            server.wait_idle();
        }
        for worker in &mut workers {
            let dir = server.at(&worker.user).join(&worker.dir);
            let wrong = worker.journal.check(&dir, Order::AsAsked);
            wrong.into_iter().for_each(|loss| account.lost(format!("round {round}, {}: {loss}", dir.display())));
            worker.lies.drain(..).for_each(|lie| account.lost(format!("round {round}: {lie}")));
        }
    }
    account.count("acknowledged", workers.iter().map(|worker| worker.acknowledged).sum());
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait(), 0, "the exit status at the end");
    server.nobody_is_left();
}
