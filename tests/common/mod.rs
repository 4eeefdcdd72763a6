//! What the integration tests share: a server that is the real binary, and a client that speaks the raw protocol.
#![allow(dead_code)] // each test file uses a part of it

pub mod raw;
pub mod scram;
pub mod tls;
pub mod tree;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
pub use raw::Raw;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine: nothing hangs, and nothing fails for being slow.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Whom a server that root starts runs as: the owner of the storage.
pub const SERVICE: u32 = 65534;

/// Gives all that lies at `path` to the service user, if this is root; to be called after a test has put something into a storage.
pub fn give(path: &Path) {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let meta = std::fs::symlink_metadata(path).unwrap();
    std::os::unix::fs::lchown(path, Some(SERVICE), Some(SERVICE)).unwrap();
    if meta.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

/// Polls until `condition` holds.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The users of the tests, each with the least iterations, and `carol` in clear text.
static USERS: LazyLock<String> = LazyLock::new(|| {
    let mut text = String::from("# users of a test\n\ncarol:let me in\n");
    text += &scram::entry("alice", "secret");
    text += &scram::entry("bob", "builder");
    for n in 0..8 {
        text += &scram::entry(&format!("user{n}"), "secret");
    }
    text
});

/// A running `dfos-forkd`.
pub struct Server {
    process: Child,
    home: tempfile::TempDir,
    log: Arc<Mutex<Vec<String>>>,
    /// What it printed for each listener.
    pub listening: Vec<String>,
    over: bool,
    /// What is left of it is no longer this one's to kill.
    left: bool,
}

/// One process as /proc tells it.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: Pid,
    pub parent: Pid,
    pub group: Pid,
    /// Of terminals (setsid(2)): each server of a test has one of its own.
    pub session: Pid,
    pub state: char,
}

/// A directory for a server: users file, and the storage beside it.
pub fn home() -> tempfile::TempDir {
    let home = tempfile::Builder::new().prefix("dfos-test-").tempdir().unwrap();
    std::fs::write(home.path().join("users"), USERS.as_bytes()).unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    give(home.path());
    home
}

/// The server's binary: the one that was built with the tests, or the one in the directory that DFOS_BIN names, as for the scripts.
pub fn binary() -> PathBuf {
    match std::env::var_os("DFOS_BIN") {
        Some(place) => std::path::absolute(Path::new(&place).join("dfos-forkd")).unwrap(),
        None => env!("CARGO_BIN_EXE_dfos-forkd").into(),
    }
}

/// A command that would start a server in `home`, under a usual umask.
pub fn command(home: &Path, options: &[&str]) -> Command {
    command_under("022", home, options)
}

fn command_under(umask: &str, home: &Path, options: &[&str]) -> Command {
    command_of(&binary(), umask, home, options)
}

/// The same with this program.
pub fn command_of(binary: &Path, umask: &str, home: &Path, options: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("umask {umask}; exec setsid \"$0\" \"$@\"")]).arg(binary);
    command.env("DFOS_FORKD_CONFIG", "none"); // nothing of this machine's own
    command.args(options).current_dir(home).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.arg("--dir").arg(home.join("storage")).arg("--users").arg(home.join("users"));
    command.arg("--state-dir").arg(home.join("state"));
    if !options.contains(&"--control") {
        command.args(["--control", "none"]); // the usual one is the machine's
    }
    if !options.contains(&"--max-penalty") {
        command.args(["--max-penalty", "0"]); // all tests come from one address, and many offend on purpose
    }
    command
}

impl Server {
    /// A server on a free port, with these options besides.
    pub fn start(options: &[&str]) -> Server {
        Server::start_in(home(), options)
    }

    /// A server with this limits file.
    pub fn limited(limits: &str, options: &[&str]) -> Server {
        let home = home();
        std::fs::write(home.path().join("user_limits.toml"), limits).unwrap();
        Server::start_in(home, options)
    }

    /// Writes another limits file and has it read; whether the server took it.
    #[track_caller]
    pub fn relimit(&self, limits: &str) -> bool {
        std::fs::write(self.home().join("user_limits.toml"), limits).unwrap();
        let count = |text: &str| self.log().iter().filter(|line| line.contains(text)).count();
        let (taken, refused) = (count("users reloaded"), count("reload failed"));
        self.signal(Signal::SIGHUP);
        eventually("the reload", || count("users reloaded") + count("reload failed") > taken + refused);
        count("users reloaded") > taken
    }

    /// A server whose storage an earlier one, or the test, has prepared.
    pub fn start_in(home: tempfile::TempDir, options: &[&str]) -> Server {
        Server::start_under("022", home, options)
    }

    /// A server that inherits this umask.
    pub fn start_under(umask: &str, home: tempfile::TempDir, options: &[&str]) -> Server {
        give(home.path());
        let command = command_under(umask, home.path(), options);
        Server::spawn(command, home, options)
    }

    /// A server that is not started as root, but by the service user.
    pub fn start_unprivileged(home: tempfile::TempDir, options: &[&str]) -> Server {
        give(home.path());
        let mut command = command_under("022", home.path(), options);
        if nix::unistd::geteuid().is_root() {
            command.uid(SERVICE).gid(SERVICE);
        }
        Server::spawn(command, home, options)
    }

    /// The server that this command starts.
    pub fn spawn(mut command: Command, home: tempfile::TempDir, options: &[&str]) -> Server {
        let listeners = options.iter().filter(|option| **option == "--listen").count();
        if listeners == 0 {
            command.args(["--listen", "tcp://127.0.0.1:0"]); // most tests read and write the bytes of the protocol themselves
        }
        let mut process = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (stderr, kept) = (process.stderr.take().unwrap(), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        let (pen, stdout) = channel();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| pen.send(line)));
        let mut server = Server { process, home, log, listening: Vec::new(), over: false, left: false };
        for _ in 0..listeners.max(1) {
            let line = stdout.recv_timeout(PATIENCE).expect("the server says where it listens");
            server.listening.push(line.strip_prefix("listening ").expect(&line).to_owned());
        }
        server
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id() as i32)
    }

    /// HOST:PORT of the first TCP listener.
    pub fn address(&self) -> &str {
        self.listening.iter().find_map(|url| url.strip_prefix("tcp://")).expect("a TCP listener")
    }

    /// HOST:PORT of the first TLS listener.
    pub fn tls_address(&self) -> &str {
        self.listening.iter().find_map(|url| url.strip_prefix("tls://")).expect("a TLS listener")
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The storage directory.
    pub fn storage(&self) -> PathBuf {
        self.home.path().join("storage")
    }

    /// A place in a user's directory, as the operator sees it.
    pub fn at(&self, path: &str) -> PathBuf {
        self.storage().join(path)
    }

    /// The names of alice's unfinished uploads.
    pub fn partials(&self, user: &str) -> Vec<PathBuf> {
        let dir = self.at(user).join(".dfos/uploads");
        let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    pub fn client(&self) -> Raw {
        Raw::connect(self.address())
    }

    pub fn login(&self, user: &str) -> Raw {
        let mut raw = self.client();
        raw.login(user);
        raw
    }

    /// The log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits until a line of the log holds `text`, and returns it.
    #[track_caller]
    pub fn logged(&self, text: &str) -> String {
        let find = || self.log().into_iter().find(|line| line.contains(text));
        eventually(&format!("'{text}' in the log"), || find().is_some());
        find().unwrap()
    }

    /// All processes of this server that live, the listener included: it leads a session of its own (setsid(2)), which none of them leaves.
    pub fn processes(&self) -> Vec<Process> {
        let ours = |p: &Process| p.session == self.pid() && p.state != 'Z';
        all_processes().into_iter().filter(ours).collect()
    }

    /// The scribe: the child that leads a process group.
    pub fn scribe(&self) -> Option<Pid> {
        let mut children = all_processes().into_iter().filter(|p| p.parent == self.pid());
        children.find(|p| p.group == p.pid && p.state != 'Z').map(|p| p.pid)
    }

    /// The sessions: the other children.
    pub fn sessions(&self) -> Vec<Process> {
        let children = all_processes().into_iter().filter(|p| p.parent == self.pid() && p.group != p.pid);
        children.filter(|p| p.state != 'Z').collect()
    }

    pub fn zombies(&self) -> usize {
        all_processes().iter().filter(|p| p.parent == self.pid() && p.state == 'Z').count()
    }

    /// Waits until so many clients are served.
    #[track_caller]
    pub fn wait_for_count(&self, count: usize) {
        eventually("the sessions are as many as they should be", || {
            self.sessions().len() == count && self.zombies() == 0
        });
    }

    /// Waits until no client is served any more.
    #[track_caller]
    pub fn wait_idle(&self) {
        eventually("no session is left", || self.sessions().is_empty() && self.zombies() == 0);
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for the end of the listener; its exit status, 128 and the signal if one killed it.
    pub fn wait(&mut self) -> i32 {
        let mut status = None;
        eventually("the listener ends", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        self.over = true;
        let status = status.unwrap();
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }

    /// Ends the server as Ctrl+C does: exit status 0, nobody is left, and nothing alarming was logged.
    pub fn stop(mut self) -> Vec<String> {
        self.signal(Signal::SIGINT);
        assert_eq!(self.wait(), 0, "the exit status");
        self.nobody_is_left();
        self.logged(" ended: ");
        self.no_alarm();
        self.log()
    }

    #[track_caller]
    pub fn nobody_is_left(&self) {
        eventually("no process of the server is left", || self.processes().is_empty());
    }

    /// No child died of a panic, an unknown status or a signal.
    #[track_caller]
    pub fn no_alarm(&self) {
        for line in self.log() {
            for sign in ["unexpected exit status", "killed by", "panicked", "session failed", "is killed"] {
                assert!(!line.contains(sign), "{line}");
            }
        }
    }

    /// Kills the listener outright, as the kernel would for want of memory.
    pub fn kill_listener(&mut self) {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.wait(), 128 + 9);
    }

    /// Gives up the server's place, so that another can be started there. What is still ending of it ends by itself.
    pub fn leave(mut self) -> tempfile::TempDir {
        assert!(self.over, "stop or kill it first");
        self.left = true;
        std::mem::replace(&mut self.home, tempfile::tempdir().unwrap())
    }

    /// Signals each session, but not the scribe, who leads their group.
    pub fn signal_sessions_but_the_scribe(&self, signal: Signal) {
        self.sessions().iter().for_each(|session| kill(session.pid, signal).unwrap());
    }

    /// Signals all sessions at the same instant.
    pub fn signal_sessions(&self, signal: Signal) {
        let groups: BTreeSet<i32> = self.sessions().iter().map(|p| p.group.as_raw()).collect();
        for group in groups {
            killpg(Pid::from_raw(group), signal).unwrap();
        }
    }
}

/// A server and a client of it that has a file `x`.
pub fn with_x() -> (Server, Raw) {
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    raw.put("x", b"content of x");
    (server, raw)
}

/// That file is as it was.
#[track_caller]
pub fn x_stands(server: &Server) {
    assert_eq!(std::fs::read(server.at("alice/x")).unwrap(), b"content of x");
}

impl Drop for Server {
    fn drop(&mut self) {
        let processes = if self.left { Vec::new() } else { self.processes() };
        if std::thread::panicking() {
            processes.iter().for_each(|process| eprintln!("{}", whereabouts(process.pid)));
        }
        for process in processes {
            let _ = kill(process.pid, Signal::SIGKILL);
        }
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.log();
            eprintln!("--- the server's log, last lines of {}:", log.len());
            log.iter().skip(log.len().saturating_sub(15)).for_each(|line| eprintln!("{line}"));
            eprintln!("--- its storage:");
            tree::snapshot(&self.storage()).keys().take(60).for_each(|path| eprintln!("{}", path.display()));
        }
    }
}

/// What a process is at: its title, its state and where it waits in the kernel.
fn whereabouts(pid: Pid) -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let (title, at, stack) = (read("cmdline").replace('\0', " "), read("syscall"), read("stack"));
    let state = process(pid.as_raw()).map_or('?', |process| process.state);
    format!(
        "--- process {pid}, {title}: {state}, in {} of {}",
        stack.lines().take(4).collect::<Vec<_>>().join(" "),
        at.trim()
    )
}

/// Every process of the machine that can be read.
pub fn all_processes() -> Vec<Process> {
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(process).collect()
}

/// What /proc/PID/stat says; `None` once it has gone.
pub fn process(pid: i32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?; // a name may hold anything, also ')'
    let words: Vec<&str> = rest.split(' ').collect();
    let number = |at: usize| words.get(at)?.parse().ok().map(Pid::from_raw);
    Some(Process {
        pid: Pid::from_raw(pid),
        state: words.first()?.chars().next()?,
        parent: number(1)?,
        group: number(2)?,
        session: number(3)?,
    })
}
