//! Breaks what can be broken here, and counts what is lost: nothing may be. `scripts/torture.sh` builds and calls it.
//!
//! Each part is one class of faults, in a file of its own. What is random comes from a seed that is printed; with the same seed a part
//! does the same again, as far as the machine allows.

mod calls;
mod carrier;
mod client;
mod command;
#[path = "../common/mod.rs"]
mod common;
mod disk;
mod flips;
mod history;
mod interrupt;
#[allow(dead_code)] // not each part needs all of it
mod journal;
mod kills;
mod load;
mod network;
mod power;
mod run;
mod soak;

use run::{Account, Run};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

/// A class of faults.
struct Part {
    name: &'static str,
    /// What is tried, in a line.
    what: &'static str,
    /// How often, in a short run and in a full one.
    times: [u64; 2],
    run: fn(&Run, &mut Account),
}

/// All of them, in the order in which they are run.
const PARTS: &[Part] = &[
    Part { name: "kills", what: "processes killed at any moment under load", times: [100, 2000], run: kills::run },
    Part { name: "client", what: "the client killed or cut off in put and get", times: [40, 2000], run: client::run },
    Part { name: "calls", what: "every call fails once", times: [300, 1_000_000], run: calls::run },
    Part { name: "power", what: "power cuts under load, on a disk that forgets", times: [20, 300], run: power::run },
    Part { name: "power-proof", what: "losses found on a disk that pretends", times: [1, 5], run: power::prove },
    Part { name: "network", what: "weather, cuts, black holes, moves", times: [8, 240], run: network::run },
    Part { name: "flips", what: "bits flipped on the way", times: [100, 5000], run: flips::run },
    Part {
        name: "disk",
        what: "disks that fill, go read-only or fail, and quotas that are hit",
        times: [2, 100],
        run: disk::run,
    },
    Part { name: "soak", what: "seconds of mixed load with fault after fault", times: [20, 3600], run: soak::run },
    Part { name: "history", what: "many sessions on the same names", times: [2000, 100_000], run: history::run },
];

const USAGE: &str = "usage: torture [--full] [--times N] [--seed N] [--record FILE] [PART...]";

/// What the command line asks for.
#[derive(Default)]
struct Asked {
    full: bool,
    times: Option<u64>,
    seed: Option<u64>,
    record: Option<String>,
    parts: Vec<String>,
}

fn asked(mut words: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut asked = Asked::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("'{text}' is not a number"));
        match word.as_str() {
            "--full" => asked.full = true,
            "--times" => asked.times = Some(number(value()?)?),
            "--seed" => asked.seed = Some(number(value()?)?),
            "--record" => asked.record = Some(value()?),
            part if PARTS.iter().any(|known| known.name == part) => asked.parts.push(word),
            _ => return Err(format!("'{word}' is neither an option nor a part")),
        }
    }
    Ok(asked)
}

fn main() -> ExitCode {
    interrupt::end_with_all();
    let asked = match asked(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("{why}\n{USAGE}\nparts:");
            PARTS.iter().for_each(|part| eprintln!("  {:10} {}", part.name, part.what));
            return ExitCode::from(2);
        }
    };
    let wanted = PARTS.iter().filter(|part| asked.parts.is_empty() || asked.parts.iter().any(|name| name == part.name));
    let lost: usize = wanted.map(|part| tortured(part, &asked)).sum();
    if lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a part and says what came of it; how many losses it found.
fn tortured(part: &Part, asked: &Asked) -> usize {
    let seed = asked.seed.unwrap_or_else(run::any_seed);
    let times = asked.times.unwrap_or(part.times[usize::from(asked.full)]);
    println!("{}: {}; {times} times, seed {seed}", part.name, part.what);
    let (run, mut account, begin) = (Run { seed, times, full: asked.full }, Account::default(), Instant::now());
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (part.run)(&run, &mut account))) {
        let text = panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|text| (*text).into()));
        account.lost(format!("it did not reach its end: {}", text.unwrap_or_default()));
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("  {}; {} lost; {seconds:.1} s", account.counts(), account.losses().len());
    if !account.losses().is_empty() {
        println!("  the same again: scripts/torture.sh {} --seed {seed} --times {times}", part.name);
    }
    if let Some(file) = &asked.record {
        account.record(file, part.name, &run, seconds);
    }
    account.losses().len()
}
