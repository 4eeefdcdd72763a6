//! Bits that are flipped on the way, as TCP's checksum lets pass one time in many: in every part of a session, in plain text and in TLS,
//! both ways. What is guarded by a digest or by TLS heals by itself; nothing ends in success with wrong bytes.

mod relay;

use super::command::{Desk, Ended};
use super::common::Server;
use super::common::tree::{noise, sha256, snapshot};
use super::run::{Account, Chance, Run};
use relay::{Channel, Flip, Part, Passed, Relay, Way};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// So many clients at a time: most only wait now and then.
const WORKERS: u64 = 6;

/// A client takes the server for dead after so many seconds: a wrong length makes one wait for the other.
const SILENCE: &str = "3";

/// No command may take longer: one silence, and the waits of a few attempts, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Larger than what is sent without waiting, so that it is resumed.
const BIG: usize = (1 << 20) + 50_000;

/// Small files, whose names are one bit apart.
const NAMES: [&str; 4] = ["tree/d/f0", "tree/d/f1", "tree/d/f2", "tree/d/f3"];

/// So many flips.
pub fn run(run: &Run, account: &mut Account) {
    let server = Server::start(&["--listen", "tls://127.0.0.1:0", "--listen", "tcp://127.0.0.1:0"]);
    let (next, shared) = (AtomicU64::new(0), Mutex::new(Account::default()));
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (next, shared, server) = (&next, &shared, &server);
            scope.spawn(move || {
                let mut own = Account::default();
                let work = || Bench::new(run, server, worker).work(run, next, &mut own, worker);
                if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                    let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                    own.lost(format!("worker {worker} did not reach its end: {text}"));
                }
                shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).add(own);
            });
        }
    });
    account.add(shared.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()));
    server.wait_idle();
    leftovers(&server, run, account);
    server.stop();
}

/// Each file that was put has arrived in the end: nothing is left of the attempts.
fn leftovers(server: &Server, run: &Run, account: &mut Account) {
    let keys: Vec<String> =
        (0..run.times).map(|number| sha256(format!("{}/tree/big", remote(number)).as_bytes())).collect();
    for path in server.partials("alice") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if keys.iter().any(|key| name.starts_with(&key[..32])) {
            account.lost(format!("a staging file is left of an upload that has ended well: {name}"));
        }
    }
}

/// Where the tree of the try of this number goes on the server.
fn remote(number: u64) -> String {
    sha256(&number.to_le_bytes())[..12].to_owned() // no two are one bit apart
}

/// A worker's things.
struct Bench<'a> {
    server: &'a Server,
    desk: Desk,
    relays: [(Channel, Relay); 2],
    /// What goes up and down in each kind of session, when nothing is flipped.
    calm: BTreeMap<(usize, bool), Passed>,
    _dir: tempfile::TempDir,
}

/// One flip.
struct Try {
    number: u64,
    channel: usize,
    up: bool,
    flip: Flip,
}

impl<'a> Bench<'a> {
    fn new(run: &Run, server: &'a Server, worker: u64) -> Bench<'a> {
        let dir = tempfile::Builder::new().prefix("dfos-test-").tempdir().unwrap();
        let desk = Desk::new(dir.path());
        for (name, size) in NAMES.iter().zip([0, 1, 700, 5000]) {
            desk.write(name, &noise(run.seed + size as u64, size));
        }
        desk.write("tree/big", &noise(run.seed + worker, BIG));
        let relays = [
            (Channel::Plain, Relay::to(server.address(), Channel::Plain)),
            (Channel::Tls, Relay::to(server.tls_address(), Channel::Tls)),
        ];
        let mut bench = Bench { server, desk, relays, calm: BTreeMap::new(), _dir: dir };
        bench.measure(worker);
        bench
    }

    /// Runs each kind of session once, untouched.
    fn measure(&mut self, worker: u64) {
        let there = format!("there{worker}");
        for channel in [0, 1] {
            for (up, to) in [(true, remote(!worker)), (true, there.clone()), (false, there.clone())] {
                self.relays[channel].1.arm(None);
                let ended = self.command(channel, up, &to);
                assert_eq!(ended.status, Some(0), "{}", ended.told());
                self.calm.insert((channel, up), self.relays[channel].1.passed());
                self.clear(up, &to, &there);
            }
        }
    }

    fn work(&self, run: &Run, next: &AtomicU64, account: &mut Account, worker: u64) {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= run.times {
                return;
            }
            let one = self.choose(number, run.chance(number));
            self.flip(&one, account, worker);
        }
    }

    /// Half the flips are in lines, and in the heads of records, which are few beside the bodies.
    fn choose(&self, number: u64, mut chance: Chance) -> Try {
        let (channel, up) = (number as usize % 2, (number / 2).is_multiple_of(2));
        let way = if chance.one_in(2) == up { Way::Down } else { Way::Up };
        let (calm, to) = (&self.calm[&(channel, up)], usize::from(way == Way::Down));
        let at = if chance.one_in(2) { *chance.of(&calm.lines[to]) } else { chance.below(calm.bytes[to]) };
        Try { number, channel, up, flip: Flip { way, at, bit: chance.below(8) as u8 } }
    }

    fn flip(&self, one: &Try, account: &mut Account, worker: u64) {
        let there = format!("there{worker}");
        let to = if one.up { remote(one.number) } else { there.clone() };
        let relay = &self.relays[one.channel].1;
        relay.arm(Some(one.flip));
        let ended = self.command(one.channel, one.up, &to);
        let flipped = relay.passed().flipped;
        if let Err(what) = self.judge(one, &ended, flipped, &to, account) {
            account.lost(format!(
                "try {}, {:?}, {} by {:?}, in {flipped:?}: {what}; {}",
                one.number,
                one.flip,
                if one.up { "put" } else { "get" },
                self.relays[one.channel].0,
                ended.told(),
            ));
        }
        self.clear(one.up, &to, &there);
    }
}

impl Bench<'_> {
    /// Runs a client: the tree goes up as `to`, or `to` comes down.
    fn command(&self, channel: usize, up: bool, to: &str) -> Ended {
        let (channel, relay) = &self.relays[channel];
        let scheme = if *channel == Channel::Tls { "tls" } else { "tcp" };
        let (into, from) = (format!("{to}/"), format!("{to}/tree"));
        let words: &[&str] = match up {
            true => &["--timeout", SILENCE, "put", "-r", "tree", "--to", &into],
            false => &["--timeout", SILENCE, "get", "-r", &from, "--dir", "back"],
        };
        self.desk.start(&format!("{scheme}://{}", relay.address()), words).wait(LIMIT)
    }

    /// The directory in which the tree arrives.
    fn place(&self, up: bool, to: &str) -> std::path::PathBuf {
        if up { self.server.at("alice").join(to) } else { self.desk.at("back") }
    }

    /// What has come of a flip is right; or what is wrong.
    fn judge(
        &self,
        one: &Try,
        ended: &Ended,
        flipped: Option<Part>,
        to: &str,
        account: &mut Account,
    ) -> Result<(), String> {
        if ended.is_broken() {
            return Err("it must end, and not by a panic".into());
        }
        let healed = ended.status == Some(0);
        let all = self.arrived(one.up, to)?;
        let guarded = flipped != Some(Part::Words);
        match flipped {
            None => account.count("bits that were never sent", 1),
            Some(part) => account.count(&format!("bits of {}", name(part)), 1),
        }
        match (healed, all) {
            (true, Arrived::All) => account.count("healed", 1),
            // A listing in plain text, or the name of a directory, is guarded by nothing but TCP's checksum.
            (true, found) if !guarded && (!one.up || matches!(found, Arrived::More)) => {
                account.count("lists believed that were not right, in plain text", 1)
            }
            (true, found) => return Err(format!("it is said to have gone well, and there is {found:?}")),
            (false, _) if matches!(flipped, None | Some(Part::Body | Part::Record)) => {
                return Err("it must heal by itself".into());
            }
            (false, _) => {
                account.count("told, and well when run again", 1);
                return self.again(one, to);
            }
        }
        Ok(())
    }

    /// The same command does it, once the line is as it should be.
    fn again(&self, one: &Try, to: &str) -> Result<(), String> {
        self.relays[one.channel].1.arm(None);
        let ended = self.command(one.channel, one.up, to);
        match self.arrived(one.up, to)? {
            Arrived::All | Arrived::More if ended.status == Some(0) => Ok(()),
            found => Err(format!("run again: {}, and there is {found:?}", ended.told())),
        }
    }

    /// How much has arrived; an error if anything has that was not sent.
    fn arrived(&self, up: bool, to: &str) -> Result<Arrived, String> {
        let (whole, found) = (contents(&self.desk.at("tree")), contents(&self.place(up, to).join("tree")));
        let wrong = found.iter().find(|(name, bytes)| whole.get(*name).is_some_and(|right| right != *bytes));
        if let Some((name, _)) = wrong {
            return Err(format!("wrong bytes lie under '{name}'"));
        }
        let all = whole.keys().all(|name| found.contains_key(name));
        let more = found.keys().any(|name| !whole.contains_key(name));
        Ok(match (all, more) {
            (true, false) => Arrived::All,
            (true, true) => Arrived::More,
            _ => Arrived::Part,
        })
    }

    /// Removes what has arrived, but for what is to come down again.
    fn clear(&self, up: bool, to: &str, keep: &str) {
        let place = self.place(up, to);
        if !(up && to == keep) && place.exists() {
            std::fs::remove_dir_all(place).unwrap();
        }
    }
}

/// How much of a tree has arrived.
#[derive(Debug, Clone, Copy)]
enum Arrived {
    All,
    /// All, and what has another name.
    More,
    Part,
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Body => "bodies in plain text",
        Part::Words => "words in plain text",
        Part::Record => "what TLS guards",
        Part::Hello => "the beginning of TLS",
    }
}

/// All files below a directory by the way there.
fn contents(top: &Path) -> BTreeMap<String, Vec<u8>> {
    let all = snapshot(top).into_iter().filter(|(_, seen)| seen.0 == 'f');
    all.map(|(path, seen)| (path.strip_prefix(top).unwrap().to_string_lossy().into_owned(), seen.3)).collect()
}
