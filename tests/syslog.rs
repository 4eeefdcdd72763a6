//! Log lines to syslog: a socket of the test's own stands in for syslogd at /dev/log.

mod common;

use common::{PATIENCE, Server, eventually};
use nix::sys::signal::Signal;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};

const SOCKET: &str = "/dev/log";

/// A machine has one system log: the tests take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A stand-in for syslogd.
struct Syslogd(UnixDatagram);

impl Syslogd {
    fn start() -> std::io::Result<Syslogd> {
        let socket = UnixDatagram::bind(SOCKET)?;
        std::fs::set_permissions(SOCKET, std::fs::Permissions::from_mode(0o666))?; // as syslogd does
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Syslogd(socket))
    }

    /// Receives lines until one holds `text`.
    fn line_with(&self, text: &str) -> String {
        let mut buffer = [0; 65536];
        loop {
            let length = self.0.recv(&mut buffer).unwrap_or_else(|why| panic!("no line with '{text}': {why}"));
            let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if line.contains(text) {
                return line;
            }
        }
    }
}

impl Drop for Syslogd {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(SOCKET);
    }
}

#[test]
fn lines_go_to_syslog_under_the_pid_of_who_said_them_and_survive_its_restart() {
    let _turn = turn();
    if std::path::Path::new(SOCKET).exists() {
        return eprintln!("skipped: a system log is running at {SOCKET}");
    }
    let Ok(syslogd) = Syslogd::start() else { return eprintln!("skipped: no right to make {SOCKET}") };
    let server = Server::start(&["--log-target", "syslog"]);
    assert!(syslogd.line_with("listening on tcp://").starts_with("<30>")); // daemon.info
    let mut raw = server.login("alice");
    let login = syslogd.line_with("login of alice");
    let session = server.sessions()[0].pid;
    assert!(login.contains(&format!("dfos-forkd[{session}]: 127.0.0.1:")), "{login}");
    assert!(login.starts_with("<38>"), "auth.info: {login}");
    server.client().demand("LOGIN alice wrong", "ERR");
    // What a filter for failed logins looks for.
    let refused = syslogd.line_with("login refused");
    assert!(refused.starts_with("<36>"), "auth.warning: {refused}");
    let (_, told) = refused.split_once("]: 127.0.0.1:").unwrap();
    assert!(
        told.trim_start_matches(|c: char| c.is_ascii_digit())
            == " login refused, attempt 1 of 3: alice: wrong password",
        "{told}"
    );
    raw.demand("MKDIR a%0Ab", "OK created");
    let line = syslogd.line_with("MKDIR");
    assert!(line.contains("alice@127.0.0.1:") && line.contains("MKDIR a%0Ab") && !line.contains('\n'), "{line}");

    // A syslogd that is away holds nobody up, and what it missed comes later, in order.
    drop(syslogd);
    for n in 0..10 {
        raw.demand(&format!("MKDIR dir{n}"), "OK created");
    }
    let syslogd = Syslogd::start().unwrap();
    for n in 0..10 {
        syslogd.line_with(&format!("MKDIR dir{n} "));
    }
    raw.demand("LOGOUT", "OK bye");
    drop(raw);
    ends_well(server);
}

/// The names that have hurt somebody (tests/hostile_names.txt), and text that needs no encoding on the wire: none comes out raw, and
/// none makes a line of its own.
#[test]
fn no_name_puts_a_control_character_or_a_line_into_syslog() {
    let _turn = turn();
    if std::path::Path::new(SOCKET).exists() {
        return eprintln!("skipped: a system log is running at {SOCKET}");
    }
    let Ok(syslogd) = Syslogd::start() else { return eprintln!("skipped: no right to make {SOCKET}") };
    let server = Server::start(&["--log-target", "syslog", "-v"]);
    let mut raw = server.login("alice");
    let encoded = include_str!("hostile_names.txt").lines().filter(|line| !line.starts_with('#'));
    let loose = ["a\u{9b}31m", "a\u{202e}b", "\u{200f}\u{61c}", "a\u{2028}b", "<0>a", "\u{80}\u{9f}"];
    let mut buffer = [0; 65536];
    for (n, name) in encoded.chain(loose).enumerate() {
        raw.ask(format!("MKDIR {name}"));
        raw.ask(format!("STAT none/{name}"));
        raw.demand(&format!("MKDIR end-of-{n}-"), "OK created");
        let mut lines = 0;
        loop {
            let length = syslogd.0.recv(&mut buffer).unwrap();
            let line = std::str::from_utf8(&buffer[..length]).unwrap();
            assert!(
                !line.contains(|c: char| c.is_control() || "\u{202e}\u{200f}\u{61c}\u{2028}".contains(c)),
                "{line:?}"
            );
            assert!(line.starts_with("<2") || line.starts_with("<3"), "{line}");
            if line.contains(&format!("end-of-{n}-")) {
                break;
            }
            lines += 1;
        }
        assert!((2..10).contains(&lines), "{lines} lines for {name}");
    }
    drop(raw);
    ends_well(server);
}

/// A syslogd that has stopped reading fills its queue; sessions and the end of the server go on all the same.
#[test]
fn a_syslogd_that_stands_still_holds_nobody_up() {
    let _turn = turn();
    if std::path::Path::new(SOCKET).exists() {
        return eprintln!("skipped: a system log is running at {SOCKET}");
    }
    let Ok(_syslogd) = Syslogd::start() else { return eprintln!("skipped: no right to make {SOCKET}") };
    let server = Server::start(&["--log-target", "syslog"]);
    let mut raw = server.login("alice");
    for n in 0..300 {
        raw.demand(&format!("MKDIR dir{n}"), "OK created");
    }
    drop(raw);
    ends_well(server);
}

/// The end of a server whose log goes elsewhere.
fn ends_well(mut server: Server) {
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait(), 0);
    server.nobody_is_left();
    assert!(server.log().is_empty(), "lines on standard error: {:#?}", server.log());
}

/// A real rsyslogd with a socket and a file of its own; killed with this value.
struct Rsyslogd {
    process: Child,
    file: std::path::PathBuf,
}

impl Rsyslogd {
    fn start(dir: &Path) -> Option<Rsyslogd> {
        let (config, socket, file) = (dir.join("rsyslog.conf"), dir.join("socket"), dir.join("messages"));
        let _ = std::fs::remove_file(&socket);
        let text = format!(
            "module(load=\"imuxsock\" SysSock.Use=\"off\")\ninput(type=\"imuxsock\" Socket=\"{}\" RateLimit.Interval=\"0\")\n*.* action(type=\"omfile\" file=\"{}\")\n",
            socket.display(),
            file.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("/usr/sbin/rsyslogd");
        command
            .arg("-n")
            .arg("-f")
            .arg(&config)
            .arg("-i")
            .arg(dir.join("pid"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = command.spawn().ok()?;
        let syslogd = Rsyslogd { process, file };
        eventually("rsyslogd listens", || socket.exists());
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
        Some(syslogd)
    }

    fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.process.id() as i32), signal).unwrap();
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap_or_default()
    }
}

impl Drop for Rsyslogd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A real syslogd is stopped, goes on, is killed and started again: nobody waits for it, and it hears what it has missed.
#[test]
fn a_real_syslogd_that_stops_and_comes_again_holds_nobody_up_and_hears_what_it_missed() {
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let Some(syslogd) = Rsyslogd::start(place.path()) else { return eprintln!("skipped: rsyslogd is not installed") };
    let socket = place.path().join("socket");
    let server = Server::start(&["--log-target", "syslog", "--syslog-socket", socket.to_str().unwrap()]);
    let mut raw = server.login("alice");
    eventually("the login is in its file", || syslogd.text().contains("login of alice"));
    syslogd.signal(Signal::SIGSTOP);
    let began = std::time::Instant::now();
    for n in 0..600 {
        raw.demand(&format!("RENAME a{n} b"), "ERR not-found");
    }
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    assert!(!syslogd.text().contains("RENAME a599 "));
    syslogd.signal(Signal::SIGCONT);
    eventually("it hears what it has missed", || syslogd.text().contains("RENAME a599 "));
    let text = syslogd.text();
    assert!((0..600).all(|n| text.contains(&format!("RENAME a{n} "))));
    drop(syslogd);
    raw.demand("MKDIR while-nobody-listens", "OK created");
    let syslogd = Rsyslogd::start(place.path()).unwrap();
    eventually("the next hears it too", || syslogd.text().contains("MKDIR while-nobody-listens"));
    drop(raw);
    ends_well(server);
}
