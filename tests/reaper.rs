//! How the listener finds out which sessions have ended. Alone in its process: it waits for any child there is.

use dfos::server::children::Reaper;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Children that end when they are told to.
fn children(count: usize) -> Vec<Child> {
    let cat = || Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    (0..count).map(|_| cat()).collect()
}

/// Ends a child and waits until it can be reaped.
fn end(child: &mut Child) -> Pid {
    let pid = Pid::from_raw(child.id() as i32);
    drop(child.stdin.take());
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(pid), flags).unwrap();
    pid
}

#[test]
fn children_are_reaped_by_their_numbers_and_those_that_no_signal_named_a_moment_later() {
    let before = Instant::now();
    let mut children = children(5);
    // Of children that end at the same moment one SIGCHLD may tell. It tells nothing of these, who ended before anybody listened.
    let mut unnamed: Vec<Pid> = children[..3].iter_mut().map(end).collect();
    let mut reaper = Reaper::new().unwrap();
    // One after the other each is named. No look at all of them is due at a moment before the reaper began.
    for child in &mut children[3..] {
        let pid = end(child);
        assert_eq!(reaper.reap(true, before), [(pid, WaitStatus::Exited(pid, 0))]);
    }
    assert_eq!(reaper.reap(true, before), []);
    let due = reaper.due().expect("others may have ended at the same moment");
    let mut found: Vec<Pid> = reaper.reap(false, due).into_iter().map(|(pid, _)| pid).collect();
    unnamed.sort();
    found.sort();
    assert_eq!(found, unnamed);
    assert_eq!(reaper.due(), None);
    // A look at all is not taken again at once, and not much later either.
    let now = Instant::now();
    assert_eq!(reaper.reap(true, before), []);
    assert!(reaper.due().is_some_and(|due| due < now + Duration::from_secs(5)));
}
