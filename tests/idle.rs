//! What a session holds in memory while its client says nothing. Reads /proc/PID/smaps, so it must be root.

mod common;

use common::raw::upload_bytes;
use common::tls::TlsRaw;
use common::tree::noise;
use common::{PATIENCE, Server, eventually};
use std::fs;
use std::time::Instant;

/// KiB that a session has for itself alone. What it shares with the listener and the other sessions comes to some 50 more. Pages differ by
/// some 30 from one machine to the next: where an environment ends, where a hole in the heap lies.
const PLAIN: u64 = 256;
const TLS: u64 = 320;

/// KiB of memory that this process has written and no other has, in those mappings that `counts` is true of. Only memory without a file
/// behind it: code of a program that was built a moment ago is not on the disk yet, and so dirty too.
fn own_of(pid: nix::unistd::Pid, counts: impl Fn(&str) -> bool) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let (mut sum, mut dirty, mut counted) = (0, 0, false);
    for line in maps.lines() {
        match line.split_ascii_whitespace().collect::<Vec<_>>()[..] {
            ["Private_Dirty:", figure, _] => dirty = figure.parse::<u64>().unwrap(),
            ["Anonymous:", figure, _] if counted => sum += dirty.min(figure.parse().unwrap()),
            [range, ..] if range.contains('-') => counted = counts(line),
            _ => {}
        }
    }
    sum
}

/// The same of all its memory.
fn own(pid: nix::unistd::Pid) -> u64 {
    own_of(pid, |_| true)
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can see how the memory of other processes is shared");
    }
    root
}

/// Waits until the only session holds no more than `most`; tells what it held at first.
fn comes_down_to(server: &Server, most: u64, what: &str) {
    let pid = server.sessions()[0].pid;
    let before = own(pid);
    let (mut now, until) = (before, Instant::now() + PATIENCE);
    while now > most {
        assert!(Instant::now() < until, "{what}: {before} KiB, and still {now}, where {most} may be held");
        std::thread::yield_now();
        now = own(pid);
    }
    eprintln!("{what}: {before} KiB, then {now}");
}

#[test]
fn a_session_that_is_quiet_holds_little_also_after_a_large_transfer() {
    if !is_root() {
        return;
    }
    let server = Server::start(&[]);
    let mut raw = server.login("alice");
    comes_down_to(&server, PLAIN, "after login");
    let bytes = noise(1, 16 << 20);
    raw.put("f", &bytes);
    comes_down_to(&server, PLAIN, "after an upload");
    assert!(raw.get("f") == bytes);
    comes_down_to(&server, PLAIN, "after a download");
    raw.demand("PING", "OK pong");
    drop(raw);
    server.wait_idle();
    server.stop();
}

#[test]
fn within_tls_too() {
    if !is_root() {
        return;
    }
    let server = Server::start(&["--listen", "tls://127.0.0.1:0"]);
    let mut client = TlsRaw::connect(server.tls_address());
    client.demand("LOGIN alice secret", "OK welcome alice");
    comes_down_to(&server, TLS, "after login");
    client.send(upload_bytes("f", &noise(2, 16 << 20)));
    assert!(client.line().starts_with("READY"));
    assert!(client.line().starts_with("OK size="));
    comes_down_to(&server, TLS, "after an upload");
    client.demand("DOWNLOAD f", "READY");
    loop {
        let line = client.line();
        let Some(length) = line.strip_prefix("DATA ") else { break assert!(line.starts_with("END"), "{line}") };
        client.read_exact(length.parse().unwrap());
    }
    comes_down_to(&server, TLS, "after a download");
    client.demand("PING", "OK pong");
    drop(client);
    server.wait_idle();
    server.stop();
}

/// The same of its heap.
fn own_heap(pid: nix::unistd::Pid) -> u64 {
    own_of(pid, |mapping| mapping.ends_with("[heap]"))
}

/// What the listener knows of each of its sessions must not lie about on the heap that it forks: each child would write into the holes
/// between, and have a copy of every page.
#[test]
fn the_last_of_many_sessions_has_no_more_of_its_own_than_the_first() {
    if !is_root() {
        return;
    }
    const MANY: usize = 800;
    let many = (MANY + 10).to_string();
    let options = ["--max-clients", "--max-clients-per-ip", "--max-clients-per-net"].map(|option| [option, &many]);
    let server = Server::start(&options.concat());
    let mut all: Vec<_> = (0..MANY).map(|_| server.login("alice")).collect();
    for raw in &mut all {
        raw.demand("PING", "OK pong");
    }
    let mut sessions: Vec<_> = server.sessions().into_iter().map(|session| session.pid).collect();
    sessions.sort();
    let (mut first, mut last) = (0, 0);
    eventually("they are quiet and alike", || {
        (first, last) = (own_heap(sessions[1]), own_heap(sessions[MANY - 2]));
        last <= first + 32 && first < 120
    });
    eprintln!("the first has {first} KiB on the heap, the last {last}");
    drop(all);
    server.wait_idle();
    server.stop();
}
