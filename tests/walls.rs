//! A session that has been taken over, played by the verb HOSTILE of a test build: what it tries, and which layers stand in its way.
//!
//! Each attempt is made with all layers on, where it must fail; with any single layer off, where it must fail still if that is not the
//! only one named; with a single one of the named layers on; and with all of these off, where it must succeed: it was a true one.

mod common;

use common::{Raw, Server, command, eventually, give, home};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, chown, geteuid};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};

const ALL: [&str; 6] = ["service-user", "descriptors", "process", "chroot", "landlock", "seccomp"];

/// What an attempt is told.
#[derive(Debug, Clone, Copy)]
enum On {
    Nothing,
    /// A file of the service user's own, outside the storage.
    Outside,
    /// A name that is not there yet, outside the storage.
    New,
    /// Another user's file.
    Bobs,
    Users,
    Secret,
    Passwd,
    Program,
    /// A file of the session's own in /proc.
    Memory,
    ProcRoot,
    /// The descriptor of the log's socket; with the listener's process id.
    Log,
    /// The address of the session's page of the scoreboard.
    Page,
    /// The listener; an address in it.
    Listener,
    /// Another session; an address in it.
    Sibling,
    Port,
    FreePort,
    Abstract,
    UnixSocket,
}

/// One attempt: its name, what it is told, the layers that each stop it, and whether it succeeds without them. (What does not is
/// stopped by the kernel in any case, as far as no process of the server is root.)
type Attempt = (&'static str, On, &'static [&'static str], bool);

/// After login. ("chroot" stops the tracing of others too: the right to it comes with a user namespace of the session's own, and who
/// is in another namespace, or has fewer capabilities, traces nobody.)
const ATTEMPTS: &[Attempt] = &[
    ("open-read", On::Passwd, &["chroot", "landlock"], true),
    ("open-read", On::Outside, &["chroot", "landlock"], true),
    ("open-read", On::Bobs, &["chroot", "landlock"], true),
    ("open-read", On::Users, &["chroot", "landlock"], true),
    ("open-read", On::Secret, &["chroot", "landlock"], true),
    ("open-read", On::ProcRoot, &["chroot", "landlock"], false),
    ("open-write", On::Outside, &["chroot", "landlock"], true),
    ("open-create", On::New, &["chroot", "landlock"], true),
    ("open-old", On::Outside, &["chroot", "landlock", "seccomp"], true),
    ("open-path", On::Outside, &["chroot"], true),
    ("open-write", On::Memory, &["chroot", "landlock"], false),
    ("stat", On::Outside, &["chroot"], true),
    ("truncate", On::Outside, &["chroot", "landlock", "seccomp"], true),
    ("chmod", On::Outside, &["chroot", "seccomp"], true),
    ("chown", On::Outside, &["chroot", "seccomp"], true),
    ("utime", On::Outside, &["chroot", "seccomp"], true),
    ("setxattr", On::Outside, &["chroot", "seccomp"], true),
    ("link", On::Outside, &["chroot", "landlock", "seccomp"], true),
    ("rename", On::Outside, &["chroot", "landlock"], true),
    ("unlink", On::Outside, &["chroot", "landlock"], true),
    ("mkdir", On::New, &["chroot", "landlock"], true),
    ("execute", On::Program, &["chroot", "landlock", "seccomp"], true),
    ("symlink", On::Nothing, &["seccomp"], true),
    ("fifo", On::Nothing, &["seccomp"], true),
    ("device", On::Nothing, &["landlock", "seccomp"], false),
    ("set-user-id", On::Nothing, &["seccomp"], true),
    ("set-group-id", On::Nothing, &["seccomp"], true),
    ("sticky", On::Nothing, &["seccomp"], true),
    ("sendfile", On::Nothing, &["seccomp"], true),
    ("futex-requeue", On::Nothing, &["seccomp"], true),
    ("futex-pi", On::Nothing, &["seccomp"], true),
    ("advise", On::Nothing, &["seccomp"], true),
    ("other-limit", On::Nothing, &["seccomp"], true),
    ("log-shutdown", On::Log, &["seccomp"], true),
    ("log-dup2", On::Log, &["seccomp"], true),
    ("log-dupfd", On::Log, &["seccomp"], true),
    ("log-flags", On::Log, &["seccomp"], true),
    ("log-owner", On::Log, &["seccomp"], true),
    ("score-grow", On::Page, &["seccomp"], true),
    ("score-remap", On::Page, &["seccomp"], true),
    ("socket-inet", On::Nothing, &["seccomp"], true),
    ("socket-udp", On::Nothing, &["seccomp"], true),
    ("socket-unix", On::Nothing, &["seccomp"], true),
    ("socket-netlink", On::Nothing, &["seccomp"], true),
    ("socketpair", On::Nothing, &["seccomp"], true),
    ("connect-tcp", On::Port, &["landlock", "seccomp"], true),
    ("bind-tcp", On::FreePort, &["landlock", "seccomp"], true),
    ("connect-abstract", On::Abstract, &["landlock", "seccomp"], true),
    ("connect-unix", On::UnixSocket, &["chroot", "seccomp"], true),
    ("fork", On::Nothing, &["seccomp"], true),
    ("vfork", On::Nothing, &["seccomp"], true),
    ("clone3", On::Nothing, &["seccomp"], true),
    ("ptrace", On::Listener, &["chroot", "landlock", "process", "seccomp"], true),
    ("ptrace", On::Sibling, &["chroot", "landlock", "process", "seccomp"], false),
    ("process-read", On::Listener, &["chroot", "landlock", "process", "seccomp"], true),
    ("process-write", On::Listener, &["chroot", "landlock", "process", "seccomp"], true),
    ("process-read", On::Sibling, &["chroot", "landlock", "process", "seccomp"], false),
    ("pidfd", On::Listener, &["seccomp"], true),
    ("pidfd-getfd", On::Listener, &["chroot", "landlock", "process", "seccomp"], true),
    ("kill", On::Listener, &["landlock", "seccomp"], true),
    ("kill", On::Sibling, &["landlock", "seccomp"], true),
    ("tgkill", On::Sibling, &["landlock", "seccomp"], true),
    ("setuid", On::Nothing, &["seccomp"], false),
    ("setgroups", On::Nothing, &["seccomp"], false),
    ("capset", On::Nothing, &["seccomp"], false),
    ("chroot", On::Nothing, &["seccomp"], false),
    ("unshare", On::Nothing, &["chroot", "seccomp"], true),
    ("setns", On::Nothing, &["seccomp"], false),
    ("mount", On::Nothing, &["landlock", "seccomp"], false),
    ("load-module", On::Nothing, &["seccomp"], false),
    ("keyctl", On::Nothing, &["seccomp"], false),
    ("bpf", On::Nothing, &["seccomp"], false),
    ("io-uring", On::Nothing, &["seccomp"], false),
    ("userfaultfd", On::Nothing, &["seccomp"], true),
    ("perf", On::Nothing, &["seccomp"], false),
    ("memfd", On::Nothing, &["seccomp"], true),
    ("personality", On::Nothing, &["seccomp"], true),
    ("mmap-code", On::Nothing, &["seccomp"], true),
    ("mprotect-code", On::Nothing, &["seccomp"], true),
    ("prctl-dumpable", On::Nothing, &["seccomp"], true),
    ("raise-limit", On::Nothing, &["seccomp"], true),
    ("tiocsti", On::Nothing, &["seccomp"], false),
];

/// Before login, when the storage is still open and the root directory is the machine's.
const BEFORE_LOGIN: &[Attempt] = &[
    ("open-read", On::Passwd, &["landlock"], true),
    ("open-read", On::Users, &["landlock"], true),
    ("open-write", On::Outside, &["landlock"], true),
    ("open-old", On::Outside, &["landlock", "seccomp"], true),
    ("truncate", On::Outside, &["landlock", "seccomp"], true),
    ("chmod", On::Outside, &["seccomp"], true),
    ("utime", On::Outside, &["seccomp"], true),
    ("setxattr", On::Outside, &["seccomp"], true),
    ("execute", On::Program, &["landlock", "seccomp"], true),
    ("log-shutdown", On::Log, &["seccomp"], true),
    ("log-dup2", On::Log, &["seccomp"], true),
    ("score-grow", On::Page, &["seccomp"], true),
    ("socket-inet", On::Nothing, &["seccomp"], true),
    ("connect-tcp", On::Port, &["landlock", "seccomp"], true),
    ("fork", On::Nothing, &["seccomp"], true),
    ("ptrace", On::Listener, &["chroot", "landlock", "process", "seccomp"], true),
    ("process-write", On::Listener, &["chroot", "landlock", "process", "seccomp"], true),
    ("kill", On::Listener, &["landlock", "seccomp"], true),
    ("kill", On::Sibling, &["landlock", "seccomp"], true),
    ("unshare", On::Nothing, &["seccomp"], false), // a start without root is in a namespace of its own already
    ("mmap-code", On::Nothing, &["seccomp"], true),
    ("futex-requeue", On::Nothing, &["seccomp"], true),
    ("other-limit", On::Nothing, &["seccomp"], true),
    ("seccomp-listener", On::Nothing, &["seccomp"], true),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Start {
    Root,
    Unprivileged,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum When {
    BeforeLogin,
    AfterLogin,
}

/// A server with some layers off, its victims around it.
struct Field {
    server: Server,
    sibling: Raw,
    sibling_pid: Pid,
    abstract_name: String,
    _listeners: (UnixListener, UnixListener, TcpListener),
    port: u16,
}

impl Field {
    fn new(start: Start, without: &[&str]) -> Field {
        let mut options: Vec<&str> = without.iter().flat_map(|layer| ["--without-layer", layer]).collect();
        options.extend(["--audit", "audits/audit"]); // beside the storage
        let home = home();
        let audits = home.path().join("audits");
        fs::create_dir(&audits).unwrap();
        give(home.path());
        if start == Start::Root && without.contains(&"service-user") {
            chown(&audits, Some(Uid::from_raw(0)), None).unwrap(); // whose server stays root then, but without the right to pass over owners
        }
        let server = match start {
            Start::Root => Server::spawn(command(home.path(), &options), home, &options),
            Start::Unprivileged => Server::start_unprivileged(home, &options),
        };
        let sibling = server.login("bob");
        let sibling_pid = server.sessions()[0].pid;
        fs::create_dir(server.home().join("outside")).unwrap();
        fs::write(server.at("bob/f"), "bob's").unwrap();
        let abstract_name = format!("dfos-{}", server.pid());
        let name = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let unix = UnixListener::bind(server.home().join("socket")).unwrap();
        fs::set_permissions(server.home().join("socket"), Permissions::from_mode(0o777)).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let listeners = (UnixListener::bind_addr(&name).unwrap(), unix, tcp);
        let field = Field { server, sibling, sibling_pid, abstract_name, _listeners: listeners, port };
        field.set_up();
        field
    }

    /// Puts the victims where they were.
    fn set_up(&self) {
        let outside = self.server.home().join("outside");
        let _ = fs::remove_file(outside.join("new"));
        let _ = fs::remove_dir(outside.join("new"));
        for name in ["linked", "stolen", "a-link", "a-fifo", "own"] {
            let _ = fs::remove_file(self.server.at("alice").join(name));
        }
        fs::write(outside.join("victim"), "a victim").unwrap();
        fs::set_permissions(outside.join("victim"), Permissions::from_mode(0o666)).unwrap();
        give(&outside);
        give(&self.server.at("bob"));
    }

    /// A new session, and its process.
    fn session(&self, when: When) -> (Raw, Pid) {
        let before: BTreeSet<i32> = self.server.sessions().iter().map(|p| p.pid.as_raw()).collect();
        let raw = match when {
            When::BeforeLogin => self.server.client(),
            When::AfterLogin => self.server.login("alice"),
        };
        let fresh = self.server.sessions().into_iter().find(|p| !before.contains(&p.pid.as_raw())).unwrap();
        (raw, fresh.pid)
    }

    /// Makes an attempt. `true`: it succeeded.
    fn try_it(&self, raw: &mut Raw, pid: Pid, name: &str, on: On) -> bool {
        let request = format!("HOSTILE {name}{}", self.arguments(pid, on));
        raw.try_send(format!("{request}\n"));
        match raw.try_line() {
            // A program has taken the session's place, and has ended.
            None => true,
            Some(line) if line == "OK succeeded" => true,
            Some(line) => {
                assert!(line.starts_with("OK errno="), "{request}: {line}");
                false
            }
        }
    }

    fn arguments(&self, pid: Pid, on: On) -> String {
        let home = self.server.home().display();
        let listener = self.server.pid();
        match on {
            On::Nothing => String::new(),
            On::Outside => format!(" {home}/outside/victim"),
            On::New => format!(" {home}/outside/new"),
            On::Bobs => format!(" {home}/storage/bob/f"),
            On::Users => format!(" {home}/users"),
            On::Secret => format!(" {home}/storage/.dfos/login-secret"),
            On::Passwd => " /etc/passwd".into(),
            On::Program => " /bin/true".into(),
            On::Memory => " /proc/self/mem".into(),
            On::ProcRoot => " /proc/self/root/etc/passwd".into(),
            On::Log => format!(" {} {listener}", log_of(pid, listener)),
            On::Page => format!(" {}", mapping(pid, "/memfd:dfos-scoreboard")),
            On::Listener => format!(" {listener} {}", mapping(listener, "[stack]")),
            On::Sibling => format!(" {} {}", self.sibling_pid, mapping(self.sibling_pid, "[stack]")),
            On::Port => format!(" {}", self.port),
            On::FreePort => " 0".into(),
            On::Abstract => format!(" {}", self.abstract_name),
            On::UnixSocket => format!(" {home}/socket"),
        }
    }
}

/// The descriptor in the session that is the log's socket: the first that the listener has too; before login there is that for words as
/// well. (The listener's own way to the scribe is no session's.)
fn log_of(pid: Pid, listener: Pid) -> i32 {
    shared_sockets(pid, listener).into_iter().min().unwrap()
}

/// The descriptors of the session that are sockets which the listener has too.
fn shared_sockets(pid: Pid, listener: Pid) -> Vec<i32> {
    let held = |pid: Pid| {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|entry| entry.unwrap());
        let read = |entry: fs::DirEntry| {
            let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
            (fs::read_link(entry.path()).unwrap_or_default(), number)
        };
        entries.map(read).filter(|(target, _)| target.to_string_lossy().starts_with("socket:")).collect::<Vec<_>>()
    };
    let theirs = held(listener);
    let shared = held(pid).into_iter().filter(|(target, _)| theirs.iter().any(|(other, _)| other == target));
    shared.map(|(_, number)| number).collect()
}

/// Where a process has mapped what is called so.
fn mapping(pid: Pid, name: &str) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let line = maps.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no {name} in {maps}"));
    let (first, last) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
    let at = |text| u64::from_str_radix(text, 16).unwrap();
    if name == "[stack]" { at(last) - 64 } else { at(first) }
}

fn root_is_here() -> bool {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root, to start a server both ways and to look into its sessions");
    }
    geteuid().is_root()
}

fn attempts(when: When) -> &'static [Attempt] {
    if when == When::AfterLogin { ATTEMPTS } else { BEFORE_LOGIN }
}

/// Makes all attempts that `chosen` picks on a server without these layers. Those that succeed.
fn breaches(start: Start, without: &[&str], when: When, chosen: impl Fn(&Attempt) -> bool) -> Vec<String> {
    let field = Field::new(start, without);
    let (mut raw, mut pid) = field.session(when);
    let mut breaches = Vec::new();
    for (name, on, ..) in attempts(when).iter().filter(|attempt| chosen(attempt)) {
        if field.try_it(&mut raw, pid, name, *on) {
            breaches.push(format!("{name} on {on:?} {when:?}, start {start:?}, without {without:?}"));
            (raw, pid) = field.session(when); // the old one may be of no use any more
            field.set_up();
        }
    }
    breaches
}

#[test]
fn with_all_layers_every_attempt_fails() {
    if !root_is_here() {
        return;
    }
    let mut found = Vec::new();
    for start in [Start::Root, Start::Unprivileged] {
        for when in [When::BeforeLogin, When::AfterLogin] {
            found.extend(breaches(start, &[], when, |_| true));
        }
    }
    assert!(found.is_empty(), "these succeed: {found:#?}");
}

#[test]
fn without_any_single_layer_what_two_cover_fails_still() {
    if !root_is_here() {
        return;
    }
    let mut found = Vec::new();
    for start in [Start::Root, Start::Unprivileged] {
        for layer in ALL {
            for when in [When::BeforeLogin, When::AfterLogin] {
                // What one layer alone covers is its own; all else must not depend on any one.
                found.extend(breaches(start, &[layer], when, |(_, _, covers, _)| *covers != [layer]));
            }
        }
    }
    assert!(found.is_empty(), "these succeed: {found:#?}");
}

#[test]
fn each_layer_stops_alone_what_it_is_named_for() {
    if !root_is_here() {
        return;
    }
    let mut found = Vec::new();
    for when in [When::BeforeLogin, When::AfterLogin] {
        let sets: BTreeSet<&[&str]> = attempts(when).iter().map(|(_, _, covers, _)| *covers).collect();
        for covers in sets.into_iter().filter(|covers| covers.len() > 1) {
            for layer in covers {
                let others: Vec<&str> = covers.iter().copied().filter(|other| other != layer).collect();
                for start in [Start::Root, Start::Unprivileged] {
                    found.extend(breaches(start, &others, when, |(_, _, of, _)| *of == covers));
                }
            }
        }
    }
    assert!(found.is_empty(), "these succeed: {found:#?}");
}

#[test]
fn without_all_of_its_layers_an_attempt_succeeds() {
    if !root_is_here() {
        return;
    }
    let mut failed = Vec::new();
    for when in [When::BeforeLogin, When::AfterLogin] {
        let sets: BTreeSet<&[&str]> = attempts(when).iter().map(|(_, _, covers, _)| *covers).collect();
        for covers in sets {
            for (name, on, _, _) in attempts(when).iter().filter(|(_, _, of, real)| *of == covers && *real) {
                let field = Field::new(Start::Unprivileged, covers); // its own: what succeeds may break it
                let (mut raw, pid) = field.session(when);
                if !field.try_it(&mut raw, pid, name, *on) {
                    failed.push(format!("{name} on {on:?} {when:?} without {covers:?}"));
                }
            }
        }
    }
    assert!(failed.is_empty(), "these are no attempts at all: {failed:#?}");
}

#[test]
fn what_a_session_says_of_others_is_not_believed() {
    if !root_is_here() {
        return;
    }
    let mut field = Field::new(Start::Root, &[]);
    let (mut raw, pid) = field.session(When::AfterLogin);
    let (log, sibling) = (log_of(pid, field.server.pid()), field.sibling_pid);
    let lies = [
        format!("O{pid} 1 0 9.9.9.9:9 came"),
        format!("C{sibling} 2 killed 1 1 1 1 1 went to mallory"),
        format!("U{pid} mallory"),
        format!("U{sibling} mallory"),
        format!("K{sibling} 1 0 9.9.9.9:9 mallory"),
        "T0 9.9.9.9:9 2 full mallory was turned away".into(),
        "Umallory".into(),
        "F".into(),
        "N".into(),
        "E".into(),
        "9x".into(),
        "A1 ok DELETE u=mallory p=x :".into(),
        "A1 ok DELETE p=x\",\"user\":\"mallory\" :".into(),
        "A1 mallory DELETE p=x :".into(),
        "A1 ok MALLORY p=x :".into(),
        "A1 ok DELETE h=mallory :".into(),
        "A9999999999999999999999 ok DELETE :mallory".into(),
        "R1 mallory@9.9.9.9:9 x".into(),
        "R9 mallory x".into(),
        "X99999999999999999999 mallory".into(),
        // What it may say of itself stands under its own name.
        "A1 ok DELETE p=own%0Aforged t=%22%7D :a\u{1b}[2J\u{202e}".into(),
    ];
    // A scribe that has just begun knows of everybody what the listener has told it, and of nobody anything else.
    for _ in 0..2 {
        for lie in &lies {
            let lie = dfos::proto::path::encode(lie.as_bytes());
            raw.demand(&format!("HOSTILE log-send {log} {lie}"), "OK succeeded");
        }
        for (raw, name) in [(&mut raw, "alice"), (&mut field.sibling, "bob")] {
            let told = format!("told-by-{name}-{}", field.server.log().len());
            raw.demand(&format!("MKDIR {told}"), "OK");
            assert!(field.server.logged(&told).contains(&format!(" {name}@127.0.0.1:")));
        }
        let scribe = field.server.scribe().unwrap();
        kill(scribe, Signal::SIGKILL).unwrap();
        eventually("another scribe", || field.server.scribe().is_some_and(|pid| pid != scribe));
    }
    assert!(field.server.log().iter().all(|line| !line.contains("9.9.9.9")));
    assert!(field.server.log().iter().all(|line| !line.contains("mallory") || line.contains(" alice@127.0.0.1:")));
    let audit = fs::read_to_string(field.server.home().join("audits/audit")).unwrap();
    let lines: Vec<serde_json::Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["user"] != "mallory" && line["account"] != "mallory"), "{audit}");
    assert!(lines.iter().all(|line| line["event"] != "turned-away" && line["event"] != "stop"), "{audit}");
    assert!(!audit.contains("9.9.9.9") && !audit.contains('\u{1b}'), "{audit}");
    let own: Vec<_> = lines.iter().filter(|line| line["path"] == "own\nforged").collect();
    assert!(
        !own.is_empty() && own.iter().all(|line| line["pid"] == pid.as_raw() && line["user"] == "alice"),
        "{audit}"
    );
}

#[test]
fn a_session_that_floods_the_log_takes_no_name_from_others() {
    if !root_is_here() {
        return;
    }
    let field = Field::new(Start::Root, &[]);
    let (mut raw, pid) = field.session(When::AfterLogin);
    let log = log_of(pid, field.server.pid());
    let scribe = field.server.scribe().unwrap();
    kill(scribe, Signal::SIGSTOP).unwrap(); // the best that a flood can do: nothing that it fills is emptied
    while raw.ask(format!("HOSTILE log-send {log} 3flood")) == "OK succeeded" {}
    let mut carol = field.server.login("user1");
    kill(scribe, Signal::SIGCONT).unwrap();
    field.server.logged("login of user1");
    carol.demand("MKDIR told-by-user1", "OK");
    assert!(field.server.logged("MKDIR told-by-user1").contains(" user1@127.0.0.1:"));
    drop(carol);
    field.server.logged("the client closed the connection");
}

/// The way to the listener is one for all: who fills it would keep the others from logging in.
#[test]
fn a_session_that_floods_the_listener_with_words_is_ended() {
    if !root_is_here() {
        return;
    }
    let field = Field::new(Start::Root, &[]);
    for when in [When::BeforeLogin, When::AfterLogin] {
        for word in ["Pa%20b", "Luser2", "rubbish"] {
            let (mut raw, pid) = field.session(when);
            let words = shared_sockets(pid, field.server.pid()).into_iter().max().unwrap();
            raw.send(format!("HOSTILE log-send {words} {word}\n").repeat(100));
            field.server.logged(&format!("session {pid} says more to the listener than sessions do, and is killed"));
            eventually("it has gone", || field.server.sessions().iter().all(|session| session.pid != pid));
            field.server.login("user1").demand("QUOTA", "OK");
        }
    }
}

#[test]
fn a_panic_is_told_to_the_log() {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    raw.send("HOSTILE panic\n");
    assert_eq!(raw.try_line(), None);
    let line = server.logged("a panic on demand");
    assert!(line.contains(" error alice@"), "{line}");
    server.logged("unexpected exit status 101");
}

#[test]
fn processor_time_before_login_has_an_end() {
    let server = Server::start(&[]);
    let _raw = server.client();
    let pid = server.sessions()[0].pid;
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    assert!(limits.lines().any(|line| line.starts_with("Max cpu time") && line.contains(" 10 ")), "{limits}");
    kill(pid, Signal::SIGXCPU).unwrap(); // as the kernel does at the limit
    server.logged("killed by SIGXCPU");
    eventually("it is gone", || server.sessions().is_empty());
}

/// What the kernel answers to attempts: "succeeded", or the error's name.
fn answers(raw: &mut Raw, attempts: &[&str]) -> Vec<String> {
    let ask = |name: &&str| raw.ask(format!("HOSTILE {name}"));
    attempts.iter().map(ask).map(|line| line.trim_start_matches("OK ").to_owned()).collect()
}

#[test]
fn what_ended_with_the_login_is_refused_from_then_on() {
    let attempts = ["fchdir", "capget", "no-new-privs", "landlock-version"];
    let server = Server::start(&[]);
    let mut raw = server.client();
    assert_eq!(answers(&mut raw, &attempts), ["succeeded"; 4]);
    raw.login("alice");
    assert_eq!(answers(&mut raw, &attempts), ["errno=EPERM"; 4]);
    assert_eq!(
        answers(&mut raw, &["seccomp-avail", "seccomp-listener", "other-limit", "raise-limit"]),
        ["errno=EPERM"; 4]
    );
}

#[test]
fn a_session_that_only_reads_has_no_call_that_changes_anything() {
    let attempts = [
        "own-truncate",
        "own-chmod",
        "own-setxattr",
        "own-utime",
        "own-fsync",
        "own-fdatasync",
        "own-syncfs",
        "own-writeback",
        "own-mkdir",
        "own-rename",
        "own-rename-old",
        "own-rmdir",
    ];
    let limits = "[alice]\naccess = 'read-only'\nrate_down = '10MB'\n";
    let server = Server::limited(limits, &["--without-layer", "landlock"]); // which would not let the file be opened
    for user in ["alice", "bob"] {
        fs::create_dir_all(server.at(user)).unwrap();
        give(&server.at(user));
    }
    let (mut reader, mut writer) = (server.login("alice"), server.login("bob"));
    assert_eq!(answers(&mut reader, &attempts), ["errno=EPERM"; 12]);
    assert_eq!(answers(&mut writer, &attempts), ["succeeded"; 12], "the attempts are true ones");
}

#[test]
fn a_second_filter_that_is_not_there_is_noticed() {
    let home = home();
    let options = ["--listen", "tcp://127.0.0.1:0", "--without-layer", "second-filter", "--require-sandbox"];
    let mut process = command(home.path(), &options).spawn().unwrap();
    let (mut line, mut why) = (String::new(), String::new());
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if !line.is_empty() {
        kill(Pid::from_raw(process.id() as i32), Signal::SIGINT).unwrap();
    }
    process.stderr.take().unwrap().read_to_string(&mut why).unwrap();
    assert!(!process.wait().unwrap().success() && line.is_empty(), "it serves: {line}");
    assert!(why.contains("the layer 'seccomp' is missing here"), "{why}");
    let check = command(home.path(), &[&["check"], &options[..]].concat()).output().unwrap();
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    let line = text.lines().find(|line| line.contains("layer seccomp")).unwrap();
    assert!(check.status.code() == Some(1) && !line.starts_with("ok"), "{line}");
}

#[test]
fn a_session_has_its_own_page_of_the_scoreboard_and_no_other() {
    if !root_is_here() {
        return;
    }
    let server = Server::start(&[]);
    let clients: Vec<Raw> = ["alice", "bob", "carol"].map(|user| server.login(user)).into();
    let shared = |pid: Pid| -> Vec<(u64, u64)> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let ranges = maps
            .lines()
            .filter(|line| line.contains("/memfd:dfos-scoreboard"))
            .map(|line| line.split(' ').next().unwrap());
        let at = |text| u64::from_str_radix(text, 16).unwrap();
        ranges.map(|range| range.split_once('-').map(|(from, to)| (at(from), at(to))).unwrap()).collect()
    };
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).unwrap().unwrap() as u64;
    let all = shared(server.pid());
    assert!(all.len() == 1 && all[0].1 - all[0].0 > 1000 * page, "{all:x?}");
    let mut seen = BTreeSet::new();
    for session in server.sessions() {
        let own = shared(session.pid);
        assert_eq!(own.len(), 1, "{own:x?}");
        assert_eq!(own[0].1 - own[0].0, page, "{own:x?}");
        assert!(all[0].0 <= own[0].0 && own[0].1 <= all[0].1 && seen.insert(own[0]), "{own:x?} of {all:x?}");
    }
    assert_eq!(seen.len(), clients.len());
}
