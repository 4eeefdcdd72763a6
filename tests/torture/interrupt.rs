//! A run that is broken off ends what it has started: servers have sessions (setsid(2)) of their own, which no terminal's signal reaches.

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::fs;

/// From now on Ctrl+C and its like end all that this process has started, and then it. To be called before the first thread; what is
/// executed begins with an empty mask of its own.
pub fn end_with_all() {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block().unwrap();
    std::thread::spawn(move || {
        let signal = signals.wait().unwrap();
        // Listeners first: whom they have lost they start again.
        below(Pid::this()).into_iter().for_each(|pid| _ = kill(pid, Signal::SIGKILL));
        std::process::exit(128 + signal as i32);
    });
}

/// All that a process has started, and what that has: parents before children.
fn below(pid: Pid) -> Vec<Pid> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(parent) = all.get(next) {
        let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        let children: Vec<i32> =
            children.flat_map(|text| text.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
        all.extend(children.into_iter().map(Pid::from_raw));
        next += 1;
    }
    all.split_off(1)
}
