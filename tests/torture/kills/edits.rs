//! `dfos-forkd user add` and `user passwd`, killed as they write the users file: it holds the old line or the new one, and all others as
//! they were; and what a killed command leaves goes with the next one.

use super::super::common::binary;
use super::super::run::{Account, Chance};
use super::house::House;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The users file, and who changes it.
pub struct Edits {
    users: PathBuf,
    /// Lines of users, as the file has held them.
    known: BTreeMap<String, String>,
    added: u64,
    done: u64,
    wrong: Vec<String>,
}

impl Edits {
    /// The users file of a server.
    pub fn of(house: &House) -> Edits {
        let users = house.place().join("users");
        let known = lines(&fs::read_to_string(&users).unwrap());
        Edits { users, known, added: 0, done: 0, wrong: Vec::new() }
    }

    /// Changes something, and kills who does so, as a rule; how many were killed.
    pub fn make(&mut self, chance: &mut Chance) -> u64 {
        let name = if chance.one_in(3) {
            self.added += 1;
            format!("new{}", self.added)
        } else {
            "user7".to_owned()
        };
        let mut command = self.command(&name);
        match chance.below(8) {
            0 => {}                                                                                  // to its end
            1 => std::thread::sleep(Duration::from_micros(chance.below(100_000))),                   // anywhere
            _ => await_draft(&mut command, &self.users, Duration::from_micros(chance.below(4_000))), // as it writes
        }
        if chance.below(8) > 0 {
            let _ = command.kill();
        }
        let status = command.wait().unwrap();
        let killed = status.signal().is_some();
        if !killed && !status.success() {
            self.wrong.push(format!("'user' for {name} ended with {status}"));
        }
        self.compare(&name, status.success());
        if status.success() {
            self.done += 1;
            self.nothing_beside();
        }
        u64::from(killed)
    }

    fn command(&self, name: &str) -> Child {
        let verb = if self.known.contains_key(name) { "passwd" } else { "add" };
        let mut command = Command::new(binary());
        command.args(["user", verb, name, "--password-stdin", "--users"]).arg(&self.users);
        command.env("DFOS_FORKD_CONFIG", "none").stdin(Stdio::piped()).stdout(Stdio::null());
        let mut command = command.spawn().unwrap();
        command.stdin.take().unwrap().write_all(b"a new secret\n").unwrap();
        command
    }

    /// All lines are as they were but that of `name`, which is a new one if `changed`, and otherwise may be.
    fn compare(&mut self, name: &str, changed: bool) {
        let now = lines(&fs::read_to_string(&self.users).unwrap());
        for (other, line) in self.known.iter().filter(|(other, _)| *other != name) {
            if now.get(other) != Some(line) {
                self.wrong.push(format!("a change of {name} changed {other}: {:?}", now.get(other)));
            }
        }
        let (old, new) = (self.known.get(name), now.get(name));
        let is_whole = new.is_some_and(|line| line.starts_with("SCRAM-SHA-256$") && line.len() > 120);
        if changed && (old == new || !is_whole) || new != old && !is_whole {
            self.wrong.push(format!("{name} was given a new line, and has {new:?}"));
        }
        self.known = now;
    }

    fn nothing_beside(&mut self) {
        let left = drafts(&self.users);
        if !left.is_empty() {
            self.wrong.push(format!("beside the users file lie, after a change to its end, {left:?}"));
        }
    }

    /// What was wrong since the last time.
    pub fn check(&mut self) -> Vec<String> {
        std::mem::take(&mut self.wrong)
    }

    /// What was done.
    pub fn tell(&self, account: &mut Account) {
        account.count("operator's commands done", self.done);
    }
}

/// The lines of users, by name.
fn lines(text: &str) -> BTreeMap<String, String> {
    let of = |line: &str| line.split_once(':').map(|(name, rest)| (name.to_owned(), rest.to_owned()));
    text.lines().filter(|line| !line.starts_with('#')).filter_map(of).collect()
}

/// Waits until it writes beside the file, and then `longer`.
fn await_draft(command: &mut Child, users: &std::path::Path, longer: Duration) {
    let (before, deadline) = (drafts(users), Instant::now() + Duration::from_secs(2));
    while drafts(users) == before && Instant::now() < deadline && command.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    std::thread::sleep(longer);
}

fn drafts(users: &std::path::Path) -> Vec<String> {
    let names = fs::read_dir(users.parent().unwrap()).unwrap();
    let names = names.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    names.filter(|name| name.starts_with(".dfos-users")).collect()
}
