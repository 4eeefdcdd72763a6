//! Log lines to syslog: a socket of the test's own stands in for syslogd at /dev/log.

mod common;

use common::{PATIENCE, Server, eventually};
use nix::sys::signal::Signal;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
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
    raw.demand("MKDIR a%0Ab", "OK created");
    let line = syslogd.line_with("MKDIR");
    assert!(line.contains("alice@127.0.0.1:") && line.contains("MKDIR a%0Ab") && !line.contains('\n'), "{line}");

    // A syslogd that is away holds nobody up, and what it missed is counted.
    drop(syslogd);
    for n in 0..10 {
        raw.demand(&format!("MKDIR dir{n}"), "OK created");
    }
    let syslogd = Syslogd::start().unwrap();
    let mut n = 10;
    let mut counted = false;
    syslogd.0.set_nonblocking(true).unwrap();
    eventually("the lost lines are confessed", || {
        raw.demand(&format!("MKDIR dir{n}"), "OK created");
        n += 1;
        let mut buffer = [0; 65536];
        while let Ok(length) = syslogd.0.recv(&mut buffer) {
            counted |= String::from_utf8_lossy(&buffer[..length]).contains("lines were lost while syslog was away");
        }
        counted
    });
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
