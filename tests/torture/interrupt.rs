//! A run that is broken off ends what it has started: servers have sessions (setsid(2)) of their own, which no terminal's signal reaches.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;

/// From now on Ctrl+C and its like end all that this process has started, and then it.
pub fn end_with_all() {
    let (mut came, comes) = UnixStream::pair().unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signal_hook::low_level::pipe::register(signal as i32, comes.try_clone().unwrap()).unwrap();
    }
    std::thread::spawn(move || {
        let _comes = comes;
        came.read_exact(&mut [0]).unwrap();
        // Listeners first: whom they have lost they start again.
        below(Pid::this()).into_iter().for_each(|pid| _ = kill(pid, Signal::SIGKILL));
        std::process::exit(130);
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
