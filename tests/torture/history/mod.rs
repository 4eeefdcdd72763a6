//! Many at once on the same names: sessions of one user upload, read, delete, rename, make, remove and list the same few names, and
//! some order of all that must explain every answer, and what lies on the disk when they rest.
//!
//! - `model`: what a request does to a tree, and why it would be refused
//! - `record`: what was asked and answered, and which steps explain it
//! - `checker`: whether some order explains a history, and the smallest piece of one that none explains
//! - `session`: one client; `disk`: what lies there; `proof`: the checker, checked

mod checker;
mod disk;
mod model;
mod proof;
mod record;
mod session;

use super::common::Server;
use super::run::{Account, Run};
use checker::{History, Wrong};
use record::{Answer, Record, Verb};
use session::{Digests, Manner, Session};
use std::ops::Range;
use std::time::Instant;

/// Sessions of the one user. Where each has several requests under way at once, fewer of them bring as much about.
const SESSIONS: [u32; 2] = [16, 5];
/// Requests of each session between two rests: histories stay short, and what is wrong is found near its cause.
const EACH: u32 = 6;
/// Windows of one server. Then another begins with an empty tree, and asks in another manner.
const WINDOWS: u64 = 12;

/// Makes so many requests.
pub fn run(run: &Run, account: &mut Account) {
    if !proof::checker_tells_right_from_wrong(account) {
        return; // nothing that it says is worth anything
    }
    let (mut left, mut round) = (run.times, 0);
    while left > 0 {
        left = left.saturating_sub(tried(run, round, left, account));
        round += 1;
    }
}

/// One server and its windows. How many requests were made.
fn tried(run: &Run, round: u64, most: u64, account: &mut Account) -> u64 {
    let manner = if round.is_multiple_of(2) { Manner::OneByOne } else { Manner::Pipelined };
    let count = SESSIONS[(round % 2) as usize];
    // With a quota sessions take turns under its lock; without they meet more freely.
    let options: &[&str] = if round % 4 < 2 { &["--quota", "1000000000"] } else { &[] };
    let (server, clock) = (Server::start(options), Instant::now());
    let mut chance = run.chance(round);
    let each = |line: u32| {
        let chance = run.chance(chance.next());
        Session::new(server.login("alice"), line as usize, chance, manner, clock)
    };
    let mut sessions: Vec<Session> = (0..count).map(each).collect();
    let (mut made, mut digests) = (0, Digests::new());
    let mut begin = model::Tree::default();
    let mut number = 1;
    for window in 0..WINDOWS {
        let numbers = number..number + count * EACH;
        number = numbers.end;
        digests.extend(session::digests(numbers.clone()));
        let place = format!("round {round}, {manner:?}, {options:?}, window {window}");
        let records = worked(&mut sessions, numbers, &digests);
        made += records.len() as u64;
        account.count("requests", records.len() as u64);
        account.count("changes", records.iter().filter(|record| record.is_change()).count() as u64);
        for lie in sessions.iter_mut().flat_map(|session| session.lies.drain(..)) {
            account.lost(format!("{place}: {lie}"));
        }
        let disk = disk::look(&server.at("alice")).unwrap();
        disk.wrong.iter().for_each(|wrong| account.lost(format!("{place}: {wrong}")));
        let history = History { begin, records, end: Some(disk.tree.clone()) };
        judge(&history, &place, account);
        if window == 0 {
            judge_falsified(history, &place, account);
        }
        let told = sessions[0].quota();
        if told != disk.used {
            account.lost(format!("{place}: QUOTA tells of {told:?}, there are {:?} bytes and names", disk.used));
            break; // it stays wrong
        }
        begin = disk.tree;
        if made >= most {
            break;
        }
    }
    drop(sessions);
    server.stop();
    made
}

/// All sessions at once; what each asked and heard.
fn worked(sessions: &mut [Session], numbers: Range<u32>, digests: &Digests) -> Vec<Record> {
    let share = |at: usize| numbers.start + at as u32 * EACH..numbers.start + (at as u32 + 1) * EACH;
    std::thread::scope(|scope| {
        let work = |(at, session): (usize, &mut Session)| session.work(share(at), digests);
        let tasks: Vec<_> = sessions.iter_mut().enumerate().map(|each| scope.spawn(move || work(each))).collect();
        tasks.into_iter().flat_map(|task| task.join().unwrap()).collect()
    })
}

fn judge(history: &History, place: &str, account: &mut Account) {
    let (result, looked) = history.checked();
    account.count("situations looked at", looked as u64);
    if let Err(wrong) = result {
        account.lost(format!("{place}: {}", history.piece(&wrong)));
    }
}

/// The checker is checked with what it has found right, too: with one acknowledgement taken back nothing may explain what lies there.
fn judge_falsified(mut history: History, place: &str, account: &mut Account) {
    let Some(end) = &history.end else { return };
    let there: Vec<u32> = end.paths().into_iter().filter_map(|(_, held)| held).collect();
    let is_there = |record: &&mut Record| {
        matches!(record.request.verb, Verb::Upload { .. })
            && record.answer == Answer::Done
            && there.contains(&record.number)
    };
    let Some(record) = history.records.iter_mut().find(is_there) else { return };
    record.answer = Answer::Refused("not-found");
    match history.checked().0 {
        Ok(()) => account.lost(format!("{place}: the checker does not miss an acknowledgement that was taken back")),
        Err(Wrong::Undecided) => account.count("falsified histories too long to judge", 1),
        Err(_) => account.count("falsified histories found", 1),
    }
}
