//! The listener and its children: all are reaped, counted, and gone at the end.

mod common;

use common::tree::noise;
use common::{Raw, SERVICE, Server, eventually, process};
use nix::sys::signal::{Signal, kill};
use std::collections::HashSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

#[test]
fn a_thousand_children_that_die_at_once_are_all_reaped() {
    const MANY: usize = 1_000;
    let limits = ["--max-clients", "1000", "--max-clients-per-ip", "1000", "--max-clients-per-net", "1000"];
    let server = Server::start(&[&limits[..], &["--max-logins", "2000"]].concat()); // no dice below half of that
    for with_the_scribe in [false, true] {
        let clients: Vec<TcpStream> = (0..MANY).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
        eventually("all are served", || server.sessions().len() == MANY);
        if with_the_scribe {
            server.signal_sessions(Signal::SIGKILL); // the scribe leads their process group
        } else {
            server.sessions().iter().for_each(|session| kill(session.pid, Signal::SIGKILL).unwrap());
        }
        server.wait_idle();
        drop(clients);
        server.login("alice").demand("PING", "OK pong");
        server.wait_idle();
    }
    eventually("the listener's own count to be 0", || {
        let last = server.log().into_iter().rfind(|line| line.contains("disconnected"));
        last.is_some_and(|line| line.ends_with(" 0 active"))
    });
    assert!(server.log().iter().filter(|line| line.contains("killed by SIGKILL")).count() >= MANY);
    let mut server = server;
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait(), 0);
    server.nobody_is_left();
    server.logged(&format!("ended: {} connections (0 turned away), 2 logins", 2 * MANY + 2));
}

#[test]
fn clients_over_the_limit_are_told_and_a_slot_is_used_again() {
    let server = Server::start(&["--max-clients", "3"]);
    let mut clients: Vec<Raw> = (0..3).map(|_| server.login("alice")).collect();
    for _ in 0..3 {
        let mut raw = Raw::silent(server.address());
        raw.expect("ERR busy");
        raw.closed();
    }
    for _ in 0..5 {
        drop(clients.pop());
        eventually("the slot is free", || server.sessions().len() == 2);
        clients.push(server.login("bob"));
    }
    drop(clients);
    server.wait_idle();
    let log = server.stop();
    assert!(log.iter().any(|line| line.contains("ended: 11 connections (3 turned away), 8 logins")), "{log:#?}");
}

#[test]
fn the_limit_of_an_address_does_not_touch_another() {
    let socket = tempfile::tempdir().unwrap();
    let unix = socket.path().join("s");
    let url = format!("unix:{}", unix.display());
    let server = Server::start(&["--max-clients-per-ip", "2", "--listen", "tcp://127.0.0.1:0", "--listen", &url]);
    let clients = [server.login("alice"), server.login("alice")];
    let mut raw = Raw::silent(server.address());
    raw.expect("ERR busy");
    raw.closed();
    let mut others = [Raw::unix(&unix), Raw::unix(&unix)];
    others.iter_mut().for_each(|raw| raw.login("bob"));
    drop(clients);
    eventually("their slots are free", || server.sessions().len() == 2);
    drop((server.login("alice"), others));
    server.stop();
}

#[test]
fn sessions_have_a_process_group_of_their_own() {
    let server = Server::start(&[]);
    let clients = [server.login("alice"), server.client()];
    let scribe = server.scribe().unwrap();
    let listener = process(server.pid().as_raw()).unwrap();
    assert_eq!(server.sessions().len(), 2);
    for session in server.sessions() {
        assert_eq!(session.group, scribe);
        assert_ne!(session.group, listener.group);
    }
    drop(clients);
    server.stop();
}

#[test]
fn a_dead_scribe_is_replaced_and_the_log_goes_on() {
    let server = Server::start(&[]);
    let mut old = server.login("alice");
    for _ in 0..3 {
        let scribe = server.scribe().unwrap();
        kill(scribe, Signal::SIGKILL).unwrap();
        eventually("another scribe", || server.scribe().is_some_and(|pid| pid != scribe));
    }
    server.logged("the scribe ended and was started again");
    let mut new = server.login("bob");
    for (raw, name) in [(&mut old, "alice"), (&mut new, "bob")] {
        raw.demand(&format!("MKDIR {name}-was-here"), "OK");
        assert!(server.logged(&format!("MKDIR {name}-was-here")).contains(&format!(" {name}@127.0.0.1:")));
    }
    // Both generations hear of the end.
    server.signal(Signal::SIGINT);
    for raw in [&mut old, &mut new] {
        raw.expect("ERR shutting-down");
        raw.closed();
    }
    drop((old, new));
    let mut server = server;
    assert_eq!(server.wait(), 0);
    server.nobody_is_left();
    server.logged(" ended: 2 connections");
}

/// Lets a client end its session while the listener stands still, and waits for that.
fn ends_unseen(server: &Server, mut raw: Raw, session: nix::unistd::Pid) {
    raw.send("LOGOUT\n");
    raw.expect("OK bye");
    drop(raw);
    eventually("the session has ended", || process(session.as_raw()).is_some_and(|session| session.state == 'Z'));
    kill(server.pid(), Signal::SIGCONT).unwrap();
}

#[test]
fn who_logs_in_and_ends_before_the_listener_looks_up_is_named_all_the_same() {
    let server = Server::start(&[]);
    let mut raw = server.client();
    let session = server.sessions()[0].pid;
    kill(server.pid(), Signal::SIGSTOP).unwrap();
    raw.login("alice");
    ends_unseen(&server, raw, session);
    server.logged(&format!("disconnected, session {session}"));
    let log = server.stop();
    let at = |text: &str| log.iter().position(|line| line.contains(text));
    let (login, end) = (at("login of alice"), at("disconnected, session"));
    assert!(login.is_some() && login < end, "{log:#?}");
}

#[test]
fn who_ended_before_a_reload_was_heeded_is_not_sent_away_by_it() {
    let server = Server::start(&[]);
    let mut raw = server.client();
    let session = server.sessions()[0].pid;
    raw.login("alice");
    server.logged("login of alice");
    // Without alice, and so many in clear text that loading them takes a while.
    let users: String = (0..100).map(|n| format!("u{n}:secret\n")).collect();
    fs::write(server.home().join("users"), users).unwrap();
    server.signal(Signal::SIGHUP);
    let loader = || server.sessions().into_iter().find(|child| child.pid != session).map(|loader| loader.pid);
    eventually("the users are being loaded", || loader().is_some());
    kill(server.pid(), Signal::SIGSTOP).unwrap();
    let loader = loader().expect("100 passwords take longer than that");
    // The listener hears first of the loader's end, then of the session's, and of both at once.
    eventually("they are loaded", || process(loader.as_raw()).is_some_and(|loader| loader.state == 'Z'));
    ends_unseen(&server, raw, session);
    server.logged("users reloaded");
    let log = server.stop();
    assert!(log.iter().all(|line| !line.contains("may no longer log in")), "{log:#?}");
}

#[test]
fn what_a_scribe_that_stood_still_has_missed_of_sessions_it_is_told_again() {
    let server = Server::start(&[]);
    let scribe = server.scribe().unwrap();
    kill(scribe, Signal::SIGSTOP).unwrap();
    for _ in 0..400 {
        server.client(); // two records each: more than wait for a scribe
    }
    let mut raw = server.login("alice");
    kill(scribe, Signal::SIGCONT).unwrap();
    server.logged("log lines were lost");
    raw.demand("MKDIR told-by-alice", "OK");
    assert!(server.logged("MKDIR told-by-alice").contains(" alice@127.0.0.1:"));
    assert!(server.log().iter().all(|line| !line.contains("login of alice")), "it was to be lost");
    drop(raw);
    server.stop();
}

#[test]
fn a_reload_for_which_descriptors_are_short_leaves_one_listener() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: needs root, to see the descriptors of a process that is not dumpable");
    }
    let server = Server::start(&[]);
    let count = |text: &str| server.log().iter().filter(|line| line.contains(text)).count();
    let (pid, outcomes) = (server.pid().to_string(), || count("users reloaded") + count("reload failed"));
    server.logged("listening on");
    eventually("the scribe", || server.processes().len() == 2);
    let held: HashSet<i32> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    let free = (0..).filter(|number| !held.contains(number));
    // With one descriptor more each time, whatever a reload needs is what it lacks once.
    for limit in free.take(20) {
        let arguments = ["--pid", &pid, &format!("--nofile={limit}:")];
        let mut prlimit = Command::new("prlimit");
        assert!(prlimit.args(arguments).uid(SERVICE).gid(SERVICE).status().unwrap().success());
        let before = outcomes();
        server.signal(Signal::SIGHUP);
        eventually("the reload", || outcomes() > before);
        eventually(&format!("one listener, with descriptors below {limit}"), || server.processes().len() == 2);
        assert_eq!(outcomes(), before + 1, "told by one process");
    }
    assert!(count("reload failed") >= 6 && count("users reloaded") > 0, "{:#?}", server.log());
    server.login("alice").demand("PING", "OK pong");
    server.stop();
}

/// The sockets that a process holds, by inode.
fn sockets(pid: nix::unistd::Pid) -> HashSet<String> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    let inode = |link: std::path::PathBuf| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    links.filter_map(inode).collect()
}

/// The inodes of TCP sockets of this local port, by state.
fn tcp_inodes(port: u16, state: &str) -> HashSet<String> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let local = format!(":{port:04X}");
    rows.filter(|row| row[1].ends_with(&local) && row[3] == state).map(|row| row[9].to_owned()).collect()
}

#[test]
fn a_session_holds_its_own_connection_and_nobody_elses() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: needs root, since no process of the server can be looked into by its own user");
    }
    let server = Server::start(&[]);
    let clients: Vec<Raw> = (0..4).map(|n| server.login(&format!("user{n}"))).collect();
    let port = server.address().rsplit(':').next().unwrap().parse().unwrap();
    let (listening, connected) = (tcp_inodes(port, "0A"), tcp_inodes(port, "01"));
    assert_eq!((listening.len(), connected.len()), (1, 4));
    assert!(listening.is_subset(&sockets(server.pid())));
    assert!(sockets(server.pid()).is_disjoint(&connected), "the listener keeps no connection");
    for session in server.sessions() {
        let held = sockets(session.pid);
        assert!(held.is_disjoint(&listening));
        assert_eq!(held.intersection(&connected).count(), 1);
        for fd in fs::read_dir(format!("/proc/{}/fd", session.pid)).unwrap() {
            let target = fs::read_link(fd.unwrap().path()).unwrap_or_default();
            assert_ne!(target, server.storage(), "the storage is closed after login");
            assert!(!target.to_string_lossy().contains("memfd"), "the users are closed after login: {target:?}");
        }
    }
    let held = sockets(server.scribe().unwrap());
    assert!(held.is_disjoint(&listening) && held.is_disjoint(&connected));
    drop(clients);
    server.stop();
}

#[test]
fn several_listeners_serve_side_by_side() {
    if TcpListener::bind("[::1]:0").is_err() {
        return eprintln!("skipped: this machine has no IPv6 loopback");
    }
    let dir = tempfile::tempdir().unwrap();
    let unix = dir.path().join("s");
    let url = format!("unix:{}", unix.display());
    let server = Server::start(&["--listen", "tcp://127.0.0.1:0", "--listen", "tcp://[::1]:0", "--listen", &url]);
    assert_eq!(server.listening.len(), 3);
    for url in &server.listening {
        let mut raw = match url.strip_prefix("tcp://") {
            Some(address) => Raw::connect(address),
            None => Raw::unix(&unix),
        };
        raw.login("alice");
        raw.put("f", url.as_bytes());
        assert_eq!(raw.get("f"), url.as_bytes());
    }
    server.stop();
}

#[test]
fn a_unix_socket_is_cleared_away_when_stale_and_left_alone_when_not() {
    let dir = tempfile::tempdir().unwrap();
    common::give(dir.path()); // whoever shall remove the socket in the end
    let path = dir.path().join("s");
    let url = format!("unix:{}", path.display());
    drop(UnixListener::bind(&path).unwrap()); // as a killed server leaves it
    let server = Server::start(&["--listen", &url]);
    Raw::unix(&path).login("alice");
    let home = common::home();
    let second = common::command(home.path(), &["--listen", &url]).output().unwrap();
    assert_eq!(second.status.code(), Some(1), "it still answers");
    Raw::unix(&path).login("alice");
    server.stop();
    assert!(!path.exists(), "removed at the end");
    fs::write(&path, "a file of somebody's").unwrap();
    let third = common::command(home.path(), &["--listen", &url]).output().unwrap();
    assert_eq!(third.status.code(), Some(1));
    assert_eq!(fs::read(&path).unwrap(), b"a file of somebody's");
}

#[test]
fn the_totals_at_the_end_are_right() {
    let server = Server::start(&[]);
    for user in ["alice", "bob"] {
        let mut raw = server.login(user);
        raw.put("f", &noise(1, 100_000));
        raw.put("g", b"12345");
        raw.upload("..", b"not counted");
        raw.get("f");
        raw.fetch("DOWNLOAD g offset=1 length=2").unwrap();
        raw.demand("LOGOUT", "OK bye");
    }
    server.client().demand("LOGIN alice wrong", "ERR");
    server.wait_idle();
    let log = server.stop();
    let last = log.iter().rfind(|line| line.contains(" ended: ")).unwrap();
    assert!(
        last.contains("3 connections (0 turned away), 2 logins, 4 files in (")
            && last.contains(" 200010 bytes), 4 files out (")
            && last.ends_with(" 200004 bytes)"),
        "{last}"
    );
}
