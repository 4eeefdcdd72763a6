//! The server goes on as a new version of itself, in the same process: nobody is refused, nothing in hand is lost, and a version that
//! is broken changes nothing.

mod common;

use common::raw::pieces;
use common::tree::{noise, sha256};
use common::{Raw, Server, command_of, eventually, give, home};
use nix::sys::signal::{Signal, kill};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Rounds of what is done again and again.
fn rounds() -> usize {
    if std::env::var("DFOS_TEST_LONG").is_ok_and(|long| !long.is_empty()) { 100 } else { 20 }
}

/// A server whose program lies in its home, where a test can put another in its place.
struct Installed {
    server: Server,
    program: PathBuf,
}

impl Installed {
    fn start(options: &[&str]) -> Installed {
        let home = home();
        let program = home.path().join("dfos-forkd");
        // By another program: what this one opens for writing, a child that another thread forks just then has open too, and nobody can
        // execute it so long.
        assert!(Command::new("cp").arg(common::binary()).arg(&program).status().unwrap().success());
        give(home.path());
        let command = command_of(&program, "022", home.path(), options);
        Installed { server: Server::spawn(command, home, options), program }
    }

    fn count(&self, text: &str) -> usize {
        self.server.log().iter().filter(|line| line.contains(text)).count()
    }

    /// Asks for an upgrade and waits until it is done.
    #[track_caller]
    fn upgrade(&self) {
        let before = self.count("upgraded in place");
        self.server.signal(Signal::SIGUSR2);
        eventually("the upgrade", || {
            let refused = self.server.log().into_iter().find(|line| line.contains("upgrade refused"));
            assert!(refused.is_none(), "{refused:?}");
            self.count("upgraded in place") > before
        });
    }

    /// Asks for an upgrade, and comes back when the scribe has been told to make room for it, which it does not: it is stopped.
    fn begin_with_a_scribe_that_does_not_leave(&self) {
        let (home, listener) = (self.program.parent().unwrap(), self.server.pid());
        assert!(Command::new("cp").arg(&self.program).arg(home.join("real")).status().unwrap().success());
        self.install(format!("#!/bin/sh\n: > {0}/heard\nexec {0}/real \"$@\"\n", home.display()).as_bytes());
        kill(self.server.scribe().unwrap(), Signal::SIGSTOP).unwrap();
        self.server.signal(Signal::SIGUSR2);
        eventually("the rehearsal", || home.join("heard").exists());
        eventually("the end of the rehearsal", || {
            let rehearses = |p: &common::Process| p.parent == listener && p.group == listener;
            !common::all_processes().iter().any(rehearses)
        });
        // It tells the scribe in the turn in which it reaps, and sleeps only between two turns.
        eventually("the listener's next rest", || common::process(listener.as_raw()).is_some_and(|p| p.state == 'S'));
    }

    /// Puts this in the program's place, as a package manager does: under another name first.
    fn install(&self, content: &[u8]) {
        let new = self.program.with_extension("new");
        // Written by another process: a child that a test beside this one forks meanwhile would keep it open, and so not executable.
        let draft = self.program.with_extension("draft");
        fs::write(&draft, content).unwrap();
        assert!(Command::new("cp").arg(&draft).arg(&new).status().unwrap().success());
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        give(&new);
        fs::rename(&new, &self.program).unwrap();
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.server.pid())).unwrap().count()
    }
}

/// Clients that come, ask one thing, and go, one after the other.
struct Load {
    over: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Duration>>,
}

impl Load {
    fn start(address: &str, clients: usize) -> Load {
        let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = || {
            let (address, over, done) = (address.to_owned(), over.clone(), done.clone());
            thread::spawn(move || {
                let mut longest = Duration::ZERO;
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let stream = TcpStream::connect(&address).expect("refused");
                    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
                    let mut raw = Raw::over(stream);
                    raw.expect("OK dfos/1");
                    raw.demand("PING", "OK pong");
                    raw.demand("LOGOUT", "OK bye");
                    raw.closed();
                    longest = longest.max(began.elapsed());
                    done.fetch_add(1, Ordering::Relaxed);
                }
                longest
            })
        };
        let clients = (0..clients).map(|_| client()).collect();
        Load { over, done, clients }
    }

    /// How many were served, and how long the unluckiest took.
    fn end(self) -> (u64, Duration) {
        self.over.store(true, Ordering::Relaxed);
        let longest = self.clients.into_iter().map(|client| client.join().expect("a client failed")).max();
        (self.done.load(Ordering::Relaxed), longest.unwrap_or_default())
    }
}

fn figure(line: &str, before: &str) -> u64 {
    let at = line.find(before).unwrap_or_else(|| panic!("no '{before}' in {line}"));
    let digits: String = line[..at].chars().rev().take_while(char::is_ascii_digit).collect();
    digits.chars().rev().collect::<String>().parse().unwrap()
}

#[test]
fn upgrades_under_load_refuse_nobody_lose_nothing_and_leave_nothing_behind() {
    let installed = Installed::start(&["--grace", "60"]);
    let server = &installed.server;
    let mut upload = server.login("alice");
    let mut idle = server.login("bob");
    let bytes = noise(7, 3_000_000);
    upload.put("before", b"before");
    upload.send("UPLOAD long\n");
    upload.expect("READY");
    let session = server.sessions();
    installed.upgrade(); // the first may differ from what the starter left
    let descriptors = installed.descriptors();
    let load = Load::start(server.address(), 3);
    let rounds = rounds();
    let piece = bytes.len() / rounds;
    for round in 0..rounds {
        upload.send(pieces(&bytes[round * piece..(round + 1) * piece]));
        let before = load.done.load(Ordering::Relaxed);
        installed.upgrade();
        eventually("clients are served", || load.done.load(Ordering::Relaxed) > before);
    }
    let (served, longest) = load.end();
    println!(
        "{rounds} upgrades in place: {served} sessions, none refused, the longest took {} ms",
        longest.as_millis()
    );
    upload.send(pieces(&bytes[rounds * piece..]));
    upload.send(format!("END sha256={}\n", sha256(&bytes)));
    let ok = upload.expect("OK size=3000000");
    assert!(ok.contains(&sha256(&bytes)));
    idle.demand("PING", "OK pong");
    assert_eq!(upload.get("before"), b"before");
    eventually("all but the first sessions to be gone", || server.sessions().len() == 2 && server.zombies() == 0);
    let pids =
        |list: Vec<common::Process>| list.iter().map(|process| process.pid).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(pids(server.sessions()), pids(session), "the sessions are other ones");
    eventually("refused clients' sockets to be closed", || installed.descriptors() == descriptors);
    // One scribe, two sessions, one listener.
    assert_eq!(server.processes().len(), 4, "{:?}", server.processes());
    // Each line has its sender's name still.
    idle.demand("MKDIR by-bob", "OK");
    assert!(server.logged("MKDIR by-bob").contains(" bob@127.0.0.1:"));
    let mut server = installed.server;
    server.signal(Signal::SIGINT);
    for raw in [&mut upload, &mut idle] {
        raw.expect("ERR shutting-down");
        raw.closed();
    }
    drop((upload, idle));
    assert_eq!(server.wait(), 0);
    server.nobody_is_left();
    server.no_alarm();
    let last = server.logged(" ended: ");
    assert_eq!(figure(&last, " connections"), served + 2, "{last}");
    assert_eq!(figure(&last, " logins"), 2, "{last}");
    assert_eq!(figure(&last, " files in"), 2, "{last}");
    assert_eq!(figure(&last, " files out"), 1, "{last}");
    assert!(!server.log().iter().any(|line| line.contains("log lines were lost")));
    assert_eq!(fs::read(server.at("alice/long")).unwrap(), bytes);
}

#[test]
fn a_program_that_is_broken_or_missing_changes_nothing() {
    let installed = Installed::start(&[]);
    let (server, true_one) = (&installed.server, fs::read(&installed.program).unwrap());
    let mut raw = server.login("alice");
    let (scribe, sessions) = (server.scribe(), server.sessions().len());
    let refused = |why: &str| {
        server.signal(Signal::SIGUSR2);
        let line = server.logged(why);
        assert!(line.contains(" error upgrade refused, the server goes on as it is: "), "{line}");
        assert!(line.contains(installed.program.to_str().unwrap()), "{line}");
    };
    installed.install(b"#!/bin/sh\necho 'a library is missing' >&2\nexit 1\n");
    refused("failed: a library is missing");
    installed.install(b"#!/bin/sh\nexit 0\n");
    refused("without saying that it can take over");
    installed.install(b"#!/bin/sh\necho 'this will end badly'\necho 'dfos-forkd is ready to take over'\nexit 1\n");
    refused("failed: this will end badly");
    // One that says too much is stopped at that, and does not fill the memory.
    let flood = "#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' x\nsize=$(stat -L -c %s /proc/self/fd/2)\n\
                 echo \"there was room for $size bytes\" 1<>/proc/self/fd/2\nexit 1\n";
    installed.install(flood.as_bytes());
    refused("failed: there was room for 65536 bytes");
    installed.install(b"\x7fELF and nothing more");
    refused("Exec format error");
    fs::remove_file(&installed.program).unwrap();
    refused("No such file or directory");
    // It says that it can, and cannot: only the exec itself fails.
    let script =
        format!("#!/bin/sh\nrm {}\necho {}\n", installed.program.display(), "'dfos-forkd is ready to take over'");
    installed.install(script.as_bytes());
    refused("cannot execute ");
    raw.demand("PING", "OK pong");
    server.login("bob").demand("PING", "OK pong");
    eventually("the other session to end", || server.sessions().len() == sessions && server.zombies() == 0);
    eventually("a scribe that writes", || server.scribe().is_some_and(|now| Some(now) != scribe)); // the old one had made room
    assert_eq!(server.processes().len(), 3, "{:?}", server.processes());
    // Repaired, it is taken.
    installed.install(&true_one);
    let before = installed.count("upgraded in place");
    server.signal(Signal::SIGUSR2);
    eventually("the upgrade", || installed.count("upgraded in place") > before);
    raw.demand("PING", "OK pong");
    drop(raw);
    installed.server.stop();
}

#[test]
fn a_configuration_that_would_not_start_is_not_taken() {
    let installed = Installed::start(&[]);
    // What the same arguments mean to another version: it knows one of them no more.
    installed.install(b"#!/bin/sh\necho \"error: unexpected argument '--dir' found\" >&2\nexit 2\n");
    installed.server.signal(Signal::SIGUSR2);
    installed.server.logged("failed: error: unexpected argument '--dir' found");
    installed.server.login("alice").demand("PING", "OK pong");
    installed.server.stop();
}

#[test]
fn penalties_places_and_words_said_meanwhile_are_taken_along() {
    let installed = Installed::start(&["--max-penalty", "600", "--max-clients", "3"]);
    let server = &installed.server;
    let members = [server.login("alice"), server.login("bob")];
    let rude = |from: &str| {
        let mut raw = Raw::silent_from(from, server.address());
        raw.expect("OK dfos/1");
        for _ in 0..3 {
            raw.demand("LOGIN alice wrong", "ERR login-refused");
        }
        raw.closed();
    };
    rude("127.0.0.9");
    server.wait_for_count(2);
    rude("127.0.0.9");
    server.wait_for_count(2);
    installed.upgrade();
    let mut banned = Raw::silent_from("127.0.0.9", server.address());
    banned.expect("ERR busy too many failures");
    let third = server.login("alice");
    let mut fourth = Raw::silent(server.address());
    fourth.expect("ERR busy the server has as many clients");
    // Who logs in while the listener is away is heard by the one who comes after it.
    drop((fourth, third, banned));
    server.wait_for_count(2);
    let mut between = server.client();
    server.signal(Signal::SIGSTOP);
    between.login("user1");
    server.signal(Signal::SIGUSR2);
    server.signal(Signal::SIGCONT);
    server.logged("login of user1");
    drop((members, between));
    server.wait_idle();
    installed.server.stop();
}

#[test]
fn requests_to_end_and_to_load_again_that_come_in_the_midst_of_it_are_heard() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        for late in 0..8 {
            let installed = Installed::start(&[]);
            let mut server = installed.server;
            server.signal(Signal::SIGUSR2);
            thread::sleep(Duration::from_millis(late * 25)); // wherever that is in it
            server.signal(Signal::SIGHUP);
            server.signal(signal);
            assert_eq!(server.wait(), 0, "{signal} {late}: {:?}", server.log());
            server.nobody_is_left();
        }
    }
}

#[test]
fn the_end_is_told_though_it_is_asked_for_while_the_scribe_makes_room() {
    let installed = Installed::start(&["--audit", "audit"]);
    installed.begin_with_a_scribe_that_does_not_leave();
    let home = installed.program.parent().unwrap().to_owned();
    let mut server = installed.server;
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait(), 0);
    server.logged(" ended: ");
    let audit = fs::read_to_string(home.join("audit")).unwrap();
    assert!(audit.lines().last().unwrap().contains("the server has ended"), "{audit}");
}

#[test]
fn a_scribe_whose_output_nobody_takes_does_not_hold_it_up() {
    let installed = Installed::start(&[]);
    let server = &installed.server;
    let scribe = server.scribe().unwrap();
    kill(scribe, Signal::SIGSTOP).unwrap();
    installed.upgrade();
    assert_ne!(server.scribe(), Some(scribe));
    server.login("alice").demand("PING", "OK pong");
    let log = installed.server.stop();
    assert!(!log.iter().any(|line| line.contains("was started again")), "the next one was not meant: {log:?}");
}

#[test]
fn a_request_to_load_again_that_comes_between_two_programs_is_heard_by_the_second() {
    let installed = Installed::start(&[]);
    let server = &installed.server;
    installed.begin_with_a_scribe_that_does_not_leave();
    server.signal(Signal::SIGHUP);
    server.logged("upgraded in place");
    server.logged("users reloaded");
    let log: Vec<_> = server.log();
    let at = |text: &str| log.iter().position(|line| line.contains(text));
    assert!(at("upgraded in place") < at("users reloaded"), "{log:#?}");
    installed.server.stop();
}

#[test]
fn the_right_to_chroot_goes_along_and_nothing_else_of_root() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: the capabilities of an upgraded server (needs root)");
        return;
    }
    let installed = Installed::start(&[]);
    let server = &installed.server;
    let capabilities = || {
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        status
            .lines()
            .filter(|line| line.starts_with("Cap") || line.starts_with("Uid"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let before = capabilities();
    installed.upgrade();
    assert_eq!(capabilities(), before);
    let raw = server.login("alice");
    let session = server.sessions()[0].pid;
    assert_eq!(fs::read_link(format!("/proc/{session}/root")).unwrap(), server.at("alice"), "chroot is there still");
    let status = fs::read_to_string(format!("/proc/{session}/status")).unwrap();
    assert!(status.contains("CapPrm:\t0000000000000000") && status.contains("CapAmb:\t0000000000000000"), "{status}");
    drop(raw);
    let log = installed.server.stop();
    assert!(!log.iter().any(|line| line.contains("is missing here")), "{log:#?}");
}

#[test]
fn who_asks_for_an_upgrade_is_told_when_it_is_done_and_why_nothing_came_of_it() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("own/control").to_string_lossy().into_owned();
    let installed = Installed::start(&["--control", &socket]);
    let asked = |word: &str, options: &[&str]| {
        let mut command = Command::new(common::binary());
        command.args([word, "--control", &socket]).args(options).env("DFOS_FORKD_CONFIG", "none");
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let mut raw = installed.server.login("alice");
    for n in 1..=2 {
        let (status, said) = asked("upgrade", &[]);
        assert_eq!(status, Some(0), "{said}");
        assert!(said.starts_with("upgraded: the server is dfos-forkd ") && said.contains("1 session"), "{said}");
        eventually("its line in the log", || installed.count("upgraded in place") == n);
    }
    raw.demand("PING", "OK pong");
    let json = asked("status", &["--json"]).1;
    assert!(json.contains("\"upgrades\":2") && json.contains("\"logins\":1"), "{json}");
    installed.install(b"#!/bin/sh\necho 'a library is missing' >&2\nexit 1\n");
    let (status, said) = asked("upgrade", &[]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("goes on as it was") && said.contains("a library is missing"), "{said}");
    raw.demand("PING", "OK pong");
    drop(raw);
    installed.server.stop();
    let (status, said) = asked("upgrade", &[]);
    assert!(status == Some(1) && said.contains(&socket), "{said}");
}

#[test]
fn whoever_finds_the_invitation_in_the_environment_does_not_take_it_for_its_own() {
    let home = home();
    let mut command = command_of(&common::binary(), "022", home.path(), &[]);
    command.env("DFOS_HANDOVER", "1 take-over 3 1");
    let server = Server::spawn(command, home, &[]);
    server.login("alice").demand("PING", "OK pong");
    server.stop();
}
