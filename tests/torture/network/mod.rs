//! The network at its worst, each try with a line of its own between two network namespaces: weather, cuts, peers that vanish, black
//! holes in each phase, an address that changes. Transfers end well or are resumed, nobody waits longer than the documents say, and the
//! server gets rid of who is gone.

mod cuts;
mod holes;
mod link;
mod packet;
mod place;
mod scene;
mod weather;

use super::run::{Account, Run};
use holes::{Hole, Left};
use scene::Notes;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// Something to try.
type Try = Box<dyn FnOnce(&Run, &Notes) + Send>;

/// So many weathers, and everything else once.
pub fn run(run: &Run, account: &mut Account) {
    if let Some(why) = scene::impossible() {
        return account.count(&format!("skipped: {why}"), 1);
    }
    let mut tries: Vec<Try> = vec![Box::new(|run, notes| cuts::at_rest(run, notes, 0))];
    for (number, cut) in cuts::all(run).into_iter().enumerate() {
        tries.push(Box::new(move |run, notes| cuts::make(run, notes, number as u64, cut)));
    }
    for (number, (hole, left)) in holes(run).into_iter().enumerate() {
        tries.push(Box::new(move |run, notes| holes::fall(run, notes, number as u64, &hole, left)));
    }
    for number in 0..run.times as usize {
        tries.push(Box::new(move |run, notes| weather::journey(run, notes, number)));
    }
    all_at_once(run, account, tries, 24);
}

/// In a short run no server is waited for that waits a minute, and each of the two is gone only in some phases.
fn holes(run: &Run) -> Vec<(Hole, Left)> {
    let mut holes = Vec::new();
    for (at, hole) in holes::all(run).into_iter().enumerate() {
        let (long, some) = (hole.is_long(), at % 5 == 3);
        let lefts = [(Left::Both, !long), (Left::Server, some && !long), (Left::Client, some || long)];
        holes.extend(lefts.into_iter().filter(|(_, here)| run.full || *here).map(|(left, _)| (hole.clone(), left)));
    }
    holes
}

/// Most tries only wait: so many run at a time.
fn all_at_once(run: &Run, account: &mut Account, tries: Vec<Try>, most: usize) {
    let notes = Notes::default();
    let tries = Mutex::new(tries.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..most {
            scope.spawn(|| {
                while let Some(next) = { tries.lock().unwrap().next() } {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| next(run, &notes))) {
                        let text = panic.downcast_ref::<String>().cloned();
                        let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                        notes.lost(format!("a try did not reach its end: {}", text.unwrap_or_default()));
                    }
                }
            });
        }
    });
    account.add(notes.0.into_inner().unwrap());
}
