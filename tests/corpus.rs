//! What the fuzz targets hold to (fuzz/checks.rs), over their committed corpus and over a bounded number of mutations of it. So
//! the invariants are watched without the fuzzer; `scripts/fuzz.sh` goes further.

#[path = "../fuzz/checks.rs"]
mod checks;

use std::collections::BTreeSet;
use std::path::Path;

/// Mutations of each target: some seconds altogether.
const ROUNDS: u64 = 40_000;

/// Deterministic, so that a failure comes again (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit.max(1)
    }
}

/// The seeds of a target.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", dir.display());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// One to four small damages: a byte changed, put in, taken out, a part doubled, or a part of another seed.
fn mutate(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    const SPECIAL: &[u8] = b" \n\r\0%/.=:,$[]~-09\x1b\x7f\xc2\x9b\xff";
    let mut data = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(data.len() + 1);
        match dice.below(6) {
            0 if at < data.len() => data[at] = dice.below(256) as u8,
            1 => data.insert(at, SPECIAL[dice.below(SPECIAL.len())]),
            2 if at < data.len() => drop(data.remove(at)),
            3 => data.truncate(at),
            4 => {
                let part = data[at..].to_vec();
                data.extend(part);
            }
            _ => {
                let other = &seeds[dice.below(seeds.len())];
                let from = dice.below(other.len() + 1);
                data.splice(at..at, other[from..].iter().copied());
            }
        }
    }
    data
}

fn hold(name: &str) {
    let (_, check) = checks::ALL.iter().find(|(target, _)| *target == name).unwrap();
    let seeds = seeds(name);
    seeds.iter().for_each(|seed| check(seed));
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for _ in 0..ROUNDS {
        let data = mutate(&mut dice, &seeds);
        if let Err(why) = std::panic::catch_unwind(|| check(&data)) {
            eprintln!("{name} on {:?}", data.escape_ascii().to_string());
            std::panic::resume_unwind(why);
        }
    }
}

#[test]
fn requests_survive_printing() {
    hold("request");
}

#[test]
fn answers_survive_printing() {
    hold("answer");
}

#[test]
fn listings_stay_below_what_was_listed() {
    hold("listing");
}

#[test]
fn paths_are_lawful_and_survive_printing() {
    hold("path");
}

#[test]
fn a_users_file_of_any_bytes_is_users_and_problems() {
    hold("users_file");
}

#[test]
fn no_server_is_believed_without_the_password() {
    hold("scram_client");
}

#[test]
fn nobody_logs_in_without_a_proof() {
    hold("scram_server");
}

#[test]
fn addresses_survive_printing() {
    hold("address");
}

#[test]
fn log_records_survive_printing() {
    hold("record");
}

#[test]
fn every_check_is_a_fuzz_target_with_a_corpus_and_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let names = |dir: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(root.join(dir)).unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let all: BTreeSet<String> = checks::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("fuzz_targets"), all);
    assert_eq!(names("corpus"), all);
    let this = include_str!("corpus.rs");
    assert!(all.iter().all(|name| this.contains(&format!("hold(\"{name}\")"))));
}
