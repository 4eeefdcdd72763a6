//! Sockets that a service manager holds: a restart refuses nobody.

mod common;

use common::{PATIENCE, Server, binary, eventually, give, home};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Starts a server as a service manager does: with the socket as descriptor 3.
fn activate(socket: &TcpListener, home: tempfile::TempDir) -> Server {
    give(home.path());
    Server::spawn(command(socket, home.path()), home, &[])
}

fn command(socket: &TcpListener, home: &Path) -> Command {
    let script = r#"exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=tcp exec "$0" "$@""#;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).arg(binary());
    command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir(home);
    command.arg("--dir").arg(home.join("storage")).arg("--users").arg(home.join("users"));
    command.arg("--state-dir").arg(home.join("state")).args(["--max-penalty", "0"]);
    command
}

/// How a short session went.
#[derive(Debug, PartialEq, Eq)]
enum Went {
    /// To its end.
    Well,
    /// It had begun with a server that ended, which said so.
    SentAway,
}

fn short_session(address: &str) -> Went {
    let mut stream = TcpStream::connect(address).expect("refused");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for (request, answer) in [("", "OK dfos/1"), ("PING\n", "OK pong"), ("LOGOUT\n", "OK bye")] {
        let sent = stream.write_all(request.as_bytes());
        match lines.next() {
            Some(Ok(line)) if line.starts_with(answer) => {}
            Some(Ok(line)) if line.starts_with("ERR shutting-down") => return Went::SentAway,
            // It had said so, and closed, before this was sent.
            _ if sent.is_err() => return Went::SentAway,
            other => panic!("to '{}': {other:?}", request.trim()),
        }
    }
    Went::Well
}

#[test]
fn restarts_under_load_refuse_nobody() {
    let rounds = if std::env::var("DFOS_TEST_LONG").is_ok_and(|long| !long.is_empty()) { 100 } else { 20 };
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let (over, well) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let client = || {
        let (address, over, well) = (address.clone(), over.clone(), well.clone());
        thread::spawn(move || {
            let (mut longest, mut sent_away) = (Duration::ZERO, 0);
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                match short_session(&address) {
                    Went::Well => drop(well.fetch_add(1, Ordering::Relaxed)),
                    Went::SentAway => sent_away += 1,
                }
                longest = longest.max(began.elapsed());
            }
            (longest, sent_away)
        })
    };
    let mut server = activate(&socket, home());
    assert_eq!(server.address(), address);
    let clients: Vec<_> = (0..3).map(|_| client()).collect();
    for _ in 0..rounds {
        let before = well.load(Ordering::Relaxed);
        eventually("clients are served", || well.load(Ordering::Relaxed) > before + 3);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), 0);
        server.no_alarm();
        server = activate(&socket, server.leave());
    }
    over.store(true, Ordering::Relaxed);
    let ends: Vec<_> = clients.into_iter().map(|client| client.join().expect("a client failed")).collect();
    let longest = ends.iter().map(|(longest, _)| longest.as_millis()).max().unwrap_or_default();
    let sent_away: u64 = ends.iter().map(|(_, sent_away)| sent_away).sum();
    let well = well.load(Ordering::Relaxed);
    println!(
        "{rounds} restarts: {well} sessions, none refused, {sent_away} sent away with their server, the longest took {longest} ms"
    );
    server.stop();
}

#[test]
fn a_passed_socket_is_handed_on_by_an_upgrade() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = activate(&socket, home());
    let mut raw = server.login("alice");
    server.signal(Signal::SIGUSR2);
    server.logged("upgraded in place");
    raw.demand("PING", "OK pong");
    server.login("bob").demand("PING", "OK pong");
    drop(raw);
    server.stop();
}
