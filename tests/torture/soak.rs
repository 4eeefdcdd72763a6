//! Seconds or hours of mixed load, with sessions killed, connections cut, reloads, rotations and upgrades every few seconds. At the end
//! the server is as it was after the first phase: memory, descriptors, processes, places for sessions, staging space; and all that was
//! acknowledged is there.
//!
//! It goes in eleven phases: one to warm up, then ten of one length. Upgrades and killed scribes, which begin with fresh memory, happen in
//! the first half alone: in the second half listener and scribe live through all of it, and whatever they lose would add up.

use super::carrier::Carrier;
use super::common::{PATIENCE, Server, command_of, eventually, give, home};
use super::journal::Order;
use super::load::Worker;
use super::run::{Account, Chance, Run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Workers at once, two of each user's.
const WORKERS: u64 = 8;
/// Places for sessions: so few that one lost now and then is soon missed.
const PLACES: &str = "32";
/// What the memory of listener and scribe may differ by, in KiB.
const MEMORY_NOISE: u64 = 512;

/// Soaks for so many seconds.
pub fn run(run: &Run, account: &mut Account) {
    let phase = Duration::from_secs_f64(run.times as f64 / 10.0);
    let mut soak = Soak::start(run);
    let mut samples = Vec::new();
    println!("{}", Sample::HEAD);
    for number in 0..=10 {
        let length = if number == 0 { phase.min(Duration::from_secs(60)) } else { phase };
        if number == 0 {
            soak.upgrade(account); // the first may differ from what the starter left
        }
        let acknowledged = soak.phase(length, number <= 5, account);
        samples.push(soak.sample(acknowledged as f64 / length.as_secs_f64(), account));
        println!("{}", samples[number].row(number));
    }
    soak.end(account);
    compare(&samples, account);
    throughput(&samples[1..], run.full, account);
}

/// A server under load.
struct Soak {
    server: Server,
    desk: Desk,
    workers: Vec<Worker>,
    carrier: Carrier,
    chance: Chance,
    /// Users that come and go: which number comes next.
    comers: AtomicU64,
    _place: tempfile::TempDir,
}

/// What a phase's threads share.
struct Phase<'a> {
    stop: AtomicBool,
    address: &'a str,
    desk: &'a Desk,
    storage: PathBuf,
    /// The workers' connections, to be cut.
    lines: Mutex<BTreeMap<u64, TcpStream>>,
    counts: Mutex<Account>,
}

impl Phase<'_> {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn count(&self, what: &str) {
        self.counts.lock().unwrap().count(what, 1);
    }

    fn lost(&self, what: String) {
        self.counts.lock().unwrap().lost(what);
    }
}

impl Soak {
    fn start(run: &Run) -> Soak {
        let (home, place) = (home(), tempfile::Builder::new().prefix("dfos-test-").tempdir().unwrap());
        let program = home.path().join("dfos-forkd"); // a copy: what an upgrade finds is not what somebody builds meanwhile
        fs::copy(super::common::binary(), &program).unwrap();
        fs::create_dir(home.path().join("logs")).unwrap();
        give(home.path());
        let (log, audit) = (home.path().join("logs/log"), home.path().join("logs/audit"));
        let control = place.path().join("own/control");
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let (log, audit, socket) = (text(&log), text(&audit), text(&control));
        let mut options = vec!["--listen", "tcp://127.0.0.1:0", "--listen", "tls://127.0.0.1:0", "--control", &socket];
        options.extend(["--max-clients", PLACES, "--log-target", "file", "--log-file", &log, "--audit", &audit]);
        let command = command_of(&program, "022", home.path(), &options);
        let server = Server::spawn(command, home, &options);
        let workers = (0..WORKERS).map(|n| Worker::new(n, WORKERS / 2, run.chance(n))).collect();
        let carrier = Carrier::new(0, "user5", run.chance(WORKERS));
        let (desk, chance) = (Desk { program, control }, run.chance(u64::MAX));
        Soak { server, desk, workers, carrier, chance, comers: AtomicU64::new(0), _place: place }
    }

    /// Load and faults for so long, until all is still again; how many changes were acknowledged.
    fn phase(&mut self, length: Duration, with_upgrades: bool, account: &mut Account) -> u64 {
        let before: u64 = self.workers.iter().map(|worker| worker.acknowledged).sum();
        let (end, longest) = (Instant::now() + length, (length.as_millis() as u64 / 10).min(4_000));
        let address = self.server.address().to_owned();
        let secure = format!("tls://{}", self.server.tls_address());
        let phase = Phase {
            stop: AtomicBool::new(false),
            address: &address,
            desk: &self.desk,
            storage: self.server.storage(),
            lines: Mutex::default(),
            counts: Mutex::new(std::mem::take(account)),
        };
        let phase = &phase;
        std::thread::scope(|scope| {
            let (workers, carrier, comers) = (&mut self.workers, &mut self.carrier, &self.comers);
            for (number, worker) in workers.iter_mut().enumerate() {
                scope.spawn(move || keep_working(number as u64, worker, phase));
            }
            scope.spawn(move || keep_carrying(carrier, &secure, phase));
            scope.spawn(move || keep_coming(comers, phase));
            let faults = Faults { server: &self.server, phase, with_upgrades };
            let _stop = Stop(&phase.stop); // also after a panic
            while Instant::now() < end {
                let pause = Duration::from_millis(100 + self.chance.below(longest)); // the instants are what is random here
                std::thread::sleep(pause.min(end.saturating_duration_since(Instant::now())));
                faults.one(&mut self.chance);
            }
        });
        *account = std::mem::take(&mut phase.counts.lock().unwrap());
        self.workers.iter().map(|worker| worker.acknowledged).sum::<u64>() - before
    }

    fn upgrade(&self, account: &mut Account) {
        upgrade(&self.server, &self.desk);
        account.count("upgrades", 1);
    }

    /// All is still: what is left of the load is uploaded anew, so that nothing waits to be resumed; then everything is counted.
    fn sample(&mut self, rate: f64, account: &mut Account) -> Sample {
        self.server.wait_idle();
        let address = self.server.address().to_owned();
        for worker in &mut self.workers {
            let dir = self.server.at(&worker.user).join(&worker.dir);
            let mut wrong = worker.journal.check(&dir, Order::AsAsked);
            if !worker.fill(&address) {
                wrong.push(format!("an idle server does not take the uploads of {}", worker.dir));
            }
            self.server.wait_idle();
            wrong.extend(worker.journal.check(&dir, Order::AsAsked));
            wrong.append(&mut worker.lies);
            wrong.into_iter().for_each(|loss| account.lost(format!("{}: {loss}", dir.display())));
        }
        let ran = self.carrier.put(&format!("tls://{}", self.server.tls_address()));
        if ran.status != 0 {
            account.lost(format!("an idle server does not take what the client puts: {}", ran.said));
        }
        self.server.wait_idle();
        self.carrier
            .check(&self.server.storage())
            .into_iter()
            .for_each(|loss| account.lost(format!("carrier: {loss}")));
        Sample::take(rate, &self.server, &self.desk.status().expect("the desk of an idle server answers"))
    }

    fn end(mut self, account: &mut Account) {
        account.count("acknowledged", self.workers.iter().map(|worker| worker.acknowledged).sum());
        account.count("sessions", self.desk.status().map_or(0, |status| status["connections"].as_u64().unwrap_or(0)));
        self.server.signal(Signal::SIGINT);
        assert_eq!(self.server.wait(), 0, "the exit status at the end");
        self.server.nobody_is_left();
        look_at_log(&self.server.home().join("logs/log"), |loss| account.lost(loss));
        look_at_audit(&self.server.home().join("logs/audit"), |loss| account.lost(loss));
    }
}

/// Tells the threads of a phase that it is over.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Works, connection after connection, and looks after each what it has left.
fn keep_working(number: u64, worker: &mut Worker, phase: &Phase) {
    while phase.goes_on() {
        let Ok(stream) = TcpStream::connect(phase.address) else { continue };
        let local = stream.local_addr().unwrap().to_string();
        phase.lines.lock().unwrap().insert(number, stream.try_clone().unwrap());
        worker.work_over(stream, &phase.stop);
        phase.lines.lock().unwrap().remove(&number);
        phase.desk.wait_until_none("peer", &local);
        let dir = phase.storage.join(&worker.user).join(&worker.dir);
        let wrong = worker.journal.check(&dir, Order::AsAsked);
        wrong.into_iter().chain(worker.lies.drain(..)).for_each(|loss| phase.lost(format!("{}: {loss}", worker.dir)));
    }
}

/// Puts and gets directories with the real client, over TLS.
fn keep_carrying(carrier: &mut Carrier, server: &str, phase: &Phase) {
    while phase.goes_on() {
        let mut ran = carrier.put(server);
        if ran.status == 0 {
            phase.count("directories put");
            let (got, wrong) = carrier.get(server);
            wrong.into_iter().for_each(|loss| phase.lost(format!("what was got of {}: {loss}", carrier.name)));
            ran = got;
        }
        phase.count(if ran.status == 0 { "directories got" } else { "directories broken off" });
        if ran.status != 0 && ran.said.trim().is_empty() {
            phase.lost(format!("the client failed with {} and said nothing", ran.status));
        }
        phase.desk.wait_until_none("user", &carrier.user);
        carrier.check(&phase.storage).into_iter().for_each(|loss| phase.lost(format!("{}: {loss}", carrier.name)));
    }
}

/// Comes, asks one thing and goes, all the time; one in eight has forgotten the password.
fn keep_coming(comers: &AtomicU64, phase: &Phase) {
    let come = |right: bool| -> Option<()> {
        let stream = TcpStream::connect(phase.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut wire = BufReader::new(stream);
        let password = if right { "secret" } else { "forgotten" };
        wire.get_mut().write_all(format!("LOGIN user7 {password}\nPING\nLOGOUT\n").as_bytes()).ok()?;
        while wire.read_line(&mut String::new()).ok()? > 0 {}
        Some(())
    };
    while phase.goes_on() {
        let number = comers.fetch_add(1, Ordering::Relaxed);
        come(!number.is_multiple_of(8));
        std::thread::sleep(Duration::from_millis(20)); // a rate, not a wait for something
    }
}

/// What goes wrong, one after the other.
struct Faults<'a> {
    server: &'a Server,
    phase: &'a Phase<'a>,
    with_upgrades: bool,
}

impl Faults<'_> {
    fn one(&self, chance: &mut Chance) {
        match chance.below(20) {
            0..=4 => self.kill_one(chance),
            5..=9 => self.cut_one(chance),
            10..=12 => self.reload(),
            13 | 14 => self.rotate(),
            15..=17 => self.ask(chance),
            18 if self.with_upgrades => self.upgrade(),
            19 if self.with_upgrades && chance.one_in(2) => self.kill_scribe(),
            _ => {}
        }
    }

    fn kill_one(&self, chance: &mut Chance) {
        let sessions = self.server.sessions();
        if !sessions.is_empty() {
            let _ = kill(chance.of(&sessions).pid, Signal::SIGKILL);
            self.phase.count("sessions killed");
        }
    }

    fn cut_one(&self, chance: &mut Chance) {
        let lines = self.phase.lines.lock().unwrap();
        let numbers: Vec<_> = lines.keys().copied().collect();
        if !numbers.is_empty() {
            let how = if chance.one_in(2) { Shutdown::Both } else { Shutdown::Write };
            let _ = lines[chance.of(&numbers)].shutdown(how);
            self.phase.count("connections cut");
        }
    }

    fn reload(&self) {
        self.server.signal(Signal::SIGHUP);
        self.phase.count("reloads");
    }

    /// Puts log and audit away as logrotate does, and looks at what is in them.
    fn rotate(&self) {
        let logs = self.server.home().join("logs");
        for name in ["log", "audit"] {
            fs::rename(logs.join(name), logs.join(format!("{name}.1"))).unwrap();
        }
        self.server.signal(Signal::SIGHUP);
        eventually("new files of log and audit", || logs.join("log").exists() && logs.join("audit").exists());
        look_at_log(&logs.join("log.1"), |loss| self.phase.lost(loss));
        look_at_audit(&logs.join("audit.1"), |loss| self.phase.lost(loss));
        self.phase.count("rotations");
    }

    fn ask(&self, chance: &mut Chance) {
        match chance.below(4) {
            0 => drop(self.phase.desk.ask(&["status"])),
            1 => drop(self.phase.desk.ask(&["status", "--openmetrics"])),
            _ => drop(self.phase.desk.status()),
        }
        self.phase.count("status asked");
    }

    fn upgrade(&self) {
        upgrade(self.server, self.phase.desk);
        self.phase.count("upgrades");
    }

    fn kill_scribe(&self) {
        let Some(scribe) = self.server.scribe() else { return };
        let _ = kill(scribe, Signal::SIGKILL);
        eventually("another scribe", || self.server.scribe().is_some_and(|pid| pid != scribe));
        self.phase.count("scribes killed");
    }
}

fn upgrade(server: &Server, desk: &Desk) {
    let mut before = None;
    eventually("the desk answers", || {
        before = desk.status().and_then(|status| status["upgrades"].as_u64());
        before.is_some()
    });
    server.signal(Signal::SIGUSR2);
    eventually("the upgrade", || desk.status().is_some_and(|status| status["upgrades"].as_u64() > before));
}

/// Nothing alarming is in a log that is over.
fn look_at_log(path: &Path, mut lost: impl FnMut(String)) {
    let text = fs::read_to_string(path).unwrap();
    for line in text.lines() {
        let signs = ["panicked", "unexpected exit status", "upgrade refused", "reload failed"];
        if signs.iter().any(|sign| line.contains(sign)) {
            lost(format!("the log says: {line}"));
        }
    }
    fs::remove_file(path).unwrap();
}

/// An audit that is over holds whole lines, each an object.
fn look_at_audit(path: &Path, mut lost: impl FnMut(String)) {
    let text = fs::read_to_string(path).unwrap();
    if !text.is_empty() && !text.ends_with('\n') {
        lost("the audit ends in mid-line".into());
    }
    let torn = text.lines().filter(|line| serde_json::from_str::<Value>(line).is_err()).count();
    if torn > 0 {
        lost(format!("{torn} lines of the audit are no JSON"));
    }
    fs::remove_file(path).unwrap();
}

/// The operator, who asks how the server is.
pub struct Desk {
    program: PathBuf,
    control: PathBuf,
}

impl Desk {
    fn ask(&self, words: &[&str]) -> Option<String> {
        let mut command = Command::new(&self.program);
        command.args(words).arg("--control").arg(&self.control).stdin(Stdio::null()).stderr(Stdio::null());
        let output = command.output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// `None` where the server has no time for it now.
    fn status(&self) -> Option<Value> {
        serde_json::from_str(&self.ask(&["status", "--json"])?).ok()
    }

    /// Waits until no session has this field.
    fn wait_until_none(&self, field: &str, value: &str) {
        eventually(&format!("the sessions whose {field} is {value} have ended"), || {
            self.status().is_some_and(|status| {
                status["sessions"].as_array().is_some_and(|all| all.iter().all(|session| session[field] != value))
            })
        });
    }
}

/// How the server is when nobody is there.
struct Sample {
    rate: f64,
    listener: Memory,
    scribe: Memory,
    descriptors: [usize; 2],
    processes: usize,
    /// Sessions that the scoreboard knows of.
    places: usize,
    turned_away: u64,
    /// Staged files, and their bytes.
    staged: (usize, u64),
    connections: u64,
}

/// The memory of a process in KiB: its share of all that it has, and of what no file holds.
#[derive(Default)]
struct Memory {
    share: u64,
    anonymous: u64,
}

impl Memory {
    fn of(pid: Pid) -> Memory {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let figure = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
            line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        Memory { share: figure("Pss:"), anonymous: figure("Pss_Anon:") }
    }
}

impl Sample {
    const HEAD: &str = "  phase  acknowledged/s  listener PSS/anon KiB  scribe PSS/anon KiB  descriptors  processes  places  turned away  staged  sessions so far";

    fn take(rate: f64, server: &Server, status: &Value) -> Sample {
        let scribe = server.scribe().expect("a scribe");
        let descriptors = |pid: Pid| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let staged: Vec<_> = (0..8).flat_map(|n| server.partials(&format!("user{n}"))).collect();
        let turned_away = status["turned_away"].as_object().into_iter().flatten();
        Sample {
            rate,
            listener: Memory::of(server.pid()),
            scribe: Memory::of(scribe),
            descriptors: [descriptors(server.pid()), descriptors(scribe)],
            processes: server.processes().len(),
            places: status["sessions"].as_array().map_or(usize::MAX, Vec::len),
            turned_away: turned_away.filter_map(|(_, count)| count.as_u64()).sum(),
            staged: (staged.len(), staged.iter().map(|path| fs::metadata(path).map_or(0, |meta| meta.len())).sum()),
            connections: status["connections"].as_u64().unwrap_or(0),
        }
    }

    fn row(&self, phase: usize) -> String {
        format!(
            "  {phase:5}  {:14.1}  {:13}/{:7}  {:11}/{:7}  {:5}/{:5}  {:9}  {:6}  {:11}  {:6}  {:15}",
            self.rate,
            self.listener.share,
            self.listener.anonymous,
            self.scribe.share,
            self.scribe.anonymous,
            self.descriptors[0],
            self.descriptors[1],
            self.processes,
            self.places,
            self.turned_away,
            self.staged.0,
            self.connections
        )
    }

    fn anonymous(&self) -> u64 {
        self.listener.anonymous + self.scribe.anonymous
    }
}

/// The end is as the beginning was.
fn compare(samples: &[Sample], account: &mut Account) {
    let (first, last) = (&samples[0], &samples[samples.len() - 1]);
    for (number, sample) in samples.iter().enumerate() {
        let mut differs = |what: &str, now: u64, due: u64| {
            if now != due {
                account.lost(format!("after phase {number} there are {now} {what}, due are {due}"));
            }
        };
        differs("descriptors of the listener", sample.descriptors[0] as u64, first.descriptors[0] as u64);
        differs("descriptors of the scribe", sample.descriptors[1] as u64, first.descriptors[1] as u64);
        differs("processes", sample.processes as u64, 2);
        differs("places taken by nobody", sample.places as u64, 0);
        differs("connections turned away", sample.turned_away, 0);
        differs("staged files", sample.staged.0 as u64, 0);
    }
    let middle = &samples[samples.len() / 2];
    for (since, before) in [("the warm-up", first), ("the last upgrade", middle)] {
        if last.anonymous() > before.anonymous() + MEMORY_NOISE {
            let (now, then) = (last.anonymous(), before.anonymous());
            account.lost(format!("listener and scribe have {now} KiB of memory, {then} KiB after {since}"));
        }
    }
    account.count("KiB of memory (listener and scribe) after the warm-up", first.anonymous());
    account.count("KiB at the end", last.anonymous());
}

/// Other work on the machine slows this down: a loss is only a rate that has halved and stays so, through the last three tenths of a long run.
fn throughput(tenths: &[Sample], is_long: bool, account: &mut Account) {
    account.count("acknowledged/s in the first tenth", tenths[0].rate as u64);
    account.count("acknowledged/s in the last tenth", tenths[tenths.len() - 1].rate as u64);
    let mut first: Vec<f64> = tenths.iter().take(3).map(|tenth| tenth.rate).collect();
    first.sort_by(f64::total_cmp);
    if is_long && tenths.iter().rev().take(3).all(|tenth| tenth.rate < first[1] / 2.0) {
        account.lost(format!("throughput has halved: {:.0} acknowledged a second in the first tenths", first[1]));
    }
}
