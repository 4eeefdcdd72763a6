//! What befalls a load: something that the operator does, and kills in the midst of it, at random instants.

use super::super::common::{eventually, process};
use super::super::load::Line;
use super::super::run::{Account, Chance};
use super::books::Books;
use super::edits::Edits;
use super::house::{House, family};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// What became of listener and scribe in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Both live.
    Lives,
    /// The scribe was killed, and another has taken its place.
    ScribeKilled,
    /// The listener was killed, and the scribe was not.
    ListenerKilled,
    /// The listener was killed while there was no scribe, or with it: what no scribe had written yet has gone with them.
    BothKilled,
}

impl Fate {
    /// Whether the listener lives.
    pub fn spares_listener(self) -> bool {
        matches!(self, Fate::Lives | Fate::ScribeKilled)
    }
}

/// What is counted as a kill.
const KILLS: [&str; 6] = [
    "sessions killed",
    "helpers killed",
    "scribes killed",
    "listeners killed",
    "clients vanished",
    "operator's commands killed",
];

/// How many were killed so far.
pub fn kills(account: &Account) -> u64 {
    KILLS.iter().map(|what| account.counted(what)).sum()
}

/// A few strikes, one after the other, the operator being at something as a rule.
pub fn strike(
    house: &mut House,
    lines: &[Line],
    books: &mut Books,
    edits: &mut Edits,
    chance: &mut Chance,
    account: &mut Account,
) -> Fate {
    let mut is_upgraded = false;
    await_load(lines);
    instant(chance, 60_000);
    match chance.below(6) {
        0 => {
            house.server().signal(Signal::SIGHUP);
            account.count("reloads", 1);
        }
        1 => {
            house.server().signal(Signal::SIGUSR2);
            account.count("upgrades", 1);
            is_upgraded = true;
        }
        2 => {
            books.rotate(house);
            account.count("rotations", 1);
        }
        3 => account.count("operator's commands killed", edits.make(chance)),
        _ => {}
    }
    let scribes = account.counted("scribes killed");
    for _ in 0..1 + chance.below(4) {
        instant(chance, 50_000);
        match blow(house, lines, chance, account) {
            Fate::Lives => {}
            // Between one program and the next there is no scribe either.
            Fate::ListenerKilled if is_upgraded => return Fate::BothKilled,
            fate => return fate,
        }
    }
    instant(chance, 20_000);
    if chance.one_in(2) {
        account.count("sessions killed", sessions(house, chance, 1));
    }
    if account.counted("scribes killed") > scribes { Fate::ScribeKilled } else { Fate::Lives }
}

/// Waits until half of the workers are logged in; a server that is busy with its own affairs may not let more in.
fn await_load(lines: &[Line]) {
    let deadline = Instant::now() + Duration::from_secs(3);
    let busy = || lines.iter().filter(|line| line.lock().unwrap().is_some()).count();
    while busy() * 2 < lines.len() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The instant is what is random here.
fn instant(chance: &mut Chance, micros: u64) {
    std::thread::sleep(Duration::from_micros(chance.below(micros)));
}

fn blow(house: &mut House, lines: &[Line], chance: &mut Chance, account: &mut Account) -> Fate {
    match chance.below(18) {
        0..4 => account.count("sessions killed", sessions(house, chance, u64::MAX)),
        4..6 => account.count("sessions killed", sessions(house, chance, 2)),
        6..9 => {
            let scribe = house.server().scribe();
            account.count("scribes killed", scribe.map_or(0, killed));
            eventually("the scribe has gone", || scribe.is_none_or(|pid| !lives(pid)));
        }
        9..13 => account.count("clients vanished", vanish(chance.of(lines), chance.one_in(2))),
        13 | 14 => {
            let scribe = house.server().scribe();
            house.server_mut().kill_listener();
            account.count("listeners killed", 1);
            return if scribe.is_some() { Fate::ListenerKilled } else { Fate::BothKilled };
        }
        15 | 16 => account.count("helpers killed", helper(house, chance)),
        _ => {
            for process in family(house.server().pid()) {
                account.count("sessions killed", killed(process.pid));
            }
            house.server_mut().wait();
            account.count("listeners killed", 1);
            return Fate::BothKilled;
        }
    }
    Fate::Lives
}

/// Kills one of so many sessions (helpers of the listener's among them), or just one; how many.
fn sessions(house: &House, chance: &mut Chance, one_in: u64) -> u64 {
    let all = house.server().sessions();
    if all.is_empty() {
        return 0;
    }
    if one_in == u64::MAX {
        return killed(chance.of(&all).pid);
    }
    all.into_iter().filter(|_| chance.one_in(one_in)).map(|session| killed(session.pid)).sum()
}

/// Kills who keeps a new password or loads the users: a child that has the listener's title still, or the loader's. How many.
fn helper(house: &House, chance: &mut Chance) -> u64 {
    let title = |pid: Pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let helps =
        |pid: Pid| ["dfos-forkd: listener", "dfos-forkd: loader"].iter().any(|name| title(pid).starts_with(name));
    let deadline = Instant::now() + Duration::from_millis(100);
    while Instant::now() < deadline {
        if let Some(helper) = house.server().sessions().into_iter().find(|child| helps(child.pid)) {
            instant(chance, 1_500);
            return killed(helper.pid);
        }
    }
    0
}

fn lives(pid: Pid) -> bool {
    process(pid.as_raw()).is_some_and(|process| process.state != 'Z')
}

fn killed(pid: Pid) -> u64 {
    u64::from(kill(pid, Signal::SIGKILL).is_ok())
}

/// A client is gone in mid-request, as the kernel ends one: with a close, or a reset if it had not read all. How many.
fn vanish(line: &Line, reset: bool) -> u64 {
    let Some(stream) = line.lock().unwrap().take() else { return 0 };
    if reset {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        let _ = setsockopt(&stream, sockopt::Linger, &linger); // takes effect when the worker closes its end
    }
    u64::from(stream.shutdown(Shutdown::Both).is_ok())
}
